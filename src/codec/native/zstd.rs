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
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

/// A compression context above this is dropped after its call: at the highest levels one takes hundreds
/// of megabytes, which a worker thread must not hoard.
const KEPT_CONTEXT_MAX_BYTES: usize = 64 << 20;
/// Most output that decoding into unknown space reserves at first, per byte of input. Real data seldom
/// compresses further; a frame that only claims so should not get the memory it claims.
const PLAUSIBLE_RATIO: usize = 256;
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

fn no_context() -> CodecFault {
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
