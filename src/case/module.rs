//! A module, decoded once into what engines and generators need to know of it besides its code.
//!
//! Everything here is data of our own: no type of a decoder crate shows, so that the decoder
//! (`case::decode`) can be replaced without touching an engine.

use std::collections::HashMap;
use std::ops::Range;

use parallax_oracles::Value;

use super::opcodes::OpcodeSet;

/// A normalised module: every memory, table, global and function it defines is exported.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Module {
    /// The binary, normalised.
    pub wasm: Vec<u8>,
    /// The script's or file's name for it, if any.
    pub name: Option<String>,
    /// The function types, by type index.
    pub types: Vec<FuncType>,
    /// The imports, in order.
    pub imports: Vec<Import>,
    /// The type index of every function, imported ones first.
    pub functions: Vec<u32>,
    /// Every table, imported ones first.
    pub tables: Vec<TableType>,
    /// Every memory, imported ones first.
    pub memories: Vec<MemoryType>,
    /// Every global, imported ones first.
    pub globals: Vec<GlobalType>,
    /// The initial value of every table the module defines.
    pub table_inits: Vec<Option<ConstExpr>>,
    /// The initial value of every global the module defines.
    pub global_inits: Vec<ConstExpr>,
    /// The exports the module came with, by name.
    pub exports: Vec<(String, Extern)>,
    /// Under which name each function is exported after normalisation, by function index. Empty
    /// for imported functions that the module does not itself export.
    pub function_exports: Vec<String>,
    /// The same for tables.
    pub table_exports: Vec<String>,
    /// The same for memories.
    pub memory_exports: Vec<String>,
    /// The same for globals.
    pub global_exports: Vec<String>,
    /// The start function.
    pub start: Option<u32>,
    /// Element segments, in order.
    pub elements: Vec<ElementSegment>,
    /// Data segments, in order.
    pub data: Vec<DataSegment>,
    /// Names of functions from the name section, for people.
    pub function_names: HashMap<u32, String>,
    /// Whether any type, table, global or instruction of the module has `externref` in it.
    pub uses_externref: bool,
    /// Which instructions the code holds.
    pub opcodes: OpcodeSet,
}

/// A function type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct FuncType {
    /// Parameters.
    pub params: Vec<ValType>,
    /// Results.
    pub results: Vec<ValType>,
}

impl FuncType {
    /// The type of what a host function of this type calls back: it takes what follows the first parameter, and
    /// gives the same.
    pub fn called_back(&self) -> FuncType {
        FuncType {
            params: self.params.iter().skip(1).copied().collect(),
            results: self.results.clone(),
        }
    }
}

/// A value type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ValType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// A 128-bit vector.
    V128,
    /// A nullable reference to a function.
    FuncRef,
    /// A nullable reference to a host object.
    ExternRef,
}

impl ValType {
    /// The value that a local of this type starts with.
    pub fn default_value(self) -> Value {
        match self {
            ValType::I32 => Value::I32(0),
            ValType::I64 => Value::I64(0),
            ValType::F32 => Value::F32(0),
            ValType::F64 => Value::F64(0),
            ValType::V128 => Value::V128(0),
            ValType::FuncRef => Value::Func(None),
            ValType::ExternRef => Value::Extern(None),
        }
    }
}

/// A memory's type. Sizes are in pages of 64 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemoryType {
    /// The initial size.
    pub min: u64,
    /// The largest size it may grow to.
    pub max: Option<u64>,
    /// Whether it is addressed, and its size told, by i64 instead of i32.
    pub memory64: bool,
}

impl MemoryType {
    /// The type of addresses.
    pub fn index_type(&self) -> ValType {
        match self.memory64 {
            true => ValType::I64,
            false => ValType::I32,
        }
    }
}

/// A table's type. Sizes are in elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TableType {
    /// The type of its elements, a reference.
    pub element: ValType,
    /// The initial size.
    pub min: u64,
    /// The largest size it may grow to.
    pub max: Option<u64>,
}

/// A global's type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GlobalType {
    /// The type of its value.
    pub value: ValType,
    /// Whether it may be set.
    pub mutable: bool,
}

/// An import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The module named.
    pub module: String,
    /// The field named.
    pub name: String,
    /// What is imported.
    pub kind: ImportKind,
}

/// What an import asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportKind {
    /// A function of the type with this index.
    Func(u32),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
}

/// Something in one of a module's index spaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Extern {
    /// A function.
    Func(u32),
    /// A table.
    Table(u32),
    /// A memory.
    Memory(u32),
    /// A global.
    Global(u32),
}

/// A constant expression: a little stack machine that leaves one value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConstExpr(pub Vec<ConstOp>);

/// An instruction of a constant expression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConstOp {
    /// Pushes this value (numbers, vectors and null references).
    Value(Value),
    /// Pushes the value of a global.
    GlobalGet(u32),
    /// Pushes a reference to a function.
    RefFunc(u32),
    /// Pops two integers and pushes what they come to.
    Arithmetic(Arithmetic),
}

/// Arithmetic in a constant expression, on integers that wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named as the instructions are")]
pub enum Arithmetic {
    I32Add,
    I32Sub,
    I32Mul,
    I64Add,
    I64Sub,
    I64Mul,
}

impl Arithmetic {
    /// The result, of operands as bits; those of an i32 are zero-extended, before and after.
    pub fn compute(self, a: u64, b: u64) -> u64 {
        let wide = match self {
            Arithmetic::I32Add | Arithmetic::I64Add => a.wrapping_add(b),
            Arithmetic::I32Sub | Arithmetic::I64Sub => a.wrapping_sub(b),
            Arithmetic::I32Mul | Arithmetic::I64Mul => a.wrapping_mul(b),
        };
        match self {
            Arithmetic::I32Add | Arithmetic::I32Sub | Arithmetic::I32Mul => wide & 0xffff_ffff,
            Arithmetic::I64Add | Arithmetic::I64Sub | Arithmetic::I64Mul => wide,
        }
    }
}

/// An element segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementSegment {
    /// What is to be done with it at instantiation.
    pub mode: SegmentMode,
    /// The type of its items.
    pub element: ValType,
    /// The items.
    pub items: Vec<ConstExpr>,
}

/// A data segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataSegment {
    /// What is to be done with it at instantiation.
    pub mode: SegmentMode,
    /// Where its bytes lie in [`Module::wasm`].
    pub bytes: Range<usize>,
}

/// What is done with a segment at instantiation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SegmentMode {
    /// Nothing; `table.init` or `memory.init` may use it.
    Passive,
    /// Nothing, and it is dropped at once.
    Declared,
    /// It is copied, then dropped.
    Active {
        /// The table or memory.
        target: u32,
        /// Where to, as an i32, or an i64 for a memory that is addressed so.
        offset: ConstExpr,
    },
}

/// Why bytes are not a module we can run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message} (at offset {offset:#x})")]
pub struct DecodeError {
    /// What is wrong.
    pub message: String,
    /// Where in the binary, in bytes.
    pub offset: usize,
}

impl Module {
    /// The names under which the items of this kind are exported, by index.
    pub fn exports_of(&self, kind: &ImportKind) -> &[String] {
        match kind {
            ImportKind::Func(_) => &self.function_exports,
            ImportKind::Table(_) => &self.table_exports,
            ImportKind::Memory(_) => &self.memory_exports,
            ImportKind::Global(_) => &self.global_exports,
        }
    }

    /// The number of imported functions.
    pub fn imported_functions(&self) -> u32 {
        self.count_imports(|kind| matches!(kind, ImportKind::Func(_)))
    }

    /// The number of imported tables.
    pub fn imported_tables(&self) -> u32 {
        self.count_imports(|kind| matches!(kind, ImportKind::Table(_)))
    }

    /// The number of imported memories.
    pub fn imported_memories(&self) -> u32 {
        self.count_imports(|kind| matches!(kind, ImportKind::Memory(_)))
    }

    /// The number of imported globals.
    pub fn imported_globals(&self) -> u32 {
        self.count_imports(|kind| matches!(kind, ImportKind::Global(_)))
    }

    fn count_imports(&self, wanted: impl Fn(&ImportKind) -> bool) -> u32 {
        self.imports
            .iter()
            .filter(|import| wanted(&import.kind))
            .count() as u32
    }

    /// The type of a function, by function index.
    pub fn function_type(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize] as usize]
    }

    /// What the module exports under a name it came with.
    pub fn export(&self, name: &str) -> Option<Extern> {
        self.exports
            .iter()
            .find(|(export, _)| export == name)
            .map(|(_, item)| *item)
    }

    /// The bytes of a data segment, by data index.
    pub fn data_bytes(&self, segment: usize) -> &[u8] {
        &self.wasm[self.data[segment].bytes.clone()]
    }
}
