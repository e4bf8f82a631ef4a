//! Which stored bytes of a chunk a read will need, as far as that is known before any of them is read: what a store
//! may ask a disk for before their turn ([`ChunkStore::look_ahead`](crate::store::ChunkStore::look_ahead)).

use crate::codec::chain::Chain;
use crate::codec::sharding::IndexLocation;
use crate::plan::Selection;
use crate::store::ByteRange;

/// A disk delivers so many bytes in one piece about as soon as it finds the next of two pieces.
const PIECE_BYTES: u64 = 128 << 10;
/// Pieces that are closer are found together: systems read pages of this size, or larger ones.
const PAGE_BYTES: usize = 4 << 10;
/// Where less than one in so many bytes is needed, the others are not worth it.
const MOST_SPARSE: u64 = 8;

/// What a read of `selection` needs first: of a shard of which only a part is needed, its index.
pub(super) fn needed_bytes(chain: &Chain, selection: &Selection) -> Option<ByteRange> {
    if is_mostly_wanted(chain, selection) {
        return Some(ByteRange::Whole);
    }
    if let Some(sharding) = chain.shard() {
        let index_len = sharding.index_len() as u64;
        return Some(match sharding.location() {
            IndexLocation::Start => ByteRange::Bounded(0..index_len),
            IndexLocation::End => ByteRange::Suffix(index_len),
        });
    }
    if chain.is_plain() {
        let item_size = chain.spec().dtype.item_size as u64;
        let region = selection.project(chain.strides());
        let (lowest, highest) = region.bounds()?;
        let range = u64::try_from(lowest).ok()?..u64::try_from(highest).ok()?.checked_add(item_size)?;
        let needed = (selection.element_count() as u64).saturating_mul(item_size);
        let len_bytes = range.end - range.start;
        let in_pieces = (region.pieces(PAGE_BYTES) as u64).saturating_mul(PIECE_BYTES);
        let is_dense = len_bytes <= in_pieces || needed >= len_bytes / MOST_SPARSE;
        return is_dense.then_some(ByteRange::Bounded(range));
    }
    // Where a chunk begins with an index of its blocks, that tells.
    let is_small = chain.len_bytes() as u64 <= 2 * PIECE_BYTES;
    (is_small || chain.head_bytes().is_none()).then_some(ByteRange::Whole)
}

/// Whether a read needs so much of a chunk that all of it is asked for.
pub(super) fn is_mostly_wanted(chain: &Chain, selection: &Selection) -> bool {
    selection.element_count() >= chain.element_count() / 2
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chain, shard_of, through};
    use super::*;
    use crate::plan::Indices;

    fn window(axes: [(usize, usize); 3]) -> Selection {
        Selection::Product(axes.iter().map(|&(start, len)| Indices::Range { start, step: 1, len }).collect())
    }

    #[test]
    fn of_plain_chunks_what_lies_between_is_asked_for_where_that_is_sooner() {
        let plain = chain(&[80, 80, 80], &through(&[]));
        let needed = |axes| needed_bytes(&plain, &window(axes));
        assert_eq!(needed([(0, 80), (0, 80), (0, 80)]), Some(ByteRange::Whole));
        assert_eq!(needed([(70, 10), (0, 80), (0, 80)]), Some(ByteRange::Bounded(896_000..1_024_000)));
        // 80 rows of 20 bytes in each of 80 planes: every plane is another place on the disk.
        assert_eq!(needed([(0, 80), (70, 10), (70, 10)]), Some(ByteRange::Bounded(11_340..1_024_000)));
        assert_eq!(needed([(3, 1), (4, 1), (5, 0)]), None);
        // Two planes far apart are read one by one.
        let far = Selection::Product(
            [Indices::Range { start: 0, step: 79, len: 2 }, Indices::full(80), Indices::full(80)]
                .into_iter()
                .collect(),
        );
        assert_eq!(needed_bytes(&plain, &far), None);
    }

    #[test]
    fn of_other_chunks_all_or_the_index() {
        let few = window([(0, 1), (0, 1), (0, 1)]);
        let encoded = chain(&[8, 8, 8], &through(&["zstd"]));
        assert_eq!(needed_bytes(&encoded, &few), Some(ByteRange::Whole));
        let shard = chain(&[8, 8, 8], &shard_of(&[4, 4, 4], through(&["zstd"])));
        assert_eq!(needed_bytes(&shard, &few), Some(ByteRange::Suffix(8 * 16 + 4)));
        assert_eq!(needed_bytes(&shard, &Selection::full(&[8, 8, 8])), Some(ByteRange::Whole));
    }
}
