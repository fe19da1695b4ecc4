//! Loops that the host interrupts.
//!
//! A loop calls the host's `parallax.tick`, which asks for an interrupt at a call that a setting
//! says. The reference has no loop headers to check at and traps right away; compiled code traps
//! at the next loop header or function entry. Between a tick and the next loop header there is
//! therefore nothing that anybody could see: no store, no host call, and no way to return. All
//! loops end, so that code that never checks shows by returning. A function that calls itself in tail
//! position is a loop as well, without a header.
//!
//! Some loops tick in functions that the host calls, by `parallax.call`, which is called before the tick: the
//! interrupt has to get past the host to the loop. And some modules are instantiated twice. All instances look at
//! the same words, and the interrupt comes in either of them.

use wasm_encoder::{BlockType, ConstExpr, Instruction};

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::expr::{Scope, types};
use super::input::Header;
use super::sketch::{Body, Origin, Sketch, store};
use super::source::Source;
use super::{GenerateError, Generated, Generator, Linking};
use crate::case::Settings;
use crate::case::module::ValType;

/// The last tick at which an interrupt may be asked for.
const LAST_TICK: u32 = 20;

/// Iterations of the loops that tick.
const ITERATIONS: u32 = 24;

/// How many of 100 modules have the host call functions.
const CALLBACK_PERCENT: u32 = 40;

/// How many of 100 modules have no vectors, for engines that lack them.
const SCALAR_PERCENT: u32 = 25;

/// Makes a module from what is drawn from an input.
pub(super) fn module(
    header: &Header,
    source: &mut Source<'_>,
    settings: &mut Settings,
) -> Result<Generated, GenerateError> {
    settings.canonicalise_nans = true;
    settings.interrupt_at = u64::from(source.range(1, LAST_TICK));
    let in_second_called = source.percent(50);
    let (wasm, loops) = program(Beyond::of(header), source);
    let mut budget = 8;
    if Linking::of(header, Generator::Interrupts) == Linking::Twice {
        // Loops alone are called: whatever else ticks would return, and the interrupt come there.
        budget = 2 * loops as usize;
        if in_second_called {
            // By then all loops have been called of the other one.
            settings.interrupt_at += u64::from(loops * ITERATIONS);
        }
    }
    Ok(Generated {
        wasm,
        plan: CallPlan {
            budget,
            rounds: 2,
            collects: 0,
        },
    })
}

/// What the functions of a module share.
struct Module {
    sketch: Sketch,
    tick: u32,
    /// `parallax.call`, if the module imports it.
    call: Option<u32>,
    /// A global that counts iterations.
    progress: u32,
    /// The type of functions without parameters and results.
    plain: u32,
    /// Whether there are vectors.
    vectors: bool,
}

/// A module, and how many functions of it loop and tick. They are exported.
fn program(beyond: Beyond, source: &mut Source<'_>) -> (Vec<u8>, u32) {
    let mut sketch = Sketch::default();
    let plain = sketch.ty(&[], &[]);
    let tick = sketch.import_function("parallax", "tick", plain);
    let call = source.percent(CALLBACK_PERCENT).then(|| {
        let ty = sketch.ty(&[ValType::FuncRef], &[]);
        sketch.import_function("parallax", "call", ty)
    });
    let origin = if source.percent(30) {
        Origin::Imported
    } else {
        Origin::Defined
    };
    sketch.memory(origin, 1, Some(2));
    let imported = sketch.global(origin, ValType::I32, true, &ConstExpr::i32_const(0));
    let progress = match origin {
        Origin::Imported => imported,
        Origin::Defined => sketch.global(
            Origin::Defined,
            ValType::I32,
            true,
            &ConstExpr::i32_const(0),
        ),
    };
    let mut module = Module {
        sketch,
        tick,
        call,
        progress,
        plain,
        vectors: !source.percent(SCALAR_PERCENT),
    };

    // Functions that tick and do nothing else that shows, and the loops that call them.
    let ticking = module.ticking(source);
    let spinning = module.spinning(source);
    let table = module
        .sketch
        .table(Origin::Defined, ValType::FuncRef, 3, None);
    module
        .sketch
        .active_elements(table, 0, &[tick, ticking, tick]);
    let mut called_back = None;
    if let Some(call) = module.call {
        let how = module.how((ticking, spinning, table), source);
        let mut function = module.ticking_by(how, source);
        module.sketch.declare_elements(&[function]);
        if source.percent(30) {
            // The host calls what has the host call what ticks.
            function = module.ticking_by(Tick::CallBack(call, function), source);
            module.sketch.declare_elements(&[function]);
        }
        called_back = Some(Tick::CallBack(call, function));
    }
    let loops = source.range(1, 3);
    for at in 0..loops {
        let how = match called_back {
            // Where a call of what the host calls would tick, so does the loop that is called first: the
            // interrupt comes in a loop.
            Some(how) if at == 0 || source.percent(40) => how,
            _ => module.how((ticking, spinning, table), source),
        };
        let function = match beyond.tail_calls && source.percent(60) {
            true => module.calling_itself(how, source),
            false => module.looping(how, source),
        };
        module.sketch.export(&format!("loop{at}"), function);
    }
    (module.sketch.finish(), loops)
}

/// How a loop ticks.
#[derive(Clone, Copy)]
enum Tick {
    /// By calling this function.
    Call(u32),
    /// By calling this slot of a table.
    Indirect(u32, i32),
    /// By calling `parallax.tick` and then this function, which has a loop of its own.
    Before(u32),
    /// By calling this function, which is `parallax.call`, so that the host calls that one.
    CallBack(u32, u32),
}

impl Module {
    /// A scope of one local of each type.
    fn scope(&self, body: &mut Body) -> Scope {
        let mut scope = Scope::new();
        scope.vectors = self.vectors;
        for ty in types(self.vectors) {
            let local = body.local(*ty);
            scope.variable(*ty, local);
        }
        scope
    }

    /// Writes a computation nobody sees.
    fn compute(scope: &Scope, body: &mut Body, source: &mut Source<'_>) {
        let ty = *source.pick(scope.types());
        scope.expression(ty, 2, body, source);
        body.push(Instruction::LocalSet(*source.pick(scope.of_type(ty))));
    }

    /// A function that ticks, once or not at all, and returns.
    fn ticking(&mut self, source: &mut Source<'_>) -> u32 {
        let mut body = Body::new(0);
        let scope = self.scope(&mut body);
        Module::compute(&scope, &mut body, source);
        if source.percent(30) {
            scope.expression(ValType::I32, 1, &mut body, source);
            body.push(Instruction::If(BlockType::Empty));
            body.push(Instruction::Call(self.tick));
            body.push(Instruction::End);
        } else {
            body.push(Instruction::Call(self.tick));
        }
        Module::compute(&scope, &mut body, source);
        self.sketch.body(body);
        self.sketch.function(self.plain)
    }

    /// A function that ticks in some way, for the host to call. Where it does not loop itself, it returns.
    fn ticking_by(&mut self, how: Tick, source: &mut Source<'_>) -> u32 {
        let mut body = Body::new(0);
        let scope = self.scope(&mut body);
        Module::compute(&scope, &mut body, source);
        self.tick(how, &scope, &mut body, source);
        Module::compute(&scope, &mut body, source);
        self.sketch.body(body);
        self.sketch.function(self.plain)
    }

    /// Some way to tick by the functions and the table that there are for that.
    fn how(&self, (ticking, spinning, table): (u32, u32, u32), source: &mut Source<'_>) -> Tick {
        match source.below(4) {
            0 => Tick::Call(self.tick),
            1 => Tick::Call(ticking),
            2 => Tick::Indirect(table, source.below(3) as i32),
            _ => Tick::Before(spinning),
        }
    }

    /// A function whose loop does not tick.
    fn spinning(&mut self, source: &mut Source<'_>) -> u32 {
        let mut body = Body::new(0);
        let scope = self.scope(&mut body);
        let left = body.local(ValType::I32);
        body.push(Instruction::I32Const(source.range(1, 5) as i32));
        body.push(Instruction::LocalSet(left));
        body.push(Instruction::Loop(BlockType::Empty));
        // After the header this shows, and must not be reached when interrupted.
        self.show(&scope, &mut body, source);
        body.extend(&[
            Instruction::LocalGet(left),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalTee(left),
            Instruction::BrIf(0),
            Instruction::End,
        ]);
        self.sketch.body(body);
        self.sketch.function(self.plain)
    }

    /// Writes something that shows: a global counts, and a value is stored.
    fn show(&self, scope: &Scope, body: &mut Body, source: &mut Source<'_>) {
        body.extend(&[
            Instruction::GlobalGet(self.progress),
            Instruction::I32Const(1),
            Instruction::I32Add,
            Instruction::GlobalSet(self.progress),
        ]);
        if source.percent(50) {
            let ty = *source.pick(scope.types());
            body.push(Instruction::I32Const(source.below(0x800) as i32));
            scope.expression(ty, 1, body, source);
            body.push(store(ty, source.below(64)));
        }
    }

    /// Ticks.
    fn tick(&self, how: Tick, scope: &Scope, body: &mut Body, source: &mut Source<'_>) {
        match how {
            Tick::Call(function) => {
                body.push(Instruction::Call(function));
            }
            Tick::Indirect(table, slot) => {
                body.push(Instruction::I32Const(slot));
                body.push(Instruction::CallIndirect {
                    type_index: self.plain,
                    table_index: table,
                });
            }
            Tick::Before(function) => {
                body.push(Instruction::Call(self.tick));
                Module::compute(scope, body, source);
                body.push(Instruction::Call(function));
            }
            Tick::CallBack(call, function) => {
                body.push(Instruction::RefFunc(function));
                body.push(Instruction::Call(call));
            }
        }
    }

    /// A function that loops as [`Module::looping`] does, by calling one that calls itself in tail
    /// position.
    fn calling_itself(&mut self, tick: Tick, source: &mut Source<'_>) -> u32 {
        let function = self.sketch.function_count();
        let mut body = Body::new(1);
        let scope = self.scope(&mut body);
        body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I32Const(ITERATIONS as i32),
            Instruction::I32GeU,
            Instruction::If(BlockType::Empty),
            Instruction::LocalGet(0),
            Instruction::Return,
            Instruction::End,
        ]);
        self.show(&scope, &mut body, source);
        self.tick(tick, &scope, &mut body, source);
        for _ in 0..source.below(3) {
            Module::compute(&scope, &mut body, source);
        }
        body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I32Const(1),
            Instruction::I32Add,
        ]);
        if source.percent(50) {
            body.push(Instruction::ReturnCall(function));
        } else {
            let ty = self.sketch.ty(&[ValType::I32], &[ValType::I32]);
            let table = self
                .sketch
                .table(Origin::Defined, ValType::FuncRef, 1, None);
            self.sketch.active_elements(table, 0, &[function]);
            body.push(Instruction::I32Const(0));
            body.push(Instruction::ReturnCallIndirect {
                type_index: ty,
                table_index: table,
            });
        }
        self.sketch.add(&[ValType::I32], &[ValType::I32], body);

        // Whatever it is called with, it ticks often enough.
        let mut body = Body::new(1);
        body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I32Const((ITERATIONS - LAST_TICK - 1) as i32),
            Instruction::I32And,
            Instruction::Call(function),
        ]);
        self.sketch.add(&[ValType::I32], &[ValType::I32], body)
    }

    /// A function that loops, shows how far it came, and ticks.
    fn looping(&mut self, tick: Tick, source: &mut Source<'_>) -> u32 {
        let mut body = Body::new(1);
        let mut scope = self.scope(&mut body);
        scope.variable(ValType::I32, 0);
        let left = body.local(ValType::I32);
        let outer = source.percent(40);
        let times = if outer { ITERATIONS / 4 } else { ITERATIONS };
        let outer_left = body.local(ValType::I32);
        if outer {
            body.extend(&[
                Instruction::I32Const(4),
                Instruction::LocalSet(outer_left),
                Instruction::Loop(BlockType::Empty),
            ]);
            if source.percent(50) {
                self.show(&scope, &mut body, source);
            }
        }
        body.extend(&[
            Instruction::I32Const(times as i32),
            Instruction::LocalSet(left),
            Instruction::Block(BlockType::Empty),
            Instruction::Loop(BlockType::Empty),
            // The only way out is here, behind the header.
            Instruction::LocalGet(left),
            Instruction::I32Eqz,
            Instruction::BrIf(1),
        ]);
        self.show(&scope, &mut body, source);
        body.extend(&[
            Instruction::LocalGet(left),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalSet(left),
        ]);
        self.tick(tick, &scope, &mut body, source);
        for _ in 0..source.below(3) {
            Module::compute(&scope, &mut body, source);
        }
        body.extend(&[Instruction::Br(0), Instruction::End, Instruction::End]);
        if outer {
            body.extend(&[
                Instruction::LocalGet(outer_left),
                Instruction::I32Const(1),
                Instruction::I32Sub,
                Instruction::LocalTee(outer_left),
                Instruction::BrIf(0),
                Instruction::End,
            ]);
        }
        body.push(Instruction::LocalGet(left));
        self.sketch.add(&[ValType::I32], &[ValType::I32], body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_valid() {
        for seed in 0..1_000_u64 {
            let beyond = Beyond::all_if(seed.is_multiple_of(4));
            let (wasm, _) = program(beyond, &mut Source::new(&[], seed));
            if let Err(error) = wasmparser::validate(&wasm) {
                panic!("seed {seed}: {error}");
            }
        }
    }
}
