//! The command line. See `cli/`, one file a subcommand.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
