//! The state that an observation's changes add up to.
//!
//! An observation says of each step only what it changed. [`State`] replays those changes, so that
//! what a step did not mention can still be looked up. It takes any changes, also ones that break
//! the rules of [`Changes`]: the last word on a place counts, bytes that are missing change
//! nothing, and nothing is allocated for a size alone.

use std::collections::BTreeMap;

use crate::observation::{CHUNK_BYTES, Changes, Entity, GlobalChange, MemoryChange, TableChange};
use crate::value::{ObjectId, Value};

/// Bytes of a WebAssembly page.
const PAGE_BYTES: u64 = 65536;

/// Table elements that are kept together.
const GROUP: u32 = 64;

/// All tables, globals and memories as they stand after some step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    memories: BTreeMap<Entity, MemoryState>,
    tables: BTreeMap<Entity, TableState>,
    globals: BTreeMap<Entity, Value>,
}

/// One memory: its size, and those of its chunks that were ever recorded. The rest is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryState {
    pages: u64,
    chunks: BTreeMap<u32, Box<[u8; CHUNK_BYTES]>>,
}

/// One table: its size, and those of its elements that were ever recorded. The rest is null.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TableState {
    size: u64,
    groups: BTreeMap<u32, Box<[Option<Value>; GROUP as usize]>>,
    /// The null of the table's element type, once an element has told it.
    null: Option<Value>,
}

impl State {
    /// Applies what a step changed.
    pub fn apply(&mut self, changes: &Changes) {
        for change in &changes.memories {
            self.memories
                .entry(change.memory)
                .or_default()
                .apply(change);
        }
        self.apply_references(changes, |_, _| {});
    }

    /// Applies what a step changed in tables and globals alone. `replaced` is told each value that
    /// goes and the one that takes its place.
    pub fn apply_references(
        &mut self,
        changes: &Changes,
        mut replaced: impl FnMut(Option<Value>, Value),
    ) {
        for change in &changes.tables {
            self.tables
                .entry(change.table)
                .or_default()
                .apply(change, &mut replaced);
        }
        for &GlobalChange { global, value } in &changes.globals {
            replaced(self.globals.insert(global, value), value);
        }
    }

    /// The memory, if it exists.
    pub fn memory(&self, memory: Entity) -> Option<&MemoryState> {
        self.memories.get(&memory)
    }

    /// The table, if it exists.
    pub fn table(&self, table: Entity) -> Option<&TableState> {
        self.tables.get(&table)
    }

    /// The value of a global, if it exists.
    pub fn global(&self, global: Entity) -> Option<Value> {
        self.globals.get(&global).copied()
    }

    /// All memories, by ascending entity.
    pub fn memories(&self) -> impl Iterator<Item = (Entity, &MemoryState)> {
        self.memories
            .iter()
            .map(|(&entity, memory)| (entity, memory))
    }

    /// All tables, by ascending entity.
    pub fn tables(&self) -> impl Iterator<Item = (Entity, &TableState)> {
        self.tables.iter().map(|(&entity, table)| (entity, table))
    }

    /// All globals, by ascending entity.
    pub fn globals(&self) -> impl Iterator<Item = (Entity, Value)> {
        self.globals.iter().map(|(&entity, &value)| (entity, value))
    }

    /// The host objects that table slots and globals hold, one entry a slot or global: an object
    /// that is held in three places comes three times. Tables first, each in ascending order.
    pub fn references(&self) -> impl Iterator<Item = ObjectId> {
        let elements = self
            .tables
            .values()
            .flat_map(|table| table.elements().map(|(_, value)| value));
        elements
            .chain(self.globals.values().copied())
            .filter_map(object)
    }
}

impl MemoryState {
    fn apply(&mut self, change: &MemoryChange) {
        self.pages = change.pages;
        for (&chunk, bytes) in change.chunks.iter().zip(change.bytes.chunks(CHUNK_BYTES)) {
            let kept = self
                .chunks
                .entry(chunk)
                .or_insert_with(|| Box::new([0; CHUNK_BYTES]));
            kept[..bytes.len()].copy_from_slice(bytes);
        }
    }

    /// Its size, in pages of 64 KiB.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The byte at `address`, if that lies within the memory.
    pub fn byte(&self, address: u64) -> Option<u8> {
        if address / PAGE_BYTES >= self.pages {
            return None;
        }
        let chunk = u32::try_from(address / CHUNK_BYTES as u64).ok();
        let offset = (address % CHUNK_BYTES as u64) as usize;
        Some(chunk.map_or(0, |chunk| self.chunk(chunk)[offset]))
    }

    /// The bytes of a chunk, as they were recorded, whether or not they lie within the memory.
    pub fn chunk(&self, chunk: u32) -> &[u8; CHUNK_BYTES] {
        self.chunks
            .get(&chunk)
            .map_or(&[0; CHUNK_BYTES], |kept| kept)
    }

    /// The numbers of the chunks that were ever recorded, ascending.
    pub fn chunks(&self) -> impl Iterator<Item = u32> {
        self.chunks.keys().copied()
    }
}

impl TableState {
    fn apply(&mut self, change: &TableChange, replaced: &mut impl FnMut(Option<Value>, Value)) {
        self.size = change.size;
        let same_group = |a: &(u32, Value), b: &(u32, Value)| a.0 / GROUP == b.0 / GROUP;
        for run in change.elements.chunk_by(same_group) {
            let group = self
                .groups
                .entry(run[0].0 / GROUP)
                .or_insert_with(|| Box::new([None; GROUP as usize]));
            for &(index, value) in run {
                replaced(group[(index % GROUP) as usize].replace(value), value);
            }
        }
        if self.null.is_none() {
            self.null = change.elements.iter().find_map(|(_, value)| null(*value));
        }
    }

    /// Its size, in elements.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The element at `index` as it was recorded, whether or not it lies within the table; `None`
    /// if none ever was, so that it is null.
    pub fn element(&self, index: u32) -> Option<Value> {
        let group = self.groups.get(&(index / GROUP))?;
        group[(index % GROUP) as usize]
    }

    /// The null of the table's element type, if any element that was recorded tells the type.
    pub fn null(&self) -> Option<Value> {
        self.null
    }

    /// The elements that were ever recorded, by ascending index.
    pub fn elements(&self) -> impl Iterator<Item = (u32, Value)> {
        self.groups.iter().flat_map(|(&group, values)| {
            let recorded = (0..).zip(values.iter());
            recorded.filter_map(move |(offset, value)| Some((group * GROUP + offset, (*value)?)))
        })
    }
}

/// The host object that a value refers to.
pub(crate) fn object(value: Value) -> Option<ObjectId> {
    match value {
        Value::Extern(object) => object,
        _ => None,
    }
}

/// The null of a reference's type.
pub(crate) fn null(value: Value) -> Option<Value> {
    match value {
        Value::Func(_) => Some(Value::Func(None)),
        Value::Extern(_) => Some(Value::Extern(None)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NULL, entity, globals, memory, object as object_ref, table};
    use crate::value::FuncIdentity;

    fn state(changes: &[Changes]) -> State {
        let mut state = State::default();
        for changes in changes {
            state.apply(changes);
        }
        state
    }

    #[test]
    fn memories_keep_what_was_recorded_and_are_zero_elsewhere() {
        let state = state(&[
            memory(0, 1, &[(0, &[1, 2]), (1, &[3])]),
            memory(0, 2, &[(1, &[4]), (1024, &[5])]),
        ]);
        let memory = state.memory(entity(0)).unwrap();
        assert_eq!(memory.pages(), 2);
        assert_eq!(memory.byte(1), Some(2));
        assert_eq!(memory.byte(64), Some(4));
        assert_eq!(memory.byte(65536), Some(5));
        assert_eq!(memory.byte(65537), Some(0));
        assert_eq!(memory.byte(2 * 65536 - 1), Some(0));
        assert_eq!(memory.byte(2 * 65536), None);
        assert_eq!(memory.chunks().collect::<Vec<_>>(), [0, 1, 1024]);
        assert!(state.memory(entity(1)).is_none());
    }

    #[test]
    fn records_that_break_the_rules_are_taken() {
        let mut short = memory(0, u64::MAX, &[(0, &[1]), (1, &[2])]);
        short.memories[0].bytes.truncate(65);
        let state = state(&[short, table(0, u64::MAX, &[(u32::MAX, NULL)])]);
        let memory = state.memory(entity(0)).unwrap();
        assert_eq!((memory.byte(0), memory.byte(64)), (Some(1), Some(2)));
        assert_eq!(memory.byte(u64::MAX), Some(0));
        let table = state.table(entity(0)).unwrap();
        assert_eq!(table.element(u32::MAX), Some(NULL));
        assert_eq!(table.elements().collect::<Vec<_>>(), [(u32::MAX, NULL)]);
    }

    #[test]
    fn tables_know_their_null_once_an_element_tells() {
        let func = Value::Func(Some(FuncIdentity::Host(0)));
        let mut state = state(&[table(0, 4, &[])]);
        assert_eq!(state.table(entity(0)).unwrap().null(), None);
        state.apply(&table(0, 4, &[(3, func)]));
        let table = state.table(entity(0)).unwrap();
        assert_eq!(table.null(), Some(Value::Func(None)));
        assert_eq!((table.size(), table.element(0)), (4, None));
        assert_eq!(table.element(3), Some(func));
    }

    #[test]
    fn references_come_as_often_as_they_are_held() {
        let (one, two) = (object_ref(1), object_ref(2));
        let mut state = state(&[
            table(0, 200, &[(0, one), (1, NULL), (130, two), (131, one)]),
            table(1, 1, &[(0, Value::Func(Some(FuncIdentity::Host(1))))]),
            globals(&[(0, Value::I32(1)), (1, one)]),
        ]);
        let held = |state: &State| state.references().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(held(&state), [1, 2, 1, 1]);
        state.apply(&table(0, 200, &[(0, NULL), (131, two)]));
        state.apply(&globals(&[(1, NULL)]));
        assert_eq!(held(&state), [2, 2]);
    }

    #[test]
    fn what_is_replaced_is_told() {
        let (one, two) = (object_ref(1), object_ref(2));
        let mut state = state(&[table(0, 3, &[(1, one)]), globals(&[(0, two)])]);
        let mut told = Vec::new();
        let mut changes = table(0, 3, &[(0, two), (1, NULL)]);
        changes.globals = globals(&[(0, one)]).globals;
        state.apply_references(&changes, |old, new| told.push((old, new)));
        assert_eq!(told, [(None, two), (Some(one), NULL), (Some(two), one)]);
    }
}
