use parallax_oracles::{Outcome, TrapKind, Value};

use super::{Temper, temper};
use crate::case::Settings;
use crate::case::link::CaseBuilder;
use crate::case::module::Module;
use crate::engine::observe;
use crate::engine::wasmi::Wasmi;
use crate::generate::rng::Rng;

/// Nothing but fuel.
const PLAIN: Temper = Temper {
    fuel: 100,
    tame: 0,
    flow: 0,
    stores: 0,
    loads: 0,
    canonicalise: false,
    externref: true,
    table_min: 8,
};

/// Everything everywhere.
const TAME: Temper = Temper {
    tame: 100,
    flow: 100,
    ..PLAIN
};

fn tempered(text: &str, how: &Temper, seed: u64) -> Module {
    let wasm = wat::parse_str(text).expect("wat");
    let wasm = temper(&wasm, how, Rng::new(seed)).expect("tempered");
    Module::from_wasm(&wasm, None).expect("valid")
}

/// Instantiates the module and calls its first own function so many times with `args`.
fn run(module: Module, calls: usize, args: &[Value]) -> Vec<Outcome> {
    let mut builder = CaseBuilder::new(Settings {
        host_imports: true,
        ..Settings::default()
    });
    let function = module.imported_functions();
    let export = module.function_exports[function as usize].clone();
    let module = builder.module(module);
    let instance = builder.instantiate(module, None, 0);
    for _ in 0..calls {
        builder.invoke(instance, function, &export, args.to_vec(), None, 0);
    }
    let observation = observe(&mut Wasmi::new(), &builder.finish()).expect("runs");
    observation
        .steps
        .into_iter()
        .map(|step| step.outcome)
        .collect()
}

const FUEL_IS_OUT: Outcome = Outcome::Trapped(TrapKind::Unreachable);

#[test]
fn endless_loops_end_and_the_next_call_runs() {
    // Loops without end where its argument is not zero.
    let text = "(module (func (param i32) (loop (br_if 0 (local.get 0)))))";
    let module = tempered(text, &PLAIN, 1);
    assert_eq!(
        run(module.clone(), 2, &[Value::I32(1)])[1..],
        [FUEL_IS_OUT; 2]
    );
    let ends = run(module, 3, &[Value::I32(0)]);
    assert!(ends.iter().all(|end| matches!(end, Outcome::Returned(_))));
}

#[test]
fn endless_recursion_ends() {
    let text = "(module (func call 0 call 0))";
    assert_eq!(
        run(tempered(text, &PLAIN, 1), 2, &[])[1..],
        [FUEL_IS_OUT; 2]
    );
    // Tamed, it is no recursion.
    let ends = run(tempered(text, &TAME, 1), 2, &[]);
    assert!(ends.iter().all(|end| matches!(end, Outcome::Returned(_))));
}

#[test]
fn long_bulk_operations_cost_fuel() {
    let text = "(module (memory 4) (func
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 50000))
        (memory.fill (i32.const 0) (i32.const 7) (i32.const 50000))
        (loop)))";
    assert_eq!(run(tempered(text, &PLAIN, 1), 1, &[])[1], FUEL_IS_OUT);
}

#[test]
fn tame_code_mostly_returns() {
    let text = r#"(module (memory 0) (table 0 funcref) (type $t (func (result i32)))
        (func (param i32) (result i32)
            unreachable
            (i32.store (local.get 0) (local.get 0))
            (i32.div_s (local.get 0) (i32.const 0))
            (i32.load8_u (local.get 0))
            (table.set 0 (local.get 0) (ref.null func))
            (call_indirect (type $t) (local.get 0))
            (i32.trunc_f32_s (f32.const nan))
            i32.add i32.add i32.add)
        (func (type $t) (i32.const 1)))"#;
    let args = [Value::I32(0x7fff_1234)];
    let returned = (0..100)
        .map(|seed| run(tempered(text, &TAME, seed), 1, &args))
        .filter(|ends| matches!(ends[1], Outcome::Returned(_)))
        .count();
    assert!(returned > 50, "{returned} of 100 returned");
    assert!(matches!(
        run(tempered(text, &PLAIN, 1), 1, &args)[1],
        Outcome::Trapped(_)
    ));
}

#[test]
fn externref_becomes_funcref_where_it_may_not_stay() {
    let text = r#"(module
        (import "m" "t" (table 1 externref)) (import "m" "g" (global externref))
        (table 2 externref) (global (mut externref) (ref.null extern))
        (elem (table 1) (i32.const 0) externref (ref.null extern))
        (func (param externref) (result externref) (local externref)
            (block (result externref) (local.get 0))
            (select (result externref) (ref.null extern) (i32.const 1))
            (table.set 1 (i32.const 0) (ref.null extern))))"#;
    assert!(tempered(text, &PLAIN, 1).uses_externref);
    let without = Temper {
        externref: false,
        ..PLAIN
    };
    assert!(!tempered(text, &without, 1).uses_externref);
}

#[test]
fn tables_hold_functions_of_the_types_that_are_called() {
    let text = r#"(module (table 0 funcref) (type $t (func (param i64) (result i64)))
        (func (param i32) (result i64) (call_indirect (type $t) (i64.const 4) (local.get 0)))
        (func (type $t) (i64.add (local.get 0) (i64.const 1))))"#;
    let mut found = 0;
    for seed in 0..50 {
        let ends = run(tempered(text, &TAME, seed), 1, &[Value::I32(77)]);
        found += u32::from(ends[1] == Outcome::Returned(vec![Value::I64(5)]));
    }
    assert!(found > 30, "{found} of 50 found the function");
}

#[test]
fn variables_and_results_reach_memory() {
    let text = "(module (memory 1) (func (param i64) (result i64) (local i64)
        (local.set 1 (local.get 0)) (local.get 1)))";
    let storing = Temper {
        stores: 100,
        ..PLAIN
    };
    let module = tempered(text, &storing, 3);
    let text = wasmprinter::print_bytes(&module.wasm).expect("text");
    assert_eq!(text.matches("i64.store").count(), 2, "{text}");
}
