//! One large chunk, many threads: memory that several lanes fill, each a part of it at a time.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::codec::Scratch;
use crate::codec::scratch::ScratchBuffer;
use crate::error::Error;
use crate::schedule::Work;
use crate::store::ByteSource;

/// From so many bytes on a chunk is worth the wait for a second thread, which takes about 50 µs.
const MIN_SHARED_BYTES: usize = 1 << 20;

/// Whether `work` has threads to spare for so many bytes.
pub(super) fn are_worth_it(len_bytes: usize, work: Work<'_>) -> bool {
    work.workers.is_some() && work.lanes > 1 && len_bytes >= MIN_SHARED_BYTES
}

/// Calls `fill` for parts of `memory`, whose lengths are multiples of `unit_bytes` but for the last one, with the
/// offset of each.
///
/// # Errors
/// What `fill` answers.
pub(super) fn fill(
    memory: &mut [u8],
    unit_bytes: usize,
    work: Work<'_>,
    scratch: &mut Scratch,
    fill: impl Fn(usize, &mut [u8]) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    // A few parts for every lane, so that none waits long for the last one.
    let units = memory.len().div_ceil(unit_bytes);
    let part_bytes = unit_bytes * units.div_ceil(work.lanes * 4).max(1);
    let parts: Vec<Mutex<&mut [u8]>> = memory.chunks_mut(part_bytes).map(Mutex::new).collect();
    work.for_each(parts.len(), scratch, |at, _, _| {
        let mut part = parts[at].lock().unwrap_or_else(PoisonError::into_inner);
        fill(at * part_bytes, &mut part)
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
    if source.request_cost_bytes().is_none() || !are_worth_it(target.len(), work) {
        return source.read_into(range, target);
    }
    fill(target, 256 << 10, work, scratch, |first_byte, part| {
        let start = range.start + first_byte as u64;
        source.read_into(start..start + part.len() as u64, part)
    })
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
