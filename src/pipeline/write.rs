//! Writing: plan → schedule → gather → merge → encode → set. The mirror of [`super::read`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::counters::COUNTERS;
use crate::error::Error;
use crate::gather::Supply;
use crate::plan::{Region, Selection};
use crate::scatter::ArrayMemory;
use crate::schedule::{COARSE_RUNS, FINE_RUNS, Work};
use crate::store::{ByteRange, ByteSource, ChunkStore};

use super::chunk::{Emit, WriteChunk, write_chunk};
use super::{ObjectSource, Origin};

/// One chunk of a write.
#[derive(Debug)]
pub struct WriteTask {
    /// Its chain.
    pub chain: Arc<Chain>,
    /// Which of its elements are assigned.
    pub selection: Selection,
    /// Where in the caller's array their values are.
    pub region: Region,
    /// Whether zarr says that no element of a stored chunk needs to survive.
    pub is_complete: bool,
}

impl WriteTask {
    /// Whether the stored chunk, if there is one, is needed.
    #[must_use]
    pub fn needs_existing(&self) -> bool {
        // zarr-python merges into the inner chunks of a shard whatever it says of the shard.
        let is_complete = self.is_complete && self.chain.shard().is_none();
        !is_complete && !self.selection.covers(&self.chain.spec().chunk_shape)
    }
}

/// What a whole write assigns.
pub enum WriteSource {
    /// Elements of a fixed size.
    Elements(ArrayMemory),
    /// Objects.
    Objects(Box<dyn ObjectSource + Send>),
}

/// A planned write.
pub struct WriteRequest {
    tasks: Vec<WriteTask>,
    source: WriteSource,
    done: AtomicUsize,
}

impl WriteRequest {
    /// Chunks and what is assigned to them.
    #[must_use]
    pub fn new(tasks: Vec<WriteTask>, source: WriteSource) -> Self {
        Self { tasks, source, done: AtomicUsize::new(0) }
    }

    /// Chunks of the write.
    #[must_use]
    pub fn tasks(&self) -> &[WriteTask] {
        &self.tasks
    }

    /// How many chunks are stored.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Counts a chunk as stored.
    pub fn note_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// What the write costs, roughly: bytes to encode.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.tasks.iter().map(|task| task.chain.cost_bytes()).fold(0, usize::saturating_add)
    }

    /// Bytes that one chunk takes at most while it is written: decoded and encoded.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        let decoded = self.tasks.iter().map(|task| task.chain.len_bytes()).max();
        decoded.unwrap_or(0).saturating_mul(2)
    }

    /// Merges and encodes one chunk.
    ///
    /// # Errors
    /// What a codec or `emit` refuses.
    pub fn write_one(
        &self,
        index: usize,
        existing: Option<&dyn ByteSource>,
        key: &str,
        work: Work<'_>,
        scratch: &mut Scratch,
        emit: &mut Emit<'_>,
    ) -> Result<(), Error> {
        let task = &self.tasks[index];
        let region = task.region.clone();
        let origin = match &self.source {
            WriteSource::Elements(memory) => Origin::Elements(Supply::new(memory, region)),
            WriteSource::Objects(source) => Origin::Objects { source: source.as_ref(), region },
        };
        let selected_bytes = task.selection.element_count().saturating_mul(task.chain.spec().dtype.item_size);
        let request = WriteChunk { chain: &task.chain, existing, selection: &task.selection, origin, key };
        write_chunk(&request, work, scratch, &mut |encoded| {
            // The put may take as long as the encoding did.
            if work.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            COUNTERS.write.add(encoded.map_or(0, <[u8]>::len), selected_bytes);
            emit(encoded)
        })
    }
}

/// Up to here making the file takes longer than encoding the chunk.
const SMALL_CHUNK_BYTES: usize = 64 << 10;

/// Writes every chunk to a store of our own.
///
/// # Errors
/// The failure of the first chunk that failed; no further chunk is started after one.
pub fn write(
    request: &WriteRequest,
    store: &dyn ChunkStore,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    // Two lanes that make files in one folder wait for each other; with small chunks that is what counts.
    let chunk_bytes = request.tasks.first().map_or(0, |task| task.chain.len_bytes());
    let is_small = chunk_bytes <= SMALL_CHUNK_BYTES;
    let needed = |index: usize| request.tasks[index].needs_existing().then_some(ByteRange::Whole);
    let runs = if is_small { COARSE_RUNS } else { FINE_RUNS };
    let written = work.for_each_run(request.tasks.len(), runs, scratch, |index, work, scratch| {
        let key = store.key(index);
        COUNTERS.add_native_requests(1);
        if request.tasks[index].needs_existing() {
            COUNTERS.add_native_requests(1);
            // The stored chunk stays open while its successor is put in its place: readers and this merge
            // see one version each.
            store.open(index, scratch, &mut |existing, scratch| {
                store.look_ahead(index, chunk_bytes, &needed);
                request
                    .write_one(index, existing, key, work, scratch, &mut |encoded| store.put(index, encoded))
            })
        } else {
            request.write_one(index, None, key, work, scratch, &mut |encoded| store.put(index, encoded))
        }?;
        request.note_done();
        Ok(())
    });
    store.end_of_write();
    written
}
