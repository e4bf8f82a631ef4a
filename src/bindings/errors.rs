//! Errors of the core as exceptions of `wazarr.errors`, whose Python side makes them.

use pyo3::exceptions::{PyIndexError, PyMemoryError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::codec::registry::BindError;
use crate::codec::{CodecFault, Direction};
use crate::error::Error;
use crate::kept;
use crate::plan::PlanError;
use crate::wasm::WasmError;

/// Makes the exception that `wazarr.errors.<function>` answers for these keywords.
fn make(py: Python<'_>, function: &str, keywords: &Bound<'_, PyDict>) -> PyErr {
    let made = py
        .import("wazarr.errors")
        .and_then(|errors| errors.getattr(function))
        .and_then(|function| function.call((), Some(keywords)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// A dict of keywords; items that cannot be set are left out (they are all plain strings and numbers).
fn keywords<'py>(py: Python<'py>, items: &[(&str, Bound<'py, PyAny>)]) -> Bound<'py, PyDict> {
    let dict = PyDict::new(py);
    for (key, value) in items {
        if let Err(error) = dict.set_item(key, value) {
            error.write_unraisable(py, None);
        }
    }
    dict
}

fn text<'py>(py: Python<'py>, text: &str) -> Bound<'py, PyAny> {
    pyo3::types::PyString::new(py, text).into_any()
}

fn text_or_none<'py>(py: Python<'py>, text: Option<&str>) -> Bound<'py, PyAny> {
    text.map_or_else(|| py.None().into_bound(py), |text| self::text(py, text))
}

fn number(py: Python<'_>, number: usize) -> Bound<'_, PyAny> {
    pyo3::types::PyInt::new(py, number).into_any()
}

/// The exception for a failed read or write.
pub(super) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::Codec { chunk_key, codec, direction, fault } => {
            let message =
                format!("chunk {chunk_key:?}: codec {codec:?} could not {}: {fault}", direction.name());
            codec_error(py, &message, &codec, direction, Some(&chunk_key), fault)
        }
        Error::Store { ref source, ref chunk_key, ref location, .. } => {
            let errno = source.raw_os_error().unwrap_or(0);
            let items = [
                ("message", text(py, &error.to_string())),
                ("errno", errno.into_pyobject(py).map_or_else(|_| py.None().into_bound(py), Bound::into_any)),
                ("chunk_key", text(py, chunk_key)),
                ("location", text(py, location)),
            ];
            make(py, "make_store_error", &keywords(py, &items))
        }
        Error::Remote(error) => {
            let none = || py.None().into_bound(py);
            let written = error.written.as_ref().and_then(|keys| pyo3::types::PyTuple::new(py, keys).ok());
            let items = [
                ("message", text(py, &error.to_string())),
                ("chunk_key", text(py, &error.chunk_key)),
                ("location", text(py, &error.location)),
                ("status", error.fault.status.map_or_else(none, |status| number(py, status.into()))),
                ("attempt", number(py, error.fault.attempt)),
                ("written", written.map_or_else(none, Bound::into_any)),
            ];
            make(py, "make_remote_error", &keywords(py, &items))
        }
        Error::Plan(error) => plan_error(py, &error),
        Error::Cancelled => make(py, "make_cancelled_error", &keywords(py, &[])),
        Error::Python(error) => match kept::exception(py, error) {
            Ok(error) => error,
            Err(error) => PyRuntimeError::new_err(error.to_string()),
        },
        Error::Internal(_) => {
            make(py, "make_internal_error", &keywords(py, &[("message", text(py, &error.to_string()))]))
        }
    }
}

/// The exception for a codec that failed outside of a chain.
pub(super) fn step_error(py: Python<'_>, codec: &str, direction: Direction, fault: CodecFault) -> PyErr {
    let message = format!("codec {codec:?} could not {}: {fault}", direction.name());
    codec_error(py, &message, codec, direction, None, fault)
}

/// The exception for a module that cannot be used.
pub(super) fn wasm_error(py: Python<'_>, module: Option<&str>, error: &WasmError) -> PyErr {
    let items = [
        ("message", text(py, &error.to_string())),
        ("kind", text(py, wasm_kind(error))),
        ("module", text_or_none(py, module)),
    ];
    make(py, "make_module_error", &keywords(py, &items))
}

/// The kind of exception that `wazarr.errors` makes of a guest's failure.
fn wasm_kind(error: &WasmError) -> &'static str {
    match error {
        WasmError::Limit { .. } | WasmError::TooComplex { .. } => "wasm-limit",
        WasmError::Trap(_) | WasmError::Broken(_) => "wasm-trap",
        _ => "codec",
    }
}

fn codec_error(
    py: Python<'_>,
    message: &str,
    codec: &str,
    direction: Direction,
    chunk_key: Option<&str>,
    fault: CodecFault,
) -> PyErr {
    let kind = match &fault {
        CodecFault::Checksum { .. } => "checksum",
        CodecFault::Python(_) => "python",
        CodecFault::Wasm { error, .. } => wasm_kind(error),
        _ => "codec",
    };
    let module = match &fault {
        CodecFault::Wasm { module, .. } => Some(module.clone()),
        _ => None,
    };
    let cause = match fault {
        CodecFault::Python(error) => kept::exception(py, error).ok(),
        CodecFault::OutOfMemory { .. } => Some(PyMemoryError::new_err(message.to_owned())),
        _ => None,
    };
    let items = [
        ("message", text(py, message)),
        ("kind", text(py, kind)),
        ("codec", text(py, codec)),
        ("direction", text(py, direction.name())),
        ("chunk_key", text_or_none(py, chunk_key)),
        ("module", text_or_none(py, module.as_deref())),
        (
            "cause",
            cause.map_or_else(
                || py.None().into_bound(py),
                |error| error.into_value(py).into_bound(py).into_any(),
            ),
        ),
    ];
    make(py, "make_codec_error", &keywords(py, &items))
}

/// The exception for a selection that makes no sense, or none to us.
pub(super) fn plan_error(py: Python<'_>, error: &PlanError) -> PyErr {
    let message = text(py, &error.to_string());
    match error {
        PlanError::OutOfBounds { .. }
        | PlanError::TooManyIndices { .. }
        | PlanError::IndexShapes(_)
        | PlanError::MaskShape { .. } => PyIndexError::new_err(error.to_string()),
        PlanError::Broadcast { .. } | PlanError::TooLarge => {
            make(py, "make_invalid_input_error", &keywords(py, &[("message", message)]))
        }
        PlanError::Unsupported(_) => {
            make(py, "make_unsupported_error", &keywords(py, &[("reason", message)]))
        }
    }
}

/// The exception for a codec that cannot be bound; its Python side catches the unsupported ones.
pub(super) fn bind_error(py: Python<'_>, error: &BindError) -> PyErr {
    match error {
        BindError::Unsupported(reason) => {
            make(py, "make_unsupported_error", &keywords(py, &[("reason", text(py, reason))]))
        }
        BindError::Invalid(message) => {
            make(py, "make_invalid_input_error", &keywords(py, &[("message", text(py, message))]))
        }
    }
}
