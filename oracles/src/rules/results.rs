//! Oracle `results`: the values a call returned.
//!
//! For a step that returned `r₀ … rₙ₋₁` in the reference and `s₀ … sₘ₋₁` in the subject:
//!
//! > n = m ∧ ∀ i < n: rᵢ ≡ sᵢ
//!
//! A step that did not return on both sides has no results to compare; whether it should have
//! returned is the oracle `traps`' question.

use crate::finding::{Difference, Place, Seen};
use crate::observation::Outcome;
use crate::value::{Nans, Value};

/// The first result that differs.
pub fn check(reference: &Outcome, subject: &Outcome, nans: Nans) -> Option<Difference> {
    let (Outcome::Returned(reference), Outcome::Returned(subject)) = (reference, subject) else {
        return None;
    };
    let agreeing = reference
        .iter()
        .zip(subject)
        .take_while(|(reference, subject)| reference.agrees(subject, nans))
        .count();
    if agreeing == reference.len() && agreeing == subject.len() {
        return None;
    }
    let seen = |values: &[Value]| {
        values
            .get(agreeing)
            .map_or(Seen::Absent, |value| Seen::Value(*value))
    };
    Some(Difference::new(
        Place::Result(agreeing),
        seen(reference),
        seen(subject),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::TrapKind;

    fn differ(reference: &[Value], subject: &[Value]) -> Option<Difference> {
        check(
            &Outcome::Returned(reference.to_vec()),
            &Outcome::Returned(subject.to_vec()),
            Nans::Any,
        )
    }

    #[test]
    fn equal_results_and_any_nan_agree() {
        assert_eq!(differ(&[], &[]), None);
        let (quiet, other) = (Value::F32(0x7fc0_0000), Value::F32(0xffc0_0001));
        assert_eq!(
            differ(&[Value::I32(1), quiet], &[Value::I32(1), other]),
            None
        );
    }

    #[test]
    fn the_first_result_that_differs_is_named() {
        let reference = [Value::I64(1), Value::F64(0), Value::I32(3)];
        let subject = [Value::I64(1), Value::F64(1 << 63), Value::I32(4)];
        assert_eq!(
            differ(&reference, &subject),
            Some(Difference::new(
                Place::Result(1),
                Seen::Value(Value::F64(0)),
                Seen::Value(Value::F64(1 << 63)),
            ))
        );
    }

    #[test]
    fn a_missing_result_is_absent() {
        let (one, two) = (Value::I32(1), Value::I32(2));
        assert_eq!(
            differ(&[one, two], &[one]),
            Some(Difference::new(
                Place::Result(1),
                Seen::Value(two),
                Seen::Absent
            ))
        );
        assert_eq!(
            differ(&[], &[one]),
            Some(Difference::new(
                Place::Result(0),
                Seen::Absent,
                Seen::Value(one)
            ))
        );
    }

    #[test]
    fn a_dangling_reference_agrees_with_nothing() {
        assert!(differ(&[Value::Dangling], &[Value::Dangling]).is_some());
    }

    #[test]
    fn a_step_that_did_not_return_has_no_results() {
        let returned = Outcome::Returned(vec![Value::I32(1)]);
        let trapped = Outcome::Trapped(TrapKind::Unreachable);
        assert_eq!(check(&returned, &trapped, Nans::Any), None);
        assert_eq!(check(&trapped, &returned, Nans::Any), None);
    }
}
