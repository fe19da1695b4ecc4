//! Fewer blocks: what stands in one is put into its place, one arm of an `if` into the place of both,
//! a plain branch into that of a table of them, a call and a `return` into that of a tail call.

use super::Shrinker;
use super::code::places;
use super::op::{Op, Signature};

impl Shrinker<'_> {
    pub(super) fn blocks(&mut self) {
        for (part, function) in places(&self.draft) {
            let mut at = 0;
            while let Some(code) = self.code_of(part, function)
                && at < code.len()
            {
                let edits = edits(&code, at);
                let done = edits.into_iter().any(|code| {
                    let Some(Some(whole)) = self.draft.parts.get(part) else {
                        return false;
                    };
                    let mut program = whole.program.clone();
                    program.functions[function].what.code = code;
                    let candidate = self.draft.with_program(part, program);
                    self.attempt(candidate)
                });
                if self.is_over() {
                    return;
                }
                // What has come into the place may be a block as well.
                at += usize::from(!done);
            }
        }
    }

    /// The code of a function.
    pub(super) fn code_of(&self, part: usize, function: usize) -> Option<Vec<Op>> {
        let part = self.draft.parts.get(part)?.as_ref()?;
        let function = part.program.functions.get(function)?;
        Some(function.what.code.clone())
    }
}

/// The code of a function with less of a block where there is one at `at`.
fn edits(code: &[Op], at: usize) -> Vec<Vec<Op>> {
    match code[at] {
        Op::Block(_) | Op::Loop(_) => {
            let mut edits: Vec<Vec<Op>> = unwrapped(code, at).into_iter().collect();
            if let Op::Loop(Signature::Empty) = code[at] {
                let mut block = code.to_vec();
                block[at] = Op::Block(Signature::Empty);
                edits.push(block);
            }
            edits
        }
        Op::If(_) => arms(code, at),
        Op::BrTable(ref depths) => {
            let branches = depths.iter().map(|depth| {
                let mut code = code.to_vec();
                code.splice(at..=at, [Op::Drop, Op::Br(*depth)]);
                code
            });
            branches.collect()
        }
        Op::BrIf(depth) => {
            let mut always = code.to_vec();
            always.splice(at..=at, [Op::Drop, Op::Br(depth)]);
            vec![always]
        }
        Op::ReturnCall(function) => vec![called(code, at, Op::Call(function))],
        Op::ReturnCallIndirect { ty, table } => {
            vec![called(code, at, Op::CallIndirect { ty, table })]
        }
        _ => Vec::new(),
    }
}

/// The code with a tail call made a call and a `return`.
fn called(code: &[Op], at: usize, call: Op) -> Vec<Op> {
    let mut code = code.to_vec();
    code.splice(at..=at, [call, Op::Return]);
    code
}

/// Where the block that starts at `at` has its `else` and its `end`.
pub(super) fn extent(code: &[Op], at: usize) -> Option<(Option<usize>, usize)> {
    let (mut depth, mut other) = (0, None);
    for (position, op) in code.iter().enumerate().skip(at) {
        match op {
            Op::Block(_) | Op::Loop(_) | Op::If(_) => depth += 1,
            Op::Else if depth == 1 => other = Some(position),
            Op::End => {
                depth -= 1;
                if depth == 0 {
                    return Some((other, position));
                }
            }
            _ => {}
        }
    }
    None
}

/// The contents of a block with branches that reach as many blocks less far. None if there is a branch
/// to the block itself.
fn lifted(contents: &[Op]) -> Option<Vec<Op>> {
    let mut contents = contents.to_vec();
    let mut depth = 0;
    for op in &mut contents {
        match op {
            Op::Block(_) | Op::Loop(_) | Op::If(_) => depth += 1,
            Op::End => depth -= 1,
            _ => {
                for target in op.depths_mut() {
                    match (*target).cmp(&depth) {
                        std::cmp::Ordering::Less => {}
                        std::cmp::Ordering::Equal => return None,
                        std::cmp::Ordering::Greater => *target -= 1,
                    }
                }
            }
        }
    }
    Some(contents)
}

fn unwrapped(code: &[Op], at: usize) -> Option<Vec<Op>> {
    let (_, end) = extent(code, at)?;
    let contents = lifted(&code[at + 1..end])?;
    let mut code = code.to_vec();
    code.splice(at..=end, contents);
    Some(code)
}

/// An `if` with one of its arms in its place, without a block or as one.
fn arms(code: &[Op], at: usize) -> Vec<Vec<Op>> {
    let Some((other, end)) = extent(code, at) else {
        return Vec::new();
    };
    let Op::If(ty) = code[at] else {
        return Vec::new();
    };
    let first = at + 1..other.unwrap_or(end);
    let second = other.map(|other| other + 1..end);
    let mut edits = Vec::new();
    for arm in [Some(first), second].into_iter().flatten() {
        if let Some(contents) = lifted(&code[arm.clone()]) {
            let mut code = code.to_vec();
            code.splice(at..=end, [Op::Drop].into_iter().chain(contents));
            edits.push(code);
        }
        let mut block = code.to_vec();
        let contents = code[arm].iter().cloned();
        let opening = [Op::Drop, Op::Block(ty)].into_iter();
        block.splice(at..end, opening.chain(contents));
        edits.push(block);
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_go_on_to_where_they_went() {
        let empty = Signature::Empty;
        let code = [
            Op::Block(empty),
            Op::Loop(empty),
            Op::Br(1),
            Op::End,
            Op::End,
            Op::End,
        ];
        // The loop goes, and the branch is to the block still.
        let without_loop = unwrapped(&code, 1).expect("no branch to it");
        assert_eq!(without_loop[1], Op::Br(0));
        assert_eq!(without_loop.len(), 4);
        // The block is what the branch is to.
        assert_eq!(unwrapped(&code, 0), None);
    }

    #[test]
    fn an_if_becomes_each_of_its_arms() {
        let code = [
            Op::If(Signature::Empty),
            Op::Unreachable,
            Op::Else,
            Op::Return,
            Op::End,
            Op::End,
        ];
        let edits = edits(&code, 0);
        assert!(edits.contains(&vec![Op::Drop, Op::Unreachable, Op::End]));
        assert!(edits.contains(&vec![Op::Drop, Op::Return, Op::End]));
    }
}
