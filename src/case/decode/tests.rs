//! What decoding notes of a module, what it refuses, and that nothing makes it panic.

use proptest::prelude::*;

use super::*;
use crate::case::testing::{binaries, module};

#[test]
fn what_a_module_holds_is_noted() {
    let module = module(
        r#"(module
            (type (func (param i32 v128) (result f32 funcref)))
            (import "m" "f" (func (type 0)))
            (import "m" "t" (table 1 2 funcref))
            (import "m" "g" (global i32))
            (memory 1 3)
            (table 5 funcref)
            (global (mut v128) (v128.const i32x4 1 2 3 4))
            (global i32 (global.get 0))
            (global funcref (ref.func 0))
            (global f64 (f64.const nan:0x4000000000001))
            (func $named (type 0) unreachable)
            (func $start)
            (start $start)
            (elem (i32.const 2) 0 1)
            (elem (table 1) (global.get 0) funcref (ref.null func) (ref.func 1))
            (elem declare func 2)
            (elem funcref)
            (data (i32.const 9) "abc")
            (data "de"))"#,
    );
    use SegmentMode::{Active, Declared, Passive};
    use ValType::{F32, FuncRef, I32, V128};
    let value = |value| ConstExpr(vec![ConstOp::Value(value)]);
    let function = |index| ConstExpr(vec![ConstOp::RefFunc(index)]);
    let global = |index| ConstExpr(vec![ConstOp::GlobalGet(index)]);
    assert_eq!(
        module.types[0],
        FuncType {
            params: vec![I32, V128],
            results: vec![F32, FuncRef]
        }
    );
    assert_eq!(module.functions, [0, 0, 1]);
    assert_eq!(module.imports.len(), 3);
    assert_eq!(module.imported_functions(), 1);
    assert_eq!(module.tables.len(), 2);
    assert_eq!((module.tables[0].min, module.tables[0].max), (1, Some(2)));
    assert_eq!((module.tables[1].min, module.tables[1].max), (5, None));
    assert_eq!(module.table_inits, [None]);
    assert_eq!(
        module.memories,
        [MemoryType {
            min: 1,
            max: Some(3),
            memory64: false,
        }]
    );
    assert_eq!(module.globals.len(), 5);
    assert!(module.globals[1].mutable && !module.globals[2].mutable);
    assert_eq!(
        module.global_inits,
        [
            value(Value::V128(4 << 96 | 3 << 64 | 2 << 32 | 1)),
            global(0),
            function(0),
            value(Value::F64(0x7ff4_0000_0000_0001)),
        ]
    );
    assert_eq!(module.start, Some(2));
    assert_eq!(module.function_names[&1], "named");
    let active = |target, offset| Active { target, offset };
    let elements: Vec<_> = module
        .elements
        .iter()
        .map(|segment| &segment.mode)
        .collect();
    assert_eq!(
        elements,
        [
            &active(0, value(Value::I32(2))),
            &active(1, global(0)),
            &Declared,
            &Passive
        ]
    );
    assert_eq!(module.elements[0].items, [function(0), function(1)]);
    assert_eq!(
        module.elements[1].items,
        [value(Value::Func(None)), function(1)]
    );
    assert_eq!(module.data[0].mode, active(0, value(Value::I32(9))));
    assert_eq!(module.data[1].mode, Passive);
    assert_eq!(
        module.opcodes.names().collect::<Vec<_>>(),
        ["unreachable", "end"]
    );
    assert!(!module.uses_externref);
}

#[test]
fn externref_is_seen_wherever_it_stands() {
    for field in [
        "(type (func (param externref)))",
        "(import \"m\" \"t\" (table 0 externref))",
        "(import \"m\" \"g\" (global externref))",
        "(table 0 externref)",
        "(global externref (ref.null extern))",
        "(elem externref)",
        "(func (local externref))",
        "(func (drop (ref.null extern)))",
        "(func (drop (block (result externref) unreachable)))",
        "(func (drop (select (result externref) unreachable)))",
    ] {
        assert!(
            module(&format!("(module {field})")).uses_externref,
            "{field}"
        );
    }
    for field in [
        "(func (drop (i32.const -17)))", // whose immediate is the byte 0x6f
        "(func (drop (ref.null func)))",
        "(table 0 funcref)",
    ] {
        assert!(
            !module(&format!("(module {field})")).uses_externref,
            "{field}"
        );
    }
}

#[test]
fn what_lies_beyond_is_refused() {
    for text in [
        "(module (table i64 1 funcref))",
        "(module (memory 1 1 shared))",
        "(module (tag))",
        "(module (func (param (ref extern))))",
        "(module (type (struct)))",
        "(component)",
    ] {
        let wasm = wat::parse_str(text).unwrap();
        assert!(Module::from_wasm(&wasm, None).is_err(), "{text}");
    }
}

#[test]
fn errors_say_where() {
    let error = Module::from_wasm(b"\0asm\x01\0\0\0\x01\x7f", None).unwrap_err();
    assert_eq!(error.offset, 10);
    assert!(error.to_string().ends_with("(at offset 0xa)"), "{error}");
    assert!(Module::from_wasm(b"", None).is_err());
    assert!(Module::from_wasm(b"\0as", None).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut wasm in binaries(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8u32), 0..8),
        end in any::<prop::sample::Index>(),
        truncate in any::<bool>(),
    ) {
        for (byte, bit) in flips {
            let byte = byte.index(wasm.len());
            wasm[byte] ^= 1 << bit;
        }
        if truncate {
            wasm.truncate(end.index(wasm.len()));
        }
        if let Ok(module) = Module::from_wasm(&wasm, None) {
            prop_assert!(Module::from_wasm(&module.wasm, None).is_ok());
            for segment in 0..module.data.len() {
                module.data_bytes(segment);
            }
        }
    }
}

/// More than the validators of translation and of the reference let in is no divergence.
#[test]
fn what_some_validators_let_in_and_others_do_not_is_refused() {
    let refusal = |fields: &str| {
        let binary = wat::parse_str(format!("(module {fields})")).expect("valid text");
        Module::from_wasm(&binary, None)
            .err()
            .map(|error| error.message)
    };
    let tables = |count: usize| "(table 1 funcref)".repeat(count);
    assert_eq!(refusal(&tables(MOST_TABLES)), None);
    let refused = refusal(&tables(MOST_TABLES + 1)).expect("it is one too many");
    assert!(
        refused.contains(&format!("more than {MOST_TABLES}")),
        "{refused}"
    );
    let branches = |count: u32| {
        let targets = "0 ".repeat(count as usize);
        format!("(func (br_table {targets} 0 (i32.const 0)))")
    };
    assert_eq!(refusal(&branches(MOST_BRANCH_TARGETS)), None);
    let refused = refusal(&branches(MOST_BRANCH_TARGETS + 1)).expect("it is one too many");
    assert!(refused.contains("unsupported br_table"), "{refused}");
}
