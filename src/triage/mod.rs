//! From a finding to what a person does about it: whose fault it is, and how it is shown.

pub mod blame;
pub mod keep;
pub mod known;
pub mod show;
pub mod shrink;
