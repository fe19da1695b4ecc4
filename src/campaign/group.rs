//! Findings of one cause, as far as can be told: those with the same oracle, the same blame and the
//! same shape. A thousand hits of one bug are one line.

use parallax_oracles::{Finding, OracleName, Outcome, Place, Seen};
use serde::{Deserialize, Serialize};

use super::report::Divergence;
use super::shrinker::ToShrink;
use super::small::Small;
use crate::triage::blame::BlameKey;

/// Letters of a shape at most.
const SHAPE_LETTERS: usize = 200;

/// What findings of one cause have in common.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct GroupKey {
    /// The oracle that spoke first.
    pub oracle: OracleName,
    /// The engine that it spoke of first.
    pub engine: String,
    /// Whose fault it is; nothing if parallax itself failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blame: Option<BlameKey>,
    /// What differs, but for numbers.
    pub shape: String,
}

impl GroupKey {
    /// The key of a divergence with these findings.
    pub fn of(findings: &[Finding], blame: Option<BlameKey>) -> GroupKey {
        let first = findings.first();
        GroupKey {
            // What diverged has a finding; nothing panics if it has not.
            oracle: first.map_or(OracleName::Traps, |it| it.oracle),
            engine: first.map_or(String::new(), |it| it.engine.clone()),
            blame,
            shape: first.map_or(String::new(), shape),
        }
    }
}

/// All findings of one cause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common.
    #[serde(flatten)]
    pub key: GroupKey,
    /// The number of cases with such a finding.
    pub cases: u64,
    /// The first of them.
    pub first: u64,
    /// Which of the inputs for it made that case.
    pub attempt: u64,
    /// The name of its input.
    pub input: String,
    /// What is left of it, shrunk for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<Small>,
    /// The name of the script of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// What was found there, in one line.
    pub example: String,
}

impl Group {
    /// The group of one divergence.
    pub fn of(divergence: &Divergence) -> Group {
        let mut group = Group {
            key: divergence.key.clone(),
            cases: 0,
            first: u64::MAX,
            attempt: 0,
            input: String::new(),
            small: None,
            script: None,
            example: String::new(),
        };
        group.add(divergence);
        group
    }

    /// Adds another one.
    pub fn add(&mut self, divergence: &Divergence) {
        self.cases += 1;
        if divergence.case < self.first {
            self.first = divergence.case;
            self.attempt = divergence.attempt;
            (self.small, self.script) = (None, None);
            self.input.clone_from(&divergence.name);
            let first = divergence.findings.first();
            self.example = first.map(Finding::to_string).unwrap_or_default();
        }
    }
}

impl Group {
    /// The case to shrink, unless it is or cannot be: what brought a worker down would do so again.
    pub(super) fn to_shrink(&self) -> Option<ToShrink> {
        let wanted = self.small.is_none() && self.key.blame.is_some();
        wanted.then(|| ToShrink {
            key: self.key.clone(),
            case: self.first,
            attempt: self.attempt,
            stem: self.input.trim_end_matches(".bin").to_string(),
        })
    }

    /// Whether another group is of the same cause, now that the first cases of both are shrunk: the
    /// same instructions are left.
    fn is_same(&self, other: &Group) -> bool {
        let (a, b) = (&self.key, &other.key);
        let settled = |group: &Group| group.small.clone().filter(|small| small.settled);
        (a.oracle, &a.engine, &a.blame) == (b.oracle, &b.engine, &b.blame)
            && settled(self)
                .zip(settled(other))
                .is_some_and(|(one, other)| one.opcodes == other.opcodes)
    }

    /// Groups, by their first cases, with those of the same cause made one.
    pub fn merged(groups: &[Group]) -> Vec<Group> {
        let mut merged: Vec<Group> = Vec::new();
        for group in groups {
            match merged.iter_mut().find(|known| known.is_same(group)) {
                Some(known) => known.cases += group.cases,
                None => merged.push(group.clone()),
            }
        }
        merged
    }
}

/// What a finding shows, but for numbers: what is of one cause differs in little else.
pub fn shape(finding: &Finding) -> String {
    let place = match finding.place {
        Place::Outcome => "outcome",
        Place::Result(_) => "result",
        Place::HostCall(_) => "host call",
        Place::HostCallArgument { .. } => "argument of a host call",
        Place::MemorySize(_) => "size of a memory",
        Place::MemoryByte { .. } => "byte of a memory",
        Place::TableSize(_) => "size of a table",
        Place::TableElement { .. } => "element of a table",
        Place::Global(_) => "global",
        Place::Count(_) => "reference count",
        Place::Drop(_) => "drop",
        Place::Steps => "number of steps",
    };
    let place = match finding.at_call {
        Some(_) => format!("{place} at a host call"),
        None => place.to_string(),
    };
    let (reference, subject) = (seen(&finding.reference), seen(&finding.subject));
    let text = match (reference, subject) {
        (None, None) => place,
        (Some(_), Some(subject)) if matches!(finding.reference, Seen::Rule(_)) => {
            format!("{place}: {subject}")
        }
        (reference, subject) => format!(
            "{place}: {}, not {}",
            subject.as_deref().unwrap_or("something"),
            reference.as_deref().unwrap_or("something else")
        ),
    };
    without_numbers(&text)
}

/// What was seen, if that says something about the cause: not which value, but that there was none.
fn seen(seen: &Seen) -> Option<String> {
    match seen {
        Seen::Outcome(Outcome::Returned(_)) => Some("returned".to_string()),
        Seen::Outcome(outcome) => Some(outcome.to_string()),
        Seen::Absent => Some("nothing".to_string()),
        Seen::Rule(text) => Some(text.clone()),
        Seen::Value(_) | Seen::Byte(_) | Seen::Number(_) | Seen::HostCall(..) => None,
    }
}

/// A text with a `#` in place of each number, and not too long.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut letters = 0;
    let mut in_number = false;
    for letter in text.chars() {
        let digit = letter.is_ascii_digit();
        if !(digit && in_number) {
            out.push(if digit { '#' } else { letter });
            letters += 1;
        }
        in_number = digit;
        if letters == SHAPE_LETTERS {
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use parallax_oracles::TrapKind;

    use super::*;
    use crate::triage::blame::Blame;

    fn finding(place: Place, reference: Seen, subject: Seen) -> Finding {
        Finding {
            oracle: OracleName::Traps,
            step: 3,
            at_call: None,
            place,
            reference,
            subject,
            engine: "x86_64".to_string(),
            against: None,
        }
    }

    /// Findings that differ in any of what a key is made of are of different causes.
    #[test]
    fn what_is_not_alike_stays_apart() {
        let trapped = Seen::Outcome(Outcome::Trapped(TrapKind::Unreachable));
        let blame = |engine| Some(Blame::of_engines(&[engine], &["clif"]).key());
        let one = finding(Place::Outcome, trapped, Seen::Absent);
        let key = GroupKey::of(std::slice::from_ref(&one), blame("x86_64"));
        let later = Finding {
            step: 9,
            ..one.clone()
        };
        assert_eq!(GroupKey::of(&[later], blame("x86_64")), key);
        let others = [
            Finding {
                oracle: OracleName::Memories,
                ..one.clone()
            },
            Finding {
                engine: "aarch64".to_string(),
                ..one.clone()
            },
            Finding {
                place: Place::Steps,
                ..one.clone()
            },
            Finding {
                reference: Seen::Outcome(Outcome::Trapped(TrapKind::IndirectCallToNull)),
                ..one.clone()
            },
        ];
        for other in others {
            let words = other.to_string();
            assert_ne!(GroupKey::of(&[other], blame("x86_64")), key, "{words}");
        }
        assert_ne!(
            GroupKey::of(std::slice::from_ref(&one), blame("aarch64")),
            key
        );
        assert_ne!(GroupKey::of(&[one], None), key);
    }

    #[test]
    fn shapes_have_no_numbers_but_kinds() {
        let trap = Seen::Outcome(Outcome::Trapped(TrapKind::IndirectCallToNull));
        let escaped =
            |function| Seen::Outcome(Outcome::Escaped(format!("function {function} faulted")));
        let shape_of = |function| shape(&finding(Place::Outcome, trap.clone(), escaped(function)));
        assert_eq!(
            shape_of(12),
            "outcome: escaped the sandbox: function # faulted, not trapped: indirect call to null"
        );
        assert_eq!(shape_of(12), shape_of(7));
        let value = shape(&finding(Place::Result(1), Seen::Number(1), Seen::Number(2)));
        assert_eq!(value, "result");
        let gone = shape(&finding(Place::Result(1), Seen::Number(1), Seen::Absent));
        assert_eq!(gone, "result: nothing, not something else");
        let long = Seen::Rule("é".repeat(1_000));
        assert!(
            shape(&finding(Place::Steps, long.clone(), long))
                .chars()
                .count()
                <= SHAPE_LETTERS + 1
        );
    }
}
