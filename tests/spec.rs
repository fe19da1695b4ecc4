//! The official test suite on every engine under test, at every optimisation level and in every
//! style of memory: what the specification says is what they do.

use parallax::case::settings::{MemoryStyle, OptLevel};
use parallax::engine::registry;
use parallax::harness::default_subjects;
use parallax::spec::{SuiteOptions, run_suite};

/// Assertions that an engine passes at least, of some 53,600 that are not about text.
const ENOUGH_ASSERTIONS: u64 = 53_500;

fn passes(memory_style: MemoryStyle) {
    let mut engines: Vec<_> = default_subjects()
        .into_iter()
        .map(|name| registry::make(name).expect("a default engine is usable"))
        .collect();
    assert!(!engines.is_empty());
    for opt_level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        let options = SuiteOptions {
            opt_level: Some(opt_level),
            memory_style: Some(memory_style),
            ..SuiteOptions::default()
        };
        let report = run_suite(&mut engines, &options, |_| {});
        assert!(report.passed(), "{opt_level:?}\n{report}");
        for (engine, tally) in &report.engines {
            assert!(tally.passed > ENOUGH_ASSERTIONS, "{engine}\n{report}");
            let skipped: Vec<_> = tally.skipped.keys().collect();
            let why = [
                "about the text format only",
                "that a module be refused which is valid by now",
            ];
            assert_eq!(skipped, why, "{engine}");
        }
    }
}

#[test]
fn in_static_memories() {
    passes(MemoryStyle::Static);
}

#[test]
fn in_small_static_memories() {
    passes(MemoryStyle::StaticSmall);
}

#[test]
fn in_dynamic_memories() {
    passes(MemoryStyle::Dynamic);
}

/// What has no vectors: all but those, and the rest is said to be unsupported.
#[test]
fn of_scalars_on_riscv64() {
    const SCALAR_ASSERTIONS: u64 = 26_900;
    let Ok(engine) = registry::make("riscv64") else {
        return;
    };
    let mut engines = vec![engine];
    for memory_style in [MemoryStyle::Static, MemoryStyle::Dynamic] {
        let options = SuiteOptions {
            memory_style: Some(memory_style),
            ..SuiteOptions::default()
        };
        let report = run_suite(&mut engines, &options, |_| {});
        assert!(report.passed(), "{report}");
        for (_, tally) in &report.engines {
            assert!(tally.passed > SCALAR_ASSERTIONS, "{report}");
            let skipped: Vec<_> = tally.skipped.keys().collect();
            assert_eq!(
                skipped,
                [
                    "about the text format only",
                    "that a module be refused which is valid by now",
                    "unsupported: v128 without vectors"
                ]
            );
        }
    }
}
