//! Between what a store holds and what an observation shows: values, functions, objects.

use std::mem;

use parallax_oracles::{Changes, Entity, FuncIdentity, ObjectId, Owner, Value};

use super::store::Store;
use crate::case::module::ValType;
use crate::engine::shadow::Then;
use crate::score::Fault;

impl Store<'_> {
    /// A value, as bits in a slot, about to go to wasm. A reference is put into the activations
    /// table, which never collects here: the references that go with it are not on the stack yet.
    pub(super) fn value_for_wasm(&mut self, value: &Value) -> u128 {
        match value {
            Value::Extern(Some(id)) => {
                let address = self.object(*id);
                self.retain(address);
                self.activations.insert(address);
                u128::from(address)
            }
            value => self.raw_of_number(value),
        }
    }

    /// A result of a host function, on its way to wasm. A new object is wasm's alone: the count
    /// it is made with becomes that of the activations table.
    pub(super) fn value_from_host_function(&mut self, value: &Value) -> u128 {
        match value {
            Value::Extern(Some(id)) => {
                let address = match self.objects.find(*id) {
                    Some(object) => {
                        let address = self.objects.address(object);
                        self.retain(address);
                        address
                    }
                    None => self.create(*id),
                };
                if !self.planted(Fault::HostResultNotInserted) {
                    self.activations.insert(address);
                }
                u128::from(address)
            }
            value => self.raw_of_number(value),
        }
    }

    /// A value that a slot will hold: retained, if it is a reference.
    pub(super) fn value_to_keep(&mut self, value: &Value) -> u128 {
        match value {
            Value::Extern(Some(id)) => {
                let address = self.object(*id);
                self.retain(address);
                u128::from(address)
            }
            value => self.raw_of_number(value),
        }
    }

    /// The bits of a value that is no host object.
    pub(super) fn raw_of_number(&self, value: &Value) -> u128 {
        match *value {
            Value::I32(value) => u128::from(value as u32),
            Value::I64(value) => u128::from(value as u64),
            Value::F32(bits) => u128::from(bits),
            Value::F64(bits) => u128::from(bits),
            Value::V128(bits) => bits,
            Value::Func(Some(identity)) => u128::from(self.record_of(identity)),
            Value::Func(None) | Value::Extern(_) | Value::Dangling => 0,
        }
    }

    fn record_of(&self, identity: FuncIdentity) -> u64 {
        match identity {
            FuncIdentity::Host(item) => self.host_record(item),
            FuncIdentity::Defined { instance, index } => {
                self.instance(instance).map_or(0, |instance| {
                    instance
                        .vmctx
                        .address_of(instance.loaded.layout.anyfunc(index))
                })
            }
        }
    }

    /// The value that the bits in a slot stand for.
    pub fn value_of_raw(&self, raw: u128, ty: ValType) -> Value {
        match ty {
            ValType::I32 => Value::I32(raw as u32 as i32),
            ValType::I64 => Value::I64(raw as u64 as i64),
            ValType::F32 => Value::F32(raw as u32),
            ValType::F64 => Value::F64(raw as u64),
            ValType::V128 => Value::V128(raw),
            ValType::FuncRef => self.function_at(raw as u64),
            ValType::ExternRef => self.object_at(raw as u64),
        }
    }

    /// The function whose anyfunc is at an address.
    fn function_at(&self, address: u64) -> Value {
        if address == 0 {
            return Value::Func(None);
        }
        for instance in self.instances.iter().flatten() {
            if let Some(offset) = instance.vmctx.offset_of(address) {
                let function = instance.loaded.layout.function_of_anyfunc(offset);
                return function.map_or(Value::Dangling, |function| {
                    Value::Func(Some(instance.functions[function as usize].identity))
                });
            }
        }
        let host =
            (0..self.host_things.len() as u32).find(|item| self.host_record(*item) == address);
        host.map_or(Value::Dangling, |item| {
            Value::Func(Some(FuncIdentity::Host(item)))
        })
    }

    /// The object whose header is at an address.
    fn object_at(&self, address: u64) -> Value {
        if address == 0 {
            return Value::Extern(None);
        }
        match self.objects.at(address) {
            Some(object) if self.objects.alive(object) => {
                Value::Extern(Some(self.objects.id(object)))
            }
            _ => Value::Dangling,
        }
    }

    /// Adds to `changes` what differs in memories, tables, globals and counts from what was last shown.
    pub fn snapshot(&mut self, changes: &mut Changes) {
        self.show(Then::Update, changes);
        self.snapshot_counts(changes);
    }

    /// What differs in memories, tables and globals from what was last shown, while a step is under way.
    pub(super) fn look(&mut self) -> Changes {
        let mut changes = Changes::default();
        self.show(Then::Leave, &mut changes);
        changes
    }

    fn show(&mut self, then: Then, changes: &mut Changes) {
        let mut shadows = mem::take(&mut self.shadows);
        for (position, entry) in self.memories.iter().enumerate() {
            if self.shows(entry.entity) {
                let memory = &entry.memory;
                let shadow = shadows.memory(position);
                shadow.diff(entry.entity, memory.pages(), memory.bytes(), then, changes);
            }
        }
        for (position, entry) in self.tables.iter().enumerate() {
            if self.shows(entry.entity) {
                let table = &entry.table;
                let elements = (0..table.size()).map(|index| table.get(index));
                let ty = table.element_type();
                let show = |raw| self.value_of_raw(u128::from(raw), ty);
                shadows
                    .table(position)
                    .diff(entry.entity, 0, elements, show, then, changes);
            }
        }
        for (position, entry) in self.globals.iter().enumerate() {
            if self.shows(entry.entity) {
                let (block, offset) = self.site(&entry.site);
                let value = self.value_of_raw(block.read_u128(offset), entry.ty.value);
                let shadow = shadows.global(position);
                shadow.diff(entry.entity, value, then, changes);
            }
        }
        self.shadows = shadows;
    }

    /// What an instance made is shown from when it was made, even if a segment or its start
    /// function trapped: what it left in shared tables still works on it.
    fn shows(&self, entity: Entity) -> bool {
        match entity.owner {
            Owner::Host => true,
            Owner::Instance(instance) => self.instance(instance).is_some(),
        }
    }

    fn snapshot_counts(&mut self, changes: &mut Changes) {
        for (position, object) in self.objects.all().enumerate() {
            if self.objects.hidden(object) {
                continue;
            }
            let count = if self.objects.alive(object) {
                self.objects.count(object)
            } else {
                0
            };
            if position >= self.last_counts.len() {
                self.last_counts.resize(position + 1, u64::MAX);
            }
            if self.last_counts[position] != count {
                self.last_counts[position] = count;
                changes.counts.push((self.objects.id(object), count));
            }
        }
        changes.counts.sort_unstable();
    }

    /// The counts of all living objects, by ascending number.
    pub(super) fn live_counts(&self) -> Vec<(ObjectId, u64)> {
        let mut counts: Vec<_> = self
            .objects
            .shown()
            .filter(|object| self.objects.alive(*object))
            .map(|object| (self.objects.id(object), self.objects.count(object)))
            .collect();
        counts.sort_unstable();
        counts
    }
}
