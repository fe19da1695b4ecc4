//! Instructions on vectors, as functions of the registers that hold them: what moves bits about, and
//! what the crate's interpreter lacks or gets wrong.

use cranelift_codegen::ir::{Opcode, Type, types};

use super::program::{VectorBinary, VectorTernary, VectorUnary};
use super::scalar::{fmax, fmin};

/// Does something to every pair of lanes of a type that has `from_bits` and `to_bits`, or is its own
/// bits.
macro_rules! zip {
    ($lane:ty, |$a:ident, $b:ident| $body:expr) => {{
        let f: VectorBinary = |x, y| {
            let mut result = 0;
            for lane in 0..128 / <$lane>::BITS {
                let at = lane * <$lane>::BITS;
                let ($a, $b) = ((x >> at) as $lane, (y >> at) as $lane);
                let value: $lane = $body;
                result |= u128::from(value) << at;
            }
            result
        };
        f
    }};
}

/// An instruction of one vector.
pub fn unary(opcode: Opcode, _ty: Type) -> Option<VectorUnary> {
    match opcode {
        Opcode::Bnot => Some(|a| !a),
        _ => None,
    }
}

/// An instruction of two vectors.
pub fn binary(opcode: Opcode, ty: Type) -> Option<VectorBinary> {
    Some(match (opcode, ty.lane_type()) {
        (Opcode::Band, _) => |a, b| a & b,
        (Opcode::Bor, _) => |a, b| a | b,
        (Opcode::Bxor, _) => |a, b| a ^ b,
        (Opcode::BandNot, _) => |a, b| a & !b,
        (Opcode::AvgRound, types::I8) => {
            zip!(u8, |a, b| (u16::from(a) + u16::from(b)).div_ceil(2) as u8)
        }
        (Opcode::AvgRound, types::I16) => {
            zip!(u16, |a, b| (u32::from(a) + u32::from(b)).div_ceil(2) as u16)
        }
        (Opcode::Fmin, types::F32) => {
            zip!(u32, |a, b| fmin(f32::from_bits(a), f32::from_bits(b))
                .to_bits())
        }
        (Opcode::Fmin, types::F64) => {
            zip!(u64, |a, b| fmin(f64::from_bits(a), f64::from_bits(b))
                .to_bits())
        }
        (Opcode::Fmax, types::F32) => {
            zip!(u32, |a, b| fmax(f32::from_bits(a), f32::from_bits(b))
                .to_bits())
        }
        (Opcode::Fmax, types::F64) => {
            zip!(u64, |a, b| fmax(f64::from_bits(a), f64::from_bits(b))
                .to_bits())
        }
        _ => return None,
    })
}

/// An instruction of three vectors.
pub fn ternary(opcode: Opcode, ty: Type) -> Option<VectorTernary> {
    /// Each lane by itself, with one rounding.
    macro_rules! fused {
        ($bits:ty, $float:ty) => {
            |a, b, c| {
                let mut result = 0;
                for at in (0..128).step_by(<$bits>::BITS as usize) {
                    let lane = |vector: u128| <$float>::from_bits((vector >> at) as $bits);
                    let value = lane(a).mul_add(lane(b), lane(c));
                    result |= u128::from(value.to_bits()) << at;
                }
                result
            }
        };
    }
    match (opcode, ty) {
        (Opcode::Fma, types::F32X4) => Some(fused!(u32, f32)),
        (Opcode::Fma, types::F64X2) => Some(fused!(u64, f64)),
        _ => None,
    }
}

/// Makes the NaNs among the lanes canonical, as Cranelift's pass of this purpose does.
pub fn canonicalise(ty: Type) -> Option<VectorUnary> {
    match ty {
        types::F32X4 => Some(|a| {
            let canonical = zip!(u32, |a, canonical| if f32::from_bits(a).is_nan() {
                canonical
            } else {
                a
            });
            canonical(a, 0x7fc0_0000_7fc0_0000_7fc0_0000_7fc0_0000)
        }),
        types::F64X2 => Some(|a| {
            let canonical = zip!(u64, |a, canonical| if f64::from_bits(a).is_nan() {
                canonical
            } else {
                a
            });
            canonical(a, 0x7ff8_0000_0000_0000_7ff8_0000_0000_0000)
        }),
        _ => None,
    }
}

/// Makes the NaNs among the lanes quiet.
pub fn quieten(ty: Type) -> Option<VectorUnary> {
    match ty {
        types::F32X4 => Some(|a| {
            let quiet = zip!(u32, |a, bit| if f32::from_bits(a).is_nan() {
                a | bit
            } else {
                a
            });
            quiet(a, 0x0040_0000_0040_0000_0040_0000_0040_0000)
        }),
        types::F64X2 => Some(|a| {
            let quiet = zip!(u64, |a, bit| if f64::from_bits(a).is_nan() {
                a | bit
            } else {
                a
            });
            quiet(a, 0x0008_0000_0000_0000_0008_0000_0000_0000)
        }),
        _ => None,
    }
}

/// Eight bytes as the halves of the lanes of a vector: `lane` bytes become twice as many each.
pub fn widen(bytes: u64, lane: u8, signed: bool) -> u128 {
    let bits = u32::from(lane) * 8;
    let mut result = 0;
    for index in 0..64 / bits {
        // To the top of a word and back down, with or without the sign.
        let top = bytes >> (index * bits) << (64 - bits);
        let wide = if signed {
            (top as i64 >> (64 - bits)) as u64 & (u64::MAX >> (64 - 2 * bits))
        } else {
            top >> (64 - bits)
        };
        result |= u128::from(wide) << (2 * bits * index);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_lanes_are_widened() {
        assert_eq!(
            widen(0x8001_7f80_0000_ff01, 1, true),
            0xff80_0001_007f_ff80_0000_0000_ffff_0001
        );
        assert_eq!(
            widen(0x8001_7f80_0000_ff01, 1, false),
            0x0080_0001_007f_0080_0000_0000_00ff_0001
        );
        assert_eq!(
            widen(0x8001_7f80_0000_ff01, 2, true),
            0xffff_8001_0000_7f80_0000_0000_ffff_ff01
        );
        assert_eq!(
            widen(0x8001_7f80_0000_ff01, 4, true),
            0xffff_ffff_8001_7f80_0000_0000_0000_ff01
        );
        assert_eq!(
            widen(0x8001_7f80_0000_ff01, 4, false),
            0x0000_0000_8001_7f80_0000_0000_0000_ff01
        );
    }
}
