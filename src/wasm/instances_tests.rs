//! Guests are kept, and given up when they have to be.

use super::*;
use crate::wasm::testing::*;

/// Answers how many times it was called.
const COUNT: &str = r#"
    (global $calls (mut i64) (i64.const 0))
    (func (export "decode") (param $in i32) (param $in_len i32) (param $out i32) (param $out_len i32) (result i64)
      (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
      (if (i32.eq (local.get $in_len) (i32.const 1)) (then (unreachable)))
      (if (i32.eq (local.get $in_len) (i32.const 2)) (then (return (i64.const -1))))
      (i64.store8 (local.get $out) (global.get $calls))
      (i64.const 1))
"#;

fn count(instances: &mut Instances, recipe: &Recipe) -> u8 {
    decode_with(instances, recipe, &[], exactly(1)).unwrap()[0]
}

#[test]
fn a_guest_serves_many_calls() {
    let _alone = alone();
    let recipe = recipe(&guest(COUNT), setup(), small_limits());
    let mut instances = Instances::default();
    assert_eq!((1..=5).map(|_| count(&mut instances, &recipe)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    // An equal recipe, as when an array is opened again.
    let again = super::super::testing::recipe(&guest(COUNT), setup(), small_limits());
    assert_eq!(count(&mut instances, &again), 6);
    // Another worker has its own.
    assert_eq!(count(&mut Instances::default(), &recipe), 1);
}

#[test]
fn a_trap_costs_the_guest_and_an_error_does_not() {
    let _alone = alone();
    let recipe = recipe(&guest(COUNT), setup(), small_limits());
    let mut instances = Instances::default();
    assert_eq!(count(&mut instances, &recipe), 1);
    let refused = decode_with(&mut instances, &recipe, &[0; 2], exactly(1));
    assert!(matches!(refused, Err(WasmError::Guest(_))), "{refused:?}");
    assert_eq!(count(&mut instances, &recipe), 3);
    let trapped = decode_with(&mut instances, &recipe, &[0; 1], exactly(1));
    assert!(matches!(trapped, Err(WasmError::Trap(_))), "{trapped:?}");
    assert_eq!(count(&mut instances, &recipe), 1);
}

#[test]
fn what_makes_guests_differ_keeps_them_apart() {
    let _alone = alone();
    let accepts = r#"(func (export "configure") (param i32 i32) (result i32) (i32.const 0))"#;
    let module = guest(&format!("{COUNT} {accepts}"));
    let mut instances = Instances::default();
    let base = setup();
    let mut shaped = setup();
    shaped.decoded.shape = vec![3];
    let trusted = Limits { is_trusted: true, ..small_limits() };
    for (setup, limits) in [
        (base.clone(), small_limits()),
        (with_parameters(&serde_json::json!({"level": 1})), small_limits()),
        (with_parameters(&serde_json::json!({"level": 2})), small_limits()),
        (shaped, small_limits()),
        (base, trusted),
    ] {
        assert_eq!(count(&mut instances, &recipe(&module, setup, limits)), 1);
    }
}

#[test]
fn a_fresh_guest_for_every_call_if_asked_for() {
    let stored = store(&guest(COUNT));
    let recipe = Recipe::new(stored, None, setup(), small_limits(), true).unwrap();
    let mut instances = Instances::default();
    assert_eq!((0..3).map(|_| count(&mut instances, &recipe)).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn few_are_kept() {
    let _alone = alone();
    let accepts = r#"(func (export "configure") (param i32 i32) (result i32) (i32.const 0))"#;
    let module = guest(&format!("{COUNT} {accepts}"));
    let mut instances = Instances::default();
    let recipes: Vec<_> = (0..KEPT_GUESTS + 4)
        .map(|number| {
            let setup = with_parameters(&serde_json::json!({"number": number}));
            recipe(&module, setup, small_limits())
        })
        .collect();
    for recipe in &recipes {
        count(&mut instances, recipe);
    }
    assert_eq!(instances.pool.lock().len(), KEPT_GUESTS);
    assert_eq!(count(&mut instances, &recipes[KEPT_GUESTS]), 2);
    assert_eq!(count(&mut instances, &recipes[0]), 1);
    drop_idle();
    assert_eq!(instances.pool.lock().len(), 0);
}

#[test]
fn a_child_does_not_use_its_parents_guests() {
    let _alone = alone();
    let recipe = recipe(&guest(COUNT), setup(), small_limits());
    let mut instances = Instances::default();
    count(&mut instances, &recipe);
    instances.generation = instances.generation.wrapping_sub(1);
    assert_eq!(count(&mut instances, &recipe), 1);
    assert_eq!(count(&mut instances, &recipe), 2);
}
