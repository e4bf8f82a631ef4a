//! Which elements of a chunk a request touches.
//!
//! Two forms cover everything that numpy's indexing can say of one chunk: a product of independent
//! indices along each axis (slices, integers, `ix_` arrays), or a list of points (coordinates, masks).

use std::sync::Arc;

use smallvec::SmallVec;

use super::regions::{Region, RegionAxis};

/// Most arrays have at most four axes: up to that many live without an allocation.
pub(crate) type PerAxis<T> = SmallVec<[T; 4]>;

/// Indices along one axis, each within the axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indices {
    /// `start`, `start + step`, … (`len` of them). A step of 0 repeats one index.
    Range {
        /// First index.
        start: usize,
        /// Distance to the next.
        step: isize,
        /// How many.
        len: usize,
    },
    /// Any indices, in any order, repeats included.
    List(Arc<[usize]>),
}

impl Indices {
    /// All of an axis of length `len`.
    #[must_use]
    pub fn full(len: usize) -> Self {
        Self::Range { start: 0, step: 1, len }
    }

    /// How many indices.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Range { len, .. } => *len,
            Self::List(list) => list.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether these are `0, 1, … axis_len - 1`.
    #[must_use]
    pub fn is_full(&self, axis_len: usize) -> bool {
        match self {
            Self::Range { start, step, len } => {
                *len == axis_len && *start == 0 && (*step == 1 || axis_len <= 1)
            }
            Self::List(list) => {
                list.len() == axis_len && list.iter().enumerate().all(|(at, &index)| at == index)
            }
        }
    }

    /// The index at `position`.
    #[must_use]
    pub fn at(&self, position: usize) -> usize {
        match self {
            Self::Range { start, step, .. } => {
                start.wrapping_add_signed(step.wrapping_mul(position.cast_signed()))
            }
            Self::List(list) => list[position],
        }
    }

    /// Largest index, if there is one.
    #[must_use]
    pub fn max(&self) -> Option<usize> {
        match self {
            Self::Range { len: 0, .. } => None,
            Self::Range { start, step, len } => Some(if *step >= 0 { self.at(len - 1) } else { *start }),
            Self::List(list) => list.iter().copied().max(),
        }
    }

    /// Byte offsets of these indices along an axis with `stride` bytes between elements: first, rest.
    pub(crate) fn project(&self, stride: isize) -> (isize, RegionAxis) {
        match self {
            Self::Range { start, step, len } => {
                (start.cast_signed() * stride, RegionAxis::Strided { len: *len, stride: step * stride })
            }
            Self::List(list) => {
                (0, RegionAxis::Table(list.iter().map(|&index| index.cast_signed() * stride).collect()))
            }
        }
    }
}

/// Which elements of a chunk, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Independent indices along every axis of the chunk.
    Product(PerAxis<Indices>),
    /// Points: `coordinates[axis][point]`.
    Points(Vec<Arc<[usize]>>),
}

impl Selection {
    /// Everything in a chunk of this shape.
    #[must_use]
    pub fn full(chunk_shape: &[usize]) -> Self {
        Self::Product(chunk_shape.iter().map(|&len| Indices::full(len)).collect())
    }

    /// Whether every element of the chunk is selected once, in C order.
    #[must_use]
    pub fn is_full(&self, chunk_shape: &[usize]) -> bool {
        match self {
            Self::Product(axes) => {
                axes.len() == chunk_shape.len()
                    && axes.iter().zip(chunk_shape).all(|(indices, &len)| indices.is_full(len))
            }
            Self::Points(_) => false,
        }
    }

    /// Whether every element of the chunk is selected at least once.
    ///
    /// Exact for products of ranges; `false` for lists and points that would need counting.
    #[must_use]
    pub fn covers(&self, chunk_shape: &[usize]) -> bool {
        match self {
            Self::Product(axes) => axes.iter().zip(chunk_shape).all(|(indices, &len)| match indices {
                Indices::Range { step, len: count, .. } => {
                    *count == len && (step.unsigned_abs() == 1 || len <= 1)
                }
                Indices::List(_) => indices.is_full(len),
            }),
            Self::Points(_) => false,
        }
    }

    /// Number of elements selected, repeats counted.
    #[must_use]
    pub fn element_count(&self) -> usize {
        match self {
            Self::Product(axes) => axes.iter().map(Indices::len).product(),
            Self::Points(coordinates) => coordinates.first().map_or(1, |axis| axis.len()),
        }
    }

    /// Byte offsets of the selected elements in a buffer whose axes have these strides.
    ///
    /// A product gives one region axis for every chunk axis, points give a single one.
    #[must_use]
    pub fn project(&self, strides: &[isize]) -> Region {
        match self {
            Self::Product(axes) => {
                let mut base = 0;
                let axes = axes
                    .iter()
                    .zip(strides)
                    .map(|(indices, &stride)| {
                        let (first, axis) = indices.project(stride);
                        base += first;
                        axis
                    })
                    .collect();
                Region::new(base, axes)
            }
            Self::Points(coordinates) => {
                let offset = |&index: &usize, stride: isize| index.cast_signed() * stride;
                // Axis by axis the loops are simple ones; the last sum goes straight to its place.
                let offsets = match coordinates.as_slice() {
                    [] => [0].into_iter().collect(),
                    [only] => only.iter().map(|index| offset(index, strides[0])).collect(),
                    [first, others @ .., last] => {
                        let mut sums: Vec<isize> =
                            first.iter().map(|index| offset(index, strides[0])).collect();
                        for (axis, &stride) in others.iter().zip(&strides[1..]) {
                            for (sum, index) in sums.iter_mut().zip(axis.iter()) {
                                *sum += offset(index, stride);
                            }
                        }
                        let stride = strides[coordinates.len() - 1];
                        sums.iter().zip(last.iter()).map(|(sum, index)| sum + offset(index, stride)).collect()
                    }
                };
                Region::new(0, [RegionAxis::Table(offsets)].into_iter().collect())
            }
        }
    }

    /// The same selection of a transposed chunk: axis `i` of it is axis `order[i]` of this one.
    #[must_use]
    pub fn transposed(&self, order: &[usize]) -> Self {
        match self {
            Self::Product(axes) => Self::Product(order.iter().map(|&axis| axes[axis].clone()).collect()),
            Self::Points(coordinates) => {
                Self::Points(order.iter().map(|&axis| Arc::clone(&coordinates[axis])).collect())
            }
        }
    }
}

/// Byte strides of a C-contiguous buffer.
#[must_use]
pub fn contiguous_strides(shape: &[usize], item_size: usize) -> PerAxis<isize> {
    let mut strides: PerAxis<isize> = SmallVec::from_elem(0, shape.len());
    let mut stride = item_size.cast_signed();
    for (axis, &len) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride *= len.cast_signed();
    }
    strides
}
