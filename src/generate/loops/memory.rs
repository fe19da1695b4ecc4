//! Statements that read and write memory, in step with the loop they are in.

use wasm_encoder::{BlockType, Instruction};

use super::program::sum;
use super::statements::Writer;
use crate::case::module::ValType;
use crate::case::settings::MemoryStyle;
use crate::generate::dictionary::UPPER_HALVES;
use crate::generate::ops::{AccessCode, accesses};
use crate::generate::sketch::{load_of, mem_arg_of, store_of};
use crate::generate::source::Source;

/// Bytes of a page.
const PAGE: u32 = 0x1_0000;

/// Pages that a memory has when it fills what is reserved for a small one.
const SMALL_PAGES: u32 = MemoryStyle::SMALL_PAGES as u32;

impl Writer<'_> {
    /// One of the memories. Nothing is drawn where there is no choice.
    fn memory(&self, source: &mut Source<'_>) -> u32 {
        match self.program.memories {
            1 => 0,
            several => source.below(several),
        }
    }

    /// Makes an address, a length or a number of pages of the i32 on top of the stack.
    fn index(&mut self) {
        if self.scope.memory64 {
            self.body.push(Instruction::I64ExtendI32U);
        }
    }

    /// Assigns a number of pages to a variable.
    fn assign_pages(&mut self, variable: u32) {
        if self.scope.memory64 {
            self.body.push(Instruction::I32WrapI64);
        }
        self.body.push(Instruction::LocalSet(variable));
    }

    /// Writes the address that the pointer holds.
    pub(super) fn pointed(&mut self) {
        self.body.push(Instruction::LocalGet(self.pointer));
        self.index();
    }

    /// Writes a length.
    fn length(&mut self, length: u32) {
        self.body.push(Instruction::I32Const(length as i32));
        self.index();
    }

    /// Writes an address that moves with the innermost loop: at a low place, or so that the last
    /// iteration is at the end of the memory, or just past it. Returns the static offset to use.
    pub(super) fn walking_address(&mut self, bytes: u32, source: &mut Source<'_>) -> u32 {
        let Some((counter, times)) = self.counter else {
            self.pointed();
            return source.below(0x100);
        };
        let stride = match source.below(4) {
            0 => bytes,
            1 => 1 << source.below(6),
            _ => source.range(1, 40),
        };
        let reach = (times - 1) * stride;
        let end = self.program.pages * PAGE - bytes;
        let base = match source.below(16) {
            0..=8 => source.below(0x800),
            9..=14 => end - reach - source.below(3),
            // The last iteration is outside, unless the memory has grown.
            _ => end - reach + 1,
        };
        // The base is in the offset, in a constant, or in both.
        let offset = match source.below(3) {
            0 => base,
            1 => 0,
            _ => base / 2,
        };
        self.body.push(Instruction::LocalGet(counter));
        if stride.is_power_of_two() && source.percent(70) {
            self.body
                .push(Instruction::I32Const(stride.trailing_zeros() as i32));
            self.body.push(Instruction::I32Shl);
        } else {
            self.body.push(Instruction::I32Const(stride as i32));
            self.body.push(Instruction::I32Mul);
        }
        if base != offset {
            self.body
                .push(Instruction::I32Const((base - offset) as i32));
            self.body.push(Instruction::I32Add);
        }
        self.index();
        offset
    }

    pub(super) fn store_walking(&mut self, source: &mut Source<'_>) {
        let access = source.pick(accesses(self.scope.vectors));
        let bytes = u32::from(access.bytes);
        let memory = self.memory(source);
        let offset = self.walking_address(bytes, source);
        let memarg = mem_arg_of(memory, u64::from(offset));
        self.scope
            .expression(access.value, 1, &mut self.body, source);
        let lane = source.below(16 / bytes) as u8;
        let instruction = match access.code {
            AccessCode::Store(make) => make(memarg),
            AccessCode::StoreLane(make) => make(memarg, lane),
            // The access drawn was a load: a plain store of its type does instead, if that fits.
            AccessCode::Load(_) | AccessCode::LoadLane(_) => match (access.value, bytes) {
                (ValType::V128, 16) | (ValType::I64 | ValType::F64, 8) => {
                    store_of(access.value, memory, memarg.offset)
                }
                (ValType::I32 | ValType::F32, 4) => store_of(access.value, memory, memarg.offset),
                _ => {
                    self.body.push(Instruction::Drop);
                    self.body.push(Instruction::Drop);
                    return;
                }
            },
        };
        self.body.push(instruction);
    }

    pub(super) fn load_walking(&mut self, source: &mut Source<'_>) {
        let access = source.pick(accesses(self.scope.vectors));
        let bytes = u32::from(access.bytes);
        let variable = self.variable(access.value, source);
        let memory = self.memory(source);
        let memarg = |offset: u32| mem_arg_of(memory, u64::from(offset));
        match access.code {
            AccessCode::Load(make) => {
                let offset = self.walking_address(bytes, source);
                self.body.push(make(memarg(offset)));
            }
            AccessCode::LoadLane(make) => {
                let offset = self.walking_address(bytes, source);
                self.body.push(Instruction::LocalGet(variable));
                let lane = source.below(16 / bytes) as u8;
                self.body.push(make(memarg(offset), lane));
            }
            AccessCode::Store(_) | AccessCode::StoreLane(_) => {
                self.pointed();
                let offset = u64::from(source.below(0x1000));
                self.body.push(load_of(access.value, memory, offset));
            }
        }
        if source.percent(60) {
            self.body.push(Instruction::LocalGet(variable));
            self.body.push(sum(access.value));
        }
        self.body.push(Instruction::LocalSet(variable));
    }

    pub(super) fn move_pointer(&mut self, source: &mut Source<'_>) {
        self.scope
            .expression(ValType::I32, 1, &mut self.body, source);
        self.body.extend(&[
            Instruction::I32Const(*source.pick(&[0xff, 0x7ff, 0x7fff])),
            Instruction::I32And,
            Instruction::LocalSet(self.pointer),
        ]);
    }

    /// Grows the memory, in one iteration of the loop at most.
    pub(super) fn grow(&mut self, source: &mut Source<'_>) {
        let variable = self.variable(ValType::I32, source);
        let memory = self.memory(source);
        if source.percent(30) {
            return self.fill_small(memory, variable, source);
        }
        match self.counter {
            Some((counter, times)) => {
                self.body.extend(&[
                    Instruction::LocalGet(counter),
                    Instruction::I32Const(source.below(times) as i32),
                    Instruction::I32Eq,
                ]);
            }
            None => {
                self.body.push(Instruction::I32Const(1));
            }
        }
        self.index();
        // It may not grow so far, which the answer says.
        let too_far = self.scope.memory64 && source.percent(18);
        self.upper_half(too_far, source);
        self.body.push(Instruction::MemoryGrow(memory));
        self.assign_pages(variable);
        if source.percent(50) {
            self.body.push(Instruction::MemorySize(memory));
            self.assign_pages(variable);
        }
    }

    /// Grows a memory to as many pages as are reserved for a small one, and if it has them then, accesses
    /// its end, or what is just beyond.
    fn fill_small(&mut self, memory: u32, variable: u32, source: &mut Source<'_>) {
        self.length(SMALL_PAGES);
        self.body.push(Instruction::MemorySize(memory));
        self.body.push(match self.scope.memory64 {
            true => Instruction::I64Sub,
            false => Instruction::I32Sub,
        });
        self.body.push(Instruction::MemoryGrow(memory));
        self.assign_pages(variable);
        self.body.push(Instruction::MemorySize(memory));
        self.length(SMALL_PAGES);
        self.body.push(match self.scope.memory64 {
            true => Instruction::I64Eq,
            false => Instruction::I32Eq,
        });
        self.body.push(Instruction::If(BlockType::Empty));
        let ty = *source.pick(self.scope.types());
        let bytes = match ty {
            ValType::V128 => 16,
            ValType::I64 | ValType::F64 => 8,
            _ => 4,
        };
        // The pointer adds up to 7, and is mostly 0 in all: as it is, at the end, beyond by a byte, and
        // past the end altogether.
        let end = SMALL_PAGES * PAGE - bytes - 7;
        let place = end + *source.pick(&[0, 0, 0, 7, 7, 7, 8, 8 + bytes]);
        let offset = *source.pick(&[0, 0, 8, PAGE]);
        self.body.extend(&[
            Instruction::LocalGet(self.pointer),
            Instruction::I32Const(7),
            Instruction::I32And,
            Instruction::I32Const((place - offset) as i32),
            Instruction::I32Add,
        ]);
        self.index();
        if source.percent(50) {
            self.body.push(load_of(ty, memory, u64::from(offset)));
            let variable = self.variable(ty, source);
            self.body.push(Instruction::LocalSet(variable));
        } else {
            self.scope.leaf(ty, &mut self.body, source);
            self.body.push(store_of(ty, memory, u64::from(offset)));
        }
        self.body.push(Instruction::End);
    }

    /// Copies within memory, fills it, or copies from a segment; ranges overlap.
    pub(super) fn bulk(&mut self, source: &mut Source<'_>) {
        let kind = source.below(6);
        let memory = self.memory(source);
        let length = source.below(64);
        // An address outside or a length that is too large, but not without the upper half; seldom, since it
        // ends everything.
        let (outside, too_long) = match self.scope.memory64.then(|| source.below(32)) {
            Some(0..=2) => (true, false),
            Some(3) => (false, true),
            _ => (false, false),
        };
        match kind {
            0..=2 => {
                // Either the source lies behind the destination, or the other way round.
                let distance = source.below(48);
                let upwards = source.percent(50);
                self.pointed_and(if upwards { distance } else { 0 });
                self.upper_half(outside, source);
                self.pointed_and(if upwards { 0 } else { distance });
                self.length(length);
                self.upper_half(too_long, source);
                self.body.push(Instruction::MemoryCopy {
                    src_mem: self.memory(source),
                    dst_mem: memory,
                });
            }
            3 | 4 => {
                self.pointed();
                self.upper_half(outside, source);
                self.scope.leaf(ValType::I32, &mut self.body, source);
                self.length(length);
                self.upper_half(too_long, source);
                self.body.push(Instruction::MemoryFill(memory));
            }
            _ => {
                self.pointed();
                self.upper_half(outside, source);
                // Longer than the segment, at times.
                self.body.extend(&[
                    Instruction::I32Const(source.below(8) as i32),
                    Instruction::I32Const(source.below(10) as i32),
                    Instruction::MemoryInit {
                        mem: memory,
                        data_index: self.program.data_segment,
                    },
                ]);
            }
        }
    }

    /// Makes the integer of 64 bits on top of the stack too large by its upper half, if it is to be.
    fn upper_half(&mut self, too_large: bool, source: &mut Source<'_>) {
        if too_large {
            let upper = *source.pick(&UPPER_HALVES);
            self.body
                .extend(&[Instruction::I64Const(upper), Instruction::I64Or]);
        }
    }

    /// Writes the address that lies so many bytes behind the one that the pointer holds.
    fn pointed_and(&mut self, distance: u32) {
        self.body.push(Instruction::LocalGet(self.pointer));
        if distance != 0 {
            self.body
                .extend(&[Instruction::I32Const(distance as i32), Instruction::I32Add]);
        }
        self.index();
    }
}
