//! Makes a module import what another exports.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{EntityType, Import, Imports};

use super::GenerateError;
use super::rng::Rng;
use crate::case::module::{Extern, ImportKind, Module};

/// How many of 100 imports of memories and tables have a smaller minimum, if they can, and how many a larger
/// maximum.
const WIDER_PERCENT: u32 = 30;

/// Rewrites the imports of `second` that `first` could satisfy, most of them, to import from
/// `module_name` what `first` exports. Memories and tables get the limits of what they import, or wider
/// ones, which match.
///
/// Both are decoded binaries; `first` must export under the names it came with all that is to be
/// found.
///
/// # Errors
/// [`GenerateError`] if the binary of `second` cannot be parsed.
pub fn relink(
    second: &Module,
    first: &Module,
    module_name: &str,
    rng: Rng,
) -> Result<Vec<u8>, GenerateError> {
    let mut pass = Relink {
        second,
        first,
        module_name,
        rng,
        next: 0,
    };
    let mut module = wasm_encoder::Module::new();
    pass.parse_core_module(&mut module, wasmparser::Parser::new(0), &second.wasm)
        .map_err(|error| GenerateError(format!("linking: {error}")))?;
    Ok(module.finish())
}

struct Relink<'a> {
    second: &'a Module,
    first: &'a Module,
    module_name: &'a str,
    rng: Rng,
    /// The position of the next import.
    next: usize,
}

impl<'a> Relink<'a> {
    /// An export of the first module that satisfies an import, if there is any: its name, and the
    /// type to import it at.
    fn found(&mut self, wanted: ImportKind) -> Option<(&'a str, EntityType)> {
        let first = self.first;
        let count = first.exports.len();
        if count == 0 {
            return None;
        }
        // From a random one on, so that one of several is not always the first.
        let start = self.rng.below(count as u32) as usize;
        (0..count)
            .map(|step| &first.exports[(start + step) % count])
            .find_map(|(name, item)| {
                let ty = self.import_type(*item, wanted)?;
                Some((name.as_str(), ty))
            })
    }

    fn import_type(&mut self, item: Extern, wanted: ImportKind) -> Option<EntityType> {
        let first = self.first;
        match (item, wanted) {
            (Extern::Func(function), ImportKind::Func(ty)) => {
                let wanted = self.second.types.get(ty as usize)?;
                (first.function_type(function) == wanted).then_some(EntityType::Function(ty))
            }
            (Extern::Memory(memory), ImportKind::Memory(wanted)) => {
                let there = first.memories[memory as usize];
                if there.memory64 != wanted.memory64 || there.min < wanted.min {
                    return None;
                }
                // What addresses reach, in pages.
                let most = if there.memory64 { 1 << 48 } else { 1 << 16 };
                let (minimum, maximum) = self.wider((there.min, there.max), wanted.min, most);
                Some(EntityType::Memory(wasm_encoder::MemoryType {
                    minimum,
                    maximum,
                    memory64: there.memory64,
                    shared: false,
                    page_size_log2: None,
                }))
            }
            (Extern::Table(table), ImportKind::Table(wanted)) => {
                let there = first.tables[table as usize];
                if there.element != wanted.element || there.min < wanted.min {
                    return None;
                }
                let most = u64::from(u32::MAX);
                let (minimum, maximum) = self.wider((there.min, there.max), wanted.min, most);
                Some(EntityType::Table(wasm_encoder::TableType {
                    element_type: super::sketch::reference(there.element),
                    minimum,
                    maximum,
                    table64: false,
                    shared: false,
                }))
            }
            (Extern::Global(global), ImportKind::Global(wanted)) => {
                let there = first.globals[global as usize];
                (there == wanted).then_some(EntityType::Global(wasm_encoder::GlobalType {
                    val_type: super::sketch::encoded(there.value),
                    mutable: there.mutable,
                    shared: false,
                }))
            }
            _ => None,
        }
    }
}

impl Relink<'_> {
    /// Limits that something with these limits matches, no smaller than `wanted` and no larger than
    /// `most`: often the same.
    fn wider(
        &mut self,
        (min, max): (u64, Option<u64>),
        wanted: u64,
        most: u64,
    ) -> (u64, Option<u64>) {
        let less = u64::from(self.rng.below((min - wanted).min(1_000) as u32 + 1));
        let min = match self.rng.percent(WIDER_PERCENT) {
            true => min - less,
            false => min,
        };
        let more = u64::from(self.rng.range(1, 4));
        let max = match max {
            Some(_) if self.rng.percent(WIDER_PERCENT / 2) => None,
            Some(max) if self.rng.percent(WIDER_PERCENT) => Some((max + more).min(most)),
            same => same,
        };
        (min, max)
    }
}

impl Reencode for Relink<'_> {
    type Error = Infallible;

    fn parse_imports(
        &mut self,
        section: &mut wasm_encoder::ImportSection,
        imports: wasmparser::Imports<'_>,
    ) -> Result<(), Error<Infallible>> {
        let import = self.second.imports.get(self.next);
        self.next += 1;
        // Functions of the host that mean something keep their meaning.
        let wanted = import
            .filter(|import| import.module != "parallax")
            .map(|import| import.kind);
        if let Some(wanted) = wanted
            && self.rng.percent(85)
            && let Some((name, ty)) = self.found(wanted)
        {
            section.imports(Imports::Single(Import {
                module: self.module_name,
                name,
                ty,
            }));
            return Ok(());
        }
        utils::parse_imports(self, section, imports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Module {
        Module::from_wasm(&wat::parse_str(text).expect("wat"), None).expect("module")
    }

    #[test]
    fn imports_find_what_fits_and_only_that() {
        let first = decode(
            r#"(module
                (memory (export "m") 2 5) (table (export "t") 7 funcref)
                (global (export "g") (mut i32) (i32.const 1))
                (func (export "f") (param i32) (result i32) local.get 0))"#,
        );
        let second = decode(
            r#"(module
                (import "a" "f" (func (param i32) (result i32)))
                (import "a" "other" (func (param i64)))
                (import "a" "m" (memory 1))
                (import "a" "t" (table 8 funcref))
                (import "a" "g" (global (mut i32)))
                (import "parallax" "take" (func (param i32) (result i32))))"#,
        );
        // Each import is rewritten in most draws: take what some draw does.
        let mut linked = [false; 6];
        let mut limits = Vec::new();
        for seed in 0..50 {
            let wasm = relink(&second, &first, "first", Rng::new(seed)).expect("relinked");
            let relinked = Module::from_wasm(&wasm, None).expect("valid");
            for (at, import) in relinked.imports.iter().enumerate() {
                if import.module == "first" {
                    linked[at] = true;
                }
                if let ImportKind::Memory(memory) = import.kind
                    && import.module == "first"
                {
                    assert!((1..=2).contains(&memory.min), "{memory:?}");
                    assert!(memory.max.is_none_or(|max| max >= 5), "{memory:?}");
                    limits.push((memory.min, memory.max));
                }
            }
        }
        for wanted in [(2, Some(5)), (1, Some(5)), (2, None)] {
            assert!(limits.contains(&wanted), "{limits:?}");
        }
        assert!(limits.iter().any(|(_, max)| max.is_some_and(|max| max > 5)));
        // The table is too small, and `parallax.take` means something.
        assert_eq!(linked, [true, false, true, false, true, false]);
    }
}
