//! Codecs whose encoded length follows from the decoded length, and what they have in common.
//!
//! A filter or checksum only says how long its forms are and how bytes become bytes; [`Fixed`] makes a
//! [`Codec`] of it: the length checks, the cap on memory and the appending are written once, here.

use std::fmt::Debug;
use std::sync::Arc;

use crate::codec::scratch::resize;
use crate::codec::{Codec, CodecFault, Scratch};

/// A codec of fixed lengths. The slices it gets always have the lengths it announced.
pub(super) trait Transform: Send + Sync + Debug {
    /// Name as zarr metadata spells it.
    fn name(&self) -> &'static str;

    /// Length of the encoded form of `decoded_len_bytes` bytes; `None` if no data has that length.
    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize>;

    /// Length that `encoded` decodes to.
    fn decoded_len(&self, encoded: &[u8]) -> Result<usize, CodecFault>;

    /// Fills `decoded`.
    fn decode(&self, encoded: &[u8], decoded: &mut [u8]) -> Result<(), CodecFault>;

    /// Fills `encoded`.
    fn encode(&self, decoded: &[u8], encoded: &mut [u8]) -> Result<(), CodecFault>;
}

/// A [`Transform`] as a [`Codec`].
#[derive(Debug)]
pub(super) struct Fixed<T>(T);

impl<T: Transform + 'static> Fixed<T> {
    /// What a binder returns.
    pub(super) fn shared(transform: T) -> Arc<dyn Codec> {
        Arc::new(Self(transform))
    }
}

impl<T: Transform> Codec for Fixed<T> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize> {
        self.0.encoded_len(decoded_len_bytes)
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        // Where no data has that length nothing will ever be decoded to it.
        self.0.encoded_len(decoded_len_bytes).unwrap_or(0)
    }

    fn decode_into(&self, encoded: &[u8], decoded: &mut [u8], _: &mut Scratch) -> Result<(), CodecFault> {
        let actual = self.0.decoded_len(encoded)?;
        if actual != decoded.len() {
            return Err(CodecFault::DecodedLength { expected: decoded.len(), actual });
        }
        self.0.decode(encoded, decoded)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let actual = self.0.decoded_len(encoded)?;
        if actual > limit_bytes {
            return Err(CodecFault::DecodedLength { expected: limit_bytes, actual });
        }
        resize(decoded, actual)?;
        self.0.decode(encoded, decoded)
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, _: &mut Scratch) -> Result<(), CodecFault> {
        let len_bytes = self.0.encoded_len(decoded.len()).ok_or_else(|| {
            CodecFault::Value(format!("{} bytes are no whole number of elements", decoded.len()))
        })?;
        let start = encoded.len();
        resize(encoded, start + len_bytes)?;
        self.0.encode(decoded, &mut encoded[start..])
    }
}

/// The number of `size`-byte items that `encoded` holds.
///
/// # Errors
/// A last item that is not whole.
pub(super) fn whole_items(encoded: &[u8], size: usize) -> Result<usize, CodecFault> {
    if encoded.len().is_multiple_of(size) {
        Ok(encoded.len() / size)
    } else {
        Err(CodecFault::Damaged(format!("{} bytes are no whole number of {size}-byte items", encoded.len())))
    }
}

/// The length of `len_bytes` bytes of `from`-byte elements once they take `to` bytes each.
pub(super) fn rescaled_len(len_bytes: usize, from: usize, to: usize) -> Option<usize> {
    if len_bytes.is_multiple_of(from) { (len_bytes / from).checked_mul(to) } else { None }
}

#[cfg(test)]
pub(super) mod testing {
    //! Runs a codec the three ways it can be called, for the unit tests of this folder.

    use super::*;
    use crate::codec::registry::{BindOptions, bind};
    use crate::codec::{ArraySpec, DataType};

    /// Binds `name` for a one-dimensional array of `dtype`.
    pub(in crate::codec::native) fn bound(
        name: &str,
        configuration: &serde_json::Value,
        dtype: &str,
    ) -> Arc<dyn Codec> {
        let decoded = ArraySpec { chunk_shape: vec![4], dtype: DataType::parse(dtype).unwrap() };
        bind(name, configuration, &decoded, BindOptions::default()).unwrap()
    }

    /// Encodes behind a prefix, which must survive.
    pub(in crate::codec::native) fn encode(codec: &dyn Codec, decoded: &[u8]) -> Result<Vec<u8>, CodecFault> {
        let mut encoded = vec![7, 8, 9];
        codec.encode(decoded, &mut encoded, &mut Scratch::default())?;
        assert_eq!(encoded[..3], [7, 8, 9]);
        Ok(encoded.split_off(3))
    }

    /// Decodes without knowing the length; then with it, into dirty memory, and one byte off.
    pub(in crate::codec::native) fn decode(codec: &dyn Codec, encoded: &[u8]) -> Result<Vec<u8>, CodecFault> {
        let mut scratch = Scratch::default();
        let mut decoded = vec![3; 2];
        codec.decode_bounded(encoded, &mut decoded, 1 << 20, &mut scratch)?;
        let mut exact = vec![0xA5; decoded.len()];
        codec.decode_into(encoded, &mut exact, &mut scratch)?;
        assert_eq!(exact, decoded);
        let mut longer = vec![0; decoded.len() + 1];
        assert!(codec.decode_into(encoded, &mut longer, &mut scratch).is_err());
        if let Some(limit_bytes) = decoded.len().checked_sub(1) {
            assert!(codec.decode_into(encoded, &mut longer[..limit_bytes], &mut scratch).is_err());
            assert!(codec.decode_bounded(encoded, &mut longer, limit_bytes, &mut scratch).is_err());
        }
        Ok(decoded)
    }

    /// Little-endian bytes of elements.
    pub(in crate::codec::native) fn bytes<const N: usize>(
        elements: impl IntoIterator<Item = [u8; N]>,
    ) -> Vec<u8> {
        elements.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_whole() {
        assert_eq!(whole_items(&[0; 12], 4).unwrap(), 3);
        assert_eq!(whole_items(&[], 4).unwrap(), 0);
        assert!(whole_items(&[0; 13], 4).is_err());
    }
}
