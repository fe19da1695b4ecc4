//! Simpler types of blocks: without parameters and results, or without the last of them.
//!
//! What a block is not given any more is dropped before it, and stands in it as zeroes; what it does not
//! leave any more is dropped at its end, and zeroes stand behind it. Branches stay as they are: operands
//! that the label does not want may lie below those that it wants, and a conditional branch leaves them
//! where they are. What comes of that and is no module is no candidate.

use super::Shrinker;
use super::blocks::extent;
use super::code::places;
use super::op::{Op, Signature};
use super::program::Program;
use crate::case::module::{FuncType, ValType};

impl Shrinker<'_> {
    pub(super) fn block_types(&mut self) {
        for (part, function) in places(&self.draft) {
            let mut at = 0;
            while let Some(code) = self.code_of(part, function)
                && at < code.len()
            {
                let counts = self.draft.parts[part]
                    .as_ref()
                    .and_then(|part| block_type(&part.program, &code[at]))
                    .map_or((0, 0), |ty| (ty.params.len(), ty.results.len()));
                let done = fewer(counts).into_iter().any(|(params, results)| {
                    self.edit(part, |program| {
                        with_fewer(program, function, at, params, results).is_some()
                    })
                });
                if self.is_over() {
                    return;
                }
                // Further instructions may stand before the block now.
                at += usize::from(!done);
            }
        }
    }
}

/// How many parameters and results to try where there are so many, the fewest first.
fn fewer((params, results): (usize, usize)) -> Vec<(usize, usize)> {
    let all = [
        (0, 0),
        (0, results),
        (params, 0),
        (params.saturating_sub(1), results),
        (params, results.saturating_sub(1)),
    ];
    let mut fewer = Vec::new();
    for counts in all {
        if counts != (params, results) && !fewer.contains(&counts) {
            fewer.push(counts);
        }
    }
    fewer
}

/// The type of the block that an instruction begins.
fn block_type(program: &Program, op: &Op) -> Option<FuncType> {
    let (Op::Block(signature) | Op::Loop(signature) | Op::If(signature)) = *op else {
        return None;
    };
    Some(match signature {
        Signature::Empty => FuncType::default(),
        Signature::Result(ty) => FuncType {
            params: Vec::new(),
            results: vec![ty],
        },
        Signature::Type(ty) => program.types.get(ty as usize)?.clone(),
    })
}

/// The signature of blocks of this type.
fn signature(program: &mut Program, ty: FuncType) -> Signature {
    match (&ty.params[..], &ty.results[..]) {
        ([], []) => Signature::Empty,
        ([], [result]) => Signature::Result(*result),
        _ => {
            let known = program.types.iter().position(|known| *known == ty);
            let index = known.unwrap_or_else(|| {
                program.types.push(ty);
                program.types.len() - 1
            });
            Signature::Type(index as u32)
        }
    }
}

/// Leaves the block at `at` only the first of its parameters and results, so many.
fn with_fewer(
    program: &mut Program,
    function: usize,
    at: usize,
    params: usize,
    results: usize,
) -> Option<()> {
    let code = program.functions[function].what.code.clone();
    let old = block_type(program, code.get(at)?)?;
    let (other, end) = extent(&code, at)?;
    let (given, not_given) = old.params.split_at_checked(params)?;
    let (left, not_left) = old.results.split_at_checked(results)?;
    // The condition lies on top of what would have to be dropped.
    if matches!(code[at], Op::If(_)) && !not_given.is_empty() {
        return None;
    }
    let signature = signature(
        program,
        FuncType {
            params: given.to_vec(),
            results: left.to_vec(),
        },
    );
    let drops = |types: &[ValType]| std::iter::repeat_n(Op::Drop, types.len());
    let zeroes = |types: &[ValType]| {
        let zeroes = types.iter().map(|ty| Op::Const(ty.default_value()));
        zeroes.collect::<Vec<Op>>()
    };
    let mut edited = code[..at].to_vec();
    edited.extend(drops(not_given));
    edited.push(match code[at] {
        Op::Block(_) => Op::Block(signature),
        Op::Loop(_) => Op::Loop(signature),
        _ => Op::If(signature),
    });
    edited.extend(zeroes(not_given));
    for (position, op) in code.iter().enumerate().take(end + 1).skip(at + 1) {
        if position == end || Some(position) == other {
            edited.extend(drops(not_left));
        }
        edited.push(op.clone());
    }
    edited.extend(zeroes(not_left));
    edited.extend_from_slice(&code[end + 1..]);
    program.functions[function].what.code = edited;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::draft::Part;
    use super::*;
    use crate::case::Module;

    /// The text of a function after its block at `at` is left so many parameters and results; none if
    /// that is no module.
    fn edited(text: &str, at: usize, params: usize, results: usize) -> Option<String> {
        let wasm = wat::parse_str(text).expect("a module");
        let module = Module::from_wasm(&wasm, None).expect("valid");
        let mut program = Program::new(&module, |_| false).expect("WebAssembly 2.0");
        with_fewer(&mut program, 0, at, params, results)?;
        let part = Part::new(program)?;
        let text = wasmprinter::print_bytes(&part.module.wasm).expect("a module");
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn zeroes_are_in_the_place_of_what_is_not_given_or_left() {
        let text = "(module (func (param i64) (result i32 f32)
            f32.const 2  i32.const 1
            (block (param f32 i32) (result i32 f32)
                drop  drop  i32.const 5  f32.const 6
                (br_if 0 (i64.eqz (local.get 0))))))";
        let empty = edited(text, 2, 0, 0).expect("a module");
        let expected = "f32.const 0x1p+1 (;=2;) i32.const 1 drop drop \
            block ;; label = @1 f32.const 0x0p+0 (;=0;) i32.const 0 drop drop i32.const 5 \
            f32.const 0x1.8p+2 (;=6;) local.get 0 i64.eqz br_if 0 (;@1;) drop drop end \
            i32.const 0 f32.const 0x0p+0 (;=0;)";
        assert!(empty.contains(expected), "{empty}");
        // One less of each; what is left is below.
        let one = edited(text, 2, 1, 2).expect("a module");
        assert!(one.contains("(param f32) (result i32 f32)"), "{one}");
        assert_eq!(
            edited(text, 2, 2, 1),
            None,
            "the branch has no i32 to take along"
        );
    }

    #[test]
    fn both_arms_of_an_if_leave_less() {
        let text = "(module (func (param i32) (result i32)
            i32.const 3
            (if (param i32) (result i32) (local.get 0)
                (then i32.eqz) (else drop i32.const 4))))";
        let without = edited(text, 2, 1, 0).expect("a module");
        let expected = "(param i32) ;; label = @1 i32.eqz drop else drop i32.const 4 drop end \
            i32.const 0";
        assert!(without.contains(expected), "{without}");
        // The condition is in the way of what would be dropped.
        assert_eq!(edited(text, 2, 0, 1), None);
    }

    #[test]
    fn every_block_is_tried_with_less_until_it_has_nothing() {
        assert_eq!(fewer((0, 0)), []);
        assert_eq!(fewer((0, 1)), [(0, 0)]);
        assert_eq!(fewer((2, 1)), [(0, 0), (0, 1), (2, 0), (1, 1)]);
    }
}
