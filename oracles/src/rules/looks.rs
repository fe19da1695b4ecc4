//! Oracles `memories`, `globals` and `tables` at host calls: the state in the middle of a step.
//!
//! The host may read everything that it can reach whenever it is called, so a write that comes late, or
//! that was left out since the next one replaces it, is wrong even where nothing is left of that after the
//! step. Let `c₀ … cₙ₋₁` and `d₀ … dₘ₋₁` be the host calls of a step that the reference and the subject
//! made:
//!
//! > ∀ k < min(n, m), up to and including the first k with cₖ ≢ dₖ in function or arguments:
//! > the rules of `memories`, `globals` and `tables` hold of the states at cₖ and dₖ
//!
//! as far as both sides looked at their state there. Behind calls that differ the host may have answered
//! otherwise, so that states may differ, too.

use crate::after::After;
use crate::finding::Difference;
use crate::observation::{Changes, Event};
use crate::rules::host_calls::{Call, check_call};
use crate::rules::{globals, memories, tables};
use crate::value::Nans;

/// What the three oracles say of the first host call at which any of them sees a difference.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looked {
    /// What the oracle `memories` says.
    pub memories: Option<Difference>,
    /// What the oracle `globals` says.
    pub globals: Option<Difference>,
    /// What the oracle `tables` says.
    pub tables: Option<Difference>,
}

/// Compares the states at host calls of `step`, the reference's and the subject's events of which are given;
/// tables only `with_tables`.
pub fn check<'a>(
    (reference, subject): (&'a [Event], &'a [Event]),
    step: usize,
    after: &mut After<'a>,
    nans: Nans,
    with_tables: bool,
) -> Looked {
    for (number, (reference, subject)) in calls(reference).zip(calls(subject)).enumerate() {
        let mut looked = Looked::default();
        if let (Some(a), Some(b)) = (reference.1, subject.1) {
            after.call(step, a, b);
            let at_call = |difference: Difference| difference.at_call(number);
            looked.memories = memories::check(a, b, after, &|_| false).map(at_call);
            looked.globals = globals::check(a, b, after, nans).map(at_call);
            if with_tables {
                looked.tables = tables::check(a, b, after).map(at_call);
            }
        }
        if looked != Looked::default() || check_call(number, reference.0, subject.0, nans).is_some()
        {
            return looked;
        }
    }
    Looked::default()
}

fn calls(events: &[Event]) -> impl Iterator<Item = (Call<'_>, Option<&Changes>)> {
    events.iter().filter_map(|event| match event {
        Event::HostCall {
            function,
            args,
            state,
            ..
        } => Some((
            Call {
                function: *function,
                args,
            },
            state.as_deref(),
        )),
        Event::Dropped(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Place, Seen};
    use crate::observation::Observation;
    use crate::testing::{
        dropped, entity, globals, host_call, looked, memory, object, observe, step, table,
    };
    use crate::value::Value;

    fn global(value: i32) -> Changes {
        globals(&[(0, Value::I32(value))])
    }

    /// A step in which these events happen and which leaves nothing changed, after one that sets global 0.
    fn history(events: Vec<Event>) -> Observation {
        observe([
            step(Vec::new(), global(1)),
            step(events, Changes::default()),
        ])
    }

    fn differ(reference: Vec<Event>, subject: Vec<Event>, with_tables: bool) -> Looked {
        let (reference, subject) = (history(reference), history(subject));
        let mut after = After::new(&reference, &subject);
        let events = (&reference.steps[1].events[..], &subject.steps[1].events[..]);
        check(events, 1, &mut after, Nans::Any, with_tables)
    }

    #[test]
    fn what_is_different_at_a_call_alone_is_told() {
        let reference = vec![looked(3, Changes::default()), looked(3, global(5))];
        let subject = vec![
            looked(3, Changes::default()),
            dropped(1),
            looked(3, Changes::default()),
        ];
        let expected = Difference::new(
            Place::Global(entity(0)),
            Seen::Value(Value::I32(5)),
            Seen::Value(Value::I32(1)),
        );
        let looked = differ(reference.clone(), subject, true);
        assert_eq!(looked.globals, Some(expected.at_call(1)));
        assert_eq!((looked.memories, looked.tables), (None, None));
        assert_eq!(
            differ(reference.clone(), reference, true),
            Looked::default()
        );
    }

    #[test]
    fn each_of_the_three_oracles_looks() {
        let all = |value: u8| Changes {
            memories: memory(0, 1, &[(0, &[value])]).memories,
            globals: global(value.into()).globals,
            tables: table(0, 1, &[(0, object(value.into()))]).tables,
            ..Changes::default()
        };
        let differing = |with_tables| {
            let looked = differ(
                vec![looked(0, all(2))],
                vec![looked(0, all(3))],
                with_tables,
            );
            [looked.memories, looked.globals, looked.tables].map(|it| it.is_some())
        };
        assert_eq!(differing(true), [true; 3]);
        assert_eq!(differing(false), [true, true, false]);
    }

    #[test]
    fn what_one_side_alone_lists_is_resolved_by_the_step_before() {
        let reference = vec![looked(0, global(1))];
        let subject = vec![looked(0, Changes::default())];
        assert_eq!(differ(reference, subject, true), Looked::default());
    }

    #[test]
    fn calls_that_differ_are_the_last_to_be_looked_at() {
        let seen = |first: Event| vec![first, looked(1, global(9))];
        let unseen = |first: Event| vec![first, looked(1, global(8))];
        let (one, other) = (
            looked(1, global(7)),
            Event::HostCall {
                function: 1,
                args: vec![Value::I32(1)],
                counts: Vec::new(),
                state: Some(Box::new(global(7))),
            },
        );
        // The state at those calls is compared, and what comes after is not.
        assert_eq!(
            differ(seen(one.clone()), unseen(other), true),
            Looked::default()
        );
        let changed = differ(seen(one.clone()), unseen(looked(2, global(6))), true);
        assert_eq!(changed.globals.and_then(|it| it.at_call), Some(0));
        let later = differ(seen(one.clone()), unseen(one), true);
        assert_eq!(later.globals.and_then(|it| it.at_call), Some(1));
    }

    #[test]
    fn a_call_that_one_side_did_not_look_at_says_nothing() {
        let reference = vec![looked(0, global(3)), looked(0, global(4))];
        let subject = vec![host_call(0, &[], &[]), looked(0, global(5))];
        let looked = differ(reference, subject, true);
        assert_eq!(looked.globals.and_then(|it| it.at_call), Some(1));
        assert_eq!(
            differ(vec![looked_nothing()], Vec::new(), true),
            Looked::default()
        );
    }

    fn looked_nothing() -> Event {
        looked(0, global(3))
    }
}
