//! Instructions on scalars, as functions of the registers that hold them.
//!
//! These are the ones that loops consist of, and those that the crate's interpreter gets wrong. What is
//! here is held against the crate's interpreter by the tests, but for the latter.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Opcode, Type, types};
use parallax_oracles::TrapKind;

use super::program::{Binary, Division, Unary};

/// A function of `a` and `b`, registers, in which `U` and `S` are the unsigned and signed integers of
/// the type.
macro_rules! by_width {
    ($ty:expr, $f:ty, |$($arg:ident),*| $body:expr) => {
        by_width!(@ $ty, $f, |$($arg),*| $body, I8 u8 i8, I16 u16 i16, I32 u32 i32, I64 u64 i64)
    };
    (@ $ty:expr, $f:ty, |$($arg:ident),*| $body:expr, $($case:ident $unsigned:ident $signed:ident),*) => {
        by_width!(% $ty, $f, ($($arg),*) $body, $($case $unsigned $signed),*)
    };
    (% $ty:expr, $f:ty, $args:tt $body:expr, $($case:ident $unsigned:ident $signed:ident),*) => {
        match $ty {
            $(
                types::$case => {
                    #[allow(dead_code)]
                    type U = $unsigned;
                    #[allow(dead_code)]
                    type S = $signed;
                    by_width!(= $f, $args $body)
                }
            )*
            _ => None,
        }
    };
    (= $f:ty, ($($arg:ident),*) $body:expr) => {{
        let f: $f = |$($arg),*| $body;
        Some(f)
    }};
}

/// The same of floats, which `F` and `B` are with their bits.
macro_rules! by_float {
    ($ty:expr, $f:ty, |$($arg:ident),*| $body:expr) => {
        match $ty {
            types::F32 => {
                let f: $f = |$($arg),*| {
                    $( let $arg = f32::from_bits($arg as u32); )*
                    ($body).register()
                };
                Some(f)
            }
            types::F64 => {
                let f: $f = |$($arg),*| {
                    $( let $arg = f64::from_bits($arg); )*
                    ($body).register()
                };
                Some(f)
            }
            _ => None,
        }
    };
}

/// What a register can hold.
trait Held {
    fn register(self) -> u64;
}

impl Held for f32 {
    fn register(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Held for f64 {
    fn register(self) -> u64 {
        self.to_bits()
    }
}

impl Held for bool {
    fn register(self) -> u64 {
        u64::from(self)
    }
}

macro_rules! unsigned {
    ($($ty:ty),*) => {
        $(
            impl Held for $ty {
                fn register(self) -> u64 {
                    self as u64
                }
            }
        )*
    };
}

unsigned!(u8, u16, u32, u64);

fn held(value: impl Held) -> u64 {
    value.register()
}

/// What is special about floats in `fmin` and `fmax`.
pub trait Float: Copy + PartialOrd + std::ops::Add<Output = Self> {
    /// Whether the sign bit is set.
    fn negative(self) -> bool;
    /// Whether it is one.
    fn nan(self) -> bool;
}

impl Float for f32 {
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
    fn nan(self) -> bool {
        self.is_nan()
    }
}

impl Float for f64 {
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
    fn nan(self) -> bool {
        self.is_nan()
    }
}

/// `fmin`: the lesser, where -0 is less than +0; a quiet NaN if there is one.
pub fn fmin<F: Float>(a: F, b: F) -> F {
    if a.nan() || b.nan() {
        // A sum that is a NaN is a quiet one.
        a + b
    } else if a < b || a == b && a.negative() {
        a
    } else {
        b
    }
}

/// `fmax`: the greater, where +0 is greater than -0; a quiet NaN if there is one.
pub fn fmax<F: Float>(a: F, b: F) -> F {
    if a.nan() || b.nan() {
        a + b
    } else if a > b || a == b && !a.negative() {
        a
    } else {
        b
    }
}

/// An instruction of one operand, of type `ty` (which a conversion yields).
pub fn unary(opcode: Opcode, ty: Type, from: Type) -> Option<Unary> {
    match opcode {
        Opcode::Uextend => Some(|a| a),
        Opcode::Ireduce => by_width!(ty, Unary, |a| held(a as U)),
        Opcode::Sextend => match (from, ty) {
            (types::I8, types::I16) => Some(|a| held(a as i8 as u16)),
            (types::I8, types::I32) => Some(|a| held(a as i8 as u32)),
            (types::I8, types::I64) => Some(|a| a as i8 as u64),
            (types::I16, types::I32) => Some(|a| held(a as i16 as u32)),
            (types::I16, types::I64) => Some(|a| a as i16 as u64),
            (types::I32, types::I64) => Some(|a| a as i32 as u64),
            _ => None,
        },
        Opcode::Bnot => by_width!(ty, Unary, |a| held(!(a as U))),
        Opcode::Ineg => by_width!(ty, Unary, |a| held((a as U).wrapping_neg())),
        Opcode::Clz => by_width!(ty, Unary, |a| held((a as U).leading_zeros())),
        Opcode::Ctz => by_width!(ty, Unary, |a| held((a as U).trailing_zeros())),
        Opcode::Popcnt => by_width!(ty, Unary, |a| held((a as U).count_ones())),
        Opcode::Fneg => by_float!(ty, Unary, |a| -a),
        Opcode::Fabs => by_float!(ty, Unary, |a| a.abs()),
        Opcode::Sqrt => by_float!(ty, Unary, |a| a.sqrt()),
        _ => None,
    }
}

/// An instruction of two operands of type `ty`; shifts and rotates take any amount.
pub fn binary(opcode: Opcode, ty: Type) -> Option<Binary> {
    match opcode {
        Opcode::Iadd | Opcode::IaddImm => {
            by_width!(ty, Binary, |a, b| held((a as U).wrapping_add(b as U)))
        }
        Opcode::Isub => by_width!(ty, Binary, |a, b| held((a as U).wrapping_sub(b as U))),
        Opcode::Imul | Opcode::ImulImm => {
            by_width!(ty, Binary, |a, b| held((a as U).wrapping_mul(b as U)))
        }
        Opcode::Band | Opcode::BandImm => by_width!(ty, Binary, |a, b| held(a as U & b as U)),
        Opcode::Bor | Opcode::BorImm => by_width!(ty, Binary, |a, b| held(a as U | b as U)),
        Opcode::Bxor | Opcode::BxorImm => by_width!(ty, Binary, |a, b| held(a as U ^ b as U)),
        Opcode::BandNot => by_width!(ty, Binary, |a, b| held(a as U & !(b as U))),
        Opcode::Ishl | Opcode::IshlImm => {
            by_width!(ty, Binary, |a, b| held((a as U).wrapping_shl(b as u32)))
        }
        Opcode::Ushr | Opcode::UshrImm => {
            by_width!(ty, Binary, |a, b| held((a as U).wrapping_shr(b as u32)))
        }
        Opcode::Sshr | Opcode::SshrImm => {
            by_width!(
                ty,
                Binary,
                |a, b| held((a as S).wrapping_shr(b as u32) as U)
            )
        }
        Opcode::Rotl | Opcode::RotlImm => {
            by_width!(ty, Binary, |a, b| held(
                (a as U).rotate_left(b as u32 % U::BITS)
            ))
        }
        Opcode::Rotr | Opcode::RotrImm => {
            by_width!(ty, Binary, |a, b| held(
                (a as U).rotate_right(b as u32 % U::BITS)
            ))
        }
        Opcode::Fadd => by_float!(ty, Binary, |a, b| a + b),
        Opcode::Fsub => by_float!(ty, Binary, |a, b| a - b),
        Opcode::Fmul => by_float!(ty, Binary, |a, b| a * b),
        Opcode::Fdiv => by_float!(ty, Binary, |a, b| a / b),
        Opcode::Fcopysign => by_float!(ty, Binary, |a, b| a.copysign(b)),
        Opcode::Fmin => by_float!(ty, Binary, |a, b| fmin(a, b)),
        Opcode::Fmax => by_float!(ty, Binary, |a, b| fmax(a, b)),
        _ => None,
    }
}

/// A division or remainder.
pub fn division(opcode: Opcode, ty: Type) -> Option<Division> {
    const ZERO: TrapKind = TrapKind::IntegerDivisionByZero;
    match opcode {
        Opcode::Udiv => by_width!(ty, Division, |a, b| (a as U)
            .checked_div(b as U)
            .map(held)
            .ok_or(ZERO)),
        Opcode::Urem => by_width!(ty, Division, |a, b| (a as U)
            .checked_rem(b as U)
            .map(held)
            .ok_or(ZERO)),
        Opcode::Sdiv => by_width!(ty, Division, |a, b| match b as S {
            0 => Err(ZERO),
            b => (a as S)
                .checked_div(b)
                .map(|quotient| held(quotient as U))
                .ok_or(TrapKind::IntegerOverflow),
        }),
        // That of the least number by -1 is 0.
        Opcode::Srem => by_width!(ty, Division, |a, b| match b as S {
            0 => Err(ZERO),
            b => Ok(held((a as S).wrapping_rem(b) as U)),
        }),
        _ => None,
    }
}

/// A comparison of integers.
pub fn compare(condition: IntCC, ty: Type) -> Option<Binary> {
    match condition {
        IntCC::Equal => by_width!(ty, Binary, |a, b| (a as U == b as U).register()),
        IntCC::NotEqual => by_width!(ty, Binary, |a, b| (a as U != b as U).register()),
        IntCC::SignedLessThan => by_width!(ty, Binary, |a, b| ((a as S) < b as S).register()),
        IntCC::SignedGreaterThanOrEqual => {
            by_width!(ty, Binary, |a, b| (a as S >= b as S).register())
        }
        IntCC::SignedGreaterThan => by_width!(ty, Binary, |a, b| (a as S > b as S).register()),
        IntCC::SignedLessThanOrEqual => by_width!(ty, Binary, |a, b| (a as S <= b as S).register()),
        IntCC::UnsignedLessThan => by_width!(ty, Binary, |a, b| ((a as U) < b as U).register()),
        IntCC::UnsignedGreaterThanOrEqual => {
            by_width!(ty, Binary, |a, b| (a as U >= b as U).register())
        }
        IntCC::UnsignedGreaterThan => by_width!(ty, Binary, |a, b| (a as U > b as U).register()),
        IntCC::UnsignedLessThanOrEqual => {
            by_width!(ty, Binary, |a, b| (a as U <= b as U).register())
        }
    }
}

/// A comparison of floats.
pub fn compare_floats(condition: FloatCC, ty: Type) -> Option<Binary> {
    match condition {
        FloatCC::Ordered => by_float!(ty, Binary, |a, b| !(a.is_nan() || b.is_nan())),
        FloatCC::Unordered => by_float!(ty, Binary, |a, b| a.is_nan() || b.is_nan()),
        FloatCC::Equal => by_float!(ty, Binary, |a, b| a == b),
        FloatCC::NotEqual => by_float!(ty, Binary, |a, b| a != b),
        FloatCC::LessThan => by_float!(ty, Binary, |a, b| a < b),
        FloatCC::LessThanOrEqual => by_float!(ty, Binary, |a, b| a <= b),
        FloatCC::GreaterThan => by_float!(ty, Binary, |a, b| a > b),
        FloatCC::GreaterThanOrEqual => by_float!(ty, Binary, |a, b| a >= b),
        _ => None,
    }
}

/// Whether a sum of two integers of a type has a carry, given the sum and one of them.
pub fn carries(sum: u64, a: u64) -> bool {
    sum < a
}

/// Makes a NaN a quiet one.
pub fn quieten(ty: Type) -> Option<Unary> {
    match ty {
        types::F32 => Some(|a| {
            if f32::from_bits(a as u32).is_nan() {
                a | 1 << 22
            } else {
                a
            }
        }),
        types::F64 => Some(|a| {
            if f64::from_bits(a).is_nan() {
                a | 1 << 51
            } else {
                a
            }
        }),
        _ => None,
    }
}

/// Makes a NaN the canonical one, as Cranelift's pass of this purpose does.
pub fn canonicalise(ty: Type) -> Option<Unary> {
    match ty {
        types::F32 => Some(|a| {
            if f32::from_bits(a as u32).is_nan() {
                0x7fc0_0000
            } else {
                a
            }
        }),
        types::F64 => Some(|a| {
            if f64::from_bits(a).is_nan() {
                0x7ff8_0000_0000_0000
            } else {
                a
            }
        }),
        _ => None,
    }
}
