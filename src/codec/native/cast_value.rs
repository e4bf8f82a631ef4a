//! Zarr v3's `cast_value`: stores elements as another numeric type, by value.
//!
//! Unlike `astype` nothing is lost silently: what the target cannot hold is an error, or is clamped or
//! wrapped if the configuration says so, and inexact values are rounded as it says. A scalar map
//! replaces single values beforehand. Values as with the package `cast-value-rs` 0.5, zarr-python's
//! engine; so are the errors, infinities and NaN never becoming integers, clamped or not.
//!
//! Configuration: `{"target_dtype": "<u1", "rounding": "nearest-even", "out_of_range": null,
//! "scalar_map": {"encode": [[key, value], ...], "decode": [...]}}`. Data types are in numpy's notation,
//! `out_of_range` is `null`, `"clamp"` or `"wrap"`. Keys and values are exact scalars ([`super::scalar`]):
//! integers for an integer type; for a float type 64-bit floats, which are rounded to the type.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::text;
use super::element::{Access, BLOCK, Number, required_dtype, unsupported};
use super::fixed::{Fixed, Transform, rescaled_len, whole_items};
use super::rounding::{Precision, Rounding};
use super::scalar::Scalar;
use super::value_conversion::{OutOfRange, Range, Rules, Source};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, ByteOrder, Codec, CodecFault, DataType, Kind};
use crate::distance;

/// Casts in one direction.
trait Cast: Send + Sync + Debug {
    fn run(&self, from: &[u8], to: &mut [u8], rules: Rules) -> Result<(), CodecFault>;
}

/// Bytes that mean the same in both types.
#[derive(Debug)]
struct Identity;

impl Cast for Identity {
    fn run(&self, from: &[u8], to: &mut [u8], _: Rules) -> Result<(), CodecFault> {
        distance::copy(to, from);
        Ok(())
    }
}

#[derive(Debug)]
struct Pair<S, T, C> {
    from: Access<S>,
    to: Access<T>,
    target: C,
    map: Vec<(S, T)>,
}

impl<S: Source, T: Number> Pair<S, T, ()> {
    fn blocks<C>(
        pair: &Pair<S, T, C>,
        from: &[u8],
        to: &mut [u8],
        cast: impl Fn(S) -> Result<T, CodecFault>,
    ) -> Result<(), CodecFault> {
        let (mut sources, mut targets) = ([S::default(); BLOCK], [T::default(); BLOCK]);
        for (from, to) in from.chunks(BLOCK * pair.from.size).zip(to.chunks_mut(BLOCK * pair.to.size)) {
            let count = from.len() / pair.from.size;
            let (sources, targets) = (&mut sources[..count], &mut targets[..count]);
            pair.from.read(from, sources);
            if pair.map.is_empty() {
                for (target, &source) in targets.iter_mut().zip(&*sources) {
                    *target = cast(source)?;
                }
            } else {
                for (target, &source) in targets.iter_mut().zip(&*sources) {
                    let mapped = pair.map.iter().find(|(key, _)| source.is_key(*key));
                    *target = mapped.map_or_else(|| cast(source), |&(_, value)| Ok(value))?;
                }
            }
            pair.to.write(targets, to);
        }
        Ok(())
    }
}

impl<S: Source> Cast for Pair<S, i64, Range> {
    fn run(&self, from: &[u8], to: &mut [u8], rules: Rules) -> Result<(), CodecFault> {
        Pair::blocks(self, from, to, |source| source.to_integer(self.target, rules))
    }
}

impl<S: Source> Cast for Pair<S, f64, Precision> {
    fn run(&self, from: &[u8], to: &mut [u8], rules: Rules) -> Result<(), CodecFault> {
        Pair::blocks(self, from, to, |source| source.to_float(self.target, rules))
    }
}

#[derive(Debug)]
struct CastValue {
    decoded_size: usize,
    encoded_size: usize,
    rules: Rules,
    encoder: Box<dyn Cast>,
    decoder: Box<dyn Cast>,
}

impl Transform for CastValue {
    fn name(&self) -> &'static str {
        "cast_value"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        rescaled_len(decoded_len_bytes, self.decoded_size, self.encoded_size)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        Ok(whole_items(encoded, self.encoded_size)?.saturating_mul(self.decoded_size))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.decoder.run(encoded, decoded, self.rules)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.encoder.run(decoded, encoded, self.rules)
    }
}

/// What an element type is computed as.
enum Class {
    Signed(Range),
    Unsigned(Range),
    Float(Precision),
}

fn class(dtype: &DataType) -> Result<Class, BindError> {
    let bits = 8 * dtype.item_size;
    match (dtype.kind, dtype.item_size) {
        (Kind::Int, 1 | 2 | 4 | 8) => {
            Ok(Class::Signed(Range::new(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)))
        }
        (Kind::UInt, 1 | 2 | 4 | 8) => Ok(Class::Unsigned(Range::new(0, (1 << bits) - 1))),
        (Kind::Float, 2) => Ok(Class::Float(Precision::Half)),
        (Kind::Float, 4) => Ok(Class::Float(Precision::Single)),
        (Kind::Float, 8) => Ok(Class::Float(Precision::Double)),
        _ => Err(unsupported(dtype)),
    }
}

/// A scalar of the map as the number that elements of its type are computed as.
fn integer(scalar: Scalar, range: Range) -> Result<i128, BindError> {
    match scalar {
        Scalar::Integer(value) if (range.least..=range.greatest).contains(&value) => Ok(value),
        other => Err(BindError::Unsupported(format!("the scalar map's {other:?} is none of its type"))),
    }
}

type Map = Vec<(Scalar, Scalar)>;

/// The scalar map of one direction.
fn scalar_map(configuration: &Value, direction: &str) -> Result<Map, BindError> {
    let entries = match configuration.get("scalar_map").and_then(|map| map.get(direction)) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(entries) => entries.as_array(),
    };
    let what = format!("a scalar of {direction:?} in \"scalar_map\"");
    entries
        .and_then(|entries| entries.iter().map(|entry| Some((entry.get(0)?, entry.get(1)?))).collect())
        .ok_or_else(|| BindError::Invalid(format!("{what} is not in a [key, value] pair")))
        .and_then(|entries: Vec<_>| {
            entries
                .into_iter()
                .map(|(key, value)| Ok((Scalar::parse(key, &what)?, Scalar::parse(value, &what)?)))
                .collect()
        })
}

fn cast(from: &DataType, to: &DataType, map: &Map) -> Result<Box<dyn Cast>, BindError> {
    if from == to && map.is_empty() {
        return Ok(Box::new(Identity));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the low 64 bits are what integers are computed as")]
    let low_bits = |value: i128| value as i64;
    let float = |scalar: Scalar, precision: Precision| precision.nearest(scalar.as_f64());
    macro_rules! pair {
        ($key:expr) => {
            match class(to)? {
                Class::Signed(range) | Class::Unsigned(range) => Box::new(Pair {
                    from: Access::new(from)?,
                    to: Access::new(to)?,
                    target: range,
                    map: map
                        .iter()
                        .map(|&(key, value)| Ok(($key(key)?, low_bits(integer(value, range)?))))
                        .collect::<Result<_, BindError>>()?,
                }) as Box<dyn Cast>,
                Class::Float(precision) => Box::new(Pair {
                    from: Access::new(from)?,
                    to: Access::new(to)?,
                    target: precision,
                    map: map
                        .iter()
                        .map(|&(key, value)| Ok(($key(key)?, float(value, precision))))
                        .collect::<Result<_, BindError>>()?,
                }),
            }
        };
    }
    Ok(match class(from)? {
        Class::Signed(range) => pair!(|key| integer(key, range).map(low_bits)),
        Class::Unsigned(range) => pair!(|key| integer(key, range).map(|key| low_bits(key).cast_unsigned())),
        Class::Float(precision) => pair!(|key| Ok::<_, BindError>(float(key, precision))),
    })
}

/// Binds `cast_value`, for data in this machine's byte order: the reference takes no other.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let source = &decoded.dtype;
    let target = required_dtype(configuration, "target_dtype")?;
    if [source, &target].iter().any(|t| t.item_size > 1 && t.byte_order != ByteOrder::NATIVE) {
        return Err(BindError::Unsupported("cast_value is for this machine's byte order".into()));
    }
    let rounding = text(configuration, "rounding")?.unwrap_or("nearest-even");
    let rounding = Rounding::parse(rounding)
        .ok_or_else(|| BindError::Unsupported(format!("rounding {rounding:?} is not known")))?;
    let out_of_range = match text(configuration, "out_of_range")? {
        None => OutOfRange::Refuse,
        Some("clamp") => OutOfRange::Clamp,
        Some("wrap") => OutOfRange::Wrap,
        Some(other) => return Err(BindError::Unsupported(format!("out_of_range {other:?} is not known"))),
    };
    Ok(Fixed::shared(CastValue {
        decoded_size: source.item_size,
        encoded_size: target.item_size,
        rules: Rules { rounding, out_of_range },
        encoder: cast(source, &target, &scalar_map(configuration, "encode")?)?,
        decoder: cast(&target, source, &scalar_map(configuration, "decode")?)?,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;

    #[test]
    fn values_are_kept_or_refused() {
        let codec = bound("cast_value", &json!({"target_dtype": "|i1"}), "<f8");
        let input = bytes([1.5, -2.0, 127.4_f64].map(f64::to_ne_bytes));
        assert_eq!(encode(&*codec, &input).unwrap(), [2, 254, 127]);
        assert_eq!(decode(&*codec, &[2]).unwrap(), 2_f64.to_ne_bytes());
        for value in [127.5, -129.0, f64::NAN, f64::INFINITY] {
            assert!(encode(&*codec, &value.to_ne_bytes()).is_err(), "{value}");
        }
        assert!(encode(&*codec, &[0; 7]).is_err());
    }

    #[test]
    fn out_of_range_is_clamped_or_wrapped() {
        let values = [300.0, -300.0, 1e20_f64].map(f64::to_ne_bytes);
        for (mode, expected) in [("clamp", [127, 128, 127]), ("wrap", [44, 212, 0])] {
            let configuration = json!({"target_dtype": "|i1", "out_of_range": mode});
            let codec = bound("cast_value", &configuration, "<f8");
            assert_eq!(encode(&*codec, &bytes(values)).unwrap(), expected);
            assert!(encode(&*codec, &f64::INFINITY.to_ne_bytes()).is_err());
        }
    }

    #[test]
    fn the_scalar_map_comes_first() {
        let nan = json!({"bits": "000000000000f87f"});
        let configuration = json!({
            "target_dtype": "|u1",
            "scalar_map": {"encode": [[nan, 255], [1e9, 7]], "decode": [[255, nan]]},
        });
        let codec = bound("cast_value", &configuration, "<f4");
        let input = bytes([f32::NAN, 1e9, -0.0].map(f32::to_ne_bytes));
        assert_eq!(encode(&*codec, &input).unwrap(), [255, 7, 0]);
        assert_eq!(decode(&*codec, &[255, 7]).unwrap(), bytes([f32::NAN, 7.0].map(f32::to_ne_bytes)));
    }

    #[test]
    fn what_the_reference_refuses_is_left_to_it() {
        for (configuration, dtype) in [
            (json!({"target_dtype": ">i2"}), "<f4"),
            (json!({"target_dtype": "<i2"}), ">f4"),
            (json!({"target_dtype": "|b1"}), "<f4"),
            (json!({"target_dtype": "<i2", "rounding": "up"}), "<f4"),
            (json!({"target_dtype": "<i2", "out_of_range": "raise"}), "<f4"),
            (json!({"target_dtype": "|u1", "scalar_map": {"encode": [[1, 256]]}}), "<i4"),
            (json!({"target_dtype": "|u1", "scalar_map": {"encode": [[0.5, 1]]}}), "<i4"),
        ] {
            let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse(dtype).unwrap() };
            let refusal = bind(&configuration, &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{configuration} {dtype}");
        }
    }
}
