//! Chunk to array: writes decoded elements, or the fill value, to their places in the caller's array.
#![expect(unsafe_code, reason = "writes into memory that numpy owns")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it points to: one check covers both"
)]

use crate::plan::regions::{DisjointRegions, Extent, Region};
use crate::strided::{self, CopyError, Side};

/// The memory of an array that Python owns, for as long as whoever made this keeps the array alive.
#[derive(Clone, Copy, Debug)]
pub struct ArrayMemory {
    data: *mut u8,
    extent: Extent,
    item_size: usize,
}

// SAFETY: the pointer is only dereferenced by `scatter` and `gather`, whose callers keep regions apart.
unsafe impl Send for ArrayMemory {}
// SAFETY: as above.
unsafe impl Sync for ArrayMemory {}

impl ArrayMemory {
    /// Memory around `data`, the array's first element.
    ///
    /// # Safety
    /// `data` must stay valid over `extent` (for writes too, if it will be scattered to) for as long as the
    /// value or a copy of it is used, and nobody else may write there meanwhile.
    #[must_use]
    pub unsafe fn new(data: *mut u8, extent: Extent, item_size: usize) -> Self {
        Self { data, extent, item_size }
    }

    /// Bytes per element.
    #[must_use]
    pub fn item_size(&self) -> usize {
        self.item_size
    }

    /// What memory there is.
    #[must_use]
    pub fn extent(&self) -> Extent {
        self.extent
    }

    pub(crate) fn data(&self) -> *mut u8 {
        self.data
    }

    /// The first `len_bytes` bytes from the first element on, if there are so many.
    #[must_use]
    pub fn contiguous_prefix(&self, len_bytes: usize) -> Option<&[u8]> {
        if self.extent.lowest != 0 || self.extent.end < len_bytes.cast_signed() {
            return None;
        }
        // SAFETY: the extent holds these bytes, and `ArrayMemory::new` vouches for it.
        Some(unsafe { std::slice::from_raw_parts(self.data, len_bytes) })
    }
}

/// An output array with the regions that a batch's chunks write.
#[derive(Debug)]
pub struct Output {
    memory: ArrayMemory,
    regions: DisjointRegions,
}

impl Output {
    /// Pairs memory with regions of it.
    #[must_use]
    pub fn new(memory: ArrayMemory, regions: DisjointRegions) -> Self {
        Self { memory, regions }
    }

    /// The regions.
    #[must_use]
    pub fn regions(&self) -> &DisjointRegions {
        &self.regions
    }

    /// The place of chunk `index`. Whoever asks for the same chunk twice must not use both at once.
    #[must_use]
    pub fn place(&self, index: usize) -> Place<'_> {
        Place { memory: &self.memory, region: std::borrow::Cow::Borrowed(self.regions.region(index)) }
    }
}

/// The elements of the output that one chunk, or one inner chunk, writes.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    memory: &'a ArrayMemory,
    region: std::borrow::Cow<'a, Region>,
}

impl<'a> Place<'a> {
    /// Which elements.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Bytes per element.
    #[must_use]
    pub fn item_size(&self) -> usize {
        self.memory.item_size
    }

    /// A part of this place; `region` comes from narrowing this one's.
    #[must_use]
    pub fn part(&self, region: Region) -> Place<'a> {
        Place { memory: self.memory, region: std::borrow::Cow::Owned(region) }
    }

    /// The place as plain bytes, if its elements lie one after the other.
    pub fn as_contiguous(&mut self) -> Option<&mut [u8]> {
        let len_bytes = self.region.contiguous_len(self.memory.item_size)?;
        if len_bytes == 0 || !self.memory.extent.holds(&self.region, self.memory.item_size) {
            return None;
        }
        let first = self.region.axes.iter().map(|axis| axis.at(0)).sum::<isize>() + self.region.base;
        // SAFETY: the extent holds the region, whose elements are contiguous from `first`; the regions of a
        // batch are disjoint or run one after the other, so this is the only access to these bytes.
        Some(unsafe { std::slice::from_raw_parts_mut(self.memory.data.offset(first), len_bytes) })
    }

    /// Writes the elements of `chunk` that `source` names to this place.
    ///
    /// # Errors
    /// A plan whose two sides do not fit (a bug of ours); nothing is written then.
    pub fn scatter(&self, chunk: &[u8], source: &Region) -> Result<(), CopyError> {
        let target = Side { region: &self.region, extent: self.memory.extent };
        let source = Side { region: source, extent: Extent { lowest: 0, end: chunk.len().cast_signed() } };
        // SAFETY: `ArrayMemory::new` vouches for the target, the slice for the source, and they cannot
        // overlap since the slice is ours; regions of a batch are disjoint or run one after the other.
        unsafe { strided::copy(self.memory.data, target, chunk.as_ptr(), source, self.memory.item_size) }
    }

    /// Writes `element` to every element of this place.
    ///
    /// # Errors
    /// As [`Place::scatter`].
    pub fn fill(&self, element: &[u8]) -> Result<(), CopyError> {
        self.scatter(element, &repeated(&self.region))
    }
}

/// A region of the same shape in which every element is the first byte's.
#[must_use]
pub fn repeated(region: &Region) -> Region {
    let axes = region
        .axes
        .iter()
        .map(|axis| crate::plan::RegionAxis::Strided { len: axis.len(), stride: 0 })
        .collect();
    Region::new(0, axes)
}
