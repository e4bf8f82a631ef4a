//! Variable-length elements as Python objects: made once, for the elements selected, at the end of a chunk.
#![expect(unsafe_code, reason = "object arrays hold counted references in raw memory")]
#![expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::codec::vlen::{Elements, VlenKind};
use crate::error::Error;
use crate::pipeline::{ObjectSink, ObjectSource};
use crate::plan::Region;
use crate::scatter::ArrayMemory;

/// An object array, kept alive by whoever holds the request.
pub(crate) struct ObjectArray {
    memory: ArrayMemory,
    kind: VlenKind,
}

impl ObjectArray {
    pub(crate) fn new(memory: ArrayMemory, kind: VlenKind) -> Self {
        Self { memory, kind }
    }

    /// Offsets of the elements of a region in C order, once it is known to lie in the array.
    fn offsets(&self, region: &Region) -> Result<Vec<isize>, Error> {
        if !self.memory.extent().holds(region, self.memory.item_size())
            || self.memory.item_size() != size_of::<usize>()
        {
            return Err(Error::Internal("a region leaves the object array".to_owned()));
        }
        Ok(offsets(region))
    }
}

fn offsets(region: &Region) -> Vec<isize> {
    let flat = region.flattened();
    (0..flat.element_count()).map(|at| flat.base + flat.axes[0].at(at)).collect()
}

/// A Python string; Python checks the encoding itself.
fn text(py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyAny>> {
    // SAFETY: the pointer and the length are those of a live slice; null asks for strict errors.
    let object = unsafe {
        ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), bytes.len().cast_signed(), std::ptr::null())
    };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }.map(Bound::unbind)
}

fn python_error(error: PyErr) -> Error {
    Error::Python(Box::new(error))
}

impl ObjectSink for ObjectArray {
    fn place(&self, elements: &Elements, source: &Region, target: &Region) -> Result<(), Error> {
        let targets = self.offsets(target)?;
        let sources = offsets(source);
        if targets.len() != sources.len() {
            return Err(Error::Internal("regions of different shapes meet in a copy".to_owned()));
        }
        Python::attach(|py| {
            // A run of equal sources (a fill value) shares one object.
            let mut last: Option<(isize, Py<PyAny>)> = None;
            for (from, to) in sources.into_iter().zip(targets) {
                let object = match &last {
                    Some((index, object)) if *index == from => object.clone_ref(py),
                    _ => {
                        let bytes = elements.get(from.cast_unsigned());
                        let object: Py<PyAny> = match self.kind {
                            VlenKind::Bytes => PyBytes::new(py, bytes).into_any().unbind(),
                            VlenKind::Utf8 => text(py, bytes).map_err(python_error)?,
                        };
                        last = Some((from, object.clone_ref(py)));
                        object
                    }
                };
                // SAFETY: the extent holds this element.
                let slot = unsafe { self.memory.data().offset(to) }.cast::<*mut ffi::PyObject>();
                // SAFETY: an element of an object array: a reference that the array owns, or null.
                let old = unsafe { slot.read_unaligned() };
                // SAFETY: as above; the array now owns the new reference.
                unsafe { slot.write_unaligned(object.into_ptr()) };
                // SAFETY: the array no longer owns the old one.
                unsafe { ffi::Py_XDECREF(old) };
            }
            Ok(())
        })
    }
}

impl ObjectSource for ObjectArray {
    fn collect(&self, region: &Region) -> Result<Elements, Error> {
        let offsets = self.offsets(region)?;
        Python::attach(|py| {
            let mut elements = Elements::default();
            elements.spans.reserve(offsets.len());
            for offset in offsets {
                // SAFETY: the extent holds this element.
                let slot = unsafe { self.memory.data().offset(offset) }.cast::<*mut ffi::PyObject>();
                // SAFETY: an element of an object array.
                let object = unsafe { slot.read_unaligned() };
                // SAFETY: a reference that the array owns, or null, which numpy takes for None.
                let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, object) };
                self.push(object, &mut elements).map_err(python_error)?;
            }
            Ok(elements)
        })
    }
}

impl ObjectArray {
    /// Appends one object as numcodecs encodes it: `None` and 0 are empty.
    fn push(&self, object: Option<Bound<'_, PyAny>>, elements: &mut Elements) -> PyResult<()> {
        let Some(object) = object.filter(|object| !object.is_none()) else {
            elements.push(b"");
            return Ok(());
        };
        match self.kind {
            VlenKind::Utf8 => match object.cast::<PyString>() {
                Ok(text) => elements.push(text.to_str()?.as_bytes()),
                Err(_) if is_zero(&object) => elements.push(b""),
                Err(_) => {
                    return Err(PyTypeError::new_err(format!(
                        "expected unicode string, found {}",
                        object.repr()?.to_string_lossy()
                    )));
                }
            },
            VlenKind::Bytes => match object.cast::<PyBytes>() {
                Ok(bytes) => elements.push(bytes.as_bytes()),
                Err(_) if is_zero(&object) => elements.push(b""),
                Err(_) => {
                    return Err(PyTypeError::new_err(format!(
                        "expected byte string, found {}",
                        object.repr()?.to_string_lossy()
                    )));
                }
            },
        }
        Ok(())
    }
}

fn is_zero(object: &Bound<'_, PyAny>) -> bool {
    object.extract::<f64>().is_ok_and(|number| number == 0.0)
}
