//! A codec chain bound to one chunk shape and data type: bind once, run many.
//!
//! Elements become stored bytes in a row of steps, each a [`Codec`]. What need not move data does not:
//! leading transpositions (and Zarr v2's `order: F`) are only the strides with which elements are gathered
//! and scattered, and the `bytes` codec in the machine's own byte order is no step at all. The length
//! before every step is known where the format allows it, so the last decoding step writes where the
//! caller wants the elements, and a length that lies is an error before it is an allocation.
//!
//! [`run`] decodes and encodes whole chunks, [`partial`] parts of them.

mod partial;
mod run;

use std::sync::Arc;

use smallvec::SmallVec;

use super::fill::Fill;
use super::registry::BindError;
use super::sharding::Sharding;
use super::vlen::VlenKind;
use super::{ArraySpec, Codec, CodecFault, Direction, Engine};
use crate::error::StepError;
use crate::plan::selection::{PerAxis, contiguous_strides};

/// Configuration key that raises the cap on variable-length data.
pub const VARIABLE_LENGTH_OPTION: &str = "wazarr.variable_length_limit";

/// One step of a chain, in the order of encoding.
#[derive(Debug)]
struct Step {
    codec: Arc<dyn Codec>,
    /// Length of what it encodes, where every chunk has the same.
    decoded_len: Option<usize>,
    /// Longest sound length of what it encodes.
    decoded_limit: usize,
}

/// An element of variable length takes as long to decode and place as so many bytes of others.
const VARIABLE_COST_BYTES: usize = 16;

/// What turns elements into the first bytes.
#[derive(Debug)]
enum Serializer {
    /// Elements of a fixed size, as they lie in memory.
    Elements,
    /// Elements of variable length.
    Vlen(VlenKind),
    /// A shard, and nothing before or after it: its parts can be read and written alone.
    Shard(Arc<Sharding>),
}

/// How many codecs of a chain run on each engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Compiled into this library.
    pub native: u64,
    /// WebAssembly guests.
    pub wasm: u64,
    /// Python classes.
    pub python: u64,
}

impl EngineCounts {
    /// Counts one codec.
    pub fn add(&mut self, engine: Engine) {
        match engine {
            Engine::Native => self.native += 1,
            Engine::Wasm => self.wasm += 1,
            Engine::Python => self.python += 1,
        }
    }
}

/// What a chain is made from.
#[derive(Debug)]
pub struct ChainParts {
    /// The chunk as the caller sees it.
    pub spec: ArraySpec,
    /// The fill value.
    pub fill: Fill,
    /// Whether chunks that hold only the fill value are written all the same.
    pub writes_empty_chunks: bool,
    /// Axes of the chunk in the order in which they are stored; `0, 1, …` where nothing is transposed.
    pub stored_axes: Vec<usize>,
    /// Codecs in the order of encoding, without those that are no step at all.
    pub codecs: Vec<Arc<dyn Codec>>,
    /// Set where the elements have variable length.
    pub vlen: Option<VlenKind>,
    /// Set where a shard is all there is besides leading transpositions.
    pub shard: Option<Arc<Sharding>>,
    /// Codecs by engine, the ones that are no step included.
    pub engines: EngineCounts,
    /// Cap in bytes on a chunk's variable-length data.
    pub variable_limit_bytes: usize,
}

/// A bound codec chain.
#[derive(Debug)]
pub struct Chain {
    spec: ArraySpec,
    fill: Fill,
    writes_empty_chunks: bool,
    stored_axes: PerAxis<usize>,
    strides: PerAxis<isize>,
    len_bytes: usize,
    element_count: usize,
    serializer: Serializer,
    steps: Vec<Step>,
    encoded_len: Option<usize>,
    encoded_limit: usize,
    engines: EngineCounts,
}

impl Chain {
    /// Binds a chain: works out every length.
    ///
    /// # Errors
    /// Chunks that cannot be held in memory.
    pub fn bind(parts: ChainParts) -> Result<Self, BindError> {
        let element_count = parts.spec.element_count()?;
        // Elements of variable length are addressed by number.
        let unit = if parts.vlen.is_some() { 1 } else { parts.spec.dtype.item_size };
        let len_bytes = if parts.vlen.is_some() { element_count } else { parts.spec.len_bytes()? };
        let stored_shape: PerAxis<usize> =
            parts.stored_axes.iter().map(|&axis| parts.spec.chunk_shape[axis]).collect();
        let stored_strides = contiguous_strides(&stored_shape, unit);
        let mut strides: PerAxis<isize> = SmallVec::from_elem(0, stored_shape.len());
        for (position, &axis) in parts.stored_axes.iter().enumerate() {
            strides[axis] = stored_strides[position];
        }
        let serializer = match (parts.vlen, parts.shard) {
            (Some(kind), _) => Serializer::Vlen(kind),
            (None, Some(shard)) => Serializer::Shard(shard),
            (None, None) => Serializer::Elements,
        };
        let mut decoded_len = (!matches!(serializer, Serializer::Vlen(_))).then_some(len_bytes);
        let mut decoded_limit = decoded_len.unwrap_or(parts.variable_limit_bytes);
        let mut steps = Vec::with_capacity(parts.codecs.len());
        for codec in parts.codecs {
            let encoded_len = decoded_len.and_then(|len| codec.encoded_len(len));
            let encoded_limit = encoded_len.unwrap_or_else(|| codec.encoded_bound(decoded_limit));
            steps.push(Step { codec, decoded_len, decoded_limit });
            (decoded_len, decoded_limit) = (encoded_len, encoded_limit);
        }
        if let Serializer::Shard(shard) = &serializer {
            decoded_len = None;
            decoded_limit = shard.encoded_limit();
        }
        Ok(Self {
            spec: parts.spec,
            fill: parts.fill,
            writes_empty_chunks: parts.writes_empty_chunks,
            stored_axes: parts.stored_axes.into_iter().collect(),
            strides,
            len_bytes,
            element_count,
            serializer,
            steps,
            encoded_len: decoded_len,
            encoded_limit: decoded_limit,
            engines: parts.engines,
        })
    }

    /// The chunk as the caller sees it.
    #[must_use]
    pub fn spec(&self) -> &ArraySpec {
        &self.spec
    }

    /// The fill value.
    #[must_use]
    pub fn fill(&self) -> &Fill {
        &self.fill
    }

    /// Whether chunks that hold only the fill value are written all the same.
    #[must_use]
    pub fn writes_empty_chunks(&self) -> bool {
        self.writes_empty_chunks
    }

    /// Strides of the chunk's axes in the serial buffer that [`Chain::decode`] fills: in bytes, or in
    /// elements where they have variable length.
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// The chunk's axes in the order in which they are stored.
    #[must_use]
    pub fn stored_axes(&self) -> &[usize] {
        &self.stored_axes
    }

    /// Length of the serial buffer in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Elements in a chunk.
    #[must_use]
    pub fn element_count(&self) -> usize {
        self.element_count
    }

    /// Codecs by engine.
    #[must_use]
    pub fn engines(&self) -> EngineCounts {
        self.engines
    }

    /// Set where the elements have variable length.
    #[must_use]
    pub fn vlen(&self) -> Option<VlenKind> {
        match self.serializer {
            Serializer::Vlen(kind) => Some(kind),
            _ => None,
        }
    }

    /// Set where the elements, those of inner chunks too, have variable length.
    #[must_use]
    pub fn vlen_inside(&self) -> Option<VlenKind> {
        self.vlen().or_else(|| self.shard().and_then(|sharding| sharding.inner().vlen_inside()))
    }

    /// Set where parts of a chunk can be read and written alone.
    #[must_use]
    pub fn shard(&self) -> Option<&Arc<Sharding>> {
        match &self.serializer {
            Serializer::Shard(shard) => Some(shard),
            _ => None,
        }
    }

    /// Roughly what decoding a chunk costs, as the bytes of elements of fixed size that take as long.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        if self.vlen_inside().is_some() {
            self.element_count.saturating_mul(VARIABLE_COST_BYTES)
        } else {
            self.len_bytes
        }
    }

    /// Whether the stored bytes are the elements themselves.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.steps.is_empty() && matches!(self.serializer, Serializer::Elements)
    }

    /// Length of every stored chunk, where all have the same.
    #[must_use]
    pub fn encoded_len(&self) -> Option<usize> {
        self.encoded_len
    }

    /// Longest stored chunk that can be sound; a longer one is refused before it is read.
    #[must_use]
    pub fn encoded_limit(&self) -> usize {
        self.encoded_limit
    }

    /// The only step of a chain that has one, which may offer less than a chunk at a time.
    fn only_step(&self) -> Option<&Step> {
        match self.steps.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The error for a stored chunk of the wrong length.
    #[must_use]
    pub fn length_fault(&self, actual: usize) -> StepError {
        self.fault(Direction::Decode, CodecFault::DecodedLength { expected: self.len_bytes, actual })
    }

    /// The error for what concerns a chunk as a whole.
    #[must_use]
    pub fn fault(&self, direction: Direction, fault: CodecFault) -> StepError {
        let codec = self.steps.last().map_or_else(|| "bytes".to_owned(), |step| step.codec.name().to_owned());
        StepError { codec, direction, fault }
    }
}

fn step_error(step: &Step, fault: CodecFault) -> StepError {
    StepError { codec: step.codec.name().to_owned(), direction: Direction::Decode, fault }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
