//! What the host makes, answers and limits.

use super::*;

#[test]
fn what_the_host_makes_is_shown_under_its_name() {
    let mut script = Script::new();
    let instance = script.module(
        "m",
        r#"(module
            (import "env" "memory" (memory 1))
            (import "env" "table" (table 4 funcref))
            (import "env" "global" (global (mut i32)))
            (func (export "f")
                (i32.store8 (i32.const 64) (i32.const 0xfe))
                (table.set (i32.const 0) (table.get (i32.const 3)))
                (global.set 0 (i32.const 77))))"#,
    );
    script.call(instance, "f", &[]);
    let case = script.0.finish();
    let position = |name: &str| {
        let mut items = case.host_items.iter();
        items.position(|item| item.name == name).unwrap() as u32
    };
    let observation = run(&case);
    let changes = &observation.steps[0].changes;
    assert_eq!(changes.memories[0].memory, of_host(position("memory")));
    assert_eq!(changes.memories[0].bytes[1], 1);
    let table = &changes.tables[0];
    assert_eq!(table.table, of_host(position("table")));
    let (index, element) = table.elements[1];
    assert_eq!(index, 3);
    assert!(matches!(element, Value::Func(Some(FuncIdentity::Host(_)))));
    assert_eq!(changes.globals[0].global, of_host(position("global")));

    assert_eq!(observation.steps[1].outcome, returned(&[]));
    let changes = &observation.steps[1].changes;
    assert_eq!(changes.memories[0].chunks, [1]);
    assert_eq!(changes.tables[0].elements, [(0, element)]);
    assert_eq!(changes.globals[0].value, Value::I32(77));
}

#[test]
fn host_calls_are_recorded_with_arguments() {
    let mut script = Script::new();
    let instance = script.module(
        "m",
        r#"(module
            (import "env" "f" (func $f (param i32 funcref) (result i64)))
            (elem declare func $g)
            (func $g (export "g") (result i64) (call $f (i32.const 1) (ref.func $g)))
            (func (export "other") (result i64) (call $f (i32.const 1) (ref.func $g)))
            (func (export "f") (result funcref) (ref.func $f))
            (elem declare func $f))"#,
    );
    script.call(instance, "g", &[]);
    script.call(instance, "other", &[]);
    script.call(instance, "f", &[]);
    let observation = script.run();
    let call = Event::HostCall {
        function: 0,
        args: vec![Value::I32(1), defined(0, 1)],
        counts: vec![],
        // Nothing has changed since the step before.
        state: Some(Box::default()),
    };
    assert_eq!(observation.steps[1].events, std::slice::from_ref(&call));
    assert_eq!(observation.steps[2].events, [call]);
    // The host answers by the number of the call.
    assert_ne!(observation.steps[1].outcome, observation.steps[2].outcome);
    let host = Value::Func(Some(FuncIdentity::Host(0)));
    assert_eq!(observation.steps[3].outcome, returned(&[host]));
}

#[test]
fn growing_stops_at_the_limits_of_the_case() {
    let mut script = Script::with(|settings| {
        settings.memory_limit = 3;
        settings.table_limit = 5;
    });
    let instance = script.module(
        "m",
        r#"(module (memory 1) (table 1 funcref)
            (func (export "memory") (param i32) (result i32) (memory.grow (local.get 0)))
            (func (export "table") (param i32) (result i32)
                (table.grow (ref.null func) (local.get 0))))"#,
    );
    for (export, delta) in [
        ("memory", 3),
        ("memory", 2),
        ("memory", 1),
        ("memory", 0),
        ("table", 5),
        ("table", 4),
        ("table", -1),
    ] {
        script.call(instance, export, &[Value::I32(delta)]);
    }
    script.module("large", "(module (memory 4))");
    let observation = script.run();
    let results = [-1, 1, -1, 3, -1, 1, -1].map(|result| returned(&[Value::I32(result)]));
    let refused = Outcome::Inconclusive(Reason::AllocationRefused);
    let expected: Vec<&Outcome> = results.iter().chain([&refused]).collect();
    assert_eq!(outcomes(&observation)[1..], expected);
}

#[test]
fn endless_loops_run_out_of_fuel() {
    let mut script = Script::with(|settings| settings.fuel = 100_000);
    let instance = script.module(
        "m",
        r#"(module
            (func (export "long") (local i32)
                (loop (br_if 0 (i32.lt_u
                    (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 5000)))))
            (func (export "endless") (loop (br 0))))"#,
    );
    // Fuel is for each step.
    for _ in 0..10 {
        script.call(instance, "long", &[]);
    }
    script.call(instance, "endless", &[]);
    script.call(instance, "long", &[]);
    let observation = script.run();
    let outcomes = outcomes(&observation);
    assert_eq!(outcomes.len(), 12);
    assert!(
        outcomes[..11]
            .iter()
            .all(|outcome| **outcome == returned(&[]))
    );
    assert_eq!(*outcomes[11], Outcome::Inconclusive(Reason::OutOfFuel));
}

#[test]
fn a_tick_interrupts_at_once() {
    let mut script = Script::with(|settings| settings.interrupt_at = 3);
    let instance = script.module(
        "m",
        r#"(module (import "parallax" "tick" (func $tick)) (global $n (mut i32) (i32.const 0))
            (func (export "f")
                (loop (global.set $n (i32.add (global.get $n) (i32.const 1)))
                    (call $tick) (br 0))))"#,
    );
    script.call(instance, "f", &[]);
    let observation = script.run();
    let step = &observation.steps[1];
    assert_eq!(step.outcome, Outcome::Trapped(TrapKind::Interrupted));
    assert_eq!(step.events.len(), 3);
    assert_eq!(step.changes.globals[0].value, Value::I32(3));
}

#[test]
fn objects_keep_their_number_and_handles_are_counted() {
    let mut script = Script::new();
    let instance = script.module(
        "m",
        r#"(module
            (import "parallax" "make" (func $make (result externref)))
            (import "parallax" "take" (func $take (param externref)))
            (import "parallax" "gc" (func $gc))
            (table $t 3 externref) (global $g (mut externref) (ref.null extern))
            (func (export "f") (result externref)
                (table.set $t (i32.const 2) (call $make))
                (global.set $g (table.get $t (i32.const 2)))
                (call $take (global.get $g))
                (call $take (global.get $g))
                (call $take (call $make))
                (call $gc)
                (table.get $t (i32.const 2)))
            (func (export "clear")
                (table.set $t (i32.const 2) (ref.null extern))
                (call $gc)))"#,
    );
    script.call(instance, "f", &[]);
    script.call(instance, "clear", &[]);
    let mut case = script.0.finish();
    case.steps.push(Step {
        action: Action::Collect,
        expect: None,
        line: 0,
    });
    let observation = run(&case);
    let step = &observation.steps[1];
    let Outcome::Returned(values) = &step.outcome else {
        panic!("{}", step.outcome);
    };
    let [object @ Value::Extern(Some(id))] = values[..] else {
        panic!("{values:?}");
    };
    let other = ObjectId(id.0 + 1);
    assert_eq!(step.changes.globals[0].value, object);
    assert_eq!(step.changes.tables[0].elements, [(2, object)]);
    assert_eq!(step.changes.handles, [(id, 2), (other, 1)]);
    let held: Vec<_> = step
        .events
        .iter()
        .map(|event| match event {
            Event::HostCall { counts, .. } => counts.as_slice(),
            Event::Dropped(_) => panic!("wasmi drops nothing"),
        })
        .collect();
    let expected: [&[(ObjectId, u64)]; 6] = [
        &[],
        &[(id, 2)],
        &[(id, 3)],
        &[(id, 4)],
        &[(id, 4)],
        &[(id, 4), (other, 1)],
    ];
    assert_eq!(held, expected);
    let cleared = &observation.steps[2];
    assert!(cleared.changes.handles.is_empty());
    assert_eq!(
        cleared.changes.tables[0].elements,
        [(2, Value::Extern(None))]
    );
    assert_eq!(observation.steps[3].outcome, returned(&[]));
    assert!(observation.teardown.is_empty());
}
