//! Destructors that misbehave.
//!
//! A host object's destructor is the host's code, and may do whatever the host may do: look at the
//! slot that gave up the object, set it, move the table under the feet of whoever is at work on it,
//! collect, drop another object. The reference does not see when objects are dropped. So what a
//! destructor does here leaves nothing behind that anybody could see, once it has returned: what
//! it writes it restores, and the objects that it makes are in no observation. All that it does
//! on the way is checked and counted as ever.
//!
//! At the time of the drop the slot must already hold its new value. For a destructor that looks
//! that means: no slot holds the object, and whatever a slot holds is alive.

use super::objects::ObjectIndex;
use super::store::Store;
use crate::case::module::ValType;
use crate::case::settings::Destructor;

/// Slots that the destructors of one step look at or write, at most. After that they do nothing:
/// a program that drops ten thousand objects is to end all the same.
pub(super) const SLOTS_A_STEP: usize = 20_000;

/// How deep what an object owns owns something itself.
const OWNED_DEPTH: u32 = 2;

/// A place that holds an externref.
#[derive(Clone, Copy)]
enum Slot {
    Element { table: usize, index: u32 },
    Global(usize),
}

impl Store<'_> {
    /// Gives a new object what its destructor needs.
    pub(super) fn equip(&mut self, object: ObjectIndex) {
        if self.case.settings.destructor != Destructor::DropOther || self.objects.hidden(object) {
            return;
        }
        // Every other object shares what the one before it owns.
        if let Some(shared) = self.shared_owned.take() {
            self.retain(self.objects.address(shared));
            *self.objects.owned_mut(object) = Some(shared);
            return;
        }
        let mut owner = object;
        for depth in 0..OWNED_DEPTH {
            let address = self.objects.create_hidden();
            let Some(owned) = self.objects.at(address) else {
                return;
            };
            *self.objects.owned_mut(owner) = Some(owned);
            if depth == 0 {
                self.shared_owned = Some(owned);
            }
            owner = owned;
        }
    }

    /// Runs the destructor of an object that was just dropped.
    pub(super) fn destroy(&mut self, object: ObjectIndex) {
        if self.shared_owned == *self.objects.owned_mut(object) {
            self.shared_owned = None;
        }
        if let Some(owned) = self.objects.owned_mut(object).take() {
            self.release(self.objects.address(owned));
        }
        if self.objects.hidden(object) {
            return;
        }
        match self.case.settings.destructor {
            Destructor::None | Destructor::DropOther => {}
            Destructor::ReadSlots => self.read_slots(object),
            Destructor::WriteSlots => self.write_slots(),
            Destructor::MoveTables => self.move_tables(),
            Destructor::Collect => self.collect(),
        }
    }

    /// Takes so many slots off what destructors may still do in this step; whether they may.
    fn may_visit(&mut self, slots: usize) -> bool {
        match self.destructor_slots.checked_sub(slots.max(1)) {
            Some(left) => {
                self.destructor_slots = left;
                true
            }
            None => false,
        }
    }

    /// All places that hold an externref.
    fn slots(&self) -> Vec<Slot> {
        let mut slots = Vec::new();
        for (table, entry) in self.tables.iter().enumerate() {
            if entry.table.element_type() == ValType::ExternRef {
                slots.extend((0..entry.table.size()).map(|index| Slot::Element { table, index }));
            }
        }
        for (global, entry) in self.globals.iter().enumerate() {
            if entry.ty.value == ValType::ExternRef && self.made_by_existing(&entry.site) {
                slots.push(Slot::Global(global));
            }
        }
        slots
    }

    fn slot_value(&self, slot: Slot) -> u64 {
        match slot {
            Slot::Element { table, index } => self.tables[table].table.get(index),
            Slot::Global(global) => {
                let (block, offset) = self.site(&self.globals[global].site);
                block.read_u64(offset)
            }
        }
    }

    /// Sets a slot as anybody would: the new value is counted, then the old one given up.
    fn set_slot(&mut self, slot: Slot, value: u64) {
        self.retain(value);
        let old = self.slot_value(slot);
        match slot {
            Slot::Element { table, index } => {
                self.tables[table].table.replace(index, value);
            }
            Slot::Global(global) => {
                let (block, offset) = self.site(&self.globals[global].site);
                block.write_u64(offset, value);
            }
        }
        self.release(old);
    }

    /// Reads every slot, as a host that keeps what it read for a moment.
    fn read_slots(&mut self, dropped: ObjectIndex) {
        let address = self.objects.address(dropped);
        let slots = self.slots();
        if !self.may_visit(slots.len()) {
            return;
        }
        for slot in slots {
            let value = self.slot_value(slot);
            if value == address {
                return self.violated(dropped, "was dropped while a slot holds it");
            }
            self.retain(value);
            self.release(value);
        }
    }

    /// Sets every slot to an object of its own, and back.
    fn write_slots(&mut self) {
        let slots = self.slots();
        if !self.may_visit(slots.len()) {
            return;
        }
        let own = self.objects.create_hidden();
        for slot in slots {
            let value = self.slot_value(slot);
            self.retain(value);
            self.set_slot(slot, own);
            self.set_slot(slot, value);
            self.release(value);
        }
        self.release(own);
    }

    /// Moves the elements of every table to another place, as growth does. The size stays, which
    /// anybody could see.
    fn move_tables(&mut self) {
        let elements = self.tables.iter().map(|entry| entry.table.size() as usize);
        let elements = elements.sum();
        if !self.may_visit(elements) {
            return;
        }
        for table in 0..self.tables.len() {
            self.tables[table].table.relocate();
            self.define_table(table as u32);
        }
    }
}
