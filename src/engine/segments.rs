//! What is changed in a module before an engine gets it that hands out no instance where
//! instantiation fails: wasmi and Wasmtime.
//!
//! By the specification the instance exists even so, and functions that it left in a shared table
//! go on working. So a start section is cut out, because we call the start function ourselves, after
//! instantiation. And where an active segment is going to be out of bounds, it and those after it
//! are made passive: exactly the segments that the specification leaves undropped when that happens.

use std::borrow::Cow;

use parallax_oracles::{TrapKind, Value};
use wasm_encoder::reencode::{self, Reencode};

use crate::case::Module;
use crate::case::custom::copy_custom_sections;
use crate::case::module::{ConstExpr, ConstOp, SegmentMode};

/// The module without its start section.
pub fn without_start(module: &Module) -> Cow<'_, [u8]> {
    const START_SECTION: u8 = 8;
    let wasm = &module.wasm;
    if module.start.is_none() {
        return Cow::Borrowed(wasm);
    }
    let mut position = 8;
    while let Some(&id) = wasm.get(position) {
        let Some((size, size_bytes)) = read_u32(&wasm[position + 1..]) else {
            break;
        };
        let end = position + 1 + size_bytes + size as usize;
        if id == START_SECTION && end <= wasm.len() {
            return Cow::Owned([&wasm[..position], &wasm[end..]].concat());
        }
        position = end;
    }
    Cow::Borrowed(wasm)
}

/// Reads an unsigned LEB128 number; returns it and how many bytes it takes.
fn read_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u32;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Where initialisation by active segments stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stop {
    /// The first element segment that is not applied.
    pub element: usize,
    /// The first data segment that is not applied.
    pub data: usize,
    /// Why.
    pub trap: TrapKind,
}

/// What the segments of a module depend on: the imports it is about to be given.
pub trait Imported {
    /// The value of an imported global.
    fn global(&self, index: u32) -> Option<Value>;
    /// The size of an imported table, in elements.
    fn table_size(&self, index: u32) -> Option<u64>;
    /// The size of an imported memory, in pages.
    fn memory_pages(&self, index: u32) -> Option<u64>;
}

/// Finds the first active segment that does not fit.
pub fn stop(module: &Module, imported: &impl Imported) -> Option<Stop> {
    for (index, segment) in module.elements.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &segment.mode else {
            continue;
        };
        let size = imported
            .table_size(*target)
            .or_else(|| Some(module.tables.get(*target as usize)?.min))?;
        let offset = evaluate(module, offset, imported)?;
        if offset.saturating_add(segment.items.len() as u64) > size {
            return Some(Stop {
                element: index,
                data: 0,
                trap: TrapKind::TableOutOfBounds,
            });
        }
    }
    for (index, segment) in module.data.iter().enumerate() {
        let SegmentMode::Active { target, offset } = &segment.mode else {
            continue;
        };
        let pages = imported
            .memory_pages(*target)
            .or_else(|| Some(module.memories.get(*target as usize)?.min))?;
        let offset = evaluate(module, offset, imported)?;
        if offset.saturating_add(segment.bytes.len() as u64) > pages << 16 {
            return Some(Stop {
                element: module.elements.len(),
                data: index,
                trap: TrapKind::MemoryOutOfBounds,
            });
        }
    }
    None
}

/// The offset of a segment.
fn evaluate(module: &Module, offset: &ConstExpr, imported: &impl Imported) -> Option<u64> {
    let mut stack = Vec::with_capacity(2);
    for op in &offset.0 {
        let value = match op {
            ConstOp::Value(value) => bits(value)?,
            ConstOp::GlobalGet(index) => match imported.global(*index) {
                Some(value) => bits(&value)?,
                None => {
                    // Only those before it may be named by the initial value of a global.
                    let defined = index.checked_sub(module.imported_globals())?;
                    let init = module.global_inits.get(defined as usize)?;
                    evaluate(module, init, imported)?
                }
            },
            ConstOp::Arithmetic(operation) => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                operation.compute(a, b)
            }
            ConstOp::RefFunc(_) => return None,
        };
        stack.push(value);
    }
    stack.pop()
}

fn bits(value: &Value) -> Option<u64> {
    match *value {
        Value::I32(value) => Some(u64::from(value as u32)),
        Value::I64(value) => Some(value as u64),
        _ => None,
    }
}

/// Re-encodes a module so that its segments from `stop` on are passive.
///
/// # Errors
/// What the encoder says; not for a module that is valid.
pub fn with_segments_stopped(wasm: &[u8], stop: Stop) -> Result<Vec<u8>, String> {
    let mut module = wasm_encoder::Module::new();
    Stopped {
        stop,
        elements_seen: 0,
        data_seen: 0,
    }
    .parse_core_module(&mut module, wasmparser::Parser::new(0), wasm)
    .map_err(|error| error.to_string())?;
    Ok(module.finish())
}

struct Stopped {
    stop: Stop,
    elements_seen: usize,
    data_seen: usize,
}

impl Reencode for Stopped {
    type Error = std::convert::Infallible;

    copy_custom_sections!();

    fn parse_element(
        &mut self,
        elements: &mut wasm_encoder::ElementSection,
        mut element: wasmparser::Element<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        if self.elements_seen >= self.stop.element
            && matches!(element.kind, wasmparser::ElementKind::Active { .. })
        {
            element.kind = wasmparser::ElementKind::Passive;
        }
        self.elements_seen += 1;
        reencode::utils::parse_element(self, elements, element)
    }

    fn parse_data(
        &mut self,
        data: &mut wasm_encoder::DataSection,
        mut datum: wasmparser::Data<'_>,
    ) -> Result<(), reencode::Error<Self::Error>> {
        if self.data_seen >= self.stop.data {
            datum.kind = wasmparser::DataKind::Passive;
        }
        self.data_seen += 1;
        reencode::utils::parse_data(self, data, datum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custom_section_may_hold_anything() {
        let text =
            "(module (memory 1) (data (i32.const -1) \"a\") (@custom \"name\" \"\\ff\\ff\"))";
        let wasm = wat::parse_str(text).expect("valid");
        let stop = Stop {
            element: 0,
            data: 0,
            trap: TrapKind::MemoryOutOfBounds,
        };
        let stopped = with_segments_stopped(&wasm, stop).expect("it is valid");
        assert!(stopped.ends_with(b"\x04name\xff\xff"));
        wasmparser::validate(&stopped).expect("valid");
    }

    const EVERY_FORM: &str = r#"(module
        (import "m" "f" (func)) (import "m" "t" (table 10 funcref)) (import "m" "g" (global i32))
        (table $e 10 externref) (memory 1)
        (start 0)
        (elem (i32.const 0) func 0)
        (elem func 0)
        (elem (table 0) (i32.const 1) func 0)
        (elem declare func 0)
        (elem (i32.const 2) funcref (ref.null func) (ref.func 0))
        (elem (table $e) (global.get 0) externref (ref.null extern))
        (elem externref (ref.null extern))
        (data (i32.const 1) "ab")
        (data "c")
        (data (global.get 0) "def"))"#;

    fn decode(wasm: &[u8]) -> Module {
        Module::from_wasm(wasm, None).unwrap()
    }

    fn every_form() -> Module {
        decode(&wat::parse_str(EVERY_FORM).unwrap())
    }

    #[test]
    fn only_the_start_section_is_cut_out() {
        let module = every_form();
        assert_eq!(module.start, Some(0));
        let cut = without_start(&module);
        // Section number, size, function.
        assert_eq!(cut.len() + 3, module.wasm.len());
        let (mut without, with) = (decode(&cut), decode(&module.wasm));
        assert_eq!((without.start, with.start), (None, Some(0)));
        without.start = with.start;
        without.wasm.clone_from(&with.wasm);
        for (segment, before) in without.data.iter_mut().zip(&with.data) {
            segment.bytes = before.bytes.clone();
        }
        assert_eq!(format!("{without:?}"), format!("{with:?}"));
        assert!(matches!(
            without_start(&decode(b"\0asm\x01\0\0\0")),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn active_segments_from_the_stop_on_turn_passive() {
        let module = every_form();
        for element in 0..=module.elements.len() {
            for data in 0..=module.data.len() {
                let stop = Stop {
                    element,
                    data,
                    trap: TrapKind::TableOutOfBounds,
                };
                let stopped = decode(&with_segments_stopped(&module.wasm, stop).unwrap());
                let expected = |mode: &SegmentMode, reached: bool| match mode {
                    SegmentMode::Active { .. } if !reached => SegmentMode::Passive,
                    mode => mode.clone(),
                };
                for (index, segment) in stopped.elements.iter().enumerate() {
                    let before = &module.elements[index];
                    assert_eq!(segment.mode, expected(&before.mode, index < element));
                    assert_eq!(segment.items, before.items);
                    assert_eq!(segment.element, before.element);
                }
                for (index, segment) in stopped.data.iter().enumerate() {
                    let before = &module.data[index];
                    assert_eq!(segment.mode, expected(&before.mode, index < data));
                    assert_eq!(
                        stopped.wasm[segment.bytes.clone()],
                        module.wasm[before.bytes.clone()]
                    );
                }
            }
        }
    }

    struct Sizes {
        global: i32,
        table: u64,
    }

    impl Imported for Sizes {
        fn global(&self, index: u32) -> Option<Value> {
            (index == 0).then_some(Value::I32(self.global))
        }

        fn table_size(&self, index: u32) -> Option<u64> {
            (index == 0).then_some(self.table)
        }

        fn memory_pages(&self, _index: u32) -> Option<u64> {
            None
        }
    }

    #[test]
    fn a_stop_is_where_a_segment_ends_outside() {
        let module = every_form();
        let stop = |global, table| {
            let stop = super::stop(&module, &Sizes { global, table })?;
            Some((stop.element, stop.data, stop.trap))
        };
        let (table, memory) = (TrapKind::TableOutOfBounds, TrapKind::MemoryOutOfBounds);
        assert_eq!(stop(9, 10), None);
        assert_eq!(stop(9, 4), None);
        assert_eq!(stop(9, 3), Some((4, 0, table)));
        assert_eq!(stop(9, 1), Some((2, 0, table)));
        assert_eq!(stop(9, 0), Some((0, 0, table)));
        assert_eq!(stop(10, 10), Some((5, 0, table)));
        assert_eq!(stop(-1, 10), Some((5, 0, table)));

        let module = decode(
            &wat::parse_str(
                r#"(module (import "m" "t" (table 1 funcref)) (import "m" "g" (global i32))
                    (memory 1) (elem (i32.const 0) 0) (func)
                    (data (i32.const 65535) "a") (data (global.get 0) "def"))"#,
            )
            .unwrap(),
        );
        let stop = |global| {
            let stop = super::stop(&module, &Sizes { global, table: 1 })?;
            Some((stop.element, stop.data, stop.trap))
        };
        assert_eq!(stop(65533), None);
        assert_eq!(stop(65534), Some((1, 1, memory)));
        assert_eq!(stop(-1), Some((1, 1, memory)));
    }
}
