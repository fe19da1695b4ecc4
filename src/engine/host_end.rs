//! What a host function does instead of returning, as it travels through an engine that is not ours: as
//! an error of its own type, which comes out at the other end as it went in.

use std::error::Error;
use std::fmt;

use parallax_oracles::{Reason, TrapKind};

/// What a host function does instead of returning.
#[derive(Clone, Copy, Debug)]
pub enum HostEnd {
    /// It traps.
    Trap(TrapKind),
    /// The case ends without a verdict.
    Inconclusive(Reason),
}

impl fmt::Display for HostEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostEnd::Trap(kind) => kind.fmt(f),
            HostEnd::Inconclusive(reason) => reason.fmt(f),
        }
    }
}

impl Error for HostEnd {}
