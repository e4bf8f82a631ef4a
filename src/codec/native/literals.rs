//! Raw DEFLATE streams of literals alone: Huffman codes and no matches, for data in which nothing repeats.
//!
//! Noisy measurements are like that. What deflate saves on them it saves by coding frequent bytes shorter, and an
//! encoder that looks for matches spends nearly all its time finding none. [`super::deflate`] asks here first:
//! [`encoded_len`] tells from a histogram, without encoding, what a sample would take, and [`repeats`] looks for
//! matches that are farther apart than a sample is long.
//!
//! The format is RFC 1951's. Every block of [`BLOCK_BYTES`] gets a code of its own from its histogram; one that it
//! would not shorten is stored. Codes are at most [`LONGEST_CODE`] bits long, so that four fit into a 64-bit word
//! beside the seven bits that may be left from before.

use memchr::memmem;

use crate::codec::CodecFault;
use crate::codec::scratch::reserve;

/// Bytes that share a code; as many as one stored block can hold.
const BLOCK_BYTES: usize = 65_535;
/// Literals, and the symbol that ends a block.
const SYMBOLS: usize = 257;
const END_OF_BLOCK: usize = 256;
/// Of the 15 that the format allows.
const LONGEST_CODE: u8 = 14;
/// The code that codes the lengths of codes.
const LENGTH_SYMBOLS: usize = 19;
const LONGEST_LENGTH_CODE: u8 = 7;
/// In which order the format lists the lengths of that code's words.
const LENGTH_SYMBOL_ORDER: [usize; LENGTH_SYMBOLS] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
/// Bits before the code of a block: last or not, its type, and the sizes of the three codes.
const HEADER_BITS: usize = 3 + 5 + 5 + 4;

/// How far back a match may lie.
const WINDOW_BYTES: usize = 32 << 10;
/// A match of so many bytes saves what it costs several times over.
const NEEDLE_BYTES: usize = 6;
const NEEDLES: usize = 16;

/// How many of [`NEEDLES`] places in `data` hold bytes that stand within the window before them as well.
pub(super) fn repeats(data: &[u8]) -> usize {
    let Some(last) = data.len().checked_sub(NEEDLE_BYTES) else { return 0 };
    let places = (1..=NEEDLES).map(|number| last / NEEDLES * number);
    let repeated = places.filter(|&place| {
        let before = &data[place.saturating_sub(WINDOW_BYTES)..place];
        memmem::find(before, &data[place..place + NEEDLE_BYTES]).is_some()
    });
    repeated.count()
}

/// Length in bytes of the stream that [`compress`] makes of one block of `data`.
pub(super) fn encoded_len(data: &[u8]) -> usize {
    let block = Block::of(data);
    (block.bits() / 8 + 1).min(data.len() + 5)
}

/// Appends `decoded` as one raw stream; it is no longer than [`super::deflate::bound`] says.
pub(super) fn compress(decoded: &[u8], encoded: &mut Vec<u8>, bound: usize) -> Result<(), CodecFault> {
    // A word is written at once, of which only the whole bytes are counted.
    let room_bytes = bound + size_of::<u64>();
    reserve(encoded, room_bytes)?;
    let start = encoded.len();
    encoded.resize(start + room_bytes, 0);
    let mut bits = Bits { bytes: &mut encoded[start..], at: 0, word: 0, held: 0 };
    let mut rest = decoded;
    loop {
        let (data, after) = rest.split_at(rest.len().min(BLOCK_BYTES));
        Block::of(data).write(after.is_empty(), &mut bits);
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    let written_bytes = bits.finish();
    encoded.truncate(start + written_bytes);
    Ok(())
}

/// A block of literals and the code for it.
struct Block<'d> {
    data: &'d [u8],
    lengths: [u8; SYMBOLS],
    /// The code's description.
    description: Vec<LengthSymbol>,
    description_lengths: [u8; LENGTH_SYMBOLS],
    literal_bits: usize,
}

impl<'d> Block<'d> {
    fn of(data: &'d [u8]) -> Self {
        let counts = histogram(data);
        let mut lengths = [0; SYMBOLS];
        code_lengths(&counts, LONGEST_CODE, &mut lengths);
        let literal_bits =
            counts.iter().zip(&lengths).map(|(&count, &length)| count as usize * usize::from(length)).sum();
        let description = describe(&lengths);
        let mut description_counts = [0; LENGTH_SYMBOLS];
        for item in &description {
            description_counts[usize::from(item.symbol)] += 1;
        }
        let mut description_lengths = [0; LENGTH_SYMBOLS];
        code_lengths(&description_counts, LONGEST_LENGTH_CODE, &mut description_lengths);
        Self { data, lengths, description, description_lengths, literal_bits }
    }

    /// How many lengths of [`LENGTH_SYMBOL_ORDER`] have to be written; the format wants four.
    fn listed(&self) -> usize {
        let last = LENGTH_SYMBOL_ORDER.iter().rposition(|&symbol| self.description_lengths[symbol] > 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    /// Bits of the whole block.
    fn bits(&self) -> usize {
        let description = self.description.iter().map(|item| {
            usize::from(self.description_lengths[usize::from(item.symbol)]) + usize::from(item.extra_bits)
        });
        HEADER_BITS + 3 * self.listed() + description.sum::<usize>() + self.literal_bits
    }

    fn write(&self, is_last: bool, bits: &mut Bits<'_>) {
        if self.bits() >= (self.data.len() + 5) * 8 {
            bits.store(self.data, is_last);
            return;
        }
        let listed = self.listed();
        bits.put(u64::from(is_last), 1);
        bits.put(2, 2);
        // As many literals and distances as the format allows at least: 257 and 1.
        bits.put(0, 5);
        bits.put(0, 5);
        bits.put(listed as u64 - 4, 4);
        for &symbol in &LENGTH_SYMBOL_ORDER[..listed] {
            bits.put(u64::from(self.description_lengths[symbol]), 3);
        }
        let words = code_words(&self.description_lengths);
        for item in &self.description {
            let (word, length) = words[usize::from(item.symbol)];
            bits.put(word.into(), length);
            bits.put(item.extra.into(), item.extra_bits);
        }
        let words = code_words(&self.lengths);
        let mut fours = self.data.chunks_exact(4);
        for four in &mut fours {
            for &byte in four {
                let (word, length) = words[usize::from(byte)];
                bits.hold(word.into(), length);
            }
            bits.flush();
        }
        for &byte in fours.remainder() {
            let (word, length) = words[usize::from(byte)];
            bits.put(word.into(), length);
        }
        let (word, length) = words[END_OF_BLOCK];
        bits.put(word.into(), length);
    }
}

/// How often each byte occurs, and the end of the block once. Four tables, since neighbours are often equal, and an
/// increment has to wait for the one before it to the same place.
fn histogram(data: &[u8]) -> [u32; SYMBOLS] {
    let mut tables = [[0_u32; 256]; 4];
    let mut fours = data.chunks_exact(4);
    for four in &mut fours {
        for (table, &byte) in tables.iter_mut().zip(four) {
            table[usize::from(byte)] += 1;
        }
    }
    for &byte in fours.remainder() {
        tables[0][usize::from(byte)] += 1;
    }
    let mut counts = [0; SYMBOLS];
    for (symbol, count) in counts[..256].iter_mut().enumerate() {
        *count = tables.iter().map(|table| table[symbol]).sum();
    }
    counts[END_OF_BLOCK] = 1;
    counts
}

/// Sets the lengths of the words of a prefix code, none longer than `longest`; a symbol that does not occur has none.
///
/// Huffman's tree is built with two queues. Words that come out too long are cut, and as many shorter ones made longer
/// as the cut ones now take too much of the code space.
fn code_lengths(counts: &[u32], longest: u8, lengths: &mut [u8]) {
    lengths.fill(0);
    let mut symbols: Vec<usize> = (0..counts.len()).filter(|&symbol| counts[symbol] > 0).collect();
    symbols.sort_by_key(|&symbol| counts[symbol]);
    let [_, _, ..] = symbols[..] else {
        // One word still needs a bit.
        for symbol in symbols {
            lengths[symbol] = 1;
        }
        return;
    };
    // The first nodes are the symbols, the others are made by joining the two lightest; each knows its parent.
    let leaves = symbols.len();
    let nodes = 2 * leaves - 1;
    let mut weights: Vec<u64> = symbols.iter().map(|&symbol| u64::from(counts[symbol])).collect();
    let mut parents = vec![0; nodes];
    let (mut next_leaf, mut next_joined) = (0, leaves);
    for joined in leaves..nodes {
        let mut weight = 0;
        for _ in 0..2 {
            let takes_leaf =
                next_leaf < leaves && (next_joined >= joined || weights[next_leaf] <= weights[next_joined]);
            let next = if takes_leaf { &mut next_leaf } else { &mut next_joined };
            weight += weights[*next];
            parents[*next] = joined;
            *next += 1;
        }
        weights.push(weight);
    }
    // From the root down; how many words there are of each length.
    let mut depths = vec![0_u8; nodes];
    let mut words_of = [0_usize; 16];
    for node in (0..nodes - 1).rev() {
        depths[node] = depths[parents[node]].saturating_add(1);
        if node < leaves {
            words_of[usize::from(depths[node].min(longest))] += 1;
        }
    }
    let longest = usize::from(longest);
    let space = 1_usize << longest;
    let mut used: usize = (1..=longest).map(|length| words_of[length] << (longest - length)).sum();
    while used > space {
        // A word of the greatest length goes beside a shorter one, which becomes longer by one bit.
        let shorter = (1..longest).rev().find(|&length| words_of[length] > 0).unwrap_or(1);
        words_of[longest] -= 1;
        words_of[shorter] -= 1;
        words_of[shorter + 1] += 2;
        used -= 1;
    }
    // The rarest symbols get the longest words.
    let by_length = (1..=longest).rev().flat_map(|length| std::iter::repeat_n(length, words_of[length]));
    for (&symbol, length) in symbols.iter().zip(by_length) {
        lengths[symbol] = u8::try_from(length).unwrap_or(u8::MAX);
    }
}

/// The words of a code with these lengths, as the format numbers them, their first bit lowest.
fn code_words<const N: usize>(lengths: &[u8; N]) -> [(u16, u8); N] {
    let mut next = [0_u16; 16];
    for &length in lengths {
        next[usize::from(length) + 1] += u16::from(length > 0);
    }
    for length in 1..next.len() {
        next[length] = (next[length] + if length > 1 { next[length - 1] } else { 0 }) << 1;
    }
    let mut words = [(0, 0); N];
    for (word, &length) in words.iter_mut().zip(lengths) {
        if length > 0 {
            let number = &mut next[usize::from(length)];
            *word = (number.reverse_bits() >> (16 - u16::from(length)), length);
            *number += 1;
        }
    }
    words
}

/// A symbol of the code that codes lengths, with what follows it.
struct LengthSymbol {
    symbol: u8,
    extra: u8,
    extra_bits: u8,
}

/// The lengths of the literals' words and of the one distance that a block has to name, runs taken together.
fn describe(lengths: &[u8; SYMBOLS]) -> Vec<LengthSymbol> {
    let mut described = Vec::with_capacity(SYMBOLS);
    let mut rest: &[u8] = &[&lengths[..], &[1]].concat();
    while let Some(&length) = rest.first() {
        let run = rest.iter().take_while(|&&other| other == length).count();
        let (symbol, extra, extra_bits, taken) = match (length, run) {
            (0, 11..) => (18, run.min(138) - 11, 7, run.min(138)),
            (0, 3..) => (17, run - 3, 3, run),
            _ => (length, 0, 0, 1),
        };
        let mut push = |symbol, extra: usize, extra_bits| {
            described.push(LengthSymbol {
                symbol,
                extra: u8::try_from(extra).unwrap_or(u8::MAX),
                extra_bits,
            });
        };
        push(symbol, extra, extra_bits);
        let mut taken = taken;
        if length > 0 {
            while run - taken >= 3 {
                let again = (run - taken).min(6);
                push(16, again - 3, 2);
                taken += again;
            }
        }
        rest = &rest[taken..];
    }
    described
}

/// Writes bits, the lowest first.
struct Bits<'b> {
    bytes: &'b mut [u8],
    at: usize,
    word: u64,
    held: u32,
}

impl Bits<'_> {
    /// Adds bits, of which there is room for 64 until [`Bits::flush`].
    #[inline]
    fn hold(&mut self, bits: u64, count: u8) {
        self.word |= bits << self.held;
        self.held += u32::from(count);
    }

    /// Writes the whole bytes that are held.
    #[inline]
    fn flush(&mut self) {
        self.bytes[self.at..self.at + 8].copy_from_slice(&self.word.to_le_bytes());
        self.at += (self.held / 8) as usize;
        self.word >>= self.held & !7;
        self.held &= 7;
    }

    fn put(&mut self, bits: u64, count: u8) {
        self.hold(bits, count);
        self.flush();
    }

    /// Writes a block as it is.
    fn store(&mut self, data: &[u8], is_last: bool) {
        self.put(u64::from(is_last), 3);
        let padding = (8 - self.held) % 8;
        self.held += padding;
        self.flush();
        let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
        self.put(u64::from(len) | u64::from(!len) << 16, 32);
        self.bytes[self.at..self.at + data.len()].copy_from_slice(data);
        self.at += data.len();
    }

    /// Writes what is left; answers how many bytes there are.
    fn finish(mut self) -> usize {
        self.flush();
        self.at + usize::from(self.held > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scratch;
    use crate::codec::native::deflate::{bound, inflate_raw};

    /// Bytes with frequencies that fall by `halving`: from all alike to nearly all the same.
    fn skewed(len_bytes: usize, halving: u32) -> Vec<u8> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let rare = (state >> 20).trailing_zeros() * halving;
            u8::try_from(state >> 56).unwrap() >> rare.min(7)
        };
        (0..len_bytes).map(|_| next()).collect()
    }

    fn round_trip(data: &[u8]) -> usize {
        let mut encoded = b"before".to_vec();
        compress(data, &mut encoded, bound(data.len())).unwrap();
        let stream = encoded.strip_prefix(b"before").unwrap();
        assert!(stream.len() <= bound(data.len()));
        let mut decoded = vec![0; data.len()];
        inflate_raw(stream, &mut decoded, &mut Scratch::default()).unwrap();
        assert_eq!(decoded, data);
        // Another reader than ours.
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(stream).unwrap(), data);
        stream.len()
    }

    #[test]
    fn streams_of_every_length_and_skew_decode() {
        for len_bytes in [0, 1, 2, 3, 4, 5, 7, 255, 4096, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 11]
        {
            for halving in 0..=4 {
                round_trip(&skewed(len_bytes, halving));
            }
            round_trip(&vec![200; len_bytes]);
        }
    }

    #[test]
    fn codes_that_would_be_too_long_are_cut() {
        // Each byte value twice as frequent as the one before: a tree of 20 levels.
        let data: Vec<u8> =
            (0..20_u8).flat_map(|byte| std::iter::repeat_n(byte, 1 << (byte / 2 + 1))).collect();
        let fibonacci: Vec<u8> = (0..22_u8)
            .scan((1_usize, 1_usize), |(a, b), byte| {
                (*a, *b) = (*b, *a + *b);
                Some((byte, *a))
            })
            .flat_map(|(byte, count)| std::iter::repeat_n(byte, count))
            .collect();
        for data in [data, fibonacci] {
            let counts = histogram(&data[..data.len().min(BLOCK_BYTES)]);
            let mut lengths = [0; SYMBOLS];
            code_lengths(&counts, LONGEST_CODE, &mut lengths);
            assert!(lengths.iter().all(|&length| length <= LONGEST_CODE));
            // The code is complete: no word is missing, none is given twice.
            let used: usize = lengths
                .iter()
                .filter(|&&length| length > 0)
                .map(|&length| 1 << (LONGEST_CODE - length))
                .sum();
            assert_eq!(used, 1 << LONGEST_CODE);
            round_trip(&data);
        }
    }

    #[test]
    fn the_estimate_is_what_one_block_takes() {
        for halving in 0..=4 {
            let data = skewed(16 << 10, halving);
            assert!(encoded_len(&data).abs_diff(round_trip(&data)) <= 1);
        }
    }

    #[test]
    fn noise_is_stored_at_hardly_more_than_its_length() {
        let data = skewed(1 << 20, 0);
        assert!(round_trip(&data) <= data.len() + 5 * 17 + 2);
    }

    #[test]
    fn repeats_are_found_as_far_as_the_window_reaches() {
        let noise = skewed(30 << 10, 0);
        assert_eq!(repeats(&noise), 0);
        assert!(repeats(&noise.repeat(3)) > NEEDLES / 2);
        let far = skewed(40 << 10, 0);
        assert_eq!(repeats(&far.repeat(3)), 0);
        assert_eq!(repeats(b"abc"), 0);
    }
}
