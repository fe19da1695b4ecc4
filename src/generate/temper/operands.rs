//! Operands, tamed: what is about to be out of bounds, to divide by zero or not to convert.

use wasm_encoder::{Instruction, ValType};
use wasmparser::Operator;

use super::Pass;
use super::body::Body;

/// How an operand is tamed.
#[derive(Clone, Copy)]
enum Tame {
    /// Kept as it is.
    Keep,
    /// A memory address.
    Address,
    /// A length in memory.
    Bytes,
    /// An index into this table.
    Element(u32),
    /// A length in a table.
    Elements,
    /// A number of pages or elements to grow by.
    Growth,
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
            O::MemoryGrow { .. } | O::TableGrow { .. } => {
                self.tame_top(body, Tame::Growth);
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
                    Some(Access::Load) => self.tame_top(body, Tame::Address),
                    Some(Access::Store(ty)) => {
                        self.tame_under(body, Tame::Address, &[(ty, Tame::Keep)]);
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
        let operands = match *operator {
            Operator::MemoryFill { .. } => [Tame::Address, Tame::Keep, Tame::Bytes],
            Operator::MemoryCopy { .. } => [Tame::Address, Tame::Address, Tame::Bytes],
            Operator::MemoryInit { .. } => [Tame::Address, Tame::Elements, Tame::Elements],
            Operator::TableInit { table, .. } => {
                [Tame::Element(table), Tame::Elements, Tame::Elements]
            }
            Operator::TableCopy {
                dst_table,
                src_table,
            } => [
                Tame::Element(dst_table),
                Tame::Element(src_table),
                Tame::Elements,
            ],
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
            &[(ValType::I32, operands[1]), (ValType::I32, operands[2])],
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

    /// Tames the i32 on top of the stack.
    fn tame_top(&mut self, body: &mut Body, tame: Tame) {
        let mask = |body: &mut Body, mask: u32| {
            body.push(Instruction::I32Const(mask as i32));
            body.push(Instruction::I32And);
        };
        match tame {
            Tame::Keep => {}
            Tame::Address => match self.rng.below(20) {
                0..=9 => mask(body, 0xff),
                10..=14 => mask(body, 0xfff),
                15..=17 => mask(body, 0xffff),
                18 => {
                    // The last bytes inside and the first ones outside.
                    mask(body, 0x1f);
                    let end = self.memory_pages.saturating_mul(0x1_0000);
                    body.push(Instruction::I32Const(end.wrapping_sub(30) as i32));
                    body.push(Instruction::I32Add);
                }
                _ => {}
            },
            Tame::Bytes => {
                let length = *self.rng.pick(&[0xf, 0xff, 0xfff]);
                mask(body, length);
            }
            Tame::Elements => mask(body, 3),
            Tame::Growth => {
                let most = *self.rng.pick(&[1, 3, 7]);
                mask(body, most);
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

/// Whether an instruction handles so many bytes that it costs fuel.
pub(super) fn bulk(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. }
    )
}

/// What an instruction does to memory.
enum Access {
    /// The address is on top of the stack.
    Load,
    /// A value of this type is on top of the stack, the address under it.
    Store(ValType),
}

fn access(operator: &Operator<'_>) -> Option<Access> {
    use Operator as O;
    Some(match operator {
        O::I32Load { .. }
        | O::I64Load { .. }
        | O::F32Load { .. }
        | O::F64Load { .. }
        | O::I32Load8S { .. }
        | O::I32Load8U { .. }
        | O::I32Load16S { .. }
        | O::I32Load16U { .. }
        | O::I64Load8S { .. }
        | O::I64Load8U { .. }
        | O::I64Load16S { .. }
        | O::I64Load16U { .. }
        | O::I64Load32S { .. }
        | O::I64Load32U { .. }
        | O::V128Load { .. }
        | O::V128Load8x8S { .. }
        | O::V128Load8x8U { .. }
        | O::V128Load16x4S { .. }
        | O::V128Load16x4U { .. }
        | O::V128Load32x2S { .. }
        | O::V128Load32x2U { .. }
        | O::V128Load8Splat { .. }
        | O::V128Load16Splat { .. }
        | O::V128Load32Splat { .. }
        | O::V128Load64Splat { .. }
        | O::V128Load32Zero { .. }
        | O::V128Load64Zero { .. } => Access::Load,
        O::I32Store { .. } | O::I32Store8 { .. } | O::I32Store16 { .. } => {
            Access::Store(ValType::I32)
        }
        O::I64Store { .. } | O::I64Store8 { .. } | O::I64Store16 { .. } | O::I64Store32 { .. } => {
            Access::Store(ValType::I64)
        }
        O::F32Store { .. } => Access::Store(ValType::F32),
        O::F64Store { .. } => Access::Store(ValType::F64),
        O::V128Store { .. }
        | O::V128Load8Lane { .. }
        | O::V128Load16Lane { .. }
        | O::V128Load32Lane { .. }
        | O::V128Load64Lane { .. }
        | O::V128Store8Lane { .. }
        | O::V128Store16Lane { .. }
        | O::V128Store32Lane { .. }
        | O::V128Store64Lane { .. } => Access::Store(ValType::V128),
        _ => return None,
    })
}
