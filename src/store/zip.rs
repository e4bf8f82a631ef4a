//! Chunks as members of a zip file that is open for reading: zarr's `ZipStore`.
//!
//! Where members are says the file's central directory, which the caller has read. Here are the members' own
//! bytes: stored ones are read in parts like files, deflated ones whole. The format is PKWARE's APPNOTE.TXT,
//! sections 4.3.7 (local headers) and 4.4.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;

use super::filesystem::{REQUEST_COST_BYTES, read_exact_at};
use super::{ByteSource, ChunkStore, InMemory, Use};
use crate::codec::Scratch;
use crate::codec::native::inflate_raw;
use crate::codec::scratch::ScratchBuffer;
use crate::error::Error;

const HEADER_BYTES: usize = 30;
const HEADER_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
/// Nothing deflates further than 1032 to 1: what claims to is not worth the memory.
const MAX_RATIO: u64 = 1032;

/// What the central directory says of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where its local header begins.
    pub header_offset: u64,
    /// Length of what is stored.
    pub stored_len_bytes: u64,
    /// Length of the member.
    pub len_bytes: u64,
    /// Checksum of the member.
    pub crc32: u32,
    /// Whether it is deflated, else it is stored as it is.
    pub is_deflated: bool,
}

/// The chunks of one batch in a zip file.
#[derive(Debug)]
pub struct ZipBatch {
    file: File,
    file_len_bytes: u64,
    path: PathBuf,
    keys: Vec<String>,
    members: Vec<Option<Member>>,
}

impl ZipBatch {
    /// Chunks with these keys; a chunk without a member is missing. `path` is for errors.
    ///
    /// # Errors
    /// The file does not tell its length.
    pub fn new(
        file: File,
        path: PathBuf,
        keys: Vec<String>,
        members: Vec<Option<Member>>,
    ) -> io::Result<Self> {
        let file_len_bytes = file.metadata()?.len();
        Ok(Self { file, file_len_bytes, path, keys, members })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    fn fault(&self, index: usize, operation: &'static str, source: io::Error) -> Error {
        Error::Store {
            chunk_key: self.keys[index].clone(),
            operation,
            location: self.path.display().to_string(),
            source,
        }
    }

    /// Where the bytes of a member begin, from its local header, which must agree with the directory.
    fn data_offset(&self, index: usize, member: &Member) -> io::Result<u64> {
        let name = self.keys[index].as_bytes();
        let mut bytes: smallvec::SmallVec<[u8; 128]> = smallvec::SmallVec::new();
        bytes.resize(HEADER_BYTES + name.len(), 0);
        read_exact_at(&self.file, &mut bytes, member.header_offset)?;
        let (header, found) = bytes.split_at(HEADER_BYTES);
        let field = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let (name_len, extra_len) = (field(26), field(28));
        if !header.starts_with(&HEADER_SIGNATURE) {
            return Err(invalid("the zip file has no local header where its directory says"));
        }
        if name_len != name.len() as u64 || found != name {
            return Err(invalid("the zip file's local header names another member than its directory"));
        }
        let offset = member.header_offset + HEADER_BYTES as u64 + name_len + extra_len;
        let end = offset.checked_add(member.stored_len_bytes);
        if end.is_none_or(|end| end > self.file_len_bytes) {
            return Err(invalid("the zip file ends before this member does"));
        }
        Ok(offset)
    }

    fn inflate(
        &self,
        member: &Member,
        offset: u64,
        stored: &mut ScratchBuffer,
        inflated: &mut ScratchBuffer,
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        if member.len_bytes / MAX_RATIO > member.stored_len_bytes {
            return Err(invalid("the zip file claims that this member is longer than it can be"));
        }
        let no_memory = |_| io::Error::from(ErrorKind::OutOfMemory);
        stored.set_len(length(member.stored_len_bytes)?).map_err(no_memory)?;
        read_exact_at(&self.file, stored, offset)?;
        inflated.set_len(length(member.len_bytes)?).map_err(no_memory)?;
        inflate_raw(stored, inflated, scratch).map_err(|fault| invalid(&fault.to_string()))?;
        check(inflated, member)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn length(len_bytes: u64) -> io::Result<usize> {
    usize::try_from(len_bytes).map_err(|_| ErrorKind::OutOfMemory.into())
}

/// Compares the checksum of a whole member.
fn check(bytes: &[u8], member: &Member) -> io::Result<()> {
    let found = crc32fast::hash(bytes);
    if found == member.crc32 {
        Ok(())
    } else {
        Err(invalid(&format!("the member's CRC-32 is {found:08x}, the directory says {:08x}", member.crc32)))
    }
}

impl ChunkStore for ZipBatch {
    fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    fn open(&self, index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error> {
        let Some(member) = self.members[index] else { return body(None, scratch) };
        let fault = |error| self.fault(index, "get", error);
        let offset = self.data_offset(index, &member).map_err(fault)?;
        if !member.is_deflated {
            return body(Some(&StoredMember { batch: self, index, member, offset }), scratch);
        }
        let (mut stored, mut inflated) = (scratch.take_empty(), scratch.take_empty());
        let result = self
            .inflate(&member, offset, &mut stored, &mut inflated, scratch)
            .map_err(fault)
            .and_then(|()| body(Some(&InMemory(&inflated)), scratch));
        scratch.put(stored);
        scratch.put(inflated);
        result
    }

    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error> {
        let operation = if encoded.is_some() { "set" } else { "delete" };
        Err(self.fault(index, operation, ErrorKind::ReadOnlyFilesystem.into()))
    }
}

/// A member that is stored as it is. Its checksum is compared when it is read whole.
struct StoredMember<'a> {
    batch: &'a ZipBatch,
    index: usize,
    member: Member,
    offset: u64,
}

impl ByteSource for StoredMember<'_> {
    fn len_bytes(&self) -> u64 {
        self.member.len_bytes
    }

    fn read<'a>(&'a self, range: Range<u64>, buffer: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error> {
        let fault = |error| self.batch.fault(self.index, "get", error);
        let len = length(range.end - range.start).map_err(fault)?;
        buffer.set_len(len).map_err(|_| fault(ErrorKind::OutOfMemory.into()))?;
        self.read_into(range, buffer)?;
        Ok(Cow::Borrowed(buffer))
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        let is_whole = range.start == 0 && range.end == self.member.len_bytes;
        read_exact_at(&self.batch.file, target, self.offset + range.start)
            .and_then(|()| if is_whole { check(target, &self.member) } else { Ok(()) })
            .map_err(|error| self.batch.fault(self.index, "get", error))
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        Some(REQUEST_COST_BYTES)
    }
}
