//! From CLIF to what is interpreted: every instruction becomes an operation, in order.
//!
//! Nothing is optimised here, and nothing decided that CLIF leaves open: this is the function as it came
//! out of translation. What is not known how to interpret is refused, by the name of the instruction,
//! before anything runs.

mod calls;
mod globals;

use cranelift_codegen::ir::immediates::{Imm64, Offset32};
use cranelift_codegen::ir::{
    self, ExternalName, Inst, InstructionData, Opcode, TrapCode, Type, Value, types,
};
use cranelift_entity::EntityRef;

pub use self::calls::Signatures;
use super::loads::{load, load_op};
use super::program::{Load, Number, Op, Program};
use super::{lanes, scalar, trust};
use crate::codegen::CodegenError;
use crate::codegen::compiled::{CompiledFunction, CompiledModule, TrapSite};
use crate::codegen::cranelift_0_112::trap_kind;

/// Bytes that the code of a function is aligned to.
pub const ALIGNMENT: u32 = 16;

/// Bytes of stack that a frame takes for each of its values: about as many, on the whole, as machine code does,
/// which keeps a few of them there.
const VALUE_BYTES: u32 = 2;

/// What stands for the code in memory: on no host an instruction that does anything.
const CODE: u8 = 0xcc;

/// Fills in a program for a function, in which no value is another's alias, but for the function itself, and
/// appends it to `module`, of which so many functions are `imported`, as code of one byte an operation.
///
/// # Errors
/// [`CodegenError::Unsupported`] with the name of an instruction.
pub fn lower(
    func: &ir::Function,
    program: &mut Program,
    canonicalise_nans: bool,
    imported: u32,
    signatures: &mut Signatures,
    module: &mut CompiledModule,
) -> Result<(), CodegenError> {
    let start = module.code.len().next_multiple_of(ALIGNMENT as usize);
    let mut lowering = Lowering {
        func,
        program,
        canonicalise_nans,
        imported,
        signatures,
        module,
        start: start as u32,
    };
    lowering.all()?;
    module.code.resize(start, CODE);
    module.code.resize(start + program.ops.len(), CODE);
    module.functions.push(CompiledFunction {
        start: start as u32,
        end: module.code.len() as u32,
        stack_bytes: program.frame_bytes,
    });
    Ok(())
}

/// A load that Cranelift may move to wherever its operand is known.
struct Movable {
    load: Load,
    base: Value,
    offset: i32,
}

/// The loads of a function that may move, but for those from its vmctx, which is there as long as the
/// function runs.
fn movable(func: &ir::Function) -> Vec<Movable> {
    let mut movable = Vec::new();
    let insts = func
        .layout
        .blocks()
        .flat_map(|it| func.layout.block_insts(it));
    for inst in insts {
        let InstructionData::Load {
            opcode: opcode @ Opcode::Load,
            flags,
            arg,
            offset,
        } = func.dfg.insts[inst]
        else {
            continue;
        };
        let of_vmctx = match func.dfg.value_def(arg) {
            ir::ValueDef::Result(inst, _) => func.dfg.insts[inst].opcode() == Opcode::GlobalValue,
            ir::ValueDef::Param(block, _) => func.layout.entry_block() == Some(block),
            ir::ValueDef::Union(..) => false,
        };
        if let Some(load) = load(opcode, func.dfg.ctrl_typevar(inst))
            && flags.readonly()
            && flags.notrap()
            && !of_vmctx
        {
            movable.push(Movable {
                load,
                base: arg,
                offset: offset.into(),
            });
        }
    }
    movable
}

struct Lowering<'a> {
    func: &'a ir::Function,
    program: &'a mut Program,
    canonicalise_nans: bool,
    imported: u32,
    signatures: &'a mut Signatures,
    module: &'a mut CompiledModule,
    start: u32,
}

impl Lowering<'_> {
    fn all(&mut self) -> Result<(), CodegenError> {
        self.program.registers = self.func.dfg.num_values() as u32;
        self.program.signature = self.signatures.number(&self.func.signature);
        self.frame();
        self.stack_limit()?;
        let entry = self.func.layout.entry_block();
        let entry = entry.ok_or_else(|| unsupported("a function without code"))?;
        let parameters = self.func.dfg.block_params(entry);
        self.program
            .parameters
            .extend(parameters.iter().map(|value| number(*value)));
        self.program
            .blocks
            .resize(self.func.dfg.num_blocks(), u32::MAX);
        let movable = movable(self.func);
        for block in self.func.layout.blocks() {
            self.program.blocks[block.index()] = self.here();
            self.check_movable(&movable, self.func.dfg.block_params(block));
            for inst in self.func.layout.block_insts(block) {
                self.check_types(inst)?;
                self.instruction(inst)?;
                self.check_movable(&movable, self.func.dfg.inst_results(inst));
            }
        }
        for edge in &mut self.program.edges {
            edge.target = self.program.blocks[edge.target as usize];
        }
        Ok(())
    }

    /// Has those loads tried that may move to where these values come to be.
    fn check_movable(&mut self, movable: &[Movable], values: &[Value]) {
        for it in movable.iter().filter(|it| values.contains(&it.base)) {
            self.push(Op::CheckMovable {
                load: it.load,
                base: number(it.base),
                offset: it.offset,
            });
        }
    }

    /// Lays out the stack slots, from the stack pointer upwards. Above them is room that is not used, of
    /// [`VALUE_BYTES`] for every value: registers are elsewhere, but who calls without end is to be out of
    /// stack before all memory is full of them.
    fn frame(&mut self) {
        let mut bytes = 0_u32;
        for slot in self.func.sized_stack_slots.values() {
            bytes = bytes.next_multiple_of(1 << slot.align_shift.max(3));
            self.program.slots.push(bytes);
            bytes += slot.size;
        }
        bytes += VALUE_BYTES * self.program.registers;
        self.program.frame_bytes = bytes.next_multiple_of(16);
    }

    /// The number of the next operation.
    fn here(&self) -> u32 {
        self.program.ops.len() as u32
    }

    fn push(&mut self, op: Op) {
        self.program.ops.push(op);
        self.program.steps.push(None.into());
    }

    /// An operation that does what the crate's interpreter does with an instruction.
    fn push_checked(&mut self, op: Op, inst: Inst) {
        self.program.ops.push(op);
        self.program.steps.push(inst.into());
    }

    /// Says that the next operation may trap.
    fn may_trap(&mut self, code: TrapCode) -> Result<(), CodegenError> {
        let kind = trap_kind(code)?;
        let offset = self.start + self.here();
        self.module.traps.push(TrapSite { offset, kind });
        Ok(())
    }

    fn check_types(&self, inst: Inst) -> Result<(), CodegenError> {
        let dfg = &self.func.dfg;
        let values = dfg.inst_args(inst).iter().chain(dfg.inst_results(inst));
        for value in values {
            let ty = dfg.value_type(*value);
            let known = matches!(
                ty,
                types::I8 | types::I16 | types::I32 | types::I64 | types::F32 | types::F64
            );
            if !(known || ty.is_vector() && ty.bytes() == 16) {
                let opcode = dfg.insts[inst].opcode();
                return Err(unsupported(&format!("{opcode} with {ty}")));
            }
        }
        Ok(())
    }

    fn instruction(&mut self, inst: Inst) -> Result<(), CodegenError> {
        let dfg = &self.func.dfg;
        let data = dfg.insts[inst];
        let opcode = data.opcode();
        let ty = dfg.ctrl_typevar(inst);
        let args = dfg.inst_args(inst);
        let arg = |index: usize| number(args[index]);
        match data {
            InstructionData::Jump { destination, .. } => {
                let edge = self.edge(destination)?;
                self.push_checked(Op::Jump { edge }, inst);
            }
            InstructionData::Brif { arg, blocks, .. } => {
                let then = self.edge(blocks[0])?;
                let otherwise = self.edge(blocks[1])?;
                let condition = number(arg);
                let op = Op::Branch {
                    condition,
                    then,
                    otherwise,
                };
                self.push_checked(op, inst);
            }
            InstructionData::BranchTable { arg, table, .. } => {
                let first = self.program.edges.len() as u32;
                let branches = self.func.dfg.jump_tables[table].all_branches();
                for branch in branches {
                    self.edge(*branch)?;
                }
                let op = Op::BranchTable {
                    index: number(arg),
                    first,
                    edges: branches.len() as u32,
                };
                self.push_checked(op, inst);
            }
            InstructionData::Trap { code, .. } if opcode == Opcode::Trap => {
                self.may_trap(code)?;
                self.push_checked(Op::Trap, inst);
            }
            InstructionData::CondTrap { arg, code, .. } => {
                self.may_trap(code)?;
                let condition = number(arg);
                let op = match opcode {
                    Opcode::Trapz => Op::TrapIfZero { condition },
                    _ => Op::TrapUnlessZero { condition },
                };
                self.push_checked(op, inst);
            }
            InstructionData::Call { func_ref, .. } => {
                let callee = &self.func.dfg.ext_funcs[func_ref];
                let ExternalName::User(name) = callee.name else {
                    return Err(unsupported("call of what is no function of a module"));
                };
                let index = self.func.params.user_named_funcs()[name].index;
                let function = index.checked_sub(self.imported);
                let function =
                    function.ok_or_else(|| unsupported("direct call of an imported function"))?;
                let site = self.call_site(inst, 0, callee.signature);
                self.push(match opcode {
                    Opcode::ReturnCall => Op::ReturnCall { function, site },
                    _ => Op::Call { function, site },
                });
                self.stack_map(inst);
            }
            InstructionData::CallIndirect { sig_ref, .. } => {
                let callee = arg(0);
                let site = self.call_site(inst, 1, sig_ref);
                self.push(match opcode {
                    Opcode::ReturnCallIndirect => Op::ReturnCallIndirect { callee, site },
                    _ => Op::CallIndirect { callee, site },
                });
                self.stack_map(inst);
            }
            InstructionData::MultiAry { .. } if opcode == Opcode::Return => {
                let first = self.list(args);
                let values = args.len() as u32;
                self.push(Op::Return { first, values });
            }
            InstructionData::UnaryGlobalValue { global_value, .. }
                if opcode == Opcode::GlobalValue =>
            {
                let to = number(dfg.first_result(inst));
                self.global(global_value, to, Some(inst))?;
            }
            InstructionData::Load { flags, offset, .. } => {
                let to = number(dfg.first_result(inst));
                let load = load(opcode, ty).ok_or_else(|| refused(opcode, ty))?;
                if let Some(code) = flags.trap_code() {
                    self.may_trap(code)?;
                }
                let offset = offset.into();
                let op = load_op(flags, load, to, arg(0), offset);
                match load {
                    // Not implemented in the crate.
                    Load::Widened { .. } => self.push(op),
                    // An offset with a sign is zero-extended in the crate.
                    _ if offset < 0 => self.push(op),
                    _ => self.push_checked(op, inst),
                }
            }
            InstructionData::Store { flags, offset, .. } => {
                let bytes = match opcode {
                    Opcode::Store => ty.bytes() as u8,
                    Opcode::Istore8 => 1,
                    Opcode::Istore16 => 2,
                    Opcode::Istore32 => 4,
                    _ => return Err(refused(opcode, ty)),
                };
                if let Some(code) = flags.trap_code() {
                    self.may_trap(code)?;
                }
                let offset = offset.into();
                let op = Op::Store {
                    bytes,
                    value: arg(0),
                    base: arg(1),
                    offset,
                };
                match offset {
                    // As above.
                    ..0 => self.push(op),
                    _ => self.push_checked(op, inst),
                }
            }
            InstructionData::StackLoad {
                stack_slot, offset, ..
            } => {
                let to = number(dfg.first_result(inst));
                let offset = self.slot(stack_slot, offset);
                let op = match opcode {
                    Opcode::StackLoad => Op::StackLoad {
                        load: load(Opcode::Load, ty).ok_or_else(|| refused(opcode, ty))?,
                        to,
                        offset,
                    },
                    _ => Op::StackAddress { to, offset },
                };
                self.push_checked(op, inst);
            }
            InstructionData::StackStore {
                stack_slot, offset, ..
            } => {
                let op = Op::StackStore {
                    bytes: ty.bytes() as u8,
                    value: arg(0),
                    offset: self.slot(stack_slot, offset),
                };
                self.push_checked(op, inst);
            }
            InstructionData::IntAddTrap { code, .. } => {
                self.may_trap(code)?;
                // The crate's interpreter compares as signed numbers.
                self.push(Op::AddTrap {
                    add: scalar::binary(Opcode::Iadd, ty).ok_or_else(|| refused(opcode, ty))?,
                    to: number(dfg.first_result(inst)),
                    a: arg(0),
                    b: arg(1),
                });
            }
            _ => self.pure(inst, opcode, ty)?,
        }
        Ok(())
    }

    /// An instruction that yields one value and does nothing else, but maybe trap.
    fn pure(&mut self, inst: Inst, opcode: Opcode, ty: Type) -> Result<(), CodegenError> {
        let dfg = &self.func.dfg;
        let data = dfg.insts[inst];
        let [result] = *dfg.inst_results(inst) else {
            return Err(refused(opcode, ty));
        };
        let to = number(result);
        let own = self.own(inst, opcode, ty, to);
        match own {
            Some(op) if trust::is_wrong_in_crate(opcode) => self.push(op),
            Some(op) => self.push_checked(op, inst),
            None if trust::is_right_in_crate(opcode) => self.push_checked(Op::Step, inst),
            None => return Err(refused(opcode, ty)),
        }
        if trust::lets_signalling_nans_through(opcode) {
            let ty = self.func.dfg.value_type(result);
            if let Some(f) = scalar::quieten(ty) {
                self.push(Op::Unary { f, to, a: to });
            } else if let Some(f) = lanes::quieten(ty) {
                self.push(Op::VectorUnary { f, to, a: to });
            }
        }
        if self.canonicalise_nans && is_float_arithmetic(&data) {
            let ty = self.func.dfg.value_type(result);
            if let Some(f) = scalar::canonicalise(ty) {
                self.push(Op::Unary { f, to, a: to });
            } else if let Some(f) = lanes::canonicalise(ty) {
                self.push(Op::VectorUnary { f, to, a: to });
            }
        }
        Ok(())
    }

    /// The operation that does what an instruction does, if there is one of our own.
    fn own(&mut self, inst: Inst, opcode: Opcode, ty: Type, to: Number) -> Option<Op> {
        let dfg = &self.func.dfg;
        let args = dfg.inst_args(inst);
        let arg = |index: usize| number(args[index]);
        match dfg.insts[inst] {
            InstructionData::UnaryImm { imm, .. } if opcode == Opcode::Iconst => Some(Op::Const {
                to,
                value: masked(imm.bits(), ty),
            }),
            InstructionData::UnaryIeee32 { imm, .. } => Some(Op::Const {
                to,
                value: u64::from(imm.bits()),
            }),
            InstructionData::UnaryIeee64 { imm, .. } => Some(Op::Const {
                to,
                value: imm.bits(),
            }),
            InstructionData::Unary { arg, .. } => {
                let from = dfg.value_type(arg);
                let a = number(arg);
                if ty.is_vector() || from.is_vector() {
                    let f = lanes::unary(opcode, ty)?;
                    return Some(Op::VectorUnary { f, to, a });
                }
                let f = scalar::unary(opcode, ty, from)?;
                Some(Op::Unary { f, to, a })
            }
            InstructionData::LoadNoOffset { arg, .. } if opcode == Opcode::Bitcast => {
                // Lanes are in memory order in a register, and so are the bits of a scalar.
                let (from, ty) = (dfg.value_type(arg), dfg.value_type(dfg.first_result(inst)));
                (from.is_vector() == ty.is_vector()).then_some(Op::Copy {
                    to,
                    from: number(arg),
                })
            }
            InstructionData::Binary { .. } if ty.is_vector() => Some(Op::VectorBinary {
                f: lanes::binary(opcode, ty)?,
                to,
                a: arg(0),
                b: arg(1),
            }),
            InstructionData::Binary { .. } => {
                if let Some(f) = scalar::division(opcode, ty) {
                    let (a, b) = (arg(0), arg(1));
                    return Some(Op::Division { f, to, a, b });
                }
                Some(Op::Binary {
                    f: scalar::binary(opcode, ty)?,
                    to,
                    a: arg(0),
                    b: arg(1),
                })
            }
            InstructionData::BinaryImm64 { arg, imm, .. } => Some(Op::BinaryImmediate {
                f: scalar::binary(opcode, ty)?,
                to,
                a: number(arg),
                b: immediate(imm)?,
            }),
            InstructionData::IntCompare { cond, .. } => Some(Op::Binary {
                f: scalar::compare(cond, ty)?,
                to,
                a: arg(0),
                b: arg(1),
            }),
            InstructionData::IntCompareImm { arg, cond, imm, .. } => Some(Op::BinaryImmediate {
                f: scalar::compare(cond, ty)?,
                to,
                a: number(arg),
                b: immediate(imm)?,
            }),
            InstructionData::FloatCompare { cond, .. } => Some(Op::Binary {
                f: scalar::compare_floats(cond, ty)?,
                to,
                a: arg(0),
                b: arg(1),
            }),
            InstructionData::Ternary { .. } => match opcode {
                Opcode::Select | Opcode::SelectSpectreGuard => Some(Op::Select {
                    to,
                    condition: arg(0),
                    a: arg(1),
                    b: arg(2),
                }),
                _ => Some(Op::VectorTernary {
                    f: lanes::ternary(opcode, ty)?,
                    to,
                    first: self.list(args),
                }),
            },
            _ => None,
        }
    }

    fn slot(&self, slot: ir::StackSlot, offset: Offset32) -> u32 {
        let offset: i32 = offset.into();
        self.program.slots[slot.index()].wrapping_add_signed(offset)
    }

    fn list(&mut self, values: &[Value]) -> u32 {
        let first = self.program.lists.len() as u32;
        self.program
            .lists
            .extend(values.iter().map(|value| number(*value)));
        first
    }
}

fn number(value: Value) -> Number {
    value.as_u32()
}

fn unsupported(what: &str) -> CodegenError {
    CodegenError::Unsupported(what.to_string())
}

fn refused(opcode: Opcode, ty: Type) -> CodegenError {
    let what = if ty.is_invalid() {
        format!("instruction {opcode}")
    } else {
        format!("instruction {opcode}.{ty}")
    };
    CodegenError::Unsupported(what)
}

fn immediate(value: Imm64) -> Option<i32> {
    i32::try_from(value.bits()).ok()
}

fn masked(value: i64, ty: Type) -> u64 {
    value as u64 & (u64::MAX >> (64 - ty.bits()))
}

/// The instructions behind which Cranelift canonicalises NaNs, where it is to.
fn is_float_arithmetic(data: &InstructionData) -> bool {
    matches!(
        data.opcode(),
        Opcode::Ceil
            | Opcode::Floor
            | Opcode::Nearest
            | Opcode::Sqrt
            | Opcode::Trunc
            | Opcode::Fdemote
            | Opcode::Fpromote
            | Opcode::FvpromoteLow
            | Opcode::Fvdemote
            | Opcode::Fadd
            | Opcode::Fdiv
            | Opcode::Fmax
            | Opcode::Fmin
            | Opcode::Fmul
            | Opcode::Fsub
            | Opcode::Fma
    )
}
