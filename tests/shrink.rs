//! Shrinking from end to end: large cases with one planted fault come down to next to nothing, to
//! something that is read back from a script and shows the same.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use parallax::campaign;
use parallax::case::Case;
use parallax::case::wast::{Script, case_from_file, to_wast};
use parallax::generate::Generators;
use parallax::harness::Harness;
use parallax::score::Fault;
use parallax::triage::shrink::{Event, Options, ShrinkError, Shrunk, Target, shrink};
use parallax_oracles::{OracleName, Verdict};

const SUBJECTS: &[&str] = &["x86_64", "aarch64"];

/// What can be used here of [`SUBJECTS`].
fn subjects() -> Vec<&'static str> {
    let usable = parallax::harness::default_subjects();
    let mut subjects = SUBJECTS.to_vec();
    subjects.retain(|name| usable.contains(name));
    subjects
}

fn shrunk(case: &Case, fault: Fault) -> Result<Shrunk, ShrinkError> {
    let options = Options {
        subjects: &subjects(),
        fault: Some(fault),
        witness: false,
        deadline: None,
        stop: &AtomicBool::new(false),
    };
    shrink(case, &options, &mut |_| Ok(()))
}

/// A module of thirty functions that call each other, use a memory, a table and globals, and of which
/// one holds `faulty`.
fn thirty_functions(faulty: &str) -> String {
    let mut text = String::from(
        "(module
          (memory (export \"memory\") 2 9)
          (table 40 funcref)
          (global $sum (mut i64) (i64.const 3))
          (type $binary (func (param i32 i64) (result i64)))
          (data (i32.const 100) \"some data to begin with\")\n",
    );
    for number in 0..30 {
        let faulty = if number == 17 { faulty } else { "" };
        let callee = number * 7 % 30;
        let calls = if callee > number {
            format!("(call $f{callee} (local.get 0) (local.get 3))")
        } else {
            "(local.get 3)".to_string()
        };
        let _ = write!(
            text,
            "(func $f{number} (type $binary) (local i32 i64)
               (local.set 2 (i32.const 6))
               (loop $again
                 (local.set 3 (i64.add (local.get 3) (i64.extend_i32_u (i32.mul (local.get 0) (local.get 2)))))
                 (i64.store offset={number} align=1 (i32.and (local.get 0) (i32.const 1023)) (local.get 3))
                 {faulty}
                 (if (i64.lt_s (local.get 3) (i64.const 100))
                   (then (global.set $sum (i64.xor (global.get $sum) (local.get 3))))
                   (else (local.set 3 (i64.shr_u (local.get 3) (i64.const {number})))))
                 (br_if $again (local.tee 2 (i32.sub (local.get 2) (i32.const 1)))))
               {calls})
             (export \"f{number}\" (func $f{number}))
             (elem (i32.const {number}) func $f{number})\n"
        );
    }
    text.push(')');
    text
}

/// Asserts what a person wants of a shrunk case.
#[track_caller]
fn is_small(case: &Case, fault: Fault, oracle: OracleName) {
    let shrunk = shrunk(case, fault).unwrap_or_else(|error| panic!("{fault}: {error}"));
    println!(
        "{fault}: {}, from {}, {} runs",
        shrunk.best.size, shrunk.before, shrunk.runs
    );
    assert!(shrunk.finished);
    assert!(shrunk.before.functions >= 30 && shrunk.before.instructions > 900);
    let script = to_wast(
        &shrunk.best.case,
        shrunk.best.examined.reference.as_ref(),
        "",
    );
    assert!(shrunk.best.size.instructions < 10, "{script}");
    // As a script it shows the same, and nothing without the fault.
    let read = Script::parse(&script, "shrunk").expect("it is read back");
    let mut harness = Harness::with_fault(&subjects(), Some(fault)).expect("engines");
    let examined = harness.examine(&read.case);
    assert!(shrunk.target.is_shown_by(&examined), "{script}");
    let Verdict::Diverged(findings) = &examined.verdict else {
        panic!("{script}");
    };
    assert_eq!(findings[0].oracle, oracle);
    let mut without = Harness::new(&subjects()).expect("engines");
    assert_eq!(
        without.examine(&read.case).verdict,
        Verdict::Agreed,
        "{script}"
    );
}

#[test]
fn of_thirty_functions_fewer_than_ten_instructions_are_left() {
    for (faulty, fault, oracle) in [
        (
            "(memory.fill (i32.const 3000) (i32.const 7) (local.get 2))",
            Fault::MemoryFillShort,
            OracleName::Memories,
        ),
        (
            "(drop (i32.div_u (local.get 2) (i32.and (local.get 2) (i32.const 8))))",
            Fault::SwapTrapKinds,
            OracleName::Traps,
        ),
        (
            "(drop (call_indirect (type $binary) (local.get 0) (local.get 3) (i32.const 35)))",
            Fault::SkipNullCheck,
            OracleName::Traps,
        ),
    ] {
        let text = thirty_functions(faulty);
        let case = case_from_file(text.as_bytes(), "thirty.wat").expect("a module");
        is_small(&case, fault, oracle);
    }
}

/// Cases of two modules, too: the links hold, or are cut on purpose.
#[test]
fn generated_cases_shrink_to_what_shows_the_same() {
    for fault in [Fault::MemoryFillShort, Fault::ImportCalledWithOwnVmctx] {
        let mut harness = Harness::with_fault(&subjects(), Some(fault)).expect("engines");
        let mut left = 2;
        for number in 0..1_000 {
            let (_, case, _) = campaign::case(1, number, Generators::all());
            let Some(case) = case.filter(|case| case.modules.len() > 1) else {
                continue;
            };
            let Some(target) = Target::of(&harness.examine(&case)) else {
                continue;
            };
            let shrunk = match shrunk(&case, fault) {
                Ok(shrunk) => shrunk,
                // A function as an argument that the finding depends on.
                Err(ShrinkError::NotAsScript) => continue,
                Err(error) => panic!("{fault}, case {number}: {error}"),
            };
            let (best, size) = (&shrunk.best, shrunk.best.size);
            println!("{fault}, case {number}: {size}, from {}", shrunk.before);
            assert!(target.is_shown_by(&best.examined), "{fault}, case {number}");
            assert!(size.instructions < 40, "{fault}, case {number}: {size}");
            assert!(shrunk.finished, "{fault}, case {number}");
            left -= 1;
            if left == 0 {
                break;
            }
        }
        assert_eq!(left, 0, "linked cases that show {fault}");
    }
}

#[test]
fn the_same_case_shrinks_to_the_same() {
    let text = thirty_functions("(memory.fill (i32.const 3000) (i32.const 7) (local.get 2))");
    let case = case_from_file(text.as_bytes(), "thirty.wat").expect("a module");
    let script = || {
        let shrunk = shrunk(&case, Fault::MemoryFillShort).expect("it diverges");
        (shrunk.runs, to_wast(&shrunk.best.case, None, ""))
    };
    assert_eq!(script(), script());
}

/// Whoever keeps the best case has it at every moment, and it never grows.
#[test]
fn every_better_case_is_told_and_shows_the_same() {
    let text = thirty_functions("(memory.fill (i32.const 3000) (i32.const 7) (local.get 2))");
    let case = case_from_file(text.as_bytes(), "thirty.wat").expect("a module");
    let stop = AtomicBool::new(false);
    let options = Options {
        subjects: &subjects(),
        fault: Some(Fault::MemoryFillShort),
        witness: false,
        deadline: None,
        stop: &stop,
    };
    let mut better = Vec::new();
    let shrunk = shrink(&case, &options, &mut |event| {
        if let Event::Better(best) = event {
            better.push(best.clone());
            stop.store(better.len() == 12, Ordering::Relaxed);
        }
        Ok(())
    });
    let shrunk = shrunk.expect("it diverges");
    assert!(!shrunk.finished);
    assert_eq!(better.len(), 12);
    assert_eq!(shrunk.best.size, better[11].size);
    assert!(better[11].size.instructions < better[0].size.instructions);
    for best in &better {
        assert!(shrunk.target.is_shown_by(&best.examined));
    }

    // What cannot be kept ends the work.
    stop.store(false, Ordering::Relaxed);
    let error = shrink(
        &case,
        &options,
        &mut |_| Err("the disk is full".to_string()),
    );
    let error = error.expect_err("nothing can be kept").to_string();
    assert_eq!(error, "the disk is full");
}
