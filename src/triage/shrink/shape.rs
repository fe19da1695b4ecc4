//! What stands on the operand stack, and in how many blocks one is, before every instruction of a
//! function: what a reducer has to know to take out a stretch of code and leave valid code behind.

use wasmparser::{Parser, ValidPayload, Validator};

use super::program::val_type;
use crate::case::decode::FEATURES;
use crate::case::module::ValType;

/// The state before an instruction.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// The operands, the topmost last. None is a value of any type, where code cannot be reached.
    pub stack: Vec<Option<ValType>>,
    /// Blocks around it, the function's body included.
    pub depth: u32,
    /// Whether control never gets here.
    pub unreachable: bool,
}

/// The state before each instruction of the `function`-th body of a valid module.
pub(super) fn of_body(wasm: &[u8], function: usize) -> Option<Vec<Before>> {
    let mut validator = Validator::new_with_features(FEATURES);
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.ok()?;
        let ValidPayload::Func(to_validate, body) = validator.payload(&payload).ok()? else {
            continue;
        };
        bodies += 1;
        if bodies != function + 1 {
            continue;
        }
        let mut validator = to_validate.into_validator(Default::default());
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).ok()?;
        let mut states = Vec::new();
        while !reader.eof() {
            let depth = validator.control_stack_height();
            let frame = validator.get_control_frame(0)?;
            let unreachable = frame.unreachable;
            let height = validator.operand_stack_height() as usize;
            let stack = (0..height).rev().map(|at| {
                let ty = validator.get_operand_type(at)?;
                val_type(ty?)
            });
            states.push(Before {
                stack: stack.collect(),
                depth,
                unreachable,
            });
            let offset = reader.original_position();
            reader
                .visit_operator(&mut validator.visitor(offset))
                .ok()?
                .ok()?;
        }
        return Some(states);
    }
    None
}
