//! `fixedscaleoffset`: `round((x - offset) * scale)`, and back by `x / scale + offset`.
//!
//! numcodecs writes it in numpy with Python numbers for `offset` and `scale`, whose kind decides the types:
//! floats stay in their own; integers stay integers (and wrap) as long as they meet integers, and become
//! 64-bit floats with the first float or the division. A number that does not fit its array's type makes
//! numpy raise, so it is left to numcodecs.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::arithmetic::{Additive, Floating};
use super::element::{
    Access, BLOCK, CastTo, dtype_setting, for_blocks, is_integer, required_dtype, unsupported,
};
use super::fixed::{Fixed, Transform, rescaled_len, whole_items};
use super::scalar::Scalar;
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, DataType, Kind};

/// One direction.
trait Step: Send + Sync + Debug {
    fn run(&self, from: &[u8], to: &mut [u8]);
}

/// Encodes with the arithmetic of floats.
#[derive(Debug)]
struct FloatEncode<C> {
    decoded: Access<C>,
    encoded: Access<C>,
    offset: C,
    scale: C,
}

impl<C: Floating + Debug> Step for FloatEncode<C> {
    fn run(&self, from: &[u8], to: &mut [u8]) {
        let (offset, scale) = (self.offset, self.scale);
        run_blocks((&self.decoded, from), (&self.encoded, to), |x| x.minus(offset).times(scale).rounded());
    }
}

/// Decodes, always with the arithmetic of floats.
#[derive(Debug)]
struct FloatDecode<C> {
    decoded: Access<C>,
    encoded: Access<C>,
    offset: C,
    scale: C,
}

impl<C: Floating + Debug> Step for FloatDecode<C> {
    fn run(&self, from: &[u8], to: &mut [u8]) {
        let (offset, scale) = (self.offset, self.scale);
        run_blocks((&self.encoded, from), (&self.decoded, to), |x| x.over(scale).plus(offset));
    }
}

/// Encodes integers with an integer offset and scale.
#[derive(Debug)]
struct IntegerEncode<C> {
    decoded: Access<C>,
    encoded: Access<C>,
    offset: C,
    scale: C,
}

impl<C: Additive + Debug> Step for IntegerEncode<C> {
    fn run(&self, from: &[u8], to: &mut [u8]) {
        let (offset, scale) = (self.offset, self.scale);
        run_blocks((&self.decoded, from), (&self.encoded, to), |x| x.minus(offset).times(scale));
    }
}

/// Encodes integers with an integer offset and a scale that is a float.
#[derive(Debug)]
struct MixedEncode<C> {
    decoded: Access<C>,
    encoded: Access<f64>,
    offset: C,
    scale: f64,
}

impl<C: Additive + Debug> Step for MixedEncode<C> {
    fn run(&self, from: &[u8], to: &mut [u8]) {
        let (mut integers, mut floats) = ([C::default(); BLOCK], [0.0; BLOCK]);
        let blocks = from.chunks(BLOCK * self.decoded.size).zip(to.chunks_mut(BLOCK * self.encoded.size));
        for (from, to) in blocks {
            let count = from.len() / self.decoded.size;
            self.decoded.read(from, &mut integers[..count]);
            for (float, integer) in floats[..count].iter_mut().zip(integers) {
                let difference: f64 = integer.minus(self.offset).cast_to();
                *float = difference.times(self.scale).rounded();
            }
            self.encoded.write(&floats[..count], to);
        }
    }
}

fn run_blocks<C: Additive>(from: (&Access<C>, &[u8]), to: (&Access<C>, &mut [u8]), change: impl Fn(C) -> C) {
    let Ok(()) = for_blocks::<_, std::convert::Infallible>(from, to, |block| {
        for element in block {
            *element = change(*element);
        }
        Ok(())
    });
}

#[derive(Debug)]
struct FixedScaleOffset {
    decoded_size: usize,
    encoded_size: usize,
    encoder: Box<dyn Step>,
    decoder: Box<dyn Step>,
}

impl Transform for FixedScaleOffset {
    fn name(&self) -> &'static str {
        "fixedscaleoffset"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        rescaled_len(decoded_len_bytes, self.decoded_size, self.encoded_size)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        Ok(whole_items(encoded, self.encoded_size)?.saturating_mul(self.decoded_size))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.decoder.run(encoded, decoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.encoder.run(decoded, encoded);
        Ok(())
    }
}

/// `Box<Step>` for a type of `$list` that is chosen by `$dtype`.
macro_rules! for_type {
    ($dtype:expr, $name:ident => $body:expr; $(($kind:ident, $size:literal, $type:ty))*) => {
        match ($dtype.kind, $dtype.item_size) {
            $((Kind::$kind, $size) => {
                type $name = $type;
                $body
            })*
            _ => Err(unsupported($dtype)),
        }
    };
}
macro_rules! for_float {
    ($dtype:expr, $name:ident => $body:expr) => {
        for_type!($dtype, $name => $body; (Float, 2, half::f16) (Float, 4, f32) (Float, 8, f64))
    };
}
macro_rules! for_integer {
    ($dtype:expr, $name:ident => $body:expr) => {
        for_type!($dtype, $name => $body; (Int, 1, i8) (Int, 2, i16) (Int, 4, i32) (Int, 8, i64)
            (UInt, 1, u8) (UInt, 2, u16) (UInt, 4, u32) (UInt, 8, u64))
    };
}

fn encoder(
    decoded: &DataType,
    encoded: &DataType,
    offset: Scalar,
    scale: Scalar,
) -> Result<Box<dyn Step>, BindError> {
    if !is_integer(decoded) {
        return for_float!(decoded, C => Ok(Box::new(FloatEncode::<C> {
            decoded: Access::new(decoded)?,
            encoded: Access::new(encoded)?,
            offset: offset.as_f64().cast_to(),
            scale: scale.as_f64().cast_to(),
        })));
    }
    let Scalar::Integer(offset) = offset else {
        return Ok(Box::new(FloatEncode::<f64> {
            decoded: Access::new(decoded)?,
            encoded: Access::new(encoded)?,
            offset: offset.as_f64(),
            scale: scale.as_f64(),
        }));
    };
    let too_large = |_| BindError::Unsupported("\"offset\" or \"scale\" does not fit the data type".into());
    for_integer!(decoded, C => {
        let offset = C::try_from(offset).map_err(too_large)?;
        match scale {
            Scalar::Integer(scale) => Ok(Box::new(IntegerEncode::<C> {
                decoded: Access::new(decoded)?,
                encoded: Access::new(encoded)?,
                offset,
                scale: C::try_from(scale).map_err(too_large)?,
            })),
            Scalar::Float(scale) => Ok(Box::new(MixedEncode::<C> {
                decoded: Access::new(decoded)?,
                encoded: Access::new(encoded)?,
                offset,
                scale,
            })),
        }
    })
}

fn decoder(
    decoded: &DataType,
    encoded: &DataType,
    offset: Scalar,
    scale: Scalar,
) -> Result<Box<dyn Step>, BindError> {
    let double = DataType { kind: Kind::Float, item_size: 8, ..encoded.clone() };
    let computed = if is_integer(encoded) { &double } else { encoded };
    for_float!(computed, C => Ok(Box::new(FloatDecode::<C> {
        decoded: Access::new(decoded)?,
        encoded: Access::new(encoded)?,
        offset: offset.as_f64().cast_to(),
        scale: scale.as_f64().cast_to(),
    })))
}

/// Binds `fixedscaleoffset`.
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
    let required = |key: &str| {
        Scalar::setting(configuration, key)?.ok_or_else(|| BindError::Invalid(format!("{key:?} is missing")))
    };
    let (offset, scale) = (required("offset")?, required("scale")?);
    Ok(Fixed::shared(FixedScaleOffset {
        decoded_size: dtype.item_size,
        encoded_size: astype.item_size,
        encoder: encoder(&dtype, &astype, offset, scale)?,
        decoder: decoder(&dtype, &astype, offset, scale)?,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;

    #[test]
    fn the_example_of_numcodecs() {
        let values = [1000.0, 1000.11, 1000.5, 1001.0_f64];
        let codec = bound(
            "fixedscaleoffset",
            &json!({"offset": 1000, "scale": 10, "dtype": "<f8", "astype": "|u1"}),
            "<f8",
        );
        let encoded = encode(&*codec, &bytes(values.map(f64::to_le_bytes))).unwrap();
        assert_eq!(encoded, [0, 1, 5, 10]);
        let decoded = decode(&*codec, &encoded).unwrap();
        assert_eq!(decoded, bytes([1000.0, 1000.1, 1000.5, 1001.0_f64].map(f64::to_le_bytes)));
    }

    #[test]
    fn integers_wrap_until_they_meet_a_float() {
        let input = bytes([10_u16, 20].map(u16::to_be_bytes));
        for (offset, scale, expected) in [
            (json!(11), json!(2), [65_534.0, 18.0]),
            (json!(11), json!(0.5), [32_768.0, 4.0]),
            (json!(11.0), json!(2), [-2.0, 18.0]),
        ] {
            let configuration = json!({"offset": offset, "scale": scale, "dtype": ">u2", "astype": "<f8"});
            let codec = bound("fixedscaleoffset", &configuration, ">u2");
            assert_eq!(
                encode(&*codec, &input).unwrap(),
                bytes(expected.map(f64::to_le_bytes)),
                "{configuration}"
            );
        }
    }

    #[test]
    fn what_numpy_refuses_is_left_to_it() {
        let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse("|u1").unwrap() };
        for (offset, scale, dtype) in [
            (json!(1000), json!(1), "|u1"),
            (json!(0), json!(-1), "|u1"),
            (json!(1e20), json!(1), "<f8"),
            (json!("1"), json!(1), "<f8"),
            (json!(0), json!(1), "|b1"),
            (json!(0), json!(1), "<f16"),
        ] {
            let configuration = json!({"offset": offset, "scale": scale, "dtype": dtype});
            let refusal = bind(&configuration, &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{configuration}");
        }
    }

    #[test]
    fn damaged_lengths_are_refused() {
        let configuration = json!({"offset": 0, "scale": 2, "dtype": "<f8", "astype": "<i2"});
        let codec = bound("fixedscaleoffset", &configuration, "<f8");
        assert!(decode(&*codec, &[0; 3]).is_err());
        assert!(encode(&*codec, &[0; 12]).is_err());
    }
}
