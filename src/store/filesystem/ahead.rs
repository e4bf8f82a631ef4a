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
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::counters::COUNTERS;
use crate::store::{ByteRange, Needed};

/// Of so many chunks one is looked at while files seem to be cached.
const PROBE_EVERY: usize = 16;
/// Bytes of chunks that may be asked for before their turn, of one chunk too, and how many chunks at least and at
/// most. What is asked for displaces other pages, or itself where a process may only have so much memory.
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
        if index.is_multiple_of(PROBE_EVERY) && !self.is_cold.load(Ordering::Relaxed) && !is_cached(file, 0) {
            self.is_cold.store(true, Ordering::Relaxed);
        }
    }

    /// Whether files have to come from the disk.
    fn is_cold(&self) -> bool {
        self.is_cold.load(Ordering::Relaxed)
    }

    /// Asks for what is needed of chunk `index` and those after it, of `chunk_bytes` each at most. `open` answers the
    /// file of one with its length, or `None`.
    pub(super) fn ask(
        &self,
        index: usize,
        count: usize,
        chunk_bytes: usize,
        needed: &Needed<'_>,
        open: impl Fn(usize) -> Option<(File, u64)>,
    ) {
        if !self.is_cold() {
            return;
        }
        let ahead = (AHEAD_BYTES / chunk_bytes.max(1)).clamp(AHEAD_MIN, AHEAD_MAX);
        let end = count.min(index + 1 + ahead);
        self.next.fetch_max(index, Ordering::Relaxed);
        let claim = |next: usize| (next < end).then_some(next + 1);
        while let Ok(next) = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
            let Some(bytes) = needed(next) else { continue };
            let Some((file, len_bytes)) = open(next) else { continue };
            let is_whole = bytes == ByteRange::Whole;
            let range = match bytes {
                ByteRange::Whole => 0..len_bytes,
                ByteRange::Bounded(range) => range,
                ByteRange::Suffix(count) => len_bytes.saturating_sub(count)..len_bytes,
            };
            if is_cached(&file, range.start) {
                // Of a file that was read in part, what is needed now may be on the disk all the same.
                if is_whole {
                    self.is_cold.store(false, Ordering::Relaxed);
                    return;
                }
                continue;
            }
            COUNTERS.add_asked_ahead();
            will_need(&file, &range);
        }
    }

    /// Asks for bytes of an open file, if files have to come from the disk.
    pub(super) fn ask_for(&self, file: &File, ranges: &mut dyn Iterator<Item = Range<u64>>) {
        if !self.is_cold() {
            return;
        }
        let mut left = AHEAD_BYTES as u64;
        for range in ranges.take(AHEAD_MAX) {
            will_need(file, &range);
            left = left.saturating_sub(range.end.saturating_sub(range.start));
            if left == 0 {
                return;
            }
        }
    }
}

/// Whether the byte at `offset` can be read without waiting for the disk; true where that is not to be known.
#[cfg(target_os = "linux")]
fn is_cached(file: &File, offset: u64) -> bool {
    use std::os::fd::AsRawFd;
    let mut byte = 0_u8;
    let target = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: an open descriptor, and one description of one byte that is ours until the call is over.
    let read =
        unsafe { libc::preadv2(file.as_raw_fd(), &raw const target, 1, to_offset(offset), libc::RWF_NOWAIT) };
    read >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN)
}

#[cfg(not(target_os = "linux"))]
fn is_cached(_: &File, _: u64) -> bool {
    true
}

/// Lets the system read bytes of a file in the background. It may decline: then they are read in their turn.
#[cfg(target_os = "linux")]
fn will_need(file: &File, range: &Range<u64>) {
    use std::os::fd::AsRawFd;
    let len_bytes = range.end.saturating_sub(range.start).min(AHEAD_BYTES as u64);
    if len_bytes == 0 {
        return; // the system would take it for "to the end"
    }
    let (start, len) = (to_offset(range.start), to_offset(len_bytes));
    // SAFETY: an open descriptor; the call touches no memory of ours.
    let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), start, len, libc::POSIX_FADV_WILLNEED) };
}

#[cfg(not(target_os = "linux"))]
fn will_need(_: &File, _: &Range<u64>) {}

#[cfg(target_os = "linux")]
fn to_offset(offset: u64) -> libc::off_t {
    libc::off_t::try_from(offset).unwrap_or(libc::off_t::MAX)
}

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
        ahead.ask(0, 100, 1, &|_| Some(ByteRange::Whole), |_| unreachable!("no file is opened"));
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
        let needed = |index| (index != 3).then_some(ByteRange::Whole);
        ahead.ask(0, 100, AHEAD_BYTES / 4, &needed, open);
        assert_eq!(asked.take(), [0, 1, 2, 4]);
        ahead.ask(1, 100, AHEAD_BYTES / 4, &needed, open);
        assert_eq!(asked.take(), [5]);
        // Another thread is far ahead: what it passed is not asked for again.
        ahead.ask(50, 100, AHEAD_BYTES / 4, &needed, open);
        ahead.ask(2, 100, AHEAD_BYTES / 4, &needed, open);
        assert_eq!(asked.take(), [50, 51, 52, 53, 54]);
        ahead.ask(99, 100, AHEAD_BYTES, &needed, open);
        assert_eq!(asked.take(), [99]);
        ahead.ask(99, 100, AHEAD_BYTES, &needed, open);
        assert_eq!(asked.take(), Vec::<usize>::new());
    }
}
