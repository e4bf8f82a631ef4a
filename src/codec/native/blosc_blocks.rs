//! The blocks of blosc frames, some at a time.
//!
//! A frame is a header, a table of where each block starts, and the blocks, which know nothing of one another.
//! So some of the blocks behind a header and a table of their own are a frame too:
//!
//! - to decode, the blocks wanted are read behind room for both, which [`Frame::decode`] fills in; the library
//!   then decodes them straight to where they go. (Its own function for parts, `blosc_getitem`, wants all of
//!   the frame in memory and copies each block once more: two threads were 1.3 times as fast as one with it.)
//! - to encode, ranges of blocks are encoded as frames, and their blocks joined to one ([`join`]).

use std::ops::Range;

use super::blosc::{HEADER_BYTES, Header, decompress};
use super::output::damaged;
use crate::codec::CodecFault;
use crate::codec::partial::{Blocks, Layout};
use crate::codec::scratch::reserve;

/// In the table, and before every block.
const OFFSET_BYTES: usize = 4;
const FLAG_NOT_SPLIT: u8 = 0x10;
const FLAGS_AT: usize = 2;
const DECODED_BYTES_AT: usize = 4;
const BLOCK_BYTES_AT: usize = 8;
const FRAME_BYTES_AT: usize = 12;

/// The length of a header with a table of so many blocks.
fn head_bytes(count: usize) -> usize {
    HEADER_BYTES + OFFSET_BYTES * count
}

/// A number as the format stores it. All of them are below 2³¹ by the checks of [`Header::parse`], or by the
/// limit on what may be encoded.
fn stored(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

fn set(frame: &mut [u8], at: usize, number: usize) {
    frame[at..at + 4].copy_from_slice(&stored(number));
}

fn offset_at(frame: &[u8], at: usize) -> Option<usize> {
    let bytes = frame.get(at..)?.first_chunk()?;
    usize::try_from(i32::from_le_bytes(*bytes)).ok()
}

/// Where the blocks of a frame lie.
#[derive(Debug)]
struct Frame {
    header: Header,
    head: [u8; HEADER_BYTES],
    /// Of each block; empty where they are stored as they are.
    starts_and_ends: Vec<(u32, u32)>,
}

/// The blocks of the frame that begins with `head`.
///
/// # Errors
/// Damaged data, or data that decodes to another length.
pub(super) fn layout(head: &[u8], encoded_len: usize, decoded_len: usize) -> Result<Layout, CodecFault> {
    let header = Header::parse(head, encoded_len)?;
    if header.decoded_bytes != decoded_len {
        return Err(CodecFault::DecodedLength { expected: decoded_len, actual: header.decoded_bytes });
    }
    let Some(&fixed) = head.first_chunk::<HEADER_BYTES>() else { return Ok(Layout::Head(HEADER_BYTES)) };
    if header.block_bytes >= header.decoded_bytes {
        return Ok(Layout::Whole);
    }
    if header.is_stored {
        let is_sound = header.frame_bytes == HEADER_BYTES + header.decoded_bytes;
        let frame = Frame { header, head: fixed, starts_and_ends: Vec::new() };
        return Ok(if is_sound { Layout::Blocks(Box::new(frame)) } else { Layout::Whole });
    }
    let count = header.block_count();
    let Some(table) = head.get(HEADER_BYTES..head_bytes(count)) else {
        return Ok(Layout::Head(head_bytes(count)));
    };
    // A table that no writer makes is left to the library, with the whole frame.
    Ok(starts_and_ends(table, header.frame_bytes).map_or(Layout::Whole, |starts_and_ends| {
        Layout::Blocks(Box::new(Frame { header, head: fixed, starts_and_ends }))
    }))
}

/// Where each block starts and ends: where the next one starts, which need not be its neighbour, for several
/// threads of one writer append their blocks as they come. `None` if two start at the same place, or one
/// outside.
fn starts_and_ends(table: &[u8], frame_bytes: usize) -> Option<Vec<(u32, u32)>> {
    let starts = table.as_chunks::<OFFSET_BYTES>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut found: Vec<(u32, u32)> = Vec::new();
    reserve_blocks(&mut found, table.len() / OFFSET_BYTES)?;
    found.extend(starts.map(|start| (start, 0)));
    let end = u32::try_from(frame_bytes).ok()?;
    let least = u32::try_from(HEADER_BYTES + table.len()).ok()?;
    if found.is_sorted_by_key(|block| block.0) {
        for at in 0..found.len() {
            found[at].1 = found.get(at + 1).map_or(end, |next| next.0);
        }
    } else {
        let mut sorted: Vec<u32> = Vec::new();
        reserve_blocks(&mut sorted, found.len())?;
        sorted.extend(found.iter().map(|block| block.0));
        sorted.sort_unstable();
        for block in &mut found {
            let after = sorted.partition_point(|start| *start <= block.0);
            // Of two that start at the same place the first has no end.
            let is_alone = after < 2 || sorted[after - 2] != block.0;
            block.1 = if is_alone { sorted.get(after).copied().unwrap_or(end) } else { block.0 };
        }
    }
    let is_sound = |&(start, end): &(u32, u32)| start >= least && end > start;
    found.iter().all(is_sound).then_some(found)
}

/// Room for so many blocks; `None` where there is no memory for it.
fn reserve_blocks<T>(blocks: &mut Vec<T>, count: usize) -> Option<()> {
    blocks.try_reserve_exact(count).ok()
}

impl Blocks for Frame {
    fn block_bytes(&self) -> usize {
        self.header.block_bytes
    }

    fn head_bytes(&self, count: usize) -> usize {
        if self.header.is_stored { 0 } else { head_bytes(count) }
    }

    fn encoded_range(&self, block: usize) -> Range<usize> {
        if let Some(&(start, end)) = self.starts_and_ends.get(block) {
            return start as usize..end as usize;
        }
        let place =
            |block: usize| HEADER_BYTES + (block * self.header.block_bytes).min(self.header.decoded_bytes);
        place(block)..place(block + 1)
    }

    fn decode(&self, blocks: Range<usize>, framed: &mut [u8], decoded: &mut [u8]) -> Result<(), CodecFault> {
        if self.header.is_stored {
            if framed.len() != decoded.len() {
                return Err(CodecFault::DecodedLength { expected: decoded.len(), actual: framed.len() });
            }
            decoded.copy_from_slice(framed);
            return Ok(());
        }
        let mut start = head_bytes(blocks.len());
        if framed.len() < start {
            return Err(damaged("its blocks are missing"));
        }
        framed[..HEADER_BYTES].copy_from_slice(&self.head);
        set(framed, DECODED_BYTES_AT, decoded.len());
        set(framed, FRAME_BYTES_AT, framed.len());
        if decoded.len() < self.header.block_bytes {
            // The last block alone, as long as it is: the library would split it like a full one, which the
            // writer did not do.
            set(framed, BLOCK_BYTES_AT, decoded.len());
            framed[FLAGS_AT] |= FLAG_NOT_SPLIT;
        }
        for (at, block) in blocks.enumerate() {
            set(framed, head_bytes(at), start);
            start += self.encoded_range(block).len();
        }
        let header = Header::parse(framed, framed.len())?;
        decompress(&header, framed, decoded)
    }
}

/// Parts as long as this are encoded by one call: long enough that the calls are few, short enough that no
/// thread waits long for the last one.
const PART_BYTES: usize = 512 << 10;

/// The length of parts that begin and end with a block.
pub(super) fn part_bytes(block_bytes: usize) -> usize {
    block_bytes * (PART_BYTES / block_bytes).max(1)
}

/// Adds the blocks of `part`, the frame of what lies at `first_byte` of `decoded_len`, to `frame`. `false`, with
/// the frame unspecified, where only the whole tells what has to be written: stored as it is, for one.
///
/// # Errors
/// No memory.
pub(super) fn join(
    part: &[u8],
    first_byte: usize,
    decoded_len: usize,
    frame: &mut Vec<u8>,
) -> Result<bool, CodecFault> {
    let header = Header::parse(part, part.len())?;
    if header.is_stored || !first_byte.is_multiple_of(header.block_bytes) {
        return Ok(false);
    }
    let all_blocks = decoded_len.div_ceil(header.block_bytes);
    if first_byte == 0 {
        reserve(frame, decoded_len + HEADER_BYTES)?;
        frame.extend_from_slice(&part[..HEADER_BYTES]);
        frame.resize(head_bytes(all_blocks), 0);
        set(frame, DECODED_BYTES_AT, decoded_len);
    } else if offset_at(frame, BLOCK_BYTES_AT) != Some(header.block_bytes) {
        return Ok(false);
    }
    let part_head = head_bytes(header.block_count());
    let end = frame.len() + part.len() - part_head;
    // As long as the library lets a frame become before it stores the contents as they are.
    if end > decoded_len + HEADER_BYTES {
        return Ok(false);
    }
    let first_block = first_byte / header.block_bytes;
    for block in 0..header.block_count() {
        let Some(start) = offset_at(part, head_bytes(block)).and_then(|start| start.checked_sub(part_head))
        else {
            return Ok(false);
        };
        let start = frame.len() + start;
        set(frame, head_bytes(first_block + block), start);
    }
    frame.extend_from_slice(&part[part_head..]);
    set(frame, FRAME_BYTES_AT, end);
    Ok(true)
}
