//! Which instruction of the later generation an instruction of 0.112 is.
//!
//! Instructions are the same if they have the same name; a test holds the two definitions against
//! each other. What has another name or is gone is listed here, and [`super::carry`] knows what to
//! put in its place. The rest has no place in what the translator makes, and is refused by name.

use std::sync::LazyLock;

use cranelift_codegen::ir::Opcode as Origin;

use super::cranelift::ir::Opcode;

/// Instructions that only their names have changed.
const RENAMED: &[(Origin, Opcode)] = &[(Origin::X86Blendv, Opcode::Blendv)];

/// The instruction that means the same; `None` if there is none.
pub(super) fn same(opcode: Origin) -> Option<Opcode> {
    SAME[opcode as usize]
}

static SAME: LazyLock<[Option<Opcode>; 256]> = LazyLock::new(|| {
    let mut same = [None; 256];
    for opcode in Origin::all() {
        same[*opcode as usize] = opcode.to_string().parse().ok();
    }
    // Of vectors whose length is not known, none are carried.
    for opcode in [Origin::DynamicStackAddr, Origin::ExtractVector] {
        same[opcode as usize] = None;
    }
    for (from, to) in RENAMED {
        same[*from as usize] = Some(*to);
    }
    same
});

/// The instruction that takes as a value what `opcode` has as an immediate second operand.
pub(super) fn without_immediate(opcode: Origin) -> Option<Opcode> {
    Some(match opcode {
        Origin::IaddImm => Opcode::Iadd,
        // With its operands the other way around.
        Origin::IrsubImm => Opcode::Isub,
        Origin::ImulImm => Opcode::Imul,
        Origin::UdivImm => Opcode::Udiv,
        Origin::SdivImm => Opcode::Sdiv,
        Origin::UremImm => Opcode::Urem,
        Origin::SremImm => Opcode::Srem,
        Origin::BandImm => Opcode::Band,
        Origin::BorImm => Opcode::Bor,
        Origin::BxorImm => Opcode::Bxor,
        Origin::IshlImm => Opcode::Ishl,
        Origin::UshrImm => Opcode::Ushr,
        Origin::SshrImm => Opcode::Sshr,
        Origin::RotlImm => Opcode::Rotl,
        Origin::RotrImm => Opcode::Rotr,
        _ => return None,
    })
}

/// The instruction that combines a value with another, which `opcode` complements first.
pub(super) fn without_complement(opcode: Origin) -> Option<Opcode> {
    Some(match opcode {
        Origin::BandNot => Opcode::Band,
        Origin::BorNot => Opcode::Bor,
        Origin::BxorNot => Opcode::Bxor,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::convert;
    use super::*;

    /// What [`super::super::carry`] puts in other words besides what the functions above name.
    const REWORDED: &[Origin] = &[
        Origin::GlobalValue,
        Origin::IcmpImm,
        Origin::StackLoad,
        Origin::StackStore,
    ];

    /// What is refused. The translator makes none of these, and nothing in wasm needs them.
    const REFUSED: &[Origin] = &[
        Origin::DynamicStackAddr,
        Origin::DynamicStackLoad,
        Origin::DynamicStackStore,
        Origin::ExtractVector,
        Origin::IaddCarry,
        Origin::IaddCin,
        Origin::IsubBin,
        Origin::IsubBorrow,
    ];

    #[test]
    fn every_instruction_is_carried_reworded_or_refused() {
        let mut refused = BTreeSet::new();
        for opcode in Origin::all() {
            let reworded = without_immediate(*opcode).is_some()
                || without_complement(*opcode).is_some()
                || REWORDED.contains(opcode);
            if same(*opcode).is_some() {
                assert!(!reworded, "{opcode} is here after all");
            } else if !reworded {
                refused.insert(opcode.to_string());
            }
        }
        let expected: BTreeSet<String> = REFUSED.iter().map(ToString::to_string).collect();
        assert_eq!(refused, expected);
    }

    /// What an instruction is, as far as its definition says; both generations in the same words.
    macro_rules! definition {
        ($opcode:expr) => {{
            let (opcode, constraints) = ($opcode, $opcode.constraints());
            // Formats were renamed with the instructions that shared them.
            let format = match format!("{:?}", opcode.format()).as_str() {
                "StackLoad" => "StackAddr".to_string(),
                other => other.to_string(),
            };
            (
                format,
                constraints.num_fixed_results(),
                constraints.num_fixed_value_arguments(),
                constraints.is_polymorphic(),
                constraints.requires_typevar_operand(),
                constraints.use_typevar_operand(),
                [
                    opcode.is_terminator(),
                    opcode.is_branch(),
                    opcode.is_call(),
                    opcode.is_return(),
                    opcode.can_load(),
                    opcode.can_store(),
                    opcode.can_trap(),
                    opcode.other_side_effects(),
                ],
            )
        }};
    }

    #[test]
    fn instructions_of_the_same_name_are_the_same() {
        use cranelift_codegen::ir::types::{F32, F64, I8, I16, I32, I64, I128, INVALID};
        let scalars = [INVALID, I8, I16, I32, I64, I128, F32, F64];
        let vectors = [I8, I16, I32, I64, F32, F64].map(|lane| lane.by(128 / lane.bits()));
        for opcode in Origin::all() {
            let Some(carried) = same(*opcode) else {
                continue;
            };
            assert_eq!(definition!(*opcode), definition!(carried), "{opcode}");
            let (before, after) = (opcode.constraints(), carried.constraints());
            let all = scalars.into_iter().chain(vectors.into_iter().flatten());
            for ty in all.filter(|ty| takes(*opcode, *ty)) {
                for result in 0..before.num_fixed_results() {
                    assert_eq!(
                        convert::ty(before.result_type(result, ty)),
                        after.result_type(result, convert::ty(ty)),
                        "{opcode}.{ty}"
                    );
                }
            }
        }
    }

    /// Whether an instruction has a form for a controlling type.
    fn takes(opcode: Origin, ty: cranelift_codegen::ir::Type) -> bool {
        match opcode.constraints().ctrl_typeset() {
            Some(types) => types.contains(ty),
            None => ty == cranelift_codegen::ir::types::INVALID,
        }
    }
}
