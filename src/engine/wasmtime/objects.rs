//! Host objects, as Wasmtime manages them: values behind an `ExternRef` that tell when they are
//! dropped.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::wasmtime::{ExternRef, OwnedRooted};
use parallax_oracles::{Event, ObjectId};

/// What became of the host objects of a store. Shared with all of them, since the last of them are
/// dropped with the store.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    alive: BTreeSet<ObjectId>,
    dropped: Vec<ObjectId>,
}

impl Log {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that are alive, by ascending number.
    pub fn alive(&self) -> Vec<ObjectId> {
        self.entries().alive.iter().copied().collect()
    }

    /// Whether anything was dropped since that was last asked for.
    pub fn has_dropped(&self) -> bool {
        !self.entries().dropped.is_empty()
    }

    /// Moves what was dropped since it was last asked for to `events`, in order.
    pub fn drain(&self, events: &mut Vec<Event>) {
        let dropped = mem::take(&mut self.entries().dropped);
        events.extend(dropped.into_iter().map(Event::Dropped));
    }
}

/// A host object.
pub struct HostObject {
    /// Its number; `None` for one that another owns and nobody else sees.
    id: Option<ObjectId>,
    log: Log,
    /// What it holds on to until it is dropped itself.
    _owned: Option<OwnedRooted<ExternRef>>,
}

impl HostObject {
    /// A new object of that number.
    pub fn new(id: ObjectId, log: &Log, owned: Option<OwnedRooted<ExternRef>>) -> HostObject {
        log.entries().alive.insert(id);
        HostObject {
            id: Some(id),
            log: log.clone(),
            _owned: owned,
        }
    }

    /// One that shows in no observation.
    pub fn hidden(log: &Log, owned: Option<OwnedRooted<ExternRef>>) -> HostObject {
        HostObject {
            id: None,
            log: log.clone(),
            _owned: owned,
        }
    }

    /// Its number.
    pub fn id(&self) -> Option<ObjectId> {
        self.id
    }
}

impl Drop for HostObject {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let mut entries = self.log.entries();
            entries.alive.remove(&id);
            entries.dropped.push(id);
        }
    }
}
