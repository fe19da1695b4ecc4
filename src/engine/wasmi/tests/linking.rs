//! Instances that share, and instantiations that fail.

use super::*;

#[test]
fn instances_share_what_they_import() {
    let mut script = Script::new();
    script.module(
        "a",
        r#"(module
            (memory (export "m") 1) (table (export "t") 2 funcref)
            (global (export "g") (mut i32) (i32.const 1))
            (func (export "f") (result i32) (i32.load (i32.const 0))))"#,
    );
    let b = script.module(
        "b",
        r#"(module
            (import "a" "m" (memory 1)) (import "a" "t" (table 2 funcref))
            (import "a" "g" (global (mut i32))) (import "a" "f" (func $f (result i32)))
            (elem (i32.const 0) $f $own)
            (func $own)
            (func (export "f") (result i32)
                (i32.store (i32.const 0) (i32.const 42))
                (global.set 0 (i32.const 2))
                (call $f)))"#,
    );
    script.call(b, "f", &[]);
    let observation = script.run();
    assert_eq!(observation.steps[1].outcome, returned(&[]));
    let linked = &observation.steps[1].changes;
    assert_eq!(linked.tables[0].table, of_instance(0, 0));
    assert_eq!(
        linked.tables[0].elements,
        [(0, defined(0, 0)), (1, defined(1, 1))]
    );
    assert!(linked.memories.is_empty() && linked.globals.is_empty());
    let called = &observation.steps[2];
    assert_eq!(called.outcome, returned(&[Value::I32(42)]));
    assert_eq!(called.changes.memories[0].memory, of_instance(0, 0));
    assert_eq!(called.changes.globals[0].global, of_instance(0, 0));
}

#[test]
fn imports_that_do_not_match_are_refused() {
    let mut script = Script::with(|settings| settings.host_imports = false);
    script.module(
        "a",
        r#"(module (table (export "t") 2 funcref) (memory (export "m") 1 2)
            (global (export "g") i32 (i32.const 0)) (func (export "f")))"#,
    );
    for import in [
        r#"(import "a" "missing" (func))"#,
        r#"(import "a" "t" (func))"#,
        r#"(import "a" "t" (table 3 funcref))"#,
        r#"(import "a" "t" (table 2 externref))"#,
        r#"(import "a" "m" (memory 1 1))"#,
        r#"(import "a" "g" (global (mut i32)))"#,
        r#"(import "a" "g" (global i64))"#,
        r#"(import "a" "f" (func (param i32)))"#,
    ] {
        let wat = format!(r#"(module {import} (func (export "run")))"#);
        let instance = script.module("b", &wat);
        script.call(instance, "run", &[]);
    }
    let fine = script.module("c", r#"(module (import "a" "t" (table 1 funcref)))"#);
    script.module("d", r#"(module (import "b" "run" (func)))"#);
    let observation = script.run();
    let outcomes = outcomes(&observation);
    for pair in outcomes[1..17].chunks(2) {
        assert_eq!(pair, [&Outcome::Unlinkable, &Outcome::Skipped]);
    }
    assert_eq!(fine, 9);
    // What was never made provides nothing.
    assert_eq!(outcomes[17..], [&returned(&[]), &Outcome::Skipped]);
}

const SHARED: &str = r#"(module
    (table (export "t") 4 funcref) (memory (export "m") 1)
    (func (export "call") (param i32) (result i32)
        (call_indirect (result i32) (local.get 0))))"#;

#[test]
fn functions_after_a_failed_instance_keep_their_identity() {
    let mut script = Script::new();
    script.module("a", r#"(module (func) (func (export "f")))"#);
    // Fails where wasmi is left to it, with functions made and without.
    script.module(
        "b",
        r#"(module (func) (func) (table 1 funcref) (elem (i32.const 1) 0))"#,
    );
    script.module(
        "c",
        r#"(module (import "a" "f" (func (param i32))) (func))"#,
    );
    let d = script.module(
        "d",
        r#"(module (import "a" "f" (func $a)) (func) (func $f) (elem declare func $a $f)
            (func (export "f") (result funcref funcref) (ref.func $a) (ref.func $f)))"#,
    );
    script.call(d, "f", &[]);
    let observation = script.run();
    assert_eq!(
        outcomes(&observation)[1..],
        [
            &Outcome::Trapped(TrapKind::TableOutOfBounds),
            &Outcome::Unlinkable,
            &returned(&[]),
            &returned(&[defined(0, 1), defined(3, 2)]),
        ]
    );
}

#[test]
fn start_functions_run_with_their_host_calls() {
    let mut script = Script::new();
    script.module(
        "a",
        r#"(module (import "env" "f" (func $f)) (start $f) (func (export "g")))"#,
    );
    script.module(
        "b",
        r#"(module (import "a" "g" (func $g)) (import "env" "f" (func $f))
            (global $x (mut i32) (i32.const 0))
            (func $run (call $g) (call $f) (call $f) (global.set $x (i32.const 3)))
            (start $run))"#,
    );
    let observation = script.run();
    assert_eq!(outcomes(&observation), [&returned(&[]), &returned(&[])]);
    assert_eq!(observation.steps[0].events.len(), 1);
    assert_eq!(observation.steps[1].events.len(), 2);
    let value = observation.steps[1].changes.globals[0].value;
    assert_eq!(value, Value::I32(3));
}

#[test]
fn functions_outlive_a_failed_instantiation() {
    for (failing, trap) in [
        ("(elem (i32.const 3) $f $f)", TrapKind::TableOutOfBounds),
        (
            r#"(data (i32.const 65535) "xy")"#,
            TrapKind::MemoryOutOfBounds,
        ),
        ("(start $trap)", TrapKind::Unreachable),
    ] {
        let mut script = Script::new();
        let shared = script.module("shared", SHARED);
        let failed = script.module(
            "failed",
            &format!(
                r#"(module
                    (import "shared" "t" (table 4 funcref))
                    (import "shared" "m" (memory 1))
                    (table $own 5 funcref)
                    (global $count (mut i32) (i32.const 10))
                    (elem (i32.const 1) $f $g)
                    (elem (table $own) (i32.const 2) func $f)
                    (data (i32.const 8) "\2a")
                    {failing}
                    (func $trap unreachable)
                    (func $f (export "f") (result i32)
                        (global.set $count (i32.add (global.get $count) (i32.const 1)))
                        (i32.add (global.get $count) (i32.load8_u (i32.const 8))))
                    (func $g (result i32)
                        (table.size $own)))"#
            ),
        );
        script.call(failed, "f", &[]);
        for element in [1, 1, 2, 3] {
            script.call(shared, "call", &[Value::I32(element)]);
        }
        let observation = script.run();
        let data = if trap == TrapKind::TableOutOfBounds {
            0
        } else {
            42
        };
        assert_eq!(
            outcomes(&observation)[1..],
            [
                &Outcome::Trapped(trap),
                &Outcome::Skipped,
                &returned(&[Value::I32(11 + data)]),
                &returned(&[Value::I32(12 + data)]),
                &returned(&[Value::I32(5)]),
                &Outcome::Trapped(TrapKind::IndirectCallToNull),
            ],
            "{failing}"
        );
        let changes = &observation.steps[1].changes;
        // What it made for itself is shown too, since that is what its functions work on.
        assert!(
            changes
                .tables
                .iter()
                .any(|table| table.table == of_instance(1, 1))
        );
        assert!(!changes.globals.is_empty());
        assert_eq!(changes.tables[0].table, of_instance(0, 0));
        assert_eq!(
            changes.tables[0].elements,
            [(1, defined(1, 1)), (2, defined(1, 2))]
        );
    }
}

#[test]
fn segments_that_were_not_reached_stay() {
    let mut script = Script::new();
    let shared = script.module("shared", SHARED);
    script.module(
        "failed",
        r#"(module
            (import "shared" "t" (table 4 funcref))
            (import "shared" "m" (memory 1))
            (elem (i32.const 1) $f)
            (elem $fails (i32.const 4) func $g)
            (data $late (i32.const 0) "\07")
            (func $f (result i32)
                (table.init $fails (i32.const 3) (i32.const 0) (i32.const 1))
                (memory.init $late (i32.const 16) (i32.const 0) (i32.const 1))
                (i32.load (i32.const 16)))
            (func $g (result i32) (i32.load (i32.const 0))))"#,
    );
    script.call(shared, "call", &[Value::I32(1)]);
    script.call(shared, "call", &[Value::I32(3)]);
    let observation = script.run();
    let outcomes = outcomes(&observation);
    assert_eq!(*outcomes[2], returned(&[Value::I32(7)]));
    assert_eq!(*outcomes[3], returned(&[Value::I32(0)]));
}
