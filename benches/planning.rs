//! Planning a read: from the index expressions of zarr's batch to a request. The counter is chunks.
//!
//! `resolve` is index arithmetic alone; what `plan` takes besides goes into byte offsets, the proof that the
//! chunks' places are disjoint, and the request itself.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails stops")]
#![expect(
    unsafe_code,
    reason = "lends vectors to the engine, and divan registers benchmarks in a link section"
)]

#[allow(dead_code, reason = "each benchmark takes what it needs")]
mod arrays;

use arrays::batch::{Along, Batch};
use arrays::request::{Memory, Read};
use arrays::{Array, chunks};
use divan::Bencher;
use divan::counter::ItemsCount;
use wazarr::plan::numpy_index::{Resolved, resolve};

/// Side of a chunk, small since its size does not matter.
const CHUNK: usize = 4;
/// Chunks along every axis: 64, 512 and 4096 in all.
const GRIDS: [usize; 3] = [4, 8, 16];

fn main() {
    divan::main();
}

fn array(grid: usize) -> Array {
    Array::cube(CHUNK * grid, &chunks(CHUNK, &[]))
}

fn resolving(bencher: Bencher<'_, '_>, array: &Array, batch: &Batch) {
    let resolve_all = || -> Vec<Resolved> {
        let resolved = batch.entries.iter().flat_map(|entry| {
            [resolve(&entry.within, array.chunk_shape()), resolve(&entry.outside, &batch.out_shape)]
        });
        resolved.map(Result::unwrap).collect()
    };
    let counts =
        resolve_all().iter().step_by(2).map(|within| within.selection.element_count()).sum::<usize>();
    assert_eq!(counts, batch.selected.len());
    bencher.counter(ItemsCount::new(batch.entries.len())).bench_local(resolve_all);
}

fn planning(bencher: Bencher<'_, '_>, array: &Array, batch: &Batch) {
    let mut memory = Some(Memory::for_result(batch));
    bencher.counter(ItemsCount::new(batch.entries.len())).bench_local(|| {
        memory = memory.take().map(|memory| Read::plan(array, batch, memory).into_memory());
    });
}

#[divan::bench_group(max_time = 0.5)]
mod slices {
    use super::{Batch, Bencher, GRIDS, array, planning, resolving};

    #[divan::bench(args = GRIDS)]
    fn resolve(bencher: Bencher<'_, '_>, grid: usize) {
        resolving(bencher, &array(grid), &Batch::whole(&array(grid)));
    }

    #[divan::bench(args = GRIDS)]
    fn plan(bencher: Bencher<'_, '_>, grid: usize) {
        planning(bencher, &array(grid), &Batch::whole(&array(grid)));
    }
}

#[divan::bench_group(max_time = 0.5)]
mod index_arrays {
    use super::{Along, Array, Batch, Bencher, GRIDS, array, planning, resolving};

    fn batch(array: &Array) -> Batch {
        let is_listed = |index: &usize| index % 4 != 1;
        Batch::cube(array, &Along::List((0..array.shape[0]).filter(is_listed).collect()))
    }

    #[divan::bench(args = GRIDS)]
    fn resolve(bencher: Bencher<'_, '_>, grid: usize) {
        resolving(bencher, &array(grid), &batch(&array(grid)));
    }

    #[divan::bench(args = GRIDS)]
    fn plan(bencher: Bencher<'_, '_>, grid: usize) {
        planning(bencher, &array(grid), &batch(&array(grid)));
    }
}

#[divan::bench_group(max_time = 0.5)]
mod points {
    use super::{Array, Batch, Bencher, CHUNK, GRIDS, array, planning, resolving};

    /// About four points in every chunk, in no order.
    fn batch(array: &Array) -> Batch {
        let count = 4 * array.shape.iter().map(|len| len / CHUNK).product::<usize>();
        Batch::points(array, &super::arrays::points(count, array.shape[0]))
    }

    #[divan::bench(args = GRIDS)]
    fn resolve(bencher: Bencher<'_, '_>, grid: usize) {
        resolving(bencher, &array(grid), &batch(&array(grid)));
    }

    #[divan::bench(args = GRIDS)]
    fn plan(bencher: Bencher<'_, '_>, grid: usize) {
        planning(bencher, &array(grid), &batch(&array(grid)));
    }
}
