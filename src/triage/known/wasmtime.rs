//! How a case is changed so that Wasmtime does it right.

use parallax_oracles::{Finding, Seen};
use wasm_encoder::Instruction as I;
use wasmparser::{BinaryReaderError, Operator};

use super::rewrite::{Body, Rewrite, rewritten_case};
use crate::case::module::ValType;
use crate::case::{Case, Module};

/// With the sums of pairs, which are numbers of 16 bits, as an instruction of their own wherever a relaxed
/// dot product of four pairs is.
pub(super) fn with_dot_products_of_pairs(case: &Case) -> Option<Case> {
    rewritten_case(
        case,
        Rewrite {
            // i32x4.relaxed_dot_i8x16_i7x16_add_s
            of: &[&[0xfd, 0x93, 0x02]],
            body: sum_pairs_first,
        },
    )
}

fn sum_pairs_first(_: &Module, body: &mut Body<'_>) -> Result<(), BinaryReaderError> {
    let mut local = None;
    while let Some(operator) = body.next()? {
        if let Operator::I32x4RelaxedDotI8x16I7x16AddS = operator {
            let addend = *local.get_or_insert_with(|| body.local(ValType::V128));
            body.replace(&[
                I::LocalSet(addend),
                I::I16x8RelaxedDotI8x16I7x16S,
                I::I32x4ExtAddPairwiseI16x8S,
                I::LocalGet(addend),
                I::I32x4Add,
            ]);
        }
    }
    Ok(())
}

/// Whether it is not about an engine that failed, left its sandbox or miscounted.
pub(super) fn is_a_value(finding: &Finding) -> bool {
    !matches!(&finding.subject, Seen::Outcome(outcome) if outcome.is_broken())
}
