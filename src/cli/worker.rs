//! `parallax worker`, which nobody types: what `parallax fuzz` runs itself as, to run cases in.

use anyhow::Context;
use clap::Args;
use parallax::campaign::worker;

use super::status::Status;

/// Run cases for a supervisor on standard input and output
#[derive(Args)]
pub struct Worker {}

impl Worker {
    pub fn run(self) -> anyhow::Result<Status> {
        worker::serve().context("this command is for `parallax fuzz` to run")?;
        Ok(Status::Agreed)
    }
}
