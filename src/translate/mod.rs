//! The translation environment: WebAssembly to CLIF.
//!
//! This is what parallax exists to check. `cranelift-wasm` walks the operators of a function and
//! asks an environment how to reach everything outside of it; the environment here is that of a
//! runtime with a vmctx, anyfuncs, and deferred reference counting. One file a concern:
//!
//! - [`layout`]: where everything is in the vmctx
//! - [`builtins`]: the runtime's functions, in one table
//! - [`environment`]: the state for one function, and the hooks' dispatch
//! - `calls`, `tables`, `references`, `globals`, `memories`, `interrupts`: the hooks
//! - `stack_maps`, `stack_slots`: which values a collection must find, and that it does in loops
//! - [`translations`]: what came of it, for all engines

pub mod builtins;
mod calls;
pub mod environment;
mod globals;
mod interrupts;
pub mod layout;
pub mod memories;
mod references;
mod stack_maps;
mod stack_slots;
mod tables;
pub mod translations;

use cranelift_codegen::ir;
use cranelift_wasm::FuncTranslator;
use cranelift_wasm::wasmparser::{
    self, FuncToValidate, FuncValidatorAllocations, FunctionBody, ValidPayload, Validator,
    ValidatorResources, WasmFeatures,
};

pub use environment::{Environment, TranslateConfig};
pub use translations::Translations;

/// Why a module was not translated.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TranslateError {
    /// The environment has no support for something in it.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// It is not valid.
    #[error("{0}")]
    Invalid(String),
}

impl From<cranelift_wasm::WasmError> for TranslateError {
    fn from(error: cranelift_wasm::WasmError) -> Self {
        match error {
            cranelift_wasm::WasmError::Unsupported(what) => TranslateError::Unsupported(what),
            cranelift_wasm::WasmError::ImplLimitExceeded => {
                TranslateError::Unsupported("implementation limit exceeded".to_string())
            }
            other => TranslateError::Invalid(other.to_string()),
        }
    }
}

impl From<wasmparser::BinaryReaderError> for TranslateError {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        TranslateError::Invalid(format!(
            "{} (at offset {:#x})",
            error.message(),
            error.offset()
        ))
    }
}

/// What is translated: WebAssembly 2.0 with SIMD, and of what came after it what modules may use.
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MEMORY64
        | WasmFeatures::RELAXED_SIMD
}

/// Translates modules, reusing what is expensive to make from one function to the next.
pub struct Translator {
    translator: FuncTranslator,
    allocations: FuncValidatorAllocations,
}

impl Default for Translator {
    fn default() -> Self {
        Translator {
            translator: FuncTranslator::new(),
            allocations: FuncValidatorAllocations::default(),
        }
    }
}

/// The body of a function that a module defines, not yet validated.
pub struct Body<'data> {
    to_validate: FuncToValidate<ValidatorResources>,
    body: FunctionBody<'data>,
}

/// Validates all of a binary but the insides of its functions.
///
/// # Errors
/// [`TranslateError::Invalid`].
pub fn bodies(wasm: &[u8]) -> Result<Vec<Body<'_>>, TranslateError> {
    let mut validator = Validator::new_with_features(features());
    let mut bodies = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(wasm) {
        if let ValidPayload::Func(to_validate, body) = validator.payload(&payload?)? {
            bodies.push(Body { to_validate, body });
        }
    }
    Ok(bodies)
}

/// Whether this generation of the validator takes a binary, functions and all.
pub fn validates(wasm: &[u8]) -> bool {
    Validator::new_with_features(features())
        .validate_all(wasm)
        .is_ok()
}

impl Translator {
    /// Translates the `defined`-th function that the module defines into `func`, which must be
    /// cleared. No value in it is another's alias then.
    ///
    /// # Errors
    /// [`TranslateError`].
    pub fn function(
        &mut self,
        body: Body<'_>,
        defined: u32,
        environment: &mut Environment<'_>,
        func: &mut ir::Function,
    ) -> Result<(), TranslateError> {
        let mut validator = body
            .to_validate
            .into_validator(std::mem::take(&mut self.allocations));
        environment.begin(defined, func);
        let result = self
            .translator
            .translate_body(&mut validator, body.body, func, environment);
        self.allocations = validator.into_allocations();
        if let Err(error) = result {
            // What it was about to build is still in there, and it does not look before the next function.
            self.translator = FuncTranslator::new();
            return Err(error.into());
        }
        func.dfg.resolve_all_aliases();
        Ok(())
    }
}
