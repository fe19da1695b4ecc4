//! Every fault that can be planted is found by generated cases: no oracle is green because it looks
//! at nothing. With `--nocapture` the test prints the rows of the table in docs/oracles.md.

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

/// The number of the first case that shows a fault, and the oracle that speaks first.
fn found(fault: Fault) -> Option<(u64, String)> {
    let mut harness = Harness::with_fault(&["x86_64"], Some(fault)).expect("the engine is there");
    (0..CASES).find_map(|number| {
        let (_, case, _) = campaign::case(SEED, number, Generators::all());
        match harness.examine(&case?).verdict {
            Verdict::Diverged(findings) => Some((number, findings.first()?.oracle.to_string())),
            _ => None,
        }
    })
}

#[test]
fn every_fault_is_found() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    let work = || {
        while let Some(fault) = Fault::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            match found(*fault) {
                Some((case, oracle)) => println!("| {fault} | {oracle} | {case} |"),
                None => missed.lock().unwrap().push(fault.name()),
            }
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
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "not found in {CASES} cases: {missed:?}");
}
