//! Codecs whose decoded form lies in memory of their own, from where it goes straight to where it is wanted.

use std::ops::Range;

use super::{CodecFault, Scratch};

/// An encoded form.
pub enum Encoded<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// Not yet: to be put into memory of the codec's.
    Filled {
        /// Its length in bytes.
        len_bytes: usize,
        /// Puts it there; `false` where that failed, which its owner knows more about.
        fill: &'a mut dyn FnMut(&mut [u8]) -> bool,
    },
}

/// Gets parts of a decoded form, each with its number.
pub type TakeRange<'t> = dyn FnMut(usize, &[u8]) + 't;

/// A codec that shows what it decodes instead of writing it.
pub trait Lender {
    /// Whether the encoded form may be filled in.
    fn takes_filled(&self) -> bool;

    /// Whether it can decode parts alone, so that they are best asked for in pieces that stay in a core's cache.
    fn has_ranges(&self) -> bool;

    /// As [`Codec::decode_into`](super::Codec::decode_into), but these parts of the decoded form, which is
    /// `decoded_len` bytes long, are shown to `take` in their order.
    ///
    /// # Errors
    /// As there, perhaps after some parts were shown; [`CodecFault::Cancelled`] where the encoded form could not be
    /// filled in.
    fn decode_lent(
        &self,
        encoded: Encoded<'_>,
        decoded_len: usize,
        ranges: &[Range<usize>],
        take: &mut TakeRange<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault>;
}
