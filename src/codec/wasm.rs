//! The WebAssembly engine: a codec whose code came with the data.
//!
//! One copy takes a chunk into the guest's memory, or the store puts it there; its result goes from there to where
//! the chunk is wanted.

use std::ops::Range;

use super::lending::{Encoded, Lender, TakeRange};
use super::scratch::{reserve, resize};
use super::{Codec, CodecFault, DataType, Direction, Engine, Scratch};
use crate::distance;
use crate::wasm::instances::{Instances, Recipe};
use crate::wasm::{ArrayDescription, Guest, Input, Interface, Kind, Room, WasmError};

/// A codec that runs in a guest.
#[derive(Debug)]
pub struct WasmCodec {
    name: String,
    recipe: Recipe,
    /// Lengths in bytes, where the codec's kind says that all chunks have the same.
    decoded_len: Option<usize>,
    encoded_len: Option<usize>,
}

/// Length of an array in bytes, where it is known.
fn len_bytes(array: &ArrayDescription) -> Result<Option<usize>, WasmError> {
    if array.is_any_bytes() {
        return Ok(None);
    }
    let too_large = || WasmError::Invalid(format!("an array of shape {:?} is too large", array.shape));
    let data_type =
        DataType::parse(&array.data_type).map_err(|error| WasmError::Invalid(error.to_string()))?;
    let product = array.shape.iter().try_fold(data_type.item_size, |product, &len| {
        usize::try_from(len).ok().and_then(|len| product.checked_mul(len)).ok_or_else(too_large)
    });
    product.map(Some)
}

impl WasmCodec {
    /// A codec of that name. `fixed_len` is the length of every encoding in bytes, where that is known.
    ///
    /// # Errors
    /// Arrays that cannot be.
    pub fn new(name: String, recipe: Recipe, fixed_len: Option<usize>) -> Result<Self, WasmError> {
        let setup = recipe.setup();
        let (decoded_len, encoded_len) = match setup.kind {
            Kind::BytesBytes => (None, None),
            Kind::ArrayBytes => (len_bytes(&setup.decoded)?, None),
            Kind::ArrayArray => (len_bytes(&setup.decoded)?, len_bytes(&setup.encoded)?),
        };
        Ok(Self { name, recipe, decoded_len, encoded_len: fixed_len.or(encoded_len) })
    }

    /// The interface through which the guest is called.
    #[must_use]
    pub fn interface(&self) -> Interface {
        self.recipe.interface()
    }

    /// The longest encoding of so many bytes, as the guest tells.
    ///
    /// # Errors
    /// No guest, or one that traps.
    pub fn guest_bound(
        &self,
        decoded_len: usize,
        scratch: &mut Scratch,
    ) -> Result<Option<usize>, CodecFault> {
        self.call(Direction::Encode, scratch, |guest| guest.encoded_bound(decoded_len))
    }

    /// Encodes an array by itself, whatever it becomes: bytes, and the array that they are if the interface
    /// tells.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode_described(
        &self,
        decoded: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(Vec<u8>, ArrayDescription), CodecFault> {
        Self::check(self.decoded_len, decoded.len())?;
        let room = Room { expected: None, limit: Codec::encoded_bound(self, decoded.len()) };
        self.call(Direction::Encode, scratch, |guest| {
            let mut encoded = Vec::new();
            guest.encode(decoded, room, &mut |result| append(&mut encoded, result))?;
            Ok(with_description(encoded, guest.last_answer()))
        })
    }

    /// Decodes to an array by itself, whatever it is, of at most `limit_bytes`.
    ///
    /// # Errors
    /// As [`Codec::decode_bounded`].
    pub fn decode_described(
        &self,
        encoded: &[u8],
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u8>, ArrayDescription), CodecFault> {
        Self::check(self.encoded_len, encoded.len())?;
        let room = Room { expected: None, limit: limit_bytes };
        self.call(Direction::Decode, scratch, |guest| {
            let mut decoded = Vec::new();
            guest.decode(encoded, room, &mut |result| append(&mut decoded, result))?;
            Ok(with_description(decoded, guest.last_answer()))
        })
    }

    fn call<T>(
        &self,
        direction: Direction,
        scratch: &mut Scratch,
        body: impl FnOnce(&mut dyn Guest) -> Result<T, WasmError>,
    ) -> Result<T, CodecFault> {
        scratch
            .context::<Instances>()
            .with_guest(&self.recipe, body)
            .map_err(|error| self.fault(direction, error))
    }

    fn fault(&self, direction: Direction, error: WasmError) -> CodecFault {
        match error {
            WasmError::DecodedLength { expected, actual } if direction == Direction::Decode => {
                CodecFault::DecodedLength { expected, actual }
            }
            WasmError::DecodedLength { expected, .. } => {
                CodecFault::Value(format!("it encodes to another length than {expected} bytes, or to more"))
            }
            WasmError::OutOfMemory { len_bytes } => CodecFault::OutOfMemory { len_bytes },
            WasmError::Cancelled | WasmError::NotFilled => CodecFault::Cancelled,
            error => {
                CodecFault::Wasm { module: self.recipe.module().digest().to_string(), error: Box::new(error) }
            }
        }
    }

    /// The arrays that the guest was told of are the only ones that it codes.
    fn check(known: Option<usize>, actual: usize) -> Result<(), CodecFault> {
        match known {
            Some(expected) if expected != actual => Err(CodecFault::DecodedLength { expected, actual }),
            _ => Ok(()),
        }
    }
}

impl Codec for WasmCodec {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> Engine {
        Engine::Wasm
    }

    fn encoded_len(&self, _: usize) -> Option<usize> {
        self.encoded_len
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        // Nothing is known of it without running it: generous, but a bound.
        self.encoded_len.unwrap_or_else(|| decoded_len_bytes.saturating_mul(16).saturating_add(64 << 20))
    }

    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let decoded_len = decoded.len();
        let mut take = |_: usize, result: &[u8]| distance::copy(decoded, result);
        self.decode_lent(Encoded::Bytes(encoded), decoded_len, &whole(decoded_len), &mut take, scratch)
    }

    fn lender(&self) -> Option<&dyn Lender> {
        Some(self)
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        if let Some(len) = self.decoded_len.filter(|&len| len <= limit_bytes) {
            resize(decoded, len)?;
            return self.decode_into(encoded, decoded, scratch);
        }
        let room = Room { expected: self.decoded_len, limit: limit_bytes };
        self.call(Direction::Decode, scratch, |guest| {
            guest.decode(encoded, room, &mut |result| {
                room.admit(result.len())?;
                decoded.clear();
                append(decoded, result)
            })
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault> {
        Self::check(self.decoded_len, decoded.len())?;
        let limit = self.encoded_bound(decoded.len());
        let room = Room { expected: self.encoded_len, limit };
        self.call(Direction::Encode, scratch, |guest| {
            guest.encode(decoded, room, &mut |result| {
                room.admit(result.len())?;
                append(encoded, result)
            })
        })
    }
}

impl Lender for WasmCodec {
    fn takes_filled(&self) -> bool {
        self.interface() == Interface::WazarrCore
    }

    fn has_ranges(&self) -> bool {
        self.recipe.module().survey().has_ranges()
    }

    fn decode_lent(
        &self,
        encoded: Encoded<'_>,
        decoded_len: usize,
        ranges: &[Range<usize>],
        take: &mut TakeRange<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        let input = match encoded {
            Encoded::Bytes(bytes) => Input::Bytes(bytes),
            Encoded::Filled { len_bytes, fill } => Input::Filled(len_bytes, fill),
        };
        Self::check(self.decoded_len, decoded_len)?;
        Self::check(self.encoded_len, input.len_bytes())?;
        self.call(Direction::Decode, scratch, |guest| {
            guest.decode_ranges(input, decoded_len, ranges, &mut |at, result| {
                take(at, result);
                Ok(())
            })
        })
    }
}

/// The only part of what is not cut.
fn whole(len_bytes: usize) -> [Range<usize>; 1] {
    [Range { start: 0, end: len_bytes }]
}

/// Bytes are an array too: a row of them.
fn with_description(bytes: Vec<u8>, answer: Option<&ArrayDescription>) -> (Vec<u8>, ArrayDescription) {
    let row = || ArrayDescription { data_type: "|u1".to_owned(), shape: vec![bytes.len() as u64] };
    let description = answer.cloned().unwrap_or_else(row);
    (bytes, description)
}

fn append(bytes: &mut Vec<u8>, result: &[u8]) -> Result<(), WasmError> {
    reserve(bytes, result.len()).map_err(|_| WasmError::OutOfMemory { len_bytes: result.len() })?;
    bytes.extend_from_slice(result);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::testing::{COPY, decoder, guest, setup, small_limits, store};
    use crate::wasm::{Limits, Setup};

    fn codec(module: &[u8], setup: Setup) -> Result<WasmCodec, WasmError> {
        let limits = Limits { memory_bytes: 64 << 20, ..small_limits() };
        WasmCodec::new("acme".to_owned(), Recipe::new(store(module), None, setup, limits, false)?, None)
    }

    fn array(data_type: &str, shape: &[u64]) -> ArrayDescription {
        ArrayDescription { data_type: data_type.to_owned(), shape: shape.to_vec() }
    }

    #[test]
    fn chunks_come_back() {
        let codec = codec(&guest(COPY), setup()).unwrap();
        let mut scratch = Scratch::default();
        for len in [0, 1, 1000, 5 << 20] {
            let chunk: Vec<u8> = (0..len).map(|number: u32| (number % 253) as u8).collect();
            let mut encoded = b"before".to_vec();
            codec.encode(&chunk, &mut encoded, &mut scratch).unwrap();
            assert_eq!(encoded[..6], *b"before");
            let mut decoded = vec![0xaa; chunk.len()];
            codec.decode_into(&encoded[6..], &mut decoded, &mut scratch).unwrap();
            assert_eq!(decoded, chunk);
            let mut bounded = b"other".to_vec();
            codec.decode_bounded(&encoded[6..], &mut bounded, chunk.len(), &mut scratch).unwrap();
            assert_eq!(bounded, chunk);
        }
        let mut bounded = Vec::new();
        let refused = codec.decode_bounded(&[0; 10], &mut bounded, 9, &mut scratch);
        assert!(matches!(refused, Err(CodecFault::DecodedLength { expected: 9, .. })), "{refused:?}");
        assert_eq!(codec.guest_bound(5, &mut scratch).unwrap(), None);
    }

    #[test]
    fn chunks_are_filled_in_and_lent() {
        let codec = codec(&guest(COPY), setup()).unwrap();
        assert!(codec.lender().is_some() && codec.takes_filled() && !codec.has_ranges());
        let mut scratch = Scratch::default();
        let chunk: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let mut encoded = Vec::new();
        codec.encode(&chunk, &mut encoded, &mut scratch).unwrap();
        let mut shown = Vec::new();
        let mut take = |_: usize, decoded: &[u8]| shown.extend_from_slice(decoded);
        let len = chunk.len();
        codec.decode_lent(Encoded::Bytes(&encoded), len, &whole(len), &mut take, &mut scratch).unwrap();
        let mut fill = |room: &mut [u8]| {
            room.copy_from_slice(&encoded);
            true
        };
        let filled = Encoded::Filled { len_bytes: encoded.len(), fill: &mut fill };
        codec.decode_lent(filled, len, &whole(len), &mut take, &mut scratch).unwrap();
        let mut fail = |_: &mut [u8]| false;
        let failing = Encoded::Filled { len_bytes: encoded.len(), fill: &mut fail };
        let fault = codec.decode_lent(failing, len, &whole(len), &mut take, &mut scratch).unwrap_err();
        assert!(matches!(fault, CodecFault::Cancelled), "{fault:?}");
        codec
            .decode_lent(Encoded::Bytes(&encoded), len - 1, &whole(len - 1), &mut take, &mut scratch)
            .unwrap_err();
        assert_eq!(shown, [chunk.clone(), chunk].concat());
    }

    #[test]
    fn arrays_have_one_length() {
        let setup = Setup {
            kind: Kind::ArrayArray,
            decoded: array("<u2", &[2, 3]),
            encoded: array("<f4", &[3]),
            ..setup()
        };
        let codec = codec(&guest(COPY), setup).unwrap();
        assert_eq!(codec.encoded_len(12), Some(12));
        assert_eq!(codec.encoded_bound(12), 12);
        let mut scratch = Scratch::default();
        codec.decode_into(&[1; 12], &mut [0; 12], &mut scratch).unwrap();
        assert!(codec.decode_into(&[1; 11], &mut [0; 12], &mut scratch).is_err());
        assert!(codec.decode_into(&[1; 12], &mut [0; 10], &mut scratch).is_err());
        assert!(codec.encode(&[1; 10], &mut Vec::new(), &mut scratch).is_err());
        for (kind, shape) in [(Kind::ArrayBytes, vec![u64::MAX, 2]), (Kind::ArrayArray, vec![1 << 62, 8])] {
            let setup = Setup { kind, decoded: array("<u2", &shape), ..super::tests::setup() };
            assert!(self::codec(&guest(COPY), setup).is_err());
        }
    }

    #[test]
    fn faults_name_the_module() {
        let module = decoder("(unreachable)");
        let codec = codec(&module, setup()).unwrap();
        let fault = codec.decode_into(&[1], &mut [0], &mut Scratch::default()).unwrap_err();
        let text = fault.to_string();
        let digest = crate::wasm::Digest::of(&module).to_string();
        assert!(text.contains(&digest) && text.contains("unreachable"), "{text}");
        let silent = super::tests::codec(&decoder("(i64.const 2)"), setup()).unwrap();
        let fault = silent.decode_into(&[1], &mut [0; 3], &mut Scratch::default()).unwrap_err();
        assert!(matches!(fault, CodecFault::DecodedLength { expected: 3, actual: 2 }), "{fault:?}");
    }
}
