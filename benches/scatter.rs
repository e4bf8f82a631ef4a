//! Moving the elements of one decoded chunk to the caller's array and back: ours, and beside it the loop
//! that one would write for just that case.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(
    unsafe_code,
    reason = "lends vectors to the engine, and divan registers benchmarks in a link section"
)]

#[allow(dead_code, reason = "each benchmark takes what it needs")]
mod arrays;

use arrays::request::Memory;
use arrays::{FILL, ITEM_BYTES, bytes_of, elements};
use divan::Bencher;
use divan::counter::BytesCount;
use wazarr::gather::Supply;
use wazarr::plan::selection::contiguous_strides;
use wazarr::plan::{DisjointRegions, Indices, Region, Selection};
use wazarr::scatter::Output;

/// Side of the chunk, and of the caller's array.
const CHUNK: usize = 80;
const OUT: usize = 200;
/// Where in the caller's array the chunk's elements go, along every axis.
const CORNER: usize = 60;

fn main() {
    divan::main();
}

/// The same indices along every axis.
fn cube(start: usize, step: isize, len: usize) -> Selection {
    Selection::Product((0..3).map(|_| Indices::Range { start, step, len }).collect())
}

/// Where a cube of this side goes.
fn target(len: usize) -> Region {
    cube(CORNER, 1, len).project(&contiguous_strides(&[OUT; 3], ITEM_BYTES))
}

/// The elements of a chunk that a selection names.
fn source(selection: &Selection) -> Region {
    selection.project(&contiguous_strides(&[CHUNK; 3], ITEM_BYTES))
}

fn position(x: usize, y: usize, z: usize, side: usize) -> usize {
    (x * side + y) * side + z
}

/// The three loops: calls `each` with every position of a cube of this side, the last axis left out.
fn rows(side: usize, mut each: impl FnMut(usize, usize)) {
    for x in 0..side {
        for y in 0..side {
            each(x, y);
        }
    }
}

/// Benches a scatter of `source`, and checks it against `expected`, which writes an array by other means.
fn scatter(bencher: Bencher<'_, '_>, side: usize, source: &Region, expected: impl Fn(&[u16], &mut [u16])) {
    let chunk = elements(CHUNK);
    let bytes = bytes_of(&chunk);
    let mut memory = Memory::new(vec![0; OUT * OUT * OUT], &[OUT; 3]);
    let lent = memory.lend();
    let target = vec![target(side)];
    let regions = DisjointRegions::prove(target, &[], &[OUT; 3], lent.extent(), ITEM_BYTES, true).unwrap();
    let output = Output::new(lent, regions);
    bencher
        .counter(BytesCount::new(source.element_count() * ITEM_BYTES))
        .bench_local(|| output.place(0).scatter(&bytes, source).unwrap());
    let mut model = vec![0; OUT * OUT * OUT];
    expected(&chunk, &mut model);
    assert!(memory.elements() == model, "the answer is wrong");
}

/// Benches the loop that checks the scatter.
fn by_loop(bencher: Bencher<'_, '_>, side: usize, copy: impl Fn(&[u16], &mut [u16])) {
    let chunk = elements(CHUNK);
    let mut out = vec![0; OUT * OUT * OUT];
    bencher
        .counter(BytesCount::new(side * side * side * ITEM_BYTES))
        .bench_local(|| copy(&chunk, divan::black_box(&mut out)));
}

#[divan::bench_group(max_time = 0.5)]
mod whole_chunk {
    use super::{Bencher, CHUNK, CORNER, OUT, by_loop, cube, position, rows, scatter, source};

    fn copy(chunk: &[u16], out: &mut [u16]) {
        rows(CHUNK, |x, y| {
            let to = position(CORNER + x, CORNER + y, CORNER, OUT);
            let from = position(x, y, 0, CHUNK);
            out[to..to + CHUNK].copy_from_slice(&chunk[from..from + CHUNK]);
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        scatter(bencher, CHUNK, &source(&cube(0, 1, CHUNK)), copy);
    }

    #[divan::bench]
    fn row_loop(bencher: Bencher<'_, '_>) {
        by_loop(bencher, CHUNK, copy);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod window {
    use super::{Bencher, CHUNK, CORNER, OUT, by_loop, cube, position, rows, scatter, source};

    const SIDE: usize = 41;
    const START: usize = 13;

    fn copy(chunk: &[u16], out: &mut [u16]) {
        rows(SIDE, |x, y| {
            let to = position(CORNER + x, CORNER + y, CORNER, OUT);
            let from = position(START + x, START + y, START, CHUNK);
            out[to..to + SIDE].copy_from_slice(&chunk[from..from + SIDE]);
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        scatter(bencher, SIDE, &source(&cube(START, 1, SIDE)), copy);
    }

    #[divan::bench]
    fn row_loop(bencher: Bencher<'_, '_>) {
        by_loop(bencher, SIDE, copy);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod every_second {
    use super::{Bencher, CHUNK, CORNER, OUT, by_loop, cube, position, rows, scatter, source};

    const SIDE: usize = CHUNK / 2;

    fn copy(chunk: &[u16], out: &mut [u16]) {
        rows(SIDE, |x, y| {
            for z in 0..SIDE {
                out[position(CORNER + x, CORNER + y, CORNER + z, OUT)] =
                    chunk[position(2 * x, 2 * y, 2 * z, CHUNK)];
            }
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        scatter(bencher, SIDE, &source(&cube(0, 2, SIDE)), copy);
    }

    #[divan::bench]
    fn element_loop(bencher: Bencher<'_, '_>) {
        by_loop(bencher, SIDE, copy);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod transposed {
    use super::{Bencher, CHUNK, CORNER, OUT, by_loop, cube, position, rows, scatter, source};

    fn copy(chunk: &[u16], out: &mut [u16]) {
        rows(CHUNK, |x, y| {
            for z in 0..CHUNK {
                out[position(CORNER + x, CORNER + y, CORNER + z, OUT)] = chunk[position(z, y, x, CHUNK)];
            }
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        scatter(bencher, CHUNK, &source(&cube(0, 1, CHUNK)).transposed(&[2, 1, 0]), copy);
    }

    #[divan::bench]
    fn element_loop(bencher: Bencher<'_, '_>) {
        by_loop(bencher, CHUNK, copy);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod fill {
    use super::{
        Bencher, BytesCount, CHUNK, CORNER, DisjointRegions, FILL, ITEM_BYTES, Memory, OUT, Output, by_loop,
        position, rows, target,
    };

    fn copy(_: &[u16], out: &mut [u16]) {
        rows(CHUNK, |x, y| {
            let to = position(CORNER + x, CORNER + y, CORNER, OUT);
            out[to..to + CHUNK].fill(FILL);
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        let mut memory = Memory::new(vec![0; OUT * OUT * OUT], &[OUT; 3]);
        let lent = memory.lend();
        let target = vec![target(CHUNK)];
        let regions =
            DisjointRegions::prove(target, &[], &[OUT; 3], lent.extent(), ITEM_BYTES, true).unwrap();
        let output = Output::new(lent, regions);
        bencher
            .counter(BytesCount::new(CHUNK * CHUNK * CHUNK * ITEM_BYTES))
            .bench_local(|| output.place(0).fill(&FILL.to_ne_bytes()).unwrap());
        let mut model = vec![0; OUT * OUT * OUT];
        copy(&[], &mut model);
        assert!(memory.elements() == model, "the answer is wrong");
    }

    #[divan::bench]
    fn row_loop(bencher: Bencher<'_, '_>) {
        by_loop(bencher, CHUNK, copy);
    }
}

#[divan::bench_group(max_time = 0.5)]
mod gather {
    use super::{
        Bencher, BytesCount, CHUNK, CORNER, ITEM_BYTES, Memory, OUT, Supply, bytes_of, cube, elements,
        position, rows, source, target,
    };

    fn copy(array: &[u16], chunk: &mut [u16]) {
        rows(CHUNK, |x, y| {
            let from = position(CORNER + x, CORNER + y, CORNER, OUT);
            let to = position(x, y, 0, CHUNK);
            chunk[to..to + CHUNK].copy_from_slice(&array[from..from + CHUNK]);
        });
    }

    #[divan::bench]
    fn ours(bencher: Bencher<'_, '_>) {
        let array = elements(OUT);
        let mut model = vec![0; CHUNK * CHUNK * CHUNK];
        copy(&array, &mut model);
        let mut memory = Memory::new(array, &[OUT; 3]);
        let lent = memory.lend();
        let supply = Supply::new(&lent, target(CHUNK));
        let whole = source(&cube(0, 1, CHUNK));
        let mut chunk = vec![0; model.len() * ITEM_BYTES];
        bencher
            .counter(BytesCount::new(chunk.len()))
            .bench_local(|| supply.gather(&mut chunk, &whole).unwrap());
        assert!(chunk == bytes_of(&model), "the answer is wrong");
    }

    #[divan::bench]
    fn row_loop(bencher: Bencher<'_, '_>) {
        let array = elements(OUT);
        let mut chunk = vec![0; CHUNK * CHUNK * CHUNK];
        bencher
            .counter(BytesCount::new(chunk.len() * ITEM_BYTES))
            .bench_local(|| copy(&array, divan::black_box(&mut chunk)));
    }
}
