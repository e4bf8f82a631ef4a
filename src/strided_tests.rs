//! All small copies: every shape of up to three axes of up to three elements, every order of the axes on
//! the target's side, signs and gaps of strides on both, repeated sources, tables, and every width of
//! element, against a loop over elements. Buffers are exactly as long as their extents, so that memory
//! checkers notice one byte too far.

use std::sync::Arc;

use super::*;
use crate::plan::selection::{PerAxis, contiguous_strides};

const ITEM_SIZES: [usize; 6] = [1, 2, 3, 4, 8, 16];
const ORDERS: [&[&[usize]]; 4] = [
    &[&[]],
    &[&[0]],
    &[&[0, 1], &[1, 0]],
    &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]],
];

fn shapes(ndim: usize) -> Vec<Vec<usize>> {
    (0..4_usize.pow(u32::try_from(ndim).unwrap()))
        .map(|number| (0..ndim).map(|axis| number / 4_usize.pow(u32::try_from(axis).unwrap()) % 4).collect())
        .collect()
}

/// Strides of an array whose axes lie in memory in this order, with gaps, some of them backwards.
fn strides(shape: &[usize], order: &[usize], gap: usize, backwards: usize, item_size: usize) -> Vec<isize> {
    let in_memory: Vec<usize> = order.iter().map(|&axis| shape[axis].max(1)).collect();
    let in_order = contiguous_strides(&in_memory, item_size * gap);
    let mut strides = vec![0; shape.len()];
    for (position, &axis) in order.iter().enumerate() {
        let sign = if backwards >> axis & 1 == 1 { -1 } else { 1 };
        strides[axis] = in_order[position] * sign;
    }
    strides
}

/// What an axis becomes: strided, or the same offsets as a table.
fn axis(len: usize, stride: isize, is_table: bool) -> RegionAxis {
    if is_table {
        RegionAxis::Table((0..len).map(|at| stride * at.cast_signed()).collect::<Arc<[isize]>>())
    } else {
        RegionAxis::Strided { len, stride }
    }
}

fn region(shape: &[usize], strides: &[isize], tables: usize) -> Region {
    let axes: PerAxis<RegionAxis> = shape
        .iter()
        .zip(strides)
        .enumerate()
        .map(|(at, (&len, &stride))| axis(len, stride, tables >> at & 1 == 1))
        .collect();
    Region::new(0, axes)
}

fn offsets(shape: &[usize], strides: &[isize]) -> Vec<isize> {
    let mut all = vec![0];
    for (&len, &stride) in shape.iter().zip(strides) {
        all = all.iter().flat_map(|&base| (0..len).map(move |at| base + stride * at.cast_signed())).collect();
    }
    all
}

struct Buffer {
    bytes: Box<[u8]>,
    origin: usize,
    extent: Extent,
}

impl Buffer {
    fn new(shape: &[usize], strides: &[isize], item_size: usize, byte: impl Fn(usize) -> u8) -> Self {
        let extent = Extent::of(shape, strides, item_size).unwrap();
        let len = (extent.end - extent.lowest).cast_unsigned();
        Self { bytes: (0..len).map(byte).collect(), origin: extent.lowest.unsigned_abs(), extent }
    }

    fn element(&mut self, offset: isize, item_size: usize) -> &mut [u8] {
        let at = self.origin.checked_add_signed(offset).unwrap();
        &mut self.bytes[at..at + item_size]
    }

    fn first(&mut self) -> *mut u8 {
        // SAFETY: within the buffer, or its end if that is empty.
        unsafe { self.bytes.as_mut_ptr().add(self.origin) }
    }
}

/// Copies with the kernel and with a loop, and compares all of the target's memory.
fn check(shape: &[usize], target: (&[isize], usize), source: (&[isize], usize), item_size: usize) {
    let mut from = Buffer::new(shape, source.0, item_size, |at| u8::try_from(at % 251).unwrap());
    let mut to = Buffer::new(shape, target.0, item_size, |_| 0xEE);
    let mut expected = Buffer::new(shape, target.0, item_size, |_| 0xEE);
    for (to, from_offset) in offsets(shape, target.0).into_iter().zip(offsets(shape, source.0)) {
        expected.element(to, item_size).copy_from_slice(from.element(from_offset, item_size));
    }
    let target_region = region(shape, target.0, target.1);
    let source_region = region(shape, source.0, source.1);
    let (to_extent, from_extent) = (to.extent, from.extent);
    // SAFETY: both pointers are those of the elements at offset 0 of buffers as long as their extents.
    let result = unsafe {
        copy(
            to.first(),
            Side { region: &target_region, extent: to_extent },
            from.first(),
            Side { region: &source_region, extent: from_extent },
            item_size,
        )
    };
    assert_eq!(result, Ok(()));
    assert_eq!(to.bytes, expected.bytes, "{shape:?} {target:?} {source:?} {item_size}");
}

#[test]
fn every_order_of_axes_scatters_and_gathers() {
    for (ndim, orders) in ORDERS.iter().enumerate() {
        for shape in shapes(ndim) {
            for (turn, order) in orders.iter().enumerate() {
                let in_order = contiguous_strides(&shape, 1);
                for backwards in 0..1 << ndim {
                    for gap in [1, 2] {
                        let item_size =
                            ITEM_SIZES[(turn + backwards + gap + shape.iter().sum::<usize>()) % 6];
                        let plain: Vec<isize> =
                            in_order.iter().map(|stride| stride * item_size.cast_signed()).collect();
                        let other = strides(&shape, order, gap, backwards, item_size);
                        check(&shape, (&other, 0), (&plain, 0), item_size);
                        check(&shape, (&plain, 0), (&other, 0), item_size);
                        check(&shape, (&other, 0), (&other, 0), item_size);
                        // Both ways with one side, or some of its axes, as tables.
                        let tables = 1 + (backwards + turn) % ((1 << ndim) - 1).max(1);
                        check(&shape, (&other, tables), (&plain, 0), item_size);
                        check(&shape, (&plain, 0), (&other, tables), item_size);
                    }
                }
            }
        }
    }
}

#[test]
fn every_width_of_element_moves_whole() {
    for shape in [vec![], vec![3], vec![3, 2], vec![2, 3, 3]] {
        for order in ORDERS[shape.len()] {
            for item_size in [1, 2, 3, 4, 5, 8, 12, 16, 24, 40] {
                let plain = contiguous_strides(&shape, item_size).to_vec();
                check(&shape, (&strides(&shape, order, 1, 0, item_size), 0), (&plain, 0), item_size);
                check(&shape, (&plain, 0), (&strides(&shape, order, 1, 1, item_size), 0), item_size);
            }
        }
    }
}

#[test]
fn sources_may_repeat_along_any_axes() {
    for ndim in 1..=3 {
        for shape in shapes(ndim) {
            for repeated in 1..1 << ndim {
                for item_size in ITEM_SIZES {
                    let plain = contiguous_strides(&shape, item_size).to_vec();
                    let source: Vec<isize> = plain
                        .iter()
                        .enumerate()
                        .map(|(axis, &stride)| if repeated >> axis & 1 == 1 { 0 } else { stride })
                        .collect();
                    check(&shape, (&plain, 0), (&source, 0), item_size);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_before_a_byte_moves() {
    let (shape, item_size) = ([2, 3], 2);
    let plain = contiguous_strides(&shape, item_size).to_vec();
    let whole = region(&shape, &plain, 0);
    let mut shifted = whole.clone();
    shifted.base = 1;
    let mut before = whole.clone();
    before.base = -1;
    let longer = region(&[2, 4], &plain, 0);
    let far = region(&shape, &[isize::MAX / 2, 2], 0);
    let misfits = [
        (&shifted, &whole, CopyError::Bounds),
        (&whole, &shifted, CopyError::Bounds),
        (&before, &whole, CopyError::Bounds),
        (&whole, &before, CopyError::Bounds),
        (&far, &whole, CopyError::Bounds),
        (&longer, &longer, CopyError::Bounds),
        (&longer, &whole, CopyError::Shape),
        (&whole, &longer, CopyError::Shape),
    ];
    for (target, source, expected) in misfits {
        let mut from = Buffer::new(&shape, &plain, item_size, |_| 1);
        let mut to = Buffer::new(&shape, &plain, item_size, |_| 0xEE);
        let (to_extent, from_extent) = (to.extent, from.extent);
        // SAFETY: as in `check`.
        let result = unsafe {
            copy(
                to.first(),
                Side { region: target, extent: to_extent },
                from.first(),
                Side { region: source, extent: from_extent },
                item_size,
            )
        };
        assert_eq!(result, Err(expected));
        assert!(to.bytes.iter().all(|&byte| byte == 0xEE));
    }
}
