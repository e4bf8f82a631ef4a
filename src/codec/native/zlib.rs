//! zlib streams as Python's `zlib` module reads and writes them.
//!
//! Whatever follows the stream is ignored, as `zlib.decompress` does.

use std::sync::Arc;

use serde_json::Value;

use super::deflate::{self, Inflated};
use super::output::{Output, damaged, generous, truncated};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

/// Deflate with a window of 32 KiB, which is what every engine of ours uses.
const METHOD_AND_WINDOW: u8 = 0x78;
const METHOD_MASK: u8 = 0x0f;
const METHOD_DEFLATE: u8 = 8;
const WINDOW_SHIFT: u32 = 4;
const LARGEST_WINDOW: u8 = 7;
const FLAG_DICTIONARY: u8 = 0x20;

/// Binds `zlib`: `level`, -1 to 9.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    Ok(Arc::new(Zlib { level: deflate::level(configuration)? }))
}

#[derive(Debug)]
struct Zlib {
    level: u8,
}

impl Codec for Zlib {
    fn name(&self) -> &'static str {
        "zlib"
    }

    fn encoded_len(&self, _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        generous(deflate::bound(decoded_len_bytes))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        decode(encoded, Output::exact(decoded), scratch)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        // The format does not say how long the contents are.
        let expected = encoded.len().saturating_mul(4);
        decode(encoded, Output::growing(decoded, limit_bytes, expected), scratch)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        encoded.extend_from_slice(&header(self.level));
        deflate::compress(self.level, decoded, encoded, scratch)?;
        encoded.extend_from_slice(&adler32(decoded).to_be_bytes());
        Ok(())
    }
}

/// The two header bytes: the level's class, and the check that makes them a multiple of 31.
fn header(level: u8) -> [u8; 2] {
    let class: u8 = match level {
        0 | 1 => 0,
        2..=5 => 1,
        6 => 2,
        _ => 3,
    };
    let flags = class << 6;
    let remainder = u16::from_be_bytes([METHOD_AND_WINDOW, flags]) % 31;
    let check = u8::try_from((31 - remainder) % 31).unwrap_or(0);
    [METHOD_AND_WINDOW, flags | check]
}

fn decode(encoded: &[u8], mut output: Output<'_>, scratch: &mut Scratch) -> Result<(), CodecFault> {
    let (&[method, flags], stream) = encoded.split_first_chunk::<2>().ok_or_else(truncated)?;
    let is_header = u16::from_be_bytes([method, flags]) % 31 == 0
        && method & METHOD_MASK == METHOD_DEFLATE
        && method >> WINDOW_SHIFT <= LARGEST_WINDOW;
    if !is_header {
        return Err(damaged("it does not begin with a zlib header"));
    }
    if flags & FLAG_DICTIONARY != 0 {
        return Err(damaged("it needs a preset dictionary"));
    }
    let Inflated::Whole { used_bytes } = deflate::decompress(stream, &mut output, scratch)? else {
        return Err(deflate::damaged_stream());
    };
    let &stored = stream.get(used_bytes..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(truncated)?;
    let (stored, computed) = (u32::from_be_bytes(stored), adler32(output.written_from(0)));
    if stored != computed {
        return Err(CodecFault::Checksum { stored, computed });
    }
    output.finish()
}

fn adler32(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded};

    #[test]
    fn round_trips_at_every_level() {
        for level in -1..=9 {
            assert_round_trips("zlib", &json!({ "level": level }), "<u2");
        }
    }

    #[test]
    fn level_is_checked() {
        for level in [json!(10), json!(-2), json!("5")] {
            assert!(super::super::testing::try_bind("zlib", &json!({ "level": level }), "|u1").is_err());
        }
    }

    #[test]
    fn damage_is_noticed() {
        for level in [0, 1, 6] {
            assert_survives_damage("zlib", &json!({ "level": level }), "|u1", true);
        }
    }

    #[test]
    fn what_follows_the_stream_is_ignored() {
        let stream = encoded("zlib", &json!({}), b"chunk");
        for tail in [&b"garbage"[..], &[0; 9], &stream] {
            let decoded = decode_exactly("zlib", &json!({}), &[&stream, tail].concat(), 5);
            assert_eq!(decoded.unwrap(), b"chunk");
        }
        assert!(decode_exactly("zlib", &json!({}), b"", 0).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = encoded("zlib", &json!({ "level": 9 }), &vec![0; 16 << 20]);
        let mut decoded = Vec::new();
        let mut scratch = crate::codec::Scratch::default();
        let codec = bound("zlib", &json!({}), "|u1");
        assert!(codec.decode_bounded(&bomb, &mut decoded, 1000, &mut scratch).is_err());
        assert!(decoded.capacity() <= 1000);
    }
}
