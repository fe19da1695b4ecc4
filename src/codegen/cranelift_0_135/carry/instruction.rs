//! Instructions: each by its format, and what there is no instruction for any more in other words.

use cranelift_codegen::entity::EntityRef;
use cranelift_codegen::ir as origin;

use super::super::cranelift::ir::immediates::{Ieee16, Ieee32, Ieee64, Imm64, Offset32};
use super::super::cranelift::ir::{self, Opcode, types};
use super::super::{convert, opcodes};
use super::{Carrying, global_of, offset_of, value_of};

impl Carrying<'_> {
    /// Appends what an instruction is here.
    pub(super) fn instruction(&mut self, inst: origin::Inst) -> Result<(), String> {
        let origin = self.origin;
        let data = &origin.dfg.insts[inst];
        self.source = ir::SourceLoc::new(origin.srcloc(inst).bits());
        let old_results = origin.dfg.inst_results(inst);
        // Hardly any has more than one.
        let mut one = [ir::Value::from_u32(0)];
        let many: Vec<ir::Value>;
        let results: &[ir::Value] = match old_results {
            [] => &[],
            [result] => {
                one[0] = value_of(*result);
                &one
            }
            several => {
                many = several.iter().copied().map(value_of).collect();
                &many
            }
        };
        let Some((data, ty)) = self.translated(data, inst, results)? else {
            return Ok(());
        };
        let carried = self.define(data, ty, results);
        if let Some(entries) = origin.dfg.user_stack_map_entries(inst) {
            for entry in entries {
                let entry = ir::UserStackMapEntry {
                    ty: convert::ty(entry.ty),
                    slot: ir::StackSlot::from_u32(entry.slot.as_u32()),
                    offset: entry.offset,
                };
                self.func.dfg.append_user_stack_map_entry(carried, entry);
            }
        }
        Ok(())
    }

    /// The instruction with the same meaning, and its controlling type, behind what it needs;
    /// `None` if that is nothing more.
    #[inline]
    fn translated(
        &mut self,
        data: &origin::InstructionData,
        inst: origin::Inst,
        results: &[ir::Value],
    ) -> Result<Option<(ir::InstructionData, ir::Type)>, String> {
        use ir::InstructionData as New;
        use origin::InstructionData as Old;
        let dfg = &self.origin.dfg;
        let old_opcode = data.opcode();
        // What is gone comes first, and what has stayed has an opcode below.
        match *data {
            Old::UnaryGlobalValue {
                opcode: origin::Opcode::GlobalValue,
                global_value,
            } => {
                self.global_value(global_value, results)?;
                return Ok(None);
            }
            Old::BinaryImm64 { arg, imm, .. } => {
                let Some(opcode) = opcodes::without_immediate(old_opcode) else {
                    return Err(refused(old_opcode));
                };
                use origin::Opcode::{IaddImm, ImulImm, IrsubImm, SdivImm, SremImm};
                let signed = matches!(old_opcode, IaddImm | IrsubImm | ImulImm | SdivImm | SremImm);
                let ty = convert::ty(dfg.value_type(arg));
                let imm = self.immediate(ty, imm.bits(), signed);
                let args = match old_opcode {
                    IrsubImm => [imm, value_of(arg)],
                    _ => [value_of(arg), imm],
                };
                return Ok(Some((New::Binary { opcode, args }, ty)));
            }
            Old::IntCompareImm { cond, arg, imm, .. } => {
                let ty = convert::ty(dfg.value_type(arg));
                let data = New::IntCompare {
                    opcode: Opcode::Icmp,
                    args: [value_of(arg), self.immediate(ty, imm.bits(), true)],
                    cond: convert::int_cc(cond),
                };
                return Ok(Some((data, ty)));
            }
            Old::Binary { args, .. } => {
                if let Some(opcode) = opcodes::without_complement(old_opcode) {
                    let ty = convert::ty(dfg.value_type(args[0]));
                    let [arg, complemented] = args.map(value_of);
                    let complement = New::Unary {
                        opcode: Opcode::Bnot,
                        arg: complemented,
                    };
                    let args = [arg, self.value(complement, ty)];
                    return Ok(Some((New::Binary { opcode, args }, ty)));
                }
            }
            Old::StackLoad {
                opcode: origin::Opcode::StackLoad,
                stack_slot,
                offset,
            } => {
                let ty = convert::ty(dfg.value_type(dfg.first_result(inst)));
                let data = New::Load {
                    opcode: Opcode::Load,
                    arg: self.slot_address(stack_slot, offset),
                    flags: self.slot_flags()?,
                    offset: Offset32::new(0),
                };
                return Ok(Some((data, ty)));
            }
            Old::StackStore {
                arg,
                stack_slot,
                offset,
                ..
            } => {
                let ty = convert::ty(dfg.value_type(arg));
                let data = New::Store {
                    opcode: Opcode::Store,
                    args: [value_of(arg), self.slot_address(stack_slot, offset)],
                    flags: self.slot_flags()?,
                    offset: Offset32::new(0),
                };
                return Ok(Some((data, ty)));
            }
            _ => {}
        }
        let opcode = opcodes::same(old_opcode).ok_or_else(|| refused(old_opcode))?;
        let data = match *data {
            Old::AtomicCas { args, flags, .. } => New::AtomicCas {
                opcode,
                args: args.map(value_of),
                flags: self.flags(flags)?,
            },
            Old::AtomicRmw {
                args, flags, op, ..
            } => New::AtomicRmw {
                opcode,
                args: args.map(value_of),
                flags: self.flags(flags)?,
                op: convert::atomic_op(op),
            },
            Old::Binary { args, .. } => New::Binary {
                opcode,
                args: args.map(value_of),
            },
            Old::BinaryImm8 { arg, imm, .. } => New::BinaryImm8 {
                opcode,
                arg: value_of(arg),
                imm,
            },
            Old::BranchTable { arg, table, .. } => New::BranchTable {
                opcode,
                arg: value_of(arg),
                table: ir::JumpTable::from_u32(table.as_u32()),
            },
            Old::Brif { arg, blocks, .. } => New::Brif {
                opcode,
                arg: value_of(arg),
                blocks: [self.call_of(&blocks[0]), self.call_of(&blocks[1])],
            },
            Old::Call {
                ref args, func_ref, ..
            } => New::Call {
                opcode,
                args: self.list_of(args),
                func_ref: ir::FuncRef::from_u32(func_ref.as_u32()),
            },
            Old::CallIndirect {
                ref args, sig_ref, ..
            } => New::CallIndirect {
                opcode,
                args: self.list_of(args),
                sig_ref: ir::SigRef::from_u32(sig_ref.as_u32()),
            },
            Old::CondTrap { arg, code, .. } => New::CondTrap {
                opcode,
                arg: value_of(arg),
                code: convert::trap_code(code)?,
            },
            Old::FloatCompare { args, cond, .. } => New::FloatCompare {
                opcode,
                args: args.map(value_of),
                cond: convert::float_cc(cond),
            },
            Old::FuncAddr { func_ref, .. } => New::FuncAddr {
                opcode,
                func_ref: ir::FuncRef::from_u32(func_ref.as_u32()),
            },
            Old::IntAddTrap { args, code, .. } => New::IntAddTrap {
                opcode,
                args: args.map(value_of),
                code: convert::trap_code(code)?,
            },
            Old::IntCompare { args, cond, .. } => New::IntCompare {
                opcode,
                args: args.map(value_of),
                cond: convert::int_cc(cond),
            },
            Old::Jump { destination, .. } => New::Jump {
                opcode,
                destination: self.call_of(&destination),
            },
            Old::Load {
                arg, flags, offset, ..
            } => New::Load {
                opcode,
                arg: value_of(arg),
                flags: self.flags(flags)?,
                offset: offset_of(offset),
            },
            Old::LoadNoOffset { arg, flags, .. } => New::LoadNoOffset {
                opcode,
                arg: value_of(arg),
                flags: self.flags(flags)?,
            },
            Old::MultiAry { ref args, .. } => New::MultiAry {
                opcode,
                args: self.list_of(args),
            },
            Old::NullAry { .. } => New::NullAry { opcode },
            Old::Shuffle { args, imm, .. } => New::Shuffle {
                opcode,
                args: args.map(value_of),
                imm: ir::Immediate::from_u32(imm.as_u32()),
            },
            Old::StackLoad {
                stack_slot, offset, ..
            } => New::StackAddr {
                opcode,
                stack_slot: ir::StackSlot::from_u32(stack_slot.as_u32()),
                offset: offset_of(offset),
            },
            Old::Store {
                args,
                flags,
                offset,
                ..
            } => New::Store {
                opcode,
                args: args.map(value_of),
                flags: self.flags(flags)?,
                offset: offset_of(offset),
            },
            Old::StoreNoOffset { args, flags, .. } => New::StoreNoOffset {
                opcode,
                args: args.map(value_of),
                flags: self.flags(flags)?,
            },
            Old::Ternary { args, .. } => New::Ternary {
                opcode,
                args: args.map(value_of),
            },
            Old::TernaryImm8 { args, imm, .. } => New::TernaryImm8 {
                opcode,
                args: args.map(value_of),
                imm,
            },
            Old::Trap { code, .. } => New::Trap {
                opcode,
                code: convert::trap_code(code)?,
            },
            Old::Unary { arg, .. } => New::Unary {
                opcode,
                arg: value_of(arg),
            },
            Old::UnaryConst {
                constant_handle, ..
            } => New::UnaryConst {
                opcode,
                constant_handle: self.kept.constants[constant_handle.index()],
            },
            Old::UnaryGlobalValue { global_value, .. } => New::UnaryGlobalValue {
                opcode,
                global_value: global_of(global_value),
            },
            Old::UnaryIeee16 { imm, .. } => New::UnaryIeee16 {
                opcode,
                imm: Ieee16::with_bits(imm.bits()),
            },
            Old::UnaryIeee32 { imm, .. } => New::UnaryIeee32 {
                opcode,
                imm: Ieee32::with_bits(imm.bits()),
            },
            Old::UnaryIeee64 { imm, .. } => New::UnaryIeee64 {
                opcode,
                imm: Ieee64::with_bits(imm.bits()),
            },
            Old::UnaryImm { imm, .. } => New::UnaryImm {
                opcode,
                imm: Imm64::new(imm.bits()),
            },
            Old::BinaryImm64 { .. }
            | Old::DynamicStackLoad { .. }
            | Old::DynamicStackStore { .. }
            | Old::IntCompareImm { .. }
            | Old::StackStore { .. } => return Err(refused(old_opcode)),
        };
        let ty = match results {
            [] => types::INVALID,
            _ => convert::ty(dfg.ctrl_typevar(inst)),
        };
        Ok(Some((data, ty)))
    }

    fn constant(&mut self, ty: ir::Type, bits: i64) -> ir::Value {
        let opcode = Opcode::Iconst;
        // What is left of a constant that is wider than its type is zero.
        let imm = match ty.bits() {
            64 => bits,
            width => bits & ((1 << width) - 1),
        };
        let imm = Imm64::new(imm);
        self.value(ir::InstructionData::UnaryImm { opcode, imm }, ty)
    }

    /// A constant operand of an instruction on values of type `ty`.
    fn immediate(&mut self, ty: ir::Type, bits: i64, signed: bool) -> ir::Value {
        if ty != types::I128 {
            return self.constant(ty.lane_type(), bits);
        }
        let low = self.constant(types::I64, bits);
        let opcode = match signed {
            true => Opcode::Sextend,
            false => Opcode::Uextend,
        };
        self.value(ir::InstructionData::Unary { opcode, arg: low }, ty)
    }

    fn slot_address(
        &mut self,
        slot: origin::StackSlot,
        offset: origin::immediates::Offset32,
    ) -> ir::Value {
        let data = ir::InstructionData::StackAddr {
            opcode: Opcode::StackAddr,
            stack_slot: ir::StackSlot::from_u32(slot.as_u32()),
            offset: offset_of(offset),
        };
        self.value(data, types::I64)
    }

    /// Stack slots are there, but may be aligned in any way.
    fn slot_flags(&mut self) -> Result<ir::MemFlags, String> {
        self.flags(origin::MemFlags::new().with_notrap())
    }

    /// The parameter that is the vmctx.
    pub(super) fn vmctx(&self) -> Result<ir::Value, String> {
        let vmctx = self
            .origin
            .special_param(origin::ArgumentPurpose::VMContext);
        vmctx
            .map(value_of)
            .ok_or_else(|| "a vmctx that is no parameter".to_string())
    }

    /// Computes a global value, as `results` if that is not empty.
    fn global_value(
        &mut self,
        global: origin::GlobalValue,
        results: &[ir::Value],
    ) -> Result<ir::Value, String> {
        use origin::GlobalValueData as Origin;
        let (data, ty) = match self.origin.global_values[global] {
            Origin::VMContext => {
                self.kept.vmctxs.extend_from_slice(results);
                return self.vmctx();
            }
            Origin::Load {
                base,
                offset,
                global_type,
                flags,
            } => {
                let data = ir::InstructionData::Load {
                    opcode: Opcode::Load,
                    arg: self.global_value(base, &[])?,
                    flags: self.flags(flags)?,
                    offset: offset_of(offset),
                };
                (data, convert::ty(global_type))
            }
            Origin::IAddImm {
                base,
                offset,
                global_type,
            } => {
                let ty = convert::ty(global_type);
                let base = self.global_value(base, &[])?;
                let args = [base, self.immediate(ty, offset.bits(), true)];
                let opcode = Opcode::Iadd;
                (ir::InstructionData::Binary { opcode, args }, ty)
            }
            Origin::Symbol { tls, .. } => {
                let data = ir::InstructionData::UnaryGlobalValue {
                    opcode: if tls {
                        Opcode::TlsValue
                    } else {
                        Opcode::SymbolValue
                    },
                    global_value: global_of(global),
                };
                (data, types::I64)
            }
            Origin::DynScaleTargetConst { .. } => {
                return Err("vectors of a length that is not known".to_string());
            }
        };
        Ok(match results {
            [result, ..] => {
                self.define(data, ty, results);
                *result
            }
            [] => self.value(data, ty),
        })
    }
}

fn refused(opcode: origin::Opcode) -> String {
    format!("CLIF instruction {opcode}, which this generation of Cranelift lacks")
}
