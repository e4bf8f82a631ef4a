//! Cuts a selection of a shard, and the region of the caller's array that belongs to it, along the
//! boundaries of the shard's inner chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::regions::Region;
use super::selection::{Indices, PerAxis, Selection};

/// The part of a request that falls into one inner chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Position of the inner chunk in the shard's grid, linear in C order.
    pub inner: usize,
    /// Which elements of the inner chunk.
    pub selection: Selection,
    /// Where they go to, or come from.
    pub region: Region,
}

/// What one axis of a request takes from one inner chunk.
struct AxisPart {
    grid_index: usize,
    within: Indices,
    positions: Indices,
}

/// Cuts a request along the inner chunks of a shard.
///
/// `region` has one axis for every axis of the shard where `selection` is a product, a single one where
/// it is points. Pieces come in C order of the inner chunks.
#[must_use]
pub fn split(selection: &Selection, region: &Region, inner_shape: &[usize], grid: &[usize]) -> Vec<Piece> {
    match selection {
        Selection::Product(axes) => split_product(axes, region, inner_shape, grid),
        Selection::Points(coordinates) => split_points(coordinates, region, inner_shape, grid),
    }
}

fn split_product(axes: &[Indices], region: &Region, inner_shape: &[usize], grid: &[usize]) -> Vec<Piece> {
    let parts: Vec<Vec<AxisPart>> =
        axes.iter().zip(inner_shape).map(|(indices, &inner_len)| split_axis(indices, inner_len)).collect();
    let total: usize = parts.iter().map(Vec::len).product();
    let mut pieces = Vec::with_capacity(total);
    let mut position: PerAxis<usize> = PerAxis::from_elem(0, parts.len());
    for _ in 0..total {
        let mut inner = 0;
        let mut narrowed = region.clone();
        let mut within = PerAxis::with_capacity(parts.len());
        for (axis, &at) in position.iter().enumerate() {
            let part = &parts[axis][at];
            inner = inner * grid[axis] + part.grid_index;
            narrowed.narrow(axis, &part.positions);
            within.push(part.within.clone());
        }
        pieces.push(Piece { inner, selection: Selection::Product(within), region: narrowed });
        for axis in (0..parts.len()).rev() {
            position[axis] += 1;
            if position[axis] < parts[axis].len() {
                break;
            }
            position[axis] = 0;
        }
    }
    pieces
}

fn split_axis(indices: &Indices, inner_len: usize) -> Vec<AxisPart> {
    match indices {
        Indices::Range { step, len, .. } if *step > 0 || *len <= 1 => {
            let mut parts = Vec::new();
            let mut position = 0;
            while position < *len {
                let first = indices.at(position);
                let grid_index = first / inner_len;
                let within = first - grid_index * inner_len;
                let count = (inner_len - within).div_ceil(step.unsigned_abs().max(1)).min(len - position);
                parts.push(AxisPart {
                    grid_index,
                    within: Indices::Range { start: within, step: *step, len: count },
                    positions: Indices::Range { start: position, step: 1, len: count },
                });
                position += count;
            }
            parts
        }
        _ => {
            // One part for every inner chunk touched, however often the list comes back to it.
            let mut groups: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
            for position in 0..indices.len() {
                let index = indices.at(position);
                let (within, positions) = groups.entry(index / inner_len).or_default();
                within.push(index % inner_len);
                positions.push(position);
            }
            groups
                .into_iter()
                .map(|(grid_index, (within, positions))| AxisPart {
                    grid_index,
                    within: Indices::List(within.into()),
                    positions: Indices::List(positions.into()),
                })
                .collect()
        }
    }
}

fn split_points(
    coordinates: &[Arc<[usize]>],
    region: &Region,
    inner_shape: &[usize],
    grid: &[usize],
) -> Vec<Piece> {
    let count = coordinates.first().map_or(0, |axis| axis.len());
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for point in 0..count {
        let axes = coordinates.iter().zip(grid).zip(inner_shape);
        let inner =
            axes.fold(0, |inner, ((indices, &len), &inner_len)| inner * len + indices[point] / inner_len);
        groups.entry(inner).or_default().push(point);
    }
    groups
        .into_iter()
        .map(|(inner, points)| {
            let within = coordinates
                .iter()
                .zip(inner_shape)
                .map(|(axis, &inner_len)| points.iter().map(|&point| axis[point] % inner_len).collect())
                .collect();
            let mut narrowed = region.clone();
            narrowed.narrow(0, &Indices::List(points.into()));
            Piece { inner, selection: Selection::Points(within), region: narrowed }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::regions::RegionAxis;
    use crate::plan::selection::contiguous_strides;

    /// Splits a selection of a shard of `shard_shape` and checks that the pieces pair the same elements
    /// with the same places as the whole did.
    fn check(selection: &Selection, shard_shape: &[usize], inner_shape: &[usize]) {
        let grid: Vec<usize> =
            shard_shape.iter().zip(inner_shape).map(|(&shard, &inner)| shard / inner).collect();
        let source = selection.project(&contiguous_strides(shard_shape, 1)).flattened();
        let lens: Vec<usize> = match selection {
            Selection::Product(axes) => axes.iter().map(Indices::len).collect(),
            Selection::Points(coordinates) => vec![coordinates[0].len()],
        };
        let strides = contiguous_strides(&lens, 1);
        let axes =
            lens.iter().zip(&strides).map(|(&len, &stride)| RegionAxis::Strided { len, stride }).collect();
        let region = Region::new(0, axes);
        let mut expected = vec![usize::MAX; source.element_count()];
        for (at, slot) in expected.iter_mut().enumerate() {
            *slot = (source.base + source.axes[0].at(at)).cast_unsigned();
        }
        let mut found = vec![usize::MAX; expected.len()];
        for piece in split(selection, &region, inner_shape, &grid) {
            let within = piece.selection.project(&contiguous_strides(inner_shape, 1)).flattened();
            let places = piece.region.flattened();
            let mut origin = Vec::new();
            let mut rest = piece.inner;
            for (&len, &inner_len) in grid.iter().zip(inner_shape).rev() {
                origin.insert(0, rest % len * inner_len);
                rest /= len;
            }
            for at in 0..within.element_count() {
                let mut linear = (within.base + within.axes[0].at(at)).cast_unsigned();
                let mut index = vec![0; inner_shape.len()];
                for axis in (0..inner_shape.len()).rev() {
                    index[axis] = origin[axis] + linear % inner_shape[axis];
                    linear /= inner_shape[axis];
                }
                let element = index.iter().zip(shard_shape).fold(0, |sum, (&at, &len)| sum * len + at);
                let place = (places.base + places.axes[0].at(at)).cast_unsigned();
                assert_eq!(found[place], usize::MAX, "place {place} written twice");
                found[place] = element;
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn ranges_lists_and_points_split_without_loss() {
        for start in 0..4 {
            for step in [1_isize, 2, 3, 5] {
                for len in 0..=(12_usize.saturating_sub(start)).div_ceil(step.unsigned_abs()) {
                    let range = Indices::Range { start, step, len };
                    let other = Indices::List([3, 0, 0, 2].into());
                    check(&Selection::Product([range, other].into_iter().collect()), &[12, 4], &[3, 2]);
                }
            }
        }
        let reversed = Indices::Range { start: 11, step: -2, len: 6 };
        check(&Selection::Product([reversed].into_iter().collect()), &[12], &[4]);
        let points = Selection::Points(vec![[5, 0, 5, 3].into(), [1, 1, 0, 3].into()]);
        check(&points, &[6, 4], &[2, 2]);
    }
}
