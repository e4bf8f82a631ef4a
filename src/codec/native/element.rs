//! Elements: from bytes in either byte order to numbers and back, converting as numpy's casts do.
//!
//! The elementwise filters work on blocks: [`Access`] loads a block of stored elements as the type that the
//! filter computes in, the filter's loop runs over plain slices, and another [`Access`] stores the result.
//! The buffers stay in the first-level cache, every loop compiles to vector code, and types multiply only
//! in pairs (stored × computed) however many a filter combines.
//!
//! The conversions are C's, with what x86-64 makes of its undefined ones: a float that does not fit an
//! integer of up to 32 bits signed gives its least value, cut to the type's width; the wider ones likewise
//! over 64 bits. (For 32 bits unsigned numpy itself gives different values with and without vectors.)

use half::f16;

use super::float16;
use crate::codec::registry::BindError;
use crate::codec::{ByteOrder, DataType, Kind};

/// Elements per block.
pub(super) const BLOCK: usize = 512;

/// A number that can be stored.
pub(super) trait Element: Copy + Default + Send + Sync + 'static {
    /// Width in bytes.
    const SIZE: usize;

    /// Reads as many elements as `to` has.
    fn read(bytes: &[u8], is_swapped: bool, to: &mut [Self]);

    /// Writes all of `from`.
    fn write(from: &[Self], is_swapped: bool, bytes: &mut [u8]);
}

/// Conversion from `S` by numpy's rules.
pub(super) trait CastFrom<S> {
    /// Converts.
    fn cast_from(from: S) -> Self;
}

/// Conversion to `T` by numpy's rules.
pub(super) trait CastTo<T> {
    /// Converts.
    fn cast_to(self) -> T;
}

impl<S, T: CastFrom<S>> CastTo<T> for S {
    fn cast_to(self) -> T {
        T::cast_from(self)
    }
}

/// Runs `$body` with `$name` standing for the type of `$dtype`'s elements; `None` for a type without.
macro_rules! with_element {
    ($dtype:expr, $name:ident => $body:expr) => {
        $crate::codec::native::element::with_element!(@ $dtype, $name => $body;
            (Bool, 1, bool) (Int, 1, i8) (UInt, 1, u8) (Int, 2, i16) (UInt, 2, u16) (Int, 4, i32)
            (UInt, 4, u32) (Int, 8, i64) (UInt, 8, u64) (Float, 2, half::f16) (Float, 4, f32) (Float, 8, f64))
    };
    (@ $dtype:expr, $name:ident => $body:expr; $(($kind:ident, $size:literal, $type:ty))*) => {
        match ($dtype.kind, $dtype.item_size) {
            $(($crate::codec::Kind::$kind, $size) => {
                type $name = $type;
                Some($body)
            })*
            _ => None,
        }
    };
}
pub(super) use with_element;

/// A number to compute with: convertible from and to every other.
macro_rules! numbers {
    ($($type:ty)*) => {
        pub(super) trait Number: Element $(+ CastFrom<$type> + CastTo<$type>)* {}
        $(impl Number for $type {})*
    };
}
numbers!(bool i8 u8 i16 u16 i32 u32 i64 u64 f16 f32 f64);

macro_rules! elements {
    ($($type:ty, $bits:ty, $to_bits:expr, $from_bits:expr;)*) => {$(
        impl Element for $type {
            const SIZE: usize = size_of::<$bits>();

            fn read(bytes: &[u8], is_swapped: bool, to: &mut [Self]) {
                let words = bytes.as_chunks().0.iter().map(|&word| <$bits>::from_ne_bytes(word));
                if is_swapped {
                    for (to, word) in to.iter_mut().zip(words) {
                        *to = $from_bits(word.swap_bytes());
                    }
                } else {
                    for (to, word) in to.iter_mut().zip(words) {
                        *to = $from_bits(word);
                    }
                }
            }

            fn write(from: &[Self], is_swapped: bool, bytes: &mut [u8]) {
                let words = bytes.as_chunks_mut().0.iter_mut();
                if is_swapped {
                    for (word, &from) in words.zip(from) {
                        *word = <$bits>::swap_bytes($to_bits(from)).to_ne_bytes();
                    }
                } else {
                    for (word, &from) in words.zip(from) {
                        *word = <$bits>::to_ne_bytes($to_bits(from));
                    }
                }
            }
        }
    )*};
}
elements! {
    bool, u8, u8::from, |byte| byte != 0;
    i8, i8, i8::from, i8::from;
    u8, u8, u8::from, u8::from;
    i16, i16, i16::from, i16::from;
    u16, u16, u16::from, u16::from;
    i32, i32, i32::from, i32::from;
    u32, u32, u32::from, u32::from;
    i64, i64, i64::from, i64::from;
    u64, u64, u64::from, u64::from;
    f16, u16, f16::to_bits, f16::from_bits;
    f32, u32, f32::to_bits, f32::from_bits;
    f64, u64, f64::to_bits, f64::from_bits;
}

/// `impl CastFrom<$source> for $target` for each pair, `$from` being the value.
macro_rules! casts {
    ($($from:ident: $($source:ty)* => $($target:ty)* { $cast:expr })*) => {
        $(casts!(@ $from: [$($source)*] [$($target)*] $cast);)*
    };
    (@ $from:ident: [$($source:ty)*] $targets:tt $cast:expr) => {
        $(casts!(@@ $from: $source, $targets $cast);)*
    };
    (@@ $from:ident: $source:ty, [$($target:ty)*] $cast:expr) => {
        $(impl CastFrom<$source> for $target {
            #[expect(
                clippy::allow_attributes,
                reason = "which of the lints below fires depends on the pair of types"
            )]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                clippy::cast_lossless,
                clippy::unnecessary_cast,
                clippy::float_cmp,
                reason = "C casts lose what does not fit"
            )]
            fn cast_from($from: $source) -> Self {
                $cast
            }
        })*
    };
}
casts! {
    from: i8 u8 i16 u16 i32 u32 i64 u64 => i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 { from as Self }
    from: bool => bool { from }
    from: bool => i8 u8 i16 u16 i32 u32 i64 u64 { from as Self }
    from: bool => f32 f64 { u8::from(from) as Self }
    from: i8 u8 i16 u16 i32 u32 i64 u64 => bool { from != 0 }
    from: f32 f64 => bool { from != 0.0 }
    from: f32 f64 => f32 f64 { from as Self }
    from: f32 f64 => i8 u8 i16 u16 i32 {
        (if from.abs() < 2_147_483_648.0 { from as i32 } else { i32::MIN }) as Self
    }
    from: f32 f64 => i64 u32 {
        (if from.abs() < 9_223_372_036_854_775_808.0 { from as i64 } else { i64::MIN }) as Self
    }
    from: f32 f64 => u64 {
        if from < 9_223_372_036_854_775_808.0 || from.is_nan() {
            <i64 as CastFrom<_>>::cast_from(from) as u64
        } else if from < 18_446_744_073_709_551_616.0 {
            from as u64
        } else {
            0
        }
    }
    from: f16 => f16 { from }
    from: f16 => f32 { float16::to_f32(from) }
    from: f16 => f64 { float16::to_f64(from) }
    from: f16 => bool i8 u8 i16 u16 i32 u32 i64 u64 { float16::to_f32(from).cast_to() }
    from: f32 => f16 { float16::from_f32(from) }
    from: f64 => f16 { float16::from_f64(from) }
    from: i8 u8 i16 u16 i32 u32 i64 u64 => f16 { float16::from_f32(from as f32) }
    from: bool => f16 { float16::from_f32(f32::from(u8::from(from))) }
}

/// How elements of some stored type are read as, and written from, numbers of type `C`.
#[derive(Debug)]
pub(super) struct Access<C> {
    /// Width of a stored element in bytes.
    pub(super) size: usize,
    is_swapped: bool,
    read: fn(&[u8], bool, &mut [C]),
    write: fn(&[C], bool, &mut [u8]),
}

impl<C: Number> Access<C> {
    /// Access to elements of `dtype`.
    ///
    /// # Errors
    /// A type that is no number, or of a width that has no engine (extended precision, complex).
    pub(super) fn new(dtype: &DataType) -> Result<Self, BindError> {
        with_element!(dtype, S => Self {
            size: S::SIZE,
            is_swapped: dtype.byte_order != ByteOrder::NATIVE,
            read: read_as::<S, C>,
            write: write_as::<S, C>,
        })
        .ok_or_else(|| unsupported(dtype))
    }

    /// Reads as many elements as `to` has.
    pub(super) fn read(&self, bytes: &[u8], to: &mut [C]) {
        (self.read)(bytes, self.is_swapped, to);
    }

    /// Writes all of `from`.
    pub(super) fn write(&self, from: &[C], bytes: &mut [u8]) {
        (self.write)(from, self.is_swapped, bytes);
    }
}

fn read_as<S: Element, C: CastFrom<S>>(bytes: &[u8], is_swapped: bool, to: &mut [C]) {
    let mut stored = [S::default(); BLOCK];
    for (bytes, to) in bytes.chunks(BLOCK * S::SIZE).zip(to.chunks_mut(BLOCK)) {
        let stored = &mut stored[..to.len()];
        S::read(bytes, is_swapped, stored);
        for (to, &stored) in to.iter_mut().zip(&*stored) {
            *to = C::cast_from(stored);
        }
    }
}

fn write_as<S: Element, C: Copy + CastTo<S>>(from: &[C], is_swapped: bool, bytes: &mut [u8]) {
    let mut stored = [S::default(); BLOCK];
    for (from, bytes) in from.chunks(BLOCK).zip(bytes.chunks_mut(BLOCK * S::SIZE)) {
        let stored = &mut stored[..from.len()];
        for (stored, &from) in stored.iter_mut().zip(from) {
            *stored = from.cast_to();
        }
        S::write(stored, is_swapped, bytes);
    }
}

/// Passes all of `from` through blocks of `C`: reads, lets `change` have a go, writes.
pub(super) fn for_blocks<C: Number, E>(
    (source, from): (&Access<C>, &[u8]),
    (target, to): (&Access<C>, &mut [u8]),
    mut change: impl FnMut(&mut [C]) -> Result<(), E>,
) -> Result<(), E> {
    let mut block = [C::default(); BLOCK];
    let blocks = from.chunks(BLOCK * source.size).zip(to.chunks_mut(BLOCK * target.size));
    for (from, to) in blocks {
        let block = &mut block[..from.len() / source.size];
        source.read(from, block);
        change(block)?;
        target.write(block, to);
    }
    Ok(())
}

/// The data type in numpy's notation under `key`, if it is set.
pub(super) fn dtype_setting(
    configuration: &serde_json::Value,
    key: &str,
) -> Result<Option<DataType>, BindError> {
    super::configuration::text(configuration, key)?.map(DataType::parse).transpose()
}

/// [`dtype_setting`] where the setting is required.
pub(super) fn required_dtype(configuration: &serde_json::Value, key: &str) -> Result<DataType, BindError> {
    dtype_setting(configuration, key)?.ok_or_else(|| BindError::Invalid(format!("{key:?} is missing")))
}

/// The refusal of a data type.
pub(super) fn unsupported(dtype: &DataType) -> BindError {
    BindError::Unsupported(format!(
        "elements of kind {:?} and {} bytes have no native engine here",
        dtype.kind, dtype.item_size
    ))
}

/// Whether `dtype` is a signed or unsigned integer.
pub(super) fn is_integer(dtype: &DataType) -> bool {
    matches!(dtype.kind, Kind::Int | Kind::UInt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast<S, T: CastFrom<S>>(from: S) -> T {
        T::cast_from(from)
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(cast::<i64, u8>(-1), 255);
        assert_eq!(cast::<u32, i16>(40_000), -25_536);
        assert!(cast::<u8, bool>(7));
    }

    #[test]
    fn floats_out_of_range_give_what_the_processor_gives() {
        assert_eq!(cast::<f64, i32>(3e9), i32::MIN);
        assert_eq!(cast::<f64, i8>(200.7), -56);
        assert_eq!(cast::<f64, i8>(3e9), 0);
        assert_eq!(cast::<f32, u8>(-1.5), 255);
        assert_eq!(cast::<f64, i32>(f64::NAN), i32::MIN);
        assert_eq!(cast::<f64, u64>(-5.0), 5_u64.wrapping_neg());
        assert_eq!(cast::<f64, u64>(f64::NAN), 1 << 63);
        assert_eq!(cast::<f64, u64>(1.5 * 2_f64.powi(63)), 3 << 62);
        assert_eq!(cast::<f32, u64>(f32::INFINITY), 0);
        assert_eq!(cast::<f64, i64>(2_f64.powi(63)), i64::MIN);
    }

    #[test]
    fn both_byte_orders_are_read_and_written() {
        let native = DataType { kind: Kind::UInt, item_size: 2, byte_order: ByteOrder::NATIVE };
        for dtype in ["<u2", ">u2"] {
            let access = Access::<f64>::new(&DataType::parse(dtype).unwrap()).unwrap();
            let mut bytes = [0; 6];
            access.write(&[1.0, 258.9, 65_535.0], &mut bytes);
            assert_eq!(bytes, if dtype == "<u2" { [1, 0, 2, 1, 255, 255] } else { [0, 1, 1, 2, 255, 255] });
            let mut numbers = [0.0; 3];
            access.read(&bytes, &mut numbers);
            assert_eq!(numbers.map(f64::to_bits), [1.0, 258.0, 65_535.0].map(f64::to_bits));
        }
        assert!(Access::<f64>::new(&DataType { item_size: 16, kind: Kind::Float, ..native }).is_err());
    }
}
