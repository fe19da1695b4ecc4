//! Which layer: what experiments say to what the table of engines leaves open.

use std::collections::HashSet;

use parallax_oracles::{Finding, Observation, Outcome, Seen};

use super::{Localiser, Standing, standing, without};
use crate::case::settings::OptLevel;
use crate::engine::{expect, observe_steps, registry};
use crate::triage::blame::{Blame, Layer};
use crate::triage::probe::Survey;
use crate::triage::sweep::{self, Variation};

impl Localiser<'_> {
    /// A compiler that panics says where.
    pub(super) fn settle_by_panic(&self, blame: &mut Blame, findings: &[Finding]) {
        let failed = findings.iter().find_map(|finding| match &finding.subject {
            Seen::Outcome(Outcome::Failed(how)) => Some((how, &finding.engine)),
            _ => None,
        });
        let Some((how, engine)) = failed else {
            return;
        };
        let layer = if how.contains("/src/isa/") {
            Layer::backend_of(engine)
        } else if how.contains("/src/opts") || how.contains("/src/egraph") {
            Some(Layer::MiddleEnd)
        } else if how.contains("cranelift-wasm-") || how.contains("cranelift-frontend-") {
            Some(Layer::Translation)
        } else {
            None
        };
        if let Some(layer) = layer {
            blame.layer = layer;
            blame.or.clear();
        }
        blame.because.push(format!("{engine} fails: {how}"));
    }

    /// What goes away without optimisation is the optimiser's where both ISAs have it; but not what is about
    /// the check of the stack, of which programs take more or less.
    pub(super) fn settle_by_settings(
        &self,
        blame: &mut Blame,
        sweep: &[Variation],
        of_the_stack: bool,
    ) {
        let levels = sweep::levels(self.case, sweep);
        let gone_without = levels
            .as_ref()
            .is_some_and(|levels| !levels.contains(&OptLevel::None));
        blame.levels = levels;
        blame.gone_with = sweep::gone_with(sweep, &blame.differ);
        let backends: HashSet<_> = blame
            .differ
            .iter()
            .filter_map(|engine| Layer::backend_of(engine))
            .collect();
        let optimised = gone_without && !of_the_stack;
        if optimised && backends.len() > 1 && blame.or.contains(&Layer::MiddleEnd) {
            blame.layer = Layer::MiddleEnd;
            blame.or.clear();
            blame
                .because
                .push("both ISAs have it, and only with optimisation".to_string());
        }
    }

    /// Whether it is the reference that is wrong, where all of ours say the same and it does not.
    pub(super) fn settle_reference(&self, blame: &mut Blame, accused: &str) -> Result<(), String> {
        if !blame.or.contains(&Layer::Reference) {
            return Ok(());
        }
        let mut engine = self.engine(accused)?;
        let steps = self.truth.steps.len();
        let Ok(ours) = observe_steps(&mut *engine, self.case, steps) else {
            blame.or.retain(|layer| *layer != Layer::Reference);
            return Ok(());
        };
        let meets = |observation: &Observation| {
            let steps = self.case.steps.iter().zip(&observation.steps);
            let mut asserted = steps.filter_map(|(step, seen)| {
                Some(expect::check(step.expect.as_ref()?, &seen.outcome).is_ok())
            });
            asserted.by_ref().all(|met| met)
        };
        let asserts = self.case.steps.iter().any(|step| step.expect.is_some());
        if asserts && meets(&ours) != meets(&self.truth) {
            if meets(&ours) {
                blame.layer = Layer::Reference;
                blame.or.clear();
                blame
                    .because
                    .push("what the script asserts is what ours show".to_string());
            } else {
                blame.or.retain(|layer| *layer != Layer::Reference);
                blame
                    .because
                    .push("what the script asserts is what the reference shows".to_string());
            }
            return Ok(());
        }
        // The same program with every value copied as it is computed.
        let survey = Survey::of(self.case);
        let Some(probed) = survey.probed(self.case, &|_| true, None) else {
            return Ok(());
        };
        let mut reference = registry::make(registry::REFERENCE)?;
        let again = without(&probed.case, &self.avoided);
        let Ok(again) = observe_steps(&mut *reference, &again, steps) else {
            return Ok(());
        };
        let plain = probed.without_probes(&again);
        let as_before = standing(&self.truth, &plain);
        if matches!(as_before, Standing::Inconclusive(_)) {
            return Ok(());
        }
        let as_ours = standing(&plain, &ours);
        if as_before != Standing::Agrees && as_ours == Standing::Agrees {
            blame.layer = Layer::Reference;
            blame.or.clear();
            blame.because.push(format!(
                "{} says what ours say of the same program with every value copied",
                registry::REFERENCE
            ));
        } else if as_before == Standing::Agrees {
            blame.or.retain(|layer| *layer != Layer::Reference);
            blame.because.push(format!(
                "{} says the same of the program with every value copied",
                registry::REFERENCE
            ));
        }
        Ok(())
    }

    /// Whether a builtin broke its contract.
    pub(super) fn settle_runtime(&self, blame: &mut Blame, accused: &str) {
        if !blame.or.contains(&Layer::Runtime) {
            return;
        }
        let engines = std::iter::once(accused).chain(blame.differ.iter().map(String::as_str));
        let compiles = |name: &&str| registry::make_compiled(name, None).is_some();
        let Some(engine) = engines.clone().find(compiles) else {
            return;
        };
        let steps = self.truth.steps.len();
        match sweep::audited(self.case, steps, engine, self.options.fault) {
            Some(breach) => {
                blame.layer = Layer::Runtime;
                blame.or.clear();
                blame.because.push(breach.to_string());
                blame.builtin = Some(breach.part);
            }
            None => {
                blame.or.retain(|layer| *layer != Layer::Runtime);
                blame
                    .because
                    .push("no builtin broke its contract".to_string());
            }
        }
    }
}
