//! Instructions as a reducer wants them: those that it knows something about by their parts, all
//! others by their bytes.

use parallax_oracles::Value;
use wasm_encoder::{BlockType, Encode, Ieee32, Ieee64, Instruction};
use wasmparser::Operator;

use super::program::val_type;
use crate::case::module::ValType;
use crate::generate::sketch::{encoded, heap};

/// The bit beside the alignment of an access by which it names a memory.
const OTHER_MEMORY: u32 = 1 << 6;

/// An instruction. Numbers of items are a [`super::program::Program`]'s.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Op {
    Unreachable,
    Drop,
    Return,
    Block(Signature),
    Loop(Signature),
    If(Signature),
    Else,
    End,
    Br(u32),
    BrIf(u32),
    /// The targets, the default last.
    BrTable(Vec<u32>),
    Call(u32),
    CallIndirect {
        ty: u32,
        table: u32,
    },
    ReturnCall(u32),
    ReturnCallIndirect {
        ty: u32,
        table: u32,
    },
    LocalGet(u32),
    LocalSet(u32),
    LocalTee(u32),
    GlobalGet(u32),
    GlobalSet(u32),
    TableGet(u32),
    TableSet(u32),
    TableSize(u32),
    TableGrow(u32),
    TableFill(u32),
    TableCopy {
        from: u32,
        to: u32,
    },
    TableInit {
        segment: u32,
        table: u32,
    },
    ElemDrop(u32),
    MemoryInit {
        segment: u32,
        memory: u32,
    },
    DataDrop(u32),
    MemorySize(u32),
    MemoryGrow(u32),
    MemoryFill(u32),
    MemoryCopy {
        from: u32,
        to: u32,
    },
    /// A load or store.
    Access {
        /// The opcode.
        opcode: Vec<u8>,
        /// The exponent of the alignment.
        align: u32,
        offset: u64,
        /// The lane, of a vector.
        lane: Option<u8>,
        memory: u32,
    },
    RefFunc(u32),
    /// A constant; of references, null.
    Const(Value),
    /// Any other, encoded.
    Other(Vec<u8>),
}

/// The type of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signature {
    Empty,
    Result(ValType),
    /// A function type, by number.
    Type(u32),
}

impl Op {
    /// An instruction as it was decoded from `bytes`. None if a type in it is none that
    /// modules may use.
    pub fn new(operator: &Operator<'_>, bytes: &[u8]) -> Option<Op> {
        Some(match *operator {
            Operator::Unreachable => Op::Unreachable,
            Operator::Drop => Op::Drop,
            Operator::Return => Op::Return,
            Operator::Block { blockty } => Op::Block(Signature::new(blockty)?),
            Operator::Loop { blockty } => Op::Loop(Signature::new(blockty)?),
            Operator::If { blockty } => Op::If(Signature::new(blockty)?),
            Operator::Else => Op::Else,
            Operator::End => Op::End,
            Operator::Br { relative_depth } => Op::Br(relative_depth),
            Operator::BrIf { relative_depth } => Op::BrIf(relative_depth),
            Operator::BrTable { ref targets } => {
                let mut depths = targets.targets().collect::<Result<Vec<u32>, _>>().ok()?;
                depths.push(targets.default());
                Op::BrTable(depths)
            }
            Operator::Call { function_index } => Op::Call(function_index),
            Operator::CallIndirect {
                type_index,
                table_index,
            } => Op::CallIndirect {
                ty: type_index,
                table: table_index,
            },
            Operator::ReturnCall { function_index } => Op::ReturnCall(function_index),
            Operator::ReturnCallIndirect {
                type_index,
                table_index,
            } => Op::ReturnCallIndirect {
                ty: type_index,
                table: table_index,
            },
            Operator::LocalGet { local_index } => Op::LocalGet(local_index),
            Operator::LocalSet { local_index } => Op::LocalSet(local_index),
            Operator::LocalTee { local_index } => Op::LocalTee(local_index),
            Operator::GlobalGet { global_index } => Op::GlobalGet(global_index),
            Operator::GlobalSet { global_index } => Op::GlobalSet(global_index),
            Operator::TableGet { table } => Op::TableGet(table),
            Operator::TableSet { table } => Op::TableSet(table),
            Operator::TableSize { table } => Op::TableSize(table),
            Operator::TableGrow { table } => Op::TableGrow(table),
            Operator::TableFill { table } => Op::TableFill(table),
            Operator::TableCopy {
                dst_table,
                src_table,
            } => Op::TableCopy {
                from: src_table,
                to: dst_table,
            },
            Operator::TableInit { elem_index, table } => Op::TableInit {
                segment: elem_index,
                table,
            },
            Operator::ElemDrop { elem_index } => Op::ElemDrop(elem_index),
            Operator::MemoryInit { data_index, mem } => Op::MemoryInit {
                segment: data_index,
                memory: mem,
            },
            Operator::DataDrop { data_index } => Op::DataDrop(data_index),
            Operator::MemorySize { mem } => Op::MemorySize(mem),
            Operator::MemoryGrow { mem } => Op::MemoryGrow(mem),
            Operator::MemoryFill { mem } => Op::MemoryFill(mem),
            Operator::MemoryCopy { dst_mem, src_mem } => Op::MemoryCopy {
                from: src_mem,
                to: dst_mem,
            },
            Operator::RefFunc { function_index } => Op::RefFunc(function_index),
            Operator::I32Const { value } => Op::Const(Value::I32(value)),
            Operator::I64Const { value } => Op::Const(Value::I64(value)),
            Operator::F32Const { value } => Op::Const(Value::F32(value.bits())),
            Operator::F64Const { value } => Op::Const(Value::F64(value.bits())),
            Operator::V128Const { value } => {
                Op::Const(Value::V128(u128::from_le_bytes(*value.bytes())))
            }
            Operator::RefNull { hty } => {
                let ty = wasmparser::RefType::new(true, hty)?;
                Op::Const(val_type(wasmparser::ValType::Ref(ty))?.default_value())
            }
            _ => access(bytes).unwrap_or_else(|| Op::Other(bytes.to_vec())),
        })
    }

    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |instruction: Instruction<'_>| instruction.encode(out);
        match *self {
            Op::Unreachable => put(Instruction::Unreachable),
            Op::Drop => put(Instruction::Drop),
            Op::Return => put(Instruction::Return),
            Op::Block(ty) => put(Instruction::Block(ty.encoded())),
            Op::Loop(ty) => put(Instruction::Loop(ty.encoded())),
            Op::If(ty) => put(Instruction::If(ty.encoded())),
            Op::Else => put(Instruction::Else),
            Op::End => put(Instruction::End),
            Op::Br(depth) => put(Instruction::Br(depth)),
            Op::BrIf(depth) => put(Instruction::BrIf(depth)),
            Op::BrTable(ref depths) => {
                // There always is a default, since nothing takes it away.
                let (default, targets) = depths.split_last().unwrap_or((&0, &[]));
                put(Instruction::BrTable(targets.into(), *default));
            }
            Op::Call(function) => put(Instruction::Call(function)),
            Op::CallIndirect { ty, table } => put(Instruction::CallIndirect {
                type_index: ty,
                table_index: table,
            }),
            Op::ReturnCall(function) => put(Instruction::ReturnCall(function)),
            Op::ReturnCallIndirect { ty, table } => put(Instruction::ReturnCallIndirect {
                type_index: ty,
                table_index: table,
            }),
            Op::LocalGet(local) => put(Instruction::LocalGet(local)),
            Op::LocalSet(local) => put(Instruction::LocalSet(local)),
            Op::LocalTee(local) => put(Instruction::LocalTee(local)),
            Op::GlobalGet(global) => put(Instruction::GlobalGet(global)),
            Op::GlobalSet(global) => put(Instruction::GlobalSet(global)),
            Op::TableGet(table) => put(Instruction::TableGet(table)),
            Op::TableSet(table) => put(Instruction::TableSet(table)),
            Op::TableSize(table) => put(Instruction::TableSize(table)),
            Op::TableGrow(table) => put(Instruction::TableGrow(table)),
            Op::TableFill(table) => put(Instruction::TableFill(table)),
            Op::TableCopy { from, to } => put(Instruction::TableCopy {
                src_table: from,
                dst_table: to,
            }),
            Op::TableInit { segment, table } => put(Instruction::TableInit {
                elem_index: segment,
                table,
            }),
            Op::ElemDrop(segment) => put(Instruction::ElemDrop(segment)),
            Op::MemoryInit { segment, memory } => put(Instruction::MemoryInit {
                mem: memory,
                data_index: segment,
            }),
            Op::MemorySize(memory) => put(Instruction::MemorySize(memory)),
            Op::MemoryGrow(memory) => put(Instruction::MemoryGrow(memory)),
            Op::MemoryFill(memory) => put(Instruction::MemoryFill(memory)),
            Op::MemoryCopy { from, to } => put(Instruction::MemoryCopy {
                src_mem: from,
                dst_mem: to,
            }),
            Op::DataDrop(segment) => put(Instruction::DataDrop(segment)),
            Op::RefFunc(function) => put(Instruction::RefFunc(function)),
            Op::Const(value) => constant(value, &mut put),
            Op::Access {
                ref opcode,
                align,
                offset,
                lane,
                memory,
            } => {
                out.extend_from_slice(opcode);
                if memory == 0 {
                    align.encode(out);
                } else {
                    (align | OTHER_MEMORY).encode(out);
                    memory.encode(out);
                }
                offset.encode(out);
                out.extend(lane);
            }
            Op::Other(ref bytes) => out.extend_from_slice(bytes),
        }
    }

    /// The local variable that it names.
    pub fn local_mut(&mut self) -> Option<&mut u32> {
        match self {
            Op::LocalGet(local) | Op::LocalSet(local) | Op::LocalTee(local) => Some(local),
            _ => None,
        }
    }

    /// The branch depths that it names.
    pub fn depths_mut(&mut self) -> &mut [u32] {
        match self {
            Op::Br(depth) | Op::BrIf(depth) => std::slice::from_mut(depth),
            Op::BrTable(depths) => depths,
            _ => &mut [],
        }
    }

    /// Calls `visit` with every number of an item that it names.
    pub fn for_each_index(&mut self, mut visit: impl FnMut(Space, &mut u32)) {
        match self {
            Op::Block(Signature::Type(ty))
            | Op::Loop(Signature::Type(ty))
            | Op::If(Signature::Type(ty)) => visit(Space::Type, ty),
            Op::Call(function) | Op::ReturnCall(function) | Op::RefFunc(function) => {
                visit(Space::Function, function);
            }
            Op::CallIndirect { ty, table } | Op::ReturnCallIndirect { ty, table } => {
                visit(Space::Type, ty);
                visit(Space::Table, table);
            }
            Op::GlobalGet(global) | Op::GlobalSet(global) => visit(Space::Global, global),
            Op::TableGet(table)
            | Op::TableSet(table)
            | Op::TableSize(table)
            | Op::TableGrow(table)
            | Op::TableFill(table) => visit(Space::Table, table),
            Op::TableCopy { from, to } => {
                visit(Space::Table, from);
                visit(Space::Table, to);
            }
            Op::TableInit { segment, table } => {
                visit(Space::Elements, segment);
                visit(Space::Table, table);
            }
            Op::ElemDrop(segment) => visit(Space::Elements, segment),
            Op::MemoryInit { segment, memory } => {
                visit(Space::Data, segment);
                visit(Space::Memory, memory);
            }
            Op::DataDrop(segment) => visit(Space::Data, segment),
            Op::MemorySize(memory)
            | Op::MemoryGrow(memory)
            | Op::MemoryFill(memory)
            | Op::Access { memory, .. } => visit(Space::Memory, memory),
            Op::MemoryCopy { from, to } => {
                visit(Space::Memory, from);
                visit(Space::Memory, to);
            }
            _ => {}
        }
    }
}

/// What can be referred to by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Space {
    Function,
    Table,
    Memory,
    Global,
    Elements,
    Data,
    Type,
}

impl Space {
    pub const COUNT: usize = 7;
}

impl Signature {
    fn new(ty: wasmparser::BlockType) -> Option<Signature> {
        Some(match ty {
            wasmparser::BlockType::Empty => Signature::Empty,
            wasmparser::BlockType::Type(ty) => Signature::Result(val_type(ty)?),
            wasmparser::BlockType::FuncType(ty) => Signature::Type(ty),
        })
    }

    fn encoded(self) -> BlockType {
        match self {
            Signature::Empty => BlockType::Empty,
            Signature::Result(ty) => BlockType::Result(encoded(ty)),
            Signature::Type(ty) => BlockType::FunctionType(ty),
        }
    }
}

/// Puts the instruction for a constant.
pub(super) fn constant(value: Value, mut put: impl FnMut(Instruction<'_>)) {
    match value {
        Value::I32(value) => put(Instruction::I32Const(value)),
        Value::I64(value) => put(Instruction::I64Const(value)),
        Value::F32(bits) => put(Instruction::F32Const(Ieee32::new(bits))),
        Value::F64(bits) => put(Instruction::F64Const(Ieee64::new(bits))),
        Value::V128(bits) => put(Instruction::V128Const(bits as i128)),
        Value::Func(_) => put(Instruction::RefNull(heap(ValType::FuncRef))),
        Value::Extern(_) | Value::Dangling => put(Instruction::RefNull(heap(ValType::ExternRef))),
    }
}

/// A load or store, taken apart.
fn access(bytes: &[u8]) -> Option<Op> {
    let mut reader = wasmparser::BinaryReader::new(bytes, 0);
    let (is_access, has_lane) = match reader.read_u8().ok()? {
        0x28..=0x3e => (true, false),
        0xfd => match reader.read_var_u32().ok()? {
            0..=11 | 92 | 93 => (true, false),
            84..=91 => (true, true),
            _ => (false, false),
        },
        _ => (false, false),
    };
    if !is_access {
        return None;
    }
    let opcode = bytes[..reader.current_position()].to_vec();
    let flags = reader.read_var_u32().ok()?;
    let memory = match flags & OTHER_MEMORY {
        0 => 0,
        _ => reader.read_var_u32().ok()?,
    };
    let offset = reader.read_var_u64().ok()?;
    let lane = has_lane.then(|| reader.read_u8()).transpose().ok()?;
    reader.eof().then_some(Op::Access {
        opcode,
        align: flags & !OTHER_MEMORY,
        offset,
        lane,
        memory,
    })
}
