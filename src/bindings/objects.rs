//! Variable-length elements as Python objects: made once, for the elements selected, at the end of a chunk.
#![expect(unsafe_code, reason = "object arrays hold counted references in raw memory")]
#![expect(clippy::cast_ptr_alignment, reason = "read and written unaligned")]

use std::time::{Duration, Instant};

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::text::TextArray;
use crate::codec::vlen::{Elements, VlenKind};
use crate::error::Error;
use crate::kept;
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

    /// Whether every element of the region is one of the array.
    fn holds(&self, region: &Region) -> bool {
        self.memory.extent().holds(region, self.memory.item_size())
            && self.memory.item_size() == size_of::<usize>()
    }
}

/// An array whose elements have variable length.
pub(super) enum Variable {
    /// Of numpy's string type.
    Text(TextArray),
    /// Of Python objects.
    Objects(ObjectArray),
}

/// Looks at what an array of variable-length elements is made of.
pub(super) fn variable(
    array: &Bound<'_, PyUntypedArray>,
    memory: ArrayMemory,
    kind: VlenKind,
) -> PyResult<Variable> {
    if array.dtype().kind() == b'O' {
        return Ok(Variable::Objects(ObjectArray::new(memory, kind)));
    }
    match kind {
        VlenKind::Utf8 => TextArray::of(array, memory)?.map(Variable::Text),
        VlenKind::Bytes => None,
    }
    .ok_or_else(|| PyTypeError::new_err(format!("{} of elements of {}", kind.name(), array.dtype())))
}

/// Element numbers of a chunk with the offsets in the caller's array that they go to, in C order. `is_held`:
/// whether the array holds the target.
pub(super) fn paired_offsets(
    source: &Region,
    target: &Region,
    is_held: bool,
) -> Result<impl ExactSizeIterator<Item = (usize, isize)>, Error> {
    if !is_held {
        return Err(Error::Internal("a region leaves the caller's array".to_owned()));
    }
    let (source, target) = (source.flattened(), target.flattened());
    let count = source.element_count();
    if count != target.element_count() {
        return Err(Error::Internal("regions of different shapes meet in a copy".to_owned()));
    }
    Ok((0..count).map(move |at| {
        let from = source.base + source.axes[0].at(at);
        (from.cast_unsigned(), target.base + target.axes[0].at(at))
    }))
}

/// How long the interpreter lock is held at a time.
const TURN: Duration = Duration::from_millis(2);
/// How long it is left to others then: who is woken for it must find it free.
const PAUSE: Duration = Duration::from_micros(50);
/// Elements between two looks at the clock.
const LOOK_ELEMENTS: usize = 256;

/// Calls `each` for every item with the interpreter lock, which others get now and then: Python code asks for it
/// in turns, code like this would keep it to its end.
fn in_turns<T>(
    mut items: impl ExactSizeIterator<Item = T>,
    mut each: impl FnMut(Python<'_>, T) -> Result<(), Error>,
) -> Result<(), Error> {
    while items.len() > 0 {
        Python::attach(|py| {
            let end = Instant::now() + TURN;
            while items.len() > 0 && Instant::now() < end {
                for item in items.by_ref().take(LOOK_ELEMENTS) {
                    each(py, item)?;
                }
            }
            Ok::<(), Error>(())
        })?;
        if items.len() > 0 {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
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
    Error::Python(kept::cause(error))
}

impl ObjectSink for ObjectArray {
    fn place(&self, elements: &Elements, source: &Region, target: &Region) -> Result<(), Error> {
        let pairs = paired_offsets(source, target, self.holds(target))?;
        // The fill value, which goes everywhere, is one object.
        let is_one = source.bounds().is_some_and(|(least, greatest)| least == greatest);
        let mut shared: Option<Py<PyAny>> = None;
        let result = in_turns(pairs, |py, (from, to)| {
            let object = match &shared {
                Some(object) => object.clone_ref(py),
                None => self.object(py, elements.get(from)).map_err(python_error)?,
            };
            if is_one && shared.is_none() {
                shared = Some(object.clone_ref(py));
            }
            // SAFETY: the extent holds this element.
            let slot = unsafe { self.memory.data().offset(to) }.cast::<*mut ffi::PyObject>();
            // SAFETY: an element of an object array: a reference that the array owns, or null.
            let old = unsafe { slot.read_unaligned() };
            // SAFETY: as above; the array now owns the new reference.
            unsafe { slot.write_unaligned(object.into_ptr()) };
            // SAFETY: the array no longer owns the old one.
            unsafe { ffi::Py_XDECREF(old) };
            Ok(())
        });
        if shared.is_some() {
            Python::attach(|_| drop(shared));
        }
        result
    }
}

impl ObjectSource for ObjectArray {
    fn collect(&self, region: &Region) -> Result<Elements, Error> {
        if !self.holds(region) {
            return Err(Error::Internal("a region leaves the object array".to_owned()));
        }
        let flat = region.flattened();
        let mut elements = Elements::default();
        elements.spans.reserve(flat.element_count());
        in_turns(0..flat.element_count(), |py, at| {
            let offset = flat.base + flat.axes[0].at(at);
            // SAFETY: the extent holds this element.
            let slot = unsafe { self.memory.data().offset(offset) }.cast::<*mut ffi::PyObject>();
            // SAFETY: an element of an object array.
            let object = unsafe { slot.read_unaligned() };
            // SAFETY: a reference that the array owns, or null, which numpy takes for None.
            let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, object) };
            self.push(object, &mut elements).map_err(python_error)
        })?;
        Ok(elements)
    }
}

impl ObjectArray {
    fn object(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<Py<PyAny>> {
        match self.kind {
            VlenKind::Bytes => Ok(PyBytes::new(py, bytes).into_any().unbind()),
            VlenKind::Utf8 => text(py, bytes),
        }
    }

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
