//! A numcodecs component in text form, called both through the core module inside and through the component
//! model: the same results, the same errors, the same lies found out.

use serde_json::json;

use super::testing::{ADD, decode, encode, guest, guest_through, setup};
use super::{ArrayDescription, Guest, Kind, Room, Setup};
use crate::wasm::{Interface, WasmError};

const ARRAY_TYPES: &str = r#"
  (type $data (variant
    (case "u8" (list u8)) (case "u16" (list u16)) (case "u32" (list u32)) (case "u64" (list u64))
    (case "i8" (list s8)) (case "i16" (list s16)) (case "i32" (list s32)) (case "i64" (list s64))
    (case "f32" (list f32)) (case "f64" (list f64))))"#;
const ARRAY: &str = r#"(record (field "data" $data_) (field "shape" (list u32)))"#;
const DTYPE: &str = r#"(enum "u8" "u16" "u32" "u64" "i8" "i16" "i32" "i64" "f32" "f64")"#;
const PROTOTYPE: &str = r#"(record (field "dtype" $dtype_) (field "shape" (list u32)))"#;
const ERROR: &str = r#"(record (field "message" string) (field "chain" (list string)))"#;

/// Adds the length of its configuration to every byte, or does what the first byte says: 255 reports an
/// error, 254 traps, 253 to 250 lie. `decode` answers a row of bytes, `decode-into` what it is told to.
const GUEST: &str = r#"
  (import "[export]numcodecs:abc/codec@0.1.1" "[resource-new]codec" (func $new (param i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 64) "no good\00because so\00\00")
  (data (i32.const 96) "\48\00\00\00\0a\00\00\00")
  (global $next (mut i32) (i32.const 1024))
  (global $amount (mut i32) (i32.const 0))
  (global $kept (mut i32) (i32.const 0))
  (func $alloc (export "cabi_realloc") (param i32 i32) (param $align i32) (param $len i32) (result i32)
    (local $ptr i32)
    (local.set $ptr
      (i32.and
        (i32.sub (i32.add (global.get $next) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $next (i32.add (local.get $ptr) (local.get $len)))
    (if (i32.gt_u (global.get $next) (i32.const 100000)) (then unreachable))
    (local.get $ptr))
  (func $post (param i32) (global.set $next (i32.const 1024)))
  (func (export "numcodecs:abc/codec@0.1.1#[static]codec.from-config") (param $json i32) (param $len i32) (result i32)
    (if (i32.eq (i32.load8_u offset=1 (local.get $json)) (i32.const 125)) (then (return (call $error))))
    (global.set $amount (local.get $len))
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store (i32.const 20) (call $new (i32.const 4242)))
    (i32.const 16))
  (func $error (result i32)
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (i32.const 64)) (i32.store (i32.const 24) (i32.const 7))
    (i32.store (i32.const 28) (i32.const 96)) (i32.store (i32.const 32) (i32.const 1))
    (i32.const 16))
  (func $answer (param $case i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32) (result i32)
    (i32.store8 (i32.const 16) (i32.const 0))
    (i32.store8 (i32.const 20) (local.get $case))
    (i32.store (i32.const 24) (local.get $ptr))
    (i32.store (i32.const 28) (local.get $len))
    (i32.store (i32.const 32) (local.get $shape))
    (i32.store (i32.const 36) (local.get $axes))
    (i32.const 16))
  (func $size (param $case i32) (result i32)
    (i32.load8_u (i32.add (i32.const 112) (local.get $case))))
  (data (i32.const 112) "\01\02\04\08\01\02\04\08\04\08")
  (func $row (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 128) (local.get $len))
    (call $answer (i32.const 0) (local.get $ptr) (local.get $len) (i32.const 128) (i32.const 1)))
  (func $run (param $self i32) (param $ptr i32) (param $len i32) (param $number i32) (result i32)
    (local $first i32)
    (if (i32.ne (local.get $self) (i32.const 4242)) (then unreachable))
    (if (local.get $len) (then (local.set $first (i32.load8_u (local.get $ptr)))))
    (if (i32.eq (local.get $first) (i32.const 255)) (then (return (call $error))))
    (if (i32.eq (local.get $first) (i32.const 254)) (then unreachable))
    (if (i32.eq (local.get $first) (i32.const 253)) (then
      (return (call $answer (i32.const 77) (local.get $ptr) (local.get $len) (i32.const 128) (i32.const 1)))))
    (if (i32.eq (local.get $first) (i32.const 252)) (then
      (return (call $answer (i32.const 0) (i32.const 0x7ffffff0) (local.get $len) (i32.const 128) (i32.const 1)))))
    (if (i32.eq (local.get $first) (i32.const 251)) (then
      (i32.store (i32.const 128) (i32.const 3))
      (return (call $answer (i32.const 0) (local.get $ptr) (i32.const 2) (i32.const 128) (i32.const 1)))))
    (if (i32.eq (local.get $first) (i32.const 250)) (then
      (return (call $answer (i32.const 0) (local.get $ptr) (local.get $len) (i32.const 0x7ffffff0) (i32.const 3)))))
    (if (i32.eq (local.get $first) (i32.const 249)) (then
      (drop (call $row (local.get $ptr) (local.get $len)))
      (i32.store8 (i32.const 16) (i32.const 2))
      (return (i32.const 16))))
    (if (i32.eq (local.get $first) (i32.const 248)) (then (return (i32.const 0x7ffffff0))))
    (call $add (local.get $ptr) (local.get $len) (local.get $number))
    (call $row (local.get $ptr) (local.get $len)))
  (func (export "numcodecs:abc/codec@0.1.1#[method]codec.encode")
    (param $self i32) (param $case i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32) (result i32)
    (call $run (local.get $self) (local.get $ptr)
      (i32.mul (local.get $len) (call $size (local.get $case))) (i32.sub (i32.const 0) (global.get $amount))))
  (func (export "numcodecs:abc/codec@0.1.1#[method]codec.decode")
    (param $self i32) (param $case i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32) (result i32)
    (call $run (local.get $self) (local.get $ptr)
      (i32.mul (local.get $len) (call $size (local.get $case))) (global.get $amount)))
  (func (export "numcodecs:abc/codec@0.1.1#[method]codec.decode-into")
    (param $self i32) (param $case i32) (param $ptr i32) (param $len i32) (param $shape i32) (param $axes i32)
    (param $new_case i32) (param $new_shape i32) (param $new_axes i32) (result i32)
    (local $answer i32)
    (local.set $len (i32.mul (local.get $len) (call $size (local.get $case))))
    (local.set $answer (call $run (local.get $self) (local.get $ptr) (local.get $len) (global.get $amount)))
    (if (i32.load8_u (local.get $answer)) (then (return (local.get $answer))))
    (call $answer (local.get $new_case) (local.get $ptr)
      (i32.div_u (local.get $len) (call $size (local.get $new_case))) (local.get $new_shape) (local.get $new_axes)))
  (export "cabi_post_numcodecs:abc/codec@0.1.1#[static]codec.from-config" (func $post))
  (export "cabi_post_numcodecs:abc/codec@0.1.1#[method]codec.encode" (func $post))
  (export "cabi_post_numcodecs:abc/codec@0.1.1#[method]codec.decode" (func $post))
  (export "cabi_post_numcodecs:abc/codec@0.1.1#[method]codec.decode-into" (func $post))
"#;

/// The component around a guest, as toolchains build it: functions are lifted from the core module, and a
/// component inside gives types and functions their names.
#[expect(clippy::format_push_string, clippy::too_many_lines, reason = "one text, part by part")]
fn component(core: &str) -> String {
    let functions = [
        ("from_config", "[static]codec.from-config", r#"(param "config" string)"#, "(own $codec_)"),
        (
            "encode",
            "[method]codec.encode",
            r#"(param "self" (borrow $codec_)) (param "data" $array_)"#,
            "$array_",
        ),
        (
            "decode",
            "[method]codec.decode",
            r#"(param "self" (borrow $codec_)) (param "encoded" $array_)"#,
            "$array_",
        ),
        (
            "decode_into",
            "[method]codec.decode-into",
            r#"(param "self" (borrow $codec_)) (param "encoded" $array_) (param "decoded" $prototype_)"#,
            "$array_",
        ),
    ];
    // The types, with a suffix: of the component's own definition, of an import, of an export.
    let named = |text: &str, suffix: &str| {
        ["codec", "data", "array", "dtype", "prototype", "error"]
            .iter()
            .fold(text.to_owned(), |text, name| {
                text.replace(&format!("${name}_"), &format!("${name}{suffix}"))
            })
    };
    let signature = |parameters: &str, result: &str, suffix: &str| {
        named(&format!("(func {parameters} (result (result {result} (error $error_))))"), suffix)
    };
    let (mut lifts, mut imports, mut exports, mut with) =
        (String::new(), String::new(), String::new(), String::new());
    for (id, name, parameters, result) in functions {
        let outer = signature(parameters, result, "");
        let full = format!("numcodecs:abc/codec@0.1.1#{name}");
        lifts += &format!(
            r#"(type ${id}_type {outer})
            (func ${id} (type ${id}_type) (canon lift (core func $i "{full}") (memory $i "memory")
              (realloc (func $i "cabi_realloc")) (post-return (func $i "cabi_post_{full}"))))
            "#
        );
        let dashed = id.replace('_', "-");
        imports += &format!(
            r#"(import "import-{dashed}" (func ${id} {}))
            "#,
            signature(parameters, result, "_in").trim_start_matches("(func ").strip_suffix(')').unwrap()
        );
        exports += &format!(
            r#"(export "{name}" (func ${id}) {})
            "#,
            signature(parameters, result, "_out")
        );
        with += &format!(
            r#"(with "import-{dashed}" (func ${id}))
            "#
        );
    }
    let types = |suffix: &str| {
        named(
            &format!(
                "{ARRAY_TYPES} (type $array {ARRAY}) (type $dtype {DTYPE}) (type $prototype {PROTOTYPE}) (type $error {ERROR})"
            ),
            suffix,
        )
    };
    let outer_types = types("");
    // Inside, each type is made anew and then tied to the one of that name.
    let inner_types = format!(
        r#"{}
        (import "import-type-any-array-data" (type $data_in (eq $data)))
        (type $array {}) (import "import-type-any-array" (type $array_in (eq $array)))
        (type $dtype {DTYPE}) (import "import-type-any-array-dtype" (type $dtype_in (eq $dtype)))
        (type $prototype {}) (import "import-type-any-array-prototype" (type $prototype_in (eq $prototype)))
        (type $error {ERROR}) (import "import-type-error" (type $error_in (eq $error)))"#,
        ARRAY_TYPES,
        ARRAY.replace("$data_", "$data_in"),
        PROTOTYPE.replace("$dtype_", "$dtype_in"),
    );
    // What is exported may be made of exported types only.
    let exported_types = format!(
        r#"(export $data_out "any-array-data" (type $data))
        (type $array_made {}) (export $array_out "any-array" (type $array_made))
        (export $dtype_out "any-array-dtype" (type $dtype))
        (type $prototype_made {}) (export $prototype_out "any-array-prototype" (type $prototype_made))
        (export $error_out "error" (type $error))"#,
        ARRAY.replace("$data_", "$data_out"),
        PROTOTYPE.replace("$dtype_", "$dtype_out"),
    );
    format!(
        r#"(component
          (core module $guest {core})
          (type $codec (resource (rep i32)))
          (core func $new (canon resource.new $codec))
          (core instance $i (instantiate $guest
            (with "[export]numcodecs:abc/codec@0.1.1" (instance (export "[resource-new]codec" (func $new))))))
          {outer_types}
          {lifts}
          (component $interface
            (import "import-type-codec" (type $codec_in (sub resource)))
            {inner_types}
            {imports}
            (export $codec_out "codec" (type $codec_in))
            {exported_types}
            {exports})
          (instance $codec_interface (instantiate $interface
            (with "import-type-codec" (type $codec))
            (with "import-type-any-array-data" (type $data))
            (with "import-type-any-array" (type $array))
            (with "import-type-any-array-dtype" (type $dtype))
            (with "import-type-any-array-prototype" (type $prototype))
            (with "import-type-error" (type $error))
            {with}))
          (export "numcodecs:abc/codec@0.1.1" (instance $codec_interface)))"#
    )
}

fn whole() -> String {
    component(&format!("{GUEST} {ADD}"))
}

/// Guests of both paths.
fn both(text: &str, setup: &Setup) -> [Box<dyn Guest>; 2] {
    [guest(text, setup).unwrap(), guest_through(Some(Interface::NumcodecsComponent), text, setup).unwrap()]
}

fn parameters() -> serde_json::Value {
    json!({"id": "adder.rs", "x": 1})
}

/// The configuration without the name.
const AMOUNT: u8 = 7;

fn added(data: &[u8], amount: u8) -> Vec<u8> {
    data.iter().map(|byte| byte.wrapping_add(amount)).collect()
}

#[test]
fn both_paths_give_the_same_and_give_everything_back() {
    for kind in [Kind::BytesBytes, Kind::ArrayBytes] {
        for mut codec in both(&whole(), &setup(kind, 3, parameters())) {
            let data = *b"zarr of 3x2u";
            let encoded = encode(codec.as_mut(), &data).unwrap();
            assert_eq!(added(&encoded, AMOUNT), data);
            assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data);
            for turn in 0..10_000_u32 {
                let data: Vec<u8> = [turn, 1, 2].iter().flat_map(|number| number.to_be_bytes()).collect();
                let encoded = encode(codec.as_mut(), &data);
                let encoded = encoded.unwrap();
                if encoded[0] < 248 {
                    assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data, "turn {turn}");
                }
            }
            assert!(codec.memory_bytes() <= 2 << 16);
        }
    }
}

#[test]
fn rows_of_bytes_may_have_any_length() {
    for mut codec in both(&whole(), &setup(Kind::BytesBytes, 0, parameters())) {
        for data in [&b""[..], b"a", &[9; 4001]] {
            let encoded = encode(codec.as_mut(), data).unwrap();
            assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data);
        }
    }
}

#[test]
fn a_decoder_that_has_to_be_told_the_array_is_told() {
    // What `decode` answers is a row of bytes, and not the array of two-byte elements that is due.
    for mut codec in both(&whole(), &setup(Kind::ArrayBytes, 2, parameters())) {
        assert_eq!(decode(codec.as_mut(), b"abcdefgh").unwrap(), added(b"abcdefgh", AMOUNT));
        let error = decode(codec.as_mut(), b"abcdef").unwrap_err();
        assert!(matches!(error, WasmError::Broken(_)), "six bytes are no 2 x 2 array: {error}");
    }
}

#[test]
fn arrays_that_are_not_what_the_metadata_says_are_refused() {
    for mut codec in both(&whole(), &setup(Kind::ArrayArray, 2, parameters())) {
        let error = encode(codec.as_mut(), b"abcdefgh").unwrap_err();
        assert!(error.to_string().contains("|u1 where <u2"), "{error}");
        assert_eq!(codec.last_answer(), None);
        assert_eq!(decode(codec.as_mut(), b"abcdefgh").unwrap(), added(b"abcdefgh", AMOUNT));
        assert!(matches!(encode(codec.as_mut(), b"abc"), Err(WasmError::Host(_))), "not the chunk's length");
    }
    for data_type in ["|b1", "<f2", "<c8", "<M8[ns]", "|S3", "", "é"] {
        let mut setup = setup(Kind::ArrayBytes, 2, parameters());
        setup.decoded.data_type = data_type.to_owned();
        assert!(matches!(guest(&whole(), &setup).err(), Some(WasmError::Invalid(_))), "{data_type}");
    }
}

#[test]
fn every_data_type_goes_in_and_out() {
    for (data_type, size) in [
        ("|u1", 1),
        ("<u2", 2),
        ("<u4", 4),
        ("<u8", 8),
        ("|i1", 1),
        (">i2", 2),
        ("<i4", 4),
        ("<i8", 8),
        ("<f4", 4),
        ("<f8", 8),
    ] {
        let mut setup = setup(Kind::ArrayBytes, 1, parameters());
        setup.decoded = ArrayDescription { data_type: data_type.to_owned(), shape: vec![2, 1] };
        for mut codec in both(&whole(), &setup) {
            let data: Vec<u8> = (10..).take(2 * size).collect();
            let encoded = encode(codec.as_mut(), &data).unwrap();
            assert_eq!(added(&encoded, AMOUNT), data, "{data_type}");
            assert_eq!(decode(codec.as_mut(), &encoded).unwrap(), data, "{data_type}");
        }
    }
}

#[test]
fn errors_lies_and_traps_are_told_apart() {
    type IsExpected = fn(&WasmError) -> bool;
    let is_reported: IsExpected =
        |error| matches!(error, WasmError::Guest(text) if text == "no good: because so");
    let is_trap: IsExpected = |error| matches!(error, WasmError::Trap(_));
    let is_broken: IsExpected = |error| matches!(error, WasmError::Broken(_));
    for (first, is_expected) in [
        (255, is_reported),
        (254, is_trap),
        (253, is_broken),
        (252, is_broken),
        (251, is_broken),
        (250, is_broken),
        (249, is_broken),
        (248, is_broken),
    ] {
        for kind in [Kind::BytesBytes, Kind::ArrayBytes] {
            for mut codec in both(&whole(), &setup(kind, 1, parameters())) {
                for error in
                    [decode(codec.as_mut(), &[first, 1, 2, 3]), encode(codec.as_mut(), &[first, 1, 2, 3])]
                {
                    let Err(error) = error else { panic!("{first}") };
                    assert!(is_expected(&error), "{first}, {kind:?}: {error}");
                    if !error.leaves_guest_sound() {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn errors_are_given_back_too() {
    for mut codec in both(&whole(), &setup(Kind::ArrayBytes, 1, parameters())) {
        for _ in 0..10_000 {
            assert!(matches!(decode(codec.as_mut(), &[255, 1, 2, 3]), Err(WasmError::Guest(_))));
        }
        assert_eq!(decode(codec.as_mut(), b"abcd").unwrap(), added(b"abcd", AMOUNT));
    }
}

#[test]
fn a_configuration_that_the_guest_refuses_is_an_error() {
    let setup = setup(Kind::BytesBytes, 0, json!({"id": "adder.rs"}));
    for interface in [Interface::NumcodecsCore, Interface::NumcodecsComponent] {
        let error = guest_through(Some(interface), &whole(), &setup).err().unwrap();
        assert!(matches!(&error, WasmError::Guest(text) if text == "no good: because so"), "{error}");
    }
}

#[test]
fn results_of_another_length_are_not_handed_on() {
    for mut codec in both(&whole(), &setup(Kind::BytesBytes, 0, parameters())) {
        for room in [Room { expected: Some(4), limit: 4 }, Room { expected: None, limit: 2 }] {
            let error = codec.decode(b"abc", room, &mut |_| panic!("handed on")).unwrap_err();
            assert!(matches!(error, WasmError::DecodedLength { actual: 3, .. }), "{error}");
        }
        assert_eq!(decode(codec.as_mut(), b"abc").unwrap().len(), 3);
    }
}

#[test]
fn a_component_that_is_built_otherwise_goes_the_other_way() {
    let setup = setup(Kind::BytesBytes, 0, parameters());
    // An import that only the component answers.
    let with_import = whole().replacen(
        "(core module $guest",
        r#"(core module $guest (import "other" "seven" (func (result i32)))"#,
        1,
    );
    let with_import = with_import.replacen(
        "(core instance $i (instantiate $guest",
        r#"(core module $other (func (export "seven") (result i32) (i32.const 7)))
            (core instance $o (instantiate $other))
            (core instance $i (instantiate $guest (with "other" (instance $o))"#,
        1,
    );
    let bytes = wat::parse_str(&with_import).unwrap();
    let survey = crate::wasm::Survey::of(&bytes, 1 << 20).unwrap();
    assert_eq!(survey.interface, Some(Interface::NumcodecsComponent));
    let mut codec = guest(&with_import, &setup).unwrap();
    assert_eq!(decode(codec.as_mut(), b"abc").unwrap(), added(b"abc", AMOUNT));
    let survey = crate::wasm::Survey::of(&wat::parse_str(whole()).unwrap(), 1 << 20).unwrap();
    assert_eq!(survey.interface, Some(Interface::NumcodecsCore));
}

#[test]
fn memory_that_is_not_aligned_is_refused() {
    let aligned = "(i32.sub (i32.add (global.get $next) (local.get $align)) (i32.const 1))";
    let core = format!("{GUEST} {ADD}").replacen(aligned, "(i32.add (global.get $next) (i32.const 1))", 1);
    let core = core.replacen("(i32.sub (i32.const 0) (local.get $align))", "(i32.const -1)", 1);
    for mut codec in both(&component(&core), &setup(Kind::ArrayBytes, 1, parameters())) {
        assert!(matches!(encode(codec.as_mut(), b"abcd"), Err(WasmError::Broken(_))));
    }
}

#[test]
fn a_guest_tells_what_its_last_answer_was() {
    let row = |len| ArrayDescription { data_type: "|u1".to_owned(), shape: vec![len] };
    for mut codec in both(&whole(), &setup(Kind::BytesBytes, 0, parameters())) {
        assert_eq!(codec.last_answer(), None);
        encode(codec.as_mut(), b"abcdefgh").unwrap();
        assert_eq!(codec.last_answer(), Some(&row(8)));
        decode(codec.as_mut(), b"abc").unwrap();
        assert_eq!(codec.last_answer(), Some(&row(3)));
    }
}
