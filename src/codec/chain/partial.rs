//! Parts of chunks, where a chain has a single step and that offers them: the codec's own methods of the same names,
//! with errors that name it.

use super::{Chain, step_error};
use crate::codec::partial::{Layout, Stream};
use crate::codec::{Direction, Scratch};
use crate::error::StepError;

impl Chain {
    /// How many bytes from the start of a chunk [`Chain::layout`] wants to see at least; `None` where only all
    /// of it can be decoded.
    #[must_use]
    pub fn head_bytes(&self) -> Option<usize> {
        self.only_step()?.codec.head_bytes()
    }

    /// What of a chunk of `encoded_len` bytes can be decoded alone, by its first bytes.
    ///
    /// # Errors
    /// The step that failed.
    pub fn layout(&self, head: &[u8], encoded_len: usize) -> Result<Layout, StepError> {
        let Some(only) = self.only_step() else { return Ok(Layout::Whole) };
        only.codec.layout(head, encoded_len, self.len_bytes).map_err(|fault| step_error(only, fault))
    }

    /// Whether [`Chain::stream`] may answer.
    #[must_use]
    pub fn has_stream(&self) -> bool {
        self.only_step().is_some_and(|only| only.codec.has_stream())
    }

    /// Begins to decode a chunk from front to back, as [`crate::codec::Codec::stream`].
    ///
    /// # Errors
    /// The step that failed.
    pub fn stream<'s>(
        &self,
        head: &[u8],
        held_bytes: usize,
        scratch: &'s mut Scratch,
    ) -> Result<Option<&'s mut dyn Stream>, StepError> {
        let Some(only) = self.only_step() else { return Ok(None) };
        only.codec.stream(head, self.len_bytes, held_bytes, scratch).map_err(|fault| step_error(only, fault))
    }

    /// Length in bytes of the parts of a serial buffer that can be encoded alone, if the chain has a single step
    /// that can.
    #[must_use]
    pub fn part_bytes(&self, decoded: &[u8]) -> Option<usize> {
        self.only_step()?.codec.part_bytes(decoded)
    }

    /// Encodes a part, replacing what `encoded` holds.
    ///
    /// # Errors
    /// The step that failed.
    pub fn encode_part(
        &self,
        part: &[u8],
        encoded: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        encoded.clear();
        let Some(only) = self.only_step() else { return Err(self.length_fault(part.len())) };
        only.codec.encode_part(part, encoded, scratch).map_err(|fault| self.fault(Direction::Encode, fault))
    }

    /// Adds an encoded part to those before it, as [`crate::codec::Codec::join_part`].
    ///
    /// # Errors
    /// The step that failed.
    pub fn join_part(
        &self,
        part: &[u8],
        first_byte: usize,
        encoded: &mut Vec<u8>,
    ) -> Result<bool, StepError> {
        let Some(only) = self.only_step() else { return Ok(false) };
        only.codec
            .join_part(part, first_byte, self.len_bytes, encoded)
            .map_err(|fault| self.fault(Direction::Encode, fault))
    }

    /// Room for the first `needed_bytes` of the serial buffer, if the chain has a single step that can stop
    /// after them.
    #[must_use]
    pub fn prefix_room(&self, encoded: &[u8], needed_bytes: usize) -> Option<usize> {
        let only = self.only_step()?;
        let slack = only.codec.prefix_slack(encoded, self.len_bytes)?;
        Some(needed_bytes.saturating_add(slack).min(self.len_bytes))
    }

    /// Decodes at least the first `needed_bytes` of the serial buffer into `room`, which is as long as
    /// [`Chain::prefix_room`] says.
    ///
    /// # Errors
    /// The step that failed.
    pub fn decode_prefix(
        &self,
        encoded: &[u8],
        needed_bytes: usize,
        room: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        let Some(only) = self.only_step() else { return Err(self.length_fault(encoded.len())) };
        only.codec
            .decode_prefix(encoded, needed_bytes, room, scratch)
            .map_err(|fault| step_error(only, fault))
    }
}
