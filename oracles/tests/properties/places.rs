//! The place that an oracle names is the first that differs, whatever either side recorded.

use parallax_oracles::{
    Changes, Finding, FuncIdentity, ObjectId, Observation, OracleName, Outcome, Place, Seen,
    StepObservation, Value, Verdict, compare,
};
use proptest::prelude::*;

use crate::model::{History, MEMORY_BYTES, Visible, entity, ops};

/// A change of one place of what is visible.
#[derive(Clone, Debug)]
enum Poke {
    Byte(usize, u8),
    Page,
    Element(usize, usize, u32),
    Grow(usize),
    Global(usize, u32),
}

fn poke() -> impl Strategy<Value = Poke> {
    prop_oneof![
        6 => (0..MEMORY_BYTES, 0..3u8).prop_map(|(a, b)| Poke::Byte(a, b)),
        1 => Just(Poke::Page),
        6 => (0..3usize, any::<usize>(), 0..3u32).prop_map(|(a, b, c)| Poke::Element(a, b, c)),
        1 => (0..3usize).prop_map(Poke::Grow),
        3 => (0..3usize, 0..3u32).prop_map(|(a, b)| Poke::Global(a, b)),
    ]
}

fn apply(visible: &mut Visible, pokes: &[Poke]) {
    let like = |value: Value, number: u32| match value {
        Value::Func(_) => Value::Func((number > 0).then_some(FuncIdentity::Host(number))),
        Value::Extern(_) => Value::Extern((number > 0).then_some(ObjectId(number))),
        _ => Value::F64(number.into()),
    };
    for poke in pokes {
        match *poke {
            Poke::Byte(address, byte) => visible.memory[address] = byte,
            Poke::Page => visible.pages += 1,
            Poke::Element(table, index, number) => {
                let table = &mut visible.tables[table];
                let index = index % table.len();
                table[index] = like(table[index], number);
            }
            Poke::Grow(table) => {
                let table = &mut visible.tables[table];
                table.push(like(table[0], 0));
            }
            Poke::Global(global, number) => {
                let value = &mut visible.globals[global];
                *value = like(*value, number);
            }
        }
    }
}

/// The first place at which each kind of state differs, by looking at all of it.
fn first_places(a: &Visible, b: &Visible) -> Vec<(OracleName, Place, Seen, Seen)> {
    let mut places = Vec::new();
    if a.pages != b.pages {
        let (place, a, b) = (Place::MemorySize(entity(0)), a.pages, b.pages);
        places.push((
            OracleName::Memories,
            place,
            Seen::Number(a),
            Seen::Number(b),
        ));
    } else if let Some(address) = (0..MEMORY_BYTES).find(|&i| a.memory[i] != b.memory[i]) {
        let place = Place::MemoryByte {
            memory: entity(0),
            address: address as u64,
        };
        let (a, b) = (a.memory[address], b.memory[address]);
        places.push((OracleName::Memories, place, Seen::Byte(a), Seen::Byte(b)));
    }
    if let Some(global) = (0..a.globals.len()).find(|&i| a.globals[i] != b.globals[i]) {
        let place = Place::Global(entity(global as u32));
        let (a, b) = (a.globals[global], b.globals[global]);
        places.push((OracleName::Globals, place, Seen::Value(a), Seen::Value(b)));
    }
    if let Some(number) = (0..a.tables.len()).find(|&i| a.tables[i] != b.tables[i]) {
        let (a, b, table) = (&a.tables[number], &b.tables[number], entity(number as u32));
        let (place, a, b) = if a.len() != b.len() {
            let number = |table: &Vec<Value>| Seen::Number(table.len() as u64);
            (Place::TableSize(table), number(a), number(b))
        } else {
            let index = (0..a.len()).find(|&i| a[i] != b[i]).unwrap();
            let place = Place::TableElement {
                table,
                index: index as u64,
            };
            (place, Seen::Value(a[index]), Seen::Value(b[index]))
        };
        places.push((OracleName::Tables, place, a, b));
    }
    places
}

fn observation(steps: Vec<Changes>) -> Observation {
    let step = |changes| StepObservation {
        outcome: Outcome::Returned(Vec::new()),
        events: Vec::new(),
        changes,
    };
    Observation {
        engine: "subject".to_string(),
        steps: steps.into_iter().map(step).collect(),
        ..Observation::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Both sides start from equal states, then change them differently; what each records depends
    /// on what it changed.
    #[test]
    fn the_first_place_is_named(
        ops in ops(),
        both in proptest::collection::vec(poke(), 0..20),
        reference in proptest::collection::vec(poke(), 0..4),
        subject in proptest::collection::vec(poke(), 0..4),
    ) {
        let history = History::run(&ops, false).reference;
        let mut steps: Vec<_> = history.steps.into_iter().map(|step| step.changes).collect();
        let before = Visible::after(&steps);
        let mut middle = before.clone();
        apply(&mut middle, &both);
        steps.push(middle.changes_since(Some(&before)));

        let side = |pokes| {
            let mut visible = middle.clone();
            apply(&mut visible, pokes);
            let last = visible.changes_since(Some(&middle));
            let changes = steps.iter().cloned().chain([last]).collect();
            (visible, observation(changes))
        };
        let (reference, subject) = (side(&reference[..]), side(&subject[..]));
        let verdict = compare(&reference.1, &subject.1).verdict;
        let expected: Vec<_> = first_places(&reference.0, &subject.0)
            .into_iter()
            .map(|(oracle, place, reference, subject)| Finding {
                oracle,
                step: steps.len(),
                at_call: None,
                place,
                reference,
                subject,
                engine: "subject".to_string(),
                against: None,
            })
            .collect();
        if expected.is_empty() {
            prop_assert_eq!(verdict, Verdict::Agreed);
        } else {
            prop_assert_eq!(verdict, Verdict::Diverged(expected));
        }
    }
}
