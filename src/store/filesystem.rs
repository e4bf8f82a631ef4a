//! Chunks as files below a folder: zarr's `LocalStore`.
//!
//! A value is replaced as a whole ([`replace`]). The chunks of a batch lie in one folder, which is looked up once
//! ([`folder`]); those that are not cached are asked for before their turn ([`ahead`]). On request files stay open
//! from one read to the next ([`handles`]), and reads and writes pass by the page cache ([`direct`]).

mod ahead;
mod direct;
#[cfg(target_os = "linux")]
mod folder;
mod handles;
mod replace;
mod temporary;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::ahead::Ahead;
#[cfg(target_os = "linux")]
use self::folder::Folder;
#[cfg(target_os = "linux")]
pub use self::folder::is_local;
pub use self::handles::after_fork_in_child;
use self::temporary::Temporaries;
pub use self::temporary::count_files_as_slow;
use super::{ByteSource, ChunkStore, Needed, Use};
use crate::codec::Scratch;
use crate::codec::scratch::ScratchBuffer;
use crate::counters::COUNTERS;
use crate::distance;
use crate::error::Error;

/// A call of the system takes as long as copying so many bytes from the page cache.
pub const REQUEST_COST_BYTES: u64 = 8 << 10;

/// Whether a file is on this machine's own disks or in its memory, as far as is known.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn is_local(_: &File) -> bool {
    false
}

/// How files are used.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileAccess {
    /// Reads and writes pass by the page cache where they can.
    pub is_direct: bool,
    /// So many files stay open from one read to the next, in the whole process.
    pub kept_handles: usize,
    /// Writes may make a folder for their temporary files where that is faster.
    pub may_spread: bool,
}

/// The chunks of one batch below a folder.
#[derive(Debug)]
pub struct FilesystemBatch {
    root: PathBuf,
    keys: Vec<String>,
    ahead: Ahead,
    temporaries: Temporaries,
    access: FileAccess,
    #[cfg(target_os = "linux")]
    folder: std::sync::OnceLock<Option<Folder>>,
}

/// What the system says of a file.
#[derive(Clone, Debug)]
struct Status {
    len_bytes: u64,
    is_folder: bool,
    /// Device, number on it, and last change.
    #[cfg(target_os = "linux")]
    identity: (libc::dev_t, libc::ino_t, libc::time_t, libc::c_long),
}

impl Status {
    /// Whether both are of one file that nobody has changed meanwhile.
    #[cfg(target_os = "linux")]
    fn is_of_same_file(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    #[cfg(not(target_os = "linux"))]
    fn is_of_same_file(&self, _: &Self) -> bool {
        false
    }
}

/// A file of one read, or one that is kept.
enum Handle {
    Own(File),
    Kept(Arc<File>),
}

impl std::ops::Deref for Handle {
    type Target = File;
    fn deref(&self) -> &File {
        match self {
            Self::Own(file) => file,
            Self::Kept(file) => file,
        }
    }
}

impl FilesystemBatch {
    /// Chunks with these keys below `root`.
    #[must_use]
    pub fn new(root: PathBuf, keys: Vec<String>, access: FileAccess) -> Self {
        Self {
            root,
            keys,
            ahead: Ahead::default(),
            temporaries: Temporaries::default(),
            access,
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

    #[cfg(target_os = "linux")]
    fn folder(&self) -> Option<&Folder> {
        self.folder.get_or_init(|| Folder::of(&self.root, &self.keys)).as_ref()
    }

    /// Opens the file of chunk `index`.
    #[cfg(target_os = "linux")]
    fn open_file(&self, index: usize) -> io::Result<(File, Status)> {
        let file = match self.folder().and_then(|folder| folder.open(&self.keys[index])) {
            Some(opened) => opened?,
            None => File::open(self.path(index))?,
        };
        let status = folder::status_of(&file)?;
        Ok((file, status))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_file(&self, index: usize) -> io::Result<(File, Status)> {
        let file = File::open(self.path(index))?;
        let metadata = file.metadata()?;
        let status = Status { len_bytes: metadata.len(), is_folder: metadata.is_dir() };
        Ok((file, status))
    }

    /// The file that is kept for chunk `index`, with its length as it is now.
    #[cfg(target_os = "linux")]
    fn kept_file(&self, index: usize) -> io::Result<Option<(Handle, Status)>> {
        let path = self.path(index);
        let status = match self.folder().and_then(|folder| folder.status(&self.keys[index])) {
            Some(status) => status,
            None => folder::status_at(&path),
        };
        let mut kept = handles::kept();
        let status = status.inspect_err(|_| kept.forget(&path))?;
        let found = kept.find(&path, &status, self.access.is_direct);
        Ok(found.map(|file| (Handle::Kept(file), status)))
    }

    #[cfg(not(target_os = "linux"))]
    fn kept_file(&self, _: usize) -> io::Result<Option<(Handle, Status)>> {
        Ok(None)
    }

    /// Chunk `index`: a kept file or one opened now; `None` where a folder is.
    fn file(&self, index: usize) -> io::Result<Option<OpenFile<'_>>> {
        let FileAccess { is_direct, kept_handles, .. } = self.access;
        if kept_handles > 0
            && let Some((file, status)) = self.kept_file(index)?
        {
            COUNTERS.add_reused_handle();
            return Ok(Some(OpenFile { file, len_bytes: status.len_bytes, is_direct, batch: self, index }));
        }
        let (file, status) = self.open_file(index)?;
        if status.is_folder {
            return Ok(None);
        }
        let is_direct = is_direct && direct::enable(&file);
        let len_bytes = status.len_bytes;
        let file = if kept_handles > 0 && is_direct == self.access.is_direct && is_local(&file) {
            let file = Arc::new(file);
            handles::kept().keep(self.path(index), &file, status, is_direct, kept_handles);
            Handle::Kept(file)
        } else {
            Handle::Own(file)
        };
        Ok(Some(OpenFile { file, len_bytes, is_direct, batch: self, index }))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let FileAccess { is_direct, may_spread, .. } = self.access;
        let may_spread = may_spread && self.temporaries.may_spread(self.keys.len());
        let folder = || self.root.join(common_folder(&self.keys));
        if may_spread && let Some(temporary) = self.temporaries.elsewhere(folder) {
            match replace::replace(path, temporary, bytes, is_direct) {
                // The chunk's folder is on another disk, and others may be.
                Err(error) if error.kind() == ErrorKind::CrossesDevices => self.temporaries.stay_beside(),
                result => return result,
            }
        }
        replace::replace(path, self.temporaries.beside(path, may_spread)?, bytes, is_direct)
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

/// The folder that the first and the last key agree on, with its last slash; empty when they lie at the top.
fn common_folder(keys: &[String]) -> &str {
    let Some((first, last)) = keys.first().zip(keys.last()) else { return "" };
    let common = first.bytes().zip(last.bytes()).take_while(|(one, other)| one == other).count();
    first.get(..common).and_then(|common| first.get(..=common.rfind('/')?)).unwrap_or_default()
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
        match self.file(index) {
            Ok(None) => body(None, scratch),
            Ok(Some(file)) => {
                if !file.is_direct {
                    self.ahead.probe(index, &file.file);
                }
                body(Some(&file), scratch)
            }
            Err(error) if is_missing(&error) => body(None, scratch),
            Err(error) => Err(self.fault(index, "get", error)),
        }
    }

    fn look_ahead(&self, index: usize, chunk_bytes: usize, needed: &Needed<'_>) {
        let open = |index| self.open_file(index).ok().map(|(file, status)| (file, status.len_bytes));
        self.ahead.ask(index, self.keys.len(), chunk_bytes, needed, open);
    }

    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error> {
        let path = self.path(index);
        match encoded {
            Some(bytes) => self.replace(&path, bytes).map_err(|error| self.fault(index, "set", error)),
            None => replace::remove(&path).map_err(|error| self.fault(index, "delete", error)),
        }
    }

    fn end_of_write(&self) {
        self.temporaries.finish();
    }
}

/// An open file. A writer that replaces it does not change what is read from here.
struct OpenFile<'a> {
    file: Handle,
    len_bytes: u64,
    is_direct: bool,
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
        if self.is_direct {
            let found = direct::read(&self.file, range, buffer)
                .map_err(|error| self.batch.fault(self.index, "get", error))?;
            return Ok(Cow::Borrowed(&buffer[found]));
        }
        let no_memory = |_| self.batch.fault(self.index, "get", ErrorKind::OutOfMemory.into());
        buffer.set_len(len).map_err(no_memory)?;
        self.read_into(range, buffer)?;
        Ok(Cow::Borrowed(buffer))
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        let read = if self.is_direct {
            direct::read_into(&self.file, range, target)
        } else {
            read_exact_at(&self.file, target, range.start)
        };
        read.map_err(|error| self.batch.fault(self.index, "get", error))
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        Some(REQUEST_COST_BYTES)
    }

    fn will_need(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) {
        if !self.is_direct {
            self.batch.ahead.ask_for(&self.file, ranges);
        }
    }
}

/// Fills `target` with what is at `offset`; by way of memory of ours where copying from the page cache straight to
/// it would be slow.
pub(super) fn read_exact_at(file: &File, target: &mut [u8], mut offset: u64) -> io::Result<()> {
    /// Bytes on their way that stay in a core's own cache.
    const WAY_BYTES: usize = 128 << 10;
    thread_local! {
        static WAY: RefCell<ScratchBuffer> = RefCell::default();
    }
    let page_offset = usize::try_from(offset % 4096).unwrap_or(0);
    if !distance::is_bad(page_offset, target.as_ptr().addr(), target.len()) {
        return read_straight_at(file, target, offset);
    }
    WAY.with_borrow_mut(|way| {
        if way.set_len(WAY_BYTES).is_err() {
            return read_straight_at(file, target, offset);
        }
        for piece in target.chunks_mut(WAY_BYTES) {
            let way = &mut way[..piece.len()];
            read_straight_at(file, way, offset)?;
            distance::copy(piece, way);
            offset += piece.len() as u64;
        }
        Ok(())
    })
}

#[cfg(unix)]
fn read_straight_at(file: &File, target: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, target, offset)
}

#[cfg(windows)]
fn read_straight_at(file: &File, mut target: &mut [u8], mut offset: u64) -> io::Result<()> {
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

#[cfg(test)]
#[path = "filesystem_tests.rs"]
mod tests;
