//! The statements that functions of a program consist of.

use wasm_encoder::Instruction;

use super::MOST_WORK;
use super::program::{Callee, Program};
use crate::case::module::ValType;
use crate::generate::sketch::Body;
use crate::generate::source::{PieceKind, Source};

/// Bytes of code beyond which a function gets no further statements.
const MOST_CODE: usize = 72;

/// How many of 100 indirect calls are of what a table has just grown by.
const GROWN_PERCENT: u32 = 45;

/// What makes an i32 of a number or vector, if it is none.
fn narrowed(ty: ValType) -> Option<Instruction<'static>> {
    match ty {
        ValType::I64 => Some(Instruction::I32WrapI64),
        ValType::F32 => Some(Instruction::I32TruncSatF32S),
        ValType::F64 => Some(Instruction::I32TruncSatF64S),
        ValType::V128 => Some(Instruction::I32x4ExtractLane(1)),
        ValType::I32 | ValType::FuncRef | ValType::ExternRef => None,
    }
}

/// A function being written.
pub(super) struct Writer<'p> {
    pub(super) program: &'p mut Program,
    pub(super) body: Body,
    /// Locals of type externref.
    pub(super) objects: Vec<u32>,
    /// Locals of type i32.
    pub(super) numbers: Vec<u32>,
    /// A local of type funcref.
    pub(super) function_local: u32,
    /// Parameters of types that there are no locals of.
    pub(super) others: Vec<(ValType, u32)>,
    /// What the function returns.
    pub(super) returns: &'static [ValType],
    /// Whether it may call nothing but `parallax` functions.
    pub(super) leaf: bool,
    /// The counter of the innermost loop.
    pub(super) counter: Option<u32>,
    /// How many times the current place is run, at most.
    pub(super) times: u32,
    /// Loops and blocks around the current place.
    pub(super) depth: u32,
    work: u32,
}

impl<'p> Writer<'p> {
    pub(super) fn new(
        program: &'p mut Program,
        (params, returns): (&'static [ValType], &'static [ValType]),
        leaf: bool,
    ) -> Writer<'p> {
        let mut body = Body::new(params.len());
        let mut objects = Vec::new();
        let mut numbers = Vec::new();
        let mut functions = Vec::new();
        let mut others = Vec::new();
        for (local, ty) in (0..).zip(params) {
            match ty {
                ValType::ExternRef => objects.push(local),
                ValType::FuncRef => functions.push(local),
                ValType::I32 => numbers.push(local),
                ty => others.push((*ty, local)),
            }
        }
        for _ in 0..2 {
            objects.push(body.local(ValType::ExternRef));
        }
        numbers.push(body.local(ValType::I32));
        let function_local = match functions.first() {
            Some(parameter) => *parameter,
            None => body.local(ValType::FuncRef),
        };
        Writer {
            program,
            body,
            objects,
            numbers,
            function_local,
            others,
            returns,
            leaf,
            counter: None,
            times: 1,
            depth: 0,
            work: 1,
        }
    }

    /// The body, and the work that a call comes to.
    pub(super) fn finish(self) -> (Body, u32) {
        (self.body, self.work)
    }

    /// Writes the end of the function: what it returns, or a tail call of what returns as much.
    pub(super) fn end(&mut self, source: &mut Source<'_>) {
        let tail_call = self.program.beyond.tail_calls && source.percent(60);
        if !(tail_call && self.tail_call(source)) {
            self.results(self.returns, source);
        }
    }

    /// Writes the values that the function returns.
    fn results(&mut self, results: &[ValType], source: &mut Source<'_>) {
        for ty in results {
            match ty {
                ValType::ExternRef => self.object(u32::from(results.len() < 4), source),
                ty => self.value(*ty, source),
            }
        }
    }

    /// Counts what is about to be written as so much work.
    pub(super) fn spend(&mut self, work: u32) {
        self.work += work * self.times;
    }

    /// Whether so much work may be done here.
    pub(super) fn affords(&self, work: u32) -> bool {
        self.work + work * self.times <= MOST_WORK
    }

    /// A function that may be called here.
    pub(super) fn affordable(&self, source: &mut Source<'_>) -> Option<Callee> {
        let callees = &self.program.callees;
        if self.leaf || callees.is_empty() {
            return None;
        }
        let callee = *source.pick(callees);
        self.affords(callee.work).then_some(callee)
    }

    /// Writes `low` to `high` statements, or as many as there is room for.
    pub(super) fn statements(&mut self, low: u32, high: u32, source: &mut Source<'_>) {
        for at in 0.. {
            let start = source.place();
            let room = self.body.size() <= MOST_CODE && self.affords(2);
            if !source.more(at, low, high, room) {
                return;
            }
            self.spend(1);
            self.statement(source);
            source.mark(PieceKind::Item, start);
        }
    }

    fn statement(&mut self, source: &mut Source<'_>) {
        if !self.program.callbacks.is_empty() && source.below(5) == 0 {
            return self.call_back(source);
        }
        match source.below(64) {
            0..=3 => self.set_local(source),
            4..=13 => self.set_element(source),
            14..=17 => self.set_element_again(source),
            18..=21 => self.set_global(source),
            22..=25 => self.fill(source),
            26..=30 => self.copy(source),
            31..=33 => self.init(source),
            34..=36 => self.grow(source),
            37..=39 => self.take(source),
            40..=42 => self.collect(),
            43 => self.set_on_a_way(source),
            44..=47 => self.call(source),
            48..=50 => self.call_indirect(source),
            51 if self.program.beyond.tail_calls => self.leave(source),
            51..=54 => self.hold(source),
            55..=56 => self.swap(source),
            57..=58 => self.branch(source),
            59 => self.counted_loop(source),
            60 => self.loop_around(source),
            61 => self.switch(source),
            62 => self.set_function(source),
            _ => self.rare(source),
        }
    }

    fn set_local(&mut self, source: &mut Source<'_>) {
        self.object(1, source);
        let local = *source.pick(&self.objects);
        self.body.push(Instruction::LocalSet(local));
    }

    fn set_element(&mut self, source: &mut Source<'_>) {
        let table = self.object_table(source);
        self.index(table, source);
        self.object(1, source);
        self.body.push(Instruction::TableSet(table.index));
    }

    /// `table[i] = table[i]`, with the object on the stack alone, or its count at 1.
    fn set_element_again(&mut self, source: &mut Source<'_>) {
        let table = self.object_table(source);
        let index = source.below(table.size.min(3)) as i32;
        if source.percent(40) {
            self.body.push(Instruction::I32Const(index));
            self.object(0, source);
            self.body.push(Instruction::TableSet(table.index));
        }
        if source.percent(40) {
            self.collect();
        }
        self.body.extend(&[
            Instruction::I32Const(index),
            Instruction::I32Const(index),
            Instruction::TableGet(table.index),
        ]);
        if source.percent(30) {
            self.collect();
        }
        self.body.push(Instruction::TableSet(table.index));
    }

    fn set_global(&mut self, source: &mut Source<'_>) {
        let global = *source.pick(&self.program.globals);
        if source.percent(25) {
            self.body.push(Instruction::GlobalGet(global));
        } else {
            self.object(1, source);
        }
        self.body.push(Instruction::GlobalSet(global));
    }

    /// Gives an object to the host, or to nobody.
    fn take(&mut self, source: &mut Source<'_>) {
        self.object(1, source);
        if source.percent(70) {
            self.spend(2);
            self.body.push(Instruction::Call(self.program.take));
        } else {
            self.body.push(Instruction::Drop);
        }
    }

    pub(super) fn collect(&mut self) {
        self.spend(2);
        self.body.push(Instruction::Call(self.program.collect));
    }

    fn call(&mut self, source: &mut Source<'_>) {
        let Some(callee) = self.affordable(source) else {
            return self.take(source);
        };
        self.spend(callee.work);
        self.arguments(callee.signature.0, source);
        self.body.push(Instruction::Call(callee.function));
        self.consume(callee.signature.1, source);
    }

    pub(super) fn arguments(&mut self, params: &[ValType], source: &mut Source<'_>) {
        for param in params {
            match param {
                ValType::ExternRef => self.object(u32::from(params.len() < 4), source),
                ty => self.value(*ty, source),
            }
        }
    }

    fn call_indirect(&mut self, source: &mut Source<'_>) {
        if self.leaf || self.program.slots.is_empty() {
            return self.collect();
        }
        if source.percent(GROWN_PERCENT) {
            return self.call_grown(source);
        }
        let slots = *source.pick(&self.program.slots);
        if !self.affords(slots.callee.work) {
            return self.collect();
        }
        self.spend(slots.callee.work);
        self.arguments(slots.callee.signature.0, source);
        let slot = slots.first + source.below(slots.count);
        let slot = Instruction::I32Const(slot as i32);
        if source.percent(10) {
            // Null, of another type, or the one that was there: the call must see what it is.
            self.body.push(slot.clone());
            self.function(source);
            self.body.push(Instruction::TableSet(slots.table));
        }
        self.body.push(slot);
        self.body.push(Instruction::CallIndirect {
            type_index: slots.callee.ty,
            table_index: slots.table,
        });
        self.consume(slots.callee.signature.1, source);
    }

    /// Takes values off the operand stack, the last first, and puts objects somewhere.
    pub(super) fn consume(&mut self, values: &[ValType], source: &mut Source<'_>) {
        for ty in values.iter().rev() {
            match ty {
                ValType::ExternRef => self.consume_object(source),
                ValType::FuncRef => {
                    self.body.push(Instruction::LocalSet(self.function_local));
                }
                ty => {
                    self.body.extend(narrowed(*ty).as_slice());
                    let number = *source.pick(&self.numbers);
                    self.body.push(Instruction::LocalSet(number));
                }
            }
        }
    }

    pub(super) fn consume_object(&mut self, source: &mut Source<'_>) {
        match source.below(8) {
            0 => {
                self.body.push(Instruction::Drop);
            }
            1 => {
                let global = *source.pick(&self.program.globals);
                self.body.push(Instruction::GlobalSet(global));
            }
            2 => {
                self.spend(2);
                self.body.push(Instruction::Call(self.program.take));
            }
            3..=4 => {
                // A table takes its element from the top, and its index from below.
                let local = *source.pick(&self.objects);
                let table = self.object_table(source);
                self.body.push(Instruction::LocalSet(local));
                self.index(table, source);
                self.body.push(Instruction::LocalGet(local));
                self.body.push(Instruction::TableSet(table.index));
            }
            _ => {
                let local = *source.pick(&self.objects);
                self.body.push(Instruction::LocalSet(local));
            }
        }
    }

    /// Objects on the operand stack, and nowhere else for all they know, across statements.
    fn hold(&mut self, source: &mut Source<'_>) {
        let count = source.range(1, 3);
        for _ in 0..count {
            self.object(1, source);
        }
        if source.percent(50) {
            self.collect();
        }
        self.statements(1, 2, source);
        for _ in 0..count {
            self.consume_object(source);
        }
    }

    /// Two slots change places.
    fn swap(&mut self, source: &mut Source<'_>) {
        let (one, other) = (self.object_table(source), self.object_table(source));
        let first = source.below(one.size) as i32;
        let second = source.below(other.size) as i32;
        self.body.extend(&[
            Instruction::I32Const(first),
            Instruction::I32Const(second),
            Instruction::TableGet(other.index),
            Instruction::I32Const(second),
            Instruction::I32Const(first),
            Instruction::TableGet(one.index),
            Instruction::TableSet(other.index),
            Instruction::TableSet(one.index),
        ]);
    }

    /// Moves references to functions. What is called indirectly mostly stays.
    fn set_function(&mut self, source: &mut Source<'_>) {
        let tables = &self.program.function_tables;
        let table = *tables.last().unwrap_or(&tables[0]);
        match source.below(4) {
            0 => {
                self.function(source);
                self.body
                    .push(Instruction::GlobalSet(self.program.function_global));
            }
            1 => {
                self.function(source);
                self.body.push(Instruction::LocalSet(self.function_local));
            }
            2 if table.size > 4 => {
                // Behind the slots that are called.
                self.body.push(Instruction::I32Const(4));
                self.function(source);
                let length = source.below(table.size - 3) as i32;
                self.body.push(Instruction::I32Const(length));
                self.body.push(Instruction::TableFill(table.index));
            }
            _ => {
                self.body.push(Instruction::I32Const(table.size as i32 - 1));
                self.function(source);
                self.body.push(Instruction::TableSet(table.index));
            }
        }
    }

    /// What ends the call, or makes a later one end: just out of bounds, behind what came before.
    fn rare(&mut self, source: &mut Source<'_>) {
        let table = self.object_table(source);
        // Most that is drawn here is not to be: a program of traps tests little.
        if source.percent(55) {
            return self.set_element(source);
        }
        self.body.push(Instruction::TableSize(table.index));
        match source.below(6) {
            0 => {
                self.body.push(Instruction::TableGet(table.index));
                self.consume_object(source);
            }
            1 => {
                self.object(1, source);
                self.body.push(Instruction::TableSet(table.index));
            }
            2 => {
                self.object(1, source);
                self.body.push(Instruction::I32Const(1));
                self.body.push(Instruction::TableFill(table.index));
            }
            3 => {
                self.body.extend(&[
                    Instruction::I32Const(1),
                    Instruction::I32Sub,
                    Instruction::I32Const(0),
                    Instruction::I32Const(2),
                    Instruction::TableCopy {
                        src_table: table.index,
                        dst_table: table.index,
                    },
                ]);
            }
            4 => {
                let segment = *source.pick(&self.program.object_segments);
                self.body.extend(&[
                    Instruction::Drop,
                    Instruction::I32Const(0),
                    Instruction::I32Const(segment.length as i32),
                    Instruction::I32Const(1),
                    Instruction::TableInit {
                        elem_index: segment.index,
                        table: table.index,
                    },
                ]);
            }
            _ => {
                // A segment that is gone: what copies from it later traps.
                let segment = *source.pick(&self.program.object_segments);
                self.body.push(Instruction::Drop);
                self.body.push(Instruction::ElemDrop(segment.index));
            }
        }
    }
}
