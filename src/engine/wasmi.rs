//! The reference: wasmi 2, an interpreter that shares no code with Cranelift.
//!
//! A case gets a wasmi engine and store of its own, so that nothing is left behind when it ends;
//! making both takes well under a microsecond. What is reused between cases are the shadows that
//! snapshots are compared with.
//!
//! Three things differ from handing a module to wasmi as it is. The start function is called by us,
//! after instantiation, and a module one of whose active segments will not fit is instantiated
//! with the rest of its segments left passive (`segments.rs`). Either way the instance exists even
//! where instantiation then fails, as the specification has it: functions that it left in a shared
//! table go on working. wasmi itself leaves such functions without an instance, and calling one
//! reads beyond the end of an empty one. And where there are tail calls, functions have a local more
//! than they came with (`frames.rs`).

mod aliases;
mod frames;
mod handle;
mod host;
mod outcome;
mod run;
mod visible;

#[cfg(test)]
mod tests;

use ::wasmi::{CompilationMode, Config, EnforcedLimits};

use super::shadow::Shadows;
use super::version::locked_version;
use super::{Engine, Refusal, Run};
use crate::case::Case;
use crate::panics;

/// Calls that may be active at once. Frames live on the heap, so this costs nothing until it is
/// used. A runaway recursion takes about 0.2 ms to get there; at twice the depth, where the
/// allocator begins to map and unmap memory for the frames, up to ten times that.
const RECURSION_DEPTH: usize = 10_000;
/// Bytes of all active frames together: room for [`RECURSION_DEPTH`] frames of 200 values.
const STACK_BYTES: usize = 16 << 20;

/// The reference engine.
pub struct Wasmi {
    config: Config,
    shadows: Shadows<u64>,
}

impl Default for Wasmi {
    fn default() -> Self {
        Wasmi::new()
    }
}

impl Wasmi {
    /// The engine, set to what modules may use.
    pub fn new() -> Wasmi {
        let mut config = Config::default();
        config
            .wasm_mutable_global(true)
            .wasm_sign_extension(true)
            .wasm_saturating_float_to_int(true)
            .wasm_multi_value(true)
            .wasm_bulk_memory(true)
            .wasm_reference_types(true)
            .wasm_simd(true)
            .floats(true)
            .wasm_multi_memory(true)
            .wasm_tail_call(true)
            .wasm_extended_const(true)
            .wasm_custom_page_sizes(false)
            .wasm_memory64(true)
            .wasm_wide_arithmetic(false)
            .wasm_relaxed_simd(true)
            .enforced_limits(EnforcedLimits::default())
            .consume_fuel(true)
            .ignore_custom_sections(true)
            .set_max_stack_height(STACK_BYTES)
            .set_max_recursion_depth(RECURSION_DEPTH)
            // Everything is validated up front, and only what is called gets translated: of the
            // modes that validate, this one is several times faster on modules of many functions.
            .compilation_mode(CompilationMode::LazyTranslation);
        Wasmi {
            config,
            shadows: Shadows::default(),
        }
    }
}

impl Engine for Wasmi {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn version(&self) -> String {
        locked_version("wasmi").to_string()
    }

    fn start<'run>(&'run mut self, case: &'run Case) -> Result<Box<dyn Run + 'run>, Refusal> {
        guard(|| run::WasmiRun::start(self, case))
            .unwrap_or_else(|panic| Err(Refusal::Failed(panic)))
            .map(|run| Box::new(run) as Box<dyn Run + 'run>)
    }

    fn accepts(&mut self, wasm: &[u8]) -> bool {
        let engine = ::wasmi::Engine::new(&self.config);
        guard(|| ::wasmi::Module::validate(&engine, wasm).is_ok()).unwrap_or(true)
    }
}

/// Runs `what`, turning a panic of the interpreter into its message. What a panic may have left half done is
/// not used again: the run it belongs to has ended.
fn guard<R>(what: impl FnOnce() -> R) -> Result<R, String> {
    panics::catch(what).map_err(|said| format!("panicked: {said}"))
}
