//! Compiling, on threads of its own.
//!
//! The compiler spreads over the pool of the thread that calls it, and a thread of a pool that waits runs
//! other jobs of that pool meanwhile: one that wants the same module would wait for itself. So compiling
//! happens on a plain thread with a pool that lives as long as the compilation, and whoever wants the result
//! sleeps. That also works in a forked child, and gives the compiler a stack of known size.

use std::any::Any;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::{Code, WasmError};

/// Threads at most: each needs memory for a function, and of that a hostile one takes much.
const MAX_THREADS: usize = 4;
/// Stack of the compiler's threads: it recurses over the nesting of what it compiles.
const STACK_BYTES: usize = 16 << 20;

/// Compiles a module that was surveyed.
///
/// # Errors
/// The bytes are no valid module.
pub(super) fn compile(engine: &Engine, bytes: &[u8], is_component: bool) -> Result<Code, WasmError> {
    let build = || {
        if is_component {
            Component::from_binary(engine, bytes).map(Code::Component)
        } else {
            Module::from_binary(engine, bytes).map(Code::Core)
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let on_pool = || {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_BYTES)
            .thread_name(|index| format!("wazarr-compile-{index}"))
            .build()
            .map_err(|error| WasmError::Host(format!("no threads to compile on: {error}")))?;
        pool.install(build).map_err(|error| WasmError::Invalid(format!("{error:#}")))
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("wazarr-compile".to_owned()).spawn_scoped(scope, on_pool);
        let thread = thread.map_err(|error| WasmError::Host(format!("no thread to compile on: {error}")))?;
        thread.join().unwrap_or_else(|panic| Err(WasmError::Invalid(panic_text(panic.as_ref()))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for a reason unknown");
    format!("the compiler gave up: {text}")
}
