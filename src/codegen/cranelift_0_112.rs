//! Code generation by Cranelift 0.112.3, the generation that `cranelift-wasm` ended with.

use std::collections::HashMap;
use std::sync::Arc;

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    self, AbiParam, ExternalName, InstBuilder, StackSlotData, StackSlotKind, TrapCode, types,
};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError as CraneliftError, Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use parallax_oracles::TrapKind;

use super::compiled::{
    CompiledFunction, CompiledModule, LibCall, Relocation, RelocationKind, RelocationTarget,
    StackMap, TrapSite,
};
use super::{CodegenConfig, CodegenError, Isa, planted_trap};
use crate::case::module::FuncType;
use crate::case::settings::{OptLevel, X86Level};
use crate::score::Fault;
use crate::translate::builtins::{Builtin, builtin_signature};
use crate::translate::environment::{value_type, wasm_signature};
use crate::translate::layout::{POINTER_BYTES, head};

/// The version of the generator.
pub const VERSION: &str = cranelift_codegen::VERSION;

/// Bytes of a slot through which trampolines pass a value of any type.
pub const VALUE_BYTES: u32 = 16;

/// A code generator, with what is worth keeping from one module to the next.
pub struct Generator {
    isas: HashMap<CodegenConfig, Arc<dyn TargetIsa>>,
    context: Context,
    builder_context: FunctionBuilderContext,
    control_plane: ControlPlane,
}

impl Default for Generator {
    fn default() -> Self {
        Generator {
            isas: HashMap::new(),
            context: Context::new(),
            builder_context: FunctionBuilderContext::new(),
            control_plane: ControlPlane::default(),
        }
    }
}

impl Generator {
    /// The target for a configuration, made once.
    ///
    /// # Errors
    /// [`CodegenError::Failed`] if Cranelift does not know a flag that we set.
    pub fn isa(&mut self, config: &CodegenConfig) -> Result<Arc<dyn TargetIsa>, CodegenError> {
        if let Some(isa) = self.isas.get(config) {
            return Ok(isa.clone());
        }
        let isa = make_isa(config).map_err(CodegenError::Failed)?;
        self.isas.insert(*config, isa.clone());
        Ok(isa)
    }

    /// The function to translate into, cleared.
    pub fn function(&mut self) -> &mut ir::Function {
        self.context.clear();
        &mut self.context.func
    }

    /// Compiles the function last translated into [`Generator::function`] and appends it to
    /// `module`, of which `imported` functions are imported.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn compile(
        &mut self,
        isa: &dyn TargetIsa,
        imported: u32,
        fault: Option<Fault>,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let context = &mut self.context;
        context
            .compile(isa, &mut self.control_plane)
            .map_err(|error| error_of(error.inner))?;
        let compiled = context.compiled_code().expect("just compiled");

        let align = compiled.buffer.alignment.max(16) as usize;
        let start = module.code.len().next_multiple_of(align);
        module.code.resize(start, 0);
        module.code.extend_from_slice(compiled.buffer.data());
        let start = start as u32;
        module.functions.push(CompiledFunction {
            start,
            end: module.code.len() as u32,
        });

        for trap in compiled.buffer.traps() {
            let kind = planted_trap(trap_kind(trap.code)?, fault);
            module.traps.push(TrapSite {
                offset: start + trap.offset,
                kind,
            });
        }
        for reloc in compiled.buffer.relocs() {
            let target = match &reloc.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    let name = &context.func.params.user_named_funcs()[*name];
                    RelocationTarget::Function(name.index - imported)
                }
                FinalizedRelocTarget::ExternalName(ExternalName::LibCall(call)) => {
                    RelocationTarget::LibCall(lib_call(*call)?)
                }
                other => return Err(failed(format!("relocation against {other:?}"))),
            };
            module.relocations.push(Relocation {
                offset: start + reloc.offset,
                kind: relocation_kind(reloc.kind)?,
                target,
                addend: reloc.addend,
            });
        }
        for (return_address, frame_size, map) in compiled.buffer.user_stack_maps() {
            let first_slot = module.stack_map_slots.len() as u32;
            module
                .stack_map_slots
                .extend(map.entries().map(|(_, offset)| offset));
            module.stack_maps.push(StackMap {
                return_address: start + return_address,
                frame_size: *frame_size,
                first_slot,
                slots: module.stack_map_slots.len() as u32 - first_slot,
            });
        }
        Ok(())
    }

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
        let isa = self.isa(&CodegenConfig::for_trampolines(isa))?;
        self.context.clear();
        let func = &mut self.context.func;
        func.signature = ir::Signature::new(isa.default_call_conv());
        func.signature.params.extend([AbiParam::new(types::I64); 4]);
        let mut builder = FunctionBuilder::new(func, &mut self.builder_context);
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
        self.compile(&*isa, 0, None, module)
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
        let isa = self.isa(&CodegenConfig::for_trampolines(isa))?;
        self.context.clear();
        let func = &mut self.context.func;
        func.signature = wasm_signature(ty);
        let mut builder = FunctionBuilder::new(func, &mut self.builder_context);
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
            isa.default_call_conv(),
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
        self.compile(&*isa, 0, None, module)
    }
}

fn make_isa(config: &CodegenConfig) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let mut set = |name: &str, value: &str| {
        flags
            .set(name, value)
            .map_err(|error| format!("flag {name}: {error}"))
    };
    set(
        "opt_level",
        match config.opt_level {
            OptLevel::None => "none",
            OptLevel::Speed => "speed",
            OptLevel::SpeedAndSize => "speed_and_size",
        },
    )?;
    let bool = |value: bool| if value { "true" } else { "false" };
    set(
        "enable_heap_access_spectre_mitigation",
        bool(config.spectre),
    )?;
    set(
        "enable_table_access_spectre_mitigation",
        bool(config.spectre),
    )?;
    set(
        "enable_nan_canonicalization",
        bool(config.canonicalise_nans),
    )?;
    // The collector walks frames by their frame pointers.
    set("preserve_frame_pointers", "true")?;
    // Every function checks the stack limit, and frames are far smaller than what lies below it.
    set("enable_probestack", "false")?;
    set("unwind_info", "false")?;
    // cargo-fuzz has debug assertions on, but a fuzzer finds what it has time for.
    let verify = cfg!(debug_assertions) && !cfg!(fuzzing);
    set("enable_verifier", bool(verify))?;
    let flags = settings::Flags::new(flags);

    let triple = match config.isa {
        Isa::X86_64 => "x86_64-unknown-linux-gnu",
        Isa::Aarch64 => "aarch64-unknown-linux-gnu",
    };
    let mut isa =
        cranelift_codegen::isa::lookup_by_name(triple).map_err(|error| error.to_string())?;
    if config.isa == Isa::X86_64 {
        for (level, features) in X86_FEATURES {
            if config.x86_64 >= *level {
                for feature in *features {
                    isa.enable(feature)
                        .map_err(|error| format!("{feature}: {error}"))?;
                }
            }
        }
    }
    isa.finish(flags).map_err(|error| error.to_string())
}

/// Which of Cranelift's x86-64 features each level adds.
const X86_FEATURES: &[(X86Level, &[&str])] = &[
    (
        X86Level::Sse42,
        &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
        ],
    ),
    (X86Level::Avx, &["has_avx"]),
    (
        X86Level::Avx2,
        &["has_avx2", "has_bmi1", "has_bmi2", "has_lzcnt", "has_fma"],
    ),
    (
        X86Level::Avx512,
        &[
            "has_avx512f",
            "has_avx512dq",
            "has_avx512vl",
            "has_avx512bitalg",
            "has_avx512vbmi",
        ],
    ),
];

fn error_of(error: CraneliftError) -> CodegenError {
    match error {
        CraneliftError::Unsupported(what) => CodegenError::Unsupported(what),
        CraneliftError::ImplLimitExceeded => {
            CodegenError::Unsupported("implementation limit exceeded".to_string())
        }
        CraneliftError::CodeTooLarge => CodegenError::Unsupported("code too large".to_string()),
        other => failed(other.to_string()),
    }
}

fn failed(why: String) -> CodegenError {
    CodegenError::Failed(why)
}

fn trap_kind(code: TrapCode) -> Result<TrapKind, CodegenError> {
    Ok(match code {
        TrapCode::StackOverflow => TrapKind::StackExhausted,
        TrapCode::HeapOutOfBounds => TrapKind::MemoryOutOfBounds,
        TrapCode::TableOutOfBounds => TrapKind::TableOutOfBounds,
        TrapCode::IndirectCallToNull => TrapKind::IndirectCallToNull,
        TrapCode::BadSignature => TrapKind::BadSignature,
        TrapCode::IntegerOverflow => TrapKind::IntegerOverflow,
        TrapCode::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
        TrapCode::BadConversionToInteger => TrapKind::BadConversionToInteger,
        TrapCode::UnreachableCodeReached => TrapKind::Unreachable,
        TrapCode::Interrupt => TrapKind::Interrupted,
        other => return Err(failed(format!("trap code {other} in code we translated"))),
    })
}

fn relocation_kind(reloc: Reloc) -> Result<RelocationKind, CodegenError> {
    Ok(match reloc {
        Reloc::Abs8 => RelocationKind::Absolute8,
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 => RelocationKind::Relative4,
        Reloc::Arm64Call => RelocationKind::Aarch64Call,
        other => return Err(failed(format!("relocation of kind {other}"))),
    })
}

fn lib_call(call: ir::LibCall) -> Result<LibCall, CodegenError> {
    Ok(match call {
        ir::LibCall::CeilF32 => LibCall::CeilF32,
        ir::LibCall::CeilF64 => LibCall::CeilF64,
        ir::LibCall::FloorF32 => LibCall::FloorF32,
        ir::LibCall::FloorF64 => LibCall::FloorF64,
        ir::LibCall::TruncF32 => LibCall::TruncF32,
        ir::LibCall::TruncF64 => LibCall::TruncF64,
        ir::LibCall::NearestF32 => LibCall::NearestF32,
        ir::LibCall::NearestF64 => LibCall::NearestF64,
        ir::LibCall::FmaF32 => LibCall::FmaF32,
        ir::LibCall::FmaF64 => LibCall::FmaF64,
        ir::LibCall::X86Pshufb => LibCall::X86Pshufb,
        other => return Err(failed(format!("call of routine {other}"))),
    })
}
