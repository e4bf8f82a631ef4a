//! Calls of Python functions from threads of ours, safe at the end of the process.
//!
//! When the interpreter shuts down, `CPython` before 3.14 ends every other thread that comes back for the
//! interpreter lock, in the middle of whatever Python code it runs (a `socket.send` inside asyncio's
//! `call_soon_threadsafe` is enough), by unwinding its stack. Frames of Rust between there and the thread's
//! start turn that into an abort of the process: of one that has done all of its work and only wants to
//! end. So such a thread is stopped at the first of our frames and sleeps until the process is gone, as
//! `PyO3` does where it takes the lock itself.
#![expect(unsafe_code, reason = "PyO3 declares the call as one that never unwinds")]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// Sleeps for ever when dropped.
struct Sleep;

impl Drop for Sleep {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// Calls `function` with one argument.
///
/// # Errors
/// What it raises.
pub(crate) fn call<'py>(
    function: &Bound<'py, PyAny>,
    argument: &Bound<'_, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = PyTuple::new(function.py(), [argument])?;
    let sleep = Sleep;
    // SAFETY: a live object, a tuple and no keywords; the interpreter lock is held, as the types say.
    let answer = unsafe { PyObject_Call(function.as_ptr(), arguments.as_ptr(), std::ptr::null_mut()) };
    std::mem::forget(sleep);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), answer) }
}
