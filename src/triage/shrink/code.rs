//! Less code: stretches of instructions taken out of a function.
//!
//! What a stretch leaves on the stack has to come from somewhere once it is gone. So it is replaced by
//! as many `drop`s and constants as it takes ([`bridges`]): of `i32.add` a `drop` is left, which keeps
//! the first operand, of a load nothing, of a call one constant for each result. Those go in turn when
//! their neighbours do, since a constant and its `drop` are a stretch that leaves nothing.

use parallax_oracles::Value;

use super::Shrinker;
use super::draft::Draft;
use super::encode::is_zero;
use super::op::Op;
use super::shape::{self, Before};
use crate::case::module::ValType;

impl Shrinker<'_> {
    /// Takes stretches out of every function, long ones first.
    pub(super) fn code(&mut self) {
        let places: Vec<(usize, usize)> = places(&self.draft);
        for (part, function) in places {
            let mut length = self.length(part, function).next_power_of_two();
            while length > 0 {
                self.stretches(part, function, length);
                if self.is_over() {
                    return;
                }
                length /= 2;
            }
        }
    }

    /// The number of instructions of a function.
    fn length(&self, part: usize, function: usize) -> usize {
        let part = self.draft.parts.get(part).and_then(Option::as_ref);
        let function = part.and_then(|part| part.program.functions.get(function));
        function.map_or(0, |function| function.what.code.len())
    }

    /// Takes out stretches of about this length, the last first.
    fn stretches(&mut self, part: usize, function: usize, length: usize) {
        let mut states = states(&self.draft, part, function);
        let mut end = self.length(part, function);
        while end > 0 {
            let start = end.saturating_sub(length);
            // Stretches overlap, so that none is missed for lying across two of them.
            end = end.saturating_sub(length.div_ceil(2));
            loop {
                let Some(states_now) = &states else { return };
                let candidates = self.without_stretch(part, function, states_now, start, length);
                let done = candidates
                    .into_iter()
                    .any(|candidate| self.attempt(Some(candidate)));
                if self.is_over() {
                    return;
                }
                if !done {
                    break;
                }
                states = self::states(&self.draft, part, function);
                end = end.min(self.length(part, function));
            }
        }
    }

    /// Takes out values that are put on the stack only to be dropped, however far apart that is, and
    /// puts operands into the place of what consumes them.
    pub(super) fn values(&mut self) {
        for (part, function) in places(&self.draft) {
            let mut at = self.length(part, function);
            while at > 0 {
                at -= 1;
                let Some(states) = states(&self.draft, part, function) else {
                    break;
                };
                let Some(code) = self.code_of(part, function) else {
                    break;
                };
                let mut edits: Vec<Vec<Op>> = dropped_later(&code, &states, at)
                    .map(|drop| {
                        let mut code = code.clone();
                        code.remove(drop);
                        code.remove(at);
                        code
                    })
                    .into_iter()
                    .collect();
                edits.extend(operands_instead(&code, &states, at));
                edits.extend(self.simpler_call(part, &code, at));
                for edited in edits {
                    let Some(Some(whole)) = self.draft.parts.get(part) else {
                        return;
                    };
                    let mut program = whole.program.clone();
                    program.functions[function].what.code = edited;
                    let candidate = self.draft.with_program(part, program);
                    if self.attempt(candidate) {
                        break;
                    }
                }
                if self.is_over() {
                    return;
                }
                at = at.min(self.length(part, function));
            }
        }
    }

    /// The code with the indirect call at `at` one of a function without parameters and results, if
    /// the module has such a type.
    fn simpler_call(&self, part: usize, code: &[Op], at: usize) -> Option<Vec<Op>> {
        let Op::CallIndirect { ty, table } = code[at] else {
            return None;
        };
        let types = &self.draft.parts.get(part)?.as_ref()?.program.types;
        let old = types.get(ty as usize)?;
        let empty = types
            .iter()
            .position(|ty| ty.params.is_empty() && ty.results.is_empty())?;
        if old.params.is_empty() && old.results.is_empty() {
            return None;
        }
        let mut edited = code[..at].to_vec();
        edited.push(Op::CallIndirect {
            ty: empty as u32,
            table,
        });
        edited.extend(old.params.iter().map(|_| Op::Drop));
        let zeroes = old.results.iter().map(|ty| Op::Const(ty.default_value()));
        edited.extend(zeroes);
        edited.extend_from_slice(&code[at + 1..]);
        Some(edited)
    }

    /// Candidates without the stretch from `start` on, of at least this length if so much is left of
    /// its block.
    fn without_stretch(
        &self,
        part: usize,
        function: usize,
        states: &[Before],
        start: usize,
        length: usize,
    ) -> Vec<Draft> {
        let Some(Some(whole)) = self.draft.parts.get(part) else {
            return Vec::new();
        };
        let code = &whole.program.functions[function].what.code;
        let Some(end) = stretch(code, states, start, length) else {
            return Vec::new();
        };
        let weight = weight(&code[start..end]);
        let mut candidates = Vec::new();
        let mut bridges = bridges(code, states, start, end);
        // What is left behind may be consumed by nothing, where control does not come.
        if !bridges.iter().any(Vec::is_empty) {
            bridges.push(Vec::new());
        }
        for bridge in bridges {
            if self::weight(&bridge) >= weight {
                continue;
            }
            let mut program = whole.program.clone();
            let code = &mut program.functions[function].what.code;
            code.splice(start..end, bridge);
            candidates.extend(self.draft.with_program(part, program));
        }
        candidates
    }
}

/// Where the value that the instruction at `at` puts on the stack is dropped, if that is all that
/// becomes of it.
fn dropped_later(code: &[Op], states: &[Before], at: usize) -> Option<usize> {
    let puts = matches!(
        code[at],
        Op::Const(_) | Op::LocalGet(_) | Op::GlobalGet(_) | Op::RefFunc(_) | Op::TableSize(_)
    );
    let (depth, height) = (states[at].depth, states[at].stack.len());
    for (position, state) in states.iter().enumerate().skip(at + 1) {
        let consumed = state.depth < depth || state.unreachable || state.stack.len() <= height;
        if !puts || consumed {
            return None;
        }
        if state.stack.len() == height + 1 && state.depth == depth {
            match code[position] {
                Op::Drop => return Some(position),
                // Something is put on top, or a block begins that may not look below.
                _ if states.get(position + 1)?.stack.len() > height + 1 => {}
                _ => return None,
            }
        }
    }
    None
}

/// The code with one operand of the instruction at `at` in the place of the whole expression, for
/// each operand of the type of its result.
fn operands_instead(code: &[Op], states: &[Before], at: usize) -> Vec<Vec<Op>> {
    let Some(after) = states.get(at + 1).filter(|after| !after.unreachable) else {
        return Vec::new();
    };
    let Some(base) = after.stack.len().checked_sub(1) else {
        return Vec::new();
    };
    let depth = states[at].depth;
    if after.depth != depth || states[at].unreachable || states[at].stack.len() <= base + 1 {
        return Vec::new();
    }
    // Where each operand starts: the last place at which the stack was so high.
    let start = |height: usize| {
        (0..=at).rev().find(|position| {
            let state = &states[*position];
            state.depth == depth && state.stack.len() == height
        })
    };
    let Some(first) = start(base) else {
        return Vec::new();
    };
    // All of it must lie in one block.
    if states[first..=at]
        .iter()
        .any(|state| state.depth < depth || state.unreachable)
    {
        return Vec::new();
    }
    let mut edits = Vec::new();
    for operand in base..states[at].stack.len() {
        let (Some(from), Some(to)) = (start(operand), start(operand + 1)) else {
            continue;
        };
        if from >= to || states[at].stack[operand] != after.stack[base] || first > from {
            continue;
        }
        let mut edited = code[..first].to_vec();
        edited.extend_from_slice(&code[from..to]);
        edited.extend_from_slice(&code[at + 1..]);
        edits.push(edited);
    }
    edits
}

/// The functions that are defined: part and number.
pub(super) fn places(draft: &Draft) -> Vec<(usize, usize)> {
    let programs = draft.programs();
    programs
        .flat_map(|(part, program)| {
            program
                .defined_functions()
                .map(move |function| (part, function))
        })
        .collect()
}

/// The state before every instruction of a function.
pub(super) fn states(draft: &Draft, part: usize, function: usize) -> Option<Vec<Before>> {
    let part = draft.parts.get(part)?.as_ref()?;
    let body = part
        .program
        .defined_functions()
        .position(|it| it == function)?;
    let states = shape::of_body(&part.module.wasm, body)?;
    (states.len() == part.program.functions[function].what.code.len()).then_some(states)
}

/// The end of a stretch of whole instructions and blocks that starts at `start`. None if nothing
/// starts there that could be taken out.
fn stretch(code: &[Op], states: &[Before], start: usize, length: usize) -> Option<usize> {
    let depth = states.get(start)?.depth;
    let mut end = start;
    while end < start + length || states.get(end)?.depth > depth {
        // The end of the block around it.
        if states.get(end)?.depth == depth && matches!(code[end], Op::End | Op::Else) {
            break;
        }
        end += 1;
        if end >= code.len() {
            return None;
        }
    }
    (end > start).then_some(end)
}

/// What can stand in the place of `code[start..end]`, without a thought for what it does.
fn bridges(code: &[Op], states: &[Before], start: usize, end: usize) -> Vec<Vec<Op>> {
    let (before, after) = (&states[start], &states[end]);
    let mut bridges = Vec::new();
    if before.unreachable || after.unreachable {
        bridges.push(Vec::new());
        if after.unreachable && !before.unreachable {
            bridges.push(vec![Op::Unreachable]);
        }
        return bridges;
    }
    let pairs = before.stack.iter().zip(&after.stack);
    let common = pairs.take_while(|(one, other)| one == other).count();
    // What the stretch does not touch for sure.
    let untouched = states[start..=end].iter().map(|state| state.stack.len());
    let lowest = untouched.min().unwrap_or(0).min(common);
    let consumed = lowest_operand(code, states, start, end).min(lowest);
    for kept in [common, lowest, consumed] {
        if let Some(bridge) = bridge(&before.stack, &after.stack, kept)
            && !bridges.contains(&bridge)
        {
            bridges.push(bridge);
        }
    }
    bridges
}

/// How many operands are left untouched by a stretch, counting what each instruction consumes before
/// it leaves something in the same place.
fn lowest_operand(code: &[Op], states: &[Before], start: usize, end: usize) -> usize {
    let mut lowest = states[start].stack.len();
    for at in start..end {
        let height = states[at].stack.len();
        let consumes = match &code[at] {
            Op::Const(_) | Op::LocalGet(_) | Op::GlobalGet(_) | Op::Block(_) | Op::Loop(_) => 0,
            Op::RefFunc(_) | Op::End | Op::Else => 0,
            Op::TableCopy { .. } | Op::TableInit { .. } | Op::TableFill(_) => 3,
            _ => {
                let left = states.get(at + 1).map_or(0, |next| next.stack.len());
                // One that leaves as many as there were has consumed one at least.
                (height + 1).saturating_sub(left).max(1)
            }
        };
        lowest = lowest.min(height.saturating_sub(consumes));
    }
    lowest
}

/// Drops all but `kept` operands and puts zeroes up to what is wanted.
fn bridge(before: &[Option<ValType>], after: &[Option<ValType>], kept: usize) -> Option<Vec<Op>> {
    let drops = before.len().checked_sub(kept)?;
    let zeroes = after.get(kept..)?.iter();
    let zeroes: Option<Vec<Op>> = zeroes
        .map(|ty| Some(Op::Const((*ty)?.default_value())))
        .collect();
    let drops = std::iter::repeat_n(Op::Drop, drops);
    Some(drops.chain(zeroes?).collect())
}

/// How much a piece of code counts. A bridge counts for less than nearly all that it can replace.
pub(super) fn weight(code: &[Op]) -> u32 {
    let one = |op: &Op| match op {
        Op::Drop => 2,
        Op::Const(value) => 3 + u32::from(!is_simple(value)),
        Op::Unreachable => 4,
        Op::LocalGet(_) => 5,
        Op::End | Op::Else => 1,
        Op::Call(_) | Op::CallIndirect { .. } => 60,
        // More than the call and the `return` that it may be replaced by.
        Op::ReturnCall(_) | Op::ReturnCallIndirect { .. } => 90,
        _ => 20,
    };
    code.iter().map(one).sum()
}

fn is_simple(value: &Value) -> bool {
    is_zero(value)
}

#[cfg(test)]
mod tests {
    use super::super::draft::Part;
    use super::super::program::Program;
    use super::*;
    use crate::case::Module;

    /// The only function of a module, and the states in it.
    fn function(text: &str) -> (Part, Vec<Before>) {
        let wasm = wat::parse_str(text).expect("a module");
        let module = Module::from_wasm(&wasm, None).expect("valid");
        let program = Program::new(&module, |_| false).expect("WebAssembly 2.0");
        let part = Part::new(program).expect("valid");
        let states = shape::of_body(&part.module.wasm, 0).expect("valid");
        (part, states)
    }

    const NESTED: &str = "(module (func (param i32) (result i64)
        i32.const 1
        (block (param i32) (result i64)
            i64.extend_i32_s
            (if (local.get 0) (then nop) (else nop nop)))
        i64.const 5
        i64.add))";

    #[test]
    fn stretches_are_of_whole_blocks() {
        let (part, states) = function(NESTED);
        let code = &part.program.functions[0].what.code;
        // const, block, extend, get, if, nop, else, nop, nop, end, end, const, add, end
        assert_eq!(code.len(), 14);
        let stretch = |start, length| stretch(code, &states, start, length);
        assert_eq!(stretch(0, 1), Some(1));
        assert_eq!(stretch(0, 2), Some(11));
        assert_eq!(stretch(1, 1), Some(11));
        assert_eq!(stretch(4, 1), Some(10));
        assert_eq!(stretch(7, 8), Some(9));
        assert_eq!(stretch(9, 1), None);
        assert_eq!(stretch(13, 1), None);
    }

    /// The code of a function after the first edit of a kind at each place that has one.
    fn edited(text: &str, edit: impl Fn(&[Op], &[Before], usize) -> Vec<Vec<Op>>) -> Vec<Vec<Op>> {
        let (part, states) = function(text);
        let code = &part.program.functions[0].what.code;
        let mut all = Vec::new();
        for at in 0..code.len() {
            for code in edit(code, &states, at) {
                let mut program = part.program.clone();
                program.functions[0].what.code.clone_from(&code);
                assert!(Part::new(program).is_some(), "{at}: {code:?}");
                all.push(code);
            }
        }
        all
    }

    #[test]
    fn what_is_dropped_in_the_end_is_found() {
        let text = "(module (func (param i32) i32.const 7 local.get 0 i64.const 1 drop drop drop))";
        let (part, states) = function(text);
        let code = &part.program.functions[0].what.code;
        let drops: Vec<_> = (0..3).map(|at| dropped_later(code, &states, at)).collect();
        assert_eq!(drops, [Some(5), Some(4), Some(3)]);
        // What is consumed by something else is not.
        let (part, states) = function("(module (func i32.const 7 i32.eqz drop))");
        let code = &part.program.functions[0].what.code;
        assert_eq!(dropped_later(code, &states, 0), None);
    }

    #[test]
    fn operands_take_the_place_of_what_consumes_them() {
        let text = "(module (func (param f32 f32) (result f32)
            (select (local.get 0) (f32.neg (local.get 1)) (i32.const 1))))";
        let edits = edited(text, operands_instead);
        // One of the two that select chooses from; the condition is of another type.
        let get = |local| vec![Op::LocalGet(local)];
        assert!(edits.contains(&[get(0), vec![Op::End]].concat()));
        assert!(
            edits
                .iter()
                .any(|code| code[0] == Op::LocalGet(1) && code.len() == 3)
        );
        assert!(edits.iter().all(|code| code.len() < 6));
    }

    /// Every stretch of every length, replaced by its first bridge, leaves a valid module. The others
    /// guess what is consumed, and may reach below the block; validation refuses them then.
    #[test]
    fn bridges_leave_valid_code() {
        let (part, states) = function(NESTED);
        let code = &part.program.functions[0].what.code;
        let mut replaced = 0;
        for start in 0..code.len() {
            for length in 1..code.len() {
                let Some(end) = stretch(code, &states, start, length) else {
                    continue;
                };
                let bridges = bridges(code, &states, start, end);
                assert!(!bridges.is_empty());
                for (rank, bridge) in bridges.into_iter().enumerate() {
                    let mut program = part.program.clone();
                    let code = &mut program.functions[0].what.code;
                    code.splice(start..end, bridge.clone());
                    let valid = Part::new(program).is_some();
                    assert!(valid || rank > 0, "{start}..{end}: {bridge:?}");
                    replaced += u32::from(valid);
                }
            }
        }
        assert!(replaced > 20, "{replaced}");
    }
}
