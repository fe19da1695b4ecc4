//! Branches, loops, switches, tail calls and recursion: references that flow along edges.

use wasm_encoder::{BlockType, Instruction};

use super::program::{Callee, DEEPEST, Slots, null};
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::source::Source;

/// Loops and blocks in each other at most.
const DEEPEST_NESTING: u32 = 3;

const E: ValType = ValType::ExternRef;

/// Types of what blocks take and give.
const FLOWS: [&[ValType]; 4] = [&[], &[E], &[E, E], &[E, ValType::FuncRef, E]];

impl Writer<'_> {
    fn nested(&mut self, times: u32, write: impl FnOnce(&mut Self)) {
        let outer = self.times;
        self.times *= times;
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.times = outer;
    }

    fn block_type(&mut self, params: &[ValType], results: &[ValType]) -> BlockType {
        BlockType::FunctionType(self.program.sketch.ty(params, results))
    }

    fn too_deep(&mut self, source: &mut Source<'_>) -> bool {
        let deep = self.depth >= DEEPEST_NESTING;
        if deep {
            self.object(0, source);
            self.consume_object(source);
        }
        deep
    }

    /// Takes what flowed to here, often after a collection, before which nothing but the stack may have
    /// held it.
    fn consume_later(&mut self, flow: &[ValType], source: &mut Source<'_>) {
        if !flow.is_empty() && source.percent(35) {
            self.collect();
        }
        self.consume(flow, source);
    }

    /// `if` with objects that both arms take and give.
    pub(super) fn branch(&mut self, source: &mut Source<'_>) {
        if self.too_deep(source) {
            return;
        }
        let flow = *source.pick(&FLOWS);
        let ty = self.block_type(flow, flow);
        for item in flow {
            self.value(*item, source);
        }
        self.number(source);
        self.body.push(Instruction::If(ty));
        self.nested(1, |writer| {
            writer.statements(1, 2, source);
            writer.body.push(Instruction::Else);
            if source.percent(50) {
                writer.consume(flow, source);
                for item in flow {
                    writer.value(*item, source);
                }
            }
            writer.statements(0, 1, source);
        });
        self.body.push(Instruction::End);
        self.consume_later(flow, source);
    }

    /// A local that is set on one way of two, and behind a collection again on one way of two, before it is
    /// read. Nothing but a value that SSA construction makes where ways meet holds the object meanwhile.
    ///
    /// ```text
    /// if  object; local = it  else?  object; local = it  end
    /// collect
    /// if  object; local = it  end
    /// consume local
    /// ```
    pub(super) fn set_on_a_way(&mut self, source: &mut Source<'_>) {
        if self.too_deep(source) || !self.affords(8) {
            return self.collect();
        }
        let local = *source.pick(&self.objects);
        for last in [false, true] {
            self.number(source);
            self.body.push(Instruction::If(BlockType::Empty));
            self.set_to_new(local, source);
            if !last && source.percent(50) {
                self.body.push(Instruction::Else);
                self.set_to_new(local, source);
            }
            self.body.push(Instruction::End);
            if !last {
                self.collect();
            }
        }
        self.body.push(Instruction::LocalGet(local));
        self.consume_object(source);
    }

    /// A loop at the top of which a local is used that was set before it, and further down of which another
    /// is set that is used behind it: both live through the loop, but one of them alone beyond.
    ///
    /// ```text
    /// object; one = it
    /// counter = times
    /// loop
    ///     collect?  consume one  collect?  object; other = it
    ///     counter -= 1; br_if 0
    /// end
    /// collect?  consume other  one = null
    /// ```
    pub(super) fn loop_around(&mut self, source: &mut Source<'_>) {
        if self.too_deep(source) || !self.affords(20) {
            return self.collect();
        }
        let times = source.range(2, 3);
        let counter = self.body.local(ValType::I32);
        let one = *source.pick(&self.objects);
        let other = *source.pick(&self.objects);
        self.set_to_new(one, source);
        self.body.extend(&[
            Instruction::I32Const(times as i32),
            Instruction::LocalSet(counter),
            Instruction::Loop(BlockType::Empty),
        ]);
        self.nested(times, |writer| {
            if source.percent(85) {
                writer.collect();
            }
            writer.body.push(Instruction::LocalGet(one));
            if source.percent(60) {
                // Where it can be seen whether a collection has seen it.
                writer.spend(2);
                writer.body.push(Instruction::Call(writer.program.take));
            } else {
                writer.consume_object(source);
            }
            if source.percent(50) {
                writer.collect();
            }
            // What is not made by a call has a slot given out before that call.
            if source.percent(60) {
                writer.body.push(null(ValType::ExternRef));
            } else {
                writer.object(1, source);
            }
            writer.body.push(Instruction::LocalSet(other));
        });
        self.end_counted(counter);
        if source.percent(80) {
            self.collect();
        }
        self.body.push(Instruction::LocalGet(other));
        self.consume_object(source);
        if source.percent(60) {
            self.body
                .extend(&[null(ValType::ExternRef), Instruction::LocalSet(one)]);
        }
    }

    /// Ends a loop that runs as often as the local `counter` says, once at least.
    fn end_counted(&mut self, counter: u32) {
        self.body.extend(&[
            Instruction::LocalGet(counter),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalTee(counter),
            Instruction::BrIf(0),
            Instruction::End,
        ]);
    }

    /// Sets a local to an object that mostly nothing else holds.
    fn set_to_new(&mut self, local: u32, source: &mut Source<'_>) {
        if source.percent(60) {
            self.spend(2);
            self.body.push(Instruction::Call(self.program.make));
        } else {
            self.object(0, source);
        }
        self.body.push(Instruction::LocalSet(local));
    }

    /// A loop of a few iterations that carries objects as parameters, or leaves by a branch.
    ///
    /// ```text
    /// counter = times
    /// objects
    /// loop (params flow) (results flow)
    ///     statements; consume; objects
    ///     counter -= 1; br_if 0
    /// end
    /// consume
    /// ```
    pub(super) fn counted_loop(&mut self, source: &mut Source<'_>) {
        if self.too_deep(source) || !self.affords(12) {
            return self.collect();
        }
        let times = source.range(2, 4);
        let flow = *source.pick(&FLOWS);
        let ty = self.block_type(flow, flow);
        let counter = self.body.local(ValType::I32);
        self.body.extend(&[
            Instruction::I32Const(times as i32),
            Instruction::LocalSet(counter),
        ]);
        for item in flow {
            self.value(*item, source);
        }
        self.body.push(Instruction::Loop(ty));
        let outer = self.counter.replace(counter);
        self.nested(times, |writer| {
            if source.percent(50) {
                writer.collect();
            }
            writer.statements(1, 2, source);
            if source.percent(60) {
                writer.consume(flow, source);
                for item in flow {
                    writer.value(*item, source);
                }
            }
        });
        self.counter = outer;
        self.end_counted(counter);
        self.consume_later(flow, source);
    }

    /// Two objects that `br_table` carries to one of three ends, which each do something with
    /// them.
    ///
    /// ```text
    /// block (results e e)          ;; both, from here or from within
    ///     block (results e e)
    ///         block (results e e)
    ///             objects; number; br_table 0 1 2
    ///         end
    ///         consume; statement; objects; br 1
    ///     end
    ///     consume; statement; objects
    /// end
    /// consume
    /// ```
    pub(super) fn switch(&mut self, source: &mut Source<'_>) {
        if self.too_deep(source) {
            return;
        }
        let flow = FLOWS[1 + source.below(3) as usize];
        let ty = self.block_type(&[], flow);
        for _ in 0..3 {
            self.body.push(Instruction::Block(ty));
        }
        self.nested(1, |writer| {
            for item in flow {
                writer.value(*item, source);
            }
            writer.number(source);
            let targets = [source.below(3), source.below(3), source.below(3)];
            writer.body.push(Instruction::BrTable(
                targets.as_slice().into(),
                source.below(3),
            ));
            for arm in 0..2 {
                writer.body.push(Instruction::End);
                writer.consume(flow, source);
                writer.statements(1, 1, source);
                for item in flow {
                    writer.value(*item, source);
                }
                if arm == 0 && source.percent(50) {
                    writer.body.push(Instruction::Br(1));
                }
            }
        });
        self.body.push(Instruction::End);
        self.consume_later(flow, source);
    }

    /// Leaves the function by a tail call, or goes on.
    pub(super) fn leave(&mut self, source: &mut Source<'_>) {
        self.number(source);
        self.body.push(Instruction::If(BlockType::Empty));
        if !self.tail_call(source) {
            self.collect();
        }
        self.body.push(Instruction::End);
    }

    /// Writes a tail call of a function that returns what this one does, directly, through a table or by the
    /// host.
    /// Says whether there is one.
    pub(super) fn tail_call(&mut self, source: &mut Source<'_>) -> bool {
        if self.tail_call_back(source) {
            return true;
        }
        let returns = self.returns;
        let fits = |callee: &Callee| callee.signature.1 == returns;
        if !self.leaf && source.percent(40) {
            let slots = self.program.slots.iter();
            let slots: Vec<Slots> = slots.filter(|it| fits(&it.callee)).copied().collect();
            if let [_, ..] = slots.as_slice() {
                let slots = *source.pick(&slots);
                if self.affords(slots.callee.work) {
                    self.spend(slots.callee.work);
                    self.arguments(slots.callee.signature.0, source);
                    // One slot too many, at times: null, or a function of another type.
                    let count = slots.count + u32::from(source.percent(5));
                    let slot = source.below(count);
                    self.body
                        .push(Instruction::I32Const((slots.first + slot) as i32));
                    self.body.push(Instruction::ReturnCallIndirect {
                        type_index: slots.callee.ty,
                        table_index: slots.table,
                    });
                    return true;
                }
            }
        }
        let callee = self.affordable(source).filter(fits);
        let (function, params): (u32, &[ValType]) = match (callee, returns) {
            (Some(callee), _) => {
                self.spend(callee.work);
                (callee.function, callee.signature.0)
            }
            (None, []) => (self.program.take, &[ValType::ExternRef]),
            (None, [ValType::ExternRef]) => (self.program.make, &[]),
            (None, _) => return false,
        };
        self.spend(2);
        self.arguments(params, source);
        self.body.push(Instruction::ReturnCall(function));
        true
    }

    /// Writes the body of a function that calls itself, `function`; local `number` counts down.
    pub(super) fn count_down(&mut self, function: u32, number: u32, source: &mut Source<'_>) {
        let result = self.block_type(&[], &[E]);
        // Others must not change what ends the recursion.
        self.numbers.retain(|local| *local != number);
        self.body.extend(&[
            Instruction::LocalGet(number),
            Instruction::I32Const(DEEPEST),
            Instruction::I32And,
            Instruction::LocalTee(number),
            Instruction::I32Eqz,
            Instruction::If(result),
        ]);
        self.statements(2, 2, source);
        if source.percent(60) {
            self.collect();
        }
        self.object(1, source);
        self.body.push(Instruction::Else);
        if self.program.beyond.tail_calls && source.percent(50) {
            self.statements(0, 1, source);
            self.object(1, source);
            self.body.extend(&[
                Instruction::LocalGet(number),
                Instruction::I32Const(1),
                Instruction::I32Sub,
                Instruction::ReturnCall(function),
                Instruction::End,
            ]);
            return;
        }
        let held = source.range(0, 3);
        for _ in 0..held {
            self.object(1, source);
        }
        self.object(1, source);
        self.body.extend(&[
            Instruction::LocalGet(number),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::Call(function),
        ]);
        for _ in 0..held {
            self.consume_object(source);
        }
        self.statements(0, 1, source);
        self.body.push(Instruction::End);
    }
}
