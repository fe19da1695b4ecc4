//! Modules about an instruction that computes a value.

use parallax_oracles::Value;
use wasm_encoder::{BlockType, Instruction};

use crate::case::module::ValType;
use crate::generate::beyond::Beyond;
use crate::generate::expr::{Scope, TYPES};
use crate::generate::ops::{self, Op};
use crate::generate::sketch::{Body, Origin, Sketch, constant, encoded, load, store};
use crate::generate::source::Source;

/// Rows of operands in memory.
const ROWS: u32 = 24;

/// Bytes an operand takes in a row, whatever its type.
const COLUMN: u32 = 16;

/// Where results are stored.
const RESULTS: u32 = 0x1000;

/// A module about one instruction.
pub(super) fn module(beyond: Beyond, source: &mut Source<'_>) -> Vec<u8> {
    let op = match beyond.relaxed_simd && source.percent(70) {
        true => source.pick(ops::RELAXED),
        false => ops::any(source),
    };
    let mut sketch = Sketch::default();
    let origin = if source.percent(30) {
        Origin::Imported
    } else {
        Origin::Defined
    };
    sketch.memory(origin, 1, source.percent(50).then_some(2));
    sketch.active_data(0, &operands(op, source));

    if op.traps {
        row(&mut sketch, op, source);
    } else {
        walk(&mut sketch, op, source);
    }
    from_parameters(&mut sketch, op, source);
    source.list(1, 2, |source| with_constants(&mut sketch, op, source));
    match source.below(3) {
        0 => branching(&mut sketch, op, source),
        _ => tree(&mut sketch, op, source),
    }
    sketch.finish()
}

/// The rows of operands, as bytes.
fn operands(op: &Op, source: &mut Source<'_>) -> Vec<u8> {
    let mut rng = source.rng();
    let palette = Scope::new().palette;
    let mut bytes = Vec::with_capacity((ROWS * COLUMN) as usize * op.params.len());
    for _ in 0..ROWS {
        for param in op.params {
            let value = match palette.value(*param, &mut rng) {
                Value::I32(value) => u128::from(value as u32),
                Value::I64(value) => u128::from(value as u64),
                Value::F32(bits) => u128::from(bits),
                Value::F64(bits) => u128::from(bits),
                Value::V128(bits) => bits,
                Value::Func(_) | Value::Extern(_) | Value::Dangling => 0,
            };
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// Loads the operands of the row that `pointer` points to and applies the instruction.
fn apply_to_row(body: &mut Body, op: &Op, pointer: u32, source: &mut Source<'_>) {
    for (column, param) in op.params.iter().enumerate() {
        body.push(Instruction::LocalGet(pointer));
        body.push(load(*param, column as u32 * COLUMN));
    }
    let instruction = op.instruction(source);
    body.push(instruction);
}

/// Bytes of a row.
fn row_bytes(op: &Op) -> u32 {
    COLUMN * op.params.len() as u32
}

/// A function that applies the instruction to every row and stores the results.
fn walk(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let mut body = Body::new(0);
    let pointer = body.local(ValType::I32);
    let target = body.local(ValType::I32);
    body.push(Instruction::Loop(BlockType::Empty));
    body.push(Instruction::LocalGet(target));
    apply_to_row(&mut body, op, pointer, source);
    body.push(store(op.result, RESULTS));
    body.extend(&[
        Instruction::LocalGet(target),
        Instruction::I32Const(COLUMN as i32),
        Instruction::I32Add,
        Instruction::LocalSet(target),
        Instruction::LocalGet(pointer),
        Instruction::I32Const(row_bytes(op) as i32),
        Instruction::I32Add,
        Instruction::LocalTee(pointer),
        Instruction::I32Const((ROWS * row_bytes(op)) as i32),
        Instruction::I32LtU,
        Instruction::BrIf(0),
        Instruction::End,
    ]);
    let walk = sketch.add(&[], &[], body);
    sketch.export("walk", walk);
}

/// A function that applies the instruction to the row its argument names.
fn row(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let mut body = Body::new(1);
    body.extend(&[
        Instruction::LocalGet(0),
        Instruction::I32Const(ROWS as i32),
        Instruction::I32RemU,
        Instruction::I32Const(row_bytes(op) as i32),
        Instruction::I32Mul,
        Instruction::LocalSet(0),
    ]);
    apply_to_row(&mut body, op, 0, source);
    let row = sketch.add(&[ValType::I32], &[op.result], body);
    sketch.export("row", row);
}

/// A function whose parameters are the operands.
fn from_parameters(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let mut body = Body::new(op.params.len());
    for param in 0..op.params.len() as u32 {
        body.push(Instruction::LocalGet(param));
    }
    let instruction = op.instruction(source);
    body.push(instruction);
    let function = sketch.add(op.params, &[op.result], body);
    sketch.export("parameters", function);
}

/// A function some of whose operands are constants, the others parameters.
fn with_constants(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let palette = Scope::new().palette;
    let mut params = Vec::new();
    let mut body = Body::new(0);
    let fixed = source.below(op.params.len() as u32 + 1) as usize;
    for (at, param) in op.params.iter().enumerate() {
        if at == fixed || source.percent(40) {
            body.push(constant(palette.value(*param, &mut source.rng())));
        } else {
            body.push(Instruction::LocalGet(params.len() as u32));
            params.push(*param);
        }
    }
    let instruction = op.instruction(source);
    body.push(instruction);
    sketch.add(&params, &[op.result], body);
}

/// The parameters of the functions below: one of each type.
fn scope(op: &Op) -> Scope {
    let mut scope = Scope::new();
    for (local, ty) in TYPES.into_iter().enumerate() {
        scope.variable(ty, local as u32);
    }
    scope.traps = op.traps;
    scope
}

/// A function that applies the instruction to expressions, or uses its result in others.
fn tree(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let scope = scope(op);
    let mut body = Body::new(TYPES.len());
    let result = if source.percent(60) {
        scope.apply_and_use(op, &mut body, source)
    } else {
        scope.apply(op, source.range(1, 2), &mut body, source);
        op.result
    };
    sketch.add(&TYPES, &[result], body);
}

/// A function that branches on the result, which is compared first unless it is an i32.
fn branching(sketch: &mut Sketch, op: &Op, source: &mut Source<'_>) {
    let scope = scope(op);
    let mut body = Body::new(TYPES.len());
    let result = *source.pick(&TYPES);
    scope.apply(op, 0, &mut body, source);
    let compare = match op.result {
        ValType::I64 => Some(Instruction::I64GtS),
        ValType::F32 => Some(Instruction::F32Lt),
        ValType::F64 => Some(Instruction::F64Ge),
        ValType::V128 => {
            body.push(Instruction::V128AnyTrue);
            None
        }
        _ => None,
    };
    if let Some(compare) = compare {
        scope.leaf(op.result, &mut body, source);
        body.push(compare);
    }
    if source.percent(30) {
        body.push(Instruction::I32Eqz);
    }
    if source.percent(50) {
        body.push(Instruction::If(BlockType::Result(encoded(result))));
        scope.leaf(result, &mut body, source);
        body.push(Instruction::Else);
        scope.leaf(result, &mut body, source);
        body.push(Instruction::End);
    } else {
        let condition = body.local(ValType::I32);
        body.push(Instruction::LocalSet(condition));
        body.push(Instruction::Block(BlockType::Result(encoded(result))));
        scope.leaf(result, &mut body, source);
        body.push(Instruction::LocalGet(condition));
        body.push(Instruction::BrIf(0));
        body.push(Instruction::Drop);
        scope.leaf(result, &mut body, source);
        body.push(Instruction::End);
    }
    sketch.add(&TYPES, &[result], body);
}
