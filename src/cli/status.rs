//! How a command ends.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ended, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Status {
    /// All engines agreed.
    Agreed,
    /// There is nothing to be said.
    Inconclusive,
    /// Something differs, or an assertion failed.
    Diverged,
    /// Bad usage, input that cannot be read, output that cannot be written.
    Unusable,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Agreed => 0,
            Status::Diverged => 1,
            Status::Unusable => 2,
            Status::Inconclusive => 3,
        })
    }
}
