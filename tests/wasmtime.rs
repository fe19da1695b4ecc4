//! The engines of Wasmtime show what the reference shows, and get along with ours in one process.

#![cfg(feature = "wasmtime")]

use std::collections::BTreeMap;

use parallax::campaign;
use parallax::case::wast::case_from_file;
use parallax::generate::{Generator, Generators, case_from_bytes};
use parallax::harness::{Examined, Harness, NotCompared};
use parallax::triage::blame::{Blame, Layer};
use parallax_oracles::{Event, ObjectId, OracleName, Verdict};

const ENGINES: [&str; 3] = ["wasmtime", "winch", "pulley"];

/// Cases of each generator that are run.
const CASES: u64 = 60;

fn examine(script: &str, engines: &[&str]) -> Examined {
    let case = case_from_file(script.as_bytes(), "test.wast").expect("a valid script");
    let mut harness = Harness::new(engines).expect("usable");
    harness.examine(&case)
}

#[test]
fn generated_cases_show_the_same() {
    let mut harness = Harness::new(&ENGINES).expect("usable");
    let mut by_winch = 0;
    for generator in Generator::ALL {
        let generators: Generators = [generator].into_iter().collect();
        let mut compared = [0; ENGINES.len()];
        for number in 0..CASES {
            let (_, case, _) = campaign::case(31, number, generators);
            let Some(case) = case else { continue };
            let examined = harness.examine(&case);
            let name = generator.name();
            assert!(
                !matches!(examined.verdict, Verdict::Diverged(_)),
                "{name} case {number}: {:#?}",
                examined.verdict
            );
            for (subject, compared) in examined.subjects.iter().zip(&mut compared) {
                *compared += u64::from(subject.result.is_ok());
            }
        }
        // Winch has no externrefs, and its NaNs are as they come.
        by_winch += compared[1];
        for (engine, compared) in ENGINES.iter().zip(compared) {
            assert!(
                *engine == "winch" || compared >= CASES * 3 / 4,
                "{}: {engine} compared {compared}",
                generator.name()
            );
        }
    }
    assert!(by_winch > CASES, "{by_winch}");
}

/// Traps of every sort that is raised by a signal in compiled code.
#[cfg(target_arch = "x86_64")]
const TRAPS: &str = r#"
    (module
        (memory 1)
        (func (export "load") (result i32) (i32.load (i32.const 0x7fffffff)))
        (func (export "divide") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
        (func (export "stop") unreachable))
    (assert_trap (invoke "load") "out of bounds memory access")
    (assert_trap (invoke "divide" (i32.const 0)) "integer divide by zero")
    (assert_trap (invoke "stop") "unreachable")
    (assert_return (invoke "divide" (i32.const 1)) (i32.const 1))"#;

/// Both handle signals, and hand on what is not theirs. Whoever comes first is asked last.
#[cfg(target_arch = "x86_64")]
#[test]
fn signals_reach_whose_code_they_come_from_in_either_order() {
    const ROLE: &str = "PARALLAX_WASMTIME_TEST";
    let engines = |order: &str| order.split(',').map(str::to_string).collect::<Vec<_>>();
    if let Ok(order) = std::env::var(ROLE) {
        let engines = engines(&order);
        let names: Vec<&str> = engines.iter().map(String::as_str).collect();
        // One after the other, so that each installs its handlers in turn; then again together.
        for round in [&names[..1], &names[1..], &names[..]] {
            assert_eq!(examine(TRAPS, round).verdict, Verdict::Agreed);
        }
        let elsewhere = std::thread::spawn(move || {
            let names: Vec<&str> = engines.iter().map(String::as_str).collect();
            examine(TRAPS, &names).verdict
        });
        assert_eq!(elsewhere.join().expect("no panic"), Verdict::Agreed);
        return;
    }
    for order in [
        "x86_64,wasmtime",
        "wasmtime,x86_64",
        "winch,x86_64",
        "x86_64,winch",
    ] {
        let test = "signals_reach_whose_code_they_come_from_in_either_order";
        let status = std::process::Command::new(std::env::current_exe().expect("this test's path"))
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, order)
            .status()
            .expect("a process");
        assert!(status.success(), "{order}: {status}");
    }
}

/// Objects are dropped when nothing holds them any more, with a collection, and else with the store.
#[test]
fn drops_are_observed_and_checked() {
    let script = r#"
        ;;! host-imports = true
        (module
            (import "parallax" "make" (func $make (result externref)))
            (import "parallax" "take" (func $take (param externref)))
            (table $t 2 externref)
            (func (export "put") (param i32) (table.set $t (local.get 0) (call $make)))
            (func (export "clear") (param i32)
                (table.set $t (local.get 0) (ref.null extern)))
            (func (export "keep") (call $take (table.get $t (i32.const 1)))))
        (invoke "put" (i32.const 0))
        (invoke "put" (i32.const 1))
        (invoke "keep")
        (invoke "clear" (i32.const 0))
        (invoke "clear" (i32.const 1))"#;
    for engine in ["wasmtime", "pulley"] {
        let examined = examine(script, &[engine]);
        assert_eq!(examined.verdict, Verdict::Agreed);
        let subject = &examined.subjects[0];
        let comparison = subject.result.as_ref().expect("compared");
        assert!(comparison.tallies[OracleName::Refcounts].checked > 5);
        let observation = subject.observation.as_ref().expect("it ran");
        let first = parallax::case::host::FIRST_NEW_OBJECT;
        let dropped = |events: &[Event]| -> Vec<ObjectId> {
            let drops = events.iter().filter_map(|event| match event {
                Event::Dropped(id) => Some(*id),
                Event::HostCall { .. } => None,
            });
            drops.collect()
        };
        let by_step: Vec<_> = observation
            .steps
            .iter()
            .map(|it| dropped(&it.events))
            .collect();
        assert_eq!(by_step[4], [ObjectId(first)], "{engine}: {by_step:?}");
        assert_eq!(by_step.concat().len(), 1, "{engine}: {by_step:?}");
        assert_eq!(dropped(&observation.teardown), [ObjectId(first + 1)]);
    }
}

#[test]
fn what_winch_lacks_is_told() {
    let script = r#"(module (table 1 externref)
        (func (export "f") (result externref) (table.get (i32.const 0))))
        (invoke "f")"#;
    let examined = examine(script, &["winch"]);
    let result = &examined.subjects[0].result;
    let lacks = NotCompared::Unsupported("externref in Winch".to_string());
    assert_eq!(result.as_ref().err(), Some(&lacks));
}

/// Winch does not make NaNs canonical, but what it gets does, so that their bits may show.
#[test]
fn nans_are_canonical_in_winch() {
    let script = r#"(module
            (memory (export "memory") 1)
            (func (export "one") (param f32 f32) (result i32)
                (i32.reinterpret_f32 (f32.neg (f32.div (local.get 0) (local.get 1)))))
            (func (export "lanes") (param v128 v128)
                (v128.store (i32.const 16) (f64x2.sub (local.get 0) (local.get 1)))))
        (invoke "one" (f32.const 0) (f32.const 0))
        (invoke "one" (f32.const nan) (f32.const 1))
        (invoke "lanes" (v128.const f64x2 inf 1) (v128.const f64x2 inf -nan))"#;
    let examined = examine(script, &["winch"]);
    assert!(examined.subjects[0].result.is_ok());
    assert_eq!(examined.verdict, Verdict::Agreed);
}

/// What Winch lacks leaves enough of what is generated to compare.
#[test]
fn winch_compares_much_of_what_is_generated() {
    let mut harness = Harness::new(&["winch"]).expect("usable");
    let mut compared = 0;
    let mut lacks: BTreeMap<String, u32> = BTreeMap::new();
    for number in 0..600 {
        let input = campaign::input(13, number, 0, Generators::all());
        let Ok(case) = case_from_bytes(&input) else {
            continue;
        };
        let examined = harness.examine(&case);
        assert!(
            !matches!(examined.verdict, Verdict::Diverged(_)),
            "case {number}: {:#?}",
            examined.verdict
        );
        match &examined.subjects[0].result {
            Ok(_) => compared += 1,
            Err(why) => *lacks.entry(format!("{why:?}")).or_default() += 1,
        }
    }
    println!("{compared} compared; not: {lacks:#?}");
    assert!(compared > 200, "{compared}");
}

/// A known fault of the reference is told as such whatever engine it is held against.
#[test]
fn faults_of_the_reference_are_known() {
    let select = r#"(module
            (func (export "constant") (param i32) (result i32)
                (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))))
        (invoke "constant" (i32.const 7))"#;
    for engine in ENGINES {
        let examined = examine(select, &[engine]);
        assert_eq!(examined.verdict, Verdict::Agreed, "{engine}");
        let names: Vec<_> = examined.known.iter().map(|fault| fault.name).collect();
        assert_eq!(names, ["wasmi-select-eqz"], "{engine}");
        let blame = Blame::of(&examined).expect("a known fault");
        assert_eq!(blame.layer, Layer::Reference);
    }
}
