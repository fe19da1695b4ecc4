//! What runs generated code: the host itself, an emulator, or an interpreter of what code would be
//! generated from.
//!
//! The way into generated code is all that differs. Whichever machine runs it, code finds the same
//! vmctxs, memories, tables and objects at the same addresses, builtins are the same functions of
//! the store, and frames are walked in the same way.

use std::ops::Range;

use super::entry::{self, Stopped, Target};
use super::host_isa;
pub use super::host_isa::ISA as HOST;
use super::interpreter::Interpreter;
use super::libcalls;
use super::store::Store;
use crate::case::Settings;
use crate::codegen::compiled::LibCall;
use crate::codegen::{CompiledModule, Generator, Isa};
use crate::translate::builtins::Builtin;

#[cfg(feature = "emulator")]
use super::emulator::Emulator;

/// How code is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Execution {
    /// By the host, whose own it is.
    Direct,
    /// By an emulator.
    Emulated,
    /// By an interpreter of CLIF.
    Interpreted,
}

impl Execution {
    /// How code for an ISA is run unless something else is asked for: directly if it is the host's.
    pub const fn of(isa: Isa) -> Execution {
        match isa {
            Isa::Clif => Execution::Interpreted,
            isa if isa as u8 == HOST as u8 => Execution::Direct,
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => Execution::Emulated,
        }
    }
}

/// What runs generated code.
pub enum Machine {
    /// The host.
    Direct,
    /// An emulator.
    #[cfg(feature = "emulator")]
    Emulated(Box<Emulator>),
    /// An interpreter of CLIF.
    Interpreted(Box<Interpreter>),
}

impl Machine {
    /// A machine that runs code for an ISA in some way.
    ///
    /// # Errors
    /// One line, if there is none in this build or it cannot be made.
    pub fn new(isa: Isa, execution: Execution) -> Result<Machine, String> {
        match execution {
            Execution::Direct if Execution::of(isa) == Execution::Direct => Ok(Machine::Direct),
            Execution::Direct => Err("the host has another instruction set".to_string()),
            #[cfg(feature = "emulator")]
            Execution::Emulated => Ok(Machine::Emulated(Box::new(Emulator::new(isa)?))),
            #[cfg(not(feature = "emulator"))]
            Execution::Emulated => Err("built without the feature `emulator`".to_string()),
            Execution::Interpreted => Ok(Machine::Interpreted(Box::default())),
        }
    }

    /// An extension that code for a case's settings may use and this machine does not have, by
    /// name.
    pub fn lacks(&self, settings: &Settings) -> Option<&'static str> {
        match self {
            Machine::Direct => host_isa::lacks(settings),
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.lacks(settings),
            Machine::Interpreted(_) => None,
        }
    }

    /// The address by which generated code calls a routine.
    pub fn routine_address(&self, call: LibCall) -> u64 {
        match self {
            Machine::Direct => libcalls::address(call),
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.routine_address(call),
            // It has no machine code, and so no relocation.
            Machine::Interpreted(_) => 0,
        }
    }

    /// The addresses by which generated code calls builtins.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        match self {
            Machine::Direct => host_isa::builtin_addresses(),
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.builtin_addresses(),
            Machine::Interpreted(interpreter) => interpreter.builtin_addresses(),
        }
    }

    /// Whether other code may be put where code was, without a call of [`Machine::forget_code`].
    pub fn sees_new_code(&self) -> bool {
        match self {
            Machine::Direct | Machine::Interpreted(_) => true,
            #[cfg(feature = "emulator")]
            Machine::Emulated(_) => false,
        }
    }

    /// Says that code is not any more what it was.
    pub fn forget_code(&mut self) {
        match self {
            Machine::Direct | Machine::Interpreted(_) => {}
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.forget_code(),
        }
    }

    /// Says that the code in an arena from an address on is gone, also if there was none yet.
    pub fn unload_from(&mut self, arena: Range<u64>, address: u64, generator: &mut Generator) {
        if let Machine::Interpreted(interpreter) = self {
            interpreter.unload_from(arena, address, generator.lowerer());
        }
    }

    /// Says where the module is that was last compiled.
    pub fn load(&mut self, generator: &mut Generator, module: &CompiledModule, base: u64) {
        match self {
            Machine::Direct => {}
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.load(&module.code, base),
            Machine::Interpreted(interpreter) => {
                interpreter.load(generator.lowerer(), module, base)
            }
        }
    }

    /// Says that what generated code may touch is not any more what it was.
    pub fn forget_memory(&mut self) {
        match self {
            Machine::Direct | Machine::Interpreted(_) => {}
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.forget_memory(),
        }
    }

    /// Runs a function. Arguments are at `values`, and results when it has returned.
    ///
    /// # Errors
    /// Why it stopped.
    ///
    /// # Safety
    /// `store` must be valid, and no reference to it or into it be alive. `target` must be code in
    /// `code` for a function of `store` and for this machine, and there must be a slot at `values`
    /// for each argument and result.
    pub unsafe fn call(
        &mut self,
        store: *mut Store<'_>,
        target: Target,
        code: Range<u64>,
        values: u64,
    ) -> Result<(), Stopped> {
        match self {
            // SAFETY: the caller says so.
            Machine::Direct => unsafe { entry::call(store, target, code, values) },
            #[cfg(feature = "emulator")]
            // SAFETY: the caller says so.
            Machine::Emulated(emulator) => unsafe { emulator.call(store, target, code, values) },
            // SAFETY: the caller says so.
            Machine::Interpreted(interpreter) => unsafe { interpreter.call(store, target, values) },
        }
    }
}
