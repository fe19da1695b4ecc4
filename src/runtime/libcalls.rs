//! Routines that generated code calls where it may not use an instruction of its ISA.
//!
//! They are called by the host's C calling convention and do what the instruction would.

use crate::codegen::compiled::LibCall;

macro_rules! unary {
    ($($name:ident: $ty:ty => $method:ident;)*) => {
        $( extern "C" fn $name(value: $ty) -> $ty { value.$method() } )*
    };
}

unary! {
    ceil_f32: f32 => ceil;
    ceil_f64: f64 => ceil;
    floor_f32: f32 => floor;
    floor_f64: f64 => floor;
    trunc_f32: f32 => trunc;
    trunc_f64: f64 => trunc;
    nearest_f32: f32 => round_ties_even;
    nearest_f64: f64 => round_ties_even;
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

    /// `pshufb`: byte `i` of the result is the byte of `a` that the low four bits of byte `i` of
    /// `indices` name, or 0 if its top bit is set.
    #[allow(improper_ctypes_definitions, reason = "called by generated code only")]
    pub(super) extern "C" fn pshufb(a: __m128i, indices: __m128i) -> __m128i {
        // SAFETY: `__m128i` and 16 bytes have the same size and no invalid values.
        let bytes = |v| unsafe { std::mem::transmute::<__m128i, [u8; 16]>(v) };
        let (a, indices) = (bytes(a), bytes(indices));
        let result = indices.map(|index| {
            if index & 0x80 == 0 {
                a[(index & 15) as usize]
            } else {
                0
            }
        });
        // SAFETY: as above.
        unsafe { std::mem::transmute::<[u8; 16], __m128i>(result) }
    }
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
