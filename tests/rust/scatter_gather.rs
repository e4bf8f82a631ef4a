//! Scatter and gather over all small cases, against nested loops; `make unsafe` runs them where memory
//! errors show. Every buffer is exactly as long as it must be, so that one byte too far is noticed.
#![expect(unsafe_code, reason = "lends memory to the engine, as numpy does")]

use std::sync::Arc;

use wazarr::gather::Supply;
use wazarr::plan::regions::{DisjointRegions, Extent};
use wazarr::plan::selection::contiguous_strides;
use wazarr::plan::{Indices, Region, Selection};
use wazarr::scatter::{ArrayMemory, Output};

const ITEM_SIZES: [usize; 7] = [1, 2, 3, 4, 8, 12, 16];

/// All ways to choose up to `len` indices from an axis of `axis_len`: every range, and lists with repeats.
fn choices(axis_len: usize) -> Vec<Indices> {
    let mut all = vec![Indices::Range { start: 0, step: 1, len: 0 }];
    for start in 0..axis_len {
        for step in [-2, -1, 0, 1, 2] {
            for len in 1..=axis_len {
                let last = start.cast_signed() + step * (len.cast_signed() - 1);
                if last >= 0 && last < axis_len.cast_signed() {
                    all.push(Indices::Range { start, step, len });
                }
            }
        }
    }
    for first in 0..axis_len {
        all.push(Indices::List(Arc::from([first])));
        for second in 0..axis_len {
            all.push(Indices::List(Arc::from([first, second])));
        }
    }
    all
}

/// How an array may lie in memory: byte strides and the place of the first element.
struct Layout {
    strides: Vec<isize>,
    extent: Extent,
}

/// C order, Fortran order, each axis backwards, and with gaps between elements.
fn layouts(shape: &[usize], item_size: usize) -> Vec<Layout> {
    let c_order = contiguous_strides(shape, item_size).to_vec();
    let mut reversed_shape = shape.to_vec();
    reversed_shape.reverse();
    let mut f_order = contiguous_strides(&reversed_shape, item_size).to_vec();
    f_order.reverse();
    let mut all = vec![c_order.clone(), f_order];
    for axis in 0..shape.len() {
        let mut backwards = c_order.clone();
        backwards[axis] = -backwards[axis];
        all.push(backwards);
    }
    all.push(c_order.iter().map(|stride| stride * 3).collect());
    all.into_iter()
        .map(|strides| Layout { extent: Extent::of(shape, &strides, item_size).unwrap(), strides })
        .collect()
}

/// A buffer of exactly the bytes of an extent, and the index of the array's first element in it.
fn buffer(extent: Extent) -> (Box<[u8]>, usize) {
    let len_bytes = (extent.end - extent.lowest).cast_unsigned();
    (vec![0xEE; len_bytes].into_boxed_slice(), extent.lowest.unsigned_abs())
}

/// Bytes of which no two elements are equal (as far as their size allows).
fn numbered(len_bytes: usize) -> Box<[u8]> {
    (0..len_bytes).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// Offsets of a region's elements in C order, straight from the meaning of a selection.
fn offsets(places: &[Indices], strides: &[isize]) -> Vec<isize> {
    let mut all = vec![0];
    for (indices, stride) in places.iter().zip(strides) {
        all = all
            .iter()
            .flat_map(|base| (0..indices.len()).map(move |at| base + indices.at(at).cast_signed() * stride))
            .collect();
    }
    all
}

fn at(origin: usize, offset: isize) -> usize {
    origin.checked_add_signed(offset).unwrap()
}

fn region(places: &[Indices], strides: &[isize]) -> Region {
    Selection::Product(places.iter().cloned().collect()).project(strides)
}

/// Scatters from a chunk to an output, and gathers back from it, and compares both with plain loops.
fn check(shape: &[usize], out_places: &[Indices], chunk_places: &[Indices], item_size: usize) {
    let chunk_strides = contiguous_strides(shape, item_size);
    let chunk_len_bytes = shape.iter().product::<usize>() * item_size;
    let chunk = numbered(chunk_len_bytes);
    let chunk_offsets = offsets(chunk_places, &chunk_strides);
    for layout in layouts(shape, item_size) {
        let out_offsets = offsets(out_places, &layout.strides);

        let (mut memory, origin) = buffer(layout.extent);
        let (mut expected, _) = buffer(layout.extent);
        for (&to, &from) in out_offsets.iter().zip(&chunk_offsets) {
            let (to, from) = (at(origin, to), at(0, from));
            expected[to..to + item_size].copy_from_slice(&chunk[from..from + item_size]);
        }
        {
            // SAFETY: the pointer is that of element `origin` of a buffer that reaches over the extent.
            let first = unsafe { memory.as_mut_ptr().add(origin) };
            // SAFETY: the buffer outlives `output` and nothing else uses it meanwhile.
            let array = unsafe { ArrayMemory::new(first, layout.extent, item_size) };
            let regions = DisjointRegions::prove(
                vec![region(out_places, &layout.strides)],
                &[out_places.iter().cloned().collect()],
                shape,
                layout.extent,
                item_size,
                true,
            );
            let output = Output::new(array, regions.unwrap());
            output.place(0).scatter(&chunk, &region(chunk_places, &chunk_strides)).unwrap();
        }
        assert_eq!(memory, expected, "scatter {shape:?} {out_places:?} {chunk_places:?} {item_size}");

        let mut source = numbered(memory.len());
        let mut gathered = vec![0xEE; chunk_len_bytes].into_boxed_slice();
        let mut expected = gathered.clone();
        for (&from, &to) in out_offsets.iter().zip(&chunk_offsets) {
            let (to, from) = (at(0, to), at(origin, from));
            expected[to..to + item_size].copy_from_slice(&source[from..from + item_size]);
        }
        // SAFETY: as above.
        let first = unsafe { source.as_mut_ptr().add(origin) };
        // SAFETY: as above.
        let array = unsafe { ArrayMemory::new(first, layout.extent, item_size) };
        let supply = Supply::new(&array, region(out_places, &layout.strides));
        supply.gather(&mut gathered, &region(chunk_places, &chunk_strides)).unwrap();
        assert_eq!(gathered, expected, "gather {shape:?} {out_places:?} {chunk_places:?} {item_size}");
    }
}

/// Pairs of choices that take equally many indices.
fn matching(axis_len: usize) -> Vec<(Indices, Indices)> {
    let all = choices(axis_len);
    all.iter()
        .flat_map(|first| {
            all.iter()
                .filter(move |second| first.len() == second.len())
                .map(move |second| (first.clone(), second.clone()))
        })
        .collect()
}

#[test]
fn no_axes() {
    for item_size in ITEM_SIZES {
        check(&[], &[], &[], item_size);
    }
}

#[test]
fn one_axis() {
    for axis_len in 0..=4 {
        for (out, chunk) in matching(axis_len) {
            for item_size in ITEM_SIZES {
                check(&[axis_len], std::slice::from_ref(&out), std::slice::from_ref(&chunk), item_size);
            }
        }
    }
}

#[test]
fn two_axes() {
    let pairs = [matching(1), matching(2), matching(3)];
    // All of 2 x 2; of the larger ones every seventh row against all columns.
    for (rows, columns, step) in [(2, 1, 1), (1, 2, 1), (2, 2, 1), (3, 2, 7), (2, 3, 7)] {
        for (turn, (out_row, chunk_row)) in pairs[rows - 1].iter().enumerate().step_by(step) {
            for (out_column, chunk_column) in &pairs[columns - 1] {
                check(
                    &[rows, columns],
                    &[out_row.clone(), out_column.clone()],
                    &[chunk_row.clone(), chunk_column.clone()],
                    ITEM_SIZES[turn / step % ITEM_SIZES.len()],
                );
            }
        }
    }
}

#[test]
fn three_axes() {
    let few = |axis_len: usize| {
        vec![
            (Indices::full(axis_len), Indices::full(axis_len)),
            (Indices::Range { start: axis_len - 1, step: -1, len: axis_len }, Indices::full(axis_len)),
            (Indices::List(Arc::from([axis_len - 1, 0])), Indices::List(Arc::from([0, axis_len - 1]))),
            (Indices::Range { start: 1, step: 0, len: 2 }, Indices::Range { start: 0, step: 1, len: 2 }),
            (Indices::Range { start: 0, step: 1, len: 1 }, Indices::Range { start: 1, step: 1, len: 1 }),
        ]
    };
    for (first_out, first_chunk) in &few(2) {
        for (second_out, second_chunk) in &few(3) {
            for (third_out, third_chunk) in &few(4) {
                for item_size in ITEM_SIZES {
                    check(
                        &[2, 3, 4],
                        &[first_out.clone(), second_out.clone(), third_out.clone()],
                        &[first_chunk.clone(), second_chunk.clone(), third_chunk.clone()],
                        item_size,
                    );
                }
            }
        }
    }
}

/// Longer than a tile of the transposing copy, and not a multiple of one.
#[test]
fn large_transposition() {
    let shape = [71, 45];
    for item_size in ITEM_SIZES {
        check(&shape, &shape.map(Indices::full), &shape.map(Indices::full), item_size);
    }
}

#[test]
fn fill_writes_its_places_only() {
    for item_size in ITEM_SIZES {
        let element = numbered(item_size);
        for places in choices(3) {
            for layout in layouts(&[3], item_size) {
                let (mut memory, origin) = buffer(layout.extent);
                let (mut expected, _) = buffer(layout.extent);
                for offset in offsets(std::slice::from_ref(&places), &layout.strides) {
                    expected[at(origin, offset)..at(origin, offset) + item_size].copy_from_slice(&element);
                }
                // SAFETY: the pointer is that of element `origin` of a buffer that reaches over the extent.
                let first = unsafe { memory.as_mut_ptr().add(origin) };
                // SAFETY: the buffer outlives `output` and nothing else uses it meanwhile.
                let array = unsafe { ArrayMemory::new(first, layout.extent, item_size) };
                let regions = DisjointRegions::prove(
                    vec![region(std::slice::from_ref(&places), &layout.strides)],
                    &[[places.clone()].into_iter().collect()],
                    &[3],
                    layout.extent,
                    item_size,
                    true,
                );
                let output = Output::new(array, regions.unwrap());
                output.place(0).fill(&element).unwrap();
                assert_eq!(memory, expected, "{places:?} {item_size}");
            }
        }
    }
}

/// Regions that leave their memory, and regions of unequal shape, are refused before a byte is written.
#[test]
fn misfits_are_refused() {
    let extent = Extent::of(&[4], &[2], 2).unwrap();
    let (mut memory, origin) = buffer(extent);
    // SAFETY: the pointer is that of element `origin` of a buffer that reaches over the extent.
    let first = unsafe { memory.as_mut_ptr().add(origin) };
    // SAFETY: the buffer outlives `array` and nothing else uses it meanwhile.
    let array = unsafe { ArrayMemory::new(first, extent, 2) };
    let beyond = region(&[Indices::Range { start: 2, step: 1, len: 3 }], &[2]);
    let mut chunk = [0; 6];
    let whole = region(&[Indices::full(3)], &[2]);
    assert!(Supply::new(&array, beyond.clone()).gather(&mut chunk, &whole).is_err());
    assert!(Supply::new(&array, whole).gather(&mut chunk, &region(&[Indices::full(2)], &[2])).is_err());
    assert!(DisjointRegions::prove(vec![beyond], &[], &[4], extent, 2, true).is_err());
    assert_eq!(chunk, [0; 6]);
}

/// Whatever is called parallel has no byte in two regions: all pairs and some triples of small places.
#[test]
fn parallel_regions_are_disjoint() {
    let shape = [3, 2];
    let strides = contiguous_strides(&shape, 1);
    let extent = Extent::of(&shape, &strides, 1).unwrap();
    let mut places = Vec::new();
    for row in choices(3) {
        for column in choices(2) {
            places.push([row.clone(), column]);
        }
    }
    let is_parallel = |chosen: &[&[Indices; 2]]| {
        let regions = chosen.iter().map(|place| region(&place[..], &strides)).collect();
        let products: Vec<_> = chosen.iter().map(|place| place.iter().cloned().collect()).collect();
        DisjointRegions::prove(regions, &products, &shape, extent, 1, true).unwrap().is_parallel()
    };
    let mut proved = 0;
    let mut compare = |chosen: &[&[Indices; 2]]| {
        if !is_parallel(chosen) {
            return;
        }
        proved += 1;
        let mut taken = [usize::MAX; 6];
        for (index, place) in chosen.iter().enumerate() {
            for offset in offsets(&place[..], &strides) {
                let owner = &mut taken[at(0, offset)];
                assert!(*owner == usize::MAX || *owner == index, "{chosen:?}");
                *owner = index;
            }
        }
    };
    let step = if cfg!(miri) { 37 } else { 1 };
    for first in places.iter().step_by(step) {
        for second in &places {
            compare(&[first, second]);
        }
    }
    for first in places.iter().step_by(7) {
        for second in places.iter().step_by(5) {
            for third in places.iter().step_by(11) {
                compare(&[first, second, third]);
            }
        }
    }
    assert!(proved > 100, "{proved} proofs");
}
