//! Structured programs that do work: nested loops over memory, with calls and state.
//!
//! In what wasm-smith makes, loops are rare and end in their first iteration, so that values live
//! across loop headers, memory that is walked, and code that is hot hardly occur. Here they are
//! what a program consists of: accumulators of all types, strides that come near the end of the
//! memory, dispatch by `br_table`, direct, indirect and host calls inside loops, blocks of several
//! values, growth in the middle, imported next to defined state.
//!
//! A program ends by construction. Loops count, and a function calls only functions made before
//! it. What a call costs is estimated, and no more is called in a loop than [`MOST_WORK`] allows.

mod control;
mod memory;
mod program;
mod statements;

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::source::Source;
use super::{GenerateError, Generated};
use crate::case::Settings;

/// About how many loop iterations a call may come to.
const MOST_WORK: u32 = 800;

/// Makes a module from what is drawn from an input.
pub(super) fn module(
    beyond: Beyond,
    source: &mut Source<'_>,
    settings: &mut Settings,
) -> Result<Generated, GenerateError> {
    // Programs store what they compute: a NaN's payload would show.
    settings.canonicalise_nans = true;
    Ok(Generated {
        wasm: program::module(beyond, source),
        plan: CallPlan {
            budget: 8,
            rounds: 3,
            collects: 0,
        },
    })
}

/// A program of this seed.
#[cfg(test)]
pub(super) fn wasm(seed: u64) -> Vec<u8> {
    let beyond = Beyond::all_if(seed.is_multiple_of(4));
    program::module(beyond, &mut Source::new(&[], seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_valid() {
        for seed in 0..1_500 {
            if let Err(error) = wasmparser::validate(&wasm(seed)) {
                panic!("seed {seed}: {error}");
            }
        }
    }
}
