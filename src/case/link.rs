//! Resolving imports, once for all engines.
//!
//! Where an import comes from is settled when the case is made: an earlier instance that was
//! registered under the module's name, or the host. An item that an instance merely passes on is
//! traced to whoever made it, so a source is always the maker. Whether types match depends on
//! current sizes and is checked by each engine when it instantiates.

use std::collections::HashMap;

use parallax_oracles::{Owner, Value};

use super::module::{Extern, ImportKind};
use super::provide::Provider;
use super::{Action, Case, Expectation, Module, Registration, Settings, Step};

/// Where the imports of a module come from, in the order of its imports; `None` where nothing
/// provides one, so that instantiation must be refused.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkPlan(pub Vec<Option<ImportSource>>);

/// Where one import comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ImportSource {
    /// Who made it.
    pub owner: Owner,
    /// The index: in the index space of the kind imported for an instance, among
    /// [`crate::case::Case::host_items`] for the host.
    pub index: u32,
}

/// Builds a case step by step, resolving imports as instances are added.
#[derive(Debug)]
pub struct CaseBuilder {
    case: Case,
    provider: Provider,
    /// Which instance a module name stands for now.
    registered: HashMap<String, u32>,
    instances: Vec<Instance>,
}

/// An instance of the case being built.
#[derive(Clone, Copy, Debug)]
struct Instance {
    /// The module it is made from.
    module: usize,
    /// The step that makes it.
    step: usize,
}

impl CaseBuilder {
    /// An empty case under these settings.
    pub fn new(settings: Settings) -> CaseBuilder {
        CaseBuilder {
            case: Case {
                settings,
                modules: Vec::new(),
                host_items: Vec::new(),
                registrations: Vec::new(),
                steps: Vec::new(),
            },
            provider: Provider::default(),
            registered: HashMap::new(),
            instances: Vec::new(),
        }
    }

    /// Adds a module and returns its position.
    pub fn module(&mut self, module: Module) -> usize {
        self.case.modules.push(module);
        self.case.modules.len() - 1
    }

    /// Adds a step that instantiates a module; returns the instance's number.
    ///
    /// # Panics
    /// If there is no module at that position.
    pub fn instantiate(&mut self, module: usize, expect: Option<Expectation>, line: u32) -> u32 {
        let imports = self.case.modules[module].imports.len();
        let plan = (0..imports)
            .map(|import| self.resolve(module, import))
            .collect();
        self.instances.push(Instance {
            module,
            step: self.case.steps.len(),
        });
        self.case.steps.push(Step {
            action: Action::Instantiate {
                module,
                link: LinkPlan(plan),
            },
            expect,
            line,
        });
        self.instances.len() as u32 - 1
    }

    /// Makes an instance's exports available to later imports under a module name. No step.
    pub fn register(&mut self, instance: u32, name: &str) {
        self.registered.insert(name.to_string(), instance);
        self.case.registrations.push(Registration {
            before_instance: self.instances.len() as u32,
            instance,
            name: name.to_string(),
        });
    }

    /// Adds a step that calls a function.
    pub fn invoke(
        &mut self,
        instance: u32,
        function: u32,
        export: &str,
        args: Vec<Value>,
        expect: Option<Expectation>,
        line: u32,
    ) {
        self.case.steps.push(Step {
            action: Action::Invoke {
                instance,
                function,
                export: export.to_string(),
                args,
            },
            expect,
            line,
        });
    }

    /// Adds any other step. An [`Action::Instantiate`] must come from
    /// [`CaseBuilder::instantiate`].
    pub fn step(&mut self, step: Step) {
        debug_assert!(!matches!(step.action, Action::Instantiate { .. }));
        self.case.steps.push(step);
    }

    /// The module that an instance was made from.
    ///
    /// # Panics
    /// If there is no such instance.
    pub fn module_of(&self, instance: u32) -> &Module {
        &self.case.modules[self.instances[instance as usize].module]
    }

    /// The case as it stands.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// The case.
    pub fn finish(self) -> Case {
        self.case
    }

    /// Finds where an import of a module comes from.
    fn resolve(&mut self, module: usize, import: usize) -> Option<ImportSource> {
        let module = &self.case.modules[module];
        let import = &module.imports[import];
        if let Some(&instance) = self.registered.get(&import.module)
            && let Some(item) = self.module_of(instance).export(&import.name)
        {
            return if same_kind(import.kind, item) {
                self.maker(instance, item)
            } else {
                None
            };
        }
        let index = self.provider.provide(
            &mut self.case.host_items,
            &self.case.settings,
            import,
            &module.types,
        )?;
        Some(ImportSource {
            owner: Owner::Host,
            index,
        })
    }

    /// Who made an item of an instance. None if the instance imports it from nowhere.
    fn maker(&self, instance: u32, item: Extern) -> Option<ImportSource> {
        // An import's source is a maker already, so there is one step to take at most.
        let (Extern::Func(index)
        | Extern::Table(index)
        | Extern::Memory(index)
        | Extern::Global(index)) = item;
        let Instance { module, step } = self.instances[instance as usize];
        let imported = self.case.modules[module]
            .imports
            .iter()
            .enumerate()
            .filter(|(_, import)| same_kind(import.kind, item))
            .nth(index as usize);
        match imported {
            None => Some(ImportSource {
                owner: Owner::Instance(instance),
                index,
            }),
            Some((position, _)) => match &self.case.steps[step].action {
                Action::Instantiate { link, .. } => link.0[position],
                _ => None,
            },
        }
    }
}

fn same_kind(import: ImportKind, item: Extern) -> bool {
    matches!(
        (import, item),
        (ImportKind::Func(_), Extern::Func(_))
            | (ImportKind::Table(_), Extern::Table(_))
            | (ImportKind::Memory(_), Extern::Memory(_))
            | (ImportKind::Global(_), Extern::Global(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::testing::module;

    /// A builder under these settings with these modules instantiated, each registered under the
    /// name given with it.
    fn builder(host_imports: bool, modules: &[(&str, &str)]) -> CaseBuilder {
        let mut builder = CaseBuilder::new(Settings {
            host_imports,
            ..Settings::default()
        });
        for (name, text) in modules {
            let module = builder.module(module(text));
            let instance = builder.instantiate(module, None, 0);
            builder.register(instance, name);
        }
        builder
    }

    /// Where the imports of `text` come from after those modules.
    fn sources(host_imports: bool, modules: &[(&str, &str)], text: &str) -> Vec<Option<String>> {
        let mut builder = builder(host_imports, modules);
        let module = builder.module(module(text));
        builder.instantiate(module, None, 0);
        let case = builder.finish();
        let Some(Action::Instantiate { link, .. }) = case.steps.last().map(|step| &step.action)
        else {
            panic!("the last step instantiates");
        };
        link.0
            .iter()
            .map(|source| {
                source.map(|source| match source.owner {
                    Owner::Host => format!("host {}", case.host_items[source.index as usize].name),
                    Owner::Instance(instance) => format!("{instance}.{}", source.index),
                })
            })
            .collect()
    }

    fn some(sources: &[&str]) -> Vec<Option<String>> {
        sources
            .iter()
            .map(|source| Some(source.to_string()))
            .collect()
    }

    #[test]
    fn imports_come_from_whoever_is_registered() {
        let maker = r#"(module
            (func) (func (export "f")) (memory (export "m") 1) (table (export "t") 1 funcref)
            (global i32 (i32.const 0)) (global i32 (i32.const 0))
            (global (export "g") i32 (i32.const 0)))"#;
        let user = r#"(module
            (import "a" "g" (global i32)) (import "a" "f" (func)) (import "a" "m" (memory 1))
            (import "a" "t" (table 1 funcref)))"#;
        let expected = some(&["0.2", "0.1", "0.0", "0.0"]);
        assert_eq!(sources(false, &[("a", maker)], user), expected);
        // The latest registration counts.
        let other = r#"(module (func (export "f")))"#;
        assert_eq!(
            sources(false, &[("a", maker), ("a", other)], user),
            [None, Some("1.0".to_string()), None, None]
        );
    }

    #[test]
    fn what_is_passed_on_is_traced_to_its_maker() {
        let maker = r#"(module (func) (func (export "f")) (memory (export "m") 1))"#;
        let passer = r#"(module
            (import "spectest" "memory" (memory 1))
            (import "a" "f" (func)) (func (export "own"))
            (export "f2" (func 0)) (export "m2" (memory 0)))"#;
        let user = r#"(module
            (import "b" "f2" (func)) (import "b" "own" (func)) (import "b" "m2" (memory 1)))"#;
        assert_eq!(
            sources(false, &[("a", maker), ("b", passer)], user),
            some(&["0.1", "1.1", "host memory"])
        );
        let missing = r#"(module (import "no" "f" (func)) (export "f2" (func 0)))"#;
        let user = r#"(module (import "b" "f2" (func)))"#;
        assert_eq!(sources(false, &[("b", missing)], user), [None]);
    }

    #[test]
    fn the_wrong_kind_is_no_source() {
        let maker = r#"(module (func (export "f")))"#;
        let user =
            r#"(module (import "a" "f" (global i32)) (import "spectest" "print" (memory 1)))"#;
        for host_imports in [false, true] {
            assert_eq!(sources(host_imports, &[("a", maker)], user), [None, None]);
        }
    }

    #[test]
    fn the_host_satisfies_the_rest_if_asked_to() {
        let user = r#"(module
            (import "a" "f" (func)) (import "spectest" "print_i32" (func (param i32))))"#;
        assert_eq!(
            sources(false, &[], user),
            [None, Some("host print_i32".to_string())]
        );
        assert_eq!(
            sources(true, &[], user),
            some(&["host f", "host print_i32"])
        );
    }

    #[test]
    fn exports_of_the_normaliser_are_not_to_be_imported() {
        let maker = "(module (func))";
        let user = r#"(module (import "a" "@f0" (func)))"#;
        assert_eq!(sources(false, &[("a", maker)], user), [None]);
    }

    #[test]
    fn registrations_are_kept_with_what_they_hold_for() {
        let case = builder(false, &[("a", "(module)"), ("b", "(module)")]).finish();
        let kept: Vec<_> = case
            .registrations
            .iter()
            .map(|kept| (kept.before_instance, kept.instance, &*kept.name))
            .collect();
        assert_eq!(kept, [(1, 0, "a"), (2, 1, "b")]);
    }
}
