//! Reads and writes through a store in memory, for every kind of chain, against a plain vector.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::survey::{Fetch, Survey};
use super::testing::{
    FILL, FakeStore, Made, read_numbers, read_strings, run, shard_of, string_chain, through, with_read,
    write_numbers, write_strings,
};
use super::{read, testing};
use crate::codec::chain::Chain;
use crate::codec::sharding::IndexLocation;
use crate::codec::{Direction, Scratch};
use crate::error::Error;
use crate::plan::selection::contiguous_strides;
use crate::plan::{Indices, Selection};
use crate::schedule::Work;
use crate::store::InMemory;

const SHAPE: [usize; 2] = [8, 12];
const COUNT: usize = 96;

fn chains() -> Vec<(&'static str, Arc<Chain>)> {
    let both = ["zstd", "crc32c"];
    let table: [(&str, Made<'_>); 10] = [
        ("plain", through(&[])),
        ("checksum", through(&["crc32c"])),
        ("encoded", through(&both)),
        ("transposed", Made { axes: &[1, 0], ..through(&[]) }),
        ("transposed and encoded", Made { axes: &[1, 0], ..through(&both) }),
        ("shard", shard_of(&[4, 3], through(&both))),
        ("shard, index first", Made { location: IndexLocation::Start, ..shard_of(&[4, 3], through(&[])) }),
        ("transposed shard", Made { axes: &[1, 0], ..shard_of(&[3, 4], through(&both)) }),
        ("shards in a shard", shard_of(&[4, 6], shard_of(&[2, 3], through(&["crc32c"])))),
        (
            "shard among codecs",
            Made { codecs: &["crc32c"], axes: &[1, 0], ..shard_of(&[6, 2], through(&[])) },
        ),
    ];
    table.iter().map(|(name, made)| (*name, testing::chain(&SHAPE, made))).collect()
}

fn range(start: usize, step: isize, len: usize) -> Indices {
    Indices::Range { start, step, len }
}

fn product(rows: Indices, columns: Indices) -> Selection {
    Selection::Product([rows, columns].into_iter().collect())
}

fn selections() -> Vec<Selection> {
    vec![
        Selection::full(&SHAPE),
        product(range(3, 1, 1), range(5, 1, 1)),
        product(range(1, 1, 5), range(2, 1, 9)),
        product(range(0, 3, 3), range(1, 4, 3)),
        product(range(7, -1, 8), range(11, -1, 12)),
        product(range(6, -2, 3), range(0, 1, 12)),
        product(range(2, 1, 0), range(0, 1, 12)),
        product(Indices::List([5, 0, 3].into()), range(4, 1, 4)),
        product(Indices::List([1, 6].into()), Indices::List([11, 2, 3].into())),
        Selection::Points(vec![[0, 7, 4, 3].into(), [0, 11, 5, 6].into()]),
        product(range(0, 1, 4), range(0, 1, 3)),
    ]
}

/// Numbers of a selection's elements in a chunk in C order.
fn elements(selection: &Selection) -> Vec<usize> {
    let flat = selection.project(&contiguous_strides(&SHAPE, 1)).flattened();
    (0..flat.element_count()).map(|at| (flat.base + flat.axes[0].at(at)).cast_unsigned()).collect()
}

fn numbered(count: usize, first: u16) -> Vec<u16> {
    (0..count).map(|at| first + u16::try_from(at).unwrap()).collect()
}

#[test]
fn every_selection_reads_and_writes_what_it_says() {
    for (name, chain) in chains() {
        for (turn, selection) in selections().iter().enumerate() {
            // Requests of every price: row by row, in one, whole spans of a shard.
            let request_cost_bytes = [None, Some(9), Some(10_000)][turn % 3];
            let mut store = FakeStore::new(1);
            store.request_cost_bytes = request_cost_bytes;
            let one = std::slice::from_ref(selection);
            let picked = elements(selection);
            let mut model = vec![FILL; COUNT];
            // To a missing chunk, then over a full one, on one thread and on several.
            for (is_parallel, first) in [(false, 100), (true, 1000), (false, 5000)] {
                if first == 1000 {
                    model = numbered(COUNT, 300);
                    write_numbers(&store, &chain, &[Selection::full(&SHAPE)], &model, is_parallel).unwrap();
                }
                let values = numbered(picked.len(), first);
                write_numbers(&store, &chain, one, &values, is_parallel).unwrap();
                for (&element, &value) in picked.iter().zip(&values) {
                    model[element] = value;
                }
                let whole = read_numbers(&store, &chain, &[Selection::full(&SHAPE)], is_parallel).unwrap();
                assert_eq!(whole, model, "{name}, selection {turn}");
                for reading in selections() {
                    let expected: Vec<u16> = elements(&reading).iter().map(|&at| model[at]).collect();
                    let found = read_numbers(&store, &chain, &[reading], !is_parallel).unwrap();
                    assert_eq!(found, expected, "{name}, selection {turn}");
                }
            }
        }
    }
}

#[test]
fn many_chunks_each_go_their_own_way() {
    for (name, chain) in chains() {
        let store = FakeStore::new(9);
        let all: Vec<Selection> = selections().into_iter().take(9).collect();
        let count = all.iter().map(Selection::element_count).sum();
        let values = numbered(count, 20_000);
        write_numbers(&store, &chain, &all, &values, true).unwrap();
        assert_eq!(read_numbers(&store, &chain, &all, true).unwrap(), values, "{name}");
        store.set(0, None);
        let is_present = |request: &read::ReadRequest| {
            run(true, |work, scratch| read::read(request, &store, work, scratch))?;
            // Nothing was written to the one of which nothing was selected.
            let expected = [false, true, true, true, true, true, false, true, true];
            for (index, expected) in expected.into_iter().enumerate() {
                assert_eq!(request.is_present(index), expected, "{name}, chunk {index}");
            }
            Ok(())
        };
        let found = with_read(&chain, &all, is_present).unwrap();
        assert_eq!(found[..COUNT], [FILL; COUNT], "{name}");
        assert_eq!(found[COUNT..], values[COUNT..], "{name}");
    }
}

#[test]
fn the_survey_says_what_a_read_asks_for() {
    for (name, chain) in chains() {
        let selections = selections().into_iter().filter(|selection| selection.element_count() > 0);
        for (selection, request_cost_bytes) in
            selections.flat_map(|each| [(each.clone(), None), (each, Some(9))])
        {
            // Small inner chunks come in one request, for which the survey counts each.
            if request_cost_bytes.is_some() && name.contains("shard") {
                continue;
            }
            let mut store = FakeStore::new(1);
            store.request_cost_bytes = request_cost_bytes;
            let full = [Selection::full(&SHAPE)];
            write_numbers(&store, &chain, &full, &numbered(COUNT, 100), false).unwrap();
            store.reads.lock().unwrap().clear();
            let mut survey = Survey::default();
            with_read(&chain, std::slice::from_ref(&selection), |request| {
                survey = Survey::of(request, Fetch::Parts { request_cost_bytes });
                run(false, |work, scratch| read::read(request, &store, work, scratch))
            })
            .unwrap();
            let reads = store.reads.lock().unwrap();
            assert_eq!(survey.ranges, reads.len(), "{name} {selection:?}");
            assert_eq!(survey.elements, selection.element_count());
            let read_bytes: u64 = reads.iter().map(|range| range.end - range.start).sum();
            if !survey.has_unknown {
                assert_eq!(survey.encoded_bytes as u64, read_bytes, "{name} {selection:?}");
            }
            assert_eq!(
                survey.has_unknown,
                matches!(
                    name,
                    "encoded"
                        | "transposed and encoded"
                        | "shard"
                        | "transposed shard"
                        | "shard among codecs"
                )
            );
        }
    }
}

// --- what a shard keeps ------------------------------------------------------------------------------

/// Where each inner chunk lies in the stored shard.
fn inner_ranges(chain: &Chain, stored: &[u8]) -> Vec<Option<Range<u64>>> {
    let sharding = chain.shard().unwrap();
    let range = sharding.index_range(stored.len() as u64).unwrap();
    let encoded = &stored[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
    let index = sharding.decode_index(encoded, &mut Scratch::default()).unwrap();
    (0..sharding.inner_count())
        .map(|position| index.range(position, stored.len() as u64, usize::MAX).unwrap())
        .collect()
}

fn inner_bytes(chain: &Chain, stored: &[u8]) -> Vec<Option<Vec<u8>>> {
    let bytes = |range: Range<u64>| {
        stored[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec()
    };
    inner_ranges(chain, stored).into_iter().map(|range| range.map(bytes)).collect()
}

#[test]
fn inner_chunks_that_are_not_touched_keep_their_encoded_bytes() {
    let chain = testing::chain(&SHAPE, &shard_of(&[4, 3], through(&["crc32c", "zstd"])));
    let store = FakeStore::new(1);
    let full = [Selection::full(&SHAPE)];
    write_numbers(&store, &chain, &full, &numbered(COUNT, 100), true).unwrap();
    // One inner chunk gets bytes that our encoder would not write: a second zstd frame, which is empty.
    let mut stored = store.value(0).unwrap();
    let empty_frame = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x00, 0x01, 0x00, 0x00];
    let before = inner_bytes(&chain, &stored);
    let mut marked: Vec<Option<Vec<u8>>> = before.clone();
    marked[5].as_mut().unwrap().extend_from_slice(&empty_frame);
    let sharding = chain.shard().unwrap();
    let slices: Vec<Option<&[u8]>> = marked.iter().map(Option::as_deref).collect();
    sharding.assemble(&slices, &mut stored, &mut Scratch::default()).unwrap();
    store.set(0, Some(stored));

    // Rows 0 to 3 of columns 0 to 4: inner chunks 0 and 1 of 2 by 4.
    let touched = product(range(0, 1, 4), range(0, 1, 5));
    write_numbers(&store, &chain, &[touched], &[9; 20], true).unwrap();
    let after = inner_bytes(&chain, &store.value(0).unwrap());
    for position in 0..8 {
        let is_touched = position < 2;
        assert_eq!(after[position] != marked[position], is_touched, "inner chunk {position}");
    }
}

#[test]
fn inner_chunks_of_fill_values_are_left_out_and_come_back() {
    let chain = testing::chain(&SHAPE, &shard_of(&[4, 3], through(&[])));
    let store = FakeStore::new(1);
    let corner = [product(range(0, 1, 4), range(3, 1, 3))];
    write_numbers(&store, &chain, &[Selection::full(&SHAPE)], &numbered(COUNT, 100), true).unwrap();
    write_numbers(&store, &chain, &corner, &[FILL; 12], true).unwrap();
    let missing: Vec<bool> =
        inner_ranges(&chain, &store.value(0).unwrap()).iter().map(Option::is_none).collect();
    assert_eq!(missing, [false, true, false, false, false, false, false, false]);
    assert_eq!(read_numbers(&store, &chain, &corner, true).unwrap(), [FILL; 12]);
    let element = [product(range(2, 1, 1), range(4, 1, 1))];
    write_numbers(&store, &chain, &element, &[5], true).unwrap();
    let mut expected = [FILL; 12];
    expected[2 * 3 + 1] = 5;
    assert_eq!(read_numbers(&store, &chain, &corner, true).unwrap(), expected);
}

// --- empty chunks --------------------------------------------------------------------------------------

#[test]
fn chunks_of_fill_values_are_deleted() {
    for (name, chain) in chains() {
        let store = FakeStore::new(1);
        let full = [Selection::full(&SHAPE)];
        let element = [product(range(3, 1, 1), range(5, 1, 1))];
        write_numbers(&store, &chain, &full, &[FILL; COUNT], true).unwrap();
        assert_eq!(store.value(0), None, "{name}: never there");
        write_numbers(&store, &chain, &element, &[1], true).unwrap();
        assert!(store.value(0).is_some(), "{name}");
        write_numbers(&store, &chain, &element, &[FILL], true).unwrap();
        assert_eq!(store.value(0), None, "{name}: its last element went");
        assert_eq!(*store.puts.lock().unwrap(), [0, 0, 0], "{name}");
    }
}

#[test]
fn chunks_of_fill_values_are_written_where_that_is_asked_for() {
    let eager = |made: Made<'static>| Made { writes_empty_chunks: true, ..made };
    for made in [through(&[]), through(&["crc32c"]), shard_of(&[4, 3], eager(through(&[])))] {
        let chain = testing::chain(&SHAPE, &eager(made));
        let store = FakeStore::new(1);
        write_numbers(&store, &chain, &[Selection::full(&SHAPE)], &[FILL; COUNT], true).unwrap();
        let stored = store.value(0).unwrap();
        assert!(stored.len() >= COUNT * 2);
        if chain.shard().is_some() {
            assert!(inner_ranges(&chain, &stored).iter().all(Option::is_some));
        }
    }
}

// --- variable length -----------------------------------------------------------------------------------

#[test]
fn strings_come_back_alone_and_in_shards() {
    for chain in [string_chain(6, None), string_chain(6, Some(2))] {
        let store = FakeStore::new(1);
        let some = |start, step, len| Selection::Product([range(start, step, len)].into_iter().collect());
        let all = some(0, 1, 6);
        assert_eq!(read_strings(&store, &chain, &all).unwrap(), ["fill"; 6]);
        write_strings(&store, &chain, &some(1, 2, 2), &["eins", "drei"]).unwrap();
        assert_eq!(
            read_strings(&store, &chain, &all).unwrap(),
            ["fill", "eins", "fill", "drei", "fill", "fill"]
        );
        write_strings(&store, &chain, &some(5, -2, 3), &["", "grün", "1"]).unwrap();
        assert_eq!(
            read_strings(&store, &chain, &some(5, -1, 6)).unwrap(),
            ["", "fill", "grün", "fill", "1", "fill"]
        );
        write_strings(&store, &chain, &all, &["fill"; 6]).unwrap();
        assert_eq!(store.value(0), None);
    }
}

// --- what goes wrong -----------------------------------------------------------------------------------

#[test]
fn damage_names_the_chunk_and_the_codec() {
    for (name, chain) in chains() {
        let store = FakeStore::new(3);
        let all = vec![Selection::full(&SHAPE); 3];
        let values = numbered(3 * COUNT, 100);
        write_numbers(&store, &chain, &all, &values, true).unwrap();
        let sound = store.value(1).unwrap();
        for len in [0, 1, sound.len() / 2, sound.len() - 1] {
            store.set(1, Some(sound[..len].to_vec()));
            for is_parallel in [false, true] {
                match read_numbers(&store, &chain, &all, is_parallel) {
                    Err(Error::Codec { chunk_key, direction, codec, .. }) => {
                        assert_eq!((chunk_key.as_str(), direction), ("a/c/1", Direction::Decode), "{name}");
                        assert!(!codec.is_empty());
                    }
                    other => panic!("{name}, {len} bytes: {other:?}"),
                }
            }
            let element = [Selection::full(&SHAPE), product(range(3, 1, 1), range(5, 1, 1))];
            let failed = write_numbers(&store, &chain, &element, &numbered(COUNT + 1, 200), false);
            assert!(matches!(failed, Err(Error::Codec { .. })), "{name}, {len} bytes: {failed:?}");
            assert_eq!(store.value(1).unwrap().len(), len, "{name}: a failed write changes nothing");
        }
        store.set(1, Some(sound));
        let first = numbered(COUNT, 200);
        let found = read_numbers(&store, &chain, &all, true).unwrap();
        assert_eq!((&found[..COUNT], &found[COUNT..]), (&first[..], &values[COUNT..]), "{name}");
    }
}

#[test]
fn a_cancelled_read_reads_no_further() {
    let chain = testing::chain(&SHAPE, &through(&["crc32c"]));
    let store = FakeStore::new(2);
    let all = vec![Selection::full(&SHAPE); 2];
    write_numbers(&store, &chain, &all, &numbered(2 * COUNT, 100), false).unwrap();
    let cancelled = with_read(&chain, &all, |request| {
        run(false, |work, scratch| {
            work.cancel.cancel();
            read::read(request, &store, work, scratch)
        })
    });
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    assert!(store.reads.lock().unwrap().is_empty());
}

// --- fed by Python -------------------------------------------------------------------------------------

#[test]
fn shards_are_read_from_parts_that_somebody_else_fetched() {
    for (name, chain) in chains() {
        let store = FakeStore::new(1);
        let full = [Selection::full(&SHAPE)];
        let model = numbered(COUNT, 100);
        write_numbers(&store, &chain, &full, &model, true).unwrap();
        let stored = store.value(0).unwrap();
        for selection in selections().into_iter().filter(|selection| selection.element_count() > 0) {
            let expected: Vec<u16> = elements(&selection).iter().map(|&at| model[at]).collect();
            let feed = |request: &read::ReadRequest,
                        is_together: bool,
                        work: Work<'_>,
                        scratch: &mut Scratch| {
                let Some(sharding) = request.partial_shard(0) else {
                    return request.read_one(0, Some(&InMemory(&stored)), "key", work, scratch);
                };
                let range = sharding.index_range(stored.len() as u64).map_err(|error| error.at("key"))?;
                let slice = |range: Range<u64>| {
                    &stored[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
                };
                let index = sharding.decode_index(slice(range), scratch).map_err(|error| error.at("key"))?;
                let ranges = request.shard_ranges(0, &index, "key")?;
                assert!(ranges.is_sorted_by_key(|range| range.start), "{name}");
                let survey = Survey::of(request, Fetch::Values);
                assert_eq!(survey.ranges, 1 + ranges.len(), "{name}");
                if is_together || ranges.is_empty() {
                    let parts = ranges.into_iter().map(|range| (range.start, slice(range))).collect();
                    let segments = read::Segments::new("key", parts);
                    let left = AtomicUsize::new(1);
                    let part = read::Part::ALL;
                    return request.read_shard_part(0, &index, &segments, &part, &left, "key", work, scratch);
                }
                let left = AtomicUsize::new(ranges.len());
                // In any order.
                for (number, range) in ranges.into_iter().enumerate().rev() {
                    assert_eq!(request.done(), 0, "{name}");
                    let segments = read::Segments::new("key", vec![(range.start, slice(range.clone()))]);
                    let part = read::Part { window: range, has_missing: number == 0 };
                    request.read_shard_part(0, &index, &segments, &part, &left, "key", work, scratch)?;
                }
                Ok(())
            };
            for is_together in [true, false] {
                let found = with_read(&chain, std::slice::from_ref(&selection), |request| {
                    run(false, |work, scratch| feed(request, is_together, work, scratch))?;
                    assert_eq!(request.done(), 1, "{name}");
                    Ok(())
                });
                assert_eq!(found.unwrap(), expected, "{name}");
            }
        }
    }
}

#[test]
fn inner_chunks_of_a_window_are_asked_for_before_they_are_read() {
    for (name, inner) in [("shard", through(&["zstd"])), ("shards", shard_of(&[2, 3], through(&["zstd"])))] {
        let chain = testing::chain(&SHAPE, &shard_of(&[4, 6], inner));
        let store = FakeStore::new(1);
        let all = Selection::full(&SHAPE);
        let values: Vec<u16> = (0..96).map(|number| number * 99).collect();
        write_numbers(&store, &chain, std::slice::from_ref(&all), &values, false).unwrap();
        let read = |selection: Selection| {
            store.reads.lock().unwrap().clear();
            store.asked.lock().unwrap().clear();
            read_numbers(&store, &chain, &[selection], false).unwrap();
            (store.asked.lock().unwrap().clone(), store.reads.lock().unwrap().clone())
        };
        // What is read as a whole is left to the system, which reads on by itself.
        assert_eq!(read(all).0, [], "{name}");
        let (asked, reads) = read(product(range(1, 1, 2), range(5, 1, 2)));
        assert!(asked.len() >= 2, "{name}: {asked:?}");
        let data: Vec<_> = reads.iter().filter(|read| asked.contains(read)).collect();
        assert!(data.len() >= 2, "{name}: of {asked:?} are read {reads:?}");
    }
}
