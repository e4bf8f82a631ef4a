//! The WebAssembly engine: a codec whose code came with the data.
//!
//! One copy takes a chunk into the guest's memory; its result goes from there to where the chunk is wanted.

use super::scratch::{reserve, resize};
use super::{Codec, CodecFault, DataType, Direction, Engine, Scratch};
use crate::wasm::instances::{Instances, Recipe};
use crate::wasm::{ArrayDescription, Guest, Interface, Kind, Room, WasmError};

/// A codec that runs in a guest.
#[derive(Debug)]
pub struct WasmCodec {
    name: String,
    recipe: Recipe,
    /// Lengths in bytes, where the codec's kind says that all chunks have the same.
    decoded_len: Option<usize>,
    encoded_len: Option<usize>,
}

/// Length of an array in bytes.
fn len_bytes(array: &ArrayDescription) -> Result<usize, WasmError> {
    let too_large = || WasmError::Invalid(format!("an array of shape {:?} is too large", array.shape));
    let data_type =
        DataType::parse(&array.data_type).map_err(|error| WasmError::Invalid(error.to_string()))?;
    array.shape.iter().try_fold(data_type.item_size, |product, &len| {
        usize::try_from(len).ok().and_then(|len| product.checked_mul(len)).ok_or_else(too_large)
    })
}

impl WasmCodec {
    /// A codec of that name.
    ///
    /// # Errors
    /// Arrays that cannot be.
    pub fn new(name: String, recipe: Recipe) -> Result<Self, WasmError> {
        let setup = recipe.setup();
        let (decoded_len, encoded_len) = match setup.kind {
            Kind::BytesBytes => (None, None),
            Kind::ArrayBytes => (Some(len_bytes(&setup.decoded)?), None),
            Kind::ArrayArray => (Some(len_bytes(&setup.decoded)?), Some(len_bytes(&setup.encoded)?)),
        };
        Ok(Self { name, recipe, decoded_len, encoded_len })
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
            WasmError::Cancelled => CodecFault::Cancelled,
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
        Self::check(self.decoded_len, decoded.len())?;
        Self::check(self.encoded_len, encoded.len())?;
        let room = Room { expected: Some(decoded.len()), limit: decoded.len() };
        self.call(Direction::Decode, scratch, |guest| {
            guest.decode(encoded, room, &mut |result| {
                room.admit(result.len())?;
                decoded.copy_from_slice(result);
                Ok(())
            })
        })
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
