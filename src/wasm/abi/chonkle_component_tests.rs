//! Guests of B, C and E in text form: round trips, lies, errors, and memory that has to be given back.

use serde_json::json;

use super::super::testing::{ADD, bytes_setup, decode, encode, guest, setup};
use super::super::{Guest, Kind, Room};
use crate::wasm::WasmError;

/// An allocator that only forgets when the caller gives an answer back: it traps when that is not done.
const MEMORY: &str = r#"
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (func $alloc (export "cabi_realloc") (param i32 i32) (param $align i32) (param $len i32) (result i32)
    (local $ptr i32)
    (local.set $ptr
      (i32.and
        (i32.sub (i32.add (global.get $next) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $ptr) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.const 100000)) (then unreachable))
    (local.get $ptr))
  (func (export "post") (param i32) (global.set $next (i32.const 1024)))
"#;

const PORT_MAP: &str = "(list (tuple string (list u8)))";

/// An answer of the kind that is given; 0 is a result, 1 an error.
const ANSWER: &str = "
  (func $answer (param $case i32) (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 16) (local.get $case))
    (i32.store (i32.const 20) (local.get $ptr))
    (i32.store (i32.const 24) (local.get $len))
    (i32.const 16))";

/// Adds the length of its configuration to every byte.
fn component_b(decode_body: &str, exports: &str) -> String {
    format!(
        r#"(component
          (core module $guest {MEMORY} {ADD} {ANSWER}
            (data (i32.const 64) "no good")
            (func (export "decode") (param $data i32) (param $len i32) (param $json i32) (param $json_len i32)
              (result i32)
              {decode_body})
            (func (export "encode") (param $data i32) (param $len i32) (param $json i32) (param $json_len i32)
              (result i32)
              (call $add (local.get $data) (local.get $len) (i32.sub (i32.const 0) (local.get $json_len)))
              (call $answer (i32.const 0) (local.get $data) (local.get $len))))
          (core instance $i (instantiate $guest))
          (type $f (func (param "data" (list u8)) (param "config" string) (result (result (list u8) (error string)))))
          (func $decode (type $f) (canon lift (core func $i "decode")
            (memory $i "memory") (realloc (func $i "cabi_realloc")) (post-return (func $i "post"))))
          (func $encode (type $f) (canon lift (core func $i "encode")
            (memory $i "memory") (realloc (func $i "cabi_realloc")) (post-return (func $i "post"))))
          {exports})"#
    )
}

const DECODE_B: &str = "
  (call $add (local.get $data) (local.get $len) (local.get $json_len))
  (call $answer (i32.const 0) (local.get $data) (local.get $len))";
const EXPORTS_B: &str = r#"(export "decode" (func $decode)) (export "encode" (func $encode))"#;

/// Adds the digit that its second port holds to every byte of the first one.
fn component_c(name: &str, section: &str, signature: &str, decode_body: &str) -> String {
    let has_signature = !signature.is_empty();
    let signature_lift = if has_signature {
        r#"(func $signature (result (list u8)) (canon lift (core func $i "signature") (memory $i "memory")))"#
    } else {
        ""
    };
    let signature_export = if has_signature { r#"(export "signature" (func $signature))"# } else { "" };
    format!(
        r#"(component {section}
          (core module $guest {MEMORY} {ADD} {ANSWER} {signature}
            (data (i32.const 64) "no good")
            (func $run (param $map i32) (param $count i32) (param $sign i32) (result i32)
              (if (i32.ne (local.get $count) (i32.const 2))
                (then (return (call $answer (i32.const 1) (i32.const 64) (i32.const 7)))))
              (call $add
                (i32.load offset=8 (local.get $map))
                (i32.load offset=12 (local.get $map))
                (i32.mul
                  (local.get $sign)
                  (i32.sub (i32.load8_u (i32.load offset=24 (local.get $map))) (i32.const 48))))
              (call $answer (i32.const 0) (local.get $map) (i32.const 1)))
            (func (export "decode") (param $map i32) (param $count i32) (result i32) {decode_body})
            (func (export "encode") (param $map i32) (param $count i32) (result i32)
              (call $run (local.get $map) (local.get $count) (i32.const -1))))
          (core instance $i (instantiate $guest))
          (type $f (func (param "inputs" {PORT_MAP}) (result (result {PORT_MAP} (error string)))))
          (func $decode (type $f) (canon lift (core func $i "decode")
            (memory $i "memory") (realloc (func $i "cabi_realloc")) (post-return (func $i "post"))))
          (func $encode (type $f) (canon lift (core func $i "encode")
            (memory $i "memory") (realloc (func $i "cabi_realloc")) (post-return (func $i "post"))))
          {signature_lift}
          (instance $transform
            (export "decode" (func $decode)) (export "encode" (func $encode)) {signature_export})
          (export "{name}" (instance $transform)))"#
    )
}

const DECODE_C: &str = "(call $run (local.get $map) (local.get $count) (i32.const 1))";
const NAME_C: &str = "chonkle:codec/transform@0.1.0";
const NAME_E: &str = "cylf:codec/transform@0.1.0";
const SIGNATURE: &str = r#"{"inputs": {"bytes": {"type": "bytes"}, "number": {"type": "int", "default": 3}}, "outputs": {"bytes": {"type": "bytes"}}}"#;

fn section(name: &str) -> String {
    format!(r#"(@custom "{name}" "{}")"#, SIGNATURE.replace('"', "\\\""))
}

fn check_round_trips(mut codec: Box<dyn Guest>, amount: u8) {
    for data in [&b""[..], b"a", b"\x00\xff\x80", &[7; 4000]] {
        let encoded = encode(codec.as_mut(), data).unwrap();
        assert!(encoded.iter().zip(data).all(|(encoded, byte)| encoded.wrapping_add(amount) == *byte));
        assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data);
    }
    for turn in 0..10_000_u32 {
        let data = turn.to_le_bytes();
        let encoded = encode(codec.as_mut(), &data).unwrap();
        assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data, "turn {turn}");
    }
    assert!(codec.memory_bytes() <= 2 << 16);
}

#[test]
fn b_gets_its_configuration() {
    let parameters = json!({"x": 1});
    let amount = u8::try_from(parameters.to_string().len()).unwrap();
    let text = component_b(DECODE_B, EXPORTS_B);
    check_round_trips(guest(&text, &setup(Kind::BytesBytes, 0, parameters)).unwrap(), amount);
}

#[test]
fn c_gets_parameters_and_defaults_as_ports() {
    let with_number = setup(Kind::BytesBytes, 0, json!({"number": 5}));
    check_round_trips(guest(&component_c(NAME_C, "", "", DECODE_C), &with_number).unwrap(), 5);
    let text = component_c(NAME_C, &section("chonkle:signature"), "", DECODE_C);
    check_round_trips(guest(&text, &with_number).unwrap(), 5);
    check_round_trips(guest(&text, &bytes_setup()).unwrap(), 3);
}

#[test]
fn e_tells_its_signature_itself_or_in_a_section() {
    let escaped = SIGNATURE.replace('"', "\\\"");
    let len = SIGNATURE.len();
    let own = format!(
        r#"(data (i32.const 200) "{escaped}")
        (func (export "signature") (result i32)
          (i32.store (i32.const 32) (i32.const 200)) (i32.store (i32.const 36) (i32.const {len})) (i32.const 32))"#
    );
    for name in [NAME_E, "cylf:codec/transform", "cylf:codec/transform@0.2.7"] {
        check_round_trips(guest(&component_c(name, "", &own, DECODE_C), &bytes_setup()).unwrap(), 3);
    }
    let trapping = r#"(func (export "signature") (result i32) unreachable)"#;
    let text = component_c(NAME_E, &section("cylf:signature"), trapping, DECODE_C);
    check_round_trips(guest(&text, &bytes_setup()).unwrap(), 3);
    let refused = guest(&component_c(NAME_E, "", trapping, DECODE_C), &bytes_setup());
    assert!(matches!(refused.err(), Some(WasmError::Trap(_))));
}

#[test]
fn errors_that_the_guest_reports_are_told() {
    let mut codec = guest(&component_c(NAME_C, "", "", DECODE_C), &bytes_setup()).unwrap();
    for _ in 0..10_000 {
        let error = decode(codec.as_mut(), b"abc").unwrap_err();
        assert!(matches!(&error, WasmError::Guest(text) if text == "no good"), "{error}");
        assert!(error.leaves_guest_sound());
    }
}

#[test]
fn lies_are_told() {
    type IsExpected = fn(&WasmError) -> bool;
    let is_broken: IsExpected = |error| matches!(error, WasmError::Broken(_));
    let is_trap: IsExpected = |error| matches!(error, WasmError::Trap(_));
    for (body, is_expected) in [
        ("unreachable", is_trap),
        ("(call $answer (i32.const 0) (i32.const 0x7ffffff0) (i32.const 16))", is_broken),
        ("(call $answer (i32.const 0) (i32.const 1024) (i32.const -1))", is_broken),
        ("(call $answer (i32.const 7) (i32.const 1024) (i32.const 1))", is_broken),
        ("(call $answer (i32.const 1) (i32.const 0x7ffffff0) (i32.const 16))", is_broken),
        // A text that is not UTF-8.
        (
            r"(i32.store8 (i32.const 64) (i32.const 255)) (call $answer (i32.const 1) (i32.const 64) (i32.const 7))",
            is_broken,
        ),
        ("(i32.const -4)", is_broken),
        ("(i32.const 17)", is_broken),
    ] {
        for text in [component_b(body, EXPORTS_B), component_c(NAME_C, "", "", body)] {
            let mut codec = guest(&text, &bytes_setup()).unwrap();
            let error = decode(codec.as_mut(), b"abc").unwrap_err();
            assert!(is_expected(&error), "{body}: {error}");
            assert!(!error.leaves_guest_sound());
        }
    }
    let no_port = "(call $answer (i32.const 0) (local.get $map) (i32.const 0))";
    let mut codec = guest(&component_c(NAME_C, "", "", no_port), &bytes_setup()).unwrap();
    assert!(is_broken(&decode(codec.as_mut(), b"abc").unwrap_err()));
}

#[test]
fn a_trap_while_an_error_is_reported_is_a_trap() {
    let text = component_c(NAME_C, "", "", DECODE_C).replace(
        r#"(func (export "post") (param i32)"#,
        r#"(func (export "post") (param i32) (if (i32.load (i32.const 16)) (then unreachable))"#,
    );
    let mut codec = guest(&text, &bytes_setup()).unwrap();
    assert!(matches!(decode(codec.as_mut(), b"abc"), Err(WasmError::Trap(_))));
}

#[test]
fn no_more_comes_back_than_there_is_room_for() {
    // The same 60,000 bytes for each of a thousand ports.
    let many = "(local $at i32)
      (local.set $at (i32.const 40000))
      (loop $next
        (memory.copy (local.get $at) (local.get $map) (i32.const 8))
        (i32.store offset=8 (local.get $at) (i32.const 1024))
        (i32.store offset=12 (local.get $at) (i32.const 60000))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 56000))))
      (call $answer (i32.const 0) (i32.const 40000) (i32.const 1000))";
    let mut codec = guest(&component_c(NAME_C, "", "", many), &bytes_setup()).unwrap();
    assert!(matches!(decode(codec.as_mut(), b"abc"), Err(WasmError::Broken(_))));

    let text = component_c(NAME_C, &section("chonkle:signature"), "", DECODE_C);
    let mut codec = guest(&text, &bytes_setup()).unwrap();
    for room in [Room { expected: Some(4), limit: 4 }, Room { expected: None, limit: 2 }] {
        let error = codec.decode(b"abc", room, &mut |_| panic!("handed on")).unwrap_err();
        assert!(matches!(error, WasmError::DecodedLength { actual: 3, .. }), "{error}");
    }
}

#[test]
fn what_is_not_exported_is_missing() {
    let reader = component_b(DECODE_B, r#"(export "decode" (func $decode))"#);
    let mut reader = guest(&reader, &bytes_setup()).unwrap();
    assert_eq!(decode(reader.as_mut(), b"abc").unwrap(), b"cde");
    assert!(matches!(encode(reader.as_mut(), b"abc"), Err(WasmError::Missing(_))));
    let other = component_b(DECODE_B, EXPORTS_B).replace(
        r#"(param "data" (list u8)) (param "config" string)"#,
        r#"(param "data" string) (param "config" string)"#,
    );
    assert!(matches!(guest(&other, &bytes_setup()).err(), Some(WasmError::Invalid(_))));
}

#[test]
fn imports_that_nobody_answers_are_named() {
    let text = component_b(DECODE_B, EXPORTS_B).replacen(
        "(component",
        r#"(component (import "my:own/clock@1.0.0" (instance (export "now" (func))))"#,
        1,
    );
    let error = guest(&text, &bytes_setup()).err().unwrap();
    assert!(matches!(&error, WasmError::Invalid(reason) if reason.contains("my:own/clock")), "{error}");
}
