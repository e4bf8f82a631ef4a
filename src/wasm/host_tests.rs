//! What a guest cannot do.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::wasm::instances::{Instances, Recipe};
use crate::wasm::testing::*;

const LOOP: &str = "(loop $on (br $on)) (unreachable)";

fn option_of(result: Result<Vec<u8>, WasmError>) -> &'static str {
    match result {
        Err(WasmError::Limit { option, .. }) => option,
        other => panic!("{other:?}"),
    }
}

fn trap_of(result: Result<Vec<u8>, WasmError>) -> String {
    match result {
        Err(WasmError::Trap(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn endless_loops_end() {
    let started = Instant::now();
    for module in [
        decoder(LOOP),
        guest(&format!("{COPY} (func $start {LOOP}) (start $start)")),
        guest(&format!(r#"{COPY} (func (export "_initialize") {LOOP})"#)),
        guest(&format!(r#"{COPY} (func (export "configure") (param i32 i32) (result i32) {LOOP})"#)),
        decoder(
            "(loop $on (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $on)) (unreachable)",
        ),
    ] {
        assert_eq!(option_of(decode(&module)), TIMEOUT_OPTION);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_cancelled_call_ends() {
    static CANCELLED: AtomicBool = AtomicBool::new(false);
    let limits = Limits {
        timeout: Duration::from_mins(1),
        is_cancelled: || CANCELLED.load(Ordering::Relaxed),
        ..small_limits()
    };
    let module = decoder(LOOP);
    let started = Instant::now();
    let call = std::thread::spawn(move || decode_within(&module, limits));
    std::thread::sleep(Duration::from_millis(100));
    CANCELLED.store(true, Ordering::Relaxed);
    assert!(matches!(call.join().unwrap(), Err(WasmError::Cancelled)));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn memory_is_limited() {
    let grow = r"(drop (memory.grow (i32.const 1000))) (i64.const -1)";
    assert_eq!(option_of(decode(&decoder(grow))), MEMORY_OPTION);
    let large = assemble(
        r#"(module (memory (export "memory") 5000)
        (func (export "wazarr_abi") (result i32) (i32.const 1)))"#,
    );
    assert_eq!(option_of(decode(&large)), MEMORY_OPTION);
    // A guest that can do with less goes on.
    let modest = decoder(
        r"(drop (memory.grow (i32.const 1000)))
          (memory.copy (local.get $out) (local.get $in) (local.get $in_len)) (i64.const 3)",
    );
    assert_eq!(decode(&modest).unwrap(), [1, 2, 3]);
    // Room that the chunk itself needs counts too.
    let recipe = recipe(&guest(COPY), setup(), small_limits());
    let chunk = vec![0; 12 << 20];
    let result = decode_with(&mut Instances::default(), &recipe, &chunk, exactly(12 << 20));
    assert_eq!(option_of(result), MEMORY_OPTION);
}

#[test]
fn the_memory_of_all_guests_is_limited_and_idle_ones_make_room() {
    let _alone = alone();
    let limits = Limits { memory_bytes: 64 << 20, total_memory_bytes: 80 << 20, ..small_limits() };
    let recipe = |parameter: u8| {
        let setup = with_parameters(&serde_json::json!({"n": parameter}));
        let accepts = r#"(func (export "configure") (param i32 i32) (result i32) (i32.const 0))"#;
        recipe(&guest(&format!("{COPY} {accepts}")), setup, limits.clone())
    };
    let chunk = vec![7; 20 << 20];
    let (mut one, mut other) = (Instances::default(), Instances::default());
    let run = |instances: &mut Instances, parameter| {
        decode_with(instances, &recipe(parameter), &chunk, exactly(chunk.len()))
    };
    assert_eq!(run(&mut one, 1).unwrap(), chunk);
    assert!(held_bytes() > 40 << 20);
    // Of the same size again: only if the first, idle one goes.
    assert_eq!(run(&mut other, 2).unwrap(), chunk);
    assert!(held_bytes() < 80 << 20);
    // One that is in a call stays.
    let first = recipe(3);
    let nested = one.with_guest(&first, |guest| {
        guest.decode(&chunk, exactly(chunk.len()), &mut |_| {
            assert_eq!(option_of(run(&mut other, 4)), TOTAL_MEMORY_OPTION);
            Ok(())
        })
    });
    nested.unwrap();
    let held = held_bytes();
    drop((one, other));
    assert!(held_bytes() < held && held_bytes() < 40 << 20, "{}", held_bytes());
}

#[test]
fn tables_are_limited() {
    let growing = guest(
        r#"(table $t 1 funcref)
           (func (export "decode") (param i32 i32 i32 i32) (result i64)
             (drop (table.grow $t (ref.null func) (i32.const 100000000))) (i64.const -1))"#,
    );
    assert!(trap_of(decode(&growing)).contains("elements"));
    let large = guest(&format!("{COPY} (table 9000000 funcref)"));
    assert!(trap_of(decode(&large)).contains("elements"));
}

#[test]
fn deep_recursion_is_a_trap() {
    let deep = guest(
        r#"(func $deep (param i64) (result i64)
             (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (i64.const 1)))))
           (func (export "decode") (param i32 i32 i32 i32) (result i64) (call $deep (i64.const 0)))"#,
    );
    assert!(trap_of(decode(&deep)).contains("stack"));
    // On a thread of the usual size, in which the caller has used some already.
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let trap = small.spawn(move || trap_of(decode(&deep))).unwrap().join().unwrap();
    assert!(trap.contains("stack"));
}

#[test]
fn traps_say_what_happened() {
    for (body, word) in [
        ("(unreachable)", "unreachable"),
        ("(drop (i32.load (i32.const -4))) (i64.const 0)", "out of bounds"),
        (
            "(drop (i32.div_u (i32.const 1) (local.get $in_len))) (drop (i32.div_u (i32.const 1) (i32.const 0))) (i64.const 0)",
            "divide",
        ),
    ] {
        assert!(trap_of(decode(&decoder(body))).contains(word), "{body}");
    }
}

#[test]
fn exceptions_run_and_their_garbage_is_collected() {
    // Three million exceptions would not fit in the memory that this guest may have.
    let throws = guest(
        r#"(tag $e (param i64))
           (func (export "decode") (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32)
             (result i64) (local $n i32) (local $thrown i64)
             (loop $again
               (local.set $thrown
                 (block $caught (result i64)
                   (try_table (catch $e $caught) (throw $e (i64.const 7)))
                   (i64.const 0)))
               (i64.store (local.get $out) (local.get $thrown))
               (br_if $again (i32.lt_u
                 (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 300000))))
             (i64.const 8))"#,
    );
    let limits = Limits { memory_bytes: 4 << 20, timeout: Duration::from_mins(1), ..Limits::default() };
    let recipe = Recipe::new(store(&throws), None, setup(), limits, false).unwrap();
    let result = decode_with(&mut Instances::default(), &recipe, &[], exactly(8)).unwrap();
    assert_eq!(result, [7, 0, 0, 0, 0, 0, 0, 0]);
    let uncaught =
        guest(r#"(tag $e) (func (export "decode") (param i32 i32 i32 i32) (result i64) (throw $e))"#);
    assert!(decode(&uncaught).is_err());
}

#[test]
fn what_a_trusted_guest_may_hold_is_limited_too() {
    let limits = Limits { is_trusted: true, ..small_limits() };
    let grow = decoder(r"(drop (memory.grow (i32.const 1000))) (i64.const -1)");
    assert_eq!(option_of(decode_within(&grow, limits.clone())), MEMORY_OPTION);
    assert_eq!(decode_within(&guest(COPY), limits).unwrap(), [1, 2, 3]);
}
