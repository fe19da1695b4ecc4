//! The way into generated code for aarch64, out to builtins, and out by a trap, on any host.
//!
//! Unicorn runs the code, in this process and on this thread. All of the host's address space is
//! one region of its physical memory, at equal addresses; which pages of it generated code may
//! touch is decided page by page when its translation of addresses misses one, by asking the
//! store. So nothing is ever mapped or copied, a fault is raised before the instruction has any
//! effect, and only what becomes inaccessible takes a flush.
//!
//! Code hands a builtin's arguments over in registers and jumps to its *gate*, of which each is
//! one `ret` in a page of our own. A hook on that page runs the builtin before the `ret` does.
//!
//! Code that does not end is stopped by the number of basic blocks that it runs, not by a clock.
//!
//! # Invariants
//! - `Emulator::call` is the only way into emulated code. Hooks run only while it does, on its
//!   thread, and reach the store through the pointer it was given and nothing else.
//! - While emulated code runs, no reference to the store is alive but in a hook.
//! - A page is let in only if it is host memory that is mapped with at least the access allowed:
//!   code and gates to execute, and to read and write what the store owns and the emulated stack.
//!   When a page ceases to be that, the translations are flushed before emulated code goes on.
//! - No panic leaves a hook, whose caller is not Rust.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use unicorn_engine::{
    Arch, MemType, Mode, Prot, RegisterARM64, RegisterARM64CP, TlbEntry, TlbType, Unicorn, uc_error,
};

use super::entry::{self, Activation, Stopped, Target, WASM_STACK_BYTES};
use super::store::Store;
use super::torn::VectorStore;
use crate::translate::builtins::Builtin;
use crate::translate::layout::head;

/// Basic blocks that one call may run. A case that ends in the reference needs far fewer.
const BLOCKS: u64 = 100_000_000;

/// Bytes of emulated stack below the limit, for what has no check of its own.
const STACK_SLACK: u64 = 1 << 20;

const PAGE_BYTES: u64 = 4096;

/// The end of the address space of a process on every 64-bit host with four levels of page tables.
const ADDRESS_SPACE_END: u64 = 1 << 47;

/// `ret`, which is all that a builtin's gate consists of.
const RET: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();

const GATE_BYTES: u64 = RET.len() as u64;

/// The gate behind those of the builtins, to which the outermost frame returns. It holds `udf`.
const EXIT_GATE: u64 = Builtin::ALL.len() as u64 * GATE_BYTES;

/// Registers by which a builtin is passed its arguments, the vmctx first.
const ARGUMENTS: [RegisterARM64; 6] = [
    RegisterARM64::X0,
    RegisterARM64::X1,
    RegisterARM64::X2,
    RegisterARM64::X3,
    RegisterARM64::X4,
    RegisterARM64::X5,
];

/// Runs code for aarch64.
pub struct Emulator {
    // Before what it has mapped, so that it goes first.
    unicorn: Unicorn<'static, Call>,
    gates: Pages,
    stack: Pages,
}

/// What hooks know of the call under way.
struct Call {
    /// The store; null between calls. The lifetime is not that of the case, which nobody looks at.
    store: *mut Store<'static>,
    code: Range<u64>,
    gates: Range<u64>,
    stack: Range<u64>,
    /// How many more basic blocks it may run.
    blocks: u64,
    /// Why a hook stopped it.
    stopped: Option<Stopped>,
    /// The page that it was not let into, which ended it, and whether that was to write.
    refused: Option<(u64, bool)>,
}

impl Emulator {
    /// An emulator.
    ///
    /// # Errors
    /// One line, if Unicorn cannot be set up or the kernel has no memory.
    pub fn new() -> Result<Emulator, String> {
        let gates = Pages::map(PAGE_BYTES).map_err(|error| error.to_string())?;
        let stack =
            Pages::map(STACK_SLACK + WASM_STACK_BYTES).map_err(|error| error.to_string())?;
        for builtin in 0..Builtin::ALL.len() {
            gates.write(builtin * RET.len(), RET);
        }
        let call = Call {
            store: std::ptr::null_mut(),
            code: 0..0,
            gates: gates.range(),
            stack: stack.range(),
            blocks: 0,
            stopped: None,
            refused: None,
        };
        let unicorn = set_up(call).map_err(|error| format!("Unicorn: {error:?}"))?;
        Ok(Emulator {
            unicorn,
            gates,
            stack,
        })
    }

    /// The addresses of the builtins, by number.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        std::array::from_fn(|builtin| self.gates.range().start + builtin as u64 * GATE_BYTES)
    }

    /// Says that code is not any more what it was.
    pub fn forget_code(&mut self) {
        let flushed = self.unicorn.ctl_flush_tb();
        debug_assert!(flushed.is_ok());
    }

    /// Says that what generated code may touch is not any more what it was.
    pub fn forget_memory(&mut self) {
        let flushed = self.unicorn.ctl_flush_tlb();
        debug_assert!(flushed.is_ok());
    }

    /// Runs a function. Arguments are at `values`, and results when it has returned.
    ///
    /// # Errors
    /// Why it stopped.
    ///
    /// # Safety
    /// As for [`super::machine::Machine::call`].
    pub unsafe fn call(
        &mut self,
        store: *mut Store<'_>,
        target: Target,
        code: Range<u64>,
        values: u64,
    ) -> Result<(), Stopped> {
        // SAFETY: `store` is valid; the clone keeps the words alive, and no reference stays.
        let interrupts = unsafe { (*store).interrupts().clone() };
        let stack = self.stack.range();
        let exit = self.gates.range().start + EXIT_GATE;
        let call = self.unicorn.get_data_mut();
        call.store = store.cast();
        call.code = code;
        call.blocks = BLOCKS;
        call.stopped = None;
        call.refused = None;

        let outer_exit = interrupts.exit();
        interrupts.set_stack_limit(stack.end - WASM_STACK_BYTES);
        let activation = Activation::emulated(stack.clone(), outer_exit);
        let registers = [
            (RegisterARM64::X0, target.vmctx),
            (RegisterARM64::X1, target.vmctx),
            (RegisterARM64::X2, target.code),
            (RegisterARM64::X3, values),
            (RegisterARM64::X29, 0),
            (RegisterARM64::X30, exit),
            (RegisterARM64::SP, stack.end),
        ];
        let ended = entry::during(activation, || {
            for (register, value) in registers {
                self.unicorn.reg_write(register, value)?;
            }
            // No address to stop at: the exit gate traps.
            self.unicorn.emu_start(target.trampoline, 0, 0, 0)
        });
        interrupts.set_exit(outer_exit);
        let pc = self.unicorn.pc_read().unwrap_or_default();
        let torn = self.torn_store(pc);
        let call = self.unicorn.get_data_mut();
        call.store = std::ptr::null_mut();
        if let Some(stopped) = call.stopped.take() {
            return Err(stopped);
        }
        match (ended, call.refused.take()) {
            (Err(uc_error::EXCEPTION), Some((page, _))) => Err(match torn {
                Some(address) => Stopped::Torn { pc, address },
                None => Stopped::Fault {
                    signal: libc::SIGSEGV,
                    pc,
                    address: page,
                },
            }),
            (Err(uc_error::EXCEPTION), None) if pc == exit => Ok(()),
            // An exception of the emulated processor.
            (Err(uc_error::EXCEPTION | uc_error::INSN_INVALID), None) => Err(Stopped::Fault {
                signal: libc::SIGILL,
                pc,
                address: 0,
            }),
            // Nothing else stops it.
            _ => Err(Stopped::Panicked),
        }
    }
}

impl Emulator {
    /// The address that the instruction at `pc` stored to, if it was refused a page and has written
    /// part of what it was to.
    fn torn_store(&self, pc: u64) -> Option<u64> {
        let call = self.unicorn.get_data();
        let (page, true) = call.refused? else {
            return None;
        };
        if !call.code.contains(&pc) || !pc.is_multiple_of(4) {
            return None;
        }
        // SAFETY: an instruction in the code that was just run, which nothing writes to now.
        let instruction = unsafe { std::ptr::with_exposed_provenance::<u32>(pc as usize).read() };
        let store = VectorStore::decode(instruction)?;
        let address = store.address(&|number| {
            let register = match number {
                29 => RegisterARM64::X29 as i32,
                30 => RegisterARM64::X30 as i32,
                31 => RegisterARM64::SP as i32,
                number => RegisterARM64::X0 as i32 + number as i32,
            };
            self.unicorn.reg_read(register).unwrap_or_default()
        });
        VectorStore::is_torn(address, page).then_some(address)
    }
}

fn set_up(call: Call) -> Result<Unicorn<'static, Call>, uc_error> {
    let gates = call.gates.clone();
    let mut unicorn = Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, call)?;
    unicorn.ctl_set_cpu_model(unicorn_engine::Arm64CpuModel::MAX as i32)?;
    unicorn.ctl_set_tlb_type(TlbType::VIRTUAL)?;
    sign_by_keys(&mut unicorn)?;
    let space = std::ptr::with_exposed_provenance_mut(PAGE_BYTES as usize);
    // SAFETY: Unicorn reads and writes of it what emulated code does, and that only reaches pages
    // that `Call::page` lets in.
    unsafe {
        unicorn.mem_map_ptr(PAGE_BYTES, ADDRESS_SPACE_END - PAGE_BYTES, Prot::ALL, space)?;
    }
    unicorn.add_tlb_hook(0, u64::MAX, |unicorn, page, access| {
        let call = unicorn.get_data_mut();
        let perms = catch_unwind(AssertUnwindSafe(|| call.page(page)))
            .ok()
            .flatten()
            .filter(|perms| perms.0 & needed(access).0 != 0);
        if perms.is_none() {
            call.refused = Some((page, access == MemType::WRITE));
        }
        perms.map(|perms| TlbEntry { paddr: page, perms })
    })?;
    unicorn.add_block_hook(1, 0, |unicorn, _, _| {
        let call = unicorn.get_data_mut();
        match call.blocks.checked_sub(1) {
            Some(left) => call.blocks = left,
            None => stop(unicorn, Stopped::Hung),
        }
    })?;
    unicorn.add_code_hook(
        gates.start,
        gates.start + EXIT_GATE - 1,
        |unicorn, pc, _| {
            pass_gate(unicorn, pc);
        },
    )?;
    Ok(unicorn)
}

/// Has instructions that sign and authenticate return addresses do so. As the processor is reset,
/// they are disabled, and trap to the levels above, of which there are none.
fn sign_by_keys(unicorn: &mut Unicorn<'static, Call>) -> Result<(), uc_error> {
    let register = |op1, crn, crm, op2| RegisterARM64CP {
        crn,
        crm,
        op0: 3,
        op1,
        op2,
        val: 0,
    };
    let enable = [
        // SCR_EL3: NS, RW and API.
        (register(6, 1, 1, 0), 1 | 1 << 10 | 1 << 17),
        // HCR_EL2: RW and API.
        (register(4, 1, 1, 0), 1 << 31 | 1 << 41),
        // SCTLR_EL1: EnIB and EnIA.
        (register(0, 1, 0, 0), 1 << 30 | 1 << 31),
    ];
    for (mut control, bits) in enable {
        unicorn.reg_read_arm64_coproc(&mut control)?;
        control.val |= bits;
        unicorn.reg_write_arm64_coproc(&control)?;
    }
    // Both halves of both keys, which are any numbers that differ.
    for half in 0..4 {
        let mut key = register(0, 2, 1, half);
        key.val = 0x9e37_79b9_7f4a_7c15_u64.rotate_left(16 * half);
        unicorn.reg_write_arm64_coproc(&key)?;
    }
    Ok(())
}

fn needed(access: MemType) -> Prot {
    match access {
        MemType::FETCH => Prot::EXEC,
        MemType::WRITE => Prot::WRITE,
        _ => Prot::READ,
    }
}

fn stop(unicorn: &mut Unicorn<'_, Call>, why: Stopped) {
    unicorn.get_data_mut().stopped.get_or_insert(why);
    let stopped = unicorn.emu_stop();
    debug_assert!(stopped.is_ok());
}

/// Runs the builtin whose gate is at `pc`.
fn pass_gate(unicorn: &mut Unicorn<'_, Call>, pc: u64) {
    let read = |register| unicorn.reg_read(register).unwrap_or_default();
    let mut arguments = ARGUMENTS.map(read);
    let exit = (read(RegisterARM64::X29), read(RegisterARM64::X30));
    let call = unicorn.get_data();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let number = (pc - call.gates.start) / GATE_BYTES;
        let builtin = Builtin::ALL[number as usize];
        // SAFETY: a hook runs only during a call, and no other reference to the store is alive.
        let store = unsafe { &mut *call.store };
        store.interrupts().set_exit(exit);
        let vmctx = arguments[0];
        // The procedure call standard leaves the upper half of an i32's register open.
        for (parameter, argument) in arguments[1..].iter_mut().enumerate() {
            if builtin.takes_i32(parameter) {
                *argument &= u64::from(u32::MAX);
            }
        }
        if !store.has_block(vmctx..vmctx.saturating_add(u64::from(head::BUILTINS))) {
            return Err(Stopped::WrongVmctx(builtin));
        }
        let changes = store.memory_changes();
        // SAFETY: what is read of the vmctx is memory of the store's, whose address it holds if
        // it is a vmctx; the reference from above is not used while the builtin runs.
        let value = unsafe { super::builtins::call(vmctx, builtin, &arguments[1..]) }?;
        // SAFETY: as above, and the builtin is done.
        let moved = unsafe { &*call.store }.memory_changes() != changes;
        Ok((value, moved))
    }));
    match result {
        Ok(Ok((value, moved))) => {
            let mut done = unicorn.reg_write(RegisterARM64::X0, value);
            if moved {
                done = done.and(unicorn.ctl_flush_tlb());
            }
            if done.is_err() {
                stop(unicorn, Stopped::Panicked);
            }
        }
        Ok(Err(stopped)) => stop(unicorn, stopped),
        Err(_) => stop(unicorn, Stopped::Panicked),
    }
}

impl Call {
    /// What emulated code may do with a page.
    fn page(&self, page: u64) -> Option<Prot> {
        let within = |range: &Range<u64>| range.contains(&page);
        if within(&self.code) || within(&self.gates) {
            return Some(Prot::READ | Prot::EXEC);
        }
        // SAFETY: a hook runs only during a call, and no other reference to the store is alive.
        let owned = || unsafe { self.store.as_ref() }.is_some_and(|store| store.owns_page(page));
        (within(&self.stack) || owned()).then_some(Prot::READ | Prot::WRITE)
    }
}

/// Pages of our own, readable and writable.
struct Pages {
    base: NonNull<u8>,
    bytes: u64,
}

impl Pages {
    fn map(bytes: u64) -> std::io::Result<Pages> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Pages { base, bytes })
    }

    fn range(&self) -> Range<u64> {
        let base = self.base.as_ptr().expose_provenance() as u64;
        base..base + self.bytes
    }

    fn write(&self, offset: usize, bytes: [u8; 4]) {
        assert!(offset as u64 + GATE_BYTES <= self.bytes);
        // SAFETY: within the pages, as was just checked, and nothing else refers to them now.
        unsafe {
            self.base
                .as_ptr()
                .add(offset)
                .cast::<[u8; 4]>()
                .write(bytes)
        };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and what could reach it is gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes as usize) };
    }
}
