//! Everything Python sees of the engine, and the one place that releases the interpreter lock.
//!
//! A method converts its arguments by type, releases the lock once around all I/O and compute, calls one
//! core function and wraps the answer.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python arrive by value")]

mod backend;
mod batch;
mod chain;
mod errors;
mod index;
mod memory;
mod objects;
mod obstore;
mod read_job;
mod remote;
mod run;
mod text;
mod wasm;
mod write_job;

use pyo3::prelude::*;

/// The compiled part of wazarr.
#[pymodule]
mod _native {
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    use crate::counters::COUNTERS;
    use crate::store::filesystem;

    #[pymodule_export]
    use super::chain::{PyChain, PyCodec, bind_codec, python_codec};
    #[pymodule_export]
    use super::read_job::{PyShardIndex, ReadJob, plan_read};
    #[pymodule_export]
    use super::remote::{RemoteHandle, open_http, open_object_store};
    #[pymodule_export]
    use super::wasm::{
        bind_wasm_codec, wasm_bytes, wasm_configure, wasm_counters, wasm_drop_idle, wasm_has, wasm_put,
        wasm_survey, wasm_take_texts,
    };
    #[pymodule_export]
    use super::write_job::{WriteJob, plan_write};

    /// Version of the crate.
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Whether this is a build without optimisation.
    #[pymodule_export]
    const IS_DEBUG_BUILD: bool = cfg!(debug_assertions);

    /// Names of the native codecs.
    #[pyfunction]
    fn native_codecs() -> Vec<&'static str> {
        crate::codec::native::names().collect()
    }

    /// All counters: `{"read.chunks": 0, …}`.
    #[pyfunction]
    fn counters(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let dict = PyDict::new(py);
        for (name, counter) in COUNTERS.all() {
            dict.set_item(name, counter.load(std::sync::atomic::Ordering::Relaxed))?;
        }
        Ok(dict)
    }

    /// Sets all counters to zero.
    #[pyfunction]
    fn reset_counters() {
        COUNTERS.reset();
    }

    /// Has making files count as slow, or as what it is; for tests.
    #[pyfunction]
    fn count_files_as_slow(does: bool) {
        filesystem::count_files_as_slow(does);
    }

    /// Cancels what is under way and waits for its end; to be called before the interpreter goes down.
    #[pyfunction]
    fn finish_all(py: Python<'_>) {
        super::run::finish_all(py);
    }

    /// To be called in the child after a fork.
    #[pyfunction]
    fn after_fork_in_child() {
        crate::kept::after_fork_in_child();
        super::run::after_fork_in_child();
        super::remote::after_fork_in_child();
        super::wasm::after_fork_in_child();
        crate::schedule::after_fork_in_child();
        crate::locks::after_fork_in_child();
        crate::store::filesystem::after_fork_in_child();
    }
}
