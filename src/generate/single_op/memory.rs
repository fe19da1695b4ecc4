//! Modules about an instruction that accesses memory, at its end more than anywhere else.

use wasm_encoder::{BlockType, ConstExpr, Instruction};

use crate::case::module::{MemoryType, ValType};
use crate::case::settings::MemoryStyle;
use crate::generate::beyond::Beyond;
use crate::generate::dictionary::UPPER_HALVES;
use crate::generate::expr::Scope;
use crate::generate::ops::{ACCESSES, Access, AccessCode};
use crate::generate::sketch::{
    Body, Origin, Sketch, computed_constant, constant, constant_expression, mem_arg_of,
};
use crate::generate::source::Source;
use parallax_oracles::Value;

/// Bytes of a page.
pub(super) const PAGE: u32 = 0x1_0000;

/// How many of 100 lengths and numbers of pages of 64 bits are too large by their upper half alone.
const UPPER_PERCENT: u32 = 18;

/// Parameters of the functions here: an i32 and an i64 to make addresses from, and a value.
const A: u32 = 0;
const B: u32 = 1;
const VALUE: u32 = 2;

/// A memory of the module.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) index: u32,
    /// Its size.
    pub(super) pages: u32,
    /// Whether it is addressed by i64.
    pub(super) memory64: bool,
}

impl Memory {
    /// Makes an address, a length or a number of pages of the i32 on top of the stack.
    pub(super) fn index(self, body: &mut Body) {
        if self.memory64 {
            body.push(Instruction::I64ExtendI32U);
        }
    }

    /// Makes a length or a number of pages of the i32 on top of the stack. One of 64 bits is at times
    /// too large, by its upper half alone.
    pub(super) fn amount(self, body: &mut Body, source: &mut Source<'_>) {
        self.index(body);
        if self.memory64 && source.percent(UPPER_PERCENT) {
            let upper = *source.pick(&UPPER_HALVES);
            body.extend(&[Instruction::I64Const(upper), Instruction::I64Or]);
        }
    }

    /// The type of addresses.
    pub(super) fn index_type(self) -> ValType {
        match self.memory64 {
            true => ValType::I64,
            false => ValType::I32,
        }
    }
}

/// A module about one to three accesses, combined.
pub(super) fn accesses(beyond: Beyond, source: &mut Source<'_>) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let memories = memories(&mut sketch, beyond, source);
    let progress = sketch.global(
        Origin::Defined,
        ValType::I32,
        true,
        &ConstExpr::i32_const(-1),
    );
    let main = source.pick(ACCESSES);
    source.list(1, 3, |source| {
        function(&mut sketch, main, &memories, source);
    });
    if source.percent(60) {
        let memory = some(&memories, source);
        walk(&mut sketch, main, memory, progress, source);
    }
    if source.percent(30) {
        let other = source.pick(ACCESSES);
        function(&mut sketch, other, &memories, source);
    }
    sketch.finish()
}

/// Adds memories with something in them, imported ones first.
pub(super) fn memories(
    sketch: &mut Sketch,
    beyond: Beyond,
    source: &mut Source<'_>,
) -> Vec<Memory> {
    let count = match beyond.multi_memory {
        true => source.range(2, 3),
        false => 1,
    };
    // The first two are then addressed in different ways.
    let mixed = count > 1 && beyond.memory64 && source.percent(50);
    sketch.draw_more(source);
    let mut memories: Vec<Memory> = Vec::new();
    let mut imported = true;
    for index in 0..count {
        imported &= source.percent(35);
        let origin = match imported {
            true => Origin::Imported,
            false => Origin::Defined,
        };
        let memory64 = match memories.as_slice() {
            [first] if mixed => !first.memory64,
            _ => beyond.memory64 && source.percent(if mixed { 50 } else { 75 }),
        };
        let computed = beyond.extended_const;
        memories.push(memory(sketch, index, origin, memory64, computed, source));
    }
    memories
}

/// One of the memories. Nothing is drawn where there is no choice.
pub(super) fn some(memories: &[Memory], source: &mut Source<'_>) -> Memory {
    match memories {
        [only] => *only,
        several => *source.pick(several),
    }
}

/// Adds a memory with something in it, at addresses that are constants or computed.
fn memory(
    sketch: &mut Sketch,
    index: u32,
    origin: Origin,
    memory64: bool,
    computed: bool,
    source: &mut Source<'_>,
) -> Memory {
    // The last is as many as are reserved for a small memory.
    let small = MemoryStyle::SMALL_PAGES as u32;
    let pages = *source.pick(&[1, 1, 1, 1, 1, 2, 3, small]);
    let maximum = match source.below(3) {
        0 => None,
        1 => Some(u64::from(pages)),
        _ => Some(u64::from(pages + source.below(4))),
    };
    let ty = MemoryType {
        min: u64::from(pages),
        max: maximum,
        memory64,
    };
    // Two imports of one name and type are the same memory.
    let name = match index > 0 && source.percent(25) {
        true => "memory".to_string(),
        false => format!("memory{index}"),
    };
    sketch.memory_of(ty, origin, &name);
    let mut bytes = [0; 96];
    let mut rng = source.rng();
    rng.fill(&mut bytes);
    let mut place = |address: u32| {
        let address = match memory64 {
            true => Value::I64(i64::from(address)),
            false => Value::I32(address as i32),
        };
        match computed {
            true => computed_constant(address, &mut rng),
            false => constant_expression(address),
        }
    };
    sketch.data_at(index, &place(0), &bytes[..32]);
    sketch.data_at(index, &place(pages * PAGE - 64), &bytes[32..]);
    Memory {
        index,
        pages,
        memory64,
    }
}

/// A static offset: none, small, or one that reaches the end of the memory or of the index space.
fn offset(bytes: u32, pages: u32, source: &mut Source<'_>) -> u32 {
    let end = pages * PAGE;
    match source.below(16) {
        0..=6 => 0,
        7..=9 => source.below(64),
        10 => source.below(PAGE),
        11 => end - bytes,
        12 => end - bytes - source.below(16),
        13 => end + source.below(3) - 1,
        14 => PAGE * source.below(8),
        _ => *source.pick(&[
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0xffff_fff0,
            0xffff_0000,
        ]),
    }
}

/// Emits an address. With `offset` added, most lie inside the memory or just outside.
fn address(bytes: u32, offset: u32, pages: u32, body: &mut Body, source: &mut Source<'_>) {
    let end = (pages * PAGE).wrapping_sub(offset).wrapping_sub(bytes);
    let kind = source.below(16);
    match kind {
        // As it comes: small numbers and page boundaries.
        0 | 1 => {
            body.push(Instruction::LocalGet(A));
        }
        // On both sides of the last address that is inside.
        2..=6 => {
            body.extend(&[
                Instruction::LocalGet(A),
                Instruction::I32Const(15),
                Instruction::I32And,
                Instruction::I32Const(end.wrapping_sub(9) as i32),
                Instruction::I32Add,
            ]);
        }
        // Inside, by a mask that a compiler could see through.
        7 | 8 => {
            body.extend(&[
                Instruction::LocalGet(A),
                Instruction::I32Const(*source.pick(&[0xff, 0xfff, 0xffff])),
                Instruction::I32And,
            ]);
        }
        // Base and scaled index.
        9 | 10 => {
            let mask = *source.pick(&[0x1f, 0xff, -1]);
            body.extend(&[
                Instruction::LocalGet(A),
                Instruction::I32Const(*source.pick(&[0xff, 0x7ff])),
                Instruction::I32And,
                Instruction::LocalGet(B),
                Instruction::I32WrapI64,
                Instruction::I32Const(mask),
                Instruction::I32And,
                Instruction::I32Const(source.below(6) as i32),
                if source.percent(85) {
                    Instruction::I32Shl
                } else {
                    Instruction::I32Mul
                },
                Instruction::I32Add,
            ]);
        }
        // The low or the high half of an i64.
        11 => {
            body.push(Instruction::LocalGet(B));
            if source.percent(50) {
                body.push(Instruction::I64Const(*source.pick(&[1, 16, 32, 33, 48])));
                body.push(Instruction::I64ShrU);
            }
            body.push(Instruction::I32WrapI64);
        }
        // An i32 extended, shifted as an i64, and cut again.
        12 => {
            body.push(Instruction::LocalGet(A));
            body.push(if source.percent(50) {
                Instruction::I64ExtendI32S
            } else {
                Instruction::I64ExtendI32U
            });
            body.extend(&[
                Instruction::I64Const(i64::from(source.below(5))),
                Instruction::I64Shl,
                Instruction::I64Const(0x1_0000_ffff),
                Instruction::I64And,
                Instruction::I32WrapI64,
            ]);
        }
        // A constant just inside, at, or just outside the end.
        13 => {
            let beyond = source.below(4) as i32 - 2;
            body.push(Instruction::I32Const((end as i32).wrapping_add(beyond)));
        }
        // One of two.
        14 => {
            body.extend(&[
                Instruction::I32Const(source.below(256) as i32),
                Instruction::I32Const((end as i32).wrapping_add(source.below(2) as i32)),
                Instruction::LocalGet(A),
                Instruction::I32Const(source.below(16) as i32),
                Instruction::I32LtU,
                Instruction::Select,
            ]);
        }
        // A narrow index, sign-extended: negative ones are far outside.
        _ => {
            body.push(Instruction::LocalGet(A));
            body.push(if source.percent(50) {
                Instruction::I32Extend8S
            } else {
                Instruction::I32Extend16S
            });
        }
    }
}

/// Emits an access; what it loads is left on the stack.
fn access(
    access: &Access,
    address: impl Fn(&mut Body, &mut Source<'_>, u32),
    memory: Memory,
    offset: u32,
    body: &mut Body,
    source: &mut Source<'_>,
) {
    let mut memarg = mem_arg_of(memory.index, u64::from(offset));
    let wide = memory.memory64 && source.percent(20);
    if wide && source.percent(30) {
        // Beyond what 32 bits can say, up to where the sum with an address wraps.
        memarg.offset = *source.pick(&[
            1 << 32,
            (1 << 32) - 1,
            (1 << 32) + 65_536,
            1 << 63,
            u64::MAX,
            u64::MAX - 65_535,
        ]);
    }
    memarg.align = source.below(access.bytes.trailing_zeros() + 1);
    let lane = source.below(u32::from(16 / access.bytes)) as u8;
    if wide {
        wide_address(memory.pages * PAGE, body, source);
    } else {
        address(body, source, offset);
        memory.index(body);
    }
    let instruction = match access.code {
        AccessCode::Load(make) => make(memarg),
        AccessCode::Store(make) => {
            value(access, body, source);
            make(memarg)
        }
        AccessCode::LoadLane(make) => {
            value(access, body, source);
            make(memarg, lane)
        }
        AccessCode::StoreLane(make) => {
            value(access, body, source);
            make(memarg, lane)
        }
    };
    body.push(instruction);
}

/// Emits an address of 64 bits: far outside, around where it wraps, or what lies inside if its upper
/// half is forgotten.
fn wide_address(end: u32, body: &mut Body, source: &mut Source<'_>) {
    match source.below(6) {
        0 => {
            body.push(Instruction::LocalGet(B));
        }
        1 => {
            body.extend(&[
                Instruction::LocalGet(A),
                if source.percent(50) {
                    Instruction::I64ExtendI32S
                } else {
                    Instruction::I64ExtendI32U
                },
            ]);
        }
        2 => {
            body.extend(&[
                Instruction::LocalGet(B),
                Instruction::I64Const(0xff),
                Instruction::I64And,
                Instruction::I64Const(1 << source.range(30, 63)),
                if source.percent(50) {
                    Instruction::I64Or
                } else {
                    Instruction::I64Add
                },
            ]);
        }
        3 => {
            body.push(Instruction::I64Const(-i64::from(source.below(40))));
        }
        4 => {
            // Within the memory, by a mask.
            body.extend(&[
                Instruction::LocalGet(B),
                Instruction::I64Const(*source.pick(&[0xff, 0xfff, 0x7fff])),
                Instruction::I64And,
            ]);
        }
        _ => {
            let beyond = i64::from(source.below(40)) - 24;
            body.push(Instruction::I64Const(i64::from(end) + beyond));
        }
    }
}

/// Emits the value to store: the parameter or a constant.
fn value(access: &Access, body: &mut Body, source: &mut Source<'_>) {
    if source.percent(70) {
        body.push(Instruction::LocalGet(VALUE));
    } else {
        let palette = Scope::new().palette;
        body.push(constant(palette.value(access.value, &mut source.rng())));
    }
}

fn loads(access: &Access) -> bool {
    matches!(access.code, AccessCode::Load(_) | AccessCode::LoadLane(_))
}

/// A function that does one access, or the same one twice at addresses that may overlap.
fn function(sketch: &mut Sketch, what: &Access, memories: &[Memory], source: &mut Source<'_>) {
    let mut body = Body::new(3);
    let params = [ValType::I32, ValType::I64, what.value];
    let bytes = u32::from(what.bytes);
    let mut results = Vec::new();
    let times = if source.percent(30) { 2 } else { 1 };
    for _ in 0..times {
        let memory = some(memories, source);
        let pages = memory.pages;
        let offset = offset(bytes, pages, source);
        let emit = |body: &mut Body, source: &mut Source<'_>, offset: u32| {
            address(bytes, offset, pages, body, source);
        };
        access(what, emit, memory, offset, &mut body, source);
        if loads(what) {
            results.push(what.value);
        }
        if source.percent(10) {
            grow(some(memories, source), &mut body, source);
        }
    }
    sketch.add(&params, &results, body);
}

/// Emits a growth by little, or by far too much, whose result is dropped.
fn grow(memory: Memory, body: &mut Body, source: &mut Source<'_>) {
    body.push(Instruction::I32Const(source.below(3) as i32));
    memory.amount(body, source);
    body.extend(&[Instruction::MemoryGrow(memory.index), Instruction::Drop]);
}

/// A function that walks towards the end of the memory, up to it or past it, and keeps in a global
/// how far it came.
fn walk(
    sketch: &mut Sketch,
    what: &Access,
    memory: Memory,
    progress: u32,
    source: &mut Source<'_>,
) {
    let pages = memory.pages;
    let bytes = u32::from(what.bytes);
    let mut body = Body::new(3);
    let at = body.local(ValType::I32);
    let offset = *source.pick(&[0, 0, 1, 8, 4096]);
    let last = (pages * PAGE - bytes - offset) as i32;
    let stride = source.range(1, 17) as i32;
    let steps = source.range(3, 20) as i32;
    // Where the bound is `last + 1`, exactly the accesses that are inside are made.
    let bound = last + *source.pick(&[1, 1, 1, 2, 64]);
    body.extend(&[
        Instruction::I32Const(last - steps * stride + source.below(3) as i32),
        Instruction::LocalSet(at),
        Instruction::Loop(BlockType::Empty),
        Instruction::LocalGet(at),
        Instruction::GlobalSet(progress),
    ]);
    let emit = |body: &mut Body, _: &mut Source<'_>, _| {
        body.push(Instruction::LocalGet(at));
    };
    access(what, emit, memory, offset, &mut body, source);
    if loads(what) {
        body.push(Instruction::LocalSet(VALUE));
    }
    body.extend(&[
        Instruction::LocalGet(at),
        Instruction::I32Const(stride),
        Instruction::I32Add,
        Instruction::LocalTee(at),
        Instruction::I32Const(bound),
        Instruction::I32LtS,
        Instruction::BrIf(0),
        Instruction::End,
        Instruction::LocalGet(VALUE),
    ]);
    sketch.add(
        &[ValType::I32, ValType::I64, what.value],
        &[what.value],
        body,
    );
}
