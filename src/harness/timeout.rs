//! Steps that a subject does not end: by whose word, and whether the reference does.
//!
//! Code that the host runs is stopped by a clock, which decides nothing. So where that happens the same code is
//! run once more by an engine that counts. And what counts as too many branches follows from the fuel of
//! the case, so that a reference which had more fuel than that is asked again.

use parallax_oracles::{Comparison, Observation, Outcome, Reason, Seen, Verdict};

use super::compare_first;
use crate::case::Case;
use crate::engine::{Engine, observe_steps};

/// The step that a subject does not end, although the reference does, if that is found.
fn endless_step(comparison: &Comparison) -> Option<usize> {
    let Verdict::Diverged(findings) = &comparison.verdict else {
        return None;
    };
    let endless = Seen::Outcome(Outcome::Endless);
    let mut findings = findings.iter();
    findings
        .find(|finding| finding.subject == endless)
        .map(|finding| finding.step)
}

/// What a subject that was stopped by a clock shows where its code is stopped by count, and how that
/// compares, if it does not end there either: then no clock decides.
pub(super) fn counted(
    comparison: &Comparison,
    reference: &Observation,
    engine: &dyn Engine,
    case: &Case,
    ended: Option<usize>,
) -> Option<(Observation, Comparison)> {
    if comparison.verdict != Verdict::Inconclusive(Reason::Timeout) {
        return None;
    }
    let mut counting = engine.counting()?;
    let steps = ended.unwrap_or(case.steps.len());
    let seen = observe_steps(counting.as_mut(), case, steps).ok()?;
    let again = compare_first(reference, &seen, counting.as_ref(), ended);
    endless_step(&again).is_some().then_some((seen, again))
}

/// Whether it is found that a subject does not end a step which the reference might not end either, had it
/// no more fuel than the case says: by that the branches are counted that a subject may take. To avoid
/// known faults the reference has more.
pub(super) fn is_doubtful(
    comparison: &Comparison,
    reference: &mut dyn Engine,
    for_reference: &Case,
    case: &Case,
) -> bool {
    let Some(step) = endless_step(comparison) else {
        return false;
    };
    if for_reference.settings.fuel <= case.settings.fuel {
        return false;
    }
    let mut less = for_reference.clone();
    less.settings.fuel = case.settings.fuel;
    let seen = observe_steps(reference, &less, step + 1);
    !seen.is_ok_and(|seen| {
        let mut steps = seen.steps.iter().map(|step| &step.outcome);
        seen.steps.len() > step && !steps.any(|it| matches!(it, Outcome::Inconclusive(_)))
    })
}
