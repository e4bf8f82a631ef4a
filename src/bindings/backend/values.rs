//! Chunks in a Python dict: zarr's `MemoryStore`, fsspec's memory filesystem.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use numpy::PyArray1;
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::{Held, owned};
use crate::codec::Scratch;
use crate::error::Error;
use crate::kept::Kept;
use crate::python_call;
use crate::store::{ChunkStore, InMemory, Use};

/// What a dict holds.
pub(crate) enum Flavor {
    /// zarr's `Buffer`s by key.
    Buffers {
        /// Makes one from a numpy array of bytes; a read has no use for it.
        make: Option<Kept<Py<PyAny>>>,
    },
    /// fsspec's `MemoryFile`s by path.
    Files {
        /// What comes before a key and its slash.
        root: String,
        /// Stores `bytes` under a path, or removes it for `None`.
        put: Kept<Py<PyAny>>,
    },
}

/// The chunks of one batch. What a write puts there is collected and goes in at the end, with the
/// interpreter lock.
pub(crate) struct ValuesBatch {
    dict: Kept<Py<PyAny>>,
    keys: Vec<String>,
    flavor: Flavor,
    found: Mutex<Vec<Option<Held>>>,
    put: Mutex<Vec<(usize, Option<Vec<u8>>)>>,
}

impl ValuesBatch {
    pub(crate) fn new(dict: Kept<Py<PyAny>>, keys: Vec<String>, flavor: Flavor) -> Self {
        Self { dict, keys, flavor, found: Mutex::default(), put: Mutex::default() }
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Looks up the chunks that `wanted` names.
    pub(crate) fn load(&self, py: Python<'_>, wanted: impl Fn(usize) -> bool) -> PyResult<()> {
        let dict = self.dict.bind(py);
        let exact = dict.cast_exact::<PyDict>().ok();
        let mut found = Vec::with_capacity(self.keys.len());
        for (index, key) in self.keys.iter().enumerate() {
            let name = match &self.flavor {
                Flavor::Buffers { .. } => Cow::Borrowed(key),
                Flavor::Files { root, .. } => Cow::Owned(format!("{root}/{key}")),
            };
            let value = if !wanted(index) {
                None
            } else if let Some(dict) = exact {
                dict.get_item(name.as_str())?
            } else {
                match dict.get_item(name.as_str()) {
                    Ok(value) => Some(value),
                    Err(error) if error.is_instance_of::<PyKeyError>(py) => None,
                    Err(error) => return Err(error),
                }
            };
            found.push(value.map(|value| self.held(&value)).transpose()?);
        }
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    fn held(&self, value: &Bound<'_, PyAny>) -> PyResult<Held> {
        let py = value.py();
        match self.flavor {
            Flavor::Buffers { .. } => Held::new(&value.getattr(intern!(py, "_data"))?),
            // Its contents as they are now, whoever writes to the file.
            Flavor::Files { .. } => Held::new(&value.call_method0(intern!(py, "getvalue"))?),
        }
    }

    /// Puts into the dict what was collected.
    pub(crate) fn store(&self, py: Python<'_>) -> PyResult<()> {
        let put = std::mem::take(&mut *self.put.lock().unwrap_or_else(PoisonError::into_inner));
        let dict = self.dict.bind(py);
        for (index, encoded) in put {
            let key = &self.keys[index];
            match (&self.flavor, encoded) {
                (Flavor::Files { root, put }, encoded) => {
                    let bytes = encoded.map(|bytes| PyBytes::new(py, &bytes));
                    put.bind(py).call1((format!("{root}/{key}"), bytes))?;
                }
                (Flavor::Buffers { make: Some(make) }, Some(bytes)) => {
                    let array = PyArray1::from_vec(py, bytes).into_any();
                    dict.set_item(key, python_call::call(make.bind(py), &array)?)?;
                }
                (Flavor::Buffers { make: None }, Some(_)) => {
                    return Err(PyTypeError::new_err("a read cannot store"));
                }
                (Flavor::Buffers { .. }, None) => match dict.del_item(key) {
                    Err(error) if !error.is_instance_of::<PyKeyError>(py) => return Err(error),
                    _ => {}
                },
            }
        }
        Ok(())
    }
}

impl ChunkStore for ValuesBatch {
    fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    fn open(&self, index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error> {
        // Each chunk is opened once: taking it out lets other lanes go on.
        let held =
            self.found.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index).and_then(Option::take);
        match held {
            None => body(None, scratch),
            Some(held) => {
                let result = body(Some(&InMemory(held.as_slice())), scratch);
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
