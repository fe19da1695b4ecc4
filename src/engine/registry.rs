//! The engines there are, by name.

use serde::Serialize;

use super::compiled::Compiled;
use super::wasmi::Wasmi;
use super::{Engine, version};
use crate::codegen::Isa;
use crate::score::Fault;

/// The engine whose word counts when two differ.
pub const REFERENCE: &str = "wasmi";

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
    let x86_64 = cfg!(target_arch = "x86_64");
    let emulator = cfg!(feature = "emulator");
    vec![
        EngineInfo {
            name: REFERENCE,
            version: format!("wasmi {}", version::locked_version("wasmi")),
            usable: true,
            why: "the reference interpreter",
            by_default: true,
        },
        EngineInfo {
            name: "x86_64",
            version: format!("cranelift {}", version::locked_version("cranelift-codegen")),
            usable: x86_64,
            why: if x86_64 {
                "machine code, run directly"
            } else {
                "the host is not x86-64"
            },
            by_default: true,
        },
        EngineInfo {
            name: "aarch64",
            version: format!(
                "cranelift {}, unicorn {}",
                version::locked_version("cranelift-codegen"),
                version::locked_version("unicorn-engine")
            ),
            usable: emulator,
            why: if emulator {
                "machine code, emulated"
            } else {
                "built without the feature `emulator`"
            },
            by_default: true,
        },
    ]
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
    Ok(match find(name)?.name {
        REFERENCE => Box::new(Wasmi::new()),
        "aarch64" => Box::new(Compiled::with_fault(Isa::Aarch64, fault)),
        _ => Box::new(Compiled::with_fault(Isa::X86_64, fault)),
    })
}
