//! Programs about references: externref and funcref tables, globals, locals, and the stack.
//!
//! wasm-smith has all of the instructions, but its references are null: it has nothing to make an
//! object with, and hardly ever moves one from where it is to where it is used. Reference counts
//! only go wrong where objects are shared, overwritten, held by the stack alone across a call that
//! collects, and given up in the middle of a bulk operation. Here programs consist of that, over a
//! few objects in a few small places, so that they meet:
//!
//! - `parallax.make`, `take` and `gc` are called directly and through tables;
//! - references lie on the operand stack, in locals, in block parameters and in the arguments of
//!   calls, one to eight at a time, across loops, calls and collections, down to recursion;
//! - now and then the host calls functions back while wasm waits for it, passes on several references to them
//!   and from them at once, and those collect;
//! - where tail calls are used, functions are left by them, with references for arguments: to each
//!   other, to the host, through tables, and by those that count down, which then need no stack;
//! - slots are set to what they hold, to what another slot holds, and to null; ranges overlap;
//!   tables grow in the middle; segments are dropped; now and then an access is out of bounds in
//!   the middle of a sequence.
//!
//! Programs are valid by construction, and end by construction: loops count, functions call only
//! functions made before them (but for two kinds that count down), and what stands in tables calls
//! the host alone. Some end only where the stack does (`recursion.rs`). Most accesses are inside the initial bounds, which no table ever shrinks below, or
//! count from the end that a table has by then.

mod callbacks;
mod control;
mod objects;
mod program;
mod ranges;
mod recursion;
mod statements;

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::input::Header;
use super::source::Source;
use super::{GenerateError, Generated, Generator, Linking};
use crate::case::Settings;

/// About how many statements a call may come to.
const MOST_WORK: u32 = 160;

/// Capacities of the activations table, one for every value of the upper four bits of the byte
/// that chooses: mostly so small that it overflows all the time.
const CAPACITIES: [u32; 16] = [1, 2, 3, 4, 8, 64, 512, 4096, 1, 1, 1, 2, 2, 3, 4, 8];

/// Makes a module from an input's head and body.
pub(super) fn module(
    header: &Header,
    source: &mut Source<'_>,
    settings: &mut Settings,
) -> Result<Generated, GenerateError> {
    settings.activations_capacity = CAPACITIES[usize::from(header.activations() >> 4)];
    // Two programs in one case are half as long each, so that all cases cost about the same.
    let is_half = Linking::of(header, Generator::References) == Linking::Two;
    Ok(Generated {
        wasm: program::module(Beyond::of(header), is_half, source),
        plan: CallPlan {
            budget: 9,
            rounds: 3,
            collects: 12,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::module::SegmentMode;

    #[test]
    fn programs_are_valid() {
        for seed in 0..3_000 {
            let mut source = Source::new(&[], seed);
            let beyond = Beyond::all_if(seed % 2 == 0);
            let wasm = program::module(beyond, seed % 3 == 0, &mut source);
            if let Err(error) = wasmparser::validate(&wasm) {
                panic!("seed {seed}: {error}");
            }
        }
    }

    #[test]
    fn what_tables_grew_by_is_read_and_written() {
        // By what comes right behind `table.size - n`, or behind one more operand.
        let mut gets = 0;
        let mut sets = 0;
        let mut bulk = 0;
        for seed in 0..600 {
            let wasm = program::module(Beyond::all_if(false), false, &mut Source::new(&[], seed));
            let text = wasmprinter::print_bytes(&wasm).expect("valid");
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for window in lines.windows(6) {
                let size = window[0].starts_with("table.size");
                if !size || !window[1].starts_with("i32.const") || window[2] != "i32.sub" {
                    continue;
                }
                let later = |what: &str| window[3..].iter().any(|line| line.starts_with(what));
                gets += u32::from(window[3].starts_with("table.get"));
                sets += u32::from(window[4].starts_with("table.set"));
                bulk +=
                    u32::from(later("table.fill") || later("table.copy") || later("table.init"));
            }
        }
        for count in [gets, sets, bulk] {
            assert!(count > 30, "{gets} {sets} {bulk}");
        }
    }

    #[test]
    fn functions_that_tables_grew_by_are_called() {
        // By what comes right behind `table.size - n`.
        let (mut called, mut beyond) = (0, 0);
        for seed in 0..2_000 {
            let wasm = program::module(Beyond::all_if(false), false, &mut Source::new(&[], seed));
            let text = wasmprinter::print_bytes(&wasm).expect("valid");
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for window in lines.windows(4) {
                let size = window[0].starts_with("table.size");
                called += u32::from(
                    size && window[2] == "i32.sub" && window[3].starts_with("call_indirect"),
                );
                beyond += u32::from(size && window[1].starts_with("call_indirect"));
            }
        }
        assert!(called > 50 && beyond > 0, "{called} {beyond}");
    }

    #[test]
    fn segments_that_are_gone_are_copied_from_at_times() {
        let (mut passive, mut active, mut declared) = (0, 0, 0);
        for seed in 0..2_000 {
            let wasm = program::module(Beyond::all_if(false), false, &mut Source::new(&[], seed));
            let module = crate::case::Module::from_wasm(&wasm, None).expect("valid");
            for segment in copied_from(&wasm) {
                match &module.elements[segment].mode {
                    SegmentMode::Passive => passive += 1,
                    SegmentMode::Active { .. } => active += 1,
                    SegmentMode::Declared => declared += 1,
                }
            }
        }
        let all = passive + active + declared;
        assert!(active > 20 && declared > 2, "{active} {declared}");
        assert!((active + declared) * 6 < all, "{active} {declared} {all}");
    }

    /// The segments that instructions `table.init` of a module name.
    fn copied_from(wasm: &[u8]) -> Vec<usize> {
        let text = wasmprinter::print_bytes(wasm).expect("valid");
        let lines = text.lines().map(str::trim);
        let inits = lines.filter_map(|line| line.strip_prefix("table.init "));
        let segments = inits.filter_map(|operands| operands.split(' ').next_back()?.parse().ok());
        segments.collect()
    }

    #[test]
    fn the_host_calls_functions_in_tail_position() {
        let mut called = 0;
        for seed in 0..1_000 {
            let wasm = program::module(Beyond::all_if(true), false, &mut Source::new(&[], seed));
            let module = crate::case::Module::from_wasm(&wasm, None).expect("valid");
            let mut imports = module.imports.iter();
            if let Some(position) = imports.position(|import| import.name == "call") {
                let text = wasmprinter::print_bytes(&wasm).expect("valid");
                called += text.matches(&format!("return_call {position}\n")).count();
            }
        }
        assert!(called > 20, "{called}");
    }

    #[test]
    fn the_host_calls_functions_of_many_types() {
        let mut types = std::collections::HashMap::new();
        let mut called = 0;
        for seed in 0..2_000 {
            let wasm = program::module(Beyond::all_if(false), false, &mut Source::new(&[], seed));
            let module = crate::case::Module::from_wasm(&wasm, None).expect("valid");
            let mut imports = module.imports.iter();
            let Some(position) = imports.position(|import| import.name == "call") else {
                continue;
            };
            // Functions are imported before all else.
            let ty = module.function_type(position as u32).called_back();
            let text = wasmprinter::print_bytes(&wasm).expect("valid");
            called += text.matches(&format!("call {position}\n")).count();
            *types.entry(ty).or_insert(0) += 1;
        }
        let programs: u32 = types.values().sum();
        assert!((300..500).contains(&programs), "{programs}");
        assert!(types.values().all(|count| *count >= 10), "{types:?}");
        assert_eq!(types.len(), 14);
        assert!(called > 400, "{called}");
    }

    #[test]
    fn any_bytes_make_a_program() {
        for byte in 0..=255 {
            let beyond = Beyond::all_if(true);
            let wasm = program::module(beyond, false, &mut Source::new(&[byte; 4_000], 0));
            if let Err(error) = wasmparser::validate(&wasm) {
                panic!("byte {byte}: {error}");
            }
        }
    }
}
