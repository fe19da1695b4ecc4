//! No observation makes an oracle panic, also none that no engine should have made.

use parallax_oracles::{
    Changes, Entity, Event, FuncIdentity, GlobalChange, MemoryChange, ObjectId, Observation,
    Outcome, Owner, Reason, Seen, State, StepObservation, TableChange, TrapKind, Value, Verdict,
    compare, compare_own,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Few numbers, so that the sides often speak of the same things, and the largest.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..4u32, 1 => Just(u32::MAX)]
}

fn large() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..4u64, 1 => Just(u64::MAX)]
}

fn entity() -> impl Strategy<Value = Entity> {
    let owner = prop_oneof![Just(Owner::Host), number().prop_map(Owner::Instance)];
    (owner, number()).prop_map(|(owner, index)| Entity { owner, index })
}

fn value() -> impl Strategy<Value = Value> {
    let float = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    prop_oneof![
        any::<i32>().prop_map(Value::I32),
        float.clone().prop_map(Value::F64),
        (float.clone(), float)
            .prop_map(|(a, b)| Value::V128((u128::from(a) << 64) | u128::from(b))),
        proptest::option::of(number().prop_map(FuncIdentity::Host)).prop_map(Value::Func),
        proptest::option::of(number().prop_map(ObjectId)).prop_map(Value::Extern),
        Just(Value::Dangling),
    ]
}

fn counts() -> impl Strategy<Value = Vec<(ObjectId, u64)>> {
    vec((number().prop_map(ObjectId), large()), 0..4)
}

fn event() -> impl Strategy<Value = Event> {
    let state = proptest::option::of(changes().prop_map(Box::new));
    prop_oneof![
        number().prop_map(|object| Event::Dropped(ObjectId(object))),
        (number(), vec(value(), 0..3), counts(), state).prop_map(
            |(function, args, counts, state)| Event::HostCall {
                function,
                args,
                counts,
                state,
            }
        ),
    ]
}

fn changes() -> impl Strategy<Value = Changes> {
    let memory = (entity(), large(), vec(number(), 0..3), vec(0..2u8, 0..200)).prop_map(
        |(memory, pages, chunks, bytes)| MemoryChange {
            memory,
            pages,
            chunks,
            bytes,
        },
    );
    let table =
        (entity(), large(), vec((number(), value()), 0..4)).prop_map(|(table, size, elements)| {
            TableChange {
                table,
                size,
                elements,
            }
        });
    let global = (entity(), value()).prop_map(|(global, value)| GlobalChange { global, value });
    let lists = (vec(memory, 0..3), vec(table, 0..3), vec(global, 0..3));
    (lists, counts(), counts()).prop_map(|((memories, tables, globals), counts, handles)| Changes {
        memories,
        tables,
        globals,
        counts,
        handles,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => vec(value(), 0..3).prop_map(Outcome::Returned),
        2 => Just(Outcome::Trapped(TrapKind::Interrupted)),
        1 => Just(Outcome::Trapped(TrapKind::StackExhausted)),
        1 => Just(Outcome::Unlinkable),
        1 => Just(Outcome::Escaped(String::new())),
        1 => Just(Outcome::Miscounted(String::new())),
        1 => Just(Outcome::Failed(String::new())),
        1 => Just(Outcome::Inconclusive(Reason::OutOfFuel)),
        1 => Just(Outcome::Skipped),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let step = (outcome(), vec(event(), 0..5), changes()).prop_map(|(outcome, events, changes)| {
        StepObservation {
            outcome,
            events,
            changes,
        }
    });
    (vec(step, 0..5), vec(event(), 0..5), any::<bool>()).prop_map(
        |(steps, teardown, counts_references)| Observation {
            engine: "junk".to_string(),
            steps,
            teardown,
            counts_references,
            ..Observation::default()
        },
    )
}

/// One observation, and another that often shares its steps up to some point.
fn pair() -> impl Strategy<Value = (Observation, Observation)> {
    (observation(), observation(), 0..5usize).prop_map(|(a, mut b, shared)| {
        for (of_a, of_b) in a.steps.iter().zip(&mut b.steps).take(shared) {
            of_b.outcome = of_a.outcome.clone();
            of_b.events = of_a.events.clone();
            of_b.changes.clone_from(&of_a.changes);
        }
        (a, b)
    })
}

/// Whether anything shows a bit pattern that is no reference.
fn dangles(observation: &Observation) -> bool {
    format!("{observation:?}").contains("Dangling")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn nothing_panics((a, b) in pair()) {
        for (a, b) in [(&a, &b), (&b, &a)] {
            let comparison = compare(a, b);
            for (oracle, tally) in comparison.tallies.iter() {
                prop_assert!(tally.failed <= tally.checked, "{oracle}");
            }
            let failed: u64 = comparison.tallies.iter().map(|(_, tally)| tally.failed).sum();
            match comparison.verdict {
                Verdict::Diverged(findings) => {
                    prop_assert!(!findings.is_empty());
                    prop_assert_eq!(findings.len() as u64, failed);
                    for finding in findings {
                        let _ = finding.to_string();
                    }
                }
                _ => prop_assert_eq!(failed, 0),
            }
            if let Some(finding) = compare_own(a, b) {
                let dangling = finding.reference == Seen::Value(Value::Dangling);
                prop_assert!(dangling || finding.reference != finding.subject);
            }
        }
    }

    #[test]
    fn an_observation_agrees_with_itself(observation in observation()) {
        let mut observation = observation;
        observation.counts_references = false;
        let verdict = compare(&observation, &observation).verdict;
        if let Verdict::Diverged(findings) = &verdict {
            let broken = observation.steps.iter().any(|step| {
                matches!(
                    step.outcome,
                    Outcome::Escaped(_) | Outcome::Miscounted(_) | Outcome::Failed(_)
                )
            });
            prop_assert!(broken || dangles(&observation), "{findings:?}");
        }
    }

    #[test]
    fn states_take_anything(observation in observation()) {
        let mut state = State::default();
        for step in &observation.steps {
            state.apply(&step.changes);
        }
        let _ = state.references().count();
        for (_, memory) in state.memories() {
            for address in [0, 1 << 16, u64::MAX - 1, u64::MAX] {
                let within = address / 65536 < memory.pages();
                prop_assert_eq!(memory.byte(address).is_some(), within);
            }
        }
        for (_, table) in state.tables() {
            for (index, value) in table.elements() {
                prop_assert_eq!(table.element(index), Some(value));
            }
        }
    }
}
