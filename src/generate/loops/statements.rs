//! The statements that functions of a program consist of.

use wasm_encoder::{BlockType, HeapType, Instruction};

use super::MOST_WORK;
use super::program::{Callee, Program, sum};
use crate::case::module::ValType;
use crate::generate::expr::Scope;
use crate::generate::sketch::Body;
use crate::generate::source::{PieceKind, Source};

/// Bytes of code beyond which a function gets no further statements, without what is long by itself.
const MOST_CODE: usize = 200;

/// A function being written.
pub(super) struct Writer<'p> {
    pub(super) program: &'p mut Program,
    pub(super) scope: Scope,
    pub(super) body: Body,
    /// A local that always holds an address below 32 KiB.
    pub(super) pointer: u32,
    /// The parameter that is a function, if there is one.
    pub(super) taken: Option<u32>,
    pub(super) leaf: bool,
    /// Bytes of code beyond which there are no further statements.
    pub(super) most_code: usize,
    /// How many times the current place is run, at most.
    pub(super) times: u32,
    /// Work so far, with what is called.
    pub(super) work: u32,
    /// Loops and blocks around the current place.
    pub(super) depth: u32,
    /// The counter of the innermost loop, and how often that loop runs.
    pub(super) counter: Option<(u32, u32)>,
}

impl<'p> Writer<'p> {
    pub(super) fn new(
        program: &'p mut Program,
        scope: Scope,
        body: Body,
        pointer: u32,
        leaf: bool,
    ) -> Writer<'p> {
        Writer {
            program,
            scope,
            body,
            pointer,
            taken: None,
            leaf,
            most_code: MOST_CODE,
            times: 1,
            work: 1,
            depth: 0,
            counter: None,
        }
    }

    /// The body, and the work that a call comes to.
    pub(super) fn finish(self) -> (Body, u32) {
        (self.body, self.work)
    }

    /// Writes the value of an expression.
    pub(super) fn value(&mut self, ty: ValType, source: &mut Source<'_>) {
        let depth = source.below(3);
        self.scope.expression(ty, depth, &mut self.body, source);
    }

    /// A variable of type `ty` that may be assigned: any of the scope's.
    pub(super) fn variable(&self, ty: ValType, source: &mut Source<'_>) -> u32 {
        *source.pick(self.scope.of_type(ty))
    }

    /// Writes `low` to `high` statements, or as many as there is room for.
    pub(super) fn statements(&mut self, low: u32, high: u32, source: &mut Source<'_>) {
        for at in 0.. {
            let start = source.place();
            let room = self.body.size() <= self.most_code;
            if !source.more(at, low, high, room) {
                return;
            }
            self.statement(source);
            source.mark(PieceKind::Item, start);
        }
    }

    fn statement(&mut self, source: &mut Source<'_>) {
        match source.below(40) {
            0..=4 => self.assign(source),
            5..=6 => self.accumulate(source),
            7..=11 => self.store_walking(source),
            12..=15 => self.load_walking(source),
            16..=17 => self.move_pointer(source),
            18..=19 => self.set_global(source),
            20..=22 => self.branch(source),
            23..=24 => self.switch(source),
            25..=27 => self.nested_loop(source),
            28..=29 => self.call(source),
            30..=31 => self.call_indirect(source),
            32..=33 => self.set_and_call(source),
            34 => self.grow(source),
            35..=36 => self.bulk(source),
            37 => self.values_block(source),
            38 => self.table(source),
            _ => self.leave_block(source),
        }
    }

    /// `variable = expression`, rarely of an instruction that may trap.
    pub(super) fn assign(&mut self, source: &mut Source<'_>) {
        let ty = *source.pick(self.scope.types());
        self.scope.traps = source.percent(2);
        let depth = source.range(1, 2);
        self.scope.expression(ty, depth, &mut self.body, source);
        self.scope.traps = false;
        let variable = self.variable(ty, source);
        self.body.push(Instruction::LocalSet(variable));
    }

    /// `variable += expression`: a value that lives across iterations.
    fn accumulate(&mut self, source: &mut Source<'_>) {
        let ty = *source.pick(self.scope.types());
        let variable = self.variable(ty, source);
        self.body.push(Instruction::LocalGet(variable));
        self.scope.expression(ty, 1, &mut self.body, source);
        self.body.push(sum(ty));
        self.body.push(Instruction::LocalSet(variable));
    }

    fn set_global(&mut self, source: &mut Source<'_>) {
        if self.program.globals.is_empty() {
            return self.assign(source);
        }
        let (global, ty) = *source.pick(&self.program.globals);
        if source.percent(50) {
            self.body.push(Instruction::GlobalGet(global));
            self.scope.leaf(ty, &mut self.body, source);
            self.body.push(sum(ty));
            self.body.push(Instruction::GlobalSet(global));
        } else {
            self.scope.expression(ty, 1, &mut self.body, source);
            self.body.push(Instruction::GlobalSet(global));
            let variable = self.variable(ty, source);
            self.body.push(Instruction::GlobalGet(global));
            self.body.push(Instruction::LocalSet(variable));
        }
    }

    /// Writes the end of the function: what it returns, or a tail call of what returns as much.
    pub(super) fn end(&mut self, results: &[ValType], source: &mut Source<'_>) {
        if self.program.beyond.tail_calls && source.percent(60) {
            let leaf = self.leaf;
            let fits = |it: &&Callee| it.results == results && (it.leaf || !leaf);
            let callees: Vec<Callee> = self.program.callees.iter().filter(fits).cloned().collect();
            if !callees.is_empty() {
                let callee = source.pick(&callees).clone();
                if self.affordable(&callee) {
                    self.arguments(callee.params, source);
                    self.body.push(Instruction::ReturnCall(callee.function));
                    return;
                }
            }
        }
        for result in results {
            self.value(*result, source);
        }
    }

    /// Whether `callee` may be called here, in which case its work is taken into account.
    fn affordable(&mut self, callee: &Callee) -> bool {
        let work = callee.work.saturating_mul(self.times);
        let total = self.work.saturating_add(work);
        if total > MOST_WORK {
            return false;
        }
        self.work = total;
        true
    }

    /// Assigns results that lie on the stack to variables.
    fn assign_results(&mut self, results: &[ValType], source: &mut Source<'_>) {
        for result in results.iter().rev() {
            let variable = self.variable(*result, source);
            self.body.push(Instruction::LocalSet(variable));
        }
    }

    fn call(&mut self, source: &mut Source<'_>) {
        if self.program.callees.is_empty() {
            return self.accumulate(source);
        }
        let callee = source.pick(&self.program.callees).clone();
        // What stands in tables calls nothing that might call through tables.
        if self.leaf && !callee.leaf || !self.affordable(&callee) {
            return self.accumulate(source);
        }
        self.arguments(callee.params, source);
        self.body.push(Instruction::Call(callee.function));
        self.assign_results(callee.results, source);
    }

    fn call_indirect(&mut self, source: &mut Source<'_>) {
        if self.leaf || self.program.slots.is_empty() {
            return self.call(source);
        }
        let slots = source.pick(&self.program.slots).clone();
        if !self.affordable(&slots.callee) {
            return self.accumulate(source);
        }
        self.arguments(slots.callee.params, source);
        match self.counter {
            Some((counter, _)) => {
                self.body.push(Instruction::LocalGet(counter));
            }
            None => self.scope.leaf(ValType::I32, &mut self.body, source),
        }
        // One slot too many, at times: null, or a function of another type.
        let count = slots.count + u32::from(source.percent(5));
        self.body.extend(&[
            Instruction::I32Const(count as i32),
            Instruction::I32RemU,
            Instruction::I32Const(slots.first as i32),
            Instruction::I32Add,
            Instruction::CallIndirect {
                type_index: slots.callee.ty,
                table_index: slots.table,
            },
        ]);
        self.assign_results(slots.callee.results, source);
    }

    /// Writes the arguments of a call.
    fn arguments(&mut self, params: &[ValType], source: &mut Source<'_>) {
        for param in params {
            match param {
                ValType::FuncRef => self.function(source),
                _ => self.scope.expression(*param, 1, &mut self.body, source),
            }
        }
    }

    /// Writes a function: mostly the one that this one was given, which may be null or of any type.
    fn function(&mut self, source: &mut Source<'_>) {
        let instruction = match (self.taken, source.below(8)) {
            (Some(taken), 0..=5) => Instruction::LocalGet(taken),
            (_, 6) => Instruction::RefNull(HeapType::FUNC),
            _ if self.program.slots.is_empty() => Instruction::RefNull(HeapType::FUNC),
            _ => Instruction::RefFunc(source.pick(&self.program.slots).callee.function),
        };
        self.body.push(instruction);
    }

    /// Sets a slot, then reads it and calls what is in it, by the same constant. So a compiler knows
    /// what is called, and that it is the same in every iteration, but not that it can be called.
    fn set_and_call(&mut self, source: &mut Source<'_>) {
        if self.leaf || self.program.slots.is_empty() {
            return self.table(source);
        }
        let slots = source.pick(&self.program.slots).clone();
        if !self.affordable(&slots.callee) {
            return self.accumulate(source);
        }
        // Mostly a slot that nothing else calls, where what is set does no more harm.
        let slot = match source.percent(40) {
            true => slots.first + source.below(slots.count),
            false => source.below(self.program.tables[slots.table as usize]),
        };
        let slot = Instruction::I32Const(slot as i32);
        self.body.push(slot.clone());
        self.function(source);
        self.body.push(Instruction::TableSet(slots.table));
        if source.percent(40) {
            let variable = self.variable(ValType::I32, source);
            self.body.extend(&[
                slot.clone(),
                Instruction::TableGet(slots.table),
                Instruction::RefIsNull,
                Instruction::LocalSet(variable),
            ]);
        }
        // What is called now and then may be looked at always, once it is outside of the loop.
        let now_and_then = source.percent(50);
        if now_and_then {
            self.condition(source);
            self.body.push(Instruction::If(BlockType::Empty));
        }
        self.arguments(slots.callee.params, source);
        self.body.push(slot);
        self.body.push(Instruction::CallIndirect {
            type_index: slots.callee.ty,
            table_index: slots.table,
        });
        self.assign_results(slots.callee.results, source);
        if now_and_then {
            self.body.push(Instruction::End);
        }
    }

    /// Moves a function from one slot to another, or sets one.
    fn table(&mut self, source: &mut Source<'_>) {
        if self.program.slots.is_empty() {
            return self.assign(source);
        }
        let slots = source.pick(&self.program.slots).clone();
        let slot = |source: &mut Source<'_>| (slots.first + source.below(slots.count)) as i32;
        self.body.push(Instruction::I32Const(slot(source)));
        if source.percent(50) {
            self.body.push(Instruction::RefFunc(slots.callee.function));
        } else {
            self.body.push(Instruction::I32Const(slot(source)));
            self.body.push(Instruction::TableGet(slots.table));
        }
        self.body.push(Instruction::TableSet(slots.table));
    }
}
