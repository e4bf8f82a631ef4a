//! WebAssembly modules and the codecs made of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::Value;

use super::chain::PyCodec;
use super::{errors, run};
use crate::codec::wasm::WasmCodec;
use crate::codec::{CodecFault, Direction, Scratch};
use crate::kept;
use crate::process::PerProcess;
use crate::schedule::{Stopper, is_cancelled_here, stoppable};
use crate::wasm::cache::folder::{self, Folder};
use crate::wasm::cache::{self, StoredModule};
use crate::wasm::instances::{self, Recipe};
use crate::wasm::{ArrayDescription, Digest, Interface, Kind, Limits, Setup, Survey, engine, host, wasi};

/// To be called in the child after a fork.
pub(super) fn after_fork_in_child() {
    KEPT.forget_in_child();
    FOLDERS.forget_in_child();
    instances::after_fork_in_child();
    cache::after_fork_in_child();
    engine::after_fork_in_child();
    host::after_fork_in_child();
    wasi::after_fork_in_child();
}

/// Folders for modules by their paths; `None` where one is not safe to use.
static FOLDERS: PerProcess<Mutex<HashMap<String, Option<Arc<Folder>>>>> = PerProcess::new(Mutex::default);

/// The folder for modules. One that is not safe to use is a warning, once, and everything works without it.
fn open_folder(py: Python<'_>, path: Option<&str>) -> PyResult<Option<Arc<Folder>>> {
    let Some(path) = path else { return Ok(None) };
    let folders = || FOLDERS.get().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = folders().get(path) {
        return Ok(known.clone());
    }
    let opened = kept::detach(py, || Folder::open(Path::new(path)));
    let (folder, problem) = match opened {
        Ok(folder) => (Some(Arc::new(folder)), None),
        Err(error) => (None, Some(format!("{error}; modules are compiled anew in every process"))),
    };
    folders().insert(path.to_owned(), folder.clone());
    if let Some(problem) = problem {
        let message = CString::new(problem).unwrap_or_default();
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 2)?;
    }
    Ok(folder)
}

/// What a module is, as JSON.
#[pyfunction]
#[pyo3(signature = (module, *, module_limit_bytes))]
pub(crate) fn wasm_survey(py: Python<'_>, module: &[u8], module_limit_bytes: usize) -> PyResult<String> {
    run::caught(py, || {
        let survey = kept::detach(py, || {
            let survey = Survey::of(module, module_limit_bytes)?;
            let mut json = survey.to_json();
            json["digest"] = Value::from(Digest::of(module).to_string());
            Ok(json.to_string())
        });
        survey.map_err(|error| errors::wasm_error(py, None, &error))
    })
}

/// Verifies a module and keeps it; answers its digest.
#[pyfunction]
#[pyo3(signature = (module, digest, *, cache_dir, module_limit_bytes))]
pub(crate) fn wasm_put(
    py: Python<'_>,
    module: &[u8],
    digest: Option<&str>,
    cache_dir: Option<&str>,
    module_limit_bytes: usize,
) -> PyResult<String> {
    run::caught(py, || {
        let folder = open_folder(py, cache_dir)?;
        let stored = kept::detach(py, || {
            let expected = digest.map(Digest::parse).transpose()?;
            cache::put(module, expected, folder, module_limit_bytes)
        });
        stored
            .map(|stored| stored.digest().to_string())
            .map_err(|error| errors::wasm_error(py, digest, &error))
    })
}

fn find(py: Python<'_>, digest: &str, cache_dir: Option<&str>) -> PyResult<Option<Arc<StoredModule>>> {
    let digest = Digest::parse(digest).map_err(|error| errors::wasm_error(py, Some(digest), &error))?;
    let folder = open_folder(py, cache_dir)?;
    Ok(kept::detach(py, || cache::find(digest, folder.as_ref())))
}

/// Whether a module is in memory or in the folder.
#[pyfunction]
#[pyo3(signature = (digest, *, cache_dir))]
pub(crate) fn wasm_has(py: Python<'_>, digest: &str, cache_dir: Option<&str>) -> PyResult<bool> {
    run::caught(py, || Ok(find(py, digest, cache_dir)?.is_some()))
}

/// A module's bytes, from memory or the folder.
#[pyfunction]
#[pyo3(signature = (digest, *, cache_dir))]
pub(crate) fn wasm_bytes<'py>(
    py: Python<'py>,
    digest: &str,
    cache_dir: Option<&str>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    run::caught(py, || {
        let Some(module) = find(py, digest, cache_dir)? else { return Ok(None) };
        // What was removed from the folder meanwhile is not there.
        let bytes = kept::detach(py, || module.bytes()).ok();
        Ok(bytes.map(|bytes| PyBytes::new(py, &bytes)))
    })
}

/// Sets what holds for all modules of the process.
#[pyfunction]
#[pyo3(signature = (*, cache_limit_bytes, compiled_modules_limit))]
pub(crate) fn wasm_configure(cache_limit_bytes: u64, compiled_modules_limit: usize) {
    folder::set_limit(cache_limit_bytes);
    cache::set_compiled_limit(compiled_modules_limit);
}

/// Counts of what the WebAssembly host did.
#[pyfunction]
pub(crate) fn wasm_counters(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    use std::sync::atomic::Ordering::Relaxed;
    let dict = PyDict::new(py);
    for (name, counter) in [
        ("compiled", &cache::COMPILED),
        ("deserialized", &cache::DESERIALIZED),
        ("instances", &instances::MADE),
        ("calls", &instances::CALLS),
        ("traps", &instances::DROPPED),
    ] {
        dict.set_item(name, counter.load(Relaxed))?;
    }
    dict.set_item("memory_bytes", host::held_bytes())?;
    Ok(dict)
}

/// What guests have written since this was last asked, with the digests of their modules.
#[pyfunction]
pub(crate) fn wasm_take_texts(py: Python<'_>) -> Vec<(String, String)> {
    let texts = kept::detach(py, wasi::take_texts);
    texts.into_iter().map(|(digest, text)| (digest.to_string(), text)).collect()
}

/// Drops every guest that is not in a call.
#[pyfunction]
pub(crate) fn wasm_drop_idle(py: Python<'_>) {
    kept::detach(py, instances::drop_idle);
}

/// What `setup` and `limits` of [`bind_wasm_codec`] say.
struct Bind {
    setup: Setup,
    interface: Option<Interface>,
    /// Length of every encoding, where the metadata says that all have the same.
    encoded_len: Option<usize>,
    limits: Limits,
}

impl Bind {
    fn parse(setup: &str, limits: &str) -> Result<Self, String> {
        let mut setup: Value = serde_json::from_str(setup).map_err(|error| format!("setup: {error}"))?;
        let limits: Value = serde_json::from_str(limits).map_err(|error| format!("limits: {error}"))?;
        let kind = setup["kind"].as_str().and_then(Kind::from_name).ok_or("setup: no kind of codec")?;
        let interface = match &setup["interface"] {
            Value::Null => None,
            name => {
                let found = name.as_str().and_then(Interface::from_name);
                Some(found.ok_or_else(|| format!("setup: no interface {name}"))?)
            }
        };
        let array = |side: &str| -> Result<ArrayDescription, String> {
            let array = &setup[side];
            if array.is_null() {
                return Ok(ArrayDescription::any_bytes());
            }
            let shape: Option<Vec<u64>> =
                array["shape"].as_array().and_then(|shape| shape.iter().map(Value::as_u64).collect());
            match (array["data_type"].as_str(), shape) {
                (Some(data_type), Some(shape)) => {
                    Ok(ArrayDescription { data_type: data_type.to_owned(), shape })
                }
                _ => Err(format!("setup: {side:?} has no data type or shape")),
            }
        };
        let (decoded, encoded) = (array("decoded")?, array("encoded")?);
        let encoded_len = match &setup["encoded_len"] {
            Value::Null => None,
            len => Some(
                len.as_u64()
                    .and_then(|len| usize::try_from(len).ok())
                    .ok_or_else(|| format!("setup: encoded_len is no length: {len}"))?,
            ),
        };
        let fill_value = setup.get("fill_value").filter(|value| !value.is_null()).cloned();
        let parameters = match setup["parameters"].take() {
            Value::Object(parameters) => parameters,
            Value::Null => serde_json::Map::new(),
            other => return Err(format!("setup: parameters are an object, not {other}")),
        };
        let default = Limits::default();
        let bytes = |name: &str, default: usize| match &limits[name] {
            Value::Null => Ok(default),
            value => value
                .as_u64()
                .and_then(|bytes| usize::try_from(bytes).ok())
                .ok_or_else(|| format!("limits: {name} is no number of bytes: {value}")),
        };
        let timeout = match &limits["timeout_s"] {
            Value::Null => default.timeout,
            value => value
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| format!("limits: timeout_s is no time: {value}"))?,
        };
        let limits = Limits {
            memory_bytes: bytes("memory_bytes", default.memory_bytes)?,
            total_memory_bytes: bytes("total_memory_bytes", default.total_memory_bytes)?,
            timeout,
            is_trusted: limits["trusted"].as_bool().unwrap_or(default.is_trusted),
            is_cancelled: is_cancelled_here,
        };
        let setup = Setup { kind, parameters, decoded, encoded, fill_value };
        Ok(Self { setup, interface, encoded_len, limits })
    }
}

/// Binds a codec whose module is in memory or in the folder.
#[pyfunction]
#[pyo3(signature = (name, digest, setup, *, limits, cache_dir, fresh_instance))]
pub(crate) fn bind_wasm_codec(
    py: Python<'_>,
    name: String,
    digest: &str,
    setup: &str,
    limits: &str,
    cache_dir: Option<&str>,
    fresh_instance: bool,
) -> PyResult<PyCodec> {
    run::caught(py, || {
        let bind = Bind::parse(setup, limits)
            .map_err(|error| PyValueError::new_err(format!("codec {name:?}: {error}")))?;
        let module = find(py, digest, cache_dir)?.ok_or_else(|| {
            PyValueError::new_err(format!("the module {digest} of codec {name:?} is not in the cache"))
        })?;
        let codec = Recipe::new(module, bind.interface, bind.setup, bind.limits, fresh_instance)
            .and_then(|recipe| WasmCodec::new(name, recipe, bind.encoded_len));
        let codec = codec.map_err(|error| errors::wasm_error(py, Some(digest), &error))?;
        Ok(PyCodec::wasm(Arc::new(codec)))
    })
}

thread_local! {
    /// What a signal handler raised while a guest ran on this thread.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Lets Python run its signal handlers; only its main thread has any.
fn has_signal() -> bool {
    Python::attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(error) => {
            RAISED.set(Some(error));
            true
        }
    })
}

/// Scratch memory of calls that do not come from the pipeline.
static KEPT: PerProcess<Mutex<Vec<Scratch>>> = PerProcess::new(Mutex::default);
const KEPT_SCRATCHES: usize = 16;

/// Runs one codec on the calling thread, without the interpreter lock; Ctrl-C ends it.
pub(super) fn run_codec<T: Send>(
    py: Python<'_>,
    codec: &str,
    direction: Direction,
    body: impl FnOnce(&mut Scratch) -> Result<T, CodecFault> + Send,
) -> PyResult<T> {
    let kept = || KEPT.get().lock().unwrap_or_else(PoisonError::into_inner);
    let result = kept::detach(py, || {
        let mut scratch = kept().pop().unwrap_or_default();
        let result = stoppable(Stopper::Check(has_signal), || body(&mut scratch));
        let mut kept = kept();
        if kept.len() < KEPT_SCRATCHES {
            kept.push(scratch);
        }
        result
    });
    match RAISED.take() {
        Some(raised) => Err(raised),
        None => result.map_err(|fault| errors::step_error(py, codec, direction, fault)),
    }
}
