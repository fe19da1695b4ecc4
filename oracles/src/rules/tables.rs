//! Oracle `tables`: size and every element of every table.
//!
//! Let `R` and `S` be the reference's and the subject's state after a step:
//!
//! > R and S have the same tables, and for each table t:
//! > size(R, t) = size(S, t) ∧ ∀ i < size: element(R, t, i) ≡ element(S, t, i)
//!
//! A funcref is compared by the function it designates, an externref by its host object. Both
//! states were equal before the step, so only what either side recorded as changed has to be
//! looked at. An element that no step has recorded is null.

use crate::after::After;
use crate::finding::{Difference, Place, Seen};
use crate::observation::{Changes, Entity, TableChange};
use crate::rules::mentioned;
use crate::state::{TableState, null};
use crate::value::{Nans, Value};

/// The first table, by entity, whose size or elements differ, and there the size or else the first
/// element.
pub fn check(reference: &Changes, subject: &Changes, after: &mut After<'_>) -> Option<Difference> {
    let (reference, subject) = (&reference.tables[..], &subject.tables[..]);
    if reference.len() == subject.len() && reference.iter().zip(subject).all(|(a, b)| same(a, b)) {
        return None;
    }
    let (reference_state, subject_state) = after.states();
    mentioned(reference, subject, |change| change.table)
        .into_iter()
        .find_map(|table| {
            let size = |state: Option<&TableState>| {
                state.map_or(Seen::Absent, |state| Seen::Number(state.size()))
            };
            match (reference_state.table(table), subject_state.table(table)) {
                (Some(a), Some(b)) if a.size() == b.size() => {
                    let indices = recorded_elements(reference, subject, table);
                    differing_element(table, &indices, a, b)
                }
                (a, b) => Some(Difference::new(Place::TableSize(table), size(a), size(b))),
            }
        })
}

/// Whether two records say the same of the same table.
fn same(a: &TableChange, b: &TableChange) -> bool {
    a.table == b.table
        && a.size == b.size
        && a.elements.len() == b.elements.len()
        && a.elements
            .iter()
            .zip(&b.elements)
            .all(|((i, a), (j, b))| i == j && a.agrees(b, Nans::Canonical))
}

/// The elements of `table` that either side lists, ascending.
fn recorded_elements(
    reference: &[TableChange],
    subject: &[TableChange],
    table: Entity,
) -> Vec<u32> {
    let mut indices: Vec<u32> = reference
        .iter()
        .chain(subject)
        .filter(|change| change.table == table)
        .flat_map(|change| change.elements.iter().map(|(index, _)| *index))
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

fn differing_element(
    table: Entity,
    indices: &[u32],
    reference: &TableState,
    subject: &TableState,
) -> Option<Difference> {
    indices.iter().find_map(|&index| {
        let recorded = (reference.element(index), subject.element(index));
        // An element that only one side ever recorded is null on the other, of the type that the
        // rest of the table or else the recorded element tells.
        let null_like = |value: Value| reference.null().or(null(value));
        let (a, b) = match recorded {
            (Some(a), Some(b)) => (Some(a), Some(b)),
            (Some(a), None) => (Some(a), null_like(a)),
            (None, Some(b)) => (null_like(b), Some(b)),
            (None, None) => return None,
        };
        if let (Some(a), Some(b)) = (a, b)
            && a.agrees(&b, Nans::Canonical)
        {
            return None;
        }
        let seen = |value: Option<Value>| {
            value.map_or_else(|| Seen::Rule("a null reference".to_string()), Seen::Value)
        };
        Some(Difference::new(
            Place::TableElement {
                table,
                index: u64::from(index),
            },
            seen(a),
            seen(b),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NULL, entity, object, rule, steps, table};
    use crate::value::FuncIdentity;

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
        check(reference[STEPS - 1], subject[STEPS - 1], &mut after)
    }

    fn element(index: u64, reference: Value, subject: Value) -> Option<Difference> {
        Some(Difference::new(
            Place::TableElement {
                table: entity(0),
                index,
            },
            Seen::Value(reference),
            Seen::Value(subject),
        ))
    }

    fn size(index: u32, reference: Seen, subject: Seen) -> Option<Difference> {
        let place = Place::TableSize(entity(index));
        Some(Difference::new(place, reference, subject))
    }

    const HOST: Value = Value::Func(Some(FuncIdentity::Host(1)));
    const NULL_FUNC: Value = Value::Func(None);

    #[test]
    fn equal_records_agree() {
        let change = table(0, 100, &[(1, HOST), (65, HOST), (99, NULL_FUNC)]);
        assert_eq!(differ([&change], [&change]), None);
    }

    #[test]
    fn the_first_element_that_differs_is_named() {
        assert_eq!(
            differ(
                [&table(
                    0,
                    100,
                    &[(1, object(1)), (70, object(2)), (71, object(2))]
                )],
                [&table(
                    0,
                    100,
                    &[(1, object(1)), (70, object(3)), (71, object(3))]
                )]
            ),
            element(70, object(2), object(3))
        );
    }

    #[test]
    fn an_element_that_one_side_lists_is_held_against_what_was_there() {
        let before = table(0, 10, &[(5, object(1))]);
        let unchanged = Changes::default();
        for now in [object(2), NULL, Value::Dangling] {
            let changed = table(0, 10, &[(5, now)]);
            assert_eq!(
                differ([&before, &changed], [&before, &unchanged]),
                element(5, now, object(1))
            );
            assert_eq!(
                differ([&before, &unchanged], [&before, &changed]),
                element(5, object(1), now)
            );
        }
        assert_eq!(differ([&before, &before], [&before, &unchanged]), None);
    }

    #[test]
    fn an_element_that_was_never_listed_is_null() {
        let (empty, holds) = (table(0, 2, &[]), table(0, 2, &[(1, HOST)]));
        assert_eq!(differ([&holds], [&empty]), element(1, HOST, NULL_FUNC));
        assert_eq!(differ([&empty], [&holds]), element(1, NULL_FUNC, HOST));
        let null = table(0, 2, &[(1, NULL)]);
        assert_eq!(differ([&null], [&empty]), None);
    }

    #[test]
    fn the_null_of_a_table_is_told_by_its_other_elements() {
        let dangling = table(0, 2, &[(1, Value::Dangling)]);
        let typed = table(0, 2, &[(0, HOST)]);
        let unchanged = Changes::default();
        assert_eq!(
            differ([&typed, &unchanged], [&typed, &dangling]),
            element(1, NULL_FUNC, Value::Dangling)
        );
        let mistyped = table(0, 2, &[(1, object(1))]);
        assert_eq!(
            differ([&typed, &unchanged], [&typed, &mistyped]),
            element(1, NULL_FUNC, object(1))
        );
        let untyped = table(0, 2, &[]);
        assert_eq!(
            differ([&untyped, &unchanged], [&untyped, &dangling]),
            Some(Difference::new(
                Place::TableElement {
                    table: entity(0),
                    index: 1
                },
                rule("a null reference"),
                Seen::Value(Value::Dangling),
            ))
        );
    }

    #[test]
    fn another_size_differs() {
        assert_eq!(
            differ(
                [&table(0, 3, &[(0, object(1))])],
                [&table(0, 4, &[(0, object(2))])]
            ),
            size(0, Seen::Number(3), Seen::Number(4))
        );
        let before = table(0, 3, &[]);
        assert_eq!(
            differ([&before, &table(0, 5, &[])], [&before, &Changes::default()]),
            size(0, Seen::Number(5), Seen::Number(3))
        );
    }

    #[test]
    fn a_table_that_one_side_lacks_is_absent() {
        let one = table(0, 3, &[]);
        let mut two = one.clone();
        two.tables.extend(table(1, 0, &[]).tables);
        assert_eq!(
            differ([&two], [&one]),
            size(1, Seen::Number(0), Seen::Absent)
        );
        assert_eq!(
            differ([&one], [&two]),
            size(1, Seen::Absent, Seen::Number(0))
        );
    }

    #[test]
    fn a_dangling_element_differs_even_from_itself() {
        let change = table(0, 3, &[(2, Value::Dangling)]);
        assert_eq!(
            differ([&change], [&change]),
            element(2, Value::Dangling, Value::Dangling)
        );
    }
}
