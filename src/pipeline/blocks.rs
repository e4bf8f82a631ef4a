//! Encoded chunks that can be decoded in parts: blosc frames, whose blocks are independent. Used by
//! [`super::chunk`]: a window decodes only the blocks that hold it, and the blocks of a chunk that several threads
//! may work on are shared among them.

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::chain::Chain;
use crate::codec::scratch::ScratchBuffer;
use crate::codec::{Direction, Scratch};
use crate::error::Error;
use crate::plan::Region;
use crate::schedule::Work;
use crate::store::ByteSource;

use super::parts;

/// An encoded chunk as its decoded bytes, of which parts can be read.
pub(super) struct Blocks<'a> {
    chain: &'a Chain,
    encoded: &'a [u8],
    block_bytes: usize,
    key: &'a str,
}

impl<'a> Blocks<'a> {
    /// The blocks of a chunk; `None` where it has to be decoded as a whole.
    ///
    /// # Errors
    /// Damaged data.
    pub(super) fn of(chain: &'a Chain, encoded: &'a [u8], key: &'a str) -> Result<Option<Self>, Error> {
        let block_bytes = chain.block_bytes(encoded).map_err(|error| error.at(key))?;
        Ok(block_bytes.map(|block_bytes| Self { chain, encoded, block_bytes, key }))
    }

    /// Whether enough blocks hold nothing of `region` to make up for the copy that decoding in parts takes.
    pub(super) fn are_spared(&self, region: &Region, item_size: usize) -> bool {
        let Some((lowest, highest)) = region.bounds() else { return true };
        let first = lowest.unsigned_abs() / self.block_bytes;
        let last = (highest.unsigned_abs() + item_size - 1) / self.block_bytes;
        let count = self.chain.len_bytes().div_ceil(self.block_bytes);
        (last - first + 1) * 4 <= count * 3
    }

    /// Decodes all blocks, several threads sharing them; `false`, with nothing done, where one is as good.
    ///
    /// # Errors
    /// Damaged data.
    pub(super) fn decode_shared(
        &self,
        decoded: &mut [u8],
        work: Work<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, Error> {
        if !parts::are_worth_it(decoded.len(), work) {
            return Ok(false);
        }
        parts::fill(decoded, self.block_bytes, work, scratch, |first_byte, part| {
            self.decode_part(first_byte, part)
        })?;
        Ok(true)
    }

    fn decode_part(&self, first_byte: usize, decoded: &mut [u8]) -> Result<(), Error> {
        self.chain.decode_part(self.encoded, first_byte, decoded).map_err(|error| error.at(self.key))
    }
}

/// A number of bytes as memory counts them.
fn in_memory(bytes: u64) -> Result<usize, Error> {
    usize::try_from(bytes).map_err(|_| Error::Internal(format!("{bytes} bytes do not fit in memory")))
}

impl ByteSource for Blocks<'_> {
    fn len_bytes(&self) -> u64 {
        self.chain.len_bytes() as u64
    }

    fn read<'b>(&'b self, range: Range<u64>, buffer: &'b mut ScratchBuffer) -> Result<Cow<'b, [u8]>, Error> {
        let len = in_memory(range.end - range.start)?;
        let no_memory = |fault| self.chain.fault(Direction::Decode, fault).at(self.key);
        buffer.set_len(len).map_err(no_memory)?;
        self.decode_part(in_memory(range.start)?, buffer)?;
        Ok(Cow::Borrowed(buffer))
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        self.decode_part(in_memory(range.start)?, target)
    }

    /// Rows closer together than a block may share one, which would be decoded for each.
    fn request_cost_bytes(&self) -> Option<u64> {
        Some(self.block_bytes as u64)
    }
}
