//! Globals: numbers, vectors and funcrefs in memory, externrefs through builtins.

use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::GlobalVariable;

use super::builtins::Builtin;
use super::environment::{Environment, value_type};
use crate::case::module::ValType;
use crate::score::Fault;

impl Environment<'_> {
    /// How a global is reached. An externref global lies in memory as any other does, but reading
    /// and writing it must keep the counts.
    pub(super) fn global_variable(
        &mut self,
        func: &mut ir::Function,
        index: u32,
    ) -> GlobalVariable {
        let ty = self.module.globals[index as usize].value;
        if ty == ValType::ExternRef {
            return GlobalVariable::Custom;
        }
        let vmctx = self.vmctx(func);
        let (gv, offset) = match self.layout.defined_global(index) {
            Some(defined) => (vmctx, self.layout.global(defined) as i32),
            None if self.planted(Fault::ImportedGlobalInVmctx) => {
                (vmctx, self.layout.global_import(index) as i32)
            }
            None => {
                let global = func.create_global_value(ir::GlobalValueData::Load {
                    base: vmctx,
                    offset: (self.layout.global_import(index) as i32).into(),
                    global_type: types::I64,
                    flags: ir::MemFlags::trusted().with_readonly(),
                });
                (global, 0)
            }
        };
        GlobalVariable::Memory {
            gv,
            offset: offset.into(),
            ty: value_type(ty),
        }
    }

    /// `global.get` of an externref.
    pub(super) fn externref_global_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        index: u32,
    ) -> ir::Value {
        let mut pos = builder.cursor();
        let index = pos.ins().iconst(types::I32, i64::from(index));
        let call = self.call_builtin(&mut pos, Builtin::externref_global_get, &[index]);
        let value = pos.func.dfg.first_result(call);
        self.declare_reference(builder, value);
        value
    }

    /// `global.set` of an externref.
    pub(super) fn externref_global_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        index: u32,
        value: ir::Value,
    ) {
        let mut pos = builder.cursor();
        let index = pos.ins().iconst(types::I32, i64::from(index));
        self.call_builtin(&mut pos, Builtin::externref_global_set, &[index, value]);
    }
}
