//! Which operation a load becomes.

use cranelift_codegen::ir::{MemFlags, Opcode, Type};

use super::program::{Load, Number, Op};

/// The operation that loads with these flags.
pub fn load_op(flags: MemFlags, load: Load, to: Number, base: Number, offset: i32) -> Op {
    match load {
        Load::Zero(4 | 8) if flags.readonly() => Op::LoadUnchanging {
            load,
            to,
            base,
            offset,
        },
        _ => Op::Load {
            load,
            to,
            base,
            offset,
        },
    }
}

/// What an instruction of this name loads, of this type; `None` if it is not known.
pub fn load(opcode: Opcode, ty: Type) -> Option<Load> {
    let sign = |from| Load::Sign {
        from,
        to: ty.bytes() as u8,
    };
    Some(match opcode {
        Opcode::Load if ty.is_vector() => Load::Vector,
        Opcode::Load => Load::Zero(ty.bytes() as u8),
        Opcode::Uload8 => Load::Zero(1),
        Opcode::Uload16 => Load::Zero(2),
        Opcode::Uload32 => Load::Zero(4),
        Opcode::Sload8 => sign(1),
        Opcode::Sload16 => sign(2),
        Opcode::Sload32 => Load::Sign { from: 4, to: 8 },
        Opcode::Uload8x8 => widened(1, false),
        Opcode::Sload8x8 => widened(1, true),
        Opcode::Uload16x4 => widened(2, false),
        Opcode::Sload16x4 => widened(2, true),
        Opcode::Uload32x2 => widened(4, false),
        Opcode::Sload32x2 => widened(4, true),
        _ => return None,
    })
}

fn widened(lane: u8, signed: bool) -> Load {
    Load::Widened { lane, signed }
}
