//! Values are replaced as a whole: written to a file of their own, hidden and with a name that is no chunk key,
//! then moved over the old one. A process that dies at any moment leaves the old value or the new. (Against a
//! power cut nothing is promised: nothing is flushed to the disk before the move.) On Linux the two files change
//! places (`RENAME_EXCHANGE`) and the old one is removed: a rename *over* a file makes ext4 flush the new data at
//! once, which costs several times the write. Where the exchange is not supported a plain rename serves.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "renameat2 has no safe wrapper in std"))]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::direct;

/// Tells the temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A hidden name beside `path` that no chunk has: it starts with a dot and ends like zarr-python's own.
fn temporary_path(path: &Path) -> PathBuf {
    let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{number}.partial", std::process::id()))
}

/// Makes a temporary file beside `path`, folders included.
fn create_temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut has_folder = false;
    loop {
        let temporary = temporary_path(path);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == ErrorKind::NotFound && !has_folder => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                has_folder = true;
            }
            // Left by a process of the same number that was killed (in containers most have the same), or
            // in use by one on another machine: the next number is free.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Replaces the file at `path`, or makes it, folders included.
pub(super) fn replace(path: &Path, bytes: &[u8], is_direct: bool) -> io::Result<()> {
    let (mut file, temporary) = create_temporary(path)?;
    let filled = if is_direct && direct::enable(&file) {
        direct::write_all(&file, bytes)
    } else {
        file.write_all(bytes)
    };
    let written = filled.and_then(|()| {
        drop(file);
        move_over(&temporary, path)
    });
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Moves `temporary` to `path`; whatever file was there is gone afterwards.
fn move_over(temporary: &Path, path: &Path) -> io::Result<()> {
    if exchange(temporary, path).is_err() {
        // Nothing there yet, or no such system call here.
        return fs::rename(temporary, path);
    }
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            // It was a folder that changed places: it goes back, as if a rename had refused.
            exchange(temporary, path)?;
            Err(if error.kind() == ErrorKind::PermissionDenied {
                error
            } else {
                ErrorKind::IsADirectory.into()
            })
        }
        _ => Ok(()),
    }
}

/// Lets two directory entries change places.
#[cfg(target_os = "linux")]
fn exchange(first: &Path, second: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let first = CString::new(first.as_os_str().as_bytes())?;
    let second = CString::new(second.as_os_str().as_bytes())?;
    // SAFETY: both are C strings that outlive the call, which keeps no pointer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            first.as_ptr(),
            libc::AT_FDCWD,
            second.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Removes a value; one that is not there counts as removed. A folder goes with all that is in it, as in
/// zarr-python.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
                fs::remove_dir_all(path)
            } else {
                Err(error)
            }
        }
        Ok(()) => Ok(()),
    }
}
