//! `bitround`: zeroes the last bits of the mantissa, rounding to the nearest, ties to even.
//!
//! The bits of a float are taken as an integer: adding just less than half of the last bit kept, or exactly
//! half if that bit is odd, carries where rounding up is due, into the exponent if need be. Decoding has
//! nothing to do.

use std::sync::Arc;

use serde_json::Value;

use super::configuration::integer;
use super::fixed::{Fixed, Transform, whole_items};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, ByteOrder, Codec, CodecFault, Kind};

#[derive(Debug)]
struct BitRound {
    item_size: usize,
    /// Mantissa bits that are not kept.
    dropped_bits: u32,
}

macro_rules! round {
    ($name:ident, $bits:ty) => {
        fn $name(from: &[u8], to: &mut [u8], dropped_bits: u32) {
            let below_half = ((1 as $bits) << (dropped_bits - 1)) - 1;
            let mask = <$bits>::MAX << dropped_bits;
            for (to, &from) in to.as_chunks_mut().0.iter_mut().zip(from.as_chunks().0) {
                let bits = <$bits>::from_ne_bytes(from);
                let is_odd = bits >> dropped_bits & 1;
                *to = (bits.wrapping_add(below_half + is_odd) & mask).to_ne_bytes();
            }
        }
    };
}
round!(round_16, u16);
round!(round_32, u32);
round!(round_64, u64);

impl Transform for BitRound {
    fn name(&self) -> &'static str {
        "bitround"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        decoded_len_bytes.is_multiple_of(self.item_size).then_some(decoded_len_bytes)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        whole_items(encoded, self.item_size).map(|_| encoded.len())
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        decoded.copy_from_slice(encoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        match (self.dropped_bits, self.item_size) {
            (0, _) => encoded.copy_from_slice(decoded),
            (dropped_bits, 2) => round_16(decoded, encoded, dropped_bits),
            (dropped_bits, 4) => round_32(decoded, encoded, dropped_bits),
            (dropped_bits, _) => round_64(decoded, encoded, dropped_bits),
        }
        Ok(())
    }
}

/// Binds `bitround`. numcodecs raises for swapped byte order and for too many bits; that is left to it.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let mantissa_bits: u32 = match (decoded.dtype.kind, decoded.dtype.item_size) {
        (Kind::Float, 2) => 10,
        (Kind::Float, 4) => 23,
        (Kind::Float, 8) => 52,
        _ => return Err(super::element::unsupported(&decoded.dtype)),
    };
    if decoded.dtype.byte_order != ByteOrder::NATIVE {
        return Err(BindError::Unsupported("bitround is for floats of this machine's byte order".into()));
    }
    let dropped_bits = integer(configuration, "keepbits")?
        .and_then(|kept| u32::try_from(kept).ok())
        .and_then(|kept| mantissa_bits.checked_sub(kept))
        .ok_or_else(|| {
            BindError::Unsupported(format!("\"keepbits\" must lie between 0 and {mantissa_bits}"))
        })?;
    Ok(Fixed::shared(BitRound { item_size: decoded.dtype.item_size, dropped_bits }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;
    use crate::codec::DataType;

    #[test]
    fn ties_go_to_the_even_neighbour() {
        let codec = bound("bitround", &json!({"keepbits": 1}), "<f4");
        let input = bytes([1.0, 1.24, 1.25, 1.26, 1.75, 1.99, -1.75, f32::INFINITY].map(f32::to_ne_bytes));
        let kept = bytes([1.0, 1.0, 1.0, 1.5, 2.0, 2.0, -2.0, f32::INFINITY].map(f32::to_ne_bytes));
        assert_eq!(encode(&*codec, &input).unwrap(), kept);
        assert_eq!(decode(&*codec, &kept).unwrap(), kept);
    }

    #[test]
    fn all_bits_kept_is_no_change() {
        for (dtype, bits) in [("<f2", 10), ("<f4", 23), ("<f8", 52)] {
            let codec = bound("bitround", &json!({"keepbits": bits}), dtype);
            let input: Vec<u8> = (0..=255).collect();
            assert_eq!(encode(&*codec, &input).unwrap(), input);
            assert!(decode(&*codec, &input[1..]).is_err());
        }
    }

    #[test]
    fn what_numcodecs_refuses_is_left_to_it() {
        for (dtype, keepbits) in [("<i4", 3), (">f4", 3), ("<f2", 11), ("<f4", -1), ("<c8", 3)] {
            let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse(dtype).unwrap() };
            let refusal = bind(&json!({"keepbits": keepbits}), &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{dtype} {keepbits}");
        }
    }
}
