//! Loops, branches and blocks.

use wasm_encoder::{BlockType, Instruction};

use super::MOST_WORK;
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::sketch::encoded;
use crate::generate::source::Source;

/// One of so many switches has hundreds of targets.
const MANY_TARGETS_ONE_IN: u32 = 64;

impl Writer<'_> {
    /// Writes a condition: one that changes in the loop, or any.
    pub(super) fn condition(&mut self, source: &mut Source<'_>) {
        match self.counter {
            Some((counter, times)) if source.percent(60) => {
                self.body.push(Instruction::LocalGet(counter));
                if source.percent(50) {
                    self.body
                        .push(Instruction::I32Const(source.below(times) as i32));
                    self.body.push(
                        source
                            .pick(&[
                                Instruction::I32Eq,
                                Instruction::I32LtU,
                                Instruction::I32GtS,
                                Instruction::I32Ne,
                            ])
                            .clone(),
                    );
                } else {
                    self.body.push(Instruction::I32Const(1 << source.below(3)));
                    self.body.push(Instruction::I32And);
                }
            }
            _ => self
                .scope
                .expression(ValType::I32, 1, &mut self.body, source),
        }
    }

    pub(super) fn branch(&mut self, source: &mut Source<'_>) {
        if self.depth > 4 {
            return self.assign(source);
        }
        self.condition(source);
        self.depth += 1;
        if source.percent(40) {
            // Both arms leave a value.
            let ty = *source.pick(self.scope.types());
            let result = encoded(ty);
            self.body.push(Instruction::If(BlockType::Result(result)));
            self.statements(1, 1, source);
            self.value(ty, source);
            self.body.push(Instruction::Else);
            self.value(ty, source);
            self.body.push(Instruction::End);
            let variable = self.variable(ty, source);
            self.body.push(Instruction::LocalSet(variable));
        } else {
            self.body.push(Instruction::If(BlockType::Empty));
            self.statements(1, 2, source);
            if source.percent(40) {
                self.body.push(Instruction::Else);
                self.statements(1, 1, source);
            }
            self.body.push(Instruction::End);
        }
        self.depth -= 1;
    }

    /// A `br_table` whose cases are statements that fall through or leave.
    pub(super) fn switch(&mut self, source: &mut Source<'_>) {
        if self.depth > 3 {
            return self.assign(source);
        }
        let cases = source.range(2, 4);
        for _ in 0..=cases {
            self.body.push(Instruction::Block(BlockType::Empty));
        }
        if source.below(MANY_TARGETS_ONE_IN) == 0 {
            self.many_targets(cases + 1, source);
        } else {
            self.few_targets(cases + 1, source);
        }
        self.depth += cases + 1;
        for case in 0..cases {
            self.body.push(Instruction::End);
            self.depth -= 1;
            self.statements(1, 1, source);
            if source.percent(50) {
                self.body.push(Instruction::Br(cases - 1 - case));
            }
        }
        self.body.push(Instruction::End);
        self.depth -= 1;
    }

    /// Writes an index and a `br_table` of a few targets, of which there are `labels`.
    fn few_targets(&mut self, labels: u32, source: &mut Source<'_>) {
        let targets: Vec<u32> = (0..source.range(1, 6))
            .map(|_| source.below(labels))
            .collect();
        match self.counter {
            Some((counter, _)) => {
                self.body.push(Instruction::LocalGet(counter));
            }
            None => self
                .scope
                .expression(ValType::I32, 1, &mut self.body, source),
        }
        self.body.push(Instruction::BrTable(
            targets.as_slice().into(),
            source.below(labels),
        ));
    }

    /// A block that is left early, now and then.
    pub(super) fn leave_block(&mut self, source: &mut Source<'_>) {
        if self.depth > 4 {
            return self.assign(source);
        }
        self.body.push(Instruction::Block(BlockType::Empty));
        self.depth += 1;
        self.statements(1, 1, source);
        self.condition(source);
        self.body.push(Instruction::BrIf(0));
        self.statements(1, 1, source);
        self.body.push(Instruction::End);
        self.depth -= 1;
    }

    /// The loop that a function is about.
    pub(super) fn main_loop(&mut self, source: &mut Source<'_>) {
        let times = source.range(3, 24);
        self.counted_loop(times, (2, 3), source);
    }

    pub(super) fn nested_loop(&mut self, source: &mut Source<'_>) {
        let times = source.range(2, 9);
        if self.depth > 3 || self.times * times > MOST_WORK / 2 {
            return self.assign(source);
        }
        self.counted_loop(times, (1, 2), source);
    }

    /// A loop of `times` iterations and so many statements; the form of its counting is drawn.
    pub(super) fn counted_loop(
        &mut self,
        times: u32,
        statements: (u32, u32),
        source: &mut Source<'_>,
    ) {
        let counter = self.body.local(ValType::I32);
        let outer = self.counter.replace((counter, times));
        let outer_times = self.times;
        self.times *= times;
        self.work = self.work.saturating_add(self.times);
        let last = times as i32;
        self.body.push(Instruction::I32Const(0));
        self.body.push(Instruction::LocalSet(counter));
        match source.below(4) {
            // Counts on the way out, tested at the end.
            0 | 1 => {
                self.body.push(Instruction::Loop(BlockType::Empty));
                self.depth += 1;
                self.statements(statements.0, statements.1, source);
                self.body.extend(&[
                    Instruction::LocalGet(counter),
                    Instruction::I32Const(1),
                    Instruction::I32Add,
                    Instruction::LocalTee(counter),
                    Instruction::I32Const(last),
                    Instruction::I32LtU,
                    Instruction::BrIf(0),
                    Instruction::End,
                ]);
                self.depth -= 1;
            }
            // Tested at the head.
            2 => {
                self.body.extend(&[
                    Instruction::Block(BlockType::Empty),
                    Instruction::Loop(BlockType::Empty),
                    Instruction::LocalGet(counter),
                    Instruction::I32Const(last),
                    Instruction::I32GeS,
                    Instruction::BrIf(1),
                ]);
                self.depth += 2;
                self.statements(statements.0, statements.1, source);
                self.body.extend(&[
                    Instruction::LocalGet(counter),
                    Instruction::I32Const(1),
                    Instruction::I32Add,
                    Instruction::LocalSet(counter),
                    Instruction::Br(0),
                    Instruction::End,
                    Instruction::End,
                ]);
                self.depth -= 2;
            }
            // The number of iterations left is an i64 on the stack, and a value is carried along.
            _ => {
                let ty = *source.pick(self.scope.types());
                let carried = self.variable(ty, source);
                let left = self.body.local(ValType::I64);
                let types = [ty, ValType::I64];
                let block = self.program.sketch.ty(&types, &[ty]);
                self.body.extend(&[
                    Instruction::LocalGet(carried),
                    Instruction::I64Const(i64::from(times)),
                    Instruction::Loop(BlockType::FunctionType(block)),
                    Instruction::LocalSet(left),
                    Instruction::LocalSet(carried),
                ]);
                self.depth += 1;
                self.statements(statements.0, statements.1, source);
                self.scope.expression(ty, 1, &mut self.body, source);
                self.body.extend(&[
                    Instruction::LocalGet(counter),
                    Instruction::I32Const(1),
                    Instruction::I32Add,
                    Instruction::LocalSet(counter),
                    Instruction::LocalGet(left),
                    Instruction::I64Const(1),
                    Instruction::I64Sub,
                    Instruction::LocalTee(left),
                    Instruction::LocalGet(left),
                    Instruction::I64Const(0),
                    Instruction::I64Ne,
                    Instruction::BrIf(0),
                    Instruction::Drop,
                    Instruction::End,
                    Instruction::LocalSet(carried),
                ]);
                self.depth -= 1;
            }
        }
        self.times = outer_times;
        self.counter = outer;
    }

    /// A block that takes and leaves several values.
    pub(super) fn values_block(&mut self, source: &mut Source<'_>) {
        let [first, second] = [
            *source.pick(self.scope.types()),
            *source.pick(self.scope.types()),
        ];
        let block = self.program.sketch.ty(&[first, second], &[second, first]);
        let [a, b] = [self.variable(first, source), self.variable(second, source)];
        self.value(first, source);
        self.value(second, source);
        self.body
            .push(Instruction::Block(BlockType::FunctionType(block)));
        self.depth += 1;
        self.body.push(Instruction::LocalSet(b));
        self.body.push(Instruction::LocalSet(a));
        self.value(second, source);
        self.value(first, source);
        self.condition(source);
        self.body.push(Instruction::BrIf(0));
        self.body.push(Instruction::LocalSet(a));
        self.scope.leaf(first, &mut self.body, source);
        self.body.push(Instruction::End);
        self.depth -= 1;
        self.body.push(Instruction::LocalSet(a));
        self.body.push(Instruction::LocalSet(b));
    }
}
