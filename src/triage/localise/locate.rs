//! Where: the function, by mixing good code and bad, and the instruction, by probes.

use parallax_oracles::{Finding, Outcome, Seen};

use super::{Explanation, FirstWrong, Localiser, Standing, cut, standing, without};
use crate::case::Case;
use crate::engine::compiled::Mixture;
use crate::engine::{Refusal, observe_steps, registry};
use crate::triage::blame::{Blame, FunctionOf};
use crate::triage::probe::{Difference, SiteKind, Survey, Watch};
use crate::triage::{known, region, sweep};

impl Localiser<'_> {
    /// Finds the function and the instructions.
    pub(super) fn locate(
        &self,
        out: &mut Explanation,
        blame: &mut Blame,
        accused: &'static str,
        first: &Finding,
    ) -> Result<(), String> {
        if matches!(&first.subject, Seen::Outcome(Outcome::Failed(_))) {
            blame.function = self.function_that_fails(accused);
            return Ok(());
        }
        if let Some((good, _)) = sweep::good_for_code_generation(self.case, &out.sweep, accused) {
            blame.function = self.function_by_settings(accused, &good)?;
        }
        let survey = Survey::of(self.case);
        let Some(difference) = self.difference_by_probes(&survey, accused, first)? else {
            return Ok(());
        };
        let place = region::of(self.case, &survey, &difference.0, &*difference.1);
        let difference = difference.0;
        out.first_wrong = Some(FirstWrong::new(accused, &survey, &difference));
        if let Some((function, region)) = place
            && *blame.function.get_or_insert(function) == function
        {
            blame.region = Some(region);
        }
        if let Some(region) = &blame.region
            && let Some(function) = blame.function
        {
            blame.clif = region::clif(self.case, function, region, accused, self.options);
        }
        Ok(())
    }

    /// The function whose compilation alone fails.
    fn function_that_fails(&self, accused: &str) -> Option<FunctionOf> {
        let mut compiler = registry::make_compiled(accused, self.options.fault)?;
        functions(self.case).into_iter().find(|function| {
            let listed = compiler.listing(self.case, function.module, function.function);
            matches!(listed, Err(Refusal::Failed(_)))
        })
    }

    /// The function with which alone the divergence comes, of those compiled as the case says,
    /// while all others are compiled by settings with which it does not.
    fn function_by_settings(
        &self,
        accused: &str,
        good: &Case,
    ) -> Result<Option<FunctionOf>, String> {
        let shows = |bad: &[FunctionOf]| -> Result<bool, String> {
            let functions = bad.iter().map(|it| (it.module, it.function)).collect();
            let mixture = Mixture {
                settings: self.case.settings.clone(),
                functions,
            };
            let mixed = registry::make_mixed(accused, self.options.fault, mixture)?;
            Ok(mixed.is_some_and(|mut engine| {
                matches!(self.stands(&mut *engine, good), Standing::Differs(_))
            }))
        };
        let mut bad = functions(self.case);
        if !shows(&bad)? {
            return Ok(None);
        }
        while bad.len() > 1 {
            let half = bad.split_off(bad.len() / 2);
            if !shows(&bad)? {
                if !shows(&half)? {
                    // It takes functions of both halves.
                    return Ok(None);
                }
                bad = half;
            }
        }
        Ok(bad.pop())
    }

    /// The first value that differs, with as many probes as leave the divergence there.
    fn difference_by_probes(
        &self,
        survey: &Survey,
        accused: &'static str,
        first: &Finding,
    ) -> Result<Option<(Difference, Box<Chosen>)>, String> {
        let watches = match Watch::of(&first.place) {
            None => vec![None],
            watch => vec![None, watch],
        };
        let everywhere = survey.sites.len();
        let without = |prefix: usize, suffix: usize| -> Box<Chosen> {
            Box::new(move |site| site < prefix || site >= suffix)
        };
        // With everything told, watched or not.
        if let Some(found) = self.first_told(survey, accused, &watches, &|| {
            without(everywhere, everywhere)
        })? {
            return Ok(Some(found));
        }
        // Without that, it goes away. So with as much told from the start on, and up to the end, as
        // leaves it there.
        let shows = |prefix, suffix| {
            let attempt = self.attempt(survey, accused, &*without(prefix, suffix), None)?;
            Ok(!matches!(attempt, Attempt::Gone))
        };
        let prefix = last_that(everywhere, |prefix| shows(prefix, everywhere))?;
        let suffix = everywhere - last_that(everywhere, |length| shows(0, everywhere - length))?;
        for (prefix, suffix) in [
            (prefix, suffix.max(prefix)),
            (prefix, everywhere),
            (0, suffix),
        ] {
            let chosen = || without(prefix, suffix);
            if let Some(found) = self.first_told(survey, accused, &watches, &chosen)? {
                return Ok(Some(found));
            }
        }
        // Functions and parameters only.
        let kinds: Vec<SiteKind> = survey.sites.iter().map(|site| site.kind).collect();
        let entries: Box<Chosen> = Box::new(move |site| {
            let kind = kinds.get(site);
            matches!(kind, Some(SiteKind::Entry | SiteKind::Parameter(_)))
        });
        match self.attempt(survey, accused, &*entries, None)? {
            Attempt::Told(told) => Ok(Some((told, entries))),
            Attempt::Silent(_) | Attempt::Gone => Ok(None),
        }
    }

    /// What is told first that differs, under one watch or another; of a divergence that shows in
    /// nothing told, where it is that nothing more was told.
    fn first_told(
        &self,
        survey: &Survey,
        accused: &str,
        watches: &[Option<Watch>],
        chosen: &dyn Fn() -> Box<Chosen>,
    ) -> Result<Option<(Difference, Box<Chosen>)>, String> {
        let mut silent = None;
        for watch in watches {
            let chosen = chosen();
            match self.attempt(survey, accused, &*chosen, *watch)? {
                Attempt::Told(difference) => return Ok(Some((difference, chosen))),
                Attempt::Silent(difference) => silent = Some((difference, chosen)),
                Attempt::Gone => {}
            }
        }
        Ok(silent)
    }

    fn attempt(
        &self,
        survey: &Survey,
        accused: &str,
        chosen: &Chosen,
        watch: Option<Watch>,
    ) -> Result<Attempt, String> {
        let Some(probed) = survey.probed(self.case, chosen, watch) else {
            return Ok(Attempt::Gone);
        };
        // Of the reference's own fault, what it does by itself is the wrong side.
        let mut reference = registry::make(registry::REFERENCE)?;
        let steps = self.truth.steps.len();
        let right = without(&probed.case, &self.avoided);
        let Ok(right) = observe_steps(&mut *reference, &right, steps) else {
            return Ok(Attempt::Gone);
        };
        let right = cut(right);
        let steps = right.steps.len();
        let wrong = if accused == registry::REFERENCE {
            // Probes do not make unsafe what was safe.
            let as_is = match known::made_safe(self.case) {
                Some(_) => without(&probed.case, &[]),
                None => probed.case.clone(),
            };
            observe_steps(&mut *reference, &as_is, steps)
        } else {
            observe_steps(&mut *self.engine(accused)?, &probed.case, steps)
        };
        let Ok(wrong) = wrong else {
            return Ok(Attempt::Gone);
        };
        if let Some(difference) = probed.difference(&right, &wrong) {
            return Ok(Attempt::Told(difference));
        }
        Ok(match standing(&right, &wrong) {
            Standing::Differs(finding) => Attempt::Silent(Difference {
                step: finding.step,
                before: wrong
                    .steps
                    .get(finding.step)
                    .and_then(|step| probed.told(&step.events).pop()),
                reference: None,
                subject: None,
            }),
            _ => Attempt::Gone,
        })
    }
}

/// At which sites there are probes.
type Chosen = dyn Fn(usize) -> bool;

/// What came of running a case with probes.
enum Attempt {
    /// They told what went wrong first.
    Told(Difference),
    /// It went wrong behind all that they told.
    Silent(Difference),
    /// With them, it does not go wrong.
    Gone,
}

/// All functions that the modules of a case define.
fn functions(case: &Case) -> Vec<FunctionOf> {
    let modules = case.modules.iter().enumerate();
    let functions = modules.flat_map(|(module, it)| {
        let defined = it.imported_functions()..it.functions.len() as u32;
        defined.map(move |function| FunctionOf { module, function })
    });
    functions.collect()
}

/// The largest number up to `most` of which something holds, given that it holds of 0 and of all
/// numbers below one of which it holds.
fn last_that(most: usize, holds: impl Fn(usize) -> Result<bool, String>) -> Result<usize, String> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle)? {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}
