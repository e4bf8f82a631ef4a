//! The format of a shard: many inner chunks in one stored value, with an index of where each lies.
//!
//! Source: the Zarr v3 specification, codec `sharding_indexed`. The index holds an offset and a length
//! for every inner chunk in C order of the shard's grid, both 2⁶⁴-1 for one that is missing, run through a
//! chain of its own and stored at the start or the end. This file knows the format; reading and writing
//! the inner chunks is the pipeline's (`pipeline/shard.rs`).

use std::ops::Range;
use std::sync::Arc;

use super::chain::Chain;
use super::registry::BindError;
use super::scratch::reserve;
use super::{CodecFault, Direction, Scratch};
use crate::error::StepError;

/// Name of the codec in metadata.
pub const NAME: &str = "sharding_indexed";

/// Offset and length of an inner chunk that is not there.
const MISSING: u64 = u64::MAX;

/// Inner chunks of one shard at most: an index of a GiB.
const INNER_CHUNKS_MAX: usize = 1 << 26;

/// Where the index lies in the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexLocation {
    /// Before the inner chunks.
    Start,
    /// After them.
    End,
}

/// The order in which a writer lays out the inner chunks; readers do not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOrder {
    /// Z order, zarr-python's default.
    Morton,
    /// C order.
    Lexicographic,
    /// Fortran order.
    Colexicographic,
}

impl WriteOrder {
    /// Positions of the inner chunks (linear in C order) in the order of writing.
    #[must_use]
    pub fn positions(self, grid: &[usize]) -> Vec<usize> {
        let total: usize = grid.iter().product();
        let mut positions: Vec<usize> = (0..total).collect();
        let coordinates = |mut position: usize| {
            let mut coordinates = vec![0; grid.len()];
            for (axis, &len) in grid.iter().enumerate().rev() {
                coordinates[axis] = position % len;
                position /= len;
            }
            coordinates
        };
        match self {
            Self::Lexicographic => {}
            Self::Colexicographic => positions.sort_by_cached_key(|&position| {
                let mut reversed = coordinates(position);
                reversed.reverse();
                reversed
            }),
            Self::Morton => {
                positions.sort_by_cached_key(|&position| morton_code(&coordinates(position), grid));
            }
        }
        positions
    }
}

/// Interleaves the bits of the coordinates, each axis with as many bits as its length needs, first axis
/// lowest ("compressed Morton code", Neuroglancer's precomputed volume format).
fn morton_code(coordinates: &[usize], grid: &[usize]) -> u128 {
    let bits: Vec<u32> = grid.iter().map(|&len| usize::BITS - (len - 1).leading_zeros()).collect();
    let mut code = 0_u128;
    let mut at = 0_u32;
    for bit in 0..bits.iter().copied().max().unwrap_or(0) {
        for (axis, &axis_bits) in bits.iter().enumerate() {
            if bit < axis_bits {
                code |= (((coordinates[axis] >> bit) & 1) as u128) << at.min(127);
                at += 1;
            }
        }
    }
    code
}

/// A sharding codec bound to the shape of its shards.
#[derive(Debug)]
pub struct Sharding {
    inner: Arc<Chain>,
    index: Arc<Chain>,
    index_len: usize,
    location: IndexLocation,
    grid: Vec<usize>,
    inner_count: usize,
    write_positions: Vec<usize>,
}

impl Sharding {
    /// Binds the codec: `inner` for the inner chunks, `index` for an array of `u64` with the shape of
    /// `grid` and 2 at the end.
    ///
    /// # Errors
    /// Index codecs whose encoded size is not fixed.
    pub fn bind(
        inner: Arc<Chain>,
        index: Arc<Chain>,
        location: IndexLocation,
        grid: Vec<usize>,
        order: WriteOrder,
    ) -> Result<Self, BindError> {
        let Some(index_len) = index.encoded_len() else {
            return Err(BindError::Invalid(
                "the index codecs of a shard must give a fixed size; compressors cannot stand there"
                    .to_owned(),
            ));
        };
        let inner_count = grid.iter().try_fold(1_usize, |product, &len| product.checked_mul(len));
        let Some(inner_count) = inner_count.filter(|&count| count <= INNER_CHUNKS_MAX) else {
            return Err(BindError::Unsupported(format!(
                "shards of {grid:?} inner chunks: no more than {INNER_CHUNKS_MAX} are handled natively"
            )));
        };
        let write_positions = order.positions(&grid);
        Ok(Self { inner, index, index_len, location, grid, inner_count, write_positions })
    }

    /// The chain of the inner chunks.
    #[must_use]
    pub fn inner(&self) -> &Arc<Chain> {
        &self.inner
    }

    /// Inner chunks along every axis.
    #[must_use]
    pub fn grid(&self) -> &[usize] {
        &self.grid
    }

    /// Inner chunks in a shard.
    #[must_use]
    pub fn inner_count(&self) -> usize {
        self.inner_count
    }

    /// Where the index lies.
    #[must_use]
    pub fn location(&self) -> IndexLocation {
        self.location
    }

    /// Length of the stored index in bytes.
    #[must_use]
    pub fn index_len(&self) -> usize {
        self.index_len
    }

    /// Longest shard that can be sound. Gaps between inner chunks are allowed, so twice what they need.
    #[must_use]
    pub fn encoded_limit(&self) -> usize {
        self.inner
            .encoded_limit()
            .saturating_mul(self.inner_count)
            .saturating_mul(2)
            .saturating_add(self.index_len)
            .saturating_add(1 << 20)
    }

    /// Bytes of the index within a shard of `shard_len` bytes.
    ///
    /// # Errors
    /// A shard shorter than its index.
    pub fn index_range(&self, shard_len: u64) -> Result<Range<u64>, StepError> {
        let index_len = self.index_len as u64;
        let Some(last_start) = shard_len.checked_sub(index_len) else {
            return Err(damaged(format!("{shard_len} bytes are fewer than the {index_len} of its index")));
        };
        let start = match self.location {
            IndexLocation::Start => 0,
            IndexLocation::End => last_start,
        };
        Ok(start..start + index_len)
    }

    /// Decodes the stored index.
    ///
    /// # Errors
    /// What the index's own chain refuses, checksums included.
    pub fn decode_index(&self, encoded: &[u8], scratch: &mut Scratch) -> Result<ShardIndex, StepError> {
        let mut bytes =
            scratch.take(self.inner_count * 16).map_err(|fault| step(Direction::Decode, fault))?;
        let result = self.index.decode(encoded, &mut bytes, scratch).map_err(|mut error| {
            error.codec = format!("{NAME} (index: {})", error.codec);
            error
        });
        let entries = result.map(|()| {
            let word = |bytes: &[u8]| {
                let mut word = [0; 8];
                word.copy_from_slice(bytes);
                u64::from_ne_bytes(word)
            };
            ShardIndex {
                entries: bytes.chunks_exact(16).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect(),
            }
        });
        scratch.put(bytes);
        entries
    }

    /// Puts a shard together from the encoded inner chunks (in C order of the grid; `None`: missing).
    /// Answers `false`, with nothing written, where all are missing.
    ///
    /// # Errors
    /// What the index's own chain refuses.
    pub fn assemble(
        &self,
        inner: &[Option<&[u8]>],
        shard: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<bool, StepError> {
        shard.clear();
        let data_len: usize = inner.iter().flatten().map(|bytes| bytes.len()).sum();
        if inner.iter().all(Option::is_none) {
            return Ok(false);
        }
        let no_memory = |fault| step(Direction::Encode, fault);
        reserve(shard, data_len.saturating_add(self.index_len)).map_err(no_memory)?;
        let mut offset = match self.location {
            IndexLocation::Start => self.index_len as u64,
            IndexLocation::End => 0,
        };
        if self.location == IndexLocation::Start {
            shard.resize(self.index_len, 0);
        }
        let mut index = scratch.take(self.inner_count * 16).map_err(no_memory)?;
        index.fill(0xff);
        for &position in &self.write_positions {
            if let Some(bytes) = inner[position] {
                let entry = &mut index[position * 16..position * 16 + 16];
                entry[..8].copy_from_slice(&offset.to_ne_bytes());
                entry[8..].copy_from_slice(&(bytes.len() as u64).to_ne_bytes());
                offset += bytes.len() as u64;
                shard.extend_from_slice(bytes);
            }
        }
        let mut encoded_index = scratch.take_vec();
        let result = self.index.encode(&index, &mut encoded_index, scratch);
        match self.location {
            IndexLocation::End => shard.extend_from_slice(&encoded_index),
            IndexLocation::Start => {
                let len = self.index_len.min(encoded_index.len());
                shard[..len].copy_from_slice(&encoded_index[..len]);
            }
        }
        scratch.put_vec(encoded_index);
        scratch.put(index);
        result.map(|()| true)
    }
}

/// Where the inner chunks of one shard lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    entries: Vec<(u64, u64)>,
}

impl ShardIndex {
    /// Bytes of the inner chunk at `position` (linear in C order) in a shard of `shard_len` bytes; `None`
    /// where it is missing.
    ///
    /// # Errors
    /// A range that leaves the shard, or is longer than `limit_bytes`.
    pub fn range(
        &self,
        position: usize,
        shard_len: u64,
        limit_bytes: usize,
    ) -> Result<Option<Range<u64>>, StepError> {
        let (offset, len) = self.entries[position];
        if offset == MISSING && len == MISSING {
            return Ok(None);
        }
        match offset.checked_add(len) {
            Some(end) if end <= shard_len && len <= limit_bytes as u64 => Ok(Some(offset..end)),
            Some(end) if end <= shard_len => Err(damaged(format!(
                "the index gives inner chunk {position} {len} bytes where {limit_bytes} are possible at most"
            ))),
            _ => Err(damaged(format!(
                "the index puts inner chunk {position} at byte {offset} with {len} bytes, in a shard of {shard_len}"
            ))),
        }
    }
}

/// Refuses ranges that share some of their bytes. (Two entries with the very same range are sound: a
/// writer may store equal inner chunks once.)
///
/// # Errors
/// The first two that overlap.
pub fn check_overlaps(ranges: &mut Vec<Range<u64>>) -> Result<(), StepError> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup();
    match ranges.windows(2).find(|pair| pair[1].start < pair[0].end && !pair[1].is_empty()) {
        None => Ok(()),
        Some(pair) => Err(damaged(format!(
            "the index gives inner chunks overlapping bytes: {}..{} and {}..{}",
            pair[0].start, pair[0].end, pair[1].start, pair[1].end
        ))),
    }
}

/// A fault in the shard's own structure.
#[must_use]
pub fn damaged(what: String) -> StepError {
    step(Direction::Decode, CodecFault::Damaged(what))
}

fn step(direction: Direction, fault: CodecFault) -> StepError {
    StepError { codec: NAME.to_owned(), direction, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn morton_order_is_that_of_zarr_python() {
        // zarr.core.indexing.morton_order_iter of these grids, as linear positions.
        assert_eq!(WriteOrder::Morton.positions(&[2, 2]), [0, 2, 1, 3]);
        assert_eq!(WriteOrder::Morton.positions(&[3, 2]), [0, 2, 1, 3, 4, 5]);
        assert_eq!(WriteOrder::Colexicographic.positions(&[2, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(WriteOrder::Lexicographic.positions(&[2, 2]), [0, 1, 2, 3]);
        assert_eq!(WriteOrder::Morton.positions(&[]), [0]);
    }

    #[test]
    fn lying_entries_are_refused() {
        let index = ShardIndex { entries: vec![(MISSING, MISSING), (0, 10), (5, 10), (u64::MAX - 2, 10)] };
        assert_eq!(index.range(0, 12, 100).unwrap(), None);
        assert_eq!(index.range(1, 12, 100).unwrap(), Some(0..10));
        assert!(index.range(1, 12, 9).is_err());
        assert!(index.range(2, 12, 100).is_err());
        assert!(index.range(3, 12, 100).is_err());
        assert!(check_overlaps(&mut vec![0..10, 5..12]).is_err());
        assert!(check_overlaps(&mut vec![10..12, 0..10, 0..10]).is_ok());
    }
}
