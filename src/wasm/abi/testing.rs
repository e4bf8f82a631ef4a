//! Guests from text, for tests.

use serde_json::{Map, Value};

use super::{ArrayDescription, Guest, Kind, Room, Setup, instantiate};
use crate::wasm::{Interface, Limits, WasmError, cache};

/// `alloc` and `dealloc` of a guest that counts what is in use, starts afresh when nothing is, and traps
/// when more is than a call needs: whoever forgets to free is found out.
pub(in crate::wasm) const ALLOCATOR: &str = r#"
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 1024))
  (global $live (mut i32) (i32.const 0))
  (func $alloc (export "alloc") (param $len i32) (result i32)
    (if (i32.ge_u (global.get $live) (i32.const 4)) (then unreachable))
    (if (i32.eqz (global.get $live)) (then (global.set $next (i32.const 1024))))
    (global.set $live (i32.add (global.get $live) (i32.const 1)))
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get $len))))
  (func $dealloc (export "dealloc") (param $ptr i32) (param $len i32)
    (if (i32.eqz (global.get $live)) (then unreachable))
    (global.set $live (i32.sub (global.get $live) (i32.const 1))))
"#;

/// A function that adds a number to bytes, in place.
pub(in crate::wasm) const ADD: &str = r"
  (func $add (param $ptr i32) (param $len i32) (param $number i32)
    (loop $next
      (if (local.get $len)
        (then
          (i32.store8 (local.get $ptr) (i32.add (i32.load8_u (local.get $ptr)) (local.get $number)))
          (local.set $ptr (i32.add (local.get $ptr) (i32.const 1)))
          (local.set $len (i32.sub (local.get $len) (i32.const 1)))
          (br $next)))))
";

/// A codec of this kind; arrays are of two-byte elements in two columns.
pub(in crate::wasm) fn setup(kind: Kind, rows: u64, parameters: Value) -> Setup {
    let Value::Object(parameters) = parameters else { panic!("{parameters} are no parameters") };
    let row = || ArrayDescription { data_type: "|u1".to_owned(), shape: vec![0] };
    let array = || ArrayDescription { data_type: "<u2".to_owned(), shape: vec![rows, 2] };
    let (decoded, encoded) = match kind {
        Kind::BytesBytes => (row(), row()),
        Kind::ArrayBytes => (array(), row()),
        Kind::ArrayArray => (array(), array()),
    };
    Setup { kind, parameters, decoded, encoded, fill_value: None }
}

pub(in crate::wasm) fn bytes_setup() -> Setup {
    setup(Kind::BytesBytes, 0, Value::Object(Map::new()))
}

/// A guest of the module or component in `text`, called through the interface that the survey finds.
pub(in crate::wasm) fn guest(text: &str, setup: &Setup) -> Result<Box<dyn Guest>, WasmError> {
    guest_through(None, text, setup)
}

/// The same through another interface.
pub(in crate::wasm) fn guest_through(
    interface: Option<Interface>,
    text: &str,
    setup: &Setup,
) -> Result<Box<dyn Guest>, WasmError> {
    let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    let stored = cache::put(&bytes, None, None, 1 << 20)?;
    let interface = interface.or(stored.survey().interface).expect("the survey knows the interface");
    let limits = Limits { is_trusted: true, memory_bytes: 1 << 20, ..Limits::default() };
    let module = cache::compiled(&stored, interface, false)?;
    instantiate(&module, setup, &limits)
}

pub(in crate::wasm) const ROOM: Room = Room { expected: None, limit: 1 << 16 };

pub(in crate::wasm) fn decode(guest: &mut dyn Guest, encoded: &[u8]) -> Result<Vec<u8>, WasmError> {
    let mut decoded = None;
    guest.decode(encoded, ROOM, &mut |bytes| {
        assert!(decoded.replace(bytes.to_vec()).is_none(), "taken twice");
        Ok(())
    })?;
    Ok(decoded.expect("a result is handed on"))
}

pub(in crate::wasm) fn encode(guest: &mut dyn Guest, decoded: &[u8]) -> Result<Vec<u8>, WasmError> {
    let mut encoded = None;
    guest.encode(decoded, ROOM, &mut |bytes| {
        assert!(encoded.replace(bytes.to_vec()).is_none(), "taken twice");
        Ok(())
    })?;
    Ok(encoded.expect("a result is handed on"))
}
