//! Index expressions as zarr's indexers hand them over, read with as few Python calls as there can be.
#![expect(
    unsafe_code,
    reason = "slices are unpacked through the C API: a tenth of the cost of their attributes"
)]

use numpy::{PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PySlice, PyTuple};
use smallvec::SmallVec;

use crate::plan::Indices;
use crate::plan::numpy_index::{Item, slice_indices};

/// Most selections have at most four entries.
pub(crate) type Items = SmallVec<[Item; 4]>;

/// The entries of an index expression: a tuple, or a single entry.
pub(crate) fn read_items(selection: &Bound<'_, PyAny>) -> PyResult<Items> {
    match selection.cast::<PyTuple>() {
        Ok(entries) => entries.iter_borrowed().map(|entry| read_item(&entry)).collect(),
        Err(_) => Ok(SmallVec::from_iter([read_item(selection)?])),
    }
}

fn read_item(entry: &Bound<'_, PyAny>) -> PyResult<Item> {
    if let Ok(slice) = entry.cast::<PySlice>() {
        let (start, stop, step) = unpack(slice)?;
        return Ok(Item::Slice { start: Some(start), stop: Some(stop), step: Some(step) });
    }
    if let Ok(array) = entry.cast::<PyUntypedArray>() {
        return read_array(array);
    }
    if entry.is(entry.py().Ellipsis()) {
        return Ok(Item::Ellipsis);
    }
    if entry.is_none() || entry.is_instance_of::<PyBool>() {
        return Err(PyIndexError::new_err(format!("{entry} cannot index a chunk")));
    }
    if let Ok(index) = entry.extract::<isize>() {
        return Ok(Item::Integer(index));
    }
    let array = entry.py().import("numpy")?.call_method1("asarray", (entry,))?;
    read_array(array.cast::<PyUntypedArray>()?)
}

/// The indices of a slice along an axis of length `len`.
pub(crate) fn read_slice(slice: &Bound<'_, PySlice>, len: usize) -> PyResult<Indices> {
    let (start, stop, step) = unpack(slice)?;
    Ok(slice_indices(Some(start), Some(stop), Some(step), len))
}

fn unpack(slice: &Bound<'_, PySlice>) -> PyResult<(isize, isize, isize)> {
    let (mut start, mut stop, mut step) = (0, 0, 0);
    // SAFETY: a slice object, and three places to write to.
    let status =
        unsafe { pyo3::ffi::PySlice_Unpack(slice.as_ptr(), &raw mut start, &raw mut stop, &raw mut step) };
    if status < 0 {
        return Err(PyErr::fetch(slice.py()));
    }
    Ok((start, stop, step))
}

fn read_array(array: &Bound<'_, PyUntypedArray>) -> PyResult<Item> {
    match array.dtype().kind() {
        b'b' => {
            let positions = array.call_method0("nonzero")?;
            let positions = positions
                .cast::<PyTuple>()?
                .iter()
                .map(|axis| read_integers(&axis))
                .collect::<PyResult<Vec<_>>>()?;
            Ok(Item::Mask { shape: SmallVec::from_slice(array.shape()), positions })
        }
        b'i' | b'u' => Ok(Item::Integers {
            shape: SmallVec::from_slice(array.shape()),
            values: read_integers(array.as_any())?,
        }),
        _ if array.len() == 0 => {
            Ok(Item::Integers { shape: SmallVec::from_slice(array.shape()), values: Vec::new() })
        }
        _ => Err(PyIndexError::new_err("arrays used as indices must be of integer (or boolean) type")),
    }
}

/// The elements of an integer array in C order.
fn read_integers(array: &Bound<'_, PyAny>) -> PyResult<Vec<isize>> {
    if let Ok(native) = array.cast::<PyArrayDyn<isize>>() {
        return elements(native);
    }
    let numpy = array.py().import("numpy")?;
    let native = numpy.call_method1("asarray", (array, numpy.getattr("intp")?))?;
    elements(native.cast::<PyArrayDyn<isize>>()?)
}

fn elements(array: &Bound<'_, PyArrayDyn<isize>>) -> PyResult<Vec<isize>> {
    let array = array.try_readonly()?;
    Ok(match array.as_slice() {
        Ok(contiguous) => contiguous.to_vec(),
        Err(_) => array.as_array().iter().copied().collect(),
    })
}
