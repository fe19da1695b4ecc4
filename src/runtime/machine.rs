//! What runs generated code: the host itself, or an emulator.
//!
//! The way into generated code is all that differs. Whichever machine runs it, code finds the same
//! vmctxs, memories, tables and objects at the same addresses, builtins are the same functions of
//! the store, and frames are walked in the same way.

use std::ops::Range;

use super::entry::{self, Stopped, Target};
use super::store::Store;
use crate::codegen::Isa;
use crate::translate::builtins::Builtin;

#[cfg(feature = "emulator")]
use super::emulator::Emulator;

/// What runs generated code.
pub enum Machine {
    /// The host.
    Direct,
    /// An emulator of aarch64.
    #[cfg(feature = "emulator")]
    Emulated(Box<Emulator>),
}

impl Machine {
    /// A machine that runs code for an ISA.
    ///
    /// # Errors
    /// One line, if there is none in this build or it cannot be made.
    pub fn new(isa: Isa) -> Result<Machine, String> {
        match isa {
            Isa::X86_64 => Ok(Machine::Direct),
            #[cfg(feature = "emulator")]
            Isa::Aarch64 => Ok(Machine::Emulated(Box::new(Emulator::new()?))),
            #[cfg(not(feature = "emulator"))]
            Isa::Aarch64 => Err("this build has no emulator".to_string()),
        }
    }

    /// The addresses by which generated code calls builtins.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        match self {
            Machine::Direct => entry::builtin_addresses(),
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.builtin_addresses(),
        }
    }

    /// Whether other code may be put where code was, without a call of [`Machine::forget_code`].
    pub fn sees_new_code(&self) -> bool {
        match self {
            Machine::Direct => true,
            #[cfg(feature = "emulator")]
            Machine::Emulated(_) => false,
        }
    }

    /// Says that code is not any more what it was.
    pub fn forget_code(&mut self) {
        match self {
            Machine::Direct => {}
            #[cfg(feature = "emulator")]
            Machine::Emulated(emulator) => emulator.forget_code(),
        }
    }

    /// Says that what generated code may touch is not any more what it was.
    pub fn forget_memory(&mut self) {
        match self {
            Machine::Direct => {}
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
        }
    }
}
