//! Simpler operands: constants, offsets and alignments of accesses; fewer local variables, parameters
//! and results; and at the very end, shorter names.

use super::Shrinker;
use super::code::places;
use super::draft::{Doing, Draft};
use super::items::edited;
use super::op::Op;
use super::program::Program;
use super::steps::MOST_VALUES;
use super::values::simpler;
use crate::case::module::Extern;

impl Shrinker<'_> {
    /// Constants nearer to zero, accesses without an offset.
    pub(super) fn operands(&mut self) {
        for (part, function) in places(&self.draft) {
            let count = self.code_of(part, function).map_or(0, |code| code.len());
            for at in 0..count {
                for _ in 0..MOST_VALUES {
                    let code = self.code_of(part, function);
                    let Some(op) = code.as_ref().and_then(|code| code.get(at)) else {
                        break;
                    };
                    let better = simpler_ops(op).into_iter().any(|op| {
                        self.edit(part, |program| {
                            program.functions[function].what.code[at] = op;
                            true
                        })
                    });
                    if !better {
                        break;
                    }
                    if self.is_over() {
                        return;
                    }
                }
            }
        }
    }

    /// Fewer local variables, parameters and results.
    pub(super) fn signatures(&mut self) {
        for (part, function) in places(&self.draft) {
            self.edit(part, |program| remove_unused_locals(program, function));
            let counts = self.draft.parts[part].as_ref().map(|part| {
                let ty = &part.program.functions[function].what.ty;
                (ty.params.len(), ty.results.len())
            });
            let (params, results) = counts.unwrap_or_default();
            for param in (0..params).rev() {
                let candidate = without_param(&self.draft, part, function, param);
                self.attempt(candidate);
            }
            for result in (0..results).rev() {
                self.edit(part, |program| remove_result(program, function, result));
            }
        }
    }

    /// Gives the functions that steps call names without the mark of the normaliser.
    pub(super) fn names(&mut self) {
        for part in 0..self.draft.parts.len() {
            let candidate = renamed(&self.draft, part);
            self.attempt(candidate);
        }
    }
}

/// Instructions that are simpler than this one.
fn simpler_ops(op: &Op) -> Vec<Op> {
    match op {
        Op::BrTable(depths) if depths.len() > 2 => {
            let (targets, default) = depths.split_at(depths.len() - 1);
            let (first, second) = targets.split_at(targets.len().div_ceil(2));
            [first, second, &targets[1..], &targets[..targets.len() - 1]]
                .map(|fewer| Op::BrTable([fewer, default].concat()))
                .into()
        }
        Op::Const(value) => simpler(*value).into_iter().map(Op::Const).collect(),
        Op::Access {
            opcode,
            align,
            offset,
            lane,
            memory,
        } => {
            let with = |align: u32, offset: u64, lane: Option<u8>| Op::Access {
                opcode: opcode.clone(),
                align,
                offset,
                lane,
                memory: *memory,
            };
            let mut simpler = Vec::new();
            let mut offsets = vec![0, offset / 256, offset / 2, offset - offset / 16];
            offsets.retain(|simple| simple < offset);
            simpler.extend(
                offsets
                    .into_iter()
                    .map(|offset| with(*align, offset, *lane)),
            );
            // The natural alignment is the one that goes without saying.
            let natural = natural_alignment(opcode);
            if let Some(natural) = natural.filter(|natural| natural != align) {
                simpler.push(with(natural, *offset, *lane));
            }
            if lane.is_some_and(|lane| lane > 0) {
                simpler.push(with(*align, *offset, Some(0)));
            }
            simpler
        }
        _ => Vec::new(),
    }
}

/// The exponent of the natural alignment of a load or store.
fn natural_alignment(opcode: &[u8]) -> Option<u32> {
    Some(match opcode {
        [0x28 | 0x2a | 0x34 | 0x35 | 0x36 | 0x38 | 0x3e] => 2,
        [0x29 | 0x2b | 0x37 | 0x39] => 3,
        [0x2c | 0x2d | 0x30 | 0x31 | 0x3a | 0x3c] => 0,
        [0x2e | 0x2f | 0x32 | 0x33 | 0x3b | 0x3d] => 1,
        [0xfd, 0 | 11] => 4,
        [0xfd, 1..=6 | 10 | 87 | 91 | 93] => 3,
        [0xfd, 7 | 84 | 88] => 0,
        [0xfd, 8 | 85 | 89] => 1,
        [0xfd, 9 | 86 | 90 | 92] => 2,
        _ => return None,
    })
}

/// Says whether there were any.
fn remove_unused_locals(program: &mut Program, function: usize) -> bool {
    let function = &mut program.functions[function].what;
    let params = function.ty.params.len();
    let mut used = vec![false; function.locals.len()];
    for op in &mut function.code {
        if let Some(local) = op.local_mut()
            && let Some(used) = (*local as usize)
                .checked_sub(params)
                .and_then(|local| used.get_mut(local))
        {
            *used = true;
        }
    }
    if used.iter().all(|used| *used) {
        return false;
    }
    for op in &mut function.code {
        if let Some(local) = op.local_mut()
            && let Some(index) = (*local as usize).checked_sub(params)
        {
            *local -= used[..index].iter().filter(|used| !**used).count() as u32;
        }
    }
    let mut keep = used.iter();
    function
        .locals
        .retain(|_| keep.next().is_some_and(|used| *used));
    true
}

/// A draft in which a function lacks a parameter, which it has as a local variable instead where it
/// uses it. Calls from code are left as they are, but for the last parameter, which they drop.
fn without_param(draft: &Draft, part: usize, function: usize, param: usize) -> Option<Draft> {
    let mut draft = draft.clone();
    let mut program = draft.parts[part].as_ref()?.program.clone();
    let params = program.functions[function].what.ty.params.len();
    let exports: Vec<String> = program
        .exports
        .iter()
        .filter(|(_, item)| *item == Extern::Func(function as u32))
        .map(|(name, _)| name.clone())
        .collect();
    {
        let it = &mut program.functions[function].what;
        let ty = it.ty.params.remove(param);
        // It becomes the first local variable, behind the parameters that are left.
        it.locals.insert(0, ty);
        for op in &mut it.code {
            if let Some(local) = op.local_mut() {
                let index = *local as usize;
                if index == param {
                    *local = params as u32 - 1;
                } else if index > param && index < params {
                    *local -= 1;
                }
            }
        }
    }
    remove_unused_locals(&mut program, function);
    for other in &mut program.functions {
        let calls = |op: &Op| *op == Op::Call(function as u32);
        if other.what.code.iter().any(calls) {
            if param + 1 != params {
                return None;
            }
            let code = std::mem::take(&mut other.what.code);
            for op in code {
                if calls(&op) {
                    other.what.code.push(Op::Drop);
                }
                other.what.code.push(op);
            }
        }
    }
    let called: Vec<bool> = draft
        .steps
        .iter()
        .map(|doing| match doing {
            Doing::Invoke {
                instance, export, ..
            } => draft.part_of(*instance) == Some(part) && exports.contains(export),
            _ => false,
        })
        .collect();
    for (doing, called) in draft.steps.iter_mut().zip(called) {
        if let Doing::Invoke { args, .. } = doing
            && called
            && param < args.len()
        {
            args.remove(param);
        }
    }
    draft.with_program(part, program)
}

/// Has a function drop a result before it ends. Not if code calls it.
fn remove_result(program: &mut Program, function: usize, result: usize) -> bool {
    let called = program.functions.iter().any(|other| {
        let mut code = other.what.code.iter();
        code.any(|op| *op == Op::Call(function as u32))
    });
    let it = &mut program.functions[function].what;
    // Only the last is on top.
    if called || result + 1 != it.ty.results.len() {
        return false;
    }
    it.ty.results.pop();
    let end = it.code.len().saturating_sub(1);
    it.code.insert(end, Op::Drop);
    true
}

/// A draft with names for a part's exports as a person would choose them.
fn renamed(draft: &Draft, part: usize) -> Option<Draft> {
    let exports = draft.parts[part].as_ref()?.program.exports.clone();
    let taken = |name: &str| exports.iter().any(|(known, _)| known == name);
    let mut names = ('f'..='z').map(String::from).filter(|name| !taken(name));
    let mut changes = Vec::new();
    for (name, _) in exports.iter().filter(|(name, _)| name.starts_with('@')) {
        changes.push((name.clone(), names.next()?));
    }
    if changes.is_empty() {
        return None;
    }
    let new = |name: &str| {
        let mut changes = changes.iter();
        changes.find_map(|(old, new)| (old == name).then(|| new.clone()))
    };
    let mut renamed = edited(draft, part, |program| {
        for (name, _) in &mut program.exports {
            if let Some(new) = new(name) {
                *name = new;
            }
        }
        true
    })?;
    for step in 0..renamed.steps.len() {
        let mut doing = renamed.steps[step].clone();
        if let Doing::Invoke {
            instance, export, ..
        }
        | Doing::Get { instance, export } = &mut doing
            && draft.part_of(*instance) == Some(part)
            && let Some(new) = new(export)
        {
            *export = new;
        }
        renamed.steps[step] = doing;
    }
    Some(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_branches_has_fewer_and_goes_to_the_same_by_default() {
        let table = Op::BrTable(vec![1, 2, 3, 0]);
        let simpler = simpler_ops(&table);
        assert_eq!(simpler[0], Op::BrTable(vec![1, 2, 0]));
        for op in simpler {
            let Op::BrTable(depths) = op else {
                panic!("{op:?}")
            };
            assert!(depths.len() < 4 && depths.last() == Some(&0));
        }
        // With one target it is a branch of another kind that is tried (`blocks`).
        assert_eq!(simpler_ops(&Op::BrTable(vec![1, 0])), []);
    }
}
