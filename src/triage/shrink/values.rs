//! Which values are simpler than others: zero, then one and its negative, then what has fewer bits.

use parallax_oracles::{ObjectId, Value};

/// Values that are simpler than this one, the simplest first; none if there are none.
pub(super) fn simpler(value: Value) -> Vec<Value> {
    match value {
        Value::I32(value) => numbers(value.into())
            .filter_map(|it| i32::try_from(it).ok())
            .map(Value::I32)
            .collect(),
        Value::I64(value) => numbers(value.into())
            .filter_map(|it| i64::try_from(it).ok())
            .map(Value::I64)
            .collect(),
        Value::F32(bits) => {
            let simple = [0.0f32, 1.0, -1.0, 0.5, f32::INFINITY, f32::NAN].map(f32::to_bits);
            floats(bits, simple, rounded32(bits))
                .map(Value::F32)
                .collect()
        }
        Value::F64(bits) => {
            let simple = [0.0f64, 1.0, -1.0, 0.5, f64::INFINITY, f64::NAN].map(f64::to_bits);
            floats(bits, simple, rounded64(bits))
                .map(Value::F64)
                .collect()
        }
        Value::V128(bits) => vectors(bits).map(Value::V128).collect(),
        Value::Func(None) | Value::Extern(None) | Value::Dangling => Vec::new(),
        Value::Func(Some(_)) => vec![Value::Func(None)],
        Value::Extern(Some(ObjectId(number))) => {
            let first = (number != 1).then_some(Value::Extern(Some(ObjectId(1))));
            [Value::Extern(None)].into_iter().chain(first).collect()
        }
    }
}

/// Numbers that are simpler than this one.
fn numbers(value: i128) -> impl Iterator<Item = i128> {
    let closer = [
        0,
        1,
        -1,
        // Powers of two and their neighbours, which is what most mistakes are about.
        1 << value.unsigned_abs().checked_ilog2().unwrap_or(0),
        value / 256,
        value / 2,
    ];
    // Ever less less, so that where it has to stop is come to in few steps.
    let steps = (2..64).step_by(2).map(move |bits| value / (1 << bits));
    let nearby = steps
        .take_while(|step| *step != 0)
        .map(move |step| value - step);
    let rank = move |number: i128| rank(number);
    closer
        .into_iter()
        .chain(nearby)
        .chain([value - value.signum(), -value])
        .filter(move |number| rank(*number) < rank(value))
}

/// How simple a number is; less is simpler.
fn rank(number: i128) -> (u8, u128, bool) {
    match number {
        0 => (0, 0, false),
        1 => (1, 0, false),
        -1 => (2, 0, false),
        _ if number.unsigned_abs().is_power_of_two() => (3, number.unsigned_abs(), number < 0),
        _ => (4, number.unsigned_abs(), number < 0),
    }
}

/// Bits of floats that are simpler: of a fixed list, those before `bits`; of other numbers, with the
/// end of their fraction cut off.
fn floats<T: Copy + PartialEq, const N: usize>(
    bits: T,
    simple: [T; N],
    rounded: impl Iterator<Item = T>,
) -> impl Iterator<Item = T> {
    let position = simple.iter().position(|it| *it == bits);
    let known = position.unwrap_or(N);
    let rounded = rounded.filter(move |it| position.is_none() && *it != bits);
    simple.into_iter().take(known).chain(rounded)
}

fn rounded32(bits: u32) -> impl Iterator<Item = u32> {
    [23u32, 12, 6, 3].map(|cut| bits >> cut << cut).into_iter()
}

fn rounded64(bits: u64) -> impl Iterator<Item = u64> {
    [52u32, 32, 16, 8].map(|cut| bits >> cut << cut).into_iter()
}

/// Vectors that are simpler: with half of what is left of them, each 8, 16, 32 or 64 bits, cleared.
fn vectors(bits: u128) -> impl Iterator<Item = u128> {
    let lanes = [64u32, 32, 16, 8].into_iter().flat_map(move |width| {
        let mask = (1u128 << width) - 1;
        (0..128 / width).map(move |lane| bits & !(mask << (lane * width)))
    });
    [0, 1]
        .into_iter()
        .chain(lanes)
        .filter(move |it| (it.count_ones(), *it) < (bits.count_ones(), bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i32>().prop_map(Value::I32),
            any::<i64>().prop_map(Value::I64),
            any::<u32>().prop_map(Value::F32),
            any::<u64>().prop_map(Value::F64),
            any::<u128>().prop_map(Value::V128),
            (0..9u32).prop_map(|number| Value::Extern(Some(ObjectId(number)))),
        ]
    }

    proptest! {
        /// Otherwise a shrinker would go round in circles.
        #[test]
        fn nothing_is_simpler_than_itself(
            start in value(),
            choices in proptest::collection::vec(any::<u8>(), 100),
        ) {
            let mut value = start;
            let mut seen = vec![start];
            for choice in choices {
                let next = simpler(value);
                let Some(next) = next.get(usize::from(choice) % next.len().max(1)) else {
                    break;
                };
                value = *next;
                prop_assert!(!seen.contains(&value), "{start} came to {value} twice");
                seen.push(value);
            }
        }
    }

    #[test]
    fn a_bound_far_from_zero_is_come_to_in_few_steps() {
        for bound in [1_000_000, 123_456_789_012, 3] {
            let mut value = Value::I64(i64::MAX - 5);
            let mut steps = 0;
            let holds = |it: &Value| matches!(it, Value::I64(number) if *number >= bound);
            while let Some(next) = simpler(value).into_iter().find(holds) {
                value = next;
                steps += 1;
            }
            assert!(steps < 100, "{bound}: {value}, {steps} steps");
            let Value::I64(number) = value else {
                panic!("{value}")
            };
            // A power of two that is larger is simpler.
            assert!(number == bound || number.unsigned_abs().is_power_of_two());
        }
    }

    #[test]
    fn zero_comes_first() {
        assert_eq!(simpler(Value::I32(77))[0], Value::I32(0));
        assert_eq!(simpler(Value::I64(i64::MIN))[0], Value::I64(0));
        assert_eq!(simpler(Value::F32(0x7fc0_0001))[0], Value::F32(0));
        assert!(simpler(Value::F64(0)).is_empty());
        assert_eq!(simpler(Value::Extern(Some(ObjectId(3)))).len(), 2);
    }
}
