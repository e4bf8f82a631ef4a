//! Runs one hot case of the engine a fixed number of times on one thread, for callgrind to count.
//!
//! `instructions` alone prints the names of the cases, one a line; `instructions CASE ROUNDS` runs one and
//! prints how many chunks the counted rounds went through. What is counted is what [`counted_rounds`] calls: set-up,
//! a first round that fills the kept buffers and contexts, and the check of the answer stay outside.
//! `make bench-check` runs this, see `scripts/bench_check.py`.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(clippy::print_stdout, reason = "its answer")]
#![expect(unsafe_code, reason = "lends vectors to the engine, as numpy does arrays")]

#[allow(dead_code, reason = "each benchmark takes what it needs")]
mod arrays;

use std::path::Path;
use std::sync::Arc;

use arrays::batch::{Along, Batch};
use arrays::request::{Memory, NoChunks, Read, Write, files};
use arrays::{Array, FILL, chunks, elements, shards};
use serde_json::{Value, json};
use wazarr::codec::Scratch;
use wazarr::codec::chain::Chain;

/// Side of the arrays of small chunks: 512 chunks of 8 KiB.
const SMALL: (usize, usize) = (128, 16);
/// Side of the others: 27 chunks of 64 KiB.
const MEDIUM: (usize, usize) = (96, 32);
/// Side of the arrays of shards, of a shard and of an inner chunk: 8 shards of 64 inner chunks of 8 KiB.
const SHARDED: (usize, usize, usize) = (128, 64, 16);

/// How often the counted part repeats.
type Rounds = usize;

/// The counted part.
#[inline(never)]
fn counted_rounds(rounds: Rounds, round: &mut dyn FnMut()) {
    for _ in 0..rounds {
        round();
    }
}

/// Runs a round once, then counted; prints the chunks that went through the counted rounds.
fn count(rounds: Rounds, chunks_per_round: usize, mut round: impl FnMut()) {
    round();
    counted_rounds(rounds, &mut round);
    println!("{}", json!({"chunks": rounds * chunks_per_round}));
}

fn zstd() -> (&'static str, Value) {
    ("zstd", json!({"level": 1, "checksum": false}))
}

fn gzip() -> (&'static str, Value) {
    ("gzip", json!({"level": 1}))
}

fn blosc() -> (&'static str, Value) {
    ("blosc", json!({"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0}))
}

fn small(codecs: &[(&str, Value)]) -> Array {
    Array::cube(SMALL.0, &chunks(SMALL.1, codecs))
}

fn medium(codecs: &[(&str, Value)]) -> Array {
    Array::cube(MEDIUM.0, &chunks(MEDIUM.1, codecs))
}

fn sharded() -> Array {
    let inner: Arc<Chain> = chunks(SHARDED.2, &[zstd()]);
    Array::cube(SHARDED.0, &shards(SHARDED.1, &inner))
}

/// Writes the whole array and answers its elements.
fn store(array: &Array) -> Vec<u16> {
    let data = elements(array.shape[0]);
    let batch = Batch::whole(array);
    let write = Write::plan(array, &batch, Memory::new(data.clone(), &array.shape));
    write.run(&files(root(), &batch), &mut Scratch::default());
    data
}

/// Where the chunks go, below a folder that is made for this run: a name that is everywhere as long.
fn root() -> &'static Path {
    Path::new("array")
}

/// What is selected of an array.
type Select = fn(&Array) -> Batch;

fn read(array: &Array, select: Select, rounds: Rounds) {
    let batch = select(array);
    let data = store(array);
    let read = Read::plan(array, &batch, Memory::for_result(&batch));
    let store = files(root(), &batch);
    let mut scratch = Scratch::default();
    count(rounds, batch.entries.len(), || read.run(&store, &mut scratch));
    let expected: Vec<u16> = batch.selected.iter().map(|&number| data[number]).collect();
    assert!(read.answer() == expected, "the answer is wrong");
}

fn write(array: &Array, select: Select, rounds: Rounds) {
    let batch = select(array);
    let mut data = store(array);
    let values: Vec<u16> = batch.selected.iter().map(|&number| data[number] ^ 1).collect();
    for (&number, &value) in batch.selected.iter().zip(&values) {
        data[number] = value;
    }
    let write = Write::plan(array, &batch, Memory::new(values, &batch.out_shape));
    let store = files(root(), &batch);
    let mut scratch = Scratch::default();
    count(rounds, batch.entries.len(), || write.run(&store, &mut scratch));
    let whole = Batch::whole(array);
    let read = Read::plan(array, &whole, Memory::for_result(&whole));
    read.run(&files(root(), &whole), &mut scratch);
    assert!(read.answer() == data, "the array is wrong after the write");
}

/// Chunks that are not there, from a store that answers at once.
fn read_missing(array: &Array, rounds: Rounds) {
    let batch = Batch::whole(array);
    let read = Read::plan(array, &batch, Memory::for_result(&batch));
    let mut scratch = Scratch::default();
    count(rounds, batch.entries.len(), || read.run(&NoChunks, &mut scratch));
    assert!(read.answer().iter().all(|&element| element == FILL), "the answer is wrong");
}

/// Index expressions to requests, nothing read.
fn plan(array: &Array, select: Select, rounds: Rounds) {
    let batch = select(array);
    let mut memory = Some(Memory::for_result(&batch));
    count(rounds, batch.entries.len(), || {
        let planned = Read::plan(array, &batch, memory.take().unwrap());
        memory = Some(planned.into_memory());
    });
}

/// All but a rim, so that no chunk at an edge is whole.
fn window(array: &Array) -> Batch {
    Batch::cube(array, &Along::slice(10, array.shape[0] - 10, 1))
}

/// A small part around the corner where the eight shards meet.
fn middle(array: &Array) -> Batch {
    Batch::cube(array, &Along::slice(40, 90, 1))
}

/// Every second index.
fn steps(array: &Array) -> Batch {
    Batch::cube(array, &Along::slice(1, array.shape[0], 2))
}

/// About four indices in ten, not evenly spaced.
fn index_arrays(array: &Array) -> Batch {
    let is_listed = |index: &usize| index.is_multiple_of(3) || index.is_multiple_of(7);
    Batch::cube(array, &Along::List((0..array.shape[0]).filter(is_listed).collect()))
}

/// Points all over the array, in no order.
fn scattered_points(array: &Array) -> Batch {
    Batch::points(array, &arrays::points(20_000, array.shape[0]))
}

/// A case: its name and what it does.
type Case = (&'static str, fn(Rounds));

const CASES: &[Case] = &[
    ("read_small_plain", |rounds| read(&small(&[]), Batch::whole, rounds)),
    ("read_small_zstd", |rounds| read(&small(&[zstd()]), Batch::whole, rounds)),
    ("read_zstd", |rounds| read(&medium(&[zstd()]), Batch::whole, rounds)),
    ("read_gzip", |rounds| read(&medium(&[gzip()]), Batch::whole, rounds)),
    ("read_blosc", |rounds| read(&medium(&[blosc()]), Batch::whole, rounds)),
    ("read_shards", |rounds| read(&sharded(), Batch::whole, rounds)),
    ("read_shards_window", |rounds| read(&sharded(), middle, rounds)),
    ("read_window_plain", |rounds| read(&medium(&[]), window, rounds)),
    ("read_window_zstd", |rounds| read(&medium(&[zstd()]), window, rounds)),
    ("read_window_blosc", |rounds| read(&medium(&[blosc()]), window, rounds)),
    ("read_steps", |rounds| read(&medium(&[]), steps, rounds)),
    ("read_index_arrays", |rounds| read(&medium(&[]), index_arrays, rounds)),
    ("read_points", |rounds| read(&medium(&[]), scattered_points, rounds)),
    ("read_missing", |rounds| read_missing(&small(&[]), rounds)),
    ("read_missing_tiny", |rounds| read_missing(&Array::cube(64, &chunks(4, &[])), rounds)),
    ("write_small_plain", |rounds| write(&small(&[]), Batch::whole, rounds)),
    ("write_small_zstd", |rounds| write(&small(&[zstd()]), Batch::whole, rounds)),
    ("write_zstd", |rounds| write(&medium(&[zstd()]), Batch::whole, rounds)),
    ("write_gzip", |rounds| write(&medium(&[gzip()]), Batch::whole, rounds)),
    ("write_blosc", |rounds| write(&medium(&[blosc()]), Batch::whole, rounds)),
    ("write_shards", |rounds| write(&sharded(), Batch::whole, rounds)),
    ("write_shards_window", |rounds| write(&sharded(), middle, rounds)),
    ("write_window_plain", |rounds| write(&medium(&[]), window, rounds)),
    ("plan_slices", |rounds| plan(&small(&[]), Batch::whole, rounds)),
    ("plan_index_arrays", |rounds| plan(&small(&[]), index_arrays, rounds)),
];

fn main() {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [name, rounds] = arguments.as_slice() else {
        for (name, _) in CASES {
            println!("{name}");
        }
        return;
    };
    let Some((_, run)) = CASES.iter().find(|(known, _)| known == name) else {
        panic!("there is no case {name:?}");
    };
    let folder = std::env::temp_dir().join(format!("wazarr-instructions-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    run(rounds.parse().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}
