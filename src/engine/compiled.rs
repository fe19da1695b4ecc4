//! Machine code, run by the host if it is for the host's own ISA and by an emulator if not.
//!
//! Every module of a case goes through translation, code generation and loading; a store runs the
//! result. What is expensive to make is kept from case to case: the translator's and generator's
//! allocations, ISA objects, the code arena, memory reservations, and trampolines, of which there
//! is one a function type whatever the case.

mod place;
mod run;

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use cranelift_codegen::ir;
use parallax_oracles::{Entity, Finding, Place};

use super::version::locked_version;
use super::{Engine, Refusal, Run};
use crate::case::{Case, Settings};
use crate::codegen::{Backend, CodegenConfig, CodegenError, CompiledModule, Generator, Isa};
use crate::panics;
use crate::runtime::audit::Breach;
use crate::runtime::instance::LoadedModule;
use crate::runtime::machine::{Execution, Machine};
use crate::runtime::store::{Reusable, Store, StoreConfig};
use crate::score::Fault;
use crate::translate::layout::VmLayout;
use crate::translate::{
    self, Environment, TranslateConfig, TranslateError, Translations, Translator,
};
use place::{Arena, Trampolines, load, no_arena};
use run::CompiledRun;

/// What the engine says about bytes that differ because of [`crate::runtime::torn`].
pub const TORN: &str = "half of a vector that is out of bounds was stored there";

/// What the engine says about a trap that a load wider than wasm's has raised.
pub const WIDENED: &str = "more bytes were loaded than are compared";

/// Functions that are compiled as other settings say than those of their case, so that a fault of
/// code generation can be told to be in one of them. Only what code generation depends on is looked
/// at ([`CodegenConfig`]): how memories are laid out is the same in all functions of a case.
#[derive(Clone, Debug)]
pub struct Mixture {
    /// The other settings.
    pub settings: Settings,
    /// The functions, each by its module's position in the case and its index there.
    pub functions: HashSet<(usize, u32)>,
}

/// A function as code generation takes it and as it leaves it, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// For which ISA it was compiled.
    pub isa: Isa,
    /// The CLIF as translation leaves it. Instructions are led by the offset in the module's binary
    /// that they came from.
    pub clif: String,
    /// The code and what goes with it, offsets counting from its start.
    pub compiled: CompiledModule,
}

/// Compiles cases by one backend and runs them.
pub struct Compiled {
    name: &'static str,
    backend: Backend,
    execution: Execution,
    fault: Option<Fault>,
    mixture: Option<Mixture>,
    /// Whether the runtime is held to its contracts.
    audit: bool,
    /// The first contract that it broke in the last case.
    breach: Option<Breach>,
    translations: Rc<RefCell<Translations>>,
    generator: Generator,
    arena: Option<Arena>,
    trampolines: Trampolines,
    reusable: Option<Reusable>,
    /// Bytes of memories that stores which trapped have written all the same, in the last case, each with the
    /// step. They show in the snapshot after that one or, if they are what was there, in none.
    torn: Vec<(usize, Entity, Range<u64>)>,
    /// The steps of the last case that a load wider than wasm's ended by a trap.
    widened: Vec<usize>,
}

impl Compiled {
    /// The engine of some name for a backend.
    pub fn new(name: &'static str, backend: Backend) -> Compiled {
        Compiled::with_fault(name, backend, None)
    }

    /// The engine of some name for a backend, with a fault planted in it.
    pub fn with_fault(name: &'static str, backend: Backend, fault: Option<Fault>) -> Compiled {
        Compiled {
            name,
            backend,
            execution: Execution::of(backend.isa),
            fault,
            mixture: None,
            audit: false,
            breach: None,
            translations: Rc::default(),
            generator: Generator::new(backend.generation),
            arena: None,
            trampolines: Trampolines::default(),
            reusable: None,
            torn: Vec::new(),
            widened: Vec::new(),
        }
    }

    /// The engine of some name for a backend, that compiles some functions by other settings.
    pub fn with_mixture(
        name: &'static str,
        backend: Backend,
        fault: Option<Fault>,
        mixture: Mixture,
    ) -> Compiled {
        Compiled {
            mixture: Some(mixture),
            ..Compiled::with_fault(name, backend, fault)
        }
    }

    /// Makes everything anew that a compiler which panicked may have left in any state.
    fn renew(&mut self) {
        self.translations.replace(Translations::default());
        *self = Compiled {
            translations: Rc::clone(&self.translations),
            mixture: self.mixture.take(),
            execution: self.execution,
            audit: self.audit,
            ..Compiled::with_fault(self.name, self.backend, self.fault)
        };
    }

    /// Holds the runtime to its contracts from now on (see [`crate::runtime::audit`]).
    pub fn audit(&mut self) {
        self.audit = true;
    }

    /// The first contract that the runtime broke in the last case, if it was held to any.
    pub fn breach(&self) -> Option<&Breach> {
        self.breach.as_ref()
    }

    /// Compiles one function of a case and shows it.
    ///
    /// # Errors
    /// The [`Refusal`] that compiling the function alone comes to.
    pub fn listing(
        &mut self,
        case: &Case,
        module: usize,
        function: u32,
    ) -> Result<Listing, Refusal> {
        let made = panics::catch(|| self.list(case, module, function));
        made.unwrap_or_else(|panic| {
            self.renew();
            Err(Refusal::Failed(format!("the compiler panicked: {panic}")))
        })
    }

    fn list(&mut self, case: &Case, number: usize, function: u32) -> Result<Listing, Refusal> {
        let none = || Refusal::Unsupported("the case has no such function".to_string());
        let module = case.modules.get(number).ok_or_else(none)?;
        let imported = module.imported_functions();
        let defined = function.checked_sub(imported).ok_or_else(none)?;
        let layout = VmLayout::new(module);
        let config = self.translate_config(&case.settings);
        let mut environment = Environment::new(module, &layout, config);
        let bodies = translate::bodies(&module.wasm)?;
        let body = bodies.into_iter().nth(defined as usize).ok_or_else(none)?;
        let mut func = ir::Function::new();
        Translator::default().function(body, defined, &mut environment, &mut func)?;
        let clif = func.display().to_string();
        let mut compiled = CompiledModule::default();
        let codegen = self.codegen_config(&case.settings, number, function);
        self.generator.compile(
            &Rc::new(func),
            &codegen,
            imported,
            self.fault,
            &mut compiled,
        )?;
        Ok(Listing {
            isa: self.backend.isa,
            clif,
            compiled,
        })
    }

    fn translate_config(&self, settings: &Settings) -> TranslateConfig {
        TranslateConfig {
            memory_style: settings.memory_style,
            guard_bytes: settings.guard_bytes,
            spectre: settings.spectre,
            fault: self.fault,
        }
    }

    /// How a function of a case is compiled.
    fn codegen_config(&self, settings: &Settings, module: usize, function: u32) -> CodegenConfig {
        let mixed = self.mixture.as_ref();
        let mixed = mixed.filter(|mixture| mixture.functions.contains(&(module, function)));
        let settings = mixed.map_or(settings, |mixture| &mixture.settings);
        CodegenConfig::new(self.backend.isa, settings)
    }

    /// The same, with code run in some other way than is usual for its ISA here.
    #[must_use]
    pub fn run_by(mut self, execution: Execution) -> Compiled {
        self.execution = execution;
        self
    }

    /// What is kept from one store to the next, made if there is none.
    fn reusable(&mut self) -> Result<&mut Reusable, Refusal> {
        let reusable = match self.reusable.take() {
            Some(reusable) => reusable,
            None => Reusable::new(
                Machine::new(self.backend.isa, self.execution).map_err(Refusal::Unsupported)?,
            ),
        };
        Ok(self.reusable.insert(reusable))
    }

    fn compile<'case>(
        &mut self,
        case: &'case Case,
        number: usize,
    ) -> Result<LoadedModule<'case>, Refusal> {
        let module = &case.modules[number];
        let settings = &case.settings;
        let layout = VmLayout::new(module);
        let config = self.translate_config(settings);
        let mut compiled = CompiledModule::default();
        let imported = module.imported_functions();
        let mut translations = self.translations.borrow_mut();
        let functions = translations.functions(module, &layout, config)?;
        for (index, func) in (imported..).zip(functions) {
            let codegen = self.codegen_config(settings, number, index);
            self.generator
                .compile(func, &codegen, imported, self.fault, &mut compiled)?;
        }
        drop(translations);
        let arena = self.arena.as_mut().ok_or_else(no_arena)?;
        let reusable = self.reusable.as_mut().ok_or_else(no_arena)?;
        let base = load(&reusable.machine, &mut arena.code, &compiled)?;
        reusable.machine.load(&mut self.generator, &compiled, base);
        Ok(LoadedModule {
            module,
            layout,
            compiled,
            base,
        })
    }

    fn prepare<'case>(
        &mut self,
        case: &'case Case,
    ) -> Result<Vec<Rc<LoadedModule<'case>>>, Refusal> {
        let machine = &self.reusable()?.machine;
        if let Some(feature) = machine.lacks(&case.settings) {
            return Err(Refusal::Unsupported(format!(
                "the processor lacks {feature}"
            )));
        }
        self.arena()?;
        self.prepare_trampolines(case)?;
        (0..case.modules.len())
            .map(|number| Ok(Rc::new(self.compile(case, number)?)))
            .collect()
    }
}

/// The version of what an engine wraps.
pub fn version_of(backend: Backend, execution: Execution) -> String {
    let cranelift = format!("cranelift {}", backend.generation.version());
    match execution {
        Execution::Direct => cranelift,
        Execution::Emulated => format!("{cranelift}, unicorn {}", locked_version("unicorn-engine")),
        Execution::Interpreted => format!(
            "cranelift-interpreter {}",
            locked_version("cranelift-interpreter")
        ),
    }
}

impl From<TranslateError> for Refusal {
    fn from(error: TranslateError) -> Refusal {
        match error {
            TranslateError::Unsupported(what) => Refusal::Unsupported(what),
            TranslateError::Invalid(why) => Refusal::Invalid(why),
        }
    }
}

impl From<CodegenError> for Refusal {
    fn from(error: CodegenError) -> Refusal {
        match error {
            CodegenError::Unsupported(what) => Refusal::Unsupported(what),
            CodegenError::Failed(why) => Refusal::Failed(why),
        }
    }
}

impl Engine for Compiled {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> String {
        version_of(self.backend, self.execution)
    }

    fn counts_references(&self) -> bool {
        true
    }

    fn ends_by_count(&self) -> bool {
        self.execution != Execution::Direct
    }

    fn counting(&self) -> Option<Box<dyn Engine>> {
        let can = cfg!(feature = "emulator") && !self.ends_by_count();
        can.then(|| {
            let same = Compiled {
                mixture: self.mixture.clone(),
                ..Compiled::with_fault(self.name, self.backend, self.fault)
            };
            Box::new(same.run_by(Execution::Emulated)) as Box<dyn Engine>
        })
    }

    fn accepts(&mut self, wasm: &[u8]) -> bool {
        translate::validates(wasm)
    }

    fn share(&mut self, translations: &Rc<RefCell<Translations>>) {
        self.translations = Rc::clone(translations);
    }

    fn warm_up(&mut self) {
        let _ = self.reusable();
    }

    fn remark(&self, finding: &Finding) -> Option<&'static str> {
        match finding.place {
            // What a step does last shows at none of its host calls.
            Place::MemoryByte { memory, address } if finding.at_call.is_none() => {
                let mut torn = self.torn.iter();
                torn.any(|(step, of, bytes)| {
                    *step == finding.step && *of == memory && bytes.contains(&address)
                })
                .then_some(TORN)
            }
            Place::Outcome => self.widened.contains(&finding.step).then_some(WIDENED),
            _ => None,
        }
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        if Rc::strong_count(&self.translations) == 1 {
            self.translations.borrow_mut().forget();
        }
        // A compiler that panics has a bug, which is what we are here for.
        let modules = match panics::catch(|| self.prepare(case)) {
            Ok(modules) => modules?,
            Err(panic) => {
                self.renew();
                return Err(Refusal::Failed(format!("the compiler panicked: {panic}")));
            }
        };
        let host_trampolines = self.host_trampolines(case);
        let arena = self.arena.as_ref().ok_or_else(no_arena)?;
        let config = StoreConfig {
            case,
            fault: self.fault,
            host_trampolines,
            code: arena.code.range(),
            audit: self.audit,
            reusable: self.reusable.take().ok_or_else(no_arena)?,
        };
        self.torn.clear();
        self.widened.clear();
        self.breach = None;
        let (store, refused) = match Store::new(config, modules) {
            Ok(store) => {
                let store = Box::into_raw(store);
                // What vmctxs hold is the address alone: builtins get at the store by this pointer.
                store.expose_provenance();
                (store, None)
            }
            Err(refused) => {
                let (outcome, reusable) = *refused;
                self.reusable = Some(reusable);
                (std::ptr::null_mut(), Some(outcome))
            }
        };
        Ok(Box::new(CompiledRun {
            engine: self,
            case,
            store,
            refused,
            steps: 0,
        }))
    }
}

#[cfg(test)]
mod clif_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod feature_tests;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod stack_tests;
