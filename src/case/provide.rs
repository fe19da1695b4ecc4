//! What the host provides for an import: the items of the specification's `spectest` module, or,
//! where the settings ask for it, an item made to measure.
//!
//! Imports of one name share an item where they ask for the same type. A memory or table whose name
//! ends in `+` and a number is larger by so many pages or elements than the first that asks for it says,
//! as far as its maximum allows, and may grow by as many if that has none; and it is shared by all
//! imports of its name that its limits match.

use std::collections::HashMap;

use parallax_oracles::{FuncIdentity, ObjectId, Value};

use super::Settings;
use super::host::{FIRST_GLOBAL_OBJECT, FIRST_NEW_OBJECT, HostFunction, HostItem, HostItemKind};
use super::module::{FuncType, GlobalType, Import, ImportKind, MemoryType, TableType, ValType};
use super::values::{Numbers, interesting};

/// The functions that host-made funcref tables hold, so that `call_indirect` reaches the host.
const TABLE_FUNCTIONS: [(&str, &[ValType], &[ValType]); 3] = [
    ("element-0", &[], &[]),
    ("element-1", &[ValType::I32], &[ValType::I32]),
    ("element-2", &[], &[ValType::I32]),
];

/// Of the slots of a host-made funcref table, every so many-th holds a function.
const TABLE_STRIDE: u32 = 3;
/// A host-made funcref table holds at most so many functions.
const TABLE_ELEMENTS: u32 = 8;

/// Makes host items as imports ask for them.
#[derive(Debug, Default)]
pub(super) struct Provider {
    /// The items there are, by a hash of their two names.
    by_name: HashMap<u64, Vec<u32>>,
    /// The number of host objects that host-made globals hold.
    objects: u32,
}

impl Provider {
    /// The item for `import`, made if it does not exist yet; none if the host has none to offer.
    /// `types` are those of the importing module.
    pub(super) fn provide(
        &mut self,
        items: &mut Vec<HostItem>,
        settings: &Settings,
        import: &Import,
        types: &[FuncType],
    ) -> Option<u32> {
        let request = Request::of(import, types);
        if import.module == "spectest"
            && let Some(kind) = spectest(&import.name)
        {
            return request
                .same_kind(&kind)
                .then(|| self.existing_or(items, import, |_| true, |_, _| kind));
        }
        if !settings.host_imports {
            return None;
        }
        Some(self.existing_or(
            items,
            import,
            |kind| request.same_type(kind) || more(&import.name) > 0 && request.matches(kind),
            |provider, items| provider.make(items, settings, import, request),
        ))
    }

    /// The item with the names of `import` that `fits`, else the one that `make` makes.
    fn existing_or(
        &mut self,
        items: &mut Vec<HostItem>,
        import: &Import,
        fits: impl Fn(&HostItemKind) -> bool,
        make: impl FnOnce(&mut Provider, &mut Vec<HostItem>) -> HostItemKind,
    ) -> u32 {
        let mut numbers = Numbers::new(0);
        numbers.mix_text(&import.module);
        numbers.mix_text(&import.name);
        let hash = numbers.draw();
        let existing = self.by_name.get(&hash).and_then(|indices| {
            indices.iter().copied().find(|index| {
                let item = &items[*index as usize];
                item.module == import.module && item.name == import.name && fits(&item.kind)
            })
        });
        if let Some(index) = existing {
            return index;
        }
        let kind = make(self, items);
        let index = items.len() as u32;
        items.push(HostItem {
            module: import.module.clone(),
            name: import.name.clone(),
            kind,
        });
        self.by_name.entry(hash).or_default().push(index);
        index
    }

    fn make(
        &mut self,
        items: &mut Vec<HostItem>,
        settings: &Settings,
        import: &Import,
        request: Request<'_>,
    ) -> HostItemKind {
        match request {
            Request::Func(ty) => HostItemKind::Func {
                ty: ty.clone(),
                function: host_function(import, ty, settings),
            },
            Request::Memory(mut ty) => {
                (ty.min, ty.max) = larger((ty.min, ty.max), more(&import.name));
                HostItemKind::Memory {
                    ty,
                    patterned: true,
                }
            }
            Request::Table(mut ty) => {
                (ty.min, ty.max) = larger((ty.min, ty.max), more(&import.name));
                HostItemKind::Table {
                    ty,
                    elements: self.table_elements(items, ty),
                }
            }
            Request::Global(ty) => HostItemKind::Global {
                ty,
                value: self.global_value(items, settings, import, ty.value),
            },
        }
    }

    fn table_elements(&mut self, items: &mut Vec<HostItem>, ty: TableType) -> Vec<(u32, u32)> {
        if ty.element != ValType::FuncRef {
            return Vec::new();
        }
        (0..TABLE_ELEMENTS)
            .map(|element| element * TABLE_STRIDE)
            .take_while(|index| u64::from(*index) < ty.min)
            .enumerate()
            .map(|(element, index)| (index, self.table_function(items, element)))
            .collect()
    }

    /// One of the functions for host-made funcref tables and globals.
    fn table_function(&mut self, items: &mut Vec<HostItem>, which: usize) -> u32 {
        let (name, params, results) = TABLE_FUNCTIONS[which % TABLE_FUNCTIONS.len()];
        let ty = FuncType {
            params: params.to_vec(),
            results: results.to_vec(),
        };
        let import = Import {
            module: "parallax".to_string(),
            name: name.to_string(),
            kind: ImportKind::Func(0),
        };
        let request = Request::Func(&ty);
        self.existing_or(
            items,
            &import,
            |kind| request.same_type(kind),
            |_, _| HostItemKind::Func {
                ty: ty.clone(),
                function: HostFunction::Arbitrary,
            },
        )
    }

    fn global_value(
        &mut self,
        items: &mut Vec<HostItem>,
        settings: &Settings,
        import: &Import,
        ty: ValType,
    ) -> Value {
        let mut numbers = Numbers::new(settings.host_seed);
        numbers.mix_text(&import.module);
        numbers.mix_text(&import.name);
        match ty {
            // Segments take their offsets from imported globals: let most of them fit.
            ValType::I32 if numbers.below(4) < 3 => Value::I32(numbers.below(32) as i32),
            ValType::FuncRef if numbers.below(3) > 0 => {
                let which = numbers.below(TABLE_FUNCTIONS.len() as u64) as usize;
                Value::Func(Some(FuncIdentity::Host(self.table_function(items, which))))
            }
            ValType::ExternRef if numbers.below(3) > 0 => {
                let number = FIRST_GLOBAL_OBJECT + self.objects;
                // Where there are more globals than numbers, they share objects.
                self.objects = (self.objects + 1) % (FIRST_NEW_OBJECT - FIRST_GLOBAL_OBJECT);
                Value::Extern(Some(ObjectId(number)))
            }
            _ => interesting(ty, &mut numbers),
        }
    }
}

/// What an import asks for, with its function type looked up.
#[derive(Clone, Copy)]
enum Request<'a> {
    Func(&'a FuncType),
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
}

impl<'a> Request<'a> {
    fn of(import: &Import, types: &'a [FuncType]) -> Request<'a> {
        match import.kind {
            ImportKind::Func(ty) => Request::Func(&types[ty as usize]),
            ImportKind::Table(ty) => Request::Table(ty),
            ImportKind::Memory(ty) => Request::Memory(ty),
            ImportKind::Global(ty) => Request::Global(ty),
        }
    }

    fn same_kind(&self, kind: &HostItemKind) -> bool {
        matches!(
            (self, kind),
            (Request::Func(_), HostItemKind::Func { .. })
                | (Request::Table(_), HostItemKind::Table { .. })
                | (Request::Memory(_), HostItemKind::Memory { .. })
                | (Request::Global(_), HostItemKind::Global { .. })
        )
    }

    fn same_type(&self, kind: &HostItemKind) -> bool {
        match (self, kind) {
            (Request::Func(asked), HostItemKind::Func { ty, .. }) => *asked == ty,
            (Request::Table(asked), HostItemKind::Table { ty, .. }) => asked == ty,
            (Request::Memory(asked), HostItemKind::Memory { ty, .. }) => asked == ty,
            (Request::Global(asked), HostItemKind::Global { ty, .. }) => asked == ty,
            _ => false,
        }
    }

    /// Whether a memory or table may be imported at the type asked for.
    fn matches(&self, kind: &HostItemKind) -> bool {
        match (self, kind) {
            (Request::Table(asked), HostItemKind::Table { ty, .. }) => {
                asked.element == ty.element
                    && limits_match((ty.min, ty.max), (asked.min, asked.max))
            }
            (Request::Memory(asked), HostItemKind::Memory { ty, .. }) => {
                asked.memory64 == ty.memory64
                    && limits_match((ty.min, ty.max), (asked.min, asked.max))
            }
            _ => false,
        }
    }
}

/// By how much a memory or table of this name is larger than its import asks for.
fn more(name: &str) -> u64 {
    let number = name
        .rsplit_once('+')
        .map(|(_, number)| number.parse::<u8>());
    number.and_then(Result::ok).map_or(0, u64::from)
}

/// Limits that match others and are larger by `more`, where there is room.
fn larger((min, max): (u64, Option<u64>), more: u64) -> (u64, Option<u64>) {
    match (more, max) {
        (0, _) => (min, max),
        (_, Some(max)) => ((min + more).min(max), Some(max)),
        (_, None) => (min + more, Some(min + 2 * more)),
    }
}

/// Whether limits match those of an import (core specification, "Matching", "Limits").
fn limits_match((min, max): (u64, Option<u64>), asked: (u64, Option<u64>)) -> bool {
    let within = |most| max.is_some_and(|max| max <= most);
    min >= asked.0 && asked.1.is_none_or(within)
}

/// What an imported function does: those of module `parallax` have a fixed meaning if their type
/// fits.
fn host_function(import: &Import, ty: &FuncType, settings: &Settings) -> HostFunction {
    if import.module != "parallax" {
        return HostFunction::Arbitrary;
    }
    match (&*import.name, &*ty.params, &*ty.results) {
        ("tick", [], []) => HostFunction::Tick {
            interrupt_at: settings.interrupt_at,
            late: false,
        },
        ("make", [], [ValType::ExternRef]) => HostFunction::Make,
        ("take", [ValType::ExternRef], []) => HostFunction::Take,
        ("gc", [], []) => HostFunction::Collect,
        ("call", [ValType::FuncRef, ..], _) => HostFunction::CallBack,
        _ => HostFunction::Arbitrary,
    }
}

/// The items of the module that the specification's scripts import, by name
/// (`interpreter/host/spectest.ml` of the specification).
fn spectest(name: &str) -> Option<HostItemKind> {
    use ValType::{F32, F64, I32, I64};
    let print = |params: &[ValType]| HostItemKind::Func {
        ty: FuncType {
            params: params.to_vec(),
            results: Vec::new(),
        },
        function: HostFunction::Arbitrary,
    };
    let global = |ty, value| HostItemKind::Global {
        ty: GlobalType {
            value: ty,
            mutable: false,
        },
        value,
    };
    Some(match name {
        "print" => print(&[]),
        "print_i32" => print(&[I32]),
        "print_i64" => print(&[I64]),
        "print_f32" => print(&[F32]),
        "print_f64" => print(&[F64]),
        "print_i32_f32" => print(&[I32, F32]),
        "print_f64_f64" => print(&[F64, F64]),
        "global_i32" => global(I32, Value::I32(666)),
        "global_i64" => global(I64, Value::I64(666)),
        "global_f32" => global(F32, Value::F32(666.6f32.to_bits())),
        "global_f64" => global(F64, Value::F64(666.6f64.to_bits())),
        "table" => HostItemKind::Table {
            ty: TableType {
                element: ValType::FuncRef,
                min: 10,
                max: Some(20),
            },
            elements: Vec::new(),
        },
        "memory" => HostItemKind::Memory {
            ty: MemoryType {
                min: 1,
                max: Some(2),
                memory64: false,
            },
            patterned: false,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::testing::module;
    use crate::case::{Case, CaseBuilder};

    fn case(host_seed: u64, modules: &[&str]) -> Case {
        let mut builder = CaseBuilder::new(Settings {
            host_imports: true,
            host_seed,
            interrupt_at: 9,
            ..Settings::default()
        });
        for text in modules {
            let module = builder.module(module(text));
            builder.instantiate(module, None, 0);
        }
        builder.finish()
    }

    #[test]
    fn equal_imports_share_an_item() {
        let case = case(
            0,
            &[
                r#"(module (import "a" "b" (func)) (import "a" "b" (func)) (import "a" "b" (memory 1))
                    (import "a" "b" (func (param i32))) (import "a" "c" (func)))"#,
                r#"(module (import "a" "b" (memory 1)) (import "a" "b" (func (param i32))))"#,
            ],
        );
        assert_eq!(case.host_items.len(), 4);
    }

    #[test]
    fn names_that_ask_for_more_get_it_and_share_what_matches() {
        let case = case(
            0,
            &[
                r#"(module (import "a" "m+2" (memory 1)) (import "a" "m+2" (memory 2))
                    (import "a" "m+2" (memory 4)) (import "a" "m+2" (memory 1 4))
                    (import "a" "n+2" (memory 1 2)) (import "a" "t+3" (table 4 9 externref)))"#,
                r#"(module (import "a" "m+2" (memory 0 5)) (import "a" "n+2" (memory 1))
                    (import "a" "t+3" (table 6 12 externref)) (import "a" "t+3" (table 6 funcref))
                    (import "a" "t+3" (table 1 8 externref)))"#,
            ],
        );
        let limits: Vec<(u64, Option<u64>)> = case
            .host_items
            .iter()
            .filter_map(|item| match &item.kind {
                HostItemKind::Memory { ty, .. } => Some((ty.min, ty.max)),
                HostItemKind::Table { ty, .. } => Some((ty.min, ty.max)),
                _ => None,
            })
            .collect();
        let made = [
            (3, Some(5)),
            // Of four pages at least, and of four at most: neither is the one above.
            (6, Some(8)),
            (3, Some(4)),
            (2, Some(2)),
            (7, Some(9)),
            // Of functions, and of eight elements at most.
            (9, Some(12)),
            (4, Some(8)),
        ];
        assert_eq!(limits, made);
    }

    #[test]
    fn spectest_is_shared_whatever_type_is_asked_for() {
        let case = case(
            0,
            &[
                r#"(module (import "spectest" "memory" (memory 0)))"#,
                r#"(module (import "spectest" "memory" (memory 1 2))
                    (import "spectest" "other" (func)))"#,
            ],
        );
        assert_eq!(case.host_items.len(), 2);
        let HostItemKind::Memory { ty, patterned } = case.host_items[0].kind else {
            panic!("{:?}", case.host_items[0]);
        };
        assert_eq!((ty.min, ty.max, patterned), (1, Some(2), false));
    }

    #[test]
    fn tables_of_the_host_hold_functions_of_the_host() {
        let case = case(
            0,
            &[
                r#"(module (import "a" "t" (table 5 funcref)) (import "a" "u" (table 100 funcref))
                (import "a" "e" (table 9 externref)))"#,
            ],
        );
        let tables: Vec<&Vec<(u32, u32)>> = case
            .host_items
            .iter()
            .filter_map(|item| match &item.kind {
                HostItemKind::Table { elements, .. } => Some(elements),
                _ => None,
            })
            .collect();
        assert_eq!(tables[0].len(), 2);
        assert_eq!(tables[1].len(), 8);
        assert!(tables[2].is_empty());
        for (index, item) in tables[1] {
            assert_eq!(index % 3, 0);
            let kind = &case.host_items[*item as usize].kind;
            assert!(matches!(kind, HostItemKind::Func { .. }));
        }
        // The three functions are made once.
        assert_eq!(case.host_items.len(), 6);
    }

    #[test]
    fn functions_of_parallax_need_their_type() {
        let case = case(
            0,
            &[r#"(module
                (import "parallax" "tick" (func)) (import "parallax" "make" (func (result externref)))
                (import "parallax" "take" (func (param externref))) (import "parallax" "gc" (func))
                (import "parallax" "tick" (func (param i32))) (import "env" "gc" (func))
                (import "parallax" "call" (func (param funcref)))
                (import "parallax" "call" (func (param funcref externref i64) (result v128 externref)))
                (import "parallax" "call" (func (param externref funcref))))"#],
        );
        let functions: Vec<HostFunction> = case
            .host_items
            .iter()
            .filter_map(|item| match item.kind {
                HostItemKind::Func { function, .. } => Some(function),
                _ => None,
            })
            .collect();
        use HostFunction::{Arbitrary, CallBack, Collect, Make, Take, Tick};
        let tick = Tick {
            interrupt_at: 9,
            late: false,
        };
        assert_eq!(
            functions[..6],
            [tick, Make, Take, Collect, Arbitrary, Arbitrary]
        );
        assert_eq!(functions[6..], [CallBack, CallBack, Arbitrary]);
    }

    #[test]
    fn globals_follow_from_the_seed_and_their_name() {
        let values = |seed| -> Vec<Value> {
            let imports: String = (0..40)
                .map(|number| {
                    let ty = ["i32", "i64", "f64", "v128", "funcref", "externref"][number % 6];
                    format!("(import \"a\" \"g{number}\" (global {ty}))")
                })
                .collect();
            case(seed, &[&format!("(module {imports})")])
                .host_items
                .iter()
                .filter_map(|item| match item.kind {
                    HostItemKind::Global { value, .. } => Some(value),
                    _ => None,
                })
                .collect()
        };
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
        let objects: Vec<u32> = values(1)
            .iter()
            .filter_map(|value| match value {
                Value::Extern(Some(object)) => Some(object.0),
                _ => None,
            })
            .collect();
        let distinct = FIRST_GLOBAL_OBJECT..FIRST_GLOBAL_OBJECT + objects.len() as u32;
        assert!(objects.len() > 1);
        assert!(objects.into_iter().eq(distinct));
    }
}
