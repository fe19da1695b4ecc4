//! What fuzz targets start from: a few small inputs with as much in them as possible.
//!
//! From the inputs of a fixed seed those are chosen, one after the other, that add the most to what
//! the ones before have: opcodes, settings, ways of linking, generators. All bytes that generators
//! draw are in them and hardly any others, so that the mutator finds every statement. What comes of
//! it depends on nothing but the generators; `parallax seeds` writes it to `corpus/`.

use std::collections::BTreeSet;

use super::outline::Outline;
use super::stamp;
use super::{Generator, Generators, case_from_bytes, one_module};
use crate::campaign;
use crate::case::opcodes::OpcodeSet;
use crate::case::{Action, Case};

/// What candidates are drawn from.
const SEED: u64 = 0x5eed;

/// Inputs to choose from.
const CANDIDATES: u64 = 4_000;

/// Inputs to choose.
const CHOSEN: usize = 44;

/// Modules beside them, of each generator.
const MODULES: usize = 3;

/// Bytes of what wasm-smith reads; the rest it draws from the seed of shape.
const WASM_SMITH_BYTES: usize = 400;

/// A file of the corpus that a fuzz target starts from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seed {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// An input that may be chosen.
struct Candidate {
    generator: Generator,
    bytes: Vec<u8>,
    opcodes: OpcodeSet,
    traits: BTreeSet<String>,
}

/// The seeds for a fuzz target that runs what these generators make.
pub fn seeds(generators: Generators) -> Vec<Seed> {
    let mut candidates: Vec<Candidate> = (0..CANDIDATES)
        .filter_map(|number| candidate(number, generators))
        .collect();
    let mut seeds = Vec::new();
    let (mut opcodes, mut traits) = (OpcodeSet::EMPTY, BTreeSet::new());
    while seeds.len() < CHOSEN && !candidates.is_empty() {
        let gain = |candidate: &Candidate| {
            let mut all = opcodes;
            all.union_with(&candidate.opcodes);
            let new_traits = candidate.traits.difference(&traits).count();
            all.len() - opcodes.len() + 4 * new_traits
        };
        let gains = candidates.iter().map(gain);
        // What is small comes first among equals.
        let best = gains
            .zip(&candidates)
            .enumerate()
            .max_by_key(|(_, (gain, candidate))| (*gain, usize::MAX - candidate.bytes.len()));
        let Some((best, (1.., _))) = best else {
            break;
        };
        let chosen = candidates.swap_remove(best);
        opcodes.union_with(&chosen.opcodes);
        traits.extend(chosen.traits);
        seeds.push(Seed {
            name: format!("seed-{:02}-{}.bin", seeds.len(), chosen.generator),
            bytes: chosen.bytes,
        });
    }
    if generators == Generators::all() {
        seeds.extend(Generator::ALL.into_iter().flat_map(modules));
    }
    seeds
}

fn candidate(number: u64, generators: Generators) -> Option<Candidate> {
    let drawn = campaign::input(SEED, number, 0, generators);
    let mut outline = Outline::of(stamp::strip(&drawn).ok()?)?;
    for body in &mut outline.bodies {
        if body.generator == Generator::WasmSmith {
            body.bytes.truncate(WASM_SMITH_BYTES);
        }
    }
    let bytes = [&stamp::stamp()[..], &outline.input(usize::MAX)].concat();
    let case = case_from_bytes(&bytes).ok()?;
    let generator = outline.bodies.first()?.generator;
    let mut opcodes = OpcodeSet::EMPTY;
    for module in &case.modules {
        opcodes.union_with(&module.opcodes);
    }
    Some(Candidate {
        generator,
        bytes,
        opcodes,
        traits: traits(&case, generator),
    })
}

/// What is to occur among the seeds: settings, linking, and what the modules use.
fn traits(case: &Case, generator: Generator) -> BTreeSet<String> {
    let instances = case
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::Instantiate { .. }));
    let mut traits = BTreeSet::from([
        format!(
            "{generator} of {} in {}",
            case.modules.len(),
            instances.count()
        ),
        format!("{generator} with {} imports", case.host_items.len().min(4)),
    ]);
    for line in case.settings.to_lines().lines() {
        let varies = ["host_seed", "memory_limit", "interrupt_at", "fuel"];
        if !varies.iter().any(|name| line.contains(name)) {
            traits.insert(line.to_string());
        }
    }
    traits
}

/// Some modules of a generator, as they are.
fn modules(generator: Generator) -> Vec<Seed> {
    (0..MODULES as u64)
        .filter_map(|number| {
            let drawn = campaign::input(SEED + 1, number, 0, Generators::only(generator));
            let module = one_module(stamp::strip(&drawn).ok()?)?;
            case_from_bytes(&module).ok()?;
            Some(Seed {
                name: format!("seed-{generator}-{number}.wasm"),
                bytes: module,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_few_and_hold_most() {
        for (generators, at_least) in [
            (Generators::all(), 380),
            (Generators::only(Generator::References), 40),
        ] {
            let seeds = seeds(generators);
            assert_eq!(seeds, super::seeds(generators));
            assert!((10..60).contains(&seeds.len()), "{}", seeds.len());
            let mut opcodes = OpcodeSet::EMPTY;
            for seed in &seeds {
                assert!(seed.bytes.len() <= 4_096, "{}", seed.name);
                assert!(seed.name.ends_with(".wasm") || generators.asked_by(&seed.bytes));
                for module in &case_from_bytes(&seed.bytes).expect("a case").modules {
                    opcodes.union_with(&module.opcodes);
                }
            }
            assert!(opcodes.len() >= at_least, "{}", opcodes.len());
        }
    }
}
