//! Where a history has something that can be changed.

use std::collections::BTreeMap;

use parallax_oracles::{Changes, Event, ObjectId, Observation, Outcome, StepObservation, Value};

/// A step and the position of an event in it; the step past the last is the store's drop.
pub type At = (usize, usize);

/// Each step with each number below what `count` says of it.
pub fn sites(observation: &Observation, count: impl Fn(&StepObservation) -> usize) -> Vec<At> {
    let steps = observation.steps.iter().enumerate();
    steps
        .flat_map(|(n, step)| (0..count(step)).map(move |i| (n, i)))
        .collect()
}

/// How many results a step returned.
pub fn results(step: &StepObservation) -> usize {
    match &step.outcome {
        Outcome::Returned(values) => values.len(),
        _ => 0,
    }
}

/// The steps that change the memory, each with the number of bytes recorded.
pub fn memories(observation: &Observation) -> Vec<At> {
    let steps = observation.steps.iter().enumerate();
    steps
        .filter_map(|(n, step)| Some((n, step.changes.memories.first()?.bytes.len())))
        .collect()
}

/// Step, table change and element of every element recorded.
pub fn elements(observation: &Observation) -> Vec<(usize, usize, usize)> {
    sites(observation, |step| step.changes.tables.len())
        .into_iter()
        .flat_map(|(step, change)| {
            let elements = observation.steps[step].changes.tables[change]
                .elements
                .len();
            (0..elements).map(move |i| (step, change, i))
        })
        .collect()
}

/// The events of a step or of the store's drop.
pub fn events_of(observation: &Observation, step: usize) -> &[Event] {
    let step = observation.steps.get(step);
    step.map_or(&observation.teardown, |step| &step.events)
}

/// The same, to be changed.
pub fn events(observation: &mut Observation, step: usize) -> &mut Vec<Event> {
    match observation.steps.get_mut(step) {
        Some(step) => &mut step.events,
        None => &mut observation.teardown,
    }
}

/// Every event, with where it is.
pub fn all_events(observation: &Observation) -> impl Iterator<Item = (At, &Event)> {
    (0..=observation.steps.len()).flat_map(|step| {
        let events = events_of(observation, step).iter().enumerate();
        events.map(move |(position, event)| ((step, position), event))
    })
}

/// Every drop, with where it is.
pub fn drops(observation: &Observation) -> Vec<(At, ObjectId)> {
    all_events(observation)
        .filter_map(|(at, event)| match event {
            Event::Dropped(object) => Some((at, *object)),
            Event::HostCall { .. } => None,
        })
        .collect()
}

/// Where the host calls are.
pub fn calls(observation: &Observation) -> Vec<At> {
    all_events(observation)
        .filter(|(_, event)| matches!(event, Event::HostCall { .. }))
        .map(|(at, _)| at)
        .collect()
}

/// The counts at a host call.
pub fn counts_at(observation: &mut Observation, at: At) -> &mut Vec<(ObjectId, u64)> {
    match &mut events(observation, at.0)[at.1] {
        Event::HostCall { counts, .. } => counts,
        Event::Dropped(_) => panic!("not a host call"),
    }
}

/// The host calls at which the state is as asked for.
pub fn looks(observation: &Observation, is: impl Fn(&Changes) -> bool) -> Vec<At> {
    all_events(observation)
        .filter(|(_, event)| match event {
            Event::HostCall { state, .. } => state.as_deref().is_some_and(&is),
            Event::Dropped(_) => false,
        })
        .map(|(at, _)| at)
        .collect()
}

/// The state at a host call, which was looked at.
pub fn state_at(observation: &mut Observation, at: At) -> &mut Changes {
    match &mut events(observation, at.0)[at.1] {
        Event::HostCall {
            state: Some(state), ..
        } => state,
        event => panic!("{event:?}"),
    }
}

/// Every entry of the counts at every host call.
pub fn listings(observation: &Observation) -> Vec<(At, usize)> {
    all_events(observation)
        .flat_map(|(at, event)| {
            let entries = match event {
                Event::HostCall { counts, .. } => counts.len(),
                Event::Dropped(_) => 0,
            };
            (0..entries).map(move |i| (at, i))
        })
        .collect()
}

/// Host calls that list an object, with that object and where it is dropped later.
pub fn listings_before_drops(observation: &Observation) -> Vec<(At, ObjectId, At)> {
    let drops = drops(observation);
    let mut found = Vec::new();
    for (at, event) in all_events(observation) {
        if let Event::HostCall { counts, .. } = event {
            for (object, _) in counts {
                let drop = drops
                    .iter()
                    .find(|(from, gone)| gone == object && *from > at);
                found.extend(drop.map(|(from, _)| (at, *object, *from)));
            }
        }
    }
    found
}

/// The settled counts after a step that are not 0.
pub fn settled(observation: &Observation, step: usize) -> BTreeMap<ObjectId, u64> {
    let steps = observation.steps.iter().take(step + 1);
    let mut counts: BTreeMap<_, _> = steps.flat_map(|step| step.changes.counts.clone()).collect();
    counts.retain(|_, count| *count > 0);
    counts
}

/// Whether the subject shows the object before an event, so that one can know that it exists.
/// What a step shows at its end counts only if the event is past all of its events.
pub fn shown(observation: &Observation, object: ObjectId, before: At) -> bool {
    let in_event = |event: &Event| match event {
        Event::HostCall { args, counts, .. } => {
            args.contains(&Value::Extern(Some(object)))
                || counts.iter().any(|(listed, _)| *listed == object)
        }
        Event::Dropped(_) => false,
    };
    let at_end = |step: &StepObservation| {
        let result = match &step.outcome {
            Outcome::Returned(values) => values.contains(&Value::Extern(Some(object))),
            _ => false,
        };
        result || step.changes.counts.iter().any(|(id, _)| *id == object)
    };
    let steps = observation.steps.iter().enumerate();
    all_events(observation).any(|(at, event)| at < before && in_event(event))
        || steps
            .filter(|(n, _)| *n < before.0 || (*n == before.0 && before.1 == usize::MAX))
            .any(|(_, step)| at_end(step))
}
