//! Calls, branches and the flow of values, tamed: what would run in circles until the fuel is used
//! up, or compute what nobody sees.

use wasm_encoder::{FuncType, Instruction, ValType};
use wasmparser::Operator;

use super::body::Body;
use super::{GROUP, Pass, SLOTS_OF_TYPE};
use crate::case::module::ValType as Number;
use crate::case::nans::Float;
use crate::generate::sketch::{load_of, store_of};

impl Pass<'_> {
    /// Tames a call, a branch or `unreachable`, or replaces it altogether, which is then said.
    pub(super) fn tame_flow(&mut self, body: &mut Body, operator: &Operator<'_>) -> bool {
        match *operator {
            // wasm-smith goes on behind it as if it were a `nop`.
            Operator::Unreachable => body.push(Instruction::Nop),
            Operator::Call { function_index } => {
                return self.tame_call(body, function_index, Instruction::Call);
            }
            Operator::ReturnCall { function_index } => {
                return self.tame_call(body, function_index, Instruction::ReturnCall);
            }
            Operator::CallIndirect {
                type_index,
                table_index,
            }
            | Operator::ReturnCallIndirect {
                type_index,
                table_index,
            } => return self.tame_indirect_call(body, type_index, table_index),
            Operator::Br { relative_depth } => {
                let Some(params) = body.loop_label(relative_depth) else {
                    return false;
                };
                self.push_fuel_bits(body);
                body.push(Instruction::BrIf(relative_depth));
                for _ in 0..params {
                    body.push(Instruction::Drop);
                }
            }
            Operator::BrIf { relative_depth } => {
                if body.loop_label(relative_depth).is_some() {
                    body.push(Instruction::I32Const(0));
                    self.push_fuel_bits(body);
                    body.push(Instruction::Select);
                }
                return false;
            }
            _ => return false,
        }
        true
    }

    /// Loads a value from memory in the place of a variable's.
    pub(super) fn load_instead(&mut self, body: &mut Body, local: u32) -> bool {
        let Some(ty) = body.local(local).and_then(number) else {
            return false;
        };
        let Some((memory, address)) = self.some_address() else {
            return false;
        };
        body.push(address);
        body.push(load_of(ty, memory, 0));
        true
    }

    /// Stores the value of a variable that was just set.
    pub(super) fn store_too(&mut self, body: &mut Body, local: u32) {
        if let Some(ty) = body.local(local).and_then(number)
            && let Some((memory, address)) = self.some_address()
        {
            body.push(address);
            body.push(Instruction::LocalGet(local));
            self.store(body, ty, memory);
        }
    }

    /// Stores the result that lies on the stack where a function ends, if it has one.
    pub(super) fn store_result(&mut self, body: &mut Body) {
        let ty = self.functions.get(body.function as usize);
        let ty = ty.and_then(|ty| self.types.get(*ty as usize));
        let Some(&[result]) = ty.map(FuncType::results) else {
            return;
        };
        if let Some(ty) = number(result)
            && let Some((memory, address)) = self.some_address()
        {
            let value = body.scratch(result, 0);
            body.push(Instruction::LocalTee(value));
            body.push(address);
            body.push(Instruction::LocalGet(value));
            self.store(body, ty, memory);
        }
    }

    /// Stores the value on top of the stack, whose bits show then.
    fn store(&self, body: &mut Body, ty: Number, memory: u32) {
        match ty {
            Number::F32 => self.canonicalise(body, Float::F32),
            Number::F64 => self.canonicalise(body, Float::F64),
            _ => {}
        }
        body.push(store_of(ty, memory, 0));
    }

    /// A memory and a constant address at which any value fits: low, or at its end.
    fn some_address(&mut self) -> Option<(u32, Instruction<'static>)> {
        let number = match self.memories.len() {
            0 => return None,
            1 => 0,
            several => self.rng.below(several as u32),
        };
        let memory = self.memories[number as usize];
        let size = memory
            .pages
            .checked_mul(0x1_0000)
            .filter(|size| *size > 0)?;
        let address = if self.rng.percent(80) {
            self.rng.below(0x100)
        } else {
            size - 16 - self.rng.below(32)
        };
        let address = match memory.memory64 {
            true => Instruction::I64Const(i64::from(address)),
            false => Instruction::I32Const(address as i32),
        };
        Some((number, address))
    }

    /// Pushes some low bits of the fuel, which are zero in one of a few iterations: what a branch
    /// back to a loop header depends on, so that the loop ends after that many.
    fn push_fuel_bits(&mut self, body: &mut Body) {
        let mask = *self.rng.pick(&[1, 3, 7, 15]);
        body.extend(&[
            Instruction::GlobalGet(self.fuel_global.unwrap_or(0)),
            Instruction::I32Const(mask),
            Instruction::I32And,
        ]);
    }

    /// Leads a call that goes back, to the function itself or to one before it, on to a later one.
    /// wasm-smith calls any function anywhere, so that almost every call would recurse without
    /// end.
    fn tame_call(
        &mut self,
        body: &mut Body,
        function: u32,
        call: fn(u32) -> Instruction<'static>,
    ) -> bool {
        if function < self.imported_functions || function > body.function {
            return false;
        }
        let Some(ty) = self.functions.get(function as usize).copied() else {
            return false;
        };
        let later = (body.function + 1..self.functions.len() as u32)
            .find(|later| self.functions[*later as usize] == ty);
        match later {
            Some(later) => body.push(call(later)),
            None => {
                let params = self
                    .types
                    .get(ty as usize)
                    .map_or(0, |ty| ty.params().len());
                for _ in 0..params {
                    body.push(Instruction::Drop);
                }
                self.push_results(body, ty);
            }
        }
        true
    }

    /// Pushes constants in the place of a call's results.
    fn push_results(&self, body: &mut Body, ty: u32) {
        let Some(ty) = self.types.get(ty as usize) else {
            return;
        };
        for result in ty.results() {
            body.push(match *result {
                ValType::I32 => Instruction::I32Const(1),
                ValType::I64 => Instruction::I64Const(-1),
                ValType::F32 => Instruction::F32Const(1.0.into()),
                ValType::F64 => Instruction::F64Const((-1.5).into()),
                ValType::V128 => Instruction::V128Const(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
                ValType::Ref(ty) => Instruction::RefNull(ty.heap_type),
            });
        }
    }

    /// Leads an indirect call to a slot that holds a function of its type, or does without the
    /// call where the table has none.
    fn tame_indirect_call(&mut self, body: &mut Body, type_index: u32, table_index: u32) -> bool {
        let ty = self.canonical_type(type_index);
        let group = self
            .groups
            .iter()
            .find(|group| group.table == table_index && group.ty == ty);
        if let Some(group) = group {
            let base = group.base as i32;
            // A power of two that covers slots of the type only, or the whole group.
            let span = if self.rng.percent(15) {
                GROUP
            } else {
                SLOTS_OF_TYPE.next_power_of_two() / 2
            };
            body.extend(&[
                Instruction::I32Const(span as i32 - 1),
                Instruction::I32And,
                Instruction::I32Const(base),
                Instruction::I32Add,
            ]);
            return false;
        }
        let Some(ty) = self.types.get(type_index as usize) else {
            return false;
        };
        for _ in 0..=ty.params().len() {
            body.push(Instruction::Drop);
        }
        self.push_results(body, type_index);
        true
    }
}

/// The type of a number or vector; none for a reference.
fn number(ty: ValType) -> Option<Number> {
    match ty {
        ValType::I32 => Some(Number::I32),
        ValType::I64 => Some(Number::I64),
        ValType::F32 => Some(Number::F32),
        ValType::F64 => Some(Number::F64),
        ValType::V128 => Some(Number::V128),
        ValType::Ref(_) => None,
    }
}
