//! `parallax fuzz`: generated cases until something stops it.

pub mod summary;

use std::collections::HashMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use parallax::campaign::group::GroupKey;
use parallax::campaign::{Beginning, Divergence, FuzzEvent, FuzzOptions, Fuzzer, Record, SetAside};
use parallax::engine::registry;
use parallax::generate::Generator;
use parallax::runtime::signals;
use parallax::score::Fault;

use super::console::Console;
use super::options;
use super::progress::Progress;
use super::status::Status;

/// How many findings of one cause, as far as can be told, are printed in full.
const IN_FULL: u32 = 2;

/// Generate cases, run them through all engines, and keep those on which engines differ
///
/// Runs until stopped by Ctrl-C, unless --cases or --time says when to end. The same seed gives
/// the same cases and the same verdicts, whatever --jobs says.
///
/// Inputs on which engines differ are written to the artifacts folder, each with its findings in
/// a .txt file beside it; `parallax repro` runs them again.
///
/// Cases are run by worker processes. One that dies is a finding. One that takes more time or memory
/// than a case may is ended, and its input is kept as well. In both cases another one goes on.
///
/// How far the run is stands in the artifacts folder too. A second start on the same folder goes on
/// from there, if seed, engines and generators are the same and parallax was not built anew.
#[derive(Args)]
pub struct Fuzz {
    /// End after this many cases: with --seed counted from the first of the seed, else from where the
    /// run goes on
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = options::count)]
    cases: Option<u64>,
    /// End after this time, such as 500ms, 60s, 5m, 8h or 1h30m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = options::duration)]
    time: Option<Duration>,
    /// What the cases are made from [default: that of the run in the artifacts folder, or any; it is
    /// printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = options::number)]
    seed: Option<u64>,
    /// Engines to compare with the reference, separated by commas [default: those that `parallax
    /// engines` says are run by default]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::generator,
          help = options::generators_help())]
    generators: Vec<Generator>,
    /// Worker processes to run cases
    #[arg(long, value_name = "N", default_value = "1", allow_negative_numbers = true,
          value_parser = options::count)]
    jobs: u64,
    /// Folder to write inputs with findings to; made if there is none
    #[arg(long, value_name = "DIR", default_value = "artifacts")]
    artifacts: PathBuf,
    /// Begin at the first case, even if there is a run in the artifacts folder to go on with
    #[arg(long)]
    restart: bool,
    /// Leave the first case of every group of findings as it is, instead of shrinking it for a while
    #[arg(long)]
    no_shrink: bool,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: options::Workers,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

impl Fuzz {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let jobs = usize::try_from(self.jobs).ok().and_then(NonZeroUsize::new);
        let jobs = jobs.filter(|jobs| jobs.get() <= 4096);
        let options = FuzzOptions {
            seed: self.seed,
            cases: self.cases,
            time: self.time,
            subjects: options::subjects(&self.engines)?,
            generators: options::generators(&self.generators),
            jobs: jobs.context("--jobs is more than 4096")?,
            workers: Some(self.workers.station(!self.no_shrink)),
            artifacts: self.artifacts,
            restart: self.restart,
            fault: self.fault,
        };
        let fuzzer = Fuzzer::new(&options)?;
        let stop = stop_on_signals()?;
        console.print(opening(&options, &fuzzer));

        let mut progress = Progress::new(match (fuzzer.cases(), options.time) {
            (Some(cases), None) => Some(cases),
            (None, Some(time)) => Some(millis(time)),
            _ => None,
        });
        let mut told = Told::default();
        let report = fuzzer.run(&stop, |event| {
            match event {
                FuzzEvent::Progress {
                    record,
                    elapsed,
                    cases,
                } => {
                    let done = match (options.cases, options.time) {
                        (None, Some(_)) => millis(elapsed),
                        _ => record.done.count(),
                    };
                    progress.show(console, done, elapsed, || line(record, elapsed, cases));
                }
                FuzzEvent::Found(divergence) => {
                    if let Some(text) = told.tell(divergence) {
                        progress.print(console, text);
                    }
                }
                FuzzEvent::SetAside(aside) => progress.print(console, set_aside(aside)),
            }
            if console.is_closed() {
                // Nobody listens any more.
                stop.store(true, Ordering::Relaxed);
            }
        });
        progress.finish();
        summary::finish(console, fuzzer.job(), &options.artifacts, &report)
    }
}

/// A switch that Ctrl-C, a request to terminate and a hangup turn on. The second one ends at once. A
/// hangup that whoever started this process has it ignore is ignored.
pub(super) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    let on_signal = move || {
        if handler.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    signals::leaving_ignored(libc::SIGHUP, || ctrlc::set_handler(on_signal))
        .context("cannot handle signals")?;
    Ok(stop)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn opening(options: &FuzzOptions, fuzzer: &Fuzzer<'_>) -> String {
    let generators: Vec<&str> = options.generators.iter().map(Generator::name).collect();
    let mut text = format!(
        "seed {}: {} against {}, cases by {}, findings to {}\n",
        fuzzer.job().seed,
        fuzzer.job().subjects.join(", "),
        registry::REFERENCE,
        generators.join(", "),
        options.artifacts.display()
    );
    if let Some(fault) = options.fault {
        let _ = writeln!(text, "planted fault: {fault}");
    }
    let _ = match fuzzer.beginning() {
        Beginning::New => Ok(()),
        Beginning::Continued(cases) => writeln!(text, "continued: {cases} cases are done"),
        Beginning::Over(why) => writeln!(text, "not continued, but begun at the first case: {why}"),
    };
    text
}

/// What a person watches.
fn line(record: &Record, elapsed: Duration, cases: u64) -> String {
    let stats = &record.stats;
    let compared = stats.engines.values().map(|engine| engine.compared).max();
    format!(
        "{:.0} s: {} cases, {:.0}/s, {} compared, {} diverged, {} known, {} inconclusive",
        elapsed.as_secs_f64(),
        stats.cases,
        summary::rate(cases, elapsed),
        compared.unwrap_or(0),
        stats.diverged,
        stats.known,
        stats.inconclusive_total()
    )
}

/// Which findings were printed.
#[derive(Default)]
struct Told(HashMap<GroupKey, u32>);

impl Told {
    /// The text to print for a divergence, if it is to be printed: as long as there is something
    /// new about it.
    fn tell(&mut self, divergence: &Divergence) -> Option<String> {
        let told = self.0.entry(divergence.key.clone()).or_default();
        *told += 1;
        if *told > IN_FULL {
            return None;
        }
        let mut text = format!("\ncase {} diverged: ", divergence.case);
        match &divergence.path {
            Some(path) => {
                let _ = writeln!(text, "{}", path.display());
            }
            None => text.push_str("not saved\n"),
        }
        indent(&mut text, &divergence.report);
        Some(text)
    }
}

/// The text to print for a case that was set aside.
fn set_aside(aside: &SetAside) -> String {
    let path = aside.path.as_ref().map(|path| path.display().to_string());
    format!(
        "\ncase {} has no verdict ({}): {}\n  {}\n",
        aside.case,
        aside.reason,
        path.as_deref().unwrap_or("not saved"),
        aside.what
    )
}

/// Appends lines, each indented by two.
fn indent(out: &mut String, lines: &str) {
    for line in lines.lines() {
        let space = if line.is_empty() { "" } else { "  " };
        let _ = writeln!(out, "{space}{line}");
    }
}
