//! The environment of one function: what it caches, and the hooks that `cranelift-wasm` calls.
//!
//! The hooks' bodies are in the file of their concern; here they are only dispatched.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::{self, AbiParam, ArgumentPurpose, InstBuilder, Signature, types};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_entity::{EntityRef, PrimaryMap};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{
    FuncEnvironment, FuncIndex, FuncTranslationState, GlobalIndex, GlobalVariable, Heap, HeapData,
    MemoryIndex, TableData, TableIndex, TargetEnvironment, TypeConvert, TypeIndex, WasmError,
    WasmHeapType, WasmResult, wasmparser,
};
use target_lexicon::PointerWidth;

use super::builtins::{Builtin, BuiltinSignatures};
use super::layout::VmLayout;
use super::stack_maps::References;
use crate::case::Module;
use crate::case::module::{FuncType, ValType};
use crate::case::settings::MemoryStyle;
use crate::score::Fault;

/// The calling convention of wasm functions: the one that Cranelift's users ship, with any number
/// of results and tail calls.
pub const WASM_CALL_CONV: CallConv = CallConv::Tail;

/// The target, as far as translation looks at it: the same for every ISA, so that the CLIF is, too. Of
/// the page size it asks whether a page of WebAssembly is made of whole ones, which is so up to its own
/// 64 KiB, the largest that there are.
pub const FRONTEND: TargetFrontendConfig = TargetFrontendConfig {
    default_call_conv: CallConv::SystemV,
    pointer_width: PointerWidth::U64,
    page_size_align_log2: 16,
};

/// All that translation depends on besides the module: equal configurations make the same CLIF.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TranslateConfig {
    /// How memories are laid out.
    pub memory_style: MemoryStyle,
    /// Bytes of the guard region behind every memory.
    pub guard_bytes: u64,
    /// Whether out-of-bounds accesses are also blocked under speculation.
    pub spectre: bool,
    /// A planted fault.
    pub fault: Option<Fault>,
}

/// The CLIF type of a wasm value.
pub fn value_type(ty: ValType) -> ir::Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
        ValType::FuncRef | ValType::ExternRef => types::I64,
    }
}

/// The CLIF signature of a wasm function: callee vmctx, caller vmctx, the parameters.
pub fn wasm_signature(ty: &FuncType) -> Signature {
    let mut signature = Signature::new(WASM_CALL_CONV);
    signature.params.reserve(ty.params.len() + 2);
    signature
        .params
        .push(AbiParam::special(types::I64, ArgumentPurpose::VMContext));
    signature.params.push(AbiParam::new(types::I64));
    signature
        .params
        .extend(ty.params.iter().map(|ty| AbiParam::new(value_type(*ty))));
    signature
        .returns
        .extend(ty.results.iter().map(|ty| AbiParam::new(value_type(*ty))));
    signature
}

/// The environment in which one function after the other of a module is translated.
pub struct Environment<'module> {
    pub(super) module: &'module Module,
    pub(super) layout: &'module VmLayout,
    pub(super) config: TranslateConfig,
    /// The type index of the function being translated.
    function_type: u32,
    vmctx: Option<ir::GlobalValue>,
    builtins: BuiltinSignatures,
    pub(super) heaps: PrimaryMap<Heap, HeapData>,
    pub(super) tables: Vec<Option<TableData>>,
    /// The type index behind each wasm signature imported so far.
    signatures: Vec<(ir::SigRef, u32)>,
    pub(super) references: References,
}

impl<'module> Environment<'module> {
    /// An environment for a module.
    pub fn new(
        module: &'module Module,
        layout: &'module VmLayout,
        config: TranslateConfig,
    ) -> Environment<'module> {
        Environment {
            module,
            layout,
            config,
            function_type: 0,
            vmctx: None,
            builtins: BuiltinSignatures::new(
                FRONTEND.default_call_conv,
                config.fault == Some(Fault::SignExtendBuiltinArguments),
            ),
            heaps: PrimaryMap::new(),
            tables: vec![None; module.tables.len()],
            signatures: Vec::new(),
            references: References::default(),
        }
    }

    /// Starts on the next function: sets its name, signature and stack limit.
    pub(super) fn begin(&mut self, defined: u32, func: &mut ir::Function) {
        let index = self.module.imported_functions() + defined;
        self.function_type = self.module.functions[index as usize];
        self.vmctx = None;
        self.builtins.clear();
        self.heaps.clear();
        self.tables.fill(None);
        self.signatures.clear();
        self.references.clear();
        func.name = ir::UserFuncName::user(0, index);
        func.signature = wasm_signature(&self.module.types[self.function_type as usize]);
        self.set_stack_limit(func);
    }

    pub(super) fn planted(&self, fault: Fault) -> bool {
        self.config.fault == Some(fault)
    }

    /// The type index of the function being translated.
    pub(super) fn function_type(&self) -> u32 {
        self.function_type
    }

    /// The global value that is the vmctx.
    pub(super) fn vmctx(&mut self, func: &mut ir::Function) -> ir::GlobalValue {
        *self
            .vmctx
            .get_or_insert_with(|| func.create_global_value(ir::GlobalValueData::VMContext))
    }

    /// The vmctx, as a value.
    pub(super) fn vmctx_value(&mut self, pos: &mut FuncCursor<'_>) -> ir::Value {
        let vmctx = self.vmctx(pos.func);
        pos.ins().global_value(types::I64, vmctx)
    }

    /// Calls a builtin; `args` follow the vmctx.
    pub(super) fn call_builtin(
        &mut self,
        pos: &mut FuncCursor<'_>,
        builtin: Builtin,
        args: &[ir::Value],
    ) -> ir::Inst {
        let signature = self.builtins.get(pos.func, builtin);
        let vmctx = self.vmctx_value(pos);
        // The array of addresses is written once, before any code runs.
        let flags = ir::MemFlags::trusted().with_readonly();
        let offset = self.layout.builtin(builtin) as i32;
        let address = pos.ins().load(types::I64, flags, vmctx, offset);
        let mut all = [vmctx; 8];
        all[1..=args.len()].copy_from_slice(args);
        pos.ins()
            .call_indirect(signature, address, &all[..=args.len()])
    }

    /// Remembers that `signature` is that of type `ty`.
    pub(super) fn note_signature(&mut self, signature: ir::SigRef, ty: u32) {
        self.signatures.push((signature, ty));
    }

    /// The wasm type behind a signature that was imported by a hook.
    pub(super) fn type_of_signature(&self, signature: ir::SigRef) -> Option<&'module FuncType> {
        let (_, ty) = self
            .signatures
            .iter()
            .find(|(known, _)| *known == signature)?;
        Some(&self.module.types[*ty as usize])
    }
}

/// The error for what validation lets through only if it is a proposal that is switched off.
pub(super) fn unsupported<T>(what: &str) -> WasmResult<T> {
    Err(WasmError::Unsupported(what.to_string()))
}

impl TypeConvert for Environment<'_> {
    fn lookup_heap_type(&self, _index: wasmparser::UnpackedIndex) -> WasmHeapType {
        // Only typed function references, which are switched off, have concrete heap types.
        WasmHeapType::Func
    }

    fn lookup_type_index(
        &self,
        index: wasmparser::UnpackedIndex,
    ) -> cranelift_wasm::EngineOrModuleTypeIndex {
        let index = index.as_module_index().unwrap_or(0);
        cranelift_wasm::EngineOrModuleTypeIndex::Module(
            cranelift_wasm::ModuleInternedTypeIndex::new(index as usize),
        )
    }
}

impl TargetEnvironment for Environment<'_> {
    fn target_config(&self) -> TargetFrontendConfig {
        FRONTEND
    }

    fn heap_access_spectre_mitigation(&self) -> bool {
        self.config.spectre
    }

    fn proof_carrying_code(&self) -> bool {
        false
    }

    fn reference_type(&self, ty: WasmHeapType) -> (ir::Type, bool) {
        (types::I64, ty == WasmHeapType::Extern)
    }
}

impl FuncEnvironment for Environment<'_> {
    fn is_wasm_parameter(&self, _signature: &ir::Signature, index: usize) -> bool {
        index >= 2
    }

    fn param_needs_stack_map(&self, _signature: &ir::Signature, index: usize) -> bool {
        let ty = &self.module.types[self.function_type as usize];
        index >= 2
            && ty.params[index - 2] == ValType::ExternRef
            && !self.planted(Fault::ParameterNotInStackMap)
    }

    fn sig_ref_result_needs_stack_map(&self, sig_ref: ir::SigRef, index: usize) -> bool {
        self.type_of_signature(sig_ref)
            .is_some_and(|ty| ty.results[index] == ValType::ExternRef)
            && !self.planted(Fault::ResultNotInStackMap)
    }

    fn func_ref_result_needs_stack_map(
        &self,
        func: &ir::Function,
        func_ref: ir::FuncRef,
        index: usize,
    ) -> bool {
        self.sig_ref_result_needs_stack_map(func.dfg.ext_funcs[func_ref].signature, index)
    }

    /// Of what a relaxed vector instruction may do, it does what is the same everywhere.
    fn relaxed_simd_deterministic(&self) -> bool {
        !self.planted(Fault::RelaxedMaddRoundsTwice)
    }

    fn make_global(
        &mut self,
        func: &mut ir::Function,
        index: GlobalIndex,
    ) -> WasmResult<GlobalVariable> {
        Ok(self.global_variable(func, index.as_u32()))
    }

    fn heaps(&self) -> &PrimaryMap<Heap, HeapData> {
        &self.heaps
    }

    fn make_heap(&mut self, func: &mut ir::Function, index: MemoryIndex) -> WasmResult<Heap> {
        Ok(self.heap(func, index.as_u32()))
    }

    fn make_indirect_sig(
        &mut self,
        func: &mut ir::Function,
        index: TypeIndex,
    ) -> WasmResult<ir::SigRef> {
        Ok(self.indirect_signature(func, index.as_u32()))
    }

    fn make_direct_func(
        &mut self,
        func: &mut ir::Function,
        index: FuncIndex,
    ) -> WasmResult<ir::FuncRef> {
        Ok(self.direct_function(func, index.as_u32()))
    }

    fn translate_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        callee_index: FuncIndex,
        callee: ir::FuncRef,
        call_args: &[ir::Value],
    ) -> WasmResult<ir::Inst> {
        Ok(self.call(builder, callee_index.as_u32(), callee, call_args))
    }

    fn translate_call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table_index: TableIndex,
        sig_index: TypeIndex,
        sig_ref: ir::SigRef,
        callee: ir::Value,
        call_args: &[ir::Value],
    ) -> WasmResult<Option<ir::Inst>> {
        let (table, ty) = (table_index.as_u32(), sig_index.as_u32());
        Ok(Some(self.call_indirect(
            builder, table, ty, sig_ref, callee, call_args,
        )))
    }

    fn translate_return_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        callee_index: FuncIndex,
        callee: ir::FuncRef,
        call_args: &[ir::Value],
    ) -> WasmResult<()> {
        self.return_call(builder, callee_index.as_u32(), callee, call_args);
        Ok(())
    }

    fn translate_return_call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table_index: TableIndex,
        sig_index: TypeIndex,
        sig_ref: ir::SigRef,
        callee: ir::Value,
        call_args: &[ir::Value],
    ) -> WasmResult<()> {
        let (table, ty) = (table_index.as_u32(), sig_index.as_u32());
        self.return_call_indirect(builder, table, ty, sig_ref, callee, call_args);
        Ok(())
    }

    fn translate_return_call_ref(
        &mut self,
        _builder: &mut FunctionBuilder<'_>,
        _sig_ref: ir::SigRef,
        _callee: ir::Value,
        _call_args: &[ir::Value],
    ) -> WasmResult<()> {
        unsupported("typed function references (return_call_ref)")
    }

    fn translate_call_ref(
        &mut self,
        _builder: &mut FunctionBuilder<'_>,
        _sig_ref: ir::SigRef,
        _callee: ir::Value,
        _call_args: &[ir::Value],
    ) -> WasmResult<ir::Inst> {
        unsupported("typed function references (call_ref)")
    }

    fn translate_memory_grow(
        &mut self,
        mut pos: FuncCursor<'_>,
        index: MemoryIndex,
        _heap: Heap,
        val: ir::Value,
    ) -> WasmResult<ir::Value> {
        Ok(self.memory_grow(&mut pos, index.as_u32(), val))
    }

    fn translate_memory_size(
        &mut self,
        mut pos: FuncCursor<'_>,
        index: MemoryIndex,
        _heap: Heap,
    ) -> WasmResult<ir::Value> {
        Ok(self.memory_size(&mut pos, index.as_u32()))
    }

    fn translate_memory_copy(
        &mut self,
        mut pos: FuncCursor<'_>,
        src_index: MemoryIndex,
        _src_heap: Heap,
        dst_index: MemoryIndex,
        _dst_heap: Heap,
        dst: ir::Value,
        src: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        let memories = (dst_index.as_u32(), src_index.as_u32());
        self.memory_copy(&mut pos, memories, (dst, src, len));
        Ok(())
    }

    fn translate_memory_fill(
        &mut self,
        mut pos: FuncCursor<'_>,
        index: MemoryIndex,
        _heap: Heap,
        dst: ir::Value,
        val: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        self.memory_fill(&mut pos, index.as_u32(), dst, val, len);
        Ok(())
    }

    fn translate_memory_init(
        &mut self,
        mut pos: FuncCursor<'_>,
        index: MemoryIndex,
        _heap: Heap,
        seg_index: u32,
        dst: ir::Value,
        src: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        self.memory_init(&mut pos, index.as_u32(), seg_index, (dst, src, len));
        Ok(())
    }

    fn translate_data_drop(&mut self, mut pos: FuncCursor<'_>, seg_index: u32) -> WasmResult<()> {
        let segment = pos.ins().iconst(types::I32, i64::from(seg_index));
        self.call_builtin(&mut pos, Builtin::data_drop, &[segment]);
        Ok(())
    }

    fn translate_table_size(
        &mut self,
        pos: FuncCursor<'_>,
        index: TableIndex,
    ) -> WasmResult<ir::Value> {
        Ok(self.table_size(pos, index.as_u32()))
    }

    fn translate_table_grow(
        &mut self,
        mut pos: FuncCursor<'_>,
        table_index: TableIndex,
        delta: ir::Value,
        init_value: ir::Value,
    ) -> WasmResult<ir::Value> {
        self.table_grow(&mut pos, table_index.as_u32(), delta, init_value)
    }

    fn translate_table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table_index: TableIndex,
        index: ir::Value,
    ) -> WasmResult<ir::Value> {
        self.table_get(builder, table_index.as_u32(), index)
    }

    fn translate_table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table_index: TableIndex,
        value: ir::Value,
        index: ir::Value,
    ) -> WasmResult<()> {
        self.table_set(builder, table_index.as_u32(), value, index)
    }

    fn translate_table_copy(
        &mut self,
        mut pos: FuncCursor<'_>,
        dst_table_index: TableIndex,
        src_table_index: TableIndex,
        dst: ir::Value,
        src: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        let dst_table = pos
            .ins()
            .iconst(types::I32, i64::from(dst_table_index.as_u32()));
        let src_table = pos
            .ins()
            .iconst(types::I32, i64::from(src_table_index.as_u32()));
        self.call_builtin(
            &mut pos,
            Builtin::table_copy,
            &[dst_table, src_table, dst, src, len],
        );
        Ok(())
    }

    fn translate_table_fill(
        &mut self,
        mut pos: FuncCursor<'_>,
        table_index: TableIndex,
        dst: ir::Value,
        val: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        self.table_fill(&mut pos, table_index.as_u32(), dst, val, len)
    }

    fn translate_table_init(
        &mut self,
        mut pos: FuncCursor<'_>,
        seg_index: u32,
        table_index: TableIndex,
        dst: ir::Value,
        src: ir::Value,
        len: ir::Value,
    ) -> WasmResult<()> {
        let index = pos
            .ins()
            .iconst(types::I32, i64::from(table_index.as_u32()));
        let segment = pos.ins().iconst(types::I32, i64::from(seg_index));
        self.call_builtin(
            &mut pos,
            Builtin::table_init,
            &[index, segment, dst, src, len],
        );
        Ok(())
    }

    fn translate_elem_drop(&mut self, mut pos: FuncCursor<'_>, seg_index: u32) -> WasmResult<()> {
        let segment = pos.ins().iconst(types::I32, i64::from(seg_index));
        self.call_builtin(&mut pos, Builtin::elem_drop, &[segment]);
        Ok(())
    }

    fn translate_ref_null(
        &mut self,
        mut pos: FuncCursor<'_>,
        ty: WasmHeapType,
    ) -> WasmResult<ir::Value> {
        self.ref_null(&mut pos, ty)
    }

    fn translate_ref_is_null(
        &mut self,
        mut pos: FuncCursor<'_>,
        value: ir::Value,
    ) -> WasmResult<ir::Value> {
        Ok(self.ref_is_null(&mut pos, value))
    }

    fn translate_ref_func(
        &mut self,
        mut pos: FuncCursor<'_>,
        func_index: FuncIndex,
    ) -> WasmResult<ir::Value> {
        Ok(self.ref_func(&mut pos, func_index.as_u32()))
    }

    fn translate_custom_global_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global_index: GlobalIndex,
    ) -> WasmResult<ir::Value> {
        Ok(self.externref_global_get(builder, global_index.as_u32()))
    }

    fn translate_custom_global_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global_index: GlobalIndex,
        val: ir::Value,
    ) -> WasmResult<()> {
        self.externref_global_set(builder, global_index.as_u32(), val);
        Ok(())
    }

    fn translate_atomic_wait(
        &mut self,
        _pos: FuncCursor<'_>,
        _index: MemoryIndex,
        _heap: Heap,
        _addr: ir::Value,
        _expected: ir::Value,
        _timeout: ir::Value,
    ) -> WasmResult<ir::Value> {
        unsupported("wasm atomics (memory.atomic.wait)")
    }

    fn translate_atomic_notify(
        &mut self,
        _pos: FuncCursor<'_>,
        _index: MemoryIndex,
        _heap: Heap,
        _addr: ir::Value,
        _count: ir::Value,
    ) -> WasmResult<ir::Value> {
        unsupported("wasm atomics (memory.atomic.notify)")
    }

    fn translate_ref_i31(
        &mut self,
        _pos: FuncCursor<'_>,
        _val: ir::Value,
    ) -> WasmResult<ir::Value> {
        unsupported("garbage collection (ref.i31)")
    }

    fn translate_i31_get_s(
        &mut self,
        _pos: FuncCursor<'_>,
        _i31ref: ir::Value,
    ) -> WasmResult<ir::Value> {
        unsupported("garbage collection (i31.get_s)")
    }

    fn translate_i31_get_u(
        &mut self,
        _pos: FuncCursor<'_>,
        _i31ref: ir::Value,
    ) -> WasmResult<ir::Value> {
        unsupported("garbage collection (i31.get_u)")
    }

    fn before_translate_function(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _state: &FuncTranslationState,
    ) -> WasmResult<()> {
        self.check_stack_tightly(builder);
        Ok(())
    }

    fn after_translate_operator(
        &mut self,
        operator: &wasmparser::Operator<'_>,
        builder: &mut FunctionBuilder<'_>,
        state: &FuncTranslationState,
    ) -> WasmResult<()> {
        if let wasmparser::Operator::TypedSelect { ty } = operator
            && *ty == wasmparser::ValType::EXTERNREF
            && state.reachable()
        {
            self.note_select(builder);
        }
        Ok(())
    }

    fn after_translate_function(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _state: &FuncTranslationState,
    ) -> WasmResult<()> {
        self.declare_flows(builder);
        self.hold_slots_in_loops(builder);
        Ok(())
    }

    fn translate_loop_header(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.check_interrupt(builder);
        Ok(())
    }
}
