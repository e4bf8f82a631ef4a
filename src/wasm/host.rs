//! One guest's store: what it may still use, and why it was stopped.
//!
//! A [`Session`] is the store of one guest. Every entry into the guest goes through [`Session::run`], which
//! starts the clock and turns what the limits caused into an error that says so. Growth that a limit does
//! not allow fails as the WebAssembly specification has it fail, so a guest that can do with less goes on;
//! if the call then fails, the limit is what is reported.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use wasmtime::{ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

use super::engine::{self, TICK};
use super::limits::{MEMORY_OPTION, TIMEOUT_OPTION, TOTAL_MEMORY_OPTION};
use super::wasi::WasiState;
use super::{CompiledModule, Limits, WasmError, instances};

/// Bytes that the guests of this process hold together.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the guests of this process hold together.
#[must_use]
pub fn held_bytes() -> usize {
    HELD_BYTES.load(Ordering::Relaxed)
}

/// To be called in the child after a fork: the parent's guests are not its own.
pub fn after_fork_in_child() {
    HELD_BYTES.store(0, Ordering::Relaxed);
}

/// Elements that the tables of one guest may have.
const TABLE_ELEMENTS: usize = 1 << 20;
/// Instances in one guest: a component is made of several.
const INSTANCES: usize = 64;
/// Tables and memories in one guest.
const TABLES_AND_MEMORIES: usize = 64;

/// A limit that a guest ran into.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Memory { wanted_bytes: usize },
    TotalMemory { wanted_bytes: usize },
    Table { elements: usize },
    Timeout,
    Cancelled,
}

/// What the host knows of a guest; the data of its store.
#[derive(Debug)]
pub struct HostState {
    /// What the guest's system calls remember.
    pub wasi: WasiState,
    limits: Limits,
    held_bytes: usize,
    table_elements: usize,
    /// The last growth that was allowed, until the next question: it may still fail.
    last_growth: usize,
    last_table_growth: usize,
    refusal: Option<Refusal>,
    /// When the clock was first looked at in this call.
    started: Option<Instant>,
}

impl HostState {
    fn new(limits: &Limits) -> Self {
        Self {
            wasi: WasiState::default(),
            limits: limits.clone(),
            held_bytes: 0,
            table_elements: 0,
            last_growth: 0,
            last_table_growth: 0,
            refusal: None,
            started: None,
        }
    }

    /// Called at every tick while a metered guest runs.
    fn tick(&mut self) -> UpdateDeadline {
        engine::note_activity();
        // The first tick comes at most one after the start: no clock is read in calls shorter than that.
        let started = *self.started.get_or_insert_with(Instant::now);
        if (self.limits.is_cancelled)() {
            self.refusal = Some(Refusal::Cancelled);
            return UpdateDeadline::Interrupt;
        }
        if started.elapsed() >= self.limits.timeout {
            self.refusal = Some(Refusal::Timeout);
            return UpdateDeadline::Interrupt;
        }
        UpdateDeadline::Continue(1)
    }

    fn explain(&self, refusal: Refusal) -> WasmError {
        match refusal {
            Refusal::Memory { wanted_bytes } => WasmError::Limit {
                what: format!("the guest's memory of {wanted_bytes} bytes"),
                limit: format!("{} bytes", self.limits.memory_bytes),
                option: MEMORY_OPTION,
            },
            Refusal::TotalMemory { wanted_bytes } => WasmError::Limit {
                what: format!("the memory of all guests together, {wanted_bytes} bytes,"),
                limit: format!("{} bytes", self.limits.total_memory_bytes),
                option: TOTAL_MEMORY_OPTION,
            },
            Refusal::Table { elements } => {
                WasmError::Trap(format!("its tables would have {elements} elements, over {TABLE_ELEMENTS}"))
            }
            Refusal::Timeout => WasmError::Limit {
                what: "the time of the call".to_owned(),
                limit: format!("{} s", self.limits.timeout.as_secs_f64()),
                option: TIMEOUT_OPTION,
            },
            Refusal::Cancelled => WasmError::Cancelled,
        }
    }
}

impl Drop for HostState {
    fn drop(&mut self) {
        give_back(self.held_bytes);
    }
}

fn give_back(len_bytes: usize) {
    if len_bytes > 0 {
        // A guest from before a fork may give back what was never taken here.
        let subtract = |held: usize| Some(held.saturating_sub(len_bytes));
        let _always_done = HELD_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
    }
}

/// Takes so many bytes of what all guests may hold together, or says how many that would be.
fn take_bytes(len_bytes: usize, limit_bytes: usize) -> Result<(), usize> {
    let add = |held: usize| held.checked_add(len_bytes).filter(|&sum| sum <= limit_bytes);
    match HELD_BYTES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
        Ok(_) => Ok(()),
        Err(held) => Err(held.saturating_add(len_bytes)),
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        self.last_growth = 0;
        let wanted_bytes = self.held_bytes.saturating_add(growth);
        if wanted_bytes > self.limits.memory_bytes {
            self.refusal = Some(Refusal::Memory { wanted_bytes });
            return Ok(false);
        }
        let limit_bytes = self.limits.total_memory_bytes;
        let taken = take_bytes(growth, limit_bytes).or_else(|_| {
            instances::drop_idle();
            take_bytes(growth, limit_bytes)
        });
        if let Err(wanted_bytes) = taken {
            self.refusal = Some(Refusal::TotalMemory { wanted_bytes });
            return Ok(false);
        }
        self.held_bytes = wanted_bytes;
        self.last_growth = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let growth = std::mem::take(&mut self.last_growth);
        self.held_bytes = self.held_bytes.saturating_sub(growth);
        give_back(growth);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        self.last_table_growth = 0;
        let elements = self.table_elements.saturating_add(growth);
        if elements > TABLE_ELEMENTS {
            self.refusal = Some(Refusal::Table { elements });
            return Ok(false);
        }
        self.table_elements = elements;
        self.last_table_growth = growth;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        let growth = std::mem::take(&mut self.last_table_growth);
        self.table_elements = self.table_elements.saturating_sub(growth);
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES_AND_MEMORIES
    }

    fn memories(&self) -> usize {
        TABLES_AND_MEMORIES
    }
}

/// The store of one guest, and the only way into it.
pub struct Session {
    store: Store<HostState>,
    is_metered: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").field("state", self.store.data()).finish_non_exhaustive()
    }
}

impl Session {
    /// An empty store for a guest of `module`.
    ///
    /// # Errors
    /// No thread for the clock.
    pub fn new(module: &CompiledModule, limits: &Limits) -> Result<Self, WasmError> {
        let mut store = Store::new(module.engine(), HostState::new(limits));
        store.limiter(|state| state);
        let is_metered = module.is_metered();
        if is_metered {
            engine::start_clock()?;
            store.epoch_deadline_callback(|mut context: StoreContextMut<'_, HostState>| {
                Ok(context.data_mut().tick())
            });
        }
        Ok(Self { store, is_metered })
    }

    /// Enters the guest: instantiates, calls, reads and writes its memory. The clock runs from here to the end
    /// of `body`.
    ///
    /// # Errors
    /// What `body` answers, or the limit that was the cause of it.
    pub fn run<T>(
        &mut self,
        body: impl FnOnce(&mut Store<HostState>) -> Result<T, WasmError>,
    ) -> Result<T, WasmError> {
        if self.is_metered {
            engine::note_activity();
            self.store.set_epoch_deadline(1);
        }
        let state = self.store.data_mut();
        state.started = None;
        state.refusal = None;
        let result = body(&mut self.store);
        result.map_err(|error| {
            let state = self.store.data();
            match state.refusal {
                Some(refusal) => state.explain(refusal),
                None => error,
            }
        })
    }

    /// What the host knows of the guest.
    #[must_use]
    pub fn state(&self) -> &HostState {
        self.store.data()
    }

    /// Bytes of memory that the guest holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().held_bytes
    }
}

/// The longest that a cancelled call goes on, or so.
pub const CANCEL_LATENCY: std::time::Duration = TICK.saturating_mul(2);

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
