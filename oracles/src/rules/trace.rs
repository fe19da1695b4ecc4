//! Oracle `refcounts` between two engines that both count: the whole trace.
//!
//! Our own engines share one runtime, so its barriers and collections must do the same in each,
//! whatever runs the code between them. For two such engines `a` and `b`, for every step and for
//! what happens when the store is dropped:
//!
//! > events(a) ≡ events(b), in order, drops and the counts at each host call included
//! > ∧ counts(a) = counts(b)
//!
//! This is stricter than the rule against the reference, which leaves open when within a step an
//! object that nothing holds is dropped, and by how much counts exceed what is held meanwhile.
//! Steps from the first on whose outcome says nothing, or that broke an engine, are not compared:
//! those outcomes are told by comparing each engine with the reference.

use crate::finding::{Difference, Finding, OracleName, Place, Seen};
use crate::observation::{Event, Observation};
use crate::rules::host_calls::{Call, check_call};
use crate::rules::traps::{self, Ending};
use crate::value::{Nans, ObjectId};

/// The first place where the traces of two engines that count references differ. `a` takes the
/// reference's place in the finding and `b` the subject's.
pub fn compare_own(a: &Observation, b: &Observation) -> Option<Finding> {
    let found = |step, difference: Difference| Finding {
        against: Some(a.engine.clone()),
        ..difference.found_by(OracleName::Refcounts, step, &b.engine)
    };
    let nans = a.nans(b);
    for (step, (of_a, of_b)) in a.steps.iter().zip(&b.steps).enumerate() {
        if traps::ending(&of_a.outcome, &of_b.outcome) != Ending::Comparable {
            return None;
        }
        let difference = check_events(&of_a.events, &of_b.events, nans)
            .or_else(|| check_counts(&of_a.changes.counts, &of_b.changes.counts));
        if let Some(difference) = difference {
            return Some(found(step, difference));
        }
    }
    let steps = a.steps.len().min(b.steps.len());
    traps::check_steps(a, b)
        .or_else(|| check_events(&a.teardown, &b.teardown, nans))
        .map(|difference| found(steps, difference))
}

fn check_events(a: &[Event], b: &[Event], nans: Nans) -> Option<Difference> {
    let mut call = 0;
    for position in 0..a.len().max(b.len()) {
        let (a, b) = (a.get(position), b.get(position));
        if let Some(difference) = check_event(call, a, b, nans) {
            return Some(difference);
        }
        call += usize::from(matches!(a, Some(Event::HostCall { .. })));
    }
    None
}

/// Compares two events that stand at the same place, after `call` host calls on either side.
fn check_event(
    call: usize,
    a: Option<&Event>,
    b: Option<&Event>,
    nans: Nans,
) -> Option<Difference> {
    if let (Some((call_a, counts_a)), Some((call_b, counts_b))) =
        (a.and_then(host_call), b.and_then(host_call))
    {
        return check_call(call, call_a, call_b, nans).or_else(|| check_counts(counts_a, counts_b));
    }
    let place = match (a, b) {
        (Some(Event::Dropped(id)), Some(Event::Dropped(other))) if id == other => return None,
        (Some(Event::Dropped(id)), _) | (_, Some(Event::Dropped(id))) => Place::Drop(*id),
        _ => Place::HostCall(call),
    };
    Some(Difference::new(place, seen(a), seen(b)))
}

fn host_call(event: &Event) -> Option<(Call<'_>, &[(ObjectId, u64)])> {
    match event {
        Event::HostCall {
            function,
            args,
            counts,
            ..
        } => Some((
            Call {
                function: *function,
                args,
            },
            counts,
        )),
        Event::Dropped(_) => None,
    }
}

fn seen(event: Option<&Event>) -> Seen {
    match event {
        None => Seen::Absent,
        Some(Event::Dropped(id)) => Seen::Rule(format!("drop of {id}")),
        Some(Event::HostCall { function, args, .. }) => Seen::HostCall(*function, args.clone()),
    }
}

/// The first place where two lists of counts differ: an object that one side lists and the other
/// does not, or another count of the same object.
fn check_counts(a: &[(ObjectId, u64)], b: &[(ObjectId, u64)]) -> Option<Difference> {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let number = |side: Option<&(ObjectId, u64)>| {
        side.map_or(Seen::Absent, |(_, count)| Seen::Number(*count))
    };
    let (a, b) = (a.get(same), b.get(same));
    let (id, a, b) = match (a, b) {
        (None, None) => return None,
        (Some((id, _)), Some((other, _))) if id == other => (*id, a, b),
        (Some((id, _)), Some((other, _))) if other < id => (*other, None, b),
        (Some((id, _)), _) => (*id, a, None),
        (None, Some((id, _))) => (*id, None, b),
    };
    Some(Difference::new(Place::Count(id), number(a), number(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::{Changes, Outcome, Reason, StepObservation};
    use crate::testing::{counts, dropped, ended, host_call, object, observe, rule, step};

    fn settled(events: Vec<Event>, at: &[(u32, u64)]) -> StepObservation {
        let changes = Changes {
            counts: counts(at),
            ..Changes::default()
        };
        step(events, changes)
    }

    /// Holds the second of two steps, after one that agrees, against that of another engine.
    fn differ(a: StepObservation, b: StepObservation) -> Option<Difference> {
        let first = settled(vec![dropped(9)], &[(9, 0)]);
        let finding = compare_own(&observe([first.clone(), a]), &observe([first, b]))?;
        assert_eq!(finding.oracle, OracleName::Refcounts);
        assert_eq!(finding.step, 1);
        assert_eq!(finding.engine, "subject");
        Some(Difference::new(
            finding.place,
            finding.reference,
            finding.subject,
        ))
    }

    fn events(a: Vec<Event>, b: Vec<Event>) -> Option<Difference> {
        differ(settled(a, &[]), settled(b, &[]))
    }

    fn differing(place: Place, a: Seen, b: Seen) -> Option<Difference> {
        Some(Difference::new(place, a, b))
    }

    #[test]
    fn equal_traces_agree() {
        let trace = vec![host_call(1, &[object(1)], &[(1, 2)]), dropped(1)];
        let one = settled(trace, &[(1, 0)]);
        assert_eq!(differ(one.clone(), one), None);
    }

    #[test]
    fn drops_in_another_order_differ() {
        assert_eq!(
            events(vec![dropped(1), dropped(2)], vec![dropped(2), dropped(1)]),
            differing(
                Place::Drop(ObjectId(1)),
                rule("drop of object 1"),
                rule("drop of object 2")
            )
        );
    }

    #[test]
    fn a_drop_on_the_other_side_of_a_host_call_differs() {
        let call = host_call(3, &[], &[]);
        let (early, late) = (vec![dropped(1), call.clone()], vec![call, dropped(1)]);
        let (place, seen) = (Place::Drop(ObjectId(1)), Seen::HostCall(3, Vec::new()));
        assert_eq!(
            events(early.clone(), late.clone()),
            differing(place, rule("drop of object 1"), seen.clone())
        );
        assert_eq!(
            events(late, early),
            differing(place, seen, rule("drop of object 1"))
        );
    }

    #[test]
    fn what_one_side_lacks_is_absent() {
        assert_eq!(
            events(vec![], vec![dropped(1)]),
            differing(
                Place::Drop(ObjectId(1)),
                Seen::Absent,
                rule("drop of object 1")
            )
        );
        let call = host_call(3, &[], &[]);
        assert_eq!(
            events(vec![call.clone(), call.clone()], vec![call]),
            differing(
                Place::HostCall(1),
                Seen::HostCall(3, Vec::new()),
                Seen::Absent
            )
        );
    }

    #[test]
    fn host_calls_are_compared_whole() {
        let call = |argument| vec![dropped(4), host_call(3, &[argument], &[])];
        assert_eq!(
            events(call(object(1)), call(object(2))),
            differing(
                Place::HostCallArgument {
                    call: 0,
                    argument: 0
                },
                Seen::Value(object(1)),
                Seen::Value(object(2)),
            )
        );
        assert_eq!(
            events(
                vec![host_call(3, &[], &[(1, 1), (2, 5)])],
                vec![host_call(3, &[], &[(1, 1), (2, 6)])]
            ),
            differing(Place::Count(ObjectId(2)), Seen::Number(5), Seen::Number(6))
        );
    }

    #[test]
    fn settled_counts_are_compared() {
        let differ = |a, b| differ(settled(vec![], a), settled(vec![], b));
        let count = |number, a, b| differing(Place::Count(ObjectId(number)), a, b);
        let (one, two) = (Seen::Number(1), Seen::Number(2));
        assert_eq!(
            differ(&[(1, 1), (2, 1)], &[(1, 1), (2, 2)]),
            count(2, one.clone(), two.clone())
        );
        assert_eq!(
            differ(&[(1, 1), (2, 1)], &[(2, 1)]),
            count(1, one.clone(), Seen::Absent)
        );
        assert_eq!(
            differ(&[(2, 1)], &[(1, 2), (2, 1)]),
            count(1, Seen::Absent, two.clone())
        );
        assert_eq!(
            differ(&[(1, 1), (2, 1)], &[(1, 1)]),
            count(2, one, Seen::Absent)
        );
        assert_eq!(differ(&[], &[(1, 2)]), count(1, Seen::Absent, two));
    }

    #[test]
    fn teardown_is_one_step_more() {
        let with = |drops: &[u32]| {
            let mut observation = observe([settled(vec![], &[])]);
            observation.teardown = drops.iter().map(|number| dropped(*number)).collect();
            observation
        };
        assert_eq!(compare_own(&with(&[1, 2]), &with(&[1, 2])), None);
        let finding = compare_own(&with(&[1, 2]), &with(&[1])).unwrap();
        assert_eq!((finding.step, finding.place), (1, Place::Drop(ObjectId(2))));
        assert_eq!(finding.subject, Seen::Absent);
    }

    #[test]
    fn a_missing_step_is_found_and_an_inconclusive_one_ends_the_trace() {
        let one = settled(vec![], &[]);
        let (short, long) = (observe([one.clone()]), observe([one.clone(), one.clone()]));
        let finding = compare_own(&long, &short).unwrap();
        assert_eq!((finding.step, finding.place), (1, Place::Steps));

        let fuel = ended(Outcome::Inconclusive(Reason::OutOfFuel));
        let a = observe([fuel, one.clone()]);
        let b = observe([settled(vec![dropped(1)], &[])]);
        assert_eq!(compare_own(&a, &b), None);
        assert_eq!(compare_own(&b, &a), None);
    }
}
