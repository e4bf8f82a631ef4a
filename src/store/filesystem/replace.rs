//! Values are replaced as a whole: written to a file of their own ([`temporary`](super::temporary)), hidden and
//! with a name that is no chunk key, then moved over the old one. A process that dies at any moment leaves the old
//! value or the new. (Against a power cut nothing is promised: nothing is flushed to the disk before the move.) On
//! Linux the two files change places (`RENAME_EXCHANGE`) and the old one is removed: a rename *over* a file makes
//! ext4 flush the new data at once, which costs several times the write. Where the exchange is not supported a
//! plain rename serves.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::direct;

/// Moves a temporary file with these bytes to `path`.
pub(super) fn replace(
    path: &Path,
    (mut file, temporary): (File, PathBuf),
    bytes: &[u8],
    is_direct: bool,
) -> io::Result<()> {
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
        // Nothing there yet, perhaps no folder either, or no such system call here.
        return match (fs::rename(temporary, path), path.parent()) {
            (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => {
                // Gone with its folder: the array was removed meanwhile, and stays so.
                fs::symlink_metadata(temporary)?;
                fs::create_dir_all(folder)?;
                fs::rename(temporary, path)
            }
            (renamed, _) => renamed,
        };
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
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, first, CWD, second, RenameFlags::EXCHANGE)?)
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
