//! Stored bytes that are the elements: reading only those that are selected. Used by [`super::chunk`] for plain
//! chunks; [`super::survey`] says beforehand what it comes to.
//!
//! One request from the first to the last byte selected is simple and often right. But between the rows of a
//! window lie bytes that nobody asked for, and copying them costs more than a further request once there are
//! enough: then each row is read alone, straight to its place where it is contiguous there.

use crate::codec::scratch::ScratchBuffer;
use crate::error::Error;
use crate::plan::{Indices, Region, RegionAxis};
use crate::scatter::Place;
use crate::store::ByteSource;

/// Reads the elements at the byte offsets of `region` in the stored chunk to their place.
///
/// # Errors
/// The store's failure.
pub(super) fn read(
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    buffer: &mut ScratchBuffer,
) -> Result<(), Error> {
    let Some((lowest, highest)) = region.bounds() else { return Ok(()) };
    let item_size = place.item_size();
    if let Some(axis) = sparse_axis(region, item_size, source.request_cost_bytes()) {
        for position in 0..region.axes[axis].len() {
            let row_place = row(place.region(), axis, position);
            read(source, &row(region, axis, position), &place.part(row_place), buffer)?;
        }
        return Ok(());
    }
    let end = highest.cast_unsigned() + item_size;
    let range = lowest.cast_unsigned() as u64..end as u64;
    if region.contiguous_len(item_size) == Some(end - lowest.cast_unsigned())
        && let Some(target) = place.clone().as_contiguous()
    {
        return source.read_into(range, target);
    }
    if let Some((axis, positions)) = slab(region, end - lowest.cast_unsigned(), source.request_cost_bytes()) {
        let len = region.axes[axis].len();
        for start in (0..len).step_by(positions) {
            let slab = Indices::Range { start, step: 1, len: positions.min(len - start) };
            let (mut part, mut part_place) = (region.clone(), place.region().clone());
            part.narrow(axis, &slab);
            part_place.narrow(axis, &slab);
            read_band(source, &part, &place.part(part_place), buffer)?;
        }
        return Ok(());
    }
    read_band(source, region, place, buffer)
}

/// Reads from the first to the last byte of `region`, and scatters them.
fn read_band(
    source: &dyn ByteSource,
    region: &Region,
    place: &Place<'_>,
    buffer: &mut ScratchBuffer,
) -> Result<(), Error> {
    let Some((lowest, highest)) = region.bounds() else { return Ok(()) };
    let end = highest.cast_unsigned() + place.item_size();
    let mut within = region.clone();
    within.base -= lowest;
    let bytes = source.read(lowest.cast_unsigned() as u64..end as u64, buffer)?;
    Ok(place.scatter(&bytes, &within)?)
}

/// Bytes that are read at once before they are scattered: they are still in the second-level cache then.
const SLAB_BYTES: usize = 256 << 10;

/// The outermost axis and how many positions of it make a slab, where the whole is more than one and a request
/// costs next to nothing of it.
fn slab(region: &Region, span_bytes: usize, request_cost_bytes: Option<u64>) -> Option<(usize, usize)> {
    let is_cheap = request_cost_bytes? <= SLAB_BYTES as u64 / 16;
    let (axis, step) = region
        .axes
        .iter()
        .enumerate()
        .filter_map(|(at, axis)| match axis {
            RegionAxis::Strided { len, stride } if *len > 1 => Some((at, stride.unsigned_abs())),
            _ => None,
        })
        .max_by_key(|(_, step)| *step)?;
    let positions = (SLAB_BYTES / step.max(1)).max(1);
    (is_cheap && span_bytes > SLAB_BYTES && step > 0 && positions < region.axes[axis].len())
        .then_some((axis, positions))
}

/// How many requests [`read`] makes for a region, and of how many bytes in all.
pub(super) fn count(region: &Region, item_size: usize, request_cost_bytes: Option<u64>) -> (usize, usize) {
    let Some((lowest, highest)) = region.bounds() else { return (1, 0) };
    match sparse_axis(region, item_size, request_cost_bytes) {
        None => (1, highest.abs_diff(lowest) + item_size),
        Some(axis) => {
            // All rows are alike but for where they begin.
            let (ranges, bytes) = count(&row(region, axis, 0), item_size, request_cost_bytes);
            let len = region.axes[axis].len();
            (ranges * len, bytes * len)
        }
    }
}

fn row(region: &Region, axis: usize, position: usize) -> Region {
    let mut row = region.clone();
    row.narrow(axis, &Indices::Range { start: position, step: 1, len: 1 });
    row
}

/// The axis whose neighbours lie furthest apart, if between them there are more bytes that nobody asked for
/// than a request costs.
fn sparse_axis(region: &Region, item_size: usize, request_cost_bytes: Option<u64>) -> Option<usize> {
    let request_cost_bytes = request_cost_bytes?;
    let span = |axis: &RegionAxis| axis.bounds().map_or(0, |(least, greatest)| greatest.abs_diff(least));
    let (axis, widest, step) = region
        .axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| axis.len() > 1)
        .map(|(at, axis)| (at, span(axis), span(axis) / (axis.len() - 1)))
        .max_by_key(|(_, _, step)| *step)?;
    let total = region.axes.iter().map(span).fold(0_usize, usize::saturating_add);
    let row_bytes = total - widest + item_size;
    (step.saturating_sub(row_bytes) as u64 > request_cost_bytes).then_some(axis)
}
