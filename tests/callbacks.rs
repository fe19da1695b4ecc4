//! Functions that the host calls back, for host functions that wasm has called: in every engine, with what they take
//! and give.

use parallax::case::Case;
use parallax::case::wast::Script;
use parallax::engine::{observe, registry};
use parallax::harness::{Harness, default_subjects};
use parallax::score::Fault;
use parallax_oracles::{FuncIdentity, ObjectId, OracleName, Outcome, TrapKind, Value, Verdict};

/// Functions that the host calls back: one that makes and collects while its caller holds an object on the
/// stack alone, one that calls the host to call itself, one that traps, and what is not called.
const CALLING_BACK: &str = r#"(module
    (import "parallax" "call" (func $call (param funcref))) (import "parallax" "gc" (func $gc))
    (import "parallax" "make" (func $make (result externref)))
    (import "parallax" "take" (func $take (param externref)))
    (table $t (export "t") 2 externref) (global $n (export "n") (mut i32) (i32.const 0))
    (func $one (result i32) (global.set $n (i32.const 1000)) (i32.const 1))
    (func $inner (export "inner") (local $r externref)
      (local.set $r (call $make))
      (call $gc)
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (table.set $t (i32.const 0) (local.get $r)))
    (func $again (export "again") (local $r externref)
      (local.set $r (call $make))
      (global.set $n (i32.add (global.get $n) (i32.const 16)))
      (call $call (ref.func $again))
      (call $gc)
      (call $take (local.get $r)))
    (func $trap (export "trap") (table.set $t (i32.const 9) (ref.null extern)))
    (func (export "outer") (result externref) (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $inner))
      (call $gc)
      (local.get $r))
    (func (export "nothing") (call $call (ref.null func)) (call $call (ref.func $one)))
    (func (export "trapping") (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $inner))
      (call $call (ref.func $trap))
      (call $take (local.get $r)))
    (elem declare func $inner $again $trap $one))
    (assert_return (invoke "outer") (ref.extern 1000000))
    (invoke "again") (invoke "nothing") (assert_trap (invoke "trapping") "out of bounds table access")
    (invoke "outer") (invoke "again")"#;

#[test]
fn the_host_calls_back_in_every_engine() {
    let subjects: Vec<&str> = registry::all().iter().map(|known| known.name).collect();
    let subjects: Vec<&str> = subjects
        .into_iter()
        .filter(|name| *name != registry::REFERENCE)
        .collect();
    for capacity in [1, 2, 512] {
        let script = format!(
            ";;! host-imports = true\n;;! activations-capacity = {capacity}\n{CALLING_BACK}"
        );
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut harness = Harness::new(&subjects).expect("engines");
        let examined = harness.examine(&case);
        assert_eq!(examined.verdict, Verdict::Agreed);
        let reference = examined.reference.expect("it ran");
        let last = reference.steps.last().expect("a step");
        // Four calls from within each other, besides the one that is no callback.
        let changes = &last.changes.globals;
        assert_eq!(changes[0].value, Value::I32(2 * 5 * 16 + 3), "{capacity}");
        let Outcome::Trapped(kind) = reference.steps[4].outcome else {
            panic!("{:?}", reference.steps[4]);
        };
        assert_eq!(kind, TrapKind::TableOutOfBounds);
        if capacity == 1 {
            let fault = Some(Fault::OuterFramesForgotten);
            for engine in default_subjects() {
                let mut harness = Harness::with_fault(&[engine], fault).expect("engines");
                let Verdict::Diverged(findings) = harness.examine(&case).verdict else {
                    panic!("{engine} does not show the fault");
                };
                assert_eq!(findings[0].oracle, OracleName::Refcounts);
            }
        }
    }
}

/// Where there is hardly any stack left the host does not call back, so that what it calls needs not look
/// whether there is any: a function without a frame does not.
#[test]
fn no_callback_is_beyond_the_end_of_the_stack() {
    let results = "i64 ".repeat(20);
    let module = format!(
        r#"(module (import "parallax" "call" (func $call (param funcref)))
             (func $bare (export "bare") unreachable)
             (func $deep (export "deep") (param i32) (result {results})
               (if (i32.eqz (local.get 0)) (then (call $call (ref.func $bare)) unreachable))
               (call $deep (i32.sub (local.get 0) (i32.const 1)))))"#
    );
    let outcomes = |engine: &str, depths: std::ops::Range<u32>| -> Vec<Outcome> {
        let calls = depths.map(|depth| format!("(invoke \"deep\" (i32.const {depth}))"));
        let calls: String = calls.collect();
        let script = format!(";;! host-imports = true\n;;! looks = 0\n{module}{calls}");
        let case = Script::parse(&script, "a test").expect("a script").case;
        let mut engine = registry::make(engine).expect("an engine");
        let observation = observe(engine.as_mut(), &case).expect("it runs");
        let steps = observation.steps.into_iter().skip(1);
        steps.map(|step| step.outcome).collect()
    };
    let unreachable = Outcome::Trapped(TrapKind::Unreachable);
    let exhausted = Outcome::Trapped(TrapKind::StackExhausted);
    for engine in default_subjects() {
        let too_deep = |depth: &u32| outcomes(engine, *depth..*depth + 1) == [exhausted.clone()];
        let near = (0..).step_by(64).find(too_deep).expect("it has an end");
        let outcomes = outcomes(engine, near - 64..near + 8);
        let called = outcomes.iter().filter(|it| **it == unreachable).count();
        assert!((1..72).contains(&called), "{engine}: {called}");
        let expected = |at| {
            if at < called {
                &unreachable
            } else {
                &exhausted
            }
        };
        for (at, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome, expected(at), "{engine}: {at}");
        }
    }
}

/// A loop of nine iterations that ticks in a function which the host calls, for one that it has called, in two
/// instances. The interrupt comes at the twelfth tick.
const TICKING: &str = r#";;! host-imports = true
    ;;! interrupt-at = 12
    (module definition $m
      (import "parallax" "call" (func $call (param funcref))) (import "parallax" "tick" (func $tick))
      (global $n (export "n") (mut i32) (i32.const 0))
      (func $ticks (call $tick))
      (func $within (call $call (ref.func $ticks)))
      (func (export "spin") (local i32)
        (local.set 0 (i32.const 9))
        (loop $next
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (call $call (ref.func $within))
          (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
      (elem declare func $ticks $within))
    (module instance $a $m) (module instance $b $m)
    (assert_return (invoke $a "spin")) (assert_trap (invoke $b "spin") "interrupt")
    (assert_return (get $b "n") (i32.const 3))
    (assert_return (invoke $a "spin")) (assert_return (invoke $b "spin"))"#;

#[test]
fn an_interrupt_that_is_asked_for_in_a_callback_ends_the_loop_around_it() {
    let case = Script::parse(TICKING, "a test").expect("a script").case;
    agreed(&case);
    for fault in [
        Fault::InterruptLostAtCallback,
        Fault::InterruptsOfFirstInstance,
    ] {
        for engine in default_subjects() {
            let mut harness = Harness::with_fault(&[engine], Some(fault)).expect("engines");
            let Verdict::Diverged(findings) = harness.examine(&case).verdict else {
                panic!("{engine} does not show {fault}");
            };
            assert_eq!(findings[0].oracle, OracleName::Traps);
        }
    }
}

/// A script for the module with these functions, whose host provides all that is asked for.
fn with_parallax(settings: &str, module: &str, calls: &str) -> Case {
    let header = ";;! host-imports = true\n";
    let module = format!(
        r#"(module
        (import "parallax" "make" (func $make (result externref)))
        (import "parallax" "take" (func $take (param externref)))
        (import "parallax" "gc" (func $gc))
        {module})"#
    );
    let script = format!("{header}{settings}{module}\n{calls}");
    Script::parse(&script, "a test").expect("a script").case
}

/// Every engine, with what came of the steps of a case behind the first in it. Engines that do not have it all, `without`,
/// are left out.
fn outcomes_everywhere(case: &Case, without: &[&str]) -> Vec<(&'static str, Vec<Outcome>)> {
    let mut all = Vec::new();
    for known in registry::all() {
        if without.contains(&known.name) {
            continue;
        }
        let mut engine = registry::make(known.name).expect("an engine");
        let observation = match observe(engine.as_mut(), case) {
            Ok(observation) => observation,
            Err(refusal) => panic!("{}: {refusal:?}", known.name),
        };
        let steps = observation.steps.into_iter().skip(1);
        all.push((known.name, steps.map(|step| step.outcome).collect()));
    }
    all
}

/// Has all engines examine a case, which they must agree about.
fn agreed(case: &Case) {
    let subjects: Vec<&str> = registry::all().iter().map(|known| known.name).collect();
    let subjects: Vec<&str> = subjects
        .into_iter()
        .filter(|name| *name != registry::REFERENCE)
        .collect();
    let mut harness = Harness::new(&subjects).expect("engines");
    assert_eq!(harness.examine(case).verdict, Verdict::Agreed);
}

fn object(number: u32) -> Value {
    Value::Extern(Some(ObjectId(number)))
}

/// Objects that nothing but the call holds go from wasm to the host, from there to wasm, back to the host and back to
/// wasm, several at a time: one function gives them in another order, one gives more than registers hold, one traps, one
/// has the host call it again, and one is of another type than the host calls.
const PASSING_ON: &str = r#"
    (type $pair (func (param externref externref) (result externref externref)))
    (import "parallax" "call" (func $call (param funcref externref externref) (result externref externref)))
    (import "parallax" "call" (func $count (param funcref externref i64 externref f64 i32)
      (result externref i64 externref f64 i32 externref i64 i64 externref)))
    (table $t (export "t") 6 externref) (table $f 3 funcref) (elem (table $f) (i32.const 0) func $swap $one)
    (func $swap (type $pair) (call $gc) (local.get 1) (local.get 0))
    (func $one (param externref) (result externref) (unreachable))
    (func $trap (type $pair)
      (table.set $t (i32.const 0) (local.get 1))
      (call $gc)
      (table.set $t (i32.const 9) (local.get 0))
      unreachable)
    (func $again (type $pair) (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $again) (local.get 1) (call $make))
      (call $gc)
      (table.set $t (i32.const 1) (local.get $r)))
    (func $many (param externref i64 externref f64 i32)
      (result externref i64 externref f64 i32 externref i64 i64 externref)
      (call $gc)
      (local.get 2) (i64.add (local.get 1) (i64.const 1)) (local.get 0) (local.get 3) (local.get 4) (call $make)
      (i64.const -1) (local.get 1) (local.get 0))
    (func (export "swap") (result externref externref)
      (call $call (ref.func $swap) (call $make) (call $make))
      (call $gc))
    (func (export "from-table") (param $at i32) (result externref externref)
      (call $call (table.get $f (local.get $at)) (call $make) (call $make)))
    (func (export "same") (result externref externref) (local $r externref)
      (local.set $r (call $make))
      (call $call (ref.func $swap) (local.get $r) (local.get $r))
      (call $gc)
      (call $take (local.get $r)))
    (func (export "null") (result externref externref)
      (call $call (ref.func $swap) (ref.null extern) (call $make)))
    (func (export "trap") (result externref externref)
      (call $call (ref.func $trap) (call $make) (call $make)))
    (func (export "again") (result externref externref)
      (call $call (ref.func $again) (call $make) (call $make)))
    (func (export "many") (result externref i64 externref f64 i32 externref i64 i64 externref)
      (call $count (ref.func $many) (call $make) (i64.const 7) (call $make) (f64.const 2.5) (i32.const -3))
      (call $gc))
    (elem declare func $swap $trap $again $many)"#;

const PASSING_ON_CALLS: &str = r#"(invoke "swap") (invoke "from-table" (i32.const 0)) (invoke "same")
    (invoke "null") (invoke "trap") (invoke "many") (invoke "again")
    (invoke "from-table" (i32.const 1)) (invoke "from-table" (i32.const 2)) (invoke "swap")"#;

#[test]
fn objects_go_through_the_host_and_back_in_every_engine() {
    for capacity in [1, 2, 3, 4, 512] {
        for destructor in [
            "none",
            "collect",
            "write_slots",
            "move_tables",
            "drop_other",
        ] {
            let settings = format!(
                ";;! activations-capacity = {capacity}\n;;! destructor = \"{destructor}\"\n"
            );
            let case = with_parallax(&settings, PASSING_ON, PASSING_ON_CALLS);
            agreed(&case);
            let lacking: &[&str] = match destructor {
                "move_tables" => &["winch", "wasmtime", "pulley"],
                _ => &["winch"],
            };
            for (engine, outcomes) in outcomes_everywhere(&case, lacking) {
                let new = |number: u32| object(1_000_000 + number);
                let returned = |step: usize| match &outcomes[step] {
                    Outcome::Returned(values) => values.clone(),
                    other => panic!("{engine}: {step}: {other}"),
                };
                assert_eq!(returned(0), [new(1), new(0)], "{engine}");
                assert_eq!(returned(1), [new(3), new(2)], "{engine}");
                assert_eq!(returned(2), [new(4), new(4)], "{engine}");
                assert_eq!(returned(3), [new(5), Value::Extern(None)], "{engine}");
                let trap = Outcome::Trapped(TrapKind::TableOutOfBounds);
                assert_eq!(outcomes[4], trap, "{engine}");
                let many = [
                    new(9),
                    Value::I64(8),
                    new(8),
                    Value::F64(2.5f64.to_bits()),
                    Value::I32(-3),
                    new(10),
                    Value::I64(-1),
                    Value::I64(7),
                    new(8),
                ];
                assert_eq!(returned(5), many, "{engine}");
                // What is not called is answered for, as by any host function.
                for step in 6..9 {
                    assert_eq!(returned(step).len(), 2, "{engine}");
                }
            }
        }
    }
}

#[test]
fn vectors_and_functions_go_through_the_host_and_back() {
    let module = r#"
        (import "parallax" "call" (func $call (param funcref v128 externref funcref f32 v128)
          (result v128 funcref v128 externref f32 v128 i32)))
        (func $turn (param v128 externref funcref f32 v128) (result v128 funcref v128 externref f32 v128 i32)
          (call $gc)
          (local.get 4) (local.get 2) (local.get 0) (local.get 1) (local.get 3)
          (i64x2.add (local.get 0) (local.get 4)) (i32.const 5))
        (func $f (export "f") (result v128 funcref v128 externref f32 v128 i32)
          (call $call (ref.func $turn) (v128.const i64x2 1 2) (call $make) (ref.func $f)
            (f32.const -0.0) (v128.const i64x2 3 -1)))
        (elem declare func $f $turn)"#;
    for capacity in [1, 2] {
        let settings = format!(";;! activations-capacity = {capacity}\n");
        let case = with_parallax(&settings, module, r#"(invoke "f") (invoke "f")"#);
        agreed(&case);
        for (engine, outcomes) in outcomes_everywhere(&case, &["winch", "riscv64"]) {
            for (number, outcome) in outcomes.iter().enumerate() {
                let vector =
                    |low: u64, high: u64| Value::V128(u128::from(low) | u128::from(high) << 64);
                let index = 5;
                let expected = vec![
                    vector(3, u64::MAX),
                    Value::Func(Some(FuncIdentity::Defined { instance: 0, index })),
                    vector(1, 2),
                    object(1_000_000 + number as u32),
                    Value::F32(1 << 31),
                    vector(4, 1),
                    Value::I32(5),
                ];
                assert_eq!(*outcome, Outcome::Returned(expected), "{engine}");
            }
        }
    }
}

/// Without references, which Winch lacks, and in more results than any engine has registers for.
#[test]
fn numbers_go_through_the_host_and_back_in_every_engine() {
    let module = r#"(module
        (import "parallax" "call" (func $call (param funcref i32 i64 f64)
          (result i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64 i32 i32 i32 i64)))
        (func $spread (param i32 i64 f64)
          (result i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64 i32 i32 i32 i64)
          (local.get 1) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5)
          (local.get 2) (f64.const 1) (f64.const 2) (f64.const 3) (f64.const 4) (f64.const 5) (f64.const 6)
          (f64.const 7) (f64.const 8)
          (local.get 0) (i32.const 1) (i32.const 2) (i64.sub (local.get 1) (i64.const 1)))
        (func (export "f") (result i64 i64 i64 i64 i64 i64 f64 f64 f64 f64 f64 f64 f64 f64 f64 i32 i32 i32 i64)
          (call $call (ref.func $spread) (i32.const -2) (i64.const 0x8000000000000000) (f64.const 0.5)))
        (elem declare func $spread)) (invoke "f")"#;
    let script = format!(";;! host-imports = true\n{module}");
    let case = Script::parse(&script, "a test").expect("a script").case;
    agreed(&case);
    let integer = |number: i64| Value::I64(number);
    let float = |number: f64| Value::F64(number.to_bits());
    let mut expected = vec![integer(i64::MIN)];
    expected.extend((1..6).map(integer));
    expected.push(float(0.5));
    expected.extend((1..9).map(|number| float(f64::from(number))));
    expected.extend([Value::I32(-2), Value::I32(1), Value::I32(2)]);
    expected.push(integer(i64::MAX));
    for (engine, outcomes) in outcomes_everywhere(&case, &[]) {
        assert_eq!(outcomes, [Outcome::Returned(expected.clone())], "{engine}");
    }
}

/// CVE-2021-39216 and its like: only the table holds what is handed over first, when a collection makes room for the
/// rest.
#[test]
fn a_collection_between_two_objects_that_are_handed_over_is_found() {
    for fault in [Fault::HandedOverOneByOne, Fault::CallbackResultNotCounted] {
        for engine in default_subjects() {
            let settings = ";;! activations-capacity = 1\n";
            let case = with_parallax(settings, PASSING_ON, r#"(invoke "swap")"#);
            let mut harness = Harness::with_fault(&[engine], Some(fault)).expect("engines");
            let Verdict::Diverged(findings) = harness.examine(&case).verdict else {
                panic!("{engine} does not show {fault}");
            };
            assert_eq!(
                findings[0].oracle,
                OracleName::Refcounts,
                "{engine}: {fault}"
            );
        }
    }
}

/// A function that the host calls sees at once that an interrupt was asked for, and so does its caller when it has
/// returned.
#[test]
fn a_callback_is_interrupted_in_every_engine() {
    let functions = [
        // It goes on in a loop, or calls a function that does. One without a frame would not look.
        "(call $tick) (loop $l (global.set $n (i32.const 9)) (br_if $l (i32.const 0)))",
        "(call $tick) (call $other)",
        // One that the host calls for it does.
        "(drop (call $call (ref.func $deeper) (i32.const 1)))
         (loop $l (global.set $n (i32.const 9)) (br_if $l (i32.const 0)))",
        // It returns, and its caller goes on.
        "(call $tick)",
    ];
    for function in functions {
        let script = format!(
            r#";;! host-imports = true
            ;;! interrupt-at = 2
            (module
              (import "parallax" "call" (func $call (param funcref i32) (result i32)))
              (import "parallax" "tick" (func $tick))
              (global $n (export "n") (mut i32) (i32.const 0))
              (func $other (loop $l (global.set $n (i32.const 9)) (br_if $l (i32.const 0))))
              (func $deeper (param i32) (result i32) (call $tick) (local.get 0))
              (func $ticks (param i32) (result i32)
                (global.set $n (i32.add (global.get $n) (local.get 0)))
                {function}
                (local.get 0))
              (func (export "f") (local $left i32)
                (local.set $left (i32.const 5))
                (loop $l
                  (drop (call $call (ref.func $ticks) (i32.const 2)))
                  (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                  (br_if $l (local.get $left))))
              (elem declare func $ticks $deeper))
            (invoke "f")"#
        );
        let case = Script::parse(&script, "a test").expect("a script").case;
        agreed(&case);
        let interrupted = Outcome::Trapped(TrapKind::Interrupted);
        for (engine, outcomes) in outcomes_everywhere(&case, &[]) {
            assert_eq!(
                outcomes,
                std::slice::from_ref(&interrupted),
                "{engine}: {function}"
            );
        }
    }
}

/// The host function that calls back may be called in tail position, and so may what it calls do: then no frame of wasm
/// is left between two of the host.
#[test]
fn the_host_calls_back_in_tail_position() {
    let module = r#"
        (import "parallax" "call" (func $call (param funcref externref externref) (result externref externref)))
        (table $t 2 externref)
        (func $swap (param externref externref) (result externref externref)
          (call $gc) (drop (call $make)) (local.get 1) (local.get 0))
        (elem declare func $swap $tail)
        (func $tail (param externref externref) (result externref externref)
          (return_call $call (ref.func $swap) (local.get 0) (local.get 1)))
        (func (export "f") (result externref externref)
          (return_call $call (ref.func $tail) (call $make) (call $make)))
        (func (export "g") (local externref)
          (call $call (ref.func $tail) (call $make) (call $make))
          (drop) (local.set 0) (call $gc)
          (table.set $t (i32.const 1) (local.get 0)))"#;
    for capacity in [1, 512] {
        let settings = format!(";;! activations-capacity = {capacity}\n");
        let case = with_parallax(&settings, module, r#"(invoke "f") (invoke "g")"#);
        agreed(&case);
        for (engine, outcomes) in outcomes_everywhere(&case, &["winch"]) {
            let swapped = Outcome::Returned(vec![object(1_000_001), object(1_000_000)]);
            let expected = [swapped, Outcome::Returned(Vec::new())];
            assert_eq!(outcomes, expected, "{engine}");
        }
    }
}
