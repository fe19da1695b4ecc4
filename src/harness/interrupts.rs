//! Interrupts that are noticed late.
//!
//! Where the host asks for an interrupt, the reference traps at once, and compiled code goes on to the next loop
//! header or function entry. If anything shows until then, or if nothing comes, engines differ that are all
//! right. Generated programs are not like that ([`interrupts`](crate::generate)), but scripts may be, and what is
//! left of a case that was shrunk.
//!
//! So where a step ends by an interrupt and something is found about that step, the reference runs the
//! case twice more, with a call of the host wherever compiled code polls: once trapping where the interrupt is
//! asked for, and once at the next of these calls. If that makes a difference, nothing is found.

use parallax_oracles::{Observation, Outcome, Seen, TrapKind, Verdict};

use super::Examined;
use crate::case::Case;
use crate::engine::{Engine, observe_steps};
use crate::triage::probe::{Probed, Site, SiteKind, Survey};

/// Polls after which a case is taken for one in which interrupts are noticed in time.
const MOST_POLLS: u64 = 100_000;

const LOOP: u8 = 0x03;
const CALL: u8 = 0x10;
const CALL_INDIRECT: u8 = 0x11;

/// Whether all that was found may come of an interrupt that is noticed late. `case` is the case as the
/// reference runs it.
pub(super) fn are_noticed_late(
    examined: &Examined,
    reference: &mut dyn Engine,
    case: &Case,
) -> bool {
    let Some(step) = interrupted_step(examined) else {
        return false;
    };
    let Some(probed) = with_polls(case) else {
        return false;
    };
    let mut shown = |late| {
        let seen = observe_steps(reference, &probed.polling(MOST_POLLS, late), step + 1).ok()?;
        Some(probed.without_probes(&seen))
    };
    let (Some(at_once), Some(late)) = (shown(false), shown(true)) else {
        return false;
    };
    let undecided = |it: &Observation| {
        let mut outcomes = it.steps.iter().map(|step| &step.outcome);
        outcomes.any(|outcome| matches!(outcome, Outcome::Inconclusive(_)))
    };
    !undecided(&at_once) && !undecided(&late) && at_once.steps != late.steps
}

/// The step in which the reference was interrupted, if that is where all was found that was, and there is
/// nothing about an engine that broke or differs from another.
fn interrupted_step(examined: &Examined) -> Option<usize> {
    let Verdict::Diverged(findings) = &examined.verdict else {
        return None;
    };
    let step = findings.first()?.step;
    let ended = &examined.reference.as_ref()?.steps.get(step)?.outcome;
    let of_the_end = findings.iter().all(|finding| {
        let broken = matches!(&finding.subject, Seen::Outcome(outcome) if outcome.is_broken());
        finding.step == step && finding.against.is_none() && !broken
    });
    (*ended == Outcome::Trapped(TrapKind::Interrupted) && of_the_end).then_some(step)
}

/// The case with a probe wherever compiled code polls: at the header of a loop, and on entry of a function that
/// calls others. One that does not need not look how much there is left of the stack.
fn with_polls(case: &Case) -> Option<Probed> {
    let survey = Survey::of(case);
    let code = |site: &Site| case.modules[site.module].wasm.get(site.offset as usize);
    let calls = |function: &Site| {
        let mut sites = survey.sites.iter();
        sites.any(|site| {
            let same = (site.module, site.function) == (function.module, function.function);
            same && site.kind == SiteKind::Effect
                && matches!(code(site), Some(&(CALL | CALL_INDIRECT)))
        })
    };
    let polls: Vec<bool> = survey
        .sites
        .iter()
        .map(|site| match site.kind {
            SiteKind::Entry => calls(site),
            SiteKind::Passed => code(site) == Some(&LOOP),
            SiteKind::Parameter(_) | SiteKind::Value | SiteKind::Effect => false,
        })
        .collect();
    survey.probed(case, &|site| polls[site], None)
}
