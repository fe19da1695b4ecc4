//! Probes: a case rewritten so that it tells every value that it computes, in order.
//!
//! Behind an instruction, a probe keeps the value in a local and hands a copy to a function of the
//! host, with the number of the place ([`Site`]). Host calls are observed anyway, so where two
//! engines run the same rewritten case, the first call in which they differ shows the first value
//! that went wrong; and a place in memory, a global or a table element that ends up different can
//! be [watched](Watch): read behind everything that may write it.
//!
//! Apart from those calls the rewritten case means what the case means. But it is compiled to other
//! code: a value that is told is needed by itself, so instructions that a backend would fuse into
//! one stay apart, and a fault of that kind goes away. Which places get a probe is therefore the
//! caller's choice.

mod writer;

use std::collections::HashMap;

use parallax_oracles::{
    Entity, Event, FuncIdentity, Nans, Observation, Outcome, Owner, Place, TrapKind, Value,
};
use serde::Serialize;
use wasm_encoder::reencode::Reencode;
use wasmparser::{FuncValidatorAllocations, Operator, Parser, ValidPayload, Validator};

use crate::case::decode::FEATURES;
use crate::case::host::HostFunction;
use crate::case::module::{FuncType, ImportKind, ValType};
use crate::case::{Action, Case, HostItem, HostItemKind, ImportSource, Module};
use writer::{Writer, watched_in};

/// Calls of each host function that tells values, after which the case ends.
const MOST_CALLS: u64 = 100_000;

/// By how much a case that tells its values may burn more fuel.
const FUEL_FACTOR: u64 = 16;

/// What can be told: nothing but that the place was passed, or a value of a type.
const TOLD: [Option<ValType>; 8] = [
    None,
    Some(ValType::I32),
    Some(ValType::I64),
    Some(ValType::F32),
    Some(ValType::F64),
    Some(ValType::V128),
    Some(ValType::FuncRef),
    Some(ValType::ExternRef),
];

/// A place where a probe can stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// The module, by position in the case.
    pub module: usize,
    /// The function, by index in the module.
    pub function: u32,
    /// The offset of the instruction in the module's binary; of the function's first one for what
    /// stands before it.
    pub offset: u32,
    /// What a probe tells there.
    pub kind: SiteKind,
}

/// What a probe tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// That the function was entered.
    Entry,
    /// A parameter of the function, on entry.
    Parameter(u32),
    /// The value that the instruction left on top of the stack.
    Value,
    /// That control came to the instructions behind: of a loop or an arm of an `if`.
    Passed,
    /// What is watched, since the instruction may have written it.
    Effect,
}

/// What is to be watched: read behind everything that may write it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    /// A byte of a memory.
    Byte(Entity, u64),
    /// A global.
    Global(Entity),
    /// An element of a table.
    Element(Entity, u64),
}

impl Watch {
    /// What there is to watch about a difference.
    pub fn of(place: &Place) -> Option<Watch> {
        match *place {
            Place::MemoryByte { memory, address } => Some(Watch::Byte(memory, address)),
            Place::Global(global) => Some(Watch::Global(global)),
            Place::TableElement { table, index } => Some(Watch::Element(table, index)),
            _ => None,
        }
    }
}

/// All places of a case where probes can stand, in the order of the code.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The places. The position of one is its number.
    pub sites: Vec<Site>,
    /// For every function that a module defines: the position of the instruction (0 for what stands
    /// before the first, otherwise counted from 1), the number of the site, the type it tells.
    plans: HashMap<(usize, u32), Vec<Planned>>,
}

/// A place where a probe can stand, as whoever writes the function goes by: the position of the
/// instruction, the number of the site, the type it tells.
type Planned = (u32, usize, Option<ValType>);

/// What a probe told.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Told {
    /// The number of the site.
    pub site: usize,
    /// The value, if it told one.
    pub value: Option<Value>,
}

/// A case with probes in it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The case.
    pub case: Case,
    /// The first of its host items that are for probes.
    first_item: u32,
}

/// Where two runs of a case with probes first differ.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// The step.
    pub step: usize,
    /// The last that both told alike, in this step.
    pub before: Option<Told>,
    /// What the reference told next, if it told anything more in this step.
    pub reference: Option<Told>,
    /// What the subject told next.
    pub subject: Option<Told>,
}

impl Survey {
    /// Looks at all functions of a case. What cannot be read has no sites.
    pub fn of(case: &Case) -> Survey {
        let mut survey = Survey::default();
        for (number, module) in case.modules.iter().enumerate() {
            // A valid module is read to its end.
            let _ = survey.module(number, module);
        }
        survey
    }

    fn module(&mut self, number: usize, module: &Module) -> Result<(), wasmparser::Error> {
        let mut validator = Validator::new_with_features(FEATURES);
        let mut function = module.imported_functions();
        for payload in Parser::new(0).parse_all(&module.wasm) {
            let ValidPayload::Func(to_validate, body) = validator.payload(&payload?)? else {
                continue;
            };
            let mut checked = to_validate.into_validator(FuncValidatorAllocations::default());
            for group in body.get_locals_reader()? {
                let (count, ty) = group?;
                checked.define_locals(body.range().start, count, ty)?;
            }
            let mut operators = body.get_operators_reader()?;
            let mut plan = Vec::new();
            let start = operators.original_position() as u32;
            let mut add = |at: u32, offset: u32, kind, told| {
                let sites = &mut self.sites;
                plan.push((at, sites.len(), told));
                sites.push(Site {
                    module: number,
                    function,
                    offset,
                    kind,
                });
            };
            add(0, start, SiteKind::Entry, None);
            let params = &module.function_type(function).params;
            for (index, ty) in params.iter().enumerate() {
                add(0, start, SiteKind::Parameter(index as u32), Some(*ty));
            }
            let mut position = 0;
            while !operators.eof() {
                let offset = operators.original_position();
                let operator = operators.read()?;
                position += 1;
                checked.op(offset, &operator)?;
                let reachable = checked
                    .get_control_frame(0)
                    .is_some_and(|frame| !frame.unreachable);
                if !reachable {
                    continue;
                }
                let mut class = Class::of(&operator);
                class.computes &= match operator {
                    Operator::Call { function_index } => {
                        !module.function_type(function_index).results.is_empty()
                    }
                    Operator::CallIndirect { type_index, .. } => {
                        !module.types[type_index as usize].results.is_empty()
                    }
                    _ => true,
                };
                if class.passes {
                    add(position, offset as u32, SiteKind::Passed, None);
                }
                if class.computes
                    && let Some(Some(ty)) = checked.get_operand_type(0)
                    && let Some(ty) = told_type(ty)
                {
                    add(position, offset as u32, SiteKind::Value, Some(ty));
                }
                if class.writes {
                    add(position, offset as u32, SiteKind::Effect, None);
                }
            }
            self.plans.insert((number, function), plan);
            function += 1;
        }
        Ok(())
    }

    /// The numbers of all sites that tell something without anything being watched.
    pub fn all(&self) -> impl Iterator<Item = usize> {
        let sites = self.sites.iter().enumerate();
        sites
            .filter(|(_, site)| site.kind != SiteKind::Effect)
            .map(|(number, _)| number)
    }

    /// The case with probes at the sites that are `chosen`, and at those where what is watched may
    /// be written. `None` if a module cannot be rewritten.
    pub fn probed(
        &self,
        case: &Case,
        chosen: &dyn Fn(usize) -> bool,
        watch: Option<Watch>,
    ) -> Option<Probed> {
        let first_item = case.host_items.len() as u32;
        let mut probed = case.clone();
        let mut rewritten = vec![false; case.modules.len()];
        for (number, module) in case.modules.iter().enumerate() {
            let watched = watch.and_then(|watch| watched_in(case, number, watch));
            let mut writer = Writer {
                survey: self,
                number,
                module,
                chosen,
                watched,
                next_function: module.imported_functions(),
                imports_written: false,
            };
            if module.functions.len() as u32 == module.imported_functions() {
                continue;
            }
            let mut out = wasm_encoder::Module::new();
            writer
                .parse_core_module(&mut out, Parser::new(0), &module.wasm)
                .ok()?;
            probed.modules[number] = Module::from_wasm(&out.finish(), module.name.clone()).ok()?;
            rewritten[number] = true;
        }
        for told in TOLD {
            probed.host_items.push(HostItem {
                module: PROBE_MODULE.to_string(),
                name: name_of(told).to_string(),
                kind: HostItemKind::Func {
                    ty: FuncType {
                        params: std::iter::once(ValType::I32).chain(told).collect(),
                        results: Vec::new(),
                    },
                    function: HostFunction::Probe { most: MOST_CALLS },
                },
            });
        }
        relink(case, &mut probed, &rewritten, first_item);
        probed.settings.fuel = case.settings.fuel.saturating_mul(FUEL_FACTOR);
        Some(Probed {
            case: probed,
            first_item,
        })
    }
}

const PROBE_MODULE: &str = "parallax.probe";

fn name_of(told: Option<ValType>) -> &'static str {
    match told {
        None => "passed",
        Some(ValType::I32) => "i32",
        Some(ValType::I64) => "i64",
        Some(ValType::F32) => "f32",
        Some(ValType::F64) => "f64",
        Some(ValType::V128) => "v128",
        Some(ValType::FuncRef) => "funcref",
        Some(ValType::ExternRef) => "externref",
    }
}

/// Carries the numbers of functions over to modules that have more imports than they had.
fn relink(case: &Case, probed: &mut Case, rewritten: &[bool], first_item: u32) {
    let added = TOLD.len() as u32;
    let made_from: Vec<usize> = case
        .steps
        .iter()
        .filter_map(|step| match step.action {
            Action::Instantiate { module, .. } => Some(module),
            _ => None,
        })
        .collect();
    let moved = |instance: u32, function: u32| {
        let module = made_from.get(instance as usize).copied();
        let module = module.filter(|module| rewritten[*module]);
        match module.map(|module| &case.modules[module]) {
            Some(module) if function >= module.imported_functions() => function + added,
            _ => function,
        }
    };
    for step in &mut probed.steps {
        match &mut step.action {
            Action::Instantiate { module, link } => {
                let imports = &case.modules[*module].imports;
                for (source, import) in link.0.iter_mut().zip(imports) {
                    if let Some(source) = source
                        && let Owner::Instance(instance) = source.owner
                        && matches!(import.kind, ImportKind::Func(_))
                    {
                        source.index = moved(instance, source.index);
                    }
                }
                if rewritten[*module] {
                    link.0.extend((0..added).map(|item| {
                        Some(ImportSource {
                            owner: Owner::Host,
                            index: first_item + item,
                        })
                    }));
                }
            }
            Action::Invoke {
                instance,
                function,
                args,
                ..
            } => {
                *function = moved(*instance, *function);
                for arg in args {
                    if let Value::Func(Some(FuncIdentity::Defined { instance, index })) = arg {
                        *index = moved(*instance, *index);
                    }
                }
            }
            Action::Get { .. } | Action::Collect => {}
        }
    }
}

impl Probed {
    /// The case with its probes polling instead of telling, of which there may be `most` that tell that
    /// they were passed: the interrupt that the host asks for ends a step there if it is `late`,
    /// otherwise where the host asks for it, as without probes.
    pub fn polling(&self, most: u64, late: bool) -> Case {
        let mut case = self.case.clone();
        let passed = self.first_item as usize;
        for (number, item) in case.host_items.iter_mut().enumerate() {
            match &mut item.kind {
                HostItemKind::Func {
                    function: HostFunction::Tick { late: when, .. },
                    ..
                } => *when = late,
                HostItemKind::Func { function, .. } if number == passed => {
                    *function = HostFunction::Poll { most };
                }
                _ => {}
            }
        }
        case
    }

    /// What the probes told in a step, given the step's events.
    pub fn told(&self, events: &[Event]) -> Vec<Told> {
        let told = events.iter().filter_map(|event| match event {
            Event::HostCall { function, args, .. } if *function >= self.first_item => {
                match args[..] {
                    [Value::I32(site), ..] => Some(Told {
                        site: site as u32 as usize,
                        value: args.get(1).copied(),
                    }),
                    _ => None,
                }
            }
            _ => None,
        });
        told.collect()
    }

    /// What an engine showed, without what only probes show: as if the case had none.
    pub fn without_probes(&self, observation: &Observation) -> Observation {
        let mut plain = observation.clone();
        let of_case = |event: &Event| match event {
            Event::HostCall { function, .. } => *function < self.first_item,
            Event::Dropped(_) => true,
        };
        for step in &mut plain.steps {
            step.events.retain(of_case);
        }
        plain
    }

    /// Where what two engines told first differs.
    pub fn difference(&self, reference: &Observation, subject: &Observation) -> Option<Difference> {
        let nans = reference.nans(subject);
        for (step, (one, other)) in reference.steps.iter().zip(&subject.steps).enumerate() {
            let (told, by_subject) = (self.told(&one.events), self.told(&other.events));
            let alike = told
                .iter()
                .zip(&by_subject)
                .take_while(|(a, b)| a.agrees(b, nans))
                .count();
            let difference = Difference {
                step,
                before: alike.checked_sub(1).map(|last| told[last]),
                reference: told.get(alike).copied(),
                subject: by_subject.get(alike).copied(),
            };
            let both = difference.reference.is_some() && difference.subject.is_some();
            let one_more = difference.reference.is_some() || difference.subject.is_some();
            // Compiled code goes on to the next loop header before it notices.
            let interrupted = matches!(one.outcome, Outcome::Trapped(TrapKind::Interrupted));
            if both || one_more && !interrupted {
                return Some(difference);
            }
            let ends = |it: &Outcome| !matches!(it, Outcome::Inconclusive(_) | Outcome::Endless);
            if !ends(&one.outcome) || !ends(&other.outcome) {
                return None;
            }
        }
        None
    }
}

impl Told {
    fn agrees(&self, other: &Told, nans: Nans) -> bool {
        self.site == other.site
            && match (&self.value, &other.value) {
                (Some(one), Some(other)) => one.agrees(other, nans),
                (one, other) => one == other,
            }
    }
}

/// What there is to tell of an instruction.
struct Class {
    computes: bool,
    writes: bool,
    passes: bool,
}

impl Class {
    fn of(operator: &Operator<'_>) -> Class {
        let text = format!("{operator:?}");
        let name = text.split([' ', '{']).next().unwrap_or_default();
        let call = name.starts_with("Call");
        let writes = name.contains("Store")
            || matches!(
                name,
                "MemoryFill"
                    | "MemoryCopy"
                    | "MemoryInit"
                    | "MemoryGrow"
                    | "TableSet"
                    | "TableFill"
                    | "TableCopy"
                    | "TableInit"
                    | "TableGrow"
                    | "GlobalSet"
            );
        let passes = matches!(name, "Loop" | "If" | "Else");
        let grows = matches!(name, "MemoryGrow" | "TableGrow");
        let leaves_nothing = passes
            || name.contains("Const")
            || name.starts_with("Local")
            || name.starts_with("Br")
            || matches!(
                name,
                "Nop"
                    | "Drop"
                    | "Block"
                    | "End"
                    | "Return"
                    | "Unreachable"
                    | "RefNull"
                    | "RefFunc"
                    | "DataDrop"
                    | "ElemDrop"
            );
        Class {
            computes: !leaves_nothing && (!writes || grows),
            writes: writes || call,
            passes,
        }
    }
}

fn told_type(ty: wasmparser::ValType) -> Option<ValType> {
    Some(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::Ref(ty) if ty == wasmparser::RefType::FUNCREF => ValType::FuncRef,
        wasmparser::ValType::Ref(ty) if ty == wasmparser::RefType::EXTERNREF => ValType::ExternRef,
        wasmparser::ValType::Ref(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign;
    use crate::case::wast::case_from_file;
    use crate::engine::{observe, registry};
    use crate::generate::Generators;

    fn shown(case: &Case) -> Option<Observation> {
        let mut engine = registry::make(registry::REFERENCE).expect("usable");
        let shown = observe(&mut *engine, case).ok()?;
        let ends = |outcome: &Outcome| matches!(outcome, Outcome::Inconclusive(_));
        (!shown.steps.iter().any(|step| ends(&step.outcome))).then_some(shown)
    }

    /// Functions that hold another's place in tables and globals have other numbers in a module
    /// that imports more.
    fn refers_to_functions(case: &Case) -> bool {
        case.modules.iter().any(|module| {
            let tables = module.tables.iter().map(|table| table.element);
            let mut types = tables.chain(module.globals.iter().map(|global| global.value));
            let in_type = |ty: &FuncType| ty.results.contains(&ValType::FuncRef);
            types.any(|ty| ty == ValType::FuncRef) || module.types.iter().any(in_type)
        })
    }

    #[test]
    fn a_case_with_probes_means_what_it_meant() {
        let mut compared = 0;
        for number in 0..450 {
            let (_, case, _) = campaign::case(11, number, Generators::all());
            let case = case.expect("hardly any input makes no case");
            let case = crate::triage::known::avoid_all(
                &case,
                &crate::triage::known::KNOWN.iter().collect::<Vec<_>>(),
            );
            let survey = Survey::of(&case);
            let probed = survey.probed(&case, &|_| true, None).expect("valid");
            let (Some(plain), Some(with)) = (shown(&case), shown(&probed.case)) else {
                continue;
            };
            let told: usize = with
                .steps
                .iter()
                .map(|step| probed.told(&step.events).len())
                .sum();
            let with = probed.without_probes(&with);
            if told as u64 >= MOST_CALLS || refers_to_functions(&case) {
                continue;
            }
            for (step, (one, other)) in plain.steps.iter().zip(&with.steps).enumerate() {
                assert_eq!(one.outcome, other.outcome, "case {number}, step {step}");
                assert_eq!(one.changes, other.changes, "case {number}, step {step}");
                assert_eq!(one.events, other.events, "case {number}, step {step}");
            }
            compared += 1;
        }
        assert!(compared > 50, "{compared}");
    }

    #[test]
    fn values_are_told_in_order_and_what_is_watched_behind_each_write() {
        let text = r#"(module (memory 1)
            (func (export "f") (param i32) (result i32)
                (i32.store8 (i32.const 3) (i32.add (local.get 0) (i32.const 1)))
                (i32.mul (local.get 0) (i32.load8_u (i32.const 3)))))
            (assert_return (invoke "f" (i32.const 5)) (i32.const 30))"#;
        let case = case_from_file(text.as_bytes(), "test.wast").expect("valid");
        let survey = Survey::of(&case);
        let memory = Entity {
            owner: Owner::Instance(0),
            index: 0,
        };
        let watch = Some(Watch::Byte(memory, 3));
        let probed = survey.probed(&case, &|_| true, watch).expect("valid");
        let shown = shown(&probed.case).expect("it ends");
        let told = probed.told(&shown.steps[1].events);
        let values: Vec<_> = told.iter().map(|told| told.value).collect();
        let numbers = [5, 6, 6, 6, 30].map(|number| Some(Value::I32(number)));
        assert_eq!(values[0], None, "the entry");
        assert_eq!(values[1..], numbers);
        assert_eq!(survey.sites[told[3].site].kind, SiteKind::Effect);
    }
}
