//! What came of a case, on its way from the worker that ran it: without what subjects showed besides
//! their verdicts, which nobody needs there.

use parallax::engine::registry;
use parallax::harness::{Examined, NotCompared, Subject};
use parallax::triage::known::KNOWN;
use parallax_oracles::{Comparison, Observation, Tallies, Verdict};
use serde::{Deserialize, Serialize};

/// What came of a case.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    verdict: Verdict,
    /// The known faults that were met, by name.
    known: Vec<String>,
    reference: Option<Observation>,
    subjects: Vec<(String, bool, Result<Verdict, Without>)>,
}

/// Why a subject was not compared.
#[derive(Debug, Serialize, Deserialize)]
enum Without {
    Unsupported(String),
    NothingToCompare,
}

impl From<Examined> for Sent {
    fn from(examined: Examined) -> Sent {
        let subjects = examined.subjects.into_iter().map(|subject| {
            let result = match subject.result {
                Ok(comparison) => Ok(comparison.verdict),
                Err(NotCompared::Unsupported(what)) => Err(Without::Unsupported(what)),
                Err(NotCompared::NothingToCompare) => Err(Without::NothingToCompare),
            };
            (subject.engine.to_string(), subject.excused, result)
        });
        Sent {
            verdict: examined.verdict,
            known: examined
                .known
                .iter()
                .map(|it| it.name.to_string())
                .collect(),
            subjects: subjects.collect(),
            reference: examined.reference,
        }
    }
}

impl Sent {
    /// What was sent; nothing if it names what there is not.
    pub fn received(self) -> Option<Examined> {
        let known = |name: &String| KNOWN.iter().find(|fault| fault.name == name);
        let subject = |(name, excused, result): (String, bool, Result<Verdict, Without>)| {
            Some(Subject {
                engine: registry::all().iter().find(|it| it.name == name)?.name,
                result: match result {
                    Ok(verdict) => Ok(Comparison {
                        verdict,
                        tallies: Tallies::default(),
                    }),
                    Err(Without::Unsupported(what)) => Err(NotCompared::Unsupported(what)),
                    Err(Without::NothingToCompare) => Err(NotCompared::NothingToCompare),
                },
                excused,
                observation: None,
            })
        };
        Some(Examined {
            verdict: self.verdict,
            known: self.known.iter().map(known).collect::<Option<_>>()?,
            avoided: Vec::new(),
            reference: self.reference,
            subjects: self
                .subjects
                .into_iter()
                .map(subject)
                .collect::<Option<_>>()?,
        })
    }
}
