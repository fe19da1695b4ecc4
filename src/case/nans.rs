//! NaNs made canonical by the module itself, for engines that leave them as they come.
//!
//! WebAssembly leaves sign and payload of a computed NaN open (core specification, "NaN
//! propagation"), so a module whose NaNs can be seen as bits may rightly differ between engines.
//! Here every instruction whose result may be such a NaN is followed by a check of the result
//! against itself, which replaces any NaN by the canonical one. This is done at the very
//! instruction, before anything else can store the result somewhere.

use wasm_encoder::{Instruction, ValType};
use wasmparser::Operator;

/// What a result is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Float {
    F32,
    F64,
    F32x4,
    F64x2,
}

impl Float {
    /// The type of such a result.
    pub(crate) fn ty(self) -> ValType {
        match self {
            Float::F32 => ValType::F32,
            Float::F64 => ValType::F64,
            Float::F32x4 | Float::F64x2 => ValType::V128,
        }
    }

    /// What replaces the value on top of the stack by the canonical NaN where it is a NaN, by means of
    /// a local of its type.
    pub(crate) fn canonicalisation(self, local: u32) -> [Instruction<'static>; 6] {
        const NAN32: u32 = 0x7fc0_0000;
        const NAN64: u64 = 0x7ff8_0000_0000_0000;
        let lanes32 = i128::from(NAN32) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
        let lanes64 = i128::from(NAN64) * 0x0000_0000_0000_0001_0000_0000_0000_0001;
        use Instruction as I;
        let (canonical, equal, choose) = match self {
            Float::F32 => {
                let nan = I::F32Const(f32::from_bits(NAN32).into());
                (nan, I::F32Eq, I::Select)
            }
            Float::F64 => {
                let nan = I::F64Const(f64::from_bits(NAN64).into());
                (nan, I::F64Eq, I::Select)
            }
            Float::F32x4 => (I::V128Const(lanes32), I::F32x4Eq, I::V128Bitselect),
            Float::F64x2 => (I::V128Const(lanes64), I::F64x2Eq, I::V128Bitselect),
        };
        [
            I::LocalTee(local),
            canonical,
            I::LocalGet(local),
            I::LocalGet(local),
            equal,
            choose,
        ]
    }
}

/// The kind of result of an instruction that computes on floats, where it may be any NaN.
/// Instructions that only move bits (`neg`, `abs`, `copysign`, `pmin`, `pmax`, loads, constants)
/// do not compute.
pub(crate) fn computes(operator: &Operator<'_>) -> Option<Float> {
    use Operator as O;
    match operator {
        O::F32Add
        | O::F32Sub
        | O::F32Mul
        | O::F32Div
        | O::F32Sqrt
        | O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F32Min
        | O::F32Max
        | O::F32DemoteF64 => Some(Float::F32),
        O::F64Add
        | O::F64Sub
        | O::F64Mul
        | O::F64Div
        | O::F64Sqrt
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest
        | O::F64Min
        | O::F64Max
        | O::F64PromoteF32 => Some(Float::F64),
        O::F32x4Add
        | O::F32x4Sub
        | O::F32x4Mul
        | O::F32x4Div
        | O::F32x4Sqrt
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F32x4Min
        | O::F32x4Max
        | O::F32x4RelaxedMin
        | O::F32x4RelaxedMax
        | O::F32x4RelaxedMadd
        | O::F32x4RelaxedNmadd
        | O::F32x4DemoteF64x2Zero => Some(Float::F32x4),
        O::F64x2Add
        | O::F64x2Sub
        | O::F64x2Mul
        | O::F64x2Div
        | O::F64x2Sqrt
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest
        | O::F64x2Min
        | O::F64x2Max
        | O::F64x2RelaxedMin
        | O::F64x2RelaxedMax
        | O::F64x2RelaxedMadd
        | O::F64x2RelaxedNmadd
        | O::F64x2PromoteLowF32x4 => Some(Float::F64x2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_bits_is_left_alone() {
        assert_eq!(computes(&Operator::F32Neg), None);
        assert_eq!(computes(&Operator::F64x2PMin), None);
        assert_eq!(computes(&Operator::F64PromoteF32), Some(Float::F64));
        assert_eq!(
            computes(&Operator::F32x4DemoteF64x2Zero),
            Some(Float::F32x4)
        );
    }
}
