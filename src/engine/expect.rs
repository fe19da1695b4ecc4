//! Whether a step's outcome is what a script says it must be.
//!
//! Expectations come from `.wast` scripts, in the words of the specification's test suite. A trap
//! message names a family of traps there, not one: it is met by every kind that the suite itself
//! uses it for.

use parallax_oracles::{Outcome, TrapKind, Value};

use crate::case::{Expectation, ValuePattern};

/// Says whether an outcome meets an expectation.
///
/// # Errors
/// What was expected and what came out, in one line.
pub fn check(expectation: &Expectation, outcome: &Outcome) -> Result<(), String> {
    let met = match (expectation, outcome) {
        (Expectation::Return(patterns), Outcome::Returned(values)) => {
            patterns.len() == values.len()
                && patterns
                    .iter()
                    .zip(values)
                    .all(|(pattern, value)| matches_value(pattern, value))
        }
        (Expectation::Trap(message), Outcome::Trapped(kind)) => matches_trap(message, *kind),
        (Expectation::Exhaustion, Outcome::Trapped(TrapKind::StackExhausted)) => true,
        (Expectation::Unlinkable, Outcome::Unlinkable) => true,
        _ => false,
    };
    if met {
        Ok(())
    } else {
        Err(format!("expected {}, {outcome}", describe(expectation)))
    }
}

/// Whether a value is one that the pattern describes.
pub fn matches_value(pattern: &ValuePattern, value: &Value) -> bool {
    match (pattern, value) {
        (ValuePattern::Exactly(expected), _) => expected == value,
        (ValuePattern::CanonicalNan32, Value::F32(bits)) => canonical_nan32(*bits),
        (ValuePattern::ArithmeticNan32, Value::F32(bits)) => arithmetic_nan32(*bits),
        (ValuePattern::CanonicalNan64, Value::F64(bits)) => canonical_nan64(*bits),
        (ValuePattern::ArithmeticNan64, Value::F64(bits)) => arithmetic_nan64(*bits),
        (ValuePattern::Lanes(lanes), Value::V128(bits)) => matches_lanes(lanes, *bits),
        (ValuePattern::AnyFunc, Value::Func(Some(_))) => true,
        (ValuePattern::AnyExtern, Value::Extern(Some(_))) => true,
        (ValuePattern::AnyNull, Value::Func(None) | Value::Extern(None)) => true,
        (ValuePattern::Either(patterns), _) => {
            patterns.iter().any(|pattern| matches_value(pattern, value))
        }
        _ => false,
    }
}

/// Compares a vector lane by lane. Its width follows from the number of lanes; a lane's pattern is
/// held against the lane as a value of the pattern's own type.
fn matches_lanes(lanes: &[ValuePattern], bits: u128) -> bool {
    let width = match lanes.len() {
        2 => 64,
        4 => 32,
        _ => return false,
    };
    lanes.iter().enumerate().all(|(index, pattern)| {
        let lane = (bits >> (width * index)) as u64;
        matches_lane(pattern, lane, width)
    })
}

fn matches_lane(pattern: &ValuePattern, lane: u64, width: usize) -> bool {
    match pattern {
        ValuePattern::Exactly(Value::I32(expected)) => width == 32 && lane as i32 == *expected,
        ValuePattern::Exactly(Value::F32(expected)) => width == 32 && lane as u32 == *expected,
        ValuePattern::Exactly(Value::I64(expected)) => width == 64 && lane as i64 == *expected,
        ValuePattern::Exactly(Value::F64(expected)) => width == 64 && lane == *expected,
        ValuePattern::Either(patterns) => patterns
            .iter()
            .any(|pattern| matches_lane(pattern, lane, width)),
        _ if width == 32 => matches_value(pattern, &Value::F32(lane as u32)),
        _ => matches_value(pattern, &Value::F64(lane)),
    }
}

/// A NaN is canonical when of its payload only the most significant bit is set; its sign is free
/// (WebAssembly core specification, "Floating-Point").
fn canonical_nan32(bits: u32) -> bool {
    bits & 0x7fff_ffff == 0x7fc0_0000
}

fn canonical_nan64(bits: u64) -> bool {
    bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000
}

/// A NaN is arithmetic when the most significant bit of its payload is set.
fn arithmetic_nan32(bits: u32) -> bool {
    bits & 0x7fc0_0000 == 0x7fc0_0000
}

fn arithmetic_nan64(bits: u64) -> bool {
    bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000
}

/// Whether a message of the specification's tests is about this kind of trap. Like the suite's own
/// runners, goes by how the message begins; the rest (an element's index, for one) is free.
pub fn matches_trap(message: &str, kind: TrapKind) -> bool {
    let phrases: &[&str] = match kind {
        TrapKind::Unreachable => &["unreachable"],
        TrapKind::MemoryOutOfBounds => &["out of bounds memory access"],
        TrapKind::TableOutOfBounds => &["out of bounds table access", "undefined element"],
        TrapKind::IndirectCallToNull => &["uninitialized element"],
        TrapKind::BadSignature => &["indirect call type mismatch"],
        TrapKind::IntegerOverflow => &["integer overflow"],
        TrapKind::IntegerDivisionByZero => &["integer divide by zero"],
        TrapKind::BadConversionToInteger => &["invalid conversion to integer"],
        TrapKind::StackExhausted => &["call stack exhausted"],
        TrapKind::Interrupted => &["interrupt"],
        TrapKind::Host => &["host trap"],
    };
    phrases.iter().any(|phrase| message.starts_with(phrase))
}

fn describe(expectation: &Expectation) -> String {
    match expectation {
        Expectation::Return(patterns) if patterns.is_empty() => "no results".to_string(),
        Expectation::Return(patterns) => {
            let patterns: Vec<String> = patterns.iter().map(describe_pattern).collect();
            patterns.join(", ")
        }
        Expectation::Trap(message) => format!("trap \"{message}\""),
        Expectation::Exhaustion => "stack exhaustion".to_string(),
        Expectation::Unlinkable => "refusal to link".to_string(),
    }
}

fn describe_pattern(pattern: &ValuePattern) -> String {
    let list = |patterns: &[ValuePattern]| {
        let patterns: Vec<String> = patterns.iter().map(describe_pattern).collect();
        patterns.join(" | ")
    };
    match pattern {
        ValuePattern::Exactly(value) => value.to_string(),
        ValuePattern::CanonicalNan32 => "f32 nan:canonical".to_string(),
        ValuePattern::CanonicalNan64 => "f64 nan:canonical".to_string(),
        ValuePattern::ArithmeticNan32 => "f32 nan:arithmetic".to_string(),
        ValuePattern::ArithmeticNan64 => "f64 nan:arithmetic".to_string(),
        ValuePattern::Lanes(lanes) => format!("v128 [{}]", list(lanes)),
        ValuePattern::AnyFunc => "any funcref".to_string(),
        ValuePattern::AnyExtern => "any externref".to_string(),
        ValuePattern::AnyNull => "any null".to_string(),
        ValuePattern::Either(patterns) => format!("one of ({})", list(patterns)),
    }
}

#[cfg(test)]
mod tests {
    use parallax_oracles::{FuncIdentity, ObjectId, Reason};

    use super::*;

    fn returns(patterns: Vec<ValuePattern>, values: Vec<Value>) -> bool {
        check(&Expectation::Return(patterns), &Outcome::Returned(values)).is_ok()
    }

    #[test]
    fn exact_values_are_compared_by_their_bits() {
        let exactly = ValuePattern::Exactly;
        assert!(returns(vec![exactly(Value::I32(1))], vec![Value::I32(1)]));
        assert!(!returns(vec![exactly(Value::I32(1))], vec![Value::I64(1)]));
        assert!(!returns(
            vec![exactly(Value::F32(0))],
            vec![Value::F32(1 << 31)]
        ));
        assert!(!returns(vec![exactly(Value::I32(1))], vec![]));
        assert!(!returns(vec![], vec![Value::I32(1)]));
        assert!(returns(vec![], vec![]));
    }

    #[test]
    fn nans_are_told_apart() {
        let is = |pattern: &ValuePattern, value| matches_value(pattern, &value);
        let canonical = ValuePattern::CanonicalNan32;
        let arithmetic = ValuePattern::ArithmeticNan32;
        for (bits, is_canonical, is_arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0x7fa0_0000, false, false),
            (0x7f80_0000, false, false),
        ] {
            assert_eq!(is(&canonical, Value::F32(bits)), is_canonical);
            assert_eq!(is(&arithmetic, Value::F32(bits)), is_arithmetic);
        }
        let canonical = ValuePattern::CanonicalNan64;
        let arithmetic = ValuePattern::ArithmeticNan64;
        for (bits, is_canonical, is_arithmetic) in [
            (0x7ff8_0000_0000_0000, true, true),
            (0xfff8_0000_0000_0000, true, true),
            (0xfff8_0000_0000_0001, false, true),
            (0x7ff4_0000_0000_0000, false, false),
        ] {
            assert_eq!(is(&canonical, Value::F64(bits)), is_canonical);
            assert_eq!(is(&arithmetic, Value::F64(bits)), is_arithmetic);
        }
        assert!(!is(&canonical, Value::F32(0x7fc0_0000)));
    }

    #[test]
    fn lanes_are_taken_from_the_lowest() {
        let lanes = |a, b, c, d| ValuePattern::Lanes(vec![a, b, c, d]);
        let exactly = |bits| ValuePattern::Exactly(Value::F32(bits));
        let vector = Value::V128(0x7fc0_0000_0000_0003_0000_0002_0000_0001);
        let pattern = lanes(
            exactly(1),
            exactly(2),
            exactly(3),
            ValuePattern::CanonicalNan32,
        );
        assert!(matches_value(&pattern, &vector));
        let pattern = lanes(
            exactly(2),
            exactly(1),
            exactly(3),
            ValuePattern::CanonicalNan32,
        );
        assert!(!matches_value(&pattern, &vector));
        let pattern = ValuePattern::Lanes(vec![
            ValuePattern::Exactly(Value::I64(0x2_0000_0001)),
            ValuePattern::Exactly(Value::F64(0x7fc0_0000_0000_0003)),
        ]);
        assert!(matches_value(&pattern, &vector));
    }

    #[test]
    fn references_match_by_kind() {
        let func = Value::Func(Some(FuncIdentity::Host(0)));
        let object = Value::Extern(Some(ObjectId(4)));
        for (pattern, value, expected) in [
            (ValuePattern::AnyFunc, func, true),
            (ValuePattern::AnyFunc, Value::Func(None), false),
            (ValuePattern::AnyFunc, object, false),
            (ValuePattern::AnyExtern, object, true),
            (ValuePattern::AnyExtern, Value::Extern(None), false),
            (ValuePattern::AnyNull, Value::Func(None), true),
            (ValuePattern::AnyNull, Value::Extern(None), true),
            (ValuePattern::AnyNull, object, false),
            (
                ValuePattern::Either(vec![ValuePattern::AnyNull, ValuePattern::AnyFunc]),
                func,
                true,
            ),
        ] {
            assert_eq!(
                matches_value(&pattern, &value),
                expected,
                "{pattern:?} {value}"
            );
        }
    }

    #[test]
    fn trap_messages_name_kinds() {
        let trap = |message: &str, kind| {
            check(
                &Expectation::Trap(message.to_string()),
                &Outcome::Trapped(kind),
            )
            .is_ok()
        };
        assert!(trap("undefined element", TrapKind::TableOutOfBounds));
        assert!(trap(
            "out of bounds table access",
            TrapKind::TableOutOfBounds
        ));
        assert!(trap(
            "uninitialized element 2",
            TrapKind::IndirectCallToNull
        ));
        assert!(!trap(
            "out of bounds memory access",
            TrapKind::TableOutOfBounds
        ));
        assert!(!trap("integer overflow", TrapKind::IntegerDivisionByZero));
    }

    #[test]
    fn outcomes_of_another_sort_never_match() {
        let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
        assert!(check(&Expectation::Exhaustion, &exhausted).is_ok());
        assert!(check(&Expectation::Unlinkable, &Outcome::Unlinkable).is_ok());
        assert!(check(&Expectation::Unlinkable, &exhausted).is_err());
        let ran_out = Outcome::Inconclusive(Reason::OutOfFuel);
        assert!(check(&Expectation::Exhaustion, &ran_out).is_err());
        let error = check(
            &Expectation::Trap("unreachable".into()),
            &Outcome::Returned(vec![]),
        );
        assert_eq!(
            error.unwrap_err(),
            "expected trap \"unreachable\", returned nothing"
        );
    }
}
