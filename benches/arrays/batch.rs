//! Batches as zarr-python's indexers cut them: for every chunk touched its key, an index expression within
//! the chunk and one within the caller's array.

use std::collections::BTreeMap;

use smallvec::SmallVec;
use wazarr::plan::numpy_index::Item;

use super::Array;

/// What is selected along one axis.
#[derive(Clone)]
pub(crate) enum Along {
    /// `start:stop:step`, with a positive step.
    Slice { start: usize, stop: usize, step: usize },
    /// Ascending indices.
    List(Vec<usize>),
}

impl Along {
    pub(crate) fn slice(start: usize, stop: usize, step: usize) -> Self {
        Self::Slice { start, stop, step }
    }

    /// The indices one by one.
    pub(crate) fn indices(&self) -> Vec<usize> {
        match self {
            Self::Slice { start, stop, step } => (*start..*stop).step_by(*step).collect(),
            Self::List(list) => list.clone(),
        }
    }
}

/// One chunk of a batch.
pub(crate) struct Entry {
    /// Store key.
    pub(crate) key: String,
    /// Which elements of the chunk.
    pub(crate) within: Vec<Item>,
    /// Which elements of the caller's array.
    pub(crate) outside: Vec<Item>,
}

/// A batch.
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Shape of the caller's array.
    pub(crate) out_shape: Vec<usize>,
    /// Numbers (in C order) of the array's elements that the batch selects, in the order of the result.
    pub(crate) selected: Vec<usize>,
}

impl Batch {
    /// Store keys of all chunks.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.key.clone()).collect()
    }

    /// `array[...]`
    pub(crate) fn whole(array: &Array) -> Self {
        let selection: Vec<Along> = array.shape.iter().map(|&len| Along::slice(0, len, 1)).collect();
        Self::product(array, &selection)
    }

    /// The same of every axis: `array[along, along, …]`, or `array.oindex[…]` where it is a list.
    pub(crate) fn cube(array: &Array, along: &Along) -> Self {
        Self::product(array, &vec![along.clone(); array.shape.len()])
    }

    /// A product of selections along every axis.
    pub(crate) fn product(array: &Array, selection: &[Along]) -> Self {
        let ndim = array.shape.len();
        let has_list = selection.iter().any(|along| matches!(along, Along::List(_)));
        let parts: Vec<Vec<AxisPart>> =
            selection.iter().zip(array.chunk_shape()).map(|(along, &len)| cut(along, len)).collect();
        let mut chosen: Vec<Vec<&AxisPart>> = vec![Vec::new()];
        for axis_parts in &parts {
            chosen = chosen
                .iter()
                .flat_map(|start| axis_parts.iter().map(|part| [start.as_slice(), &[part]].concat()))
                .collect();
        }
        let entries = chosen
            .into_iter()
            .map(|axes| {
                let items = |pick: fn(&AxisPart) -> &Along| {
                    axes.iter()
                        .enumerate()
                        .map(|(axis, part)| item(pick(part), has_list.then_some((axis, ndim))))
                        .collect()
                };
                Entry {
                    key: key(axes.iter().map(|part| part.chunk)),
                    within: items(|part| &part.within),
                    outside: items(|part| &part.outside),
                }
            })
            .collect();
        let indices: Vec<Vec<usize>> = selection.iter().map(Along::indices).collect();
        let mut selected = vec![0];
        for (axis_indices, &len) in indices.iter().zip(&array.shape) {
            selected = selected
                .iter()
                .flat_map(|outer| axis_indices.iter().map(move |index| outer * len + index))
                .collect();
        }
        Self { entries, out_shape: indices.iter().map(Vec::len).collect(), selected }
    }

    /// `array.vindex[coordinates]`: points, `points[n]` being the coordinates of the n-th.
    pub(crate) fn points(array: &Array, points: &[Vec<usize>]) -> Self {
        let mut by_chunk: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for (number, point) in points.iter().enumerate() {
            let chunk = point.iter().zip(array.chunk_shape()).map(|(index, len)| index / len).collect();
            by_chunk.entry(chunk).or_default().push(number);
        }
        let entries = by_chunk
            .into_iter()
            .map(|(chunk, numbers)| {
                let coordinates = |axis: usize| {
                    let len = array.chunk_shape()[axis];
                    integers(numbers.iter().map(|&number| points[number][axis] % len), &[numbers.len()])
                };
                Entry {
                    key: key(chunk.into_iter()),
                    within: (0..array.shape.len()).map(coordinates).collect(),
                    outside: vec![integers(numbers.iter().copied(), &[numbers.len()])],
                }
            })
            .collect();
        let number = |point: &Vec<usize>| {
            point.iter().zip(&array.shape).fold(0, |number, (index, len)| number * len + index)
        };
        Self { entries, out_shape: vec![points.len()], selected: points.iter().map(number).collect() }
    }
}

/// What a selection along one axis takes from one chunk.
struct AxisPart {
    chunk: usize,
    within: Along,
    outside: Along,
}

/// Cuts a selection along the chunks of its axis.
fn cut(along: &Along, chunk_len: usize) -> Vec<AxisPart> {
    let mut by_chunk: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for (position, index) in along.indices().into_iter().enumerate() {
        by_chunk.entry(index / chunk_len).or_default().push((index % chunk_len, position));
    }
    let part = |(chunk, pairs): (usize, Vec<(usize, usize)>)| {
        let (first, last) = (pairs[0], pairs[pairs.len() - 1]);
        let within = match along {
            Along::Slice { step, .. } => Along::slice(first.0, last.0 + 1, *step),
            Along::List(_) => Along::List(pairs.iter().map(|pair| pair.0).collect()),
        };
        AxisPart { chunk, within, outside: Along::slice(first.1, last.1 + 1, 1) }
    };
    by_chunk.into_iter().map(part).collect()
}

fn key(chunk: impl Iterator<Item = usize>) -> String {
    chunk.fold("c".to_owned(), |key, index| format!("{key}/{index}"))
}

/// An entry of an index expression: a slice, or with `mesh` (the axis and how many there are) an array of
/// the open mesh that `numpy.ix_` makes, as zarr does as soon as one axis has a list.
fn item(along: &Along, mesh: Option<(usize, usize)>) -> Item {
    match (along, mesh) {
        (Along::Slice { start, stop, step }, None) => Item::Slice {
            start: Some(start.cast_signed()),
            stop: Some(stop.cast_signed()),
            step: Some(step.cast_signed()),
        },
        (along, mesh) => {
            let indices = along.indices();
            let (axis, ndim) = mesh.unwrap_or((0, 1));
            let mut mesh_shape = vec![1; ndim];
            mesh_shape[axis] = indices.len();
            integers(indices.into_iter(), &mesh_shape)
        }
    }
}

fn integers(values: impl Iterator<Item = usize>, array_shape: &[usize]) -> Item {
    Item::Integers {
        shape: SmallVec::from_slice(array_shape),
        values: values.map(usize::cast_signed).collect(),
    }
}
