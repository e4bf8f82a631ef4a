//! Running work: here or on the pool, and telling Python when it is done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::errors;
use crate::codec::Scratch;
use crate::error::Error;
use crate::kept;
use crate::locks::{self, ChunkName};
use crate::process::PerProcess;
use crate::python_call;
use crate::schedule::{CancelToken, Stopper, Work, Workers, guarded, stoppable};

/// How many threads a request may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Threads at most, in the whole process.
    max_workers: usize,
    /// Chunks at the same time at most.
    chunk_lanes: usize,
    /// Bytes of chunks at the same time at most, stored and decoded ones together.
    bytes_in_flight: usize,
}

impl Limits {
    /// How many chunks of which one takes `chunk_bytes` there may be at the same time, of at most `wanted`.
    pub(crate) fn in_flight(&self, wanted: usize, chunk_bytes: usize) -> usize {
        wanted.min(self.bytes_in_flight / chunk_bytes.max(1)).max(1)
    }

    /// Threads at most, in the whole process.
    pub(crate) fn max_workers(&self) -> usize {
        self.max_workers
    }

    /// Bytes of chunks at the same time at most.
    pub(crate) fn bytes_in_flight(&self) -> usize {
        self.bytes_in_flight
    }

    /// Chunks at the same time at most.
    pub(crate) fn chunk_lanes(&self) -> usize {
        self.chunk_lanes
    }

    /// The same limits for chunks of which one takes `chunk_bytes`.
    pub(crate) fn for_chunks_of(self, chunk_bytes: usize) -> Self {
        Self { chunk_lanes: self.in_flight(self.chunk_lanes, chunk_bytes), ..self }
    }
}

impl<'py> FromPyObject<'_, 'py> for Limits {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let (max_workers, chunk_lanes, bytes_in_flight): (usize, usize, usize) = object.extract()?;
        let max_workers = max_workers.max(1);
        Ok(Self { max_workers, chunk_lanes: chunk_lanes.clamp(1, max_workers), bytes_in_flight })
    }
}

/// Runs the body of a method that Python calls, turning a panic into an error: none may cross into Python.
pub(crate) fn caught<T>(py: Python<'_>, body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    kept::let_go(py);
    guarded(|| Ok(body())).unwrap_or_else(|error| Err(errors::to_python(py, error)))
}

/// Runs `body` on the calling thread, which does not hold the interpreter lock.
pub(crate) fn on_this_thread<T>(
    limits: &Limits,
    cancel: &CancelToken,
    body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<T, Error>,
) -> Result<T, Error> {
    let workers = Workers::get(limits.max_workers)?;
    let body = |scratch: &mut Scratch| {
        stoppable(Stopper::Token(cancel.clone()), || body(Work::serial(cancel), scratch))
    };
    guarded(|| workers.with_scratch(body))
}

/// Requests that threads of ours still work on, or tell Python of.
///
/// A thread that wants the interpreter lock while the interpreter goes down is ended on the spot, and the
/// whole process with it. So the exit waits until nobody wants it any more ([`finish_all`]); what comes
/// later, or takes too long, [`python_call`] holds still.
#[derive(Default)]
struct InFlight {
    requests: Mutex<HashMap<u64, CancelToken>>,
    one_ended: Condvar,
}

static IN_FLIGHT: PerProcess<InFlight> = PerProcess::new(InFlight::default);
static NEXT_REQUEST: AtomicU64 = AtomicU64::new(0);

/// To be called in the child after a fork, before anything else here.
pub(crate) fn after_fork_in_child() {
    IN_FLIGHT.forget_in_child();
}

/// Counts a request for as long as it lives.
pub(crate) struct Flight {
    all: &'static InFlight,
    number: u64,
}

impl Flight {
    pub(crate) fn start(cancel: CancelToken) -> Self {
        let all = IN_FLIGHT.get();
        let number = NEXT_REQUEST.fetch_add(1, Ordering::Relaxed);
        all.requests.lock().unwrap_or_else(PoisonError::into_inner).insert(number, cancel);
        Self { all, number }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.all.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.all.one_ended.notify_all();
    }
}

/// How long the exit waits at most: a codec in Python may never come back, and other threads may make new
/// requests for ever.
const EXIT_WAIT: Duration = Duration::from_secs(2);

/// Cancels every request and waits until no thread of ours needs the interpreter: before it goes down.
pub(crate) fn finish_all(py: Python<'_>) {
    let all = IN_FLIGHT.get();
    kept::detach(py, || {
        let end = Instant::now() + EXIT_WAIT;
        let mut requests = all.requests.lock().unwrap_or_else(PoisonError::into_inner);
        while !requests.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            requests.values().for_each(CancelToken::cancel);
            requests = all.one_ended.wait_timeout(requests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    });
}

/// Runs `body` on the pool, then calls `notify` with `None` or the exception.
pub(crate) fn on_the_pool(
    py: Python<'_>,
    limits: &Limits,
    cancel: &CancelToken,
    notify: Py<PyAny>,
    body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<(), Error> + Send + 'static,
) -> PyResult<()> {
    then(py, limits, cancel, body, |result| tell(notify, result))
}

/// Runs `body` on the pool, and then `end` with its result.
pub(crate) fn then(
    py: Python<'_>,
    limits: &Limits,
    cancel: &CancelToken,
    body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<(), Error> + Send + 'static,
    end: impl FnOnce(Result<(), Error>) + Send + 'static,
) -> PyResult<()> {
    let workers = Workers::get(limits.max_workers).map_err(|error| errors::to_python(py, error))?;
    let flight = Flight::start(cancel.clone());
    workers.submit(limits.chunk_lanes, cancel, body, move |result| {
        end(result);
        drop(flight);
    });
    Ok(())
}

/// Calls `notify` with `None` or the exception. Nobody is there to hear of a failure to do so.
pub(crate) fn tell(notify: Py<PyAny>, result: Result<(), Error>) {
    // At exit the interpreter may be gone; then nobody waits either.
    let told = guarded(|| {
        Python::try_attach(|py| {
            // Before anybody hears of the end: what the work kept alive is free by then.
            kept::let_go(py);
            let answer = match result {
                Ok(()) => py.None().into_bound(py),
                Err(error) => errors::to_python(py, error).into_value(py).into_bound(py).into_any(),
            };
            if let Err(error) = python_call::call(notify.bind(py), &answer) {
                error.write_unraisable(py, Some(notify.bind(py)));
            }
            drop(notify);
        });
        Ok(())
    });
    drop(told);
}

/// Takes locks, then runs `then` with the interpreter lock: now, or when the last of them is released.
pub(crate) fn once_locked(
    py: Python<'_>,
    names: Vec<ChunkName>,
    notify: Py<PyAny>,
    then: impl FnOnce(Python<'_>, Py<PyAny>, locks::Held) -> PyResult<()> + Send + 'static,
) {
    kept::detach(py, || {
        locks::lock(names, move |held| {
            Python::try_attach(|py| {
                let on_error = notify.clone_ref(py);
                if let Err(error) = then(py, notify, held) {
                    let exception = error.into_value(py).into_bound(py).into_any();
                    if let Err(error) = python_call::call(on_error.bind(py), &exception) {
                        error.write_unraisable(py, Some(on_error.bind(py)));
                    }
                }
            });
        });
    });
}

/// Runs `body` with the interpreter lock, from a thread of the pool.
pub(crate) fn with_python(body: impl FnOnce(Python<'_>) -> PyResult<()>) -> Result<(), Error> {
    Python::attach(|py| {
        kept::let_go(py);
        body(py).map_err(|error| Error::Python(kept::cause(error)))
    })
}
