//! `byteswap`: reverses the words of every item.
//!
//! A pseudo codec, in no metadata: it stands for the byte order of Zarr v3's `bytes` codec, of v2's data
//! types, and of the fields of structured types. Its configuration lists the words of one item:
//! `{"words": [[offset, size], ...], "item_size": n}`. It is its own inverse.

use std::sync::Arc;

use serde_json::Value;

use super::fixed::{Fixed, Transform, whole_items};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault};
use crate::distance;

/// What reverses the words.
#[derive(Debug, PartialEq, Eq)]
enum Kernel {
    /// No word is longer than a byte.
    Copy,
    /// Items made of nothing but words of 2, 4 or 8 bytes, side by side.
    Words2,
    Words4,
    Words8,
    /// Start and end of each word in the item.
    Fields(Vec<(usize, usize)>),
}

#[derive(Debug)]
struct Byteswap {
    item_size: usize,
    kernel: Kernel,
}

impl Byteswap {
    fn swap(&self, from: &[u8], to: &mut [u8]) {
        match &self.kernel {
            Kernel::Copy => distance::copy(to, from),
            Kernel::Words2 => reverse_words::<2>(from, to),
            Kernel::Words4 => reverse_words::<4>(from, to),
            Kernel::Words8 => reverse_words::<8>(from, to),
            Kernel::Fields(words) => {
                to.copy_from_slice(from);
                for item in to.chunks_exact_mut(self.item_size) {
                    for &(start, end) in words {
                        item[start..end].reverse();
                    }
                }
            }
        }
    }
}

fn reverse_words<const N: usize>(from: &[u8], to: &mut [u8]) {
    for (to, &from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.as_chunks().0) {
        *to = from;
        to.reverse();
    }
}

impl Transform for Byteswap {
    fn name(&self) -> &'static str {
        "byteswap"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        decoded_len_bytes.is_multiple_of(self.item_size).then_some(decoded_len_bytes)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        whole_items(encoded, self.item_size).map(|_| encoded.len())
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.swap(encoded, decoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.swap(decoded, encoded);
        Ok(())
    }
}

/// Binds `byteswap`.
pub(super) fn bind(
    configuration: &Value,
    _: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let size = |value: Option<&Value>| value?.as_u64().and_then(|value| usize::try_from(value).ok());
    let wrong = || {
        BindError::Invalid(
            "\"words\" must be [offset, size] pairs inside of \"item_size\", none overlapping".into(),
        )
    };
    let item_size = size(configuration.get("item_size")).filter(|&size| size > 0).ok_or_else(wrong)?;
    let mut words = configuration
        .get("words")
        .and_then(Value::as_array)
        .ok_or_else(wrong)?
        .iter()
        .map(|word| {
            let start = size(word.get(0))?;
            let end = start.checked_add(size(word.get(1))?)?;
            (end <= item_size).then_some((start, end))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(wrong)?;
    words.retain(|(start, end)| end - start > 1);
    words.sort_unstable();
    if words.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(wrong());
    }
    let is_tiled_by =
        |size: usize| item_size == words.len() * size && words.iter().all(|(start, end)| end - start == size);
    let kernel = if words.is_empty() {
        Kernel::Copy
    } else if is_tiled_by(2) {
        Kernel::Words2
    } else if is_tiled_by(4) {
        Kernel::Words4
    } else if is_tiled_by(8) {
        Kernel::Words8
    } else {
        Kernel::Fields(words)
    };
    Ok(Fixed::shared(Byteswap { item_size, kernel }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, decode, encode};
    use super::*;
    use crate::codec::DataType;

    #[test]
    fn each_word_is_reversed_and_nothing_else() {
        let input: Vec<u8> = (0..96).collect();
        for (words, item_size) in [
            (vec![], 3),
            (vec![(0, 1)], 1),
            (vec![(0, 2)], 2),
            (vec![(0, 4)], 4),
            (vec![(0, 8)], 8),
            (vec![(0, 16)], 16),
            (vec![(8, 8), (0, 8)], 16),
            (vec![(0, 4), (4, 4), (8, 4)], 12),
            (vec![(1, 2), (4, 8)], 12),
            (vec![(4, 4)], 8),
        ] {
            let codec = bound("byteswap", &json!({"words": words, "item_size": item_size}), "|u1");
            let mut expected = input.clone();
            for item in expected.chunks_mut(item_size) {
                for &(start, size) in &words {
                    item[start..start + size].reverse();
                }
            }
            assert_eq!(encode(&*codec, &input).unwrap(), expected, "{words:?} in {item_size}");
            assert_eq!(decode(&*codec, &expected).unwrap(), input, "{words:?} in {item_size}");
            assert!(decode(&*codec, &[]).unwrap().is_empty());
            if item_size > 1 {
                assert!(decode(&*codec, &input[1..]).is_err());
                assert!(encode(&*codec, &input[1..]).is_err());
            }
        }
    }

    #[test]
    fn words_outside_or_overlapping_are_refused() {
        let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse("|u1").unwrap() };
        for configuration in [
            json!({}),
            json!({"words": [[0, 4]], "item_size": 3}),
            json!({"words": [[0, 4], [2, 4]], "item_size": 8}),
            json!({"words": [[-1, 4]], "item_size": 8}),
            json!({"words": [[u64::MAX, 4]], "item_size": 8}),
            json!({"words": [], "item_size": 0}),
        ] {
            assert!(matches!(
                bind(&configuration, &decoded, BindOptions::default()),
                Err(BindError::Invalid(_))
            ));
        }
    }
}
