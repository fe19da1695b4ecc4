//! Every case in `corpus/known` still shows the fault that it is named after, and nothing else.
//!
//! A known fault is taken out of verdicts. So when a version of an engine no longer has it, that
//! has to be noticed: the test of its case fails, and the fault and its case are to be removed.
//! (One that our engine averts does not show whether it is still there.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use parallax::case::wast::{Script, script_from_file};
use parallax::engine::{Engine, Refusal, expect, observe, registry};
use parallax::harness::{Examined, Harness, default_subjects};
use parallax::score::Fault;
use parallax::triage::known::{KNOWN, KnownFault, named};
use parallax_oracles::Verdict;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/known")
}

fn script(name: &str) -> Script {
    let path = folder().join(format!("{name}.wast"));
    let contents = std::fs::read(&path).expect("the fault has a case");
    script_from_file(&contents, &path.display().to_string()).expect("a script")
}

fn names(faults: &[&'static KnownFault]) -> Vec<&'static str> {
    faults.iter().map(|fault| fault.name).collect()
}

/// What an engine does other than the script asserts.
fn failures(engine: &mut dyn Engine, script: &Script) -> Vec<String> {
    let case = &script.case;
    let seen = match observe(engine, case) {
        Ok(seen) => seen,
        // An interpreter may lack an instruction, Winch has no references to the host's objects, and
        // there are no vectors on riscv64.
        // What else generates code has to show what it does.
        Err(Refusal::Unsupported(_)) if matches!(engine.name(), "clif" | "winch" | "riscv64") => {
            return Vec::new();
        }
        Err(refusal) => return vec![refusal.to_string()],
    };
    let steps = case.steps.iter().zip(&seen.steps);
    let failures = steps.filter_map(|(step, seen)| {
        let expectation = step.expect.as_ref()?;
        let failure = expect::check(expectation, &seen.outcome).err()?;
        Some(format!("line {}: {failure}", step.line))
    });
    failures.collect()
}

/// The faults of an engine, by name, that explain what oracles find.
fn met(engine: &str, script: &Script) -> Vec<String> {
    let mut harness = Harness::new(&[engine]).expect("usable");
    let known = harness.examine(&script.case).known.into_iter();
    let known = known.filter(|known| known.engine != registry::REFERENCE);
    known.map(|known| known.name.to_string()).collect()
}

/// Whether an engine may show a fault that nobody tells: Wasmtime's code for aarch64 leaves stores to the
/// processor as ours does, which is the host's there, and no remark says what one has written.
fn is_untold(engine: &str, fault: &KnownFault) -> bool {
    registry::DIRECT == "aarch64"
        && matches!(engine, "wasmtime" | "winch")
        && fault.looks_like(named("cranelift-torn-store").expect("known"))
}

#[test]
fn every_fault_has_a_case_and_every_case_a_fault() {
    let faults: BTreeSet<String> = KNOWN.iter().map(|fault| fault.name.to_string()).collect();
    assert_eq!(faults.len(), KNOWN.len(), "a name twice");
    let mut cases = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).expect("corpus/known") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wast")
        {
            let name = path.file_stem().expect("a name").to_string_lossy();
            cases.insert(name.into_owned());
        }
    }
    assert_eq!(faults, cases);
}

#[test]
fn an_engine_with_a_known_fault_fails_its_case_and_no_other_does() {
    for info in registry::all().into_iter().filter(|info| info.usable) {
        let mut engine = registry::make(info.name).expect("usable");
        let version = engine.version();
        for fault in KNOWN.iter().filter(|fault| !is_untold(info.name, fault)) {
            let script = script(fault.name);
            let mut failures = failures(engine.as_mut(), &script);
            // What no assertion can say, an oracle does.
            if failures.is_empty() && info.name != registry::REFERENCE {
                failures = met(info.name, &script);
            }
            let has = |known: &KnownFault| known.is_of(info.name, &version);
            let mut alike = KNOWN.iter().filter(|known| fault.looks_like(known));
            if alike.any(has) && !fault.is_averted() {
                assert!(
                    !failures.is_empty() || fault.is_open(&version),
                    "{} ({version}) no longer has the fault {}: remove it",
                    info.name,
                    fault.name
                );
            } else {
                assert_eq!(
                    failures,
                    Vec::<String>::new(),
                    "{} ({version}): {}",
                    info.name,
                    fault.name
                );
            }
        }
    }
}

#[test]
fn a_case_that_meets_a_known_fault_says_so_and_nothing_else() {
    let engines = registry::all().into_iter().filter(|info| info.usable);
    let engines: Vec<_> = engines.collect();
    for fault in KNOWN {
        let names_of = engines.iter().map(|info| info.name);
        let subjects: Vec<&str> = names_of
            .filter(|name| *name != registry::REFERENCE && !is_untold(name, fault))
            .collect();
        let mut harness = Harness::new(&subjects).expect("usable");
        let script = script(fault.name);
        let Examined { verdict, known, .. } = harness.examine(&script.case);
        let is_here = |known: &KnownFault| {
            let mut engines = engines.iter();
            engines.any(|info| known.is_of(info.name, &info.version))
        };
        if !is_here(fault) {
            continue;
        }
        assert_eq!(verdict, Verdict::Agreed, "{}", fault.name);
        // A case of one is a case of every other that looks the same, in engines of their own.
        let alike = KNOWN
            .iter()
            .filter(|known| fault.looks_like(known) && is_here(known) && !known.is_averted());
        let expected: BTreeSet<&str> = alike.map(|known| known.name).collect();
        let open = engines
            .iter()
            .any(|info| fault.is_of(info.name, &info.version) && fault.is_open(&info.version));
        let known: BTreeSet<&str> = names(&known).into_iter().collect();
        assert!(
            known == expected || open && known.is_subset(&expected),
            "{known:?} in the case of {}",
            fault.name
        );
    }
}

/// Under other settings a fault that is not known is still there.
#[test]
fn what_is_known_by_other_settings_hides_nothing_else() {
    let text = r#"
;;! x86-64 = "sse42"
(module
  (memory 1)
  (func (export "narrowed") (param i32)
    (v128.store (i32.const 16) (i16x8.extend_low_i8x16_u (v128.load (local.get 0)))))
  (func (export "copied")
    (memory.copy (i32.const 1) (i32.const 0) (i32.const 2)))
  (data (i32.const 0) "P"))
(assert_trap (invoke "narrowed" (i32.const 65528)) "out of bounds memory access")
(assert_return (invoke "copied"))
"#;
    let script = script_from_file(text.as_bytes(), "test.wast").expect("a script");
    for fault in [None, Some(Fault::MemoryCopyForwards)] {
        let mut harness = Harness::with_fault(&["x86_64-0.112"], fault).expect("usable");
        let Examined { verdict, known, .. } = harness.examine(&script.case);
        match fault {
            None => assert_eq!(names(&known), ["cranelift-narrowed-load"]),
            Some(_) => assert!(matches!(verdict, Verdict::Diverged(_)), "{verdict:?}"),
        }
    }
}

/// A script of several modules, each meeting a fault of its own.
#[test]
fn several_faults_in_a_case_are_told_apart() {
    let text = r#"
(module
  (func (export "vector") (param i32 v128) (result v128)
    (block $b (result v128)
      i64.const 1
      local.get 1
      local.get 0
      br_table $b 1 1)))
(assert_return (invoke "vector" (i32.const 0) (v128.const i32x4 1 2 3 4)) (v128.const i32x4 1 2 3 4))
(module
  (func (export "constant") (param i32) (result i32)
    (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0))))
  (func (export "computed") (param i32 i32) (result i32)
    (select (i32.const 1) (local.get 1) (i32.eqz (i32.add (local.get 0) (local.get 1)))))
  (func (export "param") (result i32)
    i32.const 3
    block (param i32) (result i32)
    end))
(assert_return (invoke "constant" (i32.const 7)) (i32.const 7))
(assert_return (invoke "constant" (i32.const 0)) (i32.const 1))
"#;
    let script = script_from_file(text.as_bytes(), "several.wast").expect("a script");
    let mut harness = Harness::new(&default_subjects()).expect("usable");
    let examined = harness.examine(&script.case);
    assert_eq!(examined.verdict, Verdict::Agreed);
    // The block with a parameter makes the third fault possible, but it was not met.
    assert_eq!(
        names(&examined.known),
        ["wasmi-select-eqz", "wasmi-br-table-values"]
    );
}
