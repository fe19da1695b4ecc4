//! Stack slots of references that live through loops.
//!
//! What is declared to need stack maps, `cranelift-frontend` keeps in a stack slot from where it is defined
//! to its last use. Version 0.112 gives out slots on one walk through the code, from its end, and gives a
//! slot back where the value in it is defined. Of a value that is defined before a loop and used at the
//! top of it alone, it learns only there: what is defined further down in the loop, and used behind it,
//! has been met by then, and its slot is free to be shared. In the second iteration, code and collector
//! find the one value in the place of the other. (Fixed upstream in 2026, in
//! [#13498](https://github.com/bytecodealliance/wasmtime/pull/13498): the slots of all values that live
//! out of a block are given out before anything in it is looked at.)
//!
//! So here, every value that lives into the next iteration is used once more at the end of the one
//! before, by an instruction without any effect, which is the first thing in the loop that such a walk
//! meets. Nothing of that is left in machine code.

use std::collections::BTreeSet;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::{self, InstBuilder, ValueDef, types};
use cranelift_entity::SecondaryMap;
use cranelift_frontend::FunctionBuilder;

use super::environment::Environment;
use crate::score::Fault;

/// What is known of a block.
#[derive(Clone, Default)]
struct Liveness {
    /// Its place in the order of blocks.
    place: usize,
    /// Values that live when control enters it, of those that may have a slot.
    live_in: BTreeSet<ir::Value>,
}

impl Environment<'_> {
    /// Has every value that lives through a loop be used at the end of it; to be called when all is declared
    /// that is to be found by collections.
    pub(super) fn hold_slots_in_loops(&mut self, builder: &mut FunctionBuilder<'_>) {
        if !self.references.any || self.planted(Fault::LoopSlotShared) {
            return;
        }
        let func = &mut *builder.func;
        let mut blocks: SecondaryMap<ir::Block, Liveness> = SecondaryMap::new();
        let order: Vec<ir::Block> = func.layout.blocks().collect();
        for (place, block) in order.iter().enumerate() {
            blocks[*block].place = place;
        }
        // Wasm is structured, so every loop is closed by branches to a block that comes before.
        let ends: Vec<(ir::Inst, ir::Block)> = order
            .iter()
            .filter_map(|block| Some((*block, func.layout.last_inst(*block)?)))
            .flat_map(|(block, end)| {
                let place = blocks[block].place;
                let targets = successors(func, end);
                let back = targets.filter(|target| blocks[*target].place <= place);
                let back: Vec<_> = back.map(|target| (end, target)).collect();
                back
            })
            .collect();
        if ends.is_empty() {
            return;
        }
        self.live_ins(func, &order, &mut blocks);
        for (end, header) in ends {
            for value in &blocks[header].live_in {
                FuncCursor::new(func).at_inst(end).ins().bor(*value, *value);
            }
        }
    }

    /// Finds what lives into each block, backwards to a fixed point.
    fn live_ins(
        &self,
        func: &ir::Function,
        order: &[ir::Block],
        blocks: &mut SecondaryMap<ir::Block, Liveness>,
    ) {
        let mut live = BTreeSet::new();
        let mut changed = true;
        while changed {
            changed = false;
            for block in order.iter().rev() {
                live.clear();
                if let Some(end) = func.layout.last_inst(*block) {
                    for target in successors(func, end) {
                        live.extend(&blocks[target].live_in);
                    }
                }
                for inst in func.layout.block_insts(*block).rev() {
                    for result in func.dfg.inst_results(inst) {
                        live.remove(result);
                    }
                    for value in func.dfg.inst_values(inst) {
                        let value = func.dfg.resolve_aliases(value);
                        if self.may_have_slot(func, value) {
                            live.insert(value);
                        }
                    }
                }
                for param in func.dfg.block_params(*block) {
                    live.remove(param);
                }
                let live_in = &mut blocks[*block].live_in;
                changed |= live.len() > live_in.len();
                live_in.append(&mut live);
            }
        }
    }

    /// Whether a value may be one that has been declared: one that a reference flows into, or, by
    /// `cranelift-wasm`, something that stands for a null where one could.
    fn may_have_slot(&self, func: &ir::Function, value: ir::Value) -> bool {
        let null = || match func.dfg.value_def(value) {
            ValueDef::Param(block, _) => func.layout.entry_block() != Some(block),
            ValueDef::Result(inst, _) => matches!(
                func.dfg.insts[inst].opcode(),
                ir::Opcode::Iconst | ir::Opcode::Select
            ),
            ValueDef::Union(..) => false,
        };
        self.references.values.contains(value) || func.dfg.value_type(value) == types::I64 && null()
    }
}

/// The blocks that an instruction may branch to.
fn successors(func: &ir::Function, end: ir::Inst) -> impl Iterator<Item = ir::Block> + '_ {
    let lists = &func.dfg.value_lists;
    func.dfg.insts[end]
        .branch_destination(&func.dfg.jump_tables)
        .iter()
        .map(move |edge| edge.block(lists))
}
