//! Where a codec writes: memory of a set length, or a vector that grows up to a limit.
//!
//! The formats of this folder differ in how they find the end of their data, not in what has to happen
//! when it does not fit. A decoder asks an [`Output`] for room, writes, and says how much it wrote; an
//! encoder does the same through [`append`]. Memory is lent uninitialised, because zeroing it first
//! would cost as much as some of the codecs take.
#![expect(unsafe_code, reason = "lends uninitialised memory to C codecs and takes it back as bytes")]

use std::mem::MaybeUninit;

use crate::codec::CodecFault;
use crate::codec::scratch::reserve;

/// The least that a growing output is enlarged to.
const FIRST_CAPACITY_BYTES: usize = 4096;

/// The memory that one decode call fills.
pub(super) enum Output<'a> {
    /// Memory of exactly the decoded length.
    Exact {
        /// All of it; what lies past `len` may hold anything.
        memory: &'a mut [u8],
        /// How much is written.
        len: usize,
    },
    /// A vector for data of unknown length.
    Growing {
        /// Holds exactly what is written.
        bytes: &'a mut Vec<u8>,
        /// How long it may become.
        limit_bytes: usize,
    },
}

impl<'a> Output<'a> {
    /// Fills `memory` from its start.
    pub(super) fn exact(memory: &'a mut [u8]) -> Self {
        Self::Exact { memory, len: 0 }
    }

    /// Replaces what `bytes` holds. `expected_bytes` is a guess, from a header perhaps: it is only a
    /// first step of the growth, and never beyond the limit.
    pub(super) fn growing(bytes: &'a mut Vec<u8>, limit_bytes: usize, expected_bytes: usize) -> Self {
        bytes.clear();
        // Without the memory for the guess, growth goes on from nothing and reports what is missing.
        let _ = bytes.try_reserve_exact(expected_bytes.min(limit_bytes));
        Self::Growing { bytes, limit_bytes }
    }

    /// How much is written, in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Exact { len, .. } => *len,
            Self::Growing { bytes, .. } => bytes.len(),
        }
    }

    /// What is written from `start` on.
    pub(super) fn written_from(&self, start: usize) -> &[u8] {
        match self {
            Self::Exact { memory, len } => memory.get(start..*len).unwrap_or_default(),
            Self::Growing { bytes, .. } => bytes.get(start..).unwrap_or_default(),
        }
    }

    /// The room there is now, after what is written. Decoders only write to it: bytes of it that were
    /// initialised stay so.
    pub(super) fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        match self {
            Self::Exact { memory, len } => {
                let room = memory.get_mut(*len..).unwrap_or_default();
                // SAFETY: the same memory at a type of the same layout; `advance` and this type's
                // callers, all in this folder, never store an uninitialised value through it.
                unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<u8>]) }
            }
            Self::Growing { bytes, limit_bytes } => {
                let room = limit_bytes.saturating_sub(bytes.len());
                let spare = bytes.spare_capacity_mut();
                let room = room.min(spare.len());
                &mut spare[..room]
            }
        }
    }

    /// Counts `written_bytes` of the room as written.
    ///
    /// # Safety
    /// The first `written_bytes` of [`Self::spare`] have been written.
    ///
    /// # Panics
    /// If there is less room than that.
    pub(super) unsafe fn advance(&mut self, written_bytes: usize) {
        assert!(written_bytes <= self.spare().len(), "a codec reported more output than it had room for");
        match self {
            Self::Exact { len, .. } => *len += written_bytes,
            Self::Growing { bytes, .. } => {
                // SAFETY: within the capacity, by the assertion; initialised, by the caller's promise.
                unsafe { bytes.set_len(bytes.len() + written_bytes) }
            }
        }
    }

    /// Forgets what was written after `len_bytes`.
    pub(super) fn truncate(&mut self, len_bytes: usize) {
        match self {
            Self::Exact { len, .. } => *len = len_bytes.min(*len),
            Self::Growing { bytes, .. } => bytes.truncate(len_bytes),
        }
    }

    /// Makes more room, or says that the data is too long.
    pub(super) fn grow(&mut self) -> Result<(), CodecFault> {
        match self {
            Self::Exact { memory, .. } => Err(too_long(memory.len())),
            Self::Growing { bytes, limit_bytes } => {
                let wanted = bytes.capacity().saturating_mul(2).max(FIRST_CAPACITY_BYTES).min(*limit_bytes);
                if bytes.capacity() >= *limit_bytes || wanted <= bytes.len() {
                    return Err(too_long(*limit_bytes));
                }
                bytes
                    .try_reserve_exact(wanted - bytes.len())
                    .map_err(|_| CodecFault::OutOfMemory { len_bytes: wanted })
            }
        }
    }

    /// Refuses data that ended before the set length.
    pub(super) fn finish(self) -> Result<(), CodecFault> {
        match self {
            Self::Exact { memory, len } if len < memory.len() => {
                Err(CodecFault::DecodedLength { expected: memory.len(), actual: len })
            }
            _ => Ok(()),
        }
    }
}

/// Appends to `encoded` what `write` puts at the start of the room it gets, which is `bound_bytes` or
/// more. `write` answers how much that is.
///
/// # Safety
/// `write` initialises as many bytes as it says.
///
/// # Errors
/// No memory, or the fault that `write` answered.
///
/// # Panics
/// If `write` claims more than its room.
pub(super) unsafe fn append(
    encoded: &mut Vec<u8>,
    bound_bytes: usize,
    write: impl FnOnce(&mut [MaybeUninit<u8>]) -> Result<usize, CodecFault>,
) -> Result<(), CodecFault> {
    reserve(encoded, bound_bytes)?;
    let room = encoded.spare_capacity_mut();
    let room_bytes = room.len();
    let written_bytes = write(room)?;
    assert!(written_bytes <= room_bytes, "a codec reported more output than it had room for");
    // SAFETY: within the capacity, by the assertion; initialised, by the caller's promise.
    unsafe { encoded.set_len(encoded.len() + written_bytes) };
    Ok(())
}

/// The longest that other writers' streams are taken to be, given what our encoder needs at most.
pub(super) fn generous(bound_bytes: usize) -> usize {
    bound_bytes.saturating_mul(2).saturating_add(64 << 10)
}

/// The fault for data that does not end where the output does.
pub(super) fn too_long(expected: usize) -> CodecFault {
    CodecFault::DecodedLength { expected, actual: expected.saturating_add(1) }
}

/// The fault for damaged data.
pub(super) fn damaged(what: &str) -> CodecFault {
    CodecFault::Damaged(what.to_owned())
}

/// The fault for data that stops before its format says.
pub(super) fn truncated() -> CodecFault {
    damaged("it ends before its end marker")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(output: &mut Output<'_>, bytes: &[u8]) -> Result<(), CodecFault> {
        for &byte in bytes {
            while output.spare().is_empty() {
                output.grow()?;
            }
            output.spare()[0].write(byte);
            // SAFETY: one byte was written just now.
            unsafe { output.advance(1) };
        }
        Ok(())
    }

    #[test]
    fn exact_output_wants_exactly_its_length() {
        let mut memory = [0_u8; 4];
        let mut output = Output::exact(&mut memory);
        put(&mut output, b"abc").unwrap();
        assert_eq!(output.written_from(1), b"bc");
        assert!(matches!(output.finish(), Err(CodecFault::DecodedLength { expected: 4, actual: 3 })));
        let mut output = Output::exact(&mut memory);
        put(&mut output, b"abcd").unwrap();
        assert!(matches!(put(&mut output, b"e"), Err(CodecFault::DecodedLength { expected: 4, actual: 5 })));
        output.finish().unwrap();
        assert_eq!(&memory, b"abcd");
    }

    #[test]
    fn growing_output_stops_at_its_limit() {
        let mut bytes = b"old".to_vec();
        let mut output = Output::growing(&mut bytes, 5000, usize::MAX);
        put(&mut output, &[7; 5000]).unwrap();
        assert!(put(&mut output, &[7]).is_err());
        assert_eq!(bytes, [7; 5000]);
        assert!(bytes.capacity() < 10_000);
        let mut kept = Vec::with_capacity(100);
        let mut output = Output::growing(&mut kept, 10, 0);
        assert!(put(&mut output, &[1; 11]).is_err());
        assert_eq!(kept.len(), 10);
    }
}
