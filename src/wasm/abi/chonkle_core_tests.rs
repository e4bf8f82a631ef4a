//! Guests of A, D and E in text form: round trips, lies, and memory that has to be given back.

use serde_json::json;

use super::super::testing::{ADD, ALLOCATOR, bytes_setup, decode, encode, guest, setup};
use super::super::{Guest, Kind, Room};
use crate::wasm::{Setup, WasmError};

/// Adds the length of its configuration to every byte.
fn module_a(decode_body: &str) -> String {
    format!(
        r#"(module {ALLOCATOR} {ADD}
          (func $run (param $data i32) (param $len i32) (param $number i32) (result i64)
            (local $out i32)
            (local.set $out (call $alloc (local.get $len)))
            (memory.copy (local.get $out) (local.get $data) (local.get $len))
            (call $add (local.get $out) (local.get $len) (local.get $number))
            (i64.or
              (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32))
              (i64.extend_i32_u (local.get $len))))
          (func (export "decode") (param $data i32) (param $len i32) (param $json i32) (param $json_len i32)
            (result i64)
            {decode_body})
          (func (export "encode") (param $data i32) (param $len i32) (param $json i32) (param $json_len i32)
            (result i64)
            (call $run (local.get $data) (local.get $len) (i32.sub (i32.const 0) (local.get $json_len)))))"#
    )
}

const DECODE_A: &str = "(call $run (local.get $data) (local.get $len) (local.get $json_len))";

/// Adds the digit that its second port holds to every byte of the first one.
fn module_d(signature: &str, more: &str, decode_body: &str) -> String {
    format!(
        r#"(module {ALLOCATOR} {ADD} {signature} {more}
          (data (i32.const 64) "\01\00\00\00\05\00\00\00bytes")
          (func $run (param $map i32) (param $len i32) (param $sign i32) (result i64)
            (local $data i32) (local $data_len i32) (local $out i32) (local $second i32)
            (if (i32.ne (i32.load (local.get $map)) (i32.const 2)) (then (return (i64.const 0))))
            (local.set $data (i32.add (local.get $map) (i32.add (i32.const 8) (i32.load offset=4 (local.get $map)))))
            (local.set $data_len (i32.load (local.get $data)))
            (local.set $data (i32.add (local.get $data) (i32.const 4)))
            (local.set $second (i32.add (local.get $data) (local.get $data_len)))
            (local.set $second
              (i32.add (local.get $second) (i32.add (i32.const 8) (i32.load (local.get $second)))))
            (local.set $out (call $alloc (i32.add (local.get $data_len) (i32.const 17))))
            (memory.copy (local.get $out) (i32.const 64) (i32.const 13))
            (i32.store offset=13 (local.get $out) (local.get $data_len))
            (memory.copy (i32.add (local.get $out) (i32.const 17)) (local.get $data) (local.get $data_len))
            (call $add (i32.add (local.get $out) (i32.const 17)) (local.get $data_len)
              (i32.mul (local.get $sign) (i32.sub (i32.load8_u (local.get $second)) (i32.const 48))))
            (call $dealloc (local.get $map) (local.get $len))
            (i64.or
              (i64.shl (i64.extend_i32_u (local.get $out)) (i64.const 32))
              (i64.extend_i32_u (i32.add (local.get $data_len) (i32.const 17)))))
          (func (export "decode") (param $map i32) (param $len i32) (result i64) {decode_body})
          (func (export "encode") (param $map i32) (param $len i32) (result i64)
            (call $run (local.get $map) (local.get $len) (i32.const -1))))"#
    )
}

const DECODE_D: &str = "(call $run (local.get $map) (local.get $len) (i32.const 1))";

const SIGNATURE: &str = r#"(@custom "chonkle:signature" "{\"codec_id\": \"adder\", \"inputs\": {\"bytes\": {\"type\": \"bytes\"}, \"number\": {\"type\": \"int\", \"required\": false, \"default\": 3}}, \"outputs\": {\"bytes\": {\"type\": \"bytes\"}}}")"#;

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
    assert_eq!(codec.encoded_bound(10).unwrap(), None);
}

#[test]
fn a_gets_its_configuration_and_what_it_is_given_is_freed() {
    let parameters = json!({"x": 1});
    let amount = u8::try_from(parameters.to_string().len()).unwrap();
    check_round_trips(guest(&module_a(DECODE_A), &setup(Kind::BytesBytes, 0, parameters)).unwrap(), amount);
}

#[test]
fn d_gets_its_parameter_as_a_port() {
    let with_number = setup(Kind::BytesBytes, 0, json!({"number": 5}));
    check_round_trips(guest(&module_d("", "", DECODE_D), &with_number).unwrap(), 5);
    check_round_trips(guest(&module_d(SIGNATURE, "", DECODE_D), &with_number).unwrap(), 5);
}

#[test]
fn d_gets_the_default_of_its_signature() {
    check_round_trips(guest(&module_d(SIGNATURE, "", DECODE_D), &bytes_setup()).unwrap(), 3);
    let mut without = guest(&module_d("", "", DECODE_D), &bytes_setup()).unwrap();
    assert!(matches!(decode(without.as_mut(), b"abc"), Err(WasmError::Guest(_))), "one port, not two");
}

#[test]
fn e_tells_its_signature_itself() {
    let text = r#"{"decode": {"inputs": {"bytes": {"type": "bytes"}, "number": {"type": "int", "default": 4}}, "outputs": {"bytes": {"type": "bytes"}}}, "encode": {"inputs": {"bytes": {"type": "bytes"}, "number": {"type": "int", "default": 4}}, "outputs": {"bytes": {"type": "bytes"}}}}"#;
    let escaped = text.replace('"', "\\\"");
    let packed = (200_u64 << 32) | u64::try_from(text.len()).unwrap();
    let more = format!(
        r#"(data (i32.const 200) "{escaped}") (func (export "signature") (result i64) (i64.const {packed}))"#
    );
    check_round_trips(guest(&module_d("", &more, DECODE_D), &bytes_setup()).unwrap(), 4);
    let outside = r#"(func (export "signature") (result i64) (i64.const 0x7fffffff00000100))"#;
    let refused = guest(&module_d("", outside, DECODE_D), &bytes_setup());
    assert!(matches!(refused.err(), Some(WasmError::Broken(_))));
}

#[test]
fn e_in_a_section_needs_no_call() {
    let section = SIGNATURE.replace("chonkle:signature", "cylf:signature");
    let more = r#"(func (export "signature") (result i64) unreachable)"#;
    check_round_trips(guest(&module_d(&section, more, DECODE_D), &bytes_setup()).unwrap(), 3);
}

#[test]
fn initialize_is_called_once() {
    let more = r#"(global $ready (mut i32) (i32.const 0))
      (func (export "_initialize")
        (if (global.get $ready) (then unreachable))
        (global.set $ready (i32.const 1)))"#;
    let body = format!("(if (i32.eqz (global.get $ready)) (then unreachable)) {DECODE_D}");
    check_round_trips(guest(&module_d(SIGNATURE, more, &body), &bytes_setup()).unwrap(), 3);
}

#[test]
fn exceptions_that_were_caught_cost_no_memory() {
    // 32 bytes for each would be six times what the guest may have.
    let more = r"(tag $oops (param i32))
      (func $throw (param $turns i32)
        (loop $more
          (block $caught (try_table (catch_all $caught) (throw $oops (local.get $turns))))
          (br_if $more (local.tee $turns (i32.sub (local.get $turns) (i32.const 1))))))";
    let body = format!("(call $throw (i32.const 20000)) {DECODE_D}");
    let mut codec = guest(&module_d(SIGNATURE, more, &body), &bytes_setup()).unwrap();
    for _ in 0..10 {
        assert_eq!(decode(codec.as_mut(), b"abc").unwrap(), b"def");
    }
    assert!(codec.memory_bytes() <= 1 << 20);
}

/// The error of decoding three bytes with a guest whose decoder is `body`.
fn failure(text: &str, setup: &Setup) -> WasmError {
    let mut codec = guest(text, setup).unwrap();
    decode(codec.as_mut(), b"abc").unwrap_err()
}

#[test]
fn lies_of_a_and_d_are_told() {
    let setup = bytes_setup();
    for (body, is_expected) in [
        ("(i64.const 0)", (|error| matches!(error, WasmError::Guest(_))) as fn(&WasmError) -> bool),
        ("unreachable", |error| matches!(error, WasmError::Trap(_))),
        // A pointer outside memory, a length that leads out of it, both at the edge.
        ("(i64.const 0x7fffffff00000010)", |error| matches!(error, WasmError::Broken(_))),
        ("(i64.const 0x00000400ffffffff)", |error| matches!(error, WasmError::Broken(_))),
        ("(i64.const 0x0001ffff00000002)", |error| matches!(error, WasmError::Broken(_))),
        ("(i64.const 0xffffffffffffffff)", |error| matches!(error, WasmError::Broken(_))),
    ] {
        for text in [module_a(body), module_d("", "", body)] {
            let error = failure(&text, &setup);
            assert!(is_expected(&error), "{body}: {error}");
        }
    }
}

#[test]
fn port_maps_that_lie_are_told() {
    let entry = r"\05\00\00\00bytes\03\00\00\00abc";
    for (map, len) in [
        (String::new(), 0),
        (r"\01\00".to_owned(), 2),
        (r"\00\00\00\00".to_owned(), 4),
        (r"\01\00\00\00".to_owned(), 4),
        (r"\ff\ff\ff\ff".to_owned() + entry, 20),
        (r"\02\00\00\00".to_owned() + entry, 20),
        (r"\01\00\00\00\ff\ff\ff\ff".to_owned() + entry, 24),
        (r"\01\00\00\00\05\00\00\00bytes\04\00\00\00abc".to_owned(), 20),
        (r"\01\00\00\00\05\00\00\00\ff\feabc\03\00\00\00abc".to_owned(), 20),
    ] {
        let more = format!(r#"(data (i32.const 300) "{map}")"#);
        let body = format!(
            "(call $dealloc (local.get 0) (local.get 1)) (drop (call $alloc (i32.const 1)))
            (i64.const {})",
            (300_u64 << 32) | len
        );
        let error = failure(&module_d("", &more, &body), &bytes_setup());
        assert!(matches!(error, WasmError::Broken(_)), "{map}: {error}");
    }
    // The same with a name of another port, which does where there is no signature.
    let more = r#"(data (i32.const 300) "\01\00\00\00\01\00\00\00x\03\00\00\00abc")"#;
    let body = "(call $dealloc (local.get 0) (local.get 1)) (drop (call $alloc (i32.const 1)))
        (i64.const 0x0000012c00000010)";
    let mut lenient = guest(&module_d("", more, body), &bytes_setup()).unwrap();
    assert_eq!(decode(lenient.as_mut(), b"").unwrap(), b"abc");
    assert!(matches!(failure(&module_d(SIGNATURE, more, body), &bytes_setup()), WasmError::Broken(_)));
}

#[test]
fn results_of_another_length_are_not_handed_on() {
    for text in [module_a(DECODE_A), module_d(SIGNATURE, "", DECODE_D)] {
        let mut codec = guest(&text, &bytes_setup()).unwrap();
        for _ in 0..100 {
            for room in [Room { expected: Some(4), limit: 4 }, Room { expected: None, limit: 2 }] {
                let error = codec.decode(b"abc", room, &mut |_| panic!("handed on")).unwrap_err();
                assert!(matches!(error, WasmError::DecodedLength { actual: 3, .. }), "{error}");
                assert!(error.leaves_guest_sound());
            }
        }
        let refuse = &mut |_: &[u8]| Err(WasmError::Cancelled);
        let room = Room { expected: Some(3), limit: 3 };
        assert!(matches!(codec.decode(b"abc", room, refuse), Err(WasmError::Cancelled)));
        assert_eq!(decode(codec.as_mut(), b"abc").unwrap().len(), 3);
    }
}

#[test]
fn allocators_that_fail_or_lie_are_told() {
    let alloc = r#"(export "alloc") (param $len i32) (result i32)"#;
    let with = |result: &str| {
        let other = format!("{alloc} (return (i32.const {result}))");
        module_d("", "", DECODE_D).replacen(alloc, &other, 1)
    };
    assert!(matches!(failure(&with("0"), &bytes_setup()), WasmError::Guest(_)));
    assert!(matches!(failure(&with("-1"), &bytes_setup()), WasmError::Broken(_)));
    assert!(matches!(failure(&with("131070"), &bytes_setup()), WasmError::Broken(_)));
}

#[test]
fn what_is_not_exported_is_missing() {
    let whole = module_d("", "", DECODE_D);
    for name in ["memory", "alloc", "dealloc"] {
        let without = whole.replacen(&format!("(export \"{name}\")"), "(export \"other\")", 1);
        let error = guest(&without, &bytes_setup()).err().unwrap();
        assert!(matches!(&error, WasmError::Missing(what) if what.contains("export")), "{name}: {error}");
    }
    let other_type =
        whole.replacen("(param $ptr i32) (param $len i32)", "(param $ptr i64) (param $len i32)", 1);
    assert!(matches!(guest(&other_type, &bytes_setup()).err(), Some(WasmError::Invalid(_))));
    let reader = whole.replace("(export \"encode\")", "");
    let mut reader = guest(&reader, &setup(Kind::BytesBytes, 0, json!({"number": 1}))).unwrap();
    assert_eq!(decode(reader.as_mut(), b"abc").unwrap(), b"bcd");
    assert!(matches!(encode(reader.as_mut(), b"abc"), Err(WasmError::Missing(_))));
}

#[test]
fn imports_that_nobody_answers_are_named() {
    let text = module_d("", "", DECODE_D).replacen("(module", r#"(module (import "env" "now" (func))"#, 1);
    let error = guest(&text, &bytes_setup()).err().unwrap();
    assert!(matches!(&error, WasmError::Invalid(reason) if reason.contains("env") && reason.contains("now")));
}
