//! Calls: to functions of the module, to imported ones, and through tables.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, ArgumentPurpose, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;

use super::environment::{Environment, wasm_signature};
use super::layout::{anyfunc, function_import};
use crate::case::module::ValType;
use crate::score::Fault;

impl Environment<'_> {
    /// Imports the signature of a type, for indirect calls.
    pub(super) fn indirect_signature(&mut self, func: &mut ir::Function, ty: u32) -> ir::SigRef {
        let signature = func.import_signature(wasm_signature(&self.module.types[ty as usize]));
        self.note_signature(signature, ty);
        signature
    }

    /// Imports a function, for direct calls. All code of a module lies together, so a function
    /// of the module is reached relative to the program counter.
    pub(super) fn direct_function(&mut self, func: &mut ir::Function, index: u32) -> ir::FuncRef {
        let signature = self.indirect_signature(func, self.module.functions[index as usize]);
        let name = func.declare_imported_user_function(ir::UserExternalName::new(0, index));
        func.import_function(ir::ExtFuncData {
            name: ir::ExternalName::user(name),
            signature,
            colocated: self.layout.defined_function(index).is_some(),
        })
    }

    /// `call`. A function of the module runs on the same vmctx; an imported one has its own,
    /// which stands with its code in the import record.
    pub(super) fn call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        index: u32,
        callee: ir::FuncRef,
        args: &[ir::Value],
    ) -> ir::Inst {
        let signature = builder.func.dfg.ext_funcs[callee].signature;
        let caller_vmctx = caller_vmctx(builder);
        let call = if self.layout.defined_function(index).is_some() {
            let args = with_vmctxs(caller_vmctx, caller_vmctx, args);
            builder.ins().call(callee, &args)
        } else {
            let base = self.vmctx_value(&mut builder.cursor());
            let flags = ir::MemFlags::trusted().with_readonly();
            let record = self.layout.function_import(index);
            let body = (record + function_import::BODY) as i32;
            let address = builder.ins().load(types::I64, flags, base, body);
            let callee_vmctx = if self.planted(Fault::ImportCalledWithOwnVmctx) {
                caller_vmctx
            } else {
                let vmctx = (record + function_import::VMCTX) as i32;
                builder.ins().load(types::I64, flags, base, vmctx)
            };
            let args = with_vmctxs(callee_vmctx, caller_vmctx, args);
            builder.ins().call_indirect(signature, address, &args)
        };
        self.declare_results(builder, signature, call);
        call
    }

    /// `call_indirect`: the table's bounds, then null, then the signature, then the call with
    /// the vmctx that belongs to the function.
    pub(super) fn call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        signature: ir::SigRef,
        callee: ir::Value,
        args: &[ir::Value],
    ) -> ir::Inst {
        let (element, element_flags) = self.element_address(builder, table, callee);
        let record = builder.ins().load(types::I64, element_flags, element, 0);
        if !self.planted(Fault::SkipNullCheck) {
            builder
                .ins()
                .trapz(record, ir::TrapCode::IndirectCallToNull);
        }

        // A record is written once, before a reference to it exists.
        let flags = ir::MemFlags::trusted().with_readonly();
        if !self.planted(Fault::SkipSignatureCheck) {
            let base = self.vmctx_value(&mut builder.cursor());
            let own = self.layout.signature_id(ty) as i32;
            let caller_id = builder.ins().load(types::I32, flags, base, own);
            let callee_id = builder
                .ins()
                .load(types::I32, flags, record, anyfunc::TYPE_ID as i32);
            let same = builder.ins().icmp(IntCC::Equal, callee_id, caller_id);
            builder.ins().trapz(same, ir::TrapCode::BadSignature);
        }

        let address = builder
            .ins()
            .load(types::I64, flags, record, anyfunc::FUNC_PTR as i32);
        let callee_vmctx = builder
            .ins()
            .load(types::I64, flags, record, anyfunc::VMCTX as i32);
        let args = with_vmctxs(callee_vmctx, caller_vmctx(builder), args);
        let call = builder.ins().call_indirect(signature, address, &args);
        self.declare_results(builder, signature, call);
        call
    }

    /// Results that are externrefs must be found by collections for as long as they are live;
    /// `cranelift-wasm` leaves that to the environment.
    fn declare_results(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        signature: ir::SigRef,
        call: ir::Inst,
    ) {
        let Some(ty) = self.type_of_signature(signature) else {
            return;
        };
        for (index, result) in ty.results.iter().enumerate() {
            if *result == ValType::ExternRef && !self.planted(Fault::ResultNotInStackMap) {
                let value = builder.func.dfg.inst_results(call)[index];
                self.declare_reference(builder, value);
            }
        }
    }
}

/// The vmctx of the function being translated, which it passes on as the caller's.
fn caller_vmctx(builder: &FunctionBuilder<'_>) -> ir::Value {
    builder
        .func
        .special_param(ArgumentPurpose::VMContext)
        .expect("every wasm signature starts with a vmctx")
}

fn with_vmctxs(callee: ir::Value, caller: ir::Value, args: &[ir::Value]) -> Vec<ir::Value> {
    let mut all = Vec::with_capacity(args.len() + 2);
    all.extend([callee, caller]);
    all.extend_from_slice(args);
    all
}
