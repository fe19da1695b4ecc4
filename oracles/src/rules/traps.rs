//! Oracle `traps`: how a step ended.
//!
//! For a step that ended with `r` in the reference and `s` in the subject:
//!
//! > neither escaped, nor miscounted references, nor trapped without a reason, nor failed, nor went
//! > on without end, and
//! > both returned, or both trapped of the same kind, or both were unlinkable, or both skipped
//!
//! with two exceptions that end the comparison without a verdict: either outcome is inconclusive,
//! or either is a trap because the stack was exhausted. How deep the stack is no specification
//! says, and what a program had done when it ran out depends on it. That there is a limit, and that it
//! is where it is said to be, can be told from the subject alone: one that traps with more stack left
//! than its function needs has no reason to, and one that goes on beyond the limit has escaped. Who
//! runs the code looks at the stack pointer for that, and says so whatever the reference did.
//!
//! One inconclusive outcome is none where the reference brings the step to its end: that the host was called
//! more often than a case may call it. The host is the same on both sides and counts alike, so the subject has
//! made calls that the reference did not.
//!
//! Both sides must also have run the same number of steps, unless an outcome that ends a case
//! came first.

use crate::finding::{Difference, Place, Seen};
use crate::observation::{Observation, Outcome, Reason, TrapKind};

/// What two outcomes of a step mean for the comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All of the step can be compared.
    Comparable,
    /// One engine broke: that alone is to be told, there is no state to compare.
    Broken,
    /// Nothing can be said of this step and those that follow.
    Inconclusive(Reason),
}

/// What two outcomes of a step mean for the comparison. A broken engine weighs more than an
/// inconclusive outcome on the other side, and the reference's reason more than the subject's.
pub fn ending(reference: &Outcome, subject: &Outcome) -> Ending {
    let sides = [reference, subject];
    if sides.into_iter().any(Outcome::is_broken) {
        return Ending::Broken;
    }
    let inconclusive = sides.into_iter().find_map(|outcome| match outcome {
        Outcome::Inconclusive(reason) => Some(*reason),
        _ => None,
    });
    let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
    let ended = !matches!(reference, Outcome::Inconclusive(_)) && *reference != exhausted;
    match inconclusive {
        Some(Reason::HostCalls) if ended => Ending::Broken,
        Some(reason) => Ending::Inconclusive(reason),
        None if sides.contains(&&exhausted) => Ending::Inconclusive(Reason::StackExhausted),
        None if sides.contains(&&Outcome::Endless) => Ending::Broken,
        None => Ending::Comparable,
    }
}

/// Whether and how the outcomes differ.
pub fn check(reference: &Outcome, subject: &Outcome) -> Option<Difference> {
    let agree = match (reference, subject) {
        (Outcome::Returned(_), Outcome::Returned(_)) => true,
        (Outcome::Endless, _) => false,
        (reference, subject) => reference == subject && !reference.is_broken(),
    };
    (!agree).then(|| {
        Difference::new(
            Place::Outcome,
            Seen::Outcome(reference.clone()),
            Seen::Outcome(subject.clone()),
        )
    })
}

/// Whether the numbers of steps differ. To be asked where no outcome ended the comparison.
pub fn check_steps(reference: &Observation, subject: &Observation) -> Option<Difference> {
    let (reference, subject) = (reference.steps.len(), subject.steps.len());
    (reference != subject).then(|| {
        Difference::new(
            Place::Steps,
            Seen::Number(reference as u64),
            Seen::Number(subject as u64),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ended, observe};
    use crate::value::Value;

    /// One outcome of each sort that lets a case go on.
    fn comparable() -> Vec<Outcome> {
        vec![
            Outcome::Returned(vec![Value::I32(1)]),
            Outcome::Trapped(TrapKind::Unreachable),
            Outcome::Trapped(TrapKind::Interrupted),
            Outcome::Unlinkable,
            Outcome::Skipped,
        ]
    }

    #[test]
    fn only_like_outcomes_agree() {
        for (i, reference) in comparable().iter().enumerate() {
            for (j, subject) in comparable().iter().enumerate() {
                assert_eq!(ending(reference, subject), Ending::Comparable);
                let expected = (i != j).then(|| {
                    Difference::new(
                        Place::Outcome,
                        Seen::Outcome(reference.clone()),
                        Seen::Outcome(subject.clone()),
                    )
                });
                assert_eq!(check(reference, subject), expected);
            }
        }
    }

    #[test]
    fn what_does_not_end_differs_from_what_does() {
        let endless = Outcome::Endless;
        for reference in comparable() {
            assert_eq!(ending(&reference, &endless), Ending::Broken);
            assert!(check(&reference, &endless).is_some());
        }
        // Where nothing is known of the end, nothing is known of its lack.
        let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
        let reason = Ending::Inconclusive(Reason::StackExhausted);
        assert_eq!(ending(&exhausted, &endless), reason);
        let fuel = Outcome::Inconclusive(Reason::OutOfFuel);
        let reason = Ending::Inconclusive(Reason::OutOfFuel);
        assert_eq!(ending(&fuel, &endless), reason);
    }

    #[test]
    fn who_calls_the_host_too_often_differs_from_who_does_not() {
        let too_often = Outcome::Inconclusive(Reason::HostCalls);
        let inconclusive = Ending::Inconclusive(Reason::HostCalls);
        for reference in comparable() {
            assert_eq!(ending(&reference, &too_often), Ending::Broken);
            assert!(check(&reference, &too_often).is_some());
            // What the reference did not bring to an end, nobody has to.
            assert_eq!(ending(&too_often, &reference), inconclusive);
        }
        assert_eq!(ending(&too_often, &too_often), inconclusive);
        let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
        assert_eq!(ending(&exhausted, &too_often), inconclusive);
        let fuel = Outcome::Inconclusive(Reason::OutOfFuel);
        let reason = Ending::Inconclusive(Reason::OutOfFuel);
        assert_eq!(ending(&fuel, &too_often), reason);
    }

    #[test]
    fn what_was_returned_is_not_asked() {
        let (one, none) = (comparable().swap_remove(0), Outcome::Returned(Vec::new()));
        assert_eq!(check(&one, &none), None);
    }

    #[test]
    fn a_broken_engine_always_differs() {
        let broken = [
            Outcome::Escaped("a write".to_string()),
            Outcome::Miscounted("a drop".to_string()),
            Outcome::Unfounded("a lack of stack".to_string()),
            Outcome::Failed("a panic".to_string()),
        ];
        let mut others = comparable();
        others.extend(broken.clone());
        others.push(Outcome::Inconclusive(Reason::OutOfFuel));
        others.push(Outcome::Trapped(TrapKind::StackExhausted));
        for broken in &broken {
            for other in &others {
                for (reference, subject) in [(broken, other), (other, broken)] {
                    assert_eq!(ending(reference, subject), Ending::Broken);
                    assert_eq!(
                        check(reference, subject),
                        Some(Difference::new(
                            Place::Outcome,
                            Seen::Outcome(reference.clone()),
                            Seen::Outcome(subject.clone()),
                        ))
                    );
                }
            }
        }
    }

    #[test]
    fn an_inconclusive_outcome_on_either_side_ends_the_case() {
        let fuel = Outcome::Inconclusive(Reason::OutOfFuel);
        let timeout = Outcome::Inconclusive(Reason::Timeout);
        let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
        for other in &comparable() {
            for (outcome, reason) in [
                (&fuel, Reason::OutOfFuel),
                (&timeout, Reason::Timeout),
                (&exhausted, Reason::StackExhausted),
            ] {
                assert_eq!(ending(outcome, other), Ending::Inconclusive(reason));
                assert_eq!(ending(other, outcome), Ending::Inconclusive(reason));
            }
        }
        let both = |a, b| ending(a, b);
        let reason = Ending::Inconclusive;
        assert_eq!(both(&fuel, &timeout), reason(Reason::OutOfFuel));
        assert_eq!(both(&timeout, &fuel), reason(Reason::Timeout));
        assert_eq!(both(&exhausted, &fuel), reason(Reason::OutOfFuel));
        assert_eq!(both(&exhausted, &exhausted), reason(Reason::StackExhausted));
    }

    #[test]
    fn numbers_of_steps_are_compared() {
        let two = observe([ended(Outcome::Skipped), ended(Outcome::Skipped)]);
        let one = observe([ended(Outcome::Skipped)]);
        assert_eq!(check_steps(&two, &two), None);
        assert_eq!(
            check_steps(&two, &one),
            Some(Difference::new(
                Place::Steps,
                Seen::Number(2),
                Seen::Number(1)
            ))
        );
    }
}
