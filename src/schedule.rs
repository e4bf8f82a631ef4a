//! Who works on what: one pool of threads for everything, chunk-level × codec-level concurrency.
//!
//! A request runs as a few *lanes*, each of which takes the next chunk when it is done with one; so the
//! pool schedules lanes, not chunks, and a thousand tiny chunks cost a thousand atomic additions. A chunk
//! with parallel work of its own (the inner chunks of a shard) opens lanes again, on the same pool: rayon's
//! stealing keeps the sum at the pool's size, which is the configured maximum. There is one pool in a
//! process however many arrays and Python threads there are. After a fork the child makes its own.

mod backlog;
mod cancel;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::backlog::{Backlog, Thread};
pub use self::backlog::{is_worker, run_foreign};
pub use self::cancel::{CancelToken, Stopper, is_cancelled_here, stoppable};
use crate::codec::Scratch;
use crate::error::Error;
use crate::process::PerProcess;

/// The process's threads and what they keep between requests.
#[expect(clippy::struct_field_names, reason = "the name of the configuration key")]
pub struct Workers {
    pool: rayon::ThreadPool,
    max_workers: usize,
    backlog: Arc<Backlog>,
    kept: Mutex<Vec<Scratch>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Workers").field("max_workers", &self.max_workers).finish_non_exhaustive()
    }
}

/// The current pool.
static CURRENT: PerProcess<Mutex<Option<Arc<Workers>>>> = PerProcess::new(|| Mutex::new(None));

/// To be called in the child after a fork, before anything else here.
pub fn after_fork_in_child() {
    CURRENT.forget_in_child();
}

impl Workers {
    /// The process's workers, with at most `max_workers` threads. Another number than the last time makes
    /// a new pool; requests under way keep the one they have.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn get(max_workers: usize) -> Result<Arc<Self>, Error> {
        let mut current = CURRENT.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workers) = current.as_ref().filter(|workers| workers.max_workers == max_workers) {
            return Ok(Arc::clone(workers));
        }
        let backlog = Arc::new(Backlog::new(max_workers));
        let for_threads = Arc::clone(&backlog);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(max_workers)
            .thread_name(|index| format!("wazarr-{index}"))
            .start_handler(move |_| for_threads.enlist())
            .build()
            .map_err(|error| Error::Internal(format!("could not start {max_workers} threads: {error}")))?;
        let workers = Arc::new(Self { pool, max_workers, backlog, kept: Mutex::new(Vec::new()) });
        // Dropping the old pool ends its threads once the last request is done with them, without waiting.
        *current = Some(Arc::clone(&workers));
        Ok(workers)
    }

    /// The maximum number of threads.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.max_workers
    }

    /// Runs `job` on the pool, without waiting for it; or on a thread of its own, where every thread of the
    /// pool waits for foreign code. The job gets the workers that it may spread over.
    pub fn spawn(self: &Arc<Self>, job: impl FnOnce(Option<&Self>) + Send + 'static) {
        let workers = Arc::clone(self);
        self.backlog.push(Box::new(move |thread| match thread {
            Thread::Pool => job(Some(&workers)),
            Thread::Spare => job(None),
        }));
        let backlog = Arc::clone(&self.backlog);
        self.pool.spawn(move || {
            if let Some(job) = backlog.pop() {
                job(Thread::Pool);
            }
        });
    }

    /// Runs `body` on the pool, as one of at most `lanes` lanes that it may open, and then `end` with its result.
    pub fn submit<T: 'static>(
        self: &Arc<Self>,
        lanes: usize,
        cancel: &CancelToken,
        body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<T, Error> + Send + 'static,
        end: impl FnOnce(Result<T, Error>) + Send + 'static,
    ) {
        let (kept, cancel) = (Arc::clone(self), cancel.clone());
        self.spawn(move |pool| {
            end(guarded(|| {
                kept.with_scratch(|scratch| {
                    let work = match pool {
                        None => Work::serial(&cancel),
                        workers => Work { workers, lanes, max_lanes: kept.max_workers, cancel: &cancel },
                    };
                    stoppable(Stopper::Token(cancel.clone()), || body(work, scratch))
                })
            }));
        });
    }

    /// Lends kept scratch memory to `body`.
    pub fn with_scratch<T>(&self, body: impl FnOnce(&mut Scratch) -> T) -> T {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = take_warmest(&mut kept()).unwrap_or_default();
        let result = body(&mut scratch);
        let mut kept = kept();
        kept.push(scratch);
        // Nested lanes, of which each thread has at most one, want little of it: theirs must not crowd out what
        // the others have at hand.
        let surplus = if kept.len() > 2 * self.max_workers { take_coldest(&mut kept) } else { None };
        drop(kept);
        drop(surplus);
        result
    }
}

/// Takes the scratch memory with the most contexts, of several the one that was used last.
fn take_warmest(kept: &mut Vec<Scratch>) -> Option<Scratch> {
    let (warmest, _) = kept.iter().enumerate().max_by_key(|(_, scratch)| scratch.context_count())?;
    Some(kept.remove(warmest))
}

/// Takes the scratch memory with the fewest contexts, of several the one that was not used for longest.
fn take_coldest(kept: &mut Vec<Scratch>) -> Option<Scratch> {
    let (coldest, _) = kept.iter().enumerate().min_by_key(|(_, scratch)| scratch.context_count())?;
    Some(kept.remove(coldest))
}

/// Runs that each lane takes where chunks have nothing to do with one another: many, so that no lane waits long
/// for the last one.
pub const FINE_RUNS: usize = 64;
/// The same where neighbours are better done by one lane.
pub const COARSE_RUNS: usize = 8;

/// How a piece of work may spread.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The pool; `None` keeps everything on the calling thread.
    pub workers: Option<&'a Workers>,
    /// Lanes that this piece may open for its parts.
    pub lanes: usize,
    /// Lanes that the parts and their own parts may have together.
    pub max_lanes: usize,
    /// When to stop.
    pub cancel: &'a CancelToken,
}

impl<'a> Work<'a> {
    /// Work that stays on the calling thread.
    #[must_use]
    pub fn serial(cancel: &'a CancelToken) -> Self {
        Self { workers: None, lanes: 1, max_lanes: 1, cancel }
    }

    /// Calls `body` for every index below `count`, in up to `lanes` lanes, until one fails.
    ///
    /// `body` also gets the work its own parts may spread over: once no chunk is left to start, a lane that
    /// is still busy may use the threads that fell idle.
    ///
    /// # Errors
    /// The failure with the lowest index among those that happened, or [`Error::Cancelled`]. A panic
    /// becomes [`Error::Internal`].
    pub fn for_each<F>(&self, count: usize, scratch: &mut Scratch, body: F) -> Result<(), Error>
    where
        F: Fn(usize, Work<'_>, &mut Scratch) -> Result<(), Error> + Sync,
    {
        self.for_each_run(count, FINE_RUNS, scratch, body)
    }

    /// The same where neighbours are better done by one lane, as chunks that share a folder are: each lane
    /// takes about `runs` runs of them.
    ///
    /// # Errors
    /// As [`Work::for_each`].
    pub fn for_each_run<F>(
        &self,
        count: usize,
        runs: usize,
        scratch: &mut Scratch,
        body: F,
    ) -> Result<(), Error>
    where
        F: Fn(usize, Work<'_>, &mut Scratch) -> Result<(), Error> + Sync,
    {
        let lanes = self.lanes.min(count).max(1);
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let grain = (count / (lanes * runs.max(1))).clamp(1, 16);
        let lane = |scratch: &mut Scratch| {
            while !stop.load(Ordering::Relaxed) {
                let first = next.fetch_add(grain, Ordering::Relaxed);
                if first >= count {
                    return;
                }
                for index in first..(first + grain).min(count) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = if self.cancel.is_cancelled() {
                        Err(Error::Cancelled)
                    } else {
                        // Towards the end other lanes fall idle: their threads help with what is left.
                        let spread = if count - index < lanes || lanes == 1 {
                            self.max_lanes
                        } else {
                            self.max_lanes / lanes
                        };
                        let work = Work { lanes: spread.max(1), max_lanes: spread.max(1), ..*self };
                        guarded(|| body(index, work, scratch))
                    };
                    if let Err(error) = result {
                        stop.store(true, Ordering::Relaxed);
                        let mut slot = failure.lock().unwrap_or_else(PoisonError::into_inner);
                        if slot.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                            *slot = Some((index, error));
                        }
                        return;
                    }
                }
            }
        };
        let lane = |scratch: &mut Scratch| stoppable(Stopper::Token(self.cancel.clone()), || lane(scratch));
        match self.workers {
            Some(workers) if lanes > 1 => workers.pool.scope(|scope| {
                for _ in 1..lanes {
                    scope.spawn(|_| workers.with_scratch(lane));
                }
                lane(scratch);
            }),
            _ => lane(scratch),
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Runs `body`, turning a panic into an error: none may cross into Python.
///
/// # Errors
/// What `body` answers, or [`Error::Internal`].
pub fn guarded<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown".to_owned());
        Err(Error::Internal(format!("a panic: {what}")))
    })
}

#[cfg(test)]
mod tests;
