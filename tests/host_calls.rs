//! Programs that call the host without end, or as good as: they end as inconclusive, after the same
//! calls in every engine, however they are run.

use parallax::case::wast::Script;
use parallax::engine::{observe, registry};
use parallax::harness::{Harness, default_subjects};
use parallax_oracles::{Outcome, Reason, Verdict};

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
