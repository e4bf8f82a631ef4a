//! The Python engine: a codec class of the user's, or one that nothing native serves.
//!
//! Calls two functions made by `wazarr.codecs`, which speak the class's own interface. The interpreter
//! lock is held for these calls only. Bytes are copied into objects that Python owns: a codec may keep them.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::{Codec, CodecFault, Engine, Scratch};
use crate::kept::{self, Kept};
use crate::python_call;
use crate::schedule::run_foreign;

/// A codec that runs in Python.
#[derive(Debug)]
pub struct PythonCodec {
    name: String,
    /// `bytes → buffer`, the whole decoded form.
    decode: Kept<Py<PyAny>>,
    /// `bytes → buffer`, the whole encoded form; `None` leaves the chunk out of the store.
    encode: Kept<Py<PyAny>>,
    /// Encoded length for the one decoded length there is, where the class says that it is fixed.
    encoded_len: Option<usize>,
}

impl PythonCodec {
    /// A codec from its two functions.
    #[must_use]
    pub fn new(name: String, decode: Py<PyAny>, encode: Py<PyAny>, encoded_len: Option<usize>) -> Self {
        Self { name, decode: Kept::new(decode), encode: Kept::new(encode), encoded_len }
    }

    /// Calls `function` and hands the bytes it answers to `take`.
    fn call(
        function: &Py<PyAny>,
        input: &[u8],
        take: impl FnOnce(Python<'_>, &PyBuffer<u8>) -> Result<(), CodecFault>,
    ) -> Result<(), CodecFault> {
        Python::attach(|py| {
            let fault = |error: PyErr| CodecFault::Python(kept::cause(error));
            let input = PyBytes::new_with(py, input.len(), |bytes| {
                bytes.copy_from_slice(input);
                Ok(())
            });
            let input = input.map_err(fault)?;
            // It may read another array through us.
            let answer = run_foreign(|| python_call::call(function.bind(py), &input)).map_err(fault)?;
            if answer.is_none() {
                return Err(CodecFault::LeftOut);
            }
            let buffer = PyBuffer::<u8>::get(&answer).map_err(fault)?;
            take(py, &buffer)
        })
    }
}

impl Codec for PythonCodec {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&self) -> Engine {
        Engine::Python
    }

    fn encoded_len(&self, _: usize) -> Option<usize> {
        self.encoded_len
    }

    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize {
        // Nothing is known of it: generous, but a bound.
        self.encoded_len.unwrap_or_else(|| decoded_len_bytes.saturating_mul(16).saturating_add(64 << 20))
    }

    fn decode_into(&self, encoded: &[u8], decoded: &mut [u8], _: &mut Scratch) -> Result<(), CodecFault> {
        Self::call(&self.decode, encoded, |py, buffer| {
            if buffer.len_bytes() != decoded.len() {
                return Err(CodecFault::DecodedLength {
                    expected: decoded.len(),
                    actual: buffer.len_bytes(),
                });
            }
            buffer.copy_to_slice(py, decoded).map_err(|error| CodecFault::Python(kept::cause(error)))
        })
    }

    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        _: &mut Scratch,
    ) -> Result<(), CodecFault> {
        Self::call(&self.decode, encoded, |py, buffer| {
            if buffer.len_bytes() > limit_bytes {
                return Err(CodecFault::DecodedLength { expected: limit_bytes, actual: buffer.len_bytes() });
            }
            *decoded = buffer.to_vec(py).map_err(|error| CodecFault::Python(kept::cause(error)))?;
            Ok(())
        })
    }

    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, _: &mut Scratch) -> Result<(), CodecFault> {
        Self::call(&self.encode, decoded, |py, buffer| {
            let bytes = buffer.to_vec(py).map_err(|error| CodecFault::Python(kept::cause(error)))?;
            if self.encoded_len.is_some_and(|len| len != bytes.len()) {
                return Err(CodecFault::Value(format!(
                    "it encodes to {} bytes where it said otherwise",
                    bytes.len()
                )));
            }
            encoded.extend_from_slice(&bytes);
            Ok(())
        })
    }
}
