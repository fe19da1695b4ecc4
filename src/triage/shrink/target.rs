//! What must go on failing while a case shrinks: the same oracles about the same engines, at the same
//! kind of place and in the same way, with the same blame. Anything less, and a case drifts from one
//! bug to another.

use std::mem::discriminant;

use parallax_oracles::{Finding, OracleName, Outcome, Place, Seen, TrapKind, Verdict};

use crate::harness::Examined;
use crate::triage::blame::Blame;

/// What must go on failing.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose fault it is, as far as the engines that differ tell.
    pub blame: Option<Blame>,
    /// What each engine was found to do, by the oracle that spoke first about it.
    marks: Vec<Mark>,
}

/// A finding without what is peculiar to its case.
#[derive(Clone, PartialEq, Debug)]
struct Mark {
    engine: String,
    against: Option<String>,
    oracle: OracleName,
    place: std::mem::Discriminant<Place>,
    reference: Way,
    subject: Way,
}

/// How a step ended, if that is what was found.
#[derive(Clone, PartialEq, Debug)]
enum Way {
    /// Something else was found.
    Other,
    Trapped(TrapKind),
    /// In words, without the numbers in them.
    Broke(std::mem::Discriminant<Outcome>, String),
    Ended(std::mem::Discriminant<Outcome>),
}

impl Target {
    /// What a case that was examined shows; none if it does not diverge.
    pub fn of(examined: &Examined) -> Option<Target> {
        let Verdict::Diverged(findings) = &examined.verdict else {
            return None;
        };
        let mut marks: Vec<Mark> = Vec::new();
        for mark in findings.iter().map(Mark::of) {
            // The first of each engine; what the others say may go with it or not.
            if marks.iter().all(|known| known.engine != mark.engine) {
                marks.push(mark);
            }
        }
        Some(Target {
            blame: Blame::of(examined),
            marks,
        })
    }

    /// Whether another case shows the same.
    pub fn is_shown_by(&self, examined: &Examined) -> bool {
        let Verdict::Diverged(findings) = &examined.verdict else {
            return false;
        };
        let found: Vec<Mark> = findings.iter().map(Mark::of).collect();
        let known = |mark: &Mark| self.marks.iter().any(|known| known.engine == mark.engine);
        self.marks.iter().all(|mark| found.contains(mark))
            && found.iter().all(known)
            && match (&self.blame, Blame::of(examined)) {
                (Some(blame), Some(other)) => blame.is_same(&other),
                (None, None) => true,
                _ => false,
            }
    }
}

impl Mark {
    fn of(finding: &Finding) -> Mark {
        Mark {
            engine: finding.engine.clone(),
            against: finding.against.clone(),
            oracle: finding.oracle,
            place: discriminant(&finding.place),
            reference: Way::of(&finding.reference),
            subject: Way::of(&finding.subject),
        }
    }
}

impl Way {
    fn of(seen: &Seen) -> Way {
        match seen {
            Seen::Outcome(outcome) => match outcome {
                Outcome::Trapped(kind) => Way::Trapped(*kind),
                Outcome::Escaped(how)
                | Outcome::Miscounted(how)
                | Outcome::Unfounded(how)
                | Outcome::Failed(how) => Way::Broke(discriminant(outcome), without_numbers(how)),
                _ => Way::Ended(discriminant(outcome)),
            },
            _ => Way::Other,
        }
    }
}

/// Words with every number replaced: which function, which address, which object it was, changes as
/// a case shrinks. The place of a panic stays, up to its line.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    let mut last = "";
    for word in words.by_ref() {
        let number = word.starts_with(|c: char| c.is_ascii_digit());
        // `src/isa/x64/lower.rs:12` is a place and not a count.
        if number && !last.ends_with(".rs:") {
            out.push('#');
            out.extend(word.chars().filter(|c| !c.is_ascii_alphanumeric()));
        } else {
            out.push_str(word);
        }
        last = if word == ":" { last } else { word };
        if out.ends_with(".rs:") {
            last = ".rs:";
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_no_part_of_how_it_broke() {
        assert_eq!(
            without_numbers("function 12 faulted at 0x7f00 in memory 0."),
            "function # faulted at # in memory #."
        );
        assert_eq!(
            without_numbers("panicked: index 3 of 2 (at src/isa/x64/lower.rs:120)"),
            "panicked: index # of # (at src/isa/x64/lower.rs:120)"
        );
    }
}
