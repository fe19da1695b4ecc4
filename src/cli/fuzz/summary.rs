//! What `parallax fuzz` says at the end.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;
use std::time::Duration;

use parallax::campaign::confine::Layer;
use parallax::campaign::group::Group;
use parallax::campaign::{FuzzReport, Job};
use parallax::stats::Stats;
use parallax::triage::known;
use serde::Serialize;

use crate::cli::console::{self, Console};
use crate::cli::status::Status;

/// Says what came of a run, and how it ends.
pub fn finish(
    console: &mut Console,
    job: &Job,
    folder: &Path,
    report: &FuzzReport,
) -> anyhow::Result<Status> {
    console.print(summary(job, folder, report));
    if let Some(failure) = &report.failure {
        console::complain(failure);
    }
    if console.is_for_json() {
        console.print_json(&Json::new(job, folder, report))?;
    }
    // In JSON it stands as well, if that could be written.
    if !console.is_for_json() || console.is_closed() {
        for (name, bytes) in report.unsaved.values() {
            console.print_precious(format_args!(
                "{name} could not be saved and is, in hexadecimal (`xxd -r -p` reads it back):\n{}\n",
                hexadecimal(bytes)
            ));
        }
    }
    let stats = &report.record.stats;
    Ok(if report.failure.is_some() {
        Status::Unusable
    } else if stats.diverged > 0 {
        Status::Diverged
    } else if stats.cases > 0 && stats.agreed == 0 {
        Status::Inconclusive
    } else {
        Status::Agreed
    })
}

fn summary(job: &Job, folder: &Path, report: &FuzzReport) -> String {
    let record = &report.record;
    let stats = &record.stats;
    let mut text = format!(
        "{} cases of seed {} in {:.1} s ({:.0}/s)\n",
        stats.cases,
        job.seed,
        record.elapsed.as_secs_f64(),
        rate(stats.cases, record.elapsed)
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
    let fixed = known::fixed_upstream(&stats.known_faults);
    if !fixed.is_empty() {
        let _ = writeln!(
            text,
            "  known     of these, fixed upstream in {}: {}",
            known::current(),
            counts(&fixed)
        );
    }
    let width = stats
        .engines
        .keys()
        .map(String::len)
        .max()
        .unwrap_or(0)
        .max(8);
    for (name, engine) in &stats.engines {
        let _ = writeln!(
            text,
            "  {name:width$}  {} compared, {} unsupported{}",
            engine.compared,
            engine.unsupported,
            of_which(&engine.unsupported_by)
        );
    }
    if record.workers_lost > 0 {
        let _ = writeln!(text, "  workers   {} lost", record.workers_lost);
    }
    if let Some(layers) = &report.confined_by
        && layers.len() < Layer::ALL.len()
    {
        let _ = writeln!(text, "  workers   confined by {}", names(layers));
    }
    for path in record.set_aside_in(folder) {
        let _ = writeln!(text, "  aside     {}", path.display());
    }
    for group in &record.causes() {
        let cases = if group.cases == 1 { "case" } else { "cases" };
        let key = &group.key;
        let blame = key.blame.as_ref().map(|blame| blame.layer.name());
        let _ = writeln!(
            text,
            "  found     {} in {}{}: {} {cases}, the first {}\n            {}",
            key.oracle,
            key.engine,
            blame.map_or(String::new(), |layer| format!(", {layer}")),
            group.cases,
            folder.join(&group.input).display(),
            key.shape
        );
        if let (Some(small), Some(script)) = (&group.small, &group.script) {
            let opcodes: Vec<&str> = small.opcodes.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "            shrunk to {} instructions: {} ({})",
                small.instructions,
                folder.join(script).display(),
                shortened(&opcodes)
            );
        }
    }
    text
}

/// The names of ways to confine, for people.
pub fn names(layers: &[Layer]) -> String {
    let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
    if names.is_empty() {
        return "nothing".to_string();
    }
    names.join(" and ")
}

/// Some names, separated by commas; how many more there are, if there are many.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    match names.len() {
        0..=SHOWN => names.join(", "),
        many => format!("{}, and {} more", names[..SHOWN].join(", "), many - SHOWN),
    }
}

/// Cases a second.
pub fn rate(cases: u64, elapsed: Duration) -> f64 {
    cases as f64 / elapsed.as_secs_f64().max(0.001)
}

/// Counts by name, in parentheses; nothing if there are none.
fn of_which<N: Display>(by_name: &BTreeMap<N, u64>) -> String {
    if by_name.is_empty() {
        return String::new();
    }
    format!(" ({})", counts(by_name))
}

/// Counts by name.
fn counts<N: Display>(by_name: &BTreeMap<N, u64>) -> String {
    let counts: Vec<String> = by_name
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
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
    /// Of the known faults that were met, those that the current generation of Cranelift does not have.
    fixed_upstream: BTreeMap<&'a str, u64>,
    seconds: f64,
    starts: u64,
    artifacts: Vec<String>,
    set_aside: Vec<String>,
    workers_lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    confined_by: Option<&'a [Layer]>,
    findings: Vec<Group>,
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
    fn new(job: &Job, folder: &Path, report: &'a FuzzReport) -> Json<'a> {
        let record = &report.record;
        let unsaved = report.unsaved.values();
        Json {
            seed: job.seed,
            stats: &record.stats,
            fixed_upstream: known::fixed_upstream(&record.stats.known_faults),
            seconds: record.elapsed.as_secs_f64(),
            starts: record.starts,
            artifacts: record
                .artifacts_in(folder)
                .map(|path| path.display().to_string())
                .collect(),
            set_aside: record
                .set_aside_in(folder)
                .map(|path| path.display().to_string())
                .collect(),
            workers_lost: record.workers_lost,
            confined_by: report.confined_by.as_deref(),
            findings: record.causes(),
            unsaved: unsaved
                .map(|(name, bytes)| Unsaved {
                    name,
                    hexadecimal: hexadecimal(bytes),
                })
                .collect(),
        }
    }
}
