//! Bob Jenkins' lookup3 hash, in the byte order independent form that HDF5 uses for its metadata.
//!
//! Three 32-bit words take in twelve bytes at a time. The last block (one to twelve bytes) is stirred by
//! another function than those before it, so a block may only be mixed once more bytes are known to
//! follow. An empty input returns the start value.

const BLOCK: usize = 12;

#[derive(Clone, Copy)]
struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    /// Adds a block; one that is shorter counts as filled with zeros.
    fn add(&mut self, block: &[u8]) {
        let mut padded = [0; BLOCK];
        padded[..block.len()].copy_from_slice(block);
        let word =
            |at: usize| u32::from_le_bytes([padded[at], padded[at + 1], padded[at + 2], padded[at + 3]]);
        self.a = self.a.wrapping_add(word(0));
        self.b = self.b.wrapping_add(word(4));
        self.c = self.c.wrapping_add(word(8));
    }

    /// Stirs after a block that others follow.
    fn mix(&mut self) {
        let Self { mut a, mut b, mut c } = *self;
        for turn in [4, 6, 8, 16, 19, 4] {
            a = a.wrapping_sub(c) ^ c.rotate_left(turn);
            c = c.wrapping_add(b);
            // The words change roles with every step, and have their own again after six.
            (a, b, c) = (b, c, a);
        }
        *self = Self { a, b, c };
    }

    /// Stirs after the last block.
    fn finish(self) -> u32 {
        let Self { mut a, mut b, mut c } = self;
        c = (c ^ b).wrapping_sub(b.rotate_left(14));
        a = (a ^ c).wrapping_sub(c.rotate_left(11));
        b = (b ^ a).wrapping_sub(a.rotate_left(25));
        c = (c ^ b).wrapping_sub(b.rotate_left(16));
        a = (a ^ c).wrapping_sub(c.rotate_left(4));
        b = (b ^ a).wrapping_sub(a.rotate_left(14));
        (c ^ b).wrapping_sub(b.rotate_left(24))
    }
}

/// Hashes `prefix` followed by `data`.
pub(super) fn lookup3(prefix: &[u8], data: &[u8], initval: u32) -> u32 {
    // The length counts modulo 2³², as in C.
    #[expect(clippy::cast_possible_truncation, reason = "the hash is defined with 32-bit lengths")]
    let len = prefix.len().wrapping_add(data.len()) as u32;
    let start = 0xDEAD_BEEF_u32.wrapping_add(len).wrapping_add(initval);
    let mut state = State { a: start, b: start, c: start };
    // Whole blocks of the prefix are made with the first bytes of the data; the rest needs no copy.
    let to_whole = prefix.len().next_multiple_of(BLOCK) - prefix.len();
    let (head, rest) = data.split_at(to_whole.min(data.len()));
    let head = [prefix, head].concat();
    let mut blocks = head.chunks(BLOCK).chain(rest.chunks(BLOCK)).peekable();
    while let Some(block) = blocks.next() {
        state.add(block);
        if blocks.peek().is_none() {
            return state.finish();
        }
        state.mix();
    }
    state.c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_reference_implementation() {
        let bytes: Vec<u8> = (0..25).collect();
        for (len, hash) in
            [(0, 0xDEAD_BEEF), (1, 0x8BA9_414B), (12, 0x5E4A_A593), (13, 0xBC9D_6816), (25, 0x3A88_2244)]
        {
            assert_eq!(lookup3(&[], &bytes[..len], 0), hash, "{len} bytes");
        }
    }

    #[test]
    fn a_prefix_is_as_if_it_were_data() {
        let bytes: Vec<u8> = (0..60_u8).map(|i| i.wrapping_mul(7)).collect();
        for len in [0, 1, 11, 12, 13, 24, 60] {
            for split in 0..=len {
                let (prefix, data) = bytes[..len].split_at(split);
                assert_eq!(
                    lookup3(prefix, data, 5),
                    lookup3(&[], &bytes[..len], 5),
                    "{len} bytes at {split}"
                );
            }
        }
    }
}
