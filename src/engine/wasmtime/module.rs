//! What is changed in a module before Wasmtime gets it, besides what [`crate::engine::segments`]
//! changes.
//!
//! Wasmtime has no way to say which function a reference is to, but the address of the record that
//! stands for it, which an instance has for each of its functions, imported ones included. A
//! function that is imported is therefore exported, too, if a reference to it may be made.
//!
//! Winch leaves NaNs as they come. Where a case lets their bits show, what it gets is a module that makes
//! them canonical by itself.

use std::borrow::Cow;

use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{ExportKind, ExportSection};

use crate::case::Module;
use crate::case::custom::copy_custom_sections;
use crate::case::module::{ConstExpr, ConstOp};
use crate::case::nans::{Places, canonicalised};

/// A module as Wasmtime gets it, and under which name each imported function is exported in it.
pub struct Prepared<'m> {
    /// The binary.
    pub wasm: Cow<'m, [u8]>,
    /// Imported functions that are exported for us, by index.
    pub names: Vec<(u32, String)>,
}

/// Exports the imported functions that references may be made to, and has the module itself make its
/// NaNs canonical if that is asked for.
///
/// # Errors
/// What the encoder says; not for a module that is valid.
pub fn prepare<'m>(
    module: &Module,
    wasm: Cow<'m, [u8]>,
    canonicalise: bool,
) -> Result<Prepared<'m>, String> {
    let wasm = match canonicalise {
        true => Cow::Owned(canonicalised(module, &wasm, Places::Computed)?),
        false => wasm,
    };
    let mut names = Vec::new();
    let imported = module.imported_functions();
    let mut referred = vec![false; imported as usize];
    let mut refer = |expr: &ConstExpr| {
        for op in &expr.0 {
            if let ConstOp::RefFunc(index) = op
                && let Some(referred) = referred.get_mut(*index as usize)
            {
                *referred = true;
            }
        }
    };
    if imported > 0 {
        let segments = module.elements.iter().flat_map(|segment| &segment.items);
        segments.for_each(&mut refer);
        module.global_inits.iter().for_each(&mut refer);
        module.table_inits.iter().flatten().for_each(&mut refer);
    }
    let prefix = module.exports.iter().map(|(name, _)| leading_marks(name));
    let prefix = "@".repeat(prefix.max().unwrap_or(0) + 1);
    for (index, referred) in (0..).zip(referred) {
        if referred && module.function_exports[index as usize].is_empty() {
            names.push((index, format!("{prefix}i{index}")));
        }
    }
    if names.is_empty() {
        return Ok(Prepared { wasm, names });
    }
    let mut encoded = wasm_encoder::Module::new();
    Exporting {
        names: &names,
        done: false,
    }
    .parse_core_module(&mut encoded, wasmparser::Parser::new(0), &wasm)
    .map_err(|error| error.to_string())?;
    Ok(Prepared {
        wasm: Cow::Owned(encoded.finish()),
        names,
    })
}

/// Whether a module has `table.fill`.
pub fn fills_tables(module: &Module) -> bool {
    module.opcodes.has(&[0xfc, 17])
}

fn leading_marks(name: &str) -> usize {
    name.bytes().take_while(|byte| *byte == b'@').count()
}

/// Adds exports of functions.
struct Exporting<'a> {
    names: &'a [(u32, String)],
    done: bool,
}

impl Exporting<'_> {
    fn add(&mut self, exports: &mut ExportSection) {
        if !std::mem::replace(&mut self.done, true) {
            for (index, name) in self.names {
                exports.export(name, ExportKind::Func, *index);
            }
        }
    }
}

impl Reencode for Exporting<'_> {
    type Error = std::convert::Infallible;

    copy_custom_sections!();

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        reencode::utils::parse_export_section(self, exports, section)?;
        self.add(exports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut wasm_encoder::Module,
        _after: Option<wasm_encoder::SectionId>,
        before: Option<wasm_encoder::SectionId>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        use wasm_encoder::SectionId::{Code, Data, DataCount, Element, Start};
        // Where there is no export section, this is its place.
        let past = matches!(
            before,
            None | Some(Start | Element | DataCount | Code | Data)
        );
        if past && !self.done {
            let mut exports = ExportSection::new();
            self.add(&mut exports);
            module.section(&exports);
        }
        Ok(())
    }
}
