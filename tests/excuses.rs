//! What is no excuse for a divergence: what a known fault, a failed instance, a clock or the end of what a case
//! may do might be taken to explain. Each script has a planted fault show, and no engine may be let off.

use std::fmt::Write;

use parallax::case::wast::Script;
use parallax::engine::registry;
use parallax::harness::{Examined, Harness, default_subjects};
use parallax::score::Fault;
use parallax_oracles::{OracleName, Outcome, Reason, Seen, Verdict};

fn examined(script: &str, engines: &[&str], fault: Option<Fault>) -> Examined {
    let case = Script::parse(script, "a test").expect("a script").case;
    let mut harness = Harness::with_fault(engines, fault).expect("engines");
    harness.examine(&case)
}

/// Who was found to differ, by which oracles, and how the subjects' steps ended if that was found.
fn found(examined: &Examined) -> Vec<(&str, OracleName, Option<&Outcome>)> {
    let Verdict::Diverged(findings) = &examined.verdict else {
        return Vec::new();
    };
    let all = findings.iter().map(|finding| {
        let outcome = match &finding.subject {
            Seen::Outcome(outcome) => Some(outcome),
            _ => None,
        };
        (finding.engine.as_str(), finding.oracle, outcome)
    });
    all.collect()
}

/// That a script shows a fault in an engine, and nothing without it.
fn shows(script: &str, engine: &str, fault: Fault, oracle: OracleName) -> Examined {
    let without = examined(script, &[engine], None);
    assert_eq!(without.verdict, Verdict::Agreed, "{script}");
    let with = examined(script, &[engine], Some(fault));
    let found = found(&with);
    assert!(
        found.iter().any(|it| (it.0, it.1) == (engine, oracle)),
        "{engine}: {:?}, known: {:?}: {script}",
        with.verdict,
        with.known
    );
    assert!(with.known.is_empty(), "{:?}", with.known);
    with
}

/// A loop that ends where a signed comparison that holds for equals is not taken for one that does not.
fn halving(call: &str) -> String {
    format!(
        r#"(module (import "spectest" "print_i32" (func $print (param i32)))
             (func (export "f") (param i32)
               (loop $again
                 {call}
                 (local.set 0 (i32.shr_s (local.get 0) (i32.const 1)))
                 (br_if $again (i32.eqz (i32.le_s (local.get 0) (i32.const 0)))))))
           (invoke "f" (i32.const 8))"#
    )
}

/// The reference calls the host a few times and returns; a subject calls it until it may no more.
#[test]
fn calling_the_host_too_often_is_no_way_out() {
    let script = halving("(call $print (local.get 0))");
    let engines = default_subjects().into_iter().filter(|it| *it != "clif");
    for engine in engines {
        let fault = Fault::OptimiserComparesStrictly;
        let with = shows(&script, engine, fault, OracleName::Traps);
        let too_often = Outcome::Inconclusive(Reason::HostCalls);
        let expected = (engine, OracleName::Traps, Some(&too_often));
        assert_eq!(found(&with), [expected]);
    }
}

/// What the host runs is stopped by a clock. But the same code counted does not end either.
#[cfg(feature = "emulator")]
#[test]
fn a_clock_has_no_say() {
    let script = halving("");
    let engine = registry::DIRECT;
    let fault = Fault::OptimiserComparesStrictly;
    let with = shows(&script, engine, fault, OracleName::Traps);
    let expected = (engine, OracleName::Traps, Some(&Outcome::Endless));
    assert_eq!(found(&with), [expected]);
}

/// Programs get more fuel in the reference than they say, to avoid its known faults, and some need
/// it. Branches are counted by what they say.
#[cfg(feature = "emulator")]
#[test]
fn who_ends_only_with_more_fuel_differs_from_nobody() {
    let calls = "(call_indirect (type $t) (i32.const 0))".repeat(40);
    let script = format!(
        r#"(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $nothing) (func $nothing)
             (func $faulty (param i32) (result i32)
               (block (br_table 0 0 (local.get 0)))
               (i32.const 1) (block (param i32) (result i32)))
             (func (export "f") (local $i i32)
               (drop (call $faulty (i32.const 0)))
               (local.set $i (i32.const 800000))
               (loop $again
                 {calls}
                 (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))
           (invoke "f")"#
    );
    let verdict = examined(&script, &[registry::EMULATED], None).verdict;
    assert_eq!(verdict, Verdict::Inconclusive(Reason::Timeout));
}

/// The reference could meet a fault at the `br_table`, and to avoid that takes a branch for every target,
/// for which there is not enough fuel.
#[test]
fn a_rewritten_program_that_runs_out_of_fuel_explains_nothing() {
    const TARGETS: usize = 400;
    let mut body = "(block ".repeat(TARGETS);
    body.push_str("(br_table");
    for target in 0..TARGETS {
        let _ = write!(body, " {target}");
    }
    body.push_str(" (local.get 0))");
    body.push_str(&")".repeat(TARGETS));
    let script = format!(
        r#"(module (memory 1)
             (func $jump (param i32) {body})
             (func (export "f") (local i32)
               (local.set 0 (i32.const 200000))
               (loop $again
                 (call $jump (i32.const {}))
                 (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
               (memory.fill (i32.const 0) (i32.const 7) (i32.const 5))))
           (invoke "f")"#,
        TARGETS - 2
    );
    let engine = registry::DIRECT;
    shows(
        &script,
        engine,
        Fault::MemoryFillShort,
        OracleName::Memories,
    );
}

/// What an instance has whose start function trapped is shown, so that counts follow from what is shown.
#[test]
fn an_instance_that_failed_hides_no_counts() {
    let script = r#";;! host-imports = true
        (assert_trap (module (table 1 externref) (func $no unreachable) (start $no)) "unreachable")
        (module (import "parallax" "make" (func $make (result externref)))
          (table $t 4 externref)
          (func (export "f")
            (table.set $t (i32.const 0) (call $make))
            (table.set $t (i32.const 0) (ref.null extern))))
        (invoke "f")"#;
    for engine in default_subjects() {
        let fault = Fault::WriteBarrierNoDecrement;
        shows(script, engine, fault, OracleName::Refcounts);
    }
}

/// A store that was torn explains what it left behind, not what another one does there later.
#[cfg(feature = "emulator")]
#[test]
fn a_torn_store_explains_nothing_that_comes_later() {
    // What is torn off is what was there.
    let script = r#"(module (memory 1)
        (func (export "torn") (v128.store (i32.const 65528) (v128.const i64x2 0 0)))
        (func (export "fill") (memory.fill (i32.const 65520) (i32.const 7) (i32.const 9))))
        (assert_trap (invoke "torn") "out of bounds memory access")
        (invoke "fill")"#;
    for engine in [registry::EMULATED, "aarch64"] {
        shows(script, engine, Fault::MemoryFillShort, OracleName::Memories);
    }
}

/// A store that was torn explains what it left behind, not what else is wrong after the same step.
#[cfg(feature = "emulator")]
#[test]
fn a_torn_store_does_not_hide_another_memory() {
    let script = r#"(module $b (memory 1)
          (func (export "torn") (v128.store (i32.const 65528) (v128.const i64x2 1 1))))
        (register "b" $b)
        (module (import "b" "torn" (func $torn)) (memory 1)
          (func (export "f")
            (memory.fill (i32.const 0) (i32.const 7) (i32.const 5))
            (call $torn)))
        (assert_trap (invoke "f") "out of bounds memory access")"#;
    for engine in [registry::EMULATED, "aarch64"] {
        shows(script, engine, Fault::MemoryFillShort, OracleName::Memories);
    }
}
