//! Oracle `refcounts`: the reference counts and drops of host objects.
//!
//! After a step, let `expected(o)` be the number of table slots and globals that hold object `o`
//! in the reference's state, and of handles that the host holds to it; let `count(o)` be what the
//! subject last recorded as its settled count, 0 if nothing. For every object `o` that either side
//! has shown so far:
//!
//! > count(o) = expected(o) ∧ dropped(o) = (expected(o) = 0 ? once : never)
//!
//! and once the store is gone, every such object was dropped exactly once. A number names one
//! object for the whole case: what was dropped never comes back, neither in a result of a later
//! step nor as an argument of a later host call.
//!
//! Within a step, at a host call, counts may exceed what is held: references on the stack count,
//! and what they held is released late. There the rule is, with `held(o)` what the reference says
//! is held at that call, where it says it:
//!
//! > the objects listed are exactly those shown and not dropped so far, each with
//! > count(o) ≥ max(1, held(o))
//!
//! A subject may not count, but tell which objects are alive ([`Observation::alive`]). It lists each
//! of those with 1, and is held to the same rules with "the count is n" read as "it is alive, if
//! n > 0": after a step
//!
//! > alive(o) ⇔ expected(o) > 0 ∧ dropped(o) = (alive(o) ? never : once)
//!
//! where, if it collects only with the store, alive(o) ⇐ expected(o) > 0 is all that is asked of
//! what it has not dropped.
//!
//! Only the reference decides what is held: a subject whose tables are wrong is the oracle
//! `tables`' finding, not this one's.

mod objects;

use crate::finding::{Difference, Place, Seen};
use crate::observation::{Alive, Event, Observation, Outcome, StepObservation};
use crate::rules::{Explained, first_unexplained};
use crate::state::{State, object};
use crate::value::{ObjectId, Value};
use objects::{Entry, Objects};

/// What is known of every host object, carried from step to step.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Tables and globals of the reference.
    held: State,
    objects: Objects,
    /// How many objects the subject has shown and not dropped.
    live: usize,
    /// Whether the reference counts, too: then its counts at a host call are as late as the
    /// subject's and say nothing of what is held.
    reference_counts: bool,
    /// What the subject tells, if it does not count.
    alive: Option<Alive>,
}

impl Ledger {
    /// Nothing is known before the first step. Of the subject it matters only what it tells.
    pub fn new(reference: &Observation, subject: &Observation) -> Ledger {
        Ledger {
            reference_counts: reference.counts_references,
            alive: subject.alive.filter(|_| !subject.counts_references),
            ..Ledger::default()
        }
    }

    /// Checks one step. To be called for every step, in order, until one differs.
    ///
    /// What breaks the rule within the step comes first: in its results, then in the order of its
    /// events. Then comes the state after it, by object, of which what is `explained` is told only if there
    /// is nothing else.
    pub fn step(
        &mut self,
        reference: &StepObservation,
        subject: &StepObservation,
        explained: &Explained<'_>,
    ) -> Option<Difference> {
        self.hold(reference);
        let difference = self
            .check_results(&subject.outcome)
            .or_else(|| self.check_events(&reference.events, &subject.events))
            .or_else(|| self.record_counts(&subject.changes.counts));
        self.show_results(&subject.outcome);
        if difference.is_some() {
            return difference;
        }
        let touched = self.objects.take_touched().into_iter();
        let unsettled =
            touched.filter_map(|id| check_settled(id, self.objects.get(id)?, self.alive));
        first_unexplained(unsettled, explained)
    }

    /// Checks what happened when the store was dropped after the last step.
    pub fn teardown(&mut self, events: &[Event]) -> Option<Difference> {
        for event in events {
            if let Event::Dropped(id) = *event
                && let Some(difference) = self.drop_once(id)
            {
                return Some(difference);
            }
        }
        // Of what nothing holds, the last step has shown that it is gone, unless it may stay.
        let late = self.alive == Some(Alive::UntilTeardown);
        let leaked =
            |entry: &Entry| !entry.dropped && (entry.expected() > 0 || late && entry.shown);
        let (leaked, _) = self.objects.iter().find(|(_, entry)| leaked(entry))?;
        Some(Difference::new(
            Place::Drop(leaked),
            rule("dropped with the store at the latest"),
            Seen::Absent,
        ))
    }

    /// Brings what the reference and the host hold up to date.
    fn hold(&mut self, reference: &StepObservation) {
        let objects = &mut self.objects;
        let replaced = |old: Option<Value>, new| {
            let (old, new) = (old.and_then(object), object(new));
            if old == new {
                return;
            }
            if let Some(old) = old {
                objects.touch(old).slots -= 1;
            }
            if let Some(new) = new {
                objects.touch(new).slots += 1;
            }
        };
        self.held.apply_references(&reference.changes, replaced);
        for &(id, handles) in &reference.changes.handles {
            self.objects.touch(id).handles = handles;
        }
    }

    /// The subject shows an object; yields whether it is gone already.
    fn show(&mut self, id: ObjectId) -> bool {
        let entry = self.objects.entry(id);
        let (first, dropped) = (!entry.shown, entry.dropped);
        if first {
            entry.shown = true;
            self.live += usize::from(!dropped);
            self.objects.touch(id);
        }
        dropped
    }

    /// What only a call's results hold is dropped when the step settles, and so among its events;
    /// to be called before they are looked at.
    fn check_results(&self, outcome: &Outcome) -> Option<Difference> {
        let dropped = |id: &ObjectId| self.objects.get(*id).is_some_and(|entry| entry.dropped);
        let id = results(outcome).find(dropped)?;
        Some(Difference::new(
            Place::Drop(id),
            rule("alive, since it is a result"),
            rule("dropped in an earlier step"),
        ))
    }

    /// Shows a call's results, which may have been made by it.
    fn show_results(&mut self, outcome: &Outcome) {
        for id in results(outcome) {
            self.show(id);
        }
    }

    fn check_events(&mut self, reference: &[Event], subject: &[Event]) -> Option<Difference> {
        let mut held = reference.iter().filter_map(|event| match event {
            Event::HostCall { counts, .. } => Some(&counts[..]),
            Event::Dropped(_) => None,
        });
        let reference_counts = self.reference_counts;
        let mut call = 0;
        for event in subject {
            let difference = match event {
                Event::Dropped(id) => self.drop_once(*id),
                Event::HostCall { args, counts, .. } => {
                    let held = held
                        .next()
                        .filter(|_| !reference_counts)
                        .unwrap_or_default();
                    let difference = self.check_host_call(call, args, counts, held);
                    call += 1;
                    difference
                }
            };
            if difference.is_some() {
                return difference;
            }
        }
        None
    }

    /// The subject drops an object. Whether it may is seen when the step is over.
    fn drop_once(&mut self, id: ObjectId) -> Option<Difference> {
        let entry = self.objects.touch(id);
        if entry.dropped {
            return Some(Difference::new(
                Place::Drop(id),
                rule("dropped once"),
                rule("dropped again"),
            ));
        }
        entry.dropped = true;
        self.live -= usize::from(entry.shown);
        None
    }

    fn check_host_call(
        &mut self,
        call: usize,
        args: &[Value],
        counts: &[(ObjectId, u64)],
        held: &[(ObjectId, u64)],
    ) -> Option<Difference> {
        for id in args.iter().copied().filter_map(object) {
            if self.show(id) {
                return Some(Difference::new(
                    Place::Drop(id),
                    Seen::Rule(format!(
                        "alive, since it is an argument of host call {call}"
                    )),
                    rule("dropped before"),
                ));
            }
        }
        let mut last = None;
        for &(id, count) in counts {
            if last >= Some(id) {
                return Some(Difference::new(
                    Place::Count(id),
                    Seen::Rule(format!("counts at host call {call} in ascending order")),
                    Seen::Number(count),
                ));
            }
            last = Some(id);
            if self.show(id) {
                return Some(Difference::new(
                    Place::Count(id),
                    Seen::Rule(format!("dropped before host call {call}")),
                    Seen::Number(count),
                ));
            }
            if count == 0 {
                return Some(at_least(id, 1, call, Seen::Number(0)));
            }
        }
        if counts.len() != self.live
            && let Some(id) = self.missing_from(counts)
        {
            return Some(at_least(id, 1, call, Seen::Absent));
        }
        held.iter()
            .filter(|(_, held)| *held > 0)
            .find_map(|&(id, held)| {
                let entry = self.objects.touch(id);
                if entry.dropped {
                    return Some(Difference::new(
                        Place::Drop(id),
                        Seen::Rule(format!("alive, held {held} times at host call {call}")),
                        rule("dropped before"),
                    ));
                }
                let held = if self.alive.is_some() { 1 } else { held };
                let position = counts.binary_search_by_key(&id, |(id, _)| *id);
                let count = position.ok().map(|position| counts[position].1);
                (count < Some(held))
                    .then(|| at_least(id, held, call, count.map_or(Seen::Absent, Seen::Number)))
            })
    }

    /// The first object that is alive and not listed in `counts`, which is ascending.
    fn missing_from(&self, counts: &[(ObjectId, u64)]) -> Option<ObjectId> {
        self.objects
            .iter()
            .filter(|(_, entry)| entry.shown && !entry.dropped)
            .map(|(id, _)| id)
            .find(|id| counts.binary_search_by_key(id, |(id, _)| *id).is_err())
    }

    fn record_counts(&mut self, counts: &[(ObjectId, u64)]) -> Option<Difference> {
        let mut last = None;
        for &(id, count) in counts {
            if last >= Some(id) {
                return Some(Difference::new(
                    Place::Count(id),
                    rule("counts in ascending order"),
                    Seen::Number(count),
                ));
            }
            last = Some(id);
            self.show(id);
            self.objects.touch(id).counted = Some(count);
        }
        None
    }
}

fn results(outcome: &Outcome) -> impl Iterator<Item = ObjectId> {
    let values = match outcome {
        Outcome::Returned(values) => &values[..],
        _ => &[],
    };
    values.iter().copied().filter_map(object)
}

/// Checks one object when everything is settled.
fn check_settled(id: ObjectId, entry: &Entry, alive: Option<Alive>) -> Option<Difference> {
    let held = entry.expected();
    if held > 0 && entry.dropped {
        return Some(dropped_while_held(id, entry));
    }
    let late = alive == Some(Alive::UntilTeardown) && held == 0 && !entry.dropped;
    let expected = if alive.is_some() { held.min(1) } else { held };
    let counted = entry.counted.unwrap_or(0);
    if counted != expected && !(late && counted == 1) {
        return Some(Difference::new(
            Place::Count(id),
            Seen::Number(expected),
            entry.counted.map_or(Seen::Absent, Seen::Number),
        ));
    }
    (held == 0 && entry.shown && !entry.dropped && !late).then(|| {
        Difference::new(
            Place::Drop(id),
            rule("dropped, since nothing holds it"),
            Seen::Absent,
        )
    })
}

fn dropped_while_held(id: ObjectId, entry: &Entry) -> Difference {
    Difference::new(
        Place::Drop(id),
        Seen::Rule(format!(
            "alive, held by {} slots and {} handles",
            entry.slots, entry.handles
        )),
        rule("dropped"),
    )
}

fn at_least(id: ObjectId, least: u64, call: usize, subject: Seen) -> Difference {
    Difference::new(
        Place::Count(id),
        Seen::Rule(format!("at least {least} at host call {call}")),
        subject,
    )
}

fn rule(text: &str) -> Seen {
    Seen::Rule(text.to_string())
}

#[cfg(test)]
mod tests;
