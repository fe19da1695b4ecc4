//! Operands, tamed: what is about to be out of bounds, to divide by zero or not to convert.

use wasm_encoder::{Instruction, ValType};
use wasmparser::Operator;

use super::Pass;
use super::body::Body;
use crate::generate::dictionary::UPPER_HALVES;

/// How many of 100 lengths and numbers of pages of 64 bits are too large by their upper half alone.
const UPPER_PERCENT: u32 = 15;

/// How an operand is tamed.
#[derive(Clone, Copy)]
enum Tame {
    /// Kept as it is.
    Keep,
    /// An address in this memory.
    Address(u32),
    /// A length in memory, as an i64 or as an i32.
    Bytes(bool),
    /// An index into this table.
    Element(u32),
    /// A length in a table.
    Elements,
    /// A number of pages or elements to grow by, as an i64 or as an i32.
    Growth(bool),
}

impl Pass<'_> {
    /// Tames the operands of an instruction, or replaces it altogether, which is then said.
    pub(super) fn tame_operands(&mut self, body: &mut Body, operator: &Operator<'_>) -> bool {
        use Operator as O;
        match *operator {
            O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => {
                body.extend(&[Instruction::I32Const(1), Instruction::I32Or]);
                return false;
            }
            O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => {
                body.extend(&[Instruction::I64Const(1), Instruction::I64Or]);
                return false;
            }
            O::I32TruncF32S => body.push(Instruction::I32TruncSatF32S),
            O::I32TruncF32U => body.push(Instruction::I32TruncSatF32U),
            O::I32TruncF64S => body.push(Instruction::I32TruncSatF64S),
            O::I32TruncF64U => body.push(Instruction::I32TruncSatF64U),
            O::I64TruncF32S => body.push(Instruction::I64TruncSatF32S),
            O::I64TruncF32U => body.push(Instruction::I64TruncSatF32U),
            O::I64TruncF64S => body.push(Instruction::I64TruncSatF64S),
            O::I64TruncF64U => body.push(Instruction::I64TruncSatF64U),
            O::MemoryGrow { mem } => {
                let wide = self.memory64(mem);
                self.tame_top(body, Tame::Growth(wide));
                return false;
            }
            O::TableGrow { .. } => {
                self.tame_top(body, Tame::Growth(false));
                return false;
            }
            O::TableGet { table } => {
                self.tame_top(body, Tame::Element(table));
                return false;
            }
            O::TableSet { table } => {
                let ty = self.reference_type(table);
                self.tame_under(body, Tame::Element(table), &[(ty, Tame::Keep)]);
                return false;
            }
            _ => {
                match access(operator) {
                    Some((Access::Load, memory)) => self.tame_top(body, Tame::Address(memory)),
                    Some((Access::Store(ty), memory)) => {
                        self.tame_under(body, Tame::Address(memory), &[(ty, Tame::Keep)]);
                    }
                    None => self.tame_bulk(body, operator),
                }
                return false;
            }
        }
        true
    }

    /// Tames the operands of a bulk operation.
    fn tame_bulk(&mut self, body: &mut Body, operator: &Operator<'_>) {
        let i32s = [ValType::I32; 2];
        let (operands, types) = match *operator {
            Operator::MemoryFill { mem } => {
                let wide = self.memory64(mem);
                let types = [ValType::I32, index_type(wide)];
                ([Tame::Address(mem), Tame::Keep, Tame::Bytes(wide)], types)
            }
            Operator::MemoryCopy { dst_mem, src_mem } => {
                let from = self.memory64(src_mem);
                let wide = from && self.memory64(dst_mem);
                let types = [index_type(from), index_type(wide)];
                let operands = [
                    Tame::Address(dst_mem),
                    Tame::Address(src_mem),
                    Tame::Bytes(wide),
                ];
                (operands, types)
            }
            Operator::MemoryInit { mem, .. } => {
                ([Tame::Address(mem), Tame::Elements, Tame::Elements], i32s)
            }
            Operator::TableInit { table, .. } => {
                let operands = [Tame::Element(table), Tame::Elements, Tame::Elements];
                (operands, i32s)
            }
            Operator::TableCopy {
                dst_table,
                src_table,
            } => {
                let operands = [
                    Tame::Element(dst_table),
                    Tame::Element(src_table),
                    Tame::Elements,
                ];
                (operands, i32s)
            }
            Operator::TableFill { table } => {
                let ty = self.reference_type(table);
                self.tame_under(
                    body,
                    Tame::Element(table),
                    &[(ty, Tame::Keep), (ValType::I32, Tame::Elements)],
                );
                return;
            }
            _ => return,
        };
        self.tame_under(
            body,
            operands[0],
            &[(types[0], operands[1]), (types[1], operands[2])],
        );
    }

    /// Tames an operand that lies under others, and those.
    fn tame_under(&mut self, body: &mut Body, lowest: Tame, above: &[(ValType, Tame)]) {
        let mut kept = [0; 2];
        for (at, (ty, _)) in above.iter().enumerate().rev() {
            // Operands of one type need a local each.
            let nth = above[..at].iter().filter(|(other, _)| other == ty).count();
            let local = body.scratch(*ty, nth);
            body.push(Instruction::LocalSet(local));
            kept[at] = local;
        }
        self.tame_top(body, lowest);
        for (local, (_, tame)) in kept.into_iter().zip(above) {
            body.push(Instruction::LocalGet(local));
            self.tame_top(body, *tame);
        }
    }

    /// Tames the integer on top of the stack.
    fn tame_top(&mut self, body: &mut Body, tame: Tame) {
        let mask = |body: &mut Body, wide: bool, mask: u32| match wide {
            true => body.extend(&[Instruction::I64Const(i64::from(mask)), Instruction::I64And]),
            false => body.extend(&[Instruction::I32Const(mask as i32), Instruction::I32And]),
        };
        match tame {
            Tame::Keep => {}
            Tame::Address(memory) => {
                let wide = self.memory64(memory);
                match self.rng.below(20) {
                    0..=9 => mask(body, wide, 0xff),
                    10..=14 => mask(body, wide, 0xfff),
                    15..=17 => mask(body, wide, 0xffff),
                    18 => {
                        // The last bytes inside and the first ones outside.
                        mask(body, wide, 0x1f);
                        let memory = self.memories.get(memory as usize);
                        let pages = memory.map_or(0, |memory| memory.pages);
                        let end = pages.saturating_mul(0x1_0000);
                        body.extend(&match wide {
                            true => [
                                Instruction::I64Const(i64::from(end) - 30),
                                Instruction::I64Add,
                            ],
                            false => [
                                Instruction::I32Const(end.wrapping_sub(30) as i32),
                                Instruction::I32Add,
                            ],
                        });
                    }
                    _ => {}
                }
            }
            Tame::Bytes(wide) => {
                let length = *self.rng.pick(&[0xf, 0xff, 0xfff]);
                mask(body, wide, length);
                self.upper_half(body, wide);
            }
            Tame::Elements => mask(body, false, 3),
            Tame::Growth(wide) => {
                let most = *self.rng.pick(&[1, 3, 7]);
                mask(body, wide, most);
                self.upper_half(body, wide);
            }
            Tame::Element(table) => {
                let size = self.table_minimum(table);
                if size > 0 {
                    // One more than there are, at times.
                    let size = size + u32::from(self.rng.percent(10));
                    body.push(Instruction::I32Const(size as i32));
                    body.push(Instruction::I32RemU);
                }
            }
        }
    }

    /// Makes the integer on top of the stack too large, by its upper half alone, at times and if it is an i64.
    fn upper_half(&mut self, body: &mut Body, wide: bool) {
        if wide && self.rng.percent(UPPER_PERCENT) {
            let upper = *self.rng.pick(&UPPER_HALVES);
            body.extend(&[Instruction::I64Const(upper), Instruction::I64Or]);
        }
    }

    /// Whether a memory is addressed by i64.
    pub(super) fn memory64(&self, memory: u32) -> bool {
        let memory = self.memories.get(memory as usize);
        memory.is_some_and(|memory| memory.memory64)
    }

    fn table_minimum(&self, table: u32) -> u32 {
        self.tables
            .get(table as usize)
            .map_or(0, |table| table.minimum)
    }

    fn reference_type(&self, table: u32) -> ValType {
        match self.tables.get(table as usize) {
            Some(table) if !table.funcref => ValType::EXTERNREF,
            _ => ValType::FUNCREF,
        }
    }
}

impl Pass<'_> {
    /// The type of the length of an instruction that handles so many bytes that it costs fuel.
    pub(super) fn bulk(&self, operator: &Operator<'_>) -> Option<ValType> {
        match *operator {
            Operator::MemoryFill { mem } => Some(index_type(self.memory64(mem))),
            Operator::MemoryCopy { dst_mem, src_mem } => {
                Some(index_type(self.memory64(dst_mem) && self.memory64(src_mem)))
            }
            Operator::MemoryInit { .. } => Some(ValType::I32),
            _ => None,
        }
    }
}

fn index_type(wide: bool) -> ValType {
    match wide {
        true => ValType::I64,
        false => ValType::I32,
    }
}

/// What an instruction does to memory.
enum Access {
    /// The address is on top of the stack.
    Load,
    /// A value of this type is on top of the stack, the address under it.
    Store(ValType),
}

/// What an instruction does to memory, and which one.
fn access(operator: &Operator<'_>) -> Option<(Access, u32)> {
    use Operator as O;
    let (access, memarg) = match operator {
        O::I32Load { memarg }
        | O::I64Load { memarg }
        | O::F32Load { memarg }
        | O::F64Load { memarg }
        | O::I32Load8S { memarg }
        | O::I32Load8U { memarg }
        | O::I32Load16S { memarg }
        | O::I32Load16U { memarg }
        | O::I64Load8S { memarg }
        | O::I64Load8U { memarg }
        | O::I64Load16S { memarg }
        | O::I64Load16U { memarg }
        | O::I64Load32S { memarg }
        | O::I64Load32U { memarg }
        | O::V128Load { memarg }
        | O::V128Load8x8S { memarg }
        | O::V128Load8x8U { memarg }
        | O::V128Load16x4S { memarg }
        | O::V128Load16x4U { memarg }
        | O::V128Load32x2S { memarg }
        | O::V128Load32x2U { memarg }
        | O::V128Load8Splat { memarg }
        | O::V128Load16Splat { memarg }
        | O::V128Load32Splat { memarg }
        | O::V128Load64Splat { memarg }
        | O::V128Load32Zero { memarg }
        | O::V128Load64Zero { memarg } => (Access::Load, memarg),
        O::I32Store { memarg } | O::I32Store8 { memarg } | O::I32Store16 { memarg } => {
            (Access::Store(ValType::I32), memarg)
        }
        O::I64Store { memarg }
        | O::I64Store8 { memarg }
        | O::I64Store16 { memarg }
        | O::I64Store32 { memarg } => (Access::Store(ValType::I64), memarg),
        O::F32Store { memarg } => (Access::Store(ValType::F32), memarg),
        O::F64Store { memarg } => (Access::Store(ValType::F64), memarg),
        O::V128Store { memarg }
        | O::V128Load8Lane { memarg, .. }
        | O::V128Load16Lane { memarg, .. }
        | O::V128Load32Lane { memarg, .. }
        | O::V128Load64Lane { memarg, .. }
        | O::V128Store8Lane { memarg, .. }
        | O::V128Store16Lane { memarg, .. }
        | O::V128Store32Lane { memarg, .. }
        | O::V128Store64Lane { memarg, .. } => (Access::Store(ValType::V128), memarg),
        _ => return None,
    };
    let wasmparser::MemArgTarget::Memory(memory) = memarg.target else {
        return None;
    };
    Some((access, memory))
}
