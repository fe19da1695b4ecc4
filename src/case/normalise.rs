//! The normaliser: re-encodes a module so that all it defines is exported, and nothing else
//! changes: every section but the export section is carried over byte for byte.
//!
//! What the module exports already keeps its names and its place at the front. Whatever else it
//! defines is added behind: function 12 as `@f12`, table 0 as `@t0`, memory 0 as `@m0`, global 3
//! as `@g3`, with as many more `@` in front as it takes to be unlike every name in use.

use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

use wasm_encoder::{Encode, ExportKind, ExportSection, SectionId};
use wasmparser::BinaryReader;

use super::module::{Extern, Module};

/// The outcome of [`normalise`].
pub(super) struct Normalised {
    /// The binary.
    pub wasm: Vec<u8>,
    /// By how many bytes everything behind the export section has moved.
    pub shift: isize,
}

/// Names everything that `module` defines, in the fields that hold names after normalisation, and
/// writes `wasm` with an export section that has all those names. `module` is decoded from `wasm`
/// but for those fields, and so valid.
pub(super) fn normalise(wasm: &[u8], module: &mut Module) -> Normalised {
    module.function_exports = vec![String::new(); module.functions.len()];
    module.table_exports = vec![String::new(); module.tables.len()];
    module.memory_exports = vec![String::new(); module.memories.len()];
    module.global_exports = vec![String::new(); module.globals.len()];
    let mut prefix = 1;
    for (name, item) in &module.exports {
        // A longer run of `@` than any in use cannot collide, and costs no look-up.
        prefix = prefix.max(name.bytes().take_while(|byte| *byte == b'@').count() + 1);
        let (names, index) = match *item {
            Extern::Func(index) => (&mut module.function_exports, index),
            Extern::Table(index) => (&mut module.table_exports, index),
            Extern::Memory(index) => (&mut module.memory_exports, index),
            Extern::Global(index) => (&mut module.global_exports, index),
        };
        let slot = &mut names[index as usize];
        // The first of several names counts. An empty name is a name too, but not one to keep
        // here, where it stands for none.
        if slot.is_empty() {
            slot.clone_from(name);
        }
    }
    let prefix = "@".repeat(prefix);

    let mut added = Vec::new();
    let imported = [
        module.imported_functions(),
        module.imported_tables(),
        module.imported_memories(),
        module.imported_globals(),
    ];
    add_names(
        &mut module.function_exports,
        imported[0],
        &prefix,
        'f',
        Extern::Func,
        &mut added,
    );
    add_names(
        &mut module.table_exports,
        imported[1],
        &prefix,
        't',
        Extern::Table,
        &mut added,
    );
    add_names(
        &mut module.memory_exports,
        imported[2],
        &prefix,
        'm',
        Extern::Memory,
        &mut added,
    );
    add_names(
        &mut module.global_exports,
        imported[3],
        &prefix,
        'g',
        Extern::Global,
        &mut added,
    );
    if added.is_empty() {
        return Normalised {
            wasm: wasm.to_vec(),
            shift: 0,
        };
    }

    let mut section = ExportSection::new();
    for (name, item) in &module.exports {
        export(&mut section, name, *item);
    }
    for item in added {
        export(&mut section, name_of(module, item), item);
    }
    splice(wasm, &section)
}

/// The binary of `module` with only those of the exports that [`normalise`] added that `keep`
/// accepts.
///
/// The result is valid: functions that the code refers to with `ref.func` must be declared, which
/// an export does, but the module was valid before the normaliser added any.
pub(crate) fn retain_exports(module: &Module, keep: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut section = ExportSection::new();
    for (name, item) in &module.exports {
        export(&mut section, name, *item);
    }
    let original: HashSet<&str> = module.exports.iter().map(|(name, _)| &**name).collect();
    let names = [
        (&module.function_exports, Extern::Func as fn(u32) -> Extern),
        (&module.table_exports, Extern::Table),
        (&module.memory_exports, Extern::Memory),
        (&module.global_exports, Extern::Global),
    ];
    for (names, make) in names {
        for (index, name) in names.iter().enumerate() {
            if !name.is_empty() && !original.contains(&**name) && keep(name) {
                export(&mut section, name, make(index as u32));
            }
        }
    }
    splice(&module.wasm, &section).wasm
}

fn name_of(module: &Module, item: Extern) -> &str {
    match item {
        Extern::Func(index) => &module.function_exports[index as usize],
        Extern::Table(index) => &module.table_exports[index as usize],
        Extern::Memory(index) => &module.memory_exports[index as usize],
        Extern::Global(index) => &module.global_exports[index as usize],
    }
}

/// Names those of `names` that have none and are not imported.
fn add_names(
    names: &mut [String],
    imported: u32,
    prefix: &str,
    letter: char,
    make: fn(u32) -> Extern,
    added: &mut Vec<Extern>,
) {
    for (index, name) in names.iter_mut().enumerate().skip(imported as usize) {
        if name.is_empty() {
            let _ = write!(name, "{prefix}{letter}{index}");
            added.push(make(index as u32));
        }
    }
}

fn export(section: &mut ExportSection, name: &str, item: Extern) {
    let (kind, index) = match item {
        Extern::Func(index) => (ExportKind::Func, index),
        Extern::Table(index) => (ExportKind::Table, index),
        Extern::Memory(index) => (ExportKind::Memory, index),
        Extern::Global(index) => (ExportKind::Global, index),
    };
    section.export(name, kind, index);
}

/// `wasm` with `section` in place of its export section, or where one would go; with none if
/// `section` is empty.
fn splice(wasm: &[u8], section: &ExportSection) -> Normalised {
    let replaced = export_position(wasm);
    let mut body = Vec::new();
    section.encode(&mut body);
    let mut out = Vec::with_capacity(wasm.len() + body.len() + 1);
    out.extend_from_slice(&wasm[..replaced.start]);
    if !section.is_empty() {
        out.push(SectionId::Export.into());
        out.extend_from_slice(&body);
    }
    out.extend_from_slice(&wasm[replaced.end..]);
    let shift = out.len() as isize - wasm.len() as isize;
    Normalised { wasm: out, shift }
}

/// Where the export section of a valid binary lies, header included; empty, where one would go,
/// if it has none.
fn export_position(wasm: &[u8]) -> Range<usize> {
    let mut reader = BinaryReader::new(wasm, 0);
    let mut header = || -> wasmparser::Result<Option<Range<usize>>> {
        reader.read_bytes(8)?;
        while !reader.eof() {
            let start = reader.current_position();
            let id = reader.read_u8()?;
            reader.read_reader()?;
            if id == SectionId::Export as u8 {
                return Ok(Some(start..reader.current_position()));
            }
            let behind = [
                SectionId::Start,
                SectionId::Element,
                SectionId::DataCount,
                SectionId::Code,
                SectionId::Data,
            ];
            if behind.iter().any(|section| *section as u8 == id) {
                return Ok(Some(start..start));
            }
        }
        Ok(None)
    };
    match header() {
        Ok(Some(range)) => range,
        Ok(None) | Err(_) => wasm.len()..wasm.len(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wasmparser::{Parser, Validator};

    use super::*;
    use crate::case::decode::FEATURES;
    use crate::case::testing::{binaries, module};

    /// Every section but the exports, with its header.
    fn other_sections(wasm: &[u8]) -> Vec<&[u8]> {
        let mut end = 8;
        let mut sections = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            if let Some((id, range)) = payload.unwrap().as_section() {
                if id != SectionId::Export as u8 {
                    sections.push(&wasm[end..range.end as usize]);
                }
                end = range.end as usize;
            }
        }
        sections
    }

    fn valid(wasm: &[u8]) -> bool {
        Validator::new_with_features(FEATURES)
            .validate_all(wasm)
            .is_ok()
    }

    #[test]
    fn all_that_is_defined_is_exported() {
        let module = module(
            r#"(module
                (import "a" "f" (func))
                (import "a" "g" (global i32))
                (memory 1)
                (table 1 funcref)
                (table 1 externref)
                (global i64 (i64.const 0))
                (global (export "named") f32 (f32.const 0))
                (func (export "first") (export "second"))
                (func)
                (export "passed on" (func 0)))"#,
        );
        assert_eq!(module.function_exports, ["passed on", "first", "@f2"]);
        assert_eq!(module.table_exports, ["@t0", "@t1"]);
        assert_eq!(module.memory_exports, ["@m0"]);
        assert_eq!(module.global_exports, ["", "@g1", "named"]);
        assert_eq!(
            module.exports,
            [
                ("named".to_string(), Extern::Global(2)),
                ("first".to_string(), Extern::Func(1)),
                ("second".to_string(), Extern::Func(1)),
                ("passed on".to_string(), Extern::Func(0)),
            ]
        );
        let again = Module::from_wasm(&module.wasm, None).unwrap();
        let names: Vec<&str> = again.exports.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            [
                "named",
                "first",
                "second",
                "passed on",
                "@f2",
                "@t0",
                "@t1",
                "@m0",
                "@g1"
            ]
        );
    }

    #[test]
    fn names_in_use_are_not_taken() {
        let module = module(r#"(module (func (export "@f1")) (func) (memory (export "@@x") 1))"#);
        assert_eq!(module.function_exports, ["@f1", "@@@f1"]);
    }

    #[test]
    fn an_empty_name_does_not_count() {
        let module = module(r#"(module (func (export "")))"#);
        assert_eq!(module.function_exports, ["@f0"]);
        assert_eq!(module.export(""), Some(Extern::Func(0)));
    }

    #[test]
    fn data_is_found_behind_new_exports() {
        let module =
            module(r#"(module (memory 1) (func) (data "passive") (data (i32.const 3) "active"))"#);
        assert_eq!(module.data_bytes(0), b"passive");
        assert_eq!(module.data_bytes(1), b"active");
    }

    #[test]
    fn references_to_functions_stay_declared() {
        // Function 0 is declared by its export alone.
        let module = module(r#"(module (func (export "f")) (func (drop (ref.func 0))))"#);
        assert!(valid(&retain_exports(&module, |_| false)));
    }

    #[test]
    fn exports_that_are_asked_for_are_kept() {
        let module = module(r#"(module (func (export "f")) (func) (func) (memory 1))"#);
        let wasm = retain_exports(&module, |name| name == "@f2");
        let kept = Module::from_wasm(&wasm, None).unwrap();
        assert_eq!(
            kept.exports,
            [
                ("f".to_string(), Extern::Func(0)),
                ("@f2".to_string(), Extern::Func(2))
            ]
        );
    }

    proptest! {
        #[test]
        fn nothing_but_exports_changes(wasm in binaries()) {
            let module = Module::from_wasm(&wasm, None).unwrap();
            prop_assert!(valid(&module.wasm));
            prop_assert_eq!(other_sections(&module.wasm), other_sections(&wasm));
            for (names, imported) in [
                (&module.function_exports, module.imported_functions()),
                (&module.table_exports, module.imported_tables()),
                (&module.memory_exports, module.imported_memories()),
                (&module.global_exports, module.imported_globals()),
            ] {
                prop_assert!(names.iter().skip(imported as usize).all(|name| !name.is_empty()));
            }
            let again = Module::from_wasm(&module.wasm, None).unwrap();
            prop_assert_eq!(&again.wasm, &module.wasm);
            prop_assert_eq!(&again.exports[..module.exports.len()], &module.exports[..]);

            let stripped = retain_exports(&module, |_| false);
            prop_assert!(valid(&stripped));
            let stripped = Module::from_wasm(&stripped, None).unwrap();
            prop_assert_eq!(other_sections(&stripped.wasm), other_sections(&wasm));
            prop_assert_eq!(stripped.exports, module.exports);
        }
    }
}
