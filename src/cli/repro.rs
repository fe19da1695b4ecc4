//! `parallax repro`: what was kept, run again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use parallax::campaign;
use parallax::case::Case;
use parallax::case::wast::{Script, to_wast};
use parallax::engine::{expect, registry};
use parallax::harness::{Examined, Harness, NotCompared};
use parallax::panics;
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::show;
use parallax_oracles::{Finding, Observation, Outcome, Reason, Verdict};
use serde::Serialize;

use super::console::{self, Console};
use super::input::{self, Input, Kind};
use super::options;
use super::status::Status;

/// Run saved inputs, modules or scripts through all engines, and compare
///
/// Files named .wasm or .wat hold a module, whose exported functions are called; files named .wast
/// hold a script, whose assertions are checked on every engine. Any other file is taken for what
/// `parallax fuzz`, a fuzz target or OSS-Fuzz saved, and is also printed as a script. Of several
/// files, the worst decides the exit status.
///
/// Of a folder, all inputs in it are run, but for hidden files and reports (.txt, .json, .html and
/// such); only those that diverge are told at length.
#[derive(Args)]
pub struct Repro {
    /// Files, folders, or - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Engines to compare with the reference, separated by commas [default: all that can be used
    /// here, see `parallax engines`]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

impl Repro {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        let mut runner = Runner::new(&subjects, self.fault)?;
        let inputs = input::expand(&self.files).map_err(anyhow::Error::msg)?;
        let mut worst = Status::Agreed;
        let mut reports = Vec::with_capacity(inputs.len());
        let mut tally = Tally::default();
        for named in &inputs {
            let file = input::name(&named.path);
            let report = match Input::read(&named.path) {
                Err(error) => {
                    console::complain(&error);
                    FileReport::unreadable(file, error)
                }
                Ok(input) => {
                    let mut report = runner.run(&input, file)?;
                    if named.in_folder && report.verdict != Word::Diverged {
                        report.wast = None;
                    }
                    console.print(report.text(&input));
                    report
                }
            };
            worst = worst.max(report.verdict.into());
            tally.count(report.verdict, !report.known.is_empty());
            reports.push(report);
            if console.is_closed() {
                break;
            }
        }
        if inputs.iter().any(|named| named.in_folder) {
            console.print(tally);
        }
        if self.json {
            console.print_json(&Json {
                files: &reports,
                summary: tally,
            })?;
        }
        Ok(worst)
    }
}

/// What came of a file.
#[derive(Serialize)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// What it came to.
    pub verdict: Word,
    /// Why it is inconclusive or unreadable.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What came of every subject.
    engines: BTreeMap<&'static str, String>,
    /// The known faults that were met, by name.
    pub known: Vec<&'static str>,
    /// The first guess whose fault it is; `parallax explain` knows more.
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    findings: Vec<Told>,
    assertions: Assertions,
    /// A raw input as a script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wast: Option<String>,
}

/// A finding as data and in words.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    finding: Finding,
    call: String,
    text: String,
}

/// A verdict in a word.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    Agreed,
    Diverged,
    Inconclusive,
    Unreadable,
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

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    files: &'a [FileReport],
    summary: Tally,
}

/// How many files came to which verdict.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Tally {
    files: u64,
    agreed: u64,
    diverged: u64,
    known: u64,
    inconclusive: u64,
    unreadable: u64,
}

impl Tally {
    /// Counts a file. What agrees but for a known fault is counted under that.
    pub fn count(&mut self, verdict: Word, known: bool) {
        self.files += 1;
        *match verdict {
            Word::Agreed | Word::Inconclusive if known => &mut self.known,
            Word::Agreed => &mut self.agreed,
            Word::Diverged => &mut self.diverged,
            Word::Inconclusive => &mut self.inconclusive,
            Word::Unreadable => &mut self.unreadable,
        } += 1;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} agreed, {} diverged, {} known, {} inconclusive",
            plural(self.files, "file"),
            self.agreed,
            self.diverged,
            self.known,
            self.inconclusive
        )?;
        if self.unreadable > 0 {
            write!(f, ", {} unreadable", self.unreadable)?;
        }
        f.write_str("\n")
    }
}

/// Runs what files hold, with engines that are kept from file to file.
pub struct Runner<'a> {
    subjects: &'a [&'static str],
    fault: Option<Fault>,
    harness: Harness,
}

impl<'a> Runner<'a> {
    /// Makes the engines.
    pub fn new(subjects: &'a [&'static str], fault: Option<Fault>) -> anyhow::Result<Runner<'a>> {
        let harness = Harness::with_fault(subjects, fault).map_err(anyhow::Error::msg)?;
        Ok(Runner {
            subjects,
            fault,
            harness,
        })
    }

    /// Runs the case of a file. That parallax fails at it is a finding.
    pub fn run(&mut self, input: &Input, file: String) -> anyhow::Result<FileReport> {
        if let Some(panic) = &input.panic {
            return Ok(FileReport::panicked(file, input, panic));
        }
        match panics::catch(|| examine(&mut self.harness, input, &file)) {
            Ok(report) => Ok(report),
            Err(panic) => {
                let again = Harness::with_fault(self.subjects, self.fault);
                self.harness = again.map_err(anyhow::Error::msg)?;
                Ok(FileReport::panicked(file, input, &panic))
            }
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

fn told(case: &Case, findings: Vec<Finding>) -> Vec<Told> {
    let tell = |finding: Finding| Told {
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

impl FileReport {
    pub fn unreadable(file: String, error: String) -> FileReport {
        FileReport {
            file,
            kind: None,
            verdict: Word::Unreadable,
            reason: Some(error),
            engines: BTreeMap::new(),
            known: Vec::new(),
            blame: None,
            findings: Vec::new(),
            assertions: Assertions::default(),
            wast: None,
        }
    }

    /// That parallax fails at a case is a finding, whatever the case is.
    fn panicked(file: String, input: &Input, panic: &str) -> FileReport {
        FileReport {
            kind: Some(input.kind),
            verdict: Word::Diverged,
            reason: None,
            findings: told(
                input.case(),
                campaign::Found::failure(format!("panicked: {panic}")).findings,
            ),
            ..FileReport::unreadable(file, String::new())
        }
    }

    /// What it came to, in words.
    pub fn text(&self, input: &Input) -> String {
        let mut text = String::new();
        if let Some(wast) = &self.wast {
            text.push_str(wast);
            text.push('\n');
        }
        let _ = match (self.verdict, &self.reason) {
            (Word::Agreed, _) => write!(text, "{}: agreed", self.file),
            (Word::Diverged, _) => write!(text, "{}: diverged", self.file),
            (_, Some(why)) => write!(text, "{}: inconclusive: {why}", self.file),
            (_, None) => write!(text, "{}: inconclusive", self.file),
        };
        let _ = writeln!(text, " ({})", self.scope(input));
        for failed in &self.assertions.failed {
            let _ = writeln!(
                text,
                "\n{}:{}: {}: {}",
                self.file, failed.line, failed.engine, failed.message
            );
        }
        if !self.findings.is_empty() {
            let findings = self.findings.iter().map(|told| &told.finding);
            let _ = write!(text, "\n{}", show::findings(input.case(), findings));
        }
        if let Some(blame) = &self.blame {
            let _ = writeln!(text, "\nblame: {blame}");
        }
        text
    }

    /// What the verdict is about: steps, engines, assertions.
    fn scope(&self, input: &Input) -> String {
        let mut parts = vec![plural(input.case().steps.len() as u64, "step")];
        for (engine, what) in &self.engines {
            parts.push(format!("{engine} {what}"));
        }
        if !self.known.is_empty() {
            parts.push(format!("known: {}", self.known.join(", ")));
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

/// So many of something.
pub fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}
