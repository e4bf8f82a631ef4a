//! Asking for files before their turn, where they are not in the page cache.
//!
//! A thread that reads a chunk from a disk waits for it, and the disk waits while the thread decodes. So once a chunk
//! turns out not to be cached, the system is told which files come next, and reads them meanwhile. Cached files pay
//! one system call in [`PROBE_EVERY`] for finding out; Linux only.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "preadv2 and fadvise have no safe wrapper in std")
)]

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::counters::COUNTERS;

/// Of so many chunks one is looked at while files seem to be cached.
const PROBE_EVERY: usize = 16;
/// Bytes of chunks that may be asked for before their turn, and how many chunks at least and at most.
const AHEAD_BYTES: usize = 32 << 20;
const AHEAD_MIN: usize = 2;
const AHEAD_MAX: usize = 64;

/// What is known of the files of one batch.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    is_cold: AtomicBool,
    /// The next chunk to ask for.
    next: AtomicUsize,
}

impl Ahead {
    /// Looks whether chunk `index`, just opened, has to come from the disk.
    pub(super) fn probe(&self, index: usize, file: &File) {
        if index.is_multiple_of(PROBE_EVERY) && !self.is_cold.load(Ordering::Relaxed) && !is_cached(file) {
            self.is_cold.store(true, Ordering::Relaxed);
        }
    }

    /// Asks for the chunks after `index`, of `chunk_bytes` each, that are to be read whole. `open` answers the file
    /// of one, or `None`.
    pub(super) fn ask(
        &self,
        index: usize,
        count: usize,
        chunk_bytes: usize,
        is_whole: &dyn Fn(usize) -> bool,
        open: impl Fn(usize) -> Option<File>,
    ) {
        if !self.is_cold.load(Ordering::Relaxed) {
            return;
        }
        let ahead = (AHEAD_BYTES / chunk_bytes.max(1)).clamp(AHEAD_MIN, AHEAD_MAX);
        let end = count.min(index + 1 + ahead);
        self.next.fetch_max(index + 1, Ordering::Relaxed);
        let claim = |next: usize| (next < end).then_some(next + 1);
        while let Ok(next) = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
            let Some(file) = is_whole(next).then(|| open(next)).flatten() else { continue };
            if is_cached(&file) {
                self.is_cold.store(false, Ordering::Relaxed);
                return;
            }
            COUNTERS.add_asked_ahead();
            will_need(&file);
        }
    }
}

/// Whether the beginning of a file can be read without waiting for the disk; true where that is not to be known.
#[cfg(target_os = "linux")]
fn is_cached(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    let mut byte = 0_u8;
    let target = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: an open descriptor, and one description of one byte that is ours until the call is over.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, 0, libc::RWF_NOWAIT) };
    read >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN)
}

#[cfg(not(target_os = "linux"))]
fn is_cached(_: &File) -> bool {
    true
}

/// Lets the system read a file in the background. It may decline: then the chunk is read in its turn.
#[cfg(target_os = "linux")]
fn will_need(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: an open descriptor; the call touches no memory of ours.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_WILLNEED) };
}

#[cfg(not(target_os = "linux"))]
fn will_need(_: &File) {}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn nothing_is_asked_for_while_files_are_cached() {
        let path = std::env::temp_dir().join(format!("wazarr-ahead-{}", std::process::id()));
        std::fs::write(&path, b"cached").unwrap();
        let file = File::open(&path).unwrap();
        let ahead = Ahead::default();
        ahead.probe(0, &file);
        ahead.ask(0, 100, 1, &|_| true, |_| unreachable!("no file is opened"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn each_chunk_is_asked_for_once_and_not_too_many() {
        let ahead = Ahead::default();
        ahead.is_cold.store(true, Ordering::Relaxed);
        let asked = RefCell::new(Vec::new());
        let open = |index| {
            asked.borrow_mut().push(index);
            None
        };
        let is_whole = |index| index != 3;
        ahead.ask(0, 100, AHEAD_BYTES / 4, &is_whole, open);
        assert_eq!(asked.take(), [1, 2, 4]);
        ahead.ask(1, 100, AHEAD_BYTES / 4, &is_whole, open);
        assert_eq!(asked.take(), [5]);
        // Another thread is far ahead: what it passed is not asked for again.
        ahead.ask(50, 100, AHEAD_BYTES / 4, &is_whole, open);
        ahead.ask(2, 100, AHEAD_BYTES / 4, &is_whole, open);
        assert_eq!(asked.take(), [51, 52, 53, 54]);
        ahead.ask(99, 100, AHEAD_BYTES, &is_whole, open);
        assert_eq!(asked.take(), Vec::<usize>::new());
    }
}
