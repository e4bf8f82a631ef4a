//! Bytes that a Python object owns.
#![expect(unsafe_code, reason = "keeps the address of a bytes object's contents")]

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::bindings::memory;
use crate::codec::scratch::copy_of;
use crate::error::Error;
use crate::kept::Kept;
use crate::plan::regions::Extent;
use crate::scatter::ArrayMemory;

/// Bytes of a zarr `Buffer` or a `bytes` object, kept alive with it.
pub(crate) struct Held {
    bytes: ArrayMemory,
    len: usize,
    /// Owns the bytes.
    _owner: Kept<Py<PyAny>>,
}

impl Held {
    /// The bytes of a `Buffer`'s numpy array, or of a `bytes` object.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::from_bytes(bytes));
        }
        let array = object.cast::<PyUntypedArray>().map_err(|_| {
            PyTypeError::new_err(format!("the store answered with {}, not bytes", object.get_type()))
        })?;
        let array = if array.is_c_contiguous() {
            array.clone()
        } else {
            array
                .py()
                .import("numpy")?
                .call_method1("ascontiguousarray", (array,))?
                .cast_into::<PyUntypedArray>()?
        };
        let view = memory::view(&array, false)?;
        let len = array.len() * view.memory.item_size();
        Ok(Self { bytes: view.memory, len, _owner: array.into_any().into() })
    }

    fn from_bytes(object: &Bound<'_, PyBytes>) -> Self {
        let bytes = object.as_bytes();
        let extent = Extent { lowest: 0, end: bytes.len().cast_signed() };
        // SAFETY: a `bytes` object never changes or moves its contents, and it lives as long as this value.
        let memory = unsafe { ArrayMemory::new(bytes.as_ptr().cast_mut(), extent, 1) };
        Self { bytes: memory, len: bytes.len(), _owner: object.clone().into_any().into() }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.contiguous_prefix(self.len).unwrap_or_default()
    }
}

/// A copy of an encoded chunk.
pub(crate) fn owned(encoded: &[u8], key: &str) -> Result<Vec<u8>, Error> {
    copy_of(encoded).map_err(|_| Error::Store {
        chunk_key: key.to_owned(),
        operation: "set",
        location: format!("{} bytes", encoded.len()),
        source: std::io::ErrorKind::OutOfMemory.into(),
    })
}
