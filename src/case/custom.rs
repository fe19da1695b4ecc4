//! Custom sections, where a module is encoded anew.
//!
//! What they hold has no say in whether a module is valid: a section called `name` may be anything.
//! The encoder would read it, and refuse the module if it cannot.

/// Has a [`wasm_encoder::reencode::Reencode`] that leaves indices as they are copy custom sections as
/// they are.
macro_rules! copy_custom_sections {
    () => {
        fn parse_custom_section(
            &mut self,
            module: &mut wasm_encoder::Module,
            section: wasmparser::CustomSectionReader<'_>,
        ) -> Result<(), wasm_encoder::reencode::Error<Self::Error>> {
            module.section(&wasm_encoder::CustomSection {
                name: section.name().into(),
                data: section.data().into(),
            });
            Ok(())
        }
    };
}

pub(crate) use copy_custom_sections;
