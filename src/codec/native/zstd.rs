//! Zstandard, by the C library.
//!
//! A context is kept per worker thread: making one costs as much as decoding a chunk of 8 KiB. Several
//! frames in a row, skippable ones among them, decode to their contents joined; anything after the last
//! frame is an error.
#![expect(unsafe_code, reason = "tells the output how much of its memory the C library wrote")]

use std::mem::MaybeUninit;
use std::sync::Arc;

use serde_json::Value;
use zstd_safe::{CCtx, CParameter, DCtx, ResetDirective, WriteBuf};

use super::configuration::{flag, integer};
use super::output::{Output, append, damaged, generous, truncated};
use super::zstd_blocks::{MAX_BLOCK_BYTES, PrefixDecoder, StreamDecoder};
use crate::codec::partial::Stream;
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

/// A compression context above this is dropped after its call: at the highest levels one takes hundreds
/// of megabytes, which a worker thread must not hoard.
const KEPT_CONTEXT_MAX_BYTES: usize = 64 << 20;
/// Most output that decoding into unknown space reserves at first, per byte of input. Real data seldom
/// compresses further; a frame that only claims so should not get the memory it claims.
const PLAUSIBLE_RATIO: usize = 256;
/// Where the flags of a frame lie, behind its magic number (RFC 8878, 3.1.1).
const FRAME_DESCRIPTOR_AT: usize = 4;
const FRAME_CHECKSUM_FLAG: u8 = 0x04;
/// `ZSTD_error_dstSize_tooSmall`, as zstd's functions return it.
const DESTINATION_TOO_SMALL: usize = 70_usize.wrapping_neg();

/// Binds `zstd`: `level` (0 is the library's default; beyond its range counts as the nearest) and
/// `checksum`.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let (lowest, highest) = (i64::from(zstd_safe::min_c_level()), i64::from(zstd_safe::max_c_level()));
    let level = integer(configuration, "level")?.unwrap_or(0).clamp(lowest, highest);
    let level = i32::try_from(level).unwrap_or(0);
    let has_checksum = flag(configuration, "checksum")?.unwrap_or(false);
    Ok(Arc::new(Zstd { level, has_checksum }))
}

#[derive(Debug)]
struct Zstd {
    level: i32,
    has_checksum: bool,
}

#[derive(Default)]
struct Decompressor(Option<DCtx<'static>>);

#[derive(Default)]
struct Compressor(Option<CCtx<'static>>);

/// Uninitialised memory as zstd-safe takes it.
struct Room<'a>(&'a mut [MaybeUninit<u8>]);

// SAFETY: `as_mut_ptr` is good for `capacity` bytes of writing, and no byte is ever shown as initialised.
unsafe impl WriteBuf for Room<'_> {
    fn as_slice(&self) -> &[u8] {
        &[]
    }
    fn capacity(&self) -> usize {
        self.0.len()
    }
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
    unsafe fn filled_until(&mut self, _written_bytes: usize) {}
}

impl Zstd {
    fn decode(encoded: &[u8], mut output: Output<'_>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        if encoded.is_empty() {
            // The library takes nothing for the sum of no frames; no writer leaves that behind.
            return Err(truncated());
        }
        let slot = &mut scratch.context::<Decompressor>().0;
        let context = match slot {
            Some(context) => context,
            None => slot.insert(DCtx::try_create().ok_or_else(no_context)?),
        };
        loop {
            match context.decompress(&mut Room(output.spare()), encoded) {
                Ok(written_bytes) => {
                    // SAFETY: zstd wrote as much as it says, from the start of the room.
                    unsafe { output.advance(written_bytes) };
                    return output.finish();
                }
                // With more room it is decoded again from the start: room doubles, so the repeated
                // work stays below the work itself.
                Err(DESTINATION_TOO_SMALL) => output.grow()?,
                Err(code) => return Err(damaged(zstd_safe::get_error_name(code))),
            }
        }
    }

    fn compress(
        &self,
        context: &mut CCtx<'static>,
        room: &mut [MaybeUninit<u8>],
        decoded: &[u8],
    ) -> Result<usize, usize> {
        context.reset(ResetDirective::SessionAndParameters)?;
        context.set_parameter(CParameter::CompressionLevel(self.level))?;
        context.set_parameter(CParameter::ChecksumFlag(self.has_checksum))?;
        context.compress2(&mut Room(room), decoded)
    }
}

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(zstd_safe::compress_bound(decoded_len_bytes))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        Self::decode(encoded, Output::exact(decoded), scratch)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let plausible = encoded.len().saturating_mul(PLAUSIBLE_RATIO);
        let claimed = match zstd_safe::get_frame_content_size(encoded) {
            Ok(Some(claimed)) => usize::try_from(claimed).unwrap_or(usize::MAX),
            _ => encoded.len().saturating_mul(4),
        };
        Self::decode(encoded, Output::growing(decoded, limit_bytes, claimed.min(plausible)), scratch)
    }

    fn has_stream(&self) -> bool {
        true
    }

    fn stream<'s>(
        &self,
        head: &[u8],
        decoded_len_bytes: usize,
        held_bytes: usize,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s mut dyn Stream>, CodecFault> {
        let decoder = scratch.context::<StreamDecoder>();
        Ok(decoder.begin(head, decoded_len_bytes, held_bytes)?.then_some(decoder as &mut dyn Stream))
    }

    fn prefix_slack(&self, encoded: &[u8], decoded_len_bytes: usize) -> Option<usize> {
        // Without a checksum, whose verification would be lost; of one frame, whose length is as it should be.
        let has_checksum = encoded.get(FRAME_DESCRIPTOR_AT)? & FRAME_CHECKSUM_FLAG != 0;
        let content_bytes = zstd_safe::get_frame_content_size(encoded).ok().flatten()?;
        (!has_checksum && content_bytes == decoded_len_bytes as u64).then_some(MAX_BLOCK_BYTES)
    }

    fn decode_prefix(
        &self,
        encoded: &[u8],
        needed_bytes: usize,
        room: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        scratch.context::<PrefixDecoder>().decode(encoded, needed_bytes, room)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        let slot = &mut scratch.context::<Compressor>().0;
        let context = match slot {
            Some(context) => context,
            None => slot.insert(CCtx::try_create().ok_or_else(no_context)?),
        };
        // SAFETY: zstd wrote as much as it says, from the start of the room.
        let result = unsafe {
            append(encoded, zstd_safe::compress_bound(decoded.len()), |room| {
                self.compress(context, room, decoded).map_err(|code| CodecFault::Library {
                    library: "zstd",
                    reason: zstd_safe::get_error_name(code).to_owned(),
                })
            })
        };
        if context.sizeof() > KEPT_CONTEXT_MAX_BYTES {
            *slot = None;
        }
        result
    }
}

pub(super) fn no_context() -> CodecFault {
    CodecFault::Library { library: "zstd", reason: "no memory for a context".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{
        assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded, try_bind,
    };
    use super::*;

    #[test]
    fn round_trips_at_many_levels() {
        for level in [-1000, -5, -1, 0, 1, 3, 9, 19, 100] {
            assert_round_trips("zstd", &json!({ "level": level, "checksum": false }), "<u2");
        }
        assert_round_trips("zstd", &json!({ "level": 1, "checksum": true }), "<u2");
        assert_round_trips("zstd", &json!({}), "<u2");
        assert!(try_bind("zstd", &json!({ "level": 1.5 }), "|u1").is_err());
    }

    #[test]
    fn prefixes_equal_the_whole() {
        let mut state = 1_u32;
        let noisy = |index: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from((index / 300 + (state >> 29)) & 0xff).unwrap()
        };
        let data: Vec<u8> = (0..500_000).map(noisy).collect();
        let mut scratch = Scratch::default();
        for level in [1, 3, 19] {
            let codec = bound("zstd", &json!({ "level": level }), "|u1");
            let frame = encoded("zstd", &json!({ "level": level }), &data);
            let slack = codec.prefix_slack(&frame, data.len()).unwrap();
            for needed in [1, 1000, 131_072, 131_073, 300_000, 499_999, 500_000] {
                let mut room = vec![0; (needed + slack).min(data.len())];
                codec.decode_prefix(&frame, needed, &mut room, &mut scratch).unwrap();
                assert_eq!(room[..needed], data[..needed]);
                for cut in [0, 3, 9, frame.len() * needed / data.len() / 2] {
                    assert!(codec.decode_prefix(&frame[..cut], needed, &mut room, &mut scratch).is_err());
                }
            }
            // Too much asked for, too little room, damage: an error or other bytes, and the context lives on.
            let mut room = vec![0; data.len() + 1];
            assert!(codec.decode_prefix(&frame, data.len() + 1, &mut room, &mut scratch).is_err());
            assert!(codec.decode_prefix(&frame, 400_000, &mut room[..1000], &mut scratch).is_err());
            let mut damaged = frame.clone();
            for at in (0..damaged.len()).step_by(997) {
                damaged[at] ^= 0xa5;
                let _ = codec.decode_prefix(&damaged, 400_000, &mut room, &mut scratch);
                damaged[at] = frame[at];
            }
            assert_eq!(codec.prefix_slack(&frame, data.len() - 1), None);
        }
        let checked = encoded("zstd", &json!({ "level": 1, "checksum": true }), &data);
        assert_eq!(bound("zstd", &json!({}), "|u1").prefix_slack(&checked, data.len()), None);
        assert_eq!(bound("zstd", &json!({}), "|u1").prefix_slack(b"", data.len()), None);
    }

    /// Decodes a frame as the pipeline does, consuming at most `step_bytes` at a time; `None` where it cannot.
    fn streamed(frame: &[u8], decoded_len: usize, step_bytes: usize) -> Result<Option<Vec<u8>>, CodecFault> {
        let mut scratch = Scratch::default();
        let codec = bound("zstd", &json!({}), "|u1");
        let Some(stream) = codec.stream(frame, decoded_len, step_bytes, &mut scratch)? else {
            return Ok(None);
        };
        let (mut rest, mut decoded) = (frame, Vec::new());
        while stream.wanted_bytes() > 0 {
            let (input, after) = rest.split_at_checked(stream.wanted_bytes()).ok_or_else(truncated)?;
            stream.feed(input)?;
            rest = after;
            while stream.held().len() >= step_bytes {
                decoded.extend_from_slice(&stream.held()[..step_bytes]);
                stream.consume(step_bytes);
            }
        }
        decoded.extend_from_slice(stream.held());
        Ok(Some(decoded))
    }

    #[test]
    fn streams_equal_the_whole() {
        let mut state = 1_u32;
        let noisy = |index: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u8::try_from((index / 300 + (state >> 29)) & 0xff).unwrap()
        };
        let mut data: Vec<u8> = (0..5_000_000).map(noisy).collect();
        // Far matches, near the end of the window.
        for at in (700_000..4_900_000).step_by(70_001) {
            data.copy_within(at - 500_000..at - 480_000, at);
        }
        for level in [1, 2] {
            for has_checksum in [false, true] {
                let settings = json!({ "level": level, "checksum": has_checksum });
                let frame = encoded("zstd", &settings, &data);
                for step_bytes in [1000, 99_999, 300_000] {
                    assert!(streamed(&frame, data.len(), step_bytes).unwrap().unwrap() == data, "{settings}");
                }
                assert!(streamed(&frame, data.len() - 1, 1000).unwrap().is_none());
                assert!(streamed(&frame[..frame.len() - 1], data.len(), 1000).is_err());
                assert!(streamed(&frame[..3], data.len(), 1000).unwrap().is_none());
                let mut damaged = frame.clone();
                for at in (0..damaged.len()).step_by(frame.len() / 60) {
                    damaged[at] ^= 0xa5;
                    let found = streamed(&damaged, data.len(), 99_999);
                    assert!(!has_checksum || !matches!(found, Ok(Some(_))), "damage at {at}");
                    damaged[at] = frame[at];
                }
            }
        }
        // Nothing is spared where the format looks back over all of it.
        assert!(
            streamed(&encoded("zstd", &json!({ "level": 19 }), &data), data.len(), 1000).unwrap().is_none()
        );
    }

    #[test]
    fn damage_is_noticed() {
        assert_survives_damage("zstd", &json!({ "level": 1, "checksum": true }), "|u1", true);
        assert_survives_damage("zstd", &json!({ "level": 3 }), "|u1", false);
    }

    #[test]
    fn frames_are_joined_and_garbage_is_refused() {
        let frame = encoded("zstd", &json!({}), b"chunk");
        let skippable = [&b"\x50\x2a\x4d\x18"[..], &5_u32.to_le_bytes(), b"hello"].concat();
        let decode = |parts: &[&[u8]], len| decode_exactly("zstd", &json!({}), &parts.concat(), len);
        assert_eq!(decode(&[&frame, &frame], 10).unwrap(), b"chunkchunk");
        assert_eq!(decode(&[&skippable, &frame, &skippable], 5).unwrap(), b"chunk");
        for tail in [&b"garbage"[..], &[0], &[0; 4], &frame[..5]] {
            assert!(decode(&[&frame, tail], 5).is_err());
        }
        assert!(decode(&[], 0).is_err());
        assert!(decode(&[&skippable], 5).is_err());
    }

    #[test]
    fn a_frame_without_its_length_decodes() {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        let data = vec![9; 300_000];
        let mut frame = vec![0; 1000];
        let len = context.compress2(&mut frame[..], &data).unwrap();
        assert_eq!(decode_exactly("zstd", &json!({}), &frame[..len], data.len()).unwrap(), data);
    }

    #[test]
    fn a_claimed_length_gets_no_memory() {
        // Magic, a descriptor for an 8-byte content size in a single segment, 4 TiB, one empty raw block.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        frame.extend_from_slice(&(4_u64 << 40).to_le_bytes());
        frame.extend_from_slice(&[1, 0, 0]);
        assert_eq!(frame.len(), 16);
        assert_eq!(zstd_safe::get_frame_content_size(&frame).unwrap(), Some(4 << 40));
        let codec = bound("zstd", &json!({}), "|u1");
        let (mut decoded, mut scratch) = (Vec::new(), Scratch::default());
        assert!(codec.decode_bounded(&frame, &mut decoded, 1 << 20, &mut scratch).is_err());
        assert!(decoded.capacity() <= 1 << 20);
        assert!(codec.decode_into(&frame, &mut [0; 100], &mut scratch).is_err());
    }
}
