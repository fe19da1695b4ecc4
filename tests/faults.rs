//! Every fault that can be planted is found by generated cases: no oracle is green because it looks
//! at nothing. With `--nocapture` the test prints the rows of the table in docs/oracles.md.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use parallax::campaign;
use parallax::generate::Generators;
use parallax::harness::Harness;
use parallax::score::Fault;
use parallax_oracles::Verdict;

/// Within how many cases of [`SEED`] a fault must be found.
const CASES: u64 = 10_000;

const SEED: u64 = 1;

/// Faults in what code generation makes of CLIF, or is promised by it: where CLIF is interpreted they are
/// none.
const OF_CODE_GENERATION: [Fault; 5] = [
    Fault::SwapTrapKinds,
    Fault::OptimiserComparesStrictly,
    Fault::X86ConditionCode,
    Fault::Aarch64OperandsSwapped,
    Fault::Riscv64OperandsSwapped,
];

/// For how many cases these are looked for there.
const IN_VAIN: u64 = 300;

/// From how many seeds it is said how soon faults are found.
const SEEDS: u64 = 20;

/// How many cases the program is asked for, again and again, until one shows the fault.
const ASKED_FOR: [u64; 4] = [30, 300, 2_000, CASES];

/// By the geometric mean, faults are found within so many cases: twice what was measured.
const SOON: f64 = 50.0;

/// The number of the first of so many cases of a seed that shows a fault in an engine, and the oracle
/// that speaks first.
fn found(engine: &str, fault: Fault, seed: u64, cases: u64) -> Option<(u64, String)> {
    let mut harness = Harness::with_fault(&[engine], Some(fault)).expect("the engine is there");
    (0..cases).find_map(|number| {
        let (_, case, _) = campaign::case(seed, number, Generators::all());
        match harness.examine(&case?).verdict {
            Verdict::Diverged(findings) => Some((number, findings.first()?.oracle.to_string())),
            _ => None,
        }
    })
}

#[test]
fn every_fault_is_found() {
    let missed = Mutex::new(Vec::new());
    for_each_fault(&|fault| match found(fault.engine(), fault, SEED, CASES) {
        Some((case, oracle)) => println!("| {fault} | {oracle} | {case} |"),
        None => missed.lock().unwrap().push(fault.name()),
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found in {CASES} cases: {missed:?}");
}

/// What is wrong with CLIF or with the runtime shows where CLIF is interpreted, and nothing else does.
#[test]
fn faults_before_code_generation_are_found_without_it() {
    let wrong = Mutex::new(Vec::new());
    for_each_fault(&|fault| {
        let blameless = OF_CODE_GENERATION.contains(&fault);
        let cases = if blameless { IN_VAIN } else { CASES };
        let found = found("clif", fault, SEED, cases);
        if found.is_some() == blameless {
            wrong.lock().unwrap().push((fault.name(), found));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// What generators are worth: after how many cases a fault shows, on the whole. What makes cases cheaper
/// must not make it so many more.
#[test]
#[ignore = "measures, for minutes"]
fn how_soon_faults_are_found() {
    let firsts = Mutex::new(Vec::new());
    for_each_fault(&|fault| {
        for seed in 0..SEEDS {
            let first = first_by_program(fault, seed).unwrap_or(CASES) + 1;
            firsts.lock().unwrap().push(first as f64);
        }
    });
    let firsts = firsts.into_inner().unwrap();
    let mean = |sum: f64| sum / firsts.len() as f64;
    let geometric = mean(firsts.iter().map(|first| first.ln()).sum()).exp();
    println!(
        "{} faults, {SEEDS} seeds: found after {geometric:.1} cases by the geometric mean, {:.1} by the mean",
        Fault::ALL.len(),
        mean(firsts.iter().sum())
    );
    assert!(geometric < SOON, "{geometric:.1}");
}

/// The number of the first case of a seed that shows a fault, as the program says. What the fault does to
/// the process that runs the case is no matter there: one that dies of it has shown it.
fn first_by_program(fault: Fault, seed: u64) -> Option<u64> {
    let folder = format!("{}/soon-{fault}-{seed}", env!("CARGO_TARGET_TMPDIR"));
    let _ = std::fs::remove_dir_all(&folder);
    let first = ASKED_FOR.iter().find_map(|cases| {
        let ran = Command::new(env!("CARGO_BIN_EXE_parallax"))
            .args(["fuzz", "--json", "--no-shrink", "--engines", fault.engine()])
            .args(["--fault", fault.name(), "--artifacts", &folder])
            .args(["--seed", &seed.to_string(), "--cases", &cases.to_string()])
            .output()
            .expect("the program starts");
        let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let findings = told["findings"].as_array().expect("a list");
        findings.iter().filter_map(|it| it["first"].as_u64()).min()
    });
    std::fs::remove_dir_all(&folder).expect("made by the program");
    first
}

/// Does something for every fault, on two threads.
fn for_each_fault(what: &(dyn Fn(Fault) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(fault) = Fault::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            what(*fault);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            std::thread::Builder::new()
                .stack_size(campaign::STACK_BYTES)
                .spawn_scoped(scope, work)
                .expect("a thread");
        }
    });
}
