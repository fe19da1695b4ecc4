//! The command line: what it takes, and how it ends.
//!
//! Every way to fail ends in one line on standard error and status 2; commands return errors and
//! this file tells them.

mod console;
mod corpus;
mod corpus_add;
mod corpus_check;
mod corpus_minimize;
mod engines;
mod examined;
mod explain;
mod fuzz;
mod input;
mod options;
mod output;
mod progress;
mod report;
mod repro;
mod sandbox;
mod sandboxed;
mod seeds;
mod shrink;
mod spec;
mod status;
mod verdict;
mod worker;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use parallax::campaign::worker::Prepared;
use parallax::runtime::signals;
use parallax::{campaign, panics};

use console::Console;
use status::Status;

/// Runs WebAssembly modules through a WebAssembly-to-Cranelift translation environment and a
/// reference interpreter, and compares everything that can be observed.
#[derive(Parser)]
#[command(name = "parallax", version, after_help = EXIT_STATUS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  all engines agreed
  1  engines diverged, or an assertion failed
  2  bad usage or unreadable input
  3  inconclusive: nothing could be compared to its end";

#[derive(Subcommand)]
enum Command {
    Fuzz(fuzz::Fuzz),
    Repro(repro::Repro),
    Report(report::Report),
    Shrink(shrink::Shrink),
    Corpus(corpus::Corpus),
    Explain(explain::Explain),
    Spec(spec::Spec),
    Seeds(seeds::Seeds),
    Engines(engines::Engines),
    #[command(hide = true)]
    Worker(worker::Worker),
    #[command(hide = true)]
    Sandboxed(sandboxed::Sandboxed),
}

/// Parses the arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    panics::silence();
    signals::ignore_file_size_limit();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error).into(),
    };
    // What a worker gives up, it gives up before there are other threads, so that it holds for all.
    let prepared = match &arguments.command {
        Command::Worker(command) => command.prepare().map(Some),
        Command::Sandboxed(command) => command.prepare().map(Some),
        _ => Ok(None),
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            console::complain(format_args!("{error:#}"));
            return Status::Unusable.into();
        }
    };
    // On a thread of our own: what exhausts a stack must not depend on the main thread's, whose
    // size is the caller's to choose.
    let thread = std::thread::Builder::new()
        .name("main".to_string())
        .stack_size(campaign::STACK_BYTES)
        .spawn(move || {
            panics::catch(|| run(arguments.command, prepared))
                .unwrap_or_else(|panic| Err(anyhow::anyhow!("a bug in parallax itself: {panic}")))
        });
    let result = match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("a bug in parallax itself")),
        Err(error) => Err(anyhow::anyhow!("cannot start a thread: {error}")),
    };
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            console::complain(format_args!("{error:#}"));
            Status::Unusable.into()
        }
    }
}

fn run(command: Command, prepared: Option<Prepared>) -> anyhow::Result<Status> {
    let mut console = Console::default();
    let status = match command {
        Command::Fuzz(command) => command.run(&mut console)?,
        Command::Repro(command) => command.run(&mut console)?,
        Command::Report(command) => command.run(&mut console)?,
        Command::Shrink(command) => command.run(&mut console)?,
        Command::Corpus(command) => command.run(&mut console)?,
        Command::Explain(command) => command.run(&mut console)?,
        Command::Spec(command) => command.run(&mut console)?,
        Command::Seeds(command) => command.run(&mut console)?,
        Command::Engines(command) => command.run(&mut console)?,
        Command::Worker(_) => prepared.map_or(Ok(Status::Unusable), worker::Worker::run)?,
        Command::Sandboxed(_) => {
            prepared.map_or(Ok(Status::Unusable), sandboxed::Sandboxed::run)?
        }
    };
    console.finish()?;
    Ok(status)
}

/// Prints help where that was asked for; tells what was wrong with the arguments in one line.
fn usage(error: &clap::Error) -> Status {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody listens, so there is nobody to tell.
            let _ = error.print();
            return Status::Agreed;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            console::complain("no command given (see `parallax --help`)");
            return Status::Unusable;
        }
        _ => {}
    }
    // The first paragraph says what is wrong; tips and usage follow.
    let text = error.render().to_string();
    let wrong: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let wrong = wrong.join(" ");
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
    let known = Arguments::command();
    let first = std::env::args_os().nth(1).unwrap_or_default();
    let command = known.find_subcommand(&first);
    let command = command.map_or(String::new(), |command| format!("{} ", command.get_name()));
    console::complain(format_args!("{wrong} (see `parallax {command}--help`)"));
    Status::Unusable
}
