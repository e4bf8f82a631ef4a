//! Arithmetic as numpy does it within one type: integers wrap, 16-bit floats round after every step.

use half::f16;

use super::element::Number;
use super::float16::{from_f32, to_f32};

/// Sums and differences.
pub(super) trait Additive: Number {
    /// `self + other`
    fn plus(self, other: Self) -> Self;
    /// `self - other`
    fn minus(self, other: Self) -> Self;
    /// `self * other`
    fn times(self, other: Self) -> Self;
}

/// What floats can do besides.
pub(super) trait Floating: Additive {
    /// `self / other`
    fn over(self, other: Self) -> Self;
    /// The nearest integer, ties to even.
    fn rounded(self) -> Self;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Additive for $type {
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
        }
    )*};
}
integers!(i8 u8 i16 u16 i32 u32 i64 u64);

macro_rules! floats {
    ($($type:ty, $whole:literal;)*) => {$(
        impl Additive for $type {
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
        }
        impl Floating for $type {
            fn over(self, other: Self) -> Self {
                self / other
            }
            fn rounded(self) -> Self {
                // Past `$whole` every value is an integer. Below, adding it leaves no bits for a fraction,
                // and the processor rounds; a call of the C library per element takes four times as long.
                let magnitude = self.abs();
                let rounded = (magnitude + $whole - $whole).copysign(self);
                if magnitude < $whole { rounded } else { self }
            }
        }
    )*};
}
floats! {
    f32, 8_388_608.0;
    f64, 4_503_599_627_370_496.0;
}

impl Additive for f16 {
    fn plus(self, other: Self) -> Self {
        from_f32(to_f32(self) + to_f32(other))
    }
    fn minus(self, other: Self) -> Self {
        from_f32(to_f32(self) - to_f32(other))
    }
    fn times(self, other: Self) -> Self {
        from_f32(to_f32(self) * to_f32(other))
    }
}

impl Floating for f16 {
    fn over(self, other: Self) -> Self {
        from_f32(to_f32(self) / to_f32(other))
    }
    fn rounded(self) -> Self {
        from_f32(to_f32(self).rounded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_even() {
        let halves = (-20_i16..20).map(|i| f64::from(i) / 4.0);
        let edges =
            [0.0, -0.0, 0.499_999_999_999_999_94, 4_503_599_627_370_495.5, 1e300, f64::INFINITY, 5e-324];
        for value in halves.chain(edges).flat_map(|value| [value, -value]) {
            assert_eq!(value.rounded().to_bits(), value.round_ties_even().to_bits(), "{value}");
            #[expect(clippy::cast_possible_truncation, reason = "infinity is a good test value, too")]
            let single = value as f32;
            assert_eq!(single.rounded().to_bits(), single.round_ties_even().to_bits(), "{value}");
        }
        assert!(f64::NAN.rounded().is_nan());
    }
}
