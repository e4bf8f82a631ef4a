//! Codecs: what turns a chunk's elements into stored bytes and back.
//!
//! A codec chain is bound once ([`chain::Chain`]) and run many times. Every step of it is a [`Codec`]:
//! bytes in, bytes out, with the sizes known beforehand wherever the format allows it. Array→array
//! codecs see their array as its elements in C order; the shape and data type they need they learn
//! when they are bound ([`registry::bind`]).
//!
//! Nothing here knows stores, keys or Python ([`python`] excepted, behind the feature of that name).

pub mod chain;
pub mod fill;
pub mod lending;
pub mod native;
pub mod partial;
#[cfg(feature = "python")]
pub mod python;
pub mod registry;
pub mod scratch;
pub mod sharding;
pub mod spec;
pub mod vlen;
pub mod wasm;

use std::fmt::Debug;

use lending::Lender;
use partial::{Layout, Stream};
pub use scratch::Scratch;
pub use spec::{ArraySpec, ByteOrder, DataType, Kind};

/// What runs a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Compiled into this library.
    Native,
    /// A sandboxed WebAssembly guest.
    Wasm,
    /// A Python class, called with the interpreter lock held.
    Python,
}

impl Engine {
    /// The engine's name in counters and `explain`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Python => "python",
        }
    }
}

/// Which way a codec was running when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Stored bytes to elements.
    Decode,
    /// Elements to stored bytes.
    Encode,
}

impl Direction {
    /// The word used in error texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Encode => "encode",
        }
    }
}

/// Why one codec step failed. `chain.rs` adds the codec's name and direction, the pipeline the chunk key.
#[derive(Debug, thiserror::Error)]
pub enum CodecFault {
    /// The encoded bytes are not what the codec writes.
    #[error("the encoded data is damaged: {0}")]
    Damaged(String),
    /// The encoded bytes decode to another length than the chunk has.
    #[error("the data decodes to {actual} bytes where {expected} were expected")]
    DecodedLength {
        /// Length that the chunk's shape and data type ask for, in bytes.
        expected: usize,
        /// Length found, in bytes; where decoding stopped early, the least it can be.
        actual: usize,
    },
    /// Variable-length data that decodes past the cap set for it.
    #[error(
        "the data decodes to more than the {limit_bytes} bytes allowed; raise {option} if the data is sound"
    )]
    Limit {
        /// The cap in bytes.
        limit_bytes: usize,
        /// Configuration key that raises it.
        option: &'static str,
    },
    /// A stored checksum differs from the computed one.
    #[error("checksum mismatch: stored {stored:#010x}, computed {computed:#010x}; the chunk is damaged")]
    Checksum {
        /// Checksum found beside the data.
        stored: u32,
        /// Checksum of the data.
        computed: u32,
    },
    /// Elements that the codec cannot represent.
    #[error("{0}")]
    Value(String),
    /// The compression library refused.
    #[error("{library} failed: {reason}")]
    Library {
        /// Name of the library.
        library: &'static str,
        /// What it answered.
        reason: String,
    },
    /// A codec written in Python raised; its exception is the source.
    #[error("the Python codec raised {0}")]
    Python(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A WebAssembly guest failed.
    #[error("module {module}: {error}")]
    Wasm {
        /// Digest of the module.
        module: String,
        /// What happened.
        #[source]
        error: Box<crate::wasm::WasmError>,
    },
    /// There is no memory for a chunk of this size.
    #[error("there is no memory for {len_bytes} bytes")]
    OutOfMemory {
        /// What was asked for, in bytes.
        len_bytes: usize,
    },
    /// A codec written in Python answered that the chunk is not to be stored.
    #[error("the codec leaves the chunk out")]
    LeftOut,
    /// The read or write was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A codec that was bound to its configuration and to the array it works on.
///
/// The same object serves many threads at once; state that a call needs lives in [`Scratch`].
pub trait Codec: Send + Sync + Debug {
    /// Name for errors, counters and `explain`, as zarr metadata spells it.
    fn name(&self) -> &str;

    /// Which engine runs it.
    fn engine(&self) -> Engine {
        Engine::Native
    }

    /// Length of the encoded form in bytes, if every input of `decoded_len_bytes` has the same.
    fn encoded_len(&self, decoded_len_bytes: usize) -> Option<usize>;

    /// Longest sound encoded form of `decoded_len_bytes` bytes: what a decoder of an *outer* codec may
    /// produce at most. Generous enough for other writers' streams of the same format.
    fn encoded_bound(&self, decoded_len_bytes: usize) -> usize;

    /// Decodes into memory of exactly the decoded length.
    ///
    /// `decoded` may hold anything before the call and, after an error, too.
    ///
    /// # Errors
    /// Damaged data, or data that decodes to another length.
    fn decode_into(
        &self,
        encoded: &[u8],
        decoded: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault>;

    /// The same codec as one that shows what it decodes, if that spares a copy.
    fn lender(&self) -> Option<&dyn Lender> {
        None
    }

    /// Decodes where the decoded length is not known beforehand, replacing what `decoded` holds.
    ///
    /// # Errors
    /// Damaged data, or data that decodes to more than `limit_bytes` ([`CodecFault::DecodedLength`]);
    /// no more memory than that is allocated for it.
    fn decode_bounded(
        &self,
        encoded: &[u8],
        decoded: &mut Vec<u8>,
        limit_bytes: usize,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault>;

    /// How many bytes from the start of an encoded form [`Codec::layout`] wants to see at least; `None` where
    /// only all of it can be decoded.
    fn head_bytes(&self) -> Option<usize> {
        None
    }

    /// What can be decoded alone, by the first bytes of an encoded form of `encoded_len` bytes.
    ///
    /// # Errors
    /// Damaged data, or data that decodes to another length than `decoded_len_bytes`.
    fn layout(
        &self,
        _head: &[u8],
        _encoded_len: usize,
        _decoded_len_bytes: usize,
    ) -> Result<Layout, CodecFault> {
        Ok(Layout::Whole)
    }

    /// Whether [`Codec::stream`] may answer.
    fn has_stream(&self) -> bool {
        false
    }

    /// Begins to decode from front to back, by the first bytes of an encoded form; the caller will hold at most
    /// `held_bytes` unconsumed. `None` where that takes more memory than it spares, or is not possible.
    ///
    /// # Errors
    /// No memory.
    fn stream<'s>(
        &self,
        _head: &[u8],
        _decoded_len_bytes: usize,
        _held_bytes: usize,
        _scratch: &'s mut Scratch,
    ) -> Result<Option<&'s mut dyn Stream>, CodecFault> {
        Ok(None)
    }

    /// How many bytes more than asked for [`Codec::decode_prefix`] needs room for; `None` where it would not
    /// notice damage that decoding all of `encoded` would, or cannot stop early.
    fn prefix_slack(&self, _encoded: &[u8], _decoded_len_bytes: usize) -> Option<usize> {
        None
    }

    /// Decodes at least the first `needed_bytes` into the start of `room`, which is longer by
    /// [`Codec::prefix_slack`] or as long as the whole.
    ///
    /// # Errors
    /// Damaged data.
    fn decode_prefix(
        &self,
        _encoded: &[u8],
        needed_bytes: usize,
        _room: &mut [u8],
        _scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        Err(CodecFault::DecodedLength { expected: needed_bytes, actual: 0 })
    }

    /// Length in bytes of the parts of `decoded` that [`Codec::encode_part`] encodes independently of the others;
    /// the last part is longer by what remains. `None` where it has to be encoded as a whole.
    fn part_bytes(&self, _decoded: &[u8]) -> Option<usize> {
        None
    }

    /// Appends the encoded form of a part to `encoded`, for [`Codec::join_part`].
    ///
    /// # Errors
    /// As [`Codec::encode`].
    fn encode_part(
        &self,
        part: &[u8],
        encoded: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), CodecFault> {
        self.encode(part, encoded, scratch)
    }

    /// Adds the encoded form of the part at `first_byte` of `decoded_len_bytes` to `encoded`, which holds those
    /// before it. After the last one it is as [`Codec::encode`] would have left it, or as good. `false` where the
    /// whole has to be encoded after all.
    ///
    /// # Errors
    /// A library's refusal.
    fn join_part(
        &self,
        _part: &[u8],
        _first_byte: usize,
        _decoded_len_bytes: usize,
        _encoded: &mut Vec<u8>,
    ) -> Result<bool, CodecFault> {
        Ok(false)
    }

    /// Appends the encoded form of `decoded` to `encoded`.
    ///
    /// # Errors
    /// Elements that the codec cannot represent, or a library's refusal. `encoded` is then unspecified.
    fn encode(&self, decoded: &[u8], encoded: &mut Vec<u8>, scratch: &mut Scratch) -> Result<(), CodecFault>;
}
