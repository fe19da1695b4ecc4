//! The code generator: one function after the other, from CLIF into a [`CompiledModule`], by the
//! generation of Cranelift that it was made for.
//!
//! Functions are always built as CLIF of Cranelift 0.112.3, since that is what the translator
//! makes. A later generation carries them over first, which its own file does.

use std::rc::Rc;

use cranelift_codegen::ir;
use cranelift_frontend::FunctionBuilderContext;

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
    /// Compiles `func`, in which no value is another's alias, and appends it to `module`.
    fn compile(
        &mut self,
        func: &Rc<ir::Function>,
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
            builder_context: FunctionBuilderContext::new(),
            compiler,
            lowerer: Lowerer::default(),
        }
    }

    /// Compiles a function, in which no value is another's alias, and appends it to `module`, of which
    /// `imported` functions are imported.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn compile(
        &mut self,
        func: &Rc<ir::Function>,
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
        match config.isa {
            Isa::Clif => self.lowerer.compile(func, &job, module)?,
            Isa::X86_64 | Isa::Aarch64 | Isa::Riscv64 => {
                let faulty = plant::in_clif(fault, config, func);
                let func = faulty.as_ref().unwrap_or(func);
                self.compiler.compile(func, &job, module)?;
            }
        }
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

    /// Makes a function one of this generation, which [`Generator::compile`] does first, and nothing
    /// more.
    ///
    /// # Errors
    /// [`CodegenError`].
    pub fn carry(&mut self, func: &ir::Function) -> Result<(), CodegenError> {
        self.compiler.carry(func)
    }
}
