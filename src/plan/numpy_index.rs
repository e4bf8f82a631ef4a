//! numpy's indexing rules: from an index expression to a [`Selection`] and the shape of its result.
//!
//! Source: numpy's documentation, "Indexing on ndarrays" (basic indexing, and advanced indexing with its
//! rule on where the broadcast axes go).

use std::sync::Arc;

use smallvec::SmallVec;

use super::PlanError;
use super::regions::{Region, RegionAxis};
use super::selection::{Indices, PerAxis, Selection};

/// One entry of an index expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An integer, counted from the end when negative.
    Integer(isize),
    /// A slice as Python's `slice.indices` of the axis it applies to cannot be known here: raw bounds.
    Slice {
        /// First index, if given.
        start: Option<isize>,
        /// Index past the last, if given.
        stop: Option<isize>,
        /// Step, if given; not 0.
        step: Option<isize>,
    },
    /// Integers of this shape, in C order.
    Integers {
        /// Shape of the index array.
        shape: SmallVec<[usize; 4]>,
        /// Its elements.
        values: Vec<isize>,
    },
    /// A mask of this shape, given by the positions of its true elements along each of its axes.
    Mask {
        /// Shape of the mask.
        shape: SmallVec<[usize; 4]>,
        /// `positions[axis][n]`: where the n-th true element lies.
        positions: Vec<Vec<isize>>,
    },
    /// `...`
    Ellipsis,
}

/// A selection with the shape that numpy gives its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Which elements.
    pub selection: Selection,
    /// Shape of the result.
    pub result_shape: PerAxis<usize>,
    /// For a product: the array axis behind each axis of the result. Empty for points, whose result is
    /// `result_shape` in C order.
    pub kept_axes: PerAxis<usize>,
}

impl Resolved {
    /// Offsets of the selected elements in memory with these strides, one region axis for each axis of the
    /// result (a single one for points).
    #[must_use]
    pub fn region(&self, strides: &[isize]) -> Region {
        let region = self.selection.project(strides);
        match &self.selection {
            Selection::Points(_) => region,
            Selection::Product(axes) if self.kept_axes.len() == axes.len() => region,
            Selection::Product(_) => Region {
                base: region.base,
                axes: self.kept_axes.iter().map(|&axis| region.axes[axis].clone()).collect(),
            },
        }
    }
}

/// Indices of a slice of an axis of length `len`, as Python's `slice.indices` gives them.
#[inline]
pub(crate) fn slice_indices(
    start: Option<isize>,
    stop: Option<isize>,
    step: Option<isize>,
    len: usize,
) -> Indices {
    let step = step.unwrap_or(1);
    let len = len.cast_signed();
    let (lowest, highest) = if step < 0 { (-1, len - 1) } else { (0, len) };
    let clip =
        |bound: isize| if bound < 0 { (bound.saturating_add(len)).max(lowest) } else { bound.min(highest) };
    let start = start.map_or(if step < 0 { highest } else { lowest }, clip);
    let stop = stop.map_or(if step < 0 { lowest } else { highest }, clip);
    let count = if step < 0 {
        if stop < start { (start - stop - 1) / step.unsigned_abs().cast_signed().max(1) + 1 } else { 0 }
    } else if start < stop {
        // Nearly every step is 1, and a division costs as much as all the rest.
        if step == 1 { stop - start } else { (stop - start - 1) / step + 1 }
    } else {
        0
    };
    Indices::Range {
        start: start.max(0).cast_unsigned(),
        step: if count <= 1 { 1 } else { step },
        len: count.cast_unsigned(),
    }
}

fn checked_index(index: isize, axis: usize, len: usize) -> Result<usize, PlanError> {
    let wrapped = if index < 0 { index + len.cast_signed() } else { index };
    match usize::try_from(wrapped) {
        Ok(wrapped) if wrapped < len => Ok(wrapped),
        _ => Err(PlanError::OutOfBounds { index, axis, len }),
    }
}

/// [`checked_index`] of each. That none counts from the end is found out first, without a branch for each.
fn checked_indices(indices: &[isize], axis: usize, len: usize) -> Result<Arc<[usize]>, PlanError> {
    if indices.iter().fold(true, |is_plain, &index| is_plain & (index.cast_unsigned() < len)) {
        return Ok(indices.iter().map(|&index| index.cast_unsigned()).collect());
    }
    let checked: Result<Vec<_>, _> = indices.iter().map(|&index| checked_index(index, axis, len)).collect();
    checked.map(Arc::from)
}

/// Resolves an index expression against an array of this shape.
///
/// # Errors
/// What numpy refuses: indices out of bounds, too many of them, masks or index arrays that do not fit.
pub fn resolve(items: &[Item], array_shape: &[usize]) -> Result<Resolved, PlanError> {
    if items.len() == array_shape.len()
        && items.iter().all(|item| matches!(item, Item::Slice { .. } | Item::Integer(_)))
    {
        return resolve_basic(items, array_shape);
    }
    if let Some(points) = resolve_points(items, array_shape)? {
        return Ok(points);
    }
    let is_expanded = items.len() == array_shape.len()
        && !items.iter().any(|item| matches!(item, Item::Mask { .. } | Item::Ellipsis));
    let expanded = if is_expanded { None } else { Some(expand(items, array_shape)?) };
    let items = expanded.as_deref().unwrap_or(items);
    if items.iter().any(|item| matches!(item, Item::Integers { .. })) {
        resolve_advanced(items, array_shape)
    } else {
        resolve_basic(items, array_shape)
    }
}

/// The common case of points without detours: a list of coordinates for each of several axes, all as long.
fn resolve_points(items: &[Item], array_shape: &[usize]) -> Result<Option<Resolved>, PlanError> {
    let [Item::Integers { shape: result_shape, .. }, _, ..] = items else { return Ok(None) };
    let is_list = |item: &Item| matches!(item, Item::Integers { shape, .. } if shape == result_shape);
    if items.len() != array_shape.len() || result_shape.len() != 1 || !items.iter().all(is_list) {
        return Ok(None);
    }
    let mut coordinates = Vec::with_capacity(items.len());
    for (axis, (item, &len)) in items.iter().zip(array_shape).enumerate() {
        let Item::Integers { values, .. } = item else { return Ok(None) };
        coordinates.push(checked_indices(values, axis, len)?);
    }
    Ok(Some(Resolved {
        selection: Selection::Points(coordinates),
        result_shape: result_shape.clone(),
        kept_axes: PerAxis::new(),
    }))
}

/// Slices and integers, one for every axis.
fn resolve_basic(items: &[Item], array_shape: &[usize]) -> Result<Resolved, PlanError> {
    let mut axes = PerAxis::new();
    let mut result_shape = PerAxis::new();
    let mut kept_axes = PerAxis::new();
    for (axis, (item, &len)) in items.iter().zip(array_shape).enumerate() {
        let indices = match *item {
            Item::Integer(index) => {
                Indices::Range { start: checked_index(index, axis, len)?, step: 1, len: 1 }
            }
            Item::Slice { start, stop, step } => {
                let indices = slice_indices(start, stop, step, len);
                result_shape.push(indices.len());
                kept_axes.push(axis);
                indices
            }
            _ => return Err(PlanError::Unsupported("an index array among basic indices")),
        };
        axes.push(indices);
    }
    Ok(Resolved { selection: Selection::Product(axes), result_shape, kept_axes })
}

/// Replaces ellipses, missing trailing indices and masks: one item for every axis of the array.
fn expand(items: &[Item], array_shape: &[usize]) -> Result<Vec<Item>, PlanError> {
    let ndim = array_shape.len();
    let axes_of = |item: &Item| match item {
        Item::Mask { shape, .. } => shape.len(),
        Item::Ellipsis => 0,
        _ => 1,
    };
    let given: usize = items.iter().map(axes_of).sum();
    if given > ndim {
        return Err(PlanError::TooManyIndices { ndim, given });
    }
    let full = Item::Slice { start: None, stop: None, step: None };
    let mut expanded = Vec::with_capacity(ndim);
    let mut has_ellipsis = false;
    for item in items {
        match item {
            Item::Ellipsis if has_ellipsis => {
                return Err(PlanError::Unsupported("an index can only have a single ellipsis ('...')"));
            }
            Item::Ellipsis => {
                has_ellipsis = true;
                expanded.extend(std::iter::repeat_n(full.clone(), ndim - given));
            }
            Item::Mask { shape, positions } => {
                let axes_shape = &array_shape[expanded.len()..expanded.len() + shape.len()];
                if axes_shape != shape.as_slice() {
                    return Err(PlanError::MaskShape {
                        mask_shape: shape.to_vec(),
                        axes_shape: axes_shape.to_vec(),
                    });
                }
                if positions.is_empty() {
                    return Err(PlanError::Unsupported("a mask without axes"));
                }
                expanded.extend(positions.iter().map(|axis| Item::Integers {
                    shape: SmallVec::from_slice(&[axis.len()]),
                    values: axis.clone(),
                }));
            }
            other => expanded.push(other.clone()),
        }
    }
    expanded.resize(ndim, full);
    Ok(expanded)
}

/// At least one index array.
fn resolve_advanced(items: &[Item], array_shape: &[usize]) -> Result<Resolved, PlanError> {
    if let Some(resolved) = resolve_open_mesh(items, array_shape)? {
        return Ok(resolved);
    }
    let is_advanced = |item: &Item| matches!(item, Item::Integer(_) | Item::Integers { .. });
    let broadcast_shape = broadcast_shapes(items)?;
    let broadcast_count: usize = broadcast_shape.iter().product();
    let advanced: Vec<usize> = (0..items.len()).filter(|&axis| is_advanced(&items[axis])).collect();
    let is_adjacent = advanced.windows(2).all(|pair| pair[1] == pair[0] + 1);
    // The broadcast axes take the place of the first index array, or lead if slices stand between arrays.
    let before: Vec<usize> = if is_adjacent { (0..advanced[0]).collect() } else { Vec::new() };
    let after: Vec<usize> =
        (0..items.len()).filter(|axis| !before.contains(axis) && !advanced.contains(axis)).collect();

    let mut slices: Vec<Option<Indices>> = vec![None; items.len()];
    let mut arrays: Vec<Vec<usize>> = vec![Vec::new(); items.len()];
    for (axis, (item, &len)) in items.iter().zip(array_shape).enumerate() {
        match item {
            Item::Slice { start, stop, step } => {
                slices[axis] = Some(slice_indices(*start, *stop, *step, len));
            }
            Item::Integer(index) => arrays[axis] = vec![checked_index(*index, axis, len)?; broadcast_count],
            Item::Integers { shape, values } => {
                let checked = checked_indices(values, axis, len)?;
                arrays[axis] = if *shape == broadcast_shape {
                    checked.to_vec()
                } else {
                    broadcast_values(&checked, shape, &broadcast_shape)
                };
            }
            Item::Mask { .. } | Item::Ellipsis => return Err(PlanError::Unsupported("an unexpanded index")),
        }
    }
    if advanced.len() == items.len() {
        // Points: the arrays are the coordinates.
        let coordinates = arrays.into_iter().map(Arc::from).collect();
        return Ok(Resolved {
            selection: Selection::Points(coordinates),
            result_shape: broadcast_shape,
            kept_axes: PerAxis::new(),
        });
    }
    let slice_len = |axis: usize| slices[axis].as_ref().map_or(1, Indices::len);
    let result_shape: PerAxis<usize> = before
        .iter()
        .map(|&axis| slice_len(axis))
        .chain(broadcast_shape.iter().copied())
        .chain(after.iter().map(|&axis| slice_len(axis)))
        .collect();
    let count = result_shape.iter().try_fold(1_usize, |product, &len| product.checked_mul(len));
    let count = count.ok_or(PlanError::TooLarge)?;
    let mut coordinates: Vec<Vec<usize>> = vec![Vec::with_capacity(count); items.len()];
    // Walks the result in C order: leading slices, the broadcast point, trailing slices.
    let mut position = vec![0_usize; before.len() + 1 + after.len()];
    let walk_lens: Vec<usize> = before
        .iter()
        .map(|&axis| slice_len(axis))
        .chain([broadcast_count])
        .chain(after.iter().map(|&axis| slice_len(axis)))
        .collect();
    for _ in 0..count {
        for (slot, &axis) in before.iter().enumerate() {
            coordinates[axis].push(slices[axis].as_ref().map_or(0, |indices| indices.at(position[slot])));
        }
        for &axis in &advanced {
            coordinates[axis].push(arrays[axis][position[before.len()]]);
        }
        for (slot, &axis) in after.iter().enumerate() {
            let at = position[before.len() + 1 + slot];
            coordinates[axis].push(slices[axis].as_ref().map_or(0, |indices| indices.at(at)));
        }
        for slot in (0..position.len()).rev() {
            position[slot] += 1;
            if position[slot] < walk_lens[slot] {
                break;
            }
            position[slot] = 0;
        }
    }
    let coordinates = coordinates.into_iter().map(Arc::from).collect();
    Ok(Resolved { selection: Selection::Points(coordinates), result_shape, kept_axes: PerAxis::new() })
}

/// The product that `numpy.ix_` makes: one index array for every axis, varying along that axis alone. A
/// single index array among slices is one as well.
fn resolve_open_mesh(items: &[Item], array_shape: &[usize]) -> Result<Option<Resolved>, PlanError> {
    let ndim = items.len();
    let is_mesh = items.iter().enumerate().all(|(axis, item)| match item {
        Item::Integers { shape, .. } => {
            shape.len() == ndim && shape.iter().enumerate().all(|(at, &len)| at == axis || len == 1)
        }
        _ => false,
    });
    let is_single = items.iter().all(|item| match item {
        Item::Integers { shape, .. } => shape.len() == 1,
        Item::Slice { .. } => true,
        _ => false,
    }) && items.iter().filter(|item| matches!(item, Item::Integers { .. })).count() == 1;
    if !is_mesh && !is_single {
        return Ok(None);
    }
    let mut axes = PerAxis::with_capacity(ndim);
    for (axis, (item, &len)) in items.iter().zip(array_shape).enumerate() {
        axes.push(match item {
            Item::Integers { values, .. } => {
                let checked = checked_indices(values, axis, len)?;
                as_range(&checked).unwrap_or(Indices::List(checked))
            }
            Item::Slice { start, stop, step } => slice_indices(*start, *stop, *step, len),
            _ => return Ok(None),
        });
    }
    let result_shape = axes.iter().map(Indices::len).collect();
    Ok(Some(Resolved { selection: Selection::Product(axes), result_shape, kept_axes: (0..ndim).collect() }))
}

/// The range that these indices form, if they are evenly spaced: ranges copy faster than lists.
fn as_range(list: &[usize]) -> Option<Indices> {
    let step = match list {
        [] | [_] => 1,
        [first, second, ..] => second.cast_signed() - first.cast_signed(),
    };
    if step == 0 || !list.windows(2).all(|pair| pair[1].cast_signed() - pair[0].cast_signed() == step) {
        return None;
    }
    Some(Indices::Range { start: list.first().copied().unwrap_or(0), step, len: list.len() })
}

fn broadcast_shapes(items: &[Item]) -> Result<PerAxis<usize>, PlanError> {
    let mut broadcast: PerAxis<usize> = PerAxis::new();
    let shapes = || {
        items.iter().filter_map(|item| match item {
            Item::Integers { shape, .. } => Some(shape),
            _ => None,
        })
    };
    for shape in shapes() {
        while broadcast.len() < shape.len() {
            broadcast.insert(0, 1);
        }
        let shift = broadcast.len() - shape.len();
        for (at, &len) in shape.iter().enumerate() {
            let slot = &mut broadcast[shift + at];
            if *slot == 1 {
                *slot = len;
            } else if len != 1 && len != *slot {
                return Err(PlanError::IndexShapes(shapes().map(|shape| shape.to_vec()).collect()));
            }
        }
    }
    Ok(broadcast)
}

fn broadcast_values(values: &[usize], shape: &[usize], broadcast_shape: &[usize]) -> Vec<usize> {
    let strides = super::selection::contiguous_strides(shape, 1);
    let axes =
        shape.iter().zip(&strides).map(|(&len, &stride)| RegionAxis::Strided { len, stride }).collect();
    match Region::new(0, axes).broadcast_to(broadcast_shape) {
        Ok(region) => {
            let flat = region.flattened();
            (0..flat.element_count())
                .map(|at| values[(flat.base + flat.axes[0].at(at)).cast_unsigned()])
                .collect()
        }
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
#[path = "numpy_index_tests.rs"]
mod tests;
