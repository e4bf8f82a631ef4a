//! gzip files as Python's `gzip` module reads and writes them.
//!
//! Several members in a row decode to their contents joined; zero bytes may follow any member. The header's
//! optional fields are skipped, its own checksum and reserved flags included, as Python does. The parts
//! that Python checks are checked: method, CRC and length.

use std::sync::Arc;

use serde_json::Value;

use super::deflate::{self, Inflated};
use super::output::{Output, damaged, generous, truncated};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const METHOD_DEFLATE: u8 = 8;
const HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const FLAG_HEADER_CHECKSUM: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
/// No time stamp, so that equal chunks encode equally; the operating system as "unknown".
const WRITTEN_HEADER: [u8; HEADER_BYTES] = [MAGIC[0], MAGIC[1], METHOD_DEFLATE, 0, 0, 0, 0, 0, 0, 255];

/// Binds `gzip`: `level`, -1 to 9.
pub(super) fn bind(
    configuration: &Value,
    _decoded: &ArraySpec,
    _options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    Ok(Arc::new(Gzip { level: deflate::level(configuration)? }))
}

#[derive(Debug)]
struct Gzip {
    level: u8,
}

impl Codec for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
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
        // The length at the end is right for one member without padding, which is nearly every file;
        // deflate cannot do better than 1032 to 1.
        let claimed = encoded.last_chunk().map_or(0, |&len| u32::from_le_bytes(len) as usize);
        let expected = claimed.min(encoded.len().saturating_mul(1032));
        decode(encoded, Output::growing(decoded, limit_bytes, expected), scratch)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        encoded.extend_from_slice(&WRITTEN_HEADER);
        deflate::compress(self.level, decoded, encoded, scratch)?;
        encoded.extend_from_slice(&crc32fast::hash(decoded).to_le_bytes());
        encoded.extend_from_slice(&length_field(decoded).to_le_bytes());
        Ok(())
    }
}

fn decode(encoded: &[u8], mut output: Output<'_>, scratch: &mut Scratch) -> Result<(), CodecFault> {
    let mut rest = encoded;
    while !rest.is_empty() {
        rest = skip_header(rest)?;
        let start = output.len();
        let Inflated::Whole { used_bytes } = deflate::decompress(rest, &mut output, scratch)? else {
            return Err(deflate::damaged_stream());
        };
        let (trailer, after) = rest
            .get(used_bytes..)
            .and_then(<[u8]>::split_first_chunk::<TRAILER_BYTES>)
            .ok_or_else(truncated)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = *trailer;
        let member = output.written_from(start);
        let (stored, computed) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32fast::hash(member));
        if stored != computed {
            return Err(CodecFault::Checksum { stored, computed });
        }
        if u32::from_le_bytes([l0, l1, l2, l3]) != length_field(member) {
            return Err(damaged("its length field disagrees with its contents"));
        }
        let padding = after.iter().take_while(|&&byte| byte == 0).count();
        rest = &after[padding..];
    }
    output.finish()
}

/// The length modulo 2³², as a member's last field holds it.
#[expect(clippy::cast_possible_truncation, reason = "the format keeps the low 32 bits")]
fn length_field(member: &[u8]) -> u32 {
    member.len() as u32
}

/// What follows the member header at the start of `encoded`.
fn skip_header(encoded: &[u8]) -> Result<&[u8], CodecFault> {
    if !encoded.starts_with(&MAGIC) {
        return Err(damaged("no gzip member where one should begin"));
    }
    let (&[_, _, method, flags, ..], mut rest) =
        encoded.split_first_chunk::<HEADER_BYTES>().ok_or_else(truncated)?;
    if method != METHOD_DEFLATE {
        return Err(damaged("its compression method is not deflate"));
    }
    if flags & FLAG_EXTRA != 0 {
        let (&len, after) = rest.split_first_chunk::<2>().ok_or_else(truncated)?;
        rest = after.get(usize::from(u16::from_le_bytes(len))..).ok_or_else(truncated)?;
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let end = memchr::memchr(0, rest).ok_or_else(truncated)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FLAG_HEADER_CHECKSUM != 0 {
        rest = rest.get(2..).ok_or_else(truncated)?;
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{assert_round_trips, assert_survives_damage, bound, decode_exactly, encoded};

    #[test]
    fn round_trips_at_every_level() {
        for level in -1..=9 {
            assert_round_trips("gzip", &json!({ "level": level }), "<u2");
        }
    }

    #[test]
    fn level_is_checked() {
        for level in [json!(10), json!(-2), json!("5")] {
            assert!(super::super::testing::try_bind("gzip", &json!({ "level": level }), "|u1").is_err());
        }
    }

    #[test]
    fn damage_is_noticed() {
        for level in [0, 1, 6] {
            assert_survives_damage("gzip", &json!({ "level": level }), "|u1", true);
        }
    }

    #[test]
    fn members_and_padding_are_read_as_python_reads_them() {
        let member = encoded("gzip", &json!({}), b"chunk");
        let decode = |parts: &[&[u8]], len| decode_exactly("gzip", &json!({}), &parts.concat(), len);
        assert_eq!(decode(&[&member, &member], 10).unwrap(), b"chunkchunk");
        assert_eq!(decode(&[&member, &[0; 7]], 5).unwrap(), b"chunk");
        assert_eq!(decode(&[&member, &[0; 5], &member], 10).unwrap(), b"chunkchunk");
        assert_eq!(decode(&[], 0).unwrap(), b"");
        assert!(decode(&[&member, b"garbage"], 5).is_err());
        assert!(decode(&[&[0], &member], 5).is_err());
        assert!(decode(&[&member, &member[..12]], 5).is_err());
        assert!(decode(&[&member, &member], 5).is_err());
    }

    #[test]
    fn optional_header_fields_are_skipped() {
        let member = encoded("gzip", &json!({}), b"chunk");
        let mut full = member[..10].to_vec();
        full[3] = 0xe0 | 1 | 2 | 4 | 8 | 16;
        full.extend_from_slice(b"\x03\x00abcname\0comment\0hc");
        let header_len = full.len();
        full.extend_from_slice(&member[10..]);
        assert_eq!(decode_exactly("gzip", &json!({}), &full, 5).unwrap(), b"chunk");
        for len in 1..header_len {
            assert!(decode_exactly("gzip", &json!({}), &full[..len], 5).is_err());
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = encoded("gzip", &json!({ "level": 9 }), &vec![0; 16 << 20]);
        let codec = bound("gzip", &json!({}), "|u1");
        let mut decoded = Vec::new();
        let mut scratch = crate::codec::Scratch::default();
        assert!(codec.decode_bounded(&bomb, &mut decoded, 1000, &mut scratch).is_err());
        assert!(decoded.capacity() <= 1000);
    }
}
