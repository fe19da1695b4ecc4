//! The suite through the reference, and through engines that get things wrong.

use parallax_oracles::{Changes, Event, Outcome, Value};

use super::script::VALID_BY_NOW;
use super::*;
use crate::case::{Action, Case};
use crate::engine::wasmi::Wasmi;
use crate::engine::{Refusal, Run};

/// Assertions of WebAssembly 2.0 that a module be refused which uses a later proposal.
const VALID_BY_NOW_COUNT: u64 = 27;

fn run(engine: impl Engine + 'static, filter: &str) -> SuiteReport {
    let options = SuiteOptions {
        filter: Some(filter.to_string()),
        ..SuiteOptions::default()
    };
    run_suite(&mut [Box::new(engine)], &options, |_| {})
}

#[test]
fn the_reference_passes_the_suite() {
    let mut files = 0;
    let options = SuiteOptions {
        compare: true,
        ..SuiteOptions::default()
    };
    let mut engines: [Box<dyn Engine>; 2] = [Box::new(Wasmi::new()), Box::new(Wasmi::new())];
    let report = run_suite(&mut engines, &options, |_| files += 1);
    assert!(report.passed(), "{report}");
    assert_eq!(files, file_names().len());
    for (_, tally) in &report.engines {
        assert!(tally.passed > 51_000, "{report}");
        assert_eq!(tally.failed, 0);
        // Nothing is left out but what is about the text format, or out of date.
        assert_eq!(tally.skipped.len(), 2, "{report}");
        assert_eq!(tally.skipped[VALID_BY_NOW], VALID_BY_NOW_COUNT, "{report}");
    }
}

#[test]
fn every_script_can_be_read() {
    let folders: Vec<String> = BEYOND.iter().map(|it| format!("{it}/")).collect();
    let files = files();
    for folder in folders {
        assert!(files.iter().any(|file| file.name.starts_with(&folder)));
    }
    for file in files {
        assert!(
            Script::parse(file.text, &file.name).is_ok(),
            "{}",
            file.name
        );
    }
}

/// What a [`Twisted`] engine does otherwise than the reference.
#[derive(Clone, Copy, PartialEq)]
enum Twist {
    /// Numbers returned are off by one.
    Results,
    /// Every trap is taken for a return.
    Traps,
    /// Every module is held to be valid.
    Validation,
    /// Modules with `externref` are not supported.
    Unsupported,
    /// Modules with `externref` are held to be invalid.
    Invalid,
    /// The engine breaks at the third step.
    Breaks,
    /// Every step is inconclusive.
    Inconclusive,
    /// A global is read as another value by snapshots.
    Snapshots,
}

struct Twisted(Wasmi, Twist);

impl Engine for Twisted {
    fn name(&self) -> &'static str {
        "twisted"
    }

    fn version(&self) -> String {
        self.0.version()
    }

    fn accepts(&mut self, wasm: &[u8]) -> bool {
        self.1 == Twist::Validation || self.0.accepts(wasm)
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        let externref = case.modules.iter().any(|module| module.uses_externref);
        match self.1 {
            Twist::Unsupported if externref => Err(Refusal::Unsupported("externref".into())),
            Twist::Invalid if externref => Err(Refusal::Invalid("externref".into())),
            _ => Ok(Box::new(TwistedRun {
                run: self.0.start(case)?,
                twist: self.1,
                steps: 0,
            })),
        }
    }
}

struct TwistedRun<'run> {
    run: Box<dyn Run + 'run>,
    twist: Twist,
    steps: usize,
}

impl Run for TwistedRun<'_> {
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome {
        self.steps += 1;
        let outcome = self.run.perform(action, events);
        match (self.twist, outcome) {
            (Twist::Breaks, _) if self.steps == 3 => Outcome::Failed("broke".into()),
            (Twist::Inconclusive, _) => Outcome::Inconclusive(parallax_oracles::Reason::OutOfFuel),
            (Twist::Traps, Outcome::Trapped(_)) => Outcome::Returned(vec![]),
            (Twist::Results, Outcome::Returned(mut values)) => {
                for value in &mut values {
                    if let Value::I32(value) = value {
                        *value = value.wrapping_add(1);
                    }
                }
                Outcome::Returned(values)
            }
            (_, outcome) => outcome,
        }
    }

    fn snapshot(&mut self, changes: &mut Changes) {
        self.run.snapshot(changes);
        if self.twist == Twist::Snapshots {
            changes.globals.truncate(changes.globals.len() / 2);
        }
    }

    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome {
        self.run.finish(events)
    }
}

fn twisted(twist: Twist, filter: &str) -> (SuiteReport, Tally) {
    let report = run(Twisted(Wasmi::new(), twist), filter);
    let tally = report.engines[0].1.clone();
    (report, tally)
}

#[test]
fn wrong_results_fail_where_they_are_asserted() {
    let (report, tally) = twisted(Twist::Results, "i32.wast");
    assert!(tally.failed > 300 && tally.passed > 0, "{report}");
    assert_eq!(report.failures.len() as u64, tally.failed);
    let first = &report.failures[0];
    assert_eq!((&*first.engine, &*first.file), ("twisted", "i32.wast"));
    let text = data::spec(SpecVersion::V2).find(|file| file.name() == "i32.wast");
    let line = text
        .unwrap()
        .raw()
        .lines()
        .nth(first.line as usize - 1)
        .unwrap();
    assert!(line.contains("assert_return"), "{line}");
}

#[test]
fn missing_traps_fail() {
    let (report, tally) = twisted(Twist::Traps, "traps.wast");
    assert!(tally.failed > 30, "{report}");
    // Exhaustion is one of them.
    let (report, tally) = twisted(Twist::Traps, "fac.wast");
    assert_eq!(tally.failed, 1, "{report}");
}

#[test]
fn modules_wrongly_accepted_fail() {
    let (report, tally) = twisted(Twist::Validation, "unreached-invalid.wast");
    assert_eq!((tally.passed, tally.failed), (0, 118), "{report}");
}

#[test]
fn only_what_depends_on_an_unsupported_module_is_skipped() {
    let (_, all) = twisted(Twist::Snapshots, "table_");
    let (report, tally) = twisted(Twist::Unsupported, "table_");
    assert!(report.passed(), "{report}");
    let skipped = tally.skipped["unsupported: externref"];
    assert!(skipped > 50, "{report}");
    assert_eq!(tally.passed + skipped, all.passed);

    let (report, tally) = twisted(Twist::Invalid, "table_");
    assert!(!report.passed());
    assert_eq!(tally.passed + tally.failed, all.passed);
    assert_eq!(tally.failed, skipped);
}

/// Runs a script given as text; yields the tally and the lines of the failures.
fn run_text(engine: &mut dyn Engine, text: &str) -> (Tally, Vec<u32>) {
    let script = Script::parse(text, "text").unwrap();
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    script::run(engine, &script, &mut tally, |line, _| lines.push(line));
    (tally, lines)
}

#[test]
fn what_imports_from_an_unsupported_module_is_skipped_too() {
    let text = r#"(module (table (export "t") 1 externref) (func (export "f")))
        (register "a")
        (module $b (import "a" "f" (func)) (func (export "g") (result i32) (i32.const 1)))
        (register "b")
        (module $c (import "b" "g" (func (result i32))) (export "h" (func 0)))
        (module $d (func (export "f") (result i32) (i32.const 1)))
        (assert_return (invoke $b "g") (i32.const 1))
        (assert_return (invoke $c "h") (i32.const 1))
        (assert_return (invoke $d "f") (i32.const 1))"#;
    let (tally, lines) = run_text(&mut Twisted(Wasmi::new(), Twist::Unsupported), text);
    assert_eq!((tally.passed, tally.failed), (1, 0));
    assert_eq!(tally.skipped["unsupported: externref"], 2);
    assert!(lines.is_empty());

    let (tally, lines) = run_text(&mut Twisted(Wasmi::new(), Twist::Invalid), text);
    assert_eq!((tally.passed, tally.failed), (1, 2));
    assert_eq!(lines, [1]);

    let (tally, _) = run_text(&mut Wasmi::new(), text);
    assert_eq!((tally.passed, tally.failed), (3, 0));
}

#[test]
fn steps_without_an_assertion_must_return() {
    let text = r#"(module (func (export "f")) (func (export "g") unreachable))
        (invoke "f")
        (invoke "g")
        (module (import "nowhere" "f" (func)))"#;
    let (tally, lines) = run_text(&mut Wasmi::new(), text);
    assert_eq!((tally.passed, tally.failed), (0, 2));
    assert_eq!(lines, [3, 4]);
}

#[test]
fn a_broken_engine_is_not_asked_again() {
    let (report, tally) = twisted(Twist::Breaks, "i64.wast");
    assert_eq!(tally.failed, 1, "{report}");
    assert!(tally.skipped["after a failure of the engine"] > 300);
    // The second step passed, and so did modules that are to be refused.
    assert!(tally.passed > 1);
}

#[test]
fn inconclusive_outcomes_are_skipped() {
    let (report, tally) = twisted(Twist::Inconclusive, "i64.wast");
    assert!(report.passed(), "{report}");
    assert!(tally.skipped["inconclusive: out-of-fuel"] > 300);
}

#[test]
fn observations_are_compared_with_the_first() {
    let options = SuiteOptions {
        filter: Some("global.wast".to_string()),
        compare: true,
        ..SuiteOptions::default()
    };
    let mut engines: [Box<dyn Engine>; 2] = [
        Box::new(Wasmi::new()),
        Box::new(Twisted(Wasmi::new(), Twist::Snapshots)),
    ];
    let report = run_suite(&mut engines, &options, |_| {});
    assert_eq!(report.engines[1].1.failed, 0);
    assert!(!report.failures.is_empty(), "{report}");
    for failure in report.failures {
        assert!(failure.message.starts_with("globals differ"), "{failure:?}");
    }
}
