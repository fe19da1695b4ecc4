//! The code generator: one function after the other, from CLIF into a [`CompiledModule`], by the
//! generation of Cranelift that it was made for.
//!
//! Functions are always built as CLIF of Cranelift 0.112.3, since that is what the translator
//! makes. A later generation carries them over first, which its own file does.

use cranelift_codegen::ir;
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::FunctionBuilderContext;
use target_lexicon::PointerWidth;

use super::clif::Lowerer;
use super::compiled::CompiledModule;
use super::{CodegenConfig, CodegenError, Generation, Isa, cranelift_0_112, cranelift_0_135};
use crate::score::{Fault, plant};

/// What there is to know about a function besides its CLIF.
pub(super) struct Job {
    /// How to compile it.
    pub config: CodegenConfig,
    /// How many functions its module imports: the first numbers are theirs.
    pub imported: u32,
    /// A planted fault.
    pub fault: Option<Fault>,
}

/// A generation of Cranelift.
pub(super) trait Compiler {
    /// Compiles `func`, which may be changed by it, and appends it to `module`.
    fn compile(
        &mut self,
        func: &mut ir::Function,
        job: &Job,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError>;

    /// Does only what [`Compiler::compile`] does before the generation's own work begins: makes the
    /// function one of this generation. For measuring what that costs.
    fn carry(&mut self, func: &ir::Function) -> Result<(), CodegenError> {
        let _ = func;
        Ok(())
    }
}

/// A code generator, with what is worth keeping from one module to the next.
pub struct Generator {
    pub(super) function: ir::Function,
    pub(super) builder_context: FunctionBuilderContext,
    compiler: Box<dyn Compiler>,
    lowerer: Lowerer,
}

impl Generator {
    /// One that generates code by a generation of Cranelift.
    pub fn new(generation: Generation) -> Generator {
        let compiler: Box<dyn Compiler> = match generation {
            Generation::Cranelift0_112 => Box::new(cranelift_0_112::Cranelift::default()),
            Generation::Cranelift0_135 => Box::new(cranelift_0_135::Cranelift::default()),
        };
        Generator {
            function: ir::Function::new(),
            builder_context: FunctionBuilderContext::new(),
            compiler,
            lowerer: Lowerer::default(),
        }
    }

    /// The function to build next, cleared.
    pub fn function(&mut self) -> &mut ir::Function {
        self.function.clear();
        &mut self.function
    }

    /// Compiles the function last built in [`Generator::function`] and appends it to `module`, of
    /// which `imported` functions are imported.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn compile(
        &mut self,
        config: &CodegenConfig,
        imported: u32,
        fault: Option<Fault>,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let job = Job {
            config: *config,
            imported,
            fault,
        };
        let compiler: &mut dyn Compiler = match config.isa {
            Isa::Clif => &mut self.lowerer,
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => {
                plant::in_clif(fault, config, &mut self.function);
                &mut *self.compiler
            }
        };
        compiler.compile(&mut self.function, &job, module)?;
        if let Some(made) = module.functions.last() {
            let code = &mut module.code[made.start as usize..made.end as usize];
            plant::in_code(fault, config.isa, code);
        }
        Ok(())
    }

    /// Where functions are that are not compiled but interpreted.
    pub fn lowerer(&mut self) -> &mut Lowerer {
        &mut self.lowerer
    }

    /// Makes the function last built in [`Generator::function`] one of this generation, which
    /// [`Generator::compile`] does first, and nothing more.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn carry(&mut self) -> Result<(), CodegenError> {
        self.compiler.carry(&self.function)
    }
}

/// What building a function for an ISA depends on.
pub fn frontend_config(isa: Isa) -> TargetFrontendConfig {
    TargetFrontendConfig {
        default_call_conv: CallConv::SystemV,
        pointer_width: PointerWidth::U64,
        page_size_align_log2: match isa {
            Isa::X86_64 | Isa::Riscv64 | Isa::Clif => 12,
            Isa::Aarch64 => 16,
        },
    }
}
