//! The host's own code in the emulator: it does what the host does with it, but where the emulator
//! is known to be wrong. And x86-64 in the emulator, whatever the host: it says what it cannot run.

#![cfg(feature = "emulator")]

use std::path::Path;

use parallax::campaign;
use parallax::case::Settings;
use parallax::case::features::{Aarch64Features, Feature, X86Feature, X86Features};
use parallax::case::wast::{Script, script_from_file};
use parallax::engine::{Engine, Refusal, expect, observe, registry};
use parallax::generate::Generators;
use parallax::harness::Harness;
use parallax_oracles::{Outcome, Reason, TrapKind, Value, Verdict, compare_own};

/// The engine that runs code for x86-64 in the emulator.
const X86_64: &str = if cfg!(target_arch = "x86_64") {
    registry::EMULATED
} else {
    "x86_64"
};

/// Settings with sets of extensions that both can run: on x86-64, no registers of AVX.
fn variations(settings: &Settings) -> Vec<Settings> {
    let all = [X86Feature::Bmi1, X86Feature::Bmi2, X86Feature::Lzcnt];
    let x86_64 = [
        X86Features::NONE,
        X86Features::NONE.with(X86Feature::Ssse3),
        X86Features::SSE42,
        all.into_iter().fold(X86Features::SSE42, X86Features::with),
    ];
    let aarch64 = parallax::case::features::Aarch64Feature::ALL.iter();
    let aarch64 = aarch64.map(|feature| Aarch64Features::NONE.with(*feature));
    let aarch64 = std::iter::once(Aarch64Features::NONE).chain(aarch64);
    let mut all: Vec<Settings> = Vec::new();
    if registry::DIRECT == "x86_64" {
        all.extend(x86_64.map(|x86_64| Settings {
            x86_64,
            ..settings.clone()
        }));
    } else {
        all.extend(aarch64.map(|aarch64| Settings {
            aarch64,
            ..settings.clone()
        }));
    }
    all
}

fn engine() -> Box<dyn Engine> {
    registry::make(registry::EMULATED).expect("usable in this build")
}

fn x86_64() -> Box<dyn Engine> {
    registry::make(X86_64).expect("usable in this build")
}

fn script(text: &str) -> Script {
    script_from_file(text.as_bytes(), "test.wast").expect("a script")
}

fn check(engine: &mut dyn Engine, name: &str, script: &Script) {
    let seen = observe(engine, &script.case).expect("the engine runs it");
    for (step, seen) in script.case.steps.iter().zip(&seen.steps) {
        if let Some(expectation) = &step.expect
            && let Err(why) = expect::check(expectation, &seen.outcome)
        {
            let settings = &script.case.settings;
            panic!("{name}:{}: under {settings:?}: {why}", step.line);
        }
    }
}

/// Kept cases do what they assert, and count references in the same way as on the host.
#[test]
fn kept_cases_run_as_on_the_host() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/regressions");
    let mut emulated = engine();
    let mut direct = registry::make(registry::DIRECT).expect("usable");
    for entry in std::fs::read_dir(folder).expect("the folder of kept cases") {
        let path = entry.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let name = path.display().to_string();
        let mut script = script_from_file(text.as_bytes(), &name).expect("a script");
        for settings in variations(&script.case.settings) {
            script.case.settings = settings;
            check(emulated.as_mut(), &name, &script);
            let [emulated, direct] =
                [&mut emulated, &mut direct].map(|engine| observe(engine.as_mut(), &script.case));
            match direct {
                Ok(direct) => {
                    let emulated = emulated.expect("it runs");
                    assert_eq!(compare_own(&direct, &emulated), None, "{name}");
                }
                // The emulator's processor is the more capable one.
                Err(Refusal::Unsupported(_)) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
    }
}

/// Generated cases, of which both run what the emulator can, and are held against each other.
#[test]
fn generated_cases_agree_with_the_host() {
    let mut harness = Harness::new(&[registry::DIRECT, registry::EMULATED]).expect("usable");
    let mut compared = 0;
    for number in 0..400 {
        let (_, case, _) = campaign::case(23, number, Generators::all());
        let Some(case) = case else { continue };
        let examined = harness.examine(&case);
        assert!(
            matches!(
                examined.verdict,
                // As deep as some go, no stack is.
                Verdict::Agreed | Verdict::Inconclusive(Reason::StackExhausted)
            ),
            "case {number}: {:?}",
            examined.verdict
        );
        compared += usize::from(
            examined
                .subjects
                .iter()
                .all(|subject| subject.observation.is_some()),
        );
    }
    assert!(compared > 100, "{compared}");
}

/// A processor that nobody resets would take the second fault of a division for one in handling the
/// first, and the third for the end.
#[test]
fn faults_do_not_pile_up() {
    let text = r#"
(module
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "unreachable") unreachable))
"#;
    let mut text = text.to_string();
    for _ in 0..4 {
        text.push_str(
            "(assert_trap (invoke \"div\" (i32.const 1) (i32.const 0)) \"integer divide by zero\")
             (assert_trap (invoke \"div\" (i32.const 0x80000000) (i32.const -1)) \"integer overflow\")
             (assert_trap (invoke \"unreachable\") \"unreachable\")
             (assert_return (invoke \"div\" (i32.const 7) (i32.const -2)) (i32.const -3))\n",
        );
    }
    check(x86_64().as_mut(), "faults", &script(&text));
}

#[test]
fn the_stack_ends_and_code_that_does_not_end_is_stopped() {
    let text = r#"
(module
  (func $deep (export "deep") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0))
      (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1)))))))
  (func (export "endless") (loop (br 0))))
(invoke "deep" (i32.const -1))
(invoke "deep" (i32.const 100))
(invoke "endless")
"#;
    let mut engine = engine();
    let seen = observe(engine.as_mut(), &script(text).case).expect("the engine runs it");
    let outcomes: Vec<&Outcome> = seen.steps[1..].iter().map(|step| &step.outcome).collect();
    assert_eq!(
        outcomes,
        [
            &Outcome::Trapped(TrapKind::StackExhausted),
            &Outcome::Returned(vec![Value::I32(100)]),
            &Outcome::Endless,
        ]
    );
    // A case ends there; the engine does not.
    let after = script("(module (func (export \"f\")))\n(assert_return (invoke \"f\"))");
    check(engine.as_mut(), "after", &after);
}

/// Where code may not use an instruction it calls a routine, at an address of the emulator's.
#[test]
fn routines_are_reached_from_emulated_code() {
    let text = r#"
(module
  (func (export "round") (param f32 f64) (result f32 f32 f64 f64)
    (f32.ceil (local.get 0)) (f32.nearest (local.get 0))
    (f64.floor (local.get 1)) (f64.trunc (local.get 1)))
  (func (export "swizzle") (param v128 v128) (result v128)
    (i8x16.swizzle (local.get 0) (local.get 1))))
(assert_return (invoke "round" (f32.const -2.5) (f64.const 1e300))
  (f32.const -2) (f32.const -2) (f64.const 1e300) (f64.const 1e300))
(assert_return (invoke "round" (f32.const 0.75) (f64.const -0.25))
  (f32.const 1) (f32.const 1) (f64.const -1) (f64.const -0))
(assert_return (invoke "swizzle"
    (v128.const i8x16 9 8 7 6 5 4 3 2 1 0 1 2 3 4 5 6)
    (v128.const i8x16 15 0 16 255 1 1 1 1 2 2 2 2 128 8 9 10))
  (v128.const i8x16 6 9 0 0 8 8 8 8 7 7 7 7 0 1 0 1))
"#;
    let mut script = script(text);
    script.case.settings.x86_64 = X86Features::NONE;
    check(x86_64().as_mut(), "routines", &script);
}

#[test]
fn what_it_has_no_instructions_for_is_unsupported() {
    let mut engine = x86_64();
    let mut script = script("(module (func (export \"f\")))\n(assert_return (invoke \"f\"))");
    for feature in X86Feature::ALL {
        let x86_64 = X86Features::NONE.with(*feature);
        script.case.settings.x86_64 = x86_64;
        let refused = match observe(engine.as_mut(), &script.case) {
            Ok(_) => false,
            Err(Refusal::Unsupported(why)) => {
                assert!(why.starts_with("the processor lacks avx"), "{why}");
                true
            }
            Err(refusal) => panic!("{refusal:?}"),
        };
        assert_eq!(refused, x86_64.has(X86Feature::Avx), "{}", feature.name());
    }
}
