//! Code generation by Cranelift 0.135, the generation that is current.
//!
//! A function arrives as CLIF 0.112 and is carried over into CLIF of this generation first
//! ([`carry`]). Everything in here that depends on the generation goes by the one name
//! `cranelift`, which is bound below; `docs/upgrading.md` tells how the next one is added.

mod carry;
mod convert;
mod opcodes;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use cranelift::binemit::Reloc;
use cranelift::control::ControlPlane;
use cranelift::ir::{self, ExternalName};
use cranelift::isa::{OwnedTargetIsa, TargetIsa};
use cranelift::settings::{self, Configurable};
use cranelift::{CodegenError as CraneliftError, Context, FinalizedRelocTarget};
use cranelift_codegen::ir as origin;
use cranelift_codegen_0_135 as cranelift;

use super::compiled::{
    CompiledFunction, CompiledModule, LibCall, Relocation, RelocationKind, RelocationTarget,
    SourceRange, StackMap, TrapSite,
};
use super::generator::{Compiler, Job};
use super::{CodegenConfig, CodegenError, Isa, flags, planted_trap, stack_of_calls};
use crate::case::settings::RegisterAllocator;
use carry::Carrier;

/// The version of the generator.
pub const VERSION: &str = cranelift::VERSION;

/// This generation's compiler, with what is worth keeping from one function to the next.
pub(super) struct Cranelift {
    isas: HashMap<CodegenConfig, Arc<dyn TargetIsa>>,
    context: Context,
    carrier: Carrier,
    control_plane: ControlPlane,
}

impl Default for Cranelift {
    fn default() -> Self {
        Cranelift {
            isas: HashMap::new(),
            context: Context::new(),
            carrier: Carrier::default(),
            control_plane: ControlPlane::default(),
        }
    }
}

impl Cranelift {
    /// The target for a configuration, made once.
    fn isa(&mut self, config: &CodegenConfig) -> Result<Arc<dyn TargetIsa>, CodegenError> {
        if let Some(isa) = self.isas.get(config) {
            return Ok(isa.clone());
        }
        let isa = make_isa(config).map_err(CodegenError::Failed)?;
        self.isas.insert(*config, isa.clone());
        Ok(isa)
    }
}

impl Compiler for Cranelift {
    fn compile(
        &mut self,
        func: &Rc<origin::Function>,
        job: &Job,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        if job.config.isa == Isa::Riscv64 && has_vectors(func) {
            return Err(CodegenError::Unsupported(
                "v128 without vectors".to_string(),
            ));
        }
        let isa = self.isa(&job.config)?;
        self.carry(func)?;
        self.context
            .compile(&*isa, &mut self.control_plane)
            .map_err(|error| error_of(error.inner))?;
        append(&self.context, func, job, module)
    }

    fn carry(&mut self, func: &origin::Function) -> Result<(), CodegenError> {
        self.context.clear();
        self.carrier
            .carry(func, &mut self.context.func)
            .map_err(CodegenError::Unsupported)
    }
}

/// Whether a function computes with vectors, or is given or returns one. Cranelift's backend for riscv64
/// knows them by the extension V only, and takes it for granted where it is not asked for.
fn has_vectors(func: &origin::Function) -> bool {
    let of_signature = |signature: &origin::Signature| {
        let mut types = signature.params.iter().chain(&signature.returns);
        types.any(|it| it.value_type.is_vector())
    };
    let mut values = func.dfg.values();
    values.any(|value| func.dfg.value_type(value).is_vector())
        || of_signature(&func.signature)
        || func.dfg.signatures.values().any(of_signature)
}

/// Appends what was just compiled of a function to the module.
fn append(
    context: &Context,
    func: &origin::Function,
    job: &Job,
    module: &mut CompiledModule,
) -> Result<(), CodegenError> {
    let compiled = context.compiled_code().expect("just compiled");
    let layout = compiled.buffer.frame_layout();
    let frame = layout.ok_or_else(|| failed("a function without a frame".to_string()))?;

    let align = compiled.buffer.alignment.max(16) as usize;
    let start = module.code.len().next_multiple_of(align);
    module.code.resize(start, 0);
    module.code.extend_from_slice(compiled.buffer.data());
    let start = start as u32;
    module.functions.push(CompiledFunction {
        start,
        end: module.code.len() as u32,
        stack_bytes: frame.frame_to_fp_offset + stack_of_calls(func),
    });

    for range in compiled.buffer.get_srclocs_sorted() {
        if !range.loc.is_default() {
            module.sources.push(SourceRange {
                start: start + range.start,
                end: start + range.end,
                wasm: range.loc.bits(),
            });
        }
    }
    for trap in compiled.buffer.traps() {
        let kind = convert::trap_kind(trap.code)
            .ok_or_else(|| failed(format!("trap code {} in code we translated", trap.code)))?;
        module.traps.push(TrapSite {
            offset: start + trap.offset,
            kind: planted_trap(kind, job.fault),
        });
    }
    for reloc in compiled.buffer.relocs() {
        let target = match &reloc.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                let name = &context.func.params.user_named_funcs()[*name];
                RelocationTarget::Function(name.index - job.imported)
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

fn make_isa(config: &CodegenConfig) -> Result<OwnedTargetIsa, String> {
    let mut builder = settings::builder();
    let own = [
        // Results that do not fit into registers go through memory, as they always have; by now that
        // has to be asked for.
        ("enable_multi_ret_implicit_sret", "true"),
        (
            "regalloc_algorithm",
            match config.register_allocator {
                RegisterAllocator::Backtracking => "backtracking",
                RegisterAllocator::SinglePass => "single_pass",
            },
        ),
    ];
    for (name, value) in flags::shared(config).into_iter().chain(own) {
        builder
            .set(name, value)
            .map_err(|error| format!("flag {name}: {error}"))?;
    }
    let flags = settings::Flags::new(builder);

    let mut isa = cranelift::isa::lookup_by_name(flags::triple(config.isa))
        .map_err(|error| error.to_string())?;
    for feature in flags::features(config) {
        isa.enable(&feature)
            .map_err(|error| format!("{feature}: {error}"))?;
    }
    isa.finish(flags).map_err(|error| error.to_string())
}

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

fn relocation_kind(reloc: Reloc) -> Result<RelocationKind, CodegenError> {
    Ok(match reloc {
        Reloc::Abs8 => RelocationKind::Absolute8,
        Reloc::X86PCRel4 | Reloc::X86CallPCRel4 => RelocationKind::Relative4,
        Reloc::Arm64Call => RelocationKind::Aarch64Call,
        Reloc::RiscvCallPlt => RelocationKind::Riscv64Call,
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
