//! `astype`: stores elements as another type, cast as numpy casts.
//!
//! Times count as the 64-bit integers they are made of when they meet a number; between two kinds or units
//! of time numpy multiplies, which is left to it.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::configuration::text;
use super::element::{Access, Number, for_blocks, unsupported, with_element};
use super::fixed::{Fixed, Transform, rescaled_len, whole_items};
use crate::codec::registry::{BindError, BindOptions};
use crate::codec::{ArraySpec, Codec, CodecFault, DataType, Kind};

/// The casts between two types, which run in the encoded type.
trait Cast: Send + Sync + Debug {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]);
    fn encode(&self, decoded: &[u8], encoded: &mut [u8]);
}

#[derive(Debug)]
struct In<C> {
    decoded: Access<C>,
    encoded: Access<C>,
}

impl<C: Number + Debug> Cast for In<C> {
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) {
        cast((&self.encoded, encoded), (&self.decoded, decoded));
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) {
        cast((&self.decoded, decoded), (&self.encoded, encoded));
    }
}

fn cast<C: Number>(from: (&Access<C>, &[u8]), to: (&Access<C>, &mut [u8])) {
    let Ok(()) = for_blocks::<_, std::convert::Infallible>(from, to, |_| Ok(()));
}

#[derive(Debug)]
struct AsType {
    decoded_size: usize,
    encoded_size: usize,
    cast: Box<dyn Cast>,
}

impl Transform for AsType {
    fn name(&self) -> &'static str {
        "astype"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        rescaled_len(decoded_len_bytes, self.decoded_size, self.encoded_size)
    }

    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault> {
        Ok(whole_items(encoded, self.encoded_size)?.saturating_mul(self.decoded_size))
    }

    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        self.cast.decode(encoded, decoded);
        Ok(())
    }

    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault> {
        self.cast.encode(decoded, encoded);
        Ok(())
    }
}

fn is_time(kind: Kind) -> bool {
    matches!(kind, Kind::Datetime | Kind::Timedelta)
}

/// Binds `astype`.
pub(super) fn bind(
    configuration: &Value,
    _: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let setting =
        |key| text(configuration, key)?.ok_or_else(|| BindError::Invalid(format!("{key:?} is missing")));
    let (encode_text, decode_text) = (setting("encode_dtype")?, setting("decode_dtype")?);
    let (mut encoded, mut decoded) = (DataType::parse(encode_text)?, DataType::parse(decode_text)?);
    // Behind the byte order stand kind and unit.
    if is_time(encoded.kind) && is_time(decoded.kind) && encode_text[1..] != decode_text[1..] {
        return Err(BindError::Unsupported(format!(
            "{encode_text} and {decode_text} count time differently"
        )));
    }
    let (encoded_kind, decoded_kind) = (encoded.kind, decoded.kind);
    for (time, other_kind) in [(&mut encoded, decoded_kind), (&mut decoded, encoded_kind)] {
        if is_time(time.kind) {
            if !is_time(other_kind) && !matches!(other_kind, Kind::Int | Kind::UInt | Kind::Float) {
                return Err(unsupported(time));
            }
            time.kind = Kind::Int;
        }
    }
    // Of the two casts of each direction one is between equal types and costs nothing: reading decoded
    // elements as the encoded type, and writing encoded elements as the decoded type.
    let cast: Box<dyn Cast> = with_element!(&encoded, C => Box::new(In::<C> {
        decoded: Access::new(&decoded)?,
        encoded: Access::new(&encoded)?,
    }) as Box<dyn Cast>)
    .ok_or_else(|| unsupported(&encoded))?;
    Ok(Fixed::shared(AsType { decoded_size: decoded.item_size, encoded_size: encoded.item_size, cast }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixed::testing::{bound, bytes, decode, encode};
    use super::*;

    #[test]
    fn both_directions_cast() {
        let configuration = json!({"encode_dtype": "|i1", "decode_dtype": ">f8"});
        let codec = bound("astype", &configuration, ">f8");
        let encoded = encode(&*codec, &bytes([1.9, -2.5, 127.0].map(f64::to_be_bytes))).unwrap();
        assert_eq!(encoded, [1, 254, 127]);
        let decoded = bytes([1.0, -2.0, 127.0].map(f64::to_be_bytes));
        assert_eq!(decode(&*codec, &encoded).unwrap(), decoded);
    }

    #[test]
    fn times_are_integers_of_one_unit() {
        let times = bytes([1, -1, i64::MIN].map(i64::to_le_bytes));
        for other in ["<i8", "<M8[ns]"] {
            let configuration = json!({"encode_dtype": other, "decode_dtype": "<M8[ns]"});
            let codec = bound("astype", &configuration, "<M8[ns]");
            assert_eq!(encode(&*codec, &times).unwrap(), times);
        }
        let decoded = ArraySpec { chunk_shape: vec![1], dtype: DataType::parse("<M8[ns]").unwrap() };
        for other in ["<M8[s]", "<m8[ns]", "|b1", "<c16", "<U4"] {
            let configuration = json!({"encode_dtype": other, "decode_dtype": "<M8[ns]"});
            let refusal = bind(&configuration, &decoded, BindOptions::default());
            assert!(matches!(refusal, Err(BindError::Unsupported(_))), "{other}");
        }
    }

    #[test]
    fn damaged_lengths_are_refused() {
        let configuration = json!({"encode_dtype": "<i2", "decode_dtype": "<f4"});
        let codec = bound("astype", &configuration, "<f4");
        assert!(decode(&*codec, &[0; 3]).is_err());
        assert!(encode(&*codec, &[0; 6]).is_err());
    }
}
