//! What the interfaces share: entering a guest, finding its functions, reading and writing its memory.
//!
//! Numbers that come from a guest are pointers only after [`part`] has held them against its memory.

use wasmtime::{AsContextMut, Instance, Linker, Memory, Store, TypedFunc, WasmParams, WasmResults};

use crate::distance;
use crate::wasm::{CompiledModule, HostState, Session, WasmError, wasi};

/// Enters the guest for one call. What it wrote to its standard error goes with the error, if there is one.
pub(super) fn call<T>(
    session: &mut Session,
    body: impl FnOnce(&mut Store<HostState>) -> Result<T, WasmError>,
) -> Result<T, WasmError> {
    session.run(|store| {
        store.data_mut().wasi.begin_call();
        let result = body(store);
        match (result, store.data_mut().wasi.end_call()) {
            (Err(WasmError::Trap(reason)), Some(text)) => Err(WasmError::Trap(with_text(&reason, &text))),
            (Err(WasmError::Guest(reason)), Some(text)) => Err(WasmError::Guest(with_text(&reason, &text))),
            (result, _) => result,
        }
        .map_err(|error| match error {
            WasmError::Guest(text) => WasmError::Guest(printable(&text)),
            WasmError::Trap(text) => WasmError::Trap(printable(&text)),
            error => error,
        })
    })
}

/// The same text without what a terminal would take for an order.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn with_text(reason: &str, text: &str) -> String {
    format!("{reason}; it wrote: {text}")
}

/// What a guest's own error text may be; the rest is dropped.
const ERROR_MAX_BYTES: usize = 4 << 10;

/// An error that the guest reported, as text of bounded length.
pub(super) fn reported(text: &[u8]) -> WasmError {
    let kept = &text[..text.len().min(ERROR_MAX_BYTES)];
    match String::from_utf8_lossy(kept).trim() {
        "" => WasmError::Guest("an error, and not which".to_owned()),
        text => WasmError::Guest(text.to_owned()),
    }
}

/// A started instance of a core module, with the system calls it imports. `define` adds what the interface
/// gives to its guests.
pub(super) fn start(
    store: &mut Store<HostState>,
    module: &CompiledModule,
    define: impl FnOnce(&mut Linker<HostState>) -> wasmtime::Result<()>,
) -> Result<Instance, WasmError> {
    let core = module.core()?;
    store.data_mut().wasi.set_module(module.digest());
    let mut linker = Linker::new(core.engine());
    wasi::define_core(&mut linker, core)?;
    define(&mut linker)?;
    let linked = linker.instantiate_pre(core).map_err(|error| WasmError::Invalid(format!("{error:#}")))?;
    let instance = linked.instantiate(&mut *store)?;
    if let Some(initialize) = optional_function::<(), ()>(&mut *store, &instance, "_initialize")? {
        initialize.call(&mut *store, ())?;
    }
    Ok(instance)
}

/// An exported function of the type that the interface asks for.
pub(super) fn function<P: WasmParams, R: WasmResults>(
    store: impl AsContextMut,
    instance: &Instance,
    name: &str,
) -> Result<TypedFunc<P, R>, WasmError> {
    optional_function(store, instance, name)?
        .ok_or_else(|| WasmError::Missing(format!("export the function {name:?}")))
}

/// The same, where it may be missing.
pub(super) fn optional_function<P: WasmParams, R: WasmResults>(
    mut store: impl AsContextMut,
    instance: &Instance,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>, WasmError> {
    let Some(function) = instance.get_func(&mut store, name) else { return Ok(None) };
    let typed = function.typed(&store);
    typed.map(Some).map_err(|error| WasmError::Invalid(format!("its function {name:?}: {error:#}")))
}

/// The exported memory.
pub(super) fn memory(store: impl AsContextMut, instance: &Instance) -> Result<Memory, WasmError> {
    let memory = instance.get_memory(store, "memory");
    memory.ok_or_else(|| WasmError::Missing("export its memory".to_owned()))
}

/// The bytes that a guest points to.
pub(super) fn part(memory: &[u8], pointer: u32, len_bytes: usize) -> Result<&[u8], WasmError> {
    let rest = memory.get(pointer as usize..).and_then(|rest| rest.get(..len_bytes));
    rest.ok_or_else(|| outside(pointer, len_bytes, memory.len()))
}

/// Copies bytes to where a guest has made room for them.
pub(super) fn put(memory: &mut [u8], pointer: u32, bytes: &[u8]) -> Result<(), WasmError> {
    let memory_len = memory.len();
    let rest = memory.get_mut(pointer as usize..).and_then(|rest| rest.get_mut(..bytes.len()));
    distance::copy(rest.ok_or_else(|| outside(pointer, bytes.len(), memory_len))?, bytes);
    Ok(())
}

/// The little-endian number at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Result<u32, WasmError> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    word.map(|word| u32::from_le_bytes(*word))
        .ok_or_else(|| WasmError::Broken("its result ends before it should".to_owned()))
}

/// A length as the guest counts.
pub(super) fn length(len: usize) -> Result<u32, WasmError> {
    u32::try_from(len).map_err(|_| WasmError::Host(format!("{len} bytes are more than a guest can have")))
}

fn outside(pointer: u32, len_bytes: usize, memory_len: usize) -> WasmError {
    WasmError::Broken(format!(
        "it points to {len_bytes} bytes at {pointer}, outside its memory of {memory_len} bytes"
    ))
}
