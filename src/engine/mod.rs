//! Engines: whatever runs a case and yields an observation.
//!
//! An [`Engine`] makes a [`Run`] from a case; the run takes actions and gives snapshots of what
//! changed. [`observe`] drives it through all steps. An engine may refuse a case it has no way to
//! run ([`Refusal`]); it never panics on a module.

pub mod compiled;
pub mod expect;
mod host_end;
pub mod registry;
mod segments;
pub mod shadow;
pub mod version;
pub mod wasmi;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;

use std::cell::RefCell;
use std::rc::Rc;

use parallax_oracles::{Alive, Changes, Event, Finding, Observation, Outcome, StepObservation};

use crate::case::{Action, Case};
use crate::translate::Translations;

/// What an engine of Wasmtime says about an object that nothing holds and that is still alive, where code
/// may have filled a table over it without giving it up: tables are initialised eagerly, so that
/// Wasmtime's compiler takes `table.fill` with null for a `memset`, and references are counted.
pub const FILLED_OVER: &str = "a table may have been filled over it with no write barrier";

/// Something that runs cases.
pub trait Engine {
    /// The name by which it is chosen and reported.
    fn name(&self) -> &'static str;

    /// The version of what it wraps.
    fn version(&self) -> String;

    /// Whether it counts references (see [`Observation::counts_references`]).
    fn counts_references(&self) -> bool {
        false
    }

    /// Whether it ends code that does not end by itself after so much work, and not by a clock.
    fn ends_by_count(&self) -> bool {
        false
    }

    /// The same engine, with code that does not end by itself ended after so much work, if this one has but
    /// a clock for that.
    fn counting(&self) -> Option<Box<dyn Engine>> {
        None
    }

    /// Whether this engine, by its own validation, holds a binary to be a module of WebAssembly
    /// 2.0 with SIMD. The default asks the decoder that cases are made with.
    fn accepts(&mut self, wasm: &[u8]) -> bool {
        crate::case::Module::from_wasm(wasm, None).is_ok()
    }

    /// Takes translated modules from here, and puts them here, for as long as whoever calls this does
    /// [forget](Translations::forget) them before every case. The default translates nothing.
    fn share(&mut self, translations: &Rc<RefCell<Translations>>) {
        let _ = translations;
    }

    /// Reserves what it would with the first case and keep. What cannot be had is told by whoever runs a
    /// case.
    fn warm_up(&mut self) {}

    /// What the engine itself has to say about a finding in what it ran last, if it knows how that
    /// came about.
    fn remark(&self, finding: &Finding) -> Option<&'static str> {
        let _ = finding;
        None
    }

    /// Prepares to run a case: compiles its modules, makes its host items.
    ///
    /// # Errors
    /// [`Refusal`] if this engine cannot run the case at all.
    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal>;
}

/// One run of a case.
pub trait Run {
    /// Takes one action, appending host calls and drops to `events`.
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome;

    /// Records in `changes` (given empty) all that changed since the last snapshot.
    fn snapshot(&mut self, changes: &mut Changes);

    /// Drops the store, appending drops to `events`. The outcome says how that went: nothing
    /// returned, unless something is wrong.
    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome;

    /// Whether every reference that this engine counts can be seen in its snapshots. To be asked
    /// when all actions have been taken.
    fn shows_all_references(&self) -> bool {
        true
    }

    /// The tables, if all snapshots so far have left them out. To be asked when all actions have been
    /// taken (see [`Observation::tables_late`]).
    fn snapshot_late(&mut self) -> Option<Changes> {
        None
    }

    /// What it shows of host objects if it does not count references (see [`Observation::alive`]).
    fn shows_alive(&self) -> Option<Alive> {
        None
    }
}

/// Why an engine did not run a case.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The engine has no support for something the case uses.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The engine holds a module of the case to be invalid.
    #[error("invalid module: {0}")]
    Invalid(String),
    /// The engine failed: a panic in a compiler, an internal error. Always a finding.
    #[error("engine failure: {0}")]
    Failed(String),
}

/// Runs every step of a case and records what shows.
///
/// # Errors
/// The engine's [`Refusal`].
pub fn observe(engine: &mut dyn Engine, case: &Case) -> Result<Observation, Refusal> {
    observe_steps(engine, case, case.steps.len())
}

/// Runs the first `steps` steps of a case and records what shows.
///
/// # Errors
/// The engine's [`Refusal`].
pub fn observe_steps(
    engine: &mut dyn Engine,
    case: &Case,
    steps: usize,
) -> Result<Observation, Refusal> {
    let mut observation = Observation {
        engine: engine.name().to_string(),
        counts_references: engine.counts_references(),
        // Those that cannot are given modules that do.
        canonical_nans: case.settings.canonicalise_nans,
        ..Observation::default()
    };
    observation.steps.reserve(steps);
    let mut run = engine.start(case)?;
    observation.alive = run.shows_alive();
    for step in &case.steps[..steps] {
        let mut events = Vec::new();
        let mut changes = Changes::default();
        let outcome = run.perform(&step.action, &mut events);
        let ended =
            outcome.is_broken() || matches!(outcome, Outcome::Inconclusive(_) | Outcome::Endless);
        if !ended {
            run.snapshot(&mut changes);
        }
        observation.steps.push(StepObservation {
            outcome,
            events,
            changes,
        });
        if ended {
            break;
        }
    }
    if let Some(late) = run.snapshot_late() {
        observation.tables_late = true;
        if let Some(last) = observation.steps.last_mut() {
            last.changes.tables = late.tables;
        }
    }
    observation.counts_references &= run.shows_all_references();
    let dropped = run.finish(&mut observation.teardown);
    if !matches!(dropped, Outcome::Returned(_)) {
        observation.broken_teardown = Some(dropped);
    }
    Ok(observation)
}
