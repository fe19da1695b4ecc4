//! Where control goes to: call sites, with their signatures and stack maps, and edges between blocks.

use std::collections::HashMap;

use cranelift_codegen::ir::{self, BlockCall, Inst};
use cranelift_entity::EntityRef;

use super::super::program::{CallSite, Edge};
use super::{Lowering, number};
use crate::codegen::CodegenError;
use crate::codegen::compiled::StackMap;

/// Signatures by number.
#[derive(Default)]
pub struct Signatures {
    numbers: HashMap<ir::Signature, u32>,
}

impl Signatures {
    /// The number of a signature: equal for equal ones.
    pub(super) fn number(&mut self, signature: &ir::Signature) -> u32 {
        if let Some(number) = self.numbers.get(signature) {
            return *number;
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(signature.clone(), number);
        number
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl Lowering<'_> {
    pub(super) fn call_site(&mut self, inst: Inst, callee: usize, abi: ir::SigRef) -> u32 {
        let dfg = &self.func.dfg;
        let (args, results) = (&dfg.inst_args(inst)[callee..], dfg.inst_results(inst));
        let site = CallSite {
            first_argument: self.list(args),
            arguments: args.len() as u32,
            first_result: self.list(results),
            results: results.len() as u32,
            abi,
            signature: self.signatures.number(&dfg.signatures[abi]),
        };
        self.program.sites.push(site);
        self.program.sites.len() as u32 - 1
    }

    /// Notes where references are during the call that was just pushed.
    pub(super) fn stack_map(&mut self, inst: Inst) {
        let Some(entries) = self.func.dfg.user_stack_map_entries(inst) else {
            return;
        };
        let first_slot = self.module.stack_map_slots.len() as u32;
        let slots = entries
            .iter()
            .map(|entry| self.program.slots[entry.slot.index()] + entry.offset);
        self.module.stack_map_slots.extend(slots);
        self.module.stack_maps.push(StackMap {
            return_address: self.start + self.here(),
            frame_size: self.program.frame_bytes,
            first_slot,
            slots: self.module.stack_map_slots.len() as u32 - first_slot,
        });
    }

    pub(super) fn edge(&mut self, call: BlockCall) -> Result<u32, CodegenError> {
        let pool = &self.func.dfg.value_lists;
        let block = call.block(pool);
        let (args, params) = (call.args_slice(pool), self.func.dfg.block_params(block));
        let first = self.program.moves.len();
        let moves = args
            .iter()
            .zip(params)
            .map(|(arg, param)| (number(*arg), number(*param)))
            .filter(|(from, to)| from != to);
        self.program.moves.extend(moves);
        let moves = &self.program.moves[first..];
        let at_once = moves.iter().enumerate().any(|(index, (_, to))| {
            let mut later = moves[index + 1..].iter();
            later.any(|(from, _)| from == to)
        });
        self.program.edges.push(Edge {
            target: block.index() as u32,
            first: first as u32,
            moves: moves.len() as u32,
            at_once,
        });
        Ok(self.program.edges.len() as u32 - 1)
    }
}
