//! Code generation by Cranelift 0.112.3, the generation that `cranelift-wasm` ended with.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, ExternalName, TrapCode};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError as CraneliftError, Context, FinalizedRelocTarget};
use parallax_oracles::TrapKind;

use super::compiled::{
    CompiledFunction, CompiledModule, LibCall, Relocation, RelocationKind, RelocationTarget,
    SourceRange, StackMap, TrapSite,
};
use super::generator::{Compiler, Job};
use super::{CodegenConfig, CodegenError, flags, planted_trap, stack_of_calls};

/// The version of the generator.
pub const VERSION: &str = cranelift_codegen::VERSION;

/// This generation's compiler, with what is worth keeping from one function to the next.
pub(super) struct Cranelift {
    isas: HashMap<CodegenConfig, Arc<dyn TargetIsa>>,
    context: Context,
    control_plane: ControlPlane,
}

impl Default for Cranelift {
    fn default() -> Self {
        Cranelift {
            isas: HashMap::new(),
            context: Context::new(),
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
        func: &Rc<ir::Function>,
        job: &Job,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let isa = self.isa(&job.config)?;
        let context = &mut self.context;
        context.clear();
        context.func = ir::Function::clone(func);
        context
            .compile(&*isa, &mut self.control_plane)
            .map_err(|error| error_of(error.inner))?;
        append(context, func, job, module)
    }
}

/// Appends what was just compiled of a function to the module.
fn append(
    context: &Context,
    func: &ir::Function,
    job: &Job,
    module: &mut CompiledModule,
) -> Result<(), CodegenError> {
    let compiled = context.compiled_code().expect("just compiled");

    let align = compiled.buffer.alignment.max(16) as usize;
    let start = module.code.len().next_multiple_of(align);
    module.code.resize(start, 0);
    module.code.extend_from_slice(compiled.buffer.data());
    let start = start as u32;
    module.functions.push(CompiledFunction {
        start,
        end: module.code.len() as u32,
        // What is said to be the frame is without the place for arguments and results of calls.
        stack_bytes: compiled.frame_size + stack_of_calls(func),
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
        let kind = planted_trap(trap_kind(trap.code)?, job.fault);
        module.traps.push(TrapSite {
            offset: start + trap.offset,
            kind,
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
    for (name, value) in flags::shared(config) {
        builder
            .set(name, value)
            .map_err(|error| format!("flag {name}: {error}"))?;
    }
    let flags = settings::Flags::new(builder);

    let mut isa = cranelift_codegen::isa::lookup_by_name(flags::triple(config.isa))
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

/// The trap that a trap code of translated code stands for.
pub(crate) fn trap_kind(code: TrapCode) -> Result<TrapKind, CodegenError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Settings;
    use crate::codegen::Isa;
    use crate::translate::environment::FRONTEND;

    #[test]
    fn functions_are_built_for_what_the_target_is() {
        for isa in [Isa::X86_64, Isa::Aarch64] {
            let config = CodegenConfig::new(isa, &Settings::default());
            let target = make_isa(&config).expect("built in").frontend_config();
            assert_eq!(target.default_call_conv, FRONTEND.default_call_conv);
            assert_eq!(target.pointer_width, FRONTEND.pointer_width);
            assert!(target.page_size_align_log2 <= FRONTEND.page_size_align_log2);
        }
    }
}
