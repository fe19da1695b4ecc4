//! Oracle `host_calls`: which imported functions were called, in which order, with what.
//!
//! Let `c₀ … cₙ₋₁` be the host calls among the reference's events of a step and `d₀ … dₘ₋₁` those
//! among the subject's, drops of objects left out:
//!
//! > n = m ∧ ∀ k < n: function(cₖ) = function(dₖ) ∧ |args(cₖ)| = |args(dₖ)| ∧
//! > ∀ i: args(cₖ)ᵢ ≡ args(dₖ)ᵢ
//!
//! Of a step whose outcome says nothing, as where the stack was exhausted, the same is asked of the calls
//! that both sides made: up to where one of them stopped, both ran the same program.
//!
//! Which objects are dropped between two calls, and the counts at a call, are the oracle
//! `refcounts`' question.

use crate::finding::{Difference, Place, Seen};
use crate::observation::Event;
use crate::value::{Nans, Value};

/// The first host call, or argument of one, that differs.
pub fn check(reference: &[Event], subject: &[Event], nans: Nans) -> Option<Difference> {
    let mut reference = calls(reference);
    let mut subject = calls(subject);
    let mut call = 0;
    loop {
        match (reference.next(), subject.next()) {
            (None, None) => return None,
            (Some(reference), Some(subject)) => {
                if let Some(difference) = check_call(call, reference, subject, nans) {
                    return Some(difference);
                }
            }
            (reference, subject) => {
                let seen = |call: Option<Call<'_>>| call.map_or(Seen::Absent, |call| call.seen());
                return Some(Difference::new(
                    Place::HostCall(call),
                    seen(reference),
                    seen(subject),
                ));
            }
        }
        call += 1;
    }
}

/// The same of the calls that both sides made, if one of them may have stopped before the other.
pub fn check_common(reference: &[Event], subject: &[Event], nans: Nans) -> Option<Difference> {
    let calls = calls(reference).zip(calls(subject));
    calls
        .enumerate()
        .find_map(|(call, (reference, subject))| check_call(call, reference, subject, nans))
}

/// A host call without the counts.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub function: u32,
    pub args: &'a [Value],
}

impl Call<'_> {
    pub fn seen(self) -> Seen {
        Seen::HostCall(self.function, self.args.to_vec())
    }
}

/// How two calls that stand at the same place differ.
pub(super) fn check_call(
    call: usize,
    reference: Call<'_>,
    subject: Call<'_>,
    nans: Nans,
) -> Option<Difference> {
    if reference.function != subject.function || reference.args.len() != subject.args.len() {
        return Some(Difference::new(
            Place::HostCall(call),
            reference.seen(),
            subject.seen(),
        ));
    }
    let mut args = reference.args.iter().zip(subject.args);
    let argument = args.position(|(reference, subject)| !reference.agrees(subject, nans))?;
    Some(Difference::new(
        Place::HostCallArgument { call, argument },
        Seen::Value(reference.args[argument]),
        Seen::Value(subject.args[argument]),
    ))
}

fn calls(events: &[Event]) -> impl Iterator<Item = Call<'_>> {
    events.iter().filter_map(|event| match event {
        Event::HostCall { function, args, .. } => Some(Call {
            function: *function,
            args,
        }),
        Event::Dropped(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dropped, host_call, object};

    #[test]
    fn drops_and_counts_between_equal_calls_do_not_matter() {
        let reference = [
            host_call(1, &[Value::F32(0x7fc0_0000)], &[]),
            host_call(2, &[object(7)], &[]),
        ];
        let subject = [
            dropped(1),
            host_call(1, &[Value::F32(0xffc0_0000)], &[(7, 2)]),
            dropped(3),
            host_call(2, &[object(7)], &[(7, 3)]),
        ];
        assert_eq!(check(&reference, &subject, Nans::Any), None);
        assert_eq!(check(&[], &[dropped(1)], Nans::Any), None);
    }

    #[test]
    fn another_function_differs() {
        let first = host_call(1, &[], &[]);
        let reference = [first.clone(), host_call(2, &[Value::I32(5)], &[])];
        let subject = [dropped(9), first, host_call(3, &[Value::I32(5)], &[])];
        assert_eq!(
            check(&reference, &subject, Nans::Any),
            Some(Difference::new(
                Place::HostCall(1),
                Seen::HostCall(2, vec![Value::I32(5)]),
                Seen::HostCall(3, vec![Value::I32(5)]),
            ))
        );
    }

    #[test]
    fn another_number_of_arguments_differs() {
        let (one, two) = ([Value::I32(1)], [Value::I32(1), Value::I32(2)]);
        assert_eq!(
            check(
                &[host_call(0, &one, &[])],
                &[host_call(0, &two, &[])],
                Nans::Any
            ),
            Some(Difference::new(
                Place::HostCall(0),
                Seen::HostCall(0, one.to_vec()),
                Seen::HostCall(0, two.to_vec()),
            ))
        );
    }

    #[test]
    fn the_first_argument_that_differs_is_named() {
        let call = |args: &[Value]| [host_call(0, &[], &[]), host_call(4, args, &[])];
        assert_eq!(
            check(
                &call(&[object(1), object(2), object(3)]),
                &call(&[object(1), object(3), Value::Dangling]),
                Nans::Any,
            ),
            Some(Difference::new(
                Place::HostCallArgument {
                    call: 1,
                    argument: 1
                },
                Seen::Value(object(2)),
                Seen::Value(object(3)),
            ))
        );
    }

    #[test]
    fn of_what_stopped_early_the_calls_are_compared_that_both_made() {
        let calls = |values: &[i32]| -> Vec<Event> {
            let call = |value: &i32| host_call(0, &[Value::I32(*value)], &[]);
            values.iter().map(call).collect()
        };
        let all = calls(&[1, 2, 3]);
        for made in 0..3 {
            assert_eq!(check_common(&all, &all[..made], Nans::Any), None);
            assert_eq!(check_common(&all[..made], &all, Nans::Any), None);
        }
        let difference = check_common(&all, &calls(&[1, 4]), Nans::Any);
        let place = Place::HostCallArgument {
            call: 1,
            argument: 0,
        };
        assert_eq!(difference.map(|it| it.place), Some(place));
    }

    #[test]
    fn a_call_that_only_one_side_made_is_absent_on_the_other() {
        let call = host_call(4, &[Value::I64(-1)], &[]);
        let seen = Seen::HostCall(4, vec![Value::I64(-1)]);
        assert_eq!(
            check(std::slice::from_ref(&call), &[], Nans::Any),
            Some(Difference::new(
                Place::HostCall(0),
                seen.clone(),
                Seen::Absent
            ))
        );
        assert_eq!(
            check(
                std::slice::from_ref(&call),
                &[call.clone(), call.clone()],
                Nans::Any
            ),
            Some(Difference::new(Place::HostCall(1), Seen::Absent, seen))
        );
    }
}
