//! Single numbers in a codec's configuration, exactly.
//!
//! JSON has no NaN, no infinities and no way to say which bits a float has. An *exact scalar* is one of
//!
//! - a JSON integer, from -2⁶³ to 2⁶⁴ - 1: an integer;
//! - a JSON number with a fraction or exponent: the 64-bit float nearest to it;
//! - `{"bits": "<hexadecimal>"}`: the bytes of a float in little-endian order, two digits each. Four
//!   digits make a 16-bit float, eight a 32-bit float, sixteen a 64-bit float. In Python:
//!   `{"bits": np.asarray(value, "<f4").tobytes().hex()}`. NaN is `{"bits": "000000000000f87f"}`.

use half::f16;
use serde_json::Value;

use super::float16;
use crate::codec::registry::BindError;

/// An integer or a float; what the difference means is the codec's business.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar {
    /// An integer of 64 bits, signed or unsigned.
    Integer(i128),
    /// A float; narrower ones fit exactly.
    Float(f64),
}

impl Scalar {
    /// Reads an exact scalar; `what` names it in the refusal.
    ///
    /// # Errors
    /// Anything else, and whole numbers past 64 bits, which may have been integers or floats.
    pub(super) fn parse(value: &Value, what: &str) -> Result<Self, BindError> {
        let refused = || BindError::Unsupported(format!("{what} is no number of up to 64 bits: {value}"));
        match value {
            Value::Number(number) => match (number.as_i128(), number.as_f64()) {
                (Some(integer), _) => Ok(Self::Integer(integer)),
                (None, Some(float)) if float.abs() < 2_f64.powi(63) || float.fract() != 0.0 => {
                    Ok(Self::Float(float))
                }
                _ => Err(refused()),
            },
            Value::Object(_) => {
                value.get("bits").and_then(Value::as_str).and_then(parse_bits).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }

    /// The exact scalar under `key`, if there is one.
    ///
    /// # Errors
    /// See [`Scalar::parse`].
    pub(super) fn setting(configuration: &Value, key: &str) -> Result<Option<Self>, BindError> {
        match configuration.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Self::parse(value, &format!("{key:?}")).map(Some),
        }
    }

    /// As a float: integers go to the nearest one, as Python converts.
    #[expect(clippy::cast_precision_loss, reason = "the nearest float is asked for")]
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

fn parse_bits(digits: &str) -> Option<Scalar> {
    let word =
        u64::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    // The digits are in memory order, the number has the first digits highest.
    Some(Scalar::Float(match digits.len() {
        4 => float16::to_f64(f16::from_bits(u16::try_from(word).ok()?.swap_bytes())),
        8 => f64::from(f32::from_bits(u32::try_from(word).ok()?.swap_bytes())),
        16 => f64::from_bits(word.swap_bytes()),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_exact() {
        for integer in [json!(u64::MAX), json!(i64::MIN), json!(-1), json!(9_007_199_254_740_993_u64)] {
            let Scalar::Integer(read) = Scalar::parse(&integer, "x").unwrap() else { panic!("{integer}") };
            assert_eq!(read.to_string(), integer.to_string());
        }
    }

    #[test]
    fn floats_come_as_numbers_or_bits() {
        for (value, expected) in [
            (json!(0.5), 0.5_f64),
            (json!({"bits": "000000000000e03f"}), 0.5),
            (json!({"bits": "0000003f"}), 0.5),
            (json!({"bits": "0038"}), 0.5),
            (json!({"bits": "000000000000f0ff"}), f64::NEG_INFINITY),
            (json!({"bits": "0000000000000080"}), -0.0),
            (json!({"bits": "000000000000f87f"}), f64::NAN),
        ] {
            let Scalar::Float(read) = Scalar::parse(&value, "x").unwrap() else { panic!("{value}") };
            assert_eq!(read.to_bits(), expected.to_bits(), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            json!("0.5"),
            json!(null),
            json!(1e30),
            json!({"bits": "00"}),
            json!({"bits": "+0000000"}),
            json!({"bits": "0000000000000000000000"}),
            json!({}),
            json!([1]),
        ] {
            assert!(Scalar::parse(&value, "x").is_err(), "{value}");
        }
    }
}
