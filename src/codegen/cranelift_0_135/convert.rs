//! What means the same in both generations, from the one to the other: types, condition codes,
//! signatures, names, memory flags, trap codes.
//!
//! Everything is matched by name, so that what is new or gone in a generation is a compile error
//! here and not a wrong number.

use cranelift_codegen as origin;
use cranelift_codegen::ir::types as origin_types;
use parallax_oracles::TrapKind;

use super::cranelift::ir::condcodes::{FloatCC, IntCC};
use super::cranelift::ir::{self, types};
use super::cranelift::isa::CallConv;

/// A type; `INVALID` for those that carried functions have none of: dynamic vectors.
pub(super) fn ty(ty: origin::ir::Type) -> ir::Type {
    if ty.is_dynamic_vector() {
        return types::INVALID;
    }
    let lane = match ty.lane_type() {
        origin_types::I8 => types::I8,
        origin_types::I16 => types::I16,
        origin_types::I32 => types::I32,
        origin_types::I64 => types::I64,
        origin_types::I128 => types::I128,
        origin_types::F16 => types::F16,
        origin_types::F32 => types::F32,
        origin_types::F64 => types::F64,
        origin_types::F128 => types::F128,
        _ => return types::INVALID,
    };
    if ty.is_vector() {
        lane.by(ty.lane_count()).unwrap_or(types::INVALID)
    } else {
        lane
    }
}

/// A comparison of integers.
pub(super) fn int_cc(cc: origin::ir::condcodes::IntCC) -> IntCC {
    use origin::ir::condcodes::IntCC as Origin;
    match cc {
        Origin::Equal => IntCC::Equal,
        Origin::NotEqual => IntCC::NotEqual,
        Origin::SignedLessThan => IntCC::SignedLessThan,
        Origin::SignedGreaterThanOrEqual => IntCC::SignedGreaterThanOrEqual,
        Origin::SignedGreaterThan => IntCC::SignedGreaterThan,
        Origin::SignedLessThanOrEqual => IntCC::SignedLessThanOrEqual,
        Origin::UnsignedLessThan => IntCC::UnsignedLessThan,
        Origin::UnsignedGreaterThanOrEqual => IntCC::UnsignedGreaterThanOrEqual,
        Origin::UnsignedGreaterThan => IntCC::UnsignedGreaterThan,
        Origin::UnsignedLessThanOrEqual => IntCC::UnsignedLessThanOrEqual,
    }
}

/// A comparison of floats.
pub(super) fn float_cc(cc: origin::ir::condcodes::FloatCC) -> FloatCC {
    use origin::ir::condcodes::FloatCC as Origin;
    match cc {
        Origin::Ordered => FloatCC::Ordered,
        Origin::Unordered => FloatCC::Unordered,
        Origin::Equal => FloatCC::Equal,
        Origin::NotEqual => FloatCC::NotEqual,
        Origin::OrderedNotEqual => FloatCC::OrderedNotEqual,
        Origin::UnorderedOrEqual => FloatCC::UnorderedOrEqual,
        Origin::LessThan => FloatCC::LessThan,
        Origin::LessThanOrEqual => FloatCC::LessThanOrEqual,
        Origin::GreaterThan => FloatCC::GreaterThan,
        Origin::GreaterThanOrEqual => FloatCC::GreaterThanOrEqual,
        Origin::UnorderedOrLessThan => FloatCC::UnorderedOrLessThan,
        Origin::UnorderedOrLessThanOrEqual => FloatCC::UnorderedOrLessThanOrEqual,
        Origin::UnorderedOrGreaterThan => FloatCC::UnorderedOrGreaterThan,
        Origin::UnorderedOrGreaterThanOrEqual => FloatCC::UnorderedOrGreaterThanOrEqual,
    }
}

/// What an atomic instruction does.
pub(super) fn atomic_op(op: origin::ir::AtomicRmwOp) -> ir::AtomicRmwOp {
    use origin::ir::AtomicRmwOp as Origin;
    match op {
        Origin::Add => ir::AtomicRmwOp::Add,
        Origin::Sub => ir::AtomicRmwOp::Sub,
        Origin::And => ir::AtomicRmwOp::And,
        Origin::Nand => ir::AtomicRmwOp::Nand,
        Origin::Or => ir::AtomicRmwOp::Or,
        Origin::Xor => ir::AtomicRmwOp::Xor,
        Origin::Xchg => ir::AtomicRmwOp::Xchg,
        Origin::Umin => ir::AtomicRmwOp::Umin,
        Origin::Umax => ir::AtomicRmwOp::Umax,
        Origin::Smin => ir::AtomicRmwOp::Smin,
        Origin::Smax => ir::AtomicRmwOp::Smax,
    }
}

/// A signature.
///
/// # Errors
/// What is not there any more.
pub(super) fn signature(signature: &origin::ir::Signature) -> Result<ir::Signature, String> {
    let params = |params: &[origin::ir::AbiParam]| params.iter().map(abi_param).collect();
    Ok(ir::Signature {
        params: params(&signature.params),
        returns: params(&signature.returns),
        call_conv: call_conv(signature.call_conv)?,
    })
}

fn call_conv(call_conv: origin::isa::CallConv) -> Result<CallConv, String> {
    use origin::isa::CallConv as Origin;
    Ok(match call_conv {
        Origin::Fast => CallConv::Fast,
        Origin::Tail => CallConv::Tail,
        Origin::SystemV => CallConv::SystemV,
        Origin::WindowsFastcall => CallConv::WindowsFastcall,
        Origin::AppleAarch64 => CallConv::AppleAarch64,
        Origin::Probestack => CallConv::Probestack,
        Origin::Winch => CallConv::Winch,
        Origin::Cold | Origin::WasmtimeSystemV => {
            return Err(format!("calling convention {call_conv}"));
        }
    })
}

fn abi_param(param: &origin::ir::AbiParam) -> ir::AbiParam {
    use origin::ir::{ArgumentExtension as OriginExtension, ArgumentPurpose as OriginPurpose};
    ir::AbiParam {
        value_type: ty(param.value_type),
        purpose: match param.purpose {
            OriginPurpose::Normal => ir::ArgumentPurpose::Normal,
            OriginPurpose::StructArgument(bytes) => ir::ArgumentPurpose::StructArgument(bytes),
            OriginPurpose::StructReturn => ir::ArgumentPurpose::StructReturn,
            OriginPurpose::VMContext => ir::ArgumentPurpose::VMContext,
        },
        extension: match param.extension {
            OriginExtension::None => ir::ArgumentExtension::None,
            OriginExtension::Uext => ir::ArgumentExtension::Uext,
            OriginExtension::Sext => ir::ArgumentExtension::Sext,
        },
    }
}

/// A name; one that a user gave keeps its number.
///
/// # Errors
/// What is of no use outside of Cranelift's own tests.
pub(super) fn name(name: &origin::ir::ExternalName) -> Result<ir::ExternalName, String> {
    use origin::ir::{ExternalName as Origin, KnownSymbol as OriginSymbol};
    Ok(match name {
        Origin::User(name) => {
            ir::ExternalName::user(ir::UserExternalNameRef::from_u32(name.as_u32()))
        }
        Origin::LibCall(call) => ir::ExternalName::LibCall(lib_call(*call)),
        Origin::KnownSymbol(symbol) => ir::ExternalName::KnownSymbol(match symbol {
            OriginSymbol::ElfGlobalOffsetTable => ir::KnownSymbol::ElfGlobalOffsetTable,
            OriginSymbol::CoffTlsIndex => ir::KnownSymbol::CoffTlsIndex,
        }),
        Origin::TestCase(_) => return Err("a function named as a test case".to_string()),
    })
}

fn lib_call(call: origin::ir::LibCall) -> ir::LibCall {
    use origin::ir::LibCall as Origin;
    match call {
        Origin::Probestack => ir::LibCall::Probestack,
        Origin::CeilF32 => ir::LibCall::CeilF32,
        Origin::CeilF64 => ir::LibCall::CeilF64,
        Origin::FloorF32 => ir::LibCall::FloorF32,
        Origin::FloorF64 => ir::LibCall::FloorF64,
        Origin::TruncF32 => ir::LibCall::TruncF32,
        Origin::TruncF64 => ir::LibCall::TruncF64,
        Origin::NearestF32 => ir::LibCall::NearestF32,
        Origin::NearestF64 => ir::LibCall::NearestF64,
        Origin::FmaF32 => ir::LibCall::FmaF32,
        Origin::FmaF64 => ir::LibCall::FmaF64,
        Origin::Memcpy => ir::LibCall::Memcpy,
        Origin::Memset => ir::LibCall::Memset,
        Origin::Memmove => ir::LibCall::Memmove,
        Origin::Memcmp => ir::LibCall::Memcmp,
        Origin::ElfTlsGetAddr => ir::LibCall::ElfTlsGetAddr,
        Origin::ElfTlsGetOffset => ir::LibCall::ElfTlsGetOffset,
        Origin::X86Pshufb => ir::LibCall::X86Pshufb,
    }
}

/// Memory flags, but for the alias region, of which a function has to be told first.
pub(super) fn mem_flags(flags: origin::ir::MemFlags) -> Result<ir::MemFlagsData, String> {
    let mut carried = ir::MemFlagsData::new();
    if flags.aligned() {
        carried.set_aligned();
    }
    if flags.readonly() {
        carried.set_readonly();
    }
    // In 0.112 a load that may not trap, of what is never written, is pure, and moves wherever its
    // operand is. Later that takes a flag of its own.
    if flags.readonly() && flags.notrap() {
        carried = carried.with_can_move();
    }
    // There is a question for what the byte order is, given the machine's, and none for whether one
    // was asked for.
    use origin::ir::Endianness as Origin;
    match (
        flags.endianness(Origin::Little),
        flags.endianness(Origin::Big),
    ) {
        (Origin::Little, Origin::Little) => carried.set_endianness(ir::Endianness::Little),
        (Origin::Big, Origin::Big) => carried.set_endianness(ir::Endianness::Big),
        _ => {}
    }
    let code = flags.trap_code().map(trap_code).transpose()?;
    Ok(carried.with_trap_code(code))
}

/// An alias region of 0.112, where they were fixed.
pub(super) fn alias_region(region: origin::ir::AliasRegion) -> ir::AliasRegionData {
    use origin::ir::AliasRegion as Origin;
    let (user_id, description) = match region {
        Origin::Heap => (0, "heap"),
        Origin::Table => (1, "table"),
        Origin::Vmctx => (2, "vmctx"),
    };
    ir::AliasRegionData {
        user_id,
        description: description.into(),
    }
}

/// Trap codes that have no name of their own any more, each with the trap that it stands for.
const USER_TRAPS: &[(origin::ir::TrapCode, ir::TrapCode, TrapKind)] = {
    use origin::ir::TrapCode as Origin;
    &[
        (
            Origin::TableOutOfBounds,
            ir::TrapCode::unwrap_user(1),
            TrapKind::TableOutOfBounds,
        ),
        (
            Origin::IndirectCallToNull,
            ir::TrapCode::unwrap_user(2),
            TrapKind::IndirectCallToNull,
        ),
        (
            Origin::BadSignature,
            ir::TrapCode::unwrap_user(3),
            TrapKind::BadSignature,
        ),
        (
            Origin::UnreachableCodeReached,
            ir::TrapCode::unwrap_user(4),
            TrapKind::Unreachable,
        ),
        (
            Origin::Interrupt,
            ir::TrapCode::unwrap_user(5),
            TrapKind::Interrupted,
        ),
    ]
};

/// A trap code.
///
/// # Errors
/// That there is no trap for it here.
pub(super) fn trap_code(code: origin::ir::TrapCode) -> Result<ir::TrapCode, String> {
    use origin::ir::TrapCode as Origin;
    Ok(match code {
        Origin::StackOverflow => ir::TrapCode::STACK_OVERFLOW,
        Origin::HeapOutOfBounds => ir::TrapCode::HEAP_OUT_OF_BOUNDS,
        Origin::IntegerOverflow => ir::TrapCode::INTEGER_OVERFLOW,
        Origin::IntegerDivisionByZero => ir::TrapCode::INTEGER_DIVISION_BY_ZERO,
        Origin::BadConversionToInteger => ir::TrapCode::BAD_CONVERSION_TO_INTEGER,
        other => {
            let mut user = USER_TRAPS.iter();
            match user.find(|(origin, ..)| *origin == other) {
                Some((_, code, _)) => *code,
                None => return Err(format!("trap code {other}")),
            }
        }
    })
}

/// The trap that a code stands for.
pub(super) fn trap_kind(code: ir::TrapCode) -> Option<TrapKind> {
    Some(match code {
        ir::TrapCode::STACK_OVERFLOW => TrapKind::StackExhausted,
        ir::TrapCode::HEAP_OUT_OF_BOUNDS => TrapKind::MemoryOutOfBounds,
        ir::TrapCode::INTEGER_OVERFLOW => TrapKind::IntegerOverflow,
        ir::TrapCode::INTEGER_DIVISION_BY_ZERO => TrapKind::IntegerDivisionByZero,
        ir::TrapCode::BAD_CONVERSION_TO_INTEGER => TrapKind::BadConversionToInteger,
        other => USER_TRAPS.iter().find(|(_, code, _)| *code == other)?.2,
    })
}
