//! The runtime behind generated code: stores, instances, memories, tables, references, traps.
//!
//! Unsafe code is confined to these files, each of which states its invariants at the top:
//!
//! - [`block`]: memory shared with generated code, read and written by bounds-checked offset
//! - [`callbacks`]: the values of calls by and of host functions, where trampolines have them
//! - [`memory`]: linear memories, as reservations of address space
//! - [`code`]: executable memory
//! - [`entry`]: the way into wasm, out to builtins, and out by a trap, where the host runs the code
//! - `host_isa`: the instructions for that, and what a signal tells, of each ISA that a host may have
//! - `signals`: faults of generated code become traps there
//! - `guard`: where the stacks end of threads that run it
//! - `emulator`: the same ways where an emulator runs the code
//! - [`interpreter`], and `reach` in it: the same ways where CLIF is interpreted
//! - `walk`: reading the frames of generated code
//! - [`refused`]: telling of a system call that a confined process is refused
//!
//! Everything else, builtins included, is safe code over these.

pub mod activations;
pub mod audit;
pub mod block;
pub mod builtins;
pub mod callbacks;
pub mod code;
mod destructors;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod entry;
mod guard;
mod host;
mod host_isa;
pub mod instance;
pub mod interpreter;
pub mod libcalls;
mod link;
pub mod machine;
pub mod memory;
mod misaligned;
pub mod objects;
mod observe;
mod references;
pub mod refused;
pub mod signals;
pub mod stack;
#[cfg(test)]
pub mod stops;
pub mod store;
pub mod table;
pub mod torn;
pub mod walk;
pub mod watchdog;
mod widened;

pub use host::HostTrampolines;
pub use store::{Store, StoreConfig};
