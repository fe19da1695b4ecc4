//! A module taken apart so that pieces can be taken out of it.
//!
//! Every item of an index space keeps its number for as long as the program lives. An item that is
//! removed leaves a gap, and indices close up when the program is encoded: imports first, as the
//! format wants it, types as they are used. So a reducer removes, replaces and defines items without
//! a thought for who else refers to them, and what refers to something removed is no module.

use std::collections::HashSet;

use wasmparser::{Parser, Payload};

use super::op::{Op, Space};
use crate::case::Module;
use crate::case::module::{
    ConstExpr, ConstOp, Extern, FuncType, GlobalType, ImportKind, MemoryType, SegmentMode,
    TableType, ValType,
};

/// A module taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    /// The name that a script gives it.
    pub name: Option<String>,
    /// The types that code refers to by number.
    pub types: Vec<FuncType>,
    pub functions: Vec<Item<Function>>,
    pub tables: Vec<Item<Table>>,
    pub memories: Vec<Item<MemoryType>>,
    pub globals: Vec<Item<Global>>,
    pub exports: Vec<(String, Extern)>,
    pub start: Option<u32>,
    pub elements: Vec<Option<Elements>>,
    pub data: Vec<Option<Data>>,
}

/// Something in an index space.
#[derive(Clone, Debug)]
pub(super) struct Item<T> {
    /// Whether it is left out.
    pub removed: bool,
    /// The module and field it is imported under; none if it is defined.
    pub import: Option<(String, String)>,
    pub what: T,
}

/// A function; its body means nothing where it is imported.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub ty: FuncType,
    /// Its local variables, without the parameters.
    pub locals: Vec<ValType>,
    /// Its instructions, with the last `end`.
    pub code: Vec<Op>,
}

/// A table; its initial value means nothing where it is imported.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub ty: TableType,
    pub init: Option<ConstExpr>,
}

/// A global; its initial value means nothing where it is imported.
#[derive(Clone, Debug)]
pub(super) struct Global {
    pub ty: GlobalType,
    pub init: ConstExpr,
}

/// An element segment.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    pub mode: SegmentMode,
    pub element: ValType,
    pub items: Vec<ConstExpr>,
}

/// A data segment.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub mode: SegmentMode,
    pub bytes: Vec<u8>,
}

impl<T> Item<T> {
    pub fn new(what: T) -> Item<T> {
        Item {
            removed: false,
            import: None,
            what,
        }
    }
}

impl Program {
    /// Takes a module apart. Of the exports that the normaliser added, those that `keep` accepts
    /// become exports of its own. None if it holds what modules may not use.
    pub fn new(module: &Module, keep: impl Fn(&str) -> bool) -> Option<Program> {
        let mut program = Program {
            name: module.name.clone(),
            types: module.types.clone(),
            exports: module.exports.clone(),
            start: module.start,
            ..Program::default()
        };
        for ty in &module.functions {
            let ty = module.types.get(*ty as usize)?.clone();
            program.functions.push(Item::new(Function {
                ty,
                ..Function::default()
            }));
        }
        let inits = without_imports(module.imported_tables(), &module.table_inits);
        for (ty, init) in module.tables.iter().zip(inits) {
            let init = init.and_then(Clone::clone);
            program.tables.push(Item::new(Table { ty: *ty, init }));
        }
        for ty in &module.memories {
            program.memories.push(Item::new(*ty));
        }
        let inits = without_imports(module.imported_globals(), &module.global_inits);
        for (ty, init) in module.globals.iter().zip(inits) {
            let init = init.cloned().unwrap_or_else(|| default_init(ty.value));
            program.globals.push(Item::new(Global { ty: *ty, init }));
        }
        program.imports(module)?;
        program.bodies(module)?;
        let named = program.named_elements();
        for (index, segment) in (0..).zip(&module.elements) {
            // What declares functions, and does nothing else, is made anew whenever a module is encoded.
            let declares = segment.mode == SegmentMode::Declared && !named.contains(&index);
            program.elements.push((!declares).then(|| Elements {
                mode: segment.mode.clone(),
                element: segment.element,
                items: segment.items.clone(),
            }));
        }
        for (index, segment) in module.data.iter().enumerate() {
            program.data.push(Some(Data {
                mode: segment.mode.clone(),
                bytes: module.data_bytes(index).to_vec(),
            }));
        }
        let added = module.function_exports.iter().zip(0..);
        let added = added.map(|(name, index)| (name, Extern::Func(index)));
        let globals = module.global_exports.iter().zip(0..);
        let globals = globals.map(|(name, index)| (name, Extern::Global(index)));
        for (name, item) in added.chain(globals) {
            if !name.is_empty() && keep(name) && module.export(name).is_none() {
                program.exports.push((name.clone(), item));
            }
        }
        Some(program)
    }

    /// Notes which items are imported.
    fn imports(&mut self, module: &Module) -> Option<()> {
        let mut next = [0; 4];
        for import in &module.imports {
            let name = Some((import.module.clone(), import.name.clone()));
            let (space, slot) = match import.kind {
                ImportKind::Func(_) => (0, &mut self.functions.get_mut(next[0])?.import),
                ImportKind::Table(_) => (1, &mut self.tables.get_mut(next[1])?.import),
                ImportKind::Memory(_) => (2, &mut self.memories.get_mut(next[2])?.import),
                ImportKind::Global(_) => (3, &mut self.globals.get_mut(next[3])?.import),
            };
            *slot = name;
            next[space] += 1;
        }
        Some(())
    }

    /// Decodes the bodies of its functions.
    fn bodies(&mut self, module: &Module) -> Option<()> {
        let mut function = module.imported_functions() as usize;
        for payload in Parser::new(0).parse_all(&module.wasm) {
            let Payload::CodeSectionEntry(body) = payload.ok()? else {
                continue;
            };
            let into = &mut self.functions.get_mut(function)?.what;
            function += 1;
            for group in body.get_locals_reader().ok()? {
                let (count, ty) = group.ok()?;
                let ty = val_type(ty)?;
                into.locals.resize(into.locals.len() + count as usize, ty);
            }
            let mut operators = body.get_operators_reader().ok()?;
            let (bytes, start) = (body.as_bytes(), body.range().start);
            while !operators.eof() {
                let from = operators.original_position() - start;
                let operator = operators.read().ok()?;
                let to = operators.original_position() - start;
                let bytes = &bytes[from as usize..to as usize];
                into.code.push(Op::new(&operator, bytes)?);
            }
        }
        Some(())
    }

    /// The element segments that code names.
    fn named_elements(&self) -> HashSet<u32> {
        let mut named = HashSet::new();
        let code = self.functions.iter().flat_map(|item| &item.what.code);
        for op in code.filter(|op| matches!(op, Op::TableInit { .. } | Op::ElemDrop(_))) {
            op.clone().for_each_index(|space, index| {
                if space == Space::Elements {
                    named.insert(*index);
                }
            });
        }
        named
    }

    /// Removes what nothing refers to that is exported, started, or shown by being changed: data and
    /// elements that are copied at instantiation keep what they are copied to. Says whether anything
    /// was removed.
    pub fn remove_unused(&mut self) -> bool {
        let used = self.used();
        let mut removed = false;
        let mut sweep = |gone: &mut bool, used: bool| {
            removed |= !used && !*gone;
            *gone |= !used;
        };
        for (index, item) in self.functions.iter_mut().enumerate() {
            sweep(&mut item.removed, used[Space::Function as usize][index]);
            if item.removed {
                // So that nobody takes it for one that calls another.
                item.what.code.clear();
            }
        }
        for (index, item) in self.tables.iter_mut().enumerate() {
            sweep(&mut item.removed, used[Space::Table as usize][index]);
        }
        for (index, item) in self.memories.iter_mut().enumerate() {
            sweep(&mut item.removed, used[Space::Memory as usize][index]);
        }
        for (index, item) in self.globals.iter_mut().enumerate() {
            sweep(&mut item.removed, used[Space::Global as usize][index]);
        }
        for (index, segment) in self.elements.iter_mut().enumerate() {
            if segment.is_some() && !used[Space::Elements as usize][index] {
                *segment = None;
                removed = true;
            }
        }
        for (index, segment) in self.data.iter_mut().enumerate() {
            if segment.is_some() && !used[Space::Data as usize][index] {
                *segment = None;
                removed = true;
            }
        }
        removed
    }

    /// What can be reached, by space and index.
    fn used(&self) -> [Vec<bool>; Space::COUNT] {
        let mut used: [Vec<bool>; Space::COUNT] = Default::default();
        used[Space::Function as usize] = vec![false; self.functions.len()];
        used[Space::Table as usize] = vec![false; self.tables.len()];
        used[Space::Memory as usize] = vec![false; self.memories.len()];
        used[Space::Global as usize] = vec![false; self.globals.len()];
        used[Space::Elements as usize] = vec![false; self.elements.len()];
        used[Space::Data as usize] = vec![false; self.data.len()];
        used[Space::Type as usize] = vec![false; self.types.len()];
        let mut waiting: Vec<(Space, u32)> = self
            .start
            .map(|it| (Space::Function, it))
            .into_iter()
            .collect();
        waiting.extend(self.exports.iter().map(|(_, item)| item.space_and_index()));
        loop {
            while let Some((space, index)) = waiting.pop() {
                match used[space as usize].get_mut(index as usize) {
                    Some(used) if !*used => *used = true,
                    _ => continue,
                }
                self.refers_to(space, index as usize, &mut waiting);
            }
            // A segment that is copied is used if what it is copied to is.
            for (index, segment) in self.elements.iter().enumerate() {
                if let Some(Elements {
                    mode: SegmentMode::Active { target, .. },
                    ..
                }) = segment
                    && used[Space::Table as usize].get(*target as usize) == Some(&true)
                    && !used[Space::Elements as usize][index]
                {
                    waiting.push((Space::Elements, index as u32));
                }
            }
            for (index, segment) in self.data.iter().enumerate() {
                if let Some(Data {
                    mode: SegmentMode::Active { target, .. },
                    ..
                }) = segment
                    && used[Space::Memory as usize].get(*target as usize) == Some(&true)
                    && !used[Space::Data as usize][index]
                {
                    waiting.push((Space::Data, index as u32));
                }
            }
            if waiting.is_empty() {
                return used;
            }
        }
    }

    /// What an item refers to.
    fn refers_to(&self, space: Space, index: usize, to: &mut Vec<(Space, u32)>) {
        match space {
            Space::Function => {
                let function = &self.functions[index];
                if function.import.is_none() {
                    for instruction in &function.what.code {
                        let mut instruction = instruction.clone();
                        instruction.for_each_index(|space, index| to.push((space, *index)));
                    }
                }
            }
            Space::Table => {
                if let Some(init) = &self.tables[index].what.init {
                    of_const(init, to);
                }
            }
            Space::Global => of_const(&self.globals[index].what.init, to),
            Space::Elements => {
                if let Some(segment) = &self.elements[index] {
                    of_mode(&segment.mode, Space::Table, to);
                    for item in &segment.items {
                        of_const(item, to);
                    }
                }
            }
            Space::Data => {
                if let Some(segment) = &self.data[index] {
                    of_mode(&segment.mode, Space::Memory, to);
                }
            }
            Space::Memory | Space::Type => {}
        }
    }

    /// The functions that it defines and still has.
    pub fn defined_functions(&self) -> impl Iterator<Item = usize> + '_ {
        let functions = self.functions.iter().enumerate();
        functions
            .filter(|(_, function)| !function.removed && function.import.is_none())
            .map(|(index, _)| index)
    }

    /// The function exported under a name.
    pub fn exported_function(&self, name: &str) -> Option<usize> {
        self.exports.iter().find_map(|(export, item)| match item {
            Extern::Func(function) if export == name => Some(*function as usize),
            _ => None,
        })
    }

    /// The number of its instructions, without the `end` of each function.
    pub fn instructions(&self) -> usize {
        self.defined_functions()
            .map(|function| self.functions[function].what.code.len().saturating_sub(1))
            .sum()
    }
}

impl Extern {
    pub(super) fn space_and_index(self) -> (Space, u32) {
        match self {
            Extern::Func(index) => (Space::Function, index),
            Extern::Table(index) => (Space::Table, index),
            Extern::Memory(index) => (Space::Memory, index),
            Extern::Global(index) => (Space::Global, index),
        }
    }
}

/// The initial values of all items of a space, given those of the defined ones.
fn without_imports<T>(imported: u32, inits: &[T]) -> impl Iterator<Item = Option<&T>> {
    std::iter::repeat_n(None, imported as usize).chain(inits.iter().map(Some))
}

/// An expression for the value that a local of this type starts with.
pub(super) fn default_init(ty: ValType) -> ConstExpr {
    ConstExpr(vec![ConstOp::Value(ty.default_value())])
}

fn of_const(expr: &ConstExpr, to: &mut Vec<(Space, u32)>) {
    for op in &expr.0 {
        match op {
            ConstOp::GlobalGet(global) => to.push((Space::Global, *global)),
            ConstOp::RefFunc(function) => to.push((Space::Function, *function)),
            ConstOp::Value(_) | ConstOp::Arithmetic(_) => {}
        }
    }
}

fn of_mode(mode: &SegmentMode, space: Space, to: &mut Vec<(Space, u32)>) {
    if let SegmentMode::Active { target, offset } = mode {
        to.push((space, *target));
        of_const(offset, to);
    }
}

/// A value type, if WebAssembly 2.0 has it.
pub(super) fn val_type(ty: wasmparser::ValType) -> Option<ValType> {
    Some(match ty {
        wasmparser::ValType::I32 => ValType::I32,
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        wasmparser::ValType::V128 => ValType::V128,
        wasmparser::ValType::FUNCREF => ValType::FuncRef,
        wasmparser::ValType::EXTERNREF => ValType::ExternRef,
        wasmparser::ValType::Ref(_) => return None,
    })
}
