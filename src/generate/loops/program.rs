//! The state and functions of a program.

use wasm_encoder::{ConstExpr, Instruction};

use super::statements::Writer;
use crate::case::module::{MemoryType, ValType};
use crate::case::settings::MemoryStyle;
use crate::generate::beyond::Beyond;
use crate::generate::expr::{Scope, types};
use crate::generate::sketch::{Body, Origin, Sketch, computed_constant, constant_expression};
use crate::generate::source::Source;

/// Types of functions, often equal among them so that indirect calls find targets; those with vectors
/// last.
const SIGNATURES: [(&[ValType], &[ValType]); 7] = [
    (&[], &[ValType::I32]),
    (&[ValType::I32], &[ValType::I32]),
    (&[ValType::I32, ValType::I64], &[ValType::I64]),
    (&[ValType::F64], &[ValType::F64, ValType::I32]),
    (&[ValType::F32, ValType::I32], &[]),
    (&[ValType::V128], &[ValType::V128]),
    (
        &[ValType::I64, ValType::F32, ValType::V128, ValType::I32],
        &[ValType::F32, ValType::I64],
    ),
];

/// Those of [`SIGNATURES`] that a program has, with or without vectors.
fn signatures(vectors: bool) -> &'static [(&'static [ValType], &'static [ValType])] {
    match vectors {
        true => &SIGNATURES,
        false => &SIGNATURES[..5],
    }
}

/// Types of functions that take a function, in programs that have them; the last with vectors. Such a
/// function may store its argument in any table. So none of these types is one that is called
/// indirectly: a function that makes indirect calls would call itself without end.
const TAKING_FUNCTIONS: [(&[ValType], &[ValType]); 4] = [
    (&[ValType::FuncRef], &[ValType::I32]),
    (
        &[ValType::FuncRef, ValType::I32, ValType::I64],
        &[ValType::I64],
    ),
    (
        &[ValType::F64, ValType::FuncRef],
        &[ValType::F64, ValType::I32],
    ),
    (&[ValType::V128, ValType::FuncRef], &[ValType::V128]),
];

/// How many of 100 programs have functions that take a function, wherever it may be called.
const TAKING_PERCENT: u32 = 60;

/// One of so many programs has more values that live through a loop than there are registers.
const PRESSED_ONE_IN: u32 = 150;

/// How many of 100 programs have no vectors, for engines that lack them.
const SCALAR_PERCENT: u32 = 25;

/// A function that may be called.
#[derive(Clone, Debug)]
pub(super) struct Callee {
    pub(super) function: u32,
    pub(super) ty: u32,
    pub(super) params: &'static [ValType],
    pub(super) results: &'static [ValType],
    /// About how many loop iterations a call comes to.
    pub(super) work: u32,
    /// Whether it makes no indirect and no host calls, so that it may stand in tables.
    pub(super) leaf: bool,
}

/// A run of slots of a table that hold functions of one type.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    pub(super) table: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    /// A function of that type.
    pub(super) callee: Callee,
}

/// A program: its state, and what may be called by functions made from here on.
pub(super) struct Program {
    pub(super) beyond: Beyond,
    /// Whether there are vectors.
    pub(super) vectors: bool,
    /// Whether functions that make indirect calls take a function.
    takes_functions: bool,
    /// Whether more values than there are registers live through loops of these.
    pressed: bool,
    /// Whether the memories are addressed by i64.
    pub(super) memory64: bool,
    pub(super) sketch: Sketch,
    /// The initial size of the memory in pages.
    pub(super) pages: u32,
    /// How many memories there are, all of that size.
    pub(super) memories: u32,
    /// Globals that may be set, with their types.
    pub(super) globals: Vec<(u32, ValType)>,
    pub(super) callees: Vec<Callee>,
    pub(super) slots: Vec<Slots>,
    /// Initial sizes of the tables.
    pub(super) tables: Vec<u32>,
    pub(super) data_segment: u32,
}

/// Makes a program.
pub(super) fn module(beyond: Beyond, source: &mut Source<'_>) -> Vec<u8> {
    let mut program = Program {
        beyond,
        vectors: !source.percent(SCALAR_PERCENT),
        takes_functions: source.percent(TAKING_PERCENT),
        pressed: source.below(PRESSED_ONE_IN) == 0,
        memory64: beyond.memory64 && source.percent(75),
        sketch: Sketch::default(),
        pages: 0,
        memories: 0,
        globals: Vec::new(),
        callees: Vec::new(),
        slots: Vec::new(),
        tables: Vec::new(),
        data_segment: 0,
    };
    program.imported_functions(source);
    program.state(source);
    program.function(true, source);
    if source.percent(20) {
        program.function(true, source);
    }
    program.fill_tables(source);
    program.function(false, source);
    if source.percent(15) {
        program.function(false, source);
    }
    program.recursion(source);
    if source.percent(12) {
        program.start(source);
    }
    program.sketch.finish()
}

impl Program {
    fn imported_functions(&mut self, source: &mut Source<'_>) {
        for name in 0..source.below(3) {
            let (params, results) = *source.pick(signatures(self.vectors));
            let ty = self.sketch.ty(params, results);
            let function = self
                .sketch
                .import_function("host", &format!("function{name}"), ty);
            self.callees.push(Callee {
                function,
                ty,
                params,
                results,
                // Each call is an event to record and compare.
                work: 20,
                leaf: false,
            });
        }
    }

    fn state(&mut self, source: &mut Source<'_>) {
        let origin = |percent: u32, source: &mut Source<'_>| {
            if source.percent(percent) {
                Origin::Imported
            } else {
                Origin::Defined
            }
        };

        self.sketch.draw_more(source);
        self.pages = *source.pick(&[1, 1, 1, 1, 2, 2, 3, 4]);
        let mut memory = origin(40, source);
        self.memory(memory, source);
        if self.beyond.multi_memory {
            for _ in 0..source.range(1, 2) {
                if source.percent(40) {
                    memory = Origin::Defined;
                }
                self.memory(memory, source);
            }
        }
        let mut bytes = vec![0; source.below(200) as usize];
        source.rng().fill(&mut bytes);
        let place = source.below(512);
        let place = match self.memory64 {
            true => ConstExpr::i64_const(i64::from(place)),
            false => ConstExpr::i32_const(place as i32),
        };
        self.sketch.data_at(0, &place, &bytes);
        self.data_segment = self.sketch.passive_data(&bytes);

        let tables = source.range(1, 2);
        let imported = source.below(tables + 1);
        for table in 0..tables {
            let origin = if table < imported {
                Origin::Imported
            } else {
                Origin::Defined
            };
            let size = source.range(3, 20);
            let maximum = source.percent(40).then(|| size + source.below(8));
            self.sketch.table(origin, ValType::FuncRef, size, maximum);
            self.tables.push(size);
        }

        let palette = Scope::new().palette;
        let globals = source.below(6);
        let imported = source.below(globals + 1);
        for global in 0..globals {
            let ty = *source.pick(types(self.vectors));
            let mutable = source.percent(80);
            let mut rng = source.rng();
            let value = palette.value(ty, &mut rng);
            let value = match self.beyond.extended_const {
                true => computed_constant(value, &mut rng),
                false => constant_expression(value),
            };
            let origin = if global < imported {
                Origin::Imported
            } else {
                Origin::Defined
            };
            let index = self.sketch.global(origin, ty, mutable, &value);
            if mutable {
                self.globals.push((index, ty));
            }
        }
    }

    /// Adds a memory.
    fn memory(&mut self, origin: Origin, source: &mut Source<'_>) {
        let maximum = match source.below(8) {
            0..=3 => None,
            // It can be grown to just what is reserved for a small memory.
            4..=5 => Some(MemoryStyle::SMALL_PAGES.max(u64::from(self.pages))),
            _ => Some(u64::from(self.pages + source.below(5))),
        };
        let ty = MemoryType {
            min: u64::from(self.pages),
            max: maximum,
            memory64: self.memory64,
        };
        let name = format!("memory{}", self.memories);
        self.sketch.memory_of(ty, origin, &name);
        self.memories += 1;
    }

    /// Adds a function over what there is so far.
    fn function(&mut self, leaf: bool, source: &mut Source<'_>) {
        let signatures = match (self.takes_functions && !leaf, self.vectors) {
            (false, vectors) => signatures(vectors),
            (true, true) => &TAKING_FUNCTIONS,
            (true, false) => &TAKING_FUNCTIONS[..3],
        };
        let (params, results) = *source.pick(signatures);
        let mut body = Body::new(params.len());
        let mut scope = Scope::new();
        for (local, ty) in params.iter().enumerate() {
            scope.variable(*ty, local as u32);
        }
        for ty in types(self.vectors) {
            let local = body.local(*ty);
            scope.variable(*ty, local);
        }
        let pointer = body.local(ValType::I32);
        scope.memory = Some((pointer, 0x100));
        scope.memory64 = self.memory64;
        scope.vectors = self.vectors;
        scope.relaxed = self.beyond.relaxed_simd;

        let pressed = self.pressed && !leaf;
        let mut writer = Writer::new(self, scope, body, pointer, leaf);
        let taken = params.iter().position(|ty| *ty == ValType::FuncRef);
        writer.taken = taken.map(|local| local as u32);
        writer.statements(1, 2, source);
        match pressed {
            true => writer.pressed_loop(source),
            false => writer.main_loop(source),
        }
        if source.percent(15) {
            writer.main_loop(source);
        }
        writer.end(results, source);
        let (body, work) = writer.finish();

        let ty = self.sketch.ty(params, results);
        self.sketch.body(body);
        let function = self.sketch.function(ty);
        if source.percent(50) {
            self.sketch.export(&format!("run{function}"), function);
        }
        self.callees.push(Callee {
            function,
            ty,
            params,
            results,
            work,
            leaf,
        });
    }

    /// Makes the module start with a call of a function that makes no host calls.
    fn start(&mut self, source: &mut Source<'_>) {
        let Some(callee) = self.callees.iter().find(|callee| callee.leaf).cloned() else {
            return;
        };
        let scope = Scope::new();
        let mut body = Body::new(0);
        for param in callee.params {
            scope.leaf(*param, &mut body, source);
        }
        body.push(Instruction::Call(callee.function));
        for _ in callee.results {
            body.push(Instruction::Drop);
        }
        let start = self.sketch.add(&[], &[], body);
        self.sketch.start(start);
    }

    /// Puts leaf functions into tables, in runs of one type, and leaves the rest null.
    fn fill_tables(&mut self, source: &mut Source<'_>) {
        let leaves: Vec<Callee> = self
            .callees
            .iter()
            .filter(|callee| callee.leaf)
            .cloned()
            .collect();
        let functions: Vec<u32> = leaves.iter().map(|leaf| leaf.function).collect();
        self.sketch.declare_elements(&functions);
        for table in 0..self.tables.len() as u32 {
            let mut first = source.below(3);
            for leaf in &leaves {
                let room = self.tables[table as usize].saturating_sub(first);
                let count = source.range(1, 4).min(room);
                if count == 0 {
                    break;
                }
                let same_type: Vec<u32> = leaves
                    .iter()
                    .filter(|other| other.ty == leaf.ty)
                    .map(|other| other.function)
                    .collect();
                let items: Vec<u32> = (0..count).map(|_| *source.pick(&same_type)).collect();
                self.sketch.active_elements(table, first, &items);
                self.slots.push(Slots {
                    table,
                    first,
                    count,
                    callee: leaf.clone(),
                });
                first += count + source.below(2);
            }
        }
    }
}

/// The instruction that adds two numbers of a type, or combines two vectors.
pub(super) fn sum(ty: ValType) -> Instruction<'static> {
    match ty {
        ValType::I64 => Instruction::I64Add,
        ValType::F32 => Instruction::F32Add,
        ValType::F64 => Instruction::F64Add,
        ValType::V128 => Instruction::I32x4Add,
        _ => Instruction::I32Add,
    }
}
