//! `parallax corpus`: what is kept, and keeping more of it or less.

use clap::{Args, Subcommand};

use super::console::Console;
use super::status::Status;
use super::{corpus_add, corpus_check, corpus_minimize};

/// Keep findings as scripts, run what is kept, and thin out a corpus of inputs
#[derive(Args)]
pub struct Corpus {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(corpus_add::Add),
    Check(corpus_check::Check),
    Minimize(corpus_minimize::Minimize),
}

impl Corpus {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        match self.command {
            Command::Add(command) => command.run(console),
            Command::Check(command) => command.run(console),
            Command::Minimize(command) => command.run(console),
        }
    }
}
