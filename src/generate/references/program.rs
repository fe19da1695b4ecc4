//! The state and functions of a program.

use wasm_encoder::{ConstExpr, HeapType, Instruction};

use super::callbacks::CallBack;
use super::statements::Writer;
use crate::case::module::ValType;
use crate::generate::beyond::Beyond;
use crate::generate::sketch::{Body, Origin, Sketch};
use crate::generate::source::Source;

const E: ValType = ValType::ExternRef;
const I: ValType = ValType::I32;

/// A function type: parameters and results.
pub(super) type Signature = (&'static [ValType], &'static [ValType]);

/// The type of `parallax.gc`, and of some functions that the host calls.
pub(super) const NOTHING: Signature = (&[], &[]);
/// The type of `parallax.make`.
const GIVES: Signature = (&[], &[E]);
/// The type of `parallax.take`.
const TAKES: Signature = (&[E], &[]);
/// The type of functions that count down to themselves.
const COUNTS_DOWN: Signature = (&[E, I], &[E]);

/// Types of functions, few enough that indirect calls and imports find each other. The last does
/// not fit into registers, on either side.
const SIGNATURES: [Signature; 9] = [
    GIVES,
    (&[E], &[E]),
    TAKES,
    (&[I], &[]),
    (&[E, I], &[E, I]),
    (&[E, E], &[E, E]),
    (&[I, E, E, E], &[E, E, E]),
    (&[I, I], &[E, E]),
    (&[E, E, I, E, E, E, I, E, E], &[E, E, E, I, E, E, E, E]),
];

/// How deep functions that count down may go, a mask.
pub(super) const DEEPEST: i32 = 7;

/// How many statements a function that calls no other mostly has at most.
const MOST_IN_LEAF: u32 = 2;

/// A function that may be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callee {
    pub(super) function: u32,
    pub(super) ty: u32,
    pub(super) signature: Signature,
    /// About how many statements a call comes to.
    pub(super) work: u32,
    /// Whether it calls nothing but the host's `parallax` functions, so that it may stand in
    /// tables.
    pub(super) leaf: bool,
}

/// A table, with the size that it has at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) index: u32,
    pub(super) size: u32,
    /// Whether it has a maximum, not far above that.
    pub(super) limited: bool,
}

/// Slots of a function table that hold, at first, functions of one type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    pub(super) table: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) callee: Callee,
}

/// An element segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) index: u32,
    pub(super) length: u32,
}

/// A program: its state, and what may be called by functions made from here on.
pub(super) struct Program {
    pub(super) beyond: Beyond,
    pub(super) sketch: Sketch,
    pub(super) make: u32,
    pub(super) take: u32,
    pub(super) collect: u32,
    /// `parallax.call`, if the program has functions that the host calls.
    pub(super) call_back: Option<CallBack>,
    /// Those.
    pub(super) callbacks: Vec<Callee>,
    /// Tables of externrefs; the first has an element.
    pub(super) object_tables: Vec<Table>,
    /// Tables of funcrefs; the first holds what is called indirectly, others anything.
    pub(super) function_tables: Vec<Table>,
    /// Externref globals that may be set; at least one.
    pub(super) globals: Vec<u32>,
    /// Externref globals that may not.
    pub(super) constants: Vec<u32>,
    /// A funcref global.
    pub(super) function_global: u32,
    /// Passive segments.
    pub(super) object_segments: Vec<Segment>,
    pub(super) function_segments: Vec<Segment>,
    /// Segments that are active or declared, which are dropped when the program is instantiated; none that
    /// has nothing in it.
    pub(super) gone_object_segments: Vec<Segment>,
    pub(super) gone_function_segments: Vec<Segment>,
    pub(super) callees: Vec<Callee>,
    /// Functions that `ref.func` may name.
    pub(super) named: Vec<u32>,
    pub(super) slots: Vec<Slots>,
    /// How many statements a function mostly has at least, and at most.
    statements: (u32, u32),
}

/// Makes a program, or one that is half as long.
pub(super) fn module(beyond: Beyond, is_half: bool, source: &mut Source<'_>) -> Vec<u8> {
    let mut program = Program::imported_functions(beyond, is_half, source);
    program.tables(source);
    program.globals(source);
    program.segments_of_objects(source);
    program.function(true, source);
    program.callbacks(source);
    program.functions_in_tables(source);
    if source.percent(14) {
        program.count_down(source);
    }
    program.function(false, source);
    if source.percent(4) && !is_half {
        program.function(false, source);
    }
    if !is_half {
        program.recursion(source);
    }
    program.sketch.finish()
}

impl Program {
    fn imported_functions(beyond: Beyond, is_half: bool, source: &mut Source<'_>) -> Program {
        let mut sketch = Sketch::default();
        let import = |sketch: &mut Sketch, module: &str, name: &str, signature: Signature| {
            let ty = sketch.ty(signature.0, signature.1);
            (sketch.import_function(module, name, ty), ty)
        };
        let (make, _) = import(&mut sketch, "parallax", "make", GIVES);
        let (take, _) = import(&mut sketch, "parallax", "take", TAKES);
        let (collect, _) = import(&mut sketch, "parallax", "gc", NOTHING);
        let call_back = CallBack::import(&mut sketch, source);
        let mut callees = Vec::new();
        for name in 0..source.below(3) {
            let signature = *source.pick(&SIGNATURES);
            let name = format!("function{name}");
            let (function, ty) = import(&mut sketch, "host", &name, signature);
            callees.push(Callee {
                function,
                ty,
                signature,
                // Each call is an event with a list of counts. It may be another module's.
                work: 12,
                leaf: false,
            });
        }
        Program {
            beyond,
            sketch,
            make,
            take,
            collect,
            call_back,
            callbacks: Vec::new(),
            object_tables: Vec::new(),
            function_tables: Vec::new(),
            globals: Vec::new(),
            constants: Vec::new(),
            function_global: 0,
            object_segments: Vec::new(),
            function_segments: Vec::new(),
            gone_object_segments: Vec::new(),
            gone_function_segments: Vec::new(),
            callees,
            named: vec![make, take, collect],
            slots: Vec::new(),
            statements: if is_half { (1, 2) } else { (2, 3) },
        }
    }

    /// Adds tables of both types, imported ones first.
    fn tables(&mut self, source: &mut Source<'_>) {
        self.sketch.draw_more(source);
        let objects = source.range(1, 3);
        let total = objects + source.range(1, 2);
        let imported = if source.percent(50) {
            0
        } else {
            source.range(1, total)
        };
        // Which come first is drawn too: imports of either type occur alone.
        let functions_first = source.percent(40);
        for at in 0..total {
            let origin = if at < imported {
                Origin::Imported
            } else {
                Origin::Defined
            };
            let of_functions = if functions_first {
                at < total - objects
            } else {
                at >= objects
            };
            let tables = if of_functions {
                &mut self.function_tables
            } else {
                &mut self.object_tables
            };
            let smallest = u32::from(tables.is_empty());
            let size = match source.below(16) {
                0 => smallest,
                1 => source.range(12, 30),
                _ => source.range(1, 7),
            };
            let (element, size) = if of_functions {
                (ValType::FuncRef, size + 4)
            } else {
                (E, size)
            };
            let maximum = source.percent(40).then(|| size + source.below(6));
            let index = self.sketch.table(origin, element, size, maximum);
            let limited = maximum.is_some();
            tables.push(Table {
                index,
                size,
                limited,
            });
        }
    }

    fn globals(&mut self, source: &mut Source<'_>) {
        let null = ConstExpr::ref_null(HeapType::EXTERN);
        for _ in 0..source.below(3) {
            let constant = self.sketch.global(Origin::Imported, E, false, &null);
            self.constants.push(constant);
        }
        if source.percent(40) {
            let global = self.sketch.global(Origin::Imported, E, true, &null);
            self.globals.push(global);
        }
        for _ in 0..source.range(1, 2) {
            let value = self.constant_object(source);
            let global = self.sketch.global(Origin::Defined, E, true, &value);
            self.globals.push(global);
        }
        let null = ConstExpr::ref_null(HeapType::FUNC);
        self.function_global = self
            .sketch
            .global(Origin::Defined, ValType::FuncRef, true, &null);
    }

    /// An externref as a constant expression: null, or what an imported global holds.
    fn constant_object(&self, source: &mut Source<'_>) -> ConstExpr {
        match self.constants.as_slice() {
            [_, ..] if source.percent(70) => ConstExpr::global_get(*source.pick(&self.constants)),
            _ => ConstExpr::ref_null(HeapType::EXTERN),
        }
    }

    fn segments_of_objects(&mut self, source: &mut Source<'_>) {
        for _ in 0..source.range(1, 2) {
            let items = self.constant_objects(4, source);
            let length = items.len() as u32;
            let index = self.sketch.elements_of(E, None, items);
            self.object_segments.push(Segment { index, length });
        }
        for _ in 0..source.below(3) {
            let table = *source.pick(&self.object_tables);
            let items = self.constant_objects(table.size, source);
            let length = items.len() as u32;
            let offset = source.below(table.size - length + 1);
            let target = Some((table.index, offset));
            let index = self.sketch.elements_of(E, target, items);
            if length > 0 {
                self.gone_object_segments.push(Segment { index, length });
            }
        }
    }

    fn constant_objects(&self, most: u32, source: &mut Source<'_>) -> Vec<ConstExpr> {
        (0..source.below(most + 1))
            .map(|_| self.constant_object(source))
            .collect()
    }

    /// Puts leaf functions and the host's into tables, in runs of one type.
    fn functions_in_tables(&mut self, source: &mut Source<'_>) {
        let mut leaves: Vec<Callee> = self.callees.clone();
        leaves.retain(|callee| callee.leaf);
        for (function, signature) in [
            (self.make, GIVES),
            (self.take, TAKES),
            (self.collect, NOTHING),
        ] {
            leaves.push(Callee {
                function,
                ty: self.sketch.type_of(function),
                signature,
                work: 2,
                leaf: true,
            });
        }
        let functions: Vec<u32> = leaves.iter().map(|leaf| leaf.function).collect();
        let index = self.sketch.declare_elements(&functions);
        let length = functions.len() as u32;
        self.gone_function_segments.push(Segment { index, length });
        self.named = functions;

        let table = self.function_tables[0];
        let mut first = source.below(2);
        for &leaf in &leaves {
            let count = source.range(1, 2).min(table.size.saturating_sub(first));
            if count == 0 {
                break;
            }
            let items = vec![leaf.function; count as usize];
            let index = self.sketch.active_elements(table.index, first, &items);
            let length = count;
            self.gone_function_segments.push(Segment { index, length });
            self.slots.push(Slots {
                table: table.index,
                first,
                count,
                callee: leaf,
            });
            first += count + source.below(2);
        }

        let items: Vec<Option<u32>> = (0..source.range(1, 4))
            .map(|_| source.percent(75).then(|| *source.pick(&self.named)))
            .collect();
        let index = self.sketch.passive_elements(ValType::FuncRef, &items);
        self.function_segments.push(Segment {
            index,
            length: items.len() as u32,
        });
    }

    /// Adds a function over what there is so far.
    fn function(&mut self, leaf: bool, source: &mut Source<'_>) {
        let signature = *source.pick(&SIGNATURES);
        let (low, high) = self.statements;
        let (low, high) = match leaf {
            true => (1, high.min(MOST_IN_LEAF)),
            false => (low, high),
        };
        let mut writer = Writer::new(self, signature, leaf);
        writer.statements(low, high, source);
        writer.end(source);
        let (body, work) = writer.finish();
        self.add(signature, body, work, leaf, source);
    }

    pub(super) fn add(
        &mut self,
        signature: Signature,
        body: Body,
        work: u32,
        leaf: bool,
        source: &mut Source<'_>,
    ) {
        let (params, results) = signature;
        let ty = self.sketch.ty(params, results);
        self.sketch.body(body);
        let function = self.sketch.function(ty);
        if source.percent(60) {
            self.sketch.export(&format!("run{function}"), function);
        }
        self.callees.push(Callee {
            function,
            ty,
            signature,
            work,
            leaf,
        });
    }

    /// Adds a function that calls itself with a number one smaller, holding references in every
    /// frame:
    ///
    /// ```text
    /// count_down(object, number) =
    ///     number &= DEEPEST
    ///     if number = 0 { statements; an object }
    ///     else { objects; count_down(an object, number - 1); statements; consume all }
    ///
    /// or, by a tail call, `else { statements; count_down(an object, number - 1) }`
    /// ```
    fn count_down(&mut self, source: &mut Source<'_>) {
        let itself = self.sketch.function_count();
        let mut writer = Writer::new(self, COUNTS_DOWN, true);
        writer.count_down(itself, 1, source);
        let (body, work) = writer.finish();
        // It may not stand in tables, but what it calls is as bounded.
        let work = work * (DEEPEST as u32 + 1);
        self.add(COUNTS_DOWN, body, work, false, source);
    }
}

/// The instruction that pushes a null of a reference type.
pub(super) fn null(ty: ValType) -> Instruction<'static> {
    Instruction::RefNull(crate::generate::sketch::heap(ty))
}
