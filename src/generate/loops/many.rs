//! What programs rarely have much of: values that live at once, and targets of a branch.

use wasm_encoder::Instruction;

use super::program::sum;
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::sketch::{constant, load, store};
use crate::generate::source::Source;
use parallax_oracles::Value;

/// Bytes between the places of values in memory.
const STRIDE: u32 = 16;

impl Writer<'_> {
    /// The loop that a function is about, with 20 to 40 values that live through it: more than there are
    /// registers. Each is made before it from memory, as another one than the others, so that none
    /// can be made anew or taken for another, and is stored behind it.
    pub(super) fn pressed_loop(&mut self, source: &mut Source<'_>) {
        let types: &[ValType] = match self.scope.vectors {
            true => &[ValType::F64, ValType::I64, ValType::V128],
            false => &[ValType::F64, ValType::I64],
        };
        let most = *source.pick(types);
        let start = self.body.size();
        let mut values = Vec::new();
        for at in 0..source.range(20, 40) {
            let ty = match source.percent(75) {
                true => most,
                false => *source.pick(types),
            };
            let local = self.body.local(ty);
            self.pointed();
            self.body.extend(&[
                load(ty, STRIDE * at),
                constant(distinct(ty, at)),
                sum(ty),
                Instruction::LocalSet(local),
            ]);
            values.push((ty, local));
        }
        for (ty, local) in &values {
            self.scope.variable(*ty, *local);
        }
        self.most_code += self.body.size() - start;
        self.main_loop(source);
        for (at, (ty, local)) in values.into_iter().enumerate() {
            self.pointed();
            self.body.push(Instruction::LocalGet(local));
            self.body.push(store(ty, STRIDE * at as u32));
        }
    }

    /// Writes an index up to 255, and a `br_table` of some 200 targets, of which there are `labels`.
    pub(super) fn many_targets(&mut self, labels: u32, source: &mut Source<'_>) {
        let start = self.body.size();
        if let Some((counter, _)) = self.counter {
            self.body.extend(&[
                Instruction::LocalGet(counter),
                Instruction::I32Const(9),
                Instruction::I32Mul,
            ]);
        } else {
            self.scope.leaf(ValType::I32, &mut self.body, source);
        }
        self.scope.leaf(ValType::I32, &mut self.body, source);
        self.body.extend(&[
            Instruction::I32Add,
            Instruction::I32Const(0xff),
            Instruction::I32And,
        ]);
        let mut rng = source.rng();
        let targets: Vec<u32> = (0..rng.range(190, 210))
            .map(|_| rng.below(labels))
            .collect();
        self.body.push(Instruction::BrTable(
            targets.as_slice().into(),
            source.below(labels),
        ));
        self.most_code += self.body.size() - start;
    }
}

/// A value of a type that differs from that of any other number.
fn distinct(ty: ValType, number: u32) -> Value {
    match ty {
        ValType::F64 => Value::F64((f64::from(number) + 0.5).to_bits()),
        ValType::V128 => Value::V128(u128::from(number) << 64 | u128::from(!number)),
        _ => Value::I64(i64::from(number) * 0x0001_0001_0001_0001),
    }
}
