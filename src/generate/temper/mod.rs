//! Makes a module of wasm-smith's end, and worth running.
//!
//! What wasm-smith makes is valid, but mostly dead: code that may trap does so within a few
//! instructions, code that may not is full of checks that hide what is checked, element segments
//! are empty, so that every `call_indirect` meets null, and the fuel that ends endless loops is
//! not renewed, so that after one of them every later call traps at once. This pass rewrites a
//! module in one go:
//!
//! - **fuel**: a global is counted down at every function entry, loop header and bulk operation.
//!   Where it falls below zero it is filled up again and the call traps, so that the next call
//!   runs. The cost of an entry also bounds the depth of recursion;
//! - **tame** code: operands that are about to be out of bounds are masked or reduced so that
//!   most are inside and some just outside, divisors are mostly not zero, conversions mostly
//!   saturate, most `unreachable`s are gone;
//! - memories and function tables have room, element segments have elements, and function tables
//!   hold functions at slots where `call_indirect` can find one of the type it asks for.
//!
//! How much of it happens is drawn for each module, so that raw modules keep coming too.

mod body;
mod flow;
mod operands;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{ConstExpr, Elements, FuncType, GlobalType, RefType, SectionId, ValType};

use super::GenerateError;
use super::rng::Rng;

/// Fuel that entering a function costs; a loop iteration costs 1.
const ENTRY_COST: u32 = 12;

/// Slots of a table for functions of one type: [`SLOTS_OF_TYPE`] hold one, the last any other.
const GROUP: u32 = 4;

/// See [`GROUP`].
const SLOTS_OF_TYPE: u32 = 3;

/// What to do to a module.
#[derive(Clone, Debug)]
pub struct Temper {
    /// Fuel between two renewals: about this many loop iterations.
    pub fuel: u32,
    /// In how many of 100 places operands are tamed.
    pub tame: u32,
    /// In how many of 100 places calls and branches are tamed.
    pub flow: u32,
    /// In how many of 100 places a variable that is set is also stored to memory.
    pub stores: u32,
    /// In how many of 100 places a value is loaded from memory in the place of a variable's.
    pub loads: u32,
    /// Whether NaNs are made canonical where their bits would show.
    pub canonicalise: bool,
    /// Whether `externref` may stay; if not, it becomes `funcref` everywhere.
    pub externref: bool,
    /// The smallest size of a table of functions, in elements.
    pub table_min: u32,
}

/// Rewrites a module.
///
/// # Errors
/// [`GenerateError`] if `wasm` cannot be parsed.
pub fn temper(wasm: &[u8], temper: &Temper, rng: Rng) -> Result<Vec<u8>, GenerateError> {
    let mut pass = Pass {
        temper,
        rng,
        types: Vec::new(),
        functions: Vec::new(),
        imported_functions: 0,
        tables: Vec::new(),
        memories: Vec::new(),
        globals: 0,
        fuel_global: None,
        elements_written: false,
        groups: Vec::new(),
        next_body: 0,
    };
    let mut module = wasm_encoder::Module::new();
    pass.parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)
        .map_err(|error| GenerateError(format!("wasm-smith: {error}")))?;
    Ok(module.finish())
}

/// A table, as far as code is concerned.
#[derive(Clone, Copy, Debug)]
struct Table {
    funcref: bool,
    minimum: u32,
}

/// A memory, as far as code is concerned.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Pages that it has at least.
    pages: u32,
    /// Whether it is addressed by i64.
    memory64: bool,
}

/// Slots `base..base + GROUP` of a table: functions of `ty`, then another one.
#[derive(Clone, Copy, Debug)]
struct Group {
    table: u32,
    base: u32,
    /// The first type index of this structure.
    ty: u32,
}

struct Pass<'a> {
    temper: &'a Temper,
    rng: Rng,
    types: Vec<FuncType>,
    functions: Vec<u32>,
    imported_functions: u32,
    tables: Vec<Table>,
    memories: Vec<Memory>,
    globals: u32,
    fuel_global: Option<u32>,
    elements_written: bool,
    groups: Vec<Group>,
    next_body: usize,
}

type Result_<T> = Result<T, Error<Infallible>>;

impl Pass<'_> {
    /// The first type index of the same structure as `ty`.
    fn canonical_type(&self, ty: u32) -> u32 {
        let Some(wanted) = self.types.get(ty as usize) else {
            return ty;
        };
        self.types
            .iter()
            .position(|other| other == wanted)
            .map_or(ty, |index| index as u32)
    }

    fn add_fuel_global(&mut self, globals: &mut wasm_encoder::GlobalSection) {
        self.fuel_global = Some(self.globals);
        globals.global(
            GlobalType {
                val_type: ValType::I32,
                mutable: true,
                shared: false,
            },
            &ConstExpr::i32_const(self.temper.fuel as i32),
        );
    }

    /// Adds a segment to every table of functions: groups of slots for the types of the module's
    /// functions. A segment that did not fit would make instantiation trap.
    fn add_groups(&mut self, elements: &mut wasm_encoder::ElementSection) {
        self.elements_written = true;
        if self.functions.is_empty() {
            return;
        }
        for table in 0..self.tables.len() as u32 {
            let Table { funcref, minimum } = self.tables[table as usize];
            let room = minimum / GROUP;
            if !funcref || room == 0 || self.rng.percent(10) {
                continue;
            }
            // Imported functions come first in the index space; start somewhere else each time.
            let start = self.rng.below(self.functions.len() as u32);
            let mut slots = Vec::with_capacity(minimum as usize);
            for step in 0..self.functions.len() as u32 {
                let function = (start + step) % self.functions.len() as u32;
                let ty = self.canonical_type(self.functions[function as usize]);
                let known = |group: &Group| group.table == table && group.ty == ty;
                if self.groups.iter().any(known) {
                    continue;
                }
                if slots.len() as u32 / GROUP == room {
                    break;
                }
                self.groups.push(Group {
                    table,
                    base: slots.len() as u32,
                    ty,
                });
                self.push_group(function, ty, &mut slots);
            }
            elements.active(
                (table != 0).then_some(table),
                &ConstExpr::i32_const(0),
                Elements::Functions(Cow::Owned(slots)),
            );
        }
    }

    /// Slots for functions of canonical type `ty`, `first` the first of them.
    fn push_group(&mut self, first: u32, ty: u32, slots: &mut Vec<u32>) {
        let count = self.functions.len() as u32;
        let mut of_type = (0..count)
            .map(|step| (first + step) % count)
            .filter(|function| self.canonical_type(self.functions[*function as usize]) == ty)
            .cycle();
        for _ in 0..SLOTS_OF_TYPE {
            slots.push(of_type.next().unwrap_or(first));
        }
        let other = self.rng.below(count);
        slots.push(other);
    }
}

impl Reencode for Pass<'_> {
    type Error = Infallible;

    fn abstract_heap_type(
        &mut self,
        ty: wasmparser::AbstractHeapType,
    ) -> Result_<wasm_encoder::AbstractHeapType> {
        if ty == wasmparser::AbstractHeapType::Extern && !self.temper.externref {
            return Ok(wasm_encoder::AbstractHeapType::Func);
        }
        Ok(utils::abstract_heap_type(self, ty))
    }

    fn func_type(&mut self, ty: wasmparser::FuncType) -> Result_<FuncType> {
        let ty = utils::func_type(self, ty)?;
        self.types.push(ty.clone());
        Ok(ty)
    }

    fn memory_type(&mut self, ty: wasmparser::MemoryType) -> Result_<wasm_encoder::MemoryType> {
        let mut ty = utils::memory_type(self, ty);
        if ty.minimum == 0 && self.rng.percent(self.temper.tame) {
            ty.minimum = 1;
            ty.maximum = ty.maximum.map(|maximum| maximum.max(1));
        }
        self.memories.push(Memory {
            pages: ty.minimum as u32,
            memory64: ty.memory64,
        });
        Ok(ty)
    }

    fn table_type(&mut self, ty: wasmparser::TableType) -> Result_<wasm_encoder::TableType> {
        let mut ty = utils::table_type(self, ty)?;
        let funcref = ty.element_type == RefType::FUNCREF;
        if funcref && self.rng.percent(self.temper.tame) {
            ty.minimum = ty.minimum.max(u64::from(self.temper.table_min));
            ty.maximum = ty.maximum.map(|maximum| maximum.max(ty.minimum));
        }
        self.tables.push(Table {
            funcref,
            minimum: ty.minimum as u32,
        });
        Ok(ty)
    }

    fn global_type(&mut self, ty: wasmparser::GlobalType) -> Result_<GlobalType> {
        self.globals += 1;
        utils::global_type(self, ty)
    }

    fn parse_imports(
        &mut self,
        section: &mut wasm_encoder::ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Result_<()> {
        if let wasmparser::Imports::Single(_, import) = &imports
            && let wasmparser::TypeRef::Func(ty) = import.ty
        {
            self.functions.push(ty);
            self.imported_functions += 1;
        }
        utils::parse_imports(self, section, imports)
    }

    fn parse_function_section(
        &mut self,
        section: &mut wasm_encoder::FunctionSection,
        reader: wasmparser::FunctionSectionReader<'_>,
    ) -> Result_<()> {
        for ty in reader {
            let ty = ty?;
            self.functions.push(ty);
            section.function(ty);
        }
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut wasm_encoder::GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result_<()> {
        utils::parse_global_section(self, globals, section)?;
        self.add_fuel_global(globals);
        Ok(())
    }

    fn parse_element_section(
        &mut self,
        elements: &mut wasm_encoder::ElementSection,
        section: wasmparser::ElementSectionReader<'_>,
    ) -> Result_<()> {
        utils::parse_element_section(self, elements, section)?;
        self.add_groups(elements);
        Ok(())
    }

    fn parse_element(
        &mut self,
        elements: &mut wasm_encoder::ElementSection,
        element: wasmparser::Element<'_>,
    ) -> Result_<()> {
        let empty = match &element.items {
            wasmparser::ElementItems::Functions(items) => items.count() == 0,
            wasmparser::ElementItems::Expressions(_, items) => items.count() == 0,
        };
        let passive = !matches!(element.kind, wasmparser::ElementKind::Active { .. });
        let ty = match &element.items {
            wasmparser::ElementItems::Functions(_) => RefType::FUNCREF,
            wasmparser::ElementItems::Expressions(ty, _) => self.ref_type(*ty)?,
        };
        if !empty || !passive {
            return utils::parse_element(self, elements, element);
        }
        let length = self.rng.below(12);
        let items = if ty == RefType::FUNCREF && !self.functions.is_empty() {
            let functions = self.functions.len() as u32;
            Elements::Functions((0..length).map(|_| self.rng.below(functions)).collect())
        } else {
            let null = ConstExpr::ref_null(ty.heap_type);
            Elements::Expressions(ty, (0..length).map(|_| null.clone()).collect())
        };
        match element.kind {
            wasmparser::ElementKind::Declared => elements.declared(items),
            _ => elements.passive(items),
        };
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut wasm_encoder::Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result_<()> {
        let globals_due = !matches!(
            before,
            Some(
                SectionId::Type
                    | SectionId::Import
                    | SectionId::Function
                    | SectionId::Table
                    | SectionId::Memory
                    | SectionId::Global
            )
        );
        if globals_due && self.fuel_global.is_none() {
            let mut globals = wasm_encoder::GlobalSection::new();
            self.add_fuel_global(&mut globals);
            module.section(&globals);
        }
        let elements_due = matches!(
            before,
            Some(SectionId::DataCount | SectionId::Code | SectionId::Data) | None
        );
        if elements_due && !self.elements_written {
            let mut elements = wasm_encoder::ElementSection::new();
            self.add_groups(&mut elements);
            if !elements.is_empty() {
                module.section(&elements);
            }
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut wasm_encoder::CodeSection,
        function: wasmparser::FunctionBody<'_>,
    ) -> Result_<()> {
        let index = self.imported_functions as usize + self.next_body;
        self.next_body += 1;
        code.raw(&self.rewrite_body(index as u32, function)?);
        Ok(())
    }
}
