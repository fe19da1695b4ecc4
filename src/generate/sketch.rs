//! A module being put together by one of our own generators, and the functions in it.

use std::borrow::Cow;

use wasm_encoder::{
    CodeSection, ConstExpr, DataCountSection, DataSection, ElementSection, Elements, Encode,
    EntityType, ExportKind, ExportSection, FunctionSection, GlobalSection, HeapType, ImportSection,
    Instruction, MemArg, MemArgTarget, MemorySection, RefType, StartSection, TableSection,
    TypeSection,
};

use super::rng::Rng;
use super::source::Source;
use crate::case::module::{FuncType, MemoryType, ValType};
use parallax_oracles::Value;

/// Of how many of 100 modules what is imported is larger than what is asked for.
const MORE_PERCENT: u32 = 20;

/// A module. What is imported must be added before what is defined of the same kind, as index
/// spaces want it; indices are given out in order.
#[derive(Default)]
pub struct Sketch {
    /// By how much imported memories and tables are larger than what is asked for.
    more: u32,
    types: Vec<FuncType>,
    imports: ImportSection,
    functions: Vec<u32>,
    imported_functions: u32,
    tables: TableSection,
    table_count: u32,
    memories: MemorySection,
    memory_count: u32,
    globals: GlobalSection,
    global_count: u32,
    exports: ExportSection,
    start: Option<u32>,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
}

/// Where something comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The host.
    Imported,
    /// The module.
    Defined,
}

impl Sketch {
    /// The index of a function type.
    pub fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let found = self
            .types
            .iter()
            .position(|ty| ty.params == params && ty.results == results);
        found.unwrap_or_else(|| {
            self.types.push(FuncType {
                params: params.to_vec(),
                results: results.to_vec(),
            });
            self.types.len() - 1
        }) as u32
    }

    /// Imports a function.
    pub fn import_function(&mut self, module: &str, name: &str, ty: u32) -> u32 {
        debug_assert_eq!(self.functions.len(), self.imported_functions as usize);
        self.imports.import(module, name, EntityType::Function(ty));
        self.functions.push(ty);
        self.imported_functions += 1;
        self.imported_functions - 1
    }

    /// Declares a function; bodies follow with [`Sketch::body`] in the same order.
    pub fn function(&mut self, ty: u32) -> u32 {
        self.functions.push(ty);
        self.functions.len() as u32 - 1
    }

    /// The number of functions so far.
    pub fn function_count(&self) -> u32 {
        self.functions.len() as u32
    }

    /// The type index of a function.
    pub fn type_of(&self, function: u32) -> u32 {
        self.functions[function as usize]
    }

    /// The structure of a type.
    pub fn func_type(&self, ty: u32) -> &FuncType {
        &self.types[ty as usize]
    }

    /// Adds the body of the next function.
    pub fn body(&mut self, body: Body) {
        self.code.raw(&body.finish());
    }

    /// Declares a function and adds its body.
    pub fn add(&mut self, params: &[ValType], results: &[ValType], body: Body) -> u32 {
        let ty = self.ty(params, results);
        self.body(body);
        self.function(ty)
    }

    /// Adds a memory that is addressed by i32; sizes in pages.
    pub fn memory(&mut self, origin: Origin, minimum: u64, maximum: Option<u64>) -> u32 {
        let ty = MemoryType {
            min: minimum,
            max: maximum,
            memory64: false,
        };
        let name = match self.memory_count {
            0 => "memory".to_string(),
            count => format!("memory{count}"),
        };
        self.memory_of(ty, origin, &name)
    }

    /// Adds a memory. Where it is imported, it is the same as another of this name and type.
    pub fn memory_of(&mut self, ty: MemoryType, origin: Origin, name: &str) -> u32 {
        let ty = wasm_encoder::MemoryType {
            minimum: ty.min,
            maximum: ty.max,
            memory64: ty.memory64,
            shared: false,
            page_size_log2: None,
        };
        match origin {
            Origin::Imported => {
                let name = self.imported(name);
                self.imports.import("host", &name, EntityType::Memory(ty));
            }
            Origin::Defined => {
                self.memories.memory(ty);
            }
        }
        self.memory_count += 1;
        self.memory_count - 1
    }

    /// The name under which the host has a memory or table as large as it is to be.
    fn imported(&self, name: &str) -> String {
        match self.more {
            0 => name.to_string(),
            more => format!("{name}+{more}"),
        }
    }

    /// Has what is imported from now on be larger than what is asked for, at times.
    pub fn draw_more(&mut self, source: &mut Source<'_>) {
        if source.percent(MORE_PERCENT) {
            self.more = source.range(1, 2);
        }
    }

    /// Adds a table; sizes in elements.
    pub fn table(
        &mut self,
        origin: Origin,
        element: ValType,
        minimum: u32,
        maximum: Option<u32>,
    ) -> u32 {
        let ty = wasm_encoder::TableType {
            element_type: reference(element),
            minimum: u64::from(minimum),
            maximum: maximum.map(u64::from),
            table64: false,
            shared: false,
        };
        match origin {
            Origin::Imported => {
                let name = self.imported(&format!("table{}", self.table_count));
                self.imports.import("host", &name, EntityType::Table(ty));
            }
            Origin::Defined => {
                self.tables.table(ty);
            }
        }
        self.table_count += 1;
        self.table_count - 1
    }

    /// Adds a global; `value` starts it where the module defines it.
    pub fn global(&mut self, origin: Origin, ty: ValType, mutable: bool, value: &ConstExpr) -> u32 {
        let ty = wasm_encoder::GlobalType {
            val_type: encoded(ty),
            mutable,
            shared: false,
        };
        match origin {
            Origin::Imported => {
                let name = format!("global{}", self.global_count);
                self.imports.import("host", &name, EntityType::Global(ty));
            }
            Origin::Defined => {
                self.globals.global(ty, value);
            }
        }
        self.global_count += 1;
        self.global_count - 1
    }

    /// Exports a function.
    pub fn export(&mut self, name: &str, function: u32) {
        self.exports.export(name, ExportKind::Func, function);
    }

    /// Makes a function the start function.
    pub fn start(&mut self, function: u32) {
        self.start = Some(function);
    }

    /// Adds functions to a table at instantiation.
    pub fn active_elements(&mut self, table: u32, offset: u32, functions: &[u32]) -> u32 {
        self.elements.active(
            (table != 0).then_some(table),
            &ConstExpr::i32_const(offset as i32),
            Elements::Functions(Cow::Borrowed(functions)),
        );
        self.elements.len() - 1
    }

    /// Adds a passive element segment; `None` is null.
    pub fn passive_elements(&mut self, element: ValType, items: &[Option<u32>]) -> u32 {
        let items: Vec<ConstExpr> = items
            .iter()
            .map(|item| match item {
                Some(function) => ConstExpr::ref_func(*function),
                None => ConstExpr::ref_null(heap(element)),
            })
            .collect();
        self.elements
            .passive(Elements::Expressions(reference(element), Cow::Owned(items)));
        self.elements.len() - 1
    }

    /// Adds an element segment of expressions: active, with table and offset, or passive.
    pub fn elements_of(
        &mut self,
        element: ValType,
        target: Option<(u32, u32)>,
        items: Vec<ConstExpr>,
    ) -> u32 {
        let items = Elements::Expressions(reference(element), Cow::Owned(items));
        match target {
            Some((table, offset)) => {
                let offset = ConstExpr::i32_const(offset as i32);
                self.elements.active(Some(table), &offset, items);
            }
            None => {
                self.elements.passive(items);
            }
        }
        self.elements.len() - 1
    }

    /// Declares functions, so that `ref.func` may name them, by an element segment.
    pub fn declare_elements(&mut self, functions: &[u32]) -> u32 {
        self.elements
            .declared(Elements::Functions(Cow::Borrowed(functions)));
        self.elements.len() - 1
    }

    /// Writes bytes to memory 0 at instantiation, which is addressed by i32.
    pub fn active_data(&mut self, offset: u32, bytes: &[u8]) -> u32 {
        self.data_at(0, &ConstExpr::i32_const(offset as i32), bytes)
    }

    /// Writes bytes to a memory at instantiation.
    pub fn data_at(&mut self, memory: u32, offset: &ConstExpr, bytes: &[u8]) -> u32 {
        self.data.active(memory, offset, bytes.iter().copied());
        self.data.len() - 1
    }

    /// Adds a passive data segment.
    pub fn passive_data(&mut self, bytes: &[u8]) -> u32 {
        self.data.passive(bytes.iter().copied());
        self.data.len() - 1
    }

    /// The binary.
    pub fn finish(self) -> Vec<u8> {
        let mut module = wasm_encoder::Module::new();
        let mut types = TypeSection::new();
        for ty in &self.types {
            types.ty().function(
                ty.params.iter().map(|ty| encoded(*ty)),
                ty.results.iter().map(|ty| encoded(*ty)),
            );
        }
        module.section(&types);
        module.section(&self.imports);
        let mut functions = FunctionSection::new();
        for ty in &self.functions[self.imported_functions as usize..] {
            functions.function(*ty);
        }
        module.section(&functions);
        module.section(&self.tables);
        module.section(&self.memories);
        module.section(&self.globals);
        module.section(&self.exports);
        if let Some(function_index) = self.start {
            module.section(&StartSection { function_index });
        }
        module.section(&self.elements);
        if !self.data.is_empty() {
            module.section(&DataCountSection {
                count: self.data.len(),
            });
        }
        module.section(&self.code);
        module.section(&self.data);
        module.finish()
    }
}

/// The body of a function being written.
#[derive(Clone, Debug, Default)]
pub struct Body {
    params: u32,
    locals: Vec<ValType>,
    code: Vec<u8>,
}

impl Body {
    /// An empty body of a function with so many parameters.
    pub fn new(params: usize) -> Body {
        Body {
            params: params as u32,
            ..Body::default()
        }
    }

    /// Adds a local variable.
    pub fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        self.params + self.locals.len() as u32 - 1
    }

    /// Appends an instruction.
    pub fn push(&mut self, instruction: Instruction<'_>) -> &mut Body {
        instruction.encode(&mut self.code);
        self
    }

    /// Appends instructions.
    pub fn extend(&mut self, instructions: &[Instruction<'_>]) -> &mut Body {
        for instruction in instructions {
            instruction.encode(&mut self.code);
        }
        self
    }

    /// Bytes of code so far.
    pub fn size(&self) -> usize {
        self.code.len()
    }

    fn finish(mut self) -> Vec<u8> {
        self.push(Instruction::End);
        let mut bytes = Vec::with_capacity(self.code.len() + 2 * self.locals.len() + 5);
        self.locals.len().encode(&mut bytes);
        for ty in &self.locals {
            1u32.encode(&mut bytes);
            encoded(*ty).encode(&mut bytes);
        }
        bytes.extend_from_slice(&self.code);
        bytes
    }
}

/// An operand in some memory with no alignment promised.
pub fn mem_arg_of(memory: u32, offset: u64) -> MemArg {
    MemArg {
        offset,
        align: 0,
        target: MemArgTarget::Memory(memory),
        ordering: None,
    }
}

/// The instruction that pushes a number or vector; references become null.
pub fn constant(value: Value) -> Instruction<'static> {
    match value {
        Value::I32(value) => Instruction::I32Const(value),
        Value::I64(value) => Instruction::I64Const(value),
        Value::F32(bits) => Instruction::F32Const(f32::from_bits(bits).into()),
        Value::F64(bits) => Instruction::F64Const(f64::from_bits(bits).into()),
        Value::V128(bits) => Instruction::V128Const(bits as i128),
        Value::Func(_) => Instruction::RefNull(HeapType::FUNC),
        Value::Extern(_) | Value::Dangling => Instruction::RefNull(HeapType::EXTERN),
    }
}

/// The constant expression for a number or vector; references become null.
pub fn constant_expression(value: Value) -> ConstExpr {
    ConstExpr::extended([constant(value)])
}

/// The constant expression for an integer as what a sum, a difference or a product comes to, or as it is.
pub fn computed_constant(value: Value, rng: &mut Rng) -> ConstExpr {
    let other = match rng.below(3) {
        0 => rng.next_u64(),
        _ => rng.next_u64() >> 50,
    };
    let parts = match (value, rng.below(4)) {
        (Value::I32(value), 0) => {
            let other = other as i32;
            [
                Instruction::I32Const(value.wrapping_sub(other)),
                Instruction::I32Const(other),
                Instruction::I32Add,
            ]
        }
        (Value::I32(value), 1) => {
            let other = other as i32;
            [
                Instruction::I32Const(value.wrapping_add(other)),
                Instruction::I32Const(other),
                Instruction::I32Sub,
            ]
        }
        // Odd numbers have an inverse.
        (Value::I32(value), 2) => {
            let other = other as i32 | 1;
            [
                Instruction::I32Const(value.wrapping_mul(inverse(other as u64) as i32)),
                Instruction::I32Const(other),
                Instruction::I32Mul,
            ]
        }
        (Value::I64(value), 0) => [
            Instruction::I64Const(value.wrapping_sub(other as i64)),
            Instruction::I64Const(other as i64),
            Instruction::I64Add,
        ],
        (Value::I64(value), 1) => [
            Instruction::I64Const(value.wrapping_add(other as i64)),
            Instruction::I64Const(other as i64),
            Instruction::I64Sub,
        ],
        (Value::I64(value), 2) => {
            let other = other | 1;
            [
                Instruction::I64Const(value.wrapping_mul(inverse(other) as i64)),
                Instruction::I64Const(other as i64),
                Instruction::I64Mul,
            ]
        }
        _ => return constant_expression(value),
    };
    ConstExpr::extended(parts)
}

/// The inverse of an odd number, modulo 2^64 (and so modulo 2^32), by Newton's iteration.
fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    inverse
}

/// The plain load of a value of type `ty` from memory 0.
pub fn load(ty: ValType, offset: u32) -> Instruction<'static> {
    load_of(ty, 0, u64::from(offset))
}

/// The plain load of a value of type `ty` from some memory.
pub fn load_of(ty: ValType, memory: u32, offset: u64) -> Instruction<'static> {
    let memarg = mem_arg_of(memory, offset);
    match ty {
        ValType::I64 => Instruction::I64Load(memarg),
        ValType::F32 => Instruction::F32Load(memarg),
        ValType::F64 => Instruction::F64Load(memarg),
        ValType::V128 => Instruction::V128Load(memarg),
        _ => Instruction::I32Load(memarg),
    }
}

/// The plain store of a value of type `ty` to memory 0.
pub fn store(ty: ValType, offset: u32) -> Instruction<'static> {
    store_of(ty, 0, u64::from(offset))
}

/// The plain store of a value of type `ty` to some memory.
pub fn store_of(ty: ValType, memory: u32, offset: u64) -> Instruction<'static> {
    let memarg = mem_arg_of(memory, offset);
    match ty {
        ValType::I64 => Instruction::I64Store(memarg),
        ValType::F32 => Instruction::F32Store(memarg),
        ValType::F64 => Instruction::F64Store(memarg),
        ValType::V128 => Instruction::V128Store(memarg),
        _ => Instruction::I32Store(memarg),
    }
}

/// A value type as it is encoded.
pub fn encoded(ty: ValType) -> wasm_encoder::ValType {
    match ty {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::FuncRef | ValType::ExternRef => wasm_encoder::ValType::Ref(reference(ty)),
    }
}

/// The heap type of a reference type.
pub fn heap(ty: ValType) -> HeapType {
    match ty {
        ValType::ExternRef => HeapType::EXTERN,
        _ => HeapType::FUNC,
    }
}

/// A reference type as it is encoded.
pub fn reference(ty: ValType) -> RefType {
    match ty {
        ValType::ExternRef => RefType::EXTERNREF,
        _ => RefType::FUNCREF,
    }
}
