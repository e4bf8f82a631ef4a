//! Stored bytes that are the elements: reading only those that are selected. Used by [`super::chunk`] for plain
//! chunks; [`super::survey`] says beforehand what it comes to.
//!
//! One request from the first to the last byte selected is simple and often right. But between the rows of a
//! window lie bytes that nobody asked for, and copying them costs more than a further request once there are
//! enough: then each row is read alone, straight to its place where it is contiguous there.

use smallvec::SmallVec;

use crate::codec::Scratch;
use crate::error::Error;
use crate::plan::{Indices, Region, RegionAxis};
use crate::scatter::Place;
use crate::schedule::Work;
use crate::store::ByteSource;

use super::parts;

/// Reads the elements at the byte offsets of `region` in the stored chunk to their place.
///
/// # Errors
/// The store's failure.
pub(super) fn read(
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    work: Work<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let Some(span) = Span::of(region, place.item_size()) else { return Ok(()) };
    let cost_bytes = source.request_cost_bytes();
    if let Some(axis) = cost_bytes.and_then(|cost_bytes| span.sparse_axis(region, cost_bytes)) {
        return work.for_each(region.axes[axis].len(), scratch, |position, work, scratch| {
            let row_place = some_of(place.region(), axis, position, 1);
            read(source, &some_of(region, axis, position, 1), &place.part(row_place), work, scratch)
        });
    }
    if region.contiguous_len(place.item_size()) == Some(span.len_bytes())
        && let Some(target) = place.clone().as_contiguous()
    {
        return parts::read_into(source, span.range(), target, work, scratch);
    }
    if let Some((axis, positions)) = cost_bytes.and_then(|cost_bytes| span.slab(region, cost_bytes)) {
        let len = region.axes[axis].len();
        return work.for_each(len.div_ceil(positions), scratch, |at, _, scratch| {
            let (start, len) = (at * positions, positions.min(len - at * positions));
            let slab_place = some_of(place.region(), axis, start, len);
            read_span(source, &some_of(region, axis, start, len), &place.part(slab_place), scratch)
        });
    }
    read_span(source, region, place, scratch)
}

/// Reads from the first to the last byte of `region`, and scatters them.
fn read_span(
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let Some(span) = Span::of(region, place.item_size()) else { return Ok(()) };
    let mut within = region.clone();
    within.base -= span.lowest;
    let mut buffer = scratch.take_empty();
    let result = source.read(span.range(), &mut buffer).and_then(|bytes| Ok(place.scatter(&bytes, &within)?));
    scratch.put(buffer);
    result
}

/// Bytes that are read at once before they are scattered: they are still in the second-level cache then.
const SLAB_BYTES: usize = 256 << 10;

/// From the first to the last byte of a region.
pub(super) struct Span {
    lowest: isize,
    end: isize,
    item_size: usize,
    /// Bytes from the first to the last element along each axis.
    axes: SmallVec<[usize; 4]>,
}

impl Span {
    /// `None` for a region without elements.
    pub(super) fn of(region: &Region, item_size: usize) -> Option<Self> {
        let (mut lowest, mut highest) = (region.base, region.base);
        let mut axes = SmallVec::with_capacity(region.axes.len());
        for axis in &region.axes {
            let (least, greatest) = axis.bounds()?;
            (lowest, highest) = (lowest + least, highest + greatest);
            axes.push(greatest.abs_diff(least));
        }
        Some(Self { lowest, end: highest + item_size.cast_signed(), item_size, axes })
    }

    pub(super) fn lowest(&self) -> isize {
        self.lowest
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.end.abs_diff(self.lowest)
    }

    fn range(&self) -> std::ops::Range<u64> {
        self.lowest.unsigned_abs() as u64..self.end.unsigned_abs() as u64
    }

    /// Axes with more than one position, and the bytes between neighbours on average.
    pub(super) fn steps(&self, region: &Region) -> impl Iterator<Item = (usize, usize)> {
        let lens = region.axes.iter().map(RegionAxis::len);
        self.axes
            .iter()
            .zip(lens)
            .enumerate()
            .filter(|(_, (_, len))| *len > 1)
            .map(|(axis, (span, len))| (axis, span / (len - 1)))
    }

    /// The axis whose neighbours lie furthest apart, if between them there are more bytes that nobody asked
    /// for than a request costs.
    fn sparse_axis(&self, region: &Region, request_cost_bytes: u64) -> Option<usize> {
        let (axis, step) = self.steps(region).max_by_key(|(_, step)| *step)?;
        let row_bytes = self.axes.iter().sum::<usize>() - self.axes[axis] + self.item_size;
        (step.saturating_sub(row_bytes) as u64 > request_cost_bytes).then_some(axis)
    }

    /// The outermost axis and how many positions of it make a slab, where the whole is more than one and a
    /// request costs next to nothing of it.
    fn slab(&self, region: &Region, request_cost_bytes: u64) -> Option<(usize, usize)> {
        if self.len_bytes() <= SLAB_BYTES || request_cost_bytes > SLAB_BYTES as u64 / 16 {
            return None;
        }
        let (axis, step) = self.steps(region).max_by_key(|(_, step)| *step)?;
        let positions = (SLAB_BYTES / step.max(1)).max(1);
        let is_even = matches!(region.axes[axis], RegionAxis::Strided { .. });
        (is_even && step > 0 && positions < region.axes[axis].len()).then_some((axis, positions))
    }
}

/// The region with only `len` positions of `axis`, from `start` on.
pub(super) fn some_of(region: &Region, axis: usize, start: usize, len: usize) -> Region {
    let mut some = region.clone();
    some.narrow(axis, &Indices::Range { start, step: 1, len });
    some
}

/// How many requests [`read`] makes for a region, and of how many bytes in all. (The slabs of one span count as
/// one.)
pub(super) fn count(region: &Region, item_size: usize, request_cost_bytes: Option<u64>) -> (usize, usize) {
    let Some(span) = Span::of(region, item_size) else { return (1, 0) };
    match request_cost_bytes.and_then(|cost_bytes| span.sparse_axis(region, cost_bytes)) {
        None => (1, span.len_bytes()),
        Some(axis) => {
            // All rows are alike but for where they begin.
            let (ranges, bytes) = count(&some_of(region, axis, 0, 1), item_size, request_cost_bytes);
            let len = region.axes[axis].len();
            (ranges * len, bytes * len)
        }
    }
}
