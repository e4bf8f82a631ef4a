//! Zstandard frames block by block, by the library's "buffer-less" functions: nothing is buffered or copied by
//! it, and one may stop after any block. Either each block goes right behind the last one
//! ([`PrefixDecoder`]), or they go round in a ring ([`StreamDecoder`]).
#![expect(unsafe_code, reason = "wraps the C library")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::output::{damaged, truncated};
use super::zstd::no_context;
use crate::codec::CodecFault;
use crate::codec::partial::Stream;
use crate::codec::scratch::resize;

/// Longest contents of a block (RFC 8878, 3.1.1.2.4).
pub(super) const MAX_BLOCK_BYTES: usize = 128 << 10;

/// The library's context for one frame at a time.
#[derive(Default)]
struct Context(Option<NonNull<zstd_sys::ZSTD_DCtx>>);

// SAFETY: the context belongs to this value alone and is not bound to a thread.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(context) = self.0 {
            // SAFETY: made by `ZSTD_createDCtx`, and not used afterwards.
            unsafe { zstd_sys::ZSTD_freeDCtx(context.as_ptr()) };
        }
    }
}

impl Context {
    fn begin(&mut self) -> Result<(), CodecFault> {
        let context = if let Some(context) = self.0 {
            context
        } else {
            // SAFETY: takes nothing.
            let made = NonNull::new(unsafe { zstd_sys::ZSTD_createDCtx() });
            *self.0.insert(made.ok_or_else(no_context)?)
        };
        // SAFETY: a live context, which only this call uses.
        check(unsafe { zstd_sys::ZSTD_decompressBegin(context.as_ptr()) }).map(|_| ())
    }

    /// How many encoded bytes come next; 0 at the end of the frame.
    fn wanted_bytes(&self) -> usize {
        // SAFETY: a live context.
        self.0.map_or(0, |context| unsafe { zstd_sys::ZSTD_nextSrcSizeToDecompress(context.as_ptr()) })
    }

    /// Decodes what comes next to the start of `output`; answers how many bytes.
    ///
    /// # Safety
    /// What was decoded since [`Context::begin`] in one stretch, up to the last byte, and what in the stretch
    /// before that, is still memory that may be read, and may be written from `output` on.
    unsafe fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, CodecFault> {
        let context = self.0.ok_or_else(no_context)?;
        // SAFETY: the pointers and lengths are those of live slices. The library looks back into the last two
        // stretches of what it decoded and no further, which the caller vouches for.
        check(unsafe {
            zstd_sys::ZSTD_decompressContinue(
                context.as_ptr(),
                output.as_mut_ptr().cast(),
                output.len(),
                input.as_ptr().cast(),
                input.len(),
            )
        })
    }
}

/// The library's answer, which may be an error.
fn check(answer: usize) -> Result<usize, CodecFault> {
    // SAFETY: takes a number.
    if unsafe { zstd_sys::ZSTD_isError(answer) } != 0 {
        return Err(damaged(zstd_safe::get_error_name(answer)));
    }
    Ok(answer)
}

/// Decodes the beginning of a frame.
#[derive(Default)]
pub(super) struct PrefixDecoder(Context);

impl PrefixDecoder {
    /// Decodes at least `needed_bytes` to the start of `room`.
    pub(super) fn decode(
        &mut self,
        encoded: &[u8],
        needed_bytes: usize,
        room: &mut [u8],
    ) -> Result<(), CodecFault> {
        self.0.begin()?;
        let (mut read_bytes, mut written_bytes) = (0, 0);
        while written_bytes < needed_bytes {
            let input_bytes = self.0.wanted_bytes();
            if input_bytes == 0 {
                return Err(CodecFault::DecodedLength { expected: needed_bytes, actual: written_bytes });
            }
            let input = encoded.get(read_bytes..).and_then(|rest| rest.get(..input_bytes));
            let input = input.ok_or_else(truncated)?;
            // SAFETY: what was decoded lies right before the output, in one stretch.
            written_bytes += unsafe { self.0.step(input, &mut room[written_bytes..]) }?;
            read_bytes += input_bytes;
        }
        Ok(())
    }
}

/// Bytes by which the library may read or write past a block.
const OVERLENGTH_BYTES: usize = 64;

/// Decodes a frame from its first to its last byte in memory that is not much longer than its window.
///
/// The blocks go round in a ring; where it starts again the library finds its history at the ring's end. For
/// whoever consumes the bytes they are always one stretch: what is held when the ring starts again is copied to
/// the room before it.
///
/// ```text
/// | room before the ring     | ring                                              |
///            [ held | copied  | decoded since ]      [ history, up to the window ]
/// ```
#[derive(Default)]
pub(super) struct StreamDecoder {
    context: Context,
    memory: Vec<u8>,
    ring_start: usize,
    /// Where in the memory what is held starts, and ends.
    held: (usize, usize),
    has_checksum: bool,
}

impl StreamDecoder {
    /// Begins a frame; `false` where that spares no memory or this is no frame of the length.
    pub(super) fn begin(
        &mut self,
        head: &[u8],
        decoded_len: usize,
        held_bytes: usize,
    ) -> Result<bool, CodecFault> {
        let mut header = MaybeUninit::<zstd_sys::ZSTD_FrameHeader>::uninit();
        // SAFETY: room for the answer, and a live slice.
        let answer =
            unsafe { zstd_sys::ZSTD_getFrameHeader(header.as_mut_ptr(), head.as_ptr().cast(), head.len()) };
        if answer != 0 {
            // Not a frame, or not enough of one.
            return Ok(false);
        }
        // SAFETY: 0 says that it was filled in.
        let header = unsafe { header.assume_init() };
        let is_frame = header.frameType == zstd_sys::ZSTD_FrameType_e::ZSTD_frame;
        if !is_frame || header.frameContentSize != decoded_len as u64 {
            return Ok(false);
        }
        let window_bytes = usize::try_from(header.windowSize).unwrap_or(usize::MAX);
        // Behind the window there is room for the block that is decoded and one more that the library may use,
        // and as much is left free at the end.
        let ring_bytes = window_bytes
            .saturating_add(4 * MAX_BLOCK_BYTES)
            .saturating_add(4 * OVERLENGTH_BYTES)
            .saturating_add(held_bytes);
        let memory_bytes = ring_bytes.saturating_add(held_bytes);
        if memory_bytes > decoded_len / 2 {
            return Ok(false);
        }
        if self.memory.len() < memory_bytes || self.memory.len() / 4 > memory_bytes {
            self.memory = Vec::new();
            resize(&mut self.memory, memory_bytes)?;
        }
        self.context.begin()?;
        self.ring_start = held_bytes;
        self.held = (held_bytes, held_bytes);
        self.has_checksum = header.checksumFlag != 0;
        Ok(true)
    }

    /// Lets the ring start again.
    fn turn(&mut self) -> Result<(), CodecFault> {
        let (start, end) = self.held;
        let Some(new_start) = self.ring_start.checked_sub(end - start) else {
            let reason = "more was held than agreed on".to_owned();
            return Err(CodecFault::Library { library: "zstd", reason });
        };
        self.memory.copy_within(start..end, new_start);
        self.held = (new_start, self.ring_start);
        Ok(())
    }
}

impl Stream for StreamDecoder {
    fn wanted_bytes(&self) -> usize {
        self.context.wanted_bytes()
    }

    fn feed(&mut self, encoded: &[u8]) -> Result<(), CodecFault> {
        if self.memory.len() - self.held.1 < 2 * (MAX_BLOCK_BYTES + OVERLENGTH_BYTES) {
            self.turn()?;
        }
        // SAFETY: every stretch lies in the ring, which is kept from the first block to the last one. (What of
        // an older stretch is overwritten lies beyond the window; if damaged data looks there, it finds bytes.)
        let decoded_bytes = unsafe { self.context.step(encoded, &mut self.memory[self.held.1..]) }?;
        self.held.1 += decoded_bytes;
        Ok(())
    }

    fn held(&self) -> &[u8] {
        &self.memory[self.held.0..self.held.1]
    }

    fn consume(&mut self, len_bytes: usize) {
        self.held.0 = (self.held.0 + len_bytes).min(self.held.1);
    }

    fn has_checksum(&self) -> bool {
        self.has_checksum
    }
}
