//! Code that the host or an emulator runs, and CLIF that is interpreted: it traps, stops, grows and
//! collects in the same way.

use parallax::case::Settings;
use parallax::case::settings::{Destructor, MemoryStyle};
use parallax::case::wast::{Script, script_from_file};
use parallax::engine::{Engine, expect, observe, registry};
use parallax::score::Fault;
use parallax_oracles::{Observation, Outcome, Reason, TrapKind, Verdict, compare, compare_own};

fn script(text: &str) -> Script {
    script_from_file(text.as_bytes(), "test.wast").expect("a script")
}

/// The engines whose code runs in different ways, as far as this build has them.
const NAMES: [&str; 6] = [
    "x86_64",
    "aarch64",
    "riscv64",
    "clif",
    "x86_64-0.112",
    "aarch64-0.112",
];

fn engines() -> impl Iterator<Item = Box<dyn Engine>> {
    NAMES
        .into_iter()
        .filter_map(|name| registry::make(name).ok())
}

/// Runs a script and checks what it asserts.
fn check(engine: &mut dyn Engine, script: &Script) -> Observation {
    let seen = observe(engine, &script.case).expect("the engine runs it");
    assert_eq!(seen.steps.len(), script.case.steps.len());
    for (step, seen) in script.case.steps.iter().zip(&seen.steps) {
        if let Some(expectation) = &step.expect
            && let Err(why) = expect::check(expectation, &seen.outcome)
        {
            panic!("line {}: {why}", step.line);
        }
    }
    seen
}

#[test]
fn every_kind_of_trap_is_told_by_its_instruction() {
    let text = r#"
(module
  (type $nothing (func))
  (type $number (func (result i32)))
  (memory 1)
  (table 3 funcref)
  (elem (i32.const 0) $unreachable)
  (func $unreachable (export "unreachable") unreachable)
  (func (export "load") (param i32) (result i32) (i32.load offset=4 (local.get 0)))
  (func (export "store") (param i32) (i64.store (local.get 0) (i64.const -1)))
  (func (export "get") (param i32) (result funcref) (table.get (local.get 0)))
  (func (export "fill") (memory.fill (i32.const 65535) (i32.const 1) (i32.const 2)))
  (func (export "call") (param i32) (call_indirect (type $nothing) (local.get 0)))
  (func (export "call-number") (param i32) (result i32)
    (call_indirect (type $number) (local.get 0)))
  (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "rem") (param i64 i64) (result i64) (i64.rem_s (local.get 0) (local.get 1)))
  (func (export "trunc") (param f64) (result i32) (i32.trunc_f64_s (local.get 0))))
(assert_trap (invoke "unreachable") "unreachable")
(assert_return (invoke "load" (i32.const 65528)) (i32.const 0))
(assert_trap (invoke "load" (i32.const 65529)) "out of bounds memory access")
(assert_trap (invoke "load" (i32.const 65532)) "out of bounds memory access")
(assert_trap (invoke "load" (i32.const -1)) "out of bounds memory access")
(assert_trap (invoke "store" (i32.const 65529)) "out of bounds memory access")
(assert_trap (invoke "store" (i32.const 65536)) "out of bounds memory access")
(assert_return (invoke "load" (i32.const 65528)) (i32.const 0))
(assert_trap (invoke "get" (i32.const 3)) "out of bounds table access")
(assert_trap (invoke "fill") "out of bounds memory access")
(assert_trap (invoke "call" (i32.const 0)) "unreachable")
(assert_trap (invoke "call" (i32.const 1)) "uninitialized element")
(assert_trap (invoke "call" (i32.const 3)) "undefined element")
(assert_trap (invoke "call-number" (i32.const 0)) "indirect call type mismatch")
(assert_trap (invoke "div" (i32.const 1) (i32.const 0)) "integer divide by zero")
(assert_trap (invoke "div" (i32.const 0x80000000) (i32.const -1)) "integer overflow")
(assert_return (invoke "rem" (i64.const 0x8000000000000000) (i64.const -1)) (i64.const 0))
(assert_trap (invoke "rem" (i64.const 1) (i64.const 0)) "integer divide by zero")
(assert_trap (invoke "trunc" (f64.const nan)) "invalid conversion to integer")
(assert_trap (invoke "trunc" (f64.const 1e10)) "integer overflow")
"#;
    for mut engine in engines() {
        for memory_style in [
            MemoryStyle::Static,
            MemoryStyle::StaticSmall,
            MemoryStyle::Dynamic,
        ] {
            for spectre in [false, true] {
                let mut script = script(text);
                script.case.settings = Settings {
                    memory_style,
                    spectre,
                    ..script.case.settings
                };
                check(engine.as_mut(), &script);
            }
        }
    }
}

#[test]
fn the_stack_ends_and_the_engine_goes_on() {
    let text = r#"
(module
  (func $deep (export "deep") (param i32) (result i32)
    (if (result i32) (i32.eqz (local.get 0))
      (then (i32.const 0))
      (else (i32.add (i32.const 1) (call $deep (i32.sub (local.get 0) (i32.const 1))))))))
(invoke "deep" (i32.const -1))
(invoke "deep" (i32.const 100))
"#;
    let case = script(text).case;
    for mut engine in engines() {
        let seen = observe(engine.as_mut(), &case).expect("the engine runs it");
        let outcomes: Vec<&Outcome> = seen.steps.iter().map(|step| &step.outcome).collect();
        assert_eq!(outcomes[1], &Outcome::Trapped(TrapKind::StackExhausted));
        assert_eq!(
            outcomes[2],
            &Outcome::Returned(vec![parallax_oracles::Value::I32(100)])
        );
    }
}

/// Where the reference has so much fuel that it may bring to an end what counting engines do not, they say
/// nothing of it.
#[test]
fn more_fuel_than_branches_is_no_finding() {
    let text = "
;;! fuel = 50000001
(module (func (export \"run\") (loop (br 0))))
(invoke \"run\")";
    let mut engine = registry::make("clif").expect("usable");
    let seen = observe(engine.as_mut(), &script(text).case).expect("the engine runs it");
    let timeout = Outcome::Inconclusive(Reason::Timeout);
    assert_eq!(seen.steps[1].outcome, timeout);
}

#[test]
fn code_that_does_not_end_is_stopped() {
    for endless in [
        "(func (export \"run\") (loop (br 0)))",
        // Neither has a frame or a loop header.
        "(func $f (export \"run\") (return_call $f))",
        "(type $t (func)) (table 1 funcref) (elem (i32.const 0) func $f)
           (func $f (export \"run\") (return_call_indirect (type $t) (i32.const 0)))",
        "(func $f (export \"run\") (local i32)
           (loop (call $g) (br_if 0 (i32.eqz (local.get 0))))) (func $g)",
    ] {
        // With little fuel there are few branches to wait for.
        let settings = ";;! fuel = 100000\n";
        let case = script(&format!("{settings}(module {endless})\n(invoke \"run\")")).case;
        // On the host it takes a clock, and time (`runtime::watchdog`).
        for mut engine in engines().filter(|engine| engine.ends_by_count()) {
            let seen = observe(engine.as_mut(), &case).expect("the engine runs it");
            assert_eq!(seen.steps[1].outcome, Outcome::Endless);
            let after = script("(module (func (export \"f\")))\n(assert_return (invoke \"f\"))");
            check(engine.as_mut(), &after);
        }
    }
}

#[test]
fn what_grows_is_where_code_looks_for_it() {
    let text = r#"
(module
  (memory 1 10)
  (table $t 1 20 externref)
  (func (export "memory") (param i32) (result i32)
    (i32.store (i32.const 0) (i32.const 7))
    (drop (memory.grow (local.get 0)))
    (i32.store (i32.const 65536) (i32.const 8))
    (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 65536))))
  (func (export "last") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "table") (param externref) (result i32)
    (table.set $t (i32.const 0) (local.get 0))
    (drop (table.grow $t (local.get 0) (i32.const 5)))
    (table.set $t (i32.const 1) (ref.null extern))
    (ref.is_null (table.get $t (i32.const 1))))
  (func (export "element") (param i32) (result externref) (table.get $t (local.get 0))))
(assert_trap (invoke "last" (i32.const 65536)) "out of bounds memory access")
(assert_return (invoke "memory" (i32.const 1)) (i32.const 15))
(assert_return (invoke "last" (i32.const 131068)) (i32.const 0))
(assert_trap (invoke "last" (i32.const 131072)) "out of bounds memory access")
(assert_return (invoke "memory" (i32.const 2)) (i32.const 15))
(assert_return (invoke "last" (i32.const 262140)) (i32.const 0))
(assert_return (invoke "table" (ref.extern 3)) (i32.const 1))
(assert_return (invoke "element" (i32.const 5)) (ref.extern 3))
(assert_trap (invoke "element" (i32.const 6)) "out of bounds table access")
"#;
    for mut engine in engines() {
        for memory_style in [MemoryStyle::Static, MemoryStyle::Dynamic] {
            let mut script = script(text);
            script.case.settings.memory_style = memory_style;
            // Twice, so that what is kept from one case to the next is used.
            check(engine.as_mut(), &script);
            check(engine.as_mut(), &script);
        }
    }
}

/// What the host asks for in the middle of a call stops wasm at the next loop header, or at the next
/// function entry, and not before.
#[test]
fn an_interrupt_stops_wasm_where_it_looks_for_one() {
    let text = r#"
(module
  (import "parallax" "tick" (func $tick))
  (global $g (mut i32) (i32.const 0))
  (memory 1)
  (func $leaf)
  ;; What calls nothing needs no stack, and does not look.
  (func $callee (call $leaf))
  (func (export "loop") (param i32)
    (loop $next
      (global.set $g (i32.add (global.get $g) (i32.const 1)))
      (call $tick)
      (i32.store (i32.const 8) (global.get $g))
      (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func (export "entry")
    (call $tick)
    (i32.store (i32.const 8) (i32.const 77))
    (call $callee)
    (i32.store (i32.const 8) (i32.const 78)))
  ;; A loop without a header.
  (func $tail (export "tail") (param i32)
    (global.set $g (i32.add (global.get $g) (i32.const 1)))
    (call $tick)
    (i32.store (i32.const 8) (global.get $g))
    (if (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))
      (then (return_call $tail (local.get 0)))))
  (func (export "neither") (result i32)
    (call $tick)
    (i32.const 5))
  (func (export "stored") (result i32) (i32.load (i32.const 8))))
"#;
    let interrupted = |steps: &str, at: u64| {
        let settings = format!(";;! host-imports = true\n;;! interrupt-at = {at}\n");
        script(&format!("{settings}{text}{steps}"))
    };
    for mut engine in engines() {
        for memory_style in [MemoryStyle::Static, MemoryStyle::Dynamic] {
            for (steps, at) in [
                // The third turn is finished, and the fourth not begun.
                (
                    "(assert_trap (invoke \"loop\" (i32.const 9)) \"interrupt\")
                     (assert_return (invoke \"stored\") (i32.const 3))
                     (assert_return (invoke \"loop\" (i32.const 2)))
                     (assert_return (invoke \"stored\") (i32.const 5))",
                    3,
                ),
                (
                    "(assert_trap (invoke \"entry\") \"interrupt\")
                     (assert_return (invoke \"stored\") (i32.const 77))
                     (assert_return (invoke \"entry\"))
                     (assert_return (invoke \"stored\") (i32.const 78))",
                    1,
                ),
                (
                    "(assert_trap (invoke \"tail\" (i32.const 9)) \"interrupt\")
                     (assert_return (invoke \"stored\") (i32.const 3))
                     (assert_return (invoke \"tail\" (i32.const 2)))
                     (assert_return (invoke \"stored\") (i32.const 5))",
                    3,
                ),
                (
                    "(assert_return (invoke \"neither\") (i32.const 5))
                     (assert_return (invoke \"stored\") (i32.const 0))",
                    1,
                ),
            ] {
                let mut script = interrupted(steps, at);
                script.case.settings.memory_style = memory_style;
                check(engine.as_mut(), &script);
            }
        }
    }
}

/// Frames hold references across calls that collect, some of them alone.
const REFERENCES: &str = r#"
(module
  (table $t 8 externref)
  (global $g (mut externref) (ref.null extern))
  (func $churn (param i32)
    (loop $again
      (drop (table.get $t (i32.and (local.get 0) (i32.const 3))))
      (br_if $again (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
  (func $inner (param externref i32) (result externref)
    (local externref)
    (local.set 2 (table.get $t (i32.const 0)))
    (table.fill $t (i32.const 0) (ref.null extern) (i32.const 8))
    (table.set $t (i32.const 1) (local.get 0))
    (if (local.get 1)
      (then (drop (call $inner (local.get 2) (i32.sub (local.get 1) (i32.const 1))))))
    (call $churn (i32.const 20))
    (table.set $t (i32.const 0) (local.get 2))
    (local.get 0))
  (func (export "run") (param externref externref i32) (result externref)
    (table.set $t (i32.const 0) (local.get 0))
    (global.set $g (call $inner (local.get 1) (local.get 2)))
    (global.get $g)))
(assert_return (invoke "run" (ref.extern 1) (ref.extern 2) (i32.const 0)) (ref.extern 2))
(assert_return (invoke "run" (ref.extern 3) (ref.extern 4) (i32.const 9)) (ref.extern 4))
(assert_return (invoke "run" (ref.null extern) (ref.extern 5) (i32.const 2)) (ref.extern 5))
"#;

/// Objects that only frames of other machines hold survive collections, and all counts and drops are
/// as on the host.
#[test]
fn collections_find_what_frames_hold() {
    for mut engine in engines() {
        find_what_frames_hold(engine.as_mut());
    }
}

fn find_what_frames_hold(engine: &mut dyn Engine) {
    let mut reference = registry::make(registry::REFERENCE).expect("usable");
    let mut direct = registry::make(registry::DIRECT).ok();
    for activations_capacity in [1, 2, 7, 512] {
        for destructor in [
            Destructor::None,
            Destructor::ReadSlots,
            Destructor::MoveTables,
            Destructor::Collect,
            Destructor::DropOther,
        ] {
            let mut script = script(REFERENCES);
            script.case.settings = Settings {
                activations_capacity,
                destructor,
                ..script.case.settings
            };
            let seen = check(engine, &script);
            assert!(seen.counts_references);
            let expected = observe(reference.as_mut(), &script.case).expect("it runs every case");
            assert_eq!(compare(&expected, &seen).verdict, Verdict::Agreed);
            if let Some(direct) = &mut direct {
                let own = observe(direct.as_mut(), &script.case).expect("it runs every case");
                assert_eq!(compare_own(&own, &seen), None);
            }
        }
    }
}

/// It is by the stack maps, at the right addresses, that references are found.
#[test]
fn wrong_stack_maps_are_noticed() {
    let mut reference = registry::make(registry::REFERENCE).expect("usable");
    let faults = [Fault::StackMapIgnored, Fault::StackMapOffByWord];
    let pairs = faults
        .into_iter()
        .flat_map(|fault| NAMES.map(|name| (name, fault)));
    for (name, fault) in pairs {
        let Ok(mut engine) = registry::make_with_fault(name, Some(fault)) else {
            continue;
        };
        let script = script(include_str!(
            "../corpus/regressions/object-held-by-the-stack-alone.wast"
        ));
        let expected = observe(reference.as_mut(), &script.case).expect("it runs every case");
        let seen = observe(engine.as_mut(), &script.case).expect("the engine runs it");
        let verdict = compare(&expected, &seen).verdict;
        assert!(matches!(verdict, Verdict::Diverged(_)), "{name} {fault:?}");
    }
}
