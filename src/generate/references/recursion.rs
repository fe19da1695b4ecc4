//! Recursion with references in every frame, down to some hundreds of frames, and a collection at the
//! bottom, which has to find all of them.
//!
//! Functions that count down are few frames deep and do much in each. These do little:
//!
//! ```text
//! deep(one, other, number) =
//!     number &= mask
//!     if number = 0 { collect; statements; an object; number }
//!     else { objects; deep(other, an object, number - 1); consume all; an object; its number and more }
//! ```
//!
//! Where there are many frames, objects are handed down and not made or read from tables: with a small
//! activations table, whatever reads one may collect, and that goes through all frames. In some there is no end
//! but that of the stack ([`ENDLESS`]).

use wasm_encoder::{BlockType, Instruction};

use super::program::{Program, Signature};
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::calls::ENDLESS;
use crate::generate::sketch::{Body, Origin};
use crate::generate::source::Source;

const E: ValType = ValType::ExternRef;
const I: ValType = ValType::I32;

/// How many of 100 programs have such a function.
const PERCENT: u32 = 7;

/// How many of 100 of those have no end.
const ENDLESS_PERCENT: u32 = 10;

/// The type of such functions, and of no other.
const DEEP: Signature = (&[E, E, I], &[E, I]);

/// The parameter that counts down.
const NUMBER: u32 = 2;

/// The number of frames at most is a power of 2, from this one to that.
const FRAMES: (u32, u32) = (2, 8);

/// The largest of them with which every frame may do more than hold objects.
const FEW_FRAMES: u32 = 4;

/// How a function calls itself, or the other of two.
struct Recursion {
    /// The most frames, as the logarithm to base 2; `None` if there is no end.
    log2_frames: Option<u32>,
    /// The table to call through.
    table: Option<u32>,
    /// The index of the function to call, and its slot.
    next: (u32, u32),
}

impl Program {
    /// Adds functions of such a recursion, to some programs.
    pub(super) fn recursion(&mut self, source: &mut Source<'_>) {
        if !source.percent(PERCENT) {
            return;
        }
        let has_end = !source.percent(ENDLESS_PERCENT);
        let log2_frames = has_end.then(|| source.range(FRAMES.0, FRAMES.1));
        let through_table = source.percent(40);
        let table = through_table.then(|| {
            self.sketch
                .table(Origin::Defined, ValType::FuncRef, 2, Some(2))
        });
        let count = 1 + u32::from(source.percent(30));
        let first = self.sketch.function_count();
        let ty = self.sketch.ty(DEEP.0, DEEP.1);
        let mut functions = Vec::new();
        for at in 0..count {
            let next = (at + 1) % count;
            let recursion = Recursion {
                log2_frames,
                table,
                next: (first + next, next),
            };
            let body = self.deep(&recursion, source);
            self.sketch.body(body);
            let function = self.sketch.function(ty);
            if !has_end {
                self.sketch.export(&format!("{ENDLESS}{at}"), function);
            } else if source.percent(60) {
                self.sketch.export(&format!("run{function}"), function);
            }
            functions.push(function);
        }
        if let Some(table) = table {
            self.sketch.active_elements(table, 0, &functions);
        }
    }

    fn deep(&mut self, recursion: &Recursion, source: &mut Source<'_>) -> Body {
        let mut writer = Writer::new(self, DEEP, true);
        writer.deep(recursion, source);
        writer.finish().0
    }
}

impl Writer<'_> {
    fn deep(&mut self, recursion: &Recursion, source: &mut Source<'_>) {
        self.numbers.retain(|local| *local != NUMBER);
        let returned = (self.body.local(E), self.body.local(I));
        let results = BlockType::FunctionType(self.program.sketch.ty(&[], DEEP.1));
        self.body.push(Instruction::LocalGet(NUMBER));
        match recursion.log2_frames {
            Some(log2) => self.body.extend(&[
                Instruction::I32Const((1 << log2) - 1),
                Instruction::I32And,
                Instruction::LocalTee(NUMBER),
            ]),
            // From 1 to 2^30, and never 0.
            None => self.body.extend(&[
                Instruction::I32Const(0x3fff_ffff),
                Instruction::I32And,
                Instruction::I32Const(1),
                Instruction::I32Add,
                Instruction::LocalTee(NUMBER),
            ]),
        };
        self.body
            .extend(&[Instruction::I32Eqz, Instruction::If(results)]);
        self.collect();
        self.statements(0, 1, source);
        self.object(1, source);
        self.body.push(Instruction::LocalGet(NUMBER));
        self.body.push(Instruction::Else);
        let few = recursion.log2_frames.is_some_and(|log2| log2 <= FEW_FRAMES);
        let held = source.range(0, 3);
        for _ in 0..held {
            self.held(few, source);
        }
        self.call_deeper(recursion, few, source);
        self.body.push(Instruction::LocalSet(returned.1));
        self.body.push(Instruction::LocalSet(returned.0));
        if few && source.percent(30) {
            self.collect();
        }
        for _ in 0..held {
            self.give_up(few, source);
        }
        let object = *source.pick(&[0, 1, returned.0, returned.0]);
        self.body.extend(&[
            Instruction::LocalGet(object),
            Instruction::LocalGet(returned.1),
            Instruction::LocalGet(NUMBER),
            Instruction::I32Add,
            Instruction::End,
        ]);
    }

    /// Writes an object that is held through the call.
    fn held(&mut self, few: bool, source: &mut Source<'_>) {
        if few {
            return self.object(0, source);
        }
        let parameter = source.below(2);
        self.body.push(Instruction::LocalGet(parameter));
    }

    /// Puts an object somewhere.
    fn give_up(&mut self, few: bool, source: &mut Source<'_>) {
        if few {
            return self.consume_object(source);
        }
        if source.percent(50) {
            let local = *source.pick(&self.objects);
            self.body.push(Instruction::LocalSet(local));
        } else {
            self.body.push(Instruction::Drop);
        }
    }

    fn call_deeper(&mut self, recursion: &Recursion, few: bool, source: &mut Source<'_>) {
        self.body.push(Instruction::LocalGet(1));
        self.held(few, source);
        self.body.push(Instruction::LocalGet(NUMBER));
        if recursion.log2_frames.is_some() {
            self.body
                .extend(&[Instruction::I32Const(1), Instruction::I32Sub]);
        }
        let (function, slot) = recursion.next;
        match recursion.table {
            Some(table_index) => {
                let type_index = self.program.sketch.ty(DEEP.0, DEEP.1);
                self.body.push(Instruction::I32Const(slot as i32));
                self.body.push(Instruction::CallIndirect {
                    type_index,
                    table_index,
                });
            }
            None => {
                self.body.push(Instruction::Call(function));
            }
        }
    }
}
