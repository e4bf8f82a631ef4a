//! One element of `cast_value` on its way from a type to another.
//!
//! Elements are computed as 64-bit integers or 64-bit floats, which hold those of every other type exactly;
//! the target is a range of integers or the precision of a float.

use std::fmt::Debug;

use super::element::Number;
use super::rounding::{Exact, Precision, Rounding};
use crate::codec::CodecFault;

/// What happens to a value outside of the target's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfRange {
    /// It is an error.
    Refuse,
    /// It becomes the nearest value in range; for a float, infinite.
    Clamp,
    /// It is taken modulo two to the power of the integer's width; an error for a float.
    Wrap,
}

/// How a value becomes one of the target's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// For values between two of the target's.
    pub(super) rounding: Rounding,
    /// For values past the target's.
    pub(super) out_of_range: OutOfRange,
}

/// The values that an integer type holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The least of them.
    pub(super) least: i128,
    /// The greatest of them.
    pub(super) greatest: i128,
    /// The least value, and the first one past the greatest: powers of two, unlike the greatest. Kept
    /// because a conversion from 128 bits is a function call.
    limits: (f64, f64),
}

impl Range {
    #[expect(clippy::cast_precision_loss, reason = "powers of two are exact")]
    /// From the least and the greatest value.
    pub(super) fn new(least: i128, greatest: i128) -> Self {
        Self { least, greatest, limits: (least as f64, (greatest + 1) as f64) }
    }
}

fn refusal(value: impl std::fmt::Display) -> CodecFault {
    CodecFault::Value(format!(
        "value {value} is out of range for the type it is cast to; set out_of_range to \"clamp\" or \"wrap\""
    ))
}

/// An element on its way to another type.
pub(super) trait Source: Exact + Number + Debug + PartialEq {
    /// To an integer of `range`, of which the low 64 bits are returned.
    fn to_integer(self, range: Range, rules: Rules) -> Result<i64, CodecFault>;

    /// To a float.
    fn to_float(self, precision: Precision, rules: Rules) -> Result<f64, CodecFault>;

    /// Whether a key of the scalar map stands for this value.
    fn is_key(self, key: Self) -> bool {
        self == key
    }
}

/// The float that a finite `value` becomes.
fn finite_to_float<T: Exact + Debug>(
    value: T,
    precision: Precision,
    rules: Rules,
) -> Result<f64, CodecFault> {
    let rounded = precision.round(value, rules.rounding);
    if rounded.is_infinite() && rules.out_of_range != OutOfRange::Clamp {
        return Err(refusal(format_args!("{value:?}")));
    }
    Ok(rounded)
}

macro_rules! integer_sources {
    ($($type:ty)*) => {$(
        impl Source for $type {
            #[expect(clippy::cast_possible_truncation, reason = "wrapping is asked for, or the value fits")]
            fn to_integer(self, range: Range, rules: Rules) -> Result<i64, CodecFault> {
                let value = i128::from(self);
                if (range.least..=range.greatest).contains(&value) {
                    return Ok(value as i64);
                }
                match rules.out_of_range {
                    OutOfRange::Refuse => Err(refusal(self)),
                    OutOfRange::Clamp => Ok(value.clamp(range.least, range.greatest) as i64),
                    OutOfRange::Wrap => Ok(value as i64),
                }
            }

            fn to_float(self, precision: Precision, rules: Rules) -> Result<f64, CodecFault> {
                finite_to_float(self, precision, rules)
            }
        }
    )*};
}
integer_sources!(i64 u64);

impl Source for f64 {
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers that fit, or wrapping is asked for")]
    #[expect(clippy::cast_sign_loss, reason = "negative values go another way")]
    fn to_integer(self, range: Range, rules: Rules) -> Result<i64, CodecFault> {
        if !self.is_finite() {
            return Err(CodecFault::Value(format!("{self} has no integer; map it with a scalar_map")));
        }
        let whole = rules.rounding.to_whole(self);
        if range.limits.0 <= whole && whole < range.limits.1 {
            return Ok(if whole < 0.0 { whole as i64 } else { (whole as u64).cast_signed() });
        }
        match rules.out_of_range {
            OutOfRange::Refuse => Err(refusal(self)),
            OutOfRange::Clamp => Ok((whole as i128).clamp(range.least, range.greatest) as i64),
            OutOfRange::Wrap => {
                // Exact, whatever the magnitude: the remainder of floats is.
                let magnitude = (whole.abs() % 2_f64.powi(64)) as u64;
                Ok(if whole < 0.0 { magnitude.wrapping_neg() } else { magnitude }.cast_signed())
            }
        }
    }

    fn to_float(self, precision: Precision, rules: Rules) -> Result<f64, CodecFault> {
        /// The bit by which a NaN is quiet.
        const QUIET: u64 = 1 << 51;
        if self.is_nan() {
            return Ok(Self::from_bits(self.to_bits() | QUIET));
        }
        if self.is_infinite() {
            return Ok(self);
        }
        finite_to_float(self, precision, rules)
    }

    #[expect(clippy::float_cmp, reason = "a key stands for exactly one value")]
    fn is_key(self, key: Self) -> bool {
        self == key || (self.is_nan() && key.is_nan())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte() -> Range {
        Range::new(-128, 127)
    }

    fn rules(out_of_range: OutOfRange) -> Rules {
        Rules { rounding: Rounding::NearestEven, out_of_range }
    }

    #[test]
    fn integers_keep_to_the_range() {
        for (mode, expected) in
            [(OutOfRange::Refuse, None), (OutOfRange::Clamp, Some(127)), (OutOfRange::Wrap, Some(200))]
        {
            assert_eq!(200_i64.to_integer(byte(), rules(mode)).ok(), expected);
            assert_eq!(200_u64.to_integer(byte(), rules(mode)).ok(), expected);
            assert_eq!(200_f64.to_integer(byte(), rules(mode)).ok(), expected);
            assert_eq!((-128_i64).to_integer(byte(), rules(mode)).ok(), Some(-128));
            assert!(f64::INFINITY.to_integer(byte(), rules(mode)).is_err());
        }
    }

    #[test]
    fn the_widest_floats_wrap_exactly() {
        let wide = Range::new(0, i128::from(u64::MAX));
        let wrapped = |value: f64| value.to_integer(wide, rules(OutOfRange::Wrap)).unwrap();
        assert_eq!(wrapped(-1.0), -1);
        assert_eq!(wrapped(1e20), 7_766_279_631_452_241_920);
        assert_eq!(wrapped(2_f64.powi(63)), i64::MIN);
    }

    #[test]
    fn floats_overflow_only_where_clamped() {
        for (mode, is_refused) in
            [(OutOfRange::Refuse, true), (OutOfRange::Clamp, false), (OutOfRange::Wrap, true)]
        {
            assert_eq!(1e39.to_float(Precision::Single, rules(mode)).is_err(), is_refused);
            assert_eq!(70_000_i64.to_float(Precision::Half, rules(mode)).is_err(), is_refused);
            assert!(f64::INFINITY.to_float(Precision::Half, rules(mode)).is_ok());
            assert!(f64::NAN.to_float(Precision::Half, rules(mode)).is_ok_and(f64::is_nan));
        }
    }
}
