//! Recursion: frames of all sizes, and many of them at once.
//!
//! All other calls are a few deep, so that the stack is next to empty, and what a function keeps in it
//! while it calls another one is hardly ever more than what fits into registers. Here a function calls
//! itself, directly, through a table or by way of another one. In every frame values live through the
//! call, from none to about a hundred, each another one than all others and than those of the frames
//! around; behind the call all of them are mixed into what is returned and stored.
//!
//! ```text
//! recursive(number, ...) =
//!     number &= mask
//!     if number = 0 { statements; results }
//!     else { values; results = recursive(number - 1, ...); store a mixture; results and it }
//! ```
//!
//! Some have no end: their number never is 0. The stack is exhausted then, in every engine at another depth,
//! after which there is nothing to compare, so they are called last ([`ENDLESS`]).
//!
//! Types are none that other functions of programs have. So what calls through tables never calls these.

use wasm_encoder::{BlockType, Instruction};

use super::program::Program;
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::calls::ENDLESS;
use crate::generate::expr::{Scope, types};
use crate::generate::sketch::{Body, Origin, store_of};
use crate::generate::source::Source;

/// How many of 100 programs have a recursion.
const PERCENT: u32 = 12;

/// How many of 100 of those have no end.
const ENDLESS_PERCENT: u32 = 37;

/// How many of 100 of those have [`MANY`] results: a frame that is large for what is done in it, so that the
/// stack is soon exhausted.
const ENDLESS_MANY_PERCENT: u32 = 70;

/// How many of 100 of the others have as many.
const MANY_PERCENT: u32 = 8;

/// One of so many recursions has [`WIDE`] results.
const WIDE_ONE_IN: u32 = 120;

/// So many results that they are left as they are returned, but for the last.
const MANY: usize = 40;

/// As many results as a function may have. Where they are vectors, a frame is larger than 32 KiB, from
/// where on Cranelift has the entry of a function look twice.
const WIDE: usize = 1_000;

/// A type: parameters and results.
type Signature = (&'static [ValType], &'static [ValType]);

/// Types of recursive functions, the number first; those with vectors last.
const SIGNATURES: [Signature; 5] = [
    (&[ValType::I32, ValType::I32], &[ValType::I32]),
    (
        &[ValType::I32, ValType::I64, ValType::F64],
        &[ValType::I64, ValType::F64],
    ),
    // Neither its arguments nor its results fit into registers.
    (
        &[
            ValType::I32,
            ValType::I64,
            ValType::F32,
            ValType::I64,
            ValType::I32,
            ValType::I64,
            ValType::I64,
            ValType::F64,
            ValType::I64,
        ],
        &[
            ValType::I64,
            ValType::F64,
            ValType::I32,
            ValType::I64,
            ValType::F32,
            ValType::I64,
            ValType::I64,
            ValType::I32,
            ValType::I64,
            ValType::I64,
        ],
    ),
    (
        &[ValType::I32, ValType::V128],
        &[ValType::V128, ValType::I64],
    ),
    (
        &[ValType::I32, ValType::I64, ValType::V128, ValType::F64],
        &[ValType::V128, ValType::F64, ValType::V128],
    ),
];

/// Types of many results, without vectors and with.
const MANY_SIGNATURES: [Signature; 2] = [
    (&[ValType::I32, ValType::I64], &[ValType::I64; MANY]),
    (&[ValType::I32, ValType::I64], &[ValType::V128; MANY]),
];

/// Types of as many results as there may be, without vectors and with.
const WIDE_SIGNATURES: [Signature; 2] = [
    (&[ValType::I32, ValType::I64], &[ValType::I64; WIDE]),
    (&[ValType::I32, ValType::I64], &[ValType::V128; WIDE]),
];

/// The most bytes of stack that all frames of a recursion with an end are to take, by a guess at what one
/// takes: a quarter of what there is, since some engine may take twice as much.
const MOST_STACK: u32 = 128 << 10;

/// The most values that may live in all frames together, and so how much there is to do.
const MOST_VALUES: u32 = 4_096;

/// The number of frames of a recursion with an end, at most, is a power of 2, from this one to that.
const FRAMES: (u32, u32) = (2, 9);

/// How the functions of a recursion are to be.
struct Recursion {
    params: &'static [ValType],
    results: &'static [ValType],
    /// The most frames, as the logarithm to base 2; `None` if there is no end.
    log2_frames: Option<u32>,
    /// The table that they call through.
    table: Option<u32>,
    /// Whether they call a builtin on the way down.
    calls_builtin: bool,
}

impl Program {
    /// Adds a recursion, to some programs.
    pub(super) fn recursion(&mut self, source: &mut Source<'_>) {
        if !source.percent(PERCENT) {
            return;
        }
        let has_end = !source.percent(ENDLESS_PERCENT);
        let (params, results) = self.type_of_recursion(has_end, source);
        // Without an end, frames that are large by themselves suffice.
        let few = !has_end && results.len() >= MANY;
        let values = self.values_of_frame(few, source);
        let recursion = Recursion {
            params,
            results,
            log2_frames: has_end.then(|| {
                let most = most_frames(&values, results);
                source.range(FRAMES.0, most)
            }),
            table: source.percent(40).then(|| {
                self.sketch
                    .table(Origin::Defined, ValType::FuncRef, 2, Some(2))
            }),
            calls_builtin: source.percent(25),
        };
        let count = 1 + u32::from(source.percent(20));
        let first = self.sketch.function_count();
        let ty = self.sketch.ty(params, results);
        let mut functions = Vec::new();
        for at in 0..count {
            let next = (at + 1) % count;
            let body = self.recursive(&recursion, &values, (first + next, next), source);
            self.sketch.body(body);
            let function = self.sketch.function(ty);
            if !has_end {
                self.sketch.export(&format!("{ENDLESS}{at}"), function);
            } else if source.percent(50) {
                self.sketch.export(&format!("run{function}"), function);
            }
            functions.push(function);
        }
        if let Some(table) = recursion.table {
            self.sketch.active_elements(table, 0, &functions);
        }
    }

    fn type_of_recursion(&self, has_end: bool, source: &mut Source<'_>) -> Signature {
        let vectors = usize::from(self.vectors);
        let many = match has_end {
            true => MANY_PERCENT,
            false => ENDLESS_MANY_PERCENT,
        };
        if source.below(WIDE_ONE_IN) == 0 {
            WIDE_SIGNATURES[vectors]
        } else if source.percent(many) {
            MANY_SIGNATURES[vectors]
        } else if self.vectors {
            *source.pick(&SIGNATURES)
        } else {
            *source.pick(&SIGNATURES[..3])
        }
    }

    /// Types of the values that live through the call, in order.
    fn values_of_frame(&self, few: bool, source: &mut Source<'_>) -> Vec<ValType> {
        let count = match source.below(20) {
            _ if few => source.below(3),
            0..=8 => source.below(3),
            9..=15 => source.range(3, 8),
            16..=18 => source.range(9, 20),
            _ => source.range(21, 80),
        };
        let mut rng = source.rng();
        let types = types(self.vectors);
        let most = *rng.pick(types);
        let value = |_| match rng.percent(60) {
            true => most,
            false => *rng.pick(types),
        };
        (0..count).map(value).collect()
    }

    /// Writes a function of a recursion, which calls another of it, `next`, by its index or by its slot.
    fn recursive(
        &mut self,
        recursion: &Recursion,
        values: &[ValType],
        next: (u32, u32),
        source: &mut Source<'_>,
    ) -> Body {
        let mut body = Body::new(recursion.params.len());
        let mut scope = Scope::new();
        for (local, ty) in recursion.params.iter().enumerate().skip(1) {
            scope.variable(*ty, local as u32);
        }
        for ty in types(self.vectors) {
            let local = body.local(*ty);
            scope.variable(*ty, local);
        }
        let pointer = body.local(ValType::I32);
        scope.memory = Some((pointer, 0x100));
        scope.memory64 = self.memory64;
        scope.vectors = self.vectors;
        scope.relaxed = self.beyond.relaxed_simd;
        let block = self.sketch.ty(&[], recursion.results);
        let mut writer = Writer::new(self, scope, body, pointer, false);
        writer.depth = 1;
        writer.count_on(recursion);
        writer
            .body
            .push(Instruction::If(BlockType::FunctionType(block)));
        writer.statements(0, 1, source);
        writer.bottom(recursion.results, source);
        writer.body.push(Instruction::Else);
        let mixed = writer.body.local(ValType::I64);
        writer.mix_arguments(mixed, recursion);
        let locals = writer.make_values(mixed, values);
        writer.call_next(mixed, recursion, next);
        writer.use_all(mixed, values, &locals, recursion);
        writer.body.push(Instruction::End);
        writer.finish().0
    }
}

/// Whether functions of a recursion may have this type, which others have not.
#[cfg(test)]
pub(super) fn is_type_of_one(params: &[ValType], results: &[ValType]) -> bool {
    let many = MANY_SIGNATURES.iter().chain(&WIDE_SIGNATURES);
    let mut types = SIGNATURES.iter().chain(many);
    types.any(|ty| *ty == (params, results))
}

/// The logarithm of the most frames that a recursion may have.
fn most_frames(values: &[ValType], results: &[ValType]) -> u32 {
    let bytes = |types: &[ValType]| -> u32 {
        let sizes = types.iter().map(|ty| match ty {
            ValType::V128 => 16,
            _ => 8,
        });
        sizes.sum()
    };
    // Results lie in the frame of who called, and live there.
    let frame = 96 + bytes(values) + 2 * bytes(results);
    let frames = (MOST_STACK / frame).min(MOST_VALUES / (values.len() as u32 + 6));
    frames.max(1).ilog2().clamp(FRAMES.0, FRAMES.1)
}

impl Writer<'_> {
    /// Writes the number's next value, and whether it is the last.
    fn count_on(&mut self, recursion: &Recursion) {
        self.body.push(Instruction::LocalGet(0));
        match recursion.log2_frames {
            Some(log2) => self.body.extend(&[
                Instruction::I32Const((1 << log2) - 1),
                Instruction::I32And,
                Instruction::LocalTee(0),
            ]),
            // From 1 to 2^30, and never 0.
            None => self.body.extend(&[
                Instruction::I32Const(0x3fff_ffff),
                Instruction::I32And,
                Instruction::I32Const(1),
                Instruction::I32Add,
                Instruction::LocalTee(0),
            ]),
        };
        self.body.push(Instruction::I32Eqz);
    }

    /// Writes what is returned from the bottom.
    fn bottom(&mut self, results: &[ValType], source: &mut Source<'_>) {
        if results.len() < MANY {
            for result in results {
                self.value(*result, source);
            }
            return;
        }
        let ty = results[0];
        let variables: Vec<u32> = self.scope.of_type(ty).to_vec();
        for at in 0..results.len() {
            let variable = variables[at % variables.len()];
            self.body.push(Instruction::LocalGet(variable));
        }
    }

    /// Sets `mixed` to a number that differs from frame to frame.
    fn mix_arguments(&mut self, mixed: u32, recursion: &Recursion) {
        self.body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I64ExtendI32U,
            Instruction::I64Const(0x9e37),
            Instruction::I64Add,
        ]);
        for (local, ty) in recursion.params.iter().enumerate().skip(1) {
            self.body
                .extend(&[Instruction::I64Const(9), Instruction::I64Rotl]);
            self.bits(*ty, local as u32);
            self.body.push(Instruction::I64Xor);
        }
        if recursion.calls_builtin {
            self.body.push(Instruction::MemorySize(0));
            if !self.scope.memory64 {
                self.body.push(Instruction::I64ExtendI32U);
            }
            self.body.push(Instruction::I64Add);
        }
        self.body.push(Instruction::LocalSet(mixed));
    }

    /// Makes the values that live through the call, each as another one than the others and none that is
    /// made anew as easily as it is kept.
    fn make_values(&mut self, mixed: u32, values: &[ValType]) -> Vec<u32> {
        let mut locals = Vec::new();
        for (at, ty) in (0..).zip(values) {
            let local = self.body.local(*ty);
            self.body.extend(&[
                Instruction::LocalGet(mixed),
                // Odd, so that nothing is lost.
                Instruction::I64Const(2 * at + 3),
                Instruction::I64Mul,
                Instruction::LocalTee(mixed),
            ]);
            self.of_bits(*ty);
            self.body.push(Instruction::LocalSet(local));
            locals.push(local);
        }
        locals
    }

    fn call_next(&mut self, mixed: u32, recursion: &Recursion, (function, slot): (u32, u32)) {
        self.body.push(Instruction::LocalGet(0));
        if recursion.log2_frames.is_some() {
            self.body
                .extend(&[Instruction::I32Const(1), Instruction::I32Sub]);
        }
        for (at, ty) in (0..).zip(&recursion.params[1..]) {
            self.body.extend(&[
                Instruction::LocalGet(mixed),
                Instruction::I64Const(5 * at + 1),
                Instruction::I64Rotl,
            ]);
            self.of_bits(*ty);
        }
        match recursion.table {
            Some(table_index) => {
                let type_index = self.program.sketch.ty(recursion.params, recursion.results);
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

    /// Takes the results of the call, and leaves results into which every value is mixed, each in its place.
    fn use_all(&mut self, mixed: u32, values: &[ValType], locals: &[u32], recursion: &Recursion) {
        let results = recursion.results;
        // Of very many, the last alone is changed.
        let changed = match results.len() {
            MANY.. => &results[results.len() - 1..],
            _ => results,
        };
        let returned: Vec<u32> = changed.iter().map(|ty| self.body.local(*ty)).collect();
        for local in returned.iter().rev() {
            self.body.push(Instruction::LocalSet(*local));
        }
        self.body.push(Instruction::LocalGet(mixed));
        for (local, ty) in locals.iter().zip(values) {
            self.bits(*ty, *local);
            self.body.extend(&[
                Instruction::I64Sub,
                Instruction::I64Const(5),
                Instruction::I64Rotl,
            ]);
        }
        self.body.push(Instruction::LocalSet(mixed));
        // Where no two frames store to the same place.
        self.body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I32Const(0x3ff),
            Instruction::I32And,
            Instruction::I32Const(3),
            Instruction::I32Shl,
        ]);
        if self.scope.memory64 {
            self.body.push(Instruction::I64ExtendI32U);
        }
        self.body
            .extend(&[Instruction::LocalGet(mixed), store_of(ValType::I64, 0, 64)]);
        for (local, ty) in returned.iter().zip(changed) {
            self.body.push(Instruction::LocalGet(*local));
            self.body.push(Instruction::LocalGet(mixed));
            self.of_bits(*ty);
            self.body.push(super::program::sum(*ty));
        }
    }

    /// Writes the bits of a local as an i64.
    fn bits(&mut self, ty: ValType, local: u32) {
        self.body.push(Instruction::LocalGet(local));
        match ty {
            ValType::I32 => self.body.push(Instruction::I64ExtendI32U),
            ValType::F32 => self
                .body
                .extend(&[Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U]),
            ValType::F64 => self.body.push(Instruction::I64ReinterpretF64),
            ValType::V128 => self.body.extend(&[
                Instruction::I64x2ExtractLane(0),
                Instruction::LocalGet(local),
                Instruction::I64x2ExtractLane(1),
                Instruction::I64Add,
            ]),
            _ => &mut self.body,
        };
    }

    /// Makes a value of a type of an i64 that is on the stack.
    fn of_bits(&mut self, ty: ValType) {
        match ty {
            ValType::I32 => self.body.push(Instruction::I32WrapI64),
            ValType::F32 => self.body.push(Instruction::F32ConvertI64S),
            ValType::F64 => self.body.push(Instruction::F64ConvertI64S),
            ValType::V128 => self.body.push(Instruction::I64x2Splat),
            _ => &mut self.body,
        };
    }
}
