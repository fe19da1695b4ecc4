//! Modules about an instruction that has to do with tables: indirect calls, and the table
//! instructions.

use wasm_encoder::{BlockType, ConstExpr, HeapType, Instruction};

use crate::case::module::ValType;
use crate::generate::EXTERNREF_PERCENT;
use crate::generate::beyond::Beyond;
use crate::generate::expr::Scope;
use crate::generate::sketch::{Body, Origin, Sketch, encoded, heap};
use crate::generate::source::Source;

/// Function types among which indirect calls choose; two that differ in little, and one of
/// several results.
const SIGNATURES: [(&[ValType], &[ValType]); 6] = [
    (&[], &[ValType::I32]),
    (&[ValType::I32], &[ValType::I32]),
    (&[ValType::I32], &[ValType::I64]),
    (&[ValType::I64, ValType::F32], &[ValType::F32]),
    (&[ValType::V128, ValType::F64], &[ValType::V128]),
    (&[ValType::F64], &[ValType::F64, ValType::I32, ValType::I64]),
];

/// The same, and two of which many parameters and results lie on the stack, for tail calls to make
/// room for.
const SIGNATURES_OF_TAIL_CALLS: [(&[ValType], &[ValType]); 8] = [
    SIGNATURES[0],
    SIGNATURES[1],
    SIGNATURES[2],
    SIGNATURES[3],
    SIGNATURES[4],
    SIGNATURES[5],
    (&[ValType::I64; 13], &[ValType::I32]),
    (
        &[
            ValType::V128,
            ValType::I32,
            ValType::F64,
            ValType::V128,
            ValType::I32,
            ValType::F64,
            ValType::I64,
            ValType::V128,
            ValType::I32,
            ValType::I32,
            ValType::I32,
            ValType::V128,
            ValType::V128,
            ValType::F32,
            ValType::V128,
            ValType::I32,
            ValType::V128,
            ValType::V128,
        ],
        &[ValType::F32],
    ),
];

/// How many of 100 segments that are named by an instruction are gone when the module is instantiated.
const GONE_PERCENT: u32 = 33;

/// The function types among which to choose.
fn signatures(beyond: Beyond) -> &'static [(&'static [ValType], &'static [ValType])] {
    match beyond.tail_calls {
        true => &SIGNATURES_OF_TAIL_CALLS,
        false => &SIGNATURES,
    }
}

/// Adds one to three tables, imported ones first, and returns their sizes.
fn tables(sketch: &mut Sketch, element: ValType, source: &mut Source<'_>) -> Vec<u32> {
    let count = source.range(1, 3);
    let imported = source.below(count + 1);
    sketch.draw_more(source);
    (0..count)
        .map(|table| {
            let origin = if table < imported {
                Origin::Imported
            } else {
                Origin::Defined
            };
            let size = source.below(14);
            let maximum = source.percent(50).then(|| size + source.below(10));
            sketch.table(origin, element, size, maximum);
            size
        })
        .collect()
}

/// Adds functions, one or two of each signature drawn; imported ones come first. Returns all.
fn functions(sketch: &mut Sketch, beyond: Beyond, source: &mut Source<'_>) -> Vec<u32> {
    let signatures = signatures(beyond);
    for name in 0..source.below(3) {
        let (params, results) = *source.pick(signatures);
        let ty = sketch.ty(params, results);
        sketch.import_function("host", &format!("function{name}"), ty);
    }
    for _ in 0..source.range(2, 5) {
        let (params, results) = *source.pick(signatures);
        let mut scope = Scope::new();
        for (local, ty) in params.iter().enumerate() {
            scope.variable(*ty, local as u32);
        }
        let mut body = Body::new(params.len());
        for result in results {
            scope.expression(*result, 1, &mut body, source);
        }
        sketch.add(params, results, body);
    }
    (0..sketch.function_count()).collect()
}

/// An element segment, and how many items it has.
#[derive(Clone, Copy)]
struct Segment {
    index: u32,
    length: u32,
}

/// Puts functions at some slots of the tables, and leaves others null. Returns the segments.
fn fill(
    sketch: &mut Sketch,
    sizes: &[u32],
    functions: &[u32],
    source: &mut Source<'_>,
) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (table, size) in sizes.iter().enumerate() {
        for _ in 0..source.range(1, 2) {
            let offset = source.below(*size + 1);
            let length = source.below(size - offset + 1);
            let items: Vec<u32> = (0..length).map(|_| *source.pick(functions)).collect();
            let index = sketch.active_elements(table as u32, offset, &items);
            segments.push(Segment { index, length });
        }
    }
    segments
}

/// Puts nulls at some slots of the first table, of externrefs, where there are nulls already.
fn fill_with_null(sketch: &mut Sketch, sizes: &[u32], source: &mut Source<'_>) -> Segment {
    let size = sizes[0];
    let length = source.range(1, 4).min(size);
    let offset = source.below(size - length + 1);
    let null = ConstExpr::ref_null(HeapType::EXTERN);
    let items = vec![null; length as usize];
    let index = sketch.elements_of(ValType::ExternRef, Some((0, offset)), items);
    Segment { index, length }
}

/// A table that functions are called in.
#[derive(Clone, Copy)]
struct Called {
    table: u32,
    /// The size that it starts with.
    size: u32,
    /// Whether it grows before calls, by functions of the type that is called.
    grows: bool,
}

/// How many of 100 functions that call what is in a table come behind one that has it grow.
const GROWS_PERCENT: u32 = 25;

/// A module about `call_indirect`: to functions of the right type and of others, to null and past
/// the end, in slots that were there from the start and in those that a table has grown by. With tail
/// calls, it is mostly about those.
pub(super) fn calls(beyond: Beyond, source: &mut Source<'_>) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let functions = functions(&mut sketch, beyond, source);
    let sizes = tables(&mut sketch, ValType::FuncRef, source);
    fill(&mut sketch, &sizes, &functions, source);
    let mut named = Vec::new();
    for at in 0..source.range(2, 4) {
        let function = *source.pick(&functions);
        let ty = sketch.type_of(function);
        let signature = sketch.func_type(ty).clone();
        let table = source.below(sizes.len() as u32);
        let size = sizes[table as usize];
        let grows = source.percent(GROWS_PERCENT);
        let called = Called { table, size, grows };
        if grows {
            let grower = grower(&mut sketch, function, table, source);
            sketch.export(&format!("grow{at}"), grower);
            named.push(function);
        }

        if beyond.tail_calls && source.percent(70) {
            let caller = tail_caller(&mut sketch, function, called, source);
            sketch.export(&format!("call{at}"), caller);
            continue;
        }
        let mut params = vec![ValType::I32];
        params.extend_from_slice(&signature.params);
        let mut body = Body::new(params.len());
        for param in 1..params.len() as u32 {
            body.push(Instruction::LocalGet(param));
        }
        element(called, &mut body, source);
        body.push(Instruction::CallIndirect {
            type_index: ty,
            table_index: table,
        });
        // The same call in tail position of a branch, and its results dropped.
        if source.percent(20) {
            for _ in &signature.results {
                body.push(Instruction::Drop);
            }
            for param in 1..params.len() as u32 {
                body.push(Instruction::LocalGet(param));
            }
            body.push(Instruction::I32Const(source.below(size + 1) as i32));
            body.push(Instruction::CallIndirect {
                type_index: ty,
                table_index: table,
            });
        }
        let caller = sketch.add(&params, &signature.results, body);
        sketch.export(&format!("call{at}"), caller);
    }
    if source.percent(60) {
        dispatch(&mut sketch, source);
    }
    if !named.is_empty() {
        sketch.declare_elements(&named);
    }
    sketch.finish()
}

/// A function that has a table grow by a few slots with a function in them, and says what came of it.
fn grower(sketch: &mut Sketch, function: u32, table: u32, source: &mut Source<'_>) -> u32 {
    let mut body = Body::new(1);
    body.push(Instruction::RefFunc(function));
    if source.percent(40) {
        body.push(Instruction::I32Const(source.range(1, 3) as i32));
    } else {
        body.extend(&[
            Instruction::LocalGet(0),
            Instruction::I32Const(3),
            Instruction::I32And,
        ]);
    }
    body.push(Instruction::TableGrow(table));
    sketch.add(&[ValType::I32], &[ValType::I32], body)
}

/// A function that leaves by a tail call, of a function or of what is in a table, with some of the
/// arguments passed on and some its own, so that it has less of them on its stack or more.
fn tail_caller(sketch: &mut Sketch, function: u32, called: Called, source: &mut Source<'_>) -> u32 {
    let ty = sketch.type_of(function);
    let signature = sketch.func_type(ty).clone();
    let mut params = vec![ValType::I32];
    match source.below(3) {
        0 => {}
        1 => params.extend_from_slice(&signature.params),
        _ => params.extend_from_slice(source.pick(&SIGNATURES_OF_TAIL_CALLS).0),
    }
    let mut scope = Scope::new();
    for (local, ty) in params.iter().enumerate() {
        scope.variable(*ty, local as u32);
    }
    let mut body = Body::new(params.len());
    for param in &signature.params {
        scope.expression(*param, 1, &mut body, source);
    }
    let direct = source.percent(35);
    if direct {
        body.push(Instruction::ReturnCall(function));
    } else {
        element(called, &mut body, source);
        body.push(Instruction::ReturnCallIndirect {
            type_index: ty,
            table_index: called.table,
        });
    }
    sketch.add(&params, &signature.results, body)
}

/// Emits an index from the first parameter: around the size of the table, mostly inside. Where it grows, mostly
/// one of its last two slots, whatever its size is then, and at times the first beyond.
fn element(called: Called, body: &mut Body, source: &mut Source<'_>) {
    let Called { table, size, grows } = called;
    if grows && source.percent(70) {
        body.extend(&[
            Instruction::TableSize(table),
            Instruction::LocalGet(0),
            Instruction::I32Const(1),
            Instruction::I32And,
            Instruction::I32Sub,
        ]);
        if source.percent(85) {
            body.extend(&[Instruction::I32Const(1), Instruction::I32Sub]);
        }
        return;
    }
    body.push(Instruction::LocalGet(0));
    match source.below(8) {
        0 => {}
        1 => {
            body.push(Instruction::Drop);
            body.push(Instruction::I32Const(source.below(size + 2) as i32));
        }
        2 => {
            body.extend(&[
                Instruction::I32Const(3),
                Instruction::I32And,
                Instruction::I32Const(size as i32 - 2),
                Instruction::I32Add,
            ]);
        }
        _ => {
            body.extend(&[
                Instruction::I32Const(size.max(1) as i32),
                Instruction::I32RemU,
            ]);
        }
    }
}

/// A function that branches through a table of labels.
fn dispatch(sketch: &mut Sketch, source: &mut Source<'_>) {
    let labels = source.range(1, 9);
    let mut body = Body::new(1);
    for _ in 0..=labels {
        body.push(Instruction::Block(BlockType::Empty));
    }
    let targets: Vec<u32> = (0..source.below(12))
        .map(|_| source.below(labels))
        .collect();
    body.push(Instruction::LocalGet(0));
    if source.percent(40) {
        body.push(Instruction::I32Const(source.below(32) as i32));
        body.push(Instruction::I32Sub);
    }
    body.push(Instruction::BrTable(
        targets.as_slice().into(),
        source.below(labels),
    ));
    for label in 0..=labels {
        body.push(Instruction::End);
        body.push(Instruction::I32Const(100 + label as i32));
        if label < labels {
            body.push(Instruction::Return);
        }
    }
    let function = sketch.add(&[ValType::I32], &[ValType::I32], body);
    sketch.export("dispatch", function);
}

/// A module about table and reference instructions.
pub(super) fn accesses(source: &mut Source<'_>) -> Vec<u8> {
    let mut sketch = Sketch::default();
    let functions = functions(&mut sketch, Beyond::default(), source);
    let element = if source.percent(EXTERNREF_PERCENT) {
        ValType::ExternRef
    } else {
        ValType::FuncRef
    };
    let sizes = tables(&mut sketch, element, source);
    let items: Vec<Option<u32>> = (0..source.below(8))
        .map(|_| {
            (element == ValType::FuncRef && source.percent(80)).then(|| *source.pick(&functions))
        })
        .collect();
    let mut gone = Vec::new();
    if element == ValType::FuncRef {
        gone = fill(&mut sketch, &sizes, &functions, source);
        gone.push(Segment {
            index: sketch.declare_elements(&functions),
            length: functions.len() as u32,
        });
    } else {
        gone.push(fill_with_null(&mut sketch, &sizes, source));
    }
    gone.retain(|segment| segment.length > 0);
    let passive = Segment {
        index: sketch.passive_elements(element, &items),
        length: items.len() as u32,
    };
    let global = sketch.global(
        Origin::Defined,
        element,
        true,
        &ConstExpr::ref_null(heap(element)),
    );
    let subject = Subject {
        sizes,
        element,
        functions,
        passive,
        gone,
        global,
    };
    source.list(2, 4, |source| {
        let mut body = Body::new(4);
        let results = subject.instruction(&mut body, source);
        let function = sketch.add(
            &[ValType::I32, ValType::I32, ValType::I32, element],
            &results,
            body,
        );
        sketch.export(&format!("function{function}"), function);
    });
    sketch.finish()
}

/// The tables a module is about. Its functions take three numbers and a reference.
struct Subject {
    sizes: Vec<u32>,
    element: ValType,
    functions: Vec<u32>,
    passive: Segment,
    /// Segments that are active or declared, so that they are dropped when the module is instantiated, and
    /// have something in them.
    gone: Vec<Segment>,
    global: u32,
}

impl Subject {
    /// Emits one instruction over the parameters, and says what it returns.
    fn instruction(&self, body: &mut Body, source: &mut Source<'_>) -> Vec<ValType> {
        let table = source.below(self.sizes.len() as u32);
        let other = source.below(self.sizes.len() as u32);
        let size = self.sizes[table as usize];
        match source.below(14) {
            0 | 1 => {
                self.index(0, size, body, source);
                body.push(Instruction::TableGet(table));
                return vec![self.element];
            }
            2 => {
                self.index(0, size, body, source);
                body.push(Instruction::TableGet(table));
                body.push(Instruction::RefIsNull);
                return vec![ValType::I32];
            }
            3 | 4 => {
                self.index(0, size, body, source);
                self.reference(body, source);
                body.push(Instruction::TableSet(table));
            }
            5 => {
                self.reference(body, source);
                body.push(Instruction::LocalGet(0));
                if source.percent(80) {
                    body.extend(&[Instruction::I32Const(7), Instruction::I32And]);
                }
                body.push(Instruction::TableGrow(table));
                body.push(Instruction::TableSize(table));
                return vec![ValType::I32; 2];
            }
            6 => {
                self.index(0, size, body, source);
                self.reference(body, source);
                self.length(body, source);
                body.push(Instruction::TableFill(table));
            }
            7 | 8 => {
                self.index(0, size, body, source);
                self.index(1, self.sizes[other as usize], body, source);
                self.length(body, source);
                body.push(Instruction::TableCopy {
                    src_table: other,
                    dst_table: table,
                });
            }
            9 | 10 => {
                let segment = self.segment(source);
                self.index(0, size, body, source);
                self.index(1, segment.length, body, source);
                self.length(body, source);
                body.push(Instruction::TableInit {
                    elem_index: segment.index,
                    table,
                });
            }
            11 => {
                body.push(Instruction::ElemDrop(self.segment(source).index));
                body.push(Instruction::TableSize(table));
                return vec![ValType::I32];
            }
            12 => {
                self.reference(body, source);
                self.reference(body, source);
                body.push(Instruction::LocalGet(0));
                body.push(Instruction::TypedSelect(encoded(self.element)));
                body.push(Instruction::GlobalSet(self.global));
                body.push(Instruction::GlobalGet(self.global));
                return vec![self.element];
            }
            _ => {
                // A slot moved to another, through a local.
                self.index(0, size, body, source);
                self.index(1, self.sizes[other as usize], body, source);
                body.push(Instruction::TableGet(other));
                body.push(Instruction::LocalTee(3));
                body.push(Instruction::TableSet(table));
                body.push(Instruction::LocalGet(3));
                return vec![self.element];
            }
        }
        Vec::new()
    }

    /// A segment: the passive one, or at times one that is gone.
    fn segment(&self, source: &mut Source<'_>) -> Segment {
        match source.percent(GONE_PERCENT) && !self.gone.is_empty() {
            true => *source.pick(&self.gone),
            false => self.passive,
        }
    }

    /// Emits an index from a parameter: mostly inside `size`, at times the first outside.
    fn index(&self, param: u32, size: u32, body: &mut Body, source: &mut Source<'_>) {
        body.push(Instruction::LocalGet(param));
        if source.percent(90) {
            let bound = size + u32::from(source.percent(40));
            body.push(Instruction::I32Const(bound.max(1) as i32));
            body.push(Instruction::I32RemU);
        }
    }

    /// Emits a length from the third parameter.
    fn length(&self, body: &mut Body, source: &mut Source<'_>) {
        body.push(Instruction::LocalGet(2));
        if source.percent(90) {
            let mask = *source.pick(&[0, 1, 3, 7]);
            body.extend(&[Instruction::I32Const(mask), Instruction::I32And]);
        }
    }

    /// Emits a reference: the parameter, null, or a function.
    fn reference(&self, body: &mut Body, source: &mut Source<'_>) {
        let kind = source.below(4);
        body.push(match (kind, self.element) {
            (0, ValType::ExternRef) => Instruction::RefNull(HeapType::EXTERN),
            (0, _) => Instruction::RefNull(HeapType::FUNC),
            (1, ValType::FuncRef) => Instruction::RefFunc(*source.pick(&self.functions)),
            (2, _) => Instruction::GlobalGet(self.global),
            _ => Instruction::LocalGet(3),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Module;
    use crate::case::module::SegmentMode;

    fn printed(wasm: &[u8]) -> String {
        wasmprinter::print_bytes(wasm).expect("valid")
    }

    #[test]
    fn segments_of_all_modes_are_named_for_tables_of_both_types() {
        let mut counts = [[0; 3]; 2];
        for seed in 0..1_000 {
            let wasm = accesses(&mut Source::new(&[], seed));
            let module = Module::from_wasm(&wasm, None).expect("valid");
            let of_functions = module.tables[0].element == ValType::FuncRef;
            for line in printed(&wasm).lines().map(str::trim) {
                let named = line.starts_with("table.init ") || line.starts_with("elem.drop ");
                let segment = line.split(' ').next_back().filter(|_| named);
                let Some(Ok(segment)) = segment.map(str::parse::<usize>) else {
                    continue;
                };
                let mode = match &module.elements[segment].mode {
                    SegmentMode::Passive => 0,
                    SegmentMode::Active { .. } => 1,
                    SegmentMode::Declared => 2,
                };
                counts[usize::from(of_functions)][mode] += 1;
            }
        }
        let [[passive, active, declared], of_functions] = counts;
        assert!(passive > 100 && active > 50 && declared == 0, "{counts:?}");
        assert!(of_functions.iter().all(|count| *count > 20), "{counts:?}");
    }

    #[test]
    fn tables_grow_before_functions_in_their_last_slots_are_called() {
        let (mut calls_of_last, mut tail_calls_of_last) = (0, 0);
        for seed in 0..500 {
            let beyond = Beyond::all_if(seed % 2 == 0);
            let text = printed(&calls(beyond, &mut Source::new(&[], seed)));
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for window in lines.windows(2) {
                let is_last = window[0] == "i32.sub";
                calls_of_last += u32::from(is_last && window[1].starts_with("call_indirect"));
                tail_calls_of_last +=
                    u32::from(is_last && window[1].starts_with("return_call_indirect"));
            }
        }
        assert!(
            calls_of_last > 80 && tail_calls_of_last > 20,
            "{calls_of_last} {tail_calls_of_last}"
        );
    }
}
