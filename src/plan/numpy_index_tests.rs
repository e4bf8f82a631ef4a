use super::*;

fn slice(start: Option<isize>, stop: Option<isize>, step: Option<isize>) -> Item {
    Item::Slice { start, stop, step }
}

fn integers(shape: &[usize], values: &[isize]) -> Item {
    Item::Integers { shape: SmallVec::from_slice(shape), values: values.to_vec() }
}

/// Linear positions that an index expression picks from an array of this shape, in result order.
fn picked(items: &[Item], shape: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let resolved = resolve(items, shape).unwrap();
    let strides = super::super::selection::contiguous_strides(shape, 1);
    let flat = resolved.region(&strides).flattened();
    let positions = (0..flat.element_count()).map(|at| (flat.base + flat.axes[0].at(at)).cast_unsigned());
    (resolved.result_shape.to_vec(), positions.collect())
}

#[test]
fn slices_follow_python() {
    for len in 0..6_usize {
        for start in [None, Some(-7), Some(-2), Some(0), Some(1), Some(3), Some(9)] {
            for stop in [None, Some(-7), Some(-2), Some(0), Some(2), Some(5), Some(9)] {
                for step in [None, Some(1), Some(2), Some(-1), Some(-2), Some(7), Some(-7)] {
                    let by_hand: Vec<usize> = {
                        let step = step.unwrap_or(1);
                        let signed = len.cast_signed();
                        let clip = |bound: isize| {
                            let bound = if bound < 0 { bound + signed } else { bound };
                            if step > 0 { bound.clamp(0, signed) } else { bound.clamp(-1, signed - 1) }
                        };
                        let mut at = start.map_or(if step > 0 { 0 } else { signed - 1 }, clip);
                        let stop = stop.map_or(if step > 0 { signed } else { -1 }, clip);
                        let mut indices = Vec::new();
                        while (step > 0 && at < stop) || (step < 0 && at > stop) {
                            indices.push(at.cast_unsigned());
                            at += step;
                        }
                        indices
                    };
                    let (shape, positions) = picked(&[slice(start, stop, step)], &[len]);
                    assert_eq!(positions, by_hand, "{start:?}:{stop:?}:{step:?} of {len}");
                    assert_eq!(shape, [by_hand.len()]);
                }
            }
        }
    }
}

#[test]
fn integers_drop_their_axis() {
    assert_eq!(picked(&[Item::Integer(-1), slice(None, None, None)], &[2, 3]), (vec![3], vec![3, 4, 5]));
    assert_eq!(picked(&[], &[]), (vec![], vec![0]));
}

#[test]
fn an_open_mesh_is_a_product() {
    let items = [integers(&[2, 1], &[1, 0]), integers(&[1, 3], &[0, 2, 2])];
    let resolved = resolve(&items, &[2, 3]).unwrap();
    assert!(matches!(resolved.selection, Selection::Product(_)));
    assert_eq!(picked(&items, &[2, 3]), (vec![2, 3], vec![3, 5, 5, 0, 2, 2]));
}

#[test]
fn arrays_zip_and_slices_keep_their_place() {
    let zipped = [integers(&[2], &[1, 0]), integers(&[2], &[0, 2])];
    assert_eq!(picked(&zipped, &[2, 3]), (vec![2], vec![3, 2]));
    // a[:, [1, 0], [2, 0]] of shape (2, 2, 3): broadcast axis second.
    let adjacent = [slice(None, None, None), integers(&[2], &[1, 0]), integers(&[2], &[2, 0])];
    assert_eq!(picked(&adjacent, &[2, 2, 3]), (vec![2, 2], vec![5, 0, 11, 6]));
    // a[[1, 0], :, [2, 0]]: broadcast axis first.
    let parted = [integers(&[2], &[1, 0]), slice(None, None, None), integers(&[2], &[2, 0])];
    assert_eq!(picked(&parted, &[2, 2, 3]), (vec![2, 2], vec![8, 11, 0, 3]));
}

#[test]
fn masks_become_coordinates() {
    let mask = Item::Mask { shape: SmallVec::from_slice(&[2, 2]), positions: vec![vec![0, 1], vec![1, 0]] };
    assert_eq!(picked(std::slice::from_ref(&mask), &[2, 2]), (vec![2], vec![1, 2]));
    assert!(matches!(resolve(&[mask], &[2, 3]), Err(PlanError::MaskShape { .. })));
}

#[test]
fn wrong_indices_are_refused() {
    assert!(matches!(resolve(&[Item::Integer(2)], &[2]), Err(PlanError::OutOfBounds { .. })));
    assert!(matches!(
        resolve(&[Item::Integer(0), Item::Integer(0)], &[2]),
        Err(PlanError::TooManyIndices { .. })
    ));
    assert!(matches!(resolve(&[integers(&[1], &[-3])], &[2]), Err(PlanError::OutOfBounds { .. })));
    let misfit = [integers(&[2], &[0, 1]), integers(&[3], &[0, 1, 0])];
    assert!(matches!(resolve(&misfit, &[2, 2]), Err(PlanError::IndexShapes(_))));
}
