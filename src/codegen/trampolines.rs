//! Trampolines: the way from the host into a wasm function, and from wasm to a host function.
//!
//! They are CLIF as everything else, so that each generation of Cranelift compiles those that lead
//! into and out of its own code, and agrees with itself about how values are passed.

use std::rc::Rc;

use cranelift_codegen::ir::{self, AbiParam, InstBuilder, StackSlotData, StackSlotKind, types};
use cranelift_frontend::FunctionBuilder;

use super::compiled::CompiledModule;
use super::generator::Generator;
use super::{CodegenConfig, CodegenError, Isa};
use crate::case::module::FuncType;
use crate::translate::builtins::{Builtin, builtin_signature};
use crate::translate::environment::{FRONTEND, value_type, wasm_signature};
use crate::translate::layout::{POINTER_BYTES, head};

/// Bytes of a slot through which trampolines pass a value of any type.
pub const VALUE_BYTES: u32 = 16;

impl Generator {
    /// Compiles the trampoline by which the host calls a wasm function of type `ty`:
    /// `extern "C" fn(callee_vmctx, caller_vmctx, code, values)`. Arguments are read from, then
    /// results written to, `values`, in slots of [`VALUE_BYTES`].
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn entry_trampoline(
        &mut self,
        isa: Isa,
        ty: &FuncType,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let mut func = ir::Function::new();
        func.signature = ir::Signature::new(FRONTEND.default_call_conv);
        func.signature.params.extend([AbiParam::new(types::I64); 4]);
        let mut builder = FunctionBuilder::new(&mut func, &mut self.builder_context);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let params = builder.block_params(block);
        let (callee_vmctx, caller_vmctx, code, values) =
            (params[0], params[1], params[2], params[3]);

        let flags = ir::MemFlags::trusted();
        let mut args = vec![callee_vmctx, caller_vmctx];
        for (index, ty) in ty.params.iter().enumerate() {
            let offset = (index as u32 * VALUE_BYTES) as i32;
            args.push(builder.ins().load(value_type(*ty), flags, values, offset));
        }
        let signature = builder.import_signature(wasm_signature(ty));
        let call = builder.ins().call_indirect(signature, code, &args);
        let results = builder.inst_results(call).to_vec();
        for (index, result) in results.into_iter().enumerate() {
            builder
                .ins()
                .store(flags, result, values, (index as u32 * VALUE_BYTES) as i32);
        }
        builder.ins().return_(&[]);
        builder.finalize();
        let config = CodegenConfig::for_trampolines(isa);
        self.compile(&Rc::new(func), &config, 0, None, module)
    }

    /// Compiles the trampoline by which wasm calls a host function of type `ty`: a wasm function
    /// that passes its arguments in memory to [`Builtin::host_call`], with its callee vmctx.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn host_trampoline(
        &mut self,
        isa: Isa,
        ty: &FuncType,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let mut func = ir::Function::new();
        func.signature = wasm_signature(ty);
        let mut builder = FunctionBuilder::new(&mut func, &mut self.builder_context);
        let slots = ty.params.len().max(ty.results.len()).max(1) as u32;
        let slot = builder.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            slots * VALUE_BYTES,
            4,
        ));
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let params = builder.block_params(block).to_vec();
        for (index, param) in params[2..].iter().enumerate() {
            builder
                .ins()
                .stack_store(*param, slot, (index as u32 * VALUE_BYTES) as i32);
        }
        let values = builder.ins().stack_addr(types::I64, slot, 0);
        let flags = ir::MemFlags::trusted();
        let builtin = (head::BUILTINS + Builtin::host_call as u32 * POINTER_BYTES) as i32;
        let address = builder.ins().load(types::I64, flags, params[0], builtin);
        let signature = builder.import_signature(builtin_signature(
            Builtin::host_call,
            FRONTEND.default_call_conv,
        ));
        builder
            .ins()
            .call_indirect(signature, address, &[params[0], params[1], values]);
        let mut results = Vec::with_capacity(ty.results.len());
        for (index, ty) in ty.results.iter().enumerate() {
            let offset = (index as u32 * VALUE_BYTES) as i32;
            results.push(builder.ins().stack_load(value_type(*ty), slot, offset));
        }
        builder.ins().return_(&results);
        builder.finalize();
        let config = CodegenConfig::for_trampolines(isa);
        self.compile(&Rc::new(func), &config, 0, None, module)
    }
}
