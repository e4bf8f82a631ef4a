//! Large encoded chunks of which neither the encoded nor the decoded form is held in memory: read and decoded
//! from front to back, and scattered slab by slab while it is in the cache. Used by [`super::chunk`] for windows
//! of zstd chunks.

use std::borrow::Cow;

use crate::codec::chain::Chain;
use crate::codec::partial::Stream;
use crate::codec::scratch::ScratchBuffer;
use crate::codec::{CodecFault, Direction, Scratch};
use crate::error::Error;
use crate::plan::Region;
use crate::scatter::Place;
use crate::store::ByteSource;

use super::slabs::Slab;

/// From so many bytes on a chunk is decoded like this: a smaller one is quicker decoded at once, and its memory
/// is kept.
const MIN_STREAMED_BYTES: usize = 4 << 20;
/// Bytes that are scattered at once.
const SLAB_BYTES: usize = 512 << 10;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Reads `region` of a chunk to its place; `false` where the chunk has to be decoded at once. (The place may
/// have been written to all the same.)
///
/// # Errors
/// The store's failure, or damaged data.
pub(super) fn read(
    chain: &Chain,
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    key: &str,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    if chain.len_bytes() < MIN_STREAMED_BYTES || !chain.has_stream() {
        return Ok(false);
    }
    let Some(slabs) = Slab::all(region, place, SLAB_BYTES) else { return Ok(false) };
    let mut input = Input { chain, key, source, next: 0, buffer: scratch.take_empty(), held: (0, 0) };
    let result = decode(chain, &mut input, &slabs, place, key, scratch);
    scratch.put(input.buffer);
    result
}

fn decode(
    chain: &Chain,
    input: &mut Input<'_>,
    slabs: &[Slab],
    place: &Place<'_>,
    key: &str,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    let held_bytes = SLAB_BYTES.max(place.item_size());
    let fault_at = |fault| chain.fault(Direction::Decode, fault).at(key);
    let stream = chain.stream(&input.peek()?, held_bytes, scratch).map_err(|error| error.at(key))?;
    let Some(stream) = stream else { return Ok(false) };
    let mut step = |stream: &mut dyn Stream| {
        let wanted_bytes = stream.wanted_bytes();
        let encoded = if wanted_bytes == 0 { None } else { input.take(wanted_bytes)? };
        let Some(encoded) = encoded else {
            return Err(fault_at(CodecFault::Damaged("it ends before its end marker".to_owned())));
        };
        stream.feed(&encoded).map_err(fault_at)
    };
    let mut first_held = 0;
    for slab in slabs {
        loop {
            let held_bytes = stream.held().len();
            let before = held_bytes.min(slab.start.saturating_sub(first_held));
            stream.consume(before);
            first_held += before;
            if first_held == slab.start && held_bytes - before >= slab.end - slab.start {
                break;
            }
            step(stream)?;
        }
        place.part(slab.place.clone()).scatter(stream.held(), &slab.region)?;
    }
    if !stream.has_checksum() {
        return Ok(true);
    }
    while stream.wanted_bytes() > 0 {
        stream.consume(usize::MAX >> 1);
        step(stream)?;
    }
    // What may follow is for the codec to judge.
    Ok(input.is_used_up())
}

/// A stored value from its first to its last byte.
struct Input<'a> {
    chain: &'a Chain,
    key: &'a str,
    source: &'a dyn ByteSource,
    /// Offset behind what is in the buffer.
    next: u64,
    buffer: ScratchBuffer,
    /// What of the buffer was not taken yet: start and end.
    held: (usize, usize),
}

impl Input<'_> {
    fn is_used_up(&self) -> bool {
        self.held.0 == self.held.1 && self.next == self.source.len_bytes()
    }

    /// The first bytes, which stay to be taken.
    fn peek(&mut self) -> Result<Cow<'_, [u8]>, Error> {
        let len = self.source.len_bytes().min(PIECE_BYTES as u64);
        if self.source.request_cost_bytes().is_none() {
            return self.source.read(0..len, &mut self.buffer);
        }
        self.fill(0)?;
        Ok(Cow::Borrowed(&self.buffer[self.held.0..self.held.1]))
    }

    /// The next bytes; `None` where there are not so many.
    fn take(&mut self, len_bytes: usize) -> Result<Option<Cow<'_, [u8]>>, Error> {
        if self.source.request_cost_bytes().is_none() {
            let range = self.next..self.next + len_bytes as u64;
            if range.end > self.source.len_bytes() {
                return Ok(None);
            }
            self.next = range.end;
            return self.source.read(range, &mut self.buffer).map(Some);
        }
        if self.held.1 - self.held.0 < len_bytes {
            self.fill(len_bytes)?;
        }
        let (start, end) = self.held;
        if end - start < len_bytes {
            return Ok(None);
        }
        self.held.0 += len_bytes;
        Ok(Some(Cow::Borrowed(&self.buffer[start..start + len_bytes])))
    }

    /// Reads the next piece, and at least as much as makes `len_bytes` of what is held, if there is so much.
    fn fill(&mut self, len_bytes: usize) -> Result<(), Error> {
        let (start, end) = self.held;
        let kept_bytes = end - start;
        let more_bytes = PIECE_BYTES.max(len_bytes.saturating_sub(kept_bytes)) as u64;
        let range = self.next..self.source.len_bytes().min(self.next + more_bytes);
        let read_bytes = usize::try_from(range.end - range.start).unwrap_or(0);
        self.buffer.copy_within(start..end, 0);
        let len = kept_bytes + read_bytes;
        self.buffer.set_len(len).map_err(|fault| self.chain.fault(Direction::Decode, fault).at(self.key))?;
        self.source.read_into(range.clone(), &mut self.buffer[kept_bytes..])?;
        self.next = range.end;
        self.held = (0, len);
        Ok(())
    }
}
