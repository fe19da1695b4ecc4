//! The rewrites that avoid wasmi's faults.

use wasm_encoder::Instruction as I;
use wasmparser::{BinaryReaderError, BlockType, MemArgTarget, Operator};

use super::rewrite::{Body, Rewrite};
use crate::case::Module;
use crate::case::module::ValType;

/// Without comparisons that a `select` could be fused with.
pub const NO_COMPARISONS_BEFORE_SELECTS: Rewrite = Rewrite {
    // select
    of: &[&[0x1b], &[0x1c]],
    body: keep_comparisons_from_selects,
};
/// Without stores of locals where wasmi has no instruction for them.
pub const NO_STORES_OF_LOCALS: Rewrite = Rewrite {
    // i32.store, i64.store and those of less than a value
    of: &[
        &[0x36],
        &[0x37],
        &[0x3a],
        &[0x3b],
        &[0x3c],
        &[0x3d],
        &[0x3e],
    ],
    body: compute_what_is_stored,
};
/// Without `br_table`.
pub const NO_BRANCH_TABLES: Rewrite = Rewrite {
    // br_table
    of: &[&[0x0e]],
    body: branch_one_by_one,
};
/// Without parameters of blocks that are something else than reads of locals.
pub const BLOCK_PARAMETERS_FROM_LOCALS: Rewrite = Rewrite {
    // block, loop, if
    of: &[&[0x02], &[0x03], &[0x04]],
    body: read_block_parameters_from_locals,
};

/// In a body with a `select`, has every comparison of equality done by another instruction:
/// `x == 0` as `x <u 1`, `x != 0` as `x >u 0`, and `x == y` by way of `x ^ y`. A test for null,
/// which has no other form, is followed by one that changes nothing.
fn keep_comparisons_from_selects(_: &Module, body: &mut Body<'_>) -> Result<(), BinaryReaderError> {
    let select = |operator: &Operator<'_>| {
        matches!(operator, Operator::Select | Operator::TypedSelect { .. })
    };
    if !body.has(select) {
        return Ok(());
    }
    while let Some(operator) = body.next()? {
        match operator {
            Operator::I32Eqz => body.replace(&[I::I32Const(1), I::I32LtU]),
            Operator::I32Eq => body.replace(&[I::I32Xor, I::I32Const(1), I::I32LtU]),
            Operator::I32Ne => body.replace(&[I::I32Xor, I::I32Const(0), I::I32GtU]),
            // wasmi translates this as `i32.eqz`; it has no other form, so it is followed by what
            // changes nothing.
            Operator::RefIsNull => body.replace(&[I::RefIsNull, I::I32Const(1), I::I32And]),
            _ => {}
        }
    }
    Ok(())
}

/// Has every integer that goes to another memory than the first, or behind an offset of 16 bits, computed just
/// before it is stored, so that it is no local.
fn compute_what_is_stored(_: &Module, body: &mut Body<'_>) -> Result<(), BinaryReaderError> {
    while let Some(operator) = body.next()? {
        let (memarg, wide) = match operator {
            Operator::I32Store { memarg }
            | Operator::I32Store8 { memarg }
            | Operator::I32Store16 { memarg } => (memarg, false),
            Operator::I64Store { memarg }
            | Operator::I64Store8 { memarg }
            | Operator::I64Store16 { memarg }
            | Operator::I64Store32 { memarg } => (memarg, true),
            _ => continue,
        };
        let first = memarg.target == MemArgTarget::Memory(0);
        if first && memarg.offset <= u64::from(u16::MAX) {
            continue;
        }
        match wide {
            false => body.insert(&[I::I32Const(1), I::I32Rotl, I::I32Const(1), I::I32Rotr]),
            true => body.insert(&[I::I64Const(1), I::I64Rotl, I::I64Const(1), I::I64Rotr]),
        }
    }
    Ok(())
}

/// Has every `br_table` done by a `br_if` a target, and a `br`.
fn branch_one_by_one(_: &Module, body: &mut Body<'_>) -> Result<(), BinaryReaderError> {
    let mut chosen = None;
    while let Some(operator) = body.next()? {
        let Operator::BrTable { targets } = operator else {
            continue;
        };
        let chosen = *chosen.get_or_insert_with(|| body.local(ValType::I32));
        let mut chain = vec![I::LocalSet(chosen)];
        for (index, target) in targets.targets().enumerate() {
            chain.extend([
                I::LocalGet(chosen),
                I::I32Const(index as i32),
                I::I32Xor,
                I::I32Const(1),
                I::I32LtU,
                I::BrIf(target?),
            ]);
        }
        chain.push(I::Br(targets.default()));
        body.replace(&chain);
    }
    Ok(())
}

/// Has every parameter of a block read from a local just before it, and all other reads of locals
/// on the operand stack saved. So, among the operands that are reads of locals, the topmost ones
/// are the block's parameters, and none is in a register.
fn read_block_parameters_from_locals(
    module: &Module,
    body: &mut Body<'_>,
) -> Result<(), BinaryReaderError> {
    let mut locals: Vec<(ValType, Vec<u32>)> = Vec::new();
    while let Some(operator) = body.next()? {
        let (ty, condition) = match operator {
            Operator::Block { blockty } | Operator::Loop { blockty } => (blockty, false),
            Operator::If { blockty } => (blockty, true),
            _ => continue,
        };
        let BlockType::FuncType(ty) = ty else {
            continue;
        };
        let params = &module.types[ty as usize].params;
        if params.is_empty() {
            continue;
        }
        let operands = params
            .iter()
            .copied()
            .chain(condition.then_some(ValType::I32));
        let mut taken = Vec::with_capacity(params.len() + 1);
        for (position, ty) in operands.enumerate() {
            let nth = params[..position].iter().filter(|before| **before == ty);
            taken.push(nth_local(body, &mut locals, ty, nth.count()));
        }
        let mut instructions: Vec<I<'_>> = Vec::with_capacity(2 * taken.len() + 2);
        instructions.extend(taken.iter().rev().map(|local| I::LocalSet(*local)));
        // At a loop header wasmi saves all locals, and forgets which ones are in registers.
        instructions.extend([I::Loop(wasm_encoder::BlockType::Empty), I::End]);
        instructions.extend(taken.iter().map(|local| I::LocalGet(*local)));
        body.insert(&instructions);
    }
    Ok(())
}

/// The local number `nth` of a type among those that were added.
fn nth_local(
    body: &mut Body<'_>,
    locals: &mut Vec<(ValType, Vec<u32>)>,
    ty: ValType,
    nth: usize,
) -> u32 {
    let position = locals.iter().position(|(of, _)| *of == ty);
    let position = position.unwrap_or_else(|| {
        locals.push((ty, Vec::new()));
        locals.len() - 1
    });
    let added = &mut locals[position].1;
    while added.len() <= nth {
        added.push(body.local(ty));
    }
    added[nth]
}
