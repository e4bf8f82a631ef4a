//! Fill values: what a missing chunk holds, and when a chunk is nothing but that.

use std::cmp::Ordering;

use half::f16;

use super::spec::{ByteOrder, DataType, Kind};

/// How elements are compared with the fill value, as zarr-python does before it writes a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    /// Bit for bit: so -0.0 is not 0.0.
    Bits,
    /// Every NaN equals the fill value, whatever its bits.
    AnyNan,
    /// Part by part as numbers, any NaN like any other: numpy's rule for complex numbers.
    ComplexParts,
}

/// The fill value of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    element: Vec<u8>,
    dtype: DataType,
    comparison: Comparison,
}

impl Fill {
    /// A fill value from the bytes of one element in memory; for variable-length data, the value's bytes.
    #[must_use]
    pub fn new(element: Vec<u8>, dtype: &DataType) -> Self {
        let comparison = match dtype.kind {
            Kind::Float if is_nan(&element, dtype.byte_order) => Comparison::AnyNan,
            Kind::Complex => Comparison::ComplexParts,
            _ => Comparison::Bits,
        };
        Self { element, dtype: dtype.clone(), comparison }
    }

    /// Bytes of one element.
    #[must_use]
    pub fn element(&self) -> &[u8] {
        &self.element
    }

    /// Whether every element of a buffer equals the fill value.
    #[must_use]
    pub fn is_all_of(&self, decoded: &[u8]) -> bool {
        let item_size = self.element.len();
        if item_size == 0 || decoded.len() < item_size {
            return decoded.is_empty();
        }
        let order = self.dtype.byte_order;
        match self.comparison {
            // All equal the first, which equals the fill value: one pass at the speed of memcmp.
            Comparison::Bits => {
                decoded[..item_size] == self.element[..]
                    && decoded[item_size..] == decoded[..decoded.len() - item_size]
            }
            Comparison::AnyNan => decoded.chunks_exact(item_size).all(|element| is_nan(element, order)),
            Comparison::ComplexParts => {
                let half = item_size / 2;
                let fill = [number(&self.element[..half], order), number(&self.element[half..], order)];
                let fill_is_nan = fill.iter().any(|part| part.is_nan());
                decoded.chunks_exact(item_size).all(|element| {
                    let parts = [number(&element[..half], order), number(&element[half..], order)];
                    if fill_is_nan {
                        parts.iter().any(|part| part.is_nan())
                    } else {
                        // As numbers, so that -0.0 is 0.0.
                        parts
                            .iter()
                            .zip(&fill)
                            .all(|(part, fill)| part.partial_cmp(fill) == Some(Ordering::Equal))
                    }
                })
            }
        }
    }

    /// Writes the fill value over a whole buffer.
    pub fn write_to(&self, buffer: &mut [u8]) {
        match self.element.as_slice() {
            [] => {}
            element if element.iter().all(|&byte| byte == element[0]) => buffer.fill(element[0]),
            element => {
                let Some((first, _)) = buffer.split_at_mut_checked(element.len()) else { return };
                first.copy_from_slice(element);
                let mut filled = element.len();
                while filled < buffer.len() {
                    let more = filled.min(buffer.len() - filled);
                    buffer.copy_within(..more, filled);
                    filled += more;
                }
            }
        }
    }
}

fn is_nan(element: &[u8], order: ByteOrder) -> bool {
    number(element, order).is_nan()
}

/// A float of 2, 4 or 8 bytes.
fn number(bytes: &[u8], order: ByteOrder) -> f64 {
    let mut native = [0_u8; 8];
    let len = bytes.len().min(8);
    native[..len].copy_from_slice(&bytes[..len]);
    if order == ByteOrder::Big {
        native[..len].reverse();
    }
    match len {
        2 => f16::from_le_bytes([native[0], native[1]]).to_f64(),
        4 => f64::from(f32::from_le_bytes([native[0], native[1], native[2], native[3]])),
        8 => f64::from_le_bytes(native),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(bytes: &[u8], dtype: &str) -> Fill {
        Fill::new(bytes.to_vec(), &DataType::parse(dtype).unwrap())
    }

    #[test]
    fn zero_is_not_minus_zero_but_every_nan_is_nan() {
        let zero = fill(&0.0_f64.to_le_bytes(), "<f8");
        assert!(zero.is_all_of(&[0; 32]));
        assert!(!zero.is_all_of(&(-0.0_f64).to_le_bytes()));
        let nan = fill(&f32::NAN.to_be_bytes(), ">f4");
        let other_nan = f32::from_bits(f32::NAN.to_bits() | 5).to_be_bytes();
        assert!(nan.is_all_of(&other_nan));
        assert!(!nan.is_all_of(&[0; 4]));
    }

    #[test]
    fn the_first_difference_counts_wherever_it_is() {
        let three = fill(&3_u16.to_le_bytes(), "<u2");
        for at in 0..10 {
            let mut buffer = [0_u8; 10];
            three.write_to(&mut buffer);
            assert!(three.is_all_of(&buffer));
            buffer[at] ^= 1;
            assert!(!three.is_all_of(&buffer), "byte {at}");
        }
    }

    #[test]
    fn complex_zero_equals_complex_minus_zero() {
        let zero = fill(&[0; 8], "<c8");
        assert!(zero.is_all_of(&[0, 0, 0, 0x80, 0, 0, 0, 0]));
        assert!(!zero.is_all_of(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0]));
    }
}
