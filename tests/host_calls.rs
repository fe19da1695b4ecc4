//! Programs that call the host without end, or as good as: they end as inconclusive, after the same
//! calls in every engine, however they are run. And what the host could see when it is called.

use parallax::case::wast::Script;
use parallax::engine::{observe, registry};
use parallax::harness::{Harness, default_subjects};
use parallax::score::Fault;
use parallax_oracles::{Changes, Event, OracleName, Outcome, Reason, TrapKind, Value, Verdict};

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

/// Functions that the host calls back: one that makes and collects while its caller holds an object on the
/// stack alone, one that calls the host to call itself, one that traps, and what is not called.
const CALLING_BACK: &str = r#"(module
    (import "parallax" "call" (func $call (param funcref))) (import "parallax" "gc" (func $gc))
    (import "parallax" "make" (func $make (result externref)))
    (import "parallax" "take" (func $take (param externref)))
    (table $t (export "t") 2 externref) (global $n (export "n") (mut i32) (i32.const 0))
    (func $one (result i32) (global.set $n (i32.const 1000)) (i32.const 1))
    (func $inner (export "inner") (local $r externref)
      (local.set $r (call $make))
      (call $gc)
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (table.set $t (i32.const 0) (local.get $r)))
    (func $again (export "again") (local $r externref)
      (local.set $r (call $make))
      (global.set $n (i32.add (global.get $n) (i32.const 16)))
      (call $call (ref.func $again))
      (call $gc)
      (call $take (local.get $r)))
    (func $trap (export "trap") (table.set $t (i32.const 9) (ref.null extern)))
    (func (export "outer") (result externref) (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $inner))
      (call $gc)
      (local.get $r))
    (func (export "nothing") (call $call (ref.null func)) (call $call (ref.func $one)))
    (func (export "trapping") (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $inner))
      (call $call (ref.func $trap))
      (call $take (local.get $r)))
    (elem declare func $inner $again $trap $one))
    (assert_return (invoke "outer") (ref.extern 1000000))
    (invoke "again") (invoke "nothing") (assert_trap (invoke "trapping") "out of bounds table access")
    (invoke "outer") (invoke "again")"#;

#[test]
fn the_host_calls_back_in_every_engine() {
    let subjects: Vec<&str> = registry::all().iter().map(|known| known.name).collect();
    let subjects: Vec<&str> = subjects
        .into_iter()
        .filter(|name| *name != registry::REFERENCE)
        .collect();
    for capacity in [1, 2, 512] {
        let script = format!(
            ";;! host-imports = true\n;;! activations-capacity = {capacity}\n{CALLING_BACK}"
        );
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut harness = Harness::new(&subjects).expect("engines");
        let examined = harness.examine(&case);
        assert_eq!(examined.verdict, Verdict::Agreed);
        let reference = examined.reference.expect("it ran");
        let last = reference.steps.last().expect("a step");
        // Four calls from within each other, besides the one that is no callback.
        let changes = &last.changes.globals;
        assert_eq!(changes[0].value, Value::I32(2 * 5 * 16 + 3), "{capacity}");
        let Outcome::Trapped(kind) = reference.steps[4].outcome else {
            panic!("{:?}", reference.steps[4]);
        };
        assert_eq!(kind, TrapKind::TableOutOfBounds);
        if capacity == 1 {
            let fault = Some(Fault::OuterFramesForgotten);
            for engine in default_subjects() {
                let mut harness = Harness::with_fault(&[engine], fault).expect("engines");
                let Verdict::Diverged(findings) = harness.examine(&case).verdict else {
                    panic!("{engine} does not show the fault");
                };
                assert_eq!(findings[0].oracle, OracleName::Refcounts);
            }
        }
    }
}

/// Where there is hardly any stack left the host does not call back, so that what it calls needs not look
/// whether there is any: a function without a frame does not.
#[test]
fn no_callback_is_beyond_the_end_of_the_stack() {
    let results = "i64 ".repeat(20);
    let module = format!(
        r#"(module (import "parallax" "call" (func $call (param funcref)))
             (func $bare (export "bare") unreachable)
             (func $deep (export "deep") (param i32) (result {results})
               (if (i32.eqz (local.get 0)) (then (call $call (ref.func $bare)) unreachable))
               (call $deep (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    let outcomes = |engine: &str, depths: std::ops::Range<u32>| -> Vec<Outcome> {
        let calls = depths.map(|depth| format!("(invoke \"deep\" (i32.const {depth}))"));
        let calls: String = calls.collect();
        let script = format!(";;! host-imports = true\n;;! looks = 0\n{module}{calls}");
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut engine = registry::make(engine).expect("an engine");
        let observation = observe(engine.as_mut(), &case).expect("it runs");
        let steps = observation.steps.into_iter().skip(1);
        steps.map(|step| step.outcome).collect()
    };
    let unreachable = Outcome::Trapped(TrapKind::Unreachable);
    let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
    for engine in default_subjects() {
        let too_deep = |depth: &u32| outcomes(engine, *depth..*depth + 1) == [exhausted.clone()];
        let near = (0..).step_by(64).find(too_deep).expect("it has an end");
        let outcomes = outcomes(engine, near - 64..near + 8);
        let called = outcomes.iter().filter(|it| **it == unreachable).count();
        assert!((1..72).contains(&called), "{engine}: {called}");
        let expected = |at| {
            if at < called {
                &unreachable
            } else {
                &exhausted
            }
        };
        for (at, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome, expected(at), "{engine}: {at}");
        }
    }
}
