//! Asking work to stop: by a token, or by what a thread looks at itself.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tells running work to stop.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Cancellation>);

#[derive(Default)]
struct Cancellation {
    is_cancelled: AtomicBool,
    hooks: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("CancelToken").field(&self.is_cancelled()).finish()
    }
}

impl CancelToken {
    fn hooks(&self) -> MutexGuard<'_, Vec<Box<dyn FnOnce() + Send>>> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the work to stop at the next chunk.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        let hooks = std::mem::take(&mut *self.hooks());
        for hook in hooks {
            hook();
        }
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::Relaxed)
    }

    /// Calls `hook` when the work is asked to stop, at once if it was already. For work that waits for something
    /// else than a chunk.
    pub fn on_cancel(&self, hook: Box<dyn FnOnce() + Send>) {
        self.hooks().push(hook);
        if self.0.is_cancelled.load(Ordering::SeqCst) {
            self.cancel();
        }
    }
}

thread_local! {
    /// Who can ask what this thread does to stop.
    static STOPPER: RefCell<Option<Stopper>> = const { RefCell::new(None) };
}

/// Who can ask work to stop.
#[derive(Clone)]
pub enum Stopper {
    /// Whoever holds the token.
    Token(CancelToken),
    /// Whatever this function looks at, on the thread of the work.
    Check(fn() -> bool),
}

/// Runs `body`, which `stopper` can ask to stop while it is within a single chunk ([`is_cancelled_here`]).
pub fn stoppable<T>(stopper: Stopper, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Stopper>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STOPPER.set(self.0.take());
        }
    }
    // A thread that waits for others' lanes may run those of another request meanwhile.
    let restore = Restore(STOPPER.replace(Some(stopper)));
    let answer = body();
    drop(restore);
    answer
}

/// Whether the work that this thread does was asked to stop.
#[must_use]
pub fn is_cancelled_here() -> bool {
    STOPPER.with_borrow(|stopper| match stopper {
        None => false,
        Some(Stopper::Token(token)) => token.is_cancelled(),
        Some(Stopper::Check(check)) => check(),
    })
}
