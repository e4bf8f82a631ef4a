//! What the guests of the chonkle family share: a function for each direction that turns all bytes into all bytes.

use super::{Guest, Room, Take};
use crate::wasm::{Session, WasmError};

/// The functions of a guest, which may lack one.
pub(super) struct TwoWays<F> {
    decode: Option<F>,
    encode: Option<F>,
}

impl<F> TwoWays<F> {
    /// Those of the usual names.
    pub(super) fn find(
        mut find: impl FnMut(&str) -> Result<Option<F>, WasmError>,
    ) -> Result<Self, WasmError> {
        Ok(Self { decode: find("decode")?, encode: find("encode")? })
    }

    /// That of a direction.
    pub(super) fn of(&self, is_decoding: bool) -> Result<&F, WasmError> {
        let (found, name) = if is_decoding { (&self.decode, "decode") } else { (&self.encode, "encode") };
        found.as_ref().ok_or_else(|| WasmError::Missing(name.to_owned()))
    }
}

/// A guest that runs either of them.
pub(super) trait Transform: Send {
    /// Hands the result to `take`, once `room` admits it.
    fn run(
        &mut self,
        is_decoding: bool,
        data: &[u8],
        room: Room,
        take: &mut Take<'_>,
    ) -> Result<(), WasmError>;

    fn session(&self) -> &Session;
}

impl<T: Transform> Guest for T {
    fn decode(&mut self, encoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        self.run(true, encoded, room, take)
    }

    fn encode(&mut self, decoded: &[u8], room: Room, take: &mut Take<'_>) -> Result<(), WasmError> {
        self.run(false, decoded, room, take)
    }

    fn memory_bytes(&self) -> usize {
        self.session().memory_bytes()
    }
}
