//! Wasmtime as a subject, through its public API: its Cranelift, its baseline compiler Winch, and
//! Pulley, its interpreter of bytecode that Cranelift makes.
//!
//! Nothing of ours is below the API: translation, code generation, runtime, collector and traps are
//! Wasmtime's own. What is compared is what its API shows of them. A host object is a value of ours
//! behind an `ExternRef`, and tells when it is dropped; how often it is counted does not show.
//!
//! A Wasmtime engine is kept for each configuration that occurred (`config.rs`), since making one
//! costs more than most cases. Modules, store and everything in it are the case's own.
//!
//! As in the reference, the start function is called by us, and a module one of whose active
//! segments will not fit has the rest of them made passive (`segments.rs`): Wasmtime hands out
//! no instance where instantiation fails, and what failed instances left behind could not be seen.

mod config;
mod functions;
mod host;
mod module;
mod objects;
mod outcome;
mod run;
mod visible;

use std::collections::HashMap;
use std::sync::Arc;

use parallax_oracles::{Finding, Place, Seen};

use self::config::Knobs;
use super::shadow::Shadows;
use super::version::locked_version;
use super::{Engine, FILLED_OVER, Refusal, Run};
use crate::case::{Case, Settings};
use crate::panics;
use crate::runtime::watchdog::Clock;

/// Configurations for which engines are kept at most.
const KEPT_ENGINES: usize = 64;

/// By what a module is compiled, and what runs the result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Flavour {
    /// Cranelift, for the host.
    Cranelift,
    /// Winch, for the host.
    Winch,
    /// Cranelift, for the bytecode of the Pulley interpreter.
    Pulley,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Flavour; 3] = [Flavour::Cranelift, Flavour::Winch, Flavour::Pulley];

    /// The name of the engine.
    pub const fn name(self) -> &'static str {
        match self {
            Flavour::Cranelift => "wasmtime",
            Flavour::Winch => "winch",
            Flavour::Pulley => "pulley",
        }
    }

    /// Whether it runs on this host, and what it is or why it does not.
    pub const fn runs(self) -> (bool, &'static str) {
        match self {
            Flavour::Cranelift => (true, "Wasmtime with Cranelift"),
            Flavour::Winch if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) => {
                (true, "Wasmtime with its baseline compiler")
            }
            Flavour::Winch => (false, "Winch makes code for x86-64 and aarch64 only"),
            Flavour::Pulley => (true, "Wasmtime with its interpreter"),
        }
    }
}

/// The version of Wasmtime.
pub fn version() -> String {
    format!("wasmtime {}", locked_version("wasmtime"))
}

/// Wasmtime, with one of its compilers.
pub struct Wasmtime {
    flavour: Flavour,
    engines: HashMap<Knobs, Kept>,
    shadows: Shadows<u64>,
    /// Whether [`FILLED_OVER`] can be said of the last case.
    fills_over: bool,
}

/// A Wasmtime engine, and the clock over calls into it.
#[derive(Clone)]
struct Kept {
    engine: ::wasmtime::Engine,
    clock: Arc<Clock>,
}

impl Wasmtime {
    /// The engine.
    pub fn new(flavour: Flavour) -> Wasmtime {
        Wasmtime {
            flavour,
            engines: HashMap::new(),
            shadows: Shadows::default(),
            fills_over: false,
        }
    }

    /// The Wasmtime engine of a configuration, made if there is none.
    fn engine(&mut self, knobs: &Knobs) -> Result<Kept, Refusal> {
        if let Some(kept) = self.engines.get(knobs) {
            return Ok(kept.clone());
        }
        if self.engines.len() >= KEPT_ENGINES {
            self.engines.clear();
        }
        let engine = ::wasmtime::Engine::new(&knobs.config(self.flavour))
            .map_err(|error| Refusal::Failed(outcome::told(&error)))?;
        // The watchdog must not be the last to know an engine, and drop it in its own thread.
        let weak = engine.weak();
        let clock = Clock::watched(move || {
            if let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
            }
        });
        let kept = Kept { engine, clock };
        self.engines.insert(knobs.clone(), kept.clone());
        Ok(kept)
    }
}

impl Engine for Wasmtime {
    fn name(&self) -> &'static str {
        self.flavour.name()
    }

    fn version(&self) -> String {
        version()
    }

    fn remark(&self, finding: &Finding) -> Option<&'static str> {
        let leak = match (&finding.place, &finding.reference, &finding.subject) {
            (Place::Count(_), Seen::Number(0), Seen::Number(1) | Seen::Absent) => true,
            (Place::Drop(_), Seen::Rule(rule), Seen::Absent) => rule.starts_with("dropped, since"),
            _ => false,
        };
        (leak && self.fills_over).then_some(FILLED_OVER)
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        let knobs = Knobs::of(&case.settings, self.flavour);
        let kept = self.engine(&knobs)?;
        self.fills_over = knobs.fills_over() && case.modules.iter().any(module::fills_tables);
        let (flavour, shadows) = (self.flavour, &mut self.shadows);
        panics::catch(|| run::WasmtimeRun::start(flavour, &knobs, &kept, shadows, case))
            .unwrap_or_else(|panic| Err(Refusal::Failed(format!("panicked: {panic}"))))
            .map(|run| Box::new(run) as Box<dyn Run + 'run>)
    }

    fn accepts(&mut self, wasm: &[u8]) -> bool {
        let knobs = Knobs::of(&Settings::default(), self.flavour);
        let Ok(kept) = self.engine(&knobs) else {
            return true;
        };
        panics::catch(|| ::wasmtime::Module::validate(&kept.engine, wasm).is_ok()).unwrap_or(true)
    }
}
