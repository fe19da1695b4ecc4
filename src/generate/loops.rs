//! Structured programs that do work: nested loops over memory, with calls and state.
//!
//! In what wasm-smith makes, loops are rare and end in their first iteration, so that values live
//! across loop headers, memory that is walked, and code that is hot hardly occur. Here they are
//! what a program consists of: accumulators of all types, strides that come near the end of the
//! memory, dispatch by `br_table`, direct, indirect and host calls inside loops, blocks of several
//! values, growth in the middle, imported next to defined state; rarely, more values that live at once
//! than there are registers, a `br_table` of hundreds of targets, and recursion.
//!
//! A program ends by construction, but for some of the last. Loops count, and a function calls only functions made before
//! it; one that it is given and calls through a table has a type that no function which makes such
//! calls has. What a call costs is estimated, and no more is called in a loop than [`MOST_WORK`] allows.

mod control;
mod many;
mod memory;
mod program;
mod recursion;
mod statements;

use super::beyond::Beyond;
use super::calls::CallPlan;
use super::source::Source;
use super::{GenerateError, Generated, nans_hidden};
use crate::case::Settings;

/// About how many loop iterations a call may come to.
const MOST_WORK: u32 = 800;

/// Makes a module from what is drawn from an input.
pub(super) fn module(
    beyond: Beyond,
    source: &mut Source<'_>,
    settings: &Settings,
) -> Result<Generated, GenerateError> {
    Ok(Generated {
        wasm: nans_hidden(program::module(beyond, source), settings)?,
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
    use crate::case::module::{FuncType, Module};
    use crate::generate::calls::ENDLESS;
    use wasmparser::{Operator, Parser, Payload};

    /// Whether a function sets a slot to its argument and calls what is in it, in one loop.
    fn sets_and_calls(operators: &[Operator<'_>]) -> bool {
        let mut depth = Vec::new();
        let mut set = Vec::new();
        let mut before = [None, None];
        for operator in operators {
            match (operator, &before) {
                (Operator::Loop { .. }, _) => {
                    depth.push(true);
                    set.clear();
                }
                (Operator::Block { .. } | Operator::If { .. }, _) => depth.push(false),
                (Operator::End, _) => {
                    depth.pop();
                    if !depth.contains(&true) {
                        set.clear();
                    }
                }
                (
                    Operator::TableSet { table },
                    [
                        Some(Operator::I32Const { value }),
                        Some(Operator::LocalGet { .. }),
                    ],
                ) if depth.contains(&true) => set.push((*table, *value)),
                (
                    Operator::CallIndirect { table_index, .. },
                    [_, Some(Operator::I32Const { value })],
                ) if set.contains(&(*table_index, *value)) => return true,
                _ => {}
            }
            before = [before[1].take(), Some(operator.clone())];
        }
        false
    }

    #[test]
    fn what_a_function_is_given_is_set_and_called_by_one_constant() {
        let count = (0..2_000)
            .filter(|seed| {
                let wasm = wasm(*seed);
                let payloads = Parser::new(0).parse_all(&wasm);
                let bodies = payloads.filter_map(|payload| match payload.expect("valid") {
                    Payload::CodeSectionEntry(body) => Some(body),
                    _ => None,
                });
                bodies.into_iter().any(|body| {
                    let operators = body.get_operators_reader().expect("valid").into_iter();
                    let operators: Vec<_> = operators.collect::<Result<_, _>>().expect("valid");
                    sets_and_calls(&operators)
                })
            })
            .count();
        assert!((30..300).contains(&count), "{count} of 2000");
    }

    /// Of how many programs the lines of text have something.
    fn programs_with(seeds: u64, has: impl Fn(&[&str]) -> bool) -> usize {
        let shows = |seed: &u64| {
            let text = wasmprinter::print_bytes(wasm(*seed)).expect("valid");
            has(&text.lines().map(str::trim).collect::<Vec<_>>())
        };
        (0..seeds).filter(shows).count()
    }

    #[test]
    fn memories_come_to_what_is_reserved_for_a_small_one() {
        let fills = programs_with(1_000, |lines| {
            let full = |window: &[&str]| {
                window[0] == "i32.const 4"
                    && window[1..]
                        .iter()
                        .any(|line| line.starts_with("memory.size"))
            };
            lines.windows(3).any(full)
        });
        let largest = programs_with(1_000, |lines| {
            let memories = lines.iter().filter(|line| line.contains("(memory"));
            memories.into_iter().any(|line| line.contains(" 4)"))
        });
        assert!((20..300).contains(&fills), "{fills}");
        assert!((100..700).contains(&largest), "{largest}");
    }

    #[test]
    fn some_programs_have_more_values_than_registers_and_some_many_targets() {
        let words = |line: &str| line.split_ascii_whitespace().count();
        let targets = programs_with(3_000, |lines| {
            let mut tables = lines.iter().filter(|line| line.starts_with("br_table"));
            tables.any(|line| words(line) > 190)
        });
        let values = programs_with(3_000, |lines| {
            let mut locals = lines.iter().filter(|line| line.starts_with("(local "));
            locals.any(|line| words(line) > 24)
        });
        assert!((5..60).contains(&targets), "{targets}");
        assert!((5..60).contains(&values), "{values}");
    }

    #[test]
    fn some_programs_recur_and_some_of_those_without_end() {
        let (mut recursive, mut endless) = (0, 0);
        for seed in 0..2_000 {
            let module = Module::from_wasm(&wasm(seed), None).expect("valid");
            let types = module
                .functions
                .iter()
                .map(|ty| &module.types[*ty as usize]);
            let recurs = |ty: &FuncType| recursion::is_type_of_one(&ty.params, &ty.results);
            recursive += u32::from(types.into_iter().any(recurs));
            let mut names = module.exports.iter().map(|(name, _)| name);
            endless += u32::from(names.any(|name| name.starts_with(ENDLESS)));
        }
        assert!((180..300).contains(&recursive), "{recursive}");
        assert!((60..140).contains(&endless), "{endless}");
    }

    #[test]
    fn programs_are_valid() {
        for seed in 0..1_500 {
            if let Err(error) = wasmparser::validate(&wasm(seed)) {
                panic!("seed {seed}: {error}");
            }
        }
    }
}
