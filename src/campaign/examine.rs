//! One case of a run: made, run through all engines, counted. The same whether a thread of this
//! process does it or a worker process ([`super::worker`]).

use std::collections::BTreeSet;

use parallax_oracles::{Finding, OracleName, Outcome, Place, Seen, Verdict};
use serde::{Deserialize, Serialize};

use super::FuzzOptions;
use super::input;
use super::supervise::Limits;
use crate::generate::Generators;
use crate::harness::{Harness, default_subjects};
use crate::panics;
use crate::score::Fault;
use crate::stats::{Counts, Stats};
use crate::triage::blame::Blame;
use crate::triage::show;

/// What decides which cases there are and what comes of them. Two runs of the same job, by the
/// same program, are the same run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What all inputs are drawn from.
    pub seed: u64,
    /// The engines to compare with the reference.
    pub subjects: Vec<String>,
    /// The generators to make cases with.
    #[serde(with = "names")]
    pub generators: Generators,
    /// A fault to plant in the subjects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl Job {
    /// The job that a run of these options does.
    pub fn of(options: &FuzzOptions, seed: u64) -> Job {
        Job {
            seed,
            subjects: options.subjects.iter().map(ToString::to_string).collect(),
            generators: options.generators,
            fault: options.fault,
        }
    }

    /// Whether its engines are these, in whichever order.
    pub fn is_of_engines<S: AsRef<str>>(&self, names: &[S]) -> bool {
        let own: BTreeSet<&str> = self.subjects.iter().map(String::as_str).collect();
        own == names.iter().map(AsRef::as_ref).collect()
    }

    /// The command that shows again what came of an input: with what decides that, where it is not what
    /// there is by default.
    pub fn recipe(&self, input: &str, limits: Limits) -> String {
        let mut text = format!("parallax repro {input}");
        if !self.is_of_engines(&default_subjects()) {
            text.push_str(&format!(" --engines {}", self.subjects.join(",")));
        }
        if let Some(fault) = self.fault {
            text.push_str(&format!(" --fault {}", fault.name()));
        }
        if limits.time != Limits::default().time {
            text.push_str(&format!(" --case-time {}ms", limits.time.as_millis()));
        }
        if limits.memory != Limits::default().memory {
            text.push_str(&format!(" --case-memory {}", limits.memory >> 20));
        }
        text
    }

    /// In what another job differs that is not to be taken for this one. The seed counts if `seeded`.
    pub fn why_not(&self, other: &Job, seeded: bool) -> Option<&'static str> {
        if seeded && self.seed != other.seed {
            Some("cases (--seed)")
        } else if !self.is_of_engines(&other.subjects) {
            Some("engines")
        } else if self.generators != other.generators {
            Some("generators")
        } else if self.fault != other.fault {
            Some("faults planted")
        } else {
            None
        }
    }

    /// The engines of the job.
    ///
    /// # Errors
    /// One line, if one of them cannot be used here.
    pub fn harness(&self) -> Result<Harness, String> {
        let subjects: Vec<&str> = self.subjects.iter().map(String::as_str).collect();
        Harness::with_fault(&subjects, self.fault)
    }
}

/// Generators by their names, separated by commas.
mod names {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::generate::{Generator, Generators};

    pub fn serialize<S: Serializer>(set: &Generators, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<&str> = set.iter().map(Generator::name).collect();
        serializer.serialize_str(&names.join(","))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Generators, D::Error> {
        let names = String::deserialize(deserializer)?;
        names.parse().map_err(de::Error::custom)
    }
}

/// What came of a case.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The number of the case.
    pub case: u64,
    /// Which of the inputs for it made the case.
    pub attempt: u64,
    /// What is to be counted.
    pub counts: Counts,
    /// What differs, if it diverged.
    pub found: Option<Found>,
}

/// What differs in a case.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// The findings.
    pub findings: Vec<Finding>,
    /// The same in words, with the code concerned.
    pub report: String,
    /// Whose fault it is, at a first guess; nothing if parallax itself failed.
    #[serde(default)]
    pub blame: Option<Blame>,
}

impl Found {
    /// The finding that parallax itself failed at a case, or was made to fail.
    pub fn failure(why: String) -> Found {
        let finding = Finding {
            oracle: OracleName::Traps,
            step: 0,
            at_call: None,
            place: Place::Outcome,
            reference: Seen::Rule("every case is run and compared".to_string()),
            subject: Seen::Outcome(Outcome::Failed(why)),
            engine: "parallax".to_string(),
            against: None,
        };
        Found {
            report: format!("{finding}\n"),
            findings: vec![finding],
            blame: None,
        }
    }
}

/// Runs cases of a job, one after the other. Its engines have reserved what they keep, which is no
/// case's doing.
pub struct Examiner {
    job: Job,
    harness: Harness,
}

impl Examiner {
    /// Makes the engines.
    ///
    /// # Errors
    /// One line, if one of them cannot be used here.
    pub fn new(job: Job) -> Result<Examiner, String> {
        let mut harness = job.harness()?;
        harness.warm_up();
        Ok(Examiner { job, harness })
    }

    /// Runs a case. `note` is told of every input for it before anything is done with it.
    ///
    /// # Errors
    /// One line, if an engine that panicked cannot be made again.
    pub fn examine(
        &mut self,
        number: u64,
        mut note: impl FnMut(u64, &[u8]),
    ) -> Result<Ran, String> {
        let mut attempt = 0;
        let mut stats = Stats::default();
        let (job, harness) = (&self.job, &mut self.harness);
        let found = panics::catch(|| {
            let (_, made, without) =
                input::case_noting(job.seed, number, job.generators, |number, bytes| {
                    attempt = number;
                    note(number, bytes);
                });
            stats.no_case += without;
            let made = made?;
            let examined = harness.examine(&made);
            stats.examined(&made, &examined);
            let blame = Blame::of(&examined);
            let report = match examined.verdict {
                Verdict::Diverged(_) => show::divergence(&made, &examined),
                Verdict::Agreed | Verdict::Inconclusive(_) => String::new(),
            };
            match examined.verdict {
                Verdict::Diverged(findings) => Some(Found {
                    report,
                    findings,
                    blame,
                }),
                Verdict::Agreed | Verdict::Inconclusive(_) => None,
            }
        });
        let found = match found {
            Ok(found) => found,
            Err(panic) => {
                self.harness = self.job.harness()?;
                stats = Stats::default();
                stats.cases += 1;
                stats.diverged += 1;
                Some(Found::failure(format!("panicked: {panic}")))
            }
        };
        Ok(Ran {
            case: number,
            attempt,
            counts: stats.into(),
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_the_same_in_whichever_order() {
        let of = |subjects: &[&str]| Job {
            seed: 1,
            subjects: subjects.iter().map(ToString::to_string).collect(),
            generators: Generators::all(),
            fault: None,
        };
        let job = of(&["x86_64", "clif"]);
        assert_eq!(job.why_not(&of(&["clif", "x86_64"]), true), None);
        for other in [&["clif"][..], &["x86_64", "clif", "aarch64"]] {
            assert_eq!(job.why_not(&of(other), true), Some("engines"));
        }
    }
}
