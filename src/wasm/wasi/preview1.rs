//! System calls of core modules: WASI preview 1, and the log of `wasi:logging`.
//!
//! Each is defined with the type that the module imports it with, and looks at the numbers it is given and no
//! further: a module with a type of its own for a call gets an error number, or a trap.

use wasmtime::{Caller, Extern, ExternType, FuncType, Linker, Memory, Module, Val, ValType};

use super::{LOG_LEVELS, RANDOM_MAX_BYTES, without_version};
use crate::wasm::{HostState, WasmError};

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const INVALID: i32 = 28;
const NOT_SUPPORTED: i32 = 52;

/// Parts that one write may consist of, as in POSIX.
const PARTS_MAX: u32 = 1024;
/// Names that preview 1 has gone by.
const SYSTEMS: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Whether an import of a core module is a system call that is answered here.
#[must_use]
pub fn is_answered(module: &str, name: &str) -> bool {
    SYSTEMS.contains(&module) || is_log(module, name)
}

fn is_log(module: &str, name: &str) -> bool {
    without_version(module) == "wasi:logging/logging" && name == "log"
}

/// Defines every system call that `module` imports, and nothing else.
///
/// # Errors
/// An import by the name of a system call is no function, or has a result that no system call has.
pub fn define(linker: &mut Linker<HostState>, module: &Module) -> Result<(), WasmError> {
    linker.allow_shadowing(true);
    for import in module.imports() {
        let (system, name) = (import.module(), import.name());
        if !is_answered(system, name) {
            continue;
        }
        let invalid =
            || WasmError::Invalid(format!("it imports {system} {name} with a type that this does not have"));
        let ExternType::Func(signature) = import.ty() else { return Err(invalid()) };
        match (results(&signature), is_log(system, name)) {
            (Some(0), true) => linker
                .func_new(system, name, signature, |mut caller, arguments, _| log(&mut caller, arguments)),
            (Some(returned), false) => {
                let call = name.to_owned();
                linker.func_new(system, name, signature, move |mut caller, arguments, results| {
                    let number = answer(&call, &mut caller, arguments)?;
                    if returned > 0 {
                        results[0] = Val::I32(number);
                    }
                    Ok(())
                })
            }
            _ => return Err(invalid()),
        }
        .map_err(|error| WasmError::Host(format!("{error:#}")))?;
    }
    Ok(())
}

/// How many results there are: none, or an error number.
fn results(signature: &FuncType) -> Option<usize> {
    let mut results = signature.results();
    match (results.next(), results.next()) {
        (None, _) => Some(0),
        (Some(ValType::I32), None) => Some(1),
        _ => None,
    }
}

/// The error number of one call.
fn answer(call: &str, caller: &mut Caller<'_, HostState>, arguments: &[Val]) -> wasmtime::Result<i32> {
    match call {
        "environ_get" | "args_get" | "sched_yield" => Ok(SUCCESS),
        "environ_sizes_get" | "args_sizes_get" => {
            put(caller, word(arguments, 0)?, &0_u32.to_le_bytes())?;
            put(caller, word(arguments, 1)?, &0_u32.to_le_bytes())
        }
        "clock_time_get" => put(caller, word(arguments, 2)?, &0_u64.to_le_bytes()),
        "clock_res_get" => put(caller, word(arguments, 1)?, &1_u64.to_le_bytes()),
        "random_get" => random(caller, word(arguments, 0)?, word(arguments, 1)?),
        "fd_write" => write(caller, arguments),
        // The end of the input.
        "fd_read" if word(arguments, 0)? == 0 => put(caller, word(arguments, 3)?, &0_u32.to_le_bytes()),
        "proc_exit" => Err(WasmError::Trap(format!("it exited with {}", word(arguments, 0)?)).into()),
        "proc_raise" => Err(WasmError::Trap(format!("it raised signal {}", word(arguments, 0)?)).into()),
        _ if ["fd_", "path_", "sock_"].iter().any(|family| call.starts_with(family)) => Ok(BAD_DESCRIPTOR),
        _ => Ok(NOT_SUPPORTED),
    }
}

fn random(caller: &mut Caller<'_, HostState>, pointer: u32, len_bytes: u32) -> wasmtime::Result<i32> {
    if len_bytes as usize > RANDOM_MAX_BYTES {
        return Ok(INVALID);
    }
    let memory = memory(caller)?;
    let (memory, state) = memory.data_and_store_mut(caller);
    state.wasi.fill_random(part_mut(memory, pointer, len_bytes)?);
    Ok(SUCCESS)
}

fn write(caller: &mut Caller<'_, HostState>, arguments: &[Val]) -> wasmtime::Result<i32> {
    let (descriptor, parts) = (word(arguments, 0)?, word(arguments, 1)?);
    let (part_count, written) = (word(arguments, 2)?, word(arguments, 3)?);
    if descriptor != 1 && descriptor != 2 {
        return Ok(BAD_DESCRIPTOR);
    }
    if part_count > PARTS_MAX {
        return Ok(INVALID);
    }
    let memory = memory(caller)?;
    let (memory, state) = memory.data_and_store_mut(&mut *caller);
    let mut total = 0_u32;
    for pair in part(memory, parts, 8 * part_count)?.chunks_exact(8) {
        let number = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
        let bytes = part(memory, number(0), number(4))?;
        if descriptor == 2 {
            state.wasi.write(bytes);
        }
        total = total.wrapping_add(number(4));
    }
    put(caller, written, &total.to_le_bytes())
}

fn log(caller: &mut Caller<'_, HostState>, arguments: &[Val]) -> wasmtime::Result<()> {
    let memory = memory(caller)?;
    let (memory, state) = memory.data_and_store_mut(caller);
    let level = LOG_LEVELS.get(word(arguments, 0)? as usize).copied().unwrap_or("log");
    let context = part(memory, word(arguments, 1)?, word(arguments, 2)?)?;
    let message = part(memory, word(arguments, 3)?, word(arguments, 4)?)?;
    state.wasi.log(level, context, message);
    Ok(())
}

fn word(arguments: &[Val], position: usize) -> wasmtime::Result<u32> {
    match arguments.get(position) {
        Some(Val::I32(number)) => Ok(number.cast_unsigned()),
        _ => Err(broken("calls the system with other numbers than the call has")),
    }
}

fn memory(caller: &mut Caller<'_, HostState>) -> wasmtime::Result<Memory> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    memory.ok_or_else(|| broken("calls the system without a memory for the answer"))
}

fn put(caller: &mut Caller<'_, HostState>, pointer: u32, bytes: &[u8]) -> wasmtime::Result<i32> {
    let memory = memory(caller)?;
    memory.write(caller, pointer as usize, bytes).map_err(|_| outside())?;
    Ok(SUCCESS)
}

fn part(memory: &[u8], pointer: u32, len_bytes: u32) -> wasmtime::Result<&[u8]> {
    let rest = memory.get(pointer as usize..).and_then(|rest| rest.get(..len_bytes as usize));
    rest.ok_or_else(outside)
}

fn part_mut(memory: &mut [u8], pointer: u32, len_bytes: u32) -> wasmtime::Result<&mut [u8]> {
    let rest = memory.get_mut(pointer as usize..).and_then(|rest| rest.get_mut(..len_bytes as usize));
    rest.ok_or_else(outside)
}

fn outside() -> wasmtime::Error {
    broken("hands the system a pointer outside its memory")
}

fn broken(what: &str) -> wasmtime::Error {
    WasmError::Broken(format!("it {what}")).into()
}
