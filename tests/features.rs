//! Extensions of instruction sets, one by one: code that uses them computes what code that does not
//! computes, return addresses that are signed do not keep a collection from reading frames, and what
//! a processor lacks makes a case unsupported.

use parallax::case::Settings;
use parallax::case::features::{Aarch64Feature, Aarch64Features, Feature, X86Feature, X86Features};
use parallax::case::settings::OptLevel;
use parallax::case::wast::{Script, script_from_file};
use parallax::engine::{Engine, Refusal, expect, observe, registry};

fn script(text: &str) -> Script {
    script_from_file(text.as_bytes(), "test.wast").expect("a script")
}

/// Runs a script and checks what it asserts; false if the engine does not support it.
fn check(engine: &mut dyn Engine, script: &Script) -> bool {
    let seen = match observe(engine, &script.case) {
        Ok(seen) => seen,
        Err(Refusal::Unsupported(_)) => return false,
        Err(refusal) => panic!("{refusal:?}"),
    };
    let settings = &script.case.settings;
    for (step, seen) in script.case.steps.iter().zip(&seen.steps) {
        if let Some(expectation) = &step.expect
            && let Err(why) = expect::check(expectation, &seen.outcome)
        {
            panic!("line {} under {settings:?}: {why}", step.line);
        }
    }
    true
}

/// Instructions of wasm for which Cranelift has rules that look at an extension.
const INSTRUCTIONS: &str = include_str!("features.wast");

/// Every extension with what it needs and nothing else, all but it, and the levels.
fn sets<F: Feature>() -> Vec<parallax::case::features::FeatureSet<F>> {
    use parallax::case::features::FeatureSet;
    let all = F::ALL.iter();
    let all = all.fold(FeatureSet::NONE, |set, feature| set.with(*feature));
    let mut sets = vec![FeatureSet::NONE, all];
    for feature in F::ALL {
        sets.push(FeatureSet::NONE.with(*feature));
        sets.push(all.without(*feature));
    }
    sets.extend(F::LEVELS.iter().map(|(_, set)| *set));
    sets
}

fn run_under(engine: &str, settings: impl Iterator<Item = Settings>) -> usize {
    let Ok(mut engine) = registry::make(engine) else {
        return 0;
    };
    let mut script = script(INSTRUCTIONS);
    let mut ran = 0;
    for settings in settings {
        script.case.settings = settings;
        ran += usize::from(check(engine.as_mut(), &script));
    }
    ran
}

const LEVELS: [OptLevel; 2] = [OptLevel::None, OptLevel::Speed];

#[test]
fn every_extension_of_x86_64_computes_the_same() {
    let settings = sets().into_iter().flat_map(|x86_64: X86Features| {
        LEVELS.map(|opt_level| Settings {
            x86_64,
            opt_level,
            ..Settings::default()
        })
    });
    let ran = run_under("x86_64", settings);
    let usable = registry::find("x86_64").is_ok();
    // The baseline runs everywhere.
    assert!(ran >= 2 || !usable, "{ran}");
}

#[test]
fn every_extension_of_aarch64_computes_the_same() {
    let sets: Vec<Aarch64Features> = sets();
    let wanted = sets.len() * LEVELS.len();
    let settings = sets.into_iter().flat_map(|aarch64| {
        LEVELS.map(|opt_level| Settings {
            aarch64,
            opt_level,
            ..Settings::default()
        })
    });
    let ran = run_under("aarch64", settings);
    let emulated = cfg!(feature = "emulator") && !cfg!(target_arch = "aarch64");
    assert!(ran == wanted || !emulated, "{ran} of {wanted}");
}

/// Objects that only frames hold survive collections though return addresses in frames are signed,
/// by which a walk looks up what a frame holds.
#[test]
fn collections_read_frames_with_signed_return_addresses() {
    use Aarch64Feature::{
        Pauth, SignReturnAddress, SignReturnAddressAll, SignReturnAddressWithBkey,
    };
    let text = include_str!("../corpus/regressions/object-held-by-the-stack-alone.wast");
    let Ok(mut engine) = registry::make("aarch64") else {
        return;
    };
    let signed = Aarch64Features::NONE.with(SignReturnAddress);
    for aarch64 in [
        signed,
        signed.with(SignReturnAddressAll),
        signed.with(SignReturnAddressWithBkey),
        signed.with(Pauth),
        signed.with(Pauth).with(SignReturnAddressWithBkey),
    ] {
        for activations_capacity in [1, 2, 512] {
            let mut script = script(text);
            script.case.settings = Settings {
                aarch64,
                activations_capacity,
                ..script.case.settings
            };
            // A host may lack the instruction that authenticates and returns.
            let ran = check(engine.as_mut(), &script);
            let lacking = registry::DIRECT == "aarch64" && aarch64.has(Pauth);
            assert!(ran || lacking, "{aarch64}");
        }
    }
}

/// Frames that are larger than the steps of probes, on a stack that ends.
#[test]
fn frames_are_probed_and_the_stack_still_ends() {
    let text = INSTRUCTIONS;
    for engine in ["x86_64", "aarch64"] {
        let Ok(mut engine) = registry::make(engine) else {
            continue;
        };
        for log in 6..=16 {
            let mut script = script(text);
            script.case.settings.probestack_bytes = 1 << log;
            assert!(check(engine.as_mut(), &script));
        }
    }
}

/// What the processor lacks is told, and depends on nothing but the processor.
#[test]
fn a_level_that_the_host_lacks_is_unsupported() {
    let Ok(mut engine) = registry::make("x86_64") else {
        return;
    };
    let mut script = script("(module (func (export \"f\")))\n(assert_return (invoke \"f\"))");
    for feature in X86Feature::ALL {
        script.case.settings.x86_64 = X86Features::NONE.with(*feature);
        match observe(engine.as_mut(), &script.case) {
            Ok(_) => {}
            Err(Refusal::Unsupported(why)) => {
                assert!(why.starts_with("the processor lacks "), "{why}");
            }
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
}
