//! The kept cases: each must agree on all engines, and do what its assertions say on each of them,
//! whatever the settings that should make no difference.

use std::path::{Path, PathBuf};

use parallax::case::settings::{Destructor, MemoryStyle, OptLevel};
use parallax::case::wast::Script;
use parallax::case::{Case, Settings};
use parallax::engine::expect;
use parallax::harness::{Harness, default_subjects};
use parallax_oracles::{Observation, Verdict};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/regressions");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of kept cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wast")
        })
        .collect();
    files.sort();
    files
}

/// The settings of a case, and others under which it must do the same.
fn variations(own: &Settings) -> Vec<Settings> {
    let mut all = vec![own.clone()];
    for opt_level in [OptLevel::None, OptLevel::Speed] {
        for memory_style in [MemoryStyle::Static, MemoryStyle::Dynamic] {
            for activations_capacity in [1, 512] {
                all.push(Settings {
                    opt_level,
                    memory_style,
                    activations_capacity,
                    spectre: opt_level == OptLevel::None,
                    ..own.clone()
                });
            }
        }
    }
    for destructor in [
        Destructor::None,
        Destructor::ReadSlots,
        Destructor::WriteSlots,
        Destructor::MoveTables,
        Destructor::Collect,
        Destructor::DropOther,
    ] {
        all.push(Settings {
            destructor,
            activations_capacity: 2,
            ..own.clone()
        });
    }
    all
}

/// Checks what a script asserts against what one engine showed.
fn check_assertions(name: &str, case: &Case, engine: &str, observation: &Observation) {
    assert_eq!(
        observation.steps.len(),
        case.steps.len(),
        "{name}: {engine} did not run every step"
    );
    for (step, seen) in case.steps.iter().zip(&observation.steps) {
        let Some(expectation) = &step.expect else {
            continue;
        };
        if let Err(why) = expect::check(expectation, &seen.outcome) {
            panic!("{name}:{}: {engine}: {why}", step.line);
        }
    }
}

#[test]
fn kept_cases_agree_under_all_settings() {
    let subjects = default_subjects();
    let mut harness = Harness::new(&subjects).expect("engines");
    for path in cases() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a readable case");
        assert!(
            text.starts_with(";; "),
            "{name} must say on top what it guards"
        );
        let script = Script::parse(&text, &name).unwrap_or_else(|error| panic!("{error}"));
        let asserted = script.case.steps.iter().any(|step| step.expect.is_some());
        assert!(asserted, "{name} asserts nothing");
        for settings in variations(&script.case.settings) {
            let mut case = script.case.clone();
            case.settings = settings;
            let examined = harness.examine(&case);
            assert_eq!(
                examined.verdict,
                Verdict::Agreed,
                "{name}: {:?}",
                case.settings
            );
            let reference = examined.reference.expect("the reference runs every case");
            check_assertions(&name, &case, "the reference", &reference);
            for subject in &examined.subjects {
                let observation = subject.observation.as_ref().expect("it runs every case");
                check_assertions(&name, &case, subject.engine, observation);
            }
        }
    }
}
