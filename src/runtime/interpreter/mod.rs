//! The way into CLIF that is interpreted, out to builtins, and out by a trap.
//!
//! What is interpreted is the function as translation left it, before Cranelift has done anything to it.
//! `cranelift-interpreter` computes instructions (`stepper`); what loops consist of, and what that
//! crate gets wrong, is computed here (see [`crate::codegen::clif`]). Frames, calls and memory are ours
//! (`run`, `reach`), since they must be those of the runtime: interpreted code finds the same
//! vmctxs, memories, tables and objects at the same addresses as machine code does, and a collection
//! walks its frames.
//!
//! # Invariants
//! - `Interpreter::call` is the only way into interpreted code. Builtins run only while it does, on its
//!   thread, and reach the store through the pointer it was given and nothing else.
//! - While interpreted code runs, no reference to the store is alive but in a builtin, or while
//!   `reach` asks it about an address.
//! - A program is at the address that it was loaded at for as long as code of the case may run.

mod burst;
mod callback;
mod reach;
mod run;
mod stepper;
#[cfg(test)]
mod tests;
mod unchanging;

use std::cell::Cell;
use std::ops::Range;

use cranelift_codegen::ir::{self, AbiParam, ArgumentExtension, types};
use cranelift_interpreter::frame::Frame;

use self::reach::{OwnedByStore, Reach};
use self::run::{Builtins, Caller, Memory, Returned, Run};
use self::unchanging::Unchanging;
use super::builtins;
use super::callbacks::CallBack;
use super::entry::{self, Activation, HOST_CALLER, Stopped, Target, WASM_STACK_BYTES};
use super::store::Store;
use crate::case::Settings;
use crate::codegen::CompiledModule;
use crate::codegen::clif::{ALIGNMENT, Lowerer, Program, Register};
use crate::panics;
use crate::translate::builtins::Builtin;
use crate::translate::layout::head;

/// Operations of a case that the crate's interpreter does as far as it can, before those of our own
/// take over.
const STEPPED: u32 = 1000;

/// Values that are as many as few functions have.
const MANY_VALUES: usize = 1_000;

/// Bytes of stack below the limit, for what has no check of its own.
const STACK_SLACK: u64 = 64 << 10;

/// No program.
const NONE: u32 = u32::MAX;

/// Interprets CLIF.
pub struct Interpreter {
    programs: Vec<Program>,
    /// Where code lies.
    code: Range<u64>,
    /// The program at every address in `code` that is a multiple of [`ALIGNMENT`].
    at: Vec<u32>,
    stack: Vec<u128>,
    /// One byte for each builtin, whose address is that of the builtin.
    gates: Box<[u8; Builtin::ALL.len()]>,
    registers: Vec<Register>,
    callers: Vec<Caller>,
    /// A function with as many values as any.
    values: ir::Function,
    to_step: u32,
    stepped: u32,
    /// Branches and calls that one call may take.
    branches: u64,
}

/// All that code can call.
#[derive(Clone, Copy)]
pub struct Code<'a> {
    programs: &'a [Program],
    start: u64,
    at: &'a [u32],
    gates: u64,
}

impl Code<'_> {
    /// The program at an address, by number.
    fn program_at(&self, address: u64) -> Option<u32> {
        let offset = address.wrapping_sub(self.start);
        let index = usize::try_from(offset / u64::from(ALIGNMENT)).ok()?;
        let number = *self.at.get(index)?;
        let found = number != NONE && offset.is_multiple_of(u64::from(ALIGNMENT));
        found.then_some(number)
    }

    /// The builtin at an address.
    fn builtin_at(&self, address: u64) -> Option<Builtin> {
        let number = address.checked_sub(self.gates)?;
        Builtin::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// An argument in the register that it is passed in. What a signature leaves open of it is set, so that
/// whoever relies on it notices.
fn argument(value: u64, parameter: &AbiParam) -> u64 {
    match (parameter.value_type, parameter.extension) {
        (types::I32, ArgumentExtension::Sext) => value as i32 as u64,
        (types::I32, ArgumentExtension::None) => value | u64::MAX << 32,
        _ => value,
    }
}

impl Default for Interpreter {
    fn default() -> Interpreter {
        Interpreter::new()
    }
}

impl Interpreter {
    /// An interpreter.
    pub fn new() -> Interpreter {
        Interpreter {
            programs: Vec::new(),
            code: 0..0,
            at: Vec::new(),
            stack: vec![0; (STACK_SLACK + WASM_STACK_BYTES) as usize / size_of::<u128>()],
            gates: Box::new([0; Builtin::ALL.len()]),
            registers: Vec::new(),
            callers: Vec::new(),
            values: ir::Function::new(),
            to_step: STEPPED,
            stepped: STEPPED,
            branches: Settings::default().branches(),
        }
    }

    /// Has the crate's interpreter do so many operations of every case, as far as it can.
    pub fn step_first(&mut self, operations: u32) {
        self.stepped = operations;
        self.to_step = operations;
    }

    /// The addresses of the builtins, by number.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        let gates = self.gates.as_ptr().expose_provenance() as u64;
        std::array::from_fn(|builtin| gates + builtin as u64)
    }

    /// Says that the code in an arena from an address on is gone: a new case begins.
    pub fn unload_from(&mut self, arena: Range<u64>, address: u64, lowerer: &mut Lowerer) {
        let kept = self
            .programs
            .partition_point(|program| program.address < address);
        lowerer.reuse(self.programs.drain(kept..));
        if kept == 0 {
            lowerer.start_over();
        }
        self.code = arena;
        // Each call makes room for as many values as this has.
        if self.values.dfg.num_values() > MANY_VALUES {
            let kept = self.programs.iter();
            let most = kept.map(|program| program.func.dfg.num_values()).max();
            self.values = ir::Function::new();
            grow(&mut self.values, most.unwrap_or(0));
        }
        let last = self.programs.last();
        self.at
            .truncate(last.map_or(0, |last| self.index(last.address) + 1));
        self.to_step = self.stepped;
    }

    /// Says where the module is that was last lowered.
    pub fn load(&mut self, lowerer: &mut Lowerer, module: &CompiledModule, base: u64) {
        let first = self.programs.len() as u32;
        for (mut program, function) in lowerer.take().zip(&module.functions) {
            program.address = base + u64::from(function.start);
            program.module = first;
            let index = self.index(program.address);
            self.at.resize(index + 1, NONE);
            self.at[index] = self.programs.len() as u32;
            let values = program.func.dfg.num_values();
            if self.values.dfg.num_values() < values {
                grow(&mut self.values, values);
            }
            self.programs.push(program);
        }
    }

    /// Where an address in the arena stands among those that a program can have.
    fn index(&self, address: u64) -> usize {
        ((address - self.code.start) / u64::from(ALIGNMENT)) as usize
    }

    /// Runs a function. Arguments are at `values`, and results when it has returned.
    ///
    /// # Errors
    /// Why it stopped.
    ///
    /// # Safety
    /// As for [`super::machine::Machine::call`].
    pub unsafe fn call(
        &mut self,
        store: *mut Store<'_>,
        target: Target,
        values: u64,
    ) -> Result<(), Stopped> {
        // SAFETY: `store` is valid; the clone keeps the words alive, and no reference stays.
        let (interrupts, branches) =
            unsafe { ((*store).interrupts().clone(), (*store).branches()) };
        self.branches = branches;
        let stack = self.stack();
        let Some(trampoline) = self.code().program_at(target.trampoline) else {
            return Err(Stopped::Panicked);
        };
        let outer_exit = interrupts.exit();
        interrupts.set_stack_limit(stack.end - WASM_STACK_BYTES);
        let activation = Activation::emulated(stack.clone(), outer_exit);
        // SAFETY: the caller says that the store is valid and no reference to it alive, and none is
        // while interpreted code runs; nor to the stack.
        let memory = unsafe { Reach::new(OwnedByStore::new(store, stack)) };
        let builtins = BuiltinsOfStore {
            store: store.cast(),
        };
        let arguments = [target.vmctx, HOST_CALLER, target.code, values];
        let arguments = arguments.map(|low| Register { low, high: 0 });
        let result = entry::during(activation, || {
            self.run(memory, builtins, trampoline, &arguments)
        });
        interrupts.set_exit(outer_exit);
        result.map(drop)
    }

    /// The addresses of the stack.
    fn stack(&mut self) -> Range<u64> {
        let start = self.stack.as_mut_ptr().expose_provenance() as u64;
        start..start + size_of_val(self.stack.as_slice()) as u64
    }

    fn code(&self) -> Code<'_> {
        Code {
            programs: &self.programs,
            start: self.code.start,
            at: &self.at,
            gates: self.gates.as_ptr().expose_provenance() as u64,
        }
    }

    /// Runs a program, on an empty stack.
    fn run<B: Builtins>(
        &mut self,
        memory: Memory,
        builtins: B,
        number: u32,
        arguments: &[Register],
    ) -> Result<Vec<Register>, Stopped> {
        let stack = self.stack();
        let mut registers = std::mem::take(&mut self.registers);
        let mut callers = std::mem::take(&mut self.callers);
        let mut to_step = self.to_step;
        callers.clear();
        let code = self.code();
        let mut unchanging = Unchanging::NOTHING;
        let mut run = Run {
            code,
            builtins,
            memory,
            registers: &mut registers,
            callers: &mut callers,
            program: &code.programs[number as usize],
            number,
            base: 0,
            frame_pointer: stack.end,
            stack_end: stack.start,
            branches: self.branches,
            to_step: &mut to_step,
            frame: Frame::new(&self.values),
            refused: Cell::new(None),
            scratch: Vec::new(),
            unchanging: &mut unchanging,
        };
        let result = panics::catch(|| {
            run.enter(arguments)?;
            Ok(std::mem::take(&mut run.scratch))
        });
        (self.registers, self.callers, self.to_step) = (registers, callers, to_step);
        // The crate's interpreter panics at what it has not implemented.
        result.unwrap_or_else(|panic| {
            tracing::debug!("the interpreter panicked: {panic}");
            Err(Stopped::NotInterpreted)
        })
    }
}

/// Gives a function without code so many values.
fn grow(func: &mut ir::Function, values: usize) {
    let block = func.layout.entry_block().unwrap_or_else(|| {
        let block = func.dfg.make_block();
        func.layout.append_block(block);
        block
    });
    while func.dfg.num_values() < values {
        func.dfg.append_block_param(block, types::I64);
    }
}

/// The builtins of the store whose code is interpreted.
struct BuiltinsOfStore {
    /// The lifetime is not that of the case, which nobody looks at.
    store: *mut Store<'static>,
}

impl Builtins for BuiltinsOfStore {
    fn call(
        &mut self,
        builtin: Builtin,
        arguments: &[u64],
        exit: (u64, u64),
    ) -> Result<Returned, Stopped> {
        // SAFETY: interpreted code runs, so the store is valid and no reference to it is alive; this
        // one ends before the builtin runs.
        let store = unsafe { &*self.store };
        store.interrupts().set_exit(exit);
        let vmctx = arguments.first().copied().unwrap_or_default();
        if !store.has_block(vmctx..vmctx.saturating_add(u64::from(head::BUILTINS))) {
            return Err(Stopped::WrongVmctx(builtin));
        }
        let changes = store.memory_changes();
        let result = panics::catch(|| {
            // SAFETY: what is read of the vmctx is memory of the store's, whose address it holds if it
            // is a vmctx; the reference from above is not used while the builtin runs.
            unsafe { builtins::call(vmctx, builtin, &arguments[1..]) }
        });
        let builtins::Returned { value, call_back } = result.unwrap_or(Err(Stopped::Panicked))?;
        // SAFETY: as above, and the builtin is done.
        let moved = unsafe { &*self.store }.memory_changes() != changes;
        Ok(Returned {
            value,
            moved,
            call_back,
        })
    }

    fn called_back(&mut self, exit: (u64, u64), returned: Option<CallBack>) -> Result<(), Stopped> {
        // SAFETY: interpreted code runs, so the store is valid and no reference to it is alive.
        let store = unsafe { &mut *self.store };
        store.interrupts().set_exit(exit);
        let Some(call_back) = returned else {
            return Ok(());
        };
        // SAFETY: it was prepared by the builtin that wasm called last, and has returned.
        let taken = panics::catch(|| unsafe { store.called_back(call_back) });
        taken.map_err(|_| Stopped::Panicked)
    }
}
