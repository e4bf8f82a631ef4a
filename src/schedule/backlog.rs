//! Jobs that wait for a thread, and threads that stand in for those that run foreign code.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What kind of thread runs a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thread {
    /// One of the pool's.
    Pool,
    /// One that stands in for a thread of the pool that waits.
    Spare,
}

pub(super) type Job = Box<dyn FnOnce(Thread) + Send>;

/// Jobs that no thread has taken yet, and how many threads could.
///
/// A codec written in Python may read another array, whose work would wait for the very thread that waits
/// for it. So threads say when they run foreign code ([`run_foreign`]); while all of them do, spare threads
/// take the jobs. Never more threads than `max_workers` are at work that is ours.
pub(super) struct Backlog {
    max_workers: usize,
    state: Mutex<BacklogState>,
}

#[derive(Default)]
struct BacklogState {
    jobs: VecDeque<Job>,
    /// Threads of the pool in foreign code.
    foreign: usize,
    /// Spare threads that are not.
    spare: usize,
}

thread_local! {
    /// The backlog that this thread works for.
    static BACKLOG: RefCell<Option<(Arc<Backlog>, Thread)>> = const { RefCell::new(None) };
}

impl Backlog {
    pub(super) fn new(max_workers: usize) -> Self {
        Self { max_workers, state: Mutex::default() }
    }

    /// Has the calling thread, one of the pool's, work for this backlog.
    pub(super) fn enlist(self: &Arc<Self>) {
        BACKLOG.set(Some((Arc::clone(self), Thread::Pool)));
    }

    /// Adds a job.
    pub(super) fn push(self: &Arc<Self>, job: Job) {
        self.lock().jobs.push_back(job);
        self.add_spare_threads();
    }

    /// Takes the next job, if a spare thread was not faster.
    pub(super) fn pop(&self) -> Option<Job> {
        self.lock().jobs.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, BacklogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts spare threads if there are jobs and nobody to take them.
    fn add_spare_threads(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let wanted = state.jobs.len().min(self.max_workers);
            if state.foreign < self.max_workers || state.spare >= wanted {
                return;
            }
            state.spare += 1;
            drop(state);
            let backlog = Arc::clone(self);
            let spare = std::thread::Builder::new().name("wazarr-spare".to_owned());
            if spare.spawn(move || backlog.serve()).is_err() {
                // No thread to be had: the jobs wait for the pool.
                self.lock().spare -= 1;
                return;
            }
        }
    }

    /// What a spare thread does.
    fn serve(self: Arc<Self>) {
        BACKLOG.set(Some((Arc::clone(&self), Thread::Spare)));
        loop {
            let mut state = self.lock();
            let job = if state.foreign < self.max_workers { None } else { state.jobs.pop_front() };
            let Some(job) = job else {
                state.spare -= 1;
                return;
            };
            drop(state);
            job(Thread::Spare);
        }
    }

    fn enter_foreign(self: &Arc<Self>, thread: Thread) {
        let mut state = self.lock();
        match thread {
            Thread::Pool => state.foreign += 1,
            Thread::Spare => state.spare = state.spare.saturating_sub(1),
        }
        drop(state);
        self.add_spare_threads();
    }

    fn leave_foreign(&self, thread: Thread) {
        let mut state = self.lock();
        match thread {
            Thread::Pool => state.foreign = state.foreign.saturating_sub(1),
            Thread::Spare => state.spare += 1,
        }
    }
}

/// Whether the calling thread is one of the pool's, or stands in for one.
#[must_use]
pub fn is_worker() -> bool {
    BACKLOG.with_borrow(Option::is_some)
}

/// Runs code that is not ours, and that may wait for work of ours.
pub fn run_foreign<T>(body: impl FnOnce() -> T) -> T {
    struct Leave(Option<(Arc<Backlog>, Thread)>);
    impl Drop for Leave {
        fn drop(&mut self) {
            if let Some((backlog, thread)) = &self.0 {
                backlog.leave_foreign(*thread);
            }
        }
    }
    let leave = Leave(BACKLOG.with_borrow(Clone::clone));
    if let Some((backlog, thread)) = &leave.0 {
        backlog.enter_foreign(*thread);
    }
    let answer = body();
    drop(leave);
    answer
}
