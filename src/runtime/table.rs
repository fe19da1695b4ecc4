//! Tables: elements in memory that generated code reaches directly, counted by nobody here.
//!
//! An element is null (0), the address of an anyfunc, or the address of a host object. Counting
//! the references that slots hold is the business of [`crate::runtime::store`].

use super::block::{Block, Heap};
use crate::case::module::ValType;
use crate::translate::layout::{POINTER_BYTES, table_definition};

/// Null elements kept behind a table's last one, so that code that reads a little too far, as
/// only wrong code does, reads null.
const SLACK: u32 = 8;

/// A table.
pub struct Table {
    elements: Block,
    size: u32,
    max: u64,
    element: ValType,
    /// The elements it had before its last growth: wrong code may still point there, and must
    /// not thereby reach what is no longer ours.
    outgrown: Vec<Block>,
}

impl Table {
    /// A table of `size` null elements that may grow to `max`.
    pub fn new(heap: &Heap, element: ValType, size: u32, max: u64) -> Table {
        let elements = heap.block((size + SLACK) * POINTER_BYTES);
        Table {
            elements,
            size,
            max,
            element,
            outgrown: Vec::new(),
        }
    }

    /// The type of its elements.
    pub fn element_type(&self) -> ValType {
        self.element
    }

    /// Its size in elements.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The element at an index below its size.
    pub fn get(&self, index: u32) -> u64 {
        assert!(index < self.size);
        self.elements.read_u64(index * POINTER_BYTES)
    }

    /// Puts an element at an index below its size and returns what was there.
    pub fn replace(&mut self, index: u32, value: u64) -> u64 {
        let old = self.get(index);
        self.elements.write_u64(index * POINTER_BYTES, value);
        old
    }

    /// Grows it by `delta` null elements, in another place; the old size, or `None` if it may
    /// not grow so far.
    pub fn grow(&mut self, delta: u32) -> Option<u32> {
        let old = self.size;
        let new = old
            .checked_add(delta)
            .filter(|new| u64::from(*new) <= self.max)?;
        if delta > 0 {
            self.resize(new);
        }
        Some(old)
    }

    /// Moves its elements to another place.
    pub fn relocate(&mut self) {
        self.resize(self.size);
    }

    fn resize(&mut self, size: u32) {
        let elements = self.elements.heap().block((size + SLACK) * POINTER_BYTES);
        for index in 0..self.size {
            elements.write_u64(index * POINTER_BYTES, self.get(index));
            self.elements.write_u64(index * POINTER_BYTES, 0);
        }
        self.outgrown
            .push(std::mem::replace(&mut self.elements, elements));
        self.size = size;
    }

    /// Writes base and size where generated code reads them.
    pub fn define(&self, block: &Block, offset: u32) {
        block.write_u64(offset + table_definition::BASE, self.elements.address());
        block.write_u32(offset + table_definition::CURRENT_ELEMENTS, self.size);
    }
}
