//! One run of a case in Wasmtime.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use ::wasmtime::{AsContextMut, Extern, Func, Instance, Module, RootScope, Store, Val};
use parallax_oracles::{
    Alive, Changes, Entity, Event, FuncIdentity, ObjectId, Outcome, Owner, Reason, Value,
};

use super::config::{Knobs, Managed, Polling};
use super::functions::Names;
use super::host::{self, Data};
use super::{Flavour, Kept, module, outcome, visible};
use crate::case::module::{self as decoded, ImportKind};
use crate::case::settings::Destructor;
use crate::case::{Action, Case, ImportSource, LinkPlan};
use crate::engine::segments::{self, Imported};
use crate::engine::shadow::{Shadows, Then};
use crate::engine::{Refusal, Run};
use crate::panics;
use crate::runtime::watchdog::Clock;

/// How much more fuel a step gets than the reference gets for it. What ends in the reference takes
/// less, whatever an engine counts as one.
const FUEL_FACTOR: u64 = 64;
/// Fuel for bulk operations: Wasmtime counts every byte and element, before it looks whether they
/// are within bounds, where the reference counts less.
const FUEL_FOR_BULK: u64 = 1 << 36;

/// A run of a case.
pub struct WasmtimeRun<'run> {
    shadows: &'run mut Shadows<u64>,
    case: &'run Case,
    flavour: Flavour,
    kept: Kept,
    polling: Polling,
    alive: Option<Alive>,
    /// The modules of the case without their start sections, compiled, and what their functions
    /// are called.
    modules: Vec<(Module, Arc<Names>)>,
    store: Store<Data>,
    /// What became of every instantiation so far.
    instances: Vec<Made>,
    /// The objects that were alive when that was last shown.
    shown_alive: Vec<ObjectId>,
    /// Something went wrong in Wasmtime itself, and its store is not to be touched again.
    broken: bool,
}

/// What became of an instantiation.
struct Made {
    /// The module, by position in the case.
    module: usize,
    /// The instance, if it got as far as existing.
    instance: Option<Instance>,
    /// Whether instantiation succeeded.
    succeeded: bool,
}

impl<'run> WasmtimeRun<'run> {
    /// Compiles the modules of a case and makes its host items.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] if the compiler lacks something or a host item cannot be made,
    /// [`Refusal::Invalid`] if Wasmtime refuses a module for any other reason.
    pub fn start(
        flavour: Flavour,
        knobs: &Knobs,
        kept: &Kept,
        shadows: &'run mut Shadows<u64>,
        case: &'run Case,
    ) -> Result<WasmtimeRun<'run>, Refusal> {
        supports(case, knobs)?;
        shadows.clear();
        let modules = case
            .modules
            .iter()
            .map(|module| compile(kept, flavour, case, module, segments::without_start(module)))
            .collect::<Result<_, _>>()?;
        let data = Data::new(case, knobs, mem::take(shadows));
        let mut store = Store::new(&kept.engine, data);
        store.limiter(|data| &mut data.limits);
        let mut run = WasmtimeRun {
            shadows,
            case,
            flavour,
            kept: kept.clone(),
            polling: knobs.polling,
            alive: knobs.collector.map(|collector| match collector {
                Managed::Never => Alive::UntilTeardown,
                Managed::Counting | Managed::Copying => Alive::UntilSettled,
            }),
            modules,
            store,
            instances: Vec::new(),
            shown_alive: Vec::new(),
            broken: false,
        };
        run.refuel().map_err(Refusal::Failed)?;
        {
            let mut scope = RootScope::new(&mut run.store);
            host::make_items(&mut scope).map_err(Refusal::Unsupported)?;
        }
        for (index, item) in run.store.data().host_items.clone().into_iter().enumerate() {
            run.show(Owner::Host, index, item);
        }
        Ok(run)
    }

    /// Adds something that was just made to what snapshots show.
    fn show(&mut self, owner: Owner, index: usize, item: Extern) {
        let entity = Entity {
            owner,
            index: index as u32,
        };
        self.store.data_mut().visible.add(entity, item);
    }

    /// Lets the program run for as long as a step may take.
    fn refuel(&mut self) -> Result<(), String> {
        self.store.data_mut().begin_step();
        match self.polling {
            Polling::Epochs => self.store.set_epoch_deadline(1),
            Polling::Fuel => {
                let fuel = self.case.settings.fuel.saturating_mul(FUEL_FACTOR);
                // It is counted with a sign.
                let fuel = fuel.saturating_add(FUEL_FOR_BULK).min(i64::MAX as u64);
                let set = self.store.set_fuel(fuel);
                set.map_err(|error| outcome::told(&error))?;
            }
            Polling::Never => {}
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Outcome {
        if let Err(why) = self.refuel() {
            return Outcome::Failed(why);
        }
        match action {
            Action::Instantiate { module, link } => self.instantiate(*module, link),
            Action::Invoke {
                instance,
                function,
                args,
                ..
            } => self.invoke(*instance, *function, args),
            Action::Get {
                instance, global, ..
            } => self.get(*instance, *global),
            // Every step ends with a collection.
            Action::Collect => Outcome::Returned(Vec::new()),
        }
    }

    /// Collects what only the step held. A destructor has no store at hand to do anything with: what
    /// one is to do that takes one is done here, once, if any ran.
    fn settle(&mut self) -> Result<(), Outcome> {
        if self.alive.is_none() {
            return Ok(());
        }
        let dropped = self.store.data().log.has_dropped();
        let settled = self.store.gc(None).and_then(|()| {
            match self.case.settings.destructor {
                _ if !dropped && !self.store.data().log.has_dropped() => Ok(()),
                Destructor::WriteSlots => visible::rewrite(&mut self.store),
                Destructor::Collect => self.store.gc(None),
                // Slots are read by every snapshot.
                _ => Ok(()),
            }
        });
        settled.map_err(|error| outcome::of_call(&error, false))
    }

    /// Instantiates a module, then calls its start function.
    fn instantiate(&mut self, module: usize, link: &LinkPlan) -> Outcome {
        let number = self.instances.len() as u32;
        // The number is used up whatever happens.
        self.instances.push(Made {
            module,
            instance: None,
            succeeded: false,
        });
        match self.link_and_start(number, module, link) {
            Ok(()) => {
                self.instances[number as usize].succeeded = true;
                Outcome::Returned(Vec::new())
            }
            Err(outcome) => outcome,
        }
    }

    fn link_and_start(
        &mut self,
        number: u32,
        module: usize,
        link: &LinkPlan,
    ) -> Result<(), Outcome> {
        let imports = self.imports(module, link)?;
        let decoded = &self.case.modules[module];
        let given = Given::new(&mut self.store, &imports);
        let stop = segments::stop(decoded, &given);
        let (compiled, names) = match stop {
            None => self.modules[module].clone(),
            Some(stop) => {
                let wasm = segments::with_segments_stopped(&segments::without_start(decoded), stop)
                    .map_err(Outcome::Failed)?;
                compile(
                    &self.kept,
                    self.flavour,
                    self.case,
                    decoded,
                    Cow::Owned(wasm),
                )
                .map_err(|refusal| Outcome::Failed(refusal.to_string()))?
            }
        };
        let made = Instance::new(&mut self.store, &compiled, &imports);
        let instance = made.map_err(|error| outcome::of_instantiation(&error))?;
        self.instances[number as usize].instance = Some(instance);
        let functions = imported_functions(decoded, link);
        let data = self.store.data_mut();
        data.functions.add(number, instance, names, functions);
        self.show_instance(number, decoded, &instance);
        if let Some(stop) = stop {
            return Err(Outcome::Trapped(stop.trap));
        }
        let Some(start) = decoded.start else {
            return Ok(());
        };
        let start = match start.checked_sub(decoded.imported_functions()) {
            Some(_) => {
                let name = &decoded.function_exports[start as usize];
                instance.get_func(&mut self.store, name)
            }
            None => given_at(&imports, start, |item| item.clone().into_func()),
        };
        let Some(start) = start else {
            return Err(Outcome::Failed("no start function".to_string()));
        };
        call(&self.kept.clock, &mut self.store, &start, &[], &mut [])
    }

    /// The externals for a module's imports, in order.
    fn imports(&mut self, module: usize, link: &LinkPlan) -> Result<Vec<Extern>, Outcome> {
        let wanted = &self.case.modules[module].imports;
        if link.0.len() != wanted.len() || link.0.contains(&None) {
            return Err(Outcome::Unlinkable);
        }
        let sources = link.0.iter().flatten().zip(wanted);
        sources
            .map(|(source, import)| self.import(source, &import.kind))
            .collect()
    }

    fn import(&mut self, source: &ImportSource, kind: &ImportKind) -> Result<Extern, Outcome> {
        let number = match source.owner {
            Owner::Host => {
                let item = self.store.data().host_items.get(source.index as usize);
                return item.cloned().ok_or(Outcome::Unlinkable);
            }
            Owner::Instance(number) => number,
        };
        // What an instance that was never made would have provided cannot be linked to.
        let made = self
            .instances
            .get(number as usize)
            .filter(|made| made.succeeded)
            .ok_or(Outcome::Skipped)?;
        let exports = &self.case.modules[made.module];
        exports
            .exports_of(kind)
            .get(source.index as usize)
            .and_then(|name| made.instance?.get_export(&mut self.store, name))
            .ok_or(Outcome::Unlinkable)
    }

    /// Adds what an instance made to what snapshots show.
    fn show_instance(&mut self, number: u32, module: &decoded::Module, instance: &Instance) {
        let made = [
            (&module.memory_exports, module.imported_memories()),
            (&module.table_exports, module.imported_tables()),
            (&module.global_exports, module.imported_globals()),
        ];
        for (names, imported) in made {
            for (index, name) in names.iter().enumerate().skip(imported as usize) {
                if let Some(item) = instance.get_export(&mut self.store, name) {
                    self.show(Owner::Instance(number), index, item);
                }
            }
        }
    }

    /// The instance of that number and the position of its module, if it was made.
    fn instance(&self, number: u32) -> Option<(Instance, usize)> {
        let made = self.instances.get(number as usize)?;
        match made.succeeded {
            true => Some((made.instance?, made.module)),
            false => None,
        }
    }

    fn invoke(&mut self, instance: u32, function: u32, args: &[Value]) -> Outcome {
        let Some((instance, module)) = self.instance(instance) else {
            return Outcome::Skipped;
        };
        let module = &self.case.modules[module];
        let func = module
            .function_exports
            .get(function as usize)
            .and_then(|name| instance.get_func(&mut self.store, name));
        let Some(func) = func else {
            return Outcome::Failed(format!("function {function} is not exported"));
        };
        // What the step roots is released before everything settles.
        let mut scope = RootScope::new(&mut self.store);
        let mut lowered = Vec::with_capacity(args.len());
        for arg in args {
            match host::lower(&mut scope, *arg, &lowered) {
                Ok(arg) => lowered.push(arg),
                Err(why) => return Outcome::Failed(why),
            }
        }
        let mut results = vec![Val::I32(0); module.function_type(function).results.len()];
        match call(&self.kept.clock, &mut scope, &func, &lowered, &mut results) {
            Ok(()) => {
                let results = results.iter();
                let shown = results.map(|result| host::show(&mut scope, result));
                Outcome::Returned(shown.collect())
            }
            Err(outcome) => outcome,
        }
    }

    fn get(&mut self, instance: u32, global: u32) -> Outcome {
        let Some((instance, module)) = self.instance(instance) else {
            return Outcome::Skipped;
        };
        let found = self.case.modules[module]
            .global_exports
            .get(global as usize)
            .and_then(|name| instance.get_global(&mut self.store, name));
        match found {
            Some(global) => {
                let mut scope = RootScope::new(&mut self.store);
                let value = global.get(&mut scope);
                Outcome::Returned(vec![host::show(&mut scope, &value)])
            }
            None => Outcome::Failed(format!("global {global} is not exported")),
        }
    }
}

impl Run for WasmtimeRun<'_> {
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome {
        let acted = panics::catch(|| {
            let outcome = self.act(action);
            match outcome {
                Outcome::Failed(_) | Outcome::Inconclusive(_) => outcome,
                outcome => self.settle().err().unwrap_or(outcome),
            }
        });
        let outcome = acted.unwrap_or_else(|panic| {
            self.broken = true;
            Outcome::Failed(format!("panicked: {panic}"))
        });
        let Data {
            events: seen, log, ..
        } = self.store.data_mut();
        log.drain(seen);
        events.append(seen);
        outcome
    }

    fn snapshot(&mut self, changes: &mut Changes) {
        visible::show(&mut self.store, Then::Update, changes);
        let alive = self.store.data().log.alive();
        let before = mem::replace(&mut self.shown_alive, alive);
        let counts = before
            .iter()
            .filter(|id| self.shown_alive.binary_search(id).is_err());
        changes.counts.extend(counts.map(|id| (*id, 0)));
        let counts = self
            .shown_alive
            .iter()
            .filter(|id| before.binary_search(id).is_err());
        changes.counts.extend(counts.map(|id| (*id, 1)));
        changes.counts.sort_unstable();
    }

    fn snapshot_late(&mut self) -> Option<Changes> {
        if !self.store.data().tables_late {
            return None;
        }
        let mut changes = Changes::default();
        if !self.broken {
            visible::show_tables(&mut self.store, &mut changes);
        }
        Some(changes)
    }

    fn shows_alive(&self) -> Option<Alive> {
        self.alive
    }

    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome {
        let WasmtimeRun {
            shadows,
            mut store,
            broken,
            ..
        } = *self;
        *shadows = mem::take(&mut store.data_mut().shadows);
        let log = store.data().log.clone();
        if broken {
            // Whatever it holds may be half done.
            mem::forget(store);
            return Outcome::Inconclusive(Reason::Unsupported);
        }
        let dropped = panics::catch(move || drop(store));
        log.drain(events);
        match dropped {
            Ok(()) => Outcome::Returned(Vec::new()),
            Err(panic) => Outcome::Failed(format!("panicked: {panic}")),
        }
    }
}

/// Calls a function. The clock runs for as long.
fn call(
    clock: &Clock,
    store: &mut impl AsContextMut<Data = Data>,
    func: &Func,
    args: &[Val],
    results: &mut [Val],
) -> Result<(), Outcome> {
    clock.begin();
    let called = func.call(&mut *store, args, results);
    clock.end();
    called.map_err(|error| outcome::of_call(&error, store.as_context().data().armed))
}

/// Compiles a module of a case.
fn compile(
    kept: &Kept,
    flavour: Flavour,
    case: &Case,
    decoded: &decoded::Module,
    wasm: Cow<'_, [u8]>,
) -> Result<(Module, Arc<Names>), Refusal> {
    let canonicalise = case.settings.canonicalise_nans && flavour == Flavour::Winch;
    let prepared = module::prepare(decoded, wasm, canonicalise).map_err(Refusal::Failed)?;
    let module = Module::from_binary(&kept.engine, &prepared.wasm)
        .map_err(|error| outcome::of_compilation(&error, flavour))?;
    let exported = (0..).zip(&decoded.function_exports);
    let exported = exported.filter(|(_, name)| !name.is_empty());
    let mut names: Names = exported
        .map(|(index, name)| (index, name.clone()))
        .collect();
    names.extend(prepared.names);
    Ok((module, Arc::new(names)))
}

/// Whether Wasmtime can do what a case asks of it.
fn supports(case: &Case, knobs: &Knobs) -> Result<(), Refusal> {
    let unsupported = |what: &str| Err(Refusal::Unsupported(what.to_string()));
    let uses_externref = || case.modules.iter().any(|module| module.uses_externref);
    if knobs.collector.is_none() && uses_externref() {
        return unsupported("externref in Winch");
    }
    if case.settings.destructor == Destructor::MoveTables && uses_externref() {
        return unsupported("destructors that move tables");
    }
    Ok(())
}

/// The functions that a module imports, in order.
fn imported_functions(module: &decoded::Module, link: &LinkPlan) -> Vec<FuncIdentity> {
    let sources = link.0.iter().flatten().zip(&module.imports);
    let functions = sources.filter(|(_, import)| matches!(import.kind, ImportKind::Func(_)));
    let identity = |source: &ImportSource| match source.owner {
        Owner::Host => FuncIdentity::Host(source.index),
        Owner::Instance(instance) => FuncIdentity::Defined {
            instance,
            index: source.index,
        },
    };
    functions.map(|(source, _)| identity(source)).collect()
}

/// What a module is about to be given, for [`segments`].
struct Given {
    globals: Vec<Value>,
    table_sizes: Vec<u64>,
    memory_pages: Vec<u64>,
}

impl Given {
    fn new(store: &mut Store<Data>, imports: &[Extern]) -> Given {
        let mut given = Given {
            globals: Vec::new(),
            table_sizes: Vec::new(),
            memory_pages: Vec::new(),
        };
        for import in imports {
            match import {
                Extern::Global(global) => {
                    let mut scope = RootScope::new(&mut *store);
                    let value = global.get(&mut scope);
                    given.globals.push(host::show(&mut scope, &value));
                }
                Extern::Table(table) => given.table_sizes.push(table.size(&*store)),
                Extern::Memory(memory) => given.memory_pages.push(memory.size(&*store)),
                _ => {}
            }
        }
        given
    }
}

impl Imported for Given {
    fn global(&self, index: u32) -> Option<Value> {
        self.globals.get(index as usize).copied()
    }

    fn table_size(&self, index: u32) -> Option<u64> {
        self.table_sizes.get(index as usize).copied()
    }

    fn memory_pages(&self, index: u32) -> Option<u64> {
        self.memory_pages.get(index as usize).copied()
    }
}

/// The import with this index among those of one kind.
fn given_at<T>(imports: &[Extern], index: u32, kind: fn(&Extern) -> Option<T>) -> Option<T> {
    let mut of_kind = imports.iter().filter_map(kind);
    of_kind.nth(index as usize)
}
