//! A planned write as Python holds it. The mirror of [`super::read_job`].

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArray1, PyUntypedArray};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyType};

use super::backend::{Backend, Held, owned};
use super::batch::{Caller, Flow, read_batch};
use super::chain::has_foreign;
use super::errors;
use super::memory;
use super::objects::{Variable, variable};
use super::run::{self, Limits};
use crate::counters::COUNTERS;
use crate::error::Error;
use crate::kept::{self, Kept};
use crate::locks::{self, ChunkName};
use crate::pipeline::remote;
use crate::pipeline::write::{self, WriteRequest, WriteSource, WriteTask};
use crate::process::PerProcess;
use crate::python_call;
use crate::schedule::{CancelToken, Work};
use crate::store::{ByteSource, InMemory};

/// Hashes chunk names the same way everywhere in a process.
static HASHER: PerProcess<RandomState> = PerProcess::new(RandomState::new);

/// A planned write.
#[pyclass(module = "wazarr._native", frozen)]
pub(crate) struct WriteJob {
    work: Arc<WriteWork>,
    limits: Limits,
    cancel: CancelToken,
    is_short: bool,
    names: Vec<ChunkName>,
    /// For chunks that Python stores: locks held from `hold` to `release`.
    held: Arc<Mutex<Option<locks::Held>>>,
}

struct WriteWork {
    request: WriteRequest,
    backend: Backend,
    /// Encoded chunks that Python has not fetched yet.
    encoded: Mutex<Vec<Option<Vec<u8>>>>,
    /// Chunks that the batch names twice run one after the other.
    is_parallel: bool,
    /// The caller's array, alive as long as somebody may read it.
    _value: Kept<Py<PyAny>>,
}

impl WriteWork {
    fn spread<'w>(&self, work: Work<'w>) -> Work<'w> {
        if self.is_parallel { work } else { Work { lanes: 1, ..work } }
    }
}

impl remote::RemoteWrite for WriteWork {
    fn request(&self) -> &WriteRequest {
        &self.request
    }

    fn batch(&self) -> Option<&remote::RemoteBatch> {
        self.backend.remote()
    }

    fn is_parallel(&self) -> bool {
        self.is_parallel
    }
}

/// Writes of at most this many decoded bytes stay on the calling thread, however slow their codec.
const SHORT_WRITE_BYTES: usize = 8 << 10;
/// The same where the stored bytes are the elements.
const SHORT_PLAIN_WRITE_BYTES: usize = 256 << 10;
/// And of at most this many chunks.
const SHORT_WRITE_CHUNKS: usize = 8;

/// Reads a batch and plans it; `None` where not every chunk is in `store`.
#[pyfunction]
#[pyo3(signature = (batch, value, drop_axes, bind, *, store, path_type, kind, make_buffer, store_name, limits))]
#[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
pub(crate) fn plan_write(
    py: Python<'_>,
    batch: &Bound<'_, PyList>,
    value: &Bound<'_, PyUntypedArray>,
    drop_axes: Vec<usize>,
    bind: &Bound<'_, PyAny>,
    store: Option<Bound<'_, PyAny>>,
    path_type: &Bound<'_, PyType>,
    kind: Option<(String, Bound<'_, PyAny>)>,
    make_buffer: Option<Py<PyAny>>,
    store_name: Option<&str>,
    limits: Limits,
) -> PyResult<Option<WriteJob>> {
    run::caught(py, || {
        let view = memory::view(value, false)?;
        let caller = Caller { shape: &view.shape, strides: &view.strides, drop_axes: &drop_axes };
        let store = store.as_ref().map(|store| (store, path_type));
        let mut tasks = Vec::with_capacity(batch.len());
        let mut vlen = None;
        let keys = read_batch(batch, &caller, bind, store, Flow::Write, |entry| {
            vlen = vlen.or_else(|| entry.chain.vlen_inside());
            let item_size = entry.chain.spec().dtype.item_size;
            if vlen.is_none() && item_size != view.memory.item_size() {
                return Err(PyValueError::new_err(format!(
                    "the values have elements of {} bytes, the chunks of {item_size}",
                    view.memory.item_size(),
                )));
            }
            if !view.memory.extent().holds(&entry.region, view.memory.item_size()) {
                return Err(PyValueError::new_err("a selection leaves the values"));
            }
            tasks.push(WriteTask {
                chain: entry.chain,
                selection: entry.selection,
                region: entry.region,
                is_complete: entry.is_complete,
            });
            Ok(())
        })?;
        let Some(keys) = keys else { return Ok(None) };
        let source = match vlen {
            Some(kind) => WriteSource::Objects(match variable(value, view.memory, kind)? {
                Variable::Text(array) => Box::new(array),
                Variable::Objects(array) => Box::new(array),
            }),
            None => WriteSource::Elements(view.memory),
        };
        let hasher = HASHER.get();
        // What has no store is the caller's alone: its keys are only labels, and nobody waits for it.
        let name_of =
            |store: &str| keys.iter().map(|key| hasher.hash_one(format!("{store}/{key}"))).collect();
        let names: Vec<ChunkName> = store_name.map(name_of).unwrap_or_default();
        let mut distinct = names.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let request = WriteRequest::new(tasks, source);
        let limits = limits.for_chunks_of(request.chunk_bytes());
        let budget = if request.tasks().iter().all(|task| task.chain.is_plain()) {
            SHORT_PLAIN_WRITE_BYTES
        } else {
            SHORT_WRITE_BYTES
        };
        let kind = kind.as_ref().map(|(name, place)| (name.as_str(), place.clone()));
        let Some(mut backend) = Backend::new(kind, keys, make_buffer)? else { return Ok(None) };
        backend.limit_in_flight(&limits, request.chunk_bytes());
        let is_short = backend.remote().is_none()
            && request.tasks().len() <= SHORT_WRITE_CHUNKS
            && request.cost_bytes() <= budget
            && !request.tasks().iter().any(|task| has_foreign(&task.chain));
        let work = Arc::new(WriteWork {
            is_parallel: distinct.len() == names.len(),
            encoded: Mutex::new(request.tasks().iter().map(|_| None).collect()),
            request,
            backend,
            _value: value.clone().into_any().into(),
        });
        Ok(Some(WriteJob {
            work,
            limits,
            cancel: CancelToken::default(),
            is_short,
            names: distinct,
            held: Arc::new(Mutex::new(None)),
        }))
    })
}

#[pymethods]
impl WriteJob {
    /// Whether the write is done faster than a change of threads is worth.
    #[getter]
    fn is_short(&self) -> bool {
        self.is_short
    }

    /// How many values Python may store at the same time, of at most `wanted`.
    fn in_flight(&self, py: Python<'_>, wanted: usize) -> PyResult<usize> {
        run::caught(py, || Ok(self.limits.in_flight(wanted, self.work.request.chunk_bytes())))
    }

    /// Number of chunks.
    fn __len__(&self) -> usize {
        self.work.request.tasks().len()
    }

    /// How many chunks are stored.
    fn done(&self) -> usize {
        self.work.request.done()
    }

    /// Counts a chunk that Python has stored.
    fn note_done(&self) {
        self.work.request.note_done();
    }

    /// Writes everything on this thread, without the interpreter lock. Answers `False`, with nothing done,
    /// where another write holds a chunk's lock: then `start` waits for it.
    fn run(&self, py: Python<'_>) -> PyResult<bool> {
        run::caught(py, || {
            let Some(_held) = locks::try_lock(self.names.clone()) else { return Ok(false) };
            let work = &self.work;
            work.backend.load(py, |index| work.request.tasks()[index].needs_existing())?;
            let result = kept::detach(py, || {
                run::on_this_thread(&self.limits, &self.cancel, |spread, scratch| {
                    write::write(&work.request, work.backend.chunks()?, spread, scratch)
                })
            });
            // What was put before a failure stays put, as it would in a folder.
            let finished = work.backend.finish(py);
            result.map_err(|error| errors::to_python(py, error))?;
            finished.map(|()| true)
        })
    }

    /// Writes everything on the pool, then calls `notify` with `None` or the exception.
    fn start(&self, py: Python<'_>, notify: Py<PyAny>) -> PyResult<()> {
        run::caught(py, || {
            let work = Arc::clone(&self.work);
            let limits = self.limits;
            let cancel = self.cancel.clone();
            run::once_locked(py, self.names.clone(), notify, move |py, notify, held| {
                if work.backend.remote().is_some() {
                    let feeding = Arc::default();
                    return super::remote::start(&limits, &cancel, feeding, notify, |decoders| async move {
                        let result = remote::write(work, decoders).await;
                        drop(held);
                        result
                    })
                    .map_err(|error| errors::to_python(py, error));
                }
                let loaded = work.backend.load(py, |index| work.request.tasks()[index].needs_existing());
                loaded?;
                run::on_the_pool(py, &limits, &cancel, notify, move |spread, scratch| {
                    let result = work
                        .backend
                        .chunks()
                        .and_then(|chunks| write::write(&work.request, chunks, work.spread(spread), scratch));
                    let finished = run::with_python(|py| work.backend.finish(py));
                    drop(held);
                    result.and(finished)
                })
            });
            Ok(())
        })
    }

    /// Asks a write under way to stop.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Takes the chunks' locks for Python to write them, then calls `notify`.
    fn hold(&self, py: Python<'_>, notify: Py<PyAny>) -> PyResult<()> {
        run::caught(py, || {
            let slot = Arc::clone(&self.held);
            run::once_locked(py, self.names.clone(), notify, move |py, notify, held| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
                python_call::call(notify.bind(py), py.None().bind(py)).map(|_| ())
            });
            Ok(())
        })
    }

    /// Lets go of them.
    fn release(&self, py: Python<'_>) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept::detach(py, || drop(held));
    }

    /// Whether the stored chunk `index`, if there is one, is needed.
    fn needs_existing(&self, py: Python<'_>, index: usize) -> PyResult<bool> {
        run::caught(py, || Ok(self.work.request.tasks()[index].needs_existing()))
    }

    /// Merges and encodes chunk `index` over the stored bytes in `existing`; [`WriteJob::take`] has them.
    #[pyo3(signature = (index, existing, notify))]
    fn encode(
        &self,
        py: Python<'_>,
        index: usize,
        existing: Option<&Bound<'_, PyAny>>,
        notify: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        run::caught(py, || {
            COUNTERS.add_python_request();
            let held = existing.map(Held::new).transpose()?;
            let work = Arc::clone(&self.work);
            let body = move |spread: Work<'_>, scratch: &mut crate::codec::Scratch| -> Result<(), Error> {
                let source = held.as_ref().map(|held| InMemory(held.as_slice()));
                let source = source.as_ref().map(|bytes| bytes as &dyn ByteSource);
                work.request.write_one(
                    index,
                    source,
                    work.backend.key(index),
                    spread,
                    scratch,
                    &mut |encoded| {
                        let owned = encoded.map(|bytes| owned(bytes, work.backend.key(index))).transpose()?;
                        work.encoded.lock().unwrap_or_else(PoisonError::into_inner)[index] = owned;
                        Ok(())
                    },
                )
            };
            match notify {
                Some(notify) => run::on_the_pool(py, &self.limits, &self.cancel, notify, body),
                None => kept::detach(py, || run::on_this_thread(&self.limits, &self.cancel, body))
                    .map_err(|error| errors::to_python(py, error)),
            }
        })
    }

    /// The encoded chunk `index` as an array of bytes; `None`: to be deleted.
    fn take<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<Bound<'py, PyArray1<u8>>>> {
        run::caught(py, || {
            let encoded = self.work.encoded.lock().unwrap_or_else(PoisonError::into_inner)[index].take();
            Ok(encoded.map(|bytes| PyArray1::from_vec(py, bytes)))
        })
    }

    /// Store keys of the chunks.
    fn keys(&self) -> Vec<String> {
        self.work.backend.keys().to_vec()
    }
}
