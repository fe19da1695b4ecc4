//! Tables: bounds, `table.get` and `table.set` of funcrefs, growing and filling.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{TableData, TableSize, WasmResult};

use super::builtins::Builtin;
use super::environment::{Environment, unsupported};
use super::layout::{POINTER_BYTES, definition_import, table_definition};
use crate::case::module::ValType;
use crate::score::Fault;

impl Environment<'_> {
    /// How a table is accessed; declared in the function at its first use.
    pub(super) fn table(&mut self, func: &mut ir::Function, index: u32) -> TableData {
        if let Some(table) = &self.tables[index as usize] {
            return table.clone();
        }
        let vmctx = self.vmctx(func);
        let (definition, offset) = match self.layout.defined_table(index) {
            Some(defined) => (vmctx, self.layout.table(defined)),
            None => {
                let from = self.layout.table_import(index) + definition_import::FROM;
                let definition = func.create_global_value(ir::GlobalValueData::Load {
                    base: vmctx,
                    offset: (from as i32).into(),
                    global_type: types::I64,
                    flags: ir::MemFlags::trusted().with_readonly(),
                });
                (definition, 0)
            }
        };
        let base_gv = func.create_global_value(ir::GlobalValueData::Load {
            base: definition,
            offset: ((offset + table_definition::BASE) as i32).into(),
            global_type: types::I64,
            flags: ir::MemFlags::trusted(),
        });
        let bound_gv = func.create_global_value(ir::GlobalValueData::Load {
            base: definition,
            offset: ((offset + table_definition::CURRENT_ELEMENTS) as i32).into(),
            global_type: types::I32,
            flags: ir::MemFlags::trusted(),
        });
        let table = TableData {
            base_gv,
            bound: TableSize::Dynamic { bound_gv },
            element_size: POINTER_BYTES,
        };
        self.tables[index as usize] = Some(table.clone());
        table
    }

    /// Checks an index against a table's bounds and returns the element's address with the flags
    /// to access it by. Under spectre mitigations the address of an element out of bounds is
    /// null, and it is the access that traps.
    pub(super) fn element_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: ir::Value,
    ) -> (ir::Value, ir::MemFlags) {
        let mut table = self.table(builder.func, table);
        if self.planted(Fault::TableBoundOffByOne)
            && let TableSize::Dynamic { bound_gv } = table.bound
        {
            table.bound = TableSize::Dynamic {
                bound_gv: builder
                    .func
                    .create_global_value(ir::GlobalValueData::IAddImm {
                        base: bound_gv,
                        offset: 1.into(),
                        global_type: types::I32,
                    }),
            };
        }
        table.prepare_table_addr(builder, index, types::I64, self.config.spectre)
    }

    /// `table.get`.
    pub(super) fn table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: ir::Value,
    ) -> WasmResult<ir::Value> {
        match self.module.tables[table as usize].element {
            ValType::FuncRef => {
                let (address, flags) = self.element_address(builder, table, index);
                Ok(builder.ins().load(types::I64, flags, address, 0))
            }
            ValType::ExternRef => Ok(self.table_get_externref(builder, table, index)),
            _ => unsupported("`table.get` of a table that is not of funcref or externref"),
        }
    }

    /// `table.set`.
    pub(super) fn table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        value: ir::Value,
        index: ir::Value,
    ) -> WasmResult<()> {
        match self.module.tables[table as usize].element {
            ValType::FuncRef => {
                let (address, flags) = self.element_address(builder, table, index);
                builder.ins().store(flags, value, address, 0);
                Ok(())
            }
            ValType::ExternRef => {
                self.table_set_externref(builder, table, value, index);
                Ok(())
            }
            _ => unsupported("`table.set` of a table that is not of funcref or externref"),
        }
    }

    /// `table.size`.
    pub(super) fn table_size(&mut self, mut pos: FuncCursor<'_>, index: u32) -> ir::Value {
        let table = self.table(pos.func, index);
        match table.bound {
            TableSize::Dynamic { bound_gv } => pos.ins().global_value(types::I32, bound_gv),
            TableSize::Static { bound } => pos.ins().iconst(types::I32, i64::from(bound)),
        }
    }

    /// `table.grow`.
    pub(super) fn table_grow(
        &mut self,
        pos: &mut FuncCursor<'_>,
        table: u32,
        delta: ir::Value,
        init: ir::Value,
    ) -> WasmResult<ir::Value> {
        let builtin = match self.module.tables[table as usize].element {
            ValType::FuncRef => Builtin::table_grow_funcref,
            ValType::ExternRef => Builtin::table_grow_externref,
            _ => {
                return unsupported("`table.grow` of a table that is not of funcref or externref");
            }
        };
        let index = pos.ins().iconst(types::I32, i64::from(table));
        let call = self.call_builtin(pos, builtin, &[index, delta, init]);
        let size = pos.func.dfg.first_result(call);
        if self.planted(Fault::TableGrowReturnsNewSize) {
            let failed = pos.ins().icmp_imm(ir::condcodes::IntCC::Equal, size, -1);
            let grown = pos.ins().iadd(size, delta);
            return Ok(pos.ins().select(failed, size, grown));
        }
        Ok(size)
    }

    /// `table.fill`.
    pub(super) fn table_fill(
        &mut self,
        pos: &mut FuncCursor<'_>,
        table: u32,
        dst: ir::Value,
        value: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        let builtin = match self.module.tables[table as usize].element {
            ValType::FuncRef => Builtin::table_fill_funcref,
            ValType::ExternRef => Builtin::table_fill_externref,
            _ => {
                return unsupported("`table.fill` of a table that is not of funcref or externref");
            }
        };
        let index = pos.ins().iconst(types::I32, i64::from(table));
        self.call_builtin(pos, builtin, &[index, dst, value, len]);
        Ok(())
    }
}
