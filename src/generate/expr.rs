//! Expressions: trees of value instructions over variables, constants and loads.
//!
//! Compilers go wrong where several instructions become one (an address with a shifted index, a
//! comparison and a branch, a constant that fits an immediate), so operands are small expressions
//! themselves, and constants come often.

use std::sync::OnceLock;

use wasm_encoder::Instruction;

use super::ops::{self, Op};
use super::sketch::{Body, constant, load};
use super::source::{PieceKind, Source};
use super::values::Palette;
use crate::case::module::ValType;

/// The types expressions are over.
pub const TYPES: [ValType; 5] = [
    ValType::I32,
    ValType::I64,
    ValType::F32,
    ValType::F64,
    ValType::V128,
];

/// Those of [`TYPES`] that a program has, with or without vectors.
pub fn types(vectors: bool) -> &'static [ValType] {
    match vectors {
        true => &TYPES,
        false => &TYPES[..4],
    }
}

/// What an expression may use.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Variables, by position of their type in [`TYPES`].
    pub variables: [Vec<u32>; 5],
    /// A local that holds an address below 64 KiB, and a static offset up to which adding to it
    /// stays inside memory.
    pub memory: Option<(u32, u32)>,
    /// Whether that memory is addressed by i64; the local is an i32 all the same.
    pub memory64: bool,
    /// Whether there may be vectors.
    pub vectors: bool,
    /// Whether there may be relaxed vector instructions.
    pub relaxed: bool,
    /// Whether instructions that may trap are allowed.
    pub traps: bool,
    /// What constants are drawn from.
    pub palette: Palette,
}

impl Scope {
    /// A scope of nothing but constants.
    pub fn new() -> Scope {
        Scope {
            variables: Default::default(),
            memory: None,
            memory64: false,
            vectors: true,
            relaxed: false,
            traps: false,
            palette: Palette {
                any_nan: true,
                functions: None,
            },
        }
    }

    /// Adds a variable. Those of reference types are left out.
    pub fn variable(&mut self, ty: ValType, local: u32) {
        if let Some(at) = position(ty) {
            self.variables[at].push(local);
        }
    }

    /// The types that expressions are over here.
    pub fn types(&self) -> &'static [ValType] {
        types(self.vectors)
    }

    /// The variables of a type.
    pub fn of_type(&self, ty: ValType) -> &[u32] {
        position(ty).map_or(&[], |at| &self.variables[at])
    }

    /// Emits an expression of type `ty` no deeper than `depth`.
    pub fn expression(&self, ty: ValType, depth: u32, body: &mut Body, source: &mut Source<'_>) {
        let start = source.place();
        if depth == 0 || source.percent(15) {
            self.leaf(ty, body, source);
        } else {
            let relaxed = self.relaxed && ty == ValType::V128 && source.percent(15);
            let op = match relaxed {
                true => source.pick(ops::RELAXED),
                false => *source.pick(with_result(ty, self.traps, self.vectors)),
            };
            self.apply(op, depth - 1, body, source);
        }
        source.mark(PieceKind::Value(ty), start);
    }

    /// Emits `op` over expressions no deeper than `depth`.
    pub fn apply(&self, op: &Op, depth: u32, body: &mut Body, source: &mut Source<'_>) {
        for param in op.params {
            self.expression(*param, depth, body, source);
        }
        let instruction = op.instruction(source);
        body.push(instruction);
    }

    /// Emits `op`, then one or two instructions that use its result; says of what type the result
    /// is then.
    pub fn apply_and_use(&self, op: &Op, body: &mut Body, source: &mut Source<'_>) -> ValType {
        let mut ty = op.result;
        self.apply(op, 0, body, source);
        for _ in 0..source.range(1, 2) {
            let next = *source.pick(with_first_param(ty));
            if next.traps && !self.traps {
                break;
            }
            for param in &next.params[1..] {
                self.leaf(*param, body, source);
            }
            let instruction = next.instruction(source);
            body.push(instruction);
            ty = next.result;
        }
        ty
    }

    /// Emits a variable, a load or a constant.
    pub fn leaf(&self, ty: ValType, body: &mut Body, source: &mut Source<'_>) {
        let variables = self.of_type(ty);
        let kind = source.below(100);
        if kind < 50 && !variables.is_empty() {
            body.push(Instruction::LocalGet(*source.pick(variables)));
            return;
        }
        if let Some((base, room)) = self.memory
            && (50..70).contains(&kind)
        {
            body.push(Instruction::LocalGet(base));
            if self.memory64 {
                body.push(Instruction::I64ExtendI32U);
            }
            body.push(load(ty, source.below(room)));
            return;
        }
        body.push(constant(self.palette.value(ty, &mut source.rng())));
    }
}

impl Default for Scope {
    fn default() -> Self {
        Scope::new()
    }
}

fn position(ty: ValType) -> Option<usize> {
    TYPES.iter().position(|other| *other == ty)
}

type Index = [Vec<&'static Op>; 5];

fn index(keep: impl Fn(&Op, ValType) -> bool) -> Index {
    TYPES.map(|ty| ops::all().filter(|op| keep(op, ty)).collect())
}

/// The instructions with a result of type `ty`, which is one of [`TYPES`], with those that may trap,
/// and those that take vectors, or without.
fn with_result(ty: ValType, traps: bool, vectors: bool) -> &'static [&'static Op] {
    static INDICES: [OnceLock<Index>; 4] = [const { OnceLock::new() }; 4];
    let index = INDICES[2 * usize::from(traps) + usize::from(vectors)].get_or_init(|| {
        index(|op, ty| {
            op.result == ty
                && (traps || !op.traps)
                && (vectors || !op.params.contains(&ValType::V128))
        })
    });
    &index[position(ty).unwrap_or(0)]
}

/// The instructions whose first operand is of type `ty`, which is one of [`TYPES`].
fn with_first_param(ty: ValType) -> &'static [&'static Op] {
    static INDEX: OnceLock<Index> = OnceLock::new();
    let index = INDEX.get_or_init(|| index(|op, ty| op.params[0] == ty));
    &index[position(ty).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::sketch::{Origin, Sketch};

    #[test]
    fn expressions_are_valid_and_of_their_type() {
        for seed in 0..2_000 {
            let mut source = Source::new(&[], seed);
            let mut sketch = Sketch::default();
            sketch.memory(Origin::Defined, 1, None);
            for ty in TYPES {
                let mut scope = Scope::new();
                for (local, ty) in TYPES.into_iter().enumerate() {
                    scope.variable(ty, local as u32);
                }
                scope.memory = Some((0, 100));
                scope.traps = seed % 2 == 0;
                scope.vectors = seed % 3 != 0;
                let mut body = Body::new(TYPES.len());
                scope.expression(ty, 3, &mut body, &mut source);
                sketch.add(&TYPES, &[ty], body);
                let mut body = Body::new(TYPES.len());
                let op = ops::any(&mut source);
                scope.traps |= op.traps;
                let result = scope.apply_and_use(op, &mut body, &mut source);
                sketch.add(&TYPES, &[result], body);
            }
            wasmparser::validate(&sketch.finish()).expect("valid");
        }
    }
}
