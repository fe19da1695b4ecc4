//! The state of a store that can be seen: what snapshots show of it.

use std::mem;

use ::wasmtime::{
    AsContext, AsContextMut, Error, Extern, ExternRef, Global, Memory, Mutability, Ref, RootScope,
    Store, Table, Val,
};
use parallax_oracles::{Changes, Entity, ObjectId, Value};

use super::functions;
use super::host::{self, Data, object_id};
use super::objects::HostObject;
use crate::engine::shadow::{Shadows, Then};

/// Slots that are written in one step at most.
const SLOTS_A_STEP: u64 = 20_000;

/// All memories, tables and globals, in the order of their names.
#[derive(Default)]
pub struct Visible {
    memories: Vec<(Entity, Memory)>,
    tables: Vec<(Entity, Table)>,
    globals: Vec<(Entity, Global)>,
}

impl Visible {
    /// Adds something that was just made. Functions are no state.
    pub fn add(&mut self, entity: Entity, item: Extern) {
        match item {
            Extern::Memory(memory) => self.memories.push((entity, memory)),
            Extern::Table(table) => self.tables.push((entity, table)),
            Extern::Global(global) => self.globals.push((entity, global)),
            _ => {}
        }
    }

    fn memories(
        &self,
        context: &impl AsContext<Data = Data>,
        shadows: &mut Shadows<u64>,
        then: Then,
        changes: &mut Changes,
    ) {
        for (position, (entity, memory)) in self.memories.iter().enumerate() {
            let shadow = shadows.memory(position);
            let (pages, bytes) = (memory.size(context), memory.data(context));
            shadow.diff(*entity, pages, bytes, then, changes);
        }
    }

    fn tables(
        &self,
        context: &mut impl AsContextMut<Data = Data>,
        shadows: &mut Shadows<u64>,
        then: Then,
        changes: &mut Changes,
    ) {
        let mut elements = Vec::new();
        for (position, (entity, table)) in self.tables.iter().enumerate() {
            // What is read is held no longer than that.
            let mut scope = RootScope::new(&mut *context);
            let size = table.size(&scope);
            elements.clear();
            for index in 0..size {
                let element = table.get(&mut scope, index);
                elements.push(raw_element(&mut scope, element));
            }
            let functions = table.ty(&scope).element().heap_type().is_func();
            let show = |raw: u64| show_element(&mut scope, functions, raw);
            let shadow = shadows.table(position);
            let elements = elements.iter().copied();
            shadow.diff(*entity, 0, elements, show, then, changes);
        }
    }

    fn globals(
        &self,
        context: &mut impl AsContextMut<Data = Data>,
        shadows: &mut Shadows<u64>,
        then: Then,
        changes: &mut Changes,
    ) {
        for (position, (entity, global)) in self.globals.iter().enumerate() {
            let mut scope = RootScope::new(&mut *context);
            let value = global.get(&mut scope);
            let value = host::show(&mut scope, &value);
            shadows.global(position).diff(*entity, value, then, changes);
        }
    }

    /// Sets every externref in tables and globals to an object that shows nowhere, and back.
    ///
    /// # Errors
    /// What Wasmtime says, for lack of memory.
    fn rewrite(&self, store: &mut Store<Data>) -> Result<(), Error> {
        let log = store.data().log.clone();
        let mut scope = RootScope::new(store);
        let own = ExternRef::new(&mut scope, HostObject::hidden(&log, None))?;
        let tables = self.tables.iter().map(|(_, table)| table);
        let mut left = SLOTS_A_STEP;
        for table in tables {
            if !table.ty(&scope).element().heap_type().is_extern() {
                continue;
            }
            for index in 0..table.size(&scope).min(left) {
                let Some(element) = table.get(&mut scope, index) else {
                    continue;
                };
                table.set(&mut scope, index, Ref::Extern(Some(own)))?;
                table.set(&mut scope, index, element)?;
                left -= 1;
            }
        }
        for (_, global) in &self.globals {
            let ty = global.ty(&scope);
            if ty.content().is_externref() && ty.mutability() == Mutability::Var {
                let value = global.get(&mut scope);
                global.set(&mut scope, Val::ExternRef(Some(own)))?;
                global.set(&mut scope, value)?;
            }
        }
        Ok(())
    }
}

/// Sets every externref in tables and globals to an object that shows nowhere, and back.
///
/// # Errors
/// What Wasmtime says, for lack of memory.
pub fn rewrite(store: &mut Store<Data>) -> Result<(), Error> {
    let visible = mem::take(&mut store.data_mut().visible);
    let rewritten = visible.rewrite(store);
    store.data_mut().visible = visible;
    rewritten
}

/// Adds to `changes` what differs in memories, tables and globals from what was last shown; tables unless
/// they are looked at late.
pub fn show(context: &mut impl AsContextMut<Data = Data>, then: Then, changes: &mut Changes) {
    let late = context.as_context().data().tables_late;
    with(context, |context, visible, shadows| {
        visible.memories(context, shadows, then, changes);
        if !late {
            visible.tables(context, shadows, then, changes);
        }
        visible.globals(context, shadows, then, changes);
    });
}

/// The same for tables alone, late as it may be.
pub fn show_tables(context: &mut impl AsContextMut<Data = Data>, changes: &mut Changes) {
    with(context, |context, visible, shadows| {
        visible.tables(context, shadows, Then::Update, changes);
    });
}

/// Does something with what is visible and what was last shown of it, both of which the store carries.
fn with<C: AsContextMut<Data = Data>>(
    context: &mut C,
    show: impl FnOnce(&mut C, &Visible, &mut Shadows<u64>),
) {
    let mut store = context.as_context_mut();
    let data = store.data_mut();
    let (visible, mut shadows) = (mem::take(&mut data.visible), mem::take(&mut data.shadows));
    show(context, &visible, &mut shadows);
    let mut store = context.as_context_mut();
    let data = store.data_mut();
    (data.visible, data.shadows) = (visible, shadows);
}

/// In a shadow a function goes by the address of its record, a host object by its number plus one,
/// null by 0.
fn raw_element(context: &mut impl AsContextMut<Data = Data>, element: Option<Ref>) -> u64 {
    match element {
        Some(Ref::Func(Some(func))) => functions::address_of(context, &func) as u64,
        Some(Ref::Extern(Some(object))) => {
            object_id(context, &object).map_or(u64::MAX, |id| u64::from(id.0) + 1)
        }
        _ => 0,
    }
}

fn show_element(context: &mut impl AsContextMut<Data = Data>, functions: bool, raw: u64) -> Value {
    match (functions, u32::try_from(raw.wrapping_sub(1))) {
        (true, _) if raw == 0 => Value::Func(None),
        (true, _) => functions::show_address(context, raw as usize),
        (false, _) if raw == 0 => Value::Extern(None),
        (false, Ok(number)) => Value::Extern(Some(ObjectId(number))),
        (false, Err(_)) => Value::Dangling,
    }
}
