//! From a batch to the engine's requests, as the bindings plan them, and running those on one thread.

use std::path::Path;
use std::sync::Arc;

use wazarr::codec::Scratch;
use wazarr::error::Error;
use wazarr::pipeline::read::{self, ReadRequest, ReadTarget, ReadTask};
use wazarr::pipeline::write::{self, WriteRequest, WriteSource, WriteTask};
use wazarr::plan::numpy_index::resolve;
use wazarr::plan::regions::Extent;
use wazarr::plan::selection::contiguous_strides;
use wazarr::plan::{DisjointRegions, Region, Selection};
use wazarr::scatter::{ArrayMemory, Output};
use wazarr::schedule::{CancelToken, Work};
use wazarr::store::filesystem::{FileAccess, FilesystemBatch};
use wazarr::store::{ChunkStore, Use};

use super::batch::Batch;
use super::{Array, ITEM_BYTES};

/// The chunks of a batch as files below a folder.
pub(crate) fn files(root: &Path, batch: &Batch) -> FilesystemBatch {
    FilesystemBatch::new(root.to_owned(), batch.keys(), FileAccess::default())
}

/// A store without chunks.
pub(crate) struct NoChunks;

impl ChunkStore for NoChunks {
    fn key(&self, _index: usize) -> &'static str {
        "c"
    }

    fn open(&self, _index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error> {
        body(None, scratch)
    }

    fn put(&self, _index: usize, _encoded: Option<&[u8]>) -> Result<(), Error> {
        Ok(())
    }
}

/// A C-contiguous array of the caller's.
pub(crate) struct Memory {
    elements: Vec<u16>,
    shape: Vec<usize>,
}

impl Memory {
    pub(crate) fn new(elements: Vec<u16>, shape: &[usize]) -> Self {
        assert_eq!(elements.len(), shape.iter().product::<usize>());
        Self { elements, shape: shape.to_vec() }
    }

    /// What to read a batch into.
    pub(crate) fn for_result(batch: &Batch) -> Self {
        Self::new(vec![0; batch.out_shape.iter().product()], &batch.out_shape)
    }

    fn extent(&self) -> Extent {
        Extent { lowest: 0, end: (self.elements.len() * ITEM_BYTES).cast_signed() }
    }

    /// The elements.
    pub(crate) fn elements(&self) -> &[u16] {
        &self.elements
    }

    /// The memory as the engine takes it; to be used as long as this lives, and not while somebody looks at
    /// the elements.
    pub(crate) fn lend(&mut self) -> ArrayMemory {
        let extent = self.extent();
        // SAFETY: the vector is as long as the extent and never grows; every user here keeps it for longer
        // than what it lends and looks at the elements only between runs.
        unsafe { ArrayMemory::new(self.elements.as_mut_ptr().cast(), extent, ITEM_BYTES) }
    }
}

/// A planned read of a batch, with the memory it goes to.
pub(crate) struct Read {
    request: ReadRequest,
    out: Memory,
}

impl Read {
    /// Plans a read.
    pub(crate) fn plan(array: &Array, batch: &Batch, mut out: Memory) -> Self {
        let strides = contiguous_strides(&out.shape, ITEM_BYTES);
        let mut tasks = Vec::with_capacity(batch.entries.len());
        let mut regions = Vec::with_capacity(batch.entries.len());
        let mut places = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            let within = resolve(&entry.within, array.chunk_shape()).unwrap();
            let outside = resolve(&entry.outside, &out.shape).unwrap();
            let region = outside.region(&strides);
            regions.push(match within.selection {
                Selection::Points(_) => region.flattened(),
                Selection::Product(_) => region,
            });
            tasks.push(ReadTask { chain: Arc::clone(&array.chain), selection: within.selection });
            if let Selection::Product(axes) = outside.selection {
                places.push(axes);
            }
        }
        let regions =
            DisjointRegions::prove(regions, &places, &out.shape, out.extent(), ITEM_BYTES, true).unwrap();
        let target = ReadTarget::Elements(Output::new(out.lend(), regions));
        Self { request: ReadRequest::new(tasks, target).unwrap(), out }
    }

    /// Reads everything on this thread.
    pub(crate) fn run(&self, store: &dyn ChunkStore, scratch: &mut Scratch) {
        read::read(&self.request, store, Work::serial(&CancelToken::default()), scratch).unwrap();
    }

    /// What was read.
    pub(crate) fn answer(&self) -> &[u16] {
        self.out.elements()
    }

    /// The memory, to be used again.
    pub(crate) fn into_memory(self) -> Memory {
        self.out
    }
}

/// A planned write of a batch, with the memory it comes from.
pub(crate) struct Write {
    request: WriteRequest,
    _values: Memory,
}

impl Write {
    /// Plans a write.
    pub(crate) fn plan(array: &Array, batch: &Batch, mut values: Memory) -> Self {
        let strides = contiguous_strides(&values.shape, ITEM_BYTES);
        let task = |entry: &super::batch::Entry| {
            let within = resolve(&entry.within, array.chunk_shape()).unwrap();
            let outside = resolve(&entry.outside, &values.shape).unwrap();
            let region: Region = outside.region(&strides).broadcast_to(&within.result_shape).unwrap();
            let is_complete = within.selection.covers(array.chunk_shape());
            WriteTask { chain: Arc::clone(&array.chain), selection: within.selection, region, is_complete }
        };
        let tasks = batch.entries.iter().map(task).collect();
        let request = WriteRequest::new(tasks, WriteSource::Elements(values.lend()));
        Self { request, _values: values }
    }

    /// Writes everything on this thread.
    pub(crate) fn run(&self, store: &dyn ChunkStore, scratch: &mut Scratch) {
        write::write(&self.request, store, Work::serial(&CancelToken::default()), scratch).unwrap();
    }
}
