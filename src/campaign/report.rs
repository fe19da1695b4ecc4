//! What a run tells and what comes of it, and the collecting of it from many workers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use parallax_oracles::{Finding, Reason};

use super::confine::Layer;
use super::group::GroupKey;
use super::record::Record;
use super::small::Small;
use super::{FuzzError, FuzzEvent};
use crate::stats::Stats;

/// A case that diverged.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the case.
    pub case: u64,
    /// Which of the inputs for it made the case.
    pub attempt: u64,
    /// The input's name in the artifacts folder.
    pub name: String,
    /// Where the input was saved, if it could be.
    pub path: Option<PathBuf>,
    /// What it has in common with others of the same cause.
    pub key: GroupKey,
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
    /// What was counted and found, over all starts.
    pub record: Record,
    /// By what all worker processes were confined; nothing if there were none.
    pub confined_by: Option<Vec<Layer>>,
    /// Inputs that could not be saved, by number of their case: name and bytes.
    pub unsaved: BTreeMap<u64, (String, Vec<u8>)>,
    /// Why the run ended before its time, if it did.
    pub failure: Option<FuzzError>,
}

/// What those who run cases hand in.
pub(super) enum Message {
    /// What a case counts for, and what is to be told of it.
    Case(Box<CaseDone>),
    /// A worker is there, confined by these.
    Started(Vec<Layer>),
    /// A worker is gone that should not be.
    Lost,
    /// The first case of a group is shrunk.
    Shrunk(Box<ShrunkGroup>),
    /// One who runs cases has no more of them.
    Finished,
    /// Cases cannot be run any more.
    Failed(FuzzError),
}

/// The first case of a group, shrunk.
pub(super) struct ShrunkGroup {
    pub key: GroupKey,
    pub case: u64,
    pub small: Small,
    /// The name of the script.
    pub script: String,
    /// Why that could not be saved.
    pub failure: Option<FuzzError>,
}

impl Message {
    /// Whether there is a finding in it.
    pub fn has_finding(&self) -> bool {
        matches!(self, Message::Case(done) if matches!(done.told, Some(Told::Found(_))))
    }
}

/// A case that is done.
pub(super) struct CaseDone {
    pub case: u64,
    pub stats: Stats,
    pub told: Option<Told>,
    pub unsaved: Option<Unsaved>,
}

/// Why something could not be saved; with the input's name and bytes, if that is what could not be.
pub(super) type Unsaved = (FuzzError, Option<(String, Vec<u8>)>);

/// What is to be told of a case.
pub(super) enum Told {
    Found(Divergence),
    SetAside(SetAside),
}

impl FuzzReport {
    /// Takes what was handed in.
    pub(super) fn take(&mut self, message: Message, tell: &mut impl FnMut(FuzzEvent<'_>)) {
        match message {
            Message::Failed(error) => self.fail(error),
            Message::Lost => self.record.workers_lost += 1,
            Message::Started(layers) => match &mut self.confined_by {
                Some(all) => all.retain(|layer| layers.contains(layer)),
                None => self.confined_by = Some(layers),
            },
            Message::Case(done) => self.case(*done, tell),
            Message::Finished => {}
            Message::Shrunk(shrunk) => {
                let ShrunkGroup {
                    key,
                    case,
                    small,
                    script,
                    failure,
                } = *shrunk;
                match failure {
                    Some(failure) => self.fail(failure),
                    None => self.record.shrunk(&key, case, small, script),
                }
            }
        }
    }

    fn case(&mut self, done: CaseDone, tell: &mut impl FnMut(FuzzEvent<'_>)) {
        self.record.stats.merge(&done.stats);
        // A case whose input could not be saved will be run again.
        let mut kept = true;
        if let Some((error, input)) = done.unsaved {
            self.fail(error);
            if let Some(input) = input {
                kept = false;
                self.unsaved.insert(done.case, input);
            }
        }
        if kept {
            self.record.done.insert(done.case);
        }
        match &done.told {
            Some(Told::Found(divergence)) => {
                self.record.found(divergence);
                tell(FuzzEvent::Found(divergence));
            }
            Some(Told::SetAside(aside)) => {
                self.record.set_aside(aside);
                tell(FuzzEvent::SetAside(aside));
            }
            None => {}
        }
    }

    /// Notes why the run cannot go on. The first reason is the one to tell.
    pub(super) fn fail(&mut self, error: FuzzError) {
        self.failure.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One worker that is confined by less is enough.
    #[test]
    fn a_run_is_confined_by_what_all_of_its_workers_are() {
        let mut report = FuzzReport::default();
        let started = |layers: &[Layer]| Message::Started(layers.to_vec());
        report.take(started(&Layer::ALL), &mut |_| {});
        assert_eq!(report.confined_by.as_deref(), Some(&Layer::ALL[..]));
        report.take(started(&[Layer::Seccomp]), &mut |_| {});
        report.take(started(&Layer::ALL), &mut |_| {});
        assert_eq!(report.confined_by.as_deref(), Some(&[Layer::Seccomp][..]));
    }
}
