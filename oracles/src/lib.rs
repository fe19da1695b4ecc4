//! What parallax compares, and the oracles that compare it.
//!
//! An engine runs a case and yields an [`Observation`]. An oracle is a pure function from two
//! observations (the reference's and the subject's) to agreement or a [`Finding`]. [`compare`]
//! runs every oracle over two observations, step by step, and says the [`Verdict`]; it stops at
//! the first step that shows a difference. [`compare_own`] holds two engines that both count
//! references to the very same trace of counts and drops.
//!
//! Observations record state as changes. [`State`] adds them up again; [`After`] does so for both
//! sides, and only when an oracle finds that the recorded changes alone do not settle a question.
//!
//! This crate knows no WebAssembly engine and builds in seconds, so that the rules can be read,
//! tested and trusted by themselves: see [`rules`], one file an oracle.

mod after;
mod compare;
mod finding;
mod observation;
pub mod rules;
mod state;
mod tally;
#[cfg(test)]
mod testing;
mod value;

pub use after::After;
pub use compare::{Comparison, compare, compare_knowing};
pub use finding::{Difference, Finding, OracleName, Place, Seen, Verdict};
pub use observation::{
    Alive, CHUNK_BYTES, Changes, Entity, EntityKind, Event, GlobalChange, MemoryChange,
    Observation, Outcome, Owner, Reason, StepObservation, TableChange, TrapKind,
};
pub use rules::trace::compare_own;
pub use state::{MemoryState, State, TableState};
pub use tally::{Tallies, Tally};
pub use value::{FuncIdentity, Nans, ObjectId, Value};
