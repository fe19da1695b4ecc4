//! `parallax corpus check`: all kept cases on all engines.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use parallax::engine::registry;
use parallax::score::Fault;
use serde::Serialize;
use serde_json::value::RawValue;

use super::console::{self, Console};
use super::input::{self, Source};
use super::options;
use super::progress::Progress;
use super::repro::Tally;
use super::sandbox::Sandbox;
use super::status::Status;
use super::verdict::{Scripts, Told, Word};

/// Where kept cases are.
pub const KEPT: &str = "corpus/regressions";

/// Run all kept cases on all engines, and check what they assert
///
/// Prints nothing about a case that agrees and meets its assertions on every engine.
#[derive(Args)]
pub struct Check {
    /// Folders, or single files
    #[arg(value_name = "DIR", default_value = KEPT)]
    folders: Vec<PathBuf>,
    /// Engines to compare with the reference, separated by commas [default: all that can be used
    /// here, see `parallax engines`]
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

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    engines: &'a [&'static str],
    summary: Tally,
    seconds: f64,
    /// The files that did not agree.
    failed: &'a [Box<RawValue>],
}

impl Check {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = subjects(&self.engines)?;
        for folder in &self.folders {
            fs::metadata(folder).with_context(|| folder.display().to_string())?;
        }
        let started = Instant::now();
        let inputs = input::expand(&self.folders).map_err(anyhow::Error::msg)?;
        let mut sandbox = Sandbox::new(&self.workers, &subjects, self.fault)?;
        let mut progress = Progress::new(Some(inputs.len() as u64));
        let mut tally = Tally::default();
        let mut worst = Status::Agreed;
        let mut failed = Vec::new();
        for (done, named) in inputs.iter().enumerate() {
            let file = input::name(&named.path);
            progress.show(console, done as u64, started.elapsed(), || {
                format!("{done} of {} files, at {file}", inputs.len())
            });
            let told = match Source::read(&named.path) {
                Err(error) => Err(error),
                Ok(source) => sandbox.examine(source, Scripts::Never)?,
            };
            let told = match told {
                Err(error) => {
                    console::complain(&error);
                    Told::unreadable(&file, error).map_err(anyhow::Error::msg)?
                }
                Ok(told) => {
                    if told.verdict != Word::Agreed {
                        progress.print(console, &told.text);
                    }
                    told
                }
            };
            tally.count(told.verdict, told.known);
            worst = worst.max(told.verdict.into());
            if told.verdict != Word::Agreed {
                failed.push(told.json);
            }
            if console.is_closed() {
                // What nobody listens to any more is not run, and nothing is said of it.
                if done + 1 < inputs.len() {
                    worst = worst.max(Status::Inconclusive);
                }
                break;
            }
        }
        progress.finish();
        let seconds = started.elapsed().as_secs_f64();
        console.print(format_args!(
            "{} against {}: {tally}",
            subjects.join(", "),
            registry::REFERENCE
        ));
        if self.json {
            console.print_json(&Json {
                engines: &subjects,
                summary: tally,
                seconds,
                failed: &failed,
            })?;
        }
        Ok(worst)
    }
}

/// The subjects named, or all that can be used here, also those that are not run by default: kept
/// cases are few.
fn subjects(named: &[&'static str]) -> anyhow::Result<Vec<&'static str>> {
    if !named.is_empty() {
        return options::subjects(named);
    }
    let usable: Vec<&'static str> = registry::all()
        .into_iter()
        .filter(|info| info.usable && info.name != registry::REFERENCE)
        .map(|info| info.name)
        .collect();
    options::subjects(&usable)
}
