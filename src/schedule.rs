//! Who works on what: one pool of threads for everything, chunk-level × codec-level concurrency.
//!
//! A request runs as a few *lanes*, each of which takes the next chunk when it is done with one; so the
//! pool schedules lanes, not chunks, and a thousand tiny chunks cost a thousand atomic additions. A chunk
//! with parallel work of its own (the inner chunks of a shard) opens lanes again, on the same pool: rayon's
//! stealing keeps the sum at the pool's size, which is the configured maximum. There is one pool in a
//! process however many arrays and Python threads there are. After a fork the child makes its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::Scratch;
use crate::error::Error;
use crate::process::PerProcess;

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
        let backlog = Arc::new(Backlog { max_workers, state: Mutex::default() });
        let for_threads = Arc::clone(&backlog);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(max_workers)
            .thread_name(|index| format!("wazarr-{index}"))
            .start_handler(move |_| BACKLOG.set(Some((Arc::clone(&for_threads), Thread::Pool))))
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
        self.backlog.lock().jobs.push_back(Box::new(move |thread| match thread {
            Thread::Pool => job(Some(&workers)),
            Thread::Spare => job(None),
        }));
        self.backlog.add_spare_threads();
        let backlog = Arc::clone(&self.backlog);
        self.pool.spawn(move || {
            // A spare thread may have been faster.
            let job = backlog.lock().jobs.pop_front();
            if let Some(job) = job {
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

/// What kind of thread runs a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// One of the pool's.
    Pool,
    /// One that stands in for a thread of the pool that waits.
    Spare,
}

type Job = Box<dyn FnOnce(Thread) + Send>;

/// Jobs that no thread has taken yet, and how many threads could.
///
/// A codec written in Python may read another array, whose work would wait for the very thread that waits
/// for it. So threads say when they run foreign code ([`run_foreign`]); while all of them do, spare threads
/// take the jobs. Never more threads than `max_workers` are at work that is ours.
struct Backlog {
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

impl Backlog {
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
mod tests {
    use super::*;

    #[test]
    fn scratch_memory_with_contexts_stays() {
        let workers = Workers::get(2).unwrap();
        *workers.kept.lock().unwrap() = Vec::new();
        let contexts = |scratch: &Scratch| scratch.context_count();
        for _ in 0..3 {
            workers.with_scratch(|one| {
                workers.with_scratch(|two| {
                    // A nested lane, which needs buffers alone.
                    workers.with_scratch(|nested| drop(nested.take_vec()));
                    (*one.context::<u8>(), *two.context::<u8>()) = (1, 1);
                });
            });
            let kept = workers.kept.lock().unwrap();
            assert_eq!(kept.iter().filter(|scratch| contexts(scratch) == 1).count(), 2);
            assert!(kept.len() <= 4);
        }
        workers.with_scratch(|scratch| assert_eq!(contexts(scratch), 1));
        let mut kept: Vec<_> = (0..2).map(|_| Scratch::default()).collect();
        kept[1].context::<u8>();
        assert_eq!(take_coldest(&mut kept).map(|scratch| contexts(&scratch)), Some(0));
        assert_eq!(take_warmest(&mut kept).map(|scratch| contexts(&scratch)), Some(1));
        assert!(take_warmest(&mut kept).is_none() && take_coldest(&mut kept).is_none());
    }

    #[test]
    fn every_index_runs_once_and_the_first_failure_wins() {
        let workers = Workers::get(3).unwrap();
        let cancel = CancelToken::default();
        let work = Work { workers: Some(&workers), lanes: 3, max_lanes: 3, cancel: &cancel };
        let seen: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        work.for_each(1000, &mut Scratch::default(), |index, _, _| {
            seen[index].fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        let failed = work.for_each(10, &mut Scratch::default(), |index, _, _| {
            if index < 3 { Ok(()) } else { Err(Error::Internal(index.to_string())) }
        });
        assert!(matches!(failed, Err(Error::Internal(_))));
    }

    #[test]
    fn panics_and_cancellation_are_errors() {
        let cancel = CancelToken::default();
        let work = Work::serial(&cancel);
        let failed = work.for_each(1, &mut Scratch::default(), |_, _, _| panic!("no"));
        assert!(matches!(failed, Err(Error::Internal(text)) if text.contains("no")));
        cancel.cancel();
        assert!(matches!(work.for_each(1, &mut Scratch::default(), |_, _, _| Ok(())), Err(Error::Cancelled)));
    }

    #[test]
    fn work_that_waits_for_work_ends() {
        let workers = Workers::get(2).unwrap();
        let (done, wait) = std::sync::mpsc::channel();
        for _ in 0..4 {
            let (workers, done) = (Arc::clone(&workers), done.clone());
            Arc::clone(&workers).spawn(move |_| {
                run_foreign(|| {
                    let (inner_done, inner_wait) = std::sync::mpsc::channel();
                    let again = Arc::clone(&workers);
                    workers.spawn(move |_| {
                        run_foreign(|| {
                            let (innermost_done, innermost_wait) = std::sync::mpsc::channel();
                            again.spawn(move |_| innermost_done.send(()).unwrap());
                            innermost_wait.recv().unwrap();
                        });
                        inner_done.send(()).unwrap();
                    });
                    inner_wait.recv().unwrap();
                });
                done.send(()).unwrap();
            });
        }
        for _ in 0..4 {
            wait.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        }
    }

    #[test]
    fn work_nests() {
        let workers = Workers::get(2).unwrap();
        let cancel = CancelToken::default();
        let work = Work { workers: Some(&workers), lanes: 2, max_lanes: 2, cancel: &cancel };
        let total = AtomicUsize::new(0);
        work.for_each(3, &mut Scratch::default(), |_, inner, scratch| {
            inner.for_each(100, scratch, |_, _, _| {
                total.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(total.load(Ordering::Relaxed), 300);
    }
}
