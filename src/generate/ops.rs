//! The instructions of WebAssembly 2.0, and relaxed vector instructions, that compute a value from operands, and those that access
//! memory, as tables: what generators choose from.

use wasm_encoder::{Instruction, MemArg};

use super::source::Source;
use crate::case::module::ValType::{self, F32, F64, I32, I64, V128};

/// An instruction that computes a value from operands.
#[derive(Clone, Debug)]
pub struct Op {
    /// How it is encoded.
    pub code: Code,
    /// The types of its operands, the topmost last.
    pub params: &'static [ValType],
    /// The type of its result.
    pub result: ValType,
    /// Whether some operands make it trap.
    pub traps: bool,
}

/// How an instruction is encoded.
#[derive(Clone, Debug)]
pub enum Code {
    /// It has no immediates.
    Plain(Instruction<'static>),
    /// It names one of so many lanes.
    Lane(fn(u8) -> Instruction<'static>, u8),
    /// `i8x16.shuffle`, which names sixteen of 32 lanes.
    Shuffle,
}

impl Op {
    /// The instruction, with immediates drawn where it has some.
    pub fn instruction(&self, source: &mut Source<'_>) -> Instruction<'static> {
        match &self.code {
            Code::Plain(instruction) => instruction.clone(),
            Code::Lane(make, lanes) => make(source.below(u32::from(*lanes)) as u8),
            Code::Shuffle => Instruction::I8x16Shuffle(shuffle(source)),
        }
    }
}

/// Lanes of a shuffle: the patterns that compilers look for, those with a small flaw, or any.
fn shuffle(source: &mut Source<'_>) -> [u8; 16] {
    let mut lanes = [0; 16];
    let kind = source.below(10);
    let argument = source.below(32) as u8;
    for (at, lane) in lanes.iter_mut().enumerate() {
        let at = at as u8;
        *lane = match kind {
            // A rotation of the concatenation.
            0 => at + argument / 2,
            // A splat.
            1 => argument,
            // Interleaving of low or high halves, by lanes of 1, 2, 4 or 8 bytes.
            2 | 3 => {
                let width = 1 << (argument & 3);
                let (element, byte) = (at / width, at % width);
                let half = if kind == 2 { 0 } else { 8 };
                half + element / 2 * width + byte + element % 2 * 16
            }
            // Reversal within groups.
            4 => at ^ [1, 3, 7, 15][usize::from(argument & 3)],
            // Lane by lane from either operand.
            5 => at + 16 * (argument >> (at & 3) & 1),
            // Even or odd elements.
            6 => {
                let width = 1 << (argument & 1);
                (at / width * 2 + (argument >> 2 & 1)) * width + at % width
            }
            // 32-bit lanes in any order.
            7 => (argument >> (at / 4) & 7) * 4 + at % 4,
            _ => source.below(32) as u8,
        } % 32;
    }
    if source.percent(15) {
        lanes[source.below(16) as usize] = source.below(32) as u8;
    }
    lanes
}

/// An instruction that reads or writes memory.
#[derive(Clone, Debug)]
pub struct Access {
    /// How it is encoded.
    pub code: AccessCode,
    /// Bytes it reads or writes.
    pub bytes: u8,
    /// The type of what it reads or writes.
    pub value: ValType,
}

/// How an access is encoded.
#[derive(Clone, Debug)]
pub enum AccessCode {
    /// A load.
    Load(fn(MemArg) -> Instruction<'static>),
    /// A store.
    Store(fn(MemArg) -> Instruction<'static>),
    /// A load of a lane into a vector.
    LoadLane(fn(MemArg, u8) -> Instruction<'static>),
    /// A store of a lane of a vector.
    StoreLane(fn(MemArg, u8) -> Instruction<'static>),
}

macro_rules! types {
    (($($ty:ident)*)) => { &[$($ty),*] };
}

macro_rules! plain {
    (@rows $($traps:tt $params:tt $result:ident: $($name:ident)*;)*) => {
        &[$($(Op {
            code: Code::Plain(Instruction::$name),
            params: types!($params),
            result: $result,
            traps: plain!(@traps $traps),
        },)*)*]
    };
    (@traps [traps]) => { true };
    (@traps []) => { false };
    ($($params:tt -> $result:ident $($traps:ident)?: $($name:ident)*;)*) => {
        plain! { @rows $([$($traps)?] $params $result: $($name)*;)* }
    };
}

macro_rules! lanes {
    ($($params:tt -> $result:ident: $($name:ident $lanes:literal)*;)*) => {
        &[$($(Op {
            code: Code::Lane(Instruction::$name, $lanes),
            params: types!($params),
            result: $result,
            traps: false,
        },)*)*]
    };
}

macro_rules! accesses {
    ($($kind:ident $value:ident: $($name:ident $bytes:literal)*;)*) => {
        &[$($(Access {
            code: accesses!(@code $kind $name),
            bytes: $bytes,
            value: $value,
        },)*)*]
    };
    (@code Load $name:ident) => { AccessCode::Load(Instruction::$name) };
    (@code Store $name:ident) => { AccessCode::Store(Instruction::$name) };
    (@code $lane:ident $name:ident) => {
        AccessCode::$lane(|memarg, lane| Instruction::$name { memarg, lane })
    };
}

/// Instructions on scalars.
pub static SCALAR: &[Op] = plain! {
    (I32) -> I32: I32Eqz I32Clz I32Ctz I32Popcnt I32Extend8S I32Extend16S;
    (I32 I32) -> I32: I32Eq I32Ne I32LtS I32LtU I32GtS I32GtU I32LeS I32LeU I32GeS I32GeU
        I32Add I32Sub I32Mul I32And I32Or I32Xor I32Shl I32ShrS I32ShrU I32Rotl I32Rotr;
    (I32 I32) -> I32 traps: I32DivS I32DivU I32RemS I32RemU;
    (I64) -> I32: I64Eqz I32WrapI64;
    (I64 I64) -> I32: I64Eq I64Ne I64LtS I64LtU I64GtS I64GtU I64LeS I64LeU I64GeS I64GeU;
    (I64) -> I64: I64Clz I64Ctz I64Popcnt I64Extend8S I64Extend16S I64Extend32S;
    (I64 I64) -> I64: I64Add I64Sub I64Mul I64And I64Or I64Xor I64Shl I64ShrS I64ShrU I64Rotl
        I64Rotr;
    (I64 I64) -> I64 traps: I64DivS I64DivU I64RemS I64RemU;
    (I32) -> I64: I64ExtendI32S I64ExtendI32U;
    (F32 F32) -> I32: F32Eq F32Ne F32Lt F32Gt F32Le F32Ge;
    (F64 F64) -> I32: F64Eq F64Ne F64Lt F64Gt F64Le F64Ge;
    (F32) -> F32: F32Abs F32Neg F32Ceil F32Floor F32Trunc F32Nearest F32Sqrt;
    (F32 F32) -> F32: F32Add F32Sub F32Mul F32Div F32Min F32Max F32Copysign;
    (F64) -> F64: F64Abs F64Neg F64Ceil F64Floor F64Trunc F64Nearest F64Sqrt;
    (F64 F64) -> F64: F64Add F64Sub F64Mul F64Div F64Min F64Max F64Copysign;
    (F32) -> I32 traps: I32TruncF32S I32TruncF32U;
    (F64) -> I32 traps: I32TruncF64S I32TruncF64U;
    (F32) -> I64 traps: I64TruncF32S I64TruncF32U;
    (F64) -> I64 traps: I64TruncF64S I64TruncF64U;
    (F32) -> I32: I32TruncSatF32S I32TruncSatF32U I32ReinterpretF32;
    (F64) -> I32: I32TruncSatF64S I32TruncSatF64U;
    (F32) -> I64: I64TruncSatF32S I64TruncSatF32U;
    (F64) -> I64: I64TruncSatF64S I64TruncSatF64U I64ReinterpretF64;
    (I32) -> F32: F32ConvertI32S F32ConvertI32U F32ReinterpretI32;
    (I64) -> F32: F32ConvertI64S F32ConvertI64U;
    (F64) -> F32: F32DemoteF64;
    (I32) -> F64: F64ConvertI32S F64ConvertI32U;
    (I64) -> F64: F64ConvertI64S F64ConvertI64U F64ReinterpretI64;
    (F32) -> F64: F64PromoteF32;
    (I32 I32 I32) -> I32: Select;
    (I64 I64 I32) -> I64: Select;
    (F32 F32 I32) -> F32: Select;
    (F64 F64 I32) -> F64: Select;
};

/// Relaxed vector instructions. They are not among [`all`].
pub static RELAXED: &[Op] = plain! {
    (V128) -> V128: I32x4RelaxedTruncF32x4S I32x4RelaxedTruncF32x4U I32x4RelaxedTruncF64x2SZero
        I32x4RelaxedTruncF64x2UZero;
    (V128 V128) -> V128: I8x16RelaxedSwizzle F32x4RelaxedMin F32x4RelaxedMax F64x2RelaxedMin
        F64x2RelaxedMax I16x8RelaxedQ15mulrS I16x8RelaxedDotI8x16I7x16S;
    (V128 V128 V128) -> V128: F32x4RelaxedMadd F32x4RelaxedNmadd F64x2RelaxedMadd
        F64x2RelaxedNmadd I8x16RelaxedLaneselect I16x8RelaxedLaneselect I32x4RelaxedLaneselect
        I64x2RelaxedLaneselect I32x4RelaxedDotI8x16I7x16AddS;
};

/// Instructions on vectors without immediates.
pub static VECTOR: &[Op] = plain! {
    (I32) -> V128: I8x16Splat I16x8Splat I32x4Splat;
    (I64) -> V128: I64x2Splat;
    (F32) -> V128: F32x4Splat;
    (F64) -> V128: F64x2Splat;
    (V128 V128 I32) -> V128: Select;
    (V128 V128) -> V128: I8x16Swizzle
        I8x16Eq I8x16Ne I8x16LtS I8x16LtU I8x16GtS I8x16GtU I8x16LeS I8x16LeU I8x16GeS I8x16GeU
        I16x8Eq I16x8Ne I16x8LtS I16x8LtU I16x8GtS I16x8GtU I16x8LeS I16x8LeU I16x8GeS I16x8GeU
        I32x4Eq I32x4Ne I32x4LtS I32x4LtU I32x4GtS I32x4GtU I32x4LeS I32x4LeU I32x4GeS I32x4GeU
        I64x2Eq I64x2Ne I64x2LtS I64x2GtS I64x2LeS I64x2GeS
        F32x4Eq F32x4Ne F32x4Lt F32x4Gt F32x4Le F32x4Ge
        F64x2Eq F64x2Ne F64x2Lt F64x2Gt F64x2Le F64x2Ge
        V128And V128AndNot V128Or V128Xor
        I8x16NarrowI16x8S I8x16NarrowI16x8U I8x16Add I8x16AddSatS I8x16AddSatU I8x16Sub
        I8x16SubSatS I8x16SubSatU I8x16MinS I8x16MinU I8x16MaxS I8x16MaxU I8x16AvgrU
        I16x8Q15MulrSatS I16x8NarrowI32x4S I16x8NarrowI32x4U I16x8Add I16x8AddSatS I16x8AddSatU
        I16x8Sub I16x8SubSatS I16x8SubSatU I16x8Mul I16x8MinS I16x8MinU I16x8MaxS I16x8MaxU
        I16x8AvgrU I16x8ExtMulLowI8x16S I16x8ExtMulHighI8x16S I16x8ExtMulLowI8x16U
        I16x8ExtMulHighI8x16U
        I32x4Add I32x4Sub I32x4Mul I32x4MinS I32x4MinU I32x4MaxS I32x4MaxU I32x4DotI16x8S
        I32x4ExtMulLowI16x8S I32x4ExtMulHighI16x8S I32x4ExtMulLowI16x8U I32x4ExtMulHighI16x8U
        I64x2Add I64x2Sub I64x2Mul I64x2ExtMulLowI32x4S I64x2ExtMulHighI32x4S
        I64x2ExtMulLowI32x4U I64x2ExtMulHighI32x4U
        F32x4Add F32x4Sub F32x4Mul F32x4Div F32x4Min F32x4Max F32x4PMin F32x4PMax
        F64x2Add F64x2Sub F64x2Mul F64x2Div F64x2Min F64x2Max F64x2PMin F64x2PMax;
    (V128 V128 V128) -> V128: V128Bitselect;
    (V128) -> I32: V128AnyTrue I8x16AllTrue I8x16Bitmask I16x8AllTrue I16x8Bitmask I32x4AllTrue
        I32x4Bitmask I64x2AllTrue I64x2Bitmask;
    (V128) -> V128: V128Not I8x16Abs I8x16Neg I8x16Popcnt
        I16x8ExtAddPairwiseI8x16S I16x8ExtAddPairwiseI8x16U I16x8Abs I16x8Neg
        I16x8ExtendLowI8x16S I16x8ExtendHighI8x16S I16x8ExtendLowI8x16U I16x8ExtendHighI8x16U
        I32x4ExtAddPairwiseI16x8S I32x4ExtAddPairwiseI16x8U I32x4Abs I32x4Neg
        I32x4ExtendLowI16x8S I32x4ExtendHighI16x8S I32x4ExtendLowI16x8U I32x4ExtendHighI16x8U
        I64x2Abs I64x2Neg
        I64x2ExtendLowI32x4S I64x2ExtendHighI32x4S I64x2ExtendLowI32x4U I64x2ExtendHighI32x4U
        F32x4Ceil F32x4Floor F32x4Trunc F32x4Nearest F32x4Abs F32x4Neg F32x4Sqrt
        F64x2Ceil F64x2Floor F64x2Trunc F64x2Nearest F64x2Abs F64x2Neg F64x2Sqrt
        I32x4TruncSatF32x4S I32x4TruncSatF32x4U F32x4ConvertI32x4S F32x4ConvertI32x4U
        I32x4TruncSatF64x2SZero I32x4TruncSatF64x2UZero F64x2ConvertLowI32x4S
        F64x2ConvertLowI32x4U F32x4DemoteF64x2Zero F64x2PromoteLowF32x4;
    (V128 I32) -> V128: I8x16Shl I8x16ShrS I8x16ShrU I16x8Shl I16x8ShrS I16x8ShrU
        I32x4Shl I32x4ShrS I32x4ShrU I64x2Shl I64x2ShrS I64x2ShrU;
};

/// Instructions on lanes of vectors.
pub static LANES: &[Op] = lanes! {
    (V128) -> I32: I8x16ExtractLaneS 16 I8x16ExtractLaneU 16 I16x8ExtractLaneS 8
        I16x8ExtractLaneU 8 I32x4ExtractLane 4;
    (V128) -> I64: I64x2ExtractLane 2;
    (V128) -> F32: F32x4ExtractLane 4;
    (V128) -> F64: F64x2ExtractLane 2;
    (V128 I32) -> V128: I8x16ReplaceLane 16 I16x8ReplaceLane 8 I32x4ReplaceLane 4;
    (V128 I64) -> V128: I64x2ReplaceLane 2;
    (V128 F32) -> V128: F32x4ReplaceLane 4;
    (V128 F64) -> V128: F64x2ReplaceLane 2;
};

/// `i8x16.shuffle`.
pub static SHUFFLE: Op = Op {
    code: Code::Shuffle,
    params: &[V128, V128],
    result: V128,
    traps: false,
};

/// Loads and stores.
pub static ACCESSES: &[Access] = accesses! {
    Load I32: I32Load 4 I32Load8S 1 I32Load8U 1 I32Load16S 2 I32Load16U 2;
    Load I64: I64Load 8 I64Load8S 1 I64Load8U 1 I64Load16S 2 I64Load16U 2 I64Load32S 4
        I64Load32U 4;
    Load F32: F32Load 4;
    Load F64: F64Load 8;
    Store I32: I32Store 4 I32Store8 1 I32Store16 2;
    Store I64: I64Store 8 I64Store8 1 I64Store16 2 I64Store32 4;
    Store F32: F32Store 4;
    Store F64: F64Store 8;
    Load V128: V128Load 16 V128Load8x8S 8 V128Load8x8U 8 V128Load16x4S 8 V128Load16x4U 8
        V128Load32x2S 8 V128Load32x2U 8 V128Load8Splat 1 V128Load16Splat 2 V128Load32Splat 4
        V128Load64Splat 8 V128Load32Zero 4 V128Load64Zero 8;
    Store V128: V128Store 16;
    LoadLane V128: V128Load8Lane 1 V128Load16Lane 2 V128Load32Lane 4 V128Load64Lane 8;
    StoreLane V128: V128Store8Lane 1 V128Store16Lane 2 V128Store32Lane 4 V128Store64Lane 8;
};

/// Those of [`ACCESSES`] that a program has, with or without vectors.
pub fn accesses(vectors: bool) -> &'static [Access] {
    match vectors {
        true => ACCESSES,
        false => &ACCESSES[..SCALAR_ACCESSES],
    }
}

/// How many of [`ACCESSES`], from the first, are of scalars.
const SCALAR_ACCESSES: usize = 14 + 9;

/// All value instructions, scalars first.
pub fn all() -> impl Iterator<Item = &'static Op> {
    SCALAR
        .iter()
        .chain(VECTOR)
        .chain(LANES)
        .chain(std::iter::once(&SHUFFLE))
}

/// Draws a value instruction.
pub fn any(source: &mut Source<'_>) -> &'static Op {
    // Scalars as often as vectors, though there are fewer.
    if source.percent(50) {
        source.pick(SCALAR)
    } else {
        any_vector(source)
    }
}

/// Draws an instruction on vectors.
pub fn any_vector(source: &mut Source<'_>) -> &'static Op {
    let at = source.below((VECTOR.len() + 2 * LANES.len() + 4) as u32) as usize;
    match at.checked_sub(VECTOR.len()) {
        None => &VECTOR[at],
        Some(at) => LANES.get(at / 2).unwrap_or(&SHUFFLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_of_the_tables_is_listed_once() {
        let mut names: Vec<String> = all()
            .map(|op| match &op.code {
                Code::Plain(Instruction::Select) => format!("Select {:?}", op.result),
                Code::Plain(instruction) => format!("{instruction:?}"),
                Code::Lane(make, _) => format!("{:?}", make(0)),
                Code::Shuffle => "Shuffle".into(),
            })
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        // 123 numeric instructions of 1.0 without constants, 5 sign extensions, 8 saturating
        // conversions, select at 5 types; 236 vector instructions less 22 accesses and a constant
        // (specification 2.0, appendix A.7).
        assert_eq!(count, 123 + 5 + 8 + 5 + 213);
        assert_eq!(ACCESSES.len(), SCALAR_ACCESSES + 22);
        let of_vectors = ACCESSES.iter().filter(|access| access.value == V128);
        assert_eq!(of_vectors.count(), 22);
        assert!(accesses(false).iter().all(|access| access.value != V128));
    }

    #[test]
    fn shuffles_name_lanes_that_exist() {
        let mut source = Source::new(&[], 5);
        for _ in 0..5_000 {
            assert!(shuffle(&mut source).iter().all(|lane| *lane < 32));
        }
    }
}
