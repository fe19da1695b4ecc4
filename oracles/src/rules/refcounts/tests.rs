//! The refcounts oracle on small histories, one rule broken at a time.

use super::*;
use crate::observation::{Changes, Observation};
use crate::testing::{
    NULL, counts, dropped, globals, host_call, object as reference_to, observe, rule, step, table,
};

/// Steps of a history: what the reference and the subject show of each.
struct History(Vec<(StepObservation, StepObservation)>);

impl History {
    fn new() -> History {
        History(Vec::new())
    }

    /// Adds a step: what the reference's tables and globals changed to and the handles that
    /// changed, and the events and settled counts of the subject.
    fn step(
        mut self,
        changes: Changes,
        handles: &[(u32, u64)],
        events: Vec<Event>,
        settled: &[(u32, u64)],
    ) -> History {
        let calls = events.iter().filter_map(|event| match event {
            Event::HostCall { function, args, .. } => Some(host_call(*function, args, &[])),
            Event::Dropped(_) => None,
        });
        let mut reference = step(calls.collect(), changes.clone());
        reference.changes.handles = counts(handles);
        let mut subject = step(events, changes);
        subject.changes.counts = counts(settled);
        self.0.push((reference, subject));
        self
    }

    /// Lets the last step return these.
    fn returning(mut self, results: &[Value]) -> History {
        if let Some((_, subject)) = self.0.last_mut() {
            subject.outcome = Outcome::Returned(results.to_vec());
        }
        self
    }

    /// Lets the reference say what is held at the first host call of the last step.
    fn held(mut self, held: &[(u32, u64)]) -> History {
        let (reference, _) = self.0.last_mut().unwrap();
        let Some(Event::HostCall { counts: at, .. }) = reference.events.first_mut() else {
            panic!("no host call");
        };
        *at = counts(held);
        self
    }

    /// Which step differs, and how; then the store is dropped with these events.
    fn check_against(
        &self,
        reference: &Observation,
        teardown: &[Event],
    ) -> Option<(usize, Difference)> {
        let mut ledger = Ledger::new(reference, &observe([]));
        let mut steps = self.0.iter().enumerate();
        steps
            .find_map(|(n, (reference, subject))| {
                Some((n, ledger.step(reference, subject, &|_| false)?))
            })
            .or_else(|| Some((self.0.len(), ledger.teardown(teardown)?)))
    }

    fn check(&self, teardown: &[Event]) -> Option<(usize, Difference)> {
        self.check_against(&observe([]), teardown)
    }
}

fn at(step: usize, place: Place, reference: Seen, subject: Seen) -> Option<(usize, Difference)> {
    Some((step, Difference::new(place, reference, subject)))
}

fn drop_of(number: u32) -> Place {
    Place::Drop(ObjectId(number))
}

fn count_of(number: u32) -> Place {
    Place::Count(ObjectId(number))
}

/// Object 1 in two slots of a table and in a global.
fn thrice() -> Changes {
    let mut changes = table(0, 4, &[(0, reference_to(1)), (3, reference_to(1))]);
    changes.globals = globals(&[(0, reference_to(1))]).globals;
    changes
}

fn nothing() -> Changes {
    Changes::default()
}

#[test]
fn a_right_history_passes() {
    let history = History::new()
        .step(
            thrice(),
            &[(1, 2), (2, 1)],
            vec![
                host_call(0, &[], &[(1, 9)]),
                host_call(1, &[reference_to(3)], &[(1, 4), (3, 1)]),
                dropped(3),
                host_call(1, &[], &[(1, 4)]),
                dropped(4),
            ],
            &[(1, 5), (2, 1)],
        )
        .held(&[(1, 9)])
        .step(
            table(0, 4, &[(0, NULL)]),
            &[(2, 0)],
            vec![dropped(2)],
            &[(1, 4), (2, 0)],
        )
        .step(table(0, 4, &[(0, reference_to(5))]), &[], vec![], &[(5, 1)])
        .step(nothing(), &[], vec![], &[])
        .returning(&[reference_to(5), NULL]);
    assert_eq!(history.check(&[dropped(5), dropped(1)]), None);
}

#[test]
fn a_settled_count_is_slots_and_globals_and_handles() {
    let with = |settled: &[(u32, u64)]| History::new().step(thrice(), &[(1, 2)], vec![], settled);
    assert_eq!(with(&[(1, 5)]).check(&[dropped(1)]), None);
    for wrong in [0, 3, 4, 6] {
        assert_eq!(
            with(&[(1, wrong)]).check(&[]),
            at(0, count_of(1), Seen::Number(5), Seen::Number(wrong))
        );
    }
    assert_eq!(
        with(&[]).check(&[]),
        at(0, count_of(1), Seen::Number(5), Seen::Absent)
    );
}

#[test]
fn a_count_that_did_not_follow_a_slot_is_found() {
    // One of two slots is overwritten, and the count stays.
    let history = History::new().step(thrice(), &[], vec![], &[(1, 3)]).step(
        table(0, 4, &[(3, reference_to(2))]),
        &[],
        vec![],
        &[(2, 1)],
    );
    assert_eq!(
        history.check(&[]),
        at(1, count_of(1), Seen::Number(2), Seen::Number(3))
    );
}

#[test]
fn a_count_of_what_nothing_holds_is_found() {
    let leaked = History::new().step(nothing(), &[], vec![], &[(1, 1)]);
    assert_eq!(
        leaked.check(&[]),
        at(0, count_of(1), Seen::Number(0), Seen::Number(1))
    );
    // Dropped, but its count was not told to be 0.
    let untold = History::new()
        .step(nothing(), &[(1, 1)], vec![], &[(1, 1)])
        .step(nothing(), &[(1, 0)], vec![dropped(1)], &[]);
    assert_eq!(
        untold.check(&[]),
        at(1, count_of(1), Seen::Number(0), Seen::Number(1))
    );
}

#[test]
fn what_nothing_holds_must_be_dropped() {
    let absent = |step| {
        at(
            step,
            drop_of(1),
            rule("dropped, since nothing holds it"),
            Seen::Absent,
        )
    };
    let held_before = History::new()
        .step(nothing(), &[(1, 1)], vec![], &[(1, 1)])
        .step(nothing(), &[(1, 0)], vec![], &[(1, 0)]);
    assert_eq!(held_before.check(&[]), absent(1));
    let listed = History::new().step(nothing(), &[], vec![host_call(0, &[], &[(1, 1)])], &[]);
    assert_eq!(listed.check(&[]), absent(0));
    let argument = History::new().step(
        nothing(),
        &[],
        vec![host_call(0, &[reference_to(1)], &[(1, 1)])],
        &[],
    );
    assert_eq!(argument.check(&[]), absent(0));
    let result = History::new()
        .step(nothing(), &[], vec![], &[])
        .returning(&[reference_to(1)]);
    assert_eq!(result.check(&[]), absent(0));
}

#[test]
fn what_is_held_must_not_be_dropped() {
    let alive = |slots, handles| {
        rule(&format!(
            "alive, held by {slots} slots and {handles} handles"
        ))
    };
    let in_step = History::new()
        .step(thrice(), &[(1, 1)], vec![], &[(1, 4)])
        .step(nothing(), &[], vec![dropped(1)], &[(1, 0)]);
    assert_eq!(
        in_step.check(&[]),
        at(1, drop_of(1), alive(3, 1), rule("dropped"))
    );
    // It comes back into a slot after it was dropped.
    let before = History::new()
        .step(nothing(), &[], vec![dropped(1)], &[])
        .step(nothing(), &[(1, 1)], vec![], &[(1, 1)]);
    assert_eq!(
        before.check(&[]),
        at(1, drop_of(1), alive(0, 1), rule("dropped"))
    );
}

#[test]
fn nothing_is_dropped_twice() {
    let again = |step| {
        at(
            step,
            drop_of(1),
            rule("dropped once"),
            rule("dropped again"),
        )
    };
    let gone = || {
        History::new()
            .step(nothing(), &[(1, 1)], vec![], &[(1, 1)])
            .step(nothing(), &[(1, 0)], vec![dropped(1)], &[(1, 0)])
    };
    assert_eq!(gone().check(&[]), None);
    assert_eq!(gone().check(&[dropped(1)]), again(2));
    let later = gone().step(nothing(), &[], vec![dropped(1)], &[]);
    assert_eq!(later.check(&[]), again(2));
    let twice = History::new().step(nothing(), &[], vec![dropped(1), dropped(1)], &[]);
    assert_eq!(twice.check(&[]), again(0));
    assert_eq!(History::new().check(&[dropped(1), dropped(1)]), again(0));
}

#[test]
fn what_was_dropped_does_not_come_back() {
    let argument = History::new().step(
        nothing(),
        &[],
        vec![
            host_call(0, &[], &[]),
            dropped(1),
            host_call(0, &[NULL, reference_to(1)], &[]),
        ],
        &[],
    );
    assert_eq!(
        argument.check(&[]),
        at(
            0,
            drop_of(1),
            rule("alive, since it is an argument of host call 1"),
            rule("dropped before")
        )
    );
    let result = History::new()
        .step(nothing(), &[], vec![dropped(1)], &[])
        .returning(&[reference_to(1)])
        .step(nothing(), &[], vec![], &[])
        .returning(&[Value::I32(1), reference_to(1)]);
    assert_eq!(
        result.check(&[]),
        at(
            1,
            drop_of(1),
            rule("alive, since it is a result"),
            rule("dropped in an earlier step")
        )
    );
}

#[test]
fn a_host_call_lists_exactly_what_is_alive() {
    let with = |events| {
        History::new()
            .step(nothing(), &[(1, 1), (2, 1)], vec![], &[(1, 1), (2, 1)])
            .step(nothing(), &[], events, &[])
            .check(&[dropped(1), dropped(2)])
    };
    let call = |at| host_call(0, &[], at);
    assert_eq!(with(vec![call(&[(1, 1), (2, 7)])]), None);
    assert_eq!(
        with(vec![call(&[(1, 1), (2, 1)]), call(&[(1, 1)])]),
        at(
            1,
            count_of(2),
            rule("at least 1 at host call 1"),
            Seen::Absent
        )
    );
    assert_eq!(
        with(vec![call(&[(1, 0), (2, 1)])]),
        at(
            1,
            count_of(1),
            rule("at least 1 at host call 0"),
            Seen::Number(0)
        )
    );
    assert_eq!(
        with(vec![dropped(4), call(&[(1, 1), (2, 1), (4, 3)])]),
        at(
            1,
            count_of(4),
            rule("dropped before host call 0"),
            Seen::Number(3)
        )
    );
    assert_eq!(
        with(vec![call(&[(2, 1), (1, 1)])]),
        at(
            1,
            count_of(1),
            rule("counts at host call 0 in ascending order"),
            Seen::Number(1)
        )
    );
    assert_eq!(
        with(vec![call(&[(1, 1), (2, 1), (2, 1)])]),
        at(
            1,
            count_of(2),
            rule("counts at host call 0 in ascending order"),
            Seen::Number(1)
        )
    );
    // An argument is alive, too.
    assert_eq!(
        with(vec![host_call(0, &[reference_to(3)], &[(1, 1), (2, 1)])]),
        at(
            1,
            count_of(3),
            rule("at least 1 at host call 0"),
            Seen::Absent
        )
    );
}

#[test]
fn what_the_reference_holds_at_a_host_call_is_alive() {
    let with = |events, settled| {
        History::new()
            .step(nothing(), &[(1, 2)], vec![], &[(1, 2)])
            .step(nothing(), &[(1, 0)], events, settled)
            .held(&[(1, 2), (9, 0)])
    };
    let call = |at| host_call(0, &[], at);
    let end = [(1, 0)];
    assert_eq!(
        with(vec![call(&[(1, 2)]), dropped(1)], &end).check(&[]),
        None
    );
    assert_eq!(
        with(vec![dropped(1), call(&[])], &end).check(&[]),
        at(
            1,
            drop_of(1),
            rule("alive, held 2 times at host call 0"),
            rule("dropped before")
        )
    );
    let late = with(vec![call(&[(1, 1)]), dropped(1)], &end);
    assert_eq!(
        late.check(&[]),
        at(
            1,
            count_of(1),
            rule("at least 2 at host call 0"),
            Seen::Number(1)
        )
    );
    // A reference that counts is as late as the subject: its counts are no lower bound.
    let counting = Observation {
        counts_references: true,
        ..Observation::default()
    };
    assert_eq!(late.check_against(&counting, &[]), None);
    // An object that the subject never showed.
    let unseen = History::new()
        .step(nothing(), &[], vec![call(&[])], &[])
        .held(&[(1, 2)]);
    assert_eq!(
        unseen.check(&[]),
        at(
            0,
            count_of(1),
            rule("at least 2 at host call 0"),
            Seen::Absent
        )
    );
}

#[test]
fn nothing_outlives_the_store() {
    let history = History::new().step(thrice(), &[(2, 1)], vec![], &[(1, 3), (2, 1)]);
    assert_eq!(history.check(&[dropped(2), dropped(1)]), None);
    assert_eq!(
        history.check(&[dropped(1)]),
        at(
            1,
            drop_of(2),
            rule("dropped with the store at the latest"),
            Seen::Absent
        )
    );
}

#[test]
fn settled_counts_come_in_order() {
    for listed in [[(2, 1), (1, 3)], [(1, 3), (1, 3)]] {
        let history = History::new().step(thrice(), &[(2, 1)], vec![], &listed);
        assert_eq!(
            history.check(&[]),
            at(
                0,
                count_of(1),
                rule("counts in ascending order"),
                Seen::Number(3)
            )
        );
    }
}

#[test]
fn the_lowest_object_that_is_wrong_is_named() {
    let changes = table(0, 3, &[(0, reference_to(3)), (1, reference_to(2))]);
    let history = History::new().step(changes, &[], vec![], &[(2, 2), (3, 2)]);
    assert_eq!(
        history.check(&[]),
        at(0, count_of(2), Seen::Number(1), Seen::Number(2))
    );
}
