//! A small world with tables, globals, a memory and counted host objects, and the observations
//! that a right reference and a right counting subject make of its history.
//!
//! The world counts as a deferred-counting runtime does: reading a reference puts an entry into
//! the activations, which counts; a collection takes out what the stack does not hold; an object
//! whose count falls to zero is dropped at once.

use std::collections::{BTreeMap, BTreeSet};

use parallax_oracles::{
    CHUNK_BYTES, Changes, Entity, Event, FuncIdentity, GlobalChange, MemoryChange, ObjectId,
    Observation, Outcome, Owner, StepObservation, TableChange, TrapKind, Value,
};
use proptest::prelude::*;

/// Bytes of the memory that the world ever writes.
pub const MEMORY_BYTES: usize = 6 * CHUNK_BYTES;
/// The tables that hold externrefs; one more, of funcrefs, follows.
const EXTERN_TABLES: usize = 2;
/// The globals that hold externrefs; one more, a number, follows.
const EXTERN_GLOBALS: usize = 2;
/// Elements beyond which no table grows.
const TABLE_LIMIT: usize = 140;

/// What happens in the world. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Op {
    /// `parallax.make`: a new object on the stack.
    Make,
    /// Reads a table element or global onto the stack.
    Get(Slot),
    /// Writes a table element or global.
    Set(Slot, Source),
    Fill(usize, usize, usize, Source),
    Copy(usize, usize, usize),
    Grow(usize, usize, Source),
    /// Writes a funcref.
    SetFunc(usize, Option<u32>),
    SetNumber(u64),
    Poke(usize, u8),
    /// `parallax.take`: the host keeps a handle.
    Take(Source),
    /// The host gives its lowest handle back.
    Release,
    /// Any other host call.
    Call(Source, i64),
    /// `parallax.gc`.
    Collect,
    /// The stack forgets its top.
    Pop,
    /// The step returns this and a number, and everything settles.
    Return(Source, i64),
    /// The step traps, and everything settles.
    Trap,
}

/// A table element or global that holds an externref.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    Table(usize, usize),
    Global(usize),
}

/// Where a reference comes from: the stack, or null where that is empty.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    Null,
    Stack(usize),
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        1 => Just(Source::Null),
        4 => any::<usize>().prop_map(Source::Stack),
    ]
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        3 => (any::<usize>(), any::<usize>()).prop_map(|(table, index)| Slot::Table(table, index)),
        1 => any::<usize>().prop_map(Slot::Global),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let size = any::<usize>;
    prop_oneof![
        4 => Just(Op::Make),
        4 => slot().prop_map(Op::Get),
        8 => (slot(), source()).prop_map(|(slot, source)| Op::Set(slot, source)),
        1 => (size(), size(), size(), source()).prop_map(|(a, b, c, d)| Op::Fill(a, b, c, d)),
        1 => (size(), size(), size()).prop_map(|(a, b, c)| Op::Copy(a, b, c)),
        1 => (size(), 0..40usize, source()).prop_map(|(a, b, c)| Op::Grow(a, b, c)),
        1 => (size(), any::<Option<u32>>()).prop_map(|(a, b)| Op::SetFunc(a, b)),
        1 => any::<u64>().prop_map(Op::SetNumber),
        2 => (size(), any::<u8>()).prop_map(|(a, b)| Op::Poke(a, b)),
        2 => source().prop_map(Op::Take),
        1 => Just(Op::Release),
        2 => (source(), any::<i64>()).prop_map(|(a, b)| Op::Call(a, b)),
        2 => Just(Op::Collect),
        3 => Just(Op::Pop),
        3 => (source(), any::<i64>()).prop_map(|(a, b)| Op::Return(a, b)),
        1 => Just(Op::Trap),
    ]
}

/// What happens in the world, from its making to its end.
pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    proptest::collection::vec(op(), 0..80)
}

/// What is visible of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Visible {
    pub memory: Vec<u8>,
    pub pages: u64,
    pub tables: Vec<Vec<Value>>,
    pub globals: Vec<Value>,
}

impl Visible {
    fn new() -> Visible {
        let mut tables = vec![vec![Value::Extern(None); 5]; EXTERN_TABLES];
        tables.push(vec![Value::Func(None); 3]);
        let mut globals = vec![Value::Extern(None); EXTERN_GLOBALS];
        globals.push(Value::F64(0));
        Visible {
            memory: vec![0; MEMORY_BYTES],
            pages: 1,
            tables,
            globals,
        }
    }

    /// What these changes add up to.
    pub fn after(steps: &[Changes]) -> Visible {
        let mut visible = Visible::new();
        for changes in steps {
            for change in &changes.memories {
                visible.pages = change.pages;
                for (chunk, bytes) in change.chunks.iter().zip(change.bytes.chunks(CHUNK_BYTES)) {
                    let start = *chunk as usize * CHUNK_BYTES;
                    visible.memory[start..start + CHUNK_BYTES].copy_from_slice(bytes);
                }
            }
            for change in &changes.tables {
                let table = &mut visible.tables[change.table.index as usize];
                table.resize(change.size as usize, Value::Extern(None));
                for (index, value) in &change.elements {
                    table[*index as usize] = *value;
                }
            }
            for change in &changes.globals {
                visible.globals[change.global.index as usize] = change.value;
            }
        }
        visible
    }

    /// What changed since `before`, or all of it where there was nothing.
    pub fn changes_since(&self, before: Option<&Visible>) -> Changes {
        let mut changes = Changes::default();
        let (chunks, bytes) = self.changed_chunks(before);
        if !chunks.is_empty() || before.is_none_or(|before| before.pages != self.pages) {
            changes.memories.push(MemoryChange {
                memory: entity(0),
                pages: self.pages,
                chunks,
                bytes,
            });
        }
        for (table, now) in self.tables.iter().enumerate() {
            let old = before.map(|before| &before.tables[table]);
            let was = |index| match old.and_then(|old| old.get(index)) {
                Some(value) => *value,
                None if table < EXTERN_TABLES => Value::Extern(None),
                None => Value::Func(None),
            };
            let changed = |(index, value): (usize, &Value)| {
                (was(index) != *value).then_some((index as u32, *value))
            };
            let elements: Vec<_> = now.iter().enumerate().filter_map(changed).collect();
            if !elements.is_empty() || old.is_none_or(|old| old.len() != now.len()) {
                changes.tables.push(TableChange {
                    table: entity(table as u32),
                    size: now.len() as u64,
                    elements,
                });
            }
        }
        for (global, &value) in self.globals.iter().enumerate() {
            if before.is_none_or(|before| before.globals[global] != value) {
                changes.globals.push(GlobalChange {
                    global: entity(global as u32),
                    value,
                });
            }
        }
        changes
    }

    fn changed_chunks(&self, before: Option<&Visible>) -> (Vec<u32>, Vec<u8>) {
        let zero = vec![0; MEMORY_BYTES];
        let old = before.map_or(&zero, |before| &before.memory);
        let mut chunks = (Vec::new(), Vec::new());
        let pairs = self.memory.chunks(CHUNK_BYTES).zip(old.chunks(CHUNK_BYTES));
        for (number, (now, old)) in pairs.enumerate() {
            if now != old {
                chunks.0.push(number as u32);
                chunks.1.extend_from_slice(now);
            }
        }
        chunks
    }
}

/// The `index`-th entity of the only instance.
pub fn entity(index: u32) -> Entity {
    Entity {
        owner: Owner::Instance(0),
        index,
    }
}

/// The observations of a history.
#[derive(Clone, Debug)]
pub struct History {
    /// The reference's: does not count, but knows handles.
    pub reference: Observation,
    /// The subject's: counts.
    pub subject: Observation,
}

impl History {
    /// What right engines show of `ops`. If `held`, the reference says at host calls what is held.
    pub fn run(ops: &[Op], held: bool) -> History {
        let mut world = World::new(held);
        for op in ops {
            world.perform(op);
        }
        world.settle(Outcome::Returned(Vec::new()));
        world.finish()
    }
}

type Counts = BTreeMap<ObjectId, u64>;

struct World {
    now: Visible,
    before: Option<Visible>,
    handles: Counts,
    handles_before: Counts,
    counts_before: Counts,
    activations: Vec<ObjectId>,
    stack: Vec<ObjectId>,
    alive: BTreeSet<ObjectId>,
    next_object: u32,
    events: Vec<Event>,
    reference_events: Vec<Event>,
    held: bool,
    history: History,
}

impl World {
    fn new(held: bool) -> World {
        let observation = |engine: &str, counts_references| Observation {
            engine: engine.to_string(),
            counts_references,
            ..Observation::default()
        };
        World {
            now: Visible::new(),
            before: None,
            handles: Counts::new(),
            handles_before: Counts::new(),
            counts_before: Counts::new(),
            activations: Vec::new(),
            stack: Vec::new(),
            alive: BTreeSet::new(),
            next_object: 0,
            events: Vec::new(),
            reference_events: Vec::new(),
            held,
            history: History {
                reference: observation("reference", false),
                subject: observation("subject", true),
            },
        }
    }

    fn perform(&mut self, op: &Op) {
        match *op {
            Op::Make => {
                self.host_call(0, Vec::new());
                let object = ObjectId(self.next_object);
                self.next_object += 1;
                self.alive.insert(object);
                self.push(object);
            }
            Op::Get(slot) => {
                if let Value::Extern(Some(object)) = *self.slot(slot) {
                    self.push(object);
                }
            }
            Op::Set(slot, source) => *self.slot(slot) = self.value(source),
            Op::Fill(table, from, len, source) => {
                let value = self.value(source);
                let table = &mut self.now.tables[table % EXTERN_TABLES];
                let from = from % table.len();
                let len = len % (table.len() - from + 1);
                table[from..from + len].fill(value);
            }
            Op::Copy(table, from, to) => {
                let table = &mut self.now.tables[table % EXTERN_TABLES];
                let (from, to) = (from % table.len(), to % table.len());
                let end = table.len().min(from + table.len() - to);
                table.copy_within(from..end, to);
            }
            Op::Grow(table, by, source) => {
                let value = self.value(source);
                let table = &mut self.now.tables[table % EXTERN_TABLES];
                let size = TABLE_LIMIT.min(table.len() + by);
                table.resize(size, value);
            }
            Op::SetFunc(index, function) => {
                let table = &mut self.now.tables[EXTERN_TABLES];
                let index = index % table.len();
                table[index] = Value::Func(function.map(FuncIdentity::Host));
            }
            Op::SetNumber(number) => self.now.globals[EXTERN_GLOBALS] = Value::F64(number),
            Op::Poke(address, byte) => self.now.memory[address % MEMORY_BYTES] = byte,
            Op::Take(source) => {
                let value = self.value(source);
                self.host_call(1, vec![value]);
                if let Value::Extern(Some(object)) = value {
                    *self.handles.entry(object).or_default() += 1;
                }
            }
            Op::Release => {
                if let Some(mut lowest) = self.handles.first_entry() {
                    *lowest.get_mut() -= 1;
                    if *lowest.get() == 0 {
                        lowest.remove();
                    }
                }
            }
            Op::Call(source, number) => {
                let value = self.value(source);
                self.host_call(2, vec![Value::I64(number), value]);
            }
            Op::Collect => {
                self.host_call(3, Vec::new());
                self.collect();
            }
            Op::Pop => drop(self.stack.pop()),
            Op::Return(source, number) => {
                let results = vec![self.value(source), Value::I64(number)];
                self.settle(Outcome::Returned(results));
            }
            Op::Trap => self.settle(Outcome::Trapped(TrapKind::TableOutOfBounds)),
        }
        self.drop_uncounted();
    }

    fn slot(&mut self, slot: Slot) -> &mut Value {
        match slot {
            Slot::Table(table, index) => {
                let table = &mut self.now.tables[table % EXTERN_TABLES];
                let index = index % table.len();
                &mut table[index]
            }
            Slot::Global(global) => &mut self.now.globals[global % EXTERN_GLOBALS],
        }
    }

    fn value(&self, source: Source) -> Value {
        match source {
            Source::Stack(index) if !self.stack.is_empty() => {
                Value::Extern(Some(self.stack[index % self.stack.len()]))
            }
            _ => Value::Extern(None),
        }
    }

    fn push(&mut self, object: ObjectId) {
        self.activations.push(object);
        self.stack.push(object);
    }

    /// Slots, globals and handles that hold each object.
    fn held_counts(&self) -> Counts {
        let mut counts = self.handles.clone();
        let values = self.now.tables.iter().flatten().chain(&self.now.globals);
        for value in values {
            if let Value::Extern(Some(object)) = value {
                *counts.entry(*object).or_default() += 1;
            }
        }
        counts
    }

    /// Reference counts as the subject has them: what is held, and the activations.
    fn counts(&self) -> Counts {
        let mut counts = self.held_counts();
        for object in &self.activations {
            *counts.entry(*object).or_default() += 1;
        }
        counts
    }

    fn host_call(&mut self, function: u32, args: Vec<Value>) {
        let held = if self.held {
            self.held_counts()
        } else {
            Counts::new()
        };
        let state = Box::new(self.now.changes_since(self.before.as_ref()));
        self.reference_events.push(Event::HostCall {
            function,
            args: args.clone(),
            counts: held.into_iter().collect(),
            state: Some(state.clone()),
        });
        self.events.push(Event::HostCall {
            function,
            args,
            counts: self.counts().into_iter().collect(),
            state: Some(state),
        });
    }

    /// Takes out of the activations what the stack does not hold.
    fn collect(&mut self) {
        let stack = &self.stack;
        self.activations.retain(|object| stack.contains(object));
        self.drop_uncounted();
    }

    fn drop_uncounted(&mut self) {
        let counts = self.counts();
        let gone: Vec<ObjectId> = self
            .alive
            .iter()
            .copied()
            .filter(|object| !counts.contains_key(object))
            .collect();
        for object in gone {
            self.alive.remove(&object);
            self.events.push(Event::Dropped(object));
        }
    }

    /// Ends a step.
    fn settle(&mut self, outcome: Outcome) {
        self.stack.clear();
        self.collect();
        let changes = self.now.changes_since(self.before.as_ref());
        let (counts, handles) = (self.counts(), self.handles.clone());
        self.history.reference.steps.push(StepObservation {
            outcome: outcome.clone(),
            events: std::mem::take(&mut self.reference_events),
            changes: Changes {
                handles: changed_counts(&self.handles_before, &handles),
                ..changes.clone()
            },
        });
        self.history.subject.steps.push(StepObservation {
            outcome,
            events: std::mem::take(&mut self.events),
            changes: Changes {
                counts: changed_counts(&self.counts_before, &counts),
                ..changes
            },
        });
        self.before = Some(self.now.clone());
        self.counts_before = counts;
        self.handles_before = handles;
    }

    fn finish(mut self) -> History {
        let teardown = self.alive.iter().copied().map(Event::Dropped);
        self.history.subject.teardown = teardown.collect();
        self.history
    }
}

/// The counts that differ, with what they are now.
fn changed_counts(before: &Counts, now: &Counts) -> Vec<(ObjectId, u64)> {
    let objects: BTreeSet<ObjectId> = before.keys().chain(now.keys()).copied().collect();
    objects
        .into_iter()
        .filter_map(|object| {
            let count = |counts: &Counts| counts.get(&object).copied().unwrap_or(0);
            (count(before) != count(now)).then(|| (object, count(now)))
        })
        .collect()
}
