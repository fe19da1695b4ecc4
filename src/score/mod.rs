//! The harness measured by faults that are planted on purpose.

mod fault;
pub(crate) mod plant;

pub use fault::Fault;
