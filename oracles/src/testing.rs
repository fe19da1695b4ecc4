//! Short ways to write observations down, for the unit tests.

use crate::finding::Seen;
use crate::observation::{
    CHUNK_BYTES, Changes, Entity, Event, GlobalChange, MemoryChange, Observation, Outcome, Owner,
    StepObservation, TableChange,
};
use crate::value::{ObjectId, Value};

/// The `index`-th memory, table or global of instance 0.
pub fn entity(index: u32) -> Entity {
    Entity {
        owner: Owner::Instance(0),
        index,
    }
}

/// A reference to a host object.
pub fn object(number: u32) -> Value {
    Value::Extern(Some(ObjectId(number)))
}

/// A null externref.
pub const NULL: Value = Value::Extern(None);

/// Words of a rule.
pub fn rule(text: &str) -> Seen {
    Seen::Rule(text.to_string())
}

/// A change of a memory; each chunk is given by its number and the bytes it starts with.
pub fn memory(index: u32, pages: u64, chunks: &[(u32, &[u8])]) -> Changes {
    let mut bytes = Vec::new();
    for (position, (_, start)) in chunks.iter().enumerate() {
        bytes.extend_from_slice(start);
        bytes.resize((position + 1) * CHUNK_BYTES, 0);
    }
    Changes {
        memories: vec![MemoryChange {
            memory: entity(index),
            pages,
            chunks: chunks.iter().map(|(chunk, _)| *chunk).collect(),
            bytes,
        }],
        ..Changes::default()
    }
}

/// A change of a table.
pub fn table(index: u32, size: u64, elements: &[(u32, Value)]) -> Changes {
    Changes {
        tables: vec![TableChange {
            table: entity(index),
            size,
            elements: elements.to_vec(),
        }],
        ..Changes::default()
    }
}

/// A change of globals, by index.
pub fn globals(values: &[(u32, Value)]) -> Changes {
    let change = |&(index, value): &(u32, Value)| GlobalChange {
        global: entity(index),
        value,
    };
    Changes {
        globals: values.iter().map(change).collect(),
        ..Changes::default()
    }
}

/// Numbers of references by object.
pub fn counts(counts: &[(u32, u64)]) -> Vec<(ObjectId, u64)> {
    counts
        .iter()
        .map(|&(number, count)| (ObjectId(number), count))
        .collect()
}

/// A host call.
pub fn host_call(function: u32, args: &[Value], at: &[(u32, u64)]) -> Event {
    Event::HostCall {
        function,
        args: args.to_vec(),
        counts: counts(at),
        state: None,
    }
}

/// A host call without arguments at which this was seen to have changed.
pub fn looked(function: u32, changes: Changes) -> Event {
    Event::HostCall {
        function,
        args: Vec::new(),
        counts: Vec::new(),
        state: Some(Box::new(changes)),
    }
}

/// A drop.
pub fn dropped(number: u32) -> Event {
    Event::Dropped(ObjectId(number))
}

/// A step that ended like this and did nothing.
pub fn ended(outcome: Outcome) -> StepObservation {
    StepObservation {
        outcome,
        events: Vec::new(),
        changes: Changes::default(),
    }
}

/// A step that returned nothing.
pub fn step(events: Vec<Event>, changes: Changes) -> StepObservation {
    StepObservation {
        outcome: Outcome::Returned(Vec::new()),
        events,
        changes,
    }
}

/// Steps that returned nothing and changed this.
pub fn steps(changes: impl IntoIterator<Item = Changes>) -> Observation {
    observe(changes.into_iter().map(|changes| step(Vec::new(), changes)))
}

/// An observation of these steps, by an engine that does not count.
pub fn observe(steps: impl IntoIterator<Item = StepObservation>) -> Observation {
    Observation {
        engine: "subject".to_string(),
        steps: steps.into_iter().collect(),
        teardown: Vec::new(),
        broken_teardown: None,
        counts_references: false,
        alive: None,
        tables_late: false,
        canonical_nans: false,
    }
}
