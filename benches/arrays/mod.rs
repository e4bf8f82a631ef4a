//! What the benchmarks read and write: arrays of `u16` in chunks, batches as zarr's indexers cut them, and
//! the engine's requests made from those. All that the benchmarks know of planning and running is here.

pub(crate) mod batch;
pub(crate) mod request;

use std::sync::Arc;

use serde_json::Value;
use wazarr::codec::chain::{Chain, ChainParts, EngineCounts};
use wazarr::codec::fill::Fill;
use wazarr::codec::registry::{BindOptions, bind};
use wazarr::codec::sharding::{IndexLocation, Sharding, WriteOrder};
use wazarr::codec::{ArraySpec, Codec, DataType};

/// Bytes of an element.
pub(crate) const ITEM_BYTES: usize = size_of::<u16>();
/// The fill value of all arrays here.
pub(crate) const FILL: u16 = 7;

/// An array: its shape, and what its chunks are made of.
#[derive(Clone)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) chain: Arc<Chain>,
}

impl Array {
    /// A cube of this side in chunks of a smaller one.
    pub(crate) fn cube(side: usize, chain: &Arc<Chain>) -> Self {
        Self { shape: vec![side; 3], chain: Arc::clone(chain) }
    }

    pub(crate) fn chunk_shape(&self) -> &[usize] {
        &self.chain.spec().chunk_shape
    }
}

/// Binds a codec for an array of `u16`.
pub(crate) fn codec(name: &str, configuration: &Value) -> Arc<dyn Codec> {
    let spec = ArraySpec { chunk_shape: vec![0], dtype: DataType::parse("<u2").unwrap() };
    bind(name, configuration, &spec, BindOptions::default()).unwrap()
}

fn parts(chunk_shape: &[usize], dtype: &str, fill: &[u8], codecs: Vec<Arc<dyn Codec>>) -> ChainParts {
    let dtype = DataType::parse(dtype).unwrap();
    let native = codecs.len() as u64;
    ChainParts {
        fill: Fill::new(fill.to_vec(), &dtype),
        spec: ArraySpec { chunk_shape: chunk_shape.to_vec(), dtype },
        writes_empty_chunks: false,
        stored_axes: (0..chunk_shape.len()).collect(),
        codecs,
        vlen: None,
        shard: None,
        engines: EngineCounts { native, ..EngineCounts::default() },
        variable_limit_bytes: 1 << 20,
    }
}

/// Cubic chunks of this side through these codecs.
pub(crate) fn chunks(side: usize, codecs: &[(&str, Value)]) -> Arc<Chain> {
    let codecs = codecs.iter().map(|(name, configuration)| codec(name, configuration)).collect();
    Arc::new(Chain::bind(parts(&[side; 3], "<u2", &FILL.to_le_bytes(), codecs)).unwrap())
}

/// Cubic shards of this side, with the index at the end as zarr-python writes it.
pub(crate) fn shards(side: usize, inner: &Arc<Chain>) -> Arc<Chain> {
    let grid: Vec<usize> = inner.spec().chunk_shape.iter().map(|&inner_side| side / inner_side).collect();
    let mut index_shape = grid.clone();
    index_shape.push(2);
    let checksum = codec("crc32c", &serde_json::json!({"location": "end"}));
    let index = Arc::new(Chain::bind(parts(&index_shape, "<u8", &[0xff; 8], vec![checksum])).unwrap());
    let location = IndexLocation::End;
    let sharding = Sharding::bind(Arc::clone(inner), index, location, grid, WriteOrder::Morton).unwrap();
    let mut shard = parts(&[side; 3], "<u2", &FILL.to_le_bytes(), Vec::new());
    shard.shard = Some(Arc::new(sharding));
    Arc::new(Chain::bind(shard).unwrap())
}

/// Numbers that look random and are everywhere the same (xorshift).
fn random() -> impl FnMut() -> u64 {
    let mut state = 88_172_645_463_325_252_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// Points of a cube, in no order.
pub(crate) fn points(count: usize, side: usize) -> Vec<Vec<usize>> {
    let mut random = random();
    (0..count).map(|_| (0..3).map(|_| usize::try_from(random() % side as u64).unwrap()).collect()).collect()
}

/// Elements of a cube: a ramp along every axis with noise, of which gzip and zstd keep most, like raw
/// sensor data. Integers only, so that every machine gets the same.
pub(crate) fn elements(side: usize) -> Vec<u16> {
    let mut random = random();
    let mut noise = || {
        let bits = random();
        // Four uniform numbers make a bell.
        [0, 16, 32, 48].iter().map(|shift| (bits >> shift) & 0x1ff).sum::<u64>()
    };
    let mut elements = Vec::with_capacity(side * side * side);
    for x in 0..side as u64 {
        for y in 0..side as u64 {
            for z in 0..side as u64 {
                let element = 20_000 + 20 * x + 10 * y + 40 * z.abs_diff(side as u64 / 2) + noise();
                elements.push(u16::try_from(element % 60_000).unwrap());
            }
        }
    }
    elements
}

/// The bytes of elements in memory.
pub(crate) fn bytes_of(elements: &[u16]) -> Vec<u8> {
    elements.iter().flat_map(|element| element.to_ne_bytes()).collect()
}
