//! `parallax worker`, which nobody types: what `parallax fuzz` runs itself as, to run cases in.

use anyhow::Context;
use clap::Args;
use parallax::campaign::worker::{self, Prepared};

use super::options::{self, Layers};
use super::status::Status;

const NOT_BY_HAND: &str = "this command is for `parallax fuzz` to run";

/// Run cases for a supervisor on standard input and output
#[derive(Args)]
pub struct Worker {
    #[arg(long, value_parser = options::layers, default_value = "landlock,seccomp")]
    confine_by: Layers,
}

impl Worker {
    /// Confines the process. To be called while it has but one thread.
    pub fn prepare(&self) -> anyhow::Result<Prepared> {
        worker::prepare(&self.confine_by.0).context(NOT_BY_HAND)
    }

    pub fn run(prepared: Prepared) -> anyhow::Result<Status> {
        worker::serve(prepared).context(NOT_BY_HAND)?;
        Ok(Status::Agreed)
    }
}
