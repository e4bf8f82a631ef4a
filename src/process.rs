//! State of which each process has its own: after a fork the child starts afresh.
//!
//! A child inherits its parent's memory but not its threads. A lock that one of those threads held stays
//! locked for ever, a pool waits for workers that do not exist. So whatever holds either lives behind a
//! [`PerProcess`], and the child lets go of it without touching it.
#![expect(unsafe_code, reason = "hands out references to memory that is never freed")]

use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that is made on first use, once in every process.
#[derive(Debug)]
pub struct PerProcess<T: Send + Sync + 'static> {
    value: AtomicPtr<T>,
    make: fn() -> T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// A value that `make` will make.
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self { value: AtomicPtr::new(std::ptr::null_mut()), make }
    }

    /// The value.
    pub fn get(&self) -> &'static T {
        let current = self.value.load(Ordering::Acquire);
        if !current.is_null() {
            // SAFETY: only pointers from `Box::into_raw` that are never freed are stored.
            return unsafe { &*current };
        }
        let fresh = Box::into_raw(Box::new((self.make)()));
        match self.value.compare_exchange(std::ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: stored just now, never freed.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: `fresh` was not stored, so this is its only owner.
                drop(unsafe { Box::from_raw(fresh) });
                // SAFETY: as above.
                unsafe { &*other }
            }
        }
    }

    /// Lets go of the value, in the child after a fork. It is leaked: its locks may be held for ever.
    pub fn forget_in_child(&self) {
        self.value.store(std::ptr::null_mut(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_makes_its_own() {
        static COUNT: PerProcess<std::sync::Mutex<u32>> = PerProcess::new(|| std::sync::Mutex::new(7));
        let guard = COUNT.get().lock().unwrap();
        COUNT.forget_in_child();
        assert_eq!(*COUNT.get().try_lock().unwrap(), 7);
        drop(guard);
    }
}
