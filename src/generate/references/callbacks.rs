//! Functions that the host calls, for host functions that wasm has called: wasm is on the stack more than
//! once then, with frames of the host in between, and a collection has to find what each part of it holds.
//!
//! What such a function takes and gives passes through the host, from wasm to wasm, mostly several references at
//! a time. A collection may be due when the host hands them over, before any frame has them.

use wasm_encoder::Instruction;

use super::program::{NOTHING, Program, Signature};
use super::statements::Writer;
use crate::case::host::MOST_NESTED;
use crate::case::module::ValType;
use crate::generate::sketch::Sketch;
use crate::generate::source::Source;

/// How many of 100 programs have such functions.
const PERCENT: u32 = 20;

/// How many of 100 such functions have the host call them once more.
const AGAIN_PERCENT: u32 = 25;

/// How many of 100 such calls pass new objects only.
const NEW_PERCENT: u32 = 35;

const E: ValType = ValType::ExternRef;

/// Types of functions that the host calls, of which a program has one. Other functions of a program have some of them
/// too, so that the host may call what stands in tables. The last but one does not fit into registers, on either side.
const SIGNATURES: [Signature; 16] = [
    NOTHING,
    NOTHING,
    (&[E], &[]),
    (&[E], &[E]),
    (&[E, E], &[E]),
    (&[E, E], &[E, E]),
    (&[E, E], &[E, E]),
    (&[E, E, E], &[E]),
    (&[E, E, E], &[E, E]),
    (&[E, E, E], &[E, E, E]),
    (&[E, ValType::I32, E], &[E, ValType::I32, E]),
    (&[ValType::I64, E, E], &[E, ValType::I64]),
    (&[E, ValType::F64, E], &[ValType::F64, E, E]),
    (&[ValType::FuncRef, E, E], &[E, ValType::FuncRef]),
    (
        &[E, E, ValType::I32, E, E, E, ValType::I32, E, E],
        &[E, E, E, ValType::I32, E, E, E, E],
    ),
    (&[E, ValType::V128, E], &[E, ValType::V128]),
];

/// `parallax.call`, as a program imports it.
#[derive(Clone, Copy)]
pub(super) struct CallBack {
    function: u32,
    /// The type of functions that it calls.
    signature: Signature,
}

impl CallBack {
    /// Imports it, if the program is to have functions that the host calls.
    pub(super) fn import(sketch: &mut Sketch, source: &mut Source<'_>) -> Option<CallBack> {
        if !source.percent(PERCENT) {
            return None;
        }
        let signature = *source.pick(&SIGNATURES);
        let params = [&[ValType::FuncRef][..], signature.0].concat();
        let ty = sketch.ty(&params, signature.1);
        Some(CallBack {
            function: sketch.import_function("parallax", "call", ty),
            signature,
        })
    }
}

impl Program {
    /// Adds functions that the host may call, if the program has any.
    pub(super) fn callbacks(&mut self, source: &mut Source<'_>) {
        let Some(call_back) = self.call_back else {
            return;
        };
        self.callback(call_back, source);
        if source.percent(40) {
            self.callback(call_back, source);
        }
    }

    fn callback(&mut self, call_back: CallBack, source: &mut Source<'_>) {
        let signature = call_back.signature;
        let itself = self.sketch.function_count();
        let mut writer = Writer::new(self, signature, true);
        writer.statements(1, 2, source);
        let again = source.percent(AGAIN_PERCENT);
        if again {
            writer.body.push(Instruction::RefFunc(itself));
            writer.have_called(call_back, source);
            writer.statements(0, 1, source);
        }
        writer.end(source);
        let (body, work) = writer.finish();
        let work = work * if again { MOST_NESTED + 1 } else { 1 };
        self.add(signature, body, work, true, source);
        self.callbacks.extend(self.callees.last());
    }
}

impl Writer<'_> {
    /// Has the host call a function that is there for that, or now and then whatever a local, a global or a table
    /// holds.
    pub(super) fn call_back(&mut self, source: &mut Source<'_>) {
        let callback = *source.pick(&self.program.callbacks);
        let Some(call_back) = self.program.call_back else {
            return self.collect();
        };
        if !self.affords(callback.work) {
            return self.collect();
        }
        self.spend(callback.work);
        match source.below(10) {
            0 => {
                self.body.push(Instruction::LocalGet(self.function_local));
                self.body.push(Instruction::RefFunc(callback.function));
                self.body.push(Instruction::LocalSet(self.function_local));
            }
            1 => self.function(source),
            _ => {
                self.body.push(Instruction::RefFunc(callback.function));
            }
        }
        self.have_called(call_back, source);
    }

    /// Has the host call a function that is there for that, by a tail call, if that returns what this one
    /// does. Says whether there is one.
    pub(super) fn tail_call_back(&mut self, source: &mut Source<'_>) -> bool {
        let returns = self.returns;
        let fits = |call_back: &CallBack| call_back.signature.1 == returns;
        let call_back = self.program.call_back.filter(fits);
        let (Some(call_back), [_, ..]) = (call_back, &self.program.callbacks[..]) else {
            return false;
        };
        let callback = *source.pick(&self.program.callbacks);
        if !self.affords(callback.work) || source.percent(50) {
            return false;
        }
        self.spend(callback.work);
        self.body.push(Instruction::RefFunc(callback.function));
        self.arguments_of_callback(call_back, source);
        self.body.push(Instruction::ReturnCall(call_back.function));
        true
    }

    /// Has the host call the function on top of the operand stack, and takes what it returns.
    fn have_called(&mut self, call_back: CallBack, source: &mut Source<'_>) {
        self.arguments_of_callback(call_back, source);
        self.body.push(Instruction::Call(call_back.function));
        self.consume(call_back.signature.1, source);
    }

    /// Writes what is passed on to the function that the host is to call.
    fn arguments_of_callback(&mut self, call_back: CallBack, source: &mut Source<'_>) {
        self.spend(2);
        if source.percent(NEW_PERCENT) {
            self.new_arguments(call_back.signature.0, source);
        } else {
            self.arguments(call_back.signature.0, source);
        }
    }

    /// Writes arguments of which all objects are new, so that nothing holds them but the call.
    fn new_arguments(&mut self, params: &[ValType], source: &mut Source<'_>) {
        for param in params {
            match param {
                ValType::ExternRef => {
                    self.spend(2);
                    self.body.push(Instruction::Call(self.program.make));
                }
                ty => self.value(*ty, source),
            }
        }
    }
}
