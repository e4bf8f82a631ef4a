//! The inner chunks of a shard: read and written alone where a request touches only some of them.
#![expect(
    unsafe_code,
    reason = "a shard among other codecs is decoded into a plain buffer, through the same places"
)]

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::codec::chain::Chain;
use crate::codec::scratch::{copy_of, resize};
use crate::codec::sharding::{self, ShardIndex, Sharding};
use crate::codec::{Codec, CodecFault, Direction, Scratch};
use crate::error::{Error, StepError};
use crate::gather::Supply;
use crate::plan::DisjointRegions;
use crate::plan::Selection;
use crate::plan::regions::{Extent, Region, RegionAxis};
use crate::plan::selection::contiguous_strides;
use crate::plan::split::{Piece, split};
use crate::scatter::{ArrayMemory, Output};
use crate::schedule::{CancelToken, Work};
use crate::store::{ByteSource, InMemory};

use super::ahead::is_mostly_wanted;
use super::chunk::{Emit, WriteChunk, read_chunk, write_chunk};
use super::{Destination, Origin};

/// Reads the selected elements of a shard to their destination: the index, then the inner chunks needed.
///
/// # Errors
/// What the store or a codec refuses, with `key`.
#[expect(clippy::too_many_arguments, reason = "one call site; a struct would only rename them")]
pub fn read_shard(
    chain: &Chain,
    sharding: &Sharding,
    source: &dyn ByteSource,
    selection: &Selection,
    destination: &Destination<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let index = read_index(sharding, source, key, scratch)?;
    read_inner(chain, sharding, &index, source, &Part::ALL, selection, destination, key, work, scratch)
}

/// Some of the inner chunks that a request touches.
#[derive(Clone, Debug)]
pub struct Part {
    /// Those that begin here in the shard …
    pub window: Range<u64>,
    /// … and those that are nowhere.
    pub has_missing: bool,
}

impl Part {
    /// All of them.
    pub const ALL: Self = Self { window: 0..u64::MAX, has_missing: true };

    fn holds(&self, range: Option<&Range<u64>>) -> bool {
        range.map_or(self.has_missing, |range| self.window.contains(&range.start))
    }
}

/// Reads the selected elements of a part of a shard whose index is known.
///
/// # Errors
/// What the store or a codec refuses, with `key`.
#[expect(clippy::too_many_arguments, reason = "two call sites; a struct would only rename them")]
pub fn read_inner(
    chain: &Chain,
    sharding: &Sharding,
    index: &ShardIndex,
    source: &dyn ByteSource,
    part: &Part,
    selection: &Selection,
    destination: &Destination<'_>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let inner = sharding.inner();
    let shard_len = source.len_bytes();
    let pieces = pieces_of(chain, sharding, selection, destination.region());
    let ranges = ranges_of(sharding, index, &pieces, shard_len).map_err(|error| error.at(key))?;
    if !is_mostly_wanted(chain, selection) {
        source.will_need(&mut ranges.iter().flatten().cloned());
    }
    let read_from = |source: &dyn ByteSource, first: u64, scratch: &mut Scratch| {
        work.for_each(pieces.len(), scratch, |at, work, scratch| {
            if !part.holds(ranges[at].as_ref()) {
                return Ok(());
            }
            let piece = &pieces[at];
            let place = destination.part(piece.region.clone());
            match ranges[at].clone() {
                None => place.fill(inner.fill()),
                Some(range) => {
                    let window = Window { source, range: range.start - first..range.end - first };
                    read_chunk(inner, &window, &piece.selection, place, key, work, scratch)
                }
            }
        })
    };
    let Some(span) = span_worth_reading(source, &ranges) else { return read_from(source, 0, scratch) };
    let mut buffer = scratch.take_empty();
    let result = source
        .read(span.clone(), &mut buffer)
        .and_then(|bytes| read_from(&InMemory(&bytes), span.start, scratch));
    scratch.put(buffer);
    result
}

/// Small inner chunks that lie close together are fetched in one request: their span, if that costs less
/// than a request for each.
fn span_worth_reading(source: &dyn ByteSource, ranges: &[Option<Range<u64>>]) -> Option<Range<u64>> {
    let request_cost = source.request_cost_bytes()?;
    let (mut start, mut end) = (u64::MAX, 0);
    let (mut needed_bytes, mut requests) = (0, 0);
    for range in ranges.iter().flatten() {
        (start, end) = (start.min(range.start), end.max(range.end));
        needed_bytes += range.end - range.start;
        requests += 1;
    }
    let span_bytes = end.checked_sub(start)?;
    // Copied twice (through the buffer), by one thread: it has to be clearly less.
    let is_less = span_bytes.saturating_sub(needed_bytes) + needed_bytes / 2 < (requests - 1) * request_cost;
    (requests > 1 && is_less && span_bytes <= MAX_SPAN_BYTES).then_some(start..end)
}

/// Longest part of a shard that is fetched in one request.
const MAX_SPAN_BYTES: u64 = 8 << 20;

fn read_index(
    sharding: &Sharding,
    source: &dyn ByteSource,
    key: &str,
    scratch: &mut Scratch,
) -> Result<ShardIndex, Error> {
    let range = sharding.index_range(source.len_bytes()).map_err(|error| error.at(key))?;
    let mut buffer = scratch.take_empty();
    let index = source
        .read(range, &mut buffer)
        .and_then(|encoded| sharding.decode_index(&encoded, scratch).map_err(|error| error.at(key)));
    scratch.put(buffer);
    index
}

/// The request cut along the inner chunks, in the order of the axes as stored.
pub(super) fn pieces_of(
    chain: &Chain,
    sharding: &Sharding,
    selection: &Selection,
    region: &Region,
) -> Vec<Piece> {
    let inner_shape = &sharding.inner().spec().chunk_shape;
    let order = chain.stored_axes();
    if order.is_sorted() {
        return split(selection, region, inner_shape, sharding.grid());
    }
    let region = match selection {
        Selection::Product(_) => region.transposed(order),
        Selection::Points(_) => region.clone(),
    };
    split(&selection.transposed(order), &region, inner_shape, sharding.grid())
}

/// Where the inner chunks of these pieces lie; all are checked before any is read.
fn ranges_of(
    sharding: &Sharding,
    index: &ShardIndex,
    pieces: &[Piece],
    shard_len: u64,
) -> Result<Vec<Option<Range<u64>>>, StepError> {
    let limit = sharding.inner().encoded_limit();
    let ranges = pieces
        .iter()
        .map(|piece| index.range(piece.inner, shard_len, limit))
        .collect::<Result<Vec<_>, _>>()?;
    sharding::check_overlaps(&mut ranges.iter().flatten().cloned().collect())?;
    Ok(ranges)
}

/// Part of a stored value, as a value of its own.
struct Window<'a> {
    source: &'a dyn ByteSource,
    range: Range<u64>,
}

impl ByteSource for Window<'_> {
    fn len_bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read<'a>(
        &'a self,
        range: Range<u64>,
        buffer: &'a mut crate::codec::scratch::ScratchBuffer,
    ) -> Result<std::borrow::Cow<'a, [u8]>, Error> {
        self.source.read(self.range.start + range.start..self.range.start + range.end, buffer)
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        self.source.read_into(self.range.start + range.start..self.range.start + range.end, target)
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        self.source.request_cost_bytes()
    }

    fn will_need(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) {
        let start = self.range.start;
        self.source.will_need(&mut ranges.map(|range| start + range.start..start + range.end));
    }
}

/// Writes the selected elements of a shard: touched inner chunks are merged and encoded anew, the others
/// keep their encoded bytes.
///
/// # Errors
/// What a codec or `emit` refuses, with the shard's key.
pub fn write_shard(
    sharding: &Sharding,
    request: &WriteChunk<'_>,
    work: Work<'_>,
    scratch: &mut Scratch,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    let key = request.key;
    let inner = sharding.inner();
    let inner_shape = &inner.spec().chunk_shape;
    let pieces = pieces_of(request.chain, sharding, request.selection, request.origin.region());
    let is_rewritten = pieces.len() == sharding.inner_count()
        && pieces.iter().all(|piece| piece.selection.covers(inner_shape));
    let mut stored_buffer = scratch.take_empty();
    let result = (|| {
        let stored = match request.existing {
            Some(source) if !is_rewritten => {
                let too_long = source.len_bytes() > request.chain.encoded_limit() as u64;
                if too_long {
                    return Err(
                        sharding::damaged(format!("{} bytes are too many", source.len_bytes())).at(key)
                    );
                }
                Some(source.read(0..source.len_bytes(), &mut stored_buffer)?)
            }
            _ => None,
        };
        let kept =
            stored.as_deref().map(|bytes| existing_inner(sharding, bytes, key, scratch)).transpose()?;
        let kept_at = |position: usize| kept.as_ref().and_then(|kept| kept[position]);
        let encoded: Vec<OnceLock<Option<Vec<u8>>>> = pieces.iter().map(|_| OnceLock::new()).collect();
        work.for_each(pieces.len(), scratch, |at, work, scratch| {
            let piece = &pieces[at];
            let existing = kept_at(piece.inner).map(InMemory);
            let request = WriteChunk {
                chain: inner,
                existing: existing.as_ref().map(|bytes| bytes as &dyn ByteSource),
                selection: &piece.selection,
                origin: request.origin.part(piece.region.clone()),
                key,
            };
            write_chunk(&request, work, scratch, &mut |bytes| {
                // Set once: every piece has an inner chunk of its own.
                let copy = bytes.map(copy_of).transpose().map_err(|fault| of_encoding(fault).at(key))?;
                let _ = encoded[at].set(copy);
                Ok(())
            })
        })?;
        let mut parts: Vec<Option<&[u8]>> = (0..sharding.inner_count()).map(kept_at).collect();
        for (piece, encoded) in pieces.iter().zip(&encoded) {
            parts[piece.inner] = encoded.get().and_then(|bytes| bytes.as_deref());
        }
        let mut shard = scratch.take_vec();
        let is_there = sharding.assemble(&parts, &mut shard, scratch).map_err(|error| error.at(key))?;
        let result = emit(is_there.then_some(&shard));
        scratch.put_vec(shard);
        result
    })();
    scratch.put(stored_buffer);
    result
}

/// A fault of the shard as a whole.
fn of_encoding(fault: CodecFault) -> StepError {
    StepError { codec: sharding::NAME.to_owned(), direction: Direction::Encode, fault }
}

/// The encoded inner chunks of a stored shard, in C order of the grid.
fn existing_inner<'a>(
    sharding: &Sharding,
    shard: &'a [u8],
    key: &str,
    scratch: &mut Scratch,
) -> Result<Vec<Option<&'a [u8]>>, Error> {
    let source = InMemory(shard);
    let index = read_index(sharding, &source, key, scratch)?;
    let limit = sharding.inner().encoded_limit();
    let ranges = (0..sharding.inner_count())
        .map(|position| index.range(position, shard.len() as u64, limit))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.at(key))?;
    sharding::check_overlaps(&mut ranges.iter().flatten().cloned().collect())
        .map_err(|error| error.at(key))?;
    let slice = |range: &Range<u64>| {
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        bounds.and_then(|(start, end)| shard.get(start..end))
    };
    Ok(ranges.iter().map(|range| range.as_ref().and_then(slice)).collect())
}

/// A shard with other codecs before or after it: always decoded and encoded as a whole.
#[derive(Debug)]
pub struct ShardStep {
    chain: Chain,
    sharding: Arc<Sharding>,
}

impl ShardStep {
    /// A step from a chain that is nothing but the shard.
    #[must_use]
    pub fn new(chain: Chain, sharding: Arc<Sharding>) -> Self {
        Self { chain, sharding }
    }

    fn region(&self) -> Region {
        let spec = self.chain.spec();
        let strides = contiguous_strides(&spec.chunk_shape, spec.dtype.item_size);
        let axes = spec
            .chunk_shape
            .iter()
            .zip(&strides)
            .map(|(&len, &stride)| RegionAxis::Strided { len, stride })
            .collect();
        Region::new(0, axes)
    }

    fn memory(&self, data: *mut u8, len_bytes: usize) -> ArrayMemory {
        let extent = Extent { lowest: 0, end: len_bytes.cast_signed() };
        // SAFETY: both callers pass a slice of this length that outlives the value; the one that will be
        // written is borrowed for writing.
        unsafe { ArrayMemory::new(data, extent, self.chain.spec().dtype.item_size) }
    }
}

/// The fault of a step without the rest, which the outer chain adds again.
fn fault_of(error: Error) -> CodecFault {
    match error {
        Error::Codec { codec, fault, .. } if codec == sharding::NAME => fault,
        Error::Cancelled => CodecFault::Cancelled,
        other => CodecFault::Damaged(other.to_string()),
    }
}

impl Codec for ShardStep {
    fn name(&self) -> &str {
        sharding::NAME
    }

    fn encoded_len(&self, _: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, _: usize) -> usize {
        self.sharding.encoded_limit()
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let memory = self.memory(decoded.as_mut_ptr(), decoded.len());
        let spec = self.chain.spec();
        let regions =
            DisjointRegions::prove(vec![self.region()], &[], &[], memory.extent(), memory.item_size(), true)
                .map_err(|error| CodecFault::Damaged(error.to_string()))?;
        let output = Output::new(memory, regions);
        let cancel = CancelToken::default();
        let work = Work::serial(&cancel);
        let selection = Selection::full(&spec.chunk_shape);
        let destination = Destination::Elements(output.place(0));
        read_chunk(&self.chain, &InMemory(encoded), &selection, destination, "", work, scratch)
            .map_err(fault_of)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let len_bytes = self.chain.len_bytes();
        if len_bytes > limit_bytes {
            return Err(CodecFault::DecodedLength { expected: limit_bytes, actual: len_bytes });
        }
        resize(decoded, len_bytes)?;
        self.decode_into(encoded, decoded, scratch)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        let memory = self.memory(decoded.as_ptr().cast_mut(), decoded.len());
        let selection = Selection::full(&self.chain.spec().chunk_shape);
        let cancel = CancelToken::default();
        let work = Work::serial(&cancel);
        let request = WriteChunk {
            chain: &self.chain,
            existing: None,
            selection: &selection,
            origin: Origin::Elements(Supply::new(&memory, self.region())),
            key: "",
        };
        write_chunk(&request, work, scratch, &mut |bytes| {
            // A shard of nothing but fill values, which the outer chain chose to write all the same.
            let empty = Vec::new();
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => &empty,
            };
            encoded.extend_from_slice(bytes);
            Ok(())
        })
        .map_err(fault_of)
    }
}

/// The bytes of a shard that a selection needs, one range for every inner chunk that is there, ascending.
///
/// # Errors
/// An index that lies.
pub fn needed_ranges(
    chain: &Chain,
    sharding: &Sharding,
    index: &ShardIndex,
    selection: &Selection,
    region: &Region,
    shard_len: u64,
) -> Result<Vec<Range<u64>>, StepError> {
    let pieces = pieces_of(chain, sharding, selection, region);
    let mut ranges: Vec<_> = ranges_of(sharding, index, &pieces, shard_len)?.into_iter().flatten().collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup();
    Ok(ranges)
}

/// Number of inner chunks that a selection touches.
#[must_use]
pub fn touched_inner_chunks(chain: &Chain, selection: &Selection, region: &Region) -> usize {
    chain.shard().map_or(0, |sharding| pieces_of(chain, sharding, selection, region).len())
}
