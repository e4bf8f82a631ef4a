//! Encoded chunks that can be decoded in parts: blosc frames, whose blocks are independent. Used by
//! [`super::chunk`]: a window reads and decodes only the blocks that hold it, and the blocks of a chunk that
//! several threads may work on are shared among them. Of the encoded chunk no more is in memory than the blocks
//! that are worked on: they are still in the cache when they are decoded.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::codec::chain::Chain;
use crate::codec::partial::{self, Layout};
use crate::codec::scratch::ScratchBuffer;
use crate::codec::{Direction, Scratch};
use crate::distance;
use crate::error::Error;
use crate::plan::Region;
use crate::scatter::Place;
use crate::schedule::Work;
use crate::store::ByteSource;

use super::parts;
use super::slabs::Slab;

/// So much is read first, for what an encoded chunk says of its blocks: it mostly says no more than that.
const FIRST_BYTES: u64 = 4096;
/// Encoded chunks up to this length are read at once: in parts they would take as long.
const READ_AT_ONCE_BYTES: u64 = 64 << 10;

/// Smaller blocks are put together to slabs of eight times this.
const MIN_SLAB_BLOCK_BYTES: usize = 128 << 10;

/// An encoded chunk as its decoded bytes, of which parts can be read.
pub(super) struct Blocks<'a> {
    chain: &'a Chain,
    source: &'a dyn ByteSource,
    frame: Box<dyn partial::Blocks>,
    key: &'a str,
    /// Where encoded blocks are read to, and blocks decoded of which a part is wanted.
    buffers: Mutex<Vec<ScratchBuffer>>,
}

impl<'a> Blocks<'a> {
    /// Whether it pays to look at a chunk's blocks: there may be some, and it is long enough.
    pub(super) fn may_be_in(chain: &Chain, source: &dyn ByteSource) -> bool {
        chain.head_bytes().is_some()
            && (source.request_cost_bytes().is_none() || source.len_bytes() > READ_AT_ONCE_BYTES)
    }

    /// The blocks of a chunk; `None` where it has to be decoded as a whole.
    ///
    /// # Errors
    /// Damaged data.
    pub(super) fn of(
        chain: &'a Chain,
        source: &'a dyn ByteSource,
        key: &'a str,
        scratch: &mut Scratch,
    ) -> Result<Option<Self>, Error> {
        let encoded_len = in_memory(source.len_bytes())?;
        let Some(wanted) = chain.head_bytes() else { return Ok(None) };
        let mut buffer = scratch.take_empty();
        let mut first_bytes = (wanted as u64).max(FIRST_BYTES);
        let frame = loop {
            let layout = source
                .read(0..first_bytes.min(source.len_bytes()), &mut buffer)
                .and_then(|head| chain.layout(&head, encoded_len).map_err(|error| error.at(key)));
            match layout {
                Ok(Layout::Blocks(frame)) => break Ok(Some(frame)),
                Ok(Layout::Head(more)) if more as u64 > first_bytes && more <= encoded_len => {
                    first_bytes = more as u64;
                }
                Ok(Layout::Whole | Layout::Head(_)) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        scratch.put(buffer);
        Ok(frame?.map(|frame| Self { chain, source, frame, key, buffers: Mutex::default() }))
    }

    /// Whether enough blocks hold nothing of `region` to make up for the copy that decoding in parts takes.
    pub(super) fn are_spared(&self, region: &Region, item_size: usize) -> bool {
        region.bounds().is_none() || wanted(self.chain, self.frame.as_ref(), region, item_size).is_some()
    }

    /// Decodes all blocks, several threads sharing them.
    ///
    /// # Errors
    /// Damaged data.
    pub(super) fn decode_shared(
        &self,
        decoded: &mut [u8],
        work: Work<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let block_bytes = self.frame.block_bytes();
        let part_bytes = parts::PART_BYTES.next_multiple_of(block_bytes);
        parts::fill(decoded, 0, part_bytes, work, scratch, |first_byte, part, scratch| {
            let first = first_byte / block_bytes;
            let mut framed = scratch.take_empty();
            let result = self.decode(first..first + part.len().div_ceil(block_bytes), part, &mut framed);
            scratch.put(framed);
            result
        })
    }

    /// Reads a region that most blocks hold some of, several threads sharing it; `false`, with nothing done,
    /// where the chunk is better decoded at once.
    ///
    /// # Errors
    /// Damaged data.
    pub(super) fn read_slabs(
        &self,
        region: &Region,
        place: &Place<'_>,
        work: Work<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        let len_bytes = self.chain.len_bytes();
        // The blocks at both ends of a slab may be decoded for its neighbours too: that should not be many.
        let slab_bytes = 8 * self.frame.block_bytes().max(MIN_SLAB_BLOCK_BYTES);
        if len_bytes < 4 * slab_bytes {
            return Ok(false);
        }
        let Some(slabs) = Slab::all(region, place, slab_bytes) else { return Ok(false) };
        if slabs.iter().map(|slab| slab.end - slab.start).sum::<usize>() > len_bytes {
            return Ok(false);
        }
        work.for_each(slabs.len(), scratch, |at, _, scratch| {
            let slab = &slabs[at];
            let mut buffer = scratch.take_empty();
            let result = self
                .read(slab.start as u64..slab.end as u64, &mut buffer)
                .and_then(|decoded| Ok(place.part(slab.place.clone()).scatter(&decoded, &slab.region)?));
            scratch.put(buffer);
            result
        })?;
        Ok(true)
    }

    /// Decodes whole blocks into memory of exactly their length.
    fn decode(
        &self,
        blocks: Range<usize>,
        decoded: &mut [u8],
        framed: &mut ScratchBuffer,
    ) -> Result<(), Error> {
        if blocks.is_empty() {
            return Ok(());
        }
        let fault_at = |fault| self.chain.fault(Direction::Decode, fault).at(self.key);
        let head_bytes = self.frame.head_bytes(blocks.len());
        let encoded_bytes: usize = blocks.clone().map(|block| self.frame.encoded_range(block).len()).sum();
        framed.set_len(head_bytes + encoded_bytes).map_err(fault_at)?;
        let mut room = &mut framed[head_bytes..];
        let mut ranges = blocks.clone().map(|block| self.frame.encoded_range(block)).peekable();
        while let Some(mut range) = ranges.next() {
            // Neighbours are mostly stored as such.
            while let Some(next) = ranges.next_if(|next| next.start == range.end) {
                range.end = next.end;
            }
            let (target, rest) = room.split_at_mut(range.len());
            self.source.read_into(range.start as u64..range.end as u64, target)?;
            room = rest;
        }
        self.frame.decode(blocks, framed, decoded).map_err(fault_at)
    }

    /// Decodes the blocks that hold `range` into `buffer`; answers where in it the range begins.
    fn decode_around(&self, range: &Range<usize>, buffer: &mut ScratchBuffer) -> Result<usize, Error> {
        let block_bytes = self.frame.block_bytes();
        let blocks = range.start / block_bytes..range.end.div_ceil(block_bytes);
        let start = blocks.start * block_bytes;
        let len = (blocks.end * block_bytes).min(self.chain.len_bytes()) - start;
        buffer.set_len(len).map_err(|fault| self.chain.fault(Direction::Decode, fault).at(self.key))?;
        self.with_buffer(|framed| self.decode(blocks, buffer, framed))?;
        Ok(range.start - start)
    }

    fn with_buffer<T>(&self, body: impl FnOnce(&mut ScratchBuffer) -> T) -> T {
        let lock = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = lock().pop().unwrap_or_default();
        let result = body(&mut buffer);
        lock().push(buffer);
        result
    }

    /// The range as memory counts it, if it lies within the chunk.
    fn checked(&self, range: &Range<u64>) -> Result<Range<usize>, Error> {
        let (start, end) = (in_memory(range.start)?, in_memory(range.end)?);
        if start > end || end > self.chain.len_bytes() {
            return Err(Error::Internal(format!("bytes {range:?} of a chunk")));
        }
        Ok(start..end)
    }
}

/// The blocks that hold some of `region`, if they are few enough to be decoded alone.
fn wanted(
    chain: &Chain,
    frame: &dyn partial::Blocks,
    region: &Region,
    item_size: usize,
) -> Option<Range<usize>> {
    let (lowest, highest) = region.bounds()?;
    let first = lowest.unsigned_abs() / frame.block_bytes();
    let last = (highest.unsigned_abs() + item_size - 1) / frame.block_bytes();
    let count = chain.len_bytes().div_ceil(frame.block_bytes());
    ((last - first + 1) * 4 <= count * 3).then_some(first..last + 1)
}

/// The encoded bytes that reading `region` takes, ascending, by the first of them; `None` where that may be all.
#[cfg(feature = "remote")]
pub(super) fn encoded_ranges(
    chain: &Chain,
    head: &[u8],
    encoded_len: u64,
    region: &Region,
    item_size: usize,
) -> Option<Vec<Range<u64>>> {
    let Ok(Layout::Blocks(frame)) = chain.layout(head, usize::try_from(encoded_len).ok()?) else {
        return None;
    };
    let blocks = wanted(chain, frame.as_ref(), region, item_size)?;
    let mut ranges: Vec<_> = blocks
        .map(|block| frame.encoded_range(block))
        .map(|range| range.start as u64..range.end as u64)
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    Some(ranges)
}

/// A number of bytes as memory counts them.
fn in_memory(bytes: u64) -> Result<usize, Error> {
    usize::try_from(bytes).map_err(|_| Error::Internal(format!("{bytes} bytes do not fit in memory")))
}

impl ByteSource for Blocks<'_> {
    fn len_bytes(&self) -> u64 {
        self.chain.len_bytes() as u64
    }

    fn read<'b>(&'b self, range: Range<u64>, buffer: &'b mut ScratchBuffer) -> Result<Cow<'b, [u8]>, Error> {
        let range = self.checked(&range)?;
        let start = self.decode_around(&range, buffer)?;
        Ok(Cow::Borrowed(&buffer[start..start + range.len()]))
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        let range = self.checked(&range)?;
        let block_bytes = self.frame.block_bytes();
        let copy = |range: Range<usize>, target: &mut [u8]| {
            self.with_buffer(|buffer| {
                let start = self.decode_around(&range, buffer)?;
                distance::copy(target, &buffer[start..start + range.len()]);
                Ok::<_, Error>(())
            })
        };
        // Whole blocks go straight to where they belong, those at the ends by way of a buffer.
        let first_whole = range.start.next_multiple_of(block_bytes);
        let end_whole = if range.end == self.chain.len_bytes() {
            range.end
        } else {
            range.end / block_bytes * block_bytes
        };
        if first_whole >= end_whole {
            return copy(range, target);
        }
        let (before, rest) = target.split_at_mut(first_whole - range.start);
        let (whole, after) = rest.split_at_mut(end_whole - first_whole);
        if !before.is_empty() {
            copy(range.start..first_whole, before)?;
        }
        if !after.is_empty() {
            copy(end_whole..range.end, after)?;
        }
        let blocks = first_whole / block_bytes..end_whole.div_ceil(block_bytes);
        self.with_buffer(|framed| self.decode(blocks, whole, framed))
    }

    /// Rows closer together than a block may share one, which would be decoded for each.
    fn request_cost_bytes(&self) -> Option<u64> {
        Some(self.frame.block_bytes() as u64)
    }
}
