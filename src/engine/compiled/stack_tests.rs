//! That a program without end ends where the stack does, wherever it is run, and that it is told if it does
//! not, or earlier.

use super::*;
use crate::campaign;
use crate::case::wast::script_from_file;
use crate::codegen::Generation;
use crate::engine::observe;
use crate::runtime::stack::BEYOND;
use parallax_oracles::{Outcome, TrapKind, Value};

/// Every backend in every way in which it can be run here, with a fault planted in it.
fn engines(fault: Option<Fault>) -> impl Iterator<Item = Compiled> {
    let all = [Isa::X86_64, Isa::Aarch64, Isa::Riscv64, Isa::Clif];
    let ways = [
        Execution::Direct,
        Execution::Emulated,
        Execution::Interpreted,
    ];
    let backends = all.into_iter().flat_map(|isa| {
        // The one before has no riscv64 here, and translates as this one does.
        let old = matches!(isa, Isa::X86_64 | Isa::Aarch64);
        let generations = Generation::ALL.into_iter();
        let generations = generations.filter(move |it| *it == Generation::CURRENT || old);
        generations.map(move |generation| Backend { isa, generation })
    });
    let ways = backends.flat_map(move |backend| ways.map(|way| (backend, way)));
    let fits = |isa, way| (isa == Isa::Clif) == (way == Execution::Interpreted);
    ways.filter(move |(backend, way)| fits(backend.isa, *way))
        .filter(|(backend, way)| Machine::new(backend.isa, *way).is_ok())
        .map(move |(backend, way)| Compiled::with_fault("test", backend, fault).run_by(way))
}

/// As many of something as a function may have results.
fn thousand(what: &str) -> String {
    vec![what; 1_000].join(" ")
}

/// Functions `run` that do not end, of frames of all sizes and all ways of calling; `is_well` returns.
fn programs() -> Vec<(&'static str, String)> {
    let vectors = thousand("v128");
    vec![
        (
            "a small frame",
            r#"(func $run (export "run") (param i32) (result i32)
                (i32.add (local.get 0) (call $run (i32.add (local.get 0) (i32.const 1)))))"#
                .to_string(),
        ),
        (
            "a frame of more than 32 KiB",
            format!(
                r#"(func $run (param v128) (result {vectors}) (call $run (local.get 0)) (drop)
                    (local.get 0))
                (func (export "run") (param i32)
                    (call $run (i32x4.splat (local.get 0))) {})"#,
                thousand("(drop)")
            ),
        ),
        (
            "a frame of more than a page, most of it untouched",
            format!(
                r#"(func $run (param i64) (result {}) (call $run (local.get 0)) (drop)
                    (local.get 0))
                (func (export "run") (param i32)
                    (call $run (i64.extend_i32_u (local.get 0))) {})"#,
                thousand("i64"),
                thousand("(drop)")
            ),
        ),
        (
            "through a table",
            r#"(table funcref (elem $run)) (type $run (func (param i32) (result i32)))
            (func $run (export "run") (type $run)
                (i32.add (local.get 0) (call_indirect (type $run) (local.get 0) (i32.const 0))))"#
                .to_string(),
        ),
        (
            "a builtin in every frame",
            r#"(memory (import "host" "memory") 1)
            (func $run (export "run") (param i32) (result i32)
                (i32.add (memory.size) (call $run (memory.size))))"#
                .to_string(),
        ),
        (
            "a host function in every frame",
            r#"(func $host (import "host" "many") (param i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 f64))
            (func $run (export "run") (param i32) (result i32)
                (call $host (local.get 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
                    (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (f64.const 1))
                (i32.add (local.get 0) (call $run (local.get 0))))"#
                .to_string(),
        ),
        (
            "a frame that makes room for the arguments of a tail call",
            r#"(func $many (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)
                    (result i32)
                (i32.add (i32.wrap_i64 (local.get 15)) (call $run (i32.wrap_i64 (local.get 9)))))
            (func $run (export "run") (param i32) (result i32)
                (return_call $many (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)
                    (i64.const 5) (i64.const 6) (i64.const 7) (i64.const 8) (i64.const 9) (i64.const 10)
                    (i64.const 11) (i64.const 12) (i64.const 13) (i64.const 14) (i64.const 15)))"#
                .to_string(),
        ),
    ]
}

/// How calls of `run` and `is_well` end, in every engine that has what it takes.
fn outcomes(fault: Option<Fault>) -> Vec<(String, Vec<Outcome>)> {
    let run = move || {
        let mut all = Vec::new();
        for mut engine in engines(fault) {
            for (name, functions) in programs() {
                for probestack_bytes in [0, 4_096] {
                    let text = format!(
                        r#";;! host-imports = true
                        ;;! probestack-bytes = {probestack_bytes}
                        (module {functions} (func (export "is_well") (result i32) (i32.const 7)))
                        (invoke "run" (i32.const 1))
                        (assert_return (invoke "is_well") (i32.const 7))"#
                    );
                    let case = script_from_file(text.as_bytes(), "test.wast");
                    let case = case.expect("valid").case;
                    let backend = engine.backend;
                    let name = format!("{name}, {backend:?}, {:?}", engine.execution);
                    match observe(&mut engine, &case) {
                        Ok(seen) => {
                            let steps = seen.steps.into_iter().skip(1);
                            all.push((name, steps.map(|step| step.outcome).collect()));
                        }
                        Err(Refusal::Unsupported(_)) if backend.isa == Isa::Riscv64 => {}
                        Err(refusal) => panic!("{name}: {refusal}"),
                    }
                }
            }
        }
        all
    };
    let thread = std::thread::Builder::new().stack_size(campaign::STACK_BYTES);
    let all = thread.spawn(run).expect("a thread").join();
    let all = all.expect("whatever code does, we go on");
    assert!(all.len() >= 2 * programs().len());
    all
}

#[test]
fn the_stack_is_exhausted_with_a_reason() {
    for (name, outcomes) in outcomes(None) {
        let well = Outcome::Returned(vec![Value::I32(7)]);
        let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
        assert_eq!(outcomes, [exhausted, well], "{name}");
    }
}

#[test]
fn a_missing_check_is_an_escape() {
    let (mut at_calls, mut at_the_end) = (0, 0);
    for (name, outcomes) in outcomes(Some(Fault::NoStackCheck)) {
        let [Outcome::Escaped(how)] = &outcomes[..] else {
            panic!("{name}: {outcomes:?}");
        };
        assert!(how.ends_with(BEYOND), "{name}: {how}");
        match how.contains(" called ") {
            true => at_calls += 1,
            false => at_the_end += 1,
        }
    }
    assert!(
        at_calls > 0 && at_the_end > at_calls,
        "{at_calls} {at_the_end}"
    );
}

#[test]
fn a_check_that_is_too_tight_is_told_with_what_is_left() {
    for (name, outcomes) in outcomes(Some(Fault::TightStackCheck)) {
        let [Outcome::Unfounded(how)] = &outcomes[..] else {
            panic!("{name}: {outcomes:?}");
        };
        let words: Vec<&str> = how.split(' ').collect();
        let left = words.iter().position(|word| *word == "bytes");
        let left: u64 = words[left.expect("so many bytes") - 1]
            .parse()
            .expect("a number");
        // All but an eighth of 512 KiB, and the frame that it was not enough for.
        assert!((350_000..=450 << 10).contains(&left), "{name}: {how}");
    }
}

/// Who is interrupted traps as for lack of stack at the next entry of a function, with all the stack that there
/// is.
#[test]
fn an_interrupt_is_no_lack_of_stack() {
    let text = r#"
        ;;! host-imports = true
        ;;! interrupt-at = 1
        (module
            (import "parallax" "tick" (func $tick))
            (memory 1)
            (func $next (result i32) (i32.add (memory.size) (call $last)))
            (func $last (result i32) (i32.load (i32.const 0)))
            (func (export "run") (result i32) (call $tick) (call $next)))
        (invoke "run")"#;
    let case = script_from_file(text.as_bytes(), "test.wast");
    let case = case.expect("valid").case;
    for mut engine in engines(None) {
        let seen = observe(&mut engine, &case).expect("it runs");
        let interrupted = Outcome::Trapped(TrapKind::Interrupted);
        assert_eq!(seen.steps[1].outcome, interrupted, "{:?}", engine.backend);
    }
}
