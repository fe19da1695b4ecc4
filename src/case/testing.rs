//! Modules to test with.

use arbitrary::Unstructured;
use proptest::prelude::*;

use super::Module;

/// Binaries of WebAssembly 2.0 as wasm-smith makes them: imports, exports, segments and all.
pub(crate) fn binaries() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 64..2048).prop_filter_map("no module", |bytes| {
        let config = wasm_smith::Config {
            max_memories: 1,
            max_tables: 4,
            max_memory32_bytes: 1 << 20,
            exceptions_enabled: false,
            gc_enabled: false,
            compact_imports_enabled: false,
            memory64_enabled: false,
            relaxed_simd_enabled: false,
            tail_call_enabled: false,
            threads_enabled: false,
            wide_arithmetic_enabled: false,
            extended_const_enabled: false,
            ..wasm_smith::Config::default()
        };
        let module = wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).ok()?;
        Some(module.to_bytes())
    })
}

/// The module that this text stands for.
pub(crate) fn module(wat: &str) -> Module {
    let wasm = wat::parse_str(wat).expect("text of a module");
    Module::from_wasm(&wasm, None).expect("a valid module")
}
