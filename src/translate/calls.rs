//! Calls: to functions of the module, to imported ones, and through tables; tail calls as well.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, ArgumentPurpose, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;

use super::environment::{Environment, wasm_signature};
use super::layout::{anyfunc, function_import};
use crate::case::module::ValType;
use crate::score::Fault;

/// A function that is called by its address.
struct Callee {
    address: ir::Value,
    /// The vmctx that it runs on.
    vmctx: ir::Value,
}

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
            let callee = self.imported_callee(builder, index);
            let caller_vmctx = match self.planted(Fault::CallerVmctxIsCallees) {
                true => callee.vmctx,
                false => caller_vmctx,
            };
            let args = with_vmctxs(callee.vmctx, caller_vmctx, args);
            let call = builder
                .ins()
                .call_indirect(signature, callee.address, &args);
            if self.planted(Fault::StoreAfterImportedCall) {
                put_off_store(builder.func, call);
            }
            call
        };
        self.declare_results(builder, signature, call);
        call
    }

    /// `return_call`. The callee takes over the frame and whatever references it is passed, which
    /// nothing can collect in between.
    pub(super) fn return_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        index: u32,
        callee: ir::FuncRef,
        args: &[ir::Value],
    ) {
        self.check_interrupt(builder);
        let signature = builder.func.dfg.ext_funcs[callee].signature;
        let caller_vmctx = caller_vmctx(builder);
        if self.layout.defined_function(index).is_some() {
            let args = with_vmctxs(caller_vmctx, caller_vmctx, args);
            builder.ins().return_call(callee, &args);
        } else {
            let callee = self.imported_callee(builder, index);
            let args = with_vmctxs(callee.vmctx, caller_vmctx, args);
            builder
                .ins()
                .return_call_indirect(signature, callee.address, &args);
        }
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
        let callee = self.callee_in_table(builder, table, ty, callee);
        let args = with_vmctxs(callee.vmctx, caller_vmctx(builder), args);
        let call = builder
            .ins()
            .call_indirect(signature, callee.address, &args);
        self.declare_results(builder, signature, call);
        call
    }

    /// `return_call_indirect`: what `call_indirect` checks, in that order and while the caller's
    /// frame is still there; then the callee takes that over.
    pub(super) fn return_call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        signature: ir::SigRef,
        callee: ir::Value,
        args: &[ir::Value],
    ) {
        self.check_interrupt(builder);
        let callee = self.callee_in_table(builder, table, ty, callee);
        let caller_vmctx = caller_vmctx(builder);
        let vmctx = match self.planted(Fault::TailCallWithOwnVmctx) {
            true => caller_vmctx,
            false => callee.vmctx,
        };
        let args = with_vmctxs(vmctx, caller_vmctx, args);
        builder
            .ins()
            .return_call_indirect(signature, callee.address, &args);
    }

    /// What the import record of a function says.
    fn imported_callee(&mut self, builder: &mut FunctionBuilder<'_>, index: u32) -> Callee {
        let base = self.vmctx_value(&mut builder.cursor());
        let flags = ir::MemFlags::trusted().with_readonly();
        let record = self.layout.function_import(index);
        let body = (record + function_import::BODY) as i32;
        let address = builder.ins().load(types::I64, flags, base, body);
        let vmctx = if self.planted(Fault::ImportCalledWithOwnVmctx) {
            caller_vmctx(builder)
        } else {
            let vmctx = (record + function_import::VMCTX) as i32;
            builder.ins().load(types::I64, flags, base, vmctx)
        };
        Callee { address, vmctx }
    }

    /// The function in a slot of a table, if there is one and it is of type `ty`; a trap if not.
    fn callee_in_table(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        index: ir::Value,
    ) -> Callee {
        if self.planted(Fault::IndirectBoundIsMinimum) {
            self.check_initial_bound(builder, table, index);
        }
        let (element, element_flags) = self.element_address(builder, table, index);
        let record = builder.ins().load(types::I64, element_flags, element, 0);
        if !self.planted(Fault::SkipNullCheck) {
            builder
                .ins()
                .trapz(record, ir::TrapCode::IndirectCallToNull);
        }

        // A record is written once, before a reference to it exists. But there is none where the
        // reference is null: what is loaded from it and marked `readonly` moves to wherever the
        // reference is known, be that before the check.
        let mut flags = ir::MemFlags::trusted();
        if self.planted(Fault::FunctionRecordReadonly) {
            flags.set_readonly();
        }
        if !self.planted(Fault::SkipSignatureCheck) {
            let base = self.vmctx_value(&mut builder.cursor());
            let own = self.layout.signature_id(ty) as i32;
            let readonly = ir::MemFlags::trusted().with_readonly();
            let caller_id = builder.ins().load(types::I32, readonly, base, own);
            let callee_id = builder
                .ins()
                .load(types::I32, flags, record, anyfunc::TYPE_ID as i32);
            let same = builder.ins().icmp(IntCC::Equal, callee_id, caller_id);
            builder.ins().trapz(same, ir::TrapCode::BadSignature);
        }

        let address = builder
            .ins()
            .load(types::I64, flags, record, anyfunc::FUNC_PTR as i32);
        let vmctx = builder
            .ins()
            .load(types::I64, flags, record, anyfunc::VMCTX as i32);
        Callee { address, vmctx }
    }

    /// Traps if a table that may grow had no such element when it was made: a planted fault.
    fn check_initial_bound(&self, builder: &mut FunctionBuilder<'_>, table: u32, index: ir::Value) {
        let ty = self.module.tables[table as usize];
        if ty.max == Some(ty.min) {
            return;
        }
        let bound = builder.ins().iconst(types::I32, ty.min as i64);
        let beyond = builder
            .ins()
            .icmp(IntCC::UnsignedGreaterThanOrEqual, index, bound);
        builder.ins().trapnz(beyond, ir::TrapCode::TableOutOfBounds);
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

/// Puts the last store before a call behind it, if no other call is in between: a planted fault. The call is
/// the last instruction of its block so far.
fn put_off_store(func: &mut ir::Function, call: ir::Inst) {
    let (Some(block), mut before) = (func.layout.inst_block(call), func.layout.prev_inst(call))
    else {
        return;
    };
    while let Some(inst) = before {
        let opcode = func.dfg.insts[inst].opcode();
        if opcode.is_call() {
            return;
        }
        if opcode.can_store() {
            func.layout.remove_inst(inst);
            func.layout.append_inst(inst, block);
            return;
        }
        before = func.layout.prev_inst(inst);
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
