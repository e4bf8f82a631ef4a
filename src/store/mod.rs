//! Stores that we speak to ourselves. A store answers for one key at a time; which requests run when is
//! the pipeline's business.

pub mod filesystem;
#[cfg(feature = "remote")]
pub mod remote;
pub mod zip;

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::Scratch;
use crate::codec::scratch::ScratchBuffer;
use crate::distance;
use crate::error::Error;

/// A stored value that can be read in parts. All parts come from one version of it, whatever writers do.
pub trait ByteSource: Sync {
    /// Length in bytes.
    fn len_bytes(&self) -> u64;

    /// The bytes of `range`, which lies within the value; borrowed where the value is in memory, else read
    /// into `buffer`.
    ///
    /// # Errors
    /// The store's failure, or a value that got shorter meanwhile.
    fn read<'a>(&'a self, range: Range<u64>, buffer: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error>;

    /// Reads the bytes of `range` into memory of that length.
    ///
    /// # Errors
    /// As [`ByteSource::read`].
    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error>;

    /// How many bytes a request of its own costs as much as: ranges further apart are read one by one.
    /// `None` where a range costs nothing, whatever its length.
    fn request_cost_bytes(&self) -> Option<u64>;

    /// Told that these ranges will be read soon, some of them by other threads.
    fn will_need(&self, _ranges: &mut dyn Iterator<Item = Range<u64>>) {}
}

/// Which bytes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// All.
    Whole,
    /// From the first number up to the second.
    Bounded(Range<u64>),
    /// The last so many, or all if there are fewer.
    Suffix(u64),
}

/// A value that is already in memory.
#[derive(Clone, Copy, Debug)]
pub struct InMemory<'a>(pub &'a [u8]);

impl InMemory<'_> {
    fn part(&self, range: &Range<u64>) -> Result<&[u8], Error> {
        let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        bounds
            .and_then(|(start, end)| self.0.get(start..end))
            .ok_or_else(|| Error::Internal(format!("bytes {range:?} of a value of {} bytes", self.0.len())))
    }
}

impl ByteSource for InMemory<'_> {
    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read<'a>(&'a self, range: Range<u64>, _: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error> {
        self.part(&range).map(Cow::Borrowed)
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        distance::copy(target, self.part(&range)?);
        Ok(())
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        None
    }
}

/// What is done with an opened chunk; it gets `None` where there is none.
pub type Use<'u> = dyn FnMut(Option<&dyn ByteSource>, &mut Scratch) -> Result<(), Error> + 'u;

/// Which stored bytes of a chunk are needed. `None` where that is not known before some of them were read.
pub type Needed<'n> = dyn Fn(usize) -> Option<ByteRange> + 'n;

/// What a batch reads chunks from and writes them to: a store with the keys of the batch's chunks.
pub trait ChunkStore: Sync {
    /// Key of chunk `index`, with the array's path, for errors.
    fn key(&self, index: usize) -> &str;

    /// Opens chunk `index` and hands it to `body`; `None` where there is none.
    ///
    /// # Errors
    /// The store's failure, or what `body` answers.
    fn open(&self, index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error>;

    /// Told once chunk `index` is open what is needed of it and of chunks after it, `chunk_bytes` each at most.
    fn look_ahead(&self, _index: usize, _chunk_bytes: usize, _needed: &Needed<'_>) {}

    /// Stores chunk `index`, whole or not at all; `None` deletes it.
    ///
    /// # Errors
    /// The store's failure.
    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error>;

    /// Told when a write is over, well or not.
    fn end_of_write(&self) {}
}
