//! From a finding to what a person does about it: whose fault it is, and how it is shown.

pub mod blame;
pub mod code;
pub mod explain;
pub mod keep;
pub mod known;
pub mod localise;
pub mod page;
pub mod probe;
pub mod region;
pub mod show;
pub mod shrink;
pub mod sweep;
