//! Statements about ranges of tables, and about what tables grow by.

use wasm_encoder::Instruction;

use super::program::{Table, null};
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::source::Source;

/// How many of 100 times `table.init` names a segment that is gone, for tables of objects and of functions. The
/// latter are rare.
const GONE_PERCENT: (u32, u32) = (10, 30);

impl Writer<'_> {
    /// The start and length of a range within `size`.
    fn range(size: u32, source: &mut Source<'_>) -> (u32, u32) {
        if source.percent(20) {
            return (0, size);
        }
        let start = source.below(size + 1);
        (start, source.below(size - start + 1))
    }

    /// Writes the start of a range of a table: the one drawn, or the one with which it ends where the
    /// table does by then.
    fn start(&mut self, table: Table, start: u32, length: u32, source: &mut Source<'_>) {
        match source.percent(20) {
            true => self.last_slots(table, length),
            false => {
                self.body.push(Instruction::I32Const(start as i32));
            }
        }
    }

    pub(super) fn fill(&mut self, source: &mut Source<'_>) {
        let table = self.object_table(source);
        let (start, length) = Self::range(table.size, source);
        self.start(table, start, length, source);
        if source.percent(35) {
            self.body.push(null(ValType::ExternRef));
        } else {
            self.object(1, source);
        }
        self.body.push(Instruction::I32Const(length as i32));
        self.body.push(Instruction::TableFill(table.index));
    }

    /// `table.copy`, mostly within one table, where ranges overlap.
    pub(super) fn copy(&mut self, source: &mut Source<'_>) {
        let (to, from) = if source.percent(12) {
            let tables = &self.program.function_tables;
            let to = *tables.last().unwrap_or(&tables[0]);
            (to, *source.pick(tables))
        } else {
            let to = self.object_table(source);
            let from = if source.percent(60) {
                to
            } else {
                self.object_table(source)
            };
            (to, from)
        };
        let (start, length) = Self::range(to.size.min(from.size), source);
        let other = source.below(to.size.min(from.size) - length + 1);
        let (dst, src) = if source.percent(50) {
            (start, other)
        } else {
            (other, start)
        };
        self.start(to, dst, length, source);
        self.start(from, src, length, source);
        self.body.extend(&[
            Instruction::I32Const(length as i32),
            Instruction::TableCopy {
                src_table: from.index,
                dst_table: to.index,
            },
        ]);
    }

    /// `table.init`, at times followed by `elem.drop`, after which only nothing can be copied. Of segments
    /// that are active or declared only nothing can be copied from the start.
    pub(super) fn init(&mut self, source: &mut Source<'_>) {
        let of_functions = !self.leaf && source.percent(20);
        let gone = source.percent(match of_functions {
            true => GONE_PERCENT.1,
            false => GONE_PERCENT.0,
        });
        let program = &*self.program;
        let (table, passive, dropped) = if of_functions {
            let tables = &program.function_tables;
            let table = *tables.last().unwrap_or(&tables[0]);
            (
                table,
                &program.function_segments,
                &program.gone_function_segments,
            )
        } else {
            let table = self.object_table(source);
            (
                table,
                &program.object_segments,
                &program.gone_object_segments,
            )
        };
        let segments = match gone && !dropped.is_empty() {
            true => dropped,
            false => passive,
        };
        let segment = *source.pick(segments);
        let (src, length) = Self::range(segment.length.min(table.size), source);
        let dst = source.below(table.size - length + 1);
        self.start(table, dst, length, source);
        self.body.extend(&[
            Instruction::I32Const(src as i32),
            Instruction::I32Const(length as i32),
            Instruction::TableInit {
                elem_index: segment.index,
                table: table.index,
            },
        ]);
        if source.percent(3) {
            self.body.push(Instruction::ElemDrop(segment.index));
        }
    }

    /// `table.grow`, by a little or by more than is allowed, at times with a use of what it made.
    pub(super) fn grow(&mut self, source: &mut Source<'_>) {
        let mut grown = None;
        if !self.leaf && source.percent(15) {
            let table = *source.pick(&self.program.function_tables);
            self.function(source);
            self.body
                .push(Instruction::I32Const(source.below(3) as i32));
            self.body.push(Instruction::TableGrow(table.index));
        } else {
            let table = *source.pick(&self.program.object_tables);
            self.object(1, source);
            let delta = match source.below(8) {
                0 => 0,
                1 => *source.pick(&[7, 1_000, -1, i32::MIN]),
                _ => {
                    grown = Some(table);
                    source.range(1, 3) as i32
                }
            };
            self.body.push(Instruction::I32Const(delta));
            self.body.push(Instruction::TableGrow(table.index));
        }
        let number = *source.pick(&self.numbers);
        self.body.push(Instruction::LocalSet(number));
        if let Some(table) = grown
            && source.percent(30)
        {
            self.use_last(table, source);
        }
    }

    /// Calls what a table of functions has just grown by.
    ///
    /// ```text
    /// function; n; table.grow; number = it
    /// arguments; table.size - 1 or n; call_indirect
    /// ```
    pub(super) fn call_grown(&mut self, source: &mut Source<'_>) {
        let tables = &self.program.function_tables;
        let table = *source.pick(tables);
        // It may not have grown, where there is a maximum: its last slot is any then.
        let table = match tables.iter().find(|table| !table.limited) {
            Some(other) if table.limited => *other,
            _ => table,
        };
        let callee = source.pick(&self.program.slots).callee;
        if !self.affords(callee.work) {
            return self.collect();
        }
        self.spend(callee.work);
        if source.percent(10) {
            // Null or of another type, which the call must see.
            self.function(source);
        } else {
            self.body.push(Instruction::RefFunc(callee.function));
        }
        let grown = source.range(1, 2);
        let number = *source.pick(&self.numbers);
        self.body.extend(&[
            Instruction::I32Const(grown as i32),
            Instruction::TableGrow(table.index),
            Instruction::LocalSet(number),
        ]);
        self.arguments(callee.signature.0, source);
        let from_the_end = match source.below(20) {
            0 => 0,
            1..=13 => 1,
            _ => grown,
        };
        self.last_slots(table, from_the_end);
        self.body.push(Instruction::CallIndirect {
            type_index: callee.ty,
            table_index: table.index,
        });
        self.consume(callee.signature.1, source);
    }

    /// Reads or sets the last element of a table.
    fn use_last(&mut self, table: Table, source: &mut Source<'_>) {
        self.last_slots(table, 1);
        if source.percent(50) {
            self.body.push(Instruction::TableGet(table.index));
            self.consume_object(source);
        } else {
            self.object(0, source);
            self.body.push(Instruction::TableSet(table.index));
        }
    }
}
