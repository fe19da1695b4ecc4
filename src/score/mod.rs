//! The harness measured by faults that are planted on purpose.

mod fault;

pub use fault::Fault;
