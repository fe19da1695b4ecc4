//! Which values are references, for stack maps.
//!
//! A collection finds on the stack what stack maps say is there: of the values declared to need
//! them, those that are live across the call. `cranelift-frontend` keeps what is declared in a
//! stack slot across calls; declaring is up to whoever builds the function. In version 0.112
//! `cranelift-wasm` and `cranelift-frontend` between them forget two kinds of values, and a
//! reference that only such a value holds would be lost to a collection:
//!
//! - the result of a `select` of references;
//! - a block parameter that SSA construction makes for a local on the way from where it is set to
//!   where it is read, as at loop headers: only the value that the read itself yields is declared.
//!
//! So the environment finds all of them itself, once the function is built. The *sources* are
//! parameters, results of calls, and what is read from tables and globals. From there references
//! flow along edges into block parameters and through selects, and each value that one can flow
//! into is declared. Wasm is typed: what takes a reference from one edge takes one, or the null
//! constant, from all.

use cranelift_codegen::ir;
use cranelift_entity::EntitySet;
use cranelift_frontend::FunctionBuilder;

use super::environment::Environment;
use crate::case::module::ValType;
use crate::score::Fault;

/// The references in a function, as far as they are known.
#[derive(Default)]
pub(super) struct References {
    /// Those that are declared.
    pub(super) values: EntitySet<ir::Value>,
    /// Whether there are any.
    pub(super) any: bool,
    /// The results of selects of references.
    selects: Vec<ir::Inst>,
}

impl References {
    /// Forgets them, for the next function.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.any = false;
        self.selects.clear();
    }
}

impl Environment<'_> {
    /// Says that a value is an externref that may not be null.
    pub(super) fn declare_reference(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: ir::Value,
    ) {
        self.references.any = true;
        if self.references.values.insert(value) {
            builder.declare_value_needs_stack_map(value);
        }
    }

    /// Notes a `select` of externrefs, which was just translated.
    pub(super) fn note_select(&mut self, builder: &FunctionBuilder<'_>) {
        let last = builder
            .current_block()
            .and_then(|block| builder.func.layout.last_inst(block));
        if let Some(select) = last
            && builder.func.dfg.insts[select].opcode() == ir::Opcode::Select
        {
            self.references.selects.push(select);
        }
    }

    /// Declares all values that references flow into; to be called when the function is built.
    pub(super) fn declare_flows(&mut self, builder: &mut FunctionBuilder<'_>) {
        self.declare_parameters(builder);
        if !self.references.any {
            return;
        }
        let selects = !self.planted(Fault::SelectNotInStackMap);
        let edges = !self.planted(Fault::BlockParameterNotInStackMap);
        let mut changed = true;
        while changed {
            changed = false;
            if selects {
                changed |= self.flow_through_selects(builder);
            }
            if edges {
                changed |= self.flow_along_edges(builder);
            }
        }
    }

    fn declare_parameters(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(entry) = builder.func.layout.entry_block() else {
            return;
        };
        let ty = &self.module.types[self.function_type() as usize];
        for (index, ty) in ty.params.iter().enumerate() {
            if *ty == ValType::ExternRef && !self.planted(Fault::ParameterNotInStackMap) {
                // Behind the two vmctxs.
                let param = builder.func.dfg.block_params(entry)[index + 2];
                self.declare_reference(builder, param);
            }
        }
    }

    fn is_reference(&self, builder: &FunctionBuilder<'_>, value: ir::Value) -> bool {
        let value = builder.func.dfg.resolve_aliases(value);
        self.references.values.contains(value)
    }

    fn flow_through_selects(&mut self, builder: &mut FunctionBuilder<'_>) -> bool {
        let mut changed = false;
        for index in 0..self.references.selects.len() {
            let select = self.references.selects[index];
            let result = builder.func.dfg.first_result(select);
            if self.references.values.contains(result) {
                continue;
            }
            let args = builder.func.dfg.inst_args(select);
            let (one, other) = (args[1], args[2]);
            if self.is_reference(builder, one) || self.is_reference(builder, other) {
                self.declare_reference(builder, result);
                changed = true;
            }
        }
        changed
    }

    fn flow_along_edges(&mut self, builder: &mut FunctionBuilder<'_>) -> bool {
        let mut changed = false;
        let mut found = Vec::new();
        let mut next = builder.func.layout.entry_block();
        while let Some(block) = next {
            next = builder.func.layout.next_block(block);
            let Some(branch) = builder.func.layout.last_inst(block) else {
                continue;
            };
            let dfg = &builder.func.dfg;
            for edge in dfg.insts[branch].branch_destination(&dfg.jump_tables) {
                let params = dfg.block_params(edge.block(&dfg.value_lists));
                let args = edge.args_slice(&dfg.value_lists);
                for (arg, param) in args.iter().zip(params) {
                    if !self.references.values.contains(*param) && self.is_reference(builder, *arg)
                    {
                        found.push(*param);
                    }
                }
            }
            changed |= !found.is_empty();
            for param in found.drain(..) {
                self.declare_reference(builder, param);
            }
        }
        changed
    }
}
