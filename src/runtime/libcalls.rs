//! Routines that generated code calls where it may not use an instruction of its ISA.
//!
//! They are called by the host's C calling convention and do what the instruction would. Of a signalling
//! NaN that is a quiet one, as WebAssembly has it; Rust's own functions return it as it is.

use crate::codegen::compiled::LibCall;

/// The bits by which quiet NaNs differ from signalling ones.
const QUIET: (u32, u64) = (1 << 22, 1 << 51);

macro_rules! unary {
    ($($name:ident: $ty:ty, $quiet:expr => $method:ident;)*) => {
        $( extern "C" fn $name(value: $ty) -> $ty {
            match value.is_nan() {
                true => <$ty>::from_bits(value.to_bits() | $quiet),
                false => value.$method(),
            }
        } )*
    };
}

unary! {
    ceil_f32: f32, QUIET.0 => ceil;
    ceil_f64: f64, QUIET.1 => ceil;
    floor_f32: f32, QUIET.0 => floor;
    floor_f64: f64, QUIET.1 => floor;
    trunc_f32: f32, QUIET.0 => trunc;
    trunc_f64: f64, QUIET.1 => trunc;
    nearest_f32: f32, QUIET.0 => round_ties_even;
    nearest_f64: f64, QUIET.1 => round_ties_even;
}

extern "C" fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::__m128i;

    /// [`super::pshufb`] on registers.
    #[allow(improper_ctypes_definitions, reason = "called by generated code only")]
    pub(super) extern "C" fn pshufb(a: __m128i, indices: __m128i) -> __m128i {
        // SAFETY: `__m128i` and 16 bytes have the same size and no invalid values.
        let bytes = |v| unsafe { std::mem::transmute::<__m128i, [u8; 16]>(v) };
        let result = super::pshufb(bytes(a), bytes(indices));
        // SAFETY: as above.
        unsafe { std::mem::transmute::<[u8; 16], __m128i>(result) }
    }
}

/// What a routine returns, given its arguments as the registers of vectors hold them: scalars in
/// their lowest bits. For callers that are not code of the host.
pub fn evaluate(call: LibCall, arguments: [u128; 3]) -> u128 {
    let f32 = |at: usize| f32::from_bits(arguments[at] as u32);
    let f64 = |at: usize| f64::from_bits(arguments[at] as u64);
    let from_f32 = |value: f32| u128::from(value.to_bits());
    let from_f64 = |value: f64| u128::from(value.to_bits());
    match call {
        LibCall::CeilF32 => from_f32(ceil_f32(f32(0))),
        LibCall::CeilF64 => from_f64(ceil_f64(f64(0))),
        LibCall::FloorF32 => from_f32(floor_f32(f32(0))),
        LibCall::FloorF64 => from_f64(floor_f64(f64(0))),
        LibCall::TruncF32 => from_f32(trunc_f32(f32(0))),
        LibCall::TruncF64 => from_f64(trunc_f64(f64(0))),
        LibCall::NearestF32 => from_f32(nearest_f32(f32(0))),
        LibCall::NearestF64 => from_f64(nearest_f64(f64(0))),
        LibCall::FmaF32 => from_f32(fma_f32(f32(0), f32(1), f32(2))),
        LibCall::FmaF64 => from_f64(fma_f64(f64(0), f64(1), f64(2))),
        LibCall::X86Pshufb => {
            let [bytes, indices, _] = arguments.map(u128::to_le_bytes);
            u128::from_le_bytes(pshufb(bytes, indices))
        }
    }
}

/// `pshufb`: byte `i` of the result is the byte of `bytes` that the low four bits of byte `i` of
/// `indices` name, or 0 if its top bit is set.
fn pshufb(bytes: [u8; 16], indices: [u8; 16]) -> [u8; 16] {
    indices.map(|index| {
        if index & 0x80 == 0 {
            bytes[usize::from(index & 15)]
        } else {
            0
        }
    })
}

/// The address of a routine.
pub fn address(call: LibCall) -> u64 {
    let pointer = match call {
        LibCall::CeilF32 => ceil_f32 as *const (),
        LibCall::CeilF64 => ceil_f64 as *const (),
        LibCall::FloorF32 => floor_f32 as *const (),
        LibCall::FloorF64 => floor_f64 as *const (),
        LibCall::TruncF32 => trunc_f32 as *const (),
        LibCall::TruncF64 => trunc_f64 as *const (),
        LibCall::NearestF32 => nearest_f32 as *const (),
        LibCall::NearestF64 => nearest_f64 as *const (),
        LibCall::FmaF32 => fma_f32 as *const (),
        LibCall::FmaF64 => fma_f64 as *const (),
        #[cfg(target_arch = "x86_64")]
        LibCall::X86Pshufb => x86::pshufb as *const (),
        #[cfg(not(target_arch = "x86_64"))]
        LibCall::X86Pshufb => std::ptr::null(),
    };
    pointer.expose_provenance() as u64
}
