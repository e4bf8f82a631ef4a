//! Array to chunk: reads the elements that a caller assigns into a chunk's buffer.
#![expect(unsafe_code, reason = "reads memory that numpy owns")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it points to: one check covers both"
)]

use crate::plan::regions::{Extent, Region};
use crate::scatter::ArrayMemory;
use crate::strided::{self, CopyError, Side};

/// The elements of the caller's array that go into one chunk, or one inner chunk.
#[derive(Clone, Debug)]
pub struct Supply<'a> {
    memory: &'a ArrayMemory,
    region: Region,
}

impl<'a> Supply<'a> {
    /// The elements of `memory` that `region` names.
    #[must_use]
    pub fn new(memory: &'a ArrayMemory, region: Region) -> Self {
        Self { memory, region }
    }

    /// Which elements.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Some of these elements; `region` comes from narrowing this one's.
    #[must_use]
    pub fn part(&self, region: Region) -> Supply<'a> {
        Supply { memory: self.memory, region }
    }

    /// The elements as plain bytes, if they lie one after the other.
    #[must_use]
    pub fn as_contiguous(&self) -> Option<&'a [u8]> {
        let len_bytes = self.region.contiguous_len(self.memory.item_size())?;
        if len_bytes == 0 || !self.memory.extent().holds(&self.region, self.memory.item_size()) {
            return None;
        }
        let first = self.region.axes.iter().map(|axis| axis.at(0)).sum::<isize>() + self.region.base;
        // SAFETY: the extent holds the region, whose elements are contiguous from `first`;
        // `ArrayMemory::new` vouches for the memory.
        Some(unsafe { std::slice::from_raw_parts(self.memory.data().offset(first), len_bytes) })
    }

    /// Writes these elements to those of `chunk` that `target` names.
    ///
    /// # Errors
    /// A plan whose two sides do not fit (a bug of ours); nothing is written then.
    pub fn gather(&self, chunk: &mut [u8], target: &Region) -> Result<(), CopyError> {
        let target = Side { region: target, extent: Extent { lowest: 0, end: chunk.len().cast_signed() } };
        let source = Side { region: &self.region, extent: self.memory.extent() };
        // SAFETY: the slice is ours alone, `ArrayMemory::new` vouches for the source, they cannot overlap.
        unsafe {
            strided::copy(chunk.as_mut_ptr(), target, self.memory.data(), source, self.memory.item_size())
        }
    }
}
