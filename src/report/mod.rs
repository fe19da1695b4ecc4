//! What came of a night, for who comes in the morning: the run of `parallax fuzz` and the fuzz targets,
//! as text, as data and as a page with plots.
//!
//! A folder of a night, as `scripts/nightly` leaves it:
//!
//! | path | what it is |
//! | --- | --- |
//! | `campaign/` | the artifacts folder of `parallax fuzz` |
//! | `targets/NAME/log` | what the fuzz target printed |
//! | `targets/NAME/crash-…`, `timeout-…`, `oom-…` | inputs that it saved |
//!
//! Any artifacts folder of `parallax fuzz` will do as well.

mod html;
mod plot;
mod target;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::campaign::group::Group;
use crate::campaign::record::Point;
use crate::campaign::{self, Job, Record};
use crate::case::opcodes::OpcodeSet;
use crate::stats::Stats;

pub use target::{SAVED, Target};

/// Why there is no report. One line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReportError(String);

/// What came of a night.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of parallax that says so.
    pub version: &'static str,
    /// The run of `parallax fuzz`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<Campaign>,
    /// Saved inputs that the run does not know: those of runs before it in the folder, and those of a
    /// run that was killed before it could note them. From the folder of the night, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<PathBuf>,
    /// The fuzz targets.
    pub targets: Vec<Target>,
}

/// The run of `parallax fuzz`.
#[derive(Debug, Serialize)]
pub struct Campaign {
    /// Its artifacts folder, from that of the night.
    pub folder: PathBuf,
    /// What was to be done.
    #[serde(flatten)]
    pub job: Job,
    /// The counts.
    #[serde(flatten)]
    pub stats: Stats,
    /// How long it took, over all starts.
    pub seconds: f64,
    /// How often it was started.
    pub starts: u64,
    /// How many workers died, or had to be ended.
    pub workers_lost: u64,
    /// The causes of what was found.
    pub findings: Vec<Group>,
    /// Inputs of cases that were set aside.
    pub set_aside: Vec<String>,
    /// How it went.
    pub course: Vec<Point>,
    /// Which instructions of WebAssembly 2.0 were in the cases, by kind.
    pub coverage: BTreeMap<&'static str, Coverage>,
}

/// Which instructions of a kind there were.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Coverage {
    /// How many there were.
    pub covered: usize,
    /// How many there could have been.
    pub all: usize,
    /// Those that there were not.
    pub missing: Vec<String>,
}

impl Report {
    /// Reads the folder of a night.
    ///
    /// # Errors
    /// If there is nothing in it to report on, or it cannot be read.
    pub fn read(folder: &Path) -> Result<Report, ReportError> {
        let within = folder.join("campaign");
        let (path, name) = match within.is_dir() {
            true => (within, "campaign"),
            false => (folder.to_path_buf(), ""),
        };
        let run = campaign::read_run(&path)
            .map_err(|why| ReportError(format!("{}: {why}", path.display())))?;
        let known = |saved: &String| {
            let records = run.iter().map(|(_, record)| record);
            records.flat_map(Record::saved).any(|name| name == saved)
        };
        let mut others = campaign::saved_inputs(&path)
            .map_err(|error| ReportError(format!("{}: {error}", path.display())))?;
        others.retain(|saved| !known(saved));
        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            others: others.iter().map(|it| Path::new(name).join(it)).collect(),
            campaign: run.map(|(job, record)| Campaign::of(PathBuf::from(name), job, record)),
            targets: targets(&folder.join("targets"))?,
        };
        if report.campaign.is_none() && report.targets.is_empty() && report.others.is_empty() {
            let folder = folder.display();
            return Err(ReportError(format!("{folder}: nothing here to report on")));
        }
        Ok(report)
    }

    /// Whether anything was found.
    pub fn has_findings(&self) -> bool {
        let campaign = self.campaign.iter().any(|it| !it.findings.is_empty());
        let targets = self.targets.iter().any(|target| !target.saved.is_empty());
        campaign || targets || self.others.iter().any(|path| diverged(path))
    }

    /// As text.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// As a page that needs nothing else.
    pub fn html(&self) -> String {
        html::page(self)
    }
}

/// Whether an input was saved since engines differ on it, and not since it has no verdict.
fn diverged(path: &Path) -> bool {
    let name = path.file_name().and_then(|it| it.to_str());
    name.is_some_and(|it| it.starts_with(campaign::DIVERGED))
}

fn targets(folder: &Path) -> Result<Vec<Target>, ReportError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let wrong = |error: std::io::Error| ReportError(format!("{}: {error}", folder.display()));
    let mut targets = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if entry.path().is_dir() {
            let name = entry.file_name().display().to_string();
            targets.push(Target::read(name, &entry.path()).map_err(wrong)?);
        }
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

impl Campaign {
    fn of(folder: PathBuf, job: Job, record: Record) -> Campaign {
        Campaign {
            folder,
            job,
            findings: record.causes(),
            seconds: record.elapsed.as_secs_f64(),
            starts: record.starts,
            workers_lost: record.workers_lost,
            set_aside: record.set_aside.into_values().collect(),
            course: record.course.points,
            coverage: coverage(&record.stats.opcodes),
            stats: record.stats,
        }
    }

    /// Instructions that were in the cases, and all of WebAssembly 2.0.
    pub fn covered(&self) -> (usize, usize) {
        let kinds = self.coverage.values();
        kinds.fold((0, 0), |(covered, all), kind| {
            (covered + kind.covered, all + kind.all)
        })
    }
}

/// Which instructions of WebAssembly 2.0 are in a set, by kind.
fn coverage(opcodes: &OpcodeSet) -> BTreeMap<&'static str, Coverage> {
    let mut kinds: BTreeMap<&'static str, Coverage> = BTreeMap::new();
    let seen: Vec<_> = opcodes.names().collect();
    for name in OpcodeSet::wasm_2().names() {
        let kind = kinds.entry(kind_of(&name)).or_default();
        kind.all += 1;
        if seen.contains(&name) {
            kind.covered += 1;
        } else {
            kind.missing.push(name.into_owned());
        }
    }
    kinds
}

/// The kind of an instruction, by its name.
fn kind_of(name: &str) -> &'static str {
    let (namespace, rest) = name.split_once('.').unwrap_or(("", name));
    let memory = rest.contains("load") || rest.contains("store");
    match namespace {
        "memory" | "data" => "memory",
        "table" | "elem" => "tables",
        "ref" => "references",
        "local" | "global" => "variables",
        "i32" | "i64" if memory => "memory",
        "f32" | "f64" if memory => "memory",
        "i32" | "i64" => "integers",
        "f32" | "f64" => "floats",
        "" => "control",
        _ => "vectors",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_wasm_2_is_of_some_kind() {
        let none = coverage(&OpcodeSet::EMPTY);
        let all: usize = none.values().map(|kind| kind.all).sum();
        // The specification's index of instructions.
        assert_eq!(all, 437, "{none:?}");
        assert_eq!(none["vectors"].all, 236);
        assert_eq!(
            none["references"].missing,
            ["ref.null", "ref.is_null", "ref.func"]
        );
        let full = coverage(&OpcodeSet::wasm_2());
        assert!(
            full.values()
                .all(|kind| kind.missing.is_empty() && kind.covered == kind.all)
        );
    }

    #[test]
    fn a_folder_of_nothing_is_told() {
        let folder = std::env::temp_dir().join(format!("parallax-report-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let error = Report::read(&folder).expect_err("nothing");
        assert!(
            error.to_string().ends_with("nothing here to report on"),
            "{error}"
        );
        fs::remove_dir_all(&folder).expect("it goes");
        assert!(Report::read(&folder).is_err());
    }

    /// What a run has saved that was killed before it said how far it is, or that another run has
    /// followed in the folder, is not passed over.
    #[test]
    fn what_is_saved_and_not_known_is_told() {
        let folder = std::env::temp_dir().join(format!("parallax-others-{}", std::process::id()));
        let campaign = folder.join("campaign");
        fs::create_dir_all(&campaign).expect("a folder");
        let save = |name: &str| fs::write(campaign.join(name), "x").expect("a file");
        save("hung-1-2.bin");
        for name in ["notes.bin", "differential-1-9.txt", ".differential-1-9.bin"] {
            save(name);
        }
        let read = || Report::read(&folder).expect("a report");
        assert_eq!(read().others, [Path::new("campaign/hung-1-2.bin")]);
        assert!(!read().has_findings());
        save("differential-1-9.bin");
        assert!(read().has_findings());
        let text = read().text();
        assert!(text.contains("campaign/differential-1-9.bin"), "{text}");
        assert!(!text.contains("Nothing was found."), "{text}");
        assert!(read().html().contains("campaign/differential-1-9.bin"));
        fs::remove_dir_all(&folder).expect("it goes");
    }
}
