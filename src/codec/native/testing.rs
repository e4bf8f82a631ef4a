//! What the tests of the compressors have in common.

use std::sync::Arc;

use serde_json::Value;

use crate::codec::registry::{self, BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, DataType, Scratch};

/// Lengths that meet the edges of blocks and words.
const LENGTHS: [usize; 7] = [0, 1, 2, 15, 127, 4097, (64 << 10) + 1];

pub(super) fn try_bind(name: &str, configuration: &Value, dtype: &str) -> Result<Arc<dyn Codec>, BindError> {
    let decoded = ArraySpec { chunk_shape: vec![100], dtype: DataType::parse(dtype)? };
    registry::bind(name, configuration, &decoded, BindOptions::default())
}

pub(super) fn bound(name: &str, configuration: &Value, dtype: &str) -> Arc<dyn Codec> {
    try_bind(name, configuration, dtype).unwrap()
}

pub(super) fn encoded(name: &str, configuration: &Value, decoded: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    bound(name, configuration, "|u1").encode(decoded, &mut encoded, &mut Scratch::default()).unwrap();
    encoded
}

pub(super) fn decode_exactly(
    name: &str,
    configuration: &Value,
    encoded: &[u8],
    len_bytes: usize,
) -> Result<Vec<u8>, CodecFault> {
    let mut decoded = vec![0xaa; len_bytes];
    bound(name, configuration, "|u1").decode_into(encoded, &mut decoded, &mut Scratch::default())?;
    Ok(decoded)
}

/// Bytes of one length in three kinds: all equal, a ramp of 16-bit words with a little noise, noise.
fn samples(len_bytes: usize) -> [Vec<u8>; 3] {
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut ramp = Vec::new();
    let mut rough = Vec::new();
    for word in 0_u64.. {
        if rough.len() >= len_bytes {
            break;
        }
        ramp.extend_from_slice(&(word / 3 + noise() % 4).to_le_bytes()[..2]);
        rough.extend_from_slice(&noise().to_le_bytes()[..2]);
    }
    ramp.truncate(len_bytes);
    rough.truncate(len_bytes);
    [vec![7; len_bytes], ramp, rough]
}

/// Every length and kind of data comes back, through both ways to decode, and only at its length.
pub(super) fn assert_round_trips(name: &str, configuration: &Value, dtype: &str) {
    let codec = bound(name, configuration, dtype);
    let mut scratch = Scratch::default();
    for len_bytes in LENGTHS {
        for data in samples(len_bytes) {
            let case = format!("{name} {configuration} {len_bytes}");
            let mut encoded = b"before".to_vec();
            codec.encode(&data, &mut encoded, &mut scratch).unwrap();
            let encoded = encoded.strip_prefix(b"before").unwrap();
            assert!(encoded.len() <= codec.encoded_bound(len_bytes), "{case}");
            assert!(codec.encoded_len(len_bytes).is_none_or(|len| len == encoded.len()), "{case}");

            let mut decoded = vec![0xaa; len_bytes];
            codec.decode_into(encoded, &mut decoded, &mut scratch).unwrap();
            assert_eq!(decoded, data, "{case}");
            for wrong_len in [len_bytes + 1, len_bytes + 5000, len_bytes.wrapping_sub(1), len_bytes / 2] {
                if wrong_len != len_bytes && wrong_len < usize::MAX {
                    let mut decoded = vec![0xaa; wrong_len];
                    let fault = codec.decode_into(encoded, &mut decoded, &mut scratch).unwrap_err();
                    assert!(
                        matches!(fault, CodecFault::DecodedLength { expected, .. } if expected == wrong_len),
                        "{case} into {wrong_len}: {fault}"
                    );
                }
            }

            for limit_bytes in [len_bytes, len_bytes + 1, len_bytes * 3 + 100_000] {
                let mut decoded = b"old".to_vec();
                codec.decode_bounded(encoded, &mut decoded, limit_bytes, &mut scratch).unwrap();
                assert_eq!(decoded, data, "{case} limit {limit_bytes}");
            }
            if let Some(limit_bytes) = len_bytes.checked_sub(1) {
                let mut decoded = Vec::new();
                let fault =
                    codec.decode_bounded(encoded, &mut decoded, limit_bytes, &mut scratch).unwrap_err();
                assert!(matches!(fault, CodecFault::DecodedLength { .. }), "{case}: {fault}");
                assert!(decoded.capacity() <= limit_bytes, "{case}");
            }
        }
    }
}

/// Truncated and altered encodings give an error or bytes of the right number, and where the format
/// `is_checked`, the right bytes.
pub(super) fn assert_survives_damage(name: &str, configuration: &Value, dtype: &str, is_checked: bool) {
    let codec = bound(name, configuration, dtype);
    let mut scratch = Scratch::default();
    for len_bytes in [1, 300] {
        for data in samples(len_bytes) {
            let mut encoded = Vec::new();
            codec.encode(&data, &mut encoded, &mut scratch).unwrap();
            let mut attempt = |damaged: &[u8], what: &str| {
                let mut decoded = vec![0xaa; len_bytes];
                let exact = codec.decode_into(damaged, &mut decoded, &mut scratch);
                let mut grown = Vec::new();
                let bounded = codec.decode_bounded(damaged, &mut grown, 4 * len_bytes, &mut scratch);
                assert!(grown.capacity() <= 4 * len_bytes, "{name} {configuration} {what}");
                if is_checked {
                    assert!(exact.is_err() || decoded == data, "{name} {configuration} {what}");
                    // Nothing at all is no damage to gzip and bz2: no members, no bytes.
                    let is_sound = grown == data || damaged.is_empty();
                    assert!(bounded.is_err() || is_sound, "{name} {configuration} {what}");
                }
                exact
            };
            for kept in 0..encoded.len() {
                let fault = attempt(&encoded[..kept], &format!("cut to {kept}"));
                assert!(fault.is_err(), "{name} {configuration} cut to {kept} of {}", encoded.len());
            }
            let mut damaged = encoded.clone();
            for position in 0..encoded.len() {
                for flips in [0x01, 0x02, 0x10, 0x40, 0x80, 0xff] {
                    damaged[position] ^= flips;
                    let _ = attempt(&damaged, &format!("byte {position} flipped by {flips:#x}"));
                    damaged[position] = encoded[position];
                }
            }
        }
    }
}
