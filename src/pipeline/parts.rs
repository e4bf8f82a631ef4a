//! One large chunk, many threads: each reads, decodes or encodes a part of it at a time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::codec::Scratch;
use crate::codec::chain::Chain;
use crate::codec::scratch::ScratchBuffer;
use crate::error::{Error, StepError};
use crate::schedule::Work;
use crate::store::ByteSource;

/// From so many bytes on a chunk is worth the wait for a second thread, which takes about 50 µs.
const MIN_SHARED_BYTES: usize = 1 << 20;

/// Whether `work` has threads to spare for so many bytes.
pub(super) fn are_worth_it(len_bytes: usize, work: Work<'_>) -> bool {
    work.workers.is_some() && work.lanes > 1 && len_bytes >= MIN_SHARED_BYTES
}

/// About how much one thread does at a time: it stays in its cache, and none waits long for the last one.
pub(super) const PART_BYTES: usize = 512 << 10;

/// Calls `fill` for parts of `memory` of `part_bytes`, the last one and the first one shorter perhaps (that one
/// has `first_bytes`), with the offset of each.
///
/// # Errors
/// What `fill` answers.
pub(super) fn fill(
    memory: &mut [u8],
    first_bytes: usize,
    part_bytes: usize,
    work: Work<'_>,
    scratch: &mut Scratch,
    fill: impl Fn(usize, &mut [u8], &mut Scratch) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let (first, rest) = memory.split_at_mut(first_bytes.min(memory.len()));
    let first = (!first.is_empty()).then_some((0, first));
    let rest =
        rest.chunks_mut(part_bytes).enumerate().map(|(at, part)| (first_bytes + at * part_bytes, part));
    let parts: Vec<Mutex<(usize, &mut [u8])>> = first.into_iter().chain(rest).map(Mutex::new).collect();
    work.for_each(parts.len(), scratch, |at, _, scratch| {
        let mut part = parts[at].lock().unwrap_or_else(PoisonError::into_inner);
        let (first_byte, ref mut memory) = *part;
        fill(first_byte, memory, scratch)
    })
}

/// Reads `range` of a stored value into `target`.
///
/// # Errors
/// The store's failure.
pub(super) fn read_into(
    source: &dyn ByteSource,
    range: Range<u64>,
    target: &mut [u8],
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let request_cost = source.request_cost_bytes().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(request_cost) = request_cost.filter(|_| are_worth_it(target.len(), work)) else {
        return source.read_into(range, target);
    };
    // Parts end where a request does the least too much: between blocks, if there are any.
    let part_bytes = PART_BYTES.next_multiple_of(request_cost.max(1));
    let beyond = usize::try_from(range.start % part_bytes as u64).unwrap_or(0);
    let first_bytes = if beyond == 0 { 0 } else { part_bytes - beyond };
    fill(target, first_bytes, part_bytes, work, scratch, |first_byte, part, _| {
        let start = range.start + first_byte as u64;
        source.read_into(start..start + part.len() as u64, part)
    })
}

/// Encodes a chunk, several threads sharing its parts; `false`, with `encoded` unspecified, where one thread has
/// to do it.
///
/// # Errors
/// What a codec refuses.
pub(super) fn encode(
    chain: &Chain,
    decoded: &[u8],
    encoded: &mut Vec<u8>,
    key: &str,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<bool, Error> {
    if !are_worth_it(decoded.len(), work) || decoded.len() < MIN_SHARED_ENCODE_BYTES {
        return Ok(false);
    }
    let Some(part_bytes) = chain.part_bytes(decoded) else { return Ok(false) };
    let count = decoded.len() / part_bytes;
    if count < 2 {
        return Ok(false);
    }
    encoded.clear();
    let joined = Mutex::new(Joined { next: 0, waiting: BTreeMap::new(), encoded, is_good: true });
    let lock = || joined.lock().unwrap_or_else(PoisonError::into_inner);
    work.for_each(count, scratch, |at, _, scratch| {
        if !lock().is_good {
            return Ok(());
        }
        let end = if at + 1 == count { decoded.len() } else { (at + 1) * part_bytes };
        let mut part = scratch.take_vec();
        chain
            .encode_part(&decoded[at * part_bytes..end], &mut part, scratch)
            .and_then(|()| lock().add(chain, at, part_bytes, part, scratch))
            .map_err(|error| error.at(key))
    })?;
    Ok(lock().is_good)
}

/// From so many bytes on a chunk is encoded by several threads.
const MIN_SHARED_ENCODE_BYTES: usize = 4 << 20;

/// Encoded parts in the order in which they belong, however they come.
struct Joined<'a> {
    next: usize,
    waiting: BTreeMap<usize, Vec<u8>>,
    encoded: &'a mut Vec<u8>,
    is_good: bool,
}

impl Joined<'_> {
    fn add(
        &mut self,
        chain: &Chain,
        at: usize,
        part_bytes: usize,
        part: Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        self.waiting.insert(at, part);
        while let Some(part) = self.waiting.remove(&self.next) {
            self.is_good = self.is_good && chain.join_part(&part, self.next * part_bytes, self.encoded)?;
            self.next += 1;
            scratch.put_vec(part);
        }
        Ok(())
    }
}

/// All bytes of a stored value, in `buffer` where they are not in memory.
///
/// # Errors
/// The store's failure.
pub(super) fn read_all<'a>(
    source: &'a dyn ByteSource,
    buffer: &'a mut ScratchBuffer,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<Cow<'a, [u8]>, Error> {
    let range = 0..source.len_bytes();
    match usize::try_from(range.end) {
        // No memory for it: the source has the words for that.
        Ok(len) if are_worth_it(len, work) && buffer.set_len(len).is_ok() => {
            read_into(source, range, buffer, work, scratch)?;
            Ok(Cow::Borrowed(buffer))
        }
        _ => source.read(range, buffer),
    }
}
