//! One run of a case in wasmi.

use std::borrow::Cow;
use std::mem;

use ::wasmi::{AsContext, AsContextMut, Engine, Extern, Func, Instance, Module, Store, Val};
use parallax_oracles::{Changes, Entity, Event, FuncIdentity, Outcome, Owner, Value};

use super::aliases;
use super::frames;
use super::handle::slot;
use super::host::{self, Data, Made};
use super::outcome::outcome_of;
use super::visible;
use super::{Wasmi, guard};
use crate::case::module::{self as decoded, ImportKind};
use crate::case::{Action, Case, ImportSource, LinkPlan};
use crate::engine::segments::{self, Imported};
use crate::engine::shadow::{Shadows, Then};
use crate::engine::{Refusal, Run};

/// A run of a case.
pub struct WasmiRun<'run> {
    shadows: &'run mut Shadows<u64>,
    case: &'run Case,
    /// The modules of the case without their start sections, compiled.
    modules: Vec<Module>,
    store: Store<Data<'run>>,
    /// Whether frames must be kept apart, see [`frames`].
    tail_calls: bool,
}

impl<'run> WasmiRun<'run> {
    /// Compiles the modules of a case and makes its host items.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if wasmi refuses a module, [`Refusal::Unsupported`] if a host item
    /// cannot be made.
    pub fn start(wasmi: &'run mut Wasmi, case: &'run Case) -> Result<WasmiRun<'run>, Refusal> {
        wasmi.shadows.clear();
        let engine = Engine::new(&wasmi.config);
        let tail_calls = case.modules.iter().any(frames::has_tail_calls);
        let modules = case
            .modules
            .iter()
            .map(|module| {
                let wasm = prepared(module, tail_calls)?;
                Module::new(&engine, &*wasm).map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()
            .map_err(Refusal::Invalid)?;
        let shadows = mem::take(&mut wasmi.shadows);
        let mut store = Store::new(&engine, Data::new(case, shadows));
        store.limiter(|data| &mut data.limits);
        host::make_items(&mut store).map_err(Refusal::Unsupported)?;
        let mut run = WasmiRun {
            shadows: &mut wasmi.shadows,
            case,
            modules,
            store,
            tail_calls,
        };
        for index in 0..case.host_items.len() {
            let item = run.store.data().host_items[index];
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
        let mut visible = mem::take(&mut self.store.data_mut().visible);
        visible.add(entity, item, self.store.as_context());
        self.store.data_mut().visible = visible;
    }

    fn act(&mut self, action: &Action) -> Outcome {
        if let Err(error) = self.store.set_fuel(self.case.settings.fuel) {
            return outcome_of(&error);
        }
        let case = self.case;
        let data = self.store.data_mut();
        data.host.begin_step(case);
        data.tables_may_differ |=
            data.code_writes_tables || matches!(action, Action::Instantiate { .. });
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
            // What only the stack held is not kept alive in wasmi, and not told apart either.
            Action::Collect => Outcome::Returned(Vec::new()),
        }
    }

    /// Instantiates a module, then calls its start function.
    fn instantiate(&mut self, module: usize, link: &LinkPlan) -> Outcome {
        let number = self.store.data().instances.len() as u32;
        // The number is used up whatever happens.
        self.store.data_mut().instances.push(Made {
            module,
            instance: None,
            succeeded: false,
        });
        match self.link_and_start(number, module, link) {
            Ok(()) => {
                self.store.data_mut().instances[number as usize].succeeded = true;
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
        let given = Given {
            store: &self.store,
            imports: &imports,
        };
        let stop = segments::stop(decoded, &given);
        let aliases = aliases::of_memories(decoded, &imports);
        let compiled = match (&stop, &aliases) {
            (None, None) => Cow::Borrowed(&self.modules[module]),
            _ => {
                let mut wasm = prepared(decoded, self.tail_calls).map_err(Outcome::Failed)?;
                if let Some(firsts) = &aliases {
                    wasm = Cow::Owned(aliases::merged(&wasm, firsts).map_err(Outcome::Failed)?);
                }
                if let Some(stop) = stop {
                    let stopped = segments::with_segments_stopped(&wasm, stop);
                    wasm = Cow::Owned(stopped.map_err(Outcome::Failed)?);
                }
                let module = Module::new(self.store.engine(), wasm);
                Cow::Owned(module.map_err(|error| Outcome::Failed(error.to_string()))?)
            }
        };
        let made = Instance::new(&mut self.store, &compiled, &imports);
        let instance = match made {
            Ok(instance) => instance,
            Err(error) => {
                self.count_functions_of_failed(number);
                return Err(outcome_of(&error));
            }
        };
        self.store.data_mut().instances[number as usize].instance = Some(instance);
        self.count_functions(number, &instance)?;
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
                instance.get_func(&self.store, name)
            }
            None => given_at(&imports, start, Extern::into_func),
        };
        let Some(start) = start else {
            return Err(Outcome::Failed("no start function".to_string()));
        };
        start
            .call(&mut self.store, &[], &mut [])
            .map_err(|error| outcome_of(&error))
    }

    /// The externals for a module's imports, in the order that wasmi wants them in: functions,
    /// tables, memories, globals, whatever order the module has them in.
    fn imports(&self, module: usize, link: &LinkPlan) -> Result<Vec<Extern>, Outcome> {
        let wanted = &self.case.modules[module].imports;
        if link.0.len() != wanted.len() || link.0.contains(&None) {
            return Err(Outcome::Unlinkable);
        }
        let mut externals = Vec::with_capacity(wanted.len());
        for (source, import) in link.0.iter().flatten().zip(wanted) {
            let rank = match import.kind {
                ImportKind::Func(_) => 0,
                ImportKind::Table(_) => 1,
                ImportKind::Memory(_) => 2,
                ImportKind::Global(_) => 3,
            };
            externals.push((rank, self.import(source, &import.kind)?));
        }
        externals.sort_by_key(|(rank, _)| *rank);
        Ok(externals
            .into_iter()
            .map(|(_, external)| external)
            .collect())
    }

    fn import(&self, source: &ImportSource, kind: &ImportKind) -> Result<Extern, Outcome> {
        let data = self.store.data();
        let number = match source.owner {
            Owner::Host => {
                let item = data.host_items.get(source.index as usize);
                return item.copied().ok_or(Outcome::Unlinkable);
            }
            Owner::Instance(number) => number,
        };
        // What an instance that was never made would have provided cannot be linked to.
        let made = data
            .instances
            .get(number as usize)
            .filter(|made| made.succeeded)
            .ok_or(Outcome::Skipped)?;
        let exports = &self.case.modules[made.module];
        exports
            .exports_of(kind)
            .get(source.index as usize)
            .and_then(|name| made.instance?.get_export(&self.store, name))
            .ok_or(Outcome::Unlinkable)
    }

    /// Names the functions that a new instance put into the store, and makes sure that they lie
    /// where they are thought to.
    fn count_functions(&mut self, number: u32, instance: &Instance) -> Result<(), Outcome> {
        let module = &self.case.modules[self.store.data().instances[number as usize].module];
        let (imported, all) = (module.imported_functions(), module.functions.len() as u32);
        let before = self.store.data().functions.len() as u32;
        for (index, expected) in [(imported, before + 1), (all - 1, before + all - imported)] {
            if imported == all {
                break;
            }
            let name = &module.function_exports[index as usize];
            let found = instance.get_func(&self.store, name);
            if found.map(|func| slot(&func)) != Some(expected) {
                return Err(Outcome::Failed(format!(
                    "function {index} has no slot of its own"
                )));
            }
        }
        self.name_functions(number, imported, all - imported);
        Ok(())
    }

    /// The same after an instantiation that failed: it may have come as far as making functions.
    /// A probe tells how many slots are taken.
    fn count_functions_of_failed(&mut self, number: u32) {
        let probe = Func::wrap(&mut self.store, || {});
        let data = self.store.data();
        let taken = slot(&probe).saturating_sub(1);
        let new = taken.saturating_sub(data.functions.len() as u32);
        let imported =
            self.case.modules[data.instances[number as usize].module].imported_functions();
        self.name_functions(number, imported, new);
        // The probe's own slot, which nothing refers to.
        self.name_functions(number, u32::MAX, 1);
    }

    fn name_functions(&mut self, instance: u32, first: u32, count: u32) {
        let identities = (0..count).map(|offset| FuncIdentity::Defined {
            instance,
            index: first.saturating_add(offset),
        });
        self.store.data_mut().functions.extend(identities);
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
                if let Some(item) = instance.get_export(&self.store, name) {
                    self.show(Owner::Instance(number), index, item);
                }
            }
        }
    }

    /// The instance of that number and the position of its module, if it was made.
    fn instance(&self, number: u32) -> Option<(Instance, usize)> {
        let made = self.store.data().instances.get(number as usize)?;
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
            .and_then(|name| instance.get_func(&self.store, name));
        let Some(func) = func else {
            return Outcome::Failed(format!("function {function} is not exported"));
        };
        let mut lowered = Vec::with_capacity(args.len());
        for arg in args {
            match host::lower((&mut self.store).into(), *arg) {
                Some(arg) => lowered.push(arg),
                None => return Outcome::Failed(format!("no value {arg}")),
            }
        }
        let mut results = vec![Val::I32(0); module.function_type(function).results.len()];
        match func.call(&mut self.store, &lowered, &mut results) {
            Ok(()) => {
                let context = self.store.as_context();
                Outcome::Returned(
                    results
                        .iter()
                        .map(|result| host::show(context, result))
                        .collect(),
                )
            }
            Err(error) => outcome_of(&error),
        }
    }

    fn get(&mut self, instance: u32, global: u32) -> Outcome {
        let Some((instance, module)) = self.instance(instance) else {
            return Outcome::Skipped;
        };
        let found = self.case.modules[module]
            .global_exports
            .get(global as usize)
            .and_then(|name| instance.get_global(&self.store, name));
        match found {
            Some(global) => {
                let value = global.get(&self.store);
                Outcome::Returned(vec![host::show(self.store.as_context(), &value)])
            }
            None => Outcome::Failed(format!("global {global} is not exported")),
        }
    }
}

impl Run for WasmiRun<'_> {
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome {
        let outcome = guard(|| self.act(action)).unwrap_or_else(Outcome::Failed);
        events.append(&mut self.store.data_mut().events);
        outcome
    }

    fn snapshot(&mut self, changes: &mut Changes) {
        visible::show(self.store.as_context_mut(), Then::Update, changes);
        self.store.data_mut().visible.changed_handles(changes);
    }

    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome {
        // wasmi keeps every externref until the store is gone and says nothing of it.
        let WasmiRun { shadows, store, .. } = *self;
        let data = store.into_data();
        events.extend(data.events);
        *shadows = data.shadows;
        Outcome::Returned(Vec::new())
    }
}

/// A module as wasmi gets it.
fn prepared(module: &decoded::Module, tail_calls: bool) -> Result<Cow<'_, [u8]>, String> {
    let wasm = segments::without_start(module);
    match tail_calls {
        true => frames::apart(&wasm),
        false => Ok(wasm),
    }
}

/// What a module is about to be given, for [`segments`].
struct Given<'a, 'run> {
    store: &'a Store<Data<'run>>,
    imports: &'a [Extern],
}

impl Imported for Given<'_, '_> {
    fn global(&self, index: u32) -> Option<Value> {
        let global = given_at(self.imports, index, Extern::into_global)?;
        Some(host::show(self.store.as_context(), &global.get(self.store)))
    }

    fn table_size(&self, index: u32) -> Option<u64> {
        Some(given_at(self.imports, index, Extern::into_table)?.size(self.store))
    }

    fn memory_pages(&self, index: u32) -> Option<u64> {
        Some(given_at(self.imports, index, Extern::into_memory)?.size(self.store))
    }
}

/// The import with this index among those of one kind.
fn given_at<T>(imports: &[Extern], index: u32, kind: fn(Extern) -> Option<T>) -> Option<T> {
    let mut of_kind = imports.iter().filter_map(|import| kind(*import));
    of_kind.nth(index as usize)
}
