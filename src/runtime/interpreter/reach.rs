//! The memory that interpreted code reaches: the same that machine code does, at the same addresses.
//!
//! # Invariants
//! - Nothing is read or written but what the store says is its own and accessible, or the stack of
//!   interpreted code; what was accessible stays so until [`Reach::forget`] is called.
//! - While interpreted code runs, no reference to the store is alive, and none to what it owns.

use std::cell::Cell;
use std::ops::Range;

use crate::runtime::store::Store;

/// An address that code must not access, which an access of it touches first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused(pub u64);

/// Whom to ask about addresses.
pub trait Owner {
    /// The accessible bytes around an address, as far as they are known to be.
    fn accessible(&self, address: u64) -> Option<Range<u64>>;
}

/// The store whose code is interpreted.
pub struct OwnedByStore {
    store: *const Store<'static>,
    stack: Range<u64>,
}

impl OwnedByStore {
    /// Asks a store; null for none.
    ///
    /// # Safety
    /// The store, if there is one, must be valid for as long as this is used, and no reference to it be alive that can
    /// change it when this is asked; `stack` must be memory that can be read and written, to which
    /// there is no reference.
    pub unsafe fn new(store: *const Store<'_>, stack: Range<u64>) -> OwnedByStore {
        OwnedByStore {
            store: store.cast(),
            stack,
        }
    }
}

impl Owner for OwnedByStore {
    fn accessible(&self, address: u64) -> Option<Range<u64>> {
        if self.stack.contains(&address) {
            return Some(self.stack.clone());
        }
        // SAFETY: `new` was told that this may be done.
        unsafe { self.store.as_ref() }?.accessible(address)
    }
}

/// How many pieces of memory are known at a time: a vmctx's, a memory or two, the stack, the words for
/// interrupts.
const KNOWN: usize = 4;

/// The memory that interpreted code reaches.
pub struct Reach<O> {
    owner: O,
    /// Start and length of what is known to be accessible.
    known: [Cell<(u64, u64)>; KNOWN],
    next: Cell<usize>,
}

impl<O: Owner> Reach<O> {
    /// What `owner` says is accessible.
    ///
    /// # Safety
    /// What the owner says is accessible must be memory that can be read and written, to which there is
    /// no reference while any other method is called.
    pub unsafe fn new(owner: O) -> Reach<O> {
        Reach {
            owner,
            known: Default::default(),
            next: Cell::new(0),
        }
    }

    /// Says that some of what was accessible may not be any more.
    pub fn forget(&self) {
        for known in &self.known {
            known.set((0, 0));
        }
    }

    /// Checks that so many bytes, at most 16, can be accessed.
    #[inline(always)]
    fn check(&self, address: u64, bytes: u64) -> Result<(), Refused> {
        for known in &self.known {
            let (start, length) = known.get();
            let offset = address.wrapping_sub(start);
            if offset < length && length - offset >= bytes {
                return Ok(());
            }
        }
        self.ask(address, bytes)
    }

    #[cold]
    #[inline(never)]
    fn ask(&self, address: u64, bytes: u64) -> Result<(), Refused> {
        let Some(range) = self.owner.accessible(address) else {
            return Err(Refused(address));
        };
        let next = self.next.get();
        self.known[next].set((range.start, range.end - range.start));
        self.next.set((next + 1) % KNOWN);
        if range.end - address < bytes {
            return Err(Refused(range.end));
        }
        Ok(())
    }

    /// Reads some bytes, in the order that the host has them.
    ///
    /// # Errors
    /// [`Refused`].
    #[inline(always)]
    pub fn read<T: Plain>(&self, address: u64) -> Result<T, Refused> {
        self.check(address, size_of::<T>() as u64)?;
        let pointer = std::ptr::with_exposed_provenance::<T>(address as usize);
        // SAFETY: it is accessible and has no reference to it, as `new` was told; any bytes are a
        // number.
        Ok(unsafe { pointer.read_unaligned() })
    }

    /// Writes some bytes, in the order that the host has them. All of them, or none.
    ///
    /// # Errors
    /// [`Refused`].
    #[inline(always)]
    pub fn write<T: Plain>(&self, address: u64, value: T) -> Result<(), Refused> {
        self.check(address, size_of::<T>() as u64)?;
        let pointer = std::ptr::with_exposed_provenance_mut::<T>(address as usize);
        // SAFETY: as for `read`.
        unsafe { pointer.write_unaligned(value) };
        Ok(())
    }
}

/// Numbers of at most 16 bytes.
pub trait Plain: Copy + sealed::Sealed {}

macro_rules! plain {
    ($($ty:ty),*) => {
        mod sealed {
            pub trait Sealed {}
            $( impl Sealed for $ty {} )*
        }
        $( impl Plain for $ty {} )*
    };
}

plain!(u8, u16, u32, u64, u128);

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes from an address on, of which the owner is asked at most so often.
    struct Piece {
        range: Range<u64>,
        asked: Cell<u32>,
    }

    impl Owner for &Piece {
        fn accessible(&self, address: u64) -> Option<Range<u64>> {
            self.asked.set(self.asked.get() + 1);
            self.range.contains(&address).then(|| self.range.clone())
        }
    }

    fn with_piece(bytes: usize, test: impl FnOnce(&Piece, &Reach<&Piece>)) {
        let mut memory = vec![0_u8; bytes];
        let start = memory.as_mut_ptr().expose_provenance() as u64;
        let piece = Piece {
            range: start..start + bytes as u64,
            asked: Cell::new(0),
        };
        // SAFETY: the memory lives, and is not looked at, until the test is over.
        let reach = unsafe { Reach::new(&piece) };
        test(&piece, &reach);
    }

    #[test]
    fn what_is_inside_is_read_and_written_little_endian() {
        with_piece(32, |piece, reach| {
            let at = piece.range.start;
            assert_eq!(reach.write(at + 3, 0x1122_3344_u32.to_le()), Ok(()));
            assert_eq!(reach.read::<u8>(at + 3), Ok(0x44));
            assert_eq!(reach.read::<u8>(at + 6), Ok(0x11));
            assert_eq!(reach.read::<u16>(at + 2).map(u16::from_le), Ok(0x4400));
            assert_eq!(reach.write(at + 16, u128::MAX), Ok(()));
            assert_eq!(reach.read::<u64>(at + 24), Ok(u64::MAX));
            assert_eq!(piece.asked.get(), 1, "it is asked once and then known");
        });
    }

    #[test]
    fn what_is_outside_is_refused_and_nothing_written() {
        with_piece(32, |piece, reach| {
            let (start, end) = (piece.range.start, piece.range.end);
            assert_eq!(reach.read::<u8>(end), Err(Refused(end)));
            assert_eq!(reach.read::<u8>(start - 1), Err(Refused(start - 1)));
            assert_eq!(reach.read::<u8>(0), Err(Refused(0)));
            assert_eq!(reach.read::<u128>(u64::MAX - 3), Err(Refused(u64::MAX - 3)));
            assert_eq!(reach.write(end - 8, u128::MAX), Err(Refused(end)));
            assert_eq!(reach.write(end - 3, u32::MAX), Err(Refused(end)));
            assert_eq!(reach.read::<u64>(end - 8), Ok(0));
        });
    }

    #[test]
    fn what_may_have_changed_is_asked_for_again() {
        with_piece(32, |piece, reach| {
            let at = piece.range.start;
            for asked in 1..4 {
                assert_eq!(reach.read::<u64>(at), Ok(0));
                assert_eq!(reach.read::<u64>(at), Ok(0));
                assert_eq!(piece.asked.get(), asked);
                reach.forget();
            }
        });
    }
}
