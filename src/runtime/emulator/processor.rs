//! What the emulator has to know about an ISA: its calling convention as far as it is met on the
//! way in and out, and how to set up a processor of it.

use unicorn_engine::{Arch, Mode, Unicorn, uc_error};

use super::phadd::OfItself;
use super::{Call, PAGE_BYTES, aarch64, riscv64, x86_64};
use crate::case::Settings;
use crate::codegen::Isa;
use crate::codegen::compiled::LibCall;
use crate::runtime::entry::Target;
use crate::translate::builtins::Builtin;

/// Bytes of a gate.
pub(super) const GATE_BYTES: u64 = 4;

/// The gate behind those of the builtins and routines, to which a function returns that a host function
/// has called.
pub(super) const RESUME_GATE: u64 = (Builtin::ALL.len() + LibCall::ALL.len()) as u64 * GATE_BYTES;

/// The gate behind that, to which the outermost frame returns.
pub(super) const EXIT_GATE: u64 = RESUME_GATE + GATE_BYTES;

const _: () = assert!(EXIT_GATE + GATE_BYTES <= PAGE_BYTES);

/// A processor that Unicorn emulates.
pub(super) type Processor<'a> = Unicorn<'a, Call>;

/// An ISA, as code generated for it enters and leaves.
pub(super) trait Guest {
    /// The architecture, in 64-bit mode.
    fn arch(&self) -> (Arch, Mode);

    /// A model of processor that can do what Cranelift may use.
    fn model(&self) -> i32;

    /// A return, which is all that a gate consists of.
    fn gate(&self) -> [u8; GATE_BYTES as usize];

    /// An instruction that always traps, for the exit gate.
    fn trap(&self) -> [u8; GATE_BYTES as usize];

    /// Brings a processor, as it is reset, into the state in which generated code runs.
    fn set_up(&self, processor: &mut Processor<'_>) -> Result<(), uc_error>;

    /// Puts into place what a trampoline takes, to return to `exit`, on the stack below `top`.
    fn enter(
        &self,
        processor: &mut Processor<'_>,
        target: Target,
        values: u64,
        top: u64,
        exit: u64,
    ) -> Result<(), uc_error>;

    /// The argument registers of a builtin, the vmctx first.
    fn arguments(&self, processor: &Processor<'_>) -> [u64; 6];

    /// Whether a caller clears the upper half of a register in which it passes an i32, if told to.
    fn extends_arguments(&self) -> bool;

    /// Whether the processor, having met an exception, takes another one for a consequence of it until
    /// the first has been handled, which nobody does.
    fn remembers_exceptions(&self) -> bool;

    /// How many bytes behind an instruction that raised an exception the processor says that it is.
    fn past_exception(&self) -> u64 {
        0
    }

    /// Sets what a builtin returns.
    fn answer(&self, processor: &mut Processor<'_>, value: u64) -> Result<(), uc_error>;

    /// Where the function at whose first instruction the processor stands was called: the frame
    /// pointer, and the return address.
    fn left_at(&self, processor: &Processor<'_>) -> (u64, u64);

    /// The stack pointer.
    fn stack_pointer(&self, processor: &Processor<'_>) -> u64;

    /// Returns from a gate at which the stack pointer was `stack_pointer` to where it was called from: the
    /// frame pointer and the return address.
    fn go_back(
        &self,
        processor: &mut Processor<'_>,
        stack_pointer: u64,
        left_at: (u64, u64),
    ) -> Result<(), uc_error>;

    /// Does what a routine does, at its gate.
    fn routine(&self, processor: &mut Processor<'_>, call: LibCall) -> Result<(), uc_error>;

    /// The address that the instruction at `pc` stores 16 bytes to, if it is a store of as many.
    /// `code` is what is there.
    fn stores_vector(&self, processor: &Processor<'_>, code: &[u8]) -> Option<u64>;

    /// What looks in some code like an instruction that the processor gets wrong, each with its offset.
    fn gets_wrong(&self, _code: &[u8]) -> Vec<(usize, OfItself)> {
        Vec::new()
    }

    /// An extension that a case's settings allow and the processor lacks, by name.
    fn lacks(&self, settings: &Settings) -> Option<&'static str>;
}

/// The ISA of this name; none if Unicorn has no part in it.
pub(super) fn guest(isa: Isa) -> Option<&'static dyn Guest> {
    match isa {
        Isa::X86_64 => Some(&x86_64::X86_64),
        Isa::Aarch64 => Some(&aarch64::Aarch64),
        Isa::Riscv64 => Some(&riscv64::Riscv64),
        Isa::Clif => None,
    }
}
