//! Modules told apart, and those that are none.

use super::*;
use crate::wasm::testing::{COPY, MODULE_LIMIT, assemble, guest};

fn survey(text: &str) -> Survey {
    Survey::of(&assemble(text), MODULE_LIMIT).unwrap()
}

fn interface(text: &str) -> Option<Interface> {
    survey(text).interface
}

/// A component that exports an instance of these names, made of a core module inside.
fn component(name: &str, core: &str) -> String {
    format!(
        r#"(component
             (core module $m {core})
             (core instance $i (instantiate $m))
             (func $f (canon lift (core func $i "f")))
             (instance $e (export "f" (func $f)))
             (export "{name}" (instance $e)))"#
    )
}

#[test]
fn interfaces_are_told_apart() {
    let two = r#"(func (export "decode") (param i32 i32) (result i64) (i64.const 0))"#;
    let four = r#"(func (export "encode") (param i32 i32 i32 i32) (result i64) (i64.const 0))"#;
    let signature = r#"(func (export "signature") (result i64) (i64.const 0))"#;
    let f = r#"(func (export "f"))"#;
    let numcodecs = "numcodecs:abc/codec@0.1.1";
    let direct = format!(
        r#"{f} (memory (export "memory") 1)
           (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
           (func (export "{numcodecs}#[static]codec.from-config") (param i32 i32) (result i32) (i32.const 0))
           (func (export "{numcodecs}#[method]codec.encode") (param i32 i32 i32 i32 i32 i32) (result i32)
             (i32.const 0))
           (func (export "{numcodecs}#[method]codec.decode") (param i32 i32 i32 i32 i32 i32) (result i32)
             (i32.const 0))"#
    );
    let b = format!(
        r#"(component (core module $m {f}) (core instance $i (instantiate $m))
             (func (export "decode") (canon lift (core func $i "f"))))"#
    );
    for (text, expected) in [
        (format!("(module {two})"), Some(Interface::ChonkleD)),
        (format!("(module {four})"), Some(Interface::ChonkleA)),
        (format!("(module {two} {signature})"), Some(Interface::ChonkleECore)),
        ("(module)".to_owned(), None),
        (format!("(module {signature})"), None),
        (r#"(module (memory (export "decode") 1))"#.to_owned(), None),
        (component("cylf:codec/transform", f), Some(Interface::ChonkleEComponent)),
        (component("cylf:codec/transform@0.1.0", f), Some(Interface::ChonkleEComponent)),
        (component("chonkle:codec/transform@0.1.0", f), Some(Interface::ChonkleC)),
        (component("chonkle:codec/transform@0.2.0", f), None),
        (component(numcodecs, f), Some(Interface::NumcodecsComponent)),
        (component(numcodecs, &direct), Some(Interface::NumcodecsCore)),
        (component("numcodecs:abc/codec@0.2.0", f), None),
        (b, Some(Interface::ChonkleB)),
        ("(component)".to_owned(), None),
    ] {
        assert_eq!(interface(&text), expected, "{text}");
    }
    assert_eq!(Survey::of(&guest(COPY), MODULE_LIMIT).unwrap().interface, Some(Interface::WazarrCore));
}

#[test]
fn a_survey_says_what_is_inside() {
    let text = r#"(module
        (import "env" "log" (func (param i32)))
        (memory (export "memory") 3 9)
        (func (export "decode") (param i32 i32) (result i64) (i64.const 0)))"#;
    let mut module = assemble(text);
    let payload = br#"{"codec_id":"x"}"#;
    let name = b"chonkle:signature";
    module.push(0);
    module.push(u8::try_from(1 + name.len() + payload.len()).unwrap());
    module.push(u8::try_from(name.len()).unwrap());
    module.extend_from_slice(name);
    module.extend_from_slice(payload);
    let survey = Survey::of(&module, MODULE_LIMIT).unwrap();
    assert_eq!(survey.imports, ["env#log"]);
    assert_eq!(survey.exports, ["memory", "decode"]);
    assert_eq!(survey.memory_pages, Some((3, Some(9))));
    assert_eq!(survey.signature, Some(serde_json::json!({"codec_id": "x"})));
    assert!(survey.has_decode && !survey.has_encode);
    assert_eq!(Survey::from_json(&survey.to_json()), Some(survey));
    let component = self::survey(&component("chonkle:codec/transform@0.1.0", r#"(func (export "f"))"#));
    assert!(component.is_component && component.has_decode && component.embedded_exports == ["f"]);
    assert_eq!(Survey::from_json(&component.to_json()), Some(component));
}

#[test]
fn what_is_no_module_is_an_error() {
    for bytes in [&b""[..], b"\0asm", b"\0asm\x02\0\0\0", b"PK\x03\x04....", b"\0asm\x01\0\0\0\x01"] {
        assert!(matches!(Survey::of(bytes, MODULE_LIMIT), Err(WasmError::Invalid(_))), "{bytes:?}");
    }
    for module in [guest(COPY), assemble(&component("cylf:codec/transform", r#"(func (export "f"))"#))] {
        for len in 0..module.len() {
            // Cut at the end of a section it may be a module still.
            drop(Survey::of(&module[..len], MODULE_LIMIT));
        }
        assert!(Survey::of(&module[..module.len() - 1], MODULE_LIMIT).is_err());
    }
}

#[test]
fn what_would_take_the_compiler_long_is_refused() {
    let many = |count: usize, what: &str| format!("(module {})", what.repeat(count));
    let exports: Vec<_> = (0..1001).map(|number| format!(r#"(export "e{number}" (func 0))"#)).collect();
    let exports = exports.concat();
    let locals = "(local i64) ".repeat(10_001);
    let branches = |count: usize| "(block (br_if 0 (i32.const 0)))".repeat(count);
    let names = |locals: usize, blocks: usize| {
        format!("(func {} {})", "(local i64) ".repeat(locals), branches(blocks))
    };
    for text in [
        many(17, "(memory 0)"),
        many(17, "(table 0 funcref)"),
        many(10_001, "(global i32 (i32.const 0))"),
        many(50_001, "(func)"),
        format!("(module (func) {exports})"),
        format!("(module (func {locals}))"),
        format!("(module {})", names(9_000, 500)),
        format!("(module {})", names(0, 30_001)),
        format!("(module {})", names(5_000, 375).repeat(14)),
        format!("(module (func $f {}))", "(call $f) ".repeat(100_001)),
        format!("(module (func {}))", "(nop) ".repeat(500_001)),
    ] {
        let refused = Survey::of(&assemble(&text), MODULE_LIMIT);
        assert!(matches!(refused, Err(WasmError::TooComplex { .. })), "{refused:?}");
    }
    let module = guest(COPY);
    let refused = Survey::of(&module, module.len() - 1);
    assert!(
        matches!(refused, Err(WasmError::Limit { option: "wazarr.wasm.module_limit", .. })),
        "{refused:?}"
    );
    // Nested to the hilt: each level wraps the one inside.
    let mut nested = "(component)".to_owned();
    for _ in 0..9 {
        nested = format!("(component {nested})");
    }
    assert!(matches!(Survey::of(&assemble(&nested), MODULE_LIMIT), Err(WasmError::TooComplex { .. })));
}

/// A component that instantiates the one inside so often, and so on down.
fn laughs(count: usize, levels: usize) -> String {
    let inner = if levels == 0 { String::new() } else { laughs(count, levels - 1) };
    let instances = "(instance (instantiate $c))".repeat(if levels == 0 { 0 } else { count });
    format!("(component $c {inner} {instances})")
}

#[test]
fn components_that_become_very_many_are_refused() {
    let of = |text: &str| Survey::of(&assemble(text), MODULE_LIMIT);
    assert!(of(&laughs(3, 5)).is_ok());
    for text in [laughs(10, 7), laughs(200, 3), laughs(20_000, 2)] {
        let refused = of(&text);
        assert!(matches!(refused, Err(WasmError::TooComplex { .. })), "{refused:?}");
    }
    // Side by side, each of the one before.
    let mut text = "(component (component $c0)".to_owned();
    for number in 1..60 {
        let instances = format!("(instance (instantiate $o{}))", number - 1).repeat(2);
        let outer = format!("(alias outer $top $c{0} (component $o{0}))", number - 1);
        text.extend(["(component $c", &number.to_string(), " ", &outer, " ", &instances, ")"]);
    }
    let text = text.replacen("(component", "(component $top", 1) + ")";
    assert!(matches!(of(&text), Err(WasmError::TooComplex { .. })));
}

#[test]
fn components_that_hand_components_around_are_refused() {
    for text in [
        r#"(component (import "c" (component)))"#,
        r#"(component (component $c) (export "c" (component $c)))"#,
        r#"(component (component $d (import "c" (component $c)) (instance (instantiate $c))))"#,
        r#"(component (import "i" (instance $i (export "c" (component)))) (alias export $i "c" (component)))"#,
    ] {
        let refused = Survey::of(&assemble(text), MODULE_LIMIT);
        assert!(matches!(refused, Err(WasmError::Invalid(_))), "{text}: {refused:?}");
    }
}
