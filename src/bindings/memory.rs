//! numpy arrays as memory: where their elements lie.
#![expect(unsafe_code, reason = "reads the fields of numpy's array object")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a pointer and what it points to: one check covers both"
)]

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::errors;
use crate::plan::regions::Extent;
use crate::scatter::ArrayMemory;

/// `NPY_ARRAY_WRITEABLE`
const WRITEABLE: std::ffi::c_int = 0x0400;

/// An array's memory, shape and strides.
pub(crate) struct ArrayView {
    pub(crate) memory: ArrayMemory,
    pub(crate) shape: Vec<usize>,
    /// In bytes.
    pub(crate) strides: Vec<isize>,
    /// Whether no two elements share a byte.
    pub(crate) has_distinct_elements: bool,
}

/// Looks at an array. Whoever uses the answer must keep the array alive.
pub(crate) fn view(array: &Bound<'_, PyUntypedArray>, for_writing: bool) -> PyResult<ArrayView> {
    let shape = array.shape().to_vec();
    let strides = array.strides().to_vec();
    let item_size = array.dtype().itemsize();
    let raw = array.as_array_ptr();
    // SAFETY: a live array object.
    let (data, flags) = unsafe { ((*raw).fields.data.cast::<u8>(), (*raw).fields.flags) };
    if for_writing && flags & WRITEABLE == 0 {
        return Err(PyValueError::new_err("output array is read-only"));
    }
    let extent =
        Extent::of(&shape, &strides, item_size).map_err(|error| errors::plan_error(array.py(), &error))?;
    let has_distinct_elements = has_distinct_elements(&shape, &strides, item_size);
    // SAFETY: numpy vouches for every element of the array, which the caller keeps alive.
    let memory = unsafe { ArrayMemory::new(data, extent, item_size) };
    Ok(ArrayView { memory, shape, strides, has_distinct_elements })
}

/// Whether strides this long keep elements apart: every axis steps past all that the finer ones span.
fn has_distinct_elements(shape: &[usize], strides: &[isize], item_size: usize) -> bool {
    let mut axes: Vec<(usize, usize)> = shape
        .iter()
        .zip(strides)
        .filter(|&(&len, _)| len > 1)
        .map(|(&len, &stride)| (stride.unsigned_abs(), len))
        .collect();
    axes.sort_unstable();
    let mut spanned = item_size;
    axes.into_iter().all(|(stride, len)| {
        let is_apart = stride >= spanned;
        spanned = spanned.saturating_add(stride.saturating_mul(len - 1));
        is_apart
    })
}
