//! From a [`Program`] back to a module, with what was removed left out and indices closed up.

use std::collections::BTreeSet;

use parallax_oracles::Value;
use wasm_encoder::{
    CodeSection, ConstExpr as EncodedExpr, DataCountSection, DataSection, ElementSection,
    Elements as EncodedElements, Encode, EntityType, ExportKind, ExportSection, FunctionSection,
    GlobalSection, ImportSection, Instruction, MemorySection, StartSection, TableSection,
    TypeSection,
};

use super::op::{Op, Signature, Space, constant};
use super::program::{Function, Item, Program};
use crate::case::module::{
    Arithmetic, ConstExpr, ConstOp, Extern, FuncType, GlobalType, MemoryType, SegmentMode,
    TableType,
};
use crate::generate::sketch::{encoded, reference};

impl Program {
    /// The binary. None if something refers to what was removed; whether it is a valid module else,
    /// is to be seen.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut encoder = Encoder {
            functions: numbers(&self.functions),
            tables: numbers(&self.tables),
            memories: numbers(&self.memories),
            globals: numbers(&self.globals),
            elements: present(self.elements.iter().map(Option::is_some)),
            data: present(self.data.iter().map(Option::is_some)),
            program: self,
            types: Vec::new(),
        };
        encoder.module()
    }
}

/// The index of every item of a space, imports first; none for what is left out.
pub(super) fn numbers<T>(items: &[Item<T>]) -> Vec<Option<u32>> {
    let mut next = 0;
    let mut numbers = vec![None; items.len()];
    for imported in [true, false] {
        for (item, number) in items.iter().zip(&mut numbers) {
            if !item.removed && item.import.is_some() == imported {
                *number = Some(next);
                next += 1;
            }
        }
    }
    numbers
}

fn present(items: impl Iterator<Item = bool>) -> Vec<Option<u32>> {
    let mut next = 0..;
    items
        .map(|present| present.then(|| next.next()).flatten())
        .collect()
}

/// A program being encoded.
struct Encoder<'p> {
    program: &'p Program,
    functions: Vec<Option<u32>>,
    tables: Vec<Option<u32>>,
    memories: Vec<Option<u32>>,
    globals: Vec<Option<u32>>,
    elements: Vec<Option<u32>>,
    data: Vec<Option<u32>>,
    /// The types in use so far.
    types: Vec<FuncType>,
}

impl Encoder<'_> {
    fn module(&mut self) -> Option<Vec<u8>> {
        let program = self.program;
        let imports = self.imports();
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        for function in defined(&program.functions) {
            functions.function(self.type_of(&function.ty));
            code.raw(&self.body(function)?);
        }
        let mut tables = TableSection::new();
        for table in defined(&program.tables) {
            match &table.init {
                None => tables.table(table_type(table.ty)),
                Some(init) => tables.table_with_init(table_type(table.ty), &self.expr(init)?),
            };
        }
        let mut memories = MemorySection::new();
        for memory in defined(&program.memories) {
            memories.memory(memory_type(*memory));
        }
        let mut globals = GlobalSection::new();
        for global in defined(&program.globals) {
            globals.global(global_type(global.ty), &self.expr(&global.init)?);
        }
        let mut exports = ExportSection::new();
        for (name, item) in &program.exports {
            let (kind, index) = self.external(*item)?;
            exports.export(name, kind, index);
        }
        let elements = self.elements()?;
        let data = self.data()?;

        // Last, since all of the above uses types.
        let mut types = TypeSection::new();
        for ty in &self.types {
            types.ty().function(
                ty.params.iter().map(|ty| encoded(*ty)),
                ty.results.iter().map(|ty| encoded(*ty)),
            );
        }
        let mut module = wasm_encoder::Module::new();
        module.section(&types);
        module.section(&imports);
        module.section(&functions);
        module.section(&tables);
        module.section(&memories);
        module.section(&globals);
        module.section(&exports);
        if let Some(start) = program.start {
            module.section(&StartSection {
                function_index: self.index(Space::Function, start)?,
            });
        }
        module.section(&elements);
        if !data.is_empty() {
            module.section(&DataCountSection { count: data.len() });
        }
        module.section(&code);
        module.section(&data);
        Some(module.finish())
    }

    fn imports(&mut self) -> ImportSection {
        let mut section = ImportSection::new();
        let program = self.program;
        for ((module, name), function) in imported(&program.functions) {
            let ty = self.type_of(&function.ty);
            section.import(module, name, EntityType::Function(ty));
        }
        for ((module, name), table) in imported(&program.tables) {
            section.import(module, name, EntityType::Table(table_type(table.ty)));
        }
        for ((module, name), memory) in imported(&program.memories) {
            section.import(module, name, EntityType::Memory(memory_type(*memory)));
        }
        for ((module, name), global) in imported(&program.globals) {
            section.import(module, name, EntityType::Global(global_type(global.ty)));
        }
        section
    }

    fn body(&mut self, function: &Function) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        // Groups of locals of one type.
        let groups: Vec<(u32, wasm_encoder::ValType)> = function
            .locals
            .chunk_by(|one, other| one == other)
            .map(|group| (group.len() as u32, encoded(group[0])))
            .collect();
        groups.len().encode(&mut bytes);
        for (count, ty) in groups {
            count.encode(&mut bytes);
            ty.encode(&mut bytes);
        }
        for op in &function.code {
            self.op(op)?.encode(&mut bytes);
        }
        Some(bytes)
    }

    /// An instruction with the indices that it has in the module.
    fn op(&mut self, op: &Op) -> Option<Op> {
        let mut op = op.clone();
        let mut all = true;
        op.for_each_index(|space, index| match self.index(space, *index) {
            Some(number) => *index = number,
            None => all = false,
        });
        // A block without parameters and with one result at most needs no function type.
        if let Op::Block(Signature::Type(ty))
        | Op::Loop(Signature::Type(ty))
        | Op::If(Signature::Type(ty)) = op
            && self.types.get(ty as usize).is_none()
        {
            all = false;
        }
        all.then_some(op)
    }

    fn elements(&mut self) -> Option<ElementSection> {
        let mut section = ElementSection::new();
        for segment in self.program.elements.iter().flatten() {
            let items: Option<Vec<EncodedExpr>> =
                segment.items.iter().map(|item| self.expr(item)).collect();
            let items = EncodedElements::Expressions(reference(segment.element), items?.into());
            match &segment.mode {
                SegmentMode::Passive => section.passive(items),
                SegmentMode::Declared => section.declared(items),
                SegmentMode::Active { target, offset } => {
                    let table = self.index(Space::Table, *target)?;
                    section.active(Some(table), &self.expr(offset)?, items)
                }
            };
        }
        let undeclared = self.undeclared()?;
        if !undeclared.is_empty() {
            section.declared(EncodedElements::Functions(undeclared.into()));
        }
        Some(section)
    }

    /// The functions that code takes references to and that nothing outside of code names, which the
    /// format forbids.
    fn undeclared(&mut self) -> Option<Vec<u32>> {
        let program = self.program;
        let mut referred = BTreeSet::new();
        for function in defined(&program.functions) {
            for op in &function.code {
                if let Op::RefFunc(function) = op {
                    referred.insert(*function);
                }
            }
        }
        for (_, item) in &program.exports {
            if let Extern::Func(function) = item {
                referred.remove(function);
            }
        }
        let elements = program.elements.iter().flatten();
        let globals = defined(&program.globals).map(|global| &global.init);
        let tables = defined(&program.tables).filter_map(|table| table.init.as_ref());
        for expr in elements
            .flat_map(|segment| &segment.items)
            .chain(globals)
            .chain(tables)
        {
            for op in &expr.0 {
                if let ConstOp::RefFunc(function) = op {
                    referred.remove(function);
                }
            }
        }
        let indices = referred.into_iter();
        indices
            .map(|function| self.index(Space::Function, function))
            .collect()
    }

    fn data(&mut self) -> Option<DataSection> {
        let mut section = DataSection::new();
        for segment in self.program.data.iter().flatten() {
            let bytes = segment.bytes.iter().copied();
            match &segment.mode {
                SegmentMode::Active { target, offset } => {
                    let memory = self.index(Space::Memory, *target)?;
                    section.active(memory, &self.expr(offset)?, bytes);
                }
                SegmentMode::Passive | SegmentMode::Declared => {
                    section.passive(bytes);
                }
            }
        }
        Some(section)
    }

    fn expr(&mut self, expr: &ConstExpr) -> Option<EncodedExpr> {
        let mut bytes = Vec::new();
        for op in &expr.0 {
            match op {
                ConstOp::Value(value) => {
                    constant(*value, |instruction| instruction.encode(&mut bytes));
                }
                ConstOp::GlobalGet(global) => {
                    Op::GlobalGet(self.index(Space::Global, *global)?).encode(&mut bytes);
                }
                ConstOp::Arithmetic(operation) => arithmetic(*operation).encode(&mut bytes),
                ConstOp::RefFunc(function) => {
                    Op::RefFunc(self.index(Space::Function, *function)?).encode(&mut bytes);
                }
            }
        }
        Some(EncodedExpr::raw(bytes))
    }

    fn external(&mut self, item: Extern) -> Option<(ExportKind, u32)> {
        let (space, index) = item.space_and_index();
        let kind = match item {
            Extern::Func(_) => ExportKind::Func,
            Extern::Table(_) => ExportKind::Table,
            Extern::Memory(_) => ExportKind::Memory,
            Extern::Global(_) => ExportKind::Global,
        };
        Some((kind, self.index(space, index)?))
    }

    /// The index in the module of an item of the program.
    fn index(&mut self, space: Space, index: u32) -> Option<u32> {
        let numbers = match space {
            Space::Function => &self.functions,
            Space::Table => &self.tables,
            Space::Memory => &self.memories,
            Space::Global => &self.globals,
            Space::Elements => &self.elements,
            Space::Data => &self.data,
            Space::Type => {
                let ty = self.program.types.get(index as usize)?;
                return Some(self.type_of(ty));
            }
        };
        *numbers.get(index as usize)?
    }

    /// The index of a type, which is one of the module's from then on.
    fn type_of(&mut self, ty: &FuncType) -> u32 {
        let known = self.types.iter().position(|known| known == ty);
        known.unwrap_or_else(|| {
            self.types.push(ty.clone());
            self.types.len() - 1
        }) as u32
    }
}

fn arithmetic(operation: Arithmetic) -> Instruction<'static> {
    match operation {
        Arithmetic::I32Add => Instruction::I32Add,
        Arithmetic::I32Sub => Instruction::I32Sub,
        Arithmetic::I32Mul => Instruction::I32Mul,
        Arithmetic::I64Add => Instruction::I64Add,
        Arithmetic::I64Sub => Instruction::I64Sub,
        Arithmetic::I64Mul => Instruction::I64Mul,
    }
}

fn defined<T>(items: &[Item<T>]) -> impl Iterator<Item = &T> {
    items
        .iter()
        .filter(|item| !item.removed && item.import.is_none())
        .map(|item| &item.what)
}

fn imported<T>(items: &[Item<T>]) -> impl Iterator<Item = ((&str, &str), &T)> {
    items
        .iter()
        .filter(|item| !item.removed)
        .filter_map(|item| {
            let (module, name) = item.import.as_ref()?;
            Some(((&**module, &**name), &item.what))
        })
}

fn table_type(ty: TableType) -> wasm_encoder::TableType {
    wasm_encoder::TableType {
        element_type: reference(ty.element),
        minimum: ty.min,
        maximum: ty.max,
        table64: false,
        shared: false,
    }
}

fn memory_type(ty: MemoryType) -> wasm_encoder::MemoryType {
    wasm_encoder::MemoryType {
        minimum: ty.min,
        maximum: ty.max,
        memory64: ty.memory64,
        shared: false,
        page_size_log2: None,
    }
}

fn global_type(ty: GlobalType) -> wasm_encoder::GlobalType {
    wasm_encoder::GlobalType {
        val_type: encoded(ty.value),
        mutable: ty.mutable,
        shared: false,
    }
}

/// So that what a constant is can be asked of an instruction.
pub(super) fn is_zero(value: &Value) -> bool {
    matches!(
        value,
        Value::I32(0)
            | Value::I64(0)
            | Value::F32(0)
            | Value::F64(0)
            | Value::V128(0)
            | Value::Func(None)
            | Value::Extern(None)
    )
}
