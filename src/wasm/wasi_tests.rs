//! System calls of guests in text form: every one answers no, nothing real is to be seen, one input has one
//! result.

use std::sync::Mutex;

use super::*;
use crate::wasm::WasmError;
use crate::wasm::abi::testing::{ALLOCATOR, bytes_setup, decode, guest};

/// Tests that look at what guests wrote take turns: there is one list.
static TURN: Mutex<()> = Mutex::new(());

/// A guest of interface A that decodes to the memory at 256, eight bytes long, after `body`.
fn core_guest(imports: &str, body: &str) -> String {
    format!(
        r#"(module {imports} {ALLOCATOR}
          (data (i32.const 512) "the guest's own words")
          (func (export "decode") (param i32 i32 i32 i32) (result i64)
            (local $out i32) (local $turn i32)
            {body}
            (local.set $out (call $alloc (i32.const 8)))
            (i64.store (local.get $out) (i64.load (i32.const 256)))
            (i64.or (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32)) (i64.const 8))))"#
    )
}

fn preview1(name: &str, parameters: &str) -> String {
    format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} {parameters} (result i32)))"#)
}

fn number(text: &str) -> u64 {
    let mut codec = guest(text, &bytes_setup()).unwrap();
    let first = decode(codec.as_mut(), b"x").unwrap();
    assert_eq!(decode(codec.as_mut(), b"x").unwrap(), first, "the second call sees what the first one saw");
    let mut other = guest(text, &bytes_setup()).unwrap();
    assert_eq!(decode(other.as_mut(), b"x").unwrap(), first, "and so does another guest");
    u64::from_le_bytes(first.try_into().unwrap())
}

#[test]
fn random_bytes_are_the_same_in_every_call() {
    let imports = preview1("random_get", "(param i32 i32)");
    let random = number(&core_guest(&imports, "(drop (call $random_get (i32.const 256) (i32.const 8)))"));
    assert!(random.count_ones() > 16, "{random:x}");
    // A second request goes on where the first one ended.
    let twice = "(drop (call $random_get (i32.const 256) (i32.const 8)))
        (drop (call $random_get (i32.const 256) (i32.const 8)))";
    assert_ne!(number(&core_guest(&imports, twice)), random);
    let odd = number(&core_guest(&imports, "(drop (call $random_get (i32.const 256) (i32.const 3)))"));
    assert_eq!(odd, random & 0xff_ffff);
}

#[test]
fn clocks_stand_and_there_is_no_environment() {
    let imports = preview1("clock_time_get", "(param i32 i64 i32)");
    let body = "(i64.store (i32.const 256) (i64.const 77))
        (drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 256)))";
    assert_eq!(number(&core_guest(&imports, body)), 0);
    let imports = preview1("environ_sizes_get", "(param i32 i32)");
    let body = "(i64.store (i32.const 256) (i64.const -1))
        (i32.store (i32.const 256) (call $environ_sizes_get (i32.const 260) (i32.const 264)))";
    assert_eq!(number(&core_guest(&imports, body)), 0);
}

#[test]
fn files_are_bad_descriptors_and_other_calls_not_supported() {
    for (name, parameters, arguments, expected) in [
        ("fd_prestat_get", "(param i32 i32)", "(i32.const 3) (i32.const 256)", 8),
        ("fd_close", "(param i32)", "(i32.const 1)", 8),
        ("path_open", "(param i32)", "(i32.const 3)", 8),
        ("fd_write", "(param i32 i32 i32 i32)", "(i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)", 8),
        (
            "fd_write",
            "(param i32 i32 i32 i32)",
            "(i32.const 2) (i32.const 0) (i32.const -1) (i32.const 0)",
            28,
        ),
        (
            "fd_read",
            "(param i32 i32 i32 i32)",
            "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 260)",
            0,
        ),
        ("random_get", "(param i32 i32)", "(i32.const 0) (i32.const 0x7fffffff)", 28),
        ("poll_oneoff", "(param i32)", "(i32.const 0)", 52),
        ("not_known_at_all", "(param i64 f32)", "(i64.const 0) (f32.const 0)", 52),
    ] {
        let body = format!("(i32.store (i32.const 256) (call ${name} {arguments}))");
        assert_eq!(number(&core_guest(&preview1(name, parameters), &body)), expected, "{name}");
    }
}

fn failure(text: &str) -> WasmError {
    let mut codec = guest(text, &bytes_setup()).unwrap();
    decode(codec.as_mut(), b"x").unwrap_err()
}

#[test]
fn calls_that_make_no_sense_are_told() {
    for (name, parameters, arguments) in [
        ("random_get", "(param i32 i32)", "(i32.const 131070) (i32.const 8)"),
        ("random_get", "(param i32 i32)", "(i32.const -1) (i32.const 8)"),
        ("random_get", "(param i64 i32)", "(i64.const 0) (i32.const 8)"),
        ("random_get", "(param i32)", "(i32.const 0)"),
        ("clock_time_get", "(param i32 i64 i32)", "(i32.const 0) (i64.const 0) (i32.const -4)"),
        ("fd_write", "(param i32 i32 i32 i32)", "(i32.const 2) (i32.const -8) (i32.const 1) (i32.const 0)"),
        ("fd_write", "(param i32 i32 i32 i32)", "(i32.const 2) (i32.const 512) (i32.const 1) (i32.const 0)"),
    ] {
        let body = format!("(drop (call ${name} {arguments}))");
        let error = failure(&core_guest(&preview1(name, parameters), &body));
        assert!(matches!(error, WasmError::Broken(_)), "{name}: {error}");
    }
    let error = guest(&core_guest(&preview1("random_get", "").replace("i32", "i64"), ""), &bytes_setup());
    assert!(matches!(error.err(), Some(WasmError::Invalid(_))), "a result that no system call has");
    let memory = r#"(import "wasi_snapshot_preview1" "random_get" (global i32))"#;
    assert!(matches!(guest(&core_guest(memory, ""), &bytes_setup()).err(), Some(WasmError::Invalid(_))));
}

#[test]
fn to_exit_is_to_trap() {
    let imports = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))"#;
    let error = failure(&core_guest(imports, "(call $proc_exit (i32.const 3))"));
    assert!(matches!(&error, WasmError::Trap(reason) if reason == "it exited with 3"), "{error}");
}

#[test]
fn what_is_written_to_standard_error_is_kept_and_bounded() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let imports = preview1("fd_write", "(param i32 i32 i32 i32)");
    let write = |descriptor: u32| {
        format!(
            "(i32.store (i32.const 16) (i32.const 512)) (i32.store (i32.const 20) (i32.const 21))
            (drop (call $fd_write (i32.const {descriptor}) (i32.const 16) (i32.const 1) (i32.const 256)))"
        )
    };
    drop(take_texts());
    let error = failure(&core_guest(&imports, &(write(2) + "unreachable")));
    let told = error.to_string();
    assert!(
        matches!(error, WasmError::Trap(_)) && told.ends_with("it wrote: the guest's own words"),
        "{told}"
    );
    assert!(take_texts().iter().any(|(_, text)| text == "the guest's own words"));
    let mut quiet = guest(&core_guest(&imports, &write(1)), &bytes_setup()).unwrap();
    assert_eq!(decode(quiet.as_mut(), b"x").unwrap(), [21, 0, 0, 0, 0, 0, 0, 0]);
    assert!(take_texts().is_empty());
    let endless = format!(
        "(loop $more {}
          (br_if $more (i32.lt_u (local.tee $turn (i32.add (local.get $turn) (i32.const 1))) (i32.const 9000))))",
        write(2)
    );
    let mut loud = guest(&core_guest(&imports, &endless), &bytes_setup()).unwrap();
    for _ in 0..2 * WAITING_TEXTS {
        decode(loud.as_mut(), b"x").unwrap();
    }
    let texts = take_texts();
    assert_eq!(texts.len(), WAITING_TEXTS);
    assert!(texts.iter().all(|(_, text)| text.len() == TEXT_MAX_BYTES));
}

#[test]
fn the_log_is_kept_with_its_level() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let imports = r#"(import "wasi:logging/logging" "log" (func $log (param i32 i32 i32 i32 i32)))"#;
    let log = "(call $log (i32.const 3) (i32.const 516) (i32.const 5) (i32.const 512) (i32.const 3))";
    let error = failure(&core_guest(imports, &format!("{log} unreachable")));
    assert!(error.to_string().ends_with("it wrote: warn guest: the"), "{error}");
}

/// A component of interface B that decodes to the number that `body` leaves, after the system calls that
/// `imports` names and `lowered` hands to its core module.
fn component_guest(imports: &str, lowered: &str, core_imports: &str, body: &str) -> String {
    format!(
        r#"(component
          {imports}
          (core module $memory
            (memory (export "memory") 2)
            (global $next (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32) (param $len i32) (result i32)
              (global.get $next)
              (global.set $next (i32.and (i32.const -8)
                (i32.add (i32.const 7) (i32.add (global.get $next) (local.get $len)))))))
          (core instance $m (instantiate $memory))
          {lowered}
          (core module $guest
            (import "memory" "memory" (memory 1))
            {core_imports}
            (data (i32.const 512) "the guest's own words")
            (func (export "decode") (param i32 i32 i32 i32) (result i32)
              (i64.store (i32.const 256) {body})
              (i32.store (i32.const 16) (i32.const 0))
              (i32.store (i32.const 20) (i32.const 256))
              (i32.store (i32.const 24) (i32.const 8))
              (i32.const 16)))
          (core instance $i (instantiate $guest
            (with "memory" (instance $m))
            (with "system" (instance $system))))
          (func (export "decode") (param "data" (list u8)) (param "config" string)
            (result (result (list u8) (error string)))
            (canon lift (core func $i "decode") (memory $m "memory") (realloc (func $m "realloc")))))"#
    )
}

#[test]
fn components_of_any_minor_version_get_the_same_answers() {
    for version in ["0.2.0", "0.2.6", "0.2.9", "0.2.77"] {
        let imports = format!(
            r#"(import "wasi:random/random@{version}" (instance $random (export "get-random-u64" (func (result u64)))))
            (import "wasi:clocks/monotonic-clock@{version}" (instance $clock (export "now" (func (result u64)))))"#
        );
        let lowered = r#"(core func $random_lowered (canon lower (func $random "get-random-u64")))
            (core func $now_lowered (canon lower (func $clock "now")))
            (core instance $system
              (export "random" (func $random_lowered)) (export "now" (func $now_lowered)))"#;
        let core_imports = r#"(import "system" "random" (func $random (result i64)))
            (import "system" "now" (func $now (result i64)))"#;
        let random = number(&component_guest(&imports, lowered, core_imports, "(call $random)"));
        assert!(random.count_ones() > 16, "{random:x}");
        assert_eq!(number(&component_guest(&imports, lowered, core_imports, "(call $now)")), 0);
    }
}

/// Standard error as components know it.
const STREAMS: &str = r#"
  (import "wasi:io/error@0.2.3" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $failure))
  (import "wasi:io/streams@0.2.3" (instance $streams
    (export "output-stream" (type $stream (sub resource)))
    (alias outer 1 $failure (type $outer))
    (export "error" (type $inner (eq $outer)))
    (type $variant (variant (case "last-operation-failed" (own $inner)) (case "closed")))
    (export "stream-error" (type $stream_error (eq $variant)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream_error)))))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stderr@0.2.3" (instance $stderr
    (alias outer 1 $stream (type $outer))
    (export "output-stream" (type $inner (eq $outer)))
    (export "get-stderr" (func (result (own $inner))))))
"#;
const STREAMS_LOWERED: &str = r#"
  (core func $get_lowered (canon lower (func $stderr "get-stderr")))
  (core func $write_lowered
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $m "memory")))
  (core instance $system (export "get" (func $get_lowered)) (export "write" (func $write_lowered)))
"#;
const STREAMS_CORE: &str = r#"
  (import "system" "get" (func $get (result i32)))
  (import "system" "write" (func $write (param i32 i32 i32 i32)))
"#;

#[test]
fn components_write_to_standard_error() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let body = "(block (result i64)
        (call $write (call $get) (i32.const 512) (i32.const 21) (i32.const 32)) unreachable)";
    let error = failure(&component_guest(STREAMS, STREAMS_LOWERED, STREAMS_CORE, body));
    assert!(error.to_string().ends_with("it wrote: the guest's own words"), "{error}");
    let body = "(block (result i64)
        (call $write (call $get) (i32.const 0x7fffff00) (i32.const 21) (i32.const 32)) (i64.const 0))";
    let error = failure(&component_guest(STREAMS, STREAMS_LOWERED, STREAMS_CORE, body));
    assert!(matches!(error, WasmError::Broken(_)), "{error}");
}

#[test]
fn a_component_may_hold_so_many_handles() {
    let body = "(loop $more (result i64) (drop (call $get)) (br $more))";
    let error = failure(&component_guest(STREAMS, STREAMS_LOWERED, STREAMS_CORE, body));
    assert!(error.to_string().contains("handle"), "{error}");
}

#[test]
fn what_components_are_not_given_traps_when_it_is_called() {
    let imports =
        r#"(import "wasi:sockets/network@0.2.6" (instance $network (export "open" (func (result u64)))))"#;
    let lowered = r#"(core func $open_lowered (canon lower (func $network "open")))
        (core instance $system (export "open" (func $open_lowered)))"#;
    let core_imports = r#"(import "system" "open" (func $open (result i64)))"#;
    let error = failure(&component_guest(imports, lowered, core_imports, "(call $open)"));
    assert!(
        matches!(&error, WasmError::Trap(reason) if reason.contains("wasi:sockets/network open")),
        "{error}"
    );
    assert_eq!(number(&component_guest(imports, lowered, core_imports, "(i64.const 5)")), 5);
}
