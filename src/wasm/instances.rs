//! Warm guests: each worker thread keeps some, so that a chunk costs a call and not an instance.
//!
//! A guest is taken out for the time of a call, and put back if it came out of it sound. Threads share
//! nothing but the list of all pools, which is looked at only when a guest asks for memory that idle ones
//! hold. A pool's own lock is then the only one in the way of a call, and nobody contends for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sha2::{Digest as _, Sha256};

use super::cache::{self, StoredModule};
use super::{Guest, Interface, Limits, Setup, WasmError, abi};
use crate::process::PerProcess;

/// Guests made.
pub static MADE: AtomicU64 = AtomicU64::new(0);
/// Calls of guests.
pub static CALLS: AtomicU64 = AtomicU64::new(0);
/// Guests dropped because a call did not end in an orderly way.
pub static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many guests one worker thread keeps.
const KEPT_GUESTS: usize = 16;
/// A guest that holds more than this is not kept: after one huge chunk it would hold it for ever.
const KEPT_GUEST_BYTES: usize = 512 << 20;

/// What it takes to make a guest.
#[derive(Debug)]
pub struct Recipe {
    module: Arc<StoredModule>,
    interface: Interface,
    setup: Setup,
    limits: Limits,
    is_fresh: bool,
    /// Guests of equal recipes are equal; so one of an array that was closed serves when it is opened again.
    key: [u8; 32],
}

impl Recipe {
    /// A recipe. With `is_fresh` every call has a guest of its own.
    ///
    /// # Errors
    /// The module does not offer the interface, or none that we know.
    pub fn new(
        module: Arc<StoredModule>,
        interface: Option<Interface>,
        setup: Setup,
        limits: Limits,
        is_fresh: bool,
    ) -> Result<Self, WasmError> {
        let interface = abi::choose(module.survey(), interface)?;
        let mut hasher = Sha256::new();
        hasher.update(module.digest().as_bytes());
        hasher.update(format!("{interface:?} {setup:?} {limits:?}"));
        let key = hasher.finalize().into();
        Ok(Self { module, interface, setup, limits, is_fresh, key })
    }

    /// The module.
    #[must_use]
    pub fn module(&self) -> &StoredModule {
        &self.module
    }

    /// The interface through which it is called.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// What its guests are configured with.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    fn make(&self) -> Result<Box<dyn Guest>, WasmError> {
        let module = cache::compiled(&self.module, self.interface, !self.limits.is_trusted)?;
        let guest = abi::instantiate(&module, &self.setup, &self.limits)?;
        MADE.fetch_add(1, Ordering::Relaxed);
        Ok(guest)
    }
}

type Idle = Vec<([u8; 32], Box<dyn Guest>)>;

/// Guests of one worker thread that nobody uses at the moment, the latest used last.
#[derive(Default)]
struct Pool(Mutex<Idle>);

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every pool of the process.
static POOLS: PerProcess<Mutex<Vec<Weak<Pool>>>> = PerProcess::new(Mutex::default);
/// Counts forks: guests of the parent's engines are none of the child's.
static GENERATION: AtomicU64 = AtomicU64::new(0);

fn pools() -> MutexGuard<'static, Vec<Weak<Pool>>> {
    POOLS.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// To be called in the child after a fork.
pub fn after_fork_in_child() {
    POOLS.forget_in_child();
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Drops every guest that nobody uses at the moment, so that others get its memory.
pub fn drop_idle() {
    let pools: Vec<_> = pools().iter().filter_map(Weak::upgrade).collect();
    for pool in pools {
        let idle = std::mem::take(&mut *pool.lock());
        drop(idle);
    }
}

/// One worker thread's guests.
pub struct Instances {
    pool: Arc<Pool>,
    generation: u64,
}

impl Default for Instances {
    fn default() -> Self {
        let pool = Arc::new(Pool::default());
        let mut pools = pools();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&pool));
        Self { pool, generation: GENERATION.load(Ordering::Relaxed) }
    }
}

impl std::fmt::Debug for Instances {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Instances").field("idle", &self.pool.lock().len()).finish_non_exhaustive()
    }
}

impl Instances {
    /// Lends a guest to `body`: a warm one, or a new one.
    ///
    /// # Errors
    /// No guest can be made, or what `body` answers.
    pub fn with_guest<T>(
        &mut self,
        recipe: &Recipe,
        body: impl FnOnce(&mut dyn Guest) -> Result<T, WasmError>,
    ) -> Result<T, WasmError> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut guest = match self.take(recipe) {
            Some(guest) => guest,
            None => recipe.make()?,
        };
        let result = body(guest.as_mut());
        match &result {
            Err(error) if !error.leaves_guest_sound() => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
            _ if recipe.is_fresh || guest.memory_bytes() > KEPT_GUEST_BYTES => {}
            _ => self.put(recipe, guest),
        }
        result
    }

    fn take(&mut self, recipe: &Recipe) -> Option<Box<dyn Guest>> {
        if self.generation != GENERATION.load(Ordering::Relaxed) {
            // Code that runs on across a fork: its guests, and what they stand on, are the parent's.
            std::mem::forget(std::mem::take(self));
            return None;
        }
        if recipe.is_fresh {
            return None;
        }
        let mut idle = self.pool.lock();
        let at = idle.iter().rposition(|(key, _)| *key == recipe.key)?;
        Some(idle.remove(at).1)
    }

    fn put(&mut self, recipe: &Recipe, guest: Box<dyn Guest>) {
        let mut idle = self.pool.lock();
        idle.push((recipe.key, guest));
        let oldest = (idle.len() > KEPT_GUESTS).then(|| idle.remove(0));
        drop(idle);
        drop(oldest);
    }
}

#[cfg(test)]
#[path = "instances_tests.rs"]
mod tests;
