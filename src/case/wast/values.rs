//! Values and patterns of scripts, turned into those of a case.

use parallax_oracles::{ObjectId, Value};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

use crate::case::ValuePattern;
use crate::case::host::FIRST_GLOBAL_OBJECT;
use crate::case::module::ValType;

/// The value of an argument.
///
/// # Errors
/// A line that says what is unsupported about it.
pub(super) fn argument(arg: &WastArg<'_>) -> Result<Value, String> {
    let WastArg::Core(arg) = arg else {
        return Err("component values are unsupported".to_string());
    };
    match arg {
        WastArgCore::I32(value) => Ok(Value::I32(*value)),
        WastArgCore::I64(value) => Ok(Value::I64(*value)),
        WastArgCore::F32(value) => Ok(Value::F32(value.bits)),
        WastArgCore::F64(value) => Ok(Value::F64(value.bits)),
        WastArgCore::V128(value) => Ok(Value::V128(u128::from_le_bytes(value.to_le_bytes()))),
        WastArgCore::RefNull(ty) => null(ty),
        WastArgCore::RefExtern(number) => object(*number),
        WastArgCore::RefHost(_) => Err("ref.host is unsupported".to_string()),
    }
}

/// The pattern that an expected result describes.
///
/// # Errors
/// A line that says what is unsupported about it.
pub(super) fn pattern(result: &WastRet<'_>) -> Result<ValuePattern, String> {
    match result {
        WastRet::Core(result) => core_pattern(result),
        _ => Err("component values are unsupported".to_string()),
    }
}

fn core_pattern(result: &WastRetCore<'_>) -> Result<ValuePattern, String> {
    Ok(match result {
        WastRetCore::I32(value) => ValuePattern::Exactly(Value::I32(*value)),
        WastRetCore::I64(value) => ValuePattern::Exactly(Value::I64(*value)),
        WastRetCore::F32(value) => pattern32(value),
        WastRetCore::F64(value) => pattern64(value),
        WastRetCore::V128(value) => vector_pattern(value),
        WastRetCore::RefNull(None) => ValuePattern::AnyNull,
        WastRetCore::RefNull(Some(ty)) => ValuePattern::Exactly(null(ty)?),
        WastRetCore::RefExtern(None) => ValuePattern::AnyExtern,
        // The host's own objects come out, though no script can pass them in.
        WastRetCore::RefExtern(Some(number)) => {
            ValuePattern::Exactly(Value::Extern(Some(ObjectId(*number))))
        }
        WastRetCore::RefFunc(_) => ValuePattern::AnyFunc,
        WastRetCore::Either(patterns) => ValuePattern::Either(
            patterns
                .iter()
                .map(core_pattern)
                .collect::<Result<_, _>>()?,
        ),
        _ => return Err("a reference of this kind is unsupported".to_string()),
    })
}

fn null(ty: &HeapType<'_>) -> Result<Value, String> {
    match ty {
        HeapType::Abstract {
            shared: false,
            ty: AbstractHeapType::Func,
        } => Ok(Value::Func(None)),
        HeapType::Abstract {
            shared: false,
            ty: AbstractHeapType::Extern,
        } => Ok(Value::Extern(None)),
        _ => Err("a null reference of this type is unsupported".to_string()),
    }
}

fn object(number: u32) -> Result<Value, String> {
    if number < FIRST_GLOBAL_OBJECT {
        Ok(Value::Extern(Some(ObjectId(number))))
    } else {
        Err(format!(
            "ref.extern {number}: numbers from {FIRST_GLOBAL_OBJECT} are the host's own"
        ))
    }
}

fn pattern32(value: &NanPattern<F32>) -> ValuePattern {
    match value {
        NanPattern::CanonicalNan => ValuePattern::CanonicalNan32,
        NanPattern::ArithmeticNan => ValuePattern::ArithmeticNan32,
        NanPattern::Value(value) => ValuePattern::Exactly(Value::F32(value.bits)),
    }
}

fn pattern64(value: &NanPattern<F64>) -> ValuePattern {
    match value {
        NanPattern::CanonicalNan => ValuePattern::CanonicalNan64,
        NanPattern::ArithmeticNan => ValuePattern::ArithmeticNan64,
        NanPattern::Value(value) => ValuePattern::Exactly(Value::F64(value.bits)),
    }
}

fn vector_pattern(value: &V128Pattern) -> ValuePattern {
    /// Puts lanes of `bits` bits together, the first lowest.
    fn lanes(bits: u32, lanes: impl DoubleEndedIterator<Item = u64>) -> ValuePattern {
        let value = lanes
            .rev()
            .fold(0, |value, lane| value << bits | u128::from(lane));
        ValuePattern::Exactly(Value::V128(value))
    }
    match value {
        V128Pattern::I8x16(values) => lanes(8, values.iter().map(|lane| *lane as u8 as u64)),
        V128Pattern::I16x8(values) => lanes(16, values.iter().map(|lane| *lane as u16 as u64)),
        V128Pattern::I32x4(values) => lanes(32, values.iter().map(|lane| *lane as u32 as u64)),
        V128Pattern::I64x2(values) => lanes(64, values.iter().map(|lane| *lane as u64)),
        V128Pattern::F32x4(values) => {
            let exact = values.each_ref().map(|lane| match lane {
                NanPattern::Value(value) => Some(u64::from(value.bits)),
                _ => None,
            });
            match exact {
                [Some(a), Some(b), Some(c), Some(d)] => lanes(32, [a, b, c, d].into_iter()),
                _ => ValuePattern::Lanes(values.iter().map(pattern32).collect()),
            }
        }
        V128Pattern::F64x2(values) => {
            let exact = values.each_ref().map(|lane| match lane {
                NanPattern::Value(value) => Some(value.bits),
                _ => None,
            });
            match exact {
                [Some(a), Some(b)] => lanes(64, [a, b].into_iter()),
                _ => ValuePattern::Lanes(values.iter().map(pattern64).collect()),
            }
        }
    }
}

/// Whether a value may be passed where this type is asked for.
pub(super) fn has_type(value: &Value, ty: ValType) -> bool {
    matches!(
        (value, ty),
        (Value::I32(_), ValType::I32)
            | (Value::I64(_), ValType::I64)
            | (Value::F32(_), ValType::F32)
            | (Value::F64(_), ValType::F64)
            | (Value::V128(_), ValType::V128)
            | (Value::Func(_), ValType::FuncRef)
            | (Value::Extern(_), ValType::ExternRef)
    )
}
