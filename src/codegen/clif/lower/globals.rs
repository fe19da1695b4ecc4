//! Global values: what hangs on the vmctx, the stack limit among it.

use cranelift_codegen::ir::{
    ArgumentPurpose, GlobalValue, GlobalValueData, Inst, Opcode, TrapCode,
};

use super::super::loads::{load, load_op};
use super::super::program::{Number, Op};
use super::super::scalar;
use super::{Lowering, immediate, number, refused, unsupported};
use crate::codegen::CodegenError;

impl Lowering<'_> {
    /// Computes a global value into a register, by as many operations as it takes.
    pub(super) fn global(
        &mut self,
        value: GlobalValue,
        to: Number,
        inst: Option<Inst>,
    ) -> Result<(), CodegenError> {
        let op = match self.func.global_values[value] {
            GlobalValueData::VMContext => Op::Copy {
                to,
                from: self.vmctx()?,
            },
            GlobalValueData::Load {
                base,
                offset,
                global_type,
                flags,
            } => {
                let base = self.global_base(base)?;
                let offset = offset.into();
                let load = load(Opcode::Load, global_type)
                    .ok_or_else(|| refused(Opcode::GlobalValue, global_type))?;
                load_op(flags, load, to, base, offset)
            }
            GlobalValueData::IAddImm {
                base,
                offset,
                global_type,
            } => {
                let a = self.global_base(base)?;
                let refused = || refused(Opcode::GlobalValue, global_type);
                Op::BinaryImmediate {
                    f: scalar::binary(Opcode::Iadd, global_type).ok_or_else(refused)?,
                    to,
                    a,
                    b: immediate(offset).ok_or_else(refused)?,
                }
            }
            _ => return Err(unsupported("a global value that is a symbol")),
        };
        match inst {
            Some(inst) => self.push_checked(op, inst),
            None => self.push(op),
        }
        Ok(())
    }

    /// The register that holds a global value on which another is based.
    fn global_base(&mut self, value: GlobalValue) -> Result<Number, CodegenError> {
        if let GlobalValueData::VMContext = self.func.global_values[value] {
            return self.vmctx();
        }
        let to = self.program.registers;
        self.program.registers += 1;
        self.global(value, to, None)?;
        Ok(to)
    }

    fn vmctx(&self) -> Result<Number, CodegenError> {
        let vmctx = self.func.special_param(ArgumentPurpose::VMContext);
        vmctx
            .map(number)
            .ok_or_else(|| unsupported("a function without a vmctx"))
    }

    /// The stack limit, which is checked before anything else is done.
    pub(super) fn stack_limit(&mut self) -> Result<(), CodegenError> {
        let Some(mut value) = self.func.stack_limit else {
            return Ok(());
        };
        let mut offsets = Vec::new();
        while let GlobalValueData::Load { base, offset, .. } = self.func.global_values[value] {
            offsets.push(offset.into());
            value = base;
        }
        let GlobalValueData::VMContext = self.func.global_values[value] else {
            return Err(unsupported("a stack limit that is not behind the vmctx"));
        };
        offsets.reverse();
        self.program.stack_limit = Some(offsets);
        self.may_trap(TrapCode::StackOverflow)?;
        // It has the place of the first operation, which traps for no other reason.
        self.push(Op::Copy { to: 0, from: 0 });
        Ok(())
    }
}
