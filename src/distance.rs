//! Copies between addresses that are in each other's way.
//!
//! Processors find out which loads depend on earlier stores by the low twelve bits of their addresses. Where the
//! destination of a copy lies 1 to 31 bytes past its source, modulo 4096, every load of `rep movsb` seems to depend on
//! the store before it, and the copy takes ten times as long (measured by `benches/copies.rs`). Kernels use that
//! instruction to copy from the page cache, whose pages begin at multiples of 4096, and C libraries for copies from
//! 4 KiB on. Large arrays of numpy begin 16 bytes past such a multiple: malloc's own words are before them.

/// The size of what seems to be one address.
const ALIAS_BYTES: usize = 4096;
/// Shorter copies are done in another way.
const MIN_BYTES: usize = ALIAS_BYTES;
/// Pieces that are.
const PIECE_BYTES: usize = 1024;
/// Where our own memory begins, past a multiple of 4096: apart from pages and from numpy's arrays.
pub const OFFSET_BYTES: usize = 64;

/// Whether a copy of so many bytes from `source` to `target` is slow.
#[must_use]
pub fn is_bad(source: usize, target: usize, len_bytes: usize) -> bool {
    len_bytes >= MIN_BYTES && (1..32).contains(&(target.wrapping_sub(source) % ALIAS_BYTES))
}

/// How many bytes past `address` memory of ours should begin; it takes [`SLACK_BYTES`] more than it holds.
#[must_use]
pub fn padding(address: usize) -> usize {
    OFFSET_BYTES.wrapping_sub(address) % ALIAS_BYTES
}

/// The largest padding.
pub const SLACK_BYTES: usize = ALIAS_BYTES - 1;

/// Copies `source` to `target`, which is as long.
///
/// # Panics
/// The lengths differ.
pub fn copy(target: &mut [u8], source: &[u8]) {
    if is_bad(source.as_ptr().addr(), target.as_ptr().addr(), source.len()) {
        assert_eq!(target.len(), source.len(), "a copy between different lengths");
        for (target, source) in target.chunks_mut(PIECE_BYTES).zip(source.chunks(PIECE_BYTES)) {
            target.copy_from_slice(source);
        }
    } else {
        target.copy_from_slice(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_at_any_distance() {
        let source: Vec<u8> = (0..20_000_u32).map(|number| (number % 251) as u8).collect();
        let mut target = vec![0; source.len() + 2 * ALIAS_BYTES];
        let start = padding(target.as_ptr().addr());
        for (distance, len) in [(0, 20_000), (15, 20_000), (16, 5000), (16, 4095), (31, 4096), (32, 9999)] {
            let source = &source[..len];
            let base = (source.as_ptr().addr() + distance).wrapping_sub(target[start..].as_ptr().addr());
            let at = start + base % ALIAS_BYTES;
            let is_slow = is_bad(source.as_ptr().addr(), target[at..].as_ptr().addr(), len);
            assert_eq!(is_slow, (1..32).contains(&distance) && len >= MIN_BYTES, "{distance}, {len}");
            target.fill(0xff);
            copy(&mut target[at..at + len], source);
            assert_eq!(&target[at..at + len], source);
            assert!(target[at + len..].iter().all(|&byte| byte == 0xff));
        }
    }

    #[test]
    fn our_memory_is_out_of_the_way() {
        for address in [0, 16, 64, 65, 4095, 123_456] {
            assert_eq!((address + padding(address)) % ALIAS_BYTES, OFFSET_BYTES);
            assert!(padding(address) <= SLACK_BYTES);
        }
        assert!(!is_bad(0, OFFSET_BYTES, 1 << 20) && !is_bad(OFFSET_BYTES, 16, 1 << 20));
    }
}
