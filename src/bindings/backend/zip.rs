//! Members of a Python `ZipFile`, from the directory that it has read.

use std::fs::File;
use std::path::PathBuf;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::store::zip::{Member, ZipBatch};

/// `zipfile.ZIP_STORED`, `zipfile.ZIP_DEFLATED`
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// The bit of the flags that says that a member is encrypted, and those for patches and strong encryption.
const UNREADABLE_FLAGS: u32 = 0x1 | 0x20 | 0x40;

/// The chunks with these keys in an open `ZipFile` over a file of the system; `None` where one of them is
/// encrypted or compressed in another way, and where the file is no longer open.
pub(super) fn open(zip: &Bound<'_, PyAny>, keys: Vec<String>) -> PyResult<Option<ZipBatch>> {
    let py = zip.py();
    let file = zip.getattr(intern!(py, "fp"))?;
    if file.is_none() {
        return Ok(None);
    }
    let Some(duplicate) = duplicate(&file)? else { return Ok(None) };
    let path: PathBuf = zip.getattr(intern!(py, "filename"))?.extract()?;
    let directory = zip.getattr(intern!(py, "NameToInfo"))?.cast_into::<PyDict>()?;
    let mut members = Vec::with_capacity(keys.len());
    for key in &keys {
        match directory.get_item(key)? {
            None => members.push(None),
            Some(info) => match member(&info)? {
                None => return Ok(None),
                member => members.push(member),
            },
        }
    }
    Ok(Some(ZipBatch::new(duplicate, path, keys, members)?))
}

/// What a `ZipInfo` says; `None` where only Python can read it.
fn member(info: &Bound<'_, PyAny>) -> PyResult<Option<Member>> {
    let py = info.py();
    let method: u16 = info.getattr(intern!(py, "compress_type"))?.extract()?;
    let flags: u32 = info.getattr(intern!(py, "flag_bits"))?.extract()?;
    if !matches!(method, STORED | DEFLATED) || flags & UNREADABLE_FLAGS != 0 {
        return Ok(None);
    }
    let member = Member {
        header_offset: info.getattr(intern!(py, "header_offset"))?.extract()?,
        stored_len_bytes: info.getattr(intern!(py, "compress_size"))?.extract()?,
        len_bytes: info.getattr(intern!(py, "file_size"))?.extract()?,
        crc32: info.getattr(intern!(py, "CRC"))?.extract()?,
        is_deflated: method == DEFLATED,
    };
    Ok((member.is_deflated || member.stored_len_bytes == member.len_bytes).then_some(member))
}

/// The same open file: the one that the directory belongs to, even if another has its name by now.
#[cfg(unix)]
fn duplicate(file: &Bound<'_, PyAny>) -> PyResult<Option<File>> {
    #![expect(unsafe_code, reason = "borrows the descriptor of a Python file")]
    use std::os::fd::BorrowedFd;
    let descriptor: std::ffi::c_int = file.call_method0(intern!(file.py(), "fileno"))?.extract()?;
    // SAFETY: the file object keeps it open for this call, during which the interpreter lock is held.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(Some(borrowed.try_clone_to_owned()?.into()))
}

#[cfg(not(unix))]
fn duplicate(_file: &Bound<'_, PyAny>) -> PyResult<Option<File>> {
    Ok(None)
}
