//! Expressions: references to objects and functions, indices and other numbers.

use wasm_encoder::{BlockType, Instruction, ValType as Encoded};

use super::program::{Table, null};
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::source::{PieceKind, Source};

impl Writer<'_> {
    /// Writes a value of a type.
    pub(super) fn value(&mut self, ty: ValType, source: &mut Source<'_>) {
        match ty {
            ValType::ExternRef => self.object(1, source),
            ValType::FuncRef => self.function(source),
            ValType::I32 => self.number(source),
            ty => self.other(ty, source),
        }
    }

    /// Writes a number or vector of a type that there are no locals of: a parameter, or what a number is made into.
    fn other(&mut self, ty: ValType, source: &mut Source<'_>) {
        let parameter = self.others.iter().find(|(of, _)| *of == ty);
        if let Some((_, local)) = parameter
            && source.percent(60)
        {
            self.body.push(Instruction::LocalGet(*local));
            return;
        }
        self.number(source);
        self.body.push(match ty {
            ValType::I64 => Instruction::I64ExtendI32S,
            ValType::F32 => Instruction::F32ConvertI32S,
            ValType::F64 => Instruction::F64ConvertI32S,
            _ => Instruction::I32x4Splat,
        });
    }

    /// Writes a reference to an object, of expressions no deeper than `depth`.
    pub(super) fn object(&mut self, depth: u32, source: &mut Source<'_>) {
        let start = source.place();
        self.object_of_some_kind(depth, source);
        source.mark(PieceKind::Value(ValType::ExternRef), start);
    }

    fn object_of_some_kind(&mut self, depth: u32, source: &mut Source<'_>) {
        let kinds = if depth == 0 { 16 } else { 24 };
        let kind = source.below(kinds);
        match kind {
            0..=4 => {
                let local = *source.pick(&self.objects);
                self.body.push(Instruction::LocalGet(local));
            }
            5 => {
                self.body.push(null(ValType::ExternRef));
            }
            6..=7 => {
                let constants = &self.program.constants;
                let globals = match constants.as_slice() {
                    [_, ..] if source.percent(30) => constants,
                    _ => &self.program.globals,
                };
                self.body
                    .push(Instruction::GlobalGet(*source.pick(globals)));
            }
            8..=12 => {
                let table = self.object_table(source);
                self.index(table, source);
                self.body.push(Instruction::TableGet(table.index));
            }
            13..=15 => {
                self.spend(2);
                self.body.push(Instruction::Call(self.program.make));
            }
            16..=17 => {
                self.object(depth - 1, source);
                self.object(depth - 1, source);
                self.number(source);
                self.body.push(Instruction::TypedSelect(Encoded::EXTERNREF));
            }
            18..=19 => {
                self.object(depth - 1, source);
                let local = *source.pick(&self.objects);
                self.body.push(Instruction::LocalTee(local));
            }
            20..=21 => self.object_of_block(depth - 1, source),
            22 => self.object_of_if(depth - 1, source),
            _ => self.object_of_call(depth - 1, source),
        }
        // What was chosen among several is held by a value of its own.
        if matches!(kind, 16..=17 | 20..=22) && source.percent(20) {
            self.collect();
        }
    }

    /// `block (result externref)` that a branch may leave early with another object.
    fn object_of_block(&mut self, depth: u32, source: &mut Source<'_>) {
        self.body
            .push(Instruction::Block(BlockType::Result(Encoded::EXTERNREF)));
        self.object(depth, source);
        self.number(source);
        self.body.push(Instruction::BrIf(0));
        self.body.push(Instruction::Drop);
        self.object(depth, source);
        if source.percent(30) {
            self.body.push(Instruction::Br(0));
        }
        self.body.push(Instruction::End);
    }

    /// `if (result externref)`.
    fn object_of_if(&mut self, depth: u32, source: &mut Source<'_>) {
        self.number(source);
        self.body
            .push(Instruction::If(BlockType::Result(Encoded::EXTERNREF)));
        self.object(depth, source);
        self.body.push(Instruction::Else);
        self.object(depth, source);
        self.body.push(Instruction::End);
    }

    /// What a function returns, if there is one that fits here; else what `parallax.make` does.
    fn object_of_call(&mut self, depth: u32, source: &mut Source<'_>) {
        let callee = self.affordable(source);
        match callee {
            Some(callee) if callee.signature.1 == [ValType::ExternRef] => {
                self.spend(callee.work);
                for param in callee.signature.0 {
                    match param {
                        ValType::ExternRef => self.object(depth, source),
                        _ => self.number(source),
                    }
                }
                self.body.push(Instruction::Call(callee.function));
            }
            _ => {
                self.spend(2);
                self.body.push(Instruction::Call(self.program.make));
            }
        }
    }

    /// Writes a reference to a function.
    pub(super) fn function(&mut self, source: &mut Source<'_>) {
        let start = source.place();
        let instruction = match source.below(8) {
            0 => null(ValType::FuncRef),
            1..=3 if !self.leaf => Instruction::RefFunc(*source.pick(&self.program.named)),
            4 => Instruction::GlobalGet(self.program.function_global),
            5..=6 => {
                let table = *source.pick(&self.program.function_tables);
                self.index(table, source);
                Instruction::TableGet(table.index)
            }
            _ => Instruction::LocalGet(self.function_local),
        };
        self.body.push(instruction);
        source.mark(PieceKind::Value(ValType::FuncRef), start);
    }

    /// Writes a number, often 0 and often not.
    pub(super) fn number(&mut self, source: &mut Source<'_>) {
        let start = source.place();
        self.number_of_some_kind(source);
        source.mark(PieceKind::Value(ValType::I32), start);
    }

    fn number_of_some_kind(&mut self, source: &mut Source<'_>) {
        match source.below(8) {
            0..=3 => {
                let local = *source.pick(&self.numbers);
                self.body.push(Instruction::LocalGet(local));
            }
            4 => {
                self.object(0, source);
                self.body.push(Instruction::RefIsNull);
            }
            5 => {
                self.function(source);
                self.body.push(Instruction::RefIsNull);
            }
            6 => {
                let table = self.object_table(source);
                self.body.push(Instruction::TableSize(table.index));
            }
            _ => {
                let value = source.below(4) as i32;
                self.body.push(Instruction::I32Const(value));
            }
        }
    }

    /// A table of objects, mostly the first ones, and one that has elements.
    pub(super) fn object_table(&self, source: &mut Source<'_>) -> Table {
        let tables = &self.program.object_tables;
        let table = *source.pick(tables);
        if table.size == 0 { tables[0] } else { table }
    }

    /// Writes where a range of `length` slots of a table begins that ends where the table does now, and
    /// so among what the table has grown by. Not before its first slot if it has as many.
    pub(super) fn last_slots(&mut self, table: Table, length: u32) {
        self.body.push(Instruction::TableSize(table.index));
        if length > 0 {
            self.body
                .extend(&[Instruction::I32Const(length as i32), Instruction::I32Sub]);
        }
    }

    /// Writes an index within a table's initial size, which is not 0, or within its last slots, which
    /// it may not have had then.
    pub(super) fn index(&mut self, table: Table, source: &mut Source<'_>) {
        let size = table.size.max(1);
        match source.below(16) {
            // A few low slots, so that slots are used again.
            0..=7 => {
                let index = source.below(size.min(3));
                self.body.push(Instruction::I32Const(index as i32));
            }
            8 => {
                self.body.push(Instruction::I32Const(size as i32 - 1));
            }
            9..=10 => {
                let from_the_end = 1 + source.below(size.min(3));
                self.last_slots(table, from_the_end);
            }
            11 => {
                let index = source.below(size);
                self.body.push(Instruction::I32Const(index as i32));
            }
            _ => {
                let number = match self.counter {
                    Some(counter) if source.percent(70) => counter,
                    _ => *source.pick(&self.numbers),
                };
                self.body.extend(&[
                    Instruction::LocalGet(number),
                    Instruction::I32Const(size as i32),
                    Instruction::I32RemU,
                ]);
            }
        }
    }
}
