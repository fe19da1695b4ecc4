//! An operation done by the crate's interpreter: its `step` over a state of our own.
//!
//! `step` computes one instruction. It finds operands in a frame that we fill before, and reaches memory,
//! stack slots and global values through the same [`super::reach::Reach`] as all operations do. Calls are
//! not its business, since frames are not.

use cranelift_codegen::data_value::DataValue;
use cranelift_codegen::ir::{
    self, ArgumentPurpose, ExternalName, FuncRef, GlobalValue, GlobalValueData, MemFlags,
    StackSlot, Type, Value, types,
};
use cranelift_entity::EntityRef;
use cranelift_interpreter::address::{Address, AddressSize};
use cranelift_interpreter::frame::Frame;
use cranelift_interpreter::instruction::DfgInstructionContext;
use cranelift_interpreter::interpreter::LibCallHandler;
use cranelift_interpreter::state::{InterpreterFunctionRef, MemoryError, State};
use cranelift_interpreter::step::{ControlFlow, CraneliftTrap, step};
use smallvec::SmallVec;

use super::reach::Refused;
use super::run::{Builtins, Run};
use crate::codegen::clif::Register;
use crate::codegen::cranelift_0_112::trap_kind;
use crate::runtime::entry::Stopped;

impl<'a, B: Builtins> Run<'a, B> {
    /// Does an operation that has an instruction; the operation to go on with.
    pub(super) fn step(&mut self, op: usize) -> Result<usize, Stopped> {
        let program = self.program;
        let func = &program.func;
        let Some(inst) = program.steps[op].expand() else {
            return Err(Stopped::Panicked);
        };
        for arg in func.dfg.inst_args(inst) {
            let value = self.value(*arg);
            self.frame.set(*arg, value);
        }
        let context = DfgInstructionContext::new(inst, &func.dfg);
        let not_known = |why: &dyn std::fmt::Display| {
            tracing::debug!("{} is not interpreted: {why}", func.dfg.display_inst(inst));
            Stopped::NotInterpreted
        };
        let flow = step(self, context).map_err(|error| not_known(&error))?;
        if let Some(Refused(address)) = self.refused.take() {
            return Err(Stopped::Fault {
                signal: libc::SIGSEGV,
                pc: program.address + op as u64,
                address,
                stack_pointer: self.stack_pointer(),
            });
        }
        match flow {
            ControlFlow::Assign(values) => {
                for (result, value) in func.dfg.inst_results(inst).iter().zip(values) {
                    self.assign(*result, &value);
                }
                Ok(op + 1)
            }
            ControlFlow::Continue => Ok(op + 1),
            ControlFlow::ContinueAt(block, values) => {
                let Some(left) = self.branches.checked_sub(1) else {
                    return Err(Stopped::Endless);
                };
                self.branches = left;
                for (parameter, value) in func.dfg.block_params(block).iter().zip(values) {
                    self.assign(*parameter, &value);
                }
                Ok(program.blocks[block.index()] as usize)
            }
            ControlFlow::Trap(CraneliftTrap::User(code)) => {
                let kind = trap_kind(code).map_err(|error| not_known(&error))?;
                // A trap of its own is told of by where it is, as that of machine code.
                Err(match func.dfg.insts[inst].trap_code() {
                    Some(_) => Stopped::Fault {
                        signal: libc::SIGILL,
                        pc: program.address + op as u64,
                        address: 0,
                        stack_pointer: self.stack_pointer(),
                    },
                    None => Stopped::Trap(kind),
                })
            }
            _ => Err(not_known(&"it is a call")),
        }
    }

    /// The value in a register, by its type.
    fn value(&self, value: Value) -> DataValue {
        let register = self.registers[self.base + value.index()];
        data_value(register, self.program.func.dfg.value_type(value))
    }

    fn assign(&mut self, result: Value, value: &DataValue) {
        self.registers[self.base + result.index()] = register(value);
    }

    /// Notes that an access was refused; the error is not looked at.
    fn refuse(&self, refused: Refused) -> MemoryError {
        self.refused.set(Some(refused));
        MemoryError::InvalidOffset { offset: 0, max: 0 }
    }
}

/// What a register holds, as a value of a type.
pub fn data_value(register: Register, ty: Type) -> DataValue {
    let low = register.low;
    match ty {
        types::I8 => DataValue::I8(low as i8),
        types::I16 => DataValue::I16(low as i16),
        types::I32 => DataValue::I32(low as i32),
        types::I64 => DataValue::I64(low as i64),
        types::F32 => DataValue::F32(ir::immediates::Ieee32::with_bits(low as u32)),
        types::F64 => DataValue::F64(ir::immediates::Ieee64::with_bits(low)),
        _ => DataValue::V128(register.to_u128().to_le_bytes()),
    }
}

/// A value as a register holds it.
pub fn register(value: &DataValue) -> Register {
    let low = match value {
        DataValue::I8(value) => u64::from(*value as u8),
        DataValue::I16(value) => u64::from(*value as u16),
        DataValue::I32(value) => u64::from(*value as u32),
        DataValue::I64(value) => *value as u64,
        DataValue::F32(value) => u64::from(value.bits()),
        DataValue::F64(value) => value.bits(),
        DataValue::V128(bytes) => return Register::from_u128(u128::from_le_bytes(*bytes)),
        // None of these has a type that was let in.
        _ => 0,
    };
    Register { low, high: 0 }
}

/// The address itself, out of the parts that the crate's interpreter takes it apart into.
fn whole(address: Address) -> Result<u64, MemoryError> {
    Ok(match DataValue::try_from(address)? {
        DataValue::I32(address) => u64::from(address as u32),
        DataValue::I64(address) => address as u64,
        other => return Err(MemoryError::InvalidAddress(other)),
    })
}

impl<'a, B: Builtins> State<'a> for Run<'a, B> {
    fn get_function(&self, _func_ref: FuncRef) -> Option<&'a ir::Function> {
        None
    }

    fn get_current_function(&self) -> &'a ir::Function {
        &self.program.func
    }

    fn get_libcall_handler(&self) -> LibCallHandler {
        |_, _| Err(ir::TrapCode::UnreachableCodeReached)
    }

    // Calls are made without it.
    fn push_frame(&mut self, _function: &'a ir::Function) {}

    fn pop_frame(&mut self) {}

    fn current_frame_mut(&mut self) -> &mut Frame<'a> {
        &mut self.frame
    }

    fn current_frame(&self) -> &Frame<'a> {
        &self.frame
    }

    fn collect_values(&self, names: &[Value]) -> SmallVec<[DataValue; 1]> {
        names.iter().map(|name| self.value(*name)).collect()
    }

    fn stack_address(
        &self,
        _size: AddressSize,
        slot: StackSlot,
        offset: u64,
    ) -> Result<Address, MemoryError> {
        let frame = self.frame_pointer - u64::from(self.program.frame_bytes);
        Address::try_from(frame + u64::from(self.program.slots[slot.index()]) + offset)
    }

    fn checked_load(
        &self,
        address: Address,
        ty: Type,
        _mem_flags: MemFlags,
    ) -> Result<DataValue, MemoryError> {
        let address = whole(address)?;
        let memory = &self.memory;
        let low = match ty.bytes() {
            1 => memory.read::<u8>(address).map(u64::from),
            2 => memory.read(address).map(u16::from_le).map(u64::from),
            4 => memory.read(address).map(u32::from_le).map(u64::from),
            8 => memory.read(address).map(u64::from_le),
            _ => {
                let value = memory.read(address).map(u128::from_le);
                let value = value.map_err(|refused| self.refuse(refused))?;
                return Ok(data_value(Register::from_u128(value), ty));
            }
        };
        let low = low.map_err(|refused| self.refuse(refused))?;
        Ok(data_value(Register { low, high: 0 }, ty))
    }

    fn checked_store(
        &mut self,
        address: Address,
        value: DataValue,
        _mem_flags: MemFlags,
    ) -> Result<(), MemoryError> {
        let address = whole(address)?;
        let held = register(&value);
        let memory = &self.memory;
        let written = match value.ty().bytes() {
            1 => memory.write(address, held.low as u8),
            2 => memory.write(address, (held.low as u16).to_le()),
            4 => memory.write(address, (held.low as u32).to_le()),
            8 => memory.write(address, held.low.to_le()),
            _ => memory.write(address, held.to_u128().to_le()),
        };
        written.map_err(|refused| self.refuse(refused))
    }

    fn function_address(
        &self,
        _size: AddressSize,
        _name: &ExternalName,
    ) -> Result<Address, MemoryError> {
        Err(MemoryError::InvalidAddressType(types::INVALID))
    }

    fn get_function_from_address(&self, _address: Address) -> Option<InterpreterFunctionRef<'a>> {
        None
    }

    fn resolve_global_value(&self, gv: GlobalValue) -> Result<DataValue, MemoryError> {
        let func = &self.program.func;
        match func.global_values[gv] {
            GlobalValueData::VMContext => {
                let vmctx = func.special_param(ArgumentPurpose::VMContext);
                let vmctx = vmctx.ok_or(MemoryError::InvalidAddressType(types::INVALID))?;
                Ok(self.value(vmctx))
            }
            GlobalValueData::Load {
                base,
                offset,
                global_type,
                flags,
            } => {
                let base = register(&self.resolve_global_value(base)?).low;
                let address = base.wrapping_add_signed(i64::from(i32::from(offset)));
                self.checked_load(Address::try_from(address)?, global_type, flags)
            }
            GlobalValueData::IAddImm {
                base,
                offset,
                global_type,
            } => {
                let base = register(&self.resolve_global_value(base)?).low;
                let low = base.wrapping_add_signed(offset.bits());
                Ok(data_value(Register { low, high: 0 }, global_type))
            }
            _ => Err(MemoryError::InvalidAddressType(types::INVALID)),
        }
    }

    fn get_pinned_reg(&self) -> DataValue {
        DataValue::I64(0)
    }

    fn set_pinned_reg(&mut self, _value: DataValue) {}
}
