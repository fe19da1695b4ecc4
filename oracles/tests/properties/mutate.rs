//! Single mutations of right observations, each with the oracle that must find it.

use parallax_oracles::{
    Event, FuncIdentity, ObjectId, OracleName, Outcome, StepObservation, TrapKind, Value,
};

use crate::model::History;
use crate::sites::{
    calls, counts_at, drops, elements, events, events_of, listings, listings_before_drops, looks,
    memories, results, settled, shown, sites, state_at,
};

/// A stream of choices.
pub struct Pick(pub u64);

impl Pick {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }

    /// One of these, if there are any.
    fn one<T>(&mut self, mut of: Vec<T>) -> Option<T> {
        (!of.is_empty()).then(|| of.swap_remove(self.below(of.len())))
    }

    /// A value of the same type that does not agree.
    fn other(&mut self, value: Value) -> Value {
        let number = self.below(5) as u32;
        match value {
            Value::I32(v) => Value::I32(v ^ 1),
            Value::I64(v) => Value::I64(v ^ (1 << number)),
            Value::F32(v) => Value::F32(v ^ 0x8000_0000),
            Value::F64(v) if f64::from_bits(v).is_nan() => Value::F64(0),
            Value::F64(v) => Value::F64(v ^ (1 << 63)),
            Value::V128(v) => Value::V128(!v),
            Value::Func(None) => Value::Func(Some(FuncIdentity::Host(number))),
            Value::Func(Some(_)) => Value::Func(None),
            Value::Extern(_) if number == 0 => Value::Dangling,
            Value::Extern(Some(_)) if number == 1 => Value::Extern(None),
            Value::Extern(Some(ObjectId(o))) => Value::Extern(Some(ObjectId(o ^ number.max(1)))),
            Value::Extern(None) => Value::Extern(Some(ObjectId(number))),
            Value::Dangling => Value::Extern(None),
        }
    }
}

/// What must be found.
pub struct Expected {
    /// By which oracle.
    pub oracle: OracleName,
    /// After which step.
    pub step: usize,
    /// Whether no other oracle may speak.
    pub alone: bool,
}

/// Changes one thing, if the history has one to change.
pub type Mutate = fn(&mut History, &mut Pick) -> Option<Expected>;

fn by(oracle: OracleName, step: usize) -> Option<Expected> {
    Some(Expected {
        oracle,
        step,
        alone: false,
    })
}

fn only(oracle: OracleName, step: usize) -> Option<Expected> {
    Some(Expected {
        oracle,
        step,
        alone: true,
    })
}

/// Mutations of the subject's counts and drops. Two counting engines that differ in one of these
/// have different traces.
pub const TRACE: &[(&str, Mutate)] = &[
    ("settled count changed", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, |step| step.changes.counts.len()))?;
        let count = &mut history.subject.steps[step].changes.counts[i].1;
        let others = [0, 1, count.saturating_sub(1), *count + 1, u64::MAX];
        *count = pick.one(others.into_iter().filter(|other| other != count).collect())?;
        only(OracleName::Refcounts, step)
    }),
    ("settled count not listed", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, |step| step.changes.counts.len()))?;
        history.subject.steps[step].changes.counts.remove(i);
        only(OracleName::Refcounts, step)
    }),
    (
        "settled count listed of what did not change",
        |history, pick| {
            let step = pick.below(history.subject.steps.len());
            let object = ObjectId(pick.below(12) as u32);
            let was = settled(&history.subject, step);
            let counts = &mut history.subject.steps[step].changes.counts;
            let at = counts.binary_search_by_key(&object, |(id, _)| *id).err()?;
            let count = was.get(&object).copied().unwrap_or(0) + 1;
            counts.insert(at, (object, count));
            only(OracleName::Refcounts, step)
        },
    ),
    ("drop missing", |history, pick| {
        let (at, object) = pick.one(drops(&history.subject))?;
        if !shown(&history.subject, object, (at.0, usize::MAX)) {
            return None;
        }
        events(&mut history.subject, at.0).remove(at.1);
        only(OracleName::Refcounts, at.0)
    }),
    ("drop twice", |history, pick| {
        let (at, object) = pick.one(drops(&history.subject))?;
        let step = at.0 + pick.below(history.subject.steps.len() + 1 - at.0);
        let events = events(&mut history.subject, step);
        let first = if step == at.0 { at.1 } else { 0 };
        let position = first + pick.below(events.len() + 1 - first);
        events.insert(position, Event::Dropped(object));
        only(OracleName::Refcounts, step)
    }),
    (
        "drop before a host call at which it is alive",
        |history, pick| {
            let ((step, call), object, from) = pick.one(listings_before_drops(&history.subject))?;
            let drop = events(&mut history.subject, from.0).remove(from.1);
            assert_eq!(drop, Event::Dropped(object));
            events(&mut history.subject, step).insert(call, drop);
            only(OracleName::Refcounts, step)
        },
    ),
    (
        "drop at the end of a step that leaves it held",
        |history, pick| {
            let (from, object) = pick.one(drops(&history.subject))?;
            let held = |step: &usize| settled(&history.subject, *step).contains_key(&object);
            let step = pick.one((0..from.0).filter(held).collect())?;
            let drop = events(&mut history.subject, from.0).remove(from.1);
            events(&mut history.subject, step).push(drop);
            only(OracleName::Refcounts, step)
        },
    ),
    ("drop in a later step", |history, pick| {
        let (from, object) = pick.one(drops(&history.subject))?;
        let end = history.subject.steps.len();
        if from.0 == end || !shown(&history.subject, object, (from.0, usize::MAX)) {
            return None;
        }
        let drop = events(&mut history.subject, from.0).remove(from.1);
        let to = from.0 + 1 + pick.below(end - from.0);
        events(&mut history.subject, to).insert(0, drop);
        only(OracleName::Refcounts, from.0)
    }),
    ("count at a host call is 0", |history, pick| {
        let ((step, call), i) = pick.one(listings(&history.subject))?;
        counts_at(&mut history.subject, (step, call))[i].1 = 0;
        only(OracleName::Refcounts, step)
    }),
    ("count at a host call not listed", |history, pick| {
        let (at, i) = pick.one(listings(&history.subject))?;
        let (object, _) = counts_at(&mut history.subject, at).remove(i);
        if !shown(&history.subject, object, (at.0, at.1 + 1)) {
            return None;
        }
        only(OracleName::Refcounts, at.0)
    }),
    (
        "count at a host call of what was dropped",
        |history, pick| {
            let (from, object) = pick.one(drops(&history.subject))?;
            let after = calls(&history.subject)
                .into_iter()
                .filter(|call| *call > from);
            let at = pick.one(after.collect())?;
            let counts = counts_at(&mut history.subject, at);
            let position = counts.binary_search_by_key(&object, |(id, _)| *id).err()?;
            counts.insert(position, (object, 1));
            only(OracleName::Refcounts, at.0)
        },
    ),
    ("counts at a host call out of order", |history, pick| {
        let (at, i) = pick.one(listings(&history.subject))?;
        let counts = counts_at(&mut history.subject, at);
        counts.swap(i.checked_sub(1)?, i);
        only(OracleName::Refcounts, at.0)
    }),
    (
        "count at a host call below what is held",
        |history, pick| {
            let (held_at, i) = pick.one(listings(&history.reference))?;
            let (object, held) = counts_at(&mut history.reference, held_at)[i];
            let ordinal = calls(&history.reference)
                .iter()
                .position(|at| *at == held_at)?;
            let at = calls(&history.subject)[ordinal];
            let counts = counts_at(&mut history.subject, at);
            let i = counts.binary_search_by_key(&object, |(id, _)| *id).ok()?;
            counts[i].1 = held - 1;
            only(OracleName::Refcounts, at.0)
        },
    ),
];

/// Mutations of the subject's trace that the rule against the reference leaves open.
pub const TRACE_ONLY: &[(&str, Mutate)] = &[
    ("count at a host call one higher", |history, pick| {
        let (at, i) = pick.one(listings(&history.subject))?;
        counts_at(&mut history.subject, at)[i].1 += 1;
        only(OracleName::Refcounts, at.0)
    }),
    ("drops in another order", |history, pick| {
        let pairs = drops(&history.subject)
            .into_iter()
            .filter(|((step, position), _)| {
                matches!(
                    events_of(&history.subject, *step).get(position + 1),
                    Some(Event::Dropped(_))
                )
            });
        let ((step, position), _) = pick.one(pairs.collect())?;
        events(&mut history.subject, step).swap(position, position + 1);
        only(OracleName::Refcounts, step)
    }),
];

/// Mutations of what the reference says is held.
pub const HELD: &[(&str, Mutate)] = &[
    ("slot of the reference", |history, pick| {
        let (step, change, i) = pick.one(elements(&history.reference))?;
        let value = &mut history.reference.steps[step].changes.tables[change].elements[i].1;
        let object = |value| matches!(value, Value::Extern(Some(_)));
        let other = pick.other(*value);
        let was = std::mem::replace(value, other);
        if !object(was) && !object(other) {
            return None;
        }
        by(OracleName::Refcounts, step)
    }),
    ("global of the reference", |history, pick| {
        let (step, i) = pick.one(sites(&history.reference, |step| step.changes.globals.len()))?;
        let value = &mut history.reference.steps[step].changes.globals[i].value;
        let Value::Extern(Some(_)) = *value else {
            return None;
        };
        *value = Value::Extern(None);
        by(OracleName::Refcounts, step)
    }),
    ("handles of the host", |history, pick| {
        let (step, i) = pick.one(sites(&history.reference, |step| step.changes.handles.len()))?;
        let handles = &mut history.reference.steps[step].changes.handles;
        match pick.below(3) {
            0 => drop(handles.remove(i)),
            1 if handles[i].1 > 0 => handles[i].1 -= 1,
            _ => handles[i].1 += 1,
        }
        only(OracleName::Refcounts, step)
    }),
];

/// Mutations of everything else that the subject shows.
pub const STATE: &[(&str, Mutate)] = &[
    ("byte of a memory", |history, pick| {
        let with_bytes = |step: &StepObservation| {
            let bytes = step.changes.memories.first();
            bytes.map_or(0, |change| change.bytes.len())
        };
        let (step, i) = pick.one(sites(&history.subject, with_bytes))?;
        let bit = 1 << pick.below(8);
        history.subject.steps[step].changes.memories[0].bytes[i] ^= bit;
        only(OracleName::Memories, step)
    }),
    ("chunk of a memory", |history, pick| {
        let (step, bytes) = pick.one(memories(&history.subject))?;
        let change = &mut history.subject.steps[step].changes.memories[0];
        if bytes == 0 {
            return None;
        }
        let chunk = pick.below(change.chunks.len());
        change.chunks.remove(chunk);
        change.bytes.drain(chunk * 64..(chunk + 1) * 64);
        only(OracleName::Memories, step)
    }),
    ("last byte of a record", |history, pick| {
        let (step, _) = pick.one(memories(&history.subject))?;
        history.subject.steps[step].changes.memories[0]
            .bytes
            .pop()?;
        only(OracleName::Memories, step)
    }),
    ("pages of a memory", |history, pick| {
        let (step, _) = pick.one(memories(&history.subject))?;
        history.subject.steps[step].changes.memories[0].pages += 1;
        only(OracleName::Memories, step)
    }),
    ("memory", |history, _| {
        history.subject.steps[0].changes.memories.clear();
        only(OracleName::Memories, 0)
    }),
    ("element of a table", |history, pick| {
        let (step, change, i) = pick.one(elements(&history.subject))?;
        let value = &mut history.subject.steps[step].changes.tables[change].elements[i].1;
        *value = pick.other(*value);
        only(OracleName::Tables, step)
    }),
    ("record of an element", |history, pick| {
        let (step, change, i) = pick.one(elements(&history.subject))?;
        let change = &mut history.subject.steps[step].changes.tables[change];
        change.elements.remove(i);
        only(OracleName::Tables, step)
    }),
    ("index of an element", |history, pick| {
        let (step, change, i) = pick.one(elements(&history.subject))?;
        let change = &mut history.subject.steps[step].changes.tables[change];
        change.elements[i].0 += 1000;
        only(OracleName::Tables, step)
    }),
    ("size of a table", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, |step| step.changes.tables.len()))?;
        history.subject.steps[step].changes.tables[i].size += 1;
        only(OracleName::Tables, step)
    }),
    ("table", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, |step| step.changes.tables.len()))?;
        history.subject.steps[step].changes.tables.remove(i);
        only(OracleName::Tables, step)
    }),
    ("global", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, |step| step.changes.globals.len()))?;
        let value = &mut history.subject.steps[step].changes.globals[i].value;
        *value = pick.other(*value);
        only(OracleName::Globals, step)
    }),
    ("record of a global", |history, pick| {
        let i = pick.below(3);
        history.subject.steps[0].changes.globals.remove(i);
        only(OracleName::Globals, 0)
    }),
    ("byte of a memory at a host call", |history, pick| {
        let at = pick.one(looks(&history.subject, |state| {
            state.memories.iter().any(|change| !change.bytes.is_empty())
        }))?;
        let bytes = &mut state_at(&mut history.subject, at).memories[0].bytes;
        let i = pick.below(bytes.len());
        bytes[i] ^= 1 << pick.below(8);
        only(OracleName::Memories, at.0)
    }),
    ("element of a table at a host call", |history, pick| {
        let at = pick.one(looks(&history.subject, |state| {
            let mut tables = state.tables.iter();
            tables.any(|change| !change.elements.is_empty())
        }))?;
        let tables = &mut state_at(&mut history.subject, at).tables;
        let mut elements = tables.iter_mut().flat_map(|change| &mut change.elements);
        let value = &mut elements.next()?.1;
        *value = pick.other(*value);
        only(OracleName::Tables, at.0)
    }),
    ("global at a host call", |history, pick| {
        let at = pick.one(looks(&history.subject, |state| !state.globals.is_empty()))?;
        let globals = &mut state_at(&mut history.subject, at).globals;
        let i = pick.below(globals.len());
        globals[i].value = pick.other(globals[i].value);
        only(OracleName::Globals, at.0)
    }),
    ("record of a global at a host call", |history, pick| {
        let at = pick.one(looks(&history.subject, |state| !state.globals.is_empty()))?;
        state_at(&mut history.subject, at).globals.pop();
        only(OracleName::Globals, at.0)
    }),
    ("result", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, results))?;
        let Outcome::Returned(values) = &mut history.subject.steps[step].outcome else {
            return None;
        };
        values[i] = pick.other(values[i]);
        by(OracleName::Results, step)
    }),
    ("number of results", |history, pick| {
        let (step, i) = pick.one(sites(&history.subject, results))?;
        let Outcome::Returned(values) = &mut history.subject.steps[step].outcome else {
            return None;
        };
        match pick.below(2) {
            0 => drop(values.remove(i)),
            _ => values.push(Value::I32(0)),
        }
        by(OracleName::Results, step)
    }),
    ("trap", |history, pick| {
        let trapped =
            |step: &StepObservation| usize::from(matches!(step.outcome, Outcome::Trapped(_)));
        let (step, _) = pick.one(sites(&history.subject, trapped))?;
        history.subject.steps[step].outcome = match pick.below(3) {
            0 => Outcome::Returned(Vec::new()),
            1 => Outcome::Failed("a panic".to_string()),
            _ => Outcome::Trapped(TrapKind::MemoryOutOfBounds),
        };
        only(OracleName::Traps, step)
    }),
    ("number of steps", |history, _| {
        history.subject.steps.pop()?;
        only(OracleName::Traps, history.subject.steps.len())
    }),
    ("argument of a host call", |history, pick| {
        let (step, call) = pick.one(calls(&history.subject))?;
        let Event::HostCall { args, .. } = &mut events(&mut history.subject, step)[call] else {
            return None;
        };
        let i = pick.one((0..args.len()).collect())?;
        args[i] = pick.other(args[i]);
        by(OracleName::HostCalls, step)
    }),
    ("function of a host call", |history, pick| {
        let (step, call) = pick.one(calls(&history.subject))?;
        let Event::HostCall { function, .. } = &mut events(&mut history.subject, step)[call] else {
            return None;
        };
        *function += 1;
        only(OracleName::HostCalls, step)
    }),
    ("host call", |history, pick| {
        let (step, call) = pick.one(calls(&history.subject))?;
        let events = events(&mut history.subject, step);
        match pick.below(2) {
            0 => drop(events.remove(call)),
            _ => events.insert(call, events[call].clone()),
        }
        by(OracleName::HostCalls, step)
    }),
];
