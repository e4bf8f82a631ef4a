//! Less than a chunk at a time: encoded forms of independent blocks, and forms that decode from front to back.
//! Both say which encoded bytes they need and leave it to the pipeline where these come from.

use std::fmt::Debug;
use std::ops::Range;

use super::CodecFault;

/// How much of an encoded form has to be decoded at once.
#[derive(Debug)]
pub enum Layout {
    /// All of it.
    Whole,
    /// Not known before so many bytes from its start.
    Head(usize),
    /// Any of its blocks.
    Blocks(Box<dyn Blocks>),
}

/// An encoded form of several blocks that know nothing of one another.
pub trait Blocks: Send + Sync + Debug {
    /// Decoded length in bytes of every block but the last, which may be shorter.
    fn block_bytes(&self) -> usize;

    /// Room in bytes that [`Blocks::decode`] needs in front of so many encoded blocks.
    fn head_bytes(&self, count: usize) -> usize;

    /// Where the encoded form of a block lies.
    fn encoded_range(&self, block: usize) -> Range<usize>;

    /// Decodes `blocks` into memory of exactly their length. `framed` holds room of [`Blocks::head_bytes`], then
    /// the encoded blocks one after the other.
    ///
    /// # Errors
    /// Damaged data.
    fn decode(&self, blocks: Range<usize>, framed: &mut [u8], decoded: &mut [u8]) -> Result<(), CodecFault>;
}

/// An encoded form under way from its first byte to its last, holding no more of the decoded form than the
/// format looks back and the caller has not consumed.
pub trait Stream {
    /// How many encoded bytes the next [`Stream::feed`] takes; 0 at the end.
    fn wanted_bytes(&self) -> usize;

    /// Decodes the next encoded bytes.
    ///
    /// # Errors
    /// Damaged data, or more bytes held than was agreed on.
    fn feed(&mut self, encoded: &[u8]) -> Result<(), CodecFault>;

    /// The decoded bytes that were not consumed yet.
    fn held(&self) -> &[u8];

    /// Forgets the first of the bytes held.
    fn consume(&mut self, len_bytes: usize);

    /// Whether only the end tells that the data is sound.
    fn has_checksum(&self) -> bool;
}
