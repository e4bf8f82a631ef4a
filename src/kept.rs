//! Python objects that threads of ours keep alive.
//!
//! A thread without the interpreter lock cannot let go of a Python object. `PyO3` puts such objects into a list
//! behind a lock of the whole process; a fork in the very moment in which another thread is at that list leaves
//! the lock taken for ever in the child, whose next call of ours then never returns. So objects that may be
//! dropped by threads of ours are [`Kept`], which has such a list for each process.
#![expect(unsafe_code, reason = "moves objects out of what is dropped")]

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use crate::process::PerProcess;
use crate::schedule::is_worker;

type Dropped = Vec<Box<dyn Send>>;

/// What threads without the interpreter lock dropped.
static DROPPED: PerProcess<Mutex<Dropped>> = PerProcess::new(Mutex::default);
/// Whether there is any of it.
static HAS_DROPPED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread is without the interpreter lock, though it is none of the pool's.
    static IS_DETACHED: Cell<bool> = const { Cell::new(false) };
}

/// Marks the calling thread as one that never has the interpreter lock for long.
pub(crate) fn mark_thread() {
    IS_DETACHED.set(true);
}

/// Runs `body` without the interpreter lock.
pub(crate) fn detach<T: Send>(py: Python<'_>, body: impl FnOnce() -> T + Send) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_DETACHED.set(self.0);
        }
    }
    let restore = Restore(IS_DETACHED.replace(true));
    #[expect(clippy::disallowed_methods, reason = "this is what is to be used instead")]
    let answer = py.detach(body);
    drop(restore);
    answer
}

/// To be called in the child after a fork. What the parent's threads were about to let go of is leaked.
pub(crate) fn after_fork_in_child() {
    DROPPED.forget_in_child();
    HAS_DROPPED.store(false, Ordering::Relaxed);
}

/// Lets go of what other threads could not.
pub(crate) fn let_go(_py: Python<'_>) {
    if HAS_DROPPED.load(Ordering::Relaxed) && HAS_DROPPED.swap(false, Ordering::Acquire) {
        // Dropping may run any Python code: not with the lock held.
        let dropped = std::mem::take(&mut *DROPPED.get().lock().unwrap_or_else(PoisonError::into_inner));
        drop(dropped);
    }
}

/// A Python object, or what holds one, that a thread of ours may drop.
pub(crate) struct Kept<T: Send + 'static>(ManuallyDrop<T>);

impl<T: Send> Kept<T> {
    pub(crate) fn new(object: T) -> Self {
        Self(ManuallyDrop::new(object))
    }

    /// The object, for a thread that has the interpreter lock.
    pub(crate) fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is never used again, nor dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl From<Bound<'_, PyAny>> for Kept<Py<PyAny>> {
    fn from(object: Bound<'_, PyAny>) -> Self {
        Self::new(object.unbind())
    }
}

impl<T: Send> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: taken once, here: nothing uses `self` after this.
        let object = unsafe { ManuallyDrop::take(&mut self.0) };
        if is_worker() || IS_DETACHED.get() {
            DROPPED.get().lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(object));
            // After the push: whoever finds the mark finds the object.
            HAS_DROPPED.store(true, Ordering::Release);
        }
    }
}

impl<T: Send + fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Kept<PyErr> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Kept<PyErr> {}

/// An exception as the cause of an error of ours.
pub(crate) fn cause(error: PyErr) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(Kept::new(error))
}

/// The exception that is the cause of an error, if it is one.
pub(crate) fn exception(
    _py: Python<'_>,
    cause: Box<dyn std::error::Error + Send + Sync>,
) -> Result<PyErr, Box<dyn std::error::Error + Send + Sync>> {
    cause.downcast::<Kept<PyErr>>().map(|error| error.into_inner())
}
