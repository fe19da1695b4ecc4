//! The engines there are, by name.

use serde::Serialize;

use super::compiled::{Compiled, Mixture, version_of};
use super::wasmi::Wasmi;
#[cfg(feature = "wasmtime")]
use super::wasmtime::{self, Flavour, Wasmtime};
use super::{Engine, version};
use crate::codegen::{Backend, Generation, Isa};
use crate::runtime::machine::{Execution, HOST};
use crate::score::Fault;

/// The engine whose word counts when two differ.
pub const REFERENCE: &str = "wasmi";

/// The engine whose code the host runs itself, by default: that of the host's own ISA.
pub const DIRECT: &str = match HOST {
    Isa::Aarch64 => "aarch64",
    _ => "x86_64",
};

/// The same code, run by the emulator.
pub const EMULATED: &str = match HOST {
    Isa::Aarch64 => "aarch64-emulated",
    _ => "x86_64-emulated",
};

/// An engine that compiles.
struct CompiledEngine {
    name: &'static str,
    backend: Backend,
    execution: Execution,
    by_default: bool,
}

/// The engines that compile, in the order in which they are shown. One of the current generation has
/// the name of its ISA; one of another has that name, and its version behind a `-`.
const COMPILED: &[CompiledEngine] = &[
    compiled("x86_64", Isa::X86_64, Generation::CURRENT, true),
    compiled("aarch64", Isa::Aarch64, Generation::CURRENT, true),
    compiled("clif", Isa::Clif, Generation::CURRENT, true),
    compiled("riscv64", Isa::Riscv64, Generation::CURRENT, false),
    compiled(
        "x86_64-0.112",
        Isa::X86_64,
        Generation::Cranelift0_112,
        false,
    ),
    compiled(
        "aarch64-0.112",
        Isa::Aarch64,
        Generation::Cranelift0_112,
        false,
    ),
    // The host's own code in the emulator: what the emulator is worth can be seen beside the host
    // itself.
    CompiledEngine {
        name: EMULATED,
        execution: Execution::Emulated,
        ..compiled("", HOST, Generation::CURRENT, false)
    },
];

const fn compiled(
    name: &'static str,
    isa: Isa,
    generation: Generation,
    by_default: bool,
) -> CompiledEngine {
    CompiledEngine {
        name,
        backend: Backend { isa, generation },
        execution: Execution::of(isa),
        by_default,
    }
}

/// An engine, as `parallax engines` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EngineInfo {
    /// The name by which it is chosen.
    pub name: &'static str,
    /// The version of what it wraps.
    pub version: String,
    /// Whether it can be used on this machine and in this build.
    pub usable: bool,
    /// Why not, or what it is.
    pub why: &'static str,
    /// Whether it is run unless others are asked for.
    pub by_default: bool,
}

/// All engines that this build knows, the reference first.
pub fn all() -> Vec<EngineInfo> {
    let reference = EngineInfo {
        name: REFERENCE,
        version: format!("wasmi {}", version::locked_version("wasmi")),
        usable: true,
        why: "the reference interpreter",
        by_default: true,
    };
    let mut all = vec![reference];
    all.extend(COMPILED.iter().map(|engine| {
        let (usable, why) = runs(engine.execution);
        EngineInfo {
            name: engine.name,
            version: version_of(engine.backend, engine.execution),
            usable,
            why,
            by_default: engine.by_default,
        }
    }));
    all.extend(wasmtime());
    all
}

/// The engines of Wasmtime. None of them is run by default: their compilers and runtime are what
/// others own, and cost a case about as much as our own engines do together.
#[cfg(feature = "wasmtime")]
fn wasmtime() -> impl Iterator<Item = EngineInfo> {
    Flavour::ALL.into_iter().map(|flavour| {
        let (usable, why) = flavour.runs();
        EngineInfo {
            name: flavour.name(),
            version: wasmtime::version(),
            usable,
            why,
            by_default: false,
        }
    })
}

/// The engines of Wasmtime, which this build lacks.
#[cfg(not(feature = "wasmtime"))]
fn wasmtime() -> impl Iterator<Item = EngineInfo> {
    ["wasmtime", "winch", "pulley"]
        .into_iter()
        .map(|name| EngineInfo {
            name,
            version: format!("wasmtime {}", version::locked_version("wasmtime")),
            usable: false,
            why: "built without the feature `wasmtime`",
            by_default: false,
        })
}

/// Makes one of the engines of Wasmtime, if the name is one of theirs.
#[cfg(feature = "wasmtime")]
fn make_wasmtime(name: &str) -> Option<Box<dyn Engine>> {
    let flavour = Flavour::ALL.into_iter().find(|it| it.name() == name)?;
    Some(Box::new(Wasmtime::new(flavour)))
}

/// None can be made.
#[cfg(not(feature = "wasmtime"))]
fn make_wasmtime(_name: &str) -> Option<Box<dyn Engine>> {
    None
}

/// Whether code can be run in some way here, and how or why not.
fn runs(execution: Execution) -> (bool, &'static str) {
    match execution {
        Execution::Direct => (true, "machine code, run directly"),
        Execution::Emulated if cfg!(feature = "emulator") => (true, "machine code, emulated"),
        Execution::Emulated => (false, "built without the feature `emulator`"),
        Execution::Interpreted => (true, "the IR after translation, interpreted"),
    }
}

/// Finds an engine by name.
///
/// # Errors
/// One line, if there is none of this name or it cannot be used here.
pub fn find(name: &str) -> Result<EngineInfo, String> {
    let mut known = all();
    let Some(position) = known.iter().position(|info| info.name == name) else {
        let names: Vec<_> = known.iter().map(|info| info.name).collect();
        return Err(format!(
            "no engine is named `{name}` (there are {})",
            names.join(", ")
        ));
    };
    let info = known.swap_remove(position);
    if !info.usable {
        return Err(format!("engine `{name}` cannot be used here: {}", info.why));
    }
    Ok(info)
}

/// Makes an engine.
///
/// # Errors
/// One line, if there is none of this name or it cannot be used here.
pub fn make(name: &str) -> Result<Box<dyn Engine>, String> {
    make_with_fault(name, None)
}

/// Makes an engine, with a fault planted in it if it is one that compiles.
///
/// # Errors
/// One line, if there is none of this name or it cannot be used here.
pub fn make_with_fault(name: &str, fault: Option<Fault>) -> Result<Box<dyn Engine>, String> {
    let name = find(name)?.name;
    Ok(match COMPILED.iter().find(|engine| engine.name == name) {
        Some(engine) => {
            let compiled = Compiled::with_fault(engine.name, engine.backend, fault);
            Box::new(compiled.run_by(engine.execution))
        }
        None => make_wasmtime(name).unwrap_or_else(|| Box::new(Wasmi::new())),
    })
}

/// Makes an engine that compiles some functions by other settings than the rest, with a fault
/// planted in it; `None` if the engine makes no machine code.
///
/// # Errors
/// One line, if there is none of this name or it cannot be used here.
pub fn make_mixed(
    name: &str,
    fault: Option<Fault>,
    mixture: Mixture,
) -> Result<Option<Box<dyn Engine>>, String> {
    let name = find(name)?.name;
    Ok(machine_code(name).map(|engine| {
        let mixed = Compiled::with_mixture(engine.name, engine.backend, fault, mixture);
        Box::new(mixed.run_by(engine.execution)) as Box<dyn Engine>
    }))
}

/// Makes an engine that shows functions as it compiles them, with a fault planted in it; `None` if
/// the engine makes no machine code.
pub fn make_compiled(name: &str, fault: Option<Fault>) -> Option<Compiled> {
    let engine = machine_code(name)?;
    let compiled = Compiled::with_fault(engine.name, engine.backend, fault);
    Some(compiled.run_by(engine.execution))
}

/// The engine that runs code of the same ISA in the same way, by the current generation if the one of
/// this name is of another, and by the one before if it is of the current one; `None` if there is none,
/// or it cannot be used here.
pub fn other_generation(name: &str) -> Option<&'static str> {
    let engine = machine_code(name)?;
    let mut others = COMPILED.iter().filter(|other| {
        other.backend.isa == engine.backend.isa
            && other.execution == engine.execution
            && other.backend.generation != engine.backend.generation
            && runs(other.execution).0
    });
    others.next().map(|other| other.name)
}

/// Whether the engine of this name makes machine code by a generation that is not the current one.
pub fn is_of_old_generation(name: &str) -> bool {
    machine_code(name).is_some_and(|engine| engine.backend.generation != Generation::CURRENT)
}

/// An engine that makes machine code.
fn machine_code(name: &str) -> Option<&'static CompiledEngine> {
    let mut engines = COMPILED.iter();
    engines.find(|engine| engine.name == name && engine.backend.isa != Isa::Clif)
}
