//! Memory that generated code reads and writes: vmctxs, table elements, host objects' headers.
//!
//! # Invariants
//! - A block's words are never borrowed: the only way to them from Rust is a read or write of one
//!   word by a bounds-checked offset, so that generated code, which runs on the same thread while
//!   no such access is under way, may change them at any other time.
//! - A block does not move while it lives; its address may be stored in other blocks.

use std::cell::UnsafeCell;

#[repr(C, align(16))]
struct Unit(UnsafeCell<[u64; 2]>);

/// A zero-initialised, 16-aligned block of memory, shared with generated code on the same thread.
pub struct Block {
    units: Box<[Unit]>,
    bytes: u32,
}

impl Block {
    /// A zeroed block of at least `bytes` bytes.
    pub fn new(bytes: u32) -> Block {
        let units = (0..bytes.div_ceil(16))
            .map(|_| Unit(UnsafeCell::new([0; 2])))
            .collect();
        Block {
            units,
            bytes: bytes.next_multiple_of(16),
        }
    }

    /// The address of its first byte.
    pub fn address(&self) -> u64 {
        self.units.as_ptr().expose_provenance() as u64
    }

    /// The address of a byte of it.
    pub fn address_of(&self, offset: u32) -> u64 {
        assert!(offset <= self.bytes);
        self.address() + u64::from(offset)
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The offset of an address within it.
    pub fn offset_of(&self, address: u64) -> Option<u32> {
        let offset = address.checked_sub(self.address())?;
        (offset < u64::from(self.bytes)).then_some(offset as u32)
    }

    fn pointer(&self, offset: u32, size: u32) -> *mut u8 {
        assert!(
            offset.is_multiple_of(size)
                && offset
                    .checked_add(size)
                    .is_some_and(|end| end <= self.bytes),
            "access of {size} bytes at {offset} of a block of {}",
            self.bytes
        );
        // SAFETY: the offset was just checked to lie within the allocation.
        unsafe {
            self.units
                .as_ptr()
                .cast::<u8>()
                .cast_mut()
                .add(offset as usize)
        }
    }

    /// Reads 8 bytes at an aligned offset.
    pub fn read_u64(&self, offset: u32) -> u64 {
        // SAFETY: in bounds and aligned by `pointer`; nothing else accesses the word now.
        unsafe { self.pointer(offset, 8).cast::<u64>().read() }
    }

    /// Writes 8 bytes at an aligned offset.
    pub fn write_u64(&self, offset: u32, value: u64) {
        #[cfg(test)]
        log::note(self, offset, 8);
        // SAFETY: in bounds and aligned by `pointer`, of a cell; nothing else accesses it now.
        unsafe { self.pointer(offset, 8).cast::<u64>().write(value) }
    }

    /// Reads 4 bytes at an aligned offset.
    pub fn read_u32(&self, offset: u32) -> u32 {
        // SAFETY: as for `read_u64`.
        unsafe { self.pointer(offset, 4).cast::<u32>().read() }
    }

    /// Writes 4 bytes at an aligned offset.
    pub fn write_u32(&self, offset: u32, value: u32) {
        #[cfg(test)]
        log::note(self, offset, 4);
        // SAFETY: as for `write_u64`.
        unsafe { self.pointer(offset, 4).cast::<u32>().write(value) }
    }

    /// Reads 16 bytes at an aligned offset.
    pub fn read_u128(&self, offset: u32) -> u128 {
        // SAFETY: as for `read_u64`.
        unsafe { self.pointer(offset, 16).cast::<u128>().read() }
    }

    /// Writes 16 bytes at an aligned offset.
    pub fn write_u128(&self, offset: u32, value: u128) {
        #[cfg(test)]
        log::note(self, offset, 16);
        // SAFETY: as for `write_u64`.
        unsafe { self.pointer(offset, 16).cast::<u128>().write(value) }
    }
}

#[cfg(test)]
pub use log::written;

/// Which words of blocks are written, for tests.
#[cfg(test)]
mod log {
    use std::cell::RefCell;
    use std::collections::{HashMap, HashSet};

    use super::Block;

    /// Offsets and sizes of what was written, by the address of the block.
    type Written = HashMap<u64, HashSet<(u32, u32)>>;

    thread_local! {
        static WRITTEN: RefCell<Option<Written>> = const { RefCell::new(None) };
    }

    pub(super) fn note(block: &Block, offset: u32, bytes: u32) {
        WRITTEN.with_borrow_mut(|written| {
            if let Some(written) = written {
                let block = written.entry(block.address()).or_default();
                block.insert((offset, bytes));
            }
        });
    }

    /// Does something, and also returns what it wrote to blocks, from Rust, on this thread.
    pub fn written<R>(work: impl FnOnce() -> R) -> (R, Written) {
        WRITTEN.set(Some(Written::new()));
        let result = work();
        (result, WRITTEN.take().unwrap_or_default())
    }
}
