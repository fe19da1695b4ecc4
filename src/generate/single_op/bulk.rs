//! Modules about bulk memory instructions, segments that are dropped, and the sizes of memories.

use wasm_encoder::Instruction;

use super::memory::{Memory, PAGE, memories, some};
use crate::case::module::ValType;
use crate::generate::beyond::Beyond;
use crate::generate::dictionary::UPPER_HALVES;
use crate::generate::sketch::{Body, Sketch};
use crate::generate::source::Source;

/// Parameters of the functions here, all of them i32: two to make addresses from, and one for lengths.
const A: u32 = 0;
const B: u32 = 1;
const LENGTH: u32 = 2;

/// How many of 100 modules have a function that drops a segment and then copies from one.
const DROPPING_PERCENT: u32 = 80;

/// What a function is about.
#[derive(Clone, Copy)]
enum Kind {
    Fill,
    Copy,
    Init,
    Grow,
    Size,
}

/// What functions are about, as often as that is to be.
const KINDS: [Kind; 8] = [
    Kind::Fill,
    Kind::Fill,
    Kind::Copy,
    Kind::Copy,
    Kind::Init,
    Kind::Init,
    Kind::Grow,
    Kind::Size,
];

/// The same where some memories are addressed by i32 and others by i64.
const MIXED_KINDS: [Kind; 8] = [
    Kind::Fill,
    Kind::Copy,
    Kind::Copy,
    Kind::Copy,
    Kind::Copy,
    Kind::Init,
    Kind::Grow,
    Kind::Size,
];

/// A data segment of the module.
#[derive(Clone, Copy)]
struct Segment {
    index: u32,
    /// Its bytes before it is dropped; none if it is active, and so dropped when code runs.
    length: u32,
}

/// What there is to work on.
struct State {
    memories: Vec<Memory>,
    /// Whether some of them are addressed by i32 and others by i64.
    mixed: bool,
    /// How many segments are active. They come first.
    active: u32,
    passive: Vec<Segment>,
}

/// A module about bulk memory instructions.
pub(super) fn module(beyond: Beyond, source: &mut Source<'_>) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let memories = memories(&mut sketch, beyond, source);
    let passive: Vec<Segment> = (0..source.range(2, 3))
        .map(|_| segment(&mut sketch, source))
        .collect();
    let state = State {
        mixed: memories
            .iter()
            .any(|memory| memory.memory64 != memories[0].memory64),
        memories,
        active: passive[0].index,
        passive,
    };
    source.list(2, 4, |source| state.function(&mut sketch, source));
    if source.percent(DROPPING_PERCENT) {
        state.dropping(&mut sketch, source);
    }
    sketch.finish()
}

/// Adds a passive segment.
fn segment(sketch: &mut Sketch, source: &mut Source<'_>) -> Segment {
    let length = source.below(40);
    let mut bytes = vec![0; length as usize];
    source.rng().fill(&mut bytes);
    Segment {
        index: sketch.passive_data(&bytes),
        length,
    }
}

impl State {
    /// One of the memories.
    fn memory(&self, source: &mut Source<'_>) -> Memory {
        some(&self.memories, source)
    }

    /// One of the segments, seldom an active one.
    fn segment(&self, source: &mut Source<'_>) -> Segment {
        match source.percent(15) {
            true => Segment {
                index: source.below(self.active),
                length: 0,
            },
            false => *source.pick(&self.passive),
        }
    }

    /// Adds a function with one bulk instruction, or with what tells the size of a memory.
    fn function(&self, sketch: &mut Sketch, source: &mut Source<'_>) {
        let mut body = Body::new(3);
        let mut results = Vec::new();
        let memory = self.memory(source);
        let kinds = match self.mixed {
            true => &MIXED_KINDS,
            false => &KINDS,
        };
        match *source.pick(kinds) {
            Kind::Fill => {
                near(A, memory, &mut body, source);
                body.push(Instruction::LocalGet(B));
                count(&mut body, source);
                memory.amount(&mut body, source);
                body.push(Instruction::MemoryFill(memory.index));
            }
            Kind::Copy => self.copy(memory, &mut body, source),
            Kind::Init => {
                let segment = self.segment(source);
                near(A, memory, &mut body, source);
                body.extend(&[
                    Instruction::LocalGet(B),
                    Instruction::I32Const(segment.length as i32 + 2),
                    Instruction::I32RemU,
                ]);
                count(&mut body, source);
                body.push(Instruction::MemoryInit {
                    mem: memory.index,
                    data_index: segment.index,
                });
            }
            Kind::Grow => {
                if source.percent(25) {
                    body.push(Instruction::DataDrop(self.segment(source).index));
                }
                body.push(Instruction::LocalGet(A));
                if source.percent(70) {
                    body.extend(&[Instruction::I32Const(3), Instruction::I32And]);
                }
                memory.amount(&mut body, source);
                body.push(Instruction::MemoryGrow(memory.index));
                body.push(Instruction::MemorySize(memory.index));
                results = vec![memory.index_type(); 2];
            }
            Kind::Size => {
                body.push(Instruction::MemorySize(memory.index));
                body.push(Instruction::DataDrop(self.segment(source).index));
                results = vec![memory.index_type()];
            }
        }
        sketch.add(&[ValType::I32; 3], &results, body);
    }

    /// Emits a copy to a memory: from itself, from any, or from one that is addressed in the other way.
    fn copy(&self, memory: Memory, body: &mut Body, source: &mut Source<'_>) {
        let mut from = memory;
        if self.mixed && source.percent(60) {
            let others = self.memories.iter().copied();
            let others: Vec<Memory> = others
                .filter(|other| other.memory64 != memory.memory64)
                .collect();
            from = some(&others, source);
            near(A, memory, body, source);
            near(B, from, body, source);
        } else if source.percent(50) {
            overlapping(memory, body, source);
        } else {
            from = self.memory(source);
            near(A, memory, body, source);
            near(B, from, body, source);
        }
        count(body, source);
        // The length is of the narrower of the two types.
        if from.memory64 {
            memory.amount(body, source);
        }
        body.push(Instruction::MemoryCopy {
            src_mem: from.index,
            dst_mem: memory.index,
        });
    }

    /// Adds a function that drops a segment and then copies from it, which has no bytes any more, or from
    /// another one, which has what it had.
    fn dropping(&self, sketch: &mut Sketch, source: &mut Source<'_>) {
        let mut body = Body::new(3);
        let memory = self.memory(source);
        let count = self.passive.len() as u32;
        let at = source.below(count);
        let step = match source.percent(50) {
            true => 0,
            false => source.range(1, count - 1),
        };
        let dropped = self.passive[at as usize];
        let segment = self.passive[((at + step) % count) as usize];
        let start = match source.percent(50) {
            true => 0,
            false => source.below(segment.length + 1),
        };
        let length = match step == 0 && source.percent(60) {
            true => 0,
            false => source.below(segment.length - start + 1),
        };
        body.push(Instruction::DataDrop(dropped.index));
        body.extend(&[
            Instruction::LocalGet(A),
            Instruction::I32Const(0x3f),
            Instruction::I32And,
        ]);
        memory.index(&mut body);
        body.extend(&[
            Instruction::I32Const(start as i32),
            Instruction::I32Const(length as i32),
            Instruction::MemoryInit {
                mem: memory.index,
                data_index: segment.index,
            },
        ]);
        sketch.add(&[ValType::I32; 3], &[], body);
    }
}

/// Emits an address from a parameter: as it is, low, or around the end.
fn near(param: u32, memory: Memory, body: &mut Body, source: &mut Source<'_>) {
    let pages = memory.pages;
    // Where the sum with a length wraps, or would be inside without the upper half.
    let upper = memory.memory64 && source.percent(25);
    if upper && source.percent(20) {
        let short = i64::from(source.below(9));
        body.push(Instruction::I64Const(-1 - short));
        return;
    }
    body.push(Instruction::LocalGet(param));
    match source.below(6) {
        0 => {}
        1 | 2 => {
            body.extend(&[Instruction::I32Const(0x3f), Instruction::I32And]);
        }
        _ => {
            body.extend(&[
                Instruction::I32Const(31),
                Instruction::I32And,
                Instruction::I32Const((pages * PAGE) as i32 - 28),
                Instruction::I32Add,
            ]);
        }
    }
    memory.index(body);
    if upper {
        let upper = *source.pick(&UPPER_HALVES);
        body.extend(&[Instruction::I64Const(upper), Instruction::I64Or]);
    }
}

/// Emits a destination and a source that are less than 16 bytes apart, either way, among the bytes
/// that the memory starts with.
fn overlapping(memory: Memory, body: &mut Body, source: &mut Source<'_>) {
    let pages = memory.pages;
    let data = *source.pick(&[0, pages * PAGE - 64]);
    let apart = source.range(1, 31) as i32 - 16;
    for start in [data as i32 + 16 + apart, data as i32 + 16] {
        body.extend(&[
            Instruction::LocalGet(A),
            Instruction::I32Const(7),
            Instruction::I32And,
            Instruction::I32Const(start),
            Instruction::I32Add,
        ]);
        memory.index(body);
    }
}

/// Emits a length from the third parameter.
fn count(body: &mut Body, source: &mut Source<'_>) {
    body.push(Instruction::LocalGet(LENGTH));
    if source.percent(90) {
        let mask = *source.pick(&[0, 3, 15, 31]);
        body.extend(&[Instruction::I32Const(mask), Instruction::I32And]);
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::Operator;

    use super::*;
    use crate::case::module::Module;

    #[test]
    fn widths_are_mixed_and_dropped_segments_are_copied_from() {
        let (mut mixed, mut of_dropped, mut of_another) = (0, 0, 0);
        for seed in 0..1_000 {
            let wasm = module(Beyond::all_if(true), &mut Source::new(&[], seed));
            let memories = Module::from_wasm(&wasm, None).expect("valid").memories;
            let wide = |memory: u32| memories[memory as usize].memory64;
            for payload in wasmparser::Parser::new(0).parse_all(&wasm) {
                let wasmparser::Payload::CodeSectionEntry(code) = payload.expect("valid") else {
                    continue;
                };
                let mut dropped = None;
                for operator in code.get_operators_reader().expect("valid") {
                    match operator.expect("valid") {
                        Operator::MemoryCopy { dst_mem, src_mem } => {
                            mixed += u32::from(wide(dst_mem) != wide(src_mem));
                        }
                        Operator::DataDrop { data_index } => dropped = Some(data_index),
                        Operator::MemoryInit { data_index, .. } => match dropped {
                            Some(index) if index == data_index => of_dropped += 1,
                            Some(_) => of_another += 1,
                            None => {}
                        },
                        _ => {}
                    }
                }
            }
        }
        for count in [mixed, of_dropped, of_another] {
            assert!(count > 300, "{mixed} {of_dropped} {of_another}");
        }
    }
}
