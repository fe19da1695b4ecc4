//! A function of CLIF 0.112 as one of this generation: the same blocks, instructions and values,
//! under the same numbers.
//!
//! Entities are carried one kind after the other, those first that instructions refer to. Then come
//! the blocks in their order, and in them the instructions, each by its format. Since numbers stay
//! as they are, nothing that refers to a value has to wait for it. What 0.112 leaves to its
//! legaliser and later generations do not know any more (global values, immediate operands, loads
//! and stores of stack slots) is put in other words on the way; the values that this takes get
//! numbers behind all others. What is another name of the vmctx comes last, as its alias; other aliases
//! there are none.

mod instruction;

use cranelift_codegen::entity::EntityRef;
use cranelift_codegen::ir as origin;

use super::convert;
use super::cranelift::ir;
use super::cranelift::ir::immediates::{Imm64, Offset32};

/// Carries functions over, and keeps allocations from one to the next.
#[derive(Default)]
pub(super) struct Carrier {
    /// The constants, by their old number.
    constants: Vec<ir::Constant>,
    /// Memory flags met so far; a function has a handful.
    flags: Vec<(origin::MemFlags, ir::MemFlags)>,
    /// Values that are the vmctx by another name.
    vmctxs: Vec<ir::Value>,
    list: Vec<ir::Value>,
}

impl Carrier {
    /// Makes `func`, which must be cleared, what `origin` is, in which no value is another's alias.
    ///
    /// # Errors
    /// The name of what cannot be carried over.
    pub(super) fn carry(
        &mut self,
        origin: &origin::Function,
        func: &mut ir::Function,
    ) -> Result<(), String> {
        self.constants.clear();
        self.flags.clear();
        self.vmctxs.clear();
        let mut carrying = Carrying {
            origin,
            func,
            kept: self,
            block: ir::Block::from_u32(0),
            source: ir::SourceLoc::default(),
        };
        carrying.preamble()?;
        carrying.blocks();
        for block in origin.layout.blocks() {
            carrying.block = block_of(block);
            for inst in origin.layout.block_insts(block) {
                carrying.instruction(inst)?;
            }
        }
        carrying.aliases();
        Ok(())
    }
}

/// One function on its way.
struct Carrying<'a> {
    origin: &'a origin::Function,
    func: &'a mut ir::Function,
    kept: &'a mut Carrier,
    /// The block that instructions are appended to.
    block: ir::Block,
    /// Where the next instruction comes from.
    source: ir::SourceLoc,
}

fn value_of(value: origin::Value) -> ir::Value {
    ir::Value::from_u32(value.as_u32())
}

fn block_of(block: origin::Block) -> ir::Block {
    ir::Block::from_u32(block.as_u32())
}

fn offset_of(offset: origin::immediates::Offset32) -> Offset32 {
    Offset32::new(offset.into())
}

impl Carrying<'_> {
    /// Everything that stands before the blocks.
    fn preamble(&mut self) -> Result<(), String> {
        let origin = self.origin;
        if !origin.dynamic_stack_slots.is_empty() {
            return Err("vectors of a length that is not known".to_string());
        }
        if let Some(name) = origin.name.get_user() {
            self.func.name = ir::UserFuncName::user(name.namespace, name.index);
        }
        self.func.signature = convert::signature(&origin.signature)?;
        for name in origin.params.user_named_funcs().values() {
            let name = ir::UserExternalName::new(name.namespace, name.index);
            self.func.declare_imported_user_function(name);
        }
        for signature in origin.dfg.signatures.values() {
            let signature = convert::signature(signature)?;
            self.func.dfg.signatures.push(signature);
        }
        for function in origin.dfg.ext_funcs.values() {
            self.func.dfg.ext_funcs.push(ir::ExtFuncData {
                name: convert::name(&function.name)?,
                signature: ir::SigRef::from_u32(function.signature.as_u32()),
                colocated: function.colocated,
                patchable: false,
            });
        }
        for slot in origin.sized_stack_slots.values() {
            let kind = match slot.kind {
                origin::StackSlotKind::ExplicitSlot => ir::StackSlotKind::ExplicitSlot,
                origin::StackSlotKind::ExplicitDynamicSlot => {
                    ir::StackSlotKind::ExplicitDynamicSlot
                }
            };
            let slot = ir::StackSlotData::new(kind, slot.size, slot.align_shift);
            self.func.create_sized_stack_slot(slot);
        }
        for (handle, constant) in origin.dfg.constants.iter() {
            let constant = ir::ConstantData::from(constant.as_slice());
            let carried = self.func.dfg.constants.insert(constant);
            debug_assert_eq!(handle.index(), self.kept.constants.len());
            self.kept.constants.push(carried);
        }
        for immediate in origin.dfg.immediates.values() {
            let immediate = ir::ConstantData::from(immediate.as_slice());
            self.func.dfg.immediates.push(immediate);
        }
        for global in origin.global_values.values() {
            let global = self.global(global)?;
            self.func.create_global_value(global);
        }
        self.func.stack_limit = origin.stack_limit.map(global_of);
        Ok(())
    }

    fn global(&mut self, global: &origin::GlobalValueData) -> Result<ir::GlobalValueData, String> {
        use origin::GlobalValueData as Origin;
        Ok(match global {
            Origin::VMContext => ir::GlobalValueData::VMContext,
            Origin::Load {
                base,
                offset,
                global_type,
                flags,
            } => ir::GlobalValueData::Load {
                base: global_of(*base),
                offset: offset_of(*offset),
                global_type: convert::ty(*global_type),
                flags: self.flags(*flags)?,
            },
            Origin::IAddImm {
                base,
                offset,
                global_type,
            } => ir::GlobalValueData::IAddImm {
                base: global_of(*base),
                offset: Imm64::new(offset.bits()),
                global_type: convert::ty(*global_type),
            },
            Origin::Symbol {
                name,
                offset,
                colocated,
                tls,
            } => ir::GlobalValueData::Symbol {
                name: convert::name(name)?,
                offset: Imm64::new(offset.bits()),
                colocated: *colocated,
                tls: *tls,
            },
            Origin::DynScaleTargetConst { .. } => {
                return Err("vectors of a length that is not known".to_string());
            }
        })
    }

    fn flags(&mut self, flags: origin::MemFlags) -> Result<ir::MemFlags, String> {
        let mut known = self.kept.flags.iter();
        if let Some((_, carried)) = known.find(|(known, _)| *known == flags) {
            return Ok(*carried);
        }
        let mut data = convert::mem_flags(flags)?;
        if let Some(region) = flags.alias_region() {
            let region = convert::alias_region(region);
            data.set_alias_region(Some(self.func.dfg.alias_regions.insert(region)));
        }
        let carried = self.func.dfg.mem_flags.insert(data);
        let carried = carried.map_err(|_| "too many kinds of memory flags".to_string())?;
        self.kept.flags.push((flags, carried));
        Ok(carried)
    }

    /// The blocks with their parameters, and the jump tables, which refer to blocks.
    fn blocks(&mut self) {
        let (origin, ir::function::FunctionStencil { dfg, layout, .. }) =
            (self.origin, &mut self.func.stencil);
        for _ in 0..origin.dfg.num_values() {
            dfg.make_invalid_value_for_parser();
        }
        for _ in 0..origin.dfg.num_blocks() {
            dfg.make_block();
        }
        for block in origin.layout.blocks() {
            for param in origin.dfg.block_params(block) {
                let ty = convert::ty(origin.dfg.value_type(*param));
                dfg.append_block_param_for_parser(block_of(block), ty, value_of(*param));
            }
            layout.append_block(block_of(block));
            if origin.layout.is_cold(block) {
                layout.set_cold(block_of(block));
            }
        }
        for table in origin.dfg.jump_tables.values() {
            let default = self.call_of(&table.default_block());
            let table: Vec<_> = table.as_slice().iter().map(|to| self.call_of(to)).collect();
            self.func
                .create_jump_table(ir::JumpTableData::new(default, &table));
        }
    }

    /// A jump with what it hands over.
    fn call_of(&mut self, call: &origin::BlockCall) -> ir::BlockCall {
        let pool = &self.origin.dfg.value_lists;
        let args = call.args_slice(pool).iter();
        let args = args.map(|arg| ir::BlockArg::Value(value_of(*arg)));
        ir::BlockCall::new(
            block_of(call.block(pool)),
            args,
            &mut self.func.dfg.value_lists,
        )
    }

    fn list_of(&mut self, list: &origin::ValueList) -> ir::ValueList {
        let values = list.as_slice(&self.origin.dfg.value_lists);
        self.kept.list.clear();
        self.kept.list.extend(values.iter().copied().map(value_of));
        ir::ValueList::from_slice(&self.kept.list, &mut self.func.dfg.value_lists)
    }

    /// Appends an instruction whose results have the numbers `results`, of which there are as many as
    /// it has results. `ty` is that of its controlling type variable.
    fn define(
        &mut self,
        data: ir::InstructionData,
        ty: ir::Type,
        results: &[ir::Value],
    ) -> ir::Inst {
        let inst = self.append(data);
        let dfg = &mut self.func.dfg;
        if cfg!(debug_assertions) {
            // Says first of what type the values are, which is what is checked.
            dfg.make_inst_results_for_parser(inst, ty, results);
        } else if !results.is_empty() {
            let results = results.iter().map(|result| Some(*result));
            dfg.make_inst_results_reusing(inst, ty, results);
        }
        inst
    }

    /// Appends an instruction that was not there; its result.
    fn value(&mut self, data: ir::InstructionData, ty: ir::Type) -> ir::Value {
        let inst = self.append(data);
        self.func.dfg.make_inst_results(inst, ty);
        self.func.dfg.first_result(inst)
    }

    /// Appends an instruction that has no results yet.
    fn append(&mut self, data: ir::InstructionData) -> ir::Inst {
        let inst = self.func.dfg.make_inst(data);
        self.func.layout.append_inst(inst, self.block);
        if !self.source.is_default() {
            self.func.set_srcloc(inst, self.source);
        }
        inst
    }

    /// The values that stand for the vmctx.
    fn aliases(&mut self) {
        if let Ok(vmctx) = self.vmctx() {
            for alias in &self.kept.vmctxs {
                self.func
                    .dfg
                    .make_value_alias_for_serialization(vmctx, *alias);
            }
        }
    }
}

fn global_of(global: origin::GlobalValue) -> ir::GlobalValue {
    ir::GlobalValue::from_u32(global.as_u32())
}

#[cfg(test)]
mod tests;
