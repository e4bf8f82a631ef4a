//! A planned read as Python holds it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple, PyType};

use numpy::PyUntypedArray;

use super::backend::{Backend, Held};
use super::batch::{Caller, Flow, read_batch};
use super::chain::has_foreign;
use super::errors;
use super::memory;
use super::objects::{Variable, variable};
use super::run::{self, Limits};
use crate::codec::Scratch;
use crate::codec::sharding::{IndexLocation, ShardIndex};
use crate::counters::COUNTERS;
use crate::error::Error;
use crate::kept::{self, Kept};
use crate::pipeline::ObjectSink;
use crate::pipeline::feeding::Feeding;
use crate::pipeline::read::{self, Part, ReadRequest, ReadTarget, ReadTask, Segments};
use crate::pipeline::remote;
use crate::pipeline::survey::Survey;
use crate::plan::DisjointRegions;
use crate::scatter::Output;
use crate::schedule::{CancelToken, Work};
use crate::store::{ByteSource, InMemory};

/// A planned read.
#[pyclass(module = "wazarr._native", frozen)]
pub(crate) struct ReadJob {
    work: Arc<ReadWork>,
    limits: Limits,
    cancel: CancelToken,
    is_short: bool,
}

/// What a thread of the pool needs of it.
struct ReadWork {
    request: ReadRequest,
    backend: Backend,
    feeding: Arc<Feeding>,
    /// The output array, alive as long as somebody may write to it.
    _out: Kept<Py<PyAny>>,
}

impl remote::RemoteRead for ReadWork {
    fn request(&self) -> &ReadRequest {
        &self.request
    }

    fn batch(&self) -> Option<&remote::RemoteBatch> {
        self.backend.remote()
    }
}

/// Reads of at most this many decoded bytes stay on the calling thread: about half a millisecond.
const SHORT_READ_BYTES: usize = 192 << 10;
/// The same where the stored bytes are the elements.
const SHORT_PLAIN_READ_BYTES: usize = 1 << 20;
/// And of at most this many chunks.
const SHORT_READ_CHUNKS: usize = 24;

/// Reads a batch and plans it; `None` where not every chunk is in `store`.
#[pyfunction]
#[pyo3(signature = (batch, out, drop_axes, bind, *, store, path_type, kind, limits))]
#[expect(clippy::too_many_arguments, reason = "keywords on the Python side")]
pub(crate) fn plan_read(
    py: Python<'_>,
    batch: &Bound<'_, PyList>,
    out: &Bound<'_, PyUntypedArray>,
    drop_axes: Vec<usize>,
    bind: &Bound<'_, PyAny>,
    store: Option<Bound<'_, PyAny>>,
    path_type: &Bound<'_, PyType>,
    kind: Option<(String, Bound<'_, PyAny>)>,
    limits: Limits,
) -> PyResult<Option<ReadJob>> {
    run::caught(py, || {
        let view = memory::view(out, true)?;
        let caller = Caller { shape: &view.shape, strides: &view.strides, drop_axes: &drop_axes };
        let store = store.as_ref().map(|store| (store, path_type));
        let count = batch.len();
        let mut tasks = Vec::with_capacity(count);
        let mut regions = Vec::with_capacity(count);
        let mut places = Vec::with_capacity(count);
        let mut vlen = None;
        let keys = read_batch(batch, &caller, bind, store, Flow::Read, |entry| {
            vlen = vlen.or_else(|| entry.chain.vlen_inside());
            let item_size = entry.chain.spec().dtype.item_size;
            if vlen.is_none() && item_size != view.memory.item_size() {
                return Err(PyValueError::new_err(format!(
                    "the output array has elements of {} bytes, the chunks of {item_size}",
                    view.memory.item_size(),
                )));
            }
            tasks.push(ReadTask { chain: entry.chain, selection: entry.selection });
            regions.push(entry.region);
            places.extend(entry.place);
            Ok(())
        })?;
        let Some(keys) = keys else { return Ok(None) };
        let regions = DisjointRegions::prove(
            regions,
            &places,
            &view.shape,
            view.memory.extent(),
            view.memory.item_size(),
            view.has_distinct_elements,
        )
        .map_err(|error| errors::plan_error(py, &error))?;
        let target = match vlen {
            Some(kind) => {
                let sink: Box<dyn ObjectSink + Send> = match variable(out, view.memory, kind)? {
                    Variable::Text(array) => Box::new(array),
                    Variable::Objects(array) => Box::new(array),
                };
                ReadTarget::Objects { sink, regions }
            }
            None => ReadTarget::Elements(Output::new(view.memory, regions)),
        };
        let request = ReadRequest::new(tasks, target).map_err(|error| errors::to_python(py, error))?;
        let kind = kind.as_ref().map(|(name, place)| (name.as_str(), place.clone()));
        let Some(mut backend) = Backend::new(kind, keys, None)? else { return Ok(None) };
        backend.limit_in_flight(&limits, request.value_bytes());
        let budget = if request.tasks().iter().all(|task| task.chain.is_plain()) {
            SHORT_PLAIN_READ_BYTES
        } else {
            SHORT_READ_BYTES
        };
        let is_short = backend.remote().is_none()
            && request.tasks().len() <= SHORT_READ_CHUNKS
            && request.cost_bytes() <= budget
            && !request.tasks().iter().any(|task| has_foreign(&task.chain));
        let limits = limits.for_chunks_of(request.chunk_bytes());
        let feeding = Arc::default();
        let work = Arc::new(ReadWork { request, backend, feeding, _out: out.clone().into_any().into() });
        Ok(Some(ReadJob { work, limits, cancel: CancelToken::default(), is_short }))
    })
}

#[pymethods]
impl ReadJob {
    /// Whether the read is done faster than a change of threads is worth.
    #[getter]
    fn is_short(&self) -> bool {
        self.is_short
    }

    /// How many values may be fetched at the same time, of at most `wanted`.
    fn in_flight(&self, py: Python<'_>, wanted: usize) -> PyResult<usize> {
        run::caught(py, || {
            let chunk_bytes = match self.work.backend {
                Backend::Fed(_) | Backend::Remote { .. } => self.work.request.value_bytes(),
                _ => self.work.request.chunk_bytes(),
            };
            Ok(self.limits.in_flight(wanted, chunk_bytes))
        })
    }

    /// Number of chunks.
    fn __len__(&self) -> usize {
        self.work.request.tasks().len()
    }

    /// How many chunks are where they belong.
    fn done(&self) -> usize {
        self.work.request.done()
    }

    /// What the read would touch: inner chunks, ranges, elements, bytes decoded, bytes to fetch.
    fn survey(&self, py: Python<'_>) -> (usize, usize, usize, Option<usize>, Option<usize>) {
        let fetch = self.work.backend.fetch();
        let survey = kept::detach(py, || Survey::of(&self.work.request, fetch));
        (
            survey.inner_chunks,
            survey.ranges,
            survey.elements,
            (!survey.has_variable).then_some(survey.decoded_bytes),
            (!survey.has_unknown).then_some(survey.encoded_bytes),
        )
    }

    /// Reads everything on this thread, without the interpreter lock.
    fn run(&self, py: Python<'_>) -> PyResult<()> {
        run::caught(py, || {
            let work = &self.work;
            work.backend.load(py, |_| true)?;
            let result = kept::detach(py, || {
                run::on_this_thread(&self.limits, &self.cancel, |spread, scratch| {
                    read::read(&work.request, work.backend.chunks()?, spread, scratch)
                })
            });
            result.map_err(|error| errors::to_python(py, error))
        })
    }

    /// Reads everything on the pool, then calls `notify` with `None` or the exception.
    fn start(&self, py: Python<'_>, notify: Py<PyAny>) -> PyResult<()> {
        run::caught(py, || {
            let work = Arc::clone(&self.work);
            if work.backend.remote().is_some() {
                let feeding = Arc::clone(&work.feeding);
                return super::remote::start(&self.limits, &self.cancel, feeding, notify, |decoders| {
                    remote::read(work, decoders)
                })
                .map_err(|error| errors::to_python(py, error));
            }
            work.backend.load(py, |_| true)?;
            run::on_the_pool(py, &self.limits, &self.cancel, notify, move |spread, scratch| {
                read::read(&work.request, work.backend.chunks()?, spread, scratch)
            })
        })
    }

    /// Asks a read under way to stop.
    fn cancel(&self) {
        self.cancel.cancel();
    }

    /// `present` for every chunk that was found, else `missing`, in order.
    fn statuses<'py>(
        &self,
        py: Python<'py>,
        present: &Bound<'py, PyAny>,
        missing: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        run::caught(py, || {
            let request = &self.work.request;
            PyTuple::new(
                py,
                (0..request.tasks().len())
                    .map(|index| if request.is_present(index) { present } else { missing }),
            )
        })
    }

    /// For a shard of which a part is needed: `(index location, index length in bytes)`. Else `None`:
    /// fetch all of it.
    fn partial_shard(&self, py: Python<'_>, index: usize) -> PyResult<Option<(&'static str, usize)>> {
        run::caught(py, || {
            let Some(sharding) = self.work.request.partial_shard(index) else { return Ok(None) };
            let location = match sharding.location() {
                IndexLocation::Start => "start",
                IndexLocation::End => "end",
            };
            Ok(Some((location, sharding.index_len())))
        })
    }

    /// Decodes chunk `index` from `array` (`None`: missing): on the pool, unless the job is short. Answers how
    /// much waits or is being decoded; [`ReadJob::wait`] tells when that is less.
    #[pyo3(signature = (index, array))]
    fn feed(&self, py: Python<'_>, index: usize, array: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
        run::caught(py, || {
            COUNTERS.add_python_request();
            let held = array.map(Held::new).transpose()?;
            let held_bytes = held.as_ref().map_or(0, |held| held.as_slice().len());
            let work = Arc::clone(&self.work);
            self.dispatch(py, held_bytes, move |spread, scratch| {
                let source = held.as_ref().map(|held| InMemory(held.as_slice()));
                let source = source.as_ref().map(|bytes| bytes as &dyn ByteSource);
                work.request.read_one(
                    index,
                    source,
                    work.backend.key(index),
                    work.request.spread(spread),
                    scratch,
                )
            })
        })
    }

    /// Calls `notify` once no more than `weight` of what was fed is left, or a chunk failed: with `None` or
    /// that chunk's exception. With 0 only when all is over, and nothing touches the output any more.
    fn wait(&self, weight: usize, notify: Py<PyAny>) {
        self.work.feeding.wait(weight, Box::new(move |result| run::tell(notify, result)));
    }

    /// Decodes the index of shard `index` from `array`: an opaque index, and the ranges of bytes needed,
    /// ascending, one for every inner chunk.
    fn shard_ranges(
        &self,
        py: Python<'_>,
        index: usize,
        array: &Bound<'_, PyAny>,
    ) -> PyResult<(PyShardIndex, Vec<(u64, u64)>)> {
        run::caught(py, || {
            COUNTERS.add_python_request();
            let held = Held::new(array)?;
            let request = &self.work.request;
            let key = self.work.backend.key(index);
            let (shard_index, ranges) = kept::detach(py, || {
                run::on_this_thread(&self.limits, &self.cancel, |_, scratch| {
                    request.decode_shard_index(index, held.as_slice(), key, scratch)
                })
            })
            .map_err(|error| errors::to_python(py, error))?;
            let ranges = ranges.into_iter().map(|range| (range.start, range.end)).collect();
            Ok((PyShardIndex { index: shard_index }, ranges))
        })
    }

    /// Decodes the needed inner chunks of shard `index` from the parts fetched; otherwise as `feed`.
    fn feed_parts(
        &self,
        py: Python<'_>,
        index: usize,
        shard_index: &Bound<'_, PyShardIndex>,
        parts: Vec<(u64, Bound<'_, PyAny>)>,
    ) -> PyResult<usize> {
        run::caught(py, || {
            let held = parts
                .iter()
                .map(|(start, array)| Ok((*start, Held::new(array)?)))
                .collect::<PyResult<Vec<_>>>()?;
            for _ in &held {
                COUNTERS.add_python_request();
            }
            let held_bytes = held.iter().map(|(_, held)| held.as_slice().len()).sum();
            let shard_index = shard_index.get().index.clone();
            let work = Arc::clone(&self.work);
            self.dispatch(py, held_bytes, move |spread, scratch| {
                let key = work.backend.key(index);
                let segments =
                    Segments::new(key, held.iter().map(|(start, held)| (*start, held.as_slice())).collect());
                work.request.read_shard_part(
                    index,
                    &shard_index,
                    &segments,
                    &Part::ALL,
                    &AtomicUsize::new(1),
                    key,
                    work.request.spread(spread),
                    scratch,
                )
            })
        })
    }
}

impl ReadJob {
    /// Runs `body` here if the job is short, else on the pool.
    fn dispatch(
        &self,
        py: Python<'_>,
        held_bytes: usize,
        body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<(), Error> + Send + 'static,
    ) -> PyResult<usize> {
        if self.is_short {
            return kept::detach(py, || run::on_this_thread(&self.limits, &self.cancel, body))
                .map(|()| 0)
                .map_err(|error| errors::to_python(py, error));
        }
        let weight = held_bytes.saturating_add(1);
        let total = self.work.feeding.add(weight);
        // The output array is not to wait for whoever tells of the end.
        let feeding = Arc::clone(&self.work.feeding);
        let cancel = self.cancel.clone();
        let unless_cancelled = move |spread: Work<'_>, scratch: &mut Scratch| {
            if cancel.is_cancelled() { Err(Error::Cancelled) } else { body(spread, scratch) }
        };
        let started = run::then(py, &self.limits, &self.cancel, unless_cancelled, move |result| {
            feeding.done(weight, result);
        });
        if started.is_err() {
            self.work.feeding.done(weight, Ok(()));
        }
        started.map(|()| total)
    }
}

/// The decoded index of a shard.
#[pyclass(name = "ShardIndex", module = "wazarr._native", frozen)]
pub(crate) struct PyShardIndex {
    index: ShardIndex,
}
