//! Custom sections, where a module is encoded anew.
//!
//! What they hold has no say in whether a module is valid: a section called `name` may be anything.
//! The encoder would read it, and refuse the module if it cannot.

use wasm_encoder::CustomSection;
use wasmparser::CustomSectionReader;

/// Copies a custom section as it is.
pub(crate) fn copy(module: &mut wasm_encoder::Module, section: &CustomSectionReader<'_>) {
    module.section(&CustomSection {
        name: section.name().into(),
        data: section.data().into(),
    });
}
