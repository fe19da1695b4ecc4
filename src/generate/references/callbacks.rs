//! Functions that the host calls, for host functions that wasm has called: wasm is on the stack more than
//! once then, with frames of the host in between, and a collection has to find what each part of it holds.

use wasm_encoder::Instruction;

use super::program::{NOTHING, Program};
use super::statements::Writer;
use crate::case::host::MOST_NESTED;
use crate::generate::source::Source;

/// How many of 100 programs have such functions.
pub(super) const PERCENT: u32 = 20;

/// How many of 100 such functions have the host call them once more.
const AGAIN_PERCENT: u32 = 25;

impl Program {
    /// Adds functions that the host may call, if the program has any.
    pub(super) fn callbacks(&mut self, source: &mut Source<'_>) {
        if self.call_back.is_none() {
            return;
        }
        self.callback(source);
        if source.percent(40) {
            self.callback(source);
        }
    }

    fn callback(&mut self, source: &mut Source<'_>) {
        let itself = self.sketch.function_count();
        let mut writer = Writer::new(self, NOTHING, true);
        writer.statements(1, 2, source);
        let again = source.percent(AGAIN_PERCENT);
        if again {
            writer.have_called(itself);
            writer.statements(0, 1, source);
        }
        writer.end(source);
        let (body, work) = writer.finish();
        let work = work * if again { MOST_NESTED + 1 } else { 1 };
        self.add(NOTHING, body, work, true, source);
        self.callbacks.extend(self.callees.last());
    }
}

impl Writer<'_> {
    /// Has the host call a function that is there for that, or now and then whatever a local holds.
    pub(super) fn call_back(&mut self, source: &mut Source<'_>) {
        let callback = *source.pick(&self.program.callbacks);
        if !self.affords(callback.work) {
            return self.collect();
        }
        self.spend(callback.work);
        if source.below(8) == 0 {
            self.body.push(Instruction::LocalGet(self.function_local));
            self.body.push(Instruction::RefFunc(callback.function));
            self.body.push(Instruction::LocalSet(self.function_local));
            self.body
                .extend(self.program.call_back.map(Instruction::Call).as_slice());
        } else {
            self.have_called(callback.function);
        }
    }

    /// Has the host call this function.
    fn have_called(&mut self, function: u32) {
        let Some(call_back) = self.program.call_back else {
            return;
        };
        self.spend(2);
        self.body.push(Instruction::RefFunc(function));
        self.body.push(Instruction::Call(call_back));
    }
}
