//! Zarr v3's `scale_offset`: `(x - offset) * scale`, and back by `x / scale + offset`.
//!
//! Unlike numcodecs' filter it never leaves the array's type: floats compute in it, integers must fit it
//! and divide without remainder. As in zarr-python, integers are computed over 64 bits signed, which can
//! wrap, before they are checked; those of 64 bits unsigned are computed without limit.
//!
//! Configuration: `{"offset": s, "scale": s}`, both exact scalars ([`super::scalar`]) of the array's type,
//! that is, integers for integers and floats for floats; 0 and 1 if absent.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::arithmetic::Floating;
use super::element::{Access, CastTo, for_blocks, unsupported};
use super::fixed::{Fixed, Transform, whole_items};
use super::scalar::Scalar;
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, DataType, Kind};

/// The two formulas in one type.
trait Formula: Send + Sync + Debug {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault>;
    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault>;
}

fn out_of_range(dtype_name: &str) -> CodecFault {
    CodecFault::Value(format!("a value falls outside the range of dtype {dtype_name}"))
}

fn remainder() -> CodecFault {
    CodecFault::Value("dividing a value by the scale leaves a non-zero remainder".into())
}

#[derive(Debug)]
struct Float<C> {
    access: Access<C>,
    offset: C,
    scale: C,
}

impl<C: Floating + Debug> Formula for Float<C> {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, encoded), (&self.access, decoded), |block| {
            for element in block {
                *element = element.over(self.scale).plus(self.offset);
            }
            Ok(())
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, decoded), (&self.access, encoded), |block| {
            for element in block {
                *element = element.minus(self.offset).times(self.scale);
            }
            Ok(())
        })
    }
}

/// Integers that 64 bits signed hold.
#[derive(Debug)]
struct Signed {
    access: Access<i64>,
    offset: i64,
    scale: i64,
    least: i64,
    greatest: i64,
    dtype_name: String,
}

impl Signed {
    fn check(&self, block: &[i64]) -> Result<(), CodecFault> {
        let (mut least, mut greatest) = (self.least, self.greatest);
        for &element in block {
            least = least.min(element);
            greatest = greatest.max(element);
        }
        if least == self.least && greatest == self.greatest {
            Ok(())
        } else {
            Err(out_of_range(&self.dtype_name))
        }
    }
}

impl Formula for Signed {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, encoded), (&self.access, decoded), |block| {
            for element in &mut *block {
                // The least value by -1 wraps, as in numpy.
                let quotient = element.wrapping_div(self.scale);
                if quotient.wrapping_mul(self.scale) != *element {
                    return Err(remainder());
                }
                *element = quotient.wrapping_add(self.offset);
            }
            self.check(block)
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, decoded), (&self.access, encoded), |block| {
            for element in &mut *block {
                *element = element.wrapping_sub(self.offset).wrapping_mul(self.scale);
            }
            self.check(block)
        })
    }
}

/// Integers of 64 bits unsigned.
#[derive(Debug)]
struct Unsigned64 {
    access: Access<u64>,
    offset: u64,
    scale: u64,
}

impl Formula for Unsigned64 {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, encoded), (&self.access, decoded), |block| {
            for element in block {
                if *element % self.scale != 0 {
                    return Err(remainder());
                }
                *element =
                    (*element / self.scale).checked_add(self.offset).ok_or_else(|| out_of_range("uint64"))?;
            }
            Ok(())
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        for_blocks((&self.access, decoded), (&self.access, encoded), |block| {
            for element in block {
                // The scale is not negative: a negative difference makes no valid product.
                let difference = element.checked_sub(self.offset);
                *element = difference
                    .and_then(|x| x.checked_mul(self.scale))
                    .ok_or_else(|| out_of_range("uint64"))?;
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct ScaleOffset {
    item_size: usize,
    formula: Box<dyn Formula>,
}

impl Transform for ScaleOffset {
    fn name(&self) -> &'static str {
        "scale_offset"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        decoded_len_bytes.is_multiple_of(self.item_size).then_some(decoded_len_bytes)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        whole_items(encoded, self.item_size).map(|_| encoded.len())
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.formula.decode(encoded, decoded)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.formula.encode(decoded, encoded)
    }
}

fn integer_formula(dtype: &DataType, offset: Scalar, scale: Scalar) -> Result<Box<dyn Formula>, BindError> {
    let (Scalar::Integer(offset), Scalar::Integer(scale)) = (offset, scale) else {
        return Err(BindError::Unsupported(
            "integers need an \"offset\" and \"scale\" that are integers".into(),
        ));
    };
    let bits = 8 * dtype.item_size;
    let (least, greatest) = match dtype.kind {
        Kind::UInt => (0, (1_i128 << bits) - 1),
        _ => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
    };
    let too_large = || BindError::Unsupported("\"offset\" or \"scale\" does not fit the data type".into());
    if [offset, scale].iter().any(|scalar| !(least..=greatest).contains(scalar)) {
        return Err(too_large());
    }
    if (dtype.kind, bits) == (Kind::UInt, 64) {
        return Ok(Box::new(Unsigned64 {
            access: Access::new(dtype)?,
            offset: u64::try_from(offset).map_err(|_| too_large())?,
            scale: u64::try_from(scale).map_err(|_| too_large())?,
        }));
    }
    let narrow = |wide: i128| i64::try_from(wide).map_err(|_| too_large());
    Ok(Box::new(Signed {
        access: Access::new(dtype)?,
        offset: narrow(offset)?,
        scale: narrow(scale)?,
        least: narrow(least)?,
        greatest: narrow(greatest)?,
        dtype_name: format!("{}int{bits}", if dtype.kind == Kind::UInt { "u" } else { "" }),
    }))
}

/// Binds `scale_offset`.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let dtype = &decoded.dtype;
    let offset = Scalar::setting(configuration, "offset")?.unwrap_or(Scalar::Integer(0));
    let scale = Scalar::setting(configuration, "scale")?.unwrap_or(Scalar::Integer(1));
    if scale.as_f64() == 0.0 {
        return Err(BindError::Unsupported("\"scale\" is zero".into()));
    }
    macro_rules! float {
        ($type:ty) => {
            Box::new(Float::<$type> {
                access: Access::new(dtype)?,
                offset: offset.as_f64().cast_to(),
                scale: scale.as_f64().cast_to(),
            })
        };
    }
    let formula: Box<dyn Formula> = match (dtype.kind, dtype.item_size) {
        (Kind::Float, 2) => float!(half::f16),
        (Kind::Float, 4) => float!(f32),
        (Kind::Float, 8) => float!(f64),
        (Kind::Int | Kind::UInt, 1 | 2 | 4 | 8) => integer_formula(dtype, offset, scale)?,
        _ => return Err(unsupported(dtype)),
    };
    Ok(Fixed::shared(ScaleOffset { item_size: dtype.item_size, formula }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;

    #[test]
    fn integers_must_fit_and_divide() {
        for dtype in ["|i1", "|u1"] {
            let codec = bound("scale_offset", &json!({"offset": 5, "scale": 2}), dtype);
            assert_eq!(encode(&*codec, &[5, 6, 60]).unwrap(), [0, 2, 110]);
            assert_eq!(decode(&*codec, &[0, 2, 110]).unwrap(), [5, 6, 60]);
            assert!(decode(&*codec, &[0, 3]).is_err());
        }
        let unsigned = bound("scale_offset", &json!({"offset": 5, "scale": 2}), "|u1");
        assert!(encode(&*unsigned, &[4]).is_err());
        assert!(encode(&*unsigned, &[133]).is_err());
        assert!(decode(&*unsigned, &[254]).is_ok());
        let signed = bound("scale_offset", &json!({"scale": -1}), "|i1");
        assert!(decode(&*signed, &[0x80]).is_err());
        let wide = bound("scale_offset", &json!({"offset": 1, "scale": u64::MAX}), "<u8");
        assert!(encode(&*wide, &bytes([1_u64, 2].map(u64::to_le_bytes))).is_ok());
        assert!(encode(&*wide, &3_u64.to_le_bytes()).is_err());
        assert!(decode(&*wide, &u64::MAX.to_le_bytes()).is_ok());
    }

    #[test]
    fn floats_stay_in_their_type() {
        let configuration = json!({"offset": {"bits": "cdcccc3d"}, "scale": 10});
        for dtype in ["<f4", ">f4"] {
            let order = if dtype == "<f4" { f32::to_le_bytes } else { f32::to_be_bytes };
            let codec = bound("scale_offset", &configuration, dtype);
            let expected = bytes([(1.7_f32 - 0.1) * 10.0, f32::INFINITY].map(order));
            assert_eq!(encode(&*codec, &bytes([1.7, f32::INFINITY].map(order))).unwrap(), expected);
            let expected = bytes([16.0_f32 / 10.0 + 0.1].map(order));
            assert_eq!(decode(&*codec, &bytes([16.0].map(order))).unwrap(), expected);
        }
    }

    #[test]
    fn what_zarr_refuses_is_left_to_it() {
        for (configuration, dtype) in [
            (json!({"scale": 0}), "<i4"),
            (json!({"scale": 0.0}), "<f4"),
            (json!({"scale": 0.5}), "<i4"),
            (json!({"offset": 128}), "|i1"),
            (json!({"offset": -1}), "<u8"),
            (json!({}), "|b1"),
            (json!({}), "<M8[s]"),
        ] {
            let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse(dtype).unwrap() };
            let refusal = bind(&configuration, &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{configuration} {dtype}");
        }
    }
}
