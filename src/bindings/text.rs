//! Text in numpy's own string type, read and written through numpy's C functions: no Python object is made, and
//! the interpreter lock is not needed.
//!
//! numpy guards the strings of each array with a lock. A Python thread that looks at the same array waits for
//! it, before Python 3.13 with the interpreter lock in its hands. So the lock is held for a short run of elements
//! at a time, and nothing here may want the interpreter lock meanwhile.
#![expect(unsafe_code, reason = "numpy's C functions work on raw memory")]

use std::ffi::{c_char, c_int, c_uint, c_void};

use numpy::npyffi::objects::{npy_packed_static_string, npy_static_string, npy_string_allocator};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyMemoryError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyCapsule;

use super::objects::paired_offsets;
use crate::codec::vlen::{Elements, Span};
use crate::error::Error;
use crate::kept::{self, Kept};
use crate::pipeline::{ObjectSink, ObjectSource};
use crate::plan::Region;
use crate::scatter::ArrayMemory;

/// Elements for which numpy's lock is held at most at a time.
const RUN_ELEMENTS: usize = 4096;
/// And the bytes of them after which it is let go of.
const RUN_BYTES: usize = 1 << 20;

/// Places in numpy's table of C functions, and the first version of the table that has those of strings.
mod table {
    pub(super) const FEATURE_VERSION: usize = 211;
    pub(super) const LOAD: usize = 313;
    pub(super) const PACK: usize = 314;
    pub(super) const ACQUIRE: usize = 316;
    pub(super) const RELEASE: usize = 318;
    pub(super) const NUMPY_2: u32 = 0x12;
}

type Load = unsafe extern "C" fn(
    *mut npy_string_allocator,
    *const npy_packed_static_string,
    *mut npy_static_string,
) -> c_int;
type Pack = unsafe extern "C" fn(
    *mut npy_string_allocator,
    *mut npy_packed_static_string,
    *const c_char,
    usize,
) -> c_int;
type Acquire = unsafe extern "C" fn(*const c_void) -> *mut npy_string_allocator;
type Release = unsafe extern "C" fn(*mut npy_string_allocator);

/// numpy's functions for strings.
struct Functions {
    load: Load,
    pack: Pack,
    acquire: Acquire,
    release: Release,
    /// The class of the data types that they are for.
    string_dtype: Py<PyAny>,
}

impl Functions {
    /// `None`: numpy is older than 2.0.
    fn get(py: Python<'_>) -> PyResult<Option<&'static Self>> {
        static FUNCTIONS: PyOnceLock<Option<Functions>> = PyOnceLock::new();
        FUNCTIONS.get_or_try_init(py, || Self::find(py)).map(Option::as_ref)
    }

    fn find(py: Python<'_>) -> PyResult<Option<Self>> {
        let Ok(module) = py.import("numpy._core._multiarray_umath") else { return Ok(None) };
        let capsule = module.getattr("_ARRAY_API")?.cast_into::<PyCapsule>()?;
        // numpy gives its capsule no name.
        let table = capsule.pointer_checked(None)?.cast::<*const c_void>().as_ptr().cast_const();
        // SAFETY: every numpy has its version at this place of the table.
        let version = unsafe { table.wrapping_add(table::FEATURE_VERSION).read() };
        // SAFETY: that is the signature of `PyArray_GetNDArrayCFeatureVersion`.
        let version = unsafe { std::mem::transmute::<*const c_void, extern "C" fn() -> c_uint>(version) };
        if version() < table::NUMPY_2 {
            return Ok(None);
        }
        // SAFETY: the table of this version is longer than that, and numpy does not move what is in it.
        let at = |place: usize| unsafe { table.wrapping_add(place).read() };
        Ok(Some(Self {
            // SAFETY: the signature of `NpyString_load` in numpy's headers.
            load: unsafe { std::mem::transmute::<*const c_void, Load>(at(table::LOAD)) },
            // SAFETY: of `NpyString_pack`.
            pack: unsafe { std::mem::transmute::<*const c_void, Pack>(at(table::PACK)) },
            // SAFETY: of `NpyString_acquire_allocator`, whose argument is a data type object.
            acquire: unsafe { std::mem::transmute::<*const c_void, Acquire>(at(table::ACQUIRE)) },
            // SAFETY: of `NpyString_release_allocator`.
            release: unsafe { std::mem::transmute::<*const c_void, Release>(at(table::RELEASE)) },
            string_dtype: py.import("numpy.dtypes")?.getattr("StringDType")?.unbind(),
        }))
    }
}

/// An array of numpy's string type, kept alive by whoever holds the request.
pub(crate) struct TextArray {
    memory: ArrayMemory,
    /// The array's own data type, which has the memory of its strings.
    dtype: Kept<Py<PyAny>>,
    functions: &'static Functions,
}

impl TextArray {
    /// `None` where the elements are something else, or may be missing: a missing one has no text.
    pub(crate) fn of(array: &Bound<'_, PyUntypedArray>, memory: ArrayMemory) -> PyResult<Option<Self>> {
        let py = array.py();
        let dtype = array.dtype();
        let Some(functions) = Functions::get(py)? else { return Ok(None) };
        let is_text = dtype.get_type().is(&functions.string_dtype);
        if !is_text || dtype.getattr_opt(intern!(py, "na_object"))?.is_some() || !is_aligned(array, &memory) {
            return Ok(None);
        }
        Ok(Some(Self { memory, dtype: dtype.into_any().into(), functions }))
    }

    fn lock(&self) -> Locked<'_> {
        // SAFETY: `of` found the type of this data type to be numpy's string type, and it is kept alive.
        let allocator = unsafe { (self.functions.acquire)(self.dtype.as_ptr().cast()) };
        Locked { array: self, allocator }
    }

    /// Whether every element of the region is one of the array.
    fn holds(&self, region: &Region) -> bool {
        self.memory.extent().holds(region, self.memory.item_size())
    }
}

/// Whether every element lies where numpy's functions can take it.
fn is_aligned(array: &Bound<'_, PyUntypedArray>, memory: &ArrayMemory) -> bool {
    let align = align_of::<npy_static_string>();
    memory.item_size() == array.dtype().itemsize()
        && memory.item_size() >= size_of::<npy_static_string>()
        && memory.data().addr().is_multiple_of(align)
        && array.strides().iter().all(|stride| stride.unsigned_abs().is_multiple_of(align))
}

/// The strings of an array while numpy's lock on them is held.
struct Locked<'a> {
    array: &'a TextArray,
    allocator: *mut npy_string_allocator,
}

impl Locked<'_> {
    /// Puts text at `offset`, which the array's extent holds.
    fn pack(&self, offset: isize, text: &[u8]) -> Result<(), Error> {
        // SAFETY: the extent holds this element.
        let slot = unsafe { self.array.memory.data().offset(offset) };
        // SAFETY: an element of the array that the lock is for, and a live slice, which is copied.
        let status = unsafe {
            (self.array.functions.pack)(self.allocator, slot.cast(), text.as_ptr().cast(), text.len())
        };
        if status == 0 {
            return Ok(());
        }
        let message = format!("numpy has no memory for a string of {} bytes", text.len());
        Err(Error::Python(kept::cause(PyMemoryError::new_err(message))))
    }

    /// The text at `offset`, which the array's extent holds.
    fn load(&self, offset: isize) -> Result<&[u8], Error> {
        // SAFETY: the extent holds this element.
        let slot = unsafe { self.array.memory.data().offset(offset) };
        let mut text = npy_static_string { size: 0, buf: std::ptr::null() };
        // SAFETY: an element of the array that the lock is for.
        let status = unsafe { (self.array.functions.load)(self.allocator, slot.cast(), &raw mut text) };
        match status {
            // SAFETY: numpy's bytes of the string, which stay there as long as the lock is held.
            0 if text.size > 0 => Ok(unsafe { std::slice::from_raw_parts(text.buf.cast(), text.size) }),
            // numpy shows a missing one as empty where the data type has no object for it.
            0 | 1 => Ok(b""),
            _ => Err(Error::Internal("numpy cannot read a string".to_owned())),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: it was acquired when this was made, and is released this once.
        unsafe { (self.array.functions.release)(self.allocator) };
    }
}

impl ObjectSink for TextArray {
    fn place(&self, elements: &Elements, source: &Region, target: &Region) -> Result<(), Error> {
        let mut pairs = paired_offsets(source, target, self.holds(target))?.peekable();
        while pairs.peek().is_some() {
            let locked = self.lock();
            let mut packed_bytes = 0;
            for (from, to) in pairs.by_ref().take(RUN_ELEMENTS) {
                let text = elements.get(from);
                locked.pack(to, text)?;
                packed_bytes += text.len();
                if packed_bytes > RUN_BYTES {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl ObjectSource for TextArray {
    fn collect(&self, region: &Region) -> Result<Elements, Error> {
        if !self.holds(region) {
            return Err(Error::Internal("a region leaves the text array".to_owned()));
        }
        let flat = region.flattened();
        let count = flat.element_count();
        let mut elements = Elements::default();
        elements.spans.reserve_exact(count);
        let mut at = 0;
        while at < count {
            let locked = self.lock();
            let (last, full) = (count.min(at + RUN_ELEMENTS), elements.payload.len() + RUN_BYTES);
            while at < last && elements.payload.len() < full {
                let text = locked.load(flat.base + flat.axes[0].at(at))?;
                elements.spans.push(Span { start: elements.payload.len(), len: text.len() });
                elements.payload.extend_from_slice(text);
                at += 1;
            }
        }
        Ok(elements)
    }
}
