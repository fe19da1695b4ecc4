//! Holding the runtime to its contracts, so that its faults are told from those of the code that
//! calls it.
//!
//! An audited store checks, whenever control goes over between generated code and the runtime:
//!
//! - **the ledger.** The count of every living object is the number of table slots, globals, host
//!   handles and entries of the activations table that hold it, and nothing holds a dropped one.
//!   Generated code that comes out with a ledger that is not in order has broken it: from then on
//!   nothing about counts is the runtime's fault. If it came out in order and the runtime goes on
//!   with one that is not, the runtime has broken it;
//! - **the effect.** What a builtin leaves behind, returns and traps on is what the specification
//!   says of the arguments that it was given and the state that it found, by a model of its own
//!   here. Whether those arguments were right is the caller's business;
//! - **liveness.** A reference that the runtime hands to generated code is in the activations
//!   table, and after a collection so is everything that a stack map shows.
//!
//! The first contract broken is kept ([`Breach`]). So blame for a difference goes to the runtime if
//! there is a breach, and to the code that called it if there is none. An audit copies memories and
//! tables at every call of a builtin; it is for one case at a time.

use std::collections::{HashMap, HashSet};
use std::fmt;

use parallax_oracles::TrapKind;

use super::callbacks::Slots;
use super::entry::{self, Stopped};
use super::store::Store;
use super::walk;
use crate::case::HostItemKind;
use crate::case::module::{ConstExpr, ConstOp, ValType};
use crate::translate::builtins::Builtin;
use crate::translate::memories::PAGE_BYTES;

/// What is wrong with a reference that generated code gets and the activations table does not hold.
const UNHELD: &str = "handed out a reference that nothing holds for the stack";

/// A contract that the runtime broke.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Breach {
    /// The part of the runtime: a builtin by name, or what else it was doing.
    pub part: String,
    /// What it did.
    pub what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.part, self.what)
    }
}

/// What an audit knows so far.
#[derive(Debug, Default)]
pub struct Audit {
    breach: Option<Breach>,
    /// Generated code has broken the ledger.
    tainted: bool,
    /// How many builtins are under way.
    depth: u32,
    /// The host item of the host function that is called.
    host_item: Option<u32>,
    /// Data segments that were to be dropped, by instance and index.
    dropped_data: HashSet<(u32, usize)>,
    /// The same of element segments.
    dropped_elements: HashSet<(u32, usize)>,
}

/// What builtins may change.
struct State {
    memories: Vec<Vec<u8>>,
    tables: Vec<Vec<u64>>,
}

/// What a builtin is to do.
struct Effect {
    result: Result<Option<u64>, TrapKind>,
    after: State,
}

impl Audit {
    /// The first contract broken.
    pub fn breach(self) -> Option<Breach> {
        self.breach
    }
}

impl Store<'_> {
    /// Runs a builtin, audited if the store is.
    ///
    /// # Errors
    /// Why wasm must stop.
    pub(super) fn builtin(
        &mut self,
        instance: u32,
        builtin: Builtin,
        arguments: &[u64],
    ) -> Result<u64, Stopped> {
        match &mut self.audit {
            Some(audit) if audit.depth == 0 => audit.depth += 1,
            _ => return self.run_builtin(instance, builtin, arguments),
        }
        self.audit_code();
        let before = State::of(self, builtin);
        let expected = self.effect(instance, builtin, arguments, &before);
        let result = self.run_builtin(instance, builtin, arguments);
        if let Some(audit) = &mut self.audit {
            audit.depth -= 1;
        }
        if !matches!(result, Err(Stopped::Trap(_)) | Ok(_)) {
            return result;
        }
        if let Some(what) = self.departs(builtin, &expected, &result) {
            self.breached(builtin.name(), what);
        }
        if let Some(what) = self.hands_out_unheld(builtin, arguments, &result) {
            self.breached(builtin.name(), what);
        }
        self.audit_runtime(builtin.name());
        result
    }

    /// Generated code comes out.
    pub(super) fn audit_code(&mut self) {
        if self.audit.is_none() || self.violation.is_none() && self.ledger_error().is_none() {
            return;
        }
        if let Some(audit) = &mut self.audit
            && audit.breach.is_none()
        {
            audit.tainted = true;
        }
    }

    /// The runtime has done some part of its work, and goes on to something else.
    pub(super) fn audit_runtime(&mut self, part: &str) {
        let Some(audit) = &self.audit else { return };
        if audit.tainted || audit.depth > 0 {
            return;
        }
        if let Some(what) = self.ledger_error() {
            self.breached(part, what);
        }
    }

    /// All that the store held has been released, by nobody but the runtime.
    pub(super) fn audit_teardown(&mut self) {
        let tainted = self.audit.as_ref().is_none_or(|audit| audit.tainted);
        if let Some(violation) = self.violation.clone().filter(|_| !tainted) {
            self.breached("teardown", format!("broke a rule: {violation}"));
        }
    }

    /// What the activations table holds, of a store that is audited.
    pub(super) fn audit_held(&self) -> Vec<u64> {
        match self.audit {
            Some(_) => self.activations.entries(),
            None => Vec::new(),
        }
    }

    /// A collection is over: all that stack maps show and that was held before must be held still.
    pub(super) fn audit_collection(&mut self, before: &[u64]) {
        let Some(audit) = &self.audit else { return };
        if audit.tainted {
            return;
        }
        let held = self.activations.entries();
        let lost = |reference: &u64| before.contains(reference) && !held.contains(reference);
        if self.on_stack().iter().any(lost) {
            self.breached(
                "collection",
                "gave up an object that a stack map shows".to_string(),
            );
        }
    }

    fn breached(&mut self, part: &str, what: String) {
        if let Some(audit) = &mut self.audit {
            audit.breach.get_or_insert(Breach {
                part: part.to_string(),
                what,
            });
        }
    }

    /// All references that stack maps show.
    fn on_stack(&self) -> Vec<u64> {
        let mut shown = Vec::new();
        let mut visit = |frame: walk::Frame, read: &dyn Fn(u64) -> Option<u64>| {
            let map = self
                .code_at(frame.return_address)
                .and_then(|(loaded, offset)| loaded.compiled.stack_map_at(offset));
            let Some((frame_size, slots)) = map else {
                return;
            };
            let lowest = frame.frame_pointer - u64::from(frame_size);
            let words = slots
                .iter()
                .filter_map(|slot| read(lowest + u64::from(*slot)));
            shown.extend(words.filter(|word| *word != 0));
        };
        // SAFETY: a collection runs in a builtin, or with no activation under way; the exit is the
        // last.
        unsafe { walk::walk(entry::current(), self.interrupts.exit(), &mut visit) };
        shown
    }

    /// What is wrong with the ledger.
    fn ledger_error(&self) -> Option<String> {
        // Where there are no objects there is nothing to count.
        self.objects.all().next()?;
        let mut holders: HashMap<u64, u64> = HashMap::new();
        let mut hold = |reference: u64| *holders.entry(reference).or_default() += 1;
        let of_objects = |ty: ValType| ty == ValType::ExternRef;
        for entry in self.tables.iter().filter(|it| of_objects(it.ty.element)) {
            (0..entry.table.size()).for_each(|index| hold(entry.table.get(index)));
        }
        for entry in self.globals.iter().filter(|it| of_objects(it.ty.value)) {
            let (block, offset) = self.site(&entry.site);
            hold(block.read_u64(offset));
        }
        self.activations.entries().into_iter().for_each(hold);
        holders.remove(&0);
        for object in self.objects.shown() {
            let held = holders.remove(&self.objects.address(object)).unwrap_or(0);
            let held = held + self.objects.handles(object);
            let id = self.objects.id(object);
            let (alive, count) = (self.objects.alive(object), self.objects.count(object));
            if alive && count != held {
                return Some(format!(
                    "left {id} with a count of {count}, held {held} times"
                ));
            }
            if !alive && held > 0 {
                return Some(format!("dropped {id}, which is still held"));
            }
        }
        None
    }

    /// What a builtin leaves behind that it should not, or the other way round.
    fn departs(
        &self,
        builtin: Builtin,
        expected: &Effect,
        result: &Result<u64, Stopped>,
    ) -> Option<String> {
        match (&expected.result, result) {
            (Ok(_), Err(Stopped::Trap(TrapKind::Host | TrapKind::Interrupted)))
                if builtin == Builtin::host_call =>
            {
                return None;
            }
            (Ok(_), Err(Stopped::Trap(kind))) => return Some(format!("trapped: {kind}")),
            (Err(kind), Ok(_)) => return Some(format!("did not trap: {kind}")),
            (Err(one), Err(Stopped::Trap(other))) if one != other => {
                return Some(format!("trapped: {other}, and not: {one}"));
            }
            (Ok(Some(value)), Ok(other)) if value != other => {
                return Some(format!("returned {other:#x}, and not {value:#x}"));
            }
            _ => {}
        }
        if builtin == Builtin::host_call {
            return None;
        }
        let after = State::of(self, builtin);
        if after.memories != expected.after.memories {
            return Some("left other bytes in memory than it should".to_string());
        }
        if after.tables != expected.after.tables {
            return Some("left other elements in a table than it should".to_string());
        }
        None
    }

    /// A reference that generated code gets and that the activations table does not hold.
    fn hands_out_unheld(
        &self,
        builtin: Builtin,
        arguments: &[u64],
        result: &Result<u64, Stopped>,
    ) -> Option<String> {
        let value = *result.as_ref().ok()?;
        let handed: Vec<u64> = match builtin {
            Builtin::externref_global_get => vec![value],
            Builtin::activations_table_insert_with_gc => vec![arguments[0]],
            Builtin::host_call => self.handed_by_host(arguments),
            _ => Vec::new(),
        };
        let held = self.activations.entries();
        let unheld = handed
            .iter()
            .any(|reference| *reference != 0 && !held.contains(reference));
        unheld.then(|| UNHELD.to_string())
    }

    /// The references that a host function returned, or passes to the function that it is about to call.
    fn handed_by_host(&self, arguments: &[u64]) -> Vec<u64> {
        let [_, values, ..] = arguments[..] else {
            return Vec::new();
        };
        let item = self.audit.as_ref().and_then(|audit| audit.host_item);
        let called = item.and_then(|item| {
            let item = self.case.host_items.get(item as usize)?;
            match &item.kind {
                HostItemKind::Func { ty, .. } => Some(ty),
                _ => None,
            }
        });
        let Some(ty) = called else { return Vec::new() };
        // SAFETY: the trampoline of the function passes a slot for each argument and result.
        let slots = unsafe { Slots::new(values, ty) };
        match self.calling_back {
            Some(_) => slots.references(&ty.called_back().params),
            None => slots.references(&ty.results),
        }
    }

    /// The host has handed references to generated code outside of a builtin, and generated code goes on.
    pub(super) fn audit_handed(&mut self, part: &str, handed: &[u64]) {
        if self.audit.is_some() && !handed.iter().all(|it| self.activations.holds(*it)) {
            self.breached(part, UNHELD.to_string());
        }
        self.audit_runtime(part);
    }

    /// What the specification says that a builtin does.
    fn effect(
        &mut self,
        instance: u32,
        builtin: Builtin,
        arguments: &[u64],
        before: &State,
    ) -> Effect {
        let argument = |position: usize| arguments.get(position).copied().unwrap_or_default();
        let mut after = State {
            memories: before.memories.clone(),
            tables: before.tables.clone(),
        };
        let Some(mut audit) = self.audit.take() else {
            return Effect {
                result: Ok(None),
                after,
            };
        };
        audit.host_item = (builtin == Builtin::host_call).then_some(instance);
        let result = match builtin {
            Builtin::host_call => Ok(None),
            _ => self.outcome(&mut audit, instance, builtin, &argument, before, &mut after),
        };
        self.audit = Some(audit);
        Effect { result, after }
    }

    fn outcome(
        &self,
        audit: &mut Audit,
        instance: u32,
        builtin: Builtin,
        argument: &dyn Fn(usize) -> u64,
        before: &State,
        after: &mut State,
    ) -> Result<Option<u64>, TrapKind> {
        let made = self.made(instance);
        let module = made.loaded.module;
        let defined_memory = |defined: u64| {
            made.memories[(u64::from(module.imported_memories()) + defined) as usize] as usize
        };
        let memory = |index: u64| made.memories[index as usize] as usize;
        let table = |index: u64| made.tables[index as usize] as usize;
        let result = match builtin {
            Builtin::memory32_grow | Builtin::imported_memory32_grow | Builtin::memory64_grow => {
                let number = match builtin {
                    Builtin::memory32_grow => defined_memory(argument(1)),
                    _ => memory(argument(1)),
                };
                let entry = &self.memories[number];
                let limit = self.case.settings.memory_limit.min(1 << 16);
                let most = entry.ty.max.map_or(limit, |max| max.min(limit));
                let old = entry.memory.pages();
                if old.saturating_add(argument(0)) > most {
                    let failed = match builtin {
                        Builtin::memory64_grow => u64::MAX,
                        _ => u64::from(u32::MAX),
                    };
                    Ok(Some(failed))
                } else {
                    let bytes = (old + argument(0)) * PAGE_BYTES;
                    after.memories[number].resize(bytes as usize, 0);
                    Ok(Some(old))
                }
            }
            Builtin::memory32_size => Ok(Some(
                self.memories[defined_memory(argument(0))].memory.pages(),
            )),
            Builtin::imported_memory32_size | Builtin::memory64_size => {
                Ok(Some(self.memories[memory(argument(0))].memory.pages()))
            }
            Builtin::memory_fill | Builtin::imported_memory_fill | Builtin::memory64_fill => {
                let number = match builtin {
                    Builtin::memory_fill => defined_memory(argument(0)),
                    _ => memory(argument(0)),
                };
                let target = &mut after.memories[number];
                // No more than fits is made, whatever is asked for.
                let length = argument(3).min(target.len() as u64 + 1);
                let bytes = vec![argument(2) as u8; length as usize];
                put(target, argument(1), &bytes).ok_or(TrapKind::MemoryOutOfBounds)
            }
            Builtin::memory_copy | Builtin::memory64_copy => {
                let source = &before.memories[memory(argument(2))];
                let target = &mut after.memories[memory(argument(0))];
                taken(source, argument(3), argument(4))
                    .and_then(|bytes| put(target, argument(1), bytes))
                    .ok_or(TrapKind::MemoryOutOfBounds)
            }
            Builtin::memory_init | Builtin::memory64_init => {
                let segment = argument(1) as usize;
                let dropped =
                    made.dropped_data[segment] || audit.dropped_data.contains(&(instance, segment));
                let bytes = match dropped {
                    true => &[],
                    false => module.data_bytes(segment),
                };
                taken(bytes, argument(3), argument(4))
                    .and_then(|bytes| {
                        put(&mut after.memories[memory(argument(0))], argument(2), bytes)
                    })
                    .ok_or(TrapKind::MemoryOutOfBounds)
            }
            Builtin::table_copy => {
                let source = &before.tables[table(argument(1))];
                let target = &mut after.tables[table(argument(0))];
                taken(source, argument(3), argument(4))
                    .and_then(|elements| put(target, argument(2), elements))
                    .ok_or(TrapKind::TableOutOfBounds)
            }
            Builtin::table_init => {
                let segment = argument(1) as usize;
                let dropped = made.dropped_elements[segment]
                    || audit.dropped_elements.contains(&(instance, segment));
                let items = match dropped {
                    true => &[][..],
                    false => &module.elements[segment].items[..],
                };
                let items: Vec<u64> = items
                    .iter()
                    .map(|item| self.reference_of(instance, item))
                    .collect();
                taken(&items, argument(3), argument(4))
                    .and_then(|elements| {
                        put(&mut after.tables[table(argument(0))], argument(2), elements)
                    })
                    .ok_or(TrapKind::TableOutOfBounds)
            }
            Builtin::table_fill_funcref | Builtin::table_fill_externref => {
                let target = &mut after.tables[table(argument(0))];
                // No more than fits is made.
                let length = argument(3).min(target.len() as u64 + 1);
                let elements = vec![argument(2); length as usize];
                put(target, argument(1), &elements).ok_or(TrapKind::TableOutOfBounds)
            }
            Builtin::table_grow_funcref | Builtin::table_grow_externref => {
                let number = table(argument(0));
                let entry = &self.tables[number];
                let limit = self.case.settings.table_limit;
                let most = entry.ty.max.map_or(limit, |max| max.min(limit));
                let old = after.tables[number].len() as u64;
                if old + argument(1) > most {
                    Ok(Some(u64::from(u32::MAX)))
                } else {
                    let size = (old + argument(1)) as usize;
                    after.tables[number].resize(size, argument(2));
                    Ok(Some(old))
                }
            }
            Builtin::externref_global_get => {
                let number = made.globals[argument(0) as usize] as usize;
                let (block, offset) = self.site(&self.globals[number].site);
                Ok(Some(block.read_u64(offset)))
            }
            _ => Ok(None),
        };
        match builtin {
            Builtin::data_drop => {
                let dropped = (instance, argument(0) as usize);
                audit.dropped_data.insert(dropped);
            }
            Builtin::elem_drop => {
                let dropped = (instance, argument(0) as usize);
                audit.dropped_elements.insert(dropped);
            }
            _ => {}
        }
        result
    }
}

impl Store<'_> {
    /// The reference that an item of an element segment is.
    fn reference_of(&self, instance: u32, item: &ConstExpr) -> u64 {
        let made = self.made(instance);
        match item.0.last() {
            Some(ConstOp::RefFunc(function)) => {
                let offset = made.loaded.layout.anyfunc(*function);
                made.vmctx.address_of(offset)
            }
            Some(ConstOp::GlobalGet(global)) => {
                let number = made.globals[*global as usize] as usize;
                let (block, offset) = self.site(&self.globals[number].site);
                block.read_u64(offset)
            }
            Some(ConstOp::Value(_) | ConstOp::Arithmetic(_)) | None => 0,
        }
    }
}

/// A part of a sequence, if it is there.
fn taken<T>(from: &[T], start: u64, length: u64) -> Option<&[T]> {
    from.get(start as usize..start.checked_add(length)? as usize)
}

/// Puts elements into a sequence, if there is room.
fn put<T: Copy>(into: &mut [T], start: u64, elements: &[T]) -> Option<Option<u64>> {
    let end = start.checked_add(elements.len() as u64)?;
    into.get_mut(start as usize..end as usize)?
        .copy_from_slice(elements);
    Some(None)
}

impl State {
    /// What a builtin may change, or as much of it as it has to do with.
    fn of(store: &Store<'_>, builtin: Builtin) -> State {
        let name = builtin.name();
        let mut state = State {
            memories: Vec::new(),
            tables: Vec::new(),
        };
        if name.contains("memory") {
            let memories = store.memories.iter();
            state.memories = memories.map(|it| it.memory.bytes().to_vec()).collect();
        }
        if name.starts_with("table_") {
            let tables = store.tables.iter().map(|entry| &entry.table);
            let elements = tables.map(|it| (0..it.size()).map(|index| it.get(index)).collect());
            state.tables = elements.collect();
        }
        state
    }
}
