//! The host's side of a store: what it provides to imports, and calls of its functions.
//!
//! A host function is a trampoline with a *host context* in place of a vmctx: a block that starts
//! as every vmctx does, names the host item where a vmctx names the instance, and ends after the
//! first builtin's address, which is that of `host_call`.

use std::ptr;

use parallax_oracles::{Entity, Event, FuncIdentity, Owner, Reason, TrapKind, Value};

use super::block::Block;
use super::callbacks::Slots;
use super::instance::{Function, GlobalEntry, MemoryEntry, Site, TableEntry};
use super::memory::Memory;
use super::store::Store;
use super::table::Table;
use crate::case::host::fill_with_pattern;
use crate::case::{HostItemKind, module::MemoryType};
use crate::translate::builtins::Builtin;
use crate::translate::layout::{HOST_CONTEXT_MAGIC, VMCTX_MAGIC, anyfunc, head};
use crate::translate::memories::MemoryPlan;

/// What a host item is in a store.
pub(super) enum HostThing {
    /// A function: its context and anyfunc, and what it is to an importer.
    Func {
        /// Kept alive for generated code, which has its address.
        _context: Block,
        record: Block,
        function: Function,
    },
    Table(u32),
    Memory(u32),
    Global(u32),
}

/// The addresses of the trampolines of a host item, 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostTrampolines {
    /// By which wasm calls it, if it is a function.
    pub to_host: u64,
    /// By which it calls functions of wasm, if it calls any.
    pub call_back: u64,
}

impl<'case> Store<'case> {
    /// Makes the host items of the case.
    pub(super) fn make_host_things(&mut self) -> Result<(), Reason> {
        let case = self.case;
        for (index, item) in case.host_items.iter().enumerate() {
            let index = index as u32;
            let entity = Entity {
                owner: Owner::Host,
                index,
            };
            let thing = match &item.kind {
                HostItemKind::Func { ty, .. } => {
                    let type_id = self.type_id(ty);
                    let trampoline = self.host_trampolines[index as usize].to_host;
                    self.host_function(index, trampoline, type_id)
                }
                HostItemKind::Memory { ty, patterned } => {
                    let site = Site::Host(self.heap.block(16));
                    let number = self.add_memory(*ty, site, entity)?;
                    if *patterned {
                        fill_with_pattern(self.memories[number as usize].memory.bytes_mut());
                    }
                    HostThing::Memory(number)
                }
                HostItemKind::Table { ty, .. } => {
                    if ty.min > self.case.settings.table_limit {
                        return Err(Reason::AllocationRefused);
                    }
                    let site = Site::Host(self.heap.block(16));
                    let max = ty
                        .max
                        .unwrap_or(u64::MAX)
                        .min(self.case.settings.table_limit);
                    let table = Table::new(&self.heap, ty.element, ty.min as u32, max);
                    self.tables.push(TableEntry {
                        table,
                        site,
                        ty: *ty,
                        entity,
                    });
                    let number = self.tables.len() as u32 - 1;
                    self.define_table(number);
                    HostThing::Table(number)
                }
                HostItemKind::Global { ty, value } => {
                    let block = self.heap.block(16);
                    let raw = self.value_to_keep(value);
                    block.write_u128(0, raw);
                    self.globals.push(GlobalEntry {
                        site: Site::Host(block),
                        ty: *ty,
                        entity,
                    });
                    HostThing::Global(self.globals.len() as u32 - 1)
                }
            };
            self.host_things.push(thing);
        }
        self.fill_host_tables();
        Ok(())
    }

    /// Puts host functions into host tables, now that both exist.
    fn fill_host_tables(&mut self) {
        let case = self.case;
        for (item, thing) in case.host_items.iter().zip(&self.host_things) {
            let (HostItemKind::Table { elements, .. }, HostThing::Table(table)) =
                (&item.kind, thing)
            else {
                continue;
            };
            for (index, function) in elements {
                if let Some(HostThing::Func { record, .. }) =
                    self.host_things.get(*function as usize)
                {
                    let entry = &mut self.tables[*table as usize];
                    if *index < entry.table.size() {
                        entry.table.replace(*index, record.address());
                    }
                }
            }
        }
    }

    fn host_function(&mut self, item: u32, trampoline: u64, type_id: u32) -> HostThing {
        let context = self.heap.block(head::BUILTINS + 8);
        self.write_head(&context, item);
        context.write_u32(head::MAGIC, HOST_CONTEXT_MAGIC);
        context.write_u64(head::BUILTINS, self.builtins[Builtin::host_call as usize]);
        let function = Function {
            code: trampoline,
            vmctx: context.address(),
            type_id,
            identity: FuncIdentity::Host(item),
        };
        let record = self.heap.block(anyfunc::SIZE);
        write_anyfunc(&record, 0, &function);
        HostThing::Func {
            _context: context,
            record,
            function,
        }
    }

    /// Writes the fields that every vmctx starts with.
    pub(super) fn write_head(&mut self, block: &Block, instance: u32) {
        block.write_u32(head::MAGIC, VMCTX_MAGIC);
        block.write_u32(head::INSTANCE, instance);
        block.write_u64(head::INTERRUPTS, self.interrupts.address());
        block.write_u64(head::ACTIVATIONS, self.activations.address());
        block.write_u64(head::STORE, ptr::from_mut(self).expose_provenance() as u64);
    }

    /// The address of a host function's anyfunc.
    pub(super) fn host_record(&self, item: u32) -> u64 {
        match self.host_things.get(item as usize) {
            Some(HostThing::Func { record, .. }) => record.address(),
            _ => 0,
        }
    }

    /// Makes a memory.
    pub(super) fn add_memory(
        &mut self,
        ty: MemoryType,
        site: Site,
        entity: Entity,
    ) -> Result<u32, Reason> {
        let settings = &self.case.settings;
        if ty.min > settings.memory_limit {
            return Err(Reason::AllocationRefused);
        }
        let max = ty.max.unwrap_or(1 << 16).min(settings.memory_limit);
        let moves = MemoryPlan::new(settings.memory_style, &ty) == MemoryPlan::Dynamic;
        let memory = Memory::new(&mut self.pool, ty.min, max, moves)
            .map_err(|_| Reason::AllocationRefused)?;
        self.memories.push(MemoryEntry {
            memory,
            site,
            ty,
            entity,
        });
        let number = self.memories.len() as u32 - 1;
        self.define_memory(number);
        Ok(number)
    }

    /// Writes a memory's definition where generated code reads it. A thing of an instance that is
    /// not yet made is defined when that is.
    pub(super) fn define_memory(&self, number: u32) {
        let entry = &self.memories[number as usize];
        if self.made_by_existing(&entry.site) {
            let (block, offset) = self.site(&entry.site);
            entry.memory.define(block, offset);
        }
    }

    /// Writes a table's definition where generated code reads it.
    pub(super) fn define_table(&self, number: u32) {
        let entry = &self.tables[number as usize];
        if self.made_by_existing(&entry.site) {
            let (block, offset) = self.site(&entry.site);
            entry.table.define(block, offset);
        }
    }

    pub(super) fn made_by_existing(&self, site: &Site) -> bool {
        match site {
            Site::Host(_) => true,
            Site::Instance { instance, .. } => self.instance(*instance).is_some(),
        }
    }

    /// `host_call`: runs a host function on the arguments in memory at `values`.
    pub(super) fn call_host(&mut self, item: u32, values: u64) -> Result<u64, TrapKind> {
        let case = self.case;
        let Some(HostItemKind::Func { ty, .. }) =
            case.host_items.get(item as usize).map(|item| &item.kind)
        else {
            self.violate("a call of a host function that does not exist".to_string());
            return Err(TrapKind::Host);
        };
        // SAFETY: the trampoline for this type passes a slot for each argument and result.
        let slots = unsafe { Slots::new(values, ty) };
        let args = ty.params.iter().enumerate();
        let args: Vec<Value> = args
            .map(|(index, ty)| self.value_of_raw(slots.read(index), *ty))
            .collect();
        // Nothing but these arguments may hold the objects any more, and the host may collect.
        let held = slots.references(&ty.params);
        for reference in &held {
            self.handed_on(*reference);
            self.retain(*reference);
        }
        let counts = self.live_counts();
        let looks = self.host.looks(case, item);
        let state = looks.then(|| Box::new(self.look()));
        self.events.push(Event::HostCall {
            function: item,
            args: args.clone(),
            counts,
            state,
        });
        let answer = self.host.call(case, item, &args);
        self.host_had_enough |= answer.enough;
        for object in &answer.keep {
            self.keep(*object);
        }
        if answer.collect {
            self.collect();
        }
        if answer.interrupt {
            self.host_interrupted = true;
            self.interrupts.interrupt();
        }
        if let Some(function) = answer.call {
            return self.pass_on(item, ty, function, slots, &held);
        }
        for (index, value) in answer.results.iter().enumerate() {
            let raw = self.value_from_host_function(value);
            slots.write(index, raw);
        }
        for reference in held {
            self.release(reference);
        }
        match answer.enough {
            // What that means is seen at the end of the step.
            true => Err(TrapKind::Host),
            false => answer.trap.map_or(Ok(0), Err),
        }
    }
}

/// Writes a function's anyfunc into a block.
pub(super) fn write_anyfunc(block: &Block, offset: u32, function: &Function) {
    block.write_u64(offset + anyfunc::FUNC_PTR, function.code);
    block.write_u32(offset + anyfunc::TYPE_ID, function.type_id);
    block.write_u64(offset + anyfunc::VMCTX, function.vmctx);
}
