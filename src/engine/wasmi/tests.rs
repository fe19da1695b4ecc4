//! Small modules through the reference, as [`observe`] shows them.

mod host;
mod linking;

use parallax_oracles::{
    Changes, Entity, Event, FuncIdentity, GlobalChange, MemoryChange, ObjectId, Observation,
    Outcome, Owner, Reason, TableChange, TrapKind, Value,
};

use super::Wasmi;
use crate::case::{Action, Case, CaseBuilder, Module, Settings, Step};
use crate::engine::{Engine, Refusal, observe};

/// A case under construction, with modules as text.
struct Script(CaseBuilder);

impl Script {
    fn new() -> Script {
        Script::with(|_| {})
    }

    fn with(set: impl FnOnce(&mut Settings)) -> Script {
        let mut settings = Settings {
            host_imports: true,
            ..Settings::default()
        };
        set(&mut settings);
        Script(CaseBuilder::new(settings))
    }

    /// Instantiates a module and registers it under a name.
    fn module(&mut self, name: &str, wat: &str) -> u32 {
        let wasm = wat::parse_str(wat).unwrap();
        let module = self.0.module(Module::from_wasm(&wasm, None).unwrap());
        let instance = self.0.instantiate(module, None, 0);
        self.0.register(instance, name);
        instance
    }

    fn call(&mut self, instance: u32, export: &str, args: &[Value]) {
        let module = self.0.module_of(instance);
        let Some(crate::case::module::Extern::Func(function)) = module.export(export) else {
            panic!("no function {export}");
        };
        self.0
            .invoke(instance, function, export, args.to_vec(), None, 0);
    }

    fn run(self) -> Observation {
        run(&self.0.finish())
    }
}

/// Observes a case twice with one engine: what the first run left behind must not show.
fn run(case: &Case) -> Observation {
    let mut wasmi = Wasmi::new();
    let observation = observe(&mut wasmi, case).unwrap();
    assert_eq!(observe(&mut wasmi, case).unwrap(), observation);
    observation
}

fn outcomes(observation: &Observation) -> Vec<&Outcome> {
    let steps = observation.steps.iter();
    steps.map(|step| &step.outcome).collect()
}

fn returned(values: &[Value]) -> Outcome {
    Outcome::Returned(values.to_vec())
}

const fn of_instance(instance: u32, index: u32) -> Entity {
    Entity {
        owner: Owner::Instance(instance),
        index,
    }
}

const fn of_host(index: u32) -> Entity {
    Entity {
        owner: Owner::Host,
        index,
    }
}

const fn defined(instance: u32, index: u32) -> Value {
    Value::Func(Some(FuncIdentity::Defined { instance, index }))
}

#[test]
fn values_of_every_type_pass_through() {
    let mut script = Script::new();
    let types = "i32 i64 f32 f64 v128 funcref externref";
    let gets: String = (0..7).map(|index| format!("(local.get {index})")).collect();
    let module = format!(r#"(module (func (export "f") (param {types}) (result {types}) {gets}))"#);
    let instance = script.module("m", &module);
    let args = [
        Value::I32(-1),
        Value::I64(i64::MIN),
        Value::F32(0x7fa0_0001),
        Value::F64(0xfff0_0000_0000_0001),
        Value::V128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        defined(0, 0),
        Value::Extern(Some(ObjectId(u32::MAX))),
    ];
    script.call(instance, "f", &args);
    let nulls = [Value::Func(None), Value::Extern(None)];
    script.call(instance, "f", &[&args[..5], &nulls].concat());
    let observation = script.run();
    assert_eq!(observation.steps[1].outcome, returned(&args));
    let expected = returned(&[&args[..5], &nulls].concat());
    assert_eq!(observation.steps[2].outcome, expected);
}

#[test]
fn traps_are_told_by_kind() {
    let bodies = [
        ("unreachable", TrapKind::Unreachable),
        (
            "(drop (i32.load (i32.const 65533)))",
            TrapKind::MemoryOutOfBounds,
        ),
        (
            "(memory.fill (i32.const 65536) (i32.const 0) (i32.const 1))",
            TrapKind::MemoryOutOfBounds,
        ),
        (
            "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 2))",
            TrapKind::MemoryOutOfBounds,
        ),
        (
            "(drop (table.get $t (i32.const 3)))",
            TrapKind::TableOutOfBounds,
        ),
        (
            "(table.copy (i32.const 2) (i32.const 0) (i32.const 2))",
            TrapKind::TableOutOfBounds,
        ),
        (
            "(call_indirect (type $v) (i32.const 3))",
            TrapKind::TableOutOfBounds,
        ),
        (
            "(call_indirect (type $v) (i32.const 0))",
            TrapKind::IndirectCallToNull,
        ),
        (
            "(call_indirect (type $v) (i32.const 1))",
            TrapKind::BadSignature,
        ),
        (
            "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
            TrapKind::IntegerOverflow,
        ),
        (
            "(drop (i64.rem_u (i64.const 1) (i64.const 0)))",
            TrapKind::IntegerDivisionByZero,
        ),
        (
            "(drop (i32.trunc_f32_s (f32.const nan)))",
            TrapKind::BadConversionToInteger,
        ),
        (
            "(drop (i32.trunc_f32_s (f32.const 1e10)))",
            TrapKind::IntegerOverflow,
        ),
        ("(call $again)", TrapKind::StackExhausted),
    ];
    let mut script = Script::new();
    let functions: String = bodies
        .iter()
        .enumerate()
        .map(|(index, (body, _))| format!(r#"(func (export "{index}") {body})"#))
        .collect();
    let instance = script.module(
        "m",
        &format!(
            r#"(module
                (type $v (func))
                (memory 1)
                (table $t 3 funcref)
                (elem (i32.const 1) $other)
                (data $d "x")
                (func $other (param i32))
                (func $again (call $again))
                {functions}
                (func (export "alive") (result i32) (i32.const 5)))"#
        ),
    );
    for index in 0..bodies.len() {
        script.call(instance, &index.to_string(), &[]);
        script.call(instance, "alive", &[]);
    }
    let observation = script.run();
    for (index, (body, kind)) in bodies.iter().enumerate() {
        let step = 1 + 2 * index;
        assert_eq!(
            observation.steps[step].outcome,
            Outcome::Trapped(*kind),
            "{body}"
        );
        // The instance can be used afterwards.
        let alive = &observation.steps[step + 1];
        assert_eq!(alive.outcome, returned(&[Value::I32(5)]));
        assert_eq!(alive.changes, Changes::default());
    }
}

#[test]
fn snapshots_list_what_changed() {
    let mut script = Script::new();
    let instance = script.module(
        "m",
        r#"(module
            (memory 1 3) (table $t 2 10 funcref) (table $e 1 externref)
            (global $g (mut i64) (i64.const 7)) (global f32 (f32.const 1))
            (data (i32.const 130) "ab")
            (elem (i32.const 1) $f)
            (func $f (export "f") (param externref)
                (i32.store8 (i32.const 65535) (i32.const 1))
                (drop (memory.grow (i32.const 1)))
                (drop (table.grow $t (ref.func $f) (i32.const 1)))
                (table.set $t (i32.const 1) (ref.null func))
                (table.set $e (i32.const 0) (local.get 0))
                (global.set $g (i64.const 8)))
            (func (export "nothing")))"#,
    );
    script.call(instance, "f", &[Value::Extern(Some(ObjectId(3)))]);
    script.call(instance, "nothing", &[]);
    let observation = script.run();

    let mut chunk = vec![0; 64];
    chunk[2..4].copy_from_slice(b"ab");
    let first = Changes {
        memories: vec![MemoryChange {
            memory: of_instance(0, 0),
            pages: 1,
            chunks: vec![2],
            bytes: chunk,
        }],
        tables: vec![
            TableChange {
                table: of_instance(0, 0),
                size: 2,
                elements: vec![(1, defined(0, 0))],
            },
            TableChange {
                table: of_instance(0, 1),
                size: 1,
                elements: vec![],
            },
        ],
        globals: vec![
            GlobalChange {
                global: of_instance(0, 0),
                value: Value::I64(7),
            },
            GlobalChange {
                global: of_instance(0, 1),
                value: Value::F32(1f32.to_bits()),
            },
        ],
        ..Changes::default()
    };
    assert_eq!(observation.steps[0].changes, first);

    let mut chunk = vec![0; 64];
    chunk[63] = 1;
    let second = Changes {
        memories: vec![MemoryChange {
            memory: of_instance(0, 0),
            pages: 2,
            chunks: vec![1023],
            bytes: chunk,
        }],
        tables: vec![
            TableChange {
                table: of_instance(0, 0),
                size: 3,
                elements: vec![(1, Value::Func(None)), (2, defined(0, 0))],
            },
            TableChange {
                table: of_instance(0, 1),
                size: 1,
                elements: vec![(0, Value::Extern(Some(ObjectId(3))))],
            },
        ],
        globals: vec![GlobalChange {
            global: of_instance(0, 0),
            value: Value::I64(8),
        }],
        // The host keeps a handle to what it has passed in.
        handles: vec![(ObjectId(3), 1)],
        ..Changes::default()
    };
    assert_eq!(observation.steps[1].changes, second);
    assert_eq!(observation.steps[2].changes, Changes::default());
}

/// A module that is shared with, and a function that calls into its table.
#[test]
fn exported_globals_can_be_read() {
    let mut script = Script::new();
    let instance = script.module(
        "m",
        r#"(module (import "spectest" "global_i32" (global i32))
            (global (export "g") i64 (i64.const -4)) (export "h" (global 0)))"#,
    );
    for (global, export) in [(1, "g"), (0, "h")] {
        script.0.step(Step {
            action: Action::Get {
                instance,
                global,
                export: export.to_string(),
            },
            expect: None,
            line: 0,
        });
    }
    let observation = script.run();
    assert_eq!(observation.steps[1].outcome, returned(&[Value::I64(-4)]));
    assert_eq!(observation.steps[2].outcome, returned(&[Value::I32(666)]));
}

#[test]
fn an_invalid_module_is_refused() {
    let mut builder = CaseBuilder::new(Settings::default());
    builder.module(Module {
        wasm: b"\0asm\x01\0\0\0\x99".to_vec(),
        ..Module::default()
    });
    let case = builder.finish();
    let refusal = observe(&mut Wasmi::new(), &case).unwrap_err();
    assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
}

#[test]
fn only_what_modules_may_use_is_accepted() {
    let mut wasmi = Wasmi::new();
    let mut accepts = |wat: &str| wasmi.accepts(&wat::parse_str(wat).unwrap());
    assert!(accepts(
        r#"(module (memory 1) (table 1 externref) (table 1 funcref)
            (func (param v128 externref) (result v128 i32)
                (i32x4.add (local.get 0) (local.get 0)) (i32.extend8_s (i32.const 1)))
            (func (result i64) (i64.trunc_sat_f32_u (f32.const 0))))"#
    ));
    for beyond in [
        "(module (memory 1 1 shared))",
        "(module (type (struct)))",
        "(module (tag))",
        "(module (func (param i64 i64 i64 i64) (result i64 i64)
            (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))",
    ] {
        assert!(!accepts(beyond), "{beyond}");
    }
    assert!(!wasmi.accepts(b"\0asm"));
    assert!(wasmi.version().starts_with("2."));
}

#[test]
fn every_instruction_that_writes_to_tables_shows() {
    for (write, size, elements) in [
        ("(table.set (i32.const 1) (ref.func $f))", 3, vec![1]),
        (
            "(table.init $e (i32.const 2) (i32.const 0) (i32.const 1))",
            3,
            vec![2],
        ),
        (
            "(table.copy (i32.const 1) (i32.const 0) (i32.const 1))",
            3,
            vec![1],
        ),
        (
            "(drop (table.grow (ref.null func) (i32.const 1)))",
            4,
            vec![],
        ),
        (
            "(table.fill (i32.const 1) (ref.func $f) (i32.const 2))",
            3,
            vec![1, 2],
        ),
    ] {
        let mut script = Script::new();
        let wat = format!(
            r#"(module (table 3 funcref) (elem (i32.const 0) $f) (elem $e func $f)
                (func $f (export "f") {write}))"#
        );
        let instance = script.module("m", &wat);
        script.call(instance, "f", &[]);
        let observation = script.run();
        let expected = TableChange {
            table: of_instance(0, 0),
            size,
            elements: elements
                .into_iter()
                .map(|index| (index, defined(0, 0)))
                .collect(),
        };
        assert_eq!(observation.steps[1].changes.tables, [expected], "{write}");
    }
}

/// What is too much for wasmi says nothing about anybody.
#[test]
fn a_limit_of_the_reference_is_no_failure() {
    let mut script = Script::new();
    let locals = "i32 ".repeat(40_000);
    let text = format!("(module (func (export \"f\") (local {locals})))");
    let instance = script.module("m", &text);
    // The second time, it only says that the first has failed.
    for _ in 0..2 {
        script.call(instance, "f", &[]);
    }
    let observation = script.run();
    let limit = Outcome::Inconclusive(Reason::Unsupported);
    assert_eq!(observation.steps[1].outcome, limit);
}
