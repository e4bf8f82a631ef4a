//! Chunks as files below a folder: zarr's `LocalStore`.
//!
//! A value is replaced as a whole: written to a file of its own, hidden and with a name that is no chunk
//! key, then moved over the old one. A process that dies at any moment leaves the old value or the new.
//! (Against a power cut nothing is promised: nothing is flushed to the disk before the move.) On Linux the
//! two files change places (`RENAME_EXCHANGE`) and the old one is removed: a rename *over* a file makes
//! ext4 flush the new data at once, which costs several times the write. Where the exchange is not
//! supported a plain rename serves.
//!
//! The chunks of a batch lie in one folder. It is looked up once, and each chunk's file from there: on Linux that
//! and `fstat` in place of the standard library's `statx` make opening a chunk a sixth cheaper.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "openat, fstat and renameat2 have no safe wrapper in std")
)]

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ahead::Ahead;
use super::{ByteSource, ChunkStore, Use};
use crate::codec::Scratch;
use crate::codec::scratch::ScratchBuffer;
use crate::error::Error;

/// Tells the temporary files of one process apart.
static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A call of the system takes as long as copying so many bytes from the page cache.
pub const REQUEST_COST_BYTES: u64 = 8 << 10;

/// The chunks of one batch below a folder.
#[derive(Debug)]
pub struct FilesystemBatch {
    root: PathBuf,
    keys: Vec<String>,
    ahead: Ahead,
    #[cfg(target_os = "linux")]
    folder: std::sync::OnceLock<Option<Folder>>,
}

impl FilesystemBatch {
    /// Chunks with these keys below `root`.
    #[must_use]
    pub fn new(root: PathBuf, keys: Vec<String>) -> Self {
        Self {
            root,
            keys,
            ahead: Ahead::default(),
            #[cfg(target_os = "linux")]
            folder: std::sync::OnceLock::new(),
        }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.keys[index])
    }

    /// Opens chunk `index`: the file, its length, and whether it is a folder.
    #[cfg(target_os = "linux")]
    fn open_file(&self, index: usize) -> io::Result<(File, u64, bool)> {
        let key = &self.keys[index];
        let folder = self.folder.get_or_init(|| Folder::of(&self.root, &self.keys));
        let file = match folder.as_ref().and_then(|folder| folder.open(key)) {
            Some(opened) => opened?,
            None => File::open(self.path(index))?,
        };
        let (len_bytes, is_folder) = length_of(&file)?;
        Ok((file, len_bytes, is_folder))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_file(&self, index: usize) -> io::Result<(File, u64, bool)> {
        let file = File::open(self.path(index))?;
        let metadata = file.metadata()?;
        Ok((file, metadata.len(), metadata.is_dir()))
    }

    fn fault(&self, index: usize, operation: &'static str, source: io::Error) -> Error {
        Error::Store {
            chunk_key: self.keys[index].clone(),
            operation,
            location: self.path(index).display().to_string(),
            source,
        }
    }
}

/// Whether this failure means that there is no such value, as zarr-python's `LocalStore` takes it.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

impl ChunkStore for FilesystemBatch {
    fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    fn open(&self, index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error> {
        match self.open_file(index) {
            Ok((_, _, true)) => body(None, scratch),
            Ok((file, len_bytes, false)) => {
                self.ahead.probe(index, &file);
                body(Some(&OpenFile { file, len_bytes, batch: self, index }), scratch)
            }
            Err(error) if is_missing(&error) => body(None, scratch),
            Err(error) => Err(self.fault(index, "get", error)),
        }
    }

    fn look_ahead(&self, index: usize, chunk_bytes: usize, is_whole: &dyn Fn(usize) -> bool) {
        let open = |index| self.open_file(index).ok().map(|(file, ..)| file);
        self.ahead.ask(index, self.keys.len(), chunk_bytes, is_whole, open);
    }

    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error> {
        let path = self.path(index);
        match encoded {
            Some(bytes) => replace(&path, bytes).map_err(|error| self.fault(index, "set", error)),
            None => remove(&path).map_err(|error| self.fault(index, "delete", error)),
        }
    }
}

/// The folder that all chunks of a batch lie in, held open while the batch is read.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Folder {
    descriptor: std::os::fd::OwnedFd,
    /// What the keys begin with, up to and with the last slash.
    prefix: String,
}

#[cfg(target_os = "linux")]
impl Folder {
    /// From so many chunks on it is worth to open the folder first.
    const MIN_CHUNKS: usize = 8;

    /// The folder below `root` that the first and the last key agree on; `None` where there is none, or too
    /// few chunks.
    fn of(root: &Path, keys: &[String]) -> Option<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let (first, last) = keys.first().zip(keys.last()).filter(|_| keys.len() >= Self::MIN_CHUNKS)?;
        let common = first.bytes().zip(last.bytes()).take_while(|(one, other)| one == other).count();
        let prefix = first.get(..first.get(..common)?.rfind('/')? + 1)?.to_owned();
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags).open(root.join(&prefix)).ok()?;
        Some(Self { descriptor: opened.into(), prefix })
    }

    /// Opens the file of a key; `None` for one that is not below this folder.
    fn open(&self, key: &str) -> Option<io::Result<File>> {
        use std::os::fd::{AsRawFd, FromRawFd};
        let name = key.strip_prefix(self.prefix.as_str()).filter(|name| !name.starts_with('/'))?;
        let mut terminated: smallvec::SmallVec<[u8; 64]> = smallvec::SmallVec::from_slice(name.as_bytes());
        terminated.push(0);
        let name = std::ffi::CStr::from_bytes_with_nul(&terminated).ok()?;
        loop {
            // SAFETY: a C string that outlives the call, and a descriptor that is open.
            let opened = unsafe {
                libc::openat(self.descriptor.as_raw_fd(), name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
            };
            if opened >= 0 {
                // SAFETY: opened just now, and nobody else has it.
                return Some(Ok(unsafe { File::from_raw_fd(opened) }));
            }
            let error = io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Some(Err(error));
            }
        }
    }
}

/// Length of a file, and whether it is a folder.
#[cfg(target_os = "linux")]
fn length_of(file: &File) -> io::Result<(u64, bool)> {
    use std::os::fd::AsRawFd;
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: an open descriptor, and room for the answer.
    if unsafe { libc::fstat(file.as_raw_fd(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled it in.
    let status = unsafe { status.assume_init() };
    let is_folder = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    Ok((u64::try_from(status.st_size).unwrap_or(0), is_folder))
}

/// An open file. A writer that replaces it does not change what is read from here.
struct OpenFile<'a> {
    file: File,
    len_bytes: u64,
    batch: &'a FilesystemBatch,
    index: usize,
}

impl ByteSource for OpenFile<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read<'a>(&'a self, range: Range<u64>, buffer: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error> {
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| Error::Internal(format!("bytes {range:?} do not fit in memory")))?;
        let no_memory = |_| self.batch.fault(self.index, "get", ErrorKind::OutOfMemory.into());
        buffer.set_len(len).map_err(no_memory)?;
        self.read_into(range, buffer)?;
        Ok(Cow::Borrowed(buffer))
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        read_exact_at(&self.file, target, range.start)
            .map_err(|error| self.batch.fault(self.index, "get", error))
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        Some(REQUEST_COST_BYTES)
    }
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, target: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, target, offset)
}

#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut target: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !target.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, target, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                target = &mut target[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

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
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = create_temporary(path)?;
    let written = file.write_all(bytes).and_then(|()| {
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
fn remove(path: &Path) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(batch: &FilesystemBatch, index: usize) -> Option<Vec<u8>> {
        let mut found = None;
        batch
            .open(index, &mut Scratch::default(), &mut |source, _| {
                found = source.map(|source| {
                    let mut buffer = ScratchBuffer::default();
                    source.read(0..source.len_bytes(), &mut buffer).unwrap().into_owned()
                });
                Ok(())
            })
            .unwrap();
        found
    }

    #[test]
    fn values_are_made_replaced_and_removed() {
        let root = std::env::temp_dir().join(format!("wazarr-filesystem-{}", std::process::id()));
        let keys = ["a/c/0/0", "a/c/0", "a/c/0/0/x"].map(String::from).to_vec();
        let batch = FilesystemBatch::new(root.clone(), keys);
        assert_eq!(read(&batch, 0), None);
        batch.put(0, None).unwrap();
        batch.put(0, Some(b"old")).unwrap();
        batch.put(0, Some(b"newer")).unwrap();
        assert_eq!(read(&batch, 0).as_deref(), Some(b"newer".as_slice()));
        assert_eq!(read(&batch, 1), None, "a folder is no value");
        assert_eq!(read(&batch, 2), None, "nothing lies below a value");
        assert_eq!(fs::read_dir(root.join("a/c/0")).unwrap().count(), 1, "nothing is left beside the value");
        assert!(batch.put(1, Some(b"x")).is_err(), "a folder is not replaced");
        batch.put(0, None).unwrap();
        assert_eq!(read(&batch, 0), None);
        fs::remove_dir_all(root).unwrap();
    }
}
