//! Which instructions the crate's interpreter is left to do, as far as it is asked to step: those that it
//! was seen to do as the other engines do.

use cranelift_codegen::ir::Opcode;

/// What the crate's interpreter does wrong, or not at all. See `docs/findings.md`.
pub fn is_wrong_in_crate(opcode: Opcode) -> bool {
    matches!(
        opcode,
        // Traps for the least number by -1.
        Opcode::Srem
            // Knows no vectors, and lets signalling NaNs through.
            | Opcode::Fmin
            | Opcode::Fmax
            // Knows no vectors, of which alone there is one.
            | Opcode::AvgRound
    )
}

/// What the crate's interpreter does right but for signalling NaNs, of which it does not make quiet ones.
pub fn lets_signalling_nans_through(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Ceil | Opcode::Floor | Opcode::Trunc | Opcode::Nearest
    )
}

/// Pure instructions that the crate's interpreter knows, and that have been compared with the other
/// engines.
pub fn is_right_in_crate(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Vconst
            | Opcode::Bitselect
            | Opcode::Icmp
            | Opcode::Fcmp
            | Opcode::Smin
            | Opcode::Umin
            | Opcode::Smax
            | Opcode::Umax
            | Opcode::Iadd
            | Opcode::Isub
            | Opcode::Imul
            | Opcode::Ineg
            | Opcode::Iabs
            | Opcode::UaddSat
            | Opcode::SaddSat
            | Opcode::UsubSat
            | Opcode::SsubSat
            | Opcode::Ishl
            | Opcode::Ushr
            | Opcode::Sshr
            | Opcode::Popcnt
            | Opcode::Fadd
            | Opcode::Fsub
            | Opcode::Fmul
            | Opcode::Fdiv
            | Opcode::Fneg
            | Opcode::Fabs
            | Opcode::Sqrt
            | Opcode::Ceil
            | Opcode::Floor
            | Opcode::Trunc
            | Opcode::Nearest
            | Opcode::Bitcast
            | Opcode::ScalarToVector
            | Opcode::Snarrow
            | Opcode::Unarrow
            | Opcode::Uunarrow
            | Opcode::SwidenLow
            | Opcode::SwidenHigh
            | Opcode::UwidenLow
            | Opcode::UwidenHigh
            | Opcode::Fpromote
            | Opcode::Fdemote
            | Opcode::FvpromoteLow
            | Opcode::Fvdemote
            | Opcode::Shuffle
            | Opcode::Swizzle
            | Opcode::Splat
            | Opcode::Insertlane
            | Opcode::Extractlane
            | Opcode::VhighBits
            | Opcode::VanyTrue
            | Opcode::VallTrue
            | Opcode::FcvtToUint
            | Opcode::FcvtToSint
            | Opcode::FcvtToUintSat
            | Opcode::FcvtToSintSat
            | Opcode::FcvtFromUint
            | Opcode::FcvtFromSint
            | Opcode::SqmulRoundSat
            | Opcode::IaddPairwise
    )
}
