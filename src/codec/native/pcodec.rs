//! `pcodec`: numbers compressed with pco, in its standalone format.
//!
//! An array→bytes codec: the stream names the type of its numbers, which must be the array's. Times are
//! compressed as the 64-bit integers they are made of.
//!
//! Numbers are decompressed in batches, so that no length in a damaged stream decides how much memory is
//! taken; but pco itself may reserve a window of up to 2²⁴ numbers, twice, if a stream asks for one.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use pco::data_types::Number;
use pco::standalone::{DecompressorItem, FileDecompressor, simple_compress};
use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};
use serde_json::Value;

use super::configuration::{integer, text};
use super::element::{Element, unsupported};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::scratch::reserve;
use crate::codec::{ArraySpec, ByteOrder, Codec, CodecFault, Kind, Scratch};

/// Numbers decompressed at a time; pco wants a multiple of 256.
const BATCH: usize = 2048;
/// numcodecs' default for `equal_pages_up_to`.
const NUMBERS_PER_PAGE: i64 = 262_144;

#[derive(Debug)]
struct Pcodec<T> {
    config: ChunkConfig,
    numbers_per_page: usize,
    numbers: PhantomData<fn() -> T>,
}

impl<T: Number + Element> Pcodec<T> {
    /// Hands the stream's numbers to `take`, batch by batch.
    fn decompress(
        encoded: &[u8],
        mut take: impl FnMut(&[T]) -> Result<(), CodecFault>,
    ) -> Result<(), CodecFault> {
        let damaged = |error: pco::errors::PcoError| CodecFault::Damaged(error.to_string());
        let (file, mut rest) = FileDecompressor::new(encoded).map_err(damaged)?;
        let mut batch = [T::default(); BATCH];
        while let DecompressorItem::Chunk(mut chunk) =
            file.chunk_decompressor::<T, _>(rest).map_err(damaged)?
        {
            loop {
                let progress = chunk.read(&mut batch).map_err(damaged)?;
                take(&batch[..progress.n_processed])?;
                if progress.finished {
                    break;
                }
                if progress.n_processed == 0 {
                    return Err(CodecFault::Damaged("a chunk ends before its last number".into()));
                }
            }
            rest = chunk.into_src();
        }
        Ok(())
    }
}

impl<T: Number + Element> Codec for Pcodec<T> {
    fn name(&self) -> &'static str {
        "pcodec"
    }

    fn encoded_len(&self, _: usize) -> Option<usize> {
        None
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        // pco stores what it cannot compress; every page has its own metadata.
        let pages = (decoded_len_bytes / T::SIZE).div_ceil(self.numbers_per_page);
        decoded_len_bytes.saturating_mul(2).saturating_add(pages.saturating_mul(256)).saturating_add(4096)
    }

    fn decode_into(&self, encoded: &[u8], decoded: &mut [u8], _: &mut Scratch) -> Result<(), CodecFault> {
        let mut filled = 0;
        Self::decompress(encoded, |numbers| {
            let end = filled + numbers.len() * T::SIZE;
            let Some(target) = decoded.get_mut(filled..end) else {
                return Err(CodecFault::DecodedLength { expected: decoded.len(), actual: end });
            };
            T::write(numbers, false, target);
            filled = end;
            Ok(())
        })?;
        if filled != decoded.len() {
            return Err(CodecFault::DecodedLength { expected: decoded.len(), actual: filled });
        }
        Ok(())
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _: &mut Scratch,
    ) -> Result<(), CodecFault> {
        decoded.clear();
        Self::decompress(encoded, |numbers| {
            let start = decoded.len();
            let end = start + numbers.len() * T::SIZE;
            if end > limit_bytes {
                return Err(CodecFault::DecodedLength { expected: limit_bytes, actual: end });
            }
            if decoded.capacity() < end {
                reserve(decoded, (2 * end).min(limit_bytes) - start)?;
            }
            decoded.resize(end, 0);
            T::write(numbers, false, &mut decoded[start..]);
            Ok(())
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, _: &mut Scratch) -> Result<(), CodecFault> {
        if !decoded.len().is_multiple_of(T::SIZE) {
            return Err(CodecFault::Value(format!(
                "{} bytes are no whole number of elements",
                decoded.len()
            )));
        }
        let mut numbers = vec![T::default(); decoded.len() / T::SIZE];
        T::read(decoded, false, &mut numbers);
        let compressed = simple_compress(&numbers, &self.config)
            .map_err(|error| CodecFault::Library { library: "pco", reason: error.to_string() })?;
        encoded.extend_from_slice(&compressed);
        Ok(())
    }
}

/// The settings as pco's; those that numcodecs refuses when it encodes are left to it.
fn chunk_config(configuration: &Value) -> Result<(ChunkConfig, usize), BindError> {
    let left = |key: &str| BindError::Unsupported(format!("{key:?} has a value that pcodec refuses"));
    let within = |key: &str, value: i64, max: i64| {
        usize::try_from(value).ok().filter(|_| value <= max).ok_or_else(|| left(key))
    };
    let level = within("level", integer(configuration, "level")?.unwrap_or(8), 12)?;
    let mode = match text(configuration, "mode_spec")?.unwrap_or("auto") {
        "auto" => ModeSpec::Auto,
        "classic" => ModeSpec::Classic,
        _ => return Err(left("mode_spec")),
    };
    let order = integer(configuration, "delta_encoding_order")?
        .map(|order| within("delta_encoding_order", order, 7))
        .transpose()?;
    let delta = match (text(configuration, "delta_spec")?.unwrap_or("auto"), order) {
        ("auto" | "try_consecutive", Some(order)) => DeltaSpec::TryConsecutive(order),
        ("auto", None) => DeltaSpec::Auto,
        ("none" | "no_op", None) => DeltaSpec::NoOp,
        ("try_lookback", None) => DeltaSpec::TryLookback,
        _ => return Err(left("delta_spec")),
    };
    if text(configuration, "paging_spec")?.unwrap_or("equal_pages_up_to") != "equal_pages_up_to" {
        return Err(left("paging_spec"));
    }
    let numbers_per_page = integer(configuration, "equal_pages_up_to")?.unwrap_or(NUMBERS_PER_PAGE);
    let numbers_per_page = usize::try_from(numbers_per_page)
        .ok()
        .filter(|&numbers| numbers > 0)
        .ok_or_else(|| left("equal_pages_up_to"))?;
    let config = ChunkConfig::default()
        .with_compression_level(level)
        .with_mode_spec(mode)
        .with_delta_spec(delta)
        .with_paging_spec(PagingSpec::EqualPagesUpTo(numbers_per_page));
    Ok((config, numbers_per_page))
}

/// Binds `pcodec`, for numbers of 16 bits and more in this machine's byte order.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    if decoded.dtype.byte_order != ByteOrder::NATIVE {
        return Err(BindError::Unsupported("pcodec is for numbers of this machine's byte order".into()));
    }
    let (config, numbers_per_page) = chunk_config(configuration)?;
    macro_rules! choose {
        ($(($($kind:ident)|+, $size:literal, $type:ty))*) => {
            match (decoded.dtype.kind, decoded.dtype.item_size) {
                $(($(Kind::$kind)|+, $size) => {
                    Ok(Arc::new(Pcodec::<$type> { config, numbers_per_page, numbers: PhantomData }))
                })*
                _ => Err(unsupported(&decoded.dtype)),
            }
        };
    }
    choose!((UInt, 2, u16)(UInt, 4, u32)(UInt, 8, u64)(Int, 2, i16)(Int, 4, i32)(
        Int | Datetime | Timedelta,
        8,
        i64
    )(Float, 2, half::f16)(Float, 4, f32)(Float, 8, f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;
    use crate::codec::DataType;

    #[test]
    fn numbers_round_trip_over_batches_and_pages() {
        for count in [0, 1, 255, 2048, 2049, 5000_u32] {
            let input = bytes((0..count).map(|i| i.wrapping_mul(i).to_le_bytes()));
            for dtype in ["<u4", "<f4", "<i2", "<f2", "<u8"] {
                let whole = &input[..input.len() / 8 * 8];
                for page in [1000, 262_144] {
                    let codec = bound("pcodec", &json!({"level": 4, "equal_pages_up_to": page}), dtype);
                    let encoded = encode(&*codec, whole).unwrap();
                    assert!(encoded.len() <= codec.encoded_bound(whole.len()));
                    assert_eq!(decode(&*codec, &encoded).unwrap(), whole, "{count} {dtype}");
                }
            }
        }
    }

    #[test]
    fn damage_is_an_error() {
        let codec = bound("pcodec", &json!({}), "<i4");
        let input = bytes((0..600).map(|i: i32| (i * i % 97).to_le_bytes()));
        let encoded = encode(&*codec, &input).unwrap();
        for len in 0..encoded.len() {
            assert!(decode(&*codec, &encoded[..len]).is_err(), "cut to {len}");
        }
        assert!(decode(&*bound("pcodec", &json!({}), "<u4"), &encoded).is_err());
        assert!(encode(&*codec, &input[1..]).is_err());
        // Other bits may decode to other numbers, but must come to an end.
        for bit in 0..encoded.len() * 8 {
            let mut flipped = encoded.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&*codec, &flipped);
        }
    }

    #[test]
    fn what_pcodec_refuses_is_left_to_it() {
        for (configuration, dtype) in [
            (json!({}), "|u1"),
            (json!({}), ">f4"),
            (json!({}), "<c8"),
            (json!({"level": 13}), "<f4"),
            (json!({"mode_spec": "try"}), "<f4"),
            (json!({"delta_spec": "try_consecutive"}), "<f4"),
            (json!({"delta_spec": "no_op", "delta_encoding_order": 1}), "<f4"),
            (json!({"delta_encoding_order": 8}), "<f4"),
            (json!({"equal_pages_up_to": 0}), "<f4"),
        ] {
            let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse(dtype).unwrap() };
            let refusal = bind(&configuration, &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{configuration} {dtype}");
        }
    }
}
