//! Where a job's chunks are: files, a `MemoryStore`'s dict, or fed by Python one by one.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use numpy::{PyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::memory;
use crate::codec::scratch::copy_of;
use crate::error::Error;
use crate::python_call;
use crate::scatter::ArrayMemory;
use crate::store::filesystem::FilesystemBatch;
use crate::store::{ChunkStore, InMemory, Use};

/// Bytes of a zarr `Buffer`, kept alive with it.
pub(crate) struct Held {
    bytes: ArrayMemory,
    len: usize,
    /// Owns the bytes.
    _owner: Py<PyAny>,
}

impl Held {
    /// The bytes of a `Buffer`'s numpy array (or of the array itself).
    pub(crate) fn new(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        let array = array.cast::<PyUntypedArray>().map_err(|_| {
            PyTypeError::new_err(format!("the store answered with {}, not bytes", array.get_type()))
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
        Ok(Self { bytes: view.memory, len, _owner: array.into_any().unbind() })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.contiguous_prefix(self.len).unwrap_or_default()
    }
}

/// Chunks of a `MemoryStore`. What a write puts there is collected and goes in at the end, with the
/// interpreter lock.
pub(crate) struct MemoryBatch {
    dict: Py<PyAny>,
    keys: Vec<String>,
    /// Makes a `Buffer` from a numpy array of bytes.
    make_buffer: Option<Py<PyAny>>,
    found: Mutex<Vec<Option<Held>>>,
    put: Mutex<Vec<(usize, Option<Vec<u8>>)>>,
}

impl MemoryBatch {
    pub(crate) fn new(dict: Py<PyAny>, keys: Vec<String>, make_buffer: Option<Py<PyAny>>) -> Self {
        Self { dict, keys, make_buffer, found: Mutex::default(), put: Mutex::default() }
    }

    /// Looks up the chunks that `wanted` names.
    fn load(&self, py: Python<'_>, wanted: impl Fn(usize) -> bool) -> PyResult<()> {
        let dict = self.dict.bind(py);
        let exact = dict.cast_exact::<PyDict>().ok();
        let mut found = Vec::with_capacity(self.keys.len());
        for (index, key) in self.keys.iter().enumerate() {
            let buffer = if !wanted(index) {
                None
            } else if let Some(dict) = exact {
                dict.get_item(key)?
            } else {
                match dict.get_item(key) {
                    Ok(buffer) => Some(buffer),
                    Err(error) if error.is_instance_of::<PyKeyError>(py) => None,
                    Err(error) => return Err(error),
                }
            };
            found.push(buffer.map(|buffer| Held::new(&buffer.getattr(intern!(py, "_data"))?)).transpose()?);
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Puts into the dict what was collected.
    fn store(&self, py: Python<'_>) -> PyResult<()> {
        let put = std::mem::take(&mut *self.put.lock().unwrap_or_else(PoisonError::into_inner));
        let dict = self.dict.bind(py);
        for (index, encoded) in put {
            let key = &self.keys[index];
            match (encoded, &self.make_buffer) {
                (Some(bytes), Some(make_buffer)) => {
                    let array = PyArray1::from_vec(py, bytes).into_any();
                    dict.set_item(key, python_call::call(make_buffer.bind(py), &array)?)?;
                }
                (Some(_), None) => return Err(PyTypeError::new_err("a read cannot store")),
                (None, _) => match dict.del_item(key) {
                    Err(error) if !error.is_instance_of::<PyKeyError>(py) => return Err(error),
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

impl ChunkStore for MemoryBatch {
    fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    fn open(&self, index: usize, body: &mut Use<'_>) -> Result<(), Error> {
        // Each chunk is opened once: taking it out lets other lanes go on.
        let held =
            self.found.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index).and_then(Option::take);
        match held {
            None => body(None),
            Some(held) => {
                let result = body(Some(&InMemory(held.as_slice())));
                // Its owner is a Python object: let go of where the lock is held anyway.
                if let Some(slot) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                    *slot = Some(held);
                }
                result
            }
        }
    }

    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error> {
        let owned = encoded.map(|bytes| owned(bytes, self.key(index))).transpose()?;
        self.put.lock().unwrap_or_else(PoisonError::into_inner).push((index, owned));
        Ok(())
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

/// Where a job's chunks are.
pub(crate) enum Backend {
    Filesystem(FilesystemBatch),
    Memory(MemoryBatch),
    /// Python brings the bytes; only the keys are known.
    Fed(Vec<String>),
}

impl Backend {
    /// From what Python says of the store: `("local", root)`, `("memory", dict)` or nothing.
    pub(crate) fn new(
        kind: Option<(&str, Bound<'_, PyAny>)>,
        keys: Vec<String>,
        make_buffer: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        match kind {
            Some(("local", root)) => {
                Ok(Self::Filesystem(FilesystemBatch::new(root.extract::<PathBuf>()?, keys)))
            }
            Some(("memory", dict)) => Ok(Self::Memory(MemoryBatch::new(dict.unbind(), keys, make_buffer))),
            Some((other, _)) => Err(PyTypeError::new_err(format!("no native store {other:?}"))),
            None => Ok(Self::Fed(keys)),
        }
    }

    pub(crate) fn key(&self, index: usize) -> &str {
        match self {
            Self::Filesystem(batch) => batch.key(index),
            Self::Memory(batch) => batch.key(index),
            Self::Fed(keys) => &keys[index],
        }
    }

    pub(crate) fn keys(&self) -> &[String] {
        match self {
            Self::Filesystem(batch) => batch.keys(),
            Self::Memory(batch) => &batch.keys,
            Self::Fed(keys) => keys,
        }
    }

    /// What needs the interpreter lock before chunks can be opened.
    pub(crate) fn load(&self, py: Python<'_>, wanted: impl Fn(usize) -> bool) -> PyResult<()> {
        match self {
            Self::Memory(batch) => batch.load(py, wanted),
            Self::Filesystem(_) | Self::Fed(_) => Ok(()),
        }
    }

    /// What needs it after they were put.
    pub(crate) fn finish(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Memory(batch) => batch.store(py),
            Self::Filesystem(_) | Self::Fed(_) => Ok(()),
        }
    }

    pub(crate) fn chunks(&self) -> Result<&dyn ChunkStore, Error> {
        match self {
            Self::Filesystem(batch) => Ok(batch),
            Self::Memory(batch) => Ok(batch),
            Self::Fed(_) => Err(Error::Internal("chunks that Python brings cannot be opened".to_owned())),
        }
    }
}
