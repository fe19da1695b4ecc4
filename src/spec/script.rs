//! One script through one engine.
//!
//! Scripts of the suite go on after a call that exhausted the stack, and hold modules that an
//! engine may not support next to others that it does. So the steps are driven here, without
//! snapshots, and a module that an engine does not support is left out together with all that
//! refers to it.

use parallax_oracles::{Outcome, Owner};

use super::report::Tally;
use super::valid_by_now;
use crate::case::module::Module;
use crate::case::wast::Script;
use crate::case::{Action, Case, LinkPlan, Step};
use crate::engine::{Engine, Refusal, expect};

/// Why an assertion is skipped that a module be refused.
pub const VALID_BY_NOW: &str = "that a module be refused which is valid by now";

/// Runs a script, counting in `tally` and reporting failures as line and message.
pub fn run(
    engine: &mut dyn Engine,
    script: &Script,
    tally: &mut Tally,
    mut fail: impl FnMut(u32, String),
) {
    for reject in &script.rejects {
        if valid_by_now(&reject.wasm) {
            tally.skip(VALID_BY_NOW, 1);
        } else if engine.accepts(&reject.wasm) {
            tally.failed += 1;
            fail(
                reject.line,
                format!("accepted a module: {}", reject.message),
            );
        } else {
            tally.passed += 1;
        }
    }
    tally.skip("about the text format only", script.text_only as u64);

    let refusal = match engine.start(&script.case).err() {
        None => return run_steps(engine, &script.case, &Absent::default(), tally, &mut fail),
        Some(refusal) => refusal,
    };
    let (reduced, absent) = without_refused(engine, &script.case);
    if absent.is_none() {
        // It is not for any one module that the engine refuses the case.
        let assertions = script
            .case
            .steps
            .iter()
            .filter(|step| step.expect.is_some());
        return refused(&refusal, 0, assertions.count() as u64, tally, &mut fail);
    }
    for (module, why) in absent.modules.iter().enumerate() {
        if let Some(why @ (Refusal::Invalid(_) | Refusal::Failed(_))) = why {
            let line = first_line(&script.case, module);
            fail(line, format!("module {module} was refused: {why}"));
        }
    }
    run_steps(engine, &reduced, &absent, tally, &mut fail);
}

/// What of a case an engine is not asked, and why.
#[derive(Default)]
struct Absent {
    /// By module.
    modules: Vec<Option<Refusal>>,
    /// By instance: the module that it was made from, or that something it imports was made from.
    instances: Vec<Option<usize>>,
}

impl Absent {
    fn is_none(&self) -> bool {
        self.modules.iter().all(Option::is_none)
    }

    fn instance(&self, instance: u32) -> Option<usize> {
        self.instances.get(instance as usize).copied().flatten()
    }
}

/// Finds the modules that an engine refuses by themselves, and takes them out of the case: an
/// empty module stands in for each, so that all numbers stay.
fn without_refused(engine: &mut dyn Engine, case: &Case) -> (Case, Absent) {
    let mut reduced = case.clone();
    let mut absent = Absent::default();
    for module in &mut reduced.modules {
        let alone = Case {
            settings: case.settings.clone(),
            modules: vec![module.clone()],
            host_items: Vec::new(),
            registrations: Vec::new(),
            steps: Vec::new(),
        };
        let refusal = engine.start(&alone).err();
        if refusal.is_some() {
            *module = Module {
                wasm: b"\0asm\x01\0\0\0".to_vec(),
                ..Module::default()
            };
        }
        absent.modules.push(refusal);
    }
    for step in &mut reduced.steps {
        let Action::Instantiate { module, link } = &mut step.action else {
            continue;
        };
        let imported = link
            .0
            .iter()
            .flatten()
            .find_map(|source| match source.owner {
                Owner::Host => None,
                Owner::Instance(instance) => absent.instance(instance),
            });
        let own = absent.modules[*module].is_some().then_some(*module);
        if own.is_some() {
            *link = LinkPlan::default();
        }
        absent.instances.push(own.or(imported));
    }
    (reduced, absent)
}

fn first_line(case: &Case, wanted: usize) -> u32 {
    let makes = |step: &&Step| match step.action {
        Action::Instantiate { module, .. } => module == wanted,
        _ => false,
    };
    case.steps.iter().find(makes).map_or(0, |step| step.line)
}

fn run_steps(
    engine: &mut dyn Engine,
    case: &Case,
    absent: &Absent,
    tally: &mut Tally,
    fail: &mut dyn FnMut(u32, String),
) {
    let mut run = match engine.start(case) {
        Ok(run) => run,
        Err(refusal) => {
            let assertions = case.steps.iter().filter(|step| step.expect.is_some());
            return refused(&refusal, 0, assertions.count() as u64, tally, fail);
        }
    };
    let mut events = Vec::new();
    let mut instances = 0;
    let mut broken = false;
    for step in &case.steps {
        let instance = match step.action {
            Action::Instantiate { .. } => {
                instances += 1;
                Some(instances - 1)
            }
            Action::Invoke { instance, .. } | Action::Get { instance, .. } => Some(instance),
            Action::Collect => None,
        };
        let assertions = u64::from(step.expect.is_some());
        if broken {
            tally.skip("after a failure of the engine", assertions);
            continue;
        }
        if let Some(module) = instance.and_then(|instance| absent.instance(instance)) {
            if let Some(refusal) = &absent.modules[module] {
                refused(refusal, step.line, assertions, tally, &mut |_, _| {});
            }
            // An instance that cannot be had still uses up its number.
            if let Action::Instantiate { .. } = step.action {
                run.perform(&step.action, &mut events);
            }
            continue;
        }
        events.clear();
        let outcome = run.perform(&step.action, &mut events);
        broken = outcome.is_broken();
        judge(step, &outcome, tally, fail);
    }
    events.clear();
    run.finish(&mut events);
}

/// Counts assertions that an engine refused to be asked. Only what it says it does not support is
/// its right to refuse.
fn refused(
    refusal: &Refusal,
    line: u32,
    assertions: u64,
    tally: &mut Tally,
    fail: &mut dyn FnMut(u32, String),
) {
    match refusal {
        Refusal::Unsupported(_) => tally.skip(&refusal.to_string(), assertions),
        Refusal::Invalid(_) | Refusal::Failed(_) => {
            tally.failed += assertions;
            fail(line, format!("{assertions} assertions refused: {refusal}"));
        }
    }
}

fn judge(step: &Step, outcome: &Outcome, tally: &mut Tally, fail: &mut dyn FnMut(u32, String)) {
    if let Outcome::Inconclusive(reason) = outcome {
        return tally.skip(
            &format!("inconclusive: {reason}"),
            u64::from(step.expect.is_some()),
        );
    }
    let met = match &step.expect {
        Some(expectation) => expect::check(expectation, outcome),
        None if matches!(outcome, Outcome::Returned(_)) => return,
        None => Err(outcome.to_string()),
    };
    match met {
        Ok(()) => tally.passed += 1,
        Err(message) => {
            tally.failed += 1;
            fail(step.line, message);
        }
    }
}
