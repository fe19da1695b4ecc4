//! Running every oracle over two observations, step by step.

use crate::after::After;
use crate::finding::{Difference, Finding, OracleName, Verdict};
use crate::observation::{Changes, Observation, Outcome, StepObservation};
use crate::rules::refcounts::Ledger;
use crate::rules::traps::Ending;
use crate::rules::{Explained, globals, host_calls, looks, memories, results, tables, traps};
use crate::tally::Tallies;
use crate::value::Nans;

/// The outcome of a comparison, with what was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// The verdict.
    pub verdict: Verdict,
    /// How many steps each oracle looked at, and at how many it found a difference.
    pub tallies: Tallies,
}

/// Compares a subject's observation with the reference's.
///
/// Walks the steps in order, asks every oracle at each, and stops at the first step at which any
/// has a finding; the verdict then holds the findings of that step, at most one an oracle. Ends
/// without a verdict at the first step whose outcome is inconclusive on either side (see
/// [`traps`]), unless a host call that both sides made before differs, or the subject breaks in a later
/// step, as it may in no state. What happens when the store is dropped is compared like one more step.
///
/// Comparing two observations that are equal allocates nothing, but for what [`Ledger`] keeps if
/// the subject counts references or tells which objects are alive.
pub fn compare(reference: &Observation, subject: &Observation) -> Comparison {
    compare_knowing(reference, subject, &|_| false)
}

/// As [`compare`], with faults of the subject that are known. A finding that is `known` is told by an oracle
/// only if that finds nothing else in the state after the step.
pub fn compare_knowing(
    reference: &Observation,
    subject: &Observation,
    known: &dyn Fn(&Finding) -> bool,
) -> Comparison {
    let mut comparing = Comparing {
        engine: &subject.engine,
        known,
        nans: reference.nans(subject),
        step: 0,
        findings: Vec::new(),
        tallies: Tallies::default(),
    };
    let verdict = comparing.run(reference, subject);
    Comparison {
        verdict,
        tallies: comparing.tallies,
    }
}

/// A comparison under way.
struct Comparing<'a> {
    engine: &'a str,
    known: &'a dyn Fn(&Finding) -> bool,
    nans: Nans,
    step: usize,
    findings: Vec<Finding>,
    tallies: Tallies,
}

impl Comparing<'_> {
    fn run<'a>(&mut self, reference: &'a Observation, subject: &'a Observation) -> Verdict {
        let mut after = After::new(reference, subject);
        let tells = subject.counts_references || subject.alive.is_some();
        let mut ledger = tells.then(|| Ledger::new(reference, subject));
        for (a, b) in reference.steps.iter().zip(&subject.steps) {
            match traps::ending(&a.outcome, &b.outcome) {
                Ending::Comparable => {
                    let late = subject.tables_late.then_some(reference);
                    self.compare_step(a, b, &mut after, late, ledger.as_mut());
                }
                Ending::Broken => {
                    let oracle = oracle_of_broken(&a.outcome, &b.outcome);
                    self.note(oracle, traps::check(&a.outcome, &b.outcome));
                }
                Ending::Inconclusive(reason) => {
                    self.compare_calls(a, b, &mut after, !subject.tables_late);
                    let differs = !self.findings.is_empty();
                    return match differs || self.broken_later(reference, subject) {
                        true => self.diverged(),
                        false => Verdict::Inconclusive(reason),
                    };
                }
            }
            if !self.findings.is_empty() {
                return self.diverged();
            }
            self.step += 1;
        }
        if let Some(difference) = traps::check_steps(reference, subject) {
            self.note(OracleName::Traps, Some(difference));
            return self.diverged();
        }
        self.note(
            OracleName::HostCalls,
            host_calls::check(&reference.teardown, &subject.teardown, self.nans),
        );
        let teardowns = [&reference.broken_teardown, &subject.broken_teardown];
        for outcome in teardowns.into_iter().flatten() {
            let well = Outcome::Returned(Vec::new());
            let oracle = oracle_of_broken(&well, outcome);
            self.note(oracle, traps::check(&well, outcome));
        }
        if let Some(ledger) = &mut ledger {
            self.note(OracleName::Refcounts, ledger.teardown(&subject.teardown));
        }
        if self.findings.is_empty() {
            Verdict::Agreed
        } else {
            self.diverged()
        }
    }

    /// Whether the subject breaks after a step that says nothing, which it may do in no state
    /// whatever. Notes that.
    fn broken_later(&mut self, reference: &Observation, subject: &Observation) -> bool {
        let well = Outcome::Returned(Vec::new());
        let steps = subject.steps.iter().map(|step| &step.outcome);
        let later = steps.enumerate().skip(self.step + 1);
        let last = (subject.steps.len(), subject.broken_teardown.as_ref());
        let last = last.1.map(|outcome| (last.0, outcome));
        let broken = later.chain(last).find(|(_, outcome)| outcome.is_broken());
        let Some((step, outcome)) = broken else {
            return false;
        };
        self.step = step;
        let expected = reference.steps.get(step).map(|step| &step.outcome);
        let expected = expected.filter(|outcome| !outcome.is_broken());
        let expected = expected.unwrap_or(&well);
        let oracle = oracle_of_broken(expected, outcome);
        self.note(oracle, traps::check(expected, outcome));
        true
    }

    fn compare_step<'a>(
        &mut self,
        reference: &'a StepObservation,
        subject: &'a StepObservation,
        after: &mut After<'a>,
        late: Option<&Observation>,
        ledger: Option<&mut Ledger>,
    ) {
        let outcomes = (&reference.outcome, &subject.outcome);
        if matches!(outcomes, (Outcome::Returned(_), Outcome::Returned(_))) {
            let difference = results::check(outcomes.0, outcomes.1, self.nans);
            self.note(OracleName::Results, difference);
        }
        self.note(OracleName::Traps, traps::check(outcomes.0, outcomes.1));
        self.note(
            OracleName::HostCalls,
            host_calls::check(&reference.events, &subject.events, self.nans),
        );
        // What differs at a host call is told rather than what comes of it.
        let events = (&reference.events[..], &subject.events[..]);
        let with_tables = late.is_none();
        let looked = looks::check(events, self.step, after, self.nans, with_tables);
        after.step(self.step);
        let changes = (&reference.changes, &subject.changes);
        let (engine, step, known) = (self.engine, self.step, self.known);
        let explained = |oracle| {
            move |difference: &Difference| {
                let difference = difference.clone();
                known(&difference.found_by(oracle, step, engine))
            }
        };
        let of_memories: &Explained<'_> = &explained(OracleName::Memories);
        let memories = || memories::check(changes.0, changes.1, after, of_memories);
        self.note(OracleName::Memories, looked.memories.or_else(memories));
        let globals = || globals::check(changes.0, changes.1, after, self.nans);
        let globals = looked.globals.or_else(globals);
        self.note(OracleName::Globals, globals);
        match late {
            None => {
                let tables = || tables::check(changes.0, changes.1, after);
                self.note(OracleName::Tables, looked.tables.or_else(tables));
            }
            // All that was not looked at before.
            Some(all) if self.step + 1 == all.steps.len() => {
                let all = all.steps.iter();
                let tables = all.flat_map(|step| step.changes.tables.iter().cloned());
                let reference = Changes {
                    tables: tables.collect(),
                    ..Changes::default()
                };
                let difference = tables::check(&reference, changes.1, after);
                self.note(OracleName::Tables, difference);
            }
            Some(_) => {}
        }
        if let Some(ledger) = ledger {
            self.note(
                OracleName::Refcounts,
                ledger.step(reference, subject, &explained(OracleName::Refcounts)),
            );
        }
    }

    /// Compares what both sides showed at host calls of a step of which nothing else can be said.
    fn compare_calls<'a>(
        &mut self,
        reference: &'a StepObservation,
        subject: &'a StepObservation,
        after: &mut After<'a>,
        with_tables: bool,
    ) {
        let events = (&reference.events[..], &subject.events[..]);
        let difference = host_calls::check_common(events.0, events.1, self.nans);
        self.note(OracleName::HostCalls, difference);
        let looked = looks::check(events, self.step, after, self.nans, with_tables);
        self.note(OracleName::Memories, looked.memories);
        self.note(OracleName::Globals, looked.globals);
        self.note(OracleName::Tables, looked.tables);
    }

    /// Counts that an oracle looked at the step, and keeps what it found.
    fn note(&mut self, oracle: OracleName, difference: Option<Difference>) {
        let tally = &mut self.tallies[oracle];
        tally.checked += 1;
        if let Some(difference) = difference {
            tally.failed += 1;
            self.findings
                .push(difference.found_by(oracle, self.step, self.engine));
        }
    }

    fn diverged(&mut self) -> Verdict {
        Verdict::Diverged(std::mem::take(&mut self.findings))
    }
}

/// Which oracle tells that an engine broke.
fn oracle_of_broken(reference: &Outcome, subject: &Outcome) -> OracleName {
    let miscounted = |outcome: &Outcome| matches!(outcome, Outcome::Miscounted(_));
    if miscounted(reference) || miscounted(subject) {
        OracleName::Refcounts
    } else {
        OracleName::Traps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Place, Seen};
    use crate::observation::{Reason, TrapKind};
    use crate::rules::traps::check_steps;
    use crate::testing::{
        counts, dropped, ended, entity, globals, host_call, looked, memory, object, observe, step,
        table,
    };
    use crate::value::{ObjectId, Value};

    fn returned(value: i32) -> StepObservation {
        ended(Outcome::Returned(vec![Value::I32(value)]))
    }

    fn diverged(comparison: &Comparison) -> &[Finding] {
        match &comparison.verdict {
            Verdict::Diverged(findings) => findings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn equal_observations_agree_and_every_step_is_counted() {
        let mut subject = observe([
            returned(1),
            ended(Outcome::Trapped(TrapKind::Unreachable)),
            ended(Outcome::Unlinkable),
        ]);
        let reference = subject.clone();
        let without = compare(&reference, &subject);
        assert_eq!(without.verdict, Verdict::Agreed);
        assert_eq!(without.tallies[OracleName::Refcounts].checked, 0);
        subject.counts_references = true;
        let with = compare(&reference, &subject);
        assert_eq!(with.verdict, Verdict::Agreed);
        for (oracle, tally) in with.tallies.iter() {
            let checked = match oracle {
                OracleName::Results => 1,
                // What happens when the store is dropped is one more.
                OracleName::HostCalls | OracleName::Refcounts => 4,
                _ => 3,
            };
            assert_eq!((tally.checked, tally.failed), (checked, 0), "{oracle}");
        }
    }

    #[test]
    fn all_oracles_speak_at_the_first_step_that_differs() {
        let one = |value: u8| {
            let mut changes = memory(0, 1, &[(0, &[value])]);
            changes.globals = globals(&[(0, Value::I32(value.into()))]).globals;
            changes.tables = table(0, 1, &[(0, object(value.into()))]).tables;
            changes.counts = counts(&[(7, value.into())]);
            let call = host_call(0, &[Value::I32(value.into())], &[]);
            let mut step = step(vec![call], changes);
            step.outcome = Outcome::Returned(vec![Value::I32(value.into())]);
            step
        };
        let reference = observe([returned(0), one(1), one(1)]);
        let mut subject = observe([returned(0), one(2), one(3)]);
        subject.counts_references = true;
        let comparison = compare(&reference, &subject);
        let findings = diverged(&comparison);
        let oracles: Vec<_> = findings.iter().map(|finding| finding.oracle).collect();
        let spoke: Vec<_> = OracleName::ALL
            .into_iter()
            .filter(|oracle| *oracle != OracleName::Traps)
            .collect();
        assert_eq!(oracles, spoke);
        for finding in findings {
            assert_eq!((finding.step, &finding.engine[..]), (1, "subject"));
            assert_eq!(comparison.tallies[finding.oracle].failed, 1);
        }
        assert_eq!(comparison.tallies[OracleName::Tables].checked, 2);
        assert_eq!(comparison.tallies[OracleName::Traps].failed, 0);
    }

    #[test]
    fn what_is_known_hides_nothing_else_of_its_oracle() {
        let both = |first: u8, second: u8, count: u64| {
            let mut changes = memory(0, 1, &[(3, &[0, first])]);
            changes
                .memories
                .extend(memory(1, 1, &[(0, &[second])]).memories);
            changes.counts = counts(&[(7, count), (8, count)]);
            step(
                vec![host_call(0, &[object(7), object(8)], &[(7, 1), (8, 1)])],
                changes,
            )
        };
        let reference = observe([both(1, 1, 0)]);
        let mut subject = observe([both(2, 3, 1)]);
        subject.counts_references = true;
        let of = |comparison: &Comparison| -> Vec<Place> {
            diverged(comparison)
                .iter()
                .map(|finding| finding.place)
                .collect()
        };
        let address = 3 * 64 + 1;
        let first = Place::MemoryByte {
            memory: entity(0),
            address,
        };
        let second = Place::MemoryByte {
            memory: entity(1),
            address: 0,
        };
        let (one, other) = (Place::Count(ObjectId(7)), Place::Count(ObjectId(8)));
        assert_eq!(of(&compare(&reference, &subject)), [first, one]);
        let known = |finding: &Finding| finding.place == first || finding.place == one;
        let knowing = compare_knowing(&reference, &subject, &known);
        assert_eq!(of(&knowing), [second, other]);
        // What is known is told where there is nothing else.
        assert_eq!(
            of(&compare_knowing(&reference, &subject, &|_| true)),
            [first, one]
        );
    }

    #[test]
    fn results_are_not_compared_with_a_trap() {
        let reference = observe([returned(1)]);
        let subject = observe([ended(Outcome::Trapped(TrapKind::Unreachable))]);
        let comparison = compare(&reference, &subject);
        let findings = diverged(&comparison);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].oracle, OracleName::Traps);
        assert_eq!(comparison.tallies[OracleName::Results].checked, 0);
    }

    #[test]
    fn whoever_breaks_after_the_stack_was_exhausted_is_told() {
        let exhausted = ended(Outcome::Trapped(TrapKind::StackExhausted));
        let reference = observe([exhausted.clone(), returned(1), returned(2)]);
        let escaped = Outcome::Escaped("somewhere".to_string());
        let miscounted = Outcome::Miscounted("an object".to_string());
        let unfounded = Outcome::Unfounded("a lack of stack".to_string());
        for (broken, oracle) in [
            (escaped, OracleName::Traps),
            (unfounded, OracleName::Traps),
            (miscounted, OracleName::Refcounts),
        ] {
            let mut subject = observe([exhausted.clone(), returned(7), ended(broken.clone())]);
            let comparison = compare(&reference, &subject);
            let [finding] = diverged(&comparison) else {
                panic!("{comparison:?}");
            };
            assert_eq!((finding.oracle, finding.step), (oracle, 2));
            assert_eq!(finding.subject, Seen::Outcome(broken.clone()));
            // Also when the store is dropped.
            subject.steps.pop();
            subject.broken_teardown = Some(broken);
            assert_eq!(diverged(&compare(&reference, &subject))[0].oracle, oracle);
        }
        // Other results and traps say nothing then.
        let subject = observe([
            exhausted,
            returned(7),
            ended(Outcome::Trapped(TrapKind::Host)),
        ]);
        let reason = Verdict::Inconclusive(Reason::StackExhausted);
        assert_eq!(compare(&reference, &subject).verdict, reason);
    }

    #[test]
    fn what_was_done_before_the_stack_was_exhausted_is_compared_at_host_calls() {
        let exhausted = |events: Vec<crate::observation::Event>| StepObservation {
            outcome: Outcome::Trapped(TrapKind::StackExhausted),
            ..step(events, Changes::default())
        };
        let global = |value| looked(0, globals(&[(0, Value::I32(value))]));
        let call = |value| host_call(0, &[Value::I32(value)], &[]);
        let one = |events| observe([returned(1), exhausted(events)]);
        let reference = one(vec![global(1), call(2), call(3)]);
        let compared = |events| compare(&reference, &one(events)).verdict;
        let reason = Verdict::Inconclusive(Reason::StackExhausted);
        assert_eq!(compared(vec![]), reason);
        assert_eq!(compared(vec![global(1), call(2), call(3), call(4)]), reason);
        for (events, oracle) in [
            (vec![global(7)], OracleName::Globals),
            (vec![global(1), call(7)], OracleName::HostCalls),
        ] {
            let Verdict::Diverged(findings) = compared(events) else {
                panic!("no finding by {oracle}");
            };
            assert_eq!(findings.len(), 1);
            assert_eq!((findings[0].oracle, findings[0].step), (oracle, 1));
        }
    }

    #[test]
    fn canonical_nans_are_compared_bit_for_bit() {
        // Of integers in the lanes of a vector, small negative ones would pass for NaNs.
        let vector = |lane: i32| Value::V128(u128::from(lane as u32));
        let pairs = [
            (vector(-1), vector(-2)),
            (Value::F32(0x7fc0_0000), Value::F32(0xffc0_0000)),
        ];
        for (one, other) in pairs {
            let sides = |value: Value| {
                let mut step = step(vec![host_call(0, &[value], &[])], globals(&[(0, value)]));
                step.outcome = Outcome::Returned(vec![value]);
                observe([step])
            };
            let (mut reference, mut subject) = (sides(one), sides(other));
            assert_eq!(compare(&reference, &subject).verdict, Verdict::Agreed);
            reference.canonical_nans = true;
            assert_eq!(compare(&reference, &subject).verdict, Verdict::Agreed);
            subject.canonical_nans = true;
            let comparison = compare(&reference, &subject);
            let oracles: Vec<OracleName> =
                diverged(&comparison).iter().map(|it| it.oracle).collect();
            let expected = [
                OracleName::Results,
                OracleName::HostCalls,
                OracleName::Globals,
            ];
            assert_eq!(oracles, expected);
        }
    }

    #[test]
    fn an_inconclusive_step_ends_the_case_after_what_agreed() {
        let fuel = ended(Outcome::Inconclusive(Reason::OutOfFuel));
        let exhausted = ended(Outcome::Trapped(TrapKind::StackExhausted));
        let full = observe([returned(1), returned(2), returned(3)]);
        for (end, reason) in [
            (fuel, Reason::OutOfFuel),
            (exhausted, Reason::StackExhausted),
        ] {
            let short = observe([returned(1), end.clone()]);
            for (reference, subject) in [(&full, &short), (&short, &full), (&short, &short)] {
                let comparison = compare(reference, subject);
                assert_eq!(comparison.verdict, Verdict::Inconclusive(reason));
                assert_eq!(comparison.tallies[OracleName::Traps].checked, 1);
            }
            // A difference before it counts.
            let wrong = observe([returned(7), end]);
            assert_eq!(diverged(&compare(&full, &wrong))[0].step, 0);
        }
    }

    #[test]
    fn of_a_broken_engine_only_that_is_told() {
        let reference = observe([step(vec![host_call(0, &[], &[])], memory(0, 1, &[]))]);
        for (oracle, outcome) in [
            (OracleName::Traps, Outcome::Escaped("a write".to_string())),
            (OracleName::Traps, Outcome::Failed("a panic".to_string())),
            (
                OracleName::Traps,
                Outcome::Unfounded("a lack of stack".to_string()),
            ),
            (
                OracleName::Refcounts,
                Outcome::Miscounted("a drop".to_string()),
            ),
        ] {
            let subject = observe([ended(outcome.clone())]);
            let comparison = compare(&reference, &subject);
            let [finding] = diverged(&comparison) else {
                panic!("{comparison:?}");
            };
            assert_eq!(finding.oracle, oracle);
            assert_eq!(finding.place, Place::Outcome);
            assert_eq!(finding.subject, Seen::Outcome(outcome.clone()));
            assert_eq!(comparison.tallies[OracleName::Memories].checked, 0);

            // The same where it is dropping the store that breaks it.
            let mut subject = reference.clone();
            subject.broken_teardown = Some(outcome.clone());
            let comparison = compare(&reference, &subject);
            let [finding] = diverged(&comparison) else {
                panic!("{comparison:?}");
            };
            assert_eq!((finding.oracle, finding.step), (oracle, 1));
            assert_eq!(finding.subject, Seen::Outcome(outcome));
        }
    }

    #[test]
    fn a_step_that_only_one_side_ran_is_told() {
        let (short, long) = (observe([returned(1)]), observe([returned(1), returned(2)]));
        let comparison = compare(&long, &short);
        let expected = check_steps(&long, &short)
            .map(|difference| difference.found_by(OracleName::Traps, 1, "subject"));
        assert_eq!(diverged(&comparison), expected.as_slice());
    }

    #[test]
    fn what_the_store_drops_is_one_step_more() {
        let holds = |counts: &[(u32, u64)]| {
            let changes = Changes {
                counts: crate::testing::counts(counts),
                ..globals(&[(0, object(1))])
            };
            step(Vec::new(), changes)
        };
        let reference = observe([holds(&[])]);
        let mut subject = observe([holds(&[(1, 1)])]);
        subject.counts_references = true;
        let comparison = compare(&reference, &subject);
        let [finding] = diverged(&comparison) else {
            panic!("{comparison:?}");
        };
        assert_eq!(finding.oracle, OracleName::Refcounts);
        assert_eq!((finding.step, finding.place), (1, Place::Drop(ObjectId(1))));

        subject.teardown = vec![dropped(1)];
        assert_eq!(compare(&reference, &subject).verdict, Verdict::Agreed);

        subject.teardown.push(host_call(0, &[], &[]));
        let comparison = compare(&reference, &subject);
        let [finding] = diverged(&comparison) else {
            panic!("{comparison:?}");
        };
        assert_eq!(finding.oracle, OracleName::HostCalls);
        assert_eq!((finding.step, finding.place), (1, Place::HostCall(0)));
    }

    #[test]
    fn tables_that_are_looked_at_late_are_compared_as_they_end() {
        let of =
            |element: i32, size| step(Vec::new(), table(0, size, &[(1, object(element as u32))]));
        let reference = || observe([of(1, 2), of(2, 2), step(Vec::new(), Changes::default())]);
        let late = |last: StepObservation| {
            let nothing = || step(Vec::new(), Changes::default());
            let mut subject = observe([nothing(), nothing(), last]);
            subject.tables_late = true;
            compare(&reference(), &subject)
        };
        let right = late(of(2, 2));
        assert_eq!(right.verdict, Verdict::Agreed);
        assert_eq!(right.tallies[OracleName::Tables].checked, 1);
        let wrong = [of(1, 2), of(2, 3), step(Vec::new(), Changes::default())];
        for wrong in wrong {
            let comparison = late(wrong);
            let [finding] = diverged(&comparison) else {
                panic!("{comparison:?}");
            };
            assert_eq!((finding.oracle, finding.step), (OracleName::Tables, 2));
        }
    }

    #[test]
    fn what_one_side_lists_is_resolved_over_many_steps() {
        let change = |step: i32| globals(&[(step as u32 % 3, Value::I32(step))]);
        let history = || (0..9).map(|n| step(Vec::new(), change(n)));
        let reference = observe(history().chain([step(Vec::new(), Changes::default())]));
        // The subject lists what did not change; only the last of it is wrong.
        let again = |value| {
            step(
                Vec::new(),
                globals(&[(0, Value::I32(6)), (1, Value::I32(value))]),
            )
        };
        let subject = |value| observe(history().chain([again(value)]));
        assert_eq!(compare(&reference, &subject(7)).verdict, Verdict::Agreed);
        let comparison = compare(&reference, &subject(8));
        let [finding] = diverged(&comparison) else {
            panic!("{comparison:?}");
        };
        assert_eq!((finding.step, finding.place), (9, Place::Global(entity(1))));
        assert_eq!(finding.reference, Seen::Value(Value::I32(7)));
        assert_eq!(finding.subject, Seen::Value(Value::I32(8)));
    }
}
