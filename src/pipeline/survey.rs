//! What a read would touch, found out without reading: for `wazarr.explain`. The rules are those of
//! [`super::chunk::read_chunk`] and [`super::shard::read_inner`]; when you change one, look at the other.

use crate::codec::chain::Chain;
use crate::plan::{Region, Selection};

use super::read::ReadRequest;
use super::{rows, shard};

/// How the bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// We open the stored value and read what we need of it.
    Parts {
        /// As [`crate::store::ByteSource::request_cost_bytes`].
        request_cost_bytes: Option<u64>,
    },
    /// Python fetches whole values; of shards, and not of those inside them, whole inner chunks.
    Values,
}

/// What a read would touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Inner chunks of shards, at every level.
    pub inner_chunks: usize,
    /// Ranges of bytes, those of shard indexes included.
    pub ranges: usize,
    /// Elements selected.
    pub elements: usize,
    /// Bytes that come out of the codecs; counts nothing of variable length.
    pub decoded_bytes: usize,
    /// Whether that is all.
    pub has_variable: bool,
    /// Bytes in those ranges, as far as their lengths are fixed.
    pub encoded_bytes: usize,
    /// Whether some are not.
    pub has_unknown: bool,
}

impl Survey {
    /// What `request` would touch, if no chunk is missing.
    #[must_use]
    pub fn of(request: &ReadRequest, fetch: Fetch) -> Self {
        let mut survey = Self::default();
        for (index, task) in request.tasks().iter().enumerate() {
            survey.elements = survey.elements.saturating_add(task.selection.element_count());
            survey.add_chunk(&task.chain, &task.selection, request.regions().region(index), fetch);
        }
        survey
    }

    fn add_chunk(&mut self, chain: &Chain, selection: &Selection, region: &Region, fetch: Fetch) {
        let Some(sharding) = chain.shard() else {
            let (ranges, len_bytes) = stored_ranges(chain, selection, fetch);
            self.add_decoded(chain, len_bytes);
            self.ranges += ranges - 1;
            return self.add_range(len_bytes);
        };
        let pieces = shard::pieces_of(chain, sharding, selection, region);
        self.inner_chunks += pieces.len();
        let is_fetched_whole = fetch == Fetch::Values && pieces.len() == sharding.inner_count();
        self.add_range(if is_fetched_whole { None } else { Some(sharding.index_len()) });
        for piece in &pieces {
            let inner = sharding.inner();
            match fetch {
                Fetch::Parts { .. } => self.add_chunk(inner, &piece.selection, &piece.region, fetch),
                Fetch::Values => {
                    self.add_inside(inner, &piece.selection, &piece.region);
                    if !is_fetched_whole {
                        self.add_range(inner.encoded_len());
                    }
                }
            }
        }
    }

    /// A chunk whose bytes came with those around it.
    fn add_inside(&mut self, chain: &Chain, selection: &Selection, region: &Region) {
        let Some(sharding) = chain.shard() else {
            return self.add_decoded(chain, None);
        };
        let pieces = shard::pieces_of(chain, sharding, selection, region);
        self.inner_chunks += pieces.len();
        for piece in &pieces {
            self.add_inside(sharding.inner(), &piece.selection, &piece.region);
        }
    }

    /// Adds what comes out of a chain of which `read_bytes` are read, as far as that is fixed.
    fn add_decoded(&mut self, chain: &Chain, read_bytes: Option<usize>) {
        if chain.vlen().is_some() {
            self.has_variable = true;
        } else {
            let len = read_bytes.filter(|_| chain.is_plain()).unwrap_or(chain.len_bytes());
            self.decoded_bytes = self.decoded_bytes.saturating_add(len);
        }
    }

    fn add_range(&mut self, len_bytes: Option<usize>) {
        self.ranges += 1;
        self.encoded_bytes = self.encoded_bytes.saturating_add(len_bytes.unwrap_or(0));
        self.has_unknown |= len_bytes.is_none();
    }
}

/// Requests for a chunk that is no shard, and the bytes they fetch where every such chunk needs as many.
fn stored_ranges(chain: &Chain, selection: &Selection, fetch: Fetch) -> (usize, Option<usize>) {
    let Fetch::Parts { request_cost_bytes } = fetch else { return (1, chain.encoded_len()) };
    if !chain.is_plain() {
        return (1, chain.encoded_len());
    }
    let region = selection.project(chain.strides());
    let (ranges, len_bytes) = rows::count(&region, chain.spec().dtype.item_size, request_cost_bytes);
    (ranges, Some(len_bytes))
}
