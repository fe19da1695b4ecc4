//! Code generation: CLIF to a [`CompiledModule`] of plain data.
//!
//! No type of a Cranelift version leaves this folder on the far side: what comes out is bytes,
//! offsets and [`TrapKind`]s, the same from every generation of Cranelift and for every ISA.
//!
//! [`TrapKind`]: parallax_oracles::TrapKind

pub mod clif;
pub mod compiled;
pub(crate) mod cranelift_0_112;
mod cranelift_0_135;
pub mod disassembly;
mod flags;
pub mod generator;
pub mod trampolines;

use cranelift_codegen::ir;

use crate::case::Settings;
use crate::case::features::{Aarch64Features, Riscv64Features, X86Features};
use crate::case::settings::{OptLevel, RegisterAllocator};
use crate::score::Fault;
pub use compiled::{CompiledFunction, CompiledModule, SourceRange};
pub use generator::Generator;

/// An instruction set architecture that code can be generated for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Isa {
    /// x86-64.
    X86_64,
    /// aarch64.
    Aarch64,
    /// riscv64: the base and the extensions of `g`, so without vectors.
    Riscv64,
    /// No machine's: CLIF itself, as translation left it, which is interpreted.
    Clif,
}

/// A generation of Cranelift: of its code generator, that is. Translation is by 0.112.3, whichever
/// it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Generation {
    /// 0.112.3, the one that `cranelift-wasm` ended with.
    Cranelift0_112,
    /// 0.135, the newest that the stable toolchain builds.
    Cranelift0_135,
}

impl Generation {
    /// The one that engines of an ISA's own name have.
    pub const CURRENT: Generation = Generation::Cranelift0_135;

    /// All that there are, the oldest first.
    pub const ALL: [Generation; 2] = [Generation::Cranelift0_112, Generation::Cranelift0_135];

    /// The exact version.
    pub fn version(self) -> &'static str {
        match self {
            Generation::Cranelift0_112 => cranelift_0_112::VERSION,
            Generation::Cranelift0_135 => cranelift_0_135::VERSION,
        }
    }
}

/// What makes machine code: a generation of Cranelift, for an ISA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Backend {
    /// The target.
    pub isa: Isa,
    /// The code generator.
    pub generation: Generation,
}

/// All that code generation depends on besides the module: two equal configurations make the
/// same code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CodegenConfig {
    /// The target.
    pub isa: Isa,
    /// The optimisation level.
    pub opt_level: OptLevel,
    /// The register allocator, if the generation has a choice.
    pub register_allocator: RegisterAllocator,
    /// Whether out-of-bounds accesses are also blocked under speculation.
    pub spectre: bool,
    /// Whether NaNs are made canonical.
    pub canonicalise_nans: bool,
    /// The x86-64 extensions to use; none on another ISA.
    pub x86_64: X86Features,
    /// The aarch64 extensions to use; none on another ISA.
    pub aarch64: Aarch64Features,
    /// The riscv64 extensions to use; none on another ISA.
    pub riscv64: Riscv64Features,
    /// The steps in bytes at which functions touch their frame, a power of two; 0 if they do not.
    pub probestack_bytes: u32,
}

impl CodegenConfig {
    /// The configuration of a case for a target.
    pub fn new(isa: Isa, settings: &Settings) -> CodegenConfig {
        let mut config = CodegenConfig {
            opt_level: settings.opt_level,
            register_allocator: settings.register_allocator,
            spectre: settings.spectre,
            canonicalise_nans: settings.canonicalise_nans,
            probestack_bytes: settings.probestack_bytes,
            ..CodegenConfig::for_trampolines(isa)
        };
        match isa {
            Isa::X86_64 => config.x86_64 = settings.x86_64,
            Isa::Aarch64 => config.aarch64 = settings.aarch64,
            Isa::Riscv64 => config.riscv64 = settings.riscv64,
            Isa::Clif => {}
        }
        config
    }

    /// The configuration for trampolines: they move values and are the same in every case.
    pub fn for_trampolines(isa: Isa) -> CodegenConfig {
        CodegenConfig {
            isa,
            opt_level: OptLevel::None,
            register_allocator: RegisterAllocator::SinglePass,
            spectre: false,
            canonicalise_nans: false,
            x86_64: X86Features::NONE,
            aarch64: Aarch64Features::NONE,
            riscv64: Riscv64Features::NONE,
            probestack_bytes: 0,
        }
    }
}

/// Why code was not generated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodegenError {
    /// The generator says that it has no support for this.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The generator failed where it should not have.
    #[error("{0}")]
    Failed(String),
}

/// Bytes of stack besides its frame that the entry of a function sees to, at most: where arguments and
/// results of what it calls lie, or of what it leaves its frame to, which may take more of them than it
/// was called with; and where that keeps its return address and frame pointer (`Callee::gen_prologue` of
/// Cranelift, which adds all of these up).
fn stack_of_calls(func: &ir::Function) -> u32 {
    /// Bytes of any value, and of the address where results are to be put.
    const VALUE: u32 = 16;
    const RETURN_ADDRESS_AND_FRAME_POINTER: u32 = 16;
    let values = |signature: &ir::Signature| signature.params.len() + signature.returns.len() + 1;
    let called = func.dfg.signatures.values().map(values).max();
    // Of calls and of tail calls.
    2 * VALUE * called.unwrap_or(0) as u32 + RETURN_ADDRESS_AND_FRAME_POINTER
}

/// A fault that is planted in what code generation hands on.
pub(crate) fn planted_trap(
    kind: parallax_oracles::TrapKind,
    fault: Option<Fault>,
) -> parallax_oracles::TrapKind {
    use parallax_oracles::TrapKind;
    match (fault, kind) {
        (Some(Fault::SwapTrapKinds), TrapKind::IntegerOverflow) => TrapKind::IntegerDivisionByZero,
        (Some(Fault::SwapTrapKinds), TrapKind::IntegerDivisionByZero) => TrapKind::IntegerOverflow,
        (_, kind) => kind,
    }
}
