//! What came of the case of a file: examined by all engines, held against what its script asserts, and
//! put into words.

use std::collections::BTreeMap;
use std::fmt::Write;

use parallax::campaign::{Found, sandbox::Ending};
use parallax::case::Case;
use parallax::case::wast::{Script, to_wast};
use parallax::engine::{expect, registry};
use parallax::harness::{Examined, Harness, NotCompared};
use parallax::panics;
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::{known, show};
use parallax_oracles::{Finding, Observation, Outcome, Reason, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::input::{Input, Kind, no_case};
use super::repro::plural;
use super::status::Status;

/// What came of a file, as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    /// What it came to.
    pub verdict: Word,
    /// Whether known faults were met.
    pub known: bool,
    /// All of it, in words.
    pub text: String,
    /// All of it, as data.
    pub json: Box<RawValue>,
}

/// When a raw input is told as a script as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scripts {
    Always,
    IfDiverged,
    Never,
}

/// What came of a file.
#[derive(Serialize)]
pub struct FileReport {
    /// Its name.
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// What it came to.
    verdict: Word,
    /// Why it is inconclusive or unreadable, or how it brought down the worker that ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What came of every subject.
    engines: BTreeMap<&'static str, String>,
    /// The known faults that were met, by name.
    known: Vec<&'static str>,
    /// The first guess whose fault it is; `parallax explain` knows more.
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    findings: Vec<ToldFinding>,
    assertions: Assertions,
    /// A raw input as a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    wast: Option<String>,
}

/// A finding as data and in words.
#[derive(Serialize)]
struct ToldFinding {
    #[serde(flatten)]
    finding: Finding,
    call: String,
    text: String,
}

/// A verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Agreed,
    Diverged,
    Inconclusive,
    Unreadable,
}

impl Word {
    fn word(self) -> &'static str {
        match self {
            Word::Agreed => "agreed",
            Word::Diverged => "diverged",
            Word::Inconclusive => "inconclusive",
            Word::Unreadable => "unreadable",
        }
    }
}

impl From<Word> for Status {
    fn from(word: Word) -> Status {
        match word {
            Word::Agreed => Status::Agreed,
            Word::Diverged => Status::Diverged,
            Word::Inconclusive => Status::Inconclusive,
            Word::Unreadable => Status::Unusable,
        }
    }
}

/// The assertions of a script, over all engines.
#[derive(Default, Serialize)]
struct Assertions {
    passed: u64,
    failed: Vec<FailedAssertion>,
}

/// An assertion that an engine did not meet.
#[derive(Serialize)]
struct FailedAssertion {
    engine: &'static str,
    line: u32,
    message: String,
}

/// Runs what files hold, with engines that are kept from file to file.
pub struct Runner {
    subjects: Vec<&'static str>,
    fault: Option<Fault>,
    harness: Harness,
}

impl Runner {
    /// Makes the engines, and has them reserve what they keep.
    ///
    /// # Errors
    /// One line, if one of them cannot be used here.
    pub fn new(subjects: Vec<&'static str>, fault: Option<Fault>) -> Result<Runner, String> {
        let mut harness = Harness::with_fault(&subjects, fault)?;
        harness.warm_up();
        Ok(Runner {
            subjects,
            fault,
            harness,
        })
    }

    /// Runs the case of a file. That parallax fails at it is a finding.
    ///
    /// # Errors
    /// One line, if an engine that panicked cannot be made again.
    pub fn run(&mut self, input: &Input, file: &str, scripts: Scripts) -> Result<Told, String> {
        let mut report = match &input.panic {
            Some(panic) => FileReport::panicked(file, input, panic),
            None => match self.catch(|harness| examine(harness, input, file))? {
                Ok(report) => report,
                Err(panic) => FileReport::panicked(file, input, &panic),
            },
        };
        if !scripts.told_of(report.verdict) {
            report.wast = None;
        }
        report.told(input.case())
    }

    /// Runs a case. That parallax panics at it is a finding like any other.
    ///
    /// # Errors
    /// One line, if an engine that panicked cannot be made again.
    pub fn examine(&mut self, case: &Case) -> Result<Examined, String> {
        let examined = self.catch(|harness| harness.examine(case))?;
        Ok(examined.unwrap_or_else(|panic| {
            let found = Found::failure(format!("panicked: {panic}"));
            Examined::without_engines(Verdict::Diverged(found.findings))
        }))
    }

    /// Does something with the engines, and makes them again if that panics.
    ///
    /// # Errors
    /// One line, if an engine that panicked cannot be made again.
    pub fn catch<T>(
        &mut self,
        run: impl FnOnce(&mut Harness) -> T,
    ) -> Result<Result<T, String>, String> {
        let ran = panics::catch(|| run(&mut self.harness));
        if ran.is_err() {
            self.harness = Harness::with_fault(&self.subjects, self.fault)?;
        }
        Ok(ran)
    }
}

impl Scripts {
    pub fn told_of(self, verdict: Word) -> bool {
        match self {
            Scripts::Always => true,
            Scripts::IfDiverged => verdict == Word::Diverged,
            Scripts::Never => false,
        }
    }
}

/// Runs a case and checks what its script asserts.
fn examine(harness: &mut Harness, input: &Input, file: &str) -> FileReport {
    let case = input.case();
    let examined = harness.examine(case);
    let mut assertions = Assertions::default();
    assertions.check_steps(case, &examined);
    assertions.check_rejects(harness, &input.script);
    let wast = (input.kind == Kind::Raw)
        .then(|| to_wast(case, examined.reference.as_ref(), &format!("from {file}")));
    let engines = examined.subjects.iter().map(|subject| {
        let text = match &subject.result {
            Ok(_) => "compared".to_string(),
            Err(NotCompared::Unsupported(what)) => format!("unsupported: {what}"),
            Err(NotCompared::NothingToCompare) => "nothing to compare".to_string(),
        };
        (subject.engine, text)
    });
    let engines = engines.collect();
    let blame = Blame::of(&examined);
    let (verdict, reason, findings) = match examined.verdict {
        Verdict::Diverged(findings) => (Word::Diverged, None, told(case, findings)),
        _ if !assertions.failed.is_empty() => (Word::Diverged, None, Vec::new()),
        Verdict::Agreed => (Word::Agreed, None, Vec::new()),
        // All that there was to be asked, was asked above.
        Verdict::Inconclusive(_) if case.steps.is_empty() && assertions.passed > 0 => {
            (Word::Agreed, None, Vec::new())
        }
        Verdict::Inconclusive(reason) => {
            let why = why(reason, case, examined.reference.as_ref());
            (Word::Inconclusive, Some(why), Vec::new())
        }
    };
    FileReport {
        file: file.to_string(),
        kind: Some(input.kind),
        verdict,
        reason,
        engines,
        known: examined.known.iter().map(|fault| fault.name).collect(),
        blame,
        findings,
        assertions,
        wast,
    }
}

fn told(case: &Case, findings: Vec<Finding>) -> Vec<ToldFinding> {
    let tell = |finding: Finding| ToldFinding {
        call: show::call(case, finding.step),
        text: finding.to_string(),
        finding,
    };
    findings.into_iter().map(tell).collect()
}

/// Why a case is inconclusive, and from which step on, if the reference knows.
fn why(reason: Reason, case: &Case, reference: Option<&Observation>) -> String {
    if case.steps.is_empty() {
        return "there is nothing to run".to_string();
    }
    let steps = reference.map_or(&[][..], |reference| &reference.steps);
    let ended = |outcome: &Outcome| matches!(outcome, Outcome::Inconclusive(_));
    match steps.iter().position(|step| ended(&step.outcome)) {
        Some(step) => format!("{reason} in {}", show::call(case, step)),
        None => reason.to_string(),
    }
}

impl Assertions {
    /// Holds what every engine showed against what the script says.
    fn check_steps(&mut self, case: &Case, examined: &Examined) {
        let reference = examined.reference.as_ref();
        let reference = reference.map(|observation| (registry::REFERENCE, observation));
        let subjects = examined.subjects.iter().filter_map(|subject| {
            let observation = subject.observation.as_ref()?;
            Some((subject.engine, observation))
        });
        for (engine, observation) in reference.into_iter().chain(subjects) {
            for (step, seen) in case.steps.iter().zip(&observation.steps) {
                let Some(expectation) = &step.expect else {
                    continue;
                };
                if matches!(seen.outcome, Outcome::Inconclusive(_)) {
                    continue;
                }
                match expect::check(expectation, &seen.outcome) {
                    Ok(()) => self.passed += 1,
                    Err(message) => self.failed.push(FailedAssertion {
                        engine,
                        line: step.line,
                        message,
                    }),
                }
            }
        }
        self.failed.sort_by_key(|assertion| assertion.line);
    }

    /// Lets every engine refuse what the script says must be refused.
    fn check_rejects(&mut self, harness: &mut Harness, script: &Script) {
        for reject in &script.rejects {
            for engine in harness.engines() {
                if engine.accepts(&reject.wasm) {
                    self.failed.push(FailedAssertion {
                        engine: engine.name(),
                        line: reject.line,
                        message: format!("expected a module to be refused: {}", reject.message),
                    });
                } else {
                    self.passed += 1;
                }
            }
        }
    }
}

impl Told {
    /// That a file holds no case.
    pub fn unreadable(file: &str, error: String) -> Result<Told, String> {
        let mut report = FileReport::empty(file, None, Word::Unreadable);
        report.reason = Some(error);
        report.told(&no_case())
    }

    /// That the worker that ran it did not come to an end with it: the verdict that a run has then. The
    /// script of a raw input is given if it is to be told.
    pub fn ended(
        file: &str,
        kind: Kind,
        ending: &Ending,
        wast: Option<String>,
    ) -> Result<Told, String> {
        let verdict = match ending {
            Ending::Crashed(_) => Word::Diverged,
            Ending::Inconclusive(..) => Word::Inconclusive,
        };
        let mut report = FileReport::empty(file, Some(kind), verdict);
        report.reason = Some(ending.to_string());
        report.wast = wast;
        if let Some(Found { findings, .. }) = ending.found() {
            report.findings = told(&no_case(), findings);
        }
        report.told(&no_case())
    }
}

impl FileReport {
    fn empty(file: &str, kind: Option<Kind>, verdict: Word) -> FileReport {
        FileReport {
            file: file.to_string(),
            kind,
            verdict,
            reason: None,
            engines: BTreeMap::new(),
            known: Vec::new(),
            blame: None,
            findings: Vec::new(),
            assertions: Assertions::default(),
            wast: None,
        }
    }

    /// That parallax fails at a case is a finding, whatever the case is.
    fn panicked(file: &str, input: &Input, panic: &str) -> FileReport {
        let found = Found::failure(format!("panicked: {panic}"));
        let case = input.case();
        let wast = input.kind == Kind::Raw && !case.steps.is_empty();
        FileReport {
            findings: told(case, found.findings),
            wast: wast.then(|| to_wast(case, None, &format!("from {file}"))),
            ..FileReport::empty(file, Some(input.kind), Word::Diverged)
        }
    }

    /// In words and as data.
    fn told(&self, case: &Case) -> Result<Told, String> {
        Ok(Told {
            verdict: self.verdict,
            known: !self.known.is_empty(),
            text: self.text(case),
            json: serde_json::value::to_raw_value(self)
                .map_err(|error| format!("{}: cannot be put into JSON: {error}", self.file))?,
        })
    }

    /// What it came to, in words.
    fn text(&self, case: &Case) -> String {
        let mut text = String::new();
        if let Some(wast) = &self.wast {
            text.push_str(wast);
            text.push('\n');
        }
        let _ = write!(text, "{}: {}", self.file, self.verdict.word());
        if let Some(why) = &self.reason {
            let _ = write!(text, ": {why}");
        }
        // A worker that did not come to an end has nothing more to tell.
        if self.verdict != Word::Agreed && self.reason.is_some() && case.steps.is_empty() {
            text.push('\n');
            return text;
        }
        let _ = writeln!(text, " ({})", self.scope(case));
        for failed in &self.assertions.failed {
            let _ = writeln!(
                text,
                "\n{}:{}: {}: {}",
                self.file, failed.line, failed.engine, failed.message
            );
        }
        if !self.findings.is_empty() {
            let findings = self.findings.iter().map(|told| &told.finding);
            let _ = write!(text, "\n{}", show::findings(case, findings));
        }
        if let Some(blame) = &self.blame {
            let _ = writeln!(text, "\nblame: {blame}");
        }
        text
    }

    /// What the verdict is about: steps, engines, assertions.
    fn scope(&self, case: &Case) -> String {
        let mut parts = vec![plural(case.steps.len() as u64, "step")];
        for (engine, what) in &self.engines {
            parts.push(format!("{engine} {what}"));
        }
        if !self.known.is_empty() {
            let known: Vec<String> = self.known.iter().map(|name| known::told(name)).collect();
            parts.push(format!("known: {}", known.join(", ")));
        }
        let (passed, failed) = (self.assertions.passed, self.assertions.failed.len() as u64);
        if passed + failed > 0 {
            parts.push(format!("{} met", plural(passed, "assertion")));
        }
        if failed > 0 {
            parts.push(format!("{failed} not met"));
        }
        parts.join(", ")
    }
}
