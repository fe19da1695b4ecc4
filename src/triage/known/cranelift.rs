//! How a case is changed so that code generated for it lacks a fault of a version of Cranelift.

use parallax_oracles::{Finding, Outcome, Seen, TrapKind};

use crate::case::features::X86Feature;
use crate::case::{Case, Module};

/// `i16x8.extend_low_i8x16_s` and `i16x8.extend_low_i8x16_u`.
const EXTEND_LOW: [&[u8]; 2] = [&[0xfd, 0x87, 0x01], &[0xfd, 0x89, 0x01]];

/// Without SSE4.1, so that no load becomes part of `pmovsxbw` or `pmovzxbw`, if the case has an
/// instruction that may become one of them.
pub(super) fn without_widening_moves(case: &Case) -> Option<Case> {
    let x86_64 = case.settings.x86_64;
    let may = |module: &Module| EXTEND_LOW.iter().any(|code| module.opcodes.has(code));
    if !x86_64.has(X86Feature::Sse41) || !case.modules.iter().any(may) {
        return None;
    }
    let mut without = case.clone();
    without.settings.x86_64 = x86_64.without(X86Feature::Sse41);
    Some(without)
}

/// Whether an access to a memory that the reference says is out of bounds did not trap as such.
pub(super) fn lacks_trap(finding: &Finding) -> bool {
    let out_of_bounds = Outcome::Trapped(TrapKind::MemoryOutOfBounds);
    matches!(&finding.reference, Seen::Outcome(outcome) if *outcome == out_of_bounds)
        && match &finding.subject {
            // Whatever the program does with a value that it should not have got.
            Seen::Outcome(outcome) => !outcome.is_broken() && *outcome != out_of_bounds,
            _ => false,
        }
}
