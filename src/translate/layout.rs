//! The layout of the vmctx, computed in one place.
//!
//! The vmctx is the block of memory that generated code reaches everything through. The runtime
//! writes it, generated code reads it, and both ask this file where things are. All values are
//! little-endian and naturally aligned; pointers are 64 bits.
//!
//! ```text
//! head             magic: u32, instance: u32
//!                  interrupts: *VmInterrupts        stack limit, interrupt word, last exit
//!                  activations: *VmActivationsTable next, end of the bump region
//!                  store: *Store                    for the runtime only
//! builtins         [address; builtins]              see crate::translate::builtins
//! signature ids    [u32; types]                     by type index
//! function imports [{ body, vmctx }]                by function index
//! table imports    [{ from: *table definition, vmctx }]
//! memory imports   [{ from: *memory definition, vmctx }]
//! global imports   [{ from: *global definition }]
//! tables           [{ base, current_elements: u32 }]
//! memories         [{ base, current_length: usize }]
//! globals          [16 bytes, 16-aligned]
//! anyfuncs         [{ func_ptr, type_id: u32, vmctx }]  by function index, imported ones too
//! ```

use super::builtins::Builtin;
use crate::case::Module;

/// The first four bytes of every vmctx: `plx1`.
pub const VMCTX_MAGIC: u32 = u32::from_le_bytes(*b"plx1");

/// The same of every host context, which is passed to host functions in place of a vmctx: `plxh`.
pub const HOST_CONTEXT_MAGIC: u32 = u32::from_le_bytes(*b"plxh");

/// Bytes of a pointer on every ISA that is supported.
pub const POINTER_BYTES: u32 = 8;

/// Fields at the head of every vmctx.
pub mod head {
    /// `u32`: [`super::VMCTX_MAGIC`], or [`super::HOST_CONTEXT_MAGIC`].
    pub const MAGIC: u32 = 0;
    /// `u32`: the instance's number in its store.
    pub const INSTANCE: u32 = 4;
    /// Pointer to the store's `VmInterrupts`; never changes.
    pub const INTERRUPTS: u32 = 8;
    /// Pointer to the store's `VmActivationsTable`; never changes.
    pub const ACTIVATIONS: u32 = 16;
    /// Pointer to the store; generated code never reads it.
    pub const STORE: u32 = 24;
    /// The first builtin's address.
    pub const BUILTINS: u32 = 32;
}

/// Fields of `VmInterrupts`.
pub mod interrupts {
    /// `usize`: the lowest address the stack may reach, or [`super::INTERRUPTED`].
    pub const STACK_LIMIT: u32 = 0;
    /// `usize`: the frame pointer of the wasm frame that called out last.
    pub const EXIT_FRAME_POINTER: u32 = 8;
    /// `usize`: the address in wasm code to which that call returns.
    pub const EXIT_RETURN_ADDRESS: u32 = 16;
    /// Bytes of these fields.
    pub const SIZE: u32 = 24;
}

/// Fields of `VmActivationsTable`.
pub mod activations {
    /// Pointer to the next free slot of the bump region.
    pub const NEXT: u32 = 0;
    /// Pointer behind its last slot.
    pub const END: u32 = 8;
}

/// Fields of a table definition.
pub mod table_definition {
    /// Pointer to the elements.
    pub const BASE: u32 = 0;
    /// `u32`: the current number of elements.
    pub const CURRENT_ELEMENTS: u32 = 8;
    /// Bytes of a definition.
    pub const SIZE: u32 = 16;
}

/// Fields of a memory definition.
pub mod memory_definition {
    /// Pointer to byte 0.
    pub const BASE: u32 = 0;
    /// `usize`: the current length in bytes.
    pub const CURRENT_LENGTH: u32 = 8;
    /// Bytes of a definition.
    pub const SIZE: u32 = 16;
}

/// Fields of a function import.
pub mod function_import {
    /// Address of the code.
    pub const BODY: u32 = 0;
    /// The vmctx to pass as callee vmctx.
    pub const VMCTX: u32 = 8;
    /// Bytes of an import.
    pub const SIZE: u32 = 16;
}

/// Fields of a table or memory import.
pub mod definition_import {
    /// Pointer to the definition, wherever it is.
    pub const FROM: u32 = 0;
    /// The vmctx of whoever made it; null for the host.
    pub const VMCTX: u32 = 8;
    /// Bytes of an import.
    pub const SIZE: u32 = 16;
}

/// Bytes of a global import: one pointer.
pub const GLOBAL_IMPORT_SIZE: u32 = 8;

/// Bytes of a global definition.
pub const GLOBAL_SIZE: u32 = 16;

/// Fields of an anyfunc, to which a funcref points.
pub mod anyfunc {
    /// Address of the code.
    pub const FUNC_PTR: u32 = 0;
    /// `u32`: the store-wide id of its type.
    pub const TYPE_ID: u32 = 8;
    /// The vmctx to pass as callee vmctx.
    pub const VMCTX: u32 = 16;
    /// Bytes of a record.
    pub const SIZE: u32 = 24;
}

/// Fields of a host object, to which a non-null externref points.
pub mod host_object {
    /// `usize`: the reference count.
    pub const REF_COUNT: u32 = 0;
}

/// The value of the stack limit that means "interrupted": above every address a stack pointer can
/// have, so that function entries trap, and recognised by loop headers.
pub const INTERRUPTED: u64 = u64::MAX - (32 << 10);

/// Where everything is in the vmctx of one module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VmLayout {
    imported_functions: u32,
    imported_tables: u32,
    imported_memories: u32,
    imported_globals: u32,
    signature_ids: u32,
    function_imports: u32,
    table_imports: u32,
    memory_imports: u32,
    global_imports: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    anyfuncs: u32,
    size: u32,
    counts: Counts,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Counts {
    types: u32,
    functions: u32,
    tables: u32,
    memories: u32,
    globals: u32,
}

impl VmLayout {
    /// The layout for a module.
    pub fn new(module: &Module) -> VmLayout {
        let counts = Counts {
            types: module.types.len() as u32,
            functions: module.functions.len() as u32,
            tables: module.tables.len() as u32,
            memories: module.memories.len() as u32,
            globals: module.globals.len() as u32,
        };
        let imported_functions = module.imported_functions();
        let imported_tables = module.imported_tables();
        let imported_memories = module.imported_memories();
        let imported_globals = module.imported_globals();

        let mut next = head::BUILTINS + Builtin::ALL.len() as u32 * POINTER_BYTES;
        let mut area = |count: u32, size: u32, align: u32| {
            let start = next.next_multiple_of(align);
            next = start + count * size;
            start
        };
        let signature_ids = area(counts.types, 4, 4);
        let function_imports = area(imported_functions, function_import::SIZE, 8);
        let table_imports = area(imported_tables, definition_import::SIZE, 8);
        let memory_imports = area(imported_memories, definition_import::SIZE, 8);
        let global_imports = area(imported_globals, GLOBAL_IMPORT_SIZE, 8);
        let tables = area(counts.tables - imported_tables, table_definition::SIZE, 8);
        let memories = area(
            counts.memories - imported_memories,
            memory_definition::SIZE,
            8,
        );
        let globals = area(counts.globals - imported_globals, GLOBAL_SIZE, 16);
        let anyfuncs = area(counts.functions, anyfunc::SIZE, 8);
        VmLayout {
            imported_functions,
            imported_tables,
            imported_memories,
            imported_globals,
            signature_ids,
            function_imports,
            table_imports,
            memory_imports,
            global_imports,
            tables,
            memories,
            globals,
            anyfuncs,
            size: next.next_multiple_of(16),
            counts,
        }
    }

    /// Bytes of the whole vmctx; it is 16-aligned.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The address of a builtin.
    pub fn builtin(&self, builtin: Builtin) -> u32 {
        head::BUILTINS + builtin as u32 * POINTER_BYTES
    }

    /// The store-wide id of a type, by type index.
    pub fn signature_id(&self, ty: u32) -> u32 {
        debug_assert!(ty < self.counts.types);
        self.signature_ids + ty * 4
    }

    /// The import record of an imported function.
    pub fn function_import(&self, function: u32) -> u32 {
        debug_assert!(function < self.imported_functions);
        self.function_imports + function * function_import::SIZE
    }

    /// The import record of an imported table.
    pub fn table_import(&self, table: u32) -> u32 {
        debug_assert!(table < self.imported_tables);
        self.table_imports + table * definition_import::SIZE
    }

    /// The import record of an imported memory.
    pub fn memory_import(&self, memory: u32) -> u32 {
        debug_assert!(memory < self.imported_memories);
        self.memory_imports + memory * definition_import::SIZE
    }

    /// The pointer to an imported global.
    pub fn global_import(&self, global: u32) -> u32 {
        debug_assert!(global < self.imported_globals);
        self.global_imports + global * GLOBAL_IMPORT_SIZE
    }

    /// The definition of a table the module defines, by its number among those.
    pub fn table(&self, defined: u32) -> u32 {
        debug_assert!(defined < self.counts.tables - self.imported_tables);
        self.tables + defined * table_definition::SIZE
    }

    /// The definition of a memory the module defines, by its number among those.
    pub fn memory(&self, defined: u32) -> u32 {
        debug_assert!(defined < self.counts.memories - self.imported_memories);
        self.memories + defined * memory_definition::SIZE
    }

    /// The definition of a global the module defines, by its number among those.
    pub fn global(&self, defined: u32) -> u32 {
        debug_assert!(defined < self.counts.globals - self.imported_globals);
        self.globals + defined * GLOBAL_SIZE
    }

    /// The anyfunc of a function, imported or not.
    pub fn anyfunc(&self, function: u32) -> u32 {
        debug_assert!(function < self.counts.functions);
        self.anyfuncs + function * anyfunc::SIZE
    }

    /// The function whose anyfunc lies at an offset, if one does.
    pub fn function_of_anyfunc(&self, offset: u32) -> Option<u32> {
        let within = offset.checked_sub(self.anyfuncs)?;
        let function = within / anyfunc::SIZE;
        (within % anyfunc::SIZE == 0 && function < self.counts.functions).then_some(function)
    }

    /// The number of a table among those the module defines, or `None` if it is imported.
    pub fn defined_table(&self, table: u32) -> Option<u32> {
        table.checked_sub(self.imported_tables)
    }

    /// The number of a memory among those the module defines, or `None` if it is imported.
    pub fn defined_memory(&self, memory: u32) -> Option<u32> {
        memory.checked_sub(self.imported_memories)
    }

    /// The number of a global among those the module defines, or `None` if it is imported.
    pub fn defined_global(&self, global: u32) -> Option<u32> {
        global.checked_sub(self.imported_globals)
    }

    /// The number of a function among those the module defines, or `None` if it is imported.
    pub fn defined_function(&self, function: u32) -> Option<u32> {
        function.checked_sub(self.imported_functions)
    }

    /// Every field, as name, offset and bytes, in order; for tests and documentation.
    pub fn fields(&self) -> Vec<(String, u32, u32)> {
        let mut fields = vec![
            ("magic".to_string(), head::MAGIC, 4),
            ("instance".to_string(), head::INSTANCE, 4),
            ("interrupts".to_string(), head::INTERRUPTS, 8),
            ("activations".to_string(), head::ACTIVATIONS, 8),
            ("store".to_string(), head::STORE, 8),
        ];
        for builtin in Builtin::ALL {
            fields.push((
                format!("builtin {}", builtin.name()),
                self.builtin(*builtin),
                8,
            ));
        }
        let counts = &self.counts;
        let mut area = |name: &str, count: u32, size: u32, offset: &dyn Fn(u32) -> u32| {
            for index in 0..count {
                fields.push((format!("{name} {index}"), offset(index), size));
            }
        };
        area("signature id", counts.types, 4, &|i| self.signature_id(i));
        area("function import", self.imported_functions, 16, &|i| {
            self.function_import(i)
        });
        area("table import", self.imported_tables, 16, &|i| {
            self.table_import(i)
        });
        area("memory import", self.imported_memories, 16, &|i| {
            self.memory_import(i)
        });
        area("global import", self.imported_globals, 8, &|i| {
            self.global_import(i)
        });
        area("table", counts.tables - self.imported_tables, 16, &|i| {
            self.table(i)
        });
        area(
            "memory",
            counts.memories - self.imported_memories,
            16,
            &|i| self.memory(i),
        );
        area("global", counts.globals - self.imported_globals, 16, &|i| {
            self.global(i)
        });
        area("anyfunc", counts.functions, 24, &|i| self.anyfunc(i));
        fields
    }
}
