//! Temporary files, which take a chunk's place when they are complete.
//!
//! They are made beside the chunk. On an ext4 without a journal, as small virtual machines have it, making a file gets
//! slow when many were deleted within the last minutes: their inodes stay unused for a while and are passed over
//! one by one, from the first of the group of blocks that the folder belongs to. Whoever replaces many small chunks
//! does that to himself. Where a batch finds it so, the rest of its temporary files are made in a folder of another
//! group, from where they are moved as before. (A folder goes to another group than its parent's if that has the flag
//! `T` of `chattr`, "top of a hierarchy".)

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::counters::COUNTERS;

/// Tells the temporary files of one process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Which of the other groups of blocks is in use: a group whose tables were read from the disk once is faster than
/// another one, until too much is passed over there as well.
static GROUP: AtomicU64 = AtomicU64::new(0);

/// Whether making files counts as slow without having been; for tests.
static COUNTS_AS_SLOW: AtomicBool = AtomicBool::new(false);

/// From now on making files counts as slow, or as what it is. For tests: nothing makes it slow reliably.
pub fn count_files_as_slow(does: bool) {
    COUNTS_AS_SLOW.store(does, Ordering::Relaxed);
}

/// How the name ends that no other temporary file of this process or another one here has. Not a text: there is one
/// for each chunk, and it goes into a longer one.
struct Unique {
    process: u32,
    number: u64,
}

fn unique() -> Unique {
    Unique { process: std::process::id(), number: NEXT.fetch_add(1, Ordering::Relaxed) }
}

impl fmt::Display for Unique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.partial", self.process, self.number)
    }
}

/// A hidden name beside `path` that no chunk has: it starts with a dot and ends like zarr-python's own.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", unique()))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Makes the temporary files of one batch.
#[derive(Debug, Default)]
pub(super) struct Temporaries {
    made: AtomicUsize,
    slow: AtomicUsize,
    /// `None` inside when there is none to be had.
    elsewhere: OnceLock<Option<Elsewhere>>,
    stays_beside: AtomicBool,
}

impl Temporaries {
    /// So many files are made beside their chunks before the others are made elsewhere.
    const SAMPLE: usize = 16;
    /// Fewer chunks are not worth a folder.
    const MIN_CHUNKS: usize = 4 * Self::SAMPLE;
    /// A file takes 5 to 10 µs where nothing is passed over, and up to 150 µs where a whole group is.
    const SLOW: Duration = Duration::from_micros(30);
    /// Another group takes time at first: this one is used as long as most files take less.
    const SLOW_ELSEWHERE: Duration = Duration::from_micros(60);

    /// Whether files of a batch of so many chunks may be made elsewhere.
    pub(super) fn may_spread(&self, chunks: usize) -> bool {
        chunks >= Self::MIN_CHUNKS && !self.stays_beside.load(Ordering::Relaxed)
    }

    /// Makes an empty file beside `path`, folders included. How long that takes is noted where others may be made
    /// elsewhere.
    pub(super) fn beside(&self, path: &Path, may_spread: bool) -> io::Result<(File, PathBuf)> {
        let mut has_folder = false;
        loop {
            let temporary = beside(path);
            let start = may_spread.then(Instant::now);
            match create(&temporary) {
                Ok(file) => {
                    if let Some(start) = start {
                        self.slow.fetch_add(usize::from(start.elapsed() > Self::SLOW), Ordering::Relaxed);
                        self.made.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok((file, temporary));
                }
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

    /// Makes an empty file elsewhere, in the `folder` that all chunks are below, if that is worth it and possible.
    pub(super) fn elsewhere(&self, folder: impl FnOnce() -> PathBuf) -> Option<(File, PathBuf)> {
        if !self.is_slow_here() {
            return None;
        }
        let elsewhere = self.elsewhere.get_or_init(|| Elsewhere::near(&folder()).ok()).as_ref()?;
        let temporary = elsewhere.inner.join(format!(".{}", unique()));
        let start = Instant::now();
        // Who removes the folders of the batch meanwhile has removed this one as well.
        let file = create(&temporary).ok()?;
        elsewhere.slow.fetch_add(usize::from(start.elapsed() > Self::SLOW_ELSEWHERE), Ordering::Relaxed);
        elsewhere.made.fetch_add(1, Ordering::Relaxed);
        COUNTERS.add_made_elsewhere();
        Some((file, temporary))
    }

    /// From now on no file is made elsewhere.
    pub(super) fn stay_beside(&self) {
        self.stays_beside.store(true, Ordering::Relaxed);
    }

    /// Removes what was made for all files together: nothing is being written any more.
    pub(super) fn finish(&self) {
        if let Some(Some(elsewhere)) = self.elsewhere.get() {
            elsewhere.remove();
        }
    }

    /// As if the files so far had been slow.
    #[cfg(test)]
    pub(super) fn after_slow_ones() -> Self {
        let many = usize::MAX / 8;
        Self { made: many.into(), slow: many.into(), ..Self::default() }
    }

    /// Whether folders in other groups can be had in `folder`; a batch that has slow files has one then.
    #[cfg(test)]
    pub(super) fn can_spread(&self, folder: &Path) -> bool {
        let can = Elsewhere::near(folder).is_ok();
        assert_eq!(self.elsewhere.get().is_some_and(Option::is_some), can);
        can
    }

    /// Whether most files so far took long; one that had to wait for its turn tells nothing.
    fn is_slow_here(&self) -> bool {
        let (made, slow) = (self.made.load(Ordering::Relaxed), self.slow.load(Ordering::Relaxed));
        (made >= Self::SAMPLE && slow * 4 >= made * 3) || COUNTS_AS_SLOW.load(Ordering::Relaxed)
    }
}

/// A folder in another group of blocks, and the hidden one around it; both are removed at the end.
#[derive(Debug)]
struct Elsewhere {
    outer: PathBuf,
    inner: PathBuf,
    made: AtomicUsize,
    slow: AtomicUsize,
    is_removed: AtomicBool,
}

impl Elsewhere {
    /// Makes the two below `folder`, on an ext4 that is not known to have a journal.
    fn near(folder: &Path) -> io::Result<Self> {
        if !is_worth_it(&File::open(folder)?) {
            return Err(ErrorKind::Unsupported.into());
        }
        let outer = loop {
            let outer = folder.join(format!(".wazarr.{}", unique()));
            match fs::create_dir(&outer) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // a killed process left it
                created => break created.map(|()| outer)?,
            }
        };
        // The name chooses the group: processes, and this one after a while, have different ones.
        let group = GROUP.load(Ordering::Relaxed);
        let inner = outer.join(format!("{}-{group}", std::process::id()));
        let elsewhere =
            Self { outer, inner, made: 0.into(), slow: 0.into(), is_removed: AtomicBool::new(false) };
        spread_below(&elsewhere.outer)?;
        fs::create_dir(&elsewhere.inner)?;
        Ok(elsewhere)
    }

    fn remove(&self) {
        if !self.is_removed.swap(true, Ordering::Relaxed) {
            if self.slow.load(Ordering::Relaxed) * 2 > self.made.load(Ordering::Relaxed) {
                GROUP.fetch_add(1, Ordering::Relaxed);
            }
            // Best effort: both are empty, but for a file that could not be removed.
            let _ = fs::remove_dir(&self.inner);
            let _ = fs::remove_dir(&self.outer);
        }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether a folder is on an ext4, and not on one that has a journal: there no file is passed over.
#[cfg(target_os = "linux")]
fn is_worth_it(folder: &File) -> bool {
    super::folder::is_ext(folder) && !has_journal(folder).unwrap_or(false)
}

/// Whether an ext4 has a journal, if the system tells.
#[cfg(target_os = "linux")]
fn has_journal(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = file.metadata()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = fs::read_link(format!("/sys/dev/block/{major}:{minor}"))?;
    let name = device.file_name().unwrap_or_default();
    let task = fs::read_to_string(Path::new("/sys/fs/ext4").join(name).join("journal_task"))?;
    Ok(task.trim() != "<none>")
}

#[cfg(not(target_os = "linux"))]
fn is_worth_it(_: &File) -> bool {
    false
}

/// Lets the folders that are made in `folder` go to groups of their own.
#[cfg(target_os = "linux")]
fn spread_below(folder: &Path) -> io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let folder = File::open(folder)?;
    let flags = ioctl_getflags(&folder)?;
    Ok(ioctl_setflags(&folder, flags | IFlags::TOPDIR)?)
}

#[cfg(not(target_os = "linux"))]
fn spread_below(_: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
