//! What a run tells and what comes of it, and the collecting of it from many workers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use parallax_oracles::{Finding, OracleName, Reason};
use serde::Serialize;

use super::{FuzzError, FuzzEvent};
use crate::stats::Stats;

/// A case that diverged.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the case.
    pub case: u64,
    /// The input's name in the artifacts folder.
    pub name: String,
    /// Where the input was saved, if it could be.
    pub path: Option<PathBuf>,
    /// What differs.
    pub findings: Vec<Finding>,
    /// The findings in words, with the code concerned.
    pub report: String,
}

/// A case without a verdict because its worker had to be ended, or was: its input is saved as well,
/// since why it is so may be worth a look.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// The number of the case.
    pub case: u64,
    /// Why.
    pub reason: Reason,
    /// The input's name in the artifacts folder.
    pub name: String,
    /// Where the input was saved, if it could be.
    pub path: Option<PathBuf>,
    /// How the worker ended.
    pub what: String,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct FuzzReport {
    /// The counts.
    pub stats: Stats,
    /// How long it took.
    pub elapsed: Duration,
    /// The saved inputs of cases that diverged, by number of their case.
    pub artifacts: BTreeMap<u64, PathBuf>,
    /// The saved inputs of cases that were set aside, by number of their case.
    pub set_aside: BTreeMap<u64, PathBuf>,
    /// How many workers died, or had to be ended.
    pub workers_lost: u64,
    /// The findings, one entry an engine and oracle.
    pub groups: Vec<Group>,
    /// Inputs that could not be saved, by number of their case: name and bytes.
    pub unsaved: BTreeMap<u64, (String, Vec<u8>)>,
    /// Why the run ended before its time, if it did.
    pub failure: Option<FuzzError>,
}

/// All findings of one oracle about one engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// The engine.
    pub engine: String,
    /// The oracle.
    pub oracle: OracleName,
    /// The number of cases with such a finding.
    pub cases: u64,
    /// The first of them.
    pub first: u64,
    /// What was found there, in one line.
    pub example: String,
}

/// What those who run cases hand in.
pub(super) enum Message {
    /// What a case counts for, and what is to be told of it.
    Case(Box<Done>),
    /// A worker is gone that should not be.
    Lost,
    /// Cases cannot be run any more.
    Failed(FuzzError),
}

/// A case that is done.
pub(super) struct Done {
    pub case: u64,
    pub stats: Stats,
    pub told: Vec<Told>,
    pub unsaved: Option<Unsaved>,
}

/// Why something could not be saved; with the input's name and bytes, if that is what could not be.
pub(super) type Unsaved = (FuzzError, Option<(String, Vec<u8>)>);

impl Done {
    pub fn new(case: u64, stats: Stats) -> Done {
        Done {
            case,
            stats,
            told: Vec::new(),
            unsaved: None,
        }
    }
}

/// What is to be told of a case.
pub(super) enum Told {
    Found(Divergence),
    SetAside(SetAside),
}

/// What was handed in so far.
#[derive(Default)]
pub(super) struct Collected {
    pub report: FuzzReport,
    groups: BTreeMap<(String, OracleName), Group>,
}

impl Collected {
    pub fn take(&mut self, message: Message, tell: &mut impl FnMut(FuzzEvent<'_>)) {
        match message {
            Message::Failed(error) => self.fail(error),
            Message::Lost => self.report.workers_lost += 1,
            Message::Case(done) => self.case(*done, tell),
        }
    }

    fn case(&mut self, done: Done, tell: &mut impl FnMut(FuzzEvent<'_>)) {
        self.report.stats.merge(&done.stats);
        if let Some((error, input)) = done.unsaved {
            self.fail(error);
            if let Some(input) = input {
                self.report.unsaved.insert(done.case, input);
            }
        }
        for told in &done.told {
            match told {
                Told::Found(divergence) => {
                    self.group(divergence);
                    if let Some(path) = &divergence.path {
                        self.report.artifacts.insert(done.case, path.clone());
                    }
                    tell(FuzzEvent::Found(divergence));
                }
                Told::SetAside(aside) => {
                    if let Some(path) = &aside.path {
                        self.report.set_aside.insert(done.case, path.clone());
                    }
                    tell(FuzzEvent::SetAside(aside));
                }
            }
        }
    }

    pub fn fail(&mut self, error: FuzzError) {
        self.report.failure.get_or_insert(error);
    }

    fn group(&mut self, divergence: &Divergence) {
        for finding in &divergence.findings {
            let key = (finding.engine.clone(), finding.oracle);
            let group = self.groups.entry(key).or_insert_with(|| Group {
                engine: finding.engine.clone(),
                oracle: finding.oracle,
                cases: 0,
                first: u64::MAX,
                example: String::new(),
            });
            group.cases += 1;
            if divergence.case < group.first {
                group.first = divergence.case;
                group.example = finding.to_string();
            }
        }
    }

    pub fn finish(mut self, elapsed: Duration) -> FuzzReport {
        self.report.elapsed = elapsed;
        self.report.groups = self.groups.into_values().collect();
        self.report
    }
}
