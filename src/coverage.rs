//! What a case exercises, as a set of features, and the smallest set of cases that has all of them.
//!
//! A feature is one of these:
//!
//! - an instruction in its code, and an instruction that follows another one directly;
//! - a setting that is not the default, numbers by their size;
//! - where imports come from, by kind; how many modules and instances there are;
//! - how steps ended, traps by kind, and what they changed: memories, tables, globals, counts, their
//!   sizes; what the host was called for; which objects were dropped;
//! - what engines made of it: which do not support it, what they were found to do, which known faults
//!   were met.
//!
//! These are what can be told without instrumenting parallax itself. Edges of its code are libFuzzer's
//! business: `scripts/fuzz` with `-merge=1`, or `cargo fuzz cmin`, keeps an input for each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parallax_oracles::{Event, Outcome, Verdict};
use wasmparser::{Parser, Payload};

use crate::case::module::ImportKind;
use crate::case::opcodes::OpcodeSet;
use crate::case::{Action, Case};
use crate::harness::{Examined, NotCompared};

/// Settings that say nothing about what is exercised.
const NOT_COVERED: [&str; 2] = ["host-seed", "fuel"];

/// The features of a case. Each starts with the name of its kind and a colon.
pub type Features = BTreeSet<String>;

/// The features of a case and of what came of it.
pub fn features(case: &Case, examined: &Examined) -> Features {
    let mut features = Features::new();
    let mut add = |kind: &str, what: String| {
        features.insert(format!("{kind}:{what}"));
    };
    code(case, &mut add);
    settings(case, &mut add);
    shape(case, &mut add);
    behaviour(case, examined, &mut add);
    features
}

/// How many features of each kind there are.
pub fn kinds<'f>(features: impl IntoIterator<Item = &'f String>) -> BTreeMap<&'f str, u64> {
    let mut kinds = BTreeMap::new();
    for feature in features {
        let kind = feature.split(':').next().unwrap_or_default();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

fn code(case: &Case, add: &mut impl FnMut(&str, String)) {
    for module in &case.modules {
        for payload in Parser::new(0).parse_all(&module.wasm) {
            let Ok(Payload::CodeSectionEntry(body)) = payload else {
                continue;
            };
            let Ok(mut operators) = body.get_operators_reader() else {
                continue;
            };
            let mut before: Option<String> = None;
            while !operators.eof() {
                let from = operators.original_position() - body.range().start;
                if operators.read().is_err() {
                    break;
                }
                let mut one = OpcodeSet::EMPTY;
                one.insert_encoded(&body.as_bytes()[from as usize..]);
                let Some(name) = one.names().next() else {
                    continue;
                };
                if let Some(before) = before {
                    add("pair", format!("{before} {name}"));
                }
                add("opcode", name.to_string());
                before = Some(name.into_owned());
            }
        }
    }
}

fn settings(case: &Case, add: &mut impl FnMut(&str, String)) {
    for line in case.settings.to_lines().lines() {
        let line = line.trim_start_matches(";;!").trim();
        let Some((name, value)) = line.split_once(" = ") else {
            continue;
        };
        if NOT_COVERED.contains(&name) {
            continue;
        }
        match value.parse::<u64>() {
            Ok(number) => add("setting", format!("{name} {}", size(number))),
            Err(_) => add("setting", line.to_string()),
        }
    }
}

/// The size of a number: how many bits it takes.
fn size(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

fn shape(case: &Case, add: &mut impl FnMut(&str, String)) {
    let mut instances = 0;
    for step in &case.steps {
        let Action::Instantiate { module, link } = &step.action else {
            continue;
        };
        instances += 1;
        let Some(module) = case.modules.get(*module) else {
            continue;
        };
        for (import, source) in module.imports.iter().zip(&link.0) {
            let kind = match import.kind {
                ImportKind::Func(_) => "func",
                ImportKind::Table(_) => "table",
                ImportKind::Memory(_) => "memory",
                ImportKind::Global(_) => "global",
            };
            let source = match source.map(|source| source.owner) {
                None => "nowhere",
                Some(parallax_oracles::Owner::Host) => "the host",
                Some(parallax_oracles::Owner::Instance(_)) => "an instance",
            };
            add("link", format!("{kind} from {source}"));
        }
    }
    add("link", format!("{} modules", case.modules.len()));
    add("link", format!("{instances} instances"));
}

fn behaviour(case: &Case, examined: &Examined, add: &mut impl FnMut(&str, String)) {
    let observed = examined.reference.iter().flat_map(|it| &it.steps);
    for (step, seen) in case.steps.iter().zip(observed) {
        let action = match step.action {
            Action::Instantiate { .. } => "instantiate",
            Action::Invoke { .. } => "invoke",
            Action::Get { .. } => "get",
            Action::Collect => "collect",
        };
        let outcome = match &seen.outcome {
            Outcome::Returned(values) => format!("returned {}", values.len()),
            outcome => outcome.to_string(),
        };
        add("outcome", format!("{action} {outcome}"));
        let changes = &seen.changes;
        for memory in &changes.memories {
            let chunks = size(memory.chunks.len() as u64);
            add(
                "change",
                format!("memory of {}, {chunks}", size(memory.pages)),
            );
        }
        for table in &changes.tables {
            let elements = size(table.elements.len() as u64);
            add(
                "change",
                format!("table of {}, {elements}", size(table.size)),
            );
        }
        if !changes.globals.is_empty() {
            add(
                "change",
                format!("globals {}", size(changes.globals.len() as u64)),
            );
        }
    }
    for subject in &examined.subjects {
        if let Err(NotCompared::Unsupported(what)) = &subject.result {
            add(
                "engine",
                format!("{} does not support {what}", subject.engine),
            );
        }
        let Some(observation) = &subject.observation else {
            continue;
        };
        for step in &observation.steps {
            for event in &step.events {
                if let Event::Dropped(_) = event {
                    add("engine", format!("{} drops in a step", subject.engine));
                }
            }
            let counts = step.changes.counts.iter().map(|(_, count)| *count);
            if let Some(most) = counts.max() {
                add(
                    "engine",
                    format!("{} counts {}", subject.engine, size(most)),
                );
            }
        }
    }
    for known in &examined.known {
        add("known", known.name.to_string());
    }
    if let Verdict::Diverged(findings) = &examined.verdict {
        for finding in findings {
            add("finding", format!("{} {}", finding.engine, finding.oracle));
        }
    }
}

/// The positions of as few sets as a greedy search finds that have all features of all of them
/// together: again and again the one with the most that is missing, of equals the one of the least
/// cost, and of those the first.
pub fn smallest_cover(sets: &[Features], cost: impl Fn(usize) -> u64) -> Vec<usize> {
    // By number, since features are many and long.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let sets: Vec<Vec<usize>> = sets
        .iter()
        .map(|features| {
            let numbered = features.iter().map(|feature| {
                let next = numbers.len();
                *numbers.entry(feature).or_insert(next)
            });
            numbered.collect()
        })
        .collect();
    let mut missing = vec![true; numbers.len()];
    let mut left = numbers.len();
    // What a set adds only ever gets less, so an old figure that is too small stays so.
    let mut adds: Vec<usize> = sets.iter().map(Vec::len).collect();
    let mut chosen = Vec::new();
    while left > 0 {
        let mut best: Option<(usize, u64, usize)> = None;
        for (position, set) in sets.iter().enumerate() {
            if adds[position] == 0 || best.is_some_and(|(most, _, _)| adds[position] < most) {
                continue;
            }
            adds[position] = set.iter().filter(|number| missing[**number]).count();
            let better = match best {
                _ if adds[position] == 0 => false,
                None => true,
                Some((most, least, _)) => {
                    adds[position] > most || (adds[position] == most && cost(position) < least)
                }
            };
            if better {
                best = Some((adds[position], cost(position), position));
            }
        }
        let Some((_, _, position)) = best else { break };
        for number in &sets[position] {
            if std::mem::replace(&mut missing[*number], false) {
                left -= 1;
            }
        }
        adds[position] = 0;
        chosen.push(position);
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::wast::case_from_file;
    use crate::harness::Harness;
    use proptest::prelude::*;

    fn of(text: &str) -> Features {
        let case = case_from_file(text.as_bytes(), "x.wast").expect("a script");
        let mut harness =
            Harness::new(&[crate::engine::registry::DIRECT]).expect("the engine is there");
        let examined = harness.examine(&case);
        features(&case, &examined)
    }

    #[test]
    fn code_settings_and_behaviour_are_told() {
        let features = of(r#";;! opt-level = "none"
            ;;! activations-capacity = 5
            ;;! host-seed = 77
            (module (memory 1)
              (func (export "f") (i32.store (i32.const 3) (i32.const 5)) unreachable))
            (invoke "f")"#);
        for feature in [
            "opcode:i32.store",
            "pair:i32.const i32.store",
            "pair:i32.store unreachable",
            "setting:opt-level = \"none\"",
            "setting:activations-capacity 3",
            "outcome:invoke trapped: unreachable",
            "change:memory of 1, 1",
            "link:1 modules",
        ] {
            assert!(features.contains(feature), "no {feature} in {features:?}");
        }
        assert!(!features.iter().any(|feature| feature.contains("seed")));
        assert_eq!(kinds(&features)["setting"], 2);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_superfluous_kept(
            sets in proptest::collection::vec(
                proptest::collection::btree_set("[a-h]", 0..5), 0..12),
        ) {
            let chosen = smallest_cover(&sets, |position| position as u64);
            let all: Features = sets.iter().flatten().cloned().collect();
            let kept: Features = chosen.iter().flat_map(|it| &sets[*it]).cloned().collect();
            prop_assert_eq!(all, kept);
            prop_assert!(chosen.len() <= 8);
            prop_assert!(chosen.is_sorted());
        }
    }

    #[test]
    fn of_equals_the_cheapest_is_kept() {
        let set = |features: &str| features.chars().map(String::from).collect::<Features>();
        let sets = [set("ab"), set("ab"), set("abc"), set("d"), set("")];
        assert_eq!(smallest_cover(&sets, |_| 1), [2, 3]);
        let sets = [set("ab"), set("ba"), set("c")];
        assert_eq!(
            smallest_cover(&sets, |position| 9 - position as u64),
            [1, 2]
        );
    }
}
