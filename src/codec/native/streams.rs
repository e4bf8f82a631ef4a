//! Streams in a row, read as Python's `bz2` and `lzma` modules read them.
//!
//! Both modules decode stream after stream until the input is used up. What follows the first one counts
//! only if it is sound: where it turns out not to be a stream it is ignored, together with what it had
//! given so far. A stream that just stops is an error, be it the first or a later one.
#![expect(unsafe_code, reason = "tells the output how much of its memory a decoder wrote")]

use std::mem::MaybeUninit;

use super::output::{Output, truncated};
use crate::codec::CodecFault;

/// What one call of a decoder did.
pub(super) struct Step {
    /// Input it used, in bytes.
    pub(super) used_bytes: usize,
    /// Output it wrote, in bytes.
    pub(super) written_bytes: usize,
    /// Whether the stream ended.
    pub(super) has_ended: bool,
}

/// The decoder of one stream.
///
/// # Safety
/// `step` initialises as much of `room`, from its start, as it says.
pub(super) unsafe trait StreamDecoder {
    /// Decodes some of `input` into `room`. The fault says that this is no stream.
    fn step(&mut self, input: &[u8], room: &mut [MaybeUninit<u8>]) -> Result<Step, CodecFault>;
}

/// Decodes all streams of `encoded`; `open` makes the decoder for each.
pub(super) fn decode<D: StreamDecoder>(
    encoded: &[u8],
    mut output: Output<'_>,
    mut open: impl FnMut() -> Result<D, CodecFault>,
) -> Result<(), CodecFault> {
    let mut rest = encoded;
    while !rest.is_empty() {
        let start = output.len();
        match decode_one(open()?, rest, &mut output) {
            Ok(after) => rest = after,
            Err(Stop::NoStream(_)) if rest.len() < encoded.len() => {
                output.truncate(start);
                break;
            }
            Err(Stop::NoStream(fault) | Stop::Fatal(fault)) => return Err(fault),
        }
    }
    output.finish()
}

enum Stop {
    NoStream(CodecFault),
    Fatal(CodecFault),
}

/// Decodes the stream at the start of `input` and answers what follows it.
fn decode_one<'a>(
    mut decoder: impl StreamDecoder,
    input: &'a [u8],
    output: &mut Output<'_>,
) -> Result<&'a [u8], Stop> {
    let mut rest = input;
    loop {
        // The end of a stream takes no room, but a decoder without any may not get that far: at the limit
        // it is lent a byte, and if that is used the data is too long.
        let overflow = if output.spare().is_empty() { output.grow().err() } else { None };
        let mut beyond = [MaybeUninit::uninit()];
        let room = if overflow.is_some() { &mut beyond } else { output.spare() };
        let step = decoder.step(rest, room).map_err(Stop::NoStream)?;
        rest = rest.get(step.used_bytes..).unwrap_or_default();
        match overflow {
            Some(fault) if step.written_bytes > 0 => return Err(Stop::Fatal(fault)),
            Some(_) => {}
            // SAFETY: the decoder has written as much as it says, which is what the trait demands.
            None => unsafe { output.advance(step.written_bytes) },
        }
        if step.has_ended {
            return Ok(rest);
        }
        if step.used_bytes == 0 && step.written_bytes == 0 {
            return Err(Stop::Fatal(truncated()));
        }
    }
}

/// What a library's running total grew by in one call: never more than the slice of that call is long.
pub(super) fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}
