//! `packbits`: eight booleans in a byte, the first in the highest bit, behind a byte that says how many
//! bits of the last byte are padding.

use std::sync::Arc;

use serde_json::Value;

use super::fixed::{Fixed, Transform};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault};

#[derive(Debug)]
struct PackBits;

impl Transform for PackBits {
    fn name(&self) -> &'static str {
        "packbits"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        Some(decoded_len_bytes.div_ceil(8) + 1)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        let (&padded_bits, packed) = encoded
            .split_first()
            .ok_or_else(|| CodecFault::Damaged("the count of padding bits is missing".into()))?;
        // More padding than bits leaves nothing, as slicing does in Python.
        Ok(packed.len().saturating_mul(8).saturating_sub(padded_bits.into()))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        let packed = encoded.get(1..).unwrap_or_default();
        for (bits, &byte) in decoded.chunks_mut(8).zip(packed) {
            for (bit, shift) in bits.iter_mut().zip((0..8).rev()) {
                *bit = byte >> shift & 1;
            }
        }
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        let Some((padded_bits, packed)) = encoded.split_first_mut() else { return Ok(()) };
        let (bytes, rest) = decoded.as_chunks::<8>();
        for (to, bits) in packed.iter_mut().zip(bytes) {
            *to = pack(bits);
        }
        if let Some(last) = packed.last_mut()
            && !rest.is_empty()
        {
            *last = pack(rest);
        }
        // Less than eight.
        *padded_bits = u8::try_from(decoded.len().next_multiple_of(8) - decoded.len()).unwrap_or(0);
        Ok(())
    }
}

/// Up to eight booleans, any byte but 0 being true; missing ones are false.
fn pack(bits: &[u8]) -> u8 {
    bits.iter().zip((0..8).rev()).fold(0, |byte, (&bit, shift)| byte | u8::from(bit != 0) << shift)
}

/// Binds `packbits`.
pub(super) fn bind(_: &Value, decoded: &ArraySpec, _: BindOptions) -> Result<Arc<dyn Codec>, BindError> {
    if decoded.dtype.item_size != 1 {
        return Err(super::element::unsupported(&decoded.dtype));
    }
    Ok(Fixed::shared(PackBits))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, decode, encode};

    #[test]
    fn the_example_of_numcodecs() {
        let codec = bound("packbits", &json!({}), "|b1");
        assert_eq!(encode(&*codec, &[1, 0, 0, 1]).unwrap(), [4, 144]);
        assert_eq!(decode(&*codec, &[4, 144]).unwrap(), [1, 0, 0, 1]);
    }

    #[test]
    fn any_length_round_trips() {
        let codec = bound("packbits", &json!({}), "|b1");
        for len in 0..40 {
            let bits: Vec<u8> = (0..len).map(|i| u8::from(i % 3 == 0)).collect();
            let encoded = encode(&*codec, &bits).unwrap();
            assert_eq!(codec.encoded_len(len), Some(encoded.len()));
            assert_eq!(decode(&*codec, &encoded).unwrap(), bits);
        }
    }

    #[test]
    fn odd_headers_do_no_harm() {
        let codec = bound("packbits", &json!({}), "|b1");
        assert!(decode(&*codec, &[]).is_err());
        assert!(decode(&*codec, &[9, 0xFF]).unwrap().is_empty());
        assert_eq!(decode(&*codec, &[9, 0xFF, 0xFF]).unwrap(), [1; 7]);
    }
}
