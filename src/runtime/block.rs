//! Memory that generated code reads and writes: vmctxs, table elements, host objects' headers.
//!
//! Blocks come from a *heap*, which is a few pieces of page-aligned address space, so that it can
//! be told of any address by whoever runs generated code whether generated code may touch it. A
//! heap only grows until its last block is gone; then it starts over, which is once a case.
//!
//! # Invariants
//! - A block's words are never borrowed: the only way to them from Rust is a read or write of one
//!   word by a bounds-checked offset, so that generated code, which runs on the same thread while
//!   no such access is under way, may change them at any other time.
//! - A block does not move while it lives; its address may be stored in other blocks.
//! - A piece is mapped for as long as its heap or a block of it lives. What of it is not given out
//!   reads as zero.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::ptr::NonNull;
use std::rc::Rc;

/// The alignment of every block.
const ALIGNMENT: usize = 16;

/// Bytes of address space of a piece, unless one block needs more. Pages that are not touched
/// cost nothing.
const PIECE_BYTES: usize = 16 << 20;

/// How many bytes of a piece are zeroed by hand when it starts over; beyond, its pages are.
const ZERO_BY_HAND: usize = 256 << 10;

const PAGE_BYTES: usize = 4096;

/// Where blocks come from. Clones are the same heap.
#[derive(Clone, Default)]
pub struct Heap(Rc<Pieces>);

#[derive(Default)]
struct Pieces {
    /// All pieces; blocks are cut from the last.
    pieces: RefCell<Vec<Piece>>,
    /// How many blocks are alive.
    blocks: Cell<usize>,
}

struct Piece {
    base: NonNull<u8>,
    capacity: usize,
    used: usize,
}

impl Heap {
    /// A zeroed block of at least `bytes` bytes.
    pub fn block(&self, bytes: u32) -> Block {
        let bytes = bytes.next_multiple_of(ALIGNMENT as u32);
        let mut pieces = self.0.pieces.borrow_mut();
        let room = pieces
            .last()
            .is_some_and(|piece| piece.capacity - piece.used >= bytes as usize);
        if !room {
            pieces.push(Piece::reserve(bytes as usize));
        }
        let piece = pieces.last_mut().expect("there is one with room");
        // SAFETY: the piece has room for the block, so this lies within it, or at its end.
        let start = unsafe { piece.base.add(piece.used) };
        piece.used += bytes as usize;
        self.0.blocks.set(self.0.blocks.get() + 1);
        Block {
            start,
            bytes,
            heap: self.clone(),
        }
    }

    /// Whether all of these addresses lie on pages of one piece.
    pub fn covers(&self, addresses: Range<u64>) -> bool {
        let pieces = self.0.pieces.borrow();
        pieces.iter().any(|piece| {
            let base = piece.base.as_ptr().addr() as u64;
            base <= addresses.start && addresses.end <= base + piece.capacity as u64
        })
    }

    /// The addresses around one that have been given to blocks, as far as they lie together.
    pub fn around(&self, address: u64) -> Option<Range<u64>> {
        let pieces = self.0.pieces.borrow();
        pieces.iter().find_map(|piece| {
            let base = piece.base.as_ptr().addr() as u64;
            let used = base..base + piece.used as u64;
            used.contains(&address).then_some(used)
        })
    }

    /// Starts over if no block is alive.
    fn start_over(&self) {
        let mut pieces = self.0.pieces.borrow_mut();
        // The first piece is enough for most cases; others were for one that needs much.
        pieces.truncate(1);
        pieces.retain_mut(|piece| piece.capacity == PIECE_BYTES && piece.clear());
    }
}

impl Piece {
    fn reserve(bytes: usize) -> Piece {
        let capacity = bytes.next_multiple_of(PAGE_BYTES).max(PIECE_BYTES);
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                capacity,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let base = (base != libc::MAP_FAILED)
            .then(|| NonNull::new(base.cast::<u8>()))
            .flatten();
        let Some(base) = base else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; PIECE_BYTES]>());
        };
        Piece {
            base,
            capacity,
            used: 0,
        }
    }

    /// Makes all of it zero and free again, if the kernel lets it.
    fn clear(&mut self) -> bool {
        let used = std::mem::take(&mut self.used);
        if used <= ZERO_BY_HAND {
            // SAFETY: the first `used` bytes are the piece's own, and no block of it is alive.
            unsafe { std::ptr::write_bytes(self.base.as_ptr(), 0, used) };
            return true;
        }
        // SAFETY: the range lies within the piece's own private anonymous mapping, whose pages
        // read as zero afterwards, and no block of it is alive.
        unsafe { libc::madvise(self.base.as_ptr().cast(), used, libc::MADV_DONTNEED) == 0 }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: the mapping is the piece's own, and no block of it is alive: blocks keep their
        // heap alive, and a heap drops pieces only when it starts over.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.capacity) };
    }
}

/// A zero-initialised, 16-aligned block of memory, shared with generated code on the same thread.
pub struct Block {
    start: NonNull<u8>,
    bytes: u32,
    heap: Heap,
}

impl Drop for Block {
    fn drop(&mut self) {
        let blocks = self.heap.0.blocks.get() - 1;
        self.heap.0.blocks.set(blocks);
        if blocks == 0 {
            self.heap.start_over();
        }
    }
}

impl Block {
    /// The heap it is from.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The address of its first byte.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
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
        unsafe { self.start.as_ptr().add(offset as usize) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zero_and_apart_also_when_the_heap_starts_over() {
        let heap = Heap::default();
        let mut first = 0;
        for round in 0..3u64 {
            let (a, b) = (heap.block(24), heap.block(16));
            assert_eq!((a.bytes(), b.address() - a.address()), (32, 32));
            assert_eq!((a.read_u64(16), b.read_u64(0)), (0, 0), "round {round}");
            a.write_u64(16, u64::MAX);
            b.write_u64(0, round + 1);
            assert_eq!(a.read_u64(16), u64::MAX);
            assert!(heap.covers(a.address()..b.address() + 16));
            if round == 0 {
                first = a.address();
            }
            assert_eq!(a.address(), first, "the memory is used again");
        }
    }

    #[test]
    fn what_does_not_fit_gets_a_piece_of_its_own() {
        let heap = Heap::default();
        let small = heap.block(16);
        let large = heap.block(PIECE_BYTES as u32 + 1);
        let last = large.bytes() - 8;
        large.write_u64(last, 7);
        assert_eq!(large.read_u64(last), 7);
        let end = large.address() + u64::from(large.bytes());
        assert!(heap.covers(large.address()..end));
        assert!(!heap.covers(0..1));
        drop((small, large));
        assert!(!heap.covers(end - 8..end), "a large piece is not kept");
    }

    #[test]
    fn a_block_keeps_its_heap_alive() {
        let block = Heap::default().block(16);
        block.write_u64(8, 1);
        assert_eq!(block.read_u64(8), 1);
    }
}
