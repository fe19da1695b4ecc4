//! The code of a function, rewritten: what stays is copied byte for byte.

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{BlockType, Encode, Instruction, ValType};
use wasmparser::{FunctionBody, Operator};

use super::{ENTRY_COST, Pass, Result_};
use crate::case::nans::{Float, Places};

/// Fuel is charged in units of this many bytes of a bulk operation.
const BULK_BYTES_LOG2: i32 = 8;

/// The opcode of `end`.
const END: u8 = 0x0b;

/// The opcode of `else`.
const ELSE: u8 = 0x05;

/// A function body being written.
pub(super) struct Body {
    /// The function's index.
    pub(super) function: u32,
    code: Vec<u8>,
    /// The types of all locals, parameters first.
    locals: Vec<ValType>,
    /// How many locals the function came with; those behind are for rewriting.
    own_locals: usize,
    /// For every block around the current place, how many values a branch to it takes if it is a
    /// loop.
    labels: Vec<Option<usize>>,
}

impl Body {
    /// The `nth` local of type `ty` that is there for rewriting.
    pub(super) fn scratch(&mut self, ty: ValType, nth: usize) -> u32 {
        let mut missing = nth + 1;
        for (at, local) in self.locals.iter().enumerate().skip(self.own_locals) {
            missing -= usize::from(*local == ty);
            if missing == 0 {
                return at as u32;
            }
        }
        self.locals.extend(std::iter::repeat_n(ty, missing));
        self.locals.len() as u32 - 1
    }

    /// The type of a local.
    pub(super) fn local(&self, local: u32) -> Option<ValType> {
        self.locals.get(local as usize).copied()
    }

    pub(super) fn push(&mut self, instruction: Instruction<'_>) {
        instruction.encode(&mut self.code);
    }

    /// How many values a branch to a label takes, if it is a loop.
    pub(super) fn loop_label(&self, depth: u32) -> Option<usize> {
        let at = self.labels.len().checked_sub(depth as usize + 1)?;
        self.labels[at]
    }

    pub(super) fn extend(&mut self, instructions: &[Instruction<'_>]) {
        for instruction in instructions {
            instruction.encode(&mut self.code);
        }
    }
}

impl Pass<'_> {
    /// Rewrites the body of the function of this index, to the bytes of the new body without its
    /// length.
    pub(super) fn rewrite_body(
        &mut self,
        index: u32,
        function: FunctionBody<'_>,
    ) -> Result_<Vec<u8>> {
        let ty = self.functions.get(index as usize).copied().unwrap_or(0);
        let mut body = Body {
            function: index,
            code: Vec::with_capacity(function.as_bytes().len() * 2),
            locals: Vec::new(),
            own_locals: 0,
            labels: Vec::new(),
        };
        if let Some(ty) = self.types.get(ty as usize) {
            body.locals.extend_from_slice(ty.params());
        }
        let params = body.locals.len();
        for local in function.get_locals_reader()? {
            let (count, ty) = local?;
            let ty = self.val_type(ty)?;
            // As many as validation allows.
            let count = count.min(50_000) as usize;
            body.locals.extend(std::iter::repeat_n(ty, count));
        }
        body.own_locals = body.locals.len();

        self.charge(&mut body, ENTRY_COST);
        let mut operators = function.get_operators_reader()?;
        let source = function.as_bytes();
        let start = function.range().start;
        while !operators.eof() {
            let from = (operators.original_position() - start) as usize;
            let operator = operators.read()?;
            let to = (operators.original_position() - start) as usize;
            let bytes = source.get(from..to).unwrap_or_default();
            // What ends a block may stand for results that are not there; it stays.
            let last = matches!(source.get(to), Some(&(END | ELSE)));
            if last && matches!(operator, Operator::Unreachable) {
                body.code.extend_from_slice(bytes);
            } else {
                self.rewrite(&mut body, operator, bytes)?;
            }
        }

        let locals = &body.locals[params..];
        let mut bytes = Vec::with_capacity(body.code.len() + 2 * locals.len() + 5);
        locals.len().encode(&mut bytes);
        for ty in locals {
            1u32.encode(&mut bytes);
            ty.encode(&mut bytes);
        }
        bytes.extend_from_slice(&body.code);
        Ok(bytes)
    }

    /// Takes `cost` from the fuel; below zero it is renewed, and the call traps.
    fn charge(&self, body: &mut Body, cost: u32) {
        let Some(fuel) = self.fuel_global else {
            return;
        };
        body.extend(&[
            Instruction::GlobalGet(fuel),
            Instruction::I32Const(cost as i32),
            Instruction::I32Sub,
            Instruction::GlobalSet(fuel),
            Instruction::GlobalGet(fuel),
            Instruction::I32Const(0),
            Instruction::I32LtS,
            Instruction::If(BlockType::Empty),
            Instruction::I32Const(self.temper.fuel as i32),
            Instruction::GlobalSet(fuel),
            Instruction::Unreachable,
            Instruction::End,
        ]);
    }

    /// Takes fuel for a bulk operation whose length lies on the stack, and leaves it there. What
    /// falls below zero is seen at the next header or entry.
    fn charge_length(&self, body: &mut Body, ty: ValType) {
        let Some(fuel) = self.fuel_global else {
            return;
        };
        let length = body.scratch(ty, 0);
        body.extend(&[
            Instruction::LocalTee(length),
            Instruction::GlobalGet(fuel),
            Instruction::LocalGet(length),
        ]);
        if ty == ValType::I64 {
            body.push(Instruction::I32WrapI64);
        }
        body.extend(&[
            Instruction::I32Const(BULK_BYTES_LOG2),
            Instruction::I32ShrU,
            // What is longer than most memories traps; it need not empty the fuel for good.
            Instruction::I32Const(0xff),
            Instruction::I32And,
            Instruction::I32Sub,
            Instruction::GlobalSet(fuel),
        ]);
    }

    /// Makes the value on top of the stack canonical, should it be a NaN.
    pub(super) fn canonicalise(&self, body: &mut Body, float: Float) {
        if self.temper.canonicalise {
            let local = body.scratch(float.ty(), 0);
            body.extend(&float.canonicalisation(local));
        }
    }

    fn rewrite(&mut self, body: &mut Body, operator: Operator<'_>, bytes: &[u8]) -> Result_<()> {
        use Operator as O;
        if let Some(float) = Places::Shown.before(&operator) {
            self.canonicalise(body, float);
        }
        match operator {
            O::Loop { blockty } | O::Block { blockty } | O::If { blockty } => {
                let header = matches!(operator, O::Loop { .. });
                let params = header.then(|| self.block_params(blockty));
                body.labels.push(params);
                self.copy_type(body, operator, bytes)?;
                if header {
                    self.charge(body, 1);
                }
                return Ok(());
            }
            O::RefNull { .. } | O::TypedSelect { .. } => {
                return self.copy_type(body, operator, bytes);
            }
            O::End => self.end(body),
            _ => {}
        }
        let replaced = match operator {
            O::Unreachable
            | O::Br { .. }
            | O::BrIf { .. }
            | O::Call { .. }
            | O::CallIndirect { .. }
            | O::ReturnCall { .. }
            | O::ReturnCallIndirect { .. } => {
                self.rng.percent(self.temper.flow) && self.tame_flow(body, &operator)
            }
            O::LocalGet { local_index } => {
                self.rng.percent(self.temper.loads) && self.load_instead(body, local_index)
            }
            O::LocalSet { local_index } | O::LocalTee { local_index } => {
                body.code.extend_from_slice(bytes);
                if self.rng.percent(self.temper.stores) {
                    self.store_too(body, local_index);
                }
                true
            }
            _ => {
                let replaced =
                    self.rng.percent(self.temper.tame) && self.tame_operands(body, &operator);
                // Behind taming, so that what is done is charged and not what was asked for.
                if let Some(ty) = self.bulk(&operator) {
                    self.charge_length(body, ty);
                }
                replaced
            }
        };
        if !replaced {
            body.code.extend_from_slice(bytes);
        }
        if let Some(float) = Places::Shown.behind(&operator) {
            self.canonicalise(body, float);
        }
        Ok(())
    }

    /// What comes before the end of a block or of the function.
    fn end(&mut self, body: &mut Body) {
        let of_function = body.labels.pop().is_none();
        if of_function && self.rng.percent(2 * self.temper.stores) {
            self.store_result(body);
        }
    }

    /// Copies an instruction that names a type, which may have to change.
    fn copy_type(&mut self, body: &mut Body, operator: Operator<'_>, bytes: &[u8]) -> Result_<()> {
        if self.temper.externref {
            body.code.extend_from_slice(bytes);
        } else {
            let instruction = self.instruction(operator)?;
            body.push(instruction);
        }
        Ok(())
    }

    /// The number of parameters of a block.
    fn block_params(&self, ty: wasmparser::BlockType) -> usize {
        match ty {
            wasmparser::BlockType::FuncType(ty) => self
                .types
                .get(ty as usize)
                .map_or(0, |ty| ty.params().len()),
            _ => 0,
        }
    }
}
