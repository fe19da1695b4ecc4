//! What assertions mean: whether an outcome meets one, and which words stand for which trap.

use parallax_oracles::{Outcome, Reason, TrapKind, Value};

use crate::case::{Expectation, ValuePattern};

impl Expectation {
    /// Whether an outcome is what a script asks for.
    pub fn met_by(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Expectation::Return(patterns), Outcome::Returned(values)) => {
                patterns.len() == values.len()
                    && patterns
                        .iter()
                        .zip(values)
                        .all(|(pattern, value)| pattern.matches(value))
            }
            (Expectation::Trap(message), Outcome::Trapped(kind)) => {
                trap_of_message(message).is_none_or(|expected| expected == *kind)
            }
            (Expectation::Exhaustion, Outcome::Trapped(TrapKind::StackExhausted))
            | (Expectation::Exhaustion, Outcome::Inconclusive(Reason::StackExhausted))
            | (Expectation::Unlinkable, Outcome::Unlinkable) => true,
            _ => false,
        }
    }
}

impl ValuePattern {
    /// Whether a value is one that the pattern describes.
    pub fn matches(&self, value: &Value) -> bool {
        match (self, value) {
            (ValuePattern::Exactly(expected), value) => expected == value,
            (ValuePattern::CanonicalNan32, Value::F32(bits)) => bits & 0x7fff_ffff == 0x7fc0_0000,
            (ValuePattern::CanonicalNan64, Value::F64(bits)) => {
                bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000
            }
            (ValuePattern::ArithmeticNan32, Value::F32(bits)) => bits & 0x7fc0_0000 == 0x7fc0_0000,
            (ValuePattern::ArithmeticNan64, Value::F64(bits)) => {
                bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000
            }
            (ValuePattern::Lanes(lanes), Value::V128(bits)) => match lanes.len() {
                4 => (0..).zip(lanes).all(|(lane, pattern)| {
                    pattern.matches(&Value::F32((bits >> (32 * lane)) as u32))
                }),
                2 => (0..).zip(lanes).all(|(lane, pattern)| {
                    pattern.matches(&Value::F64((bits >> (64 * lane)) as u64))
                }),
                _ => false,
            },
            (ValuePattern::AnyFunc, Value::Func(Some(_)))
            | (ValuePattern::AnyExtern, Value::Extern(Some(_)))
            | (ValuePattern::AnyNull, Value::Func(None) | Value::Extern(None)) => true,
            (ValuePattern::Either(patterns), value) => {
                patterns.iter().any(|pattern| pattern.matches(value))
            }
            _ => false,
        }
    }
}

/// The trap that a message of the specification's scripts stands for, if it is one of theirs.
/// They name the trap by how the message begins.
pub(super) fn trap_of_message(message: &str) -> Option<TrapKind> {
    const MESSAGES: [(&str, TrapKind); 10] = [
        ("unreachable", TrapKind::Unreachable),
        ("out of bounds memory", TrapKind::MemoryOutOfBounds),
        ("out of bounds table", TrapKind::TableOutOfBounds),
        ("undefined", TrapKind::TableOutOfBounds),
        ("uninitialized", TrapKind::IndirectCallToNull),
        ("indirect call", TrapKind::BadSignature),
        ("integer overflow", TrapKind::IntegerOverflow),
        ("integer divide by zero", TrapKind::IntegerDivisionByZero),
        ("invalid conversion", TrapKind::BadConversionToInteger),
        ("call stack exhausted", TrapKind::StackExhausted),
    ];
    MESSAGES
        .iter()
        .find(|(beginning, _)| message.starts_with(beginning))
        .map(|(_, kind)| *kind)
}

/// How the specification's scripts word a trap; none for traps that they do not know.
pub(super) fn message_of_trap(kind: TrapKind) -> Option<&'static str> {
    Some(match kind {
        TrapKind::Unreachable => "unreachable",
        TrapKind::MemoryOutOfBounds => "out of bounds memory access",
        TrapKind::TableOutOfBounds => "out of bounds table access",
        TrapKind::IndirectCallToNull => "uninitialized element",
        TrapKind::BadSignature => "indirect call type mismatch",
        TrapKind::IntegerOverflow => "integer overflow",
        TrapKind::IntegerDivisionByZero => "integer divide by zero",
        TrapKind::BadConversionToInteger => "invalid conversion to integer",
        TrapKind::StackExhausted => "call stack exhausted",
        TrapKind::Interrupted | TrapKind::Host => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_messages_mean_what_they_are_written_for() {
        for kind in [
            TrapKind::Unreachable,
            TrapKind::MemoryOutOfBounds,
            TrapKind::TableOutOfBounds,
            TrapKind::IndirectCallToNull,
            TrapKind::BadSignature,
            TrapKind::IntegerOverflow,
            TrapKind::IntegerDivisionByZero,
            TrapKind::BadConversionToInteger,
            TrapKind::StackExhausted,
        ] {
            assert_eq!(message_of_trap(kind).and_then(trap_of_message), Some(kind));
        }
        let trap = |message: &str| Expectation::Trap(message.to_string());
        let undefined = trap("undefined element");
        assert!(undefined.met_by(&Outcome::Trapped(TrapKind::TableOutOfBounds)));
        assert!(!undefined.met_by(&Outcome::Trapped(TrapKind::IndirectCallToNull)));
        assert!(!undefined.met_by(&Outcome::Returned(Vec::new())));
        assert!(trap("of its own words").met_by(&Outcome::Trapped(TrapKind::Host)));
    }

    #[test]
    fn nan_patterns_tell_payloads_apart() {
        let canonical = ValuePattern::CanonicalNan32;
        let arithmetic = ValuePattern::ArithmeticNan32;
        for (bits, is_canonical, is_arithmetic) in [
            (0x7fc0_0000, true, true),
            (0xffc0_0000, true, true),
            (0x7fc0_0001, false, true),
            (0x7fa0_0000, false, false),
            (0x7f80_0000, false, false),
            (0x3f80_0000, false, false),
        ] {
            assert_eq!(
                canonical.matches(&Value::F32(bits)),
                is_canonical,
                "{bits:#x}"
            );
            assert_eq!(
                arithmetic.matches(&Value::F32(bits)),
                is_arithmetic,
                "{bits:#x}"
            );
        }
        let wide = Value::F64(0xfff8_0000_0000_0000);
        assert!(ValuePattern::CanonicalNan64.matches(&wide));
        assert!(!ValuePattern::CanonicalNan32.matches(&wide));
        let lanes = ValuePattern::Lanes(vec![
            ValuePattern::Exactly(Value::F64(1)),
            ValuePattern::ArithmeticNan64,
        ]);
        assert!(lanes.matches(&Value::V128(0x7ff8_0000_0000_0003 << 64 | 1)));
        assert!(!lanes.matches(&Value::V128(0x7ff8_0000_0000_0003 << 64)));
    }

    #[test]
    fn results_must_be_as_many() {
        let expected = Expectation::Return(vec![ValuePattern::Either(vec![
            ValuePattern::Exactly(Value::I32(1)),
            ValuePattern::Exactly(Value::I32(2)),
        ])]);
        assert!(expected.met_by(&Outcome::Returned(vec![Value::I32(2)])));
        assert!(!expected.met_by(&Outcome::Returned(vec![Value::I32(3)])));
        assert!(!expected.met_by(&Outcome::Returned(Vec::new())));
        assert!(!expected.met_by(&Outcome::Trapped(TrapKind::Unreachable)));
    }
}
