//! The core ABI, kept and broken.

use serde_json::json;

use super::*;
use crate::wasm::instances::{Instances, Recipe};
use crate::wasm::testing::*;

fn encode(module: &[u8], decoded: &[u8], room: Room) -> Result<Vec<u8>, WasmError> {
    let recipe = recipe(module, setup(), small_limits());
    let mut taken = Vec::new();
    Instances::default().with_guest(&recipe, |guest| {
        guest.encode(decoded, room, &mut |result| {
            taken.extend_from_slice(result);
            Ok(())
        })
    })?;
    Ok(taken)
}

fn decode_some(module: &[u8], encoded: &[u8], room: Room) -> Result<Vec<u8>, WasmError> {
    decode_with(&mut Instances::default(), &recipe(module, setup(), small_limits()), encoded, room)
}

fn guest_fields(version: u32) -> String {
    format!(
        r#"(memory (export "memory") 1) (func (export "wazarr_abi") (result i32) (i32.const {version}))
           (func (export "alloc") (param i32) (result i32) (i32.const 0))
           (func (export "dealloc") (param i32 i32))"#
    )
}

fn broken(result: Result<Vec<u8>, WasmError>) -> String {
    match result {
        Err(WasmError::Broken(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_go_in_and_come_out() {
    let module = guest(COPY);
    for len in [0, 1, 63, 64, 65, 4096, 1 << 20, 3 << 20] {
        let bytes: Vec<u8> = (0..len).map(|number: u32| (number % 251) as u8).collect();
        assert_eq!(decode_some(&module, &bytes, exactly(bytes.len())).unwrap(), bytes);
        assert_eq!(decode_some(&module, &bytes, at_most(4 << 20)).unwrap(), bytes);
        assert_eq!(encode(&module, &bytes, at_most(4 << 20)).unwrap(), bytes);
    }
    // One guest, growing and shrinking chunks.
    let recipe = recipe(&module, setup(), small_limits());
    let mut instances = Instances::default();
    for len in [10, 100_000, 3, 0, 99_999, 200_000, 1] {
        let bytes: Vec<u8> = (0..len).map(|number: u32| (number % 13) as u8).collect();
        assert_eq!(decode_with(&mut instances, &recipe, &bytes, exactly(bytes.len())).unwrap(), bytes);
    }
}

#[test]
fn the_length_has_to_be_right() {
    let module = guest(COPY);
    for (len, room) in [(5, exactly(4)), (3, exactly(4)), (10_000, at_most(9_999)), (1, at_most(0))] {
        let result = decode_some(&module, &vec![1; len], room);
        assert!(matches!(result, Err(WasmError::DecodedLength { .. })), "{len} {room:?}: {result:?}");
    }
    assert_eq!(decode_some(&module, &[1; 10_000], at_most(10_000)).unwrap().len(), 10_000);
}

#[test]
fn a_room_that_is_too_small_grows() {
    // Six times as much as goes in, which is more than the first guess.
    let grows = r#"
        (func (export "decode") (export "encode")
          (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
          (local $len i32)
          (local.set $len (i32.mul (local.get $in_len) (i32.const 100)))
          (if (i32.gt_u (local.get $len) (local.get $out_len)) (then (return (i64.const -2))))
          (memory.fill (local.get $out) (i32.const 9) (local.get $len))
          (i64.extend_i32_u (local.get $len)))"#;
    let module = guest(grows);
    assert_eq!(decode_some(&module, &[0; 5000], at_most(1 << 20)).unwrap(), vec![9; 500_000]);
    assert_eq!(encode(&module, &[0; 5000], at_most(500_000)).unwrap(), vec![9; 500_000]);
    assert!(decode_some(&module, &[0; 5000], at_most(499_999)).is_err());
    // Told beforehand, it is asked once.
    let once = format!(
        r#"{grows} (func (export "decoded_len") (param i32 i32) (result i64)
             (i64.extend_i32_u (i32.mul (local.get 1) (i32.const 100))))"#
    );
    assert_eq!(decode_some(&guest(&once), &[0; 5000], at_most(1 << 20)).unwrap(), vec![9; 500_000]);
    // One that is never content ends at the limit.
    let insatiable = decoder("(i64.const -2)");
    assert!(matches!(
        decode_some(&insatiable, &[0], at_most(1 << 20)),
        Err(WasmError::DecodedLength { expected, .. }) if expected == 1 << 20
    ));
}

#[test]
fn lies_are_told_from_answers() {
    for (body, word) in [
        ("(i64.const 4)", "wrote 4 bytes into room for 3"),
        ("(i64.const -3)", "wrote -3"),
        ("(i64.const 0x7fffffffffffffff)", "wrote"),
        ("(i64.const 0x100000003)", "wrote"),
    ] {
        assert!(broken(decode(&decoder(body))).contains(word), "{body}");
    }
    for answer in ["-16", "0x7ffffff0", "131056"] {
        let alloc = format!(r#"(func (export "alloc") (param i32) (result i32) (i32.const {answer}))"#);
        let module = guest_without_alloc(&format!("{COPY} {alloc}"));
        assert!(broken(decode(&module)).contains("outside its memory"), "{answer}");
    }
    let odd = r#"(func (export "alloc") (param i32) (result i32) (i32.const 4097))"#;
    assert!(broken(decode(&guest_without_alloc(&format!("{COPY} {odd}")))).contains("multiple"));
    for length in ["-2", "0x8000000000000000"] {
        let lying = format!(
            r#"{COPY} (func (export "decoded_len") (param i32 i32) (result i64) (i64.const {length}))"#
        );
        assert!(broken(decode_some(&guest(&lying), &[1], at_most(10))).contains("length of a result"));
    }
    // A huge but possible one asks for no more than the limit.
    let vain = format!(
        r#"{COPY} (func (export "decoded_len") (param i32 i32) (result i64) (i64.const 0x7fffffffffffffff))"#
    );
    assert_eq!(decode_some(&guest(&vain), &[1, 2], at_most(10)).unwrap(), [1, 2]);
    let nothing = r#"(func (export "alloc") (param i32) (result i32) (i32.const 0))"#;
    let result = decode(&guest_without_alloc(&format!("{COPY} {nothing}")));
    assert!(matches!(&result, Err(WasmError::Guest(text)) if text.contains("no memory")), "{result:?}");
}

#[test]
fn a_guest_may_say_what_is_wrong() {
    let says = |address: &str, len: &str| {
        guest(&format!(
            r#"(data (i32.const 1024) "row 3 is\nodd")
               (func (export "decode") (param i32 i32 i32 i32) (result i64) (i64.const -1))
               (func (export "error_text") (result i64)
                 (i64.or (i64.shl (i64.const {address}) (i64.const 32)) (i64.const {len})))"#
        ))
    };
    let text = |module: &[u8]| match decode(module) {
        Err(WasmError::Guest(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&says("1024", "12")), "row 3 is odd");
    assert_eq!(text(&says("1024", "0")), "it could not decode");
    assert_eq!(text(&decoder("(i64.const -1)")), "it could not decode");
    assert!(text(&says("1024", "100000")).len() <= ERROR_TEXT_BYTES);
    for (address, len) in [("1024", "0xffffffff"), ("0xffffffff", "5"), ("0xfffffff0", "0xfffffff0")] {
        assert!(broken(decode(&says(address, len))).contains("error text"));
    }
}

#[test]
fn a_guest_is_configured_once() {
    // Keeps its configuration, and decodes to it.
    let module = guest(
        r#"(global $json (mut i32) (i32.const 0)) (global $len (mut i32) (i32.const 0))
           (global $times (mut i32) (i32.const 0))
           (func (export "configure") (param $at i32) (param $len i32) (result i32)
             (global.set $json (call $alloc (local.get $len)))
             (global.set $len (local.get $len))
             (global.set $times (i32.add (global.get $times) (i32.const 1)))
             (memory.copy (global.get $json) (local.get $at) (local.get $len))
             (i32.sub (global.get $times) (i32.const 1)))
           (func (export "decode") (param i32 i32 i32 i32) (result i64)
             (memory.copy (local.get 2) (global.get $json) (global.get $len))
             (i64.extend_i32_u (global.get $len)))"#,
    );
    let setup = Setup {
        decoded: ArrayDescription { data_type: "<u2".to_owned(), shape: vec![3, 4] },
        encoded: ArrayDescription { data_type: "|u1".to_owned(), shape: vec![] },
        fill_value: Some(json!(7)),
        ..with_parameters(&json!({"level": 3}))
    };
    let recipe = recipe(&module, setup, small_limits());
    let mut instances = Instances::default();
    for _ in 0..2 {
        let told = decode_with(&mut instances, &recipe, &[], at_most(4096)).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(
            told,
            json!({
                "kind": "bytes-bytes",
                "parameters": {"level": 3},
                "decoded": {"data_type": "<u2", "shape": [3, 4]},
                "encoded": {"data_type": "|u1", "shape": []},
                "fill_value": 7,
            })
        );
    }
    let refuses = format!(
        r#"{COPY} (data (i32.const 64) "level 99") (func (export "configure") (param i32 i32) (result i32) (i32.const 5))
           (func (export "error_text") (result i64) (i64.const 0x4000000008))"#
    );
    assert!(matches!(decode(&guest(&refuses)), Err(WasmError::Guest(text)) if text == "level 99"));
    let without = super::super::super::testing::recipe(
        &guest(COPY),
        with_parameters(&json!({"level": 1})),
        small_limits(),
    );
    let refused = decode_with(&mut Instances::default(), &without, &[], exactly(0));
    assert!(matches!(&refused, Err(WasmError::Guest(text)) if text.contains("\"level\"")), "{refused:?}");
}

#[test]
fn what_a_module_lacks_is_said() {
    let abi = r#"(func (export "wazarr_abi") (result i32) (i32.const 1))"#;
    let memory = r#"(memory (export "memory") 1)"#;
    for (fields, word) in [
        (guest_fields(2), "version 2"),
        (abi.to_owned(), "memory"),
        (format!("{abi} {memory}"), "alloc"),
        (
            format!(r#"{abi} {memory} (func (export "alloc") (param i64) (result i32) (i32.const 0))"#),
            "alloc",
        ),
        (format!(r#"(import "env" "f" (func)) {abi} {memory}"#), "env"),
    ] {
        let error = decode(&assemble(&format!("(module {fields})"))).unwrap_err();
        assert!(matches!(error, WasmError::Invalid(_) | WasmError::Missing(_)), "{error:?}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    let only_decodes = decoder("(i64.const 0)");
    assert!(matches!(encode(&only_decodes, &[], at_most(9)), Err(WasmError::Missing(_))));
    let recipe = Recipe::new(store(&assemble("(module)")), None, setup(), small_limits(), false);
    assert!(matches!(recipe, Err(WasmError::Invalid(_))));
}

#[test]
fn a_bound_is_passed_on() {
    let bound = |answer: &str| {
        let function = format!(r#"{COPY} (func (export "encoded_bound") (param i64) (result i64) {answer})"#);
        let recipe = recipe(&guest(&function), setup(), small_limits());
        Instances::default().with_guest(&recipe, |guest| guest.encoded_bound(100))
    };
    assert_eq!(bound("(i64.add (local.get 0) (i64.const 11))").unwrap(), Some(111));
    assert_eq!(bound("(i64.const -1)").unwrap(), None);
    assert!(matches!(bound("(i64.const -7)"), Err(WasmError::Broken(_))));
}

#[test]
fn an_exception_that_nothing_catches_is_a_trap() {
    let throws = r#"(tag $e (param i32))
        (func (export "decode") (param i32 i32 i32 i32) (result i64) (throw $e (i32.const 1)))"#;
    let error = decode(&guest(throws)).unwrap_err();
    assert!(matches!(&error, WasmError::Trap(text) if text.contains("exception")), "{error:?}");
}

/// A decoder that says the number of each byte, of ranges too; these are multiples of `step`.
fn counting(step: &str, range: &str, len: &str) -> Vec<u8> {
    guest(&format!(
        r#"(func $count (param $out i32) (param $len i32) (param $first i32) (local $at i32)
             (block $end (loop $next
               (br_if $end (i32.ge_u (local.get $at) (local.get $len)))
               (i32.store8 (i32.add (local.get $out) (local.get $at))
                           (i32.add (local.get $first) (local.get $at)))
               (local.set $at (i32.add (local.get $at) (i32.const 1)))
               (br $next))))
           (func (export "decode") (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
             (call $count (local.get $out) (local.get $out_len) (i32.const 100))
             (i64.extend_i32_u (local.get $out_len)))
           (func (export "decode_range")
             (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (param $first i64) (result i64)
             (call $count (local.get $out) (local.get $out_len) (i32.wrap_i64 (local.get $first)))
             {range})
           (func (export "range_bytes") (result i64) (i64.const {step}))
           (func (export "decoded_len") (param i32 i32) (result i64) {len})"#
    ))
}

const RANGE_LEN: &str = "(i64.extend_i32_u (local.get $out_len))";
const INPUT_LEN: &str = "(i64.extend_i32_u (local.get 1))";

fn parts(module: &[u8], encoded_len: usize, ranges: &[Range<usize>]) -> Result<Vec<Vec<u8>>, WasmError> {
    let recipe = recipe(module, setup(), small_limits());
    let mut taken = Vec::new();
    Instances::default().with_guest(&recipe, |guest| {
        guest.decode_ranges(Input::Bytes(&vec![0; encoded_len]), 200, ranges, &mut |at, part| {
            assert_eq!(at, taken.len());
            taken.push(part.to_vec());
            Ok(())
        })
    })?;
    Ok(taken)
}

fn one(range: Range<usize>) -> [Range<usize>; 1] {
    [range]
}

#[test]
fn parts_are_decoded_alone() {
    let numbers = |range: Range<u8>| range.collect::<Vec<_>>();
    // What is decoded as a whole begins with 100, so that the ways are told apart.
    for (step, first) in [("1", 0), ("16", 0), ("48", 0), ("150", 100), ("9223372036854775807", 100)] {
        let module = counting(step, RANGE_LEN, INPUT_LEN);
        let found = parts(&module, 200, &[3..5, 48..70, 190..200]).unwrap();
        let expected = [numbers(first + 3..first + 5), numbers(first + 48..first + 70)];
        assert_eq!(found[..2], expected, "{step}");
        assert_eq!(found[2][0], 190_u8.wrapping_add(first), "{step}");
        assert_eq!(found[2].len(), 10);
        assert!(parts(&module, 200, &[]).unwrap().is_empty());
    }
    assert_eq!(parts(&counting("1", RANGE_LEN, INPUT_LEN), 200, &one(7..7)).unwrap(), [Vec::<u8>::new()]);
    // Ranges that come to more than the whole are cut from it, and so are those of a guest that knows no length.
    let overlapping = parts(&counting("1", RANGE_LEN, INPUT_LEN), 200, &[0..150, 10..160]).unwrap();
    assert_eq!((overlapping[0][0], overlapping[1][0]), (100, 110));
    let whole = parts(&counting("1", RANGE_LEN, INPUT_LEN), 200, &one(0..200)).unwrap();
    assert_eq!(whole[0][0], 100);
    let unknown = parts(&counting("1", RANGE_LEN, "(i64.const -1)"), 200, &one(3..5)).unwrap();
    assert_eq!(unknown, [numbers(103..105)]);
    let copy = guest(COPY);
    assert_eq!(parts(&copy, 200, &one(1..3)).unwrap(), [vec![0; 2]]);
}

#[test]
fn parts_that_cannot_be_are_refused() {
    for step in ["0", "-1"] {
        let result = parts(&counting(step, RANGE_LEN, INPUT_LEN), 200, &one(3..5));
        assert!(matches!(&result, Err(WasmError::Broken(text)) if text.contains("multiples")), "{result:?}");
    }
    for answer in ["(i64.const 1)", "(i64.const 3)", "(i64.const -2)", "(i64.const 0x100000002)"] {
        let result = parts(&counting("1", answer, INPUT_LEN), 200, &one(3..5));
        assert!(matches!(&result, Err(WasmError::Broken(text)) if text.contains("range of 2")), "{result:?}");
    }
    let failed = parts(&counting("1", "(i64.const -1)", INPUT_LEN), 200, &one(3..5));
    assert!(matches!(failed, Err(WasmError::Guest(_))), "{failed:?}");
    // The input decodes to another length than the chunk has, or so the guest says.
    let other = parts(&counting("1", RANGE_LEN, INPUT_LEN), 199, &one(3..5));
    assert!(matches!(other, Err(WasmError::DecodedLength { expected: 200, actual: 199 })), "{other:?}");
}
