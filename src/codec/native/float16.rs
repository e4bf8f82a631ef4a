//! Conversions to and from 16-bit floats, bit for bit as numpy does them without hardware support.
//!
//! The processor's own instructions differ in two points that show: they turn signalling NaNs into quiet
//! ones, and a 64-bit float takes a detour over 32 bits that rounds twice. Without branches, too, so that
//! loops over them compile to vector code.

use half::f16;

/// Exact; a NaN keeps its bits.
pub(super) fn to_f32(from: f16) -> f32 {
    let magnitude = u32::from(from.to_bits() & 0x7FFF);
    let sign = u32::from(from.to_bits() & 0x8000) << 16;
    // Read with the exponent of 32 bits a value is 2¹¹² times too small; subnormals come right as well.
    let finite = (f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
    let special = 0x7F80_0000 | magnitude << 13;
    f32::from_bits(sign | if magnitude < 0x7C00 { finite } else { special })
}

/// Exact; a NaN keeps its bits.
pub(super) fn to_f64(from: f16) -> f64 {
    let magnitude = u64::from(from.to_bits() & 0x7FFF);
    let sign = u64::from(from.to_bits() & 0x8000) << 48;
    let finite = (f64::from_bits(magnitude << 42) * f64::from_bits((1023 + 1008) << 52)).to_bits();
    let special = 0x7FF0_0000_0000_0000 | magnitude << 42;
    f64::from_bits(sign | if magnitude < 0x7C00 { finite } else { special })
}

/// To the nearest, ties to even.
#[expect(clippy::cast_possible_truncation, reason = "the shifts leave 16 bits")]
pub(super) fn from_f32(from: f32) -> f16 {
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    const TOO_LARGE: u32 = (127 + 16) << 23;
    const INFINITE: u32 = 255 << 23;
    let magnitude = from.to_bits() & 0x7FFF_FFFF;
    // Adding one half puts the last bit of a subnormal result at the last bit of the sum.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let is_odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_sub((127 - 15) << 23).wrapping_add(0xFFF + is_odd) >> 13;
    let payload = magnitude >> 13 & 0x3FF;
    let nan = 0x7C00 | if payload == 0 { 1 } else { payload };
    let bits = match magnitude {
        ..SMALLEST_NORMAL => subnormal,
        SMALLEST_NORMAL..TOO_LARGE => normal,
        TOO_LARGE..=INFINITE => 0x7C00,
        _ => nan,
    };
    f16::from_bits((from.to_bits() >> 16 & 0x8000 | bits) as u16)
}

/// To the nearest, ties to even, rounding once.
#[expect(clippy::cast_possible_truncation, reason = "the shifts leave 16 bits")]
pub(super) fn from_f64(from: f64) -> f16 {
    const SMALLEST_NORMAL: u64 = (1023 - 14) << 52;
    const TOO_LARGE: u64 = (1023 + 16) << 52;
    const INFINITE: u64 = 2047 << 52;
    /// 2²⁸: a sum with it has its last bit where a subnormal result has its own.
    const SHIFTER: f64 = 268_435_456.0;
    let magnitude = from.to_bits() & (u64::MAX >> 1);
    let subnormal = (f64::from_bits(magnitude) + SHIFTER).to_bits().wrapping_sub(SHIFTER.to_bits());
    let is_odd = magnitude >> 42 & 1;
    let normal = magnitude.wrapping_sub((1023 - 15) << 52).wrapping_add(0x1FF_FFFF_FFFF + is_odd) >> 42;
    let payload = magnitude >> 42 & 0x3FF;
    let nan = 0x7C00 | if payload == 0 { 1 } else { payload };
    let bits = match magnitude {
        ..SMALLEST_NORMAL => subnormal,
        SMALLEST_NORMAL..TOO_LARGE => normal,
        TOO_LARGE..=INFINITE => 0x7C00,
        _ => nan,
    };
    f16::from_bits((from.to_bits() >> 48 & 0x8000 | bits) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_survive_the_way_up_and_down() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            assert_eq!(from_f32(to_f32(value)).to_bits(), bits);
            assert_eq!(from_f64(to_f64(value)).to_bits(), bits);
            if !value.is_nan() {
                assert_eq!(to_f32(value).to_bits(), value.to_f32().to_bits());
                assert_eq!(to_f64(value).to_bits(), value.to_f64().to_bits());
            }
        }
    }

    #[test]
    fn rounding_agrees_with_another_implementation() {
        // Every exponent, and mantissas around the places where rounding is decided.
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0xF000, 0xFFFF] {
                let value = f32::from_bits(u32::from(upper) << 16 | lower);
                if !value.is_nan() {
                    let expected = f16::from_f32(value).to_bits();
                    assert_eq!(from_f32(value).to_bits(), expected, "{value:e}");
                    assert_eq!(from_f64(f64::from(value)).to_bits(), expected, "{value:e}");
                }
            }
        }
    }

    #[test]
    fn doubles_round_once() {
        // Just above the middle between 1 and the next value: 32 bits would lose the reason to round up.
        let value = 1.0 + 2_f64.powi(-11) + 2_f64.powi(-30);
        assert_eq!(from_f64(value).to_bits(), 0x3C01);
        let tiny = 2_f64.powi(-25) * (1.0 + 2_f64.powi(-40));
        assert_eq!(from_f64(tiny).to_bits(), 1);
        assert_eq!(from_f64(2_f64.powi(-25)).to_bits(), 0);
    }

    #[test]
    fn nans_keep_sign_and_payload() {
        assert_eq!(from_f32(f32::from_bits(0x7F80_0001)).to_bits(), 0x7C01);
        assert_eq!(from_f32(f32::from_bits(0xFFC1_2345)).to_bits(), 0xFE09);
        assert_eq!(from_f64(f64::from_bits(0x7FF0_0400_0000_0000)).to_bits(), 0x7C01);
        assert_eq!(from_f64(f64::from_bits(0xFFF0_0000_0000_0001)).to_bits(), 0xFC01);
    }
}
