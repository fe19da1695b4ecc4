//! The host's own ISA: the instructions that lead into generated code and out of it, and what a
//! signal tells of a fault in it.
//!
//! There is one file an ISA, of which that of the host is built. All of them have the same items:
//!
//! | item | what it is |
//! | --- | --- |
//! | `ISA` | which one it is |
//! | `enter`, `landing` | the way into wasm, and where it is left by a trap |
//! | `leave`, `stub!` | the way out to a builtin |
//! | `EXTENDS_ARGUMENTS` | whether the calling convention says what an i32 leaves in its register's upper half |
//! | `program_counter`, `land`, `fault`, `is_jump`, `stopped` | reading and changing the context of a signal |
//! | `publish` | what has to happen before code that was written can be run |
//! | `unsigned` | a return address without its signature |
//! | `lacks` | the extensions that the host does not have |
//!
//! # Invariants
//! - `enter` saves every register that the C calling convention has a function preserve, and its stack
//!   pointer and frame pointer, in an [`Activation`]; `landing`, given that activation, returns from
//!   that very call of `enter` with everything restored. Between the two lie frames of generated code
//!   only, which own nothing.
//! - `leave` runs with what generated code left in registers and on the stack. It writes the frame
//!   pointer and the return address of the wasm frame to the interrupt words of the vmctx that it was
//!   given, and calls [`builtin_entry`] on that stack. It lands if that says so, which is after it has
//!   returned: no frame of Rust is ever jumped over.
//! - Of a signal's context nothing is read but registers, and nothing changed but what `landing` takes.
//!
//! [`Activation`]: super::entry::Activation
//! [`builtin_entry`]: super::entry::builtin_entry

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod isa;

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("parallax runs on Linux, on x86-64 or on little-endian aarch64");

pub use isa::ISA;
pub(super) use isa::{
    EXTENDS_ARGUMENTS, enter, fault, is_jump, lacks, land, program_counter, publish, stopped,
    unsigned,
};

use crate::translate::builtins::Builtin;

/// A fault, as a signal tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The signal.
    pub signal: i32,
    /// The address of the instruction.
    pub pc: u64,
    /// The address that was accessed, for signals that have one; all ones if the kernel names none.
    pub address: u64,
    /// The stack pointer at the instruction.
    pub stack_pointer: u64,
}

macro_rules! stubs {
    ($(
        $(#[$doc:meta])*
        $name:ident( $( $param:ident: $ty:ident ),* ) $( -> $result:ident )?;
    )*) => {
        mod stub {
            $( super::isa::stub!($name); )*
        }

        /// The addresses by which code that the host runs calls builtins, by number.
        pub(super) fn builtin_addresses() -> [u64; Builtin::ALL.len()] {
            [ $( stub::$name as *const () as u64, )* ]
        }
    };
}

crate::for_each_builtin!(stubs);
