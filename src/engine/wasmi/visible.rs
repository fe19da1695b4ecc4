//! The state of a store that can be seen: what snapshots show of it, and how often each host
//! object is held.
//!
//! wasmi does not count references. What holds an object can be seen all the same, and at a host
//! call it is the lower bound that engines which do count are held to.

use std::collections::BTreeMap;
use std::mem;

use ::wasmi::{
    AsContext, Extern, ExternRef, Global, Memory, Nullable, Ref, RefType, StoreContext,
    StoreContextMut, Table, Val, ValType,
};
use parallax_oracles::{Changes, Entity, ObjectId, Value};

use super::handle::slot;
use super::host::{self, Data, object_id, show_function};
use crate::case::module as decoded;
use crate::engine::shadow::{Shadows, Then};

/// Slots that are looked at for one host call. Programs with more say nothing there.
const SLOTS_LOOKED_AT: u64 = 4096;

/// All memories, tables and globals, in the order of their names.
#[derive(Default)]
pub struct Visible {
    memories: Vec<(Entity, Memory)>,
    tables: Vec<(Entity, Table, RefType)>,
    globals: Vec<(Entity, Global, ValType)>,
    /// How many handles the host holds to an object.
    handles: BTreeMap<ObjectId, u64>,
    /// Objects whose number of handles changed since the last snapshot, with duplicates.
    handles_changed: Vec<ObjectId>,
}

impl Visible {
    /// Adds something that was just made. Functions are no state.
    pub fn add(&mut self, entity: Entity, item: Extern, context: StoreContext<'_, Data<'_>>) {
        match item {
            Extern::Func(_) => {}
            Extern::Memory(memory) => self.memories.push((entity, memory)),
            Extern::Table(table) => {
                let element = table.ty(context).element();
                self.tables.push((entity, table, element));
            }
            Extern::Global(global) => {
                let content = global.ty(context).content();
                self.globals.push((entity, global, content));
            }
        }
    }

    /// The host keeps handles to these objects.
    pub fn keep(&mut self, objects: &[ObjectId]) {
        for &id in objects {
            *self.handles.entry(id).or_default() += 1;
            self.handles_changed.push(id);
        }
    }

    /// Adds to `changes` the objects whose number of handles changed since this was last called.
    pub fn changed_handles(&mut self, changes: &mut Changes) {
        self.handles_changed.sort_unstable();
        self.handles_changed.dedup();
        let handles = &self.handles;
        let changed = self.handles_changed.drain(..);
        changes.handles.extend(changed.map(|id| (id, handles[&id])));
    }
}

/// Adds to `changes` what differs in memories, tables and globals from what the shadows hold.
pub fn show(mut context: StoreContextMut<'_, Data<'_>>, then: Then, changes: &mut Changes) {
    let mut shadows = mem::take(&mut context.data_mut().shadows);
    let seen = context.as_context();
    memories(seen, &mut shadows, then, changes);
    if seen.data().tables_may_differ {
        tables(seen, &mut shadows, then, changes);
    }
    globals(seen, &mut shadows, then, changes);
    let data = context.data_mut();
    data.shadows = shadows;
    if then == Then::Update {
        data.tables_may_differ = false;
    }
}

/// Whether a module has an instruction that writes to tables.
pub fn writes_tables(module: &decoded::Module) -> bool {
    // table.set, table.init, table.copy, table.grow, table.fill
    let writers = [
        &[0x26][..],
        &[0xfc, 12],
        &[0xfc, 14],
        &[0xfc, 15],
        &[0xfc, 17],
    ];
    writers.iter().any(|code| module.opcodes.has(code))
}

/// Adds to `changes` what differs in memories from what the shadows hold.
fn memories(
    context: StoreContext<'_, Data<'_>>,
    shadows: &mut Shadows<u64>,
    then: Then,
    changes: &mut Changes,
) {
    let memories = context.data().visible.memories.iter().enumerate();
    for (position, (entity, memory)) in memories {
        let shadow = shadows.memory(position);
        shadow.diff(
            *entity,
            memory.size(context),
            memory.data(context),
            then,
            changes,
        );
    }
}

/// The same for tables.
fn tables(
    context: StoreContext<'_, Data<'_>>,
    shadows: &mut Shadows<u64>,
    then: Then,
    changes: &mut Changes,
) {
    let tables = context.data().visible.tables.iter().enumerate();
    for (position, (entity, table, element)) in tables {
        let elements = (0..table.size(context) as u32)
            .map(|index| raw_element(context, table.get(context, u64::from(index))));
        let show = |raw| show_element(context, *element, raw);
        shadows
            .table(position)
            .diff(*entity, 0, elements, show, then, changes);
    }
}

/// The same for globals.
fn globals(
    context: StoreContext<'_, Data<'_>>,
    shadows: &mut Shadows<u64>,
    then: Then,
    changes: &mut Changes,
) {
    let globals = context.data().visible.globals.iter().enumerate();
    for (position, (entity, global, _)) in globals {
        let value = host::show(context, &global.get(context));
        shadows.global(position).diff(*entity, value, then, changes);
    }
}

/// In a shadow a function goes by its slot, a host object by its number plus one, null by 0.
fn raw_element(context: StoreContext<'_, Data<'_>>, element: Option<Ref>) -> u64 {
    match element {
        Some(Ref::Func(Nullable::Val(func))) => u64::from(slot(&func)),
        Some(Ref::Extern(Nullable::Val(object))) => {
            object_id(context, &object).map_or(u64::MAX, |id| u64::from(id.0) + 1)
        }
        _ => 0,
    }
}

fn show_element(context: StoreContext<'_, Data<'_>>, element: RefType, raw: u64) -> Value {
    match (element, u32::try_from(raw.wrapping_sub(1))) {
        (RefType::Func, _) if raw == 0 => Value::Func(None),
        (RefType::Func, _) => show_function(context.data(), raw as u32),
        (RefType::Extern, _) if raw == 0 => Value::Extern(None),
        (RefType::Extern, Ok(number)) => Value::Extern(Some(ObjectId(number))),
        (RefType::Extern, Err(_)) => Value::Dangling,
    }
}

/// How often each object is held at this moment, by number; empty if that would take long.
pub fn held(context: StoreContext<'_, Data<'_>>) -> Vec<(ObjectId, u64)> {
    let visible = &context.data().visible;
    let tables = || {
        let external = |table: &&(_, _, RefType)| matches!(table.2, RefType::Extern);
        visible.tables.iter().filter(external)
    };
    let slots: u64 = tables().map(|(_, table, _)| table.size(context)).sum();
    if slots > SLOTS_LOOKED_AT {
        return Vec::new();
    }
    let mut held = visible.handles.clone();
    let mut count = |object: Nullable<ExternRef>| {
        if let Nullable::Val(object) = object
            && let Some(id) = object_id(context, &object)
        {
            *held.entry(id).or_default() += 1;
        }
    };
    for (_, table, _) in tables() {
        for index in 0..table.size(context) {
            if let Some(Ref::Extern(object)) = table.get(context, index) {
                count(object);
            }
        }
    }
    for (_, global, content) in &visible.globals {
        if matches!(content, ValType::ExternRef)
            && let Val::ExternRef(object) = global.get(context.as_context())
        {
            count(object);
        }
    }
    held.into_iter().collect()
}
