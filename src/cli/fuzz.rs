//! `parallax fuzz`: generated cases until something stops it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Write};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use parallax::campaign::{
    Divergence, FuzzEvent, FuzzOptions, FuzzReport, Fuzzer, Group, Limits, Mishap, SetAside,
};
use parallax::engine::registry;
use parallax::generate::Generator;
use parallax::score::Fault;
use parallax::stats::Stats;
use parallax_oracles::OracleName;
use serde::Serialize;

use super::console::{self, Console};
use super::options;
use super::progress::Progress;
use super::status::Status;

/// The program that runs, even if another one has taken its place on the disk meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How many findings of one oracle about one engine are printed in full.
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
#[derive(Args)]
pub struct Fuzz {
    /// End after this many cases
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = options::count)]
    cases: Option<u64>,
    /// End after this time, such as 500ms, 60s, 5m, 8h or 1h30m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = options::duration)]
    time: Option<Duration>,
    /// What the cases are made from [default: another one each time, printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = options::number)]
    seed: Option<u64>,
    /// Engines to compare with the reference, separated by commas [default: all that can be used
    /// here, see `parallax engines`]
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
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    /// Processor time that a case may take before its worker is ended
    #[arg(long, value_name = "TIME", default_value = "60s", allow_hyphen_values = true,
          value_parser = options::duration)]
    case_time: Duration,
    /// Memory that a worker may use before it is ended, in MiB
    #[arg(long, value_name = "MIB", default_value = "4096", allow_negative_numbers = true,
          value_parser = options::count)]
    case_memory: u64,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
    #[arg(long, hide = true, value_delimiter = ',', value_parser = options::mishap)]
    mishaps: Vec<Mishap>,
}

impl Fuzz {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let jobs = usize::try_from(self.jobs).ok().and_then(NonZeroUsize::new);
        let jobs = jobs.filter(|jobs| jobs.get() <= 4096);
        let options = FuzzOptions {
            seed: self.seed.unwrap_or_else(random_seed),
            cases: self.cases,
            time: self.time,
            subjects: options::subjects(&self.engines)?,
            generators: options::generators(&self.generators),
            jobs: jobs.context("--jobs is more than 4096")?,
            worker: Some(PathBuf::from(THIS_PROGRAM)),
            limits: Limits {
                time: self.case_time,
                memory: self.case_memory.saturating_mul(1 << 20),
            },
            artifacts: self.artifacts,
            fault: self.fault,
            mishaps: self.mishaps,
        };
        let fuzzer = Fuzzer::new(&options)?;
        let stop = stop_on_signals()?;
        console.print(opening(&options));

        let mut progress = Progress::new(match (options.cases, options.time) {
            (Some(cases), None) => Some(cases),
            (None, Some(time)) => Some(millis(time)),
            _ => None,
        });
        let mut told = Told::default();
        let report = fuzzer.run(&stop, |event| {
            match event {
                FuzzEvent::Progress(stats, elapsed) => {
                    let done = match (options.cases, options.time) {
                        (None, Some(_)) => millis(elapsed),
                        _ => stats.cases,
                    };
                    progress.show(console, done, elapsed, || line(stats, elapsed));
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
        finish(console, &options, &report)
    }
}

fn finish(
    console: &mut Console,
    options: &FuzzOptions,
    report: &FuzzReport,
) -> anyhow::Result<Status> {
    console.print(summary(options, report));
    if let Some(failure) = &report.failure {
        console::complain(failure);
    }
    if !console.is_for_json() {
        for (name, bytes) in report.unsaved.values() {
            console.print(format_args!(
                "{name} could not be saved and is, in hexadecimal (`xxd -r -p` reads it back):\n{}\n",
                hexadecimal(bytes)
            ));
        }
    } else {
        console.print_json(&Json::new(options, report))?;
    }
    Ok(if report.failure.is_some() {
        Status::Unusable
    } else if report.stats.diverged > 0 {
        Status::Diverged
    } else if report.stats.cases > 0 && report.stats.agreed == 0 {
        Status::Inconclusive
    } else {
        Status::Agreed
    })
}

/// Short enough to be typed.
fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id()) & u64::from(u32::MAX)
}

/// A switch that Ctrl-C, and a request to terminate, turn on. The second one ends at once.
pub(super) fn stop_on_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let handler = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if handler.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .context("cannot handle signals")?;
    Ok(stop)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn opening(options: &FuzzOptions) -> String {
    let generators: Vec<&str> = options.generators.iter().map(Generator::name).collect();
    let mut text = format!(
        "seed {}: {} against {}, cases by {}, findings to {}\n",
        options.seed,
        options.subjects.join(", "),
        registry::REFERENCE,
        generators.join(", "),
        options.artifacts.display()
    );
    if let Some(fault) = options.fault {
        let _ = writeln!(text, "planted fault: {fault}");
    }
    text
}

/// What a person watches.
fn line(stats: &Stats, elapsed: Duration) -> String {
    let compared = stats.engines.values().map(|engine| engine.compared).max();
    format!(
        "{:.0} s: {} cases, {:.0}/s, {} compared, {} diverged, {} known, {} inconclusive",
        elapsed.as_secs_f64(),
        stats.cases,
        rate(stats, elapsed),
        compared.unwrap_or(0),
        stats.diverged,
        stats.known,
        stats.inconclusive_total()
    )
}

fn rate(stats: &Stats, elapsed: Duration) -> f64 {
    stats.cases as f64 / elapsed.as_secs_f64().max(0.001)
}

/// Which findings were printed.
#[derive(Default)]
struct Told(HashMap<(String, OracleName), u32>);

impl Told {
    /// The text to print for a divergence, if it is to be printed: as long as there is something
    /// new about it.
    fn tell(&mut self, divergence: &Divergence) -> Option<String> {
        let mut new = false;
        for finding in &divergence.findings {
            let key = (finding.engine.clone(), finding.oracle);
            let told = self.0.entry(key).or_default();
            *told += 1;
            new |= *told <= IN_FULL;
        }
        if !new {
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

fn summary(options: &FuzzOptions, report: &FuzzReport) -> String {
    let stats = &report.stats;
    let mut text = format!(
        "{} cases of seed {} in {:.1} s ({:.0}/s)\n",
        stats.cases,
        options.seed,
        report.elapsed.as_secs_f64(),
        rate(stats, report.elapsed)
    );
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "  verdicts  {} agreed, {} diverged, {} inconclusive{}, {} known{}",
        stats.agreed,
        stats.diverged,
        stats.inconclusive_total(),
        of_which(&stats.inconclusive),
        stats.known,
        of_which(&stats.known_faults)
    );
    let _ = write!(
        text,
        "\n  calls     {} returned, {} trapped; {} cases without a call that ran\n  \
         modules   {} different opcodes\n",
        stats.calls.returned,
        stats.calls.trapped,
        stats.idle,
        stats.opcodes.len()
    );
    for (name, engine) in &stats.engines {
        let _ = writeln!(
            text,
            "  {name:8}  {} compared, {} unsupported",
            engine.compared, engine.unsupported
        );
    }
    if report.workers_lost > 0 {
        let _ = writeln!(text, "  workers   {} lost", report.workers_lost);
    }
    for path in report.set_aside.values() {
        let _ = writeln!(text, "  aside     {}", path.display());
    }
    for group in &report.groups {
        let cases = if group.cases == 1 { "case" } else { "cases" };
        let _ = writeln!(
            text,
            "  found     {} in {}: {} {cases}, the first {}",
            group.oracle,
            group.engine,
            group.cases,
            where_kept(report, group.first)
        );
    }
    text
}

/// Counts by name, in parentheses; nothing if there are none.
fn of_which<N: Display>(counts: &BTreeMap<N, u64>) -> String {
    let counts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    format!(" ({})", counts.join(", "))
}

fn where_kept(report: &FuzzReport, case: u64) -> String {
    match report.artifacts.get(&case) {
        Some(path) => path.display().to_string(),
        None => case.to_string(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    seed: u64,
    #[serde(flatten)]
    stats: &'a Stats,
    seconds: f64,
    artifacts: Vec<String>,
    set_aside: Vec<String>,
    workers_lost: u64,
    findings: &'a [Group],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsaved: Vec<Unsaved<'a>>,
}

/// An input that could not be saved.
#[derive(Serialize)]
struct Unsaved<'a> {
    name: &'a str,
    hexadecimal: String,
}

impl<'a> Json<'a> {
    fn new(options: &FuzzOptions, report: &'a FuzzReport) -> Json<'a> {
        let paths = report.artifacts.values();
        let aside = report.set_aside.values();
        let unsaved = report.unsaved.values();
        Json {
            seed: options.seed,
            stats: &report.stats,
            seconds: report.elapsed.as_secs_f64(),
            artifacts: paths.map(|path| path.display().to_string()).collect(),
            set_aside: aside.map(|path| path.display().to_string()).collect(),
            workers_lost: report.workers_lost,
            findings: &report.groups,
            unsaved: unsaved
                .map(|(name, bytes)| Unsaved {
                    name,
                    hexadecimal: hexadecimal(bytes),
                })
                .collect(),
        }
    }
}
