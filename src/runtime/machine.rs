//! What runs generated code: the host itself, an emulator, or an interpreter of what code would be
//! generated from.
//!
//! The way into generated code is all that differs. Whichever machine runs it, code finds the same
//! vmctxs, memories, tables and objects at the same addresses, builtins are the same functions of
//! the store, and frames are walked in the same way.

use std::ops::Range;

use super::entry::{self, Stopped, Target};
use super::interpreter::Interpreter;
use super::store::Store;
use crate::case::Settings;
use crate::case::features::{Feature, X86Feature};
use crate::codegen::{CompiledModule, Generator, Isa};
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
    /// An interpreter of CLIF.
    Interpreted(Box<Interpreter>),
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
            Isa::Clif => Ok(Machine::Interpreted(Box::default())),
        }
    }

    /// An extension that code for a case's settings may use and this machine does not have, by
    /// name.
    pub fn lacks(&self, settings: &Settings) -> Option<&'static str> {
        match self {
            Machine::Direct => {
                let mut used = settings.x86_64.iter();
                used.find(|feature| !host_has(*feature)).map(Feature::name)
            }
            // Unicorn's most capable processor has all that Cranelift knows of.
            #[cfg(feature = "emulator")]
            Machine::Emulated(_) => None,
            Machine::Interpreted(_) => None,
        }
    }

    /// The addresses by which generated code calls builtins.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        match self {
            Machine::Direct => entry::builtin_addresses(),
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
        if let Machine::Interpreted(interpreter) = self {
            interpreter.load(generator.lowerer(), module, base);
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

/// Whether the host, an x86-64 one, has an extension.
fn host_has(feature: X86Feature) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match feature {
        X86Feature::Sse3 => has!("sse3"),
        X86Feature::Ssse3 => has!("ssse3"),
        X86Feature::Sse41 => has!("sse4.1"),
        X86Feature::Sse42 => has!("sse4.2"),
        X86Feature::Popcnt => has!("popcnt"),
        X86Feature::Avx => has!("avx"),
        X86Feature::Avx2 => has!("avx2"),
        X86Feature::Fma => has!("fma"),
        X86Feature::Bmi1 => has!("bmi1"),
        X86Feature::Bmi2 => has!("bmi2"),
        X86Feature::Lzcnt => has!("lzcnt"),
        X86Feature::Avx512f => has!("avx512f"),
        X86Feature::Avx512dq => has!("avx512dq"),
        X86Feature::Avx512vl => has!("avx512vl"),
        X86Feature::Avx512bitalg => has!("avx512bitalg"),
        X86Feature::Avx512vbmi => has!("avx512vbmi"),
    }
}
