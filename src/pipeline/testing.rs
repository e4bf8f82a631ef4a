//! What the pipeline's tests share: chains by description, a store in memory that counts, and reads and
//! writes of plain vectors through it.
#![expect(unsafe_code, reason = "lends vectors to the engine, as numpy does arrays")]

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::read::{self, ReadRequest, ReadTarget, ReadTask};
use super::shard::ShardStep;
use super::write::{self, WriteRequest, WriteSource, WriteTask};
use super::{ObjectSink, ObjectSource};
use crate::codec::chain::{Chain, ChainParts, EngineCounts};
use crate::codec::fill::Fill;
use crate::codec::registry::{BindOptions, bind};
use crate::codec::scratch::ScratchBuffer;
use crate::codec::sharding::{IndexLocation, Sharding, WriteOrder};
use crate::codec::vlen::{Elements, VlenKind};
use crate::codec::{ArraySpec, Codec, DataType, Scratch};
use crate::error::Error;
use crate::plan::regions::Extent;
use crate::plan::selection::contiguous_strides;
use crate::plan::{DisjointRegions, Indices, Region, RegionAxis, Selection};
use crate::scatter::{ArrayMemory, Output};
use crate::schedule::{CancelToken, Work, Workers};
use crate::store::{ByteSource, ChunkStore, InMemory, Use};

/// Bytes of an element in all chains of numbers here.
pub(super) const ITEM: usize = 2;
/// Their fill value.
pub(super) const FILL: u16 = 7;

/// What stands between the elements and the store.
#[derive(Clone, Debug)]
pub(super) struct Made<'a> {
    /// Stored order of the axes; empty: as they come.
    pub(super) axes: &'a [usize],
    /// Names of bytes→bytes codecs.
    pub(super) codecs: &'a [&'a str],
    /// Shape of the inner chunks (in stored order) and what they are made of.
    pub(super) shard: Option<(&'a [usize], Box<Made<'a>>)>,
    pub(super) location: IndexLocation,
    pub(super) writes_empty_chunks: bool,
}

/// Elements as they come, through these codecs.
pub(super) fn through<'a>(codecs: &'a [&'a str]) -> Made<'a> {
    Made { axes: &[], codecs, shard: None, location: IndexLocation::End, writes_empty_chunks: false }
}

/// A shard.
pub(super) fn shard_of<'a>(inner_shape: &'a [usize], inner: Made<'a>) -> Made<'a> {
    Made { shard: Some((inner_shape, Box::new(inner))), ..through(&[]) }
}

fn codec(name: &str) -> Arc<dyn Codec> {
    let configuration = match name {
        "zstd" => json!({"level": 3, "checksum": false}),
        "crc32c" => json!({"location": "end"}),
        other => panic!("no configuration for {other}"),
    };
    let spec = ArraySpec { chunk_shape: vec![0], dtype: DataType::parse("|u1").unwrap() };
    bind(name, &configuration, &spec, BindOptions::default()).unwrap()
}

fn parts(chunk_shape: &[usize], dtype: &str, fill: &[u8]) -> ChainParts {
    let dtype = DataType::parse(dtype).unwrap();
    ChainParts {
        fill: Fill::new(fill.to_vec(), &dtype),
        spec: ArraySpec { chunk_shape: chunk_shape.to_vec(), dtype },
        writes_empty_chunks: false,
        stored_axes: (0..chunk_shape.len()).collect(),
        codecs: Vec::new(),
        vlen: None,
        shard: None,
        engines: EngineCounts::default(),
        variable_limit_bytes: 1 << 20,
    }
}

fn sharding(stored_shape: &[usize], inner: Arc<Chain>, location: IndexLocation) -> Arc<Sharding> {
    let grid: Vec<usize> =
        stored_shape.iter().zip(&inner.spec().chunk_shape).map(|(&outer, &inner)| outer / inner).collect();
    let mut index_shape = grid.clone();
    index_shape.push(2);
    let mut index = parts(&index_shape, "<u8", &[0xff; 8]);
    index.codecs = vec![codec("crc32c")];
    let index = Arc::new(Chain::bind(index).unwrap());
    Arc::new(Sharding::bind(inner, index, location, grid, WriteOrder::Morton).unwrap())
}

/// Binds a chain of two-byte numbers.
pub(super) fn chain(chunk_shape: &[usize], made: &Made<'_>) -> Arc<Chain> {
    let mut all = parts(chunk_shape, "<u2", &FILL.to_le_bytes());
    all.writes_empty_chunks = made.writes_empty_chunks;
    all.codecs = made.codecs.iter().map(|name| codec(name)).collect();
    if !made.axes.is_empty() {
        all.stored_axes = made.axes.to_vec();
    }
    if let Some((inner_shape, inner)) = &made.shard {
        let stored_shape: Vec<usize> = all.stored_axes.iter().map(|&axis| chunk_shape[axis]).collect();
        let sharding = sharding(&stored_shape, chain(inner_shape, inner), made.location);
        if all.codecs.is_empty() {
            all.shard = Some(sharding);
        } else {
            let mut alone = parts(&stored_shape, "<u2", &FILL.to_le_bytes());
            alone.writes_empty_chunks = made.writes_empty_chunks;
            alone.shard = Some(Arc::clone(&sharding));
            let step = ShardStep::new(Chain::bind(alone).unwrap(), sharding);
            all.codecs.insert(0, Arc::new(step));
        }
    }
    Arc::new(Chain::bind(all).unwrap())
}

/// Binds a chain of strings, in a shard of inner chunks of this length or alone.
pub(super) fn string_chain(len: usize, inner_len: Option<usize>) -> Arc<Chain> {
    let strings = |len: usize| {
        let mut all = parts(&[len], "|O", b"fill");
        all.vlen = Some(VlenKind::Utf8);
        all.codecs = vec![codec("zstd")];
        Arc::new(Chain::bind(all).unwrap())
    };
    match inner_len {
        None => strings(len),
        Some(inner_len) => {
            let mut all = parts(&[len], "|O", b"fill");
            all.shard = Some(sharding(&[len], strings(inner_len), IndexLocation::End));
            Arc::new(Chain::bind(all).unwrap())
        }
    }
}

/// A store whose chunk keys are numbers.
#[derive(Default)]
pub(super) struct FakeStore {
    keys: Vec<String>,
    values: Vec<Mutex<Option<Vec<u8>>>>,
    /// What a request costs.
    pub(super) request_cost_bytes: Option<u64>,
    /// Ranges that were read.
    pub(super) reads: Mutex<Vec<Range<u64>>>,
    /// Ranges that were asked for before their turn.
    pub(super) asked: Mutex<Vec<Range<u64>>>,
    /// Chunks that were stored or deleted.
    pub(super) puts: Mutex<Vec<usize>>,
}

impl FakeStore {
    pub(super) fn new(chunks: usize) -> Self {
        Self {
            keys: (0..chunks).map(|index| format!("a/c/{index}")).collect(),
            values: (0..chunks).map(|_| Mutex::new(None)).collect(),
            ..Self::default()
        }
    }

    pub(super) fn value(&self, index: usize) -> Option<Vec<u8>> {
        self.values[index].lock().unwrap().clone()
    }

    pub(super) fn set(&self, index: usize, value: Option<Vec<u8>>) {
        *self.values[index].lock().unwrap() = value;
    }
}

/// A value that notes what is read of it.
struct Noted<'a> {
    value: InMemory<'a>,
    request_cost_bytes: Option<u64>,
    reads: &'a Mutex<Vec<Range<u64>>>,
    asked: &'a Mutex<Vec<Range<u64>>>,
}

impl ByteSource for Noted<'_> {
    fn len_bytes(&self) -> u64 {
        self.value.len_bytes()
    }

    fn read<'a>(&'a self, range: Range<u64>, buffer: &'a mut ScratchBuffer) -> Result<Cow<'a, [u8]>, Error> {
        self.reads.lock().unwrap().push(range.clone());
        self.value.read(range, buffer)
    }

    fn read_into(&self, range: Range<u64>, target: &mut [u8]) -> Result<(), Error> {
        self.reads.lock().unwrap().push(range.clone());
        self.value.read_into(range, target)
    }

    fn request_cost_bytes(&self) -> Option<u64> {
        self.request_cost_bytes
    }

    fn will_need(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) {
        self.asked.lock().unwrap().extend(ranges);
    }
}

impl ChunkStore for FakeStore {
    fn key(&self, index: usize) -> &str {
        &self.keys[index]
    }

    fn open(&self, index: usize, scratch: &mut Scratch, body: &mut Use<'_>) -> Result<(), Error> {
        match self.value(index) {
            None => body(None, scratch),
            Some(bytes) => {
                let noted = Noted {
                    value: InMemory(&bytes),
                    request_cost_bytes: self.request_cost_bytes,
                    reads: &self.reads,
                    asked: &self.asked,
                };
                body(Some(&noted), scratch)
            }
        }
    }

    fn put(&self, index: usize, encoded: Option<&[u8]>) -> Result<(), Error> {
        self.puts.lock().unwrap().push(index);
        self.set(index, encoded.map(<[u8]>::to_vec));
        Ok(())
    }
}

/// Runs `body` on one thread, or on the pool.
pub(super) fn run(
    is_parallel: bool,
    body: impl FnOnce(Work<'_>, &mut Scratch) -> Result<(), Error>,
) -> Result<(), Error> {
    let cancel = CancelToken::default();
    let workers = Workers::get(3)?;
    let work = if is_parallel {
        Work { workers: Some(&workers), lanes: 3, max_lanes: 3, cancel: &cancel }
    } else {
        Work::serial(&cancel)
    };
    body(work, &mut Scratch::default())
}

/// Lengths of a selection's result.
fn lens(selection: &Selection) -> Vec<usize> {
    match selection {
        Selection::Product(axes) => axes.iter().map(Indices::len).collect(),
        Selection::Points(_) => vec![selection.element_count()],
    }
}

fn contiguous_region(lens: &[usize], base: usize, item_size: usize) -> Region {
    let strides = contiguous_strides(lens, item_size);
    let axes = lens.iter().zip(&strides).map(|(&len, &stride)| RegionAxis::Strided { len, stride });
    Region::new((base * item_size).cast_signed(), axes.collect())
}

/// The results of several selections, one after the other in memory: their regions, places and count.
fn regions(selections: &[Selection], item_size: usize) -> (Vec<Region>, Vec<[Indices; 1]>, usize) {
    let mut count = 0;
    let mut regions = Vec::new();
    let mut places = Vec::new();
    for selection in selections {
        let element_count = selection.element_count();
        regions.push(contiguous_region(&lens(selection), count, item_size));
        places.push([Indices::Range { start: count, step: 1, len: element_count }]);
        count += element_count;
    }
    (regions, places, count)
}

fn proved(selections: &[Selection], item_size: usize) -> (DisjointRegions, Extent, usize) {
    let (regions, places, count) = regions(selections, item_size);
    let extent = Extent { lowest: 0, end: (count * item_size).cast_signed() };
    let places: Vec<_> = places.into_iter().map(|place| place.into_iter().collect()).collect();
    let regions = DisjointRegions::prove(regions, &places, &[count], extent, item_size, true).unwrap();
    (regions, extent, count)
}

/// Plans a read of one selection of each of some chunks, and hands the request to `body`; answers the
/// elements.
pub(super) fn with_read(
    chain: &Arc<Chain>,
    selections: &[Selection],
    body: impl FnOnce(&ReadRequest) -> Result<(), Error>,
) -> Result<Vec<u16>, Error> {
    let (regions, extent, count) = proved(selections, ITEM);
    let mut out = vec![0xDEAD_u16; count];
    // SAFETY: the vector is as long as the extent and outlives the request, which alone uses it.
    let memory = unsafe { ArrayMemory::new(out.as_mut_ptr().cast(), extent, ITEM) };
    let tasks = selections
        .iter()
        .map(|selection| ReadTask { chain: Arc::clone(chain), selection: selection.clone() })
        .collect();
    let request = ReadRequest::new(tasks, ReadTarget::Elements(Output::new(memory, regions)))?;
    body(&request)?;
    drop(request);
    Ok(out)
}

/// Reads one selection of each of some chunks.
pub(super) fn read_numbers(
    store: &FakeStore,
    chain: &Arc<Chain>,
    selections: &[Selection],
    is_parallel: bool,
) -> Result<Vec<u16>, Error> {
    with_read(chain, selections, |request| {
        run(is_parallel, |work, scratch| read::read(request, store, work, scratch))
    })
}

/// Writes to one selection of each of some chunks.
pub(super) fn write_numbers(
    store: &FakeStore,
    chain: &Arc<Chain>,
    selections: &[Selection],
    values: &[u16],
    is_parallel: bool,
) -> Result<(), Error> {
    let (regions, _, count) = regions(selections, ITEM);
    assert_eq!(count, values.len());
    let extent = Extent { lowest: 0, end: (count * ITEM).cast_signed() };
    // SAFETY: the slice is as long as the extent and outlives the request, which only reads it.
    let memory = unsafe { ArrayMemory::new(values.as_ptr().cast_mut().cast(), extent, ITEM) };
    let request = WriteRequest::new(tasks(chain, selections, regions), WriteSource::Elements(memory));
    run(is_parallel, |work, scratch| write::write(&request, store, work, scratch))
}

fn tasks(chain: &Arc<Chain>, selections: &[Selection], regions: Vec<Region>) -> Vec<WriteTask> {
    let task = |(selection, region): (&Selection, Region)| WriteTask {
        chain: Arc::clone(chain),
        selection: selection.clone(),
        region,
        is_complete: false,
    };
    selections.iter().zip(regions).map(task).collect()
}

/// Strings in the place of Python objects.
#[derive(Clone, Default)]
pub(super) struct Strings(pub(super) Arc<Mutex<Vec<String>>>);

fn numbers_of(region: &Region) -> Vec<usize> {
    let flat = region.flattened();
    (0..flat.element_count()).map(|at| (flat.base + flat.axes[0].at(at)).cast_unsigned()).collect()
}

impl ObjectSink for Strings {
    fn place(&self, elements: &Elements, source: &Region, target: &Region) -> Result<(), Error> {
        let mut strings = self.0.lock().unwrap();
        for (from, to) in numbers_of(source).into_iter().zip(numbers_of(target)) {
            strings[to] = String::from_utf8(elements.get(from).to_vec()).unwrap();
        }
        Ok(())
    }
}

impl ObjectSource for Strings {
    fn collect(&self, region: &Region) -> Result<Elements, Error> {
        let strings = self.0.lock().unwrap();
        let mut elements = Elements::default();
        for number in numbers_of(region) {
            elements.push(strings[number].as_bytes());
        }
        Ok(elements)
    }
}

/// Reads a selection of the store's only chunk, of strings.
pub(super) fn read_strings(
    store: &FakeStore,
    chain: &Arc<Chain>,
    selection: &Selection,
) -> Result<Vec<String>, Error> {
    let (regions, _, count) = proved(std::slice::from_ref(selection), 1);
    let strings = Strings(Arc::new(Mutex::new(vec!["unread".to_owned(); count])));
    let target = ReadTarget::Objects { sink: Box::new(strings.clone()), regions };
    let task = ReadTask { chain: Arc::clone(chain), selection: selection.clone() };
    let request = ReadRequest::new(vec![task], target)?;
    run(true, |work, scratch| read::read(&request, store, work, scratch))?;
    let found = strings.0.lock().unwrap().clone();
    Ok(found)
}

/// Writes to a selection of the store's only chunk, of strings.
pub(super) fn write_strings(
    store: &FakeStore,
    chain: &Arc<Chain>,
    selection: &Selection,
    values: &[&str],
) -> Result<(), Error> {
    let (regions, _, _) = regions(std::slice::from_ref(selection), 1);
    let strings = Strings(Arc::new(Mutex::new(values.iter().map(ToString::to_string).collect())));
    let tasks = tasks(chain, std::slice::from_ref(selection), regions);
    let request = WriteRequest::new(tasks, WriteSource::Objects(Box::new(strings)));
    run(true, |work, scratch| write::write(&request, store, work, scratch))
}
