//! Histories as a subject shows them that does not count, but tells which objects are alive.

use std::collections::{BTreeMap, BTreeSet};

use parallax_oracles::{Alive, Event, ObjectId};

use crate::model::History;

/// Mutations of counts that say nothing where a count only says that an object is alive.
pub const OF_COUNTS: &[&str] = &["count at a host call below what is held"];

/// Mutations that leave nothing wrong, or cannot be made, where objects may stay until the end.
pub const OF_SETTLING: &[&str] = &[
    "settled count changed",
    "settled count not listed",
    "settled count listed of what did not change",
    "drop in a later step",
    "count at a host call of what was dropped",
];

/// The same history, told so. Objects that nothing holds stay until the end, if they may.
pub fn told(mut history: History, until: Alive) -> History {
    let late = until == Alive::UntilTeardown;
    let subject = &mut history.subject;
    subject.counts_references = false;
    subject.alive = Some(until);
    let mut staying: Vec<ObjectId> = Vec::new();
    let mut listed: BTreeSet<ObjectId> = BTreeSet::new();
    for step in &mut subject.steps {
        step.events.retain_mut(|event| match event {
            Event::Dropped(id) if late => {
                staying.push(*id);
                false
            }
            Event::Dropped(_) => true,
            Event::HostCall { counts, .. } => {
                counts.extend(staying.iter().map(|id| (*id, 1)));
                counts.iter_mut().for_each(|(_, count)| *count = 1);
                counts.sort_unstable();
                true
            }
        });
        let mut counts: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for (id, count) in &step.changes.counts {
            counts.insert(*id, (*count).min(1));
        }
        counts.extend(staying.iter().map(|id| (*id, 1)));
        counts.retain(|id, alive| match *alive {
            0 => listed.remove(id),
            _ => listed.insert(*id),
        });
        step.changes.counts = counts.into_iter().collect();
    }
    let drops = staying.into_iter().map(Event::Dropped);
    subject.teardown.splice(0..0, drops);
    history
}
