//! A memory that a module imports more than once.
//!
//! wasmi 2.0 keeps at hand where the first memory of an instance lies, and looks again when that is grown: when
//! `memory.grow` names index 0 (`is_default_memory`). If the same memory has another index as well and is
//! grown by that, it may have moved, and what goes on by index 0 reads and writes memory that was freed.
//! Where one memory is imported several times, modules therefore get it under its first index
//! wherever they name it.

use std::convert::Infallible;

use ::wasmi::{Extern, Memory};
use wasm_encoder::reencode::{self, Reencode};

use super::handle::slot;
use crate::case::Module;
use crate::case::custom::copy_custom_sections;

/// For each memory that is imported, the first index of it; none if all are different, or none is grown.
pub fn of_memories(module: &Module, imports: &[Extern]) -> Option<Vec<u32>> {
    if module.imported_memories() < 2 || !module.opcodes.has(&[0x40]) {
        return None;
    }
    let memories = imports.iter().filter_map(|import| import.into_memory());
    let slots: Vec<u32> = memories.map(|memory: Memory| slot(&memory)).collect();
    let first = |slot: &u32| slots.iter().position(|other| other == slot);
    let firsts: Vec<u32> = slots.iter().filter_map(first).map(|at| at as u32).collect();
    (0..)
        .zip(&firsts)
        .any(|(at, first)| at != *first)
        .then_some(firsts)
}

/// The binary in which every imported memory goes by the index that `firsts` has for it.
///
/// # Errors
/// What the encoder says; not for a module that is valid.
pub fn merged(wasm: &[u8], firsts: &[u32]) -> Result<Vec<u8>, String> {
    let mut encoded = wasm_encoder::Module::new();
    Merging(firsts)
        .parse_core_module(&mut encoded, wasmparser::Parser::new(0), wasm)
        .map_err(|error| error.to_string())?;
    Ok(encoded.finish())
}

struct Merging<'a>(&'a [u32]);

impl Reencode for Merging<'_> {
    type Error = Infallible;

    copy_custom_sections!();

    fn memory_index(&mut self, memory: u32) -> Result<u32, reencode::Error<Infallible>> {
        Ok(self.0.get(memory as usize).copied().unwrap_or(memory))
    }
}
