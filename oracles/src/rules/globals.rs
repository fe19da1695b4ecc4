//! Oracle `globals`: every global, exported or not.
//!
//! Let `R` and `S` be the reference's and the subject's state after a step:
//!
//! > R and S have the same globals, and for each global g: value(R, g) ≡ value(S, g)
//!
//! Only globals that either side recorded as changed have to be looked at. One side may rightly
//! record a change that the other does not: from one NaN to another.

use crate::after::After;
use crate::finding::{Difference, Place, Seen};
use crate::observation::Changes;
use crate::rules::mentioned;
use crate::value::{Nans, Value};

/// The first global, by entity, that differs.
pub fn check(
    reference: &Changes,
    subject: &Changes,
    after: &mut After<'_>,
    nans: Nans,
) -> Option<Difference> {
    let (reference, subject) = (&reference.globals[..], &subject.globals[..]);
    let same = reference.len() == subject.len()
        && reference
            .iter()
            .zip(subject)
            .all(|(a, b)| a.global == b.global && a.value.agrees(&b.value, nans));
    if same {
        return None;
    }
    let (reference_state, subject_state) = after.states();
    mentioned(reference, subject, |change| change.global)
        .into_iter()
        .find_map(|global| {
            let (reference, subject) =
                (reference_state.global(global), subject_state.global(global));
            if let (Some(reference), Some(subject)) = (reference, subject)
                && reference.agrees(&subject, nans)
            {
                return None;
            }
            let seen = |value: Option<Value>| value.map_or(Seen::Absent, Seen::Value);
            Some(Difference::new(
                Place::Global(global),
                seen(reference),
                seen(subject),
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entity, globals, object, steps};

    fn differ<const STEPS: usize>(
        reference: [&Changes; STEPS],
        subject: [&Changes; STEPS],
    ) -> Option<Difference> {
        let sides = (
            steps(reference.map(Clone::clone)),
            steps(subject.map(Clone::clone)),
        );
        let mut after = After::new(&sides.0, &sides.1);
        after.step(STEPS - 1);
        check(
            reference[STEPS - 1],
            subject[STEPS - 1],
            &mut after,
            Nans::Any,
        )
    }

    fn differing(index: u32, reference: Seen, subject: Seen) -> Option<Difference> {
        Some(Difference::new(
            Place::Global(entity(index)),
            reference,
            subject,
        ))
    }

    const NAN: Value = Value::F64(0x7ff8_0000_0000_0000);
    const OTHER_NAN: Value = Value::F64(0xfff8_0000_0000_0001);

    #[test]
    fn equal_globals_and_any_nan_agree() {
        let change = globals(&[(0, Value::I32(1)), (4, object(2)), (5, NAN)]);
        let other = globals(&[(0, Value::I32(1)), (4, object(2)), (5, OTHER_NAN)]);
        assert_eq!(differ([&change], [&other]), None);
    }

    #[test]
    fn the_first_global_that_differs_is_named() {
        let reference = globals(&[(0, Value::I32(1)), (1, object(2)), (2, object(2))]);
        let subject = globals(&[(0, Value::I32(1)), (1, object(3)), (2, object(3))]);
        assert_eq!(
            differ([&reference], [&subject]),
            differing(1, Seen::Value(object(2)), Seen::Value(object(3)))
        );
    }

    #[test]
    fn a_global_that_one_side_lists_is_held_against_what_was_there() {
        let before = globals(&[(0, Value::I32(1)), (1, Value::I32(2))]);
        let unchanged = Changes::default();
        let changed = globals(&[(1, Value::I32(3))]);
        let (two, three) = (Seen::Value(Value::I32(2)), Seen::Value(Value::I32(3)));
        assert_eq!(
            differ([&before, &changed], [&before, &unchanged]),
            differing(1, three.clone(), two.clone())
        );
        assert_eq!(
            differ([&before, &unchanged], [&before, &changed]),
            differing(1, two, three)
        );
    }

    #[test]
    fn a_change_from_nan_to_nan_may_be_listed_by_one_side() {
        let (before, changed) = (globals(&[(0, NAN)]), globals(&[(0, OTHER_NAN)]));
        let unchanged = Changes::default();
        assert_eq!(differ([&before, &unchanged], [&before, &changed]), None);
        // What the subject holds is its own NaN, and not what the reference held.
        let zero = globals(&[(0, Value::F64(0))]);
        assert_eq!(
            differ(
                [&before, &unchanged, &zero],
                [&before, &changed, &unchanged]
            ),
            differing(0, Seen::Value(Value::F64(0)), Seen::Value(OTHER_NAN))
        );
    }

    #[test]
    fn a_global_that_one_side_lacks_is_absent() {
        let (one, two) = (
            globals(&[(0, Value::I32(1))]),
            globals(&[(0, Value::I32(1)), (1, Value::I32(2))]),
        );
        let seen = Seen::Value(Value::I32(2));
        assert_eq!(
            differ([&two], [&one]),
            differing(1, seen.clone(), Seen::Absent)
        );
        assert_eq!(differ([&one], [&two]), differing(1, Seen::Absent, seen));
    }

    #[test]
    fn a_dangling_reference_differs_even_from_itself() {
        let change = globals(&[(0, Value::Dangling)]);
        assert_eq!(
            differ([&change], [&change]),
            differing(
                0,
                Seen::Value(Value::Dangling),
                Seen::Value(Value::Dangling)
            )
        );
    }
}
