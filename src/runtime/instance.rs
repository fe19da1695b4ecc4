//! Instances, and the things they share: memories, tables, globals, functions.
//!
//! A thing is made once, by an instance or by the host, and numbered in its store. Its
//! *definition*, the words that generated code reads, lies in the vmctx of the instance that made
//! it or, for the host's, in a block of its own.

use std::rc::Rc;

use parallax_oracles::{Entity, FuncIdentity};

use super::block::Block;
use super::memory::Memory;
use super::table::Table;
use crate::case::Module;
use crate::case::module::{GlobalType, MemoryType, TableType};
use crate::codegen::CompiledModule;
use crate::translate::layout::VmLayout;

/// A module that has been compiled and whose code is loaded.
#[derive(Debug)]
pub struct LoadedModule<'case> {
    /// The module.
    pub module: &'case Module,
    /// Its vmctx.
    pub layout: VmLayout,
    /// Its code's metadata.
    pub compiled: CompiledModule,
    /// The address of its code.
    pub base: u64,
}

/// Where a definition lies.
pub enum Site {
    /// In an instance's vmctx.
    Instance {
        /// The instance.
        instance: u32,
        /// The offset in its vmctx.
        offset: u32,
    },
    /// In a block of the host's.
    Host(Block),
}

/// A memory of a store.
pub struct MemoryEntry {
    /// The memory.
    pub memory: Memory,
    /// Where its definition lies.
    pub site: Site,
    /// The type it was made with.
    pub ty: MemoryType,
    /// What it is called in observations.
    pub entity: Entity,
}

/// A table of a store.
pub struct TableEntry {
    /// The table.
    pub table: Table,
    /// Where its definition lies.
    pub site: Site,
    /// The type it was made with.
    pub ty: TableType,
    /// What it is called in observations.
    pub entity: Entity,
}

/// A global of a store.
pub struct GlobalEntry {
    /// Where it lies.
    pub site: Site,
    /// Its type.
    pub ty: GlobalType,
    /// What it is called in observations.
    pub entity: Entity,
}

/// A function as an instance sees it.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its code.
    pub code: u64,
    /// The vmctx that belongs to it.
    pub vmctx: u64,
    /// The store-wide id of its type.
    pub type_id: u32,
    /// Who it is.
    pub identity: FuncIdentity,
}

/// An instance.
pub struct Instance<'case> {
    /// What it was made from.
    pub loaded: Rc<LoadedModule<'case>>,
    /// Its vmctx.
    pub vmctx: Block,
    /// Its functions, by function index.
    pub functions: Vec<Function>,
    /// Its tables, by table index, as numbers in the store.
    pub tables: Vec<u32>,
    /// Its memories, by memory index, as numbers in the store.
    pub memories: Vec<u32>,
    /// Its globals, by global index, as numbers in the store.
    pub globals: Vec<u32>,
    /// Whether it came into being without a trap. What a failed instance left in shared tables
    /// still runs on it, but no step can name it.
    pub usable: bool,
    /// Which element segments have been dropped.
    pub dropped_elements: Vec<bool>,
    /// Which data segments have been dropped.
    pub dropped_data: Vec<bool>,
}
