//! Which outputs are proved disjoint. That no proof lies is tested in `tests/rust/scatter_gather.rs`; here,
//! that what zarr's indexers hand over is accepted, and what must not be is not.

use super::super::selection::contiguous_strides;
use super::*;

fn range(start: usize, step: isize, len: usize) -> Indices {
    Indices::Range { start, step, len }
}

fn list(indices: &[usize]) -> Indices {
    Indices::List(indices.into())
}

fn is_parallel(out_shape: &[usize], places: &[Vec<Indices>], has_distinct_elements: bool) -> bool {
    let strides = contiguous_strides(out_shape, 2);
    let extent = Extent::of(out_shape, &strides, 2).unwrap();
    let places: Vec<PerAxis<Indices>> = places.iter().map(|place| place.iter().cloned().collect()).collect();
    let regions: Vec<Region> = places
        .iter()
        .map(|place| super::super::Selection::Product(place.clone()).project(&strides))
        .collect();
    DisjointRegions::prove(regions, &places, out_shape, extent, 2, has_distinct_elements)
        .unwrap()
        .is_parallel()
}

/// Cuts an axis of `len` every `step`: what chunks of a regular grid take of an output.
fn cuts(len: usize, step: usize) -> Vec<Indices> {
    (0..len).step_by(step).map(|start| range(start, 1, step.min(len - start))).collect()
}

#[test]
fn the_boxes_of_every_small_grid_are_accepted() {
    for shape in [[1, 1, 1], [2, 3, 1], [3, 3, 2], [4, 1, 3]] {
        for step in 1..=3 {
            let mut places = vec![Vec::new()];
            for &len in &shape {
                places = places
                    .iter()
                    .flat_map(|place| {
                        cuts(len, step).into_iter().map(|cut| {
                            let mut longer: Vec<Indices> = place.clone();
                            longer.push(cut);
                            longer
                        })
                    })
                    .collect();
            }
            assert!(is_parallel(&shape, &places, true), "{shape:?} {step}");
            assert!(!is_parallel(&shape, &places, false), "elements that share bytes");
            // In another order the products are still told apart.
            places.reverse();
            assert!(is_parallel(&shape, &places, true), "{shape:?} {step}, backwards");
            if places.len() > 1 {
                places.push(places[0].clone());
                assert!(!is_parallel(&shape, &places, true), "{shape:?} {step}, one twice");
            }
        }
    }
}

#[test]
fn orthogonal_index_arrays_are_accepted() {
    let rows = [list(&[0, 3]), list(&[2]), list(&[1, 4])];
    let columns = [range(0, 1, 2), range(2, 1, 1)];
    let places: Vec<Vec<Indices>> =
        rows.iter().flat_map(|row| columns.iter().map(|column| vec![row.clone(), column.clone()])).collect();
    assert!(is_parallel(&[5, 3], &places, true));
}

#[test]
fn one_place_or_none_needs_no_proof_but_its_own() {
    assert!(is_parallel(&[3], &[], true));
    assert!(is_parallel(&[3], &[vec![range(0, 1, 3)]], true));
    assert!(is_parallel(&[3], &[vec![range(2, -1, 3)]], true));
}

#[test]
fn what_overlaps_is_not() {
    let cases: [Vec<Vec<Indices>>; 5] = [
        vec![vec![range(0, 1, 2)], vec![range(1, 1, 2)]],
        vec![vec![range(0, 2, 2)], vec![range(2, 1, 1)]],
        vec![vec![list(&[0, 1])], vec![list(&[1, 2])]],
        vec![vec![range(0, 1, 3)], vec![range(1, 1, 0)], vec![range(2, 1, 1)]],
        vec![vec![range(1, 0, 2)], vec![range(1, 1, 1)]],
    ];
    for places in cases {
        assert!(!is_parallel(&[3], &places, true), "{places:?}");
    }
}

#[test]
fn places_that_are_not_all_known_prove_nothing() {
    let strides = [2];
    let extent = Extent::of(&[3], &strides, 2).unwrap();
    let regions = vec![Region::new(0, PerAxis::new()), Region::new(2, PerAxis::new())];
    let proof = DisjointRegions::prove(regions, &[], &[3], extent, 2, true).unwrap();
    assert!(!proof.is_parallel());
    assert_eq!((proof.len(), proof.is_empty()), (2, false));
}

#[test]
fn extents_reach_as_far_as_the_elements() {
    let extent = |shape: &[usize], strides: &[isize]| Extent::of(shape, strides, 4).unwrap();
    assert_eq!(extent(&[], &[]), Extent { lowest: 0, end: 4 });
    assert_eq!(extent(&[3, 2], &[8, 4]), Extent { lowest: 0, end: 24 });
    assert_eq!(extent(&[3, 2], &[-8, 4]), Extent { lowest: -16, end: 8 });
    assert_eq!(extent(&[3, 0], &[8, 4]), Extent { lowest: 0, end: 0 });
    assert_eq!(extent(&[3, 2], &[0, 0]), Extent { lowest: 0, end: 4 });
    assert!(Extent::of(&[3], &[isize::MAX], 4).is_err());
    assert!(Extent::of(&[2], &[isize::MAX - 1], 4).is_err());
}

#[test]
fn pieces_that_are_close_count_as_one() {
    let strided = |len, stride| RegionAxis::Strided { len, stride };
    let pieces = |axes: Vec<RegionAxis>| Region::new(0, axes.into_iter().collect()).pieces(4096);
    assert_eq!(pieces(vec![strided(80, 12_800), strided(10, 160), strided(10, 2)]), 80);
    assert_eq!(pieces(vec![strided(80, -12_800), strided(5, 4096)]), 400);
    assert_eq!(pieces(vec![strided(100, 2)]), 1);
    assert_eq!(pieces(vec![strided(0, 2), strided(3, 5000)]), 0);
    assert_eq!(pieces(vec![]), 1);
    let table = |points: &[isize]| vec![RegionAxis::Table(points.iter().copied().collect())];
    assert_eq!(pieces(table(&[0, 4000, 9000, 9001, 0, 50_000])), 3);
    assert_eq!(pieces(table(&[0, -9000, 0, -9000, -20_000])), 3);
    assert_eq!(pieces(table(&[])), 0);
}
