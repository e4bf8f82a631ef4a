//! Memory and contexts that a worker thread keeps from one chunk to the next.
//!
//! Page faults on fresh memory cost more than most codecs do per chunk, and a new zstd context costs as
//! much as decoding 8 KiB: so buffers and contexts are taken from here and put back.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use super::CodecFault;
use crate::distance::{self, SLACK_BYTES};

/// Buffers above this stay with their chunk: a worker must not hoard memory after one huge chunk.
const KEPT_BUFFER_MAX_BYTES: usize = 64 << 20;
/// How many buffers one worker keeps.
const KEPT_BUFFERS: usize = 6;

/// Makes room for `more_bytes` more. A chunk that does not fit in memory is an error, not the end of the
/// process, which is what the standard library makes of it.
///
/// # Errors
/// No memory.
pub fn reserve(bytes: &mut Vec<u8>, more_bytes: usize) -> Result<(), CodecFault> {
    bytes.try_reserve(more_bytes).map_err(|_| CodecFault::OutOfMemory { len_bytes: more_bytes })
}

/// Sets the length of a vector; new bytes are 0.
///
/// # Errors
/// No memory.
pub fn resize(bytes: &mut Vec<u8>, len_bytes: usize) -> Result<(), CodecFault> {
    if let Some(more_bytes) = len_bytes.checked_sub(bytes.len()) {
        bytes.try_reserve_exact(more_bytes).map_err(|_| CodecFault::OutOfMemory { len_bytes: more_bytes })?;
    }
    bytes.resize(len_bytes, 0);
    Ok(())
}

/// A copy of `bytes`.
///
/// # Errors
/// No memory.
pub fn copy_of(bytes: &[u8]) -> Result<Vec<u8>, CodecFault> {
    let mut copy = Vec::new();
    reserve(&mut copy, bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Bytes of a set length whose memory is reused; they hold whatever the last user left.
#[derive(Debug, Default)]
pub struct ScratchBuffer {
    /// As long as it ever was: memory is initialised once and never again.
    bytes: Vec<u8>,
    /// Where they begin in it, out of the way of what is copied from and to them.
    start: usize,
    len: usize,
}

/// Buffers shorter than this begin where they are.
const PLACED_BYTES: usize = 16 << 10;

impl ScratchBuffer {
    /// Sets the length; bytes past the old length are unspecified.
    ///
    /// # Errors
    /// No memory.
    pub fn set_len(&mut self, len_bytes: usize) -> Result<(), CodecFault> {
        if self.room_bytes() < len_bytes {
            self.grow(len_bytes)?;
        }
        self.len = len_bytes;
        Ok(())
    }

    #[cold]
    fn grow(&mut self, len_bytes: usize) -> Result<(), CodecFault> {
        let slack = if len_bytes < PLACED_BYTES { 0 } else { SLACK_BYTES };
        let wanted = len_bytes.checked_add(slack).ok_or(CodecFault::OutOfMemory { len_bytes })?;
        resize(&mut self.bytes, wanted)?;
        let start = if slack == 0 { 0 } else { distance::padding(self.bytes.as_ptr().addr()) };
        self.bytes.copy_within(self.start..self.start + self.len, start);
        self.start = start;
        Ok(())
    }

    /// Bytes that it can hold without more memory.
    fn room_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }
}

impl Deref for ScratchBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for ScratchBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// One worker's buffers and codec contexts.
#[derive(Default)]
pub struct Scratch {
    buffers: Vec<ScratchBuffer>,
    vectors: Vec<Vec<u8>>,
    contexts: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Scratch {
    /// A buffer without bytes, to be filled by whoever knows the length; give it back with
    /// [`Scratch::put`].
    #[must_use]
    pub fn take_empty(&mut self) -> ScratchBuffer {
        self.find(0)
    }

    /// A buffer of `len_bytes` with unspecified contents; give it back with [`Scratch::put`].
    ///
    /// # Errors
    /// No memory.
    pub fn take(&mut self, len_bytes: usize) -> Result<ScratchBuffer, CodecFault> {
        let mut buffer = self.find(len_bytes);
        buffer.set_len(len_bytes)?;
        Ok(buffer)
    }

    /// The kept buffer that fits best, or a new one.
    fn find(&mut self, len_bytes: usize) -> ScratchBuffer {
        // The smallest that is large enough, else the largest (it grows once).
        let best = self
            .buffers
            .iter()
            .enumerate()
            .min_by_key(|(_, buffer)| {
                let have = buffer.room_bytes();
                if have >= len_bytes { (0, have) } else { (1, usize::MAX - have) }
            })
            .map(|(index, _)| index);
        let mut buffer = best.map_or_else(ScratchBuffer::default, |index| self.buffers.swap_remove(index));
        buffer.len = 0;
        buffer
    }

    /// Gives a buffer back.
    pub fn put(&mut self, buffer: ScratchBuffer) {
        if buffer.bytes.len() <= KEPT_BUFFER_MAX_BYTES + SLACK_BYTES && self.buffers.len() < KEPT_BUFFERS {
            self.buffers.push(buffer);
        }
    }

    /// An empty vector that kept its capacity; give it back with [`Scratch::put_vec`].
    #[must_use]
    pub fn take_vec(&mut self) -> Vec<u8> {
        let mut bytes = self.vectors.pop().unwrap_or_default();
        bytes.clear();
        bytes
    }

    /// Gives a vector back.
    pub fn put_vec(&mut self, bytes: Vec<u8>) {
        if bytes.capacity() <= KEPT_BUFFER_MAX_BYTES && self.vectors.len() < KEPT_BUFFERS {
            self.vectors.push(bytes);
        }
    }

    /// How many contexts there are.
    #[must_use]
    pub fn context_count(&self) -> usize {
        self.contexts.len()
    }

    /// The kept context of type `T`, made on first use.
    pub fn context<T: Default + Send + 'static>(&mut self) -> &mut T {
        let slot = self.contexts.entry(TypeId::of::<T>()).or_insert_with(|| Box::<T>::default());
        match slot.downcast_mut::<T>() {
            Some(context) => context,
            None => unreachable!("the slot of a type holds that type"),
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Scratch")
            .field("buffers", &self.buffers.len())
            .field("contexts", &self.contexts.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_holds_survives_growth() {
        let mut buffer = ScratchBuffer::default();
        let mut held = Vec::new();
        for len in [10, 5000, PLACED_BYTES, 50_000, 1 << 20, 100, 1 << 21] {
            buffer.set_len(len).unwrap();
            let kept = held.len().min(len);
            assert_eq!(buffer[..kept], held[..kept], "{len}");
            assert_eq!(buffer.len(), len);
            held = (0..=252).cycle().take(len).collect();
            buffer.copy_from_slice(&held);
            if buffer.start > 0 {
                assert_eq!(buffer.as_ptr().addr() % 4096, distance::OFFSET_BYTES);
            }
        }
        assert!(buffer.set_len(usize::MAX).is_err());
        assert_eq!(*buffer, held[..]);
    }
}
