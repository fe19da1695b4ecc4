//! `parallax repro`: what was kept, run again.

use std::path::PathBuf;

use clap::Args;
use parallax::score::Fault;
use serde::Serialize;
use serde_json::value::RawValue;

use super::console::{self, Console};
use super::input::{self, Source};
use super::options;
use super::sandbox::Sandbox;
use super::status::Status;
use super::verdict::{Scripts, Told, Word};

/// Run saved inputs, modules or scripts through all engines, and compare
///
/// Files named .wasm or .wat hold a module, whose exported functions are called; files named .wast
/// hold a script, whose assertions are checked on every engine. Other files are taken for what their
/// bytes say: a module, a script, or else what `parallax fuzz`, a fuzz target or OSS-Fuzz saved, which is
/// also printed as a script. Text that is none of these is refused. Of several files, the worst decides
/// the exit status.
///
/// Cases are run by a confined worker process, as those of `parallax fuzz` are. If it dies, that is the
/// finding; if it takes more time or memory than a case may, the case is inconclusive.
///
/// Of a folder, all inputs in it are run, but for hidden files, reports (.txt, .json, .html and such) and
/// other text; only those that diverge are told at length.
#[derive(Args)]
pub struct Repro {
    /// Files, folders, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Engines to compare with the reference, separated by commas [default: those that `parallax
    /// engines` says are run by default]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: options::Workers,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

impl Repro {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        let inputs = input::expand(&self.files).map_err(anyhow::Error::msg)?;
        let mut sandbox = Sandbox::new(&self.workers, &subjects, self.fault)?;
        let mut worst = Status::Agreed;
        let mut reports = Vec::with_capacity(inputs.len());
        let mut tally = Tally::default();
        for (done, named) in inputs.iter().enumerate() {
            let scripts = match named.in_folder {
                true => Scripts::IfDiverged,
                false => Scripts::Always,
            };
            let told = match Source::read(&named.path) {
                Err(error) => Err(error),
                Ok(source) => sandbox.examine(source, scripts)?,
            };
            let told = match told {
                Err(error) => {
                    console::complain(&error);
                    let file = input::name(&named.path);
                    Told::unreadable(&file, error).map_err(anyhow::Error::msg)?
                }
                Ok(told) => {
                    console.print(&told.text);
                    told
                }
            };
            worst = worst.max(told.verdict.into());
            tally.count(told.verdict, told.known);
            reports.push(told.json);
            if console.is_closed() {
                // What nobody listens to any more is not run, and nothing is said of it.
                if done + 1 < inputs.len() {
                    worst = worst.max(Status::Inconclusive);
                }
                break;
            }
        }
        if inputs.iter().any(|named| named.in_folder) {
            console.print(tally);
        }
        if self.json {
            console.print_json(&Json {
                files: &reports,
                summary: tally,
            })?;
        }
        Ok(worst)
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    files: &'a [Box<RawValue>],
    summary: Tally,
}

/// How many files came to which verdict.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Tally {
    files: u64,
    agreed: u64,
    diverged: u64,
    known: u64,
    inconclusive: u64,
    unreadable: u64,
}

impl Tally {
    /// Counts a file. What agrees but for a known fault is counted under that.
    pub fn count(&mut self, verdict: Word, known: bool) {
        self.files += 1;
        *match verdict {
            Word::Agreed | Word::Inconclusive if known => &mut self.known,
            Word::Agreed => &mut self.agreed,
            Word::Diverged => &mut self.diverged,
            Word::Inconclusive => &mut self.inconclusive,
            Word::Unreadable => &mut self.unreadable,
        } += 1;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} agreed, {} diverged, {} known, {} inconclusive",
            plural(self.files, "file"),
            self.agreed,
            self.diverged,
            self.known,
            self.inconclusive
        )?;
        if self.unreadable > 0 {
            write!(f, ", {} unreadable", self.unreadable)?;
        }
        f.write_str("\n")
    }
}

/// So many of something.
pub fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}
