//! Guests for the tests, written as text.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use super::cache::{self, StoredModule};
use super::instances::{Instances, Recipe};
use super::{ArrayDescription, Kind, Limits, Room, Setup, WasmError};

pub(crate) const MODULE_LIMIT: usize = 64 << 20;

/// Held by tests that count guests, or the memory of all guests together.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every guest of the core ABI has.
const FRAME: &str = r#"
    (memory (export "memory") 2)
    (global $next (mut i32) (i32.const 4096))
    (func (export "wazarr_abi") (result i32) (i32.const 1))
    (func (export "dealloc") (param i32 i32))
"#;

/// An `alloc` that hands out what was never used.
const ALLOC: &str = r#"
    (func $alloc (export "alloc") (param $len i32) (result i32)
      (local $at i32) (local $pages i32)
      (local.set $at (global.get $next))
      (global.set $next
        (i32.and (i32.add (i32.add (local.get $at) (local.get $len)) (i32.const 15)) (i32.const -16)))
      (local.set $pages
        (i32.sub
          (i32.shr_u (i32.add (global.get $next) (i32.const 65535)) (i32.const 16))
          (memory.size)))
      (if (i32.gt_s (local.get $pages) (i32.const 0))
        (then
          (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
            (then (return (i32.const 0))))))
      (local.get $at))
"#;

/// Copies, or asks for more room.
pub(crate) const COPY: &str = r#"
    (func (export "decode") (export "encode") (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32)
      (result i64)
      (if (i32.gt_u (local.get $in_len) (local.get $out_len)) (then (return (i64.const -2))))
      (memory.copy (local.get $out) (local.get $in) (local.get $in_len))
      (i64.extend_i32_u (local.get $in_len)))
"#;

/// A guest of the core ABI with these functions besides.
pub(crate) fn guest(functions: &str) -> Vec<u8> {
    assemble(&format!("(module {FRAME} {ALLOC} {functions})"))
}

/// The same with its own `alloc`.
pub(crate) fn guest_without_alloc(functions: &str) -> Vec<u8> {
    assemble(&format!("(module {FRAME} {functions})"))
}

/// A guest whose `decode` is this body.
pub(crate) fn decoder(body: &str) -> Vec<u8> {
    guest(&format!(
        r#"(func (export "decode") (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32)
             (result i64) {body})"#
    ))
}

pub(crate) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

pub(crate) fn setup() -> Setup {
    Setup {
        kind: Kind::BytesBytes,
        parameters: Map::new(),
        decoded: ArrayDescription::any_bytes(),
        encoded: ArrayDescription::any_bytes(),
        fill_value: None,
    }
}

pub(crate) fn with_parameters(parameters: &Value) -> Setup {
    Setup { parameters: parameters.as_object().unwrap().clone(), ..setup() }
}

pub(crate) fn store(module: &[u8]) -> Arc<StoredModule> {
    cache::put(module, None, None, MODULE_LIMIT).unwrap()
}

pub(crate) fn recipe(module: &[u8], setup: Setup, limits: Limits) -> Recipe {
    Recipe::new(store(module), None, setup, limits, false).unwrap()
}

pub(crate) fn decode_with(
    instances: &mut Instances,
    recipe: &Recipe,
    encoded: &[u8],
    room: Room,
) -> Result<Vec<u8>, WasmError> {
    let mut taken = Vec::new();
    instances.with_guest(recipe, |guest| {
        guest.decode(encoded, room, &mut |result| {
            taken.push(result.to_vec());
            Ok(())
        })
    })?;
    assert_eq!(taken.len(), 1);
    Ok(taken.remove(0))
}

/// Decodes three bytes to three bytes in a new guest with few rights.
pub(crate) fn decode(module: &[u8]) -> Result<Vec<u8>, WasmError> {
    decode_within(module, small_limits())
}

pub(crate) fn decode_within(module: &[u8], limits: Limits) -> Result<Vec<u8>, WasmError> {
    let recipe = Recipe::new(store(module), None, setup(), limits, false)?;
    decode_with(&mut Instances::default(), &recipe, &[1, 2, 3], exactly(3))
}

pub(crate) fn small_limits() -> Limits {
    Limits { memory_bytes: 16 << 20, timeout: std::time::Duration::from_millis(200), ..Limits::default() }
}

pub(crate) fn exactly(len_bytes: usize) -> Room {
    Room { expected: Some(len_bytes), limit: len_bytes }
}

pub(crate) fn at_most(len_bytes: usize) -> Room {
    Room { expected: None, limit: len_bytes }
}

/// A folder that is removed at the end of a test.
pub(crate) struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("wazarr-test-{}-{number}", std::process::id()));
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
