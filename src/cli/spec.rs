//! `parallax spec`: the official test suite through every engine.

use std::time::Instant;

use clap::{Args, ValueEnum};
use parallax::case::settings::{MemoryStyle, OptLevel};
use parallax::engine::registry;
use parallax::harness;
use parallax::score::Fault;
use parallax::spec::{SuiteOptions, SuiteReport, file_names, run_suite};

use super::console::Console;
use super::options;
use super::progress::Progress;
use super::status::Status;

/// Run the official WebAssembly test suite through every engine
///
/// Prints a table of assertions passed, failed and skipped, by file and in total, then what was
/// skipped and why, then every failure with its file and line.
#[derive(Args)]
pub struct Spec {
    /// Engines to run, separated by commas [default: those that `parallax engines` says are run by
    /// default]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Run only the files whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Cranelift's optimisation level [default: speed]
    #[arg(long, value_name = "LEVEL")]
    opt_level: Option<Level>,
    /// How memories are laid out [default: static]
    #[arg(long, value_name = "STYLE")]
    memory_style: Option<Style>,
    /// Compare what every engine shows with what the first one shows, too
    #[arg(long)]
    compare: bool,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Level {
    None,
    Speed,
    SpeedAndSize,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Style {
    Static,
    StaticSmall,
    Dynamic,
}

impl Spec {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let names = file_names();
        let wanted = |name: &&String| {
            let filter = self.filter.as_ref();
            filter.is_none_or(|filter| name.contains(filter.as_str()))
        };
        let files = names.iter().filter(wanted).count() as u64;
        if files == 0 {
            let filter = self.filter.as_deref().unwrap_or_default();
            anyhow::bail!("no file of the test suite has `{filter}` in its name");
        }
        let mut engines = Vec::new();
        for name in self.engine_names() {
            let engine = registry::make_with_fault(name, self.fault);
            engines.push(engine.map_err(anyhow::Error::msg)?);
        }
        let started = Instant::now();
        let mut progress = Progress::new(Some(files));
        let mut done = 0;
        let report = run_suite(&mut engines, &self.suite_options(), |file| {
            done += 1;
            progress.show(console, done, started.elapsed(), || {
                format!("{done} of {files} files, the latest {}", file.name)
            });
        });
        progress.finish();
        console.print(&report);
        if self.json {
            console.print_json(&report)?;
        }
        Ok(status(&report))
    }

    fn engine_names(&self) -> Vec<&'static str> {
        if self.engines.is_empty() {
            let subjects = harness::default_subjects();
            return std::iter::once(registry::REFERENCE)
                .chain(subjects)
                .collect();
        }
        let mut names = Vec::new();
        for name in &self.engines {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    fn suite_options(&self) -> SuiteOptions {
        SuiteOptions {
            filter: self.filter.clone(),
            opt_level: self.opt_level.map(|level| match level {
                Level::None => OptLevel::None,
                Level::Speed => OptLevel::Speed,
                Level::SpeedAndSize => OptLevel::SpeedAndSize,
            }),
            memory_style: self.memory_style.map(|style| match style {
                Style::Static => MemoryStyle::Static,
                Style::StaticSmall => MemoryStyle::StaticSmall,
                Style::Dynamic => MemoryStyle::Dynamic,
            }),
            compare: self.compare,
        }
    }
}

fn status(report: &SuiteReport) -> Status {
    if !report.passed() {
        Status::Diverged
    } else if report.engines.iter().all(|(_, tally)| tally.passed == 0) {
        Status::Inconclusive
    } else {
        Status::Agreed
    }
}
