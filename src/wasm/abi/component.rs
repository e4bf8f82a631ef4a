//! What component interfaces share: starting one, finding its functions, and whose fault it is when a call
//! fails.

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, Lift, Linker, Lower, TypedFunc,
};
use wasmtime::{Store, Trap};

use super::Room;
use crate::wasm::{CompiledModule, HostState, WasmError, wasi};

/// Handles to resources that a guest may hold, its own and those of system calls.
const HANDLES_MAX: usize = 1 << 12;
/// What may come back beside the data: names, error texts.
const TEXTS_BYTES: usize = 64 << 10;

/// A started instance of a component, with the system calls it imports.
pub(super) fn start(store: &mut Store<HostState>, module: &CompiledModule) -> Result<Instance, WasmError> {
    let component = module.component()?;
    store.data_mut().wasi.set_module(module.digest());
    store.set_max_component_handles(HANDLES_MAX);
    let mut linker = Linker::new(component.engine());
    wasi::define_component(&mut linker, component)?;
    let linked =
        linker.instantiate_pre(component).map_err(|error| WasmError::Invalid(format!("{error:#}")))?;
    linked.instantiate(&mut *store).map_err(fault)
}

/// The exported interface of this name, whatever its version.
pub(super) fn interface(
    store: &mut Store<HostState>,
    module: &CompiledModule,
    instance: &Instance,
    name: &str,
) -> Result<ComponentExportIndex, WasmError> {
    let component = module.component()?;
    let exports = component.component_type();
    let full_name = exports.exports(component.engine()).map(|(export, _)| export).find(|export| {
        export.strip_prefix(name).is_some_and(|version| version.is_empty() || version.starts_with('@'))
    });
    let index = full_name.and_then(|full_name| instance.get_export_index(&mut *store, None, full_name));
    index.ok_or_else(|| WasmError::Missing(format!("export the interface {name}")))
}

/// An exported function of the type that the interface asks for.
pub(super) fn function<P: ComponentNamedList + Lower, R: ComponentNamedList + Lift>(
    store: &mut Store<HostState>,
    instance: &Instance,
    interface: Option<&ComponentExportIndex>,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>, WasmError> {
    let Some(index) = instance.get_export_index(&mut *store, interface, name) else { return Ok(None) };
    let function = instance.get_func(&mut *store, index);
    let function =
        function.ok_or_else(|| WasmError::Invalid(format!("its export {name:?} is no function")))?;
    let typed = function.typed(&*store);
    typed.map(Some).map_err(|error| WasmError::Invalid(format!("its function {name:?}: {error:#}")))
}

/// Limits what the next call may return; the host's copy is made before its length can be looked at.
pub(super) fn limit_result(store: &mut Store<HostState>, room: Room) {
    let longest = room.expected.map_or(room.limit, |expected| expected.max(room.limit));
    store.set_hostcall_fuel(longest.saturating_mul(2).saturating_add(TEXTS_BYTES));
}

/// A failed call: what is not a trap is an answer that the component model does not allow.
pub(super) fn fault(error: wasmtime::Error) -> WasmError {
    let is_own = error.is::<WasmError>() || error.is::<Trap>();
    if is_own { WasmError::from(error) } else { WasmError::Broken(format!("{error:#}")) }
}
