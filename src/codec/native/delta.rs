//! `delta`: the first element, then the difference of each element to the one before it.
//!
//! What numcodecs does, in numpy's types: differences are taken in `dtype` and then cast to `astype`;
//! sums run in the type that numpy promotes the two to, and are then cast to `dtype`. Between integers
//! any type wide enough gives the same bits, so there `dtype` itself serves; where a float is involved,
//! or no integer type holds both (64 bits unsigned with signed), the sums are floats, one after the other.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::arithmetic::Additive;
use super::element::{Access, BLOCK, dtype_setting, for_blocks, is_integer, required_dtype, unsupported};
use super::fixed::{Fixed, Transform, rescaled_len, whole_items};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, ByteOrder, Codec, CodecFault, DataType, Kind};

/// Both directions, computed in a type of the implementor's choice.
trait Steps: Send + Sync + Debug {
    fn differences(
        &self,
        decoded: &[u8],
        encoded: &mut [u8],
        first: Option<SignedFirst>,
    ) -> Result<(), CodecFault>;
    fn sums(&self, encoded: &[u8], decoded: &mut [u8]);
}

/// The signed integer that holds the first element: numpy refuses a value that does not fit, where it
/// wraps all others.
#[derive(Clone, Copy, Debug)]
struct SignedFirst {
    bits: u32,
    is_from_float: bool,
}

impl SignedFirst {
    fn holds<C: Additive>(self, element: C) -> bool {
        let value: f64 = element.cast_to();
        if self.is_from_float {
            let bound = 2_f64.powi(self.bits.cast_signed() - 1);
            return (-bound..bound).contains(&value.trunc());
        }
        let whole: i64 = element.cast_to();
        let unused = i64::BITS - self.bits;
        // A negative number made from a positive one was an unsigned number past the signed ones.
        whole << unused >> unused == whole && (whole >= 0 || value < 0.0)
    }
}

#[derive(Debug)]
struct In<C> {
    decoded: Access<C>,
    encoded: Access<C>,
}

impl<C: Additive + Debug> Steps for In<C> {
    fn differences(
        &self,
        decoded: &[u8],
        encoded: &mut [u8],
        first: Option<SignedFirst>,
    ) -> Result<(), CodecFault> {
        let mut before = C::default();
        let mut is_first = true;
        let mut source = [C::default(); BLOCK];
        for_blocks((&self.decoded, decoded), (&self.encoded, encoded), |block| {
            let source = &mut source[..block.len()];
            source.copy_from_slice(block);
            if std::mem::take(&mut is_first) {
                if first.is_some_and(|first| !first.holds(source[0])) {
                    let value: f64 = source[0].cast_to();
                    return Err(CodecFault::Value(format!(
                        "the first element, {value}, does not fit the type that differences are stored as"
                    )));
                }
            } else {
                block[0] = source[0].minus(before);
            }
            for (to, pair) in block[1..].iter_mut().zip(source.windows(2)) {
                *to = pair[1].minus(pair[0]);
            }
            before = source[source.len() - 1];
            Ok(())
        })
    }

    fn sums(&self, encoded: &[u8], decoded: &mut [u8]) {
        let mut sum = None;
        let Ok(()) = for_blocks::<_, std::convert::Infallible>(
            (&self.encoded, encoded),
            (&self.decoded, decoded),
            |block| {
                // The first element starts the sum: adding it to zero would lose the sign of -0.0.
                let mut running = sum.map_or(block[0], |sum: C| sum.plus(block[0]));
                block[0] = running;
                for element in &mut block[1..] {
                    running = running.plus(*element);
                    *element = running;
                }
                sum = Some(running);
                Ok(())
            },
        );
    }
}

#[derive(Debug)]
struct Delta {
    decoded_size: usize,
    encoded_size: usize,
    first: Option<SignedFirst>,
    encoder: Box<dyn Steps>,
    decoder: Box<dyn Steps>,
}

impl Transform for Delta {
    fn name(&self) -> &'static str {
        "delta"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        rescaled_len(decoded_len_bytes, self.decoded_size, self.encoded_size)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        Ok(whole_items(encoded, self.encoded_size)?.saturating_mul(self.decoded_size))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.decoder.sums(encoded, decoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        if decoded.is_empty() {
            return Err(CodecFault::Value("delta has no first element to store: the chunk is empty".into()));
        }
        self.encoder.differences(decoded, encoded, self.first)
    }
}

/// The type numpy adds up in.
fn sum_type(dtype: &DataType, astype: &DataType) -> DataType {
    let float_size = |dtype: &DataType| match (dtype.kind, dtype.item_size) {
        (Kind::Float, size) => size,
        (_, 1) => 2,
        (_, 2) => 4,
        _ => 8,
    };
    let is_unsigned_64 = |dtype: &DataType| dtype.kind == Kind::UInt && dtype.item_size == 8;
    let mixes_64 = (is_unsigned_64(dtype) && astype.kind == Kind::Int)
        || (is_unsigned_64(astype) && dtype.kind == Kind::Int);
    let item_size = if mixes_64 {
        8
    } else if is_integer(dtype) && is_integer(astype) {
        return dtype.clone();
    } else {
        float_size(dtype).max(float_size(astype))
    };
    DataType { kind: Kind::Float, item_size, byte_order: ByteOrder::NATIVE }
}

fn steps(computed: &DataType, dtype: &DataType, astype: &DataType) -> Result<Box<dyn Steps>, BindError> {
    macro_rules! choose {
        ($(($kind:ident, $size:literal, $type:ty))*) => {
            match (computed.kind, computed.item_size) {
                $((Kind::$kind, $size) => {
                    Ok(Box::new(In::<$type> { decoded: Access::new(dtype)?, encoded: Access::new(astype)? }))
                })*
                _ => Err(unsupported(computed)),
            }
        };
    }
    choose!((Int, 1, i8)(Int, 2, i16)(Int, 4, i32)(Int, 8, i64)(UInt, 1, u8)(UInt, 2, u16)(UInt, 4, u32)(
        UInt, 8, u64
    )(Float, 2, half::f16)(Float, 4, f32)(Float, 8, f64))
}

/// Binds `delta`. Booleans (whose differences do not add up in numpy) and times are left to numcodecs.
pub(super) fn bind(
    configuration: &Value,
    _: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let dtype = required_dtype(configuration, "dtype")?;
    let astype = dtype_setting(configuration, "astype")?.unwrap_or_else(|| dtype.clone());
    if let Some(other) = [&dtype, &astype].into_iter().find(|t| !is_integer(t) && t.kind != Kind::Float) {
        return Err(unsupported(other));
    }
    let is_same = dtype.kind == astype.kind && dtype.item_size == astype.item_size;
    let first = (astype.kind == Kind::Int && !is_same).then(|| SignedFirst {
        bits: 8 * u32::try_from(astype.item_size).unwrap_or(8).min(8),
        is_from_float: dtype.kind == Kind::Float,
    });
    Ok(Fixed::shared(Delta {
        decoded_size: dtype.item_size,
        encoded_size: astype.item_size,
        first,
        encoder: steps(&dtype, &dtype, &astype)?,
        decoder: steps(&sum_type(&dtype, &astype), &dtype, &astype)?,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};

    #[test]
    fn differences_of_integers_wrap() {
        let codec = bound("delta", &json!({"dtype": "<i2", "astype": "|i1"}), "<i2");
        let decoded = bytes([100_i16, 102, 104, 90, 90].map(i16::to_le_bytes));
        let encoded = encode(&*codec, &decoded).unwrap();
        assert_eq!(encoded, [100, 2, 2, 14_u8.wrapping_neg(), 0]);
        assert_eq!(decode(&*codec, &encoded).unwrap(), decoded);
    }

    #[test]
    fn sums_go_on_across_blocks() {
        for dtype in ["<u4", ">u4"] {
            let codec = bound("delta", &json!({"dtype": dtype}), dtype);
            let order = if dtype == "<u4" { u32::to_le_bytes } else { u32::to_be_bytes };
            let decoded = bytes((0..1541_u32).map(|i| order(i.wrapping_mul(i) << 12)));
            let encoded = encode(&*codec, &decoded).unwrap();
            assert_eq!(decode(&*codec, &encoded).unwrap(), decoded, "{dtype}");
        }
    }

    #[test]
    fn the_first_element_must_fit() {
        let narrow = bound("delta", &json!({"dtype": "<i2", "astype": "|i1"}), "<i2");
        assert!(encode(&*narrow, &128_i16.to_le_bytes()).is_err());
        assert!(encode(&*narrow, &(-128_i16).to_le_bytes()).is_ok());
        let signed = bound("delta", &json!({"dtype": "<u8", "astype": "<i8"}), "<u8");
        assert!(encode(&*signed, &(u64::MAX / 2).to_le_bytes()).is_ok());
        assert!(encode(&*signed, &(u64::MAX / 2 + 1).to_le_bytes()).is_err());
        let float = bound("delta", &json!({"dtype": "<f8", "astype": "|i1"}), "<f8");
        assert!(encode(&*float, &127.9_f64.to_le_bytes()).is_ok());
        assert!(encode(&*float, &f64::NAN.to_le_bytes()).is_err());
        assert!(encode(&*float, &[]).is_err());
    }

    #[test]
    fn damaged_lengths_are_refused() {
        let codec = bound("delta", &json!({"dtype": "<f8", "astype": "<f4"}), "<f8");
        assert!(decode(&*codec, &[0; 7]).is_err());
        assert!(encode(&*codec, &[0; 12]).is_err());
        assert!(decode(&*codec, &[]).unwrap().is_empty());
    }
}
