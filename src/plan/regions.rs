//! Where in a caller's array the elements of a chunk go to or come from, as byte offsets, and the proof
//! that chunks which run at the same time never touch the same byte of an output.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::PlanError;
use super::selection::{Indices, PerAxis};

/// Byte offsets along one axis of a [`Region`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionAxis {
    /// `0`, `stride`, `2 * stride`, …
    Strided {
        /// Number of elements.
        len: usize,
        /// Bytes between neighbours; may be negative, or 0 for a repeated element.
        stride: isize,
    },
    /// Any offsets.
    Table(Arc<[isize]>),
}

impl RegionAxis {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Strided { len, .. } => *len,
            Self::Table(offsets) => offsets.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Offset of the element at `position`.
    #[must_use]
    pub fn at(&self, position: usize) -> isize {
        match self {
            Self::Strided { stride, .. } => stride * position.cast_signed(),
            Self::Table(offsets) => offsets[position],
        }
    }

    /// Least and greatest offset; `None` where there are no elements.
    pub(crate) fn bounds(&self) -> Option<(isize, isize)> {
        match self {
            Self::Strided { len: 0, .. } => None,
            Self::Strided { len, stride } => {
                let last = stride.checked_mul((len - 1).cast_signed())?;
                Some((last.min(0), last.max(0)))
            }
            Self::Table(offsets) => {
                let &first = offsets.first()?;
                Some(offsets.iter().fold((first, first), |(least, greatest), &offset| {
                    (least.min(offset), greatest.max(offset))
                }))
            }
        }
    }

    /// How many pieces there are when offsets that are closer than `apart` bytes go together.
    fn pieces(&self, apart: usize) -> usize {
        match self {
            Self::Strided { len, stride } => {
                if stride.unsigned_abs() < apart {
                    (*len).min(1)
                } else {
                    *len
                }
            }
            Self::Table(offsets) => {
                let Some(&first) = offsets.first() else { return 0 };
                // Only what leads further out is a new place for certain: others may go to and fro.
                let (mut count, mut least, mut greatest) = (1, first, first);
                for &offset in offsets.iter() {
                    let is_far = offset.abs_diff(greatest) >= apart && offset.abs_diff(least) >= apart;
                    count += usize::from(is_far && !(least..=greatest).contains(&offset));
                    (least, greatest) = (least.min(offset), greatest.max(offset));
                }
                count
            }
        }
    }

    /// The offsets at these positions: what to add to the base, and the rest.
    fn take(&self, positions: &Indices) -> (isize, Self) {
        match (self, positions) {
            (Self::Strided { stride, .. }, Indices::Range { start, step, len }) => {
                (stride * start.cast_signed(), Self::Strided { len: *len, stride: stride * step })
            }
            (Self::Strided { stride, .. }, Indices::List(list)) => {
                (0, Self::Table(list.iter().map(|&at| stride * at.cast_signed()).collect()))
            }
            (Self::Table(offsets), positions) => {
                (0, Self::Table((0..positions.len()).map(|at| offsets[positions.at(at)]).collect()))
            }
        }
    }
}

/// Elements of an array by byte offset from its first element: a product of axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset added to every element's.
    pub base: isize,
    /// Axes, outermost first.
    pub axes: PerAxis<RegionAxis>,
}

impl Region {
    /// A region from its parts.
    #[must_use]
    pub fn new(base: isize, axes: PerAxis<RegionAxis>) -> Self {
        Self { base, axes }
    }

    /// Lengths of the axes.
    #[must_use]
    pub fn lens(&self) -> Vec<usize> {
        self.axes.iter().map(RegionAxis::len).collect()
    }

    /// Number of elements.
    #[must_use]
    pub fn element_count(&self) -> usize {
        self.axes.iter().map(RegionAxis::len).product()
    }

    /// Least and greatest offset of an element; `None` for an empty region.
    #[must_use]
    pub fn bounds(&self) -> Option<(isize, isize)> {
        let mut bounds = (self.base, self.base);
        for axis in &self.axes {
            let (least, greatest) = axis.bounds()?;
            bounds = (bounds.0.checked_add(least)?, bounds.1.checked_add(greatest)?);
        }
        Some(bounds)
    }

    /// About how many pieces of memory hold the elements, where what is closer than `apart` bytes is one piece.
    #[must_use]
    pub fn pieces(&self, apart: usize) -> usize {
        self.axes.iter().map(|axis| axis.pieces(apart)).fold(1, usize::saturating_mul)
    }

    /// Narrows `axis` to these positions of it.
    pub fn narrow(&mut self, axis: usize, positions: &Indices) {
        let (first, narrowed) = self.axes[axis].take(positions);
        self.base += first;
        self.axes[axis] = narrowed;
    }

    /// The same elements with the axes in another order.
    #[must_use]
    pub fn transposed(&self, order: &[usize]) -> Self {
        Self { base: self.base, axes: order.iter().map(|&axis| self.axes[axis].clone()).collect() }
    }

    /// All elements along a single axis, in C order.
    #[must_use]
    pub fn flattened(&self) -> Self {
        if let [_] = self.axes.as_slice() {
            return self.clone();
        }
        let mut offsets = vec![0_isize];
        for axis in &self.axes {
            let mut next = Vec::with_capacity(offsets.len() * axis.len());
            for &outer in &offsets {
                next.extend((0..axis.len()).map(|at| outer + axis.at(at)));
            }
            offsets = next;
        }
        Self { base: self.base, axes: [RegionAxis::Table(offsets.into())].into_iter().collect() }
    }

    /// Stretches this region to `target_lens` by numpy's rules for assignment: axes are matched from the
    /// last, a length of 1 repeats, missing leading axes repeat, surplus leading axes must have length 1.
    ///
    /// # Errors
    /// Lengths that do not match.
    pub fn broadcast_to(&self, target_lens: &[usize]) -> Result<Self, PlanError> {
        let mismatch =
            || PlanError::Broadcast { source_shape: self.lens(), target_shape: target_lens.to_vec() };
        let surplus = self.axes.len().saturating_sub(target_lens.len());
        let mut base = self.base;
        for axis in &self.axes[..surplus] {
            if axis.len() != 1 {
                return Err(mismatch());
            }
            base += axis.at(0);
        }
        let own = &self.axes[surplus..];
        let missing = target_lens.len() - own.len();
        let mut axes = PerAxis::with_capacity(target_lens.len());
        for (at, &len) in target_lens.iter().enumerate() {
            match at.checked_sub(missing).map(|at| &own[at]) {
                None => axes.push(RegionAxis::Strided { len, stride: 0 }),
                Some(axis) if axis.len() == len => axes.push(axis.clone()),
                Some(axis) if axis.len() == 1 => {
                    base += axis.at(0);
                    axes.push(RegionAxis::Strided { len, stride: 0 });
                }
                Some(_) => return Err(mismatch()),
            }
        }
        Ok(Self { base, axes })
    }

    /// Length in bytes if the elements lie one after the other in this order.
    #[must_use]
    pub fn contiguous_len(&self, item_size: usize) -> Option<usize> {
        let mut expected = item_size.cast_signed();
        for axis in self.axes.iter().rev() {
            match axis {
                RegionAxis::Strided { len: 1, .. } => {}
                RegionAxis::Strided { len, stride } if *stride == expected => {
                    expected = expected.checked_mul(len.cast_signed())?;
                }
                RegionAxis::Table(offsets) if offsets.len() == 1 && offsets[0] == 0 => {}
                _ => return None,
            }
        }
        usize::try_from(expected).ok()
    }
}

/// The memory of an array: how far before and after its first element its bytes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the lowest byte, at most 0.
    pub lowest: isize,
    /// Offset past the highest byte.
    pub end: isize,
}

impl Extent {
    /// The extent of an array with this shape and these byte strides. Empty arrays have none.
    ///
    /// # Errors
    /// Sizes beyond what memory can hold.
    pub fn of(shape: &[usize], strides: &[isize], item_size: usize) -> Result<Self, PlanError> {
        if shape.contains(&0) {
            return Ok(Self { lowest: 0, end: 0 });
        }
        let axes =
            shape.iter().zip(strides).map(|(&len, &stride)| RegionAxis::Strided { len, stride }).collect();
        let (lowest, highest) = Region::new(0, axes).bounds().ok_or(PlanError::TooLarge)?;
        let end = highest.checked_add_unsigned(item_size).ok_or(PlanError::TooLarge)?;
        Ok(Self { lowest, end })
    }

    /// Whether every byte of every element of `region` lies inside.
    #[must_use]
    pub fn holds(&self, region: &Region, item_size: usize) -> bool {
        match region.bounds() {
            None => region.element_count() == 0,
            Some((lowest, highest)) => {
                lowest >= self.lowest
                    && highest.checked_add_unsigned(item_size).is_some_and(|end| end <= self.end)
            }
        }
    }
}

/// Output regions of a batch's chunks, none of which shares a byte with another, all inside the output.
///
/// Made only by [`DisjointRegions::prove`]; whoever holds one may write the regions from several threads if
/// [`DisjointRegions::is_parallel`], else one after the other.
#[derive(Debug)]
pub struct DisjointRegions {
    regions: Vec<Region>,
    is_parallel: bool,
}

impl DisjointRegions {
    /// Checks that the regions lie inside the output, and tries to prove them disjoint.
    ///
    /// `places` holds, for every region, the indices it takes along every axis of an output of
    /// `out_shape` whose own elements do not overlap (`has_distinct_elements`). Where the proof fails the
    /// regions are still usable, one after the other.
    ///
    /// # Errors
    /// A region that leaves the output.
    pub fn prove(
        regions: Vec<Region>,
        places: &[PerAxis<Indices>],
        out_shape: &[usize],
        extent: Extent,
        item_size: usize,
        has_distinct_elements: bool,
    ) -> Result<Self, PlanError> {
        if !regions.iter().all(|region| extent.holds(region, item_size)) {
            return Err(PlanError::Unsupported("an output region leaves the output array"));
        }
        let is_parallel = has_distinct_elements
            && places.len() == regions.len()
            && (are_ascending(places) || are_distinct_products(places, out_shape));
        Ok(Self { regions, is_parallel })
    }

    /// Number of regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Whether they may be written at the same time.
    #[must_use]
    pub fn is_parallel(&self) -> bool {
        self.is_parallel
    }

    /// The region of chunk `index`.
    #[must_use]
    pub fn region(&self, index: usize) -> &Region {
        &self.regions[index]
    }
}

/// First index and index past the last, for a range that does not repeat.
fn interval(indices: &Indices) -> Option<(usize, usize)> {
    match indices {
        Indices::Range { len: 0, start, .. } => Some((*start, *start)),
        Indices::Range { step: 0, len, .. } if *len > 1 => None,
        Indices::Range { start, len, .. } => {
            let last = indices.at(len - 1);
            Some(((*start).min(last), (*start).max(last) + 1))
        }
        Indices::List(_) => None,
    }
}

/// Whether the places are boxes in ascending order, as zarr's indexers yield them.
///
/// Neighbours must agree on some leading axes and then lie strictly after one another. That relation is
/// transitive (the smaller of two such axes decides), so checking neighbours proves all pairs disjoint.
fn are_ascending(places: &[PerAxis<Indices>]) -> bool {
    let is_after = |earlier: &PerAxis<Indices>, later: &PerAxis<Indices>| {
        for (first, second) in earlier.iter().zip(later) {
            let (Some(first), Some(second)) = (interval(first), interval(second)) else { return false };
            if first != second {
                return first.1 <= second.0;
            }
        }
        false
    };
    let all_ranges = |place: &PerAxis<Indices>| place.iter().all(|indices| interval(indices).is_some());
    places.first().is_none_or(all_ranges) && places.windows(2).all(|pair| is_after(&pair[0], &pair[1]))
}

/// Whether, along every axis, any two places take the same indices or none in common, and no two places
/// take the same on all axes: then they are disjoint products.
fn are_distinct_products(places: &[PerAxis<Indices>], out_shape: &[usize]) -> bool {
    if let &[out_len] = out_shape {
        return are_distinct_lists(places, out_len);
    }
    let mut identities: Vec<HashMap<Vec<usize>, usize>> = vec![HashMap::new(); out_shape.len()];
    let mut taken: Vec<Vec<bool>> = out_shape.iter().map(|&len| vec![false; len]).collect();
    let mut seen = HashSet::with_capacity(places.len());
    for place in places {
        if place.len() != out_shape.len() {
            return false;
        }
        let mut identity = Vec::with_capacity(place.len());
        for (axis, indices) in place.iter().enumerate() {
            let list: Vec<usize> = (0..indices.len()).map(|at| indices.at(at)).collect();
            if let Some(&known) = identities[axis].get(&list) {
                identity.push(known);
                continue;
            }
            for &index in &list {
                match taken[axis].get_mut(index) {
                    Some(slot) if !*slot => *slot = true,
                    _ => return false,
                }
            }
            let fresh = identities[axis].len();
            identities[axis].insert(list, fresh);
            identity.push(fresh);
        }
        if !seen.insert(identity) && place.iter().all(|indices| !indices.is_empty()) {
            return false;
        }
    }
    true
}

/// The same along a single axis, where no two places may have an index in common.
fn are_distinct_lists(places: &[PerAxis<Indices>], out_len: usize) -> bool {
    let mut taken = vec![false; out_len];
    let mut take = |index: usize| match taken.get_mut(index) {
        Some(slot) => !std::mem::replace(slot, true),
        None => false,
    };
    places.iter().all(|place| match place.as_slice() {
        [Indices::List(list)] => list.iter().all(|&index| take(index)),
        [range] => (0..range.len()).all(|at| take(range.at(at))),
        _ => false,
    })
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
