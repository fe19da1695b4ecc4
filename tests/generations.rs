//! That both generations of code generation mean the same: whichever of them compiles a module, it
//! shows the same, in every step and to the last reference count.
//!
//! The engines are held to each other here and not to the reference, so that what the reference
//! gets wrong counts as well. A case that meets a known fault of one of them does not.

use parallax::campaign;
use parallax::generate::{Generator, Generators};
use parallax::harness::Harness;
use parallax_oracles::{Observation, Verdict, compare, compare_own};

/// Runs cases of each generator in two engines and compares what they showed.
fn check(before: &str, after: &str, cases: u64) {
    check_some(before, after, cases, &Generator::ALL, 2);
}

/// The same of some generators, of whose cases more than one in so many are to be compared.
fn check_some(before: &str, after: &str, cases: u64, among: &[Generator], one_in: u64) {
    let mut harness = Harness::new(&[before, after]).expect("usable");
    for generator in among.iter().copied() {
        let generators: Generators = [generator].into_iter().collect();
        let mut compared = 0;
        for number in 0..cases {
            let (_, case, _) = campaign::case(11, number, generators);
            let Some(case) = case else { continue };
            let examined = harness.examine(&case);
            if !examined.known.is_empty() {
                continue;
            }
            let seen: Vec<&Observation> = examined
                .subjects
                .iter()
                .filter_map(|subject| subject.observation.as_ref())
                .collect();
            let [one, other] = seen[..] else { continue };
            let name = generator.name();
            // What is held, only the reference records. Counts are compared below, with each other.
            let state_of_other = Observation {
                counts_references: false,
                ..other.clone()
            };
            let verdict = compare(one, &state_of_other).verdict;
            assert!(
                !matches!(verdict, Verdict::Diverged(_)),
                "{name} case {number}: {verdict:#?}"
            );
            assert_eq!(compare_own(one, other), None, "{name} case {number}");
            compared += 1;
        }
        assert!(
            compared * one_in > cases,
            "{}: {compared} compared",
            generator.name()
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn both_generations_show_the_same_on_x86_64() {
    check("x86_64-0.112", "x86_64", 200);
}

#[cfg(feature = "emulator")]
#[test]
fn both_generations_show_the_same_on_aarch64() {
    check("aarch64-0.112", "aarch64", 80);
}

/// Code for riscv64 is of one generation only, so it is held against that of another ISA. Cases with
/// vectors are unsupported.
#[cfg(feature = "emulator")]
#[test]
fn riscv64_shows_the_same_as_another_isa() {
    // The programs of the others all have vectors.
    let among = [
        Generator::WasmSmith,
        Generator::SingleOp,
        Generator::References,
    ];
    check_some("x86_64", "riscv64", 120, &among, 10);
}
