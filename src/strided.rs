//! Copies elements from one region of memory to another: the kernel under [`crate::scatter`] and
//! [`crate::gather`].
//!
//! The plain algorithm is a nest of loops over the axes that both regions share. What it does better:
//! 1. Axes of length 1 vanish and neighbouring axes that continue each other on both sides become one, so
//!    that a chunk that spans whole rows of the array is a handful of long `memcpy`s.
//! 2. Axes run in order of falling destination stride: stores stream forward whatever the array's order.
//!    (Every axis still runs upwards, so the last of several equal indices wins, as in numpy.)
//! 3. Where source and destination disagree on the innermost axis (a transposition), those two axes run in
//!    tiles that stay in the first-level cache.
//! 4. Elements of 1, 2, 4, 8 and 16 bytes move as one register, short runs as a few.
#![expect(unsafe_code, reason = "copies between raw memory of two arrays; the only loops that do")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "load, store and step of one element belong together"
)]

use smallvec::SmallVec;

use crate::distance;
use crate::plan::regions::{Extent, Region, RegionAxis};

/// Elements along each side of a tile of a transposition: 32 × 32 × 8 bytes is 8 KiB on either side.
const TILE: usize = 32;

/// One loop of the nest.
#[derive(Clone, Debug)]
struct Loop {
    len: usize,
    /// Bytes between neighbours in the destination and the source, unless a table says otherwise.
    target_stride: isize,
    source_stride: isize,
    tables: Option<(RegionAxis, RegionAxis)>,
}

impl Loop {
    fn offsets(&self, position: usize) -> (isize, isize) {
        match &self.tables {
            None => {
                (self.target_stride * position.cast_signed(), self.source_stride * position.cast_signed())
            }
            Some((target, source)) => (target.at(position), source.at(position)),
        }
    }

    fn is_strided(&self) -> bool {
        self.tables.is_none()
    }
}

/// Why a copy was refused: a bug in the plan, never a property of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The two regions have different shapes.
    #[error("regions of different shapes meet in a copy")]
    Shape,
    /// A region leaves the memory it is said to be in.
    #[error("a region leaves its memory")]
    Bounds,
}

/// One side of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    /// Which elements.
    pub(crate) region: &'a Region,
    /// What memory there is around the pointer.
    pub(crate) extent: Extent,
}

/// Copies every element of `source` to the element of `target` at the same position.
///
/// # Errors
/// Regions whose shapes differ, or that leave their extents; nothing is copied then.
///
/// # Safety
/// `target_data` must be valid for writes over `target.extent`, `source_data` for reads over
/// `source.extent`; the two must not overlap; nobody else may write either, or read `target`'s elements,
/// meanwhile.
pub(crate) unsafe fn copy(
    target_data: *mut u8,
    target: Side<'_>,
    source_data: *const u8,
    source: Side<'_>,
    item_size: usize,
) -> Result<(), CopyError> {
    if target.region.axes.len() != source.region.axes.len() {
        return Err(CopyError::Shape);
    }
    let mut loops: SmallVec<[Loop; 4]> = SmallVec::new();
    let mut is_empty = item_size == 0;
    for (target_axis, source_axis) in target.region.axes.iter().zip(&source.region.axes) {
        let len = target_axis.len();
        if len != source_axis.len() {
            return Err(CopyError::Shape);
        }
        is_empty |= len == 0;
        loops.push(match (target_axis, source_axis) {
            (
                RegionAxis::Strided { stride: target_stride, .. },
                RegionAxis::Strided { stride: source_stride, .. },
            ) => Loop { len, target_stride: *target_stride, source_stride: *source_stride, tables: None },
            _ => Loop {
                len,
                target_stride: step_of(target_axis),
                source_stride: step_of(source_axis),
                tables: Some((target_axis.clone(), source_axis.clone())),
            },
        });
    }
    if is_empty {
        return Ok(());
    }
    if !target.extent.holds(target.region, item_size) || !source.extent.holds(source.region, item_size) {
        return Err(CopyError::Bounds);
    }
    let mut target_base = target.region.base;
    let mut source_base = source.region.base;
    loops.retain(|each| {
        if each.len > 1 {
            return true;
        }
        let (target_offset, source_offset) = each.offsets(0);
        target_base += target_offset;
        source_base += source_offset;
        false
    });
    loops.sort_by_key(|each| std::cmp::Reverse(each.target_stride.unsigned_abs()));
    merge(&mut loops);
    // SAFETY: both offsets are those of an element, which the extents hold.
    let (target_data, source_data) =
        unsafe { (target_data.offset(target_base), source_data.offset(source_base)) };
    // SAFETY: every offset that the nest reaches from here is that of an element inside its extent; the
    // caller vouches for the extents.
    unsafe {
        match item_size {
            1 => run::<u8>(target_data, source_data, &mut loops),
            2 => run::<u16>(target_data, source_data, &mut loops),
            4 => run::<u32>(target_data, source_data, &mut loops),
            8 => run::<u64>(target_data, source_data, &mut loops),
            16 => run::<u128>(target_data, source_data, &mut loops),
            _ => run_sized(target_data, source_data, &loops, item_size),
        }
    }
    Ok(())
}

/// Distance between the first two elements: what a table is sorted by.
fn step_of(axis: &RegionAxis) -> isize {
    match axis {
        RegionAxis::Strided { stride, .. } => *stride,
        RegionAxis::Table(offsets) => match offsets.as_ref() {
            [first, second, ..] => second - first,
            _ => 0,
        },
    }
}

/// Joins neighbouring loops that continue each other on both sides.
fn merge(loops: &mut SmallVec<[Loop; 4]>) {
    let mut at = 1;
    while at < loops.len() {
        let (outer, inner) = (&loops[at - 1], &loops[at]);
        let inner_len = inner.len.cast_signed();
        if outer.is_strided()
            && inner.is_strided()
            && outer.target_stride == inner.target_stride * inner_len
            && outer.source_stride == inner.source_stride * inner_len
        {
            let len = outer.len * inner.len;
            loops[at - 1] = Loop { len, ..loops[at].clone() };
            loops.remove(at);
        } else {
            at += 1;
        }
    }
}

/// Calls `body` with the offsets of every position of one loop.
#[inline]
fn step(each: &Loop, mut body: impl FnMut(isize, isize)) {
    match &each.tables {
        None => {
            let (mut target, mut source) = (0, 0);
            for _ in 0..each.len {
                body(target, source);
                target += each.target_stride;
                source += each.source_stride;
            }
        }
        Some((RegionAxis::Table(targets), RegionAxis::Table(sources))) => {
            targets.iter().zip(sources.iter()).for_each(|(&target, &source)| body(target, source));
        }
        Some((RegionAxis::Table(targets), RegionAxis::Strided { stride, .. })) => {
            targets.iter().fold(0, |source, &target| {
                body(target, source);
                source + stride
            });
        }
        Some((RegionAxis::Strided { stride, .. }, RegionAxis::Table(sources))) => {
            sources.iter().fold(0, |target, &source| {
                body(target, source);
                target + stride
            });
        }
        Some((RegionAxis::Strided { .. }, RegionAxis::Strided { .. })) => {
            (0..each.len).map(|position| each.offsets(position)).for_each(|(target, source)| {
                body(target, source);
            });
        }
    }
}

/// Calls `body` with the offsets of every position of the loops.
#[inline]
fn walk(loops: &[Loop], mut body: impl FnMut(isize, isize)) {
    match loops {
        [] => body(0, 0),
        [only] => step(only, body),
        [outer, inner] => {
            step(outer, |target, source| step(inner, |to, from| body(target + to, source + from)));
        }
        [outer @ .., inner] => {
            let mut positions: SmallVec<[usize; 4]> = SmallVec::from_elem(0, outer.len());
            loop {
                let mut sums = (0, 0);
                for (each, &position) in outer.iter().zip(&positions) {
                    let (target, source) = each.offsets(position);
                    sums = (sums.0 + target, sums.1 + source);
                }
                step(inner, |to, from| body(sums.0 + to, sums.1 + from));
                let mut axis = outer.len();
                loop {
                    if axis == 0 {
                        return;
                    }
                    axis -= 1;
                    positions[axis] += 1;
                    if positions[axis] < outer[axis].len {
                        break;
                    }
                    positions[axis] = 0;
                }
            }
        }
    }
}

/// Copies a run of bytes from every position of the loops. Short ones without calling `memcpy`: the call costs as
/// much as 32 bytes do, and rows of small chunks are no longer than that.
///
/// # Safety
/// As [`copy`]: the offsets that the loops reach are those of runs of `len_bytes` bytes on either side.
unsafe fn copy_runs(target: *mut u8, source: *const u8, loops: &[Loop], len_bytes: usize) {
    /// Moves one block, of a size that is known at compile time.
    #[inline]
    unsafe fn block<const N: usize>(target: *mut u8, source: *const u8) {
        // SAFETY: the caller's.
        unsafe { target.cast::<[u8; N]>().write_unaligned(source.cast::<[u8; N]>().read_unaligned()) }
    }
    /// Moves runs of at most two blocks, which may overlap.
    #[inline]
    unsafe fn pairs<const N: usize>(target: *mut u8, source: *const u8, loops: &[Loop], len_bytes: usize) {
        let last = len_bytes - N;
        walk(loops, |to, from| {
            // SAFETY: `last + N` is the length of the run.
            unsafe {
                let (target, source) = (target.offset(to), source.offset(from));
                block::<N>(target, source);
                block::<N>(target.add(last), source.add(last));
            }
        });
    }
    // SAFETY: each arm moves the bytes of runs only.
    unsafe {
        match len_bytes {
            4..=8 => pairs::<4>(target, source, loops, len_bytes),
            9..=16 => pairs::<8>(target, source, loops, len_bytes),
            17..=32 => pairs::<16>(target, source, loops, len_bytes),
            33..=64 => pairs::<32>(target, source, loops, len_bytes),
            65..=128 => pairs::<64>(target, source, loops, len_bytes),
            _ => walk(loops, |to, from| {
                let (target, source) = (target.offset(to), source.offset(from));
                if distance::is_bad(source.addr(), target.addr(), len_bytes) {
                    // No one else has either run while this lasts: the caller's promise.
                    let target = std::slice::from_raw_parts_mut(target, len_bytes);
                    distance::copy(target, std::slice::from_raw_parts(source, len_bytes));
                } else {
                    std::ptr::copy_nonoverlapping(source, target, len_bytes);
                }
            }),
        }
    }
}

/// # Safety
/// As [`copy`]: every offset the loops reach is that of an element on either side.
unsafe fn run<T: Copy>(target: *mut u8, source: *const u8, loops: &mut SmallVec<[Loop; 4]>) {
    let size = size_of::<T>().cast_signed();
    // A transposition: the source runs on along another axis than the destination does.
    let is_transposition =
        loops.last().is_some_and(|inner| inner.is_strided() && inner.source_stride != size);
    let other = loops.iter().position(|each| each.is_strided() && each.source_stride == size);
    if let (true, Some(other)) = (is_transposition, other) {
        let columns = loops.remove(other);
        if let Some(rows) = loops.pop() {
            walk(loops, |target_offset, source_offset| {
                // SAFETY: offsets of elements, see above.
                unsafe {
                    transpose::<T>(
                        target.offset(target_offset),
                        source.offset(source_offset),
                        &columns,
                        &rows,
                    );
                }
            });
        }
        return;
    }
    let Some(inner) = loops.pop() else {
        // SAFETY: a single element, see above.
        unsafe { target.cast::<T>().write_unaligned(source.cast::<T>().read_unaligned()) };
        return;
    };
    if inner.is_strided() && inner.target_stride == size && inner.source_stride == size {
        // SAFETY: runs of elements that lie one after the other on both sides, which do not overlap.
        unsafe { copy_runs(target, source, loops, inner.len * size_of::<T>()) };
    } else if inner.is_strided() && inner.target_stride == size && inner.source_stride == 0 {
        walk(loops, |target_offset, source_offset| {
            // SAFETY: one element repeated over a run of elements.
            unsafe {
                let element = source.offset(source_offset).cast::<T>().read_unaligned();
                let row = target.offset(target_offset).cast::<T>();
                for position in 0..inner.len {
                    row.add(position).write_unaligned(element);
                }
            }
        });
    } else if inner.is_strided() {
        walk(loops, |target_offset, source_offset| {
            // SAFETY: offsets of elements, see above.
            unsafe {
                let mut to = target.offset(target_offset);
                let mut from = source.offset(source_offset);
                for _ in 1..inner.len {
                    to.cast::<T>().write_unaligned(from.cast::<T>().read_unaligned());
                    to = to.offset(inner.target_stride);
                    from = from.offset(inner.source_stride);
                }
                to.cast::<T>().write_unaligned(from.cast::<T>().read_unaligned());
            }
        });
    } else {
        walk(loops, |target_offset, source_offset| {
            step(&inner, |to, from| {
                // SAFETY: offsets of elements, see above.
                unsafe {
                    let element = source.offset(source_offset + from).cast::<T>().read_unaligned();
                    target.offset(target_offset + to).cast::<T>().write_unaligned(element);
                }
            });
        });
    }
}

/// Copies a plane in tiles; `rows` is innermost in the destination, `columns` in the source.
///
/// # Safety
/// As [`copy`].
unsafe fn transpose<T: Copy>(target: *mut u8, source: *const u8, columns: &Loop, rows: &Loop) {
    for column_tile in (0..columns.len).step_by(TILE) {
        let column_end = (column_tile + TILE).min(columns.len);
        for row_tile in (0..rows.len).step_by(TILE) {
            let row_end = (row_tile + TILE).min(rows.len);
            for column in column_tile..column_end {
                let (to_column, from_column) = columns.offsets(column);
                for row in row_tile..row_end {
                    let (to_row, from_row) = rows.offsets(row);
                    // SAFETY: offsets of elements, see the caller.
                    unsafe {
                        let element = source.offset(from_column + from_row).cast::<T>().read_unaligned();
                        target.offset(to_column + to_row).cast::<T>().write_unaligned(element);
                    }
                }
            }
        }
    }
}

/// Elements of any size.
///
/// # Safety
/// As [`copy`].
unsafe fn run_sized(target: *mut u8, source: *const u8, loops: &[Loop], item_size: usize) {
    let size = item_size.cast_signed();
    let (outer, run_bytes) = match loops.split_last() {
        Some((inner, outer))
            if inner.is_strided() && inner.target_stride == size && inner.source_stride == size =>
        {
            (outer, inner.len * item_size)
        }
        _ => (loops, item_size),
    };
    // SAFETY: one element, or a run of them that is contiguous on both sides.
    unsafe { copy_runs(target, source, outer, run_bytes) };
}

#[cfg(test)]
#[path = "strided_tests.rs"]
mod tests;
