//! The rounding modes of Zarr's `cast_value`: to whole numbers, and to the precision of narrower floats.
//!
//! Narrower floats are represented by the 64-bit floats that equal them.

use super::arithmetic::Floating;
use super::float16;

/// Where a value goes that lies between two representable ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// To the nearer, of two equally near to the one with an even last digit.
    NearestEven,
    /// To the nearer, of two equally near to the one farther from zero.
    NearestAway,
    /// To the one nearer to zero.
    TowardsZero,
    /// To the greater.
    TowardsPositive,
    /// To the lesser.
    TowardsNegative,
}

impl Rounding {
    /// The mode called `name` in metadata.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "nearest-even" => Self::NearestEven,
            "nearest-away" => Self::NearestAway,
            "towards-zero" => Self::TowardsZero,
            "towards-positive" => Self::TowardsPositive,
            "towards-negative" => Self::TowardsNegative,
            _ => return None,
        })
    }

    /// The whole number that a finite `value` goes to; the sign of a zero is unspecified.
    pub(super) fn to_whole(self, value: f64) -> f64 {
        let nearest = value.rounded();
        // Differences of neighbouring numbers are exact. No branches: loops over this are vector code.
        let above = if nearest < value { nearest + 1.0 } else { nearest };
        let below = if nearest > value { nearest - 1.0 } else { nearest };
        let towards_zero = if value < 0.0 { above } else { below };
        match self {
            Self::NearestEven => nearest,
            Self::TowardsPositive => above,
            Self::TowardsNegative => below,
            Self::TowardsZero => towards_zero,
            Self::NearestAway => {
                let away = if (value - towards_zero).abs() >= 0.5 { 1.0_f64.copysign(value) } else { 0.0 };
                towards_zero + away
            }
        }
    }
}

/// A float type to round to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// 16 bits
    Half,
    /// 32 bits
    Single,
    /// 64 bits
    Double,
}

/// A number that is rounded: a float, or an integer too wide for one.
pub(super) trait Exact: Copy {
    /// The nearest 64-bit float.
    fn nearest_double(self) -> f64;
    /// The nearest 32-bit float.
    fn nearest_single(self) -> f32;
    /// Compares with a value that is representable, or infinite.
    fn compare(self, representable: f64) -> std::cmp::Ordering;
    /// Whether it lies in the middle of two representable values.
    fn is_middle(self, one: f64, other: f64) -> bool;
}

impl Exact for f64 {
    fn nearest_double(self) -> f64 {
        self
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked for")]
    fn nearest_single(self) -> f32 {
        self as f32
    }
    fn compare(self, representable: f64) -> std::cmp::Ordering {
        self.total_cmp(&representable)
    }
    #[expect(clippy::float_cmp, reason = "the sum of two narrower floats is exact")]
    fn is_middle(self, one: f64, other: f64) -> bool {
        f64::midpoint(one, other) == self
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        #[expect(clippy::cast_precision_loss, reason = "rounding is what is asked for")]
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2⁶⁵; infinity saturates")]
        impl Exact for $type {
            fn nearest_double(self) -> f64 {
                self as f64
            }
            fn nearest_single(self) -> f32 {
                self as f32
            }
            fn compare(self, representable: f64) -> std::cmp::Ordering {
                i128::from(self).cmp(&(representable as i128))
            }
            fn is_middle(self, one: f64, other: f64) -> bool {
                2 * i128::from(self) == (one as i128).saturating_add(other as i128)
            }
        }
    )*};
}
integers!(i64 u64);

impl Precision {
    /// The least power of two whose values are all too large.
    fn bound(self) -> f64 {
        match self {
            Self::Half => 65_536.0,
            Self::Single => 2_f64.powi(128),
            Self::Double => f64::INFINITY,
        }
    }

    /// The nearest representable value, ties to even; infinite where none is.
    ///
    /// 64-bit floats reach 16 bits by way of 32, rounding twice, as the reference implementation does.
    pub(super) fn nearest<T: Exact>(self, value: T) -> f64 {
        match self {
            Self::Half => float16::to_f64(float16::from_f32(value.nearest_single())),
            Self::Single => f64::from(value.nearest_single()),
            Self::Double => value.nearest_double(),
        }
    }

    /// The next representable value above.
    fn above(self, representable: f64) -> f64 {
        match self {
            Self::Half => {
                let bits = float16::from_f64(representable).to_bits();
                let next = match bits {
                    0x8000 => 1,
                    0..0x7C00 => bits + 1,
                    0x8001..=0xFC00 => bits - 1,
                    _ => bits,
                };
                float16::to_f64(half::f16::from_bits(next))
            }
            Self::Single => f64::from(representable.nearest_single().next_up()),
            Self::Double => representable.next_up(),
        }
    }

    fn below(self, representable: f64) -> f64 {
        -self.above(-representable)
    }

    /// Rounds a finite value; infinite where it would leave the finite values.
    pub(super) fn round<T: Exact>(self, value: T, rounding: Rounding) -> f64 {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let nearest = self.nearest(value);
        if rounding == Rounding::NearestEven || value.nearest_double().abs() >= self.bound() {
            return nearest;
        }
        let order = value.compare(nearest);
        if order == Equal {
            return nearest;
        }
        let is_negative = value.nearest_double() < 0.0;
        let other = if order == Greater { self.above(nearest) } else { self.below(nearest) };
        let takes_other = match rounding {
            Rounding::NearestEven => false,
            Rounding::TowardsPositive => order == Greater,
            Rounding::TowardsNegative => order == Less,
            Rounding::TowardsZero => (order == Less) != is_negative,
            Rounding::NearestAway => value.is_middle(nearest, other) && (order == Less) == is_negative,
        };
        if takes_other { other } else { nearest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Rounding; 5] = [
        Rounding::NearestEven,
        Rounding::NearestAway,
        Rounding::TowardsZero,
        Rounding::TowardsPositive,
        Rounding::TowardsNegative,
    ];

    #[test]
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    fn whole_numbers_by_mode() {
        for (value, expected) in [
            (2.5, [2.0, 3.0, 2.0, 3.0, 2.0]),
            (-2.5, [-2.0, -3.0, -2.0, -2.0, -3.0]),
            (3.5, [4.0, 4.0, 3.0, 4.0, 3.0]),
            (-0.3, [0.0, 0.0, 0.0, 0.0, -1.0]),
            (0.499_999_999_999_999_94, [0.0, 0.0, 0.0, 1.0, 0.0]),
            (7.0, [7.0; 5]),
            (
                4_503_599_627_370_495.5,
                [
                    4.503_599_627_370_496e15,
                    4.503_599_627_370_496e15,
                    4_503_599_627_370_495.0,
                    4.503_599_627_370_496e15,
                    4_503_599_627_370_495.0,
                ],
            ),
            (1e300, [1e300; 5]),
        ] {
            assert_eq!(MODES.map(|mode| mode.to_whole(value)), expected, "{value}");
        }
    }

    #[test]
    fn narrower_floats_by_mode() {
        let tie = 1.0 + 2_f64.powi(-11);
        let up = 1.0 + 2_f64.powi(-10);
        let tiny = 2_f64.powi(-24);
        for (value, expected) in [
            (tie, [1.0, up, 1.0, up, 1.0]),
            (-tie, [-1.0, -up, -1.0, -1.0, -up]),
            (65_519.0, [65_504.0, 65_504.0, 65_504.0, f64::INFINITY, 65_504.0]),
            (65_536.0, [f64::INFINITY; 5]),
            (tiny / 4.0, [0.0, 0.0, 0.0, tiny, 0.0]),
            (-tiny / 4.0, [-0.0, -0.0, -0.0, -0.0, -tiny]),
        ] {
            let actual = MODES.map(|mode| Precision::Half.round(value, mode).to_bits());
            assert_eq!(actual, expected.map(f64::to_bits), "{value}");
        }
    }

    #[test]
    fn wide_integers_by_mode() {
        let base = 2_f64.powi(53);
        for (value, expected) in [
            ((1_i64 << 53) + 1, [base, base + 2.0, base, base + 2.0, base]),
            (-(1_i64 << 53) - 1, [-base, -base - 2.0, -base, -base, -base - 2.0]),
            ((1_i64 << 53) + 3, [base + 4.0, base + 4.0, base + 2.0, base + 4.0, base + 2.0]),
        ] {
            let actual = MODES.map(|mode| Precision::Double.round(value, mode).to_bits());
            assert_eq!(actual, expected.map(f64::to_bits), "{value}");
        }
    }
}
