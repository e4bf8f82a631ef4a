//! The two engines, made when first needed, and the clock of the metered one.
//!
//! A *metered* engine's code looks at a counter, the epoch, in every loop and function; a thread of ours
//! raises it every [`TICK`] while metered calls are under way, and sleeps when there are none. A *trusted*
//! engine's code does not look, and is the faster for it. Each process has its own engines: a child starts
//! with none.
//!
//! A guest's memory lies in 4 GiB of reserved addresses, so that no address it can form lies outside of them
//! and its code need not compare any. Where the process may not reserve as much (`RLIMIT_AS`), code compares.
#![cfg_attr(unix, expect(unsafe_code, reason = "getrlimit has no safe wrapper in std"))]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::{Collector, Config, Engine, OptLevel, Strategy};

use super::WasmError;
use crate::process::PerProcess;

/// How often a metered guest is looked at.
pub const TICK: Duration = Duration::from_millis(40);

/// Stack of a guest's own calls; a thread of ours has four times as much.
const STACK_BYTES: usize = 512 << 10;

/// Ticks without a metered call after which the clock sleeps.
const IDLE_TICKS: u32 = 25;

static METERED: PerProcess<OnceLock<Result<Engine, String>>> = PerProcess::new(OnceLock::new);
static TRUSTED: PerProcess<OnceLock<Result<Engine, String>>> = PerProcess::new(OnceLock::new);

/// To be called in the child after a fork.
pub fn after_fork_in_child() {
    METERED.forget_in_child();
    TRUSTED.forget_in_child();
    CLOCK.forget_in_child();
    CLOCK_STATE.store(ASLEEP, Ordering::SeqCst);
}

/// The engine for metered or for trusted modules.
///
/// # Errors
/// This machine cannot run one.
pub fn get(is_metered: bool) -> Result<&'static Engine, WasmError> {
    let engine = if is_metered { &METERED } else { &TRUSTED };
    let made = engine
        .get()
        .get_or_init(|| Engine::new(&configuration(is_metered)).map_err(|error| format!("{error:#}")));
    made.as_ref().map_err(|reason| WasmError::Host(reason.clone()))
}

fn configuration(is_metered: bool) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(is_metered)
        .max_wasm_stack(STACK_BYTES)
        // One result for one input.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_exceptions(true)
        .wasm_gc(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .concurrency_support(false)
        .collector(Collector::Copying)
        .wasm_backtrace_max_frames(None)
        // Signals reach a forked child, messages to ports do not.
        .macos_use_mach_ports(false);
    if has_address_limit() {
        config
            // A memory that outgrows its addresses is copied to others: seldom, for a guest may grow page by page. But
            // threads keep guests, most of them small ones, and their addresses count too.
            .memory_reservation(2 << 20)
            .memory_reservation_for_growth(32 << 20)
            .memory_guard_size(64 << 10)
            .guard_before_linear_memory(false);
    }
    config
}

/// Whether the process may reserve only so many addresses.
#[cfg(unix)]
fn has_address_limit() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to `limit` and nothing else.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    status == 0 && limit.rlim_cur != libc::RLIM_INFINITY
}

#[cfg(not(unix))]
fn has_address_limit() -> bool {
    false
}

/// The thread that raises the epoch.
static CLOCK: PerProcess<OnceLock<Result<Thread, String>>> = PerProcess::new(OnceLock::new);
static CLOCK_STATE: AtomicU8 = AtomicU8::new(ASLEEP);
const ASLEEP: u8 = 0;
const IDLE: u8 = 1;
const BUSY: u8 = 2;

/// Says that a metered call is under way; the clock goes on for a while.
pub fn note_activity() {
    // Read first: a busy clock costs the callers no contended write.
    if CLOCK_STATE.load(Ordering::Relaxed) != BUSY && CLOCK_STATE.swap(BUSY, Ordering::SeqCst) == ASLEEP {
        wake();
    }
}

#[cold]
fn wake() {
    if let Some(Ok(thread)) = CLOCK.get().get() {
        thread.unpark();
    }
}

/// Makes sure that there is a clock.
///
/// # Errors
/// The system gives no thread: then nothing could stop a metered guest.
pub fn start_clock() -> Result<(), WasmError> {
    let clock = CLOCK.get().get_or_init(|| {
        let thread = std::thread::Builder::new().name("wazarr-wasm-clock".to_owned()).spawn(run_clock);
        thread.map(|handle| handle.thread().clone()).map_err(|error| error.to_string())
    });
    match clock {
        Ok(_) => Ok(()),
        Err(reason) => Err(WasmError::Host(format!("there is no thread for the clock: {reason}"))),
    }
}

fn run_clock() {
    let mut idle_ticks = 0;
    loop {
        std::thread::sleep(TICK);
        if let Some(Ok(engine)) = METERED.get().get() {
            engine.increment_epoch();
        }
        let was_busy = CLOCK_STATE.compare_exchange(BUSY, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        idle_ticks = if was_busy { 0 } else { idle_ticks + 1 };
        let sleeps = idle_ticks >= IDLE_TICKS
            && CLOCK_STATE.compare_exchange(IDLE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if sleeps {
            while CLOCK_STATE.load(Ordering::SeqCst) == ASLEEP {
                std::thread::park();
            }
            idle_ticks = 0;
        }
    }
}
