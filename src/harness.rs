//! Running one case through the reference and the subjects, and comparing.
//!
//! Everything that runs cases does it here: the command line, the fuzz targets, the tests.

mod interrupts;
mod timeout;

use std::cell::RefCell;
use std::rc::Rc;

use parallax_oracles::{
    Comparison, Finding, Observation, OracleName, Outcome, Place, Reason, Seen, Verdict,
    compare_knowing, compare_own,
};

use crate::case::Case;
use crate::engine::{self, Engine, Refusal, observe, observe_steps, registry};
use crate::runtime::watchdog;
use crate::score::Fault;
use crate::translate::Translations;
use crate::triage::known::{self, KnownFault};

/// How many times as much fuel the reference gets where it runs out of it because a known fault is avoided.
const MORE_FUEL: u64 = 16;

/// The reference and the subjects, kept from case to case.
pub struct Harness {
    reference: Box<dyn Engine>,
    subjects: Vec<Box<dyn Engine>>,
    /// What subjects have translated of the case at hand.
    translations: Rc<RefCell<Translations>>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The verdict over all subjects: diverged if any is, else inconclusive if the reference is
    /// or no subject could be compared, else agreed.
    pub verdict: Verdict,
    /// The known faults that were met: without knowing them, the case would have diverged. What
    /// they explain is not in the verdict.
    pub known: Vec<&'static KnownFault>,
    /// Known faults of the reference that it ran the case without, which did not settle the matter: they
    /// may or may not have been met.
    pub avoided: Vec<&'static KnownFault>,
    /// What the reference showed; `None` if it refused the case.
    pub reference: Option<Observation>,
    /// What came of every subject, in order.
    pub subjects: Vec<Subject>,
}

/// What came of a case in one subject.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The engine's name.
    pub engine: &'static str,
    /// The comparison, or why there is none.
    pub result: Result<Comparison, NotCompared>,
    /// Whether known faults explain some of what it showed, so that it was right to the end is not
    /// known.
    pub excused: bool,
    /// What it showed; `None` if it ran nothing.
    pub observation: Option<Observation>,
}

/// Why a subject was not compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotCompared {
    /// It has no support for something in the case.
    Unsupported(String),
    /// The reference did not get far enough for there to be anything to compare.
    NothingToCompare,
}

impl Harness {
    /// A harness of these engines, by name.
    ///
    /// # Errors
    /// One line: an unknown name, or an engine that cannot be used here.
    pub fn new(subjects: &[&str]) -> Result<Harness, String> {
        Harness::with_fault(subjects, None)
    }

    /// A harness of these engines, by name, with a fault planted in those subjects that can have
    /// it.
    ///
    /// # Errors
    /// One line: an unknown name, or an engine that cannot be used here.
    pub fn with_fault(subjects: &[&str], fault: Option<Fault>) -> Result<Harness, String> {
        let reference = registry::make(registry::REFERENCE)?;
        let subjects = subjects
            .iter()
            .map(|name| registry::make_with_fault(name, fault))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Harness::of(reference, subjects))
    }

    /// A harness of these engines.
    pub fn of(reference: Box<dyn Engine>, mut subjects: Vec<Box<dyn Engine>>) -> Harness {
        let translations = Rc::default();
        for subject in &mut subjects {
            subject.share(&translations);
        }
        Harness {
            reference,
            subjects,
            translations,
        }
    }

    /// The engines, the reference first.
    pub fn engines(&mut self) -> impl Iterator<Item = &mut dyn Engine> {
        std::iter::once(&mut self.reference)
            .chain(&mut self.subjects)
            .map(|engine| engine.as_mut() as &mut dyn Engine)
    }

    /// Has all engines reserve what they would with the first case and keep.
    pub fn warm_up(&mut self) {
        self.engines().for_each(Engine::warm_up);
    }

    /// The names of the subjects.
    pub fn subjects(&self) -> impl Iterator<Item = &'static str> {
        self.subjects.iter().map(|engine| engine.name())
    }

    /// Runs a case through all engines and compares, knowing the [known faults](known).
    ///
    /// If it diverges and could have met faults of the reference, the reference is asked again
    /// with each of them avoided alone. The first whose avoidance settles the matter is the one
    /// that was met. If none does, all of them are avoided at once: if that does, the ones that
    /// it takes were met; if not, what is found then is nearer the truth than what was found
    /// first.
    ///
    /// A fault that was met shows in the reference: it does something else when it is avoided. And it
    /// explains nothing that a subject does by itself, as to leave its sandbox.
    ///
    /// Faults of the reference that could end the process are avoided from the start. And where an interrupt is
    /// asked for too late for all engines to do the same, nothing is found.
    pub fn examine(&mut self, case: &Case) -> Examined {
        self.translations.borrow_mut().forget();
        let safe = known::made_safe(case);
        let safe = safe.as_ref().unwrap_or(case);
        let examined = self.examine_as(safe, case);
        if !examined.diverged() {
            return examined;
        }
        let mut examined = self.examine_knowing(safe, case, examined);
        if interrupts::are_noticed_late(&examined, self.reference.as_mut(), safe) {
            examined.take_back(Reason::LateInterrupt);
        }
        examined
    }

    /// What is found about a case that diverges, as `examined`, when faults of the reference are known, which runs
    /// it as `safe`.
    fn examine_knowing(&mut self, safe: &Case, case: &Case, examined: Examined) -> Examined {
        let avoidable = known::avoidable(safe);
        let mut inconclusive = None;
        for (fault, avoided) in &avoidable {
            let again = self.examine_avoiding(avoided, case, &[*fault]);
            match again.verdict {
                _ if !again.explains(&examined) => {}
                Verdict::Agreed => return again,
                Verdict::Inconclusive(_) => _ = inconclusive.get_or_insert(again),
                Verdict::Diverged(_) => {}
            }
        }
        // An end before the divergence explains less than agreement, but may be all there is.
        if let Some(again) = inconclusive {
            return again;
        }
        let faults: Vec<&'static KnownFault> = avoidable.iter().map(|(fault, _)| *fault).collect();
        if faults.is_empty() {
            return examined;
        }
        self.examine_avoiding_fewest(safe, case, faults, examined)
    }

    /// Examines a case with as few of these faults avoided as it takes; with all if it diverges
    /// even so. The reference runs it as `safe` but for that. `first` is what came of it with none avoided.
    fn examine_avoiding_fewest(
        &mut self,
        safe: &Case,
        case: &Case,
        mut faults: Vec<&'static KnownFault>,
        first: Examined,
    ) -> Examined {
        let mut best = self.examine_avoiding(&known::avoid_all(safe, &faults), case, &faults);
        if best.diverged() {
            return Examined {
                known: best.known_of_subjects(),
                avoided: faults,
                ..best
            };
        }
        if !best.explains(&first) {
            return first;
        }
        for position in (0..faults.len()).rev() {
            let mut fewer = faults.clone();
            fewer.remove(position);
            let again = self.examine_avoiding(&known::avoid_all(safe, &fewer), case, &fewer);
            if again.explains(&first) {
                (best, faults) = (again, fewer);
            }
        }
        best
    }

    /// Examines a case with the reference running it as `avoided`, without these faults. What avoids a
    /// fault may take far more fuel than what has it, as a branch for every target of a `br_table` does.
    fn examine_avoiding(
        &mut self,
        avoided: &Case,
        case: &Case,
        faults: &[&'static KnownFault],
    ) -> Examined {
        let mut examined = self.examine_as(avoided, case);
        if examined.ran_out_of_fuel() {
            let mut longer = avoided.clone();
            longer.settings.fuel = longer.settings.fuel.saturating_mul(MORE_FUEL);
            examined = self.examine_as(&longer, case);
        }
        examined.known.splice(0..0, faults.iter().copied());
        examined
    }

    /// Runs the reference on one case and the subjects on another, which must mean the same.
    fn examine_as(&mut self, for_reference: &Case, case: &Case) -> Examined {
        let reference = match observe(self.reference.as_mut(), for_reference) {
            Ok(observation) => observation,
            Err(refusal) => return self.refused_by_reference(refusal),
        };
        // What the reference did not bring to an end, wasm code might not end at all.
        let ended = reference
            .steps
            .iter()
            .position(|step| matches!(step.outcome, Outcome::Inconclusive(_)));
        let steps = ended.unwrap_or(case.steps.len());
        let mut ran = Vec::with_capacity(self.subjects.len());
        let mut known = Vec::new();
        let mut order: Vec<(usize, &mut Box<dyn Engine>)> =
            self.subjects.iter_mut().enumerate().collect();
        // Whoever is in a hurry gets no verdict of a case that does not end in some engine. Those that
        // count can tell, so that no clock has to.
        let in_a_hurry = watchdog::hurried();
        if in_a_hurry {
            order.sort_by_key(|(_, engine)| !engine.ends_by_count());
        }
        let mut endless = false;
        for (position, engine) in order {
            let mut observation = None;
            let mut excused = false;
            let result = if steps == 0 || (endless && !engine.ends_by_count()) {
                Err(NotCompared::NothingToCompare)
            } else {
                match observe_steps(engine.as_mut(), case, steps) {
                    Ok(mut seen) => {
                        let mut comparison =
                            compare_first(&reference, &seen, engine.as_ref(), ended);
                        if let Some((counted, again)) =
                            timeout::counted(&comparison, &reference, engine.as_ref(), case, ended)
                        {
                            (seen, comparison) = (counted, again);
                        }
                        if timeout::is_doubtful(
                            &comparison,
                            self.reference.as_mut(),
                            for_reference,
                            case,
                        ) {
                            comparison.verdict = Verdict::Inconclusive(Reason::Timeout);
                            comparison.tallies[OracleName::Traps].failed -= 1;
                        }
                        excused = take_out_known(&mut comparison, engine.as_ref(), &mut known);
                        let engine = engine.as_mut();
                        if let Some((avoided, again)) =
                            avoid_known(&comparison, &reference, engine, case, ended)
                        {
                            avoided.iter().for_each(|fault| note(&mut known, fault));
                            comparison = again;
                            excused = true;
                        }
                        observation = Some(seen);
                        Ok(comparison)
                    }
                    Err(Refusal::Unsupported(what)) => Err(NotCompared::Unsupported(what)),
                    Err(refusal) => refused_by_subject(engine.as_ref(), &refusal, &mut known),
                }
            };
            endless |= in_a_hurry && observation.as_ref().is_some_and(is_endless);
            let subject = Subject {
                engine: engine.name(),
                result,
                excused,
                observation,
            };
            ran.push((position, subject));
        }
        ran.sort_by_key(|(position, _)| *position);
        let mut subjects: Vec<Subject> = ran.into_iter().map(|(_, subject)| subject).collect();
        compare_traces(&mut subjects);
        let verdict = overall(&subjects, &reference);
        Examined {
            verdict,
            known,
            avoided: Vec::new(),
            reference: Some(reference),
            subjects,
        }
    }

    /// The reference holds a module to be invalid that we hold to be valid, or failed.
    fn refused_by_reference(&self, refusal: Refusal) -> Examined {
        let verdict = match &refusal {
            Refusal::Unsupported(_) => Verdict::Inconclusive(Reason::Unsupported),
            _ => refused(self.reference.name(), &refusal).verdict,
        };
        Examined {
            verdict,
            known: Vec::new(),
            avoided: Vec::new(),
            reference: None,
            subjects: Vec::new(),
        }
    }
}

impl Examined {
    /// A verdict that no engine had a part in: that parallax, or the process, failed.
    pub fn without_engines(verdict: Verdict) -> Examined {
        Examined {
            verdict,
            known: Vec::new(),
            avoided: Vec::new(),
            reference: None,
            subjects: Vec::new(),
        }
    }

    /// Has nothing be found, for this reason.
    fn take_back(&mut self, reason: Reason) {
        let comparisons = self
            .subjects
            .iter_mut()
            .filter_map(|it| it.result.as_mut().ok());
        for comparison in comparisons {
            if let Verdict::Diverged(findings) = &comparison.verdict {
                for finding in findings {
                    comparison.tallies[finding.oracle].failed -= 1;
                }
                comparison.verdict = Verdict::Inconclusive(reason);
            }
        }
        self.verdict = Verdict::Inconclusive(reason);
    }

    fn diverged(&self) -> bool {
        matches!(self.verdict, Verdict::Diverged(_))
    }

    /// Whether the reference ran out of fuel.
    fn ran_out_of_fuel(&self) -> bool {
        let out = Outcome::Inconclusive(Reason::OutOfFuel);
        let mut steps = self.reference.iter().flat_map(|seen| &seen.steps);
        steps.any(|step| step.outcome == out)
    }

    /// Whether a fault of the reference that is avoided here is why the case diverged `first`, without
    /// that.
    fn explains(&self, first: &Examined) -> bool {
        !self.diverged() && self.reference != first.reference && !first.stands()
    }

    /// Whether something is found that does not depend on what the reference shows: that a subject broke, or
    /// differs from another.
    fn stands(&self) -> bool {
        let Verdict::Diverged(findings) = &self.verdict else {
            return false;
        };
        let broke = |finding: &Finding| match &finding.subject {
            Seen::Outcome(outcome) => outcome.is_broken(),
            _ => false,
        };
        let mut findings = findings
            .iter()
            .filter(|it| it.engine != registry::REFERENCE);
        findings.any(|finding| finding.against.is_some() || broke(finding))
    }

    /// The known faults among those met that are of subjects.
    fn known_of_subjects(&self) -> Vec<&'static KnownFault> {
        let known = self.known.iter().copied();
        known
            .filter(|fault| fault.engine != registry::REFERENCE)
            .collect()
    }
}

/// Whether a step did not end by itself.
fn is_endless(observation: &Observation) -> bool {
    let timeout = Outcome::Inconclusive(Reason::Timeout);
    let mut outcomes = observation.steps.iter().map(|step| &step.outcome);
    outcomes.any(|outcome| *outcome == timeout || *outcome == Outcome::Endless)
}

/// A subject does not run a case that is valid. If that is a known fault, it has no support for it.
fn refused_by_subject(
    engine: &dyn Engine,
    refusal: &Refusal,
    known: &mut Vec<&'static KnownFault>,
) -> Result<Comparison, NotCompared> {
    let comparison = refused(engine.name(), refusal);
    let fault = match &comparison.verdict {
        Verdict::Diverged(findings) => findings
            .first()
            .and_then(|finding| known::subject_fault(finding, &engine.version(), None)),
        _ => None,
    };
    let Some(fault) = fault else {
        return Ok(comparison);
    };
    note(known, fault);
    Err(NotCompared::Unsupported(fault.name.to_string()))
}

/// Takes the findings that a known fault of the subject explains out of a comparison; whether there
/// were any.
fn take_out_known(
    comparison: &mut Comparison,
    engine: &dyn Engine,
    known: &mut Vec<&'static KnownFault>,
) -> bool {
    let Verdict::Diverged(findings) = &mut comparison.verdict else {
        return false;
    };
    let all = findings.len();
    let version = engine.version();
    let tallies = &mut comparison.tallies;
    findings.retain(|finding| {
        let Some(fault) = known::subject_fault(finding, &version, engine.remark(finding)) else {
            return true;
        };
        tallies[finding.oracle].failed -= 1;
        note(known, fault);
        false
    });
    let taken = findings.len() < all;
    if findings.is_empty() {
        comparison.verdict = Verdict::Agreed;
    }
    taken
}

/// Adds a fault to those that were met, once.
fn note(known: &mut Vec<&'static KnownFault>, fault: &'static KnownFault) {
    if !known.iter().any(|met| std::ptr::eq(*met, fault)) {
        known.push(fault);
    }
}

/// The known faults of a subject that explain what is found about it, and how it compares without: of a case
/// changed so that it avoids the first of them it agrees, but for others.
fn avoid_known(
    comparison: &Comparison,
    reference: &Observation,
    engine: &mut dyn Engine,
    case: &Case,
    ended: Option<usize>,
) -> Option<(Vec<&'static KnownFault>, Comparison)> {
    let Verdict::Diverged(findings) = &comparison.verdict else {
        return None;
    };
    let steps = ended.unwrap_or(case.steps.len());
    let avoidable = known::avoidable_in_subject(findings, &engine.version(), case);
    avoidable.into_iter().find_map(|(fault, avoided)| {
        let seen = observe_steps(engine, &avoided, steps).ok()?;
        let mut again = compare_first(reference, &seen, engine, ended);
        let mut faults = vec![fault];
        take_out_known(&mut again, engine, &mut faults);
        (again.verdict == Verdict::Agreed).then_some((faults, again))
    })
}

/// Compares the traces of reference counts of subjects that agree with the reference. They are held
/// against the trace that most of them have; of several such, against that of the first. What came
/// after a known fault is not compared.
fn compare_traces(subjects: &mut [Subject]) {
    let counting = subjects.iter_mut().filter_map(|subject| {
        let comparison = subject.result.as_mut().ok()?;
        let observation = subject.observation.as_ref()?;
        let agrees = !matches!(comparison.verdict, Verdict::Diverged(_));
        let counts = !subject.excused && agrees && observation.counts_references;
        counts.then_some((observation, comparison))
    });
    let mut counting: Vec<(&Observation, &mut Comparison)> = counting.collect();
    let traces: Vec<&Observation> = counting.iter().map(|(trace, _)| *trace).collect();
    let (right, findings) = against_most(&traces);
    let compared = counting.iter_mut().zip(findings).enumerate();
    for (_, ((_, comparison), finding)) in compared.filter(|(at, _)| *at != right) {
        let tally = &mut comparison.tallies[OracleName::Refcounts];
        tally.checked += 1;
        if let Some(finding) = finding {
            tally.failed += 1;
            comparison.verdict = Verdict::Diverged(vec![finding]);
        }
    }
}

/// Which trace most are like, the first of several such, and what is found about each against it.
fn against_most(traces: &[&Observation]) -> (usize, Vec<Option<Finding>>) {
    let against = |right: usize| -> Vec<Option<Finding>> {
        let others = traces.iter().enumerate();
        others
            .map(|(at, trace)| match at == right {
                true => None,
                false => compare_own(traces[right], trace),
            })
            .collect()
    };
    let like = |findings: &[Option<Finding>]| findings.iter().filter(|it| it.is_none()).count();
    let (mut right, mut findings) = (0, against(0));
    for at in 1..traces.len() {
        if 2 * like(&findings) >= traces.len() {
            break;
        }
        let others = against(at);
        if like(&others) > like(&findings) {
            (right, findings) = (at, others);
        }
    }
    (right, findings)
}

/// Compares what `engine` ran last; if the reference `ended` early, only what comes before. What is wrong by a
/// fault of the engine that is known does not hide what else is.
fn compare_first(
    reference: &Observation,
    subject: &Observation,
    engine: &dyn Engine,
    ended: Option<usize>,
) -> Comparison {
    let known = |finding: &Finding| {
        let remark = engine.remark(finding);
        known::subject_fault(finding, &engine.version(), remark).is_some()
    };
    let Some(steps) = ended else {
        return compare_knowing(reference, subject, &known);
    };
    let mut cut = reference.clone();
    cut.steps.truncate(steps);
    // The reference went on for a step, so what it did at the end says nothing. What the subject drops
    // then is held against what there is before.
    cut.teardown.clear();
    cut.broken_teardown = None;
    compare_knowing(&cut, subject, &known)
}

/// What is found about an engine that refuses a valid case.
pub fn refusal_finding(engine: &str, refusal: &Refusal) -> Finding {
    Finding {
        oracle: OracleName::Traps,
        step: 0,
        at_call: None,
        place: Place::Outcome,
        reference: Seen::Rule("a valid case is run".to_string()),
        subject: Seen::Outcome(Outcome::Failed(refusal.to_string())),
        engine: engine.to_string(),
        against: None,
    }
}

/// An engine that refuses a valid case has a bug.
fn refused(engine: &str, refusal: &Refusal) -> Comparison {
    Comparison {
        verdict: Verdict::Diverged(vec![refusal_finding(engine, refusal)]),
        tallies: parallax_oracles::Tallies::default(),
    }
}

fn overall(subjects: &[Subject], reference: &Observation) -> Verdict {
    let mut findings = Vec::new();
    let mut inconclusive = None;
    let mut compared = false;
    for subject in subjects {
        let Ok(comparison) = &subject.result else {
            continue;
        };
        compared = true;
        match &comparison.verdict {
            Verdict::Diverged(found) => findings.extend(found.iter().cloned()),
            Verdict::Inconclusive(reason) => inconclusive = Some(*reason),
            Verdict::Agreed => {}
        }
    }
    if !findings.is_empty() {
        return Verdict::Diverged(findings);
    }
    let ended = reference.steps.iter().find_map(|step| match step.outcome {
        Outcome::Inconclusive(reason) => Some(reason),
        _ => None,
    });
    match ended.or(inconclusive) {
        Some(reason) => Verdict::Inconclusive(reason),
        None if !compared => Verdict::Inconclusive(Reason::Unsupported),
        None => Verdict::Agreed,
    }
}

/// The subjects that are run unless others are asked for.
pub fn default_subjects() -> Vec<&'static str> {
    engine::registry::all()
        .into_iter()
        .filter(|info| info.usable && info.name != registry::REFERENCE && info.by_default)
        .map(|info| info.name)
        .collect()
}

#[cfg(test)]
mod tests;
