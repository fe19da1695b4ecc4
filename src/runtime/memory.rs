//! Linear memories, as reservations of address space.
//!
//! Every memory lives in a *slot*: [`SLOT_BYTES`] of address space of which the first bytes, as
//! many as the memory is long, can be accessed and the rest faults. A slot is large enough for
//! every style of memory and guard, and is kept for the next case when its memory is gone. What can be
//! accessed counts against what the system lets a process have, so that of a large memory nothing stays so.
//!
//! # Invariants
//! - A slot's mapping is made once and never unmapped before the pool is dropped; exactly its
//!   first `accessible` bytes are readable and writable.
//! - `Memory::bytes` borrows the memory, so no generated code runs while the slice lives.
//! - A slot in the pool reads as zero throughout `accessible`.

use std::io;
use std::ptr::NonNull;

use super::block::Block;
use crate::translate::layout::memory_definition;
use crate::translate::memories::PAGE_BYTES;

/// Bytes of address space that a slot reserves: what a 32-bit index and a 32-bit offset reach,
/// the widest access, rounded up.
pub const SLOT_BYTES: u64 = (8 << 30) + (1 << 20);

/// How many bytes of a slot are zeroed by hand when it is given back; beyond, its pages are.
const ZERO_BY_HAND: u64 = 256 << 10;

/// How many bytes of a slot that no memory uses stay accessible at most: those of a memory as large as cases
/// may have one by default.
const KEPT_ACCESSIBLE: u64 = 64 << 20;

/// What is looked at before it is written: of most memories most is never touched, and to read a page
/// that nobody has written costs the system far less than to write it.
type BlockOfMemory = [u8; 4096];
static ZEROES: BlockOfMemory = [0; 4096];

struct Slot {
    base: NonNull<u8>,
    accessible: u64,
}

/// Slots that no memory uses at the moment.
#[derive(Default)]
pub struct MemoryPool {
    free: Vec<Slot>,
    changes: u64,
}

impl MemoryPool {
    /// A number that is another one whenever part of a slot may have become inaccessible.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn take(&mut self, bytes: u64) -> io::Result<Slot> {
        self.changes += 1;
        let mut slot = match self.best_fit(bytes) {
            Some(index) => self.free.swap_remove(index),
            None => Slot::reserve()?,
        };
        slot.set_accessible(bytes)?;
        Ok(slot)
    }

    /// A free slot, if possible one that already is as long as asked for.
    fn best_fit(&self, bytes: u64) -> Option<usize> {
        let exact = self.free.iter().position(|slot| slot.accessible == bytes);
        exact.or_else(|| self.free.len().checked_sub(1))
    }

    fn give_back(&mut self, mut slot: Slot, used: u64) {
        self.changes += 1;
        let cleared = slot.clear(used).and_then(|()| match slot.accessible {
            ..=KEPT_ACCESSIBLE => Ok(()),
            _ => slot.set_accessible(0),
        });
        if cleared.is_ok() {
            self.free.push(slot);
        }
    }
}

impl Slot {
    fn reserve() -> io::Result<Slot> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SLOT_BYTES as usize,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Slot {
            base,
            accessible: 0,
        })
    }

    fn set_accessible(&mut self, bytes: u64) -> io::Result<()> {
        let (low, high) = (self.accessible.min(bytes), self.accessible.max(bytes));
        if low == high {
            return Ok(());
        }
        let protection = if bytes > self.accessible {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_NONE
        };
        // SAFETY: `low..high` lies within the slot's own mapping, and no slice of it is alive.
        let failed = unsafe {
            let start = self.base.as_ptr().add(low as usize);
            libc::mprotect(start.cast(), (high - low) as usize, protection) != 0
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
        self.accessible = bytes;
        Ok(())
    }

    /// The blocks of its first bytes, a number of wasm pages that are accessible.
    fn blocks(&mut self, bytes: u64) -> &mut [BlockOfMemory] {
        debug_assert!(bytes <= self.accessible && bytes.is_multiple_of(PAGE_BYTES));
        let count = bytes as usize / ZEROES.len();
        // SAFETY: the first `accessible` bytes are readable and writable, no other slice of them is
        // alive, and no generated code runs while this one is.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().cast(), count) }
    }

    /// Makes all of it zero again, of which only the first `used` bytes may not be.
    fn clear(&mut self, used: u64) -> io::Result<()> {
        let used = used.min(self.accessible);
        if used <= ZERO_BY_HAND {
            for block in self.blocks(used).iter_mut().filter(|it| **it != ZEROES) {
                *block = ZEROES;
            }
            return Ok(());
        }
        // SAFETY: the range lies within the slot's own private anonymous mapping, whose pages
        // read as zero afterwards.
        let failed = unsafe {
            libc::madvise(
                self.base.as_ptr().cast(),
                used as usize,
                libc::MADV_DONTNEED,
            ) != 0
        };
        if failed {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: the mapping is the slot's own and nothing refers to it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), SLOT_BYTES as usize) };
    }
}

/// A linear memory.
pub struct Memory {
    slot: Slot,
    /// Whether growing moves it to another slot, so that stale bases fault.
    moves: bool,
    /// Pages it may grow to.
    max_pages: u64,
}

impl Memory {
    /// A zeroed memory of `pages` pages that may grow to `max_pages`.
    ///
    /// # Errors
    /// What the kernel says if there is no address space or memory left.
    pub fn new(
        pool: &mut MemoryPool,
        pages: u64,
        max_pages: u64,
        moves: bool,
    ) -> io::Result<Memory> {
        let slot = pool.take(pages * PAGE_BYTES)?;
        Ok(Memory {
            slot,
            moves,
            max_pages,
        })
    }

    /// Its size in pages.
    pub fn pages(&self) -> u64 {
        self.slot.accessible / PAGE_BYTES
    }

    /// Whether growing moves it.
    pub fn moves(&self) -> bool {
        self.moves
    }

    /// The address of its first byte.
    pub fn base(&self) -> u64 {
        self.slot.base.as_ptr().expose_provenance() as u64
    }

    /// Whether an address lies within `bytes` of its base.
    pub fn reaches(&self, address: u64, bytes: u64) -> bool {
        address
            .checked_sub(self.base())
            .is_some_and(|offset| offset < bytes)
    }

    /// Grows it; the old size in pages, or `None` if it may not grow so far.
    ///
    /// # Errors
    /// What the kernel says if there is no address space or memory left.
    pub fn grow(&mut self, pool: &mut MemoryPool, delta: u64) -> io::Result<Option<u64>> {
        let old = self.pages();
        let new = old.checked_add(delta);
        let Some(new) = new.filter(|new| *new <= self.max_pages) else {
            return Ok(None);
        };
        if delta == 0 {
            return Ok(Some(old));
        }
        if self.moves {
            let mut slot = pool.take(new * PAGE_BYTES)?;
            let used = self.slot.accessible;
            let (from, to) = (self.slot.blocks(used), slot.blocks(used));
            for (from, to) in from.iter().zip(to).filter(|(from, _)| **from != ZEROES) {
                *to = *from;
            }
            std::mem::swap(&mut self.slot, &mut slot);
            pool.changes += 1;
            // The old base must fault from now on.
            if slot
                .clear(used)
                .and_then(|()| slot.set_accessible(0))
                .is_ok()
            {
                pool.give_back(slot, 0);
            }
        } else {
            self.slot.set_accessible(new * PAGE_BYTES)?;
        }
        Ok(Some(old))
    }

    /// Its contents.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: exactly these bytes are readable; generated code cannot run while they are
        // borrowed, since running it borrows the store mutably.
        unsafe {
            std::slice::from_raw_parts(self.slot.base.as_ptr(), self.slot.accessible as usize)
        }
    }

    /// Its contents.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `bytes`, and `self` is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.slot.base.as_ptr(), self.slot.accessible as usize)
        }
    }

    /// Writes base and length where generated code reads them.
    pub fn define(&self, block: &Block, offset: u32) {
        block.write_u64(offset + memory_definition::BASE, self.base());
        block.write_u64(
            offset + memory_definition::CURRENT_LENGTH,
            self.slot.accessible,
        );
    }

    /// Gives its slot back.
    pub fn release(self, pool: &mut MemoryPool) {
        let used = self.slot.accessible;
        pool.give_back(self.slot, used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_memory_nothing_stays_accessible() {
        let mut pool = MemoryPool::default();
        for (pages, kept) in [(KEPT_ACCESSIBLE / PAGE_BYTES, true), (1_025, false)] {
            let mut memory = Memory::new(&mut pool, 1, pages, false).expect("room");
            let grown = memory.grow(&mut pool, pages - 1).expect("room");
            assert_eq!(grown, Some(1));
            assert_eq!(memory.grow(&mut pool, 1).expect("it may not"), None);
            memory.bytes_mut()[7] = 1;
            memory.release(&mut pool);
            let slot = pool.free.last().expect("it is kept");
            let accessible = if kept { pages * PAGE_BYTES } else { 0 };
            assert_eq!(slot.accessible, accessible);
            // And it is as good as new.
            let again = Memory::new(&mut pool, pages, pages, false).expect("room");
            assert_eq!((again.pages(), again.bytes()[7]), (pages, 0));
            again.release(&mut pool);
        }
        assert_eq!(pool.free.len(), 1);
    }
}
