//! System calls of components: WASI 0.2 in any of its minor versions, and `wasi:logging`.
//!
//! What a component imports is walked through: a call that has an answer here is defined so, every other
//! call of a `wasi:` interface traps when it is made. Calls on descriptors and sockets are of that kind: no
//! guest has any. Imports that are not the system's are left to whoever instantiates.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, WasmList, WasmStr,
};
use wasmtime::{Result, StoreContextMut};

use super::{LOG_LEVELS, RANDOM_MAX_BYTES, TEXT_MAX_BYTES, without_version};
use crate::wasm::{HostState, WasmError};

// The kinds of things that a guest may hold. There is nothing behind them but a number.
enum InputStream {}
enum OutputStream {}
enum Failure {}
enum Pollable {}
enum Nothing {}

/// The number behind standard error; other streams lead nowhere.
const STANDARD_ERROR: u32 = 2;
const STANDARD_OUTPUT: u32 = 1;
const STANDARD_INPUT: u32 = 0;
/// What a stream takes in one write.
const WRITE_BYTES: u64 = 1 << 20;

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    // No operation of ours fails so.
    #[component(name = "last-operation-failed")]
    Failed(Resource<Failure>),
    #[component(name = "closed")]
    Closed,
}

#[derive(Clone, Copy, ComponentType, Lower, Lift)]
#[component(record)]
struct WallTime {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(Clone, Copy, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests send them by their numbers")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

type Context<'a> = StoreContextMut<'a, HostState>;
type Written = std::result::Result<(), StreamError>;

/// Defines every system call that `component` imports, and nothing else.
///
/// # Errors
/// The host's own.
pub fn define(linker: &mut Linker<HostState>, component: &Component) -> Result<(), WasmError> {
    let failed = |error: wasmtime::Error| WasmError::Host(format!("{error:#}"));
    let engine = component.engine();
    for (name, import) in component.component_type().imports(engine) {
        let interface = without_version(name);
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        if !interface.starts_with("wasi:") {
            continue;
        }
        let mut calls = linker.instance(name).map_err(failed)?;
        for (item, export) in instance.exports(engine) {
            match export.ty {
                ComponentItem::Resource(_) => calls.resource(item, resource(item), |_, _| Ok(())),
                ComponentItem::ComponentFunc(_) => define_call(&mut calls, interface, item),
                _ => Ok(()),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}

/// The kind of thing by its name; what no answer of ours ever holds needs no kind of its own.
fn resource(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<Failure>(),
        "pollable" => ResourceType::host::<Pollable>(),
        _ => ResourceType::host::<Nothing>(),
    }
}

fn define_call(calls: &mut LinkerInstance<'_, HostState>, interface: &str, name: &str) -> Result<()> {
    match (interface, name) {
        ("wasi:io/streams", _) => define_streams(calls, name),
        ("wasi:io/poll", "poll") => {
            // All of them are ready; the first is answer enough, and there is always one.
            calls.func_wrap(name, |_: Context<'_>, _: (Vec<Resource<Pollable>>,)| Ok((vec![0_u32],)))
        }
        ("wasi:io/poll", "[method]pollable.ready") => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<Pollable>,)| Ok((true,)))
        }
        ("wasi:io/poll", "[method]pollable.block") => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<Pollable>,)| Ok(()))
        }
        ("wasi:cli/environment", "get-environment") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("wasi:cli/environment", "get-arguments") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))
        }
        ("wasi:cli/environment", "initial-cwd") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((None::<String>,)))
        }
        ("wasi:cli/stdin", "get-stdin") => calls.func_wrap(name, |_: Context<'_>, (): ()| {
            Ok((Resource::<InputStream>::new_own(STANDARD_INPUT),))
        }),
        ("wasi:cli/stdout", "get-stdout") => calls.func_wrap(name, |_: Context<'_>, (): ()| {
            Ok((Resource::<OutputStream>::new_own(STANDARD_OUTPUT),))
        }),
        ("wasi:cli/stderr", "get-stderr") => calls.func_wrap(name, |_: Context<'_>, (): ()| {
            Ok((Resource::<OutputStream>::new_own(STANDARD_ERROR),))
        }),
        (_, "get-terminal-stdin" | "get-terminal-stdout" | "get-terminal-stderr") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((None::<Resource<Nothing>>,)))
        }
        ("wasi:clocks/monotonic-clock", "now") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((0_u64,)))
        }
        ("wasi:clocks/monotonic-clock", "resolution") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((1_u64,)))
        }
        ("wasi:clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration") => {
            calls.func_wrap(name, |_: Context<'_>, _: (u64,)| Ok((Resource::<Pollable>::new_own(0),)))
        }
        ("wasi:clocks/wall-clock", "now") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((WallTime { seconds: 0, nanoseconds: 0 },)))
        }
        ("wasi:clocks/wall-clock", "resolution") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((WallTime { seconds: 0, nanoseconds: 1 },)))
        }
        ("wasi:filesystem/preopens", "get-directories") => {
            calls.func_wrap(name, |_: Context<'_>, (): ()| Ok((Vec::<(Resource<Nothing>, String)>::new(),)))
        }
        ("wasi:random/random" | "wasi:random/insecure", _) => define_random(calls, name),
        ("wasi:random/insecure-seed", "insecure-seed") => {
            calls.func_wrap(name, |mut context: Context<'_>, (): ()| {
                let wasi = &mut context.data_mut().wasi;
                Ok(((wasi.random_u64(), wasi.random_u64()),))
            })
        }
        ("wasi:logging/logging", "log") => calls.func_wrap(
            name,
            |mut context: Context<'_>, (level, place, message): (Level, WasmStr, WasmStr)| {
                let place = place.to_str(&context)?.into_owned();
                let message = message.to_str(&context)?.into_owned();
                context.data_mut().wasi.log(LOG_LEVELS[level as usize], place.as_bytes(), message.as_bytes());
                Ok(())
            },
        ),
        _ => define_refusal(calls, interface, name),
    }
}

fn define_streams(calls: &mut LinkerInstance<'_, HostState>, name: &str) -> Result<()> {
    match name.rsplit_once('.') {
        Some(("[method]input-stream", "read" | "blocking-read")) => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<InputStream>, u64)| {
                Ok((std::result::Result::<Vec<u8>, _>::Err(StreamError::Closed),))
            })
        }
        Some(("[method]input-stream", "skip" | "blocking-skip")) => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<InputStream>, u64)| {
                Ok((std::result::Result::<u64, _>::Err(StreamError::Closed),))
            })
        }
        Some(("[method]input-stream", "subscribe")) => calls
            .func_wrap(name, |_: Context<'_>, _: (Resource<InputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            }),
        Some(("[method]output-stream", "subscribe")) => calls
            .func_wrap(name, |_: Context<'_>, _: (Resource<OutputStream>,)| {
                Ok((Resource::<Pollable>::new_own(0),))
            }),
        Some(("[method]output-stream", "check-write")) => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<OutputStream>,)| {
                Ok((std::result::Result::<_, StreamError>::Ok(WRITE_BYTES),))
            })
        }
        Some(("[method]output-stream", "flush" | "blocking-flush")) => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<OutputStream>,)| Ok((Written::Ok(()),)))
        }
        Some(("[method]output-stream", "write-zeroes" | "blocking-write-zeroes-and-flush")) => {
            calls.func_wrap(name, |_: Context<'_>, _: (Resource<OutputStream>, u64)| Ok((Written::Ok(()),)))
        }
        Some(("[method]output-stream", "write" | "blocking-write-and-flush")) => calls.func_wrap(
            name,
            |mut context: Context<'_>, (stream, bytes): (Resource<OutputStream>, WasmList<u8>)| {
                if stream.rep() == STANDARD_ERROR {
                    let bytes = bytes.as_le_slice(&context);
                    let kept = bytes[..bytes.len().min(TEXT_MAX_BYTES)].to_vec();
                    context.data_mut().wasi.write(&kept);
                }
                Ok((Written::Ok(()),))
            },
        ),
        _ => define_refusal(calls, "wasi:io/streams", name),
    }
}

fn define_random(calls: &mut LinkerInstance<'_, HostState>, name: &str) -> Result<()> {
    match name {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            calls.func_wrap(name, |mut context: Context<'_>, (len_bytes,): (u64,)| {
                let len_bytes = usize::try_from(len_bytes).ok().filter(|&len| len <= RANDOM_MAX_BYTES);
                let len_bytes = len_bytes.ok_or_else(|| {
                    WasmError::Trap(format!("it wants more than {RANDOM_MAX_BYTES} random bytes"))
                })?;
                let mut bytes = vec![0; len_bytes];
                context.data_mut().wasi.fill_random(&mut bytes);
                Ok((bytes,))
            })
        }
        "get-random-u64" | "get-insecure-random-u64" => calls
            .func_wrap(name, |mut context: Context<'_>, (): ()| Ok((context.data_mut().wasi.random_u64(),))),
        _ => define_refusal(calls, "wasi:random", name),
    }
}

/// A call that no guest is given.
fn define_refusal(calls: &mut LinkerInstance<'_, HostState>, interface: &str, name: &str) -> Result<()> {
    let message = format!("it called {interface} {name}, which guests are not given");
    calls.func_new(name, move |_, _, _, _| Err(WasmError::Trap(message.clone()).into()))
}
