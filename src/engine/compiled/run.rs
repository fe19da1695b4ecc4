//! A run of a case, in a store that generated code reaches by its address.

use parallax_oracles::{Changes, Event, Outcome, Value};

use super::Compiled;
use crate::case::{Action, Case, LinkPlan};
use crate::engine::Run;
use crate::runtime::store::Store;

/// One run of a case. The store is held by address, since generated code reaches it so.
pub(super) struct CompiledRun<'run> {
    pub(super) engine: &'run mut Compiled,
    pub(super) case: &'run Case,
    /// From `Box::into_raw`; null if the host's things could not be made.
    pub(super) store: *mut Store<'run>,
    pub(super) refused: Option<Outcome>,
    /// Steps performed.
    pub(super) steps: usize,
}

impl CompiledRun<'_> {
    fn invoke(&mut self, instance: u32, function: u32, args: &[Value]) -> Outcome {
        // SAFETY: the store is alive until `finish` or drop, and no reference to it is.
        let ty = match unsafe { (*self.store).usable(instance) } {
            Some(made) => made.loaded.module.function_type(function),
            None => return Outcome::Skipped,
        };
        let Some(trampoline) = self.engine.trampolines.entry.get(ty) else {
            return Outcome::Failed("a call of a type without a trampoline".to_string());
        };
        // SAFETY: as above, and the trampoline is the one for the function's type.
        unsafe { Store::invoke(self.store, instance, function, *trampoline, args) }
    }

    fn instantiate(&mut self, module: usize, plan: &LinkPlan) -> Outcome {
        // SAFETY: the store is alive, and this is the only reference to it.
        let instance = match unsafe { (*self.store).instantiate(module, plan) } {
            Ok(instance) => instance,
            // SAFETY: as above.
            Err(failure) => return unsafe { (*self.store).conclude(failure.into()) },
        };
        // SAFETY: as above.
        unsafe { (*self.store).set_usable(instance) };
        let Some(start) = self.case.modules[module].start else {
            // SAFETY: as above.
            return unsafe { (*self.store).conclude(Outcome::Returned(Vec::new())) };
        };
        let outcome = self.invoke(instance, start, &[]);
        if !matches!(outcome, Outcome::Returned(_)) {
            // SAFETY: as above.
            unsafe { (*self.store).set_unusable(instance) };
        }
        outcome
    }
}

impl Run for CompiledRun<'_> {
    fn perform(&mut self, action: &Action, events: &mut Vec<Event>) -> Outcome {
        if let Some(outcome) = &self.refused {
            return outcome.clone();
        }
        // SAFETY: the store is alive, and this is the only reference to it.
        unsafe { (*self.store).begin_step() };
        let outcome = match action {
            Action::Instantiate { module, link } => self.instantiate(*module, link),
            Action::Invoke {
                instance,
                function,
                args,
                ..
            } => self.invoke(*instance, *function, args),
            Action::Get {
                instance, global, ..
            } => {
                // SAFETY: the store is alive, and this is the only reference to it.
                unsafe { (*self.store).global_value(*instance, *global) }
            }
            // SAFETY: as above.
            Action::Collect => unsafe { (*self.store).collect_now() },
        };
        // SAFETY: as above.
        let (torn, widened) = unsafe {
            (*self.store).take_events(events);
            ((*self.store).take_torn(), (*self.store).take_widened())
        };
        let torn = torn.into_iter().map(|(of, bytes)| (self.steps, of, bytes));
        self.engine.torn.extend(torn);
        if widened {
            self.engine.widened.push(self.steps);
        }
        self.steps += 1;
        outcome
    }

    fn snapshot(&mut self, changes: &mut Changes) {
        if self.refused.is_none() {
            // SAFETY: the store is alive, and this is the only reference to it.
            unsafe { (*self.store).snapshot(changes) };
        }
    }

    fn shows_all_references(&self) -> bool {
        // SAFETY: the store is alive, and this is the only reference to it.
        self.refused.is_some() || unsafe { !(*self.store).hides_references() }
    }

    fn finish(self: Box<Self>, events: &mut Vec<Event>) -> Outcome {
        if self.refused.is_some() {
            return Outcome::Returned(Vec::new());
        }
        // SAFETY: the store is alive, and this is the only reference to it.
        unsafe {
            let outcome = (*self.store).tear_down();
            (*self.store).take_events(events);
            outcome
        }
    }
}

impl Drop for CompiledRun<'_> {
    fn drop(&mut self) {
        if !self.store.is_null() {
            // SAFETY: from `Box::into_raw`, and nothing refers to it any more.
            let mut store = unsafe { Box::from_raw(self.store) };
            self.engine.breach = store.take_breach();
            self.engine.reusable = Some(store.dismantle());
        }
    }
}
