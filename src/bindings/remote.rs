//! Stores on the network as Python hands them over, and the thread that speaks to them.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

use super::obstore;
use super::run::{self, Limits};
use crate::error::Error;
use crate::kept;
use crate::pipeline::feeding::Feeding;
use crate::pipeline::remote::Decoders;
use crate::process::PerProcess;
use crate::schedule::{CancelToken, Workers};
use crate::store::remote::RemoteStore;
use crate::store::remote::http::{self, HttpRemote, Patience};
use crate::store::remote::object::ObjectRemote;

/// Started by the first request.
static RUNTIME: PerProcess<OnceLock<Runtime>> = PerProcess::new(OnceLock::new);

/// To be called in the child after a fork, before anything else here.
pub(super) fn after_fork_in_child() {
    RUNTIME.forget_in_child();
    http::after_fork_in_child();
}

fn runtime() -> Result<&'static Runtime, Error> {
    let slot = RUNTIME.get();
    if let Some(runtime) = slot.get() {
        return Ok(runtime);
    }
    // One thread moves bytes faster than two decode them.
    let built = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("wazarr-network")
        .on_thread_start(kept::mark_thread)
        .enable_all()
        .build();
    let runtime = built.map_err(|error| Error::Internal(format!("could not start a thread: {error}")))?;
    Ok(slot.get_or_init(|| runtime))
}

/// Starts `work` on the network thread; `notify` gets `None` or the exception at its end.
pub(super) fn start<F>(
    limits: &Limits,
    cancel: &CancelToken,
    feeding: Arc<Feeding>,
    notify: Py<PyAny>,
    work: impl FnOnce(Arc<Decoders>) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let workers = Workers::get(limits.max_workers())?;
    let decoders = Decoders { workers, lanes: limits.chunk_lanes(), cancel: cancel.clone(), feeding };
    let work = work(Arc::new(decoders));
    let flight = run::Flight::start(cancel.clone());
    drop(runtime()?.spawn(async move {
        let result = match tokio::spawn(work).await {
            Ok(result) => result,
            Err(error) => Err(Error::Internal(format!("a request was not finished: {error}"))),
        };
        run::tell(notify, result);
        drop(flight);
    }));
    Ok(())
}

/// A store that the engine speaks to itself, over the network.
#[pyclass(module = "wazarr._native", frozen)]
pub(crate) struct RemoteHandle {
    pub(super) store: Arc<dyn RemoteStore>,
}

/// Opens the store that an obstore object describes: the same configuration, credentials and retries.
#[pyfunction]
pub(crate) fn open_object_store(
    py: Python<'_>,
    store: &Bound<'_, PyAny>,
    retries: usize,
) -> PyResult<RemoteHandle> {
    run::caught(py, || {
        Ok(RemoteHandle { store: Arc::new(ObjectRemote::new(obstore::like(store)?, retries)) })
    })
}

/// Opens the values below an HTTP address.
#[pyfunction]
pub(crate) fn open_http(py: Python<'_>, url: &str, retries: usize, timeout_s: f64) -> PyResult<RemoteHandle> {
    run::caught(py, || {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|error| PyValueError::new_err(format!("timeout of {timeout_s} s: {error}")))?;
        Ok(RemoteHandle { store: Arc::new(HttpRemote::new(url, Patience { retries, timeout })) })
    })
}
