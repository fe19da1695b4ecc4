//! The calls a case makes, and their arguments.

use super::rng::Rng;
use super::values::{Functions, Palette};
use crate::case::link::CaseBuilder;
use crate::case::module::{Extern, Module};
use crate::case::{Action, Step};

/// What functions are exported as, with anything behind it, that do not end but where the stack does.
pub const ENDLESS: &str = "endless";

/// How a generator wants its module's functions called.
#[derive(Clone, Copy, Debug)]
pub struct CallPlan {
    /// The most calls to make.
    pub budget: usize,
    /// How often each function is called, as far as the budget goes.
    pub rounds: usize,
    /// Before how many calls in a hundred the host collects.
    pub collects: u32,
}

impl CallPlan {
    /// The same with about half as many calls.
    pub fn half(self) -> CallPlan {
        CallPlan {
            budget: self.budget.div_ceil(2),
            rounds: self.rounds.div_ceil(2),
            collects: self.collects,
        }
    }
}

/// Adds calls of every function that `instance`'s module defines: those it exports first, in the
/// order of its exports, then the others, and all over again in each round.
pub fn add_calls(builder: &mut CaseBuilder, instance: u32, plan: CallPlan, rng: &mut Rng) {
    let order = call_order(builder.module_of(instance));
    let calls = order
        .iter()
        .copied()
        .cycle()
        .take(plan.budget.min(order.len() * plan.rounds));
    for function in calls {
        if plan.collects > 0 && rng.percent(plan.collects) {
            builder.step(Step {
                action: Action::Collect,
                expect: None,
                line: 0,
            });
        }
        add_call(builder, instance, function, rng);
    }
}

fn add_call(builder: &mut CaseBuilder, instance: u32, function: u32, rng: &mut Rng) {
    // Where engines leave NaNs as they come, the module canonicalises what it shows of scalars, but
    // not the vectors that it is given.
    let any_nan = builder.case().settings.canonicalise_nans;
    let module = builder.module_of(instance);
    let palette = Palette {
        any_nan,
        functions: Some(Functions {
            instance,
            first: module.imported_functions(),
            count: module.functions.len() as u32 - module.imported_functions(),
        }),
    };
    let args = module
        .function_type(function)
        .params
        .iter()
        .map(|ty| palette.value(*ty, rng))
        .collect();
    let export = module.function_exports[function as usize].clone();
    builder.invoke(instance, function, &export, args, None, 0);
}

/// Adds a call of a function that does not end, of the first of these instances whose module has any. Nothing
/// that comes behind it is compared, so there is one at most.
pub fn add_endless_call(builder: &mut CaseBuilder, instances: &[u32], rng: &mut Rng) {
    for &instance in instances {
        let module = builder.module_of(instance);
        let functions: Vec<u32> = (0..module.functions.len() as u32)
            .filter(|function| is_endless(module, *function))
            .collect();
        if let [_, ..] = &functions[..] {
            let function = *rng.pick(&functions);
            return add_call(builder, instance, function, rng);
        }
    }
}

fn is_endless(module: &Module, function: u32) -> bool {
    module.function_exports[function as usize].starts_with(ENDLESS)
}

/// The functions a module defines, exported ones first, without those that do not end.
fn call_order(module: &Module) -> Vec<u32> {
    let imported = module.imported_functions();
    let mut waiting: Vec<bool> = module
        .function_exports
        .iter()
        .enumerate()
        .map(|(function, export)| {
            let function = function as u32;
            function >= imported && !export.is_empty() && !is_endless(module, function)
        })
        .collect();
    let mut order = Vec::with_capacity(waiting.len());
    let exported = module.exports.iter().filter_map(|(_, item)| match item {
        Extern::Func(function) => Some(*function),
        _ => None,
    });
    for function in exported.chain(0..module.functions.len() as u32) {
        if let Some(waiting) = waiting.get_mut(function as usize)
            && std::mem::take(waiting)
        {
            order.push(function);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Settings;
    use crate::case::module::{Import, ImportKind};

    #[test]
    fn exported_functions_come_first_and_imports_never() {
        let module = Module {
            imports: vec![Import {
                module: "m".into(),
                name: "n".into(),
                kind: ImportKind::Func(0),
            }],
            functions: vec![0; 4],
            function_exports: ["", "a", "b", "c"].map(String::from).to_vec(),
            exports: vec![("c".into(), Extern::Func(3)), ("d".into(), Extern::Func(3))],
            ..Module::default()
        };
        assert_eq!(call_order(&module), [3, 1, 2]);
    }

    #[test]
    fn what_does_not_end_is_called_once_and_last() {
        let text = r#"(module
            (func (export "endless0") (result i32) (i32.const 0))
            (func (export "a") (param i32))
            (func (export "endless1") (param i64))
            (func (export "b")))"#;
        let wasm = wat::parse_str(text).expect("wat");
        for seed in 0..20 {
            let mut builder = CaseBuilder::new(Settings::default());
            let module = builder.module(Module::from_wasm(&wasm, None).expect("valid"));
            let instance = builder.instantiate(module, None, 0);
            let plan = CallPlan {
                budget: 5,
                rounds: 2,
                collects: 0,
            };
            let mut rng = Rng::new(seed);
            add_calls(&mut builder, instance, plan, &mut rng);
            add_endless_call(&mut builder, &[instance], &mut rng);
            let case = builder.finish();
            let called = case.steps.iter().filter_map(|step| match step.action {
                Action::Invoke { function, .. } => Some(function),
                _ => None,
            });
            let called: Vec<u32> = called.collect();
            assert_eq!(called[..4], [1, 3, 1, 3]);
            assert!(matches!(called[4..], [0] | [2]), "{called:?}");
        }
    }
}
