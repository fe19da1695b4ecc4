//! Whose fault a divergence is, settled by experiment and without a person.
//!
//! 1. **Which engines.** Every engine runs the case; the table in [`super::blame`] turns who agrees
//!    with the reference into a layer, or into a few.
//!    An engine that differs is held against the one of its ISA by the other generation of Cranelift
//!    as well, whether that was asked for or not.
//! 2. **The reference or us?** Where all of ours differ alike, the reference is asked again about
//!    the same program written differently (a [known rewrite](super::known), or
//!    [probes](super::probe) throughout, which only copy values). If it then says what ours say, it
//!    contradicts itself, and the fault is its own. A script's assertions are a witness too.
//! 3. **Under which settings.** The case runs again with one setting changed at a time
//!    ([`Variation`]). A fault that goes away without optimisation, in both ISAs, is the middle
//!    end's.
//! 4. **The translation or the runtime?** Every builtin is held to its contract, on the arguments
//!    it was given ([`crate::runtime::audit`]). A builtin that breaks it is at fault; if none does,
//!    whoever called them is.
//! 5. **In which function.** With a good setting for code generation at hand, functions are
//!    compiled with the bad one a part at a time, until one is left. Otherwise, and for the
//!    instruction in any case, probes find the first value that differs.
//!
//! Nothing here knows what was planted, or looks at anything but what engines show.

mod locate;
mod settle;

use std::fmt;

use parallax_oracles::{
    Finding, Observation, Outcome, Reason, StepObservation, Value, Verdict, compare,
};
use serde::Serialize;

use super::blame::{Blame, FunctionOf, Layer, tell_of_the_stack};
use super::known::{self, KnownFault};
use super::probe::{Difference, SiteKind, Survey, Told};
use super::sweep::{self, Variation};
use crate::case::Case;
use crate::engine::{Engine, Refusal, observe, observe_steps, registry};
use crate::harness::{Examined, Harness};
use crate::score::Fault;

/// Which engines take part, and what is planted in them.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engines to compare with the reference, by name.
    pub subjects: Vec<&'static str>,
    /// A fault to plant in them.
    pub fault: Option<Fault>,
}

/// How an engine stands to the reference.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It shows what the reference shows.
    Agrees,
    /// It shows something else; this first.
    Differs(Box<Finding>),
    /// It cannot run the case.
    Unsupported(String),
    /// Nothing can be said.
    Inconclusive(String),
}

impl Standing {
    /// Whether it speaks for an engine: that it shows what the reference shows, or, where it is about the check
    /// of the stack, that it has exhausted it (see [`super::blame`]).
    fn is_right(&self, of_the_stack: bool) -> bool {
        match self {
            Standing::Agrees => !of_the_stack,
            Standing::Inconclusive(reason) => {
                of_the_stack && *reason == Reason::StackExhausted.to_string()
            }
            Standing::Differs(_) | Standing::Unsupported(_) => false,
        }
    }
}

/// An engine in the table of engines.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The engine.
    pub engine: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// The known fault that explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<&'static str>,
}

impl Row {
    /// Whether the engine shows something else than the reference.
    pub fn differs(&self) -> bool {
        matches!(self.standing, Standing::Differs(_))
    }
}

/// All that was found out about a case.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The verdict that [`Harness::examine`] comes to: without what known faults explain.
    pub verdict: Verdict,
    /// The known faults that were met.
    pub known: Vec<&'static KnownFault>,
    /// The reference first, if it contradicts itself, then every subject.
    pub engines: Vec<Row>,
    /// The first difference of every engine that differs, those at the earliest step first.
    pub findings: Vec<Finding>,
    /// Whose fault it is; `None` if nothing differs.
    pub blame: Option<Blame>,
    /// What changing one setting at a time does.
    pub sweep: Vec<Variation>,
    /// The first value that went wrong, told by probes.
    pub first_wrong: Option<FirstWrong>,
    /// What the reference showed.
    pub reference: Option<Observation>,
}

/// The first value that an engine computed otherwise than the reference, or the first place where
/// it went another way.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FirstWrong {
    /// The engine.
    pub engine: &'static str,
    /// The step.
    pub step: usize,
    /// What the reference told there.
    pub reference: Option<ToldAt>,
    /// What the engine told.
    pub subject: Option<ToldAt>,
    /// What both told last before that.
    pub before: Option<ToldAt>,
}

/// What was told, and where.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ToldAt {
    /// The function.
    pub function: FunctionOf,
    /// The instruction, by its offset in the module's binary.
    pub offset: u32,
    /// What is told there.
    pub kind: SiteKind,
    /// The value.
    pub value: Option<Value>,
}

impl FirstWrong {
    fn new(engine: &'static str, survey: &Survey, difference: &Difference) -> FirstWrong {
        let at = |told: Option<Told>| {
            let told = told?;
            let site = survey.sites.get(told.site)?;
            Some(ToldAt {
                function: FunctionOf {
                    module: site.module,
                    function: site.function,
                },
                offset: site.offset,
                kind: site.kind,
                value: told.value,
            })
        };
        FirstWrong {
            engine,
            step: difference.step,
            reference: at(difference.reference),
            subject: at(difference.subject),
            before: at(difference.before),
        }
    }
}

/// Runs experiments about one case.
struct Localiser<'a> {
    case: &'a Case,
    options: &'a Options,
    /// The known faults of the reference that the case meets.
    met: Vec<&'static KnownFault>,
    /// Those that it may meet, which it runs without.
    avoided: Vec<&'static KnownFault>,
    /// What is right, as far as the reference knows: up to where it comes to no end.
    truth: Observation,
}

/// How an engine of another generation of Cranelift stands than one that differs.
struct OtherGeneration {
    engine: &'static str,
    agrees: bool,
}

impl fmt::Display for OtherGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherGeneration { engine, agrees } = self;
        let stands = if *agrees { "agrees" } else { "differs as well" };
        write!(f, "{engine}, of another generation, {stands}")
    }
}

/// Finds out whose fault it is that engines differ about a case.
///
/// # Errors
/// One line: an engine that cannot be used here.
pub fn explain(case: &Case, options: &Options) -> Result<Explanation, String> {
    let mut harness = Harness::with_fault(&options.subjects, options.fault)?;
    explain_examined(case, options, harness.examine(case))
}

/// The same without help of what is known of the reference.
///
/// # Errors
/// One line: an engine that cannot be used here.
pub fn explain_unknown(case: &Case, options: &Options) -> Result<Explanation, String> {
    let mut harness = Harness::with_fault(&options.subjects, options.fault)?;
    let mut examined = harness.examine(case);
    examined
        .known
        .retain(|known| known.engine != registry::REFERENCE);
    examined.avoided.clear();
    explain_examined(case, options, examined)
}

fn explain_examined(
    case: &Case,
    options: &Options,
    examined: Examined,
) -> Result<Explanation, String> {
    let mut explanation = Explanation {
        blame: Blame::of(&examined),
        verdict: examined.verdict,
        known: examined.known,
        engines: Vec::new(),
        findings: Vec::new(),
        sweep: Vec::new(),
        first_wrong: None,
        reference: None,
    };
    let of_reference = |known: &&&'static KnownFault| known.engine == registry::REFERENCE;
    let met = explanation.known.iter().filter(of_reference);
    let met: Vec<_> = met.copied().collect();
    // What the reference may have met besides what is to be explained is no part of that.
    let avoided = match met.is_empty() {
        true => examined.avoided,
        false => met.clone(),
    };
    let mut reference = registry::make(registry::REFERENCE)?;
    let truth = match observe(&mut *reference, &without(case, &avoided)) {
        Ok(truth) => truth,
        // What it refuses is told by the harness, and there is nothing to compare with.
        Err(_) => return Ok(refused(explanation)),
    };
    explanation.reference = Some(truth.clone());
    let truth = cut(truth);
    if truth.steps.is_empty() {
        return Ok(explanation);
    }
    let localiser = Localiser {
        case,
        options,
        met,
        avoided,
        truth,
    };
    localiser.fill(&mut explanation)?;
    Ok(explanation)
}

/// What the reference showed before it came to no end. What it did in the end says nothing then, since
/// it went on for a step.
fn cut(mut truth: Observation) -> Observation {
    let ends = |step: &StepObservation| matches!(step.outcome, Outcome::Inconclusive(_));
    if let Some(steps) = truth.steps.iter().position(ends) {
        truth.steps.truncate(steps);
        truth.teardown.clear();
        truth.broken_teardown = None;
    }
    truth
}

/// How what an engine showed stands to what is right.
fn standing(truth: &Observation, observation: &Observation) -> Standing {
    match compare(truth, observation).verdict {
        Verdict::Agreed => Standing::Agrees,
        Verdict::Inconclusive(reason) => Standing::Inconclusive(reason.to_string()),
        Verdict::Diverged(findings) => match findings.into_iter().next() {
            Some(first) => Standing::Differs(Box::new(first)),
            None => Standing::Agrees,
        },
    }
}

/// The case as the reference is to run it: without what could end the process, and without some of
/// its faults.
fn without(case: &Case, faults: &[&'static KnownFault]) -> Case {
    let safe = known::made_safe(case);
    known::avoid_all(safe.as_ref().unwrap_or(case), faults)
}

/// Of a case that the reference refuses, its finding is all there is.
fn refused(mut explanation: Explanation) -> Explanation {
    if let Verdict::Diverged(findings) = &explanation.verdict {
        explanation.findings.clone_from(findings);
    }
    explanation
}

impl Localiser<'_> {
    fn fill(&self, out: &mut Explanation) -> Result<(), String> {
        let contradiction = self.reference_row(out)?;
        for name in &self.options.subjects {
            out.engines.push(self.row(name, self.case)?);
        }
        self.add_traces(out);
        // Where something is not known yet, what is known is not what is to be explained.
        let unknown = |row: &Row| row.differs() && row.known.is_none();
        let all_known = !out.engines.iter().any(unknown);
        let told = |row: &Row| row.differs() && (all_known || row.known.is_none());
        for row in out.engines.iter().filter(|row| told(row)) {
            if let Standing::Differs(finding) = &row.standing {
                out.findings.push(Finding::clone(finding));
            }
        }
        out.findings.sort_by_key(|finding| finding.step);
        let Some(first) = out.findings.first().cloned() else {
            return Ok(());
        };
        let of_the_stack = tell_of_the_stack(&out.findings);
        let names = |differs: bool| -> Vec<&str> {
            let rows = out.engines.iter().filter(|row| match row.standing {
                Standing::Differs(_) => differs && told(row),
                _ => !differs && row.standing.is_right(of_the_stack),
            });
            rows.map(|row| row.engine).collect()
        };
        let (differ, mut agree) = (names(true), names(false));
        let others = self.other_generations(&differ, of_the_stack)?;
        agree.extend(others.iter().filter(|it| it.agrees).map(|it| it.engine));
        let mut blame = Blame::of_findings(&out.findings, differ.clone(), agree);
        blame.because.extend(others.iter().map(ToString::to_string));
        blame.oracle = Some(first.oracle);
        let known = out.engines.iter().find_map(|row| row.known);
        if let Some(known) = known.filter(|_| all_known) {
            blame.known = Some(known.to_string());
        }

        let accused = differ[0];
        if contradiction {
            blame.layer = Layer::Reference;
            blame.or.clear();
            blame.because.push(format!(
                "{} says something else of the same program written differently",
                registry::REFERENCE
            ));
        } else {
            out.sweep = sweep::vary(
                self.case,
                |case, name| self.standing_of(name, case),
                &differ,
            )?;
            self.settle_by_panic(&mut blame, &out.findings);
            self.settle_by_settings(&mut blame, &out.sweep, of_the_stack);
            self.settle_reference(&mut blame, accused)?;
            self.settle_runtime(&mut blame, accused);
        }
        self.locate(out, &mut blame, accused, &first)?;
        out.blame = Some(blame);
        Ok(())
    }

    /// What the engines of other generations of Cranelift show that were not asked for, of those that
    /// differ.
    fn other_generations(
        &self,
        differ: &[&str],
        of_the_stack: bool,
    ) -> Result<Vec<OtherGeneration>, String> {
        let mut others = Vec::new();
        for engine in differ
            .iter()
            .filter_map(|name| registry::other_generation(name))
        {
            if self.options.subjects.contains(&engine) {
                continue;
            }
            let standing = self.standing_of(engine, self.case)?;
            let agrees = standing.is_right(of_the_stack);
            if !agrees && !matches!(standing, Standing::Differs(_)) {
                continue;
            }
            others.push(OtherGeneration { engine, agrees });
        }
        Ok(others)
    }

    /// Adds the reference as it is, if it differs from what is right; whether it does.
    fn reference_row(&self, out: &mut Explanation) -> Result<bool, String> {
        let Some(known) = self.met.first() else {
            return Ok(false);
        };
        let mut reference = registry::make(registry::REFERENCE)?;
        let steps = self.truth.steps.len();
        let standing = match observe_steps(&mut *reference, &without(self.case, &[]), steps) {
            Ok(observation) => standing(&self.truth, &observation),
            Err(refusal) => Standing::Inconclusive(refusal.to_string()),
        };
        let row = Row {
            engine: registry::REFERENCE,
            standing,
            known: Some(known.name),
        };
        let differs = row.differs();
        out.engines.push(row);
        Ok(differs)
    }

    /// Engines of ours that differ from each other in their traces of counts alone, which the
    /// reference has none of.
    fn add_traces(&self, out: &mut Explanation) {
        let Verdict::Diverged(findings) = &out.verdict else {
            return;
        };
        for finding in findings.iter().filter(|it| it.against.is_some()) {
            let row = out
                .engines
                .iter_mut()
                .find(|it| it.engine == finding.engine);
            if let Some(row) = row.filter(|row| row.standing == Standing::Agrees) {
                row.standing = Standing::Differs(Box::new(finding.clone()));
            }
        }
    }

    fn engine(&self, name: &str) -> Result<Box<dyn Engine>, String> {
        registry::make_with_fault(name, self.options.fault)
    }

    /// An engine in the table.
    fn row(&self, name: &'static str, case: &Case) -> Result<Row, String> {
        let mut engine = self.engine(name)?;
        let standing = self.stands(&mut *engine, case);
        let known = match &standing {
            Standing::Differs(finding) => {
                known::subject_fault(finding, &engine.version(), engine.remark(finding))
            }
            _ => None,
        };
        Ok(Row {
            engine: name,
            standing,
            known: known.map(|known| known.name),
        })
    }

    fn standing_of(&self, name: &str, case: &Case) -> Result<Standing, String> {
        Ok(self.stands(&mut *self.engine(name)?, case))
    }

    /// How an engine stands that runs the case, or the case with other settings.
    fn stands(&self, engine: &mut dyn Engine, case: &Case) -> Standing {
        match observe_steps(engine, case, self.truth.steps.len()) {
            Ok(observation) => standing(&self.truth, &observation),
            Err(Refusal::Unsupported(what)) => Standing::Unsupported(what),
            Err(refusal) => Standing::Differs(Box::new(crate::harness::refusal_finding(
                engine.name(),
                &refusal,
            ))),
        }
    }
}
