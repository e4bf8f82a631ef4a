//! `transpose` where it cannot be folded into the strides of gather and scatter: after another filter.
#![expect(unsafe_code, reason = "permutes elements through the strided copy")]

use std::sync::Arc;

use serde_json::Value;

use crate::codec::registry::{BindError, BindOptions};
use crate::codec::scratch::resize;
use crate::codec::{ArraySpec, Codec, CodecFault, Scratch};
use crate::plan::regions::{Extent, Region, RegionAxis};
use crate::plan::selection::contiguous_strides;
use crate::strided::{self, Side};

#[derive(Debug)]
struct Transpose {
    /// Elements in the order of the decoded array, by their offset in the encoded one.
    encoded: Region,
    /// The same elements by their offset in the decoded array.
    decoded: Region,
    item_size: usize,
    len_bytes: usize,
}

/// Binds the codec: axis `i` of the encoded array is axis `order[i]` of the decoded one.
pub(super) fn bind(
    configuration: &Value,
    decoded: &ArraySpec,
    _: BindOptions,
) -> Result<Arc<dyn Codec>, BindError> {
    let shape = &decoded.chunk_shape;
    let order: Vec<usize> = configuration
        .get("order")
        .and_then(Value::as_array)
        .map(|order| {
            order
                .iter()
                .filter_map(|axis| axis.as_u64().and_then(|axis| usize::try_from(axis).ok()))
                .collect()
        })
        .unwrap_or_default();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.len() != shape.len() || sorted.iter().enumerate().any(|(at, &axis)| at != axis) {
        return Err(BindError::Invalid(format!(
            "\"order\" must permute the {} axes of the chunk",
            shape.len()
        )));
    }
    let item_size = decoded.dtype.item_size;
    let encoded_shape: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let encoded_strides = contiguous_strides(&encoded_shape, item_size);
    let region = |strides: &dyn Fn(usize) -> isize| {
        let axes = shape.iter().enumerate();
        let axes = axes.map(|(axis, &len)| RegionAxis::Strided { len, stride: strides(axis) }).collect();
        Region::new(0, axes)
    };
    let mut position = vec![0; order.len()];
    for (at, &axis) in order.iter().enumerate() {
        position[axis] = at;
    }
    let decoded_strides = contiguous_strides(shape, item_size);
    Ok(Arc::new(Transpose {
        encoded: region(&|axis| encoded_strides[position[axis]]),
        decoded: region(&|axis| decoded_strides[axis]),
        item_size,
        len_bytes: decoded.len_bytes()?,
    }))
}

impl Transpose {
    fn permute(
        &self,
        source: &[u8],
        from: &Region,
        target: &mut [u8],
        to: &Region,
    ) -> Result<(), CodecFault> {
        for actual in [source.len(), target.len()] {
            if actual != self.len_bytes {
                return Err(CodecFault::DecodedLength { expected: self.len_bytes, actual });
            }
        }
        let extent = Extent { lowest: 0, end: self.len_bytes.cast_signed() };
        // SAFETY: both slices have the extent's length, and a shared one cannot overlap an exclusive one.
        unsafe {
            strided::copy(
                target.as_mut_ptr(),
                Side { region: to, extent },
                source.as_ptr(),
                Side { region: from, extent },
                self.item_size,
            )
        }
        .map_err(|error| CodecFault::Value(error.to_string()))
    }
}

impl Codec for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        Some(decoded_len_bytes)
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        decoded_len_bytes
    }

    fn decode_into(&self, encoded: &[u8], decoded: &mut [u8], _: &mut Scratch) -> Result<(), CodecFault> {
        self.permute(encoded, &self.encoded, decoded, &self.decoded)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        if self.len_bytes > limit_bytes {
            return Err(CodecFault::DecodedLength { expected: limit_bytes, actual: self.len_bytes });
        }
        resize(decoded, self.len_bytes)?;
        self.decode_into(encoded, decoded, scratch)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, _: &mut Scratch) -> Result<(), CodecFault> {
        let start = encoded.len();
        resize(encoded, start + self.len_bytes)?;
        self.permute(decoded, &self.decoded, &mut encoded[start..], &self.encoded)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::DataType;

    #[test]
    fn axes_change_places_and_back() {
        let spec = ArraySpec { chunk_shape: vec![2, 3], dtype: DataType::parse("|u1").unwrap() };
        let codec = bind(&json!({"order": [1, 0]}), &spec, BindOptions::default()).unwrap();
        let mut scratch = Scratch::default();
        let mut encoded = vec![9];
        codec.encode(&[0, 1, 2, 3, 4, 5], &mut encoded, &mut scratch).unwrap();
        assert_eq!(encoded, [9, 0, 3, 1, 4, 2, 5]);
        let mut decoded = [0; 6];
        codec.decode_into(&encoded[1..], &mut decoded, &mut scratch).unwrap();
        assert_eq!(decoded, [0, 1, 2, 3, 4, 5]);
        assert!(codec.decode_into(&encoded, &mut decoded, &mut scratch).is_err());
        assert!(bind(&json!({"order": [1, 1]}), &spec, BindOptions::default()).is_err());
    }
}
