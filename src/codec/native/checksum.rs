//! Checksums kept beside the data: crc32c, crc32, adler32, fletcher32 and Jenkins' lookup3.
//!
//! All are 32 bits wide, stored little-endian before or behind the payload, as numcodecs does it; the
//! first also is Zarr v3's `crc32c`. Only decoding verifies, and only if the pipeline's options say so.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::{integer, text};
use super::jenkins;
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::scratch::reserve;
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};
use crate::distance;

const WIDTH: usize = 4;

/// Computes one kind of checksum.
trait Algorithm: Send + Sync + Debug {
    const NAME: &'static str;

    /// The checksum of `payload`; an error where the reference implementation has none.
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault>;
}

#[derive(Debug)]
struct Crc32c;
#[derive(Debug)]
struct Crc32;
#[derive(Debug)]
struct Adler32;
#[derive(Debug)]
struct Fletcher32;
#[derive(Debug)]
struct Lookup3 {
    initval: u32,
    prefix: Vec<u8>,
}

impl Algorithm for Crc32c {
    const NAME: &'static str = "crc32c";
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault> {
        Ok(crc32c::crc32c(payload))
    }
}

impl Algorithm for Crc32 {
    const NAME: &'static str = "crc32";
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault> {
        Ok(crc32fast::hash(payload))
    }
}

impl Algorithm for Adler32 {
    const NAME: &'static str = "adler32";
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault> {
        Ok(simd_adler32::adler32(&payload))
    }
}

impl Algorithm for Fletcher32 {
    const NAME: &'static str = "fletcher32";
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault> {
        if payload.is_empty() {
            // numcodecs raises; there is nothing to agree with.
            return Err(CodecFault::Value("fletcher32 is not defined for empty data".into()));
        }
        Ok(fletcher32(payload))
    }
}

impl Algorithm for Lookup3 {
    const NAME: &'static str = "jenkins_lookup3";
    fn compute(&self, payload: &[u8]) -> Result<u32, CodecFault> {
        Ok(jenkins::lookup3(&self.prefix, payload, self.initval))
    }
}

/// HDF5's Fletcher checksum: sums of big-endian 16-bit words in one's complement, an odd last byte being
/// the high half of a word.
///
/// HDF5 folds the carries back every 360 words; here the sums are 64 bits wide and folded rarely. One's
/// complement addition gives the same either way, but for the two forms of zero, and those agree too: a
/// sum that is not zero never folds to zero.
fn fletcher32(payload: &[u8]) -> u32 {
    /// Words until the second sum could leave 64 bits, with room to spare.
    const WORDS: usize = 1 << 16;
    let fold = |mut sum: u64| {
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        sum
    };
    let (mut first, mut second) = (0_u64, 0_u64);
    let mut chunks = payload.chunks_exact(2 * WORDS);
    let mut add = |part: &[u8]| {
        let (words, odd) = part.as_chunks::<2>();
        for &word in words {
            first += u64::from(u16::from_be_bytes(word));
            second += first;
        }
        if let [high] = odd {
            first += u64::from(*high) << 8;
            second += first;
        }
        first = fold(first);
        second = fold(second);
    };
    chunks.by_ref().for_each(&mut add);
    add(chunks.remainder());
    // Both are folded to 16 bits.
    u32::try_from(second << 16 | first).unwrap_or(u32::MAX)
}

/// A checksum as a codec.
#[derive(Debug)]
struct Checksum<A> {
    algorithm: A,
    is_at_start: bool,
    verifies: bool,
}

impl<A: Algorithm> Checksum<A> {
    /// The payload of `encoded`, verified.
    fn payload<'a>(&self, encoded: &'a [u8]) -> Result<&'a [u8], CodecFault> {
        let split = if self.is_at_start {
            encoded.split_first_chunk()
        } else {
            encoded.split_last_chunk().map(|(a, b)| (b, a))
        };
        let Some((&stored, payload)) = split else {
            return Err(CodecFault::Damaged(format!(
                "{} bytes are too short to hold a {WIDTH}-byte checksum",
                encoded.len()
            )));
        };
        if self.verifies {
            let stored = u32::from_le_bytes(stored);
            let computed = self.algorithm.compute(payload)?;
            if stored != computed {
                return Err(CodecFault::Checksum { stored, computed });
            }
        }
        Ok(payload)
    }
}

impl<A: Algorithm> Codec for Checksum<A> {
    fn name(&self) -> &str {
        A::NAME
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        decoded_len_bytes.checked_add(WIDTH)
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        decoded_len_bytes.saturating_add(WIDTH)
    }

    fn decode_into(&self, encoded: &[u8], decoded: &mut [u8], _: &mut Scratch) -> Result<(), CodecFault> {
        let payload = self.payload(encoded)?;
        if payload.len() != decoded.len() {
            return Err(CodecFault::DecodedLength { expected: decoded.len(), actual: payload.len() });
        }
        distance::copy(decoded, payload);
        Ok(())
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let payload = self.payload(encoded)?;
        if payload.len() > limit_bytes {
            return Err(CodecFault::DecodedLength { expected: limit_bytes, actual: payload.len() });
        }
        decoded.clear();
        decoded.extend_from_slice(payload);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, _: &mut Scratch) -> Result<(), CodecFault> {
        let checksum = self.algorithm.compute(decoded)?.to_le_bytes();
        let (before, behind): (&[u8], &[u8]) =
            if self.is_at_start { (&checksum, &[]) } else { (&[], &checksum) };
        reserve(encoded, decoded.len() + WIDTH)?;
        encoded.extend_from_slice(before);
        encoded.extend_from_slice(decoded);
        encoded.extend_from_slice(behind);
        Ok(())
    }
}

/// Binds an algorithm whose place is chosen by the setting `location`.
fn bind_located<A: Algorithm + 'static>(
    algorithm: A,
    default: &str,
    configuration: &Value,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let is_at_start = match text(configuration, "location")?.unwrap_or(default) {
        "start" => true,
        "end" => false,
        other => {
            return Err(BindError::Invalid(format!(
                "\"location\" must be \"start\" or \"end\", not {other:?}"
            )));
        }
    };
    Ok(Arc::new(Checksum { algorithm, is_at_start, verifies: options.validate_checksums }))
}

/// Binds `crc32c`.
pub(super) fn bind_crc32c(
    configuration: &Value,
    _: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    bind_located(Crc32c, "end", configuration, options)
}

/// Binds `crc32`.
pub(super) fn bind_crc32(
    configuration: &Value,
    _: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    bind_located(Crc32, "start", configuration, options)
}

/// Binds `adler32`.
pub(super) fn bind_adler32(
    configuration: &Value,
    _: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    bind_located(Adler32, "start", configuration, options)
}

/// Binds `fletcher32`, which is always behind the data.
#[expect(clippy::unnecessary_wraps, reason = "the signature that all binders share")]
pub(super) fn bind_fletcher32(
    _: &Value,
    _: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    Ok(Arc::new(Checksum { algorithm: Fletcher32, is_at_start: false, verifies: options.validate_checksums }))
}

/// Binds `jenkins_lookup3`, which is always behind the data; `prefix` is a list of byte values.
pub(super) fn bind_lookup3(
    configuration: &Value,
    _: &ArraySpec,
    options: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let initval = integer(configuration, "initval")?.unwrap_or(0);
    let initval = u32::try_from(initval)
        .map_err(|_| BindError::Unsupported(format!("\"initval\" {initval} does not fit 32 bits")))?;
    let no_bytes = || BindError::Invalid("\"prefix\" must be a list of byte values".into());
    let prefix = match configuration.get("prefix") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| value.as_u64().and_then(|value| u8::try_from(value).ok()).ok_or_else(no_bytes))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(no_bytes()),
    };
    let algorithm = Lookup3 { initval, prefix };
    Ok(Arc::new(Checksum { algorithm, is_at_start: false, verifies: options.validate_checksums }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, decode, encode};
    use super::*;
    use crate::codec::registry::bind;

    const NAMES: [&str; 5] = ["crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"];

    #[test]
    fn known_values() {
        let digits = b"123456789";
        assert_eq!(Crc32c.compute(digits).unwrap(), 0xE306_9283);
        assert_eq!(Crc32.compute(digits).unwrap(), 0xCBF4_3926);
        assert_eq!(Adler32.compute(digits).unwrap(), 0x091E_01DE);
    }

    #[test]
    fn fletcher_matches_a_sum_folded_at_every_step() {
        let plain = |payload: &[u8]| {
            let (mut first, mut second) = (0_u32, 0_u32);
            for word in payload.chunks(2) {
                first += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
                first = (first & 0xFFFF) + (first >> 16);
                second += first;
                second = (second & 0xFFFF) + (second >> 16);
            }
            second << 16 | first
        };
        for len in [1, 2, 3, 719, 720, 721, 5_000, 300_001] {
            for fill in [0, 0xFF, 0x5A] {
                assert_eq!(fletcher32(&vec![fill; len]), plain(&vec![fill; len]), "{len} bytes of {fill}");
            }
            let mixed: Vec<u8> = (0..len).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
            assert_eq!(fletcher32(&mixed), plain(&mixed), "{len} mixed bytes");
        }
    }

    #[test]
    fn round_trips_and_detects_damage() {
        for name in NAMES {
            let codec = bound(name, &json!({}), "|u1");
            let payload: Vec<u8> = (0..101).collect();
            let mut encoded = encode(&*codec, &payload).unwrap();
            assert_eq!(codec.encoded_len(101), Some(encoded.len()));
            assert_eq!(decode(&*codec, &encoded).unwrap(), payload, "{name}");
            for len in 0..encoded.len() {
                assert!(decode(&*codec, &encoded[..len]).is_err(), "{name} cut to {len}");
            }
            encoded[50] ^= 1;
            assert!(matches!(decode(&*codec, &encoded), Err(CodecFault::Checksum { .. })), "{name}");
        }
    }

    #[test]
    fn verification_can_be_skipped() {
        let options = BindOptions { validate_checksums: false };
        let decoded =
            ArraySpec { chunk_shape: vec![2], dtype: crate::codec::DataType::parse("|u1").unwrap() };
        for name in NAMES {
            let codec = bind(name, &json!({}), &decoded, options).unwrap();
            assert_eq!(decode(&*codec, &[1; 6]).unwrap(), [1, 1], "{name}");
            assert!(decode(&*codec, &[1; 3]).is_err(), "{name}");
        }
    }

    #[test]
    fn location_moves_the_checksum() {
        let start = encode(&*bound("crc32c", &json!({"location": "start"}), "|u1"), b"abc").unwrap();
        let end = encode(&*bound("crc32c", &json!({"location": null}), "|u1"), b"abc").unwrap();
        assert_eq!((&start[4..], &start[..4]), (&end[..3], &end[3..]));
    }
}
