//! CLIF that is not compiled but interpreted: functions as translation left them, made ready to run.
//!
//! This is the one part of code generation whose result is more than plain data: [`Program`]s, which
//! hold functions of Cranelift 0.112.3 and go to [`crate::runtime::interpreter`]. For everybody else the
//! [`CompiledModule`] that comes with them is as any other: an operation is one byte of code, with traps
//! and stack maps where instructions have them.

mod lanes;
mod loads;
mod lower;
mod program;
mod scalar;
mod trust;

use std::rc::Rc;

use cranelift_codegen::ir;

pub use self::lanes::widen;
pub use self::lower::ALIGNMENT;
use self::lower::Signatures;
pub use self::program::{CallSite, Edge, Load, Number, Op, Program, Register};
pub use self::scalar::carries;
use super::generator::{Compiler, Job};
use super::{CodegenError, CompiledModule};

/// Signatures that are kept at most.
const KEPT_SIGNATURES: usize = 4096;

/// Makes functions ready to be interpreted, with what is worth keeping from one to the next.
pub struct Lowerer {
    signatures: Signatures,
    /// Those of the module under way.
    lowered: Vec<Program>,
    /// Programs whose allocations are to be used again.
    spare: Vec<Program>,
    /// The function of those.
    nothing: Rc<ir::Function>,
}

impl Default for Lowerer {
    fn default() -> Self {
        Lowerer {
            signatures: Signatures::default(),
            lowered: Vec::new(),
            spare: Vec::new(),
            nothing: Rc::new(ir::Function::new()),
        }
    }
}

impl Lowerer {
    /// The programs of the module that was just lowered, in the order of its functions.
    pub fn take(&mut self) -> impl Iterator<Item = Program> {
        self.lowered.drain(..)
    }

    /// Takes back what will not be run any more, and forgets a module that was not completed.
    pub fn reuse(&mut self, programs: impl Iterator<Item = Program>) {
        let unused = programs.chain(self.lowered.drain(..));
        self.spare.extend(unused.map(|mut program| {
            program.func = Rc::clone(&self.nothing);
            program
        }));
    }

    /// Says that no program is in use.
    pub fn start_over(&mut self) {
        if self.signatures.len() > KEPT_SIGNATURES {
            self.signatures = Signatures::default();
        }
    }
}

impl Compiler for Lowerer {
    fn compile(
        &mut self,
        func: &Rc<ir::Function>,
        job: &Job,
        module: &mut CompiledModule,
    ) -> Result<(), CodegenError> {
        let mut program = self.spare.pop().unwrap_or_default();
        program.clear();
        let lowered = lower::lower(
            func,
            &mut program,
            job.config.canonicalise_nans,
            job.imported,
            &mut self.signatures,
            module,
        );
        program.func = Rc::clone(func);
        match lowered {
            Ok(()) => self.lowered.push(program),
            Err(_) => self.spare.push(program),
        }
        lowered
    }
}
