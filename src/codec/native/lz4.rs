//! LZ4 blocks in numcodecs' framing: the decoded length as four little-endian bytes, then one block.
#![expect(unsafe_code, reason = "wraps the C library")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::integer_within;
use super::output::{Output, append, damaged, generous, too_long, truncated};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

/// Longest contents of a block, `LZ4_MAX_INPUT_SIZE`.
const MAX_DECODED_BYTES: usize = 0x7e00_0000;
const PREFIX_BYTES: usize = 4;

/// Binds `lz4`: `acceleration`, where anything below 1 counts as 1.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let acceleration = integer_within(configuration, "acceleration", i32::MIN..=i32::MAX, 1)?;
    Ok(Arc::new(Lz4 { acceleration: acceleration.max(1) }))
}

#[derive(Debug)]
struct Lz4 {
    acceleration: c_int,
}

/// The longest block for contents of this length.
fn block_bound(decoded_len_bytes: usize) -> usize {
    decoded_len_bytes.saturating_add(decoded_len_bytes / 255).saturating_add(16)
}

/// The decoded length, and the block after it.
fn split(encoded: &[u8]) -> Result<(usize, &[u8]), CodecFault> {
    let (&prefix, block) = encoded.split_first_chunk::<PREFIX_BYTES>().ok_or_else(truncated)?;
    let decoded_bytes = usize::try_from(i32::from_le_bytes(prefix))
        .map_err(|_| damaged("the length at its start is negative"))?;
    // One byte of a block stands for 255 bytes at most, and its first literals for themselves.
    if block.is_empty() || decoded_bytes > block.len().saturating_mul(255) {
        return Err(damaged("it is shorter than the length at its start allows"));
    }
    Ok((decoded_bytes, block))
}

fn decode(encoded: &[u8], mut output: Output<'_>) -> Result<(), CodecFault> {
    let (decoded_bytes, block) = split(encoded)?;
    let block_bytes = c_int::try_from(block.len()).map_err(|_| damaged("its block is longer than 2 GiB"))?;
    while output.spare().len() < decoded_bytes {
        output.grow()?;
    }
    let room = output.spare();
    // SAFETY: `block` is a live slice of the length given, the room holds `decoded_bytes` or more by the
    // loop above, and the library stays within both whatever the block holds.
    let written_bytes = unsafe {
        lz4_sys::LZ4_decompress_safe(
            block.as_ptr().cast(),
            room.as_mut_ptr().cast(),
            block_bytes,
            // Read from an `i32` by `split`.
            c_int::try_from(decoded_bytes).unwrap_or(0),
        )
    };
    if usize::try_from(written_bytes) != Ok(decoded_bytes) {
        return Err(damaged("its block does not decode to the length at its start"));
    }
    // SAFETY: the library has written as much as it says.
    unsafe { output.advance(decoded_bytes) };
    output.finish()
}

impl Codec for Lz4 {
    fn name(&self) -> &'static str {
        "lz4"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(PREFIX_BYTES.saturating_add(block_bound(decoded_len_bytes)))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        decode(encoded, Output::exact(decoded))
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let (decoded_bytes, _) = split(encoded)?;
        if decoded_bytes > limit_bytes {
            return Err(too_long(limit_bytes));
        }
        decode(encoded, Output::growing(decoded, decoded_bytes, decoded_bytes))
    }

    fn encode(
        &self,
        decoded: &[u8],
        encoded: &mut Vec<u8>,
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let len_bytes = c_int::try_from(decoded.len())
            .ok()
            .filter(|_| decoded.len() <= MAX_DECODED_BYTES)
            .ok_or_else(|| {
                let message = "lz4 holds at most 2113929216 bytes; use smaller chunks or another compressor";
                CodecFault::Value(message.to_owned())
            })?;
        encoded.extend_from_slice(&len_bytes.to_le_bytes());
        let write = |room: &mut [MaybeUninit<u8>]| {
            // SAFETY: both pointers and lengths are those of live slices.
            let written_bytes = unsafe {
                lz4_sys::LZ4_compress_fast(
                    decoded.as_ptr().cast(),
                    room.as_mut_ptr().cast(),
                    len_bytes,
                    c_int::try_from(room.len()).unwrap_or(c_int::MAX),
                    self.acceleration,
                )
            };
            match usize::try_from(written_bytes) {
                Ok(written_bytes) if written_bytes > 0 => Ok(written_bytes),
                _ => Err(CodecFault::Library { library: "lz4", reason: format!("code {written_bytes}") }),
            }
        };
        // SAFETY: the library has written as much as it says, from the start of the room.
        unsafe { append(encoded, block_bound(decoded.len()), write) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded};
    use super::*;

    #[test]
    fn round_trips_at_every_acceleration() {
        for acceleration in [-5, 0, 1, 2, 100, 100_000] {
            assert_round_trips("lz4", &json!({ "acceleration": acceleration }), "<u2");
        }
        assert_round_trips("lz4", &json!({}), "<u2");
    }

    #[test]
    fn damage_is_survived() {
        assert_survives_damage("lz4", &json!({}), "|u1", false);
    }

    #[test]
    fn lying_lengths_and_garbage_are_refused() {
        let sound = encoded("lz4", &json!({}), &[3; 100]);
        for lie in [0, 99, 101, 1000, -1, i32::MAX, i32::MIN] {
            let mut lying = sound.clone();
            lying[..4].copy_from_slice(&lie.to_le_bytes());
            assert!(decode_exactly("lz4", &json!({}), &lying, 100).is_err());
            let mut decoded = Vec::new();
            let codec = bound("lz4", &json!({}), "|u1");
            assert!(codec.decode_bounded(&lying, &mut decoded, 1 << 40, &mut Scratch::default()).is_err());
            assert!(decoded.capacity() < 10_000);
        }
        for tail in [&b"garbage"[..], &[0], &sound] {
            assert!(decode_exactly("lz4", &json!({}), &[&sound, tail].concat(), 100).is_err());
        }
    }
}
