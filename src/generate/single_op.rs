//! One instruction, many operands.
//!
//! wasm-smith spreads over all instructions, and its operands are what happens to lie on the
//! stack: a given instruction meets few values, and never those where it goes wrong. Here a module
//! is about one instruction, which is applied to many interesting operands, in the shapes in which
//! compilers treat it differently: operands from memory, from parameters, constant on either side,
//! and results that are used at once by another instruction or by a branch.

mod bulk;
mod memory;
mod tables;
mod values;

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::source::Source;
use super::{GenerateError, Generated, nans_hidden};
use crate::case::Settings;

/// Makes a module from what is drawn from an input.
pub(super) fn module(
    beyond: Beyond,
    source: &mut Source<'_>,
    settings: &Settings,
) -> Result<Generated, GenerateError> {
    // How memories are addressed and how many there are matters to bulk instructions most.
    let accesses = match (beyond.memory64, beyond.multi_memory) {
        (false, false) => 10..15,
        (true, true) => 10..12,
        _ => 10..13,
    };
    let wasm = match source.below(20) {
        0..=9 => values::module(beyond, source),
        what if accesses.contains(&what) => memory::accesses(beyond, source),
        10..=15 => bulk::module(beyond, source),
        16..=17 => tables::calls(beyond, source),
        _ => tables::accesses(source),
    };
    Ok(Generated {
        wasm: nans_hidden(wasm, settings)?,
        plan: CallPlan {
            budget: 14,
            rounds: 6,
            collects: 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_valid() {
        for seed in 0..3_000 {
            let mut source = Source::new(&[], seed);
            let beyond = Beyond::all_if(seed % 2 == 0);
            let settings = Settings {
                canonicalise_nans: seed % 3 != 0,
                ..Settings::default()
            };
            let made = module(beyond, &mut source, &settings).expect("a module");
            if let Err(error) = wasmparser::validate(&made.wasm) {
                panic!("seed {seed}: {error}");
            }
        }
    }
}
