//! Reading: plan → schedule → get → decode → scatter.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::codec::scratch::ScratchBuffer;
use crate::codec::sharding::{ShardIndex, Sharding, damaged};
use crate::counters::COUNTERS;
use crate::distance;
use crate::error::Error;
use crate::plan::{DisjointRegions, Selection};
use crate::scatter::Output;
use crate::schedule::Work;
use crate::store::{ByteSource, ChunkStore};

use super::chunk::read_chunk;
pub use super::shard::Part;
use super::{Destination, ObjectSink, ahead, shard};

/// One chunk of a read.
#[derive(Debug)]
pub struct ReadTask {
    /// Its chain.
    pub chain: Arc<Chain>,
    /// Which of its elements.
    pub selection: Selection,
}

/// Where a whole read goes.
pub enum ReadTarget {
    /// Elements of a fixed size.
    Elements(Output),
    /// Objects.
    Objects {
        /// Who makes them.
        sink: Box<dyn ObjectSink + Send>,
        /// Where each chunk's go.
        regions: DisjointRegions,
    },
}

impl ReadTarget {
    fn regions(&self) -> &DisjointRegions {
        match self {
            Self::Elements(output) => output.regions(),
            Self::Objects { regions, .. } => regions,
        }
    }

    fn destination(&self, index: usize) -> Destination<'_> {
        match self {
            Self::Elements(output) => Destination::Elements(output.place(index)),
            Self::Objects { sink, regions } => {
                Destination::Objects { sink: sink.as_ref(), region: regions.region(index).clone() }
            }
        }
    }
}

/// A planned read.
pub struct ReadRequest {
    tasks: Vec<ReadTask>,
    target: ReadTarget,
    present: Vec<AtomicBool>,
    done: AtomicUsize,
}

impl ReadRequest {
    /// Pairs chunks with their places.
    ///
    /// # Errors
    /// Different numbers of both.
    pub fn new(tasks: Vec<ReadTask>, target: ReadTarget) -> Result<Self, Error> {
        if tasks.len() != target.regions().len() {
            return Err(Error::Internal("every chunk of a read needs its place".to_owned()));
        }
        let present = tasks.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { tasks, target, present, done: AtomicUsize::new(0) })
    }

    /// Chunks of the read.
    #[must_use]
    pub fn tasks(&self) -> &[ReadTask] {
        &self.tasks
    }

    /// Where the chunks go.
    #[must_use]
    pub fn regions(&self) -> &DisjointRegions {
        self.target.regions()
    }

    /// Whether chunk `index` was found in the store.
    #[must_use]
    pub fn is_present(&self, index: usize) -> bool {
        self.present[index].load(Ordering::Relaxed)
    }

    /// How many chunks are where they belong.
    #[must_use]
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    fn note_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// What the read costs, roughly: bytes to decode.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.tasks.iter().map(|task| task.chain.cost_bytes()).fold(0, usize::saturating_add)
    }

    /// Bytes that one chunk takes at most while it is read: stored and decoded. Of a shard that is an inner
    /// chunk, for shards are never decoded as a whole.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        fn bytes_of(chain: &Chain) -> usize {
            chain.shard().map_or_else(|| chain.len_bytes().saturating_mul(2), |shard| bytes_of(shard.inner()))
        }
        self.tasks.iter().map(|task| bytes_of(&task.chain)).max().unwrap_or(0)
    }

    /// The same where whole values are fetched, but for shards of which a part is needed.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        let whole = (0..self.tasks.len()).filter(|&index| self.partial_shard(index).is_none());
        whole.map(|index| self.tasks[index].chain.len_bytes()).max().unwrap_or(0).saturating_mul(2)
    }

    /// How far the read may spread: not at all where chunks might write the same element.
    #[must_use]
    pub fn spread<'w>(&self, work: Work<'w>) -> Work<'w> {
        if self.regions().is_parallel() { work } else { Work::serial(work.cancel) }
    }

    /// Reads one chunk whose stored bytes are at hand; `None` where it is missing.
    ///
    /// # Errors
    /// What a codec refuses.
    pub fn read_one(
        &self,
        index: usize,
        source: Option<&dyn ByteSource>,
        key: &str,
        work: Work<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let task = &self.tasks[index];
        let destination = self.target.destination(index);
        let selected_bytes = task.selection.element_count().saturating_mul(task.chain.spec().dtype.item_size);
        if let Some(source) = source {
            self.present[index].store(true, Ordering::Relaxed);
            COUNTERS.read.add(usize::try_from(source.len_bytes()).unwrap_or(usize::MAX), selected_bytes);
            read_chunk(&task.chain, source, &task.selection, destination, key, work, scratch)?;
        } else {
            COUNTERS.read.add(0, selected_bytes);
            destination.fill(task.chain.fill())?;
        }
        self.note_done();
        Ok(())
    }

    /// For a shard of which only some inner chunks are needed: its sharding.
    #[must_use]
    pub fn partial_shard(&self, index: usize) -> Option<&Arc<Sharding>> {
        let task = &self.tasks[index];
        let sharding = task.chain.shard()?;
        let touched = shard::touched_inner_chunks(&task.chain, &task.selection, self.regions().region(index));
        (touched < sharding.inner_count()).then_some(sharding)
    }

    /// The bytes of shard `index` that the read needs.
    ///
    /// # Errors
    /// An index that lies.
    pub(super) fn shard_ranges(
        &self,
        index: usize,
        shard_index: &ShardIndex,
        key: &str,
    ) -> Result<Vec<Range<u64>>, Error> {
        let task = &self.tasks[index];
        let Some(sharding) = task.chain.shard() else { return Ok(Vec::new()) };
        let region = self.regions().region(index);
        shard::needed_ranges(&task.chain, sharding, shard_index, &task.selection, region, UNKNOWN_LEN)
            .map_err(|error| error.at(key))
    }

    /// Decodes the index of shard `index`: with it the bytes that the read needs.
    ///
    /// # Errors
    /// A damaged index, or one that lies.
    pub fn decode_shard_index(
        &self,
        index: usize,
        stored: &[u8],
        key: &str,
        scratch: &mut Scratch,
    ) -> Result<(ShardIndex, Vec<Range<u64>>), Error> {
        let sharding =
            self.tasks[index].chain.shard().ok_or_else(|| Error::Internal("not a shard".to_owned()))?;
        let shard_index = sharding.decode_index(stored, scratch).map_err(|error| error.at(key))?;
        let ranges = self.shard_ranges(index, &shard_index, key)?;
        Ok((shard_index, ranges))
    }

    /// The bytes of chunk `index` from the first to the last that is needed, where stored bytes are the elements
    /// and that is less than half of them.
    #[cfg(feature = "remote")]
    pub(super) fn plain_span(&self, index: usize) -> Option<Range<u64>> {
        let task = &self.tasks[index];
        if !task.chain.is_plain() {
            return None;
        }
        let region = task.selection.project(task.chain.strides());
        let (lowest, highest) = region.bounds()?;
        let start = u64::try_from(lowest).ok()?;
        let end = u64::try_from(highest).ok()? + task.chain.spec().dtype.item_size as u64;
        ((end - start) < task.chain.len_bytes() as u64 / 2).then_some(start..end)
    }

    /// Whether the first bytes of chunk `index` may tell which of the others are needed, and that less than half of
    /// a large chunk is.
    #[cfg(feature = "remote")]
    pub(super) fn has_blocks(&self, index: usize) -> bool {
        let task = &self.tasks[index];
        let len_bytes = task.chain.len_bytes();
        task.chain.head_bytes().is_some()
            && len_bytes >= LARGE_CHUNK_BYTES
            && task
                .selection
                .project(task.chain.strides())
                .bounds()
                .is_some_and(|(lowest, highest)| highest.abs_diff(lowest) < len_bytes / 2)
    }

    /// The encoded bytes of chunk `index` that are needed, by the first of them; `None`: all.
    #[cfg(feature = "remote")]
    pub(super) fn block_ranges(
        &self,
        index: usize,
        head: &[u8],
        encoded_len: u64,
    ) -> Option<Vec<Range<u64>>> {
        let task = &self.tasks[index];
        let region = task.selection.project(task.chain.strides());
        let item_size = task.chain.spec().dtype.item_size;
        super::blocks::encoded_ranges(&task.chain, head, encoded_len, &region, item_size)
    }

    /// Reads a part of shard `index` from some of the ranges that [`ReadRequest::decode_shard_index`] named.
    /// `left` counts the parts that are not read yet.
    ///
    /// # Errors
    /// What a codec refuses.
    #[expect(clippy::too_many_arguments, reason = "two call sites; a struct would only rename them")]
    pub fn read_shard_part(
        &self,
        index: usize,
        shard_index: &ShardIndex,
        segments: &Segments<'_>,
        part: &Part,
        left: &AtomicUsize,
        key: &str,
        work: Work<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let task = &self.tasks[index];
        let Some(sharding) = task.chain.shard() else {
            return Err(Error::Internal("parts of a chunk that is no shard".to_owned()));
        };
        let destination = self.target.destination(index);
        self.present[index].store(true, Ordering::Relaxed);
        if part.has_missing {
            let selected_bytes =
                task.selection.element_count().saturating_mul(task.chain.spec().dtype.item_size);
            COUNTERS.read.add(segments.fetched_bytes(), selected_bytes);
            COUNTERS.add_steps(task.chain.engines());
        } else {
            COUNTERS.read.add_bytes(segments.fetched_bytes());
        }
        shard::read_inner(
            &task.chain,
            sharding,
            shard_index,
            segments,
            part,
            &task.selection,
            &destination,
            key,
            work,
            scratch,
        )?;
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.note_done();
        }
        Ok(())
    }
}

/// Smaller chunks are fetched whole: further requests take longer than the rest of them.
#[cfg(feature = "remote")]
const LARGE_CHUNK_BYTES: usize = 1 << 20;

const TOO_LONG: &str = "a part of it does not fit in memory";

/// Length of a shard of which only parts were fetched.
const UNKNOWN_LEN: u64 = u64::MAX >> 1;

/// Parts of a stored value, fetched one by one.
#[derive(Debug)]
pub struct Segments<'a> {
    /// The value's key, for errors.
    key: &'a str,
    /// Offset of the first byte, and the bytes; ascending.
    parts: Vec<(u64, &'a [u8])>,
    /// Length of the whole value.
    len_bytes: u64,
}

impl<'a> Segments<'a> {
    /// Parts of a shard, in any order.
    #[must_use]
    pub fn new(key: &'a str, parts: Vec<(u64, &'a [u8])>) -> Self {
        Self::of_value(key, parts, UNKNOWN_LEN)
    }

    /// Parts of a value of which the length is known.
    #[must_use]
    pub fn of_value(key: &'a str, mut parts: Vec<(u64, &'a [u8])>, len_bytes: u64) -> Self {
        parts.sort_unstable_by_key(|(start, _)| *start);
        Self { key, parts, len_bytes }
    }

    fn fetched_bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// What there is of a range from its first byte on, in one piece.
    fn beginning_of(&self, range: &Range<u64>) -> Result<&'a [u8], Error> {
        let after = self.parts.partition_point(|(start, _)| *start <= range.start);
        let found = self.parts[..after].iter().rev().find_map(|(start, bytes)| {
            let first = usize::try_from(range.start - start).ok()?;
            let len = usize::try_from(range.end - range.start).ok()?;
            let rest = bytes.get(first..).filter(|rest| !rest.is_empty() || len == 0)?;
            Some(&rest[..len.min(rest.len())])
        });
        // Everything was asked for: what is not here is not there.
        found.ok_or_else(|| {
            damaged(if self.len_bytes == UNKNOWN_LEN {
                format!(
                    "the index puts an inner chunk at bytes {}..{}, past the end of the shard",
                    range.start, range.end
                )
            } else {
                format!("the chunk ends before byte {}", range.end)
            })
            .at(self.key)
        })
    }
}

impl ByteSource for Segments<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read<'a>(&'a self, range: Range<u64>, buffer: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error> {
        let beginning = self.beginning_of(&range)?;
        if beginning.len() as u64 == range.end - range.start {
            return Ok(Cow::Borrowed(beginning));
        }
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| damaged(TOO_LONG.to_owned()).at(self.key))?;
        buffer.set_len(len).map_err(|_| damaged(TOO_LONG.to_owned()).at(self.key))?;
        self.read_into(range, buffer)?;
        Ok(Cow::Borrowed(buffer))
    }

    fn read_into(&self, mut range: Range<u64>, mut target: &mut [u8]) -> Result<(), Error> {
        while range.start < range.end {
            let piece = self.beginning_of(&range)?;
            let (filled, rest) = target.split_at_mut(piece.len());
            distance::copy(filled, piece);
            target = rest;
            range.start += piece.len() as u64;
        }
        Ok(())
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        None
    }
}

/// Reads every chunk from a store of our own.
///
/// # Errors
/// The failure of the first chunk that failed.
pub fn read(
    request: &ReadRequest,
    store: &dyn ChunkStore,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    COUNTERS.add_native_requests(request.tasks.len() as u64);
    let work = request.spread(work);
    let chunk_bytes = request.tasks.first().map_or(0, |task| task.chain.len_bytes());
    let needed = |index: usize| {
        let task = &request.tasks[index];
        ahead::needed_bytes(&task.chain, &task.selection)
    };
    work.for_each(request.tasks.len(), scratch, |index, work, scratch| {
        store.open(index, scratch, &mut |source, scratch| {
            store.look_ahead(index, chunk_bytes, &needed);
            request.read_one(index, source, store.key(index), work, scratch)
        })
    })
}
