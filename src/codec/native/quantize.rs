//! `quantize`: keeps a number of decimal digits by rounding to a multiple of a power of two.
//!
//! Lossy; decoding only casts back.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::arithmetic::Floating;
use super::configuration::integer;
use super::element::{Access, CastTo, dtype_setting, for_blocks, required_dtype, unsupported};
use super::fixed::{Fixed, Transform, rescaled_len, whole_items};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, Kind};

trait Steps: Send + Sync + Debug {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]);
    fn encode(&self, decoded: &[u8], encoded: &mut [u8]);
}

#[derive(Debug)]
struct In<C> {
    decoded: Access<C>,
    encoded: Access<C>,
    scale: C,
}

impl<C: Floating + Debug> In<C> {
    fn run(from: (&Access<C>, &[u8]), to: (&Access<C>, &mut [u8]), change: impl Fn(C) -> C) {
        let Ok(()) = for_blocks::<_, std::convert::Infallible>(from, to, |block| {
            for element in block {
                *element = change(*element);
            }
            Ok(())
        });
    }
}

impl<C: Floating + Debug> Steps for In<C> {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) {
        Self::run((&self.encoded, encoded), (&self.decoded, decoded), |x| x);
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) {
        let scale = self.scale;
        Self::run((&self.decoded, decoded), (&self.encoded, encoded), |x| {
            scale.times(x).rounded().over(scale)
        });
    }
}

#[derive(Debug)]
struct Quantize {
    decoded_size: usize,
    encoded_size: usize,
    steps: Box<dyn Steps>,
}

impl Transform for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        rescaled_len(decoded_len_bytes, self.decoded_size, self.encoded_size)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        Ok(whole_items(encoded, self.encoded_size)?.saturating_mul(self.decoded_size))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.steps.decode(encoded, decoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.steps.encode(decoded, encoded);
        Ok(())
    }
}

/// The power of two that values are scaled by to keep `digits` decimal digits.
fn scale(digits: i32) -> f64 {
    // numcodecs takes the logarithm of a power of ten, and rounds it away from zero if it is not whole.
    let exponent = 10_f64.powf(f64::from(-digits)).log10();
    let exponent = if exponent < 0.0 { exponent.floor() } else { exponent.ceil() };
    10_f64.powf(-exponent).log2().ceil().exp2()
}

/// Binds `quantize`.
pub(super) fn bind(
    configuration: &Value,
    _: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    /// Python's floats overflow, and raise, somewhere past this.
    const DIGITS: i64 = 300;
    let dtype = required_dtype(configuration, "dtype")?;
    let astype = dtype_setting(configuration, "astype")?.unwrap_or_else(|| dtype.clone());
    if let Some(other) = [&dtype, &astype].into_iter().find(|t| t.kind != Kind::Float) {
        return Err(BindError::Invalid(format!("quantize is for floats, not for kind {:?}", other.kind)));
    }
    let digits = integer(configuration, "digits")?
        .filter(|digits| (-DIGITS..=DIGITS).contains(digits))
        .and_then(|digits| i32::try_from(digits).ok())
        .ok_or_else(|| BindError::Unsupported("\"digits\" is missing or out of range".into()))?;
    macro_rules! steps {
        ($(($size:literal, $type:ty))*) => {
            match dtype.item_size {
                $($size => Box::new(In::<$type> {
                    decoded: Access::new(&dtype)?,
                    encoded: Access::new(&astype)?,
                    scale: scale(digits).cast_to(),
                }) as Box<dyn Steps>,)*
                _ => return Err(unsupported(&dtype)),
            }
        };
    }
    Ok(Fixed::shared(Quantize {
        decoded_size: dtype.item_size,
        encoded_size: astype.item_size,
        steps: steps!((2, half::f16)(4, f32)(8, f64)),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;

    #[test]
    fn the_example_of_numcodecs() {
        let values = [0.0, 1.0 / 9.0, 2.0 / 9.0, 1.0_f64];
        for (digits, kept) in [(1, [0.0, 0.125, 0.25, 1.0]), (2, [0.0, 0.109_375, 0.218_75, 1.0])] {
            let codec = bound("quantize", &json!({"digits": digits, "dtype": "<f8"}), "<f8");
            let encoded = encode(&*codec, &bytes(values.map(f64::to_le_bytes))).unwrap();
            assert_eq!(encoded, bytes(kept.map(f64::to_le_bytes)));
            assert_eq!(decode(&*codec, &encoded).unwrap(), encoded);
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "powers of two are exact")]
    fn scales_are_powers_of_two() {
        assert_eq!([-1, 0, 1, 2, 3].map(scale), [0.125, 1.0, 16.0, 128.0, 1024.0]);
    }

    #[test]
    fn only_floats_are_taken() {
        let decoded =
            ArraySpec { chunk_shape: vec![1], dtype: crate::codec::DataType::parse("<i4").unwrap() };
        for configuration in [
            json!({"digits": 1, "dtype": "<i4"}),
            json!({"digits": 1, "dtype": "<f4", "astype": "<i4"}),
            json!({"digits": 1, "dtype": "<f16"}),
            json!({"digits": 400, "dtype": "<f4"}),
            json!({"dtype": "<f4"}),
        ] {
            assert!(bind(&configuration, &decoded, BindOptions::default()).is_err(), "{configuration}");
        }
    }
}
