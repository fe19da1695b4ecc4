//! What a run counts: cases and their verdicts, calls, instructions, engines, oracles.
//!
//! Counts of two runs, or of two workers of one run, add up ([`Stats::merge`]). Serialised they
//! have the shape that `parallax fuzz --json` prints; displayed they are one line.

use std::collections::BTreeMap;
use std::fmt;

use parallax_oracles::{Comparison, Observation, Outcome, Reason, Tallies, TrapKind, Verdict};
use serde::{Deserialize, Serialize, Serializer};

use crate::case::opcodes::OpcodeSet;
use crate::case::{Action, Case};
use crate::harness::{Examined, NotCompared};

/// What a run counts.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Cases that were run.
    pub cases: u64,
    /// Inputs that made no case.
    pub no_case: u64,
    /// Cases about which all engines agreed.
    pub agreed: u64,
    /// Cases with a finding.
    pub diverged: u64,
    /// Cases whose findings are known already.
    pub known: u64,
    /// The same by the faults that explain them. A case that takes several counts for each.
    pub known_faults: BTreeMap<String, u64>,
    /// Cases without a verdict, by reason.
    pub inconclusive: BTreeMap<Reason, u64>,
    /// Calls, as the reference took them.
    pub calls: Calls,
    /// Cases in which the reference made no call at all.
    pub idle: u64,
    /// The instructions that modules of the cases held; serialised as their number, so that
    /// whoever wants them back says them beside ([`Counts`]).
    #[serde(serialize_with = "number_of_opcodes", skip_deserializing)]
    pub opcodes: OpcodeSet,
    /// Engines under test, by name.
    pub engines: BTreeMap<String, EngineCounts>,
    /// Oracles.
    pub oracles: Tallies,
}

/// [`Stats`] as they are written to be read again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    stats: Stats,
    opcodes: OpcodeSet,
}

impl From<Stats> for Counts {
    fn from(stats: Stats) -> Counts {
        let opcodes = stats.opcodes;
        Counts { stats, opcodes }
    }
}

impl From<Counts> for Stats {
    fn from(counts: Counts) -> Stats {
        Stats {
            opcodes: counts.opcodes,
            ..counts.stats
        }
    }
}

/// Calls and how they ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that returned.
    pub returned: u64,
    /// Calls that trapped.
    pub trapped: u64,
    /// Traps by kind, those of instantiation included.
    pub traps: BTreeMap<TrapKind, u64>,
}

/// What an engine under test did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EngineCounts {
    /// Cases in which it was compared with the reference.
    pub compared: u64,
    /// Cases that it has no support for.
    pub unsupported: u64,
    /// The same by what it has no support for, such as an instruction.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unsupported_by: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts an input that made no case.
    pub fn no_case(&mut self) {
        self.no_case += 1;
    }

    /// Counts a case that the reference ran.
    pub fn case(&mut self, case: &Case, reference: &Observation) {
        self.cases += 1;
        for module in &case.modules {
            self.opcodes.union_with(&module.opcodes);
        }
        let before = self.calls.returned + self.calls.trapped;
        for (step, seen) in case.steps.iter().zip(&reference.steps) {
            let called = matches!(step.action, Action::Invoke { .. });
            match seen.outcome {
                Outcome::Returned(_) if called => self.calls.returned += 1,
                Outcome::Trapped(kind) => {
                    self.calls.trapped += u64::from(called);
                    *self.calls.traps.entry(kind).or_default() += 1;
                }
                _ => {}
            }
        }
        if self.calls.returned + self.calls.trapped == before {
            self.idle += 1;
        }
    }

    /// Counts what came of a case.
    pub fn examined(&mut self, case: &Case, examined: &Examined) {
        match &examined.reference {
            Some(reference) => self.case(case, reference),
            None => self.cases += 1,
        }
        for subject in &examined.subjects {
            match &subject.result {
                Ok(comparison) => self.compared(subject.engine, comparison),
                Err(NotCompared::Unsupported(what)) => self.unsupported(subject.engine, what),
                Err(NotCompared::NothingToCompare) => {}
            }
        }
        match &examined.verdict {
            Verdict::Agreed | Verdict::Inconclusive(_) if !examined.known.is_empty() => {
                self.known(examined.known.iter().map(|fault| fault.name));
            }
            verdict => self.verdict(verdict),
        }
    }

    /// Counts the comparison of an engine with the reference.
    pub fn compared(&mut self, engine: &str, comparison: &Comparison) {
        self.engine(engine).compared += 1;
        self.oracles += comparison.tallies;
    }

    /// Counts a case that an engine has no support for.
    pub fn unsupported(&mut self, engine: &str, what: &str) {
        let counts = self.engine(engine);
        counts.unsupported += 1;
        *counts.unsupported_by.entry(what.to_string()).or_default() += 1;
    }

    /// Counts the verdict on a case, of all its engines together.
    pub fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Agreed => self.agreed += 1,
            Verdict::Diverged(_) => self.diverged += 1,
            Verdict::Inconclusive(reason) => {
                *self.inconclusive.entry(*reason).or_default() += 1;
            }
        }
    }

    /// Counts a case whose findings known faults explain, one or more together.
    pub fn known<'a>(&mut self, faults: impl IntoIterator<Item = &'a str>) {
        self.known += 1;
        for fault in faults {
            *self.known_faults.entry(fault.to_string()).or_default() += 1;
        }
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Stats) {
        self.cases += other.cases;
        self.no_case += other.no_case;
        self.agreed += other.agreed;
        self.diverged += other.diverged;
        self.known += other.known;
        self.idle += other.idle;
        self.calls.returned += other.calls.returned;
        self.calls.trapped += other.calls.trapped;
        for (reason, count) in &other.inconclusive {
            *self.inconclusive.entry(*reason).or_default() += count;
        }
        for (fault, count) in &other.known_faults {
            *self.known_faults.entry(fault.clone()).or_default() += count;
        }
        for (kind, count) in &other.calls.traps {
            *self.calls.traps.entry(*kind).or_default() += count;
        }
        self.opcodes.union_with(&other.opcodes);
        for (name, counts) in &other.engines {
            let engine = self.engine(name);
            engine.compared += counts.compared;
            engine.unsupported += counts.unsupported;
            for (what, count) in &counts.unsupported_by {
                *engine.unsupported_by.entry(what.clone()).or_default() += count;
            }
        }
        self.oracles += other.oracles;
    }

    /// Cases without a verdict, whatever the reason.
    pub fn inconclusive_total(&self) -> u64 {
        self.inconclusive.values().sum()
    }

    fn engine(&mut self, name: &str) -> &mut EngineCounts {
        self.engines.entry(name.to_string()).or_default()
    }
}

/// One line: what a person watches while a run goes on.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cases", self.cases)?;
        for (name, engine) in &self.engines {
            write!(f, ", {name}: {} compared", engine.compared)?;
            if engine.unsupported > 0 {
                write!(f, " {} unsupported", engine.unsupported)?;
            }
        }
        write!(f, "; {} diverged", self.diverged)?;
        if self.known > 0 {
            write!(f, ", {} known", self.known)?;
        }
        write!(f, ", {} inconclusive", self.inconclusive_total())?;
        for (at, (reason, count)) in self.inconclusive.iter().enumerate() {
            let before = if at == 0 { " (" } else { ", " };
            write!(f, "{before}{reason} {count}")?;
        }
        if !self.inconclusive.is_empty() {
            f.write_str(")")?;
        }
        write!(
            f,
            "; {} calls returned, {} trapped; {} opcodes",
            self.calls.returned,
            self.calls.trapped,
            self.opcodes.len()
        )?;
        if self.no_case > 0 {
            write!(f, "; {} inputs without a case", self.no_case)?;
        }
        Ok(())
    }
}

fn number_of_opcodes<S: Serializer>(opcodes: &OpcodeSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(opcodes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::module::Module;
    use crate::case::{Settings, Step};
    use parallax_oracles::{Changes, StepObservation};

    fn invoke() -> Step {
        Step {
            action: Action::Invoke {
                instance: 0,
                function: 0,
                export: "f".into(),
                args: Vec::new(),
            },
            expect: None,
            line: 0,
        }
    }

    fn seen(outcome: Outcome) -> StepObservation {
        StepObservation {
            outcome,
            events: Vec::new(),
            changes: Changes::default(),
        }
    }

    /// A case of so many calls, of a module that holds `nop`.
    fn case(calls: usize) -> Case {
        let mut opcodes = OpcodeSet::default();
        opcodes.insert_encoded(&[1]);
        Case {
            settings: Settings::default(),
            modules: vec![Module {
                opcodes,
                ..Module::default()
            }],
            host_items: Vec::new(),
            registrations: Vec::new(),
            steps: (0..calls).map(|_| invoke()).collect(),
        }
    }

    fn sample() -> Stats {
        let mut stats = Stats::default();
        let reference = Observation {
            steps: vec![
                seen(Outcome::Returned(Vec::new())),
                seen(Outcome::Trapped(TrapKind::Unreachable)),
                seen(Outcome::Inconclusive(Reason::OutOfFuel)),
            ],
            ..Observation::default()
        };
        stats.case(&case(3), &reference);
        stats.verdict(&Verdict::Inconclusive(Reason::OutOfFuel));
        stats.case(&case(0), &Observation::default());
        stats.verdict(&Verdict::Agreed);
        stats.unsupported("x86_64", "instruction nop");
        stats.known(["wrong-add"]);
        stats
    }

    #[test]
    fn calls_and_verdicts_are_counted() {
        let stats = sample();
        assert_eq!(stats.cases, 2);
        assert_eq!((stats.calls.returned, stats.calls.trapped), (1, 1));
        assert_eq!(stats.idle, 1);
        assert_eq!(stats.inconclusive_total(), 1);
        assert_eq!(
            stats.to_string(),
            "2 cases, x86_64: 0 compared 1 unsupported; 0 diverged, 1 known, 1 inconclusive (out-of-fuel 1); \
             1 calls returned, 1 trapped; 1 opcodes"
        );
    }

    #[test]
    fn merging_adds_up() {
        let mut stats = sample();
        stats.merge(&sample());
        assert_eq!(stats.cases, 4);
        assert_eq!(stats.idle, 2);
        assert_eq!((stats.known, stats.known_faults["wrong-add"]), (2, 2));
        assert_eq!(stats.agreed, 2);
        assert_eq!(stats.engines["x86_64"].unsupported, 2);
        let by = &stats.engines["x86_64"].unsupported_by;
        assert_eq!(by["instruction nop"], 2);
        assert_eq!(stats.calls.traps[&TrapKind::Unreachable], 2);
        assert_eq!(stats.opcodes.len(), 1);
    }

    #[test]
    fn counts_are_read_as_they_were_written() {
        let json = serde_json::to_string(&Counts::from(sample())).expect("json");
        let counts: Counts = serde_json::from_str(&json).expect("counts");
        assert_eq!(Stats::from(counts), sample());
    }

    #[test]
    fn the_shape_is_the_command_lines() {
        let json = serde_json::to_value(sample()).expect("json");
        assert_eq!(json["cases"], 2);
        assert_eq!(json["inconclusive"]["out-of-fuel"], 1);
        assert_eq!(json["calls"]["returned"], 1);
        assert_eq!(json["opcodes"], 1);
        assert_eq!(json["engines"]["x86_64"]["unsupported"], 1);
        assert_eq!(json["oracles"]["tables"]["checked"], 0);
        assert_eq!(json["oracles"]["tables"]["failed"], 0);
    }
}
