//! Executable memory.
//!
//! An arena is one piece of memory that is mapped twice: once to write code to, once to run it
//! from. So no page is ever both writable and executable, and loading a module takes no system
//! call. The arena of a case is emptied when the case is over.
//!
//! # Invariants
//! - Both views are mapped for the whole life of the arena and of the same size.
//! - Code below `used` is not written to until `truncate` is called, which the owner does only
//!   while none of what it forgets is running.
//! - What was written is published (`host_isa`) before anybody gets its address, by the thread that
//!   will run it.

use std::io;
use std::ptr::NonNull;

use super::host_isa;
use crate::codegen::CompiledModule;
use crate::codegen::compiled::{LibCall, Relocation, RelocationKind, RelocationTarget};

/// Memory to run code from.
pub struct CodeArena {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    capacity: usize,
    used: usize,
}

/// Why code could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The arena is full.
    #[error("{wanted} bytes of code do not fit")]
    Full {
        /// Bytes that were needed.
        wanted: usize,
    },
    /// A relocation does not reach its target.
    #[error("relocation at offset {offset:#x} does not reach")]
    OutOfReach {
        /// Where it is.
        offset: u32,
    },
}

impl CodeArena {
    /// An arena for `capacity` bytes of code, a multiple of the page size.
    ///
    /// # Errors
    /// What the kernel says if it refuses.
    pub fn new(capacity: usize) -> io::Result<CodeArena> {
        // SAFETY: creates a file descriptor of our own; the name is a valid C string.
        let fd = unsafe { libc::memfd_create(c"parallax-code".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is ours.
        let sized = unsafe { libc::ftruncate(fd, capacity as libc::off_t) } == 0;
        let map = |protection| {
            // SAFETY: a shared mapping of our own file at an address of the kernel's choice.
            let base = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    capacity,
                    protection,
                    libc::MAP_SHARED,
                    fd,
                    0,
                )
            };
            (base != libc::MAP_FAILED)
                .then(|| NonNull::new(base.cast::<u8>()))
                .flatten()
        };
        let views = if sized {
            (
                map(libc::PROT_READ | libc::PROT_WRITE),
                map(libc::PROT_READ | libc::PROT_EXEC),
            )
        } else {
            (None, None)
        };
        let error = io::Error::last_os_error();
        // SAFETY: `fd` is ours and the mappings keep the memory alive.
        unsafe { libc::close(fd) };
        match views {
            (Some(writable), Some(executable)) => Ok(CodeArena {
                writable,
                executable,
                capacity,
                used: 0,
            }),
            _ => Err(error),
        }
    }

    /// Copies a module's code in and relocates it; returns the address of its first byte.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(
        &mut self,
        module: &CompiledModule,
        lib_calls: &dyn Fn(LibCall) -> u64,
    ) -> Result<u64, LoadError> {
        let start = self.used.next_multiple_of(64);
        let len = module.code.len();
        if start.checked_add(len).is_none_or(|end| end > self.capacity) {
            return Err(LoadError::Full { wanted: len });
        }
        let writable = self.writable.as_ptr();
        // SAFETY: the range lies within the writable view and above `used`, so no code in it is
        // running and no other slice of it is alive.
        let code = unsafe { std::slice::from_raw_parts_mut(writable.add(start), len) };
        code.copy_from_slice(&module.code);
        let base = self.address() + start as u64;
        for relocation in &module.relocations {
            let target = match relocation.target {
                RelocationTarget::Function(function) => {
                    base + u64::from(module.functions[function as usize].start)
                }
                RelocationTarget::LibCall(call) => lib_calls(call),
            };
            apply(code, base, relocation, target)?;
        }
        // SAFETY: both views are mapped there, and `code` is not used any more.
        unsafe {
            host_isa::publish(
                self.writable.as_ptr().add(start),
                self.executable.as_ptr().add(start),
                len,
            );
        }
        self.used = start + len;
        Ok(base)
    }

    /// The address of the arena's first byte, as code.
    pub fn address(&self) -> u64 {
        self.executable.as_ptr().expose_provenance() as u64
    }

    /// The addresses that code may have.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.address()..self.address() + self.capacity as u64
    }

    /// How many bytes are taken.
    pub fn used(&self) -> usize {
        self.used
    }

    /// The address behind all code.
    pub fn end(&self) -> u64 {
        self.address() + self.used as u64
    }

    /// Forgets all code but the first `used` bytes. None of it may be running or be called again.
    pub fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }
}

impl Drop for CodeArena {
    fn drop(&mut self) {
        // SAFETY: both mappings are the arena's own and nothing runs or reads them any more.
        unsafe {
            libc::munmap(self.writable.as_ptr().cast(), self.capacity);
            libc::munmap(self.executable.as_ptr().cast(), self.capacity);
        }
    }
}

fn apply(
    code: &mut [u8],
    base: u64,
    relocation: &Relocation,
    target: u64,
) -> Result<(), LoadError> {
    let at = relocation.offset as usize;
    let out_of_reach = LoadError::OutOfReach {
        offset: relocation.offset,
    };
    let value = target.wrapping_add_signed(relocation.addend);
    let relative = value.wrapping_sub(base + u64::from(relocation.offset)) as i64;
    match relocation.kind {
        RelocationKind::Absolute8 => code[at..at + 8].copy_from_slice(&value.to_le_bytes()),
        RelocationKind::Relative4 => {
            let relative = i32::try_from(relative).map_err(|_| out_of_reach)?;
            code[at..at + 4].copy_from_slice(&relative.to_le_bytes());
        }
        RelocationKind::Aarch64Call => {
            if relative % 4 != 0 || !(-(1 << 27)..1 << 27).contains(&relative) {
                return Err(out_of_reach);
            }
            let words = (relative / 4) as u32 & 0x03ff_ffff;
            let mut instruction = [0; 4];
            instruction.copy_from_slice(&code[at..at + 4]);
            let instruction = (u32::from_le_bytes(instruction) & 0xfc00_0000) | words;
            code[at..at + 4].copy_from_slice(&instruction.to_le_bytes());
        }
        RelocationKind::Riscv64Call => {
            // The lower part has a sign, for which the upper part makes up.
            let upper = relative.wrapping_add(0x800) >> 12;
            if !(-(1 << 19)..1 << 19).contains(&upper) {
                return Err(out_of_reach);
            }
            let upper = (at, 0x0000_0fff, (upper as u32) << 12);
            let lower = (at + 4, 0x000f_ffff, (relative as u32) << 20);
            for (at, kept, bits) in [upper, lower] {
                let mut instruction = [0; 4];
                instruction.copy_from_slice(&code[at..at + 4]);
                let instruction = (u32::from_le_bytes(instruction) & kept) | bits;
                code[at..at + 4].copy_from_slice(&instruction.to_le_bytes());
            }
        }
    }
    Ok(())
}
