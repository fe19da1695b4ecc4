//! Values, patterns and strings as scripts write them.

use std::fmt::Write;

use parallax_oracles::Value;

use crate::case::ValuePattern;
use crate::case::host::FIRST_GLOBAL_OBJECT;

/// A string literal.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            ' '..='~' => write!(out, "{c}"),
            _ => write!(out, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

/// A value as an argument. Scripts have no word for a function, which becomes null.
pub(super) fn argument(value: &Value) -> String {
    match *value {
        Value::I32(value) => format!("(i32.const {value})"),
        Value::I64(value) => format!("(i64.const {value})"),
        Value::F32(bits) => format!("(f32.const {})", float32(bits)),
        Value::F64(bits) => format!("(f64.const {})", float64(bits)),
        Value::V128(bits) => lanes("i32x4", bits, 4, |lane| format!("{}", lane as i32)),
        Value::Func(_) => "(ref.null func)".to_string(),
        Value::Extern(None) | Value::Dangling => "(ref.null extern)".to_string(),
        Value::Extern(Some(object)) => format!("(ref.extern {})", object.0),
    }
}

/// A value as an expected result that another engine may show too: NaNs of any payload that the
/// specification allows, references without what only parallax knows of them.
pub(super) fn result(value: &Value) -> String {
    match *value {
        Value::F32(bits) if is_quiet32(bits) => "(f32.const nan:arithmetic)".to_string(),
        Value::F64(bits) if is_quiet64(bits) => "(f64.const nan:arithmetic)".to_string(),
        // What the lanes are is not known; a canonical NaN is hardly anything else, though, while
        // a lane of ones is a mask more often.
        Value::V128(bits) if (0..4).any(|lane| is_canonical32((bits >> (32 * lane)) as u32)) => {
            lanes("f32x4", bits, 4, |lane| match lane as u32 {
                bits if is_canonical32(bits) => "nan:arithmetic".to_string(),
                bits => float32(bits),
            })
        }
        Value::V128(bits) if (0..2).any(|lane| is_canonical64((bits >> (64 * lane)) as u64)) => {
            lanes("f64x2", bits, 2, |lane| match lane {
                bits if is_canonical64(bits) => "nan:arithmetic".to_string(),
                bits => float64(bits),
            })
        }
        _ => exactly(value),
    }
}

/// A pattern as an expected result.
pub(super) fn pattern(pattern: &ValuePattern) -> String {
    match pattern {
        ValuePattern::Exactly(value) => exactly(value),
        ValuePattern::CanonicalNan32 | ValuePattern::ArithmeticNan32 => {
            format!("(f32.const {})", lane_pattern(pattern))
        }
        ValuePattern::CanonicalNan64 | ValuePattern::ArithmeticNan64 => {
            format!("(f64.const {})", lane_pattern(pattern))
        }
        ValuePattern::Lanes(lanes) => {
            let shape = if lanes.len() == 4 { "f32x4" } else { "f64x2" };
            let lanes: Vec<String> = lanes.iter().map(lane_pattern).collect();
            format!("(v128.const {shape} {})", lanes.join(" "))
        }
        ValuePattern::AnyFunc => "(ref.func)".to_string(),
        ValuePattern::AnyExtern => "(ref.extern)".to_string(),
        ValuePattern::AnyNull => "(ref.null)".to_string(),
        ValuePattern::Either(patterns) => {
            let patterns: Vec<String> = patterns.iter().map(self::pattern).collect();
            format!("(either {})", patterns.join(" "))
        }
    }
}

/// A pattern as a lane of a vector, or as what stands behind `f32.const` or `f64.const`.
fn lane_pattern(pattern: &ValuePattern) -> String {
    match pattern {
        ValuePattern::CanonicalNan32 | ValuePattern::CanonicalNan64 => "nan:canonical".to_string(),
        ValuePattern::Exactly(Value::F32(bits)) => float32(*bits),
        ValuePattern::Exactly(Value::F64(bits)) => float64(*bits),
        _ => "nan:arithmetic".to_string(),
    }
}

/// A value as an expected result, as exactly as the format allows.
fn exactly(value: &Value) -> String {
    match *value {
        Value::Func(Some(_)) => "(ref.func)".to_string(),
        Value::Extern(Some(object)) if object.0 >= FIRST_GLOBAL_OBJECT => {
            "(ref.extern)".to_string()
        }
        _ => argument(value),
    }
}

/// A vector of `count` lanes, the lowest first.
fn lanes(shape: &str, bits: u128, count: u32, lane: impl Fn(u64) -> String) -> String {
    let width = 128 / count;
    let mask = u64::MAX >> (64 - width);
    let lanes: Vec<String> = (0..count)
        .map(|index| lane((bits >> (width * index)) as u64 & mask))
        .collect();
    format!("(v128.const {shape} {})", lanes.join(" "))
}

fn float32(bits: u32) -> String {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        nan(bits >> 31 == 1, u64::from(bits & 0x007f_ffff))
    } else {
        format!("{value:?}")
    }
}

fn float64(bits: u64) -> String {
    let value = f64::from_bits(bits);
    if value.is_nan() {
        nan(bits >> 63 == 1, bits & 0x000f_ffff_ffff_ffff)
    } else {
        format!("{value:?}")
    }
}

fn nan(negative: bool, payload: u64) -> String {
    format!("{}nan:{payload:#x}", if negative { "-" } else { "" })
}

fn is_quiet32(bits: u32) -> bool {
    bits & 0x7fc0_0000 == 0x7fc0_0000
}

fn is_quiet64(bits: u64) -> bool {
    bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000
}

fn is_canonical32(bits: u32) -> bool {
    bits & 0x7fff_ffff == 0x7fc0_0000
}

fn is_canonical64(bits: u64) -> bool {
    bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000
}
