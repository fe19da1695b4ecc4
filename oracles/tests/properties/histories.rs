//! Right histories always agree, and every single mutation of one is found by the right oracle.

use std::cell::RefCell;
use std::collections::BTreeMap;

use parallax_oracles::{Alive, Observation, OracleName, Verdict, compare, compare_own};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::alive;
use crate::model::{History, ops};
use crate::mutate::{Expected, HELD, Mutate, Pick, STATE, TRACE, TRACE_ONLY};

const CASES: u32 = 600;

/// How often each mutation must have found something to change, so that none goes untested.
const APPLIED: u32 = 25;

fn history() -> impl Strategy<Value = History> {
    (ops(), any::<bool>()).prop_map(|(ops, held)| History::run(&ops, held))
}

proptest! {
    #![proptest_config(Config::with_cases(CASES))]

    #[test]
    fn right_histories_agree(history in history()) {
        let History { reference, subject } = &history;
        let comparison = compare(reference, subject);
        prop_assert_eq!(&comparison.verdict, &Verdict::Agreed);
        let steps = subject.steps.len() as u64;
        prop_assert_eq!(comparison.tallies[OracleName::Tables].checked, steps);
        prop_assert_eq!(comparison.tallies[OracleName::Refcounts].checked, steps + 1);
        prop_assert_eq!(compare_own(subject, subject), None);
        // A subject that does not count is held to the rest alone.
        prop_assert_eq!(compare(reference, reference).verdict, Verdict::Agreed);
    }
}

proptest! {
    #![proptest_config(Config::with_cases(CASES))]

    #[test]
    fn right_histories_of_what_is_alive_agree(history in history()) {
        for until in [Alive::UntilSettled, Alive::UntilTeardown] {
            let History { reference, subject } = &alive::told(history.clone(), until);
            let comparison = compare(reference, subject);
            prop_assert_eq!(&comparison.verdict, &Verdict::Agreed, "{:?}", until);
            let steps = subject.steps.len() as u64;
            prop_assert_eq!(comparison.tallies[OracleName::Refcounts].checked, steps + 1);
        }
    }
}

#[test]
fn every_wrong_drop_and_life_is_found() {
    for until in [Alive::UntilSettled, Alive::UntilTeardown] {
        let told = history().prop_map(move |history| alive::told(history, until));
        let says_something = |name: &str| {
            !alive::OF_COUNTS.contains(&name)
                && (until == Alive::UntilSettled || !alive::OF_SETTLING.contains(&name))
        };
        let mutations = TRACE.iter().filter(|(name, _)| says_something(name));
        let mutations: Vec<_> = mutations.copied().collect();
        each_mutation(&mutations, told, |_, history, expected| {
            check_found(history, expected)
        });
    }
}

fn check_found(history: &History, expected: &Expected) -> Result<(), TestCaseError> {
    let Verdict::Diverged(findings) = compare(&history.reference, &history.subject).verdict else {
        return Err(TestCaseError::fail("not found"));
    };
    let by_expected = |finding: &&parallax_oracles::Finding| finding.oracle == expected.oracle;
    prop_assert!(findings.iter().find(by_expected).is_some(), "{findings:?}");
    prop_assert!(!expected.alone || findings.len() == 1, "{findings:?}");
    for finding in &findings {
        prop_assert_eq!(finding.step, expected.step, "{:?}", finding);
        prop_assert_ne!(&finding.reference, &finding.subject);
        prop_assert_eq!(&finding.engine, "subject");
    }
    Ok(())
}

fn check_trace(
    before: &Observation,
    history: &History,
    expected: &Expected,
) -> Result<(), TestCaseError> {
    for (a, b) in [(before, &history.subject), (&history.subject, before)] {
        let finding = compare_own(a, b);
        prop_assert!(finding.is_some(), "the traces are equal");
        prop_assert_eq!(
            finding.map(|finding| finding.oracle),
            Some(OracleName::Refcounts)
        );
    }
    prop_assert_eq!(expected.oracle, OracleName::Refcounts);
    Ok(())
}

/// Applies each mutation to each of many histories, and `check`s what is found.
fn each_mutation(
    mutations: &[(&'static str, Mutate)],
    history: impl Strategy<Value = History>,
    check: impl Fn(&Observation, &History, &Expected) -> Result<(), TestCaseError>,
) {
    let applied = RefCell::new(BTreeMap::new());
    let property = |(history, seed): (History, u64)| {
        for (name, mutate) in mutations {
            let mut mutated = history.clone();
            let Some(expected) = mutate(&mut mutated, &mut Pick(seed)) else {
                continue;
            };
            *applied.borrow_mut().entry(*name).or_insert(0) += 1;
            check(&history.subject, &mutated, &expected)
                .map_err(|error| TestCaseError::fail(format!("{name}: {error}\n{mutated:#?}")))?;
        }
        Ok(())
    };
    TestRunner::new(Config::with_cases(CASES))
        .run(&(history, any::<u64>()), property)
        .unwrap_or_else(|error| panic!("{error}"));
    let applied = applied.into_inner();
    for (name, _) in mutations {
        let times = applied.get(name).copied().unwrap_or(0);
        assert!(times >= APPLIED, "{name}: applied only {times} times");
    }
}

#[test]
fn every_wrong_count_and_drop_is_found() {
    each_mutation(TRACE, history(), |before, history, expected| {
        check_found(history, expected)?;
        check_trace(before, history, expected)
    });
}

#[test]
fn what_is_left_open_within_a_step_is_found_between_our_own_engines() {
    each_mutation(TRACE_ONLY, history(), check_trace);
}

#[test]
fn every_wrong_slot_and_handle_is_found() {
    each_mutation(HELD, history(), |_, history, expected| {
        check_found(history, expected)
    });
}

#[test]
fn every_wrong_state_and_outcome_is_found() {
    each_mutation(STATE, history(), |_, history, expected| {
        check_found(history, expected)
    });
}
