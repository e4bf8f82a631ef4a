//! Reads and writes that pass by the page cache (`O_DIRECT`), for files larger than memory or read only once.
//!
//! The system wants memory, offsets and lengths in whole blocks. So what is asked for is widened to them and goes
//! through memory of our own; what a write adds to its last block is cut off again. A file system that does not
//! know such requests, or wants larger blocks, gets ordinary ones for that file: the same file, so the same
//! version of the value. Both are counted.
#![cfg_attr(target_os = "linux", expect(unsafe_code, reason = "fcntl has no safe wrapper in std"))]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;

use crate::codec::scratch::ScratchBuffer;
use crate::counters::COUNTERS;

/// What memory, offsets and lengths are multiples of: enough for all common disks.
const BLOCK_BYTES: usize = 4096;

/// How much goes through memory of our own at once, where the caller gave none.
const PIECE_BYTES: usize = 1 << 20;

/// Lets requests for a file pass by the page cache; `false` where they cannot.
pub(super) fn enable(file: &File) -> bool {
    let is_enabled = set(file, true);
    COUNTERS.add_direct(is_enabled);
    is_enabled
}

/// Ordinary requests for a file from now on: it took the setting but not the requests.
fn give_up(file: &File) {
    set(file, false);
    COUNTERS.add_direct(false);
}

#[cfg(target_os = "linux")]
fn set(file: &File, is_direct: bool) -> bool {
    use std::os::fd::AsRawFd;
    let flags = if is_direct { libc::O_DIRECT } else { 0 };
    // SAFETY: an open descriptor; only the flags of the open file change.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn set(_: &File, _: bool) -> bool {
    false
}

/// Memory that starts at a block: the part of `bytes` from the first block on.
fn aligned(bytes: &mut [u8]) -> &mut [u8] {
    let skipped = bytes.as_ptr().align_offset(BLOCK_BYTES).min(bytes.len());
    &mut bytes[skipped..]
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == ErrorKind::InvalidInput
}

/// Reads `range` of a file into `buffer`, which gets other bytes as well; answers where in it they are.
pub(super) fn read(file: &File, range: Range<u64>, buffer: &mut ScratchBuffer) -> io::Result<Range<usize>> {
    let too_long = |_| io::Error::from(ErrorKind::OutOfMemory);
    let len = usize::try_from(range.end - range.start).map_err(too_long)?;
    let block = BLOCK_BYTES as u64;
    let before = usize::try_from(range.start % block).map_err(too_long)?;
    let widened = (before + len).next_multiple_of(BLOCK_BYTES);
    buffer.set_len(widened + BLOCK_BYTES).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
    let skipped = buffer.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
    let target = &mut buffer[skipped..skipped + widened];
    fill(file, target, range.start - before as u64, before + len)?;
    Ok(skipped + before..skipped + before + len)
}

/// Reads `range` of a file into memory of that length.
pub(super) fn read_into(file: &File, range: Range<u64>, target: &mut [u8]) -> io::Result<()> {
    let mut buffer = ScratchBuffer::default();
    let mut start = range.start;
    for piece in target.chunks_mut(PIECE_BYTES) {
        let end = start + piece.len() as u64;
        let found = read(file, start..end, &mut buffer)?;
        piece.copy_from_slice(&buffer[found]);
        start = end;
    }
    Ok(())
}

/// Reads whole blocks from `offset` on, until `needed` bytes are there.
fn fill(file: &File, target: &mut [u8], offset: u64, needed: usize) -> io::Result<()> {
    let mut filled = 0;
    while filled < needed {
        match read_at(file, &mut target[filled..], offset + filled as u64) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_refused(&error) => {
                give_up(file);
                return super::read_exact_at(file, &mut target[filled..needed], offset + filled as u64);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &File, target: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, target, offset)
}

#[cfg(windows)]
fn read_at(file: &File, target: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, target, offset)
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

/// Writes `bytes` to a new file.
pub(super) fn write_all(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0; bytes.len().min(PIECE_BYTES).next_multiple_of(BLOCK_BYTES) + BLOCK_BYTES];
    let buffer = aligned(&mut buffer);
    let mut offset = 0;
    for piece in bytes.chunks(PIECE_BYTES) {
        let widened = piece.len().next_multiple_of(BLOCK_BYTES);
        buffer[..piece.len()].copy_from_slice(piece);
        buffer[piece.len()..widened].fill(0);
        match write_all_at(file, &buffer[..widened], offset) {
            Err(error) if is_refused(&error) => {
                give_up(file);
                write_all_at(file, &buffer[..widened], offset)?;
            }
            result => result?,
        }
        offset += widened as u64;
    }
    // The last block was filled up.
    if offset == bytes.len() as u64 { Ok(()) } else { file.set_len(bytes.len() as u64) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn any_length_and_any_range() {
        let path = std::env::temp_dir().join(format!("wazarr-direct-{}", std::process::id()));
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 77).collect();
        for len in [0, 1, 4095, 4096, 4097, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
            let file = File::create(&path).unwrap();
            enable(&file);
            write_all(&file, &bytes[..len]).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes[..len], "{len} bytes");
            let file = File::open(&path).unwrap();
            enable(&file);
            let mut buffer = ScratchBuffer::default();
            for (start, end) in [(0, len), (len / 3, len), (len / 2, len / 2), (len.min(4095), len.min(4098))]
            {
                let found = read(&file, start as u64..end as u64, &mut buffer).unwrap();
                assert_eq!(buffer[found], bytes[start..end], "{start}..{end} of {len} bytes");
                let mut target = vec![0; end - start];
                read_into(&file, start as u64..end as u64, &mut target).unwrap();
                assert_eq!(target, bytes[start..end], "{start}..{end} of {len} bytes");
            }
            let past = len as u64..len as u64 + 1;
            assert_eq!(read(&file, past, &mut buffer).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_refuses_is_read_all_the_same() {
        let path = std::env::temp_dir().join(format!("wazarr-refused-{}", std::process::id()));
        fs::write(&path, b"0123456789").unwrap();
        let file = File::open(&path).unwrap();
        if enable(&file) {
            // What a disk with larger blocks does: memory that starts anywhere is refused.
            let mut memory = vec![0; 2 * BLOCK_BYTES];
            let odd = &mut aligned(&mut memory)[1..8];
            fill(&file, odd, 2, 5).unwrap();
            assert_eq!(&odd[..5], b"23456");
        }
        fs::remove_file(path).unwrap();
    }
}
