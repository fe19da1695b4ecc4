//! Programs that call the host without end, or as good as: they end as inconclusive, after the same
//! calls in every engine, however they are run. And what the host could see when it is called.

use parallax::case::wast::Script;
use parallax::engine::{observe, registry};
use parallax::harness::{Harness, default_subjects};
use parallax::score::Fault;
use parallax_oracles::{Changes, Event, OracleName, Outcome, Reason, Value, Verdict};

const FOR_EVER: [&str; 3] = [
    // A loop.
    r#"(module (import "spectest" "print_i32" (func $print (param i32)))
         (func (export "f") (loop $again (call $print (i32.const 1)) (br $again))))"#,
    // A collection each time, with more and more objects.
    r#"(module (import "parallax" "make" (func $make (result externref)))
         (import "parallax" "take" (func $take (param externref)))
         (import "parallax" "gc" (func $gc))
         (func (export "f") (loop $again (call $take (call $make)) (call $gc) (br $again))))"#,
    // Indirectly.
    r#"(module (import "spectest" "print_i32" (func $print (param i32))) (type $t (func (param i32)))
         (table 1 funcref) (elem (i32.const 0) $print)
         (func (export "f")
           (loop $again (call_indirect (type $t) (i32.const 1) (i32.const 0)) (br $again))))"#,
];

#[test]
fn no_case_calls_the_host_for_ever() {
    // Fuel is not what ends it.
    let header = ";;! host-imports = true\n;;! fuel = 1000000000000\n";
    for module in FOR_EVER {
        let script = format!("{header}{module}\n(invoke \"f\")\n(invoke \"f\")");
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut calls = Vec::new();
        for name in [registry::REFERENCE].into_iter().chain(default_subjects()) {
            let mut engine = registry::make(name).expect("an engine");
            let observation = observe(engine.as_mut(), &case).expect("it runs");
            let step = observation.steps.last().expect("a step");
            assert_eq!(
                step.outcome,
                Outcome::Inconclusive(Reason::HostCalls),
                "{name}: {module}"
            );
            // Nothing comes after it.
            assert_eq!(observation.steps.len(), 2, "{name}");
            calls.push(step.events.len());
        }
        assert!(calls.iter().all(|count| *count == calls[0]), "{calls:?}");
        let mut harness = Harness::new(&default_subjects()).expect("engines");
        let verdict = harness.examine(&case).verdict;
        assert_eq!(verdict, Verdict::Inconclusive(Reason::HostCalls));
    }
}

/// A program that leaves everything as it was, but for what the host can see meanwhile.
const MEANWHILE: &str = r#"(module
    (import "spectest" "print_i32" (func $print (param i32)))
    (memory (export "m") 1) (global $g (export "g") (mut i64) (i64.const 5)) (table (export "t") 3 funcref)
    (func $f (export "f") (local $i i32)
      (loop $again
        (table.set (i32.const 2) (ref.func $f))
        (i32.store8 (i32.const 70) (i32.const 9))
        (global.set $g (i64.const 6))
        (call $print (local.get $i))
        (global.set $g (i64.const 5))
        (i32.store8 (i32.const 70) (i32.const 0))
        (table.set (i32.const 2) (ref.null func))
        (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6))))))
    (invoke "f") (invoke "f")"#;

#[test]
fn what_the_host_could_see_is_looked_at_in_every_engine() {
    let script = format!(";;! looks = 2\n{MEANWHILE}");
    let case = Script::parse(&script, "a test").expect("a script").case;
    for known in registry::all() {
        let Ok(mut engine) = registry::make(known.name) else {
            continue;
        };
        let Ok(observation) = observe(engine.as_mut(), &case) else {
            continue;
        };
        for step in &observation.steps[1..] {
            let states: Vec<Option<&Changes>> = step
                .events
                .iter()
                .map(|event| match event {
                    Event::HostCall { state, .. } => state.as_deref(),
                    Event::Dropped(_) => panic!("{event:?}"),
                })
                .collect();
            let name = known.name;
            assert_eq!(states.len(), 6, "{name}");
            for state in &states[..2] {
                let state = state.expect("it was looked at");
                assert_eq!(state.globals.len(), 1, "{name}");
                assert_eq!(state.globals[0].value, Value::I64(6), "{name}");
                assert_eq!(state.memories.len(), 1, "{name}");
                assert_eq!(state.memories[0].chunks, [1], "{name}");
                assert_eq!(state.memories[0].bytes[6], 9, "{name}");
                if !observation.tables_late {
                    assert_eq!(state.tables.len(), 1, "{name}");
                    assert_eq!(state.tables[0].elements[0].0, 2, "{name}");
                }
            }
            assert_eq!(states[2..], [None; 4], "{name}");
            // And it is gone when the step is over.
            assert_eq!(step.changes, Changes::default(), "{name}");
        }
    }
}

#[test]
fn what_comes_late_for_the_host_is_found_at_the_call() {
    let subjects = default_subjects();
    let fault = Some(Fault::StoreAfterImportedCall);
    for looks in [0, 1] {
        let script = format!(";;! looks = {looks}\n{MEANWHILE}");
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut right = Harness::new(&subjects).expect("engines");
        assert_eq!(right.examine(&case).verdict, Verdict::Agreed);
        let mut wrong = Harness::with_fault(&subjects, fault).expect("engines");
        match wrong.examine(&case).verdict {
            Verdict::Agreed => assert_eq!(looks, 0),
            Verdict::Diverged(findings) => {
                assert_eq!((looks, findings.len()), (1, subjects.len()));
                for finding in findings {
                    assert_eq!(finding.oracle, OracleName::Globals);
                    assert_eq!((finding.step, finding.at_call), (1, Some(0)));
                }
            }
            Verdict::Inconclusive(reason) => panic!("{reason}"),
        }
    }
}
