//! The way into generated code, out to builtins, and out by a trap, where the host does not run it.
//!
//! Unicorn runs the code, in this process and on this thread. All of the host's address space is
//! one region of its physical memory, at equal addresses; which pages of it generated code may
//! touch is decided page by page when its translation of addresses misses one, by asking the
//! store. So nothing is ever mapped or copied, a fault is raised before the instruction has any
//! effect, and only what becomes inaccessible takes a flush.
//!
//! Code hands a builtin's arguments over in registers and jumps to its *gate*, of which each is
//! one return in a page of our own. A hook on that page runs the builtin before the return does.
//! What differs between ISAs is behind `processor::Guest`.
//!
//! The few instructions that a processor of Unicorn's gets wrong are looked for in code when it is
//! loaded; a hook on each does what it should, in its place.
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
    Context, HookType, MemType, Prot, TlbEntry, TlbType, UcHookId, Unicorn, uc_error,
};

use super::callbacks::CallBack;
use super::entry::{self, Activation, Stopped, Target, WASM_STACK_BYTES};
use super::host_isa::ISA;
use super::misaligned::LONGEST;
use super::store::Store;
use super::torn;
use crate::case::Settings;
use crate::codegen::Isa;
use crate::codegen::compiled::LibCall;
use crate::translate::builtins::Builtin;
use crate::translate::layout::head;
use processor::{EXIT_GATE, GATE_BYTES, Guest, Processor, RESUME_GATE};

mod aarch64;
mod phadd;
mod processor;
mod riscv64;
mod x86_64;

/// Bytes of emulated stack below the limit, for what has no check of its own.
const STACK_SLACK: u64 = 1 << 20;

/// Bytes below that which are nobody's, so that whoever runs off the stack does not get into what happens
/// to be mapped there.
const STACK_GUARD: u64 = 1 << 20;

const PAGE_BYTES: u64 = 4096;

/// The end of the address space of a process, with four levels of page tables. x86-64 keeps half of it
/// for the kernel; aarch64 has another one for that.
const ADDRESS_SPACE_END: u64 = match ISA {
    Isa::Aarch64 => 1 << 48,
    _ => 1 << 47,
};

/// Runs code for one ISA.
pub struct Emulator {
    // Before what it has mapped, so that it goes first.
    processor: Processor<'static>,
    /// Its state before it has run anything.
    reset: Context,
    guest: &'static dyn Guest,
    gates: Pages,
    stack: Pages,
    /// Hooks on instructions that the processor gets wrong.
    corrected: Vec<UcHookId>,
    /// Where code was last, with the hook that is there for what it spares.
    sparing: Option<(Range<u64>, UcHookId)>,
}

/// What hooks know of the call under way.
struct Call {
    guest: &'static dyn Guest,
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
    /// Functions that are called by host functions which emulated code has called, the last one last.
    nested: Vec<Nested>,
}

/// A call of a function by a host function, whose gate it returns from when that is over.
struct Nested {
    activation: Box<Activation>,
    /// Where emulated code called the host function: the frame pointer and the return address.
    left_at: (u64, u64),
    stack_pointer: u64,
    /// What the builtin returns.
    value: u64,
    /// What the host function calls.
    call_back: CallBack,
}

impl Emulator {
    /// An emulator of a processor of an ISA.
    ///
    /// # Errors
    /// One line, if Unicorn has none, cannot be set up, or the kernel has no memory.
    pub fn new(isa: Isa) -> Result<Emulator, String> {
        let guest = processor::guest(isa).ok_or("no processor runs that")?;
        let gates = Pages::map(PAGE_BYTES).map_err(|error| error.to_string())?;
        let stack = Pages::map(STACK_GUARD + STACK_SLACK + WASM_STACK_BYTES)
            .map_err(|error| error.to_string())?;
        for gate in 0..EXIT_GATE / GATE_BYTES {
            gates.write((gate * GATE_BYTES) as usize, guest.gate());
        }
        gates.write(EXIT_GATE as usize, guest.trap());
        let call = Call {
            guest,
            store: std::ptr::null_mut(),
            code: 0..0,
            gates: gates.range(),
            stack: above_guard(&stack),
            blocks: 0,
            stopped: None,
            refused: None,
            nested: Vec::new(),
        };
        let processor = set_up(call).map_err(|error| format!("Unicorn: {error:?}"))?;
        let reset = processor.context_init();
        let reset = reset.map_err(|error| format!("Unicorn: {error:?}"))?;
        Ok(Emulator {
            processor,
            reset,
            guest,
            gates,
            stack,
            corrected: Vec::new(),
            sparing: None,
        })
    }

    /// An extension that a case's settings allow and the processor lacks, by name.
    pub fn lacks(&self, settings: &Settings) -> Option<&'static str> {
        self.guest.lacks(settings)
    }

    /// The addresses of the builtins, by number.
    pub fn builtin_addresses(&self) -> [u64; Builtin::ALL.len()] {
        std::array::from_fn(|builtin| self.gates.range().start + builtin as u64 * GATE_BYTES)
    }

    /// The address of a routine.
    pub fn routine_address(&self, call: LibCall) -> u64 {
        let gate = Builtin::ALL.len() as u64 + call as u64;
        self.gates.range().start + gate * GATE_BYTES
    }

    /// Says what code is at an address from now on, so that what the processor gets wrong of it is done
    /// by us.
    pub fn load(&mut self, code: &[u8], base: u64) {
        for (at, instruction) in self.guest.gets_wrong(code) {
            let pc = base + at as u64;
            let hook = self.processor.add_code_hook(pc, pc, move |unicorn, pc, _| {
                if instruction.perform(unicorn, pc).is_err() {
                    stop(unicorn, Stopped::Panicked);
                }
            });
            debug_assert!(hook.is_ok());
            self.corrected.extend(hook);
        }
    }

    /// Says that code is not any more what it was.
    pub fn forget_code(&mut self) {
        for hook in self.corrected.drain(..) {
            let removed = self.processor.remove_hook(hook);
            debug_assert!(removed.is_ok());
        }
        let flushed = self.processor.ctl_flush_tb();
        debug_assert!(flushed.is_ok());
    }

    /// Says that what generated code may touch is not any more what it was.
    pub fn forget_memory(&mut self) {
        let flushed = self.processor.ctl_flush_tlb();
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
        let (interrupts, blocks) = unsafe { ((*store).interrupts().clone(), (*store).branches()) };
        self.spare(&code);
        let stack = above_guard(&self.stack);
        let exit = self.gates.range().start + EXIT_GATE;
        let call = self.processor.get_data_mut();
        call.store = store.cast();
        call.code = code;
        call.blocks = blocks;
        call.stopped = None;
        call.refused = None;

        let outer_exit = interrupts.exit();
        interrupts.set_stack_limit(stack.end - WASM_STACK_BYTES);
        let activation = Activation::emulated(stack.clone(), outer_exit);
        let ended = entry::during(activation, || {
            self.guest
                .enter(&mut self.processor, target, values, stack.end, exit)?;
            // No address to stop at: the exit gate traps.
            self.processor.emu_start(target.trampoline, 0, 0, 0)
        });
        interrupts.set_exit(outer_exit);
        let mut pc = self.processor.pc_read().unwrap_or_default();
        let stack_pointer = self.guest.stack_pointer(&self.processor);
        let torn = self.torn_store(pc);
        let call = self.processor.get_data_mut();
        call.store = std::ptr::null_mut();
        // Those that a trap has ended.
        call.nested.clear();
        if call.refused.is_none() {
            pc = pc.wrapping_sub(self.guest.past_exception());
        }
        if let Some(stopped) = call.stopped.take() {
            return Err(stopped);
        }
        match (ended, call.refused.take()) {
            (Err(uc_error::EXCEPTION), Some((page, _))) => Err(match torn {
                Some(address) => Stopped::Torn {
                    pc,
                    address,
                    written: torn::HALF,
                    fault: address + torn::HALF,
                },
                None => Stopped::Fault {
                    signal: libc::SIGSEGV,
                    pc,
                    address: page,
                    stack_pointer,
                },
            }),
            (Err(uc_error::EXCEPTION | uc_error::INSN_INVALID), None) if pc == exit => Ok(()),
            // An exception of the emulated processor.
            (Err(uc_error::EXCEPTION | uc_error::INSN_INVALID), None) => {
                if self.guest.remembers_exceptions() {
                    let reset = self.processor.context_restore(&self.reset);
                    debug_assert!(reset.is_ok());
                }
                Err(Stopped::Fault {
                    signal: libc::SIGILL,
                    pc,
                    address: 0,
                    stack_pointer,
                })
            }
            // Nothing else stops it.
            _ => Err(Stopped::Panicked),
        }
    }
}

impl Emulator {
    /// For every block that it translates, Unicorn goes through all translations of addresses that it has
    /// made, for code might have been written to: a tenth of what it takes to translate. It does not
    /// where some access to code is hooked. So one is that does not happen: nothing that is mapped
    /// by its own tables lacks a permission.
    fn spare(&mut self, code: &Range<u64>) {
        if self
            .sparing
            .as_ref()
            .is_some_and(|(range, _)| range == code)
        {
            return;
        }
        if let Some((_, hook)) = self.sparing.take() {
            let removed = self.processor.remove_hook(hook);
            debug_assert!(removed.is_ok());
        }
        let last = code.end.saturating_sub(1);
        let never = |_: &mut Processor<'_>, _, _, _, _| false;
        let hook = self
            .processor
            .add_mem_hook(HookType::MEM_FETCH_PROT, code.start, last, never);
        debug_assert!(hook.is_ok());
        self.sparing = hook.ok().map(|hook| (code.clone(), hook));
    }

    /// The address that the instruction at `pc` stored to, if it was refused a page and has written
    /// part of what it was to.
    fn torn_store(&self, pc: u64) -> Option<u64> {
        let call = self.processor.get_data();
        let (page, true) = call.refused? else {
            return None;
        };
        if !call.code.contains(&pc) {
            return None;
        }
        let bytes = (call.code.end - pc).min(LONGEST as u64) as usize;
        let code = std::ptr::with_exposed_provenance::<u8>(pc as usize);
        // SAFETY: within the code that was just run, or memory mapped for code, which nothing
        // writes to now.
        let code = unsafe { std::slice::from_raw_parts(code, bytes) };
        let address = self.guest.stores_vector(&self.processor, code)?;
        torn::is_torn(address, page).then_some(address)
    }
}

/// The stack that emulated code has, of the pages mapped for it.
fn above_guard(pages: &Pages) -> Range<u64> {
    let all = pages.range();
    all.start + STACK_GUARD..all.end
}

fn set_up(call: Call) -> Result<Processor<'static>, uc_error> {
    let gates = call.gates.clone();
    let guest = call.guest;
    let (arch, mode) = guest.arch();
    let mut unicorn = Unicorn::new_with_data(arch, mode, call)?;
    unicorn.ctl_set_cpu_model(guest.model())?;
    unicorn.ctl_set_tlb_type(TlbType::VIRTUAL)?;
    guest.set_up(&mut unicorn)?;
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
            None => stop(unicorn, Stopped::Endless),
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

fn needed(access: MemType) -> Prot {
    match access {
        MemType::FETCH => Prot::EXEC,
        MemType::WRITE => Prot::WRITE,
        _ => Prot::READ,
    }
}

fn stop(unicorn: &mut Processor<'_>, why: Stopped) {
    unicorn.get_data_mut().stopped.get_or_insert(why);
    let stopped = unicorn.emu_stop();
    debug_assert!(stopped.is_ok());
}

/// Runs the builtin or routine whose gate is at `pc`.
fn pass_gate(unicorn: &mut Processor<'_>, pc: u64) {
    let call = unicorn.get_data();
    let guest = call.guest;
    if pc - call.gates.start == RESUME_GATE {
        return resume(unicorn);
    }
    let number = ((pc - call.gates.start) / GATE_BYTES) as usize;
    let Some(builtin) = Builtin::ALL.get(number).copied() else {
        let routine = LibCall::ALL.get(number - Builtin::ALL.len());
        let done = routine.map(|routine| guest.routine(unicorn, *routine));
        if done.is_none_or(|done| done.is_err()) {
            stop(unicorn, Stopped::Panicked);
        }
        return;
    };
    let mut arguments = guest.arguments(unicorn);
    let exit = guest.left_at(unicorn);
    let call = unicorn.get_data();
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a hook runs only during a call, and no other reference to the store is alive.
        let store = unsafe { &mut *call.store };
        store.interrupts().set_exit(exit);
        let vmctx = arguments[0];
        if !guest.extends_arguments() {
            builtin.zero_extend(&mut arguments[1..]);
        }
        if !store.has_block(vmctx..vmctx.saturating_add(u64::from(head::BUILTINS))) {
            return Err(Stopped::WrongVmctx(builtin));
        }
        let changes = store.memory_changes();
        // SAFETY: what is read of the vmctx is memory of the store's, whose address it holds if
        // it is a vmctx; the reference from above is not used while the builtin runs.
        let returned = unsafe { super::builtins::call(vmctx, builtin, &arguments[1..]) }?;
        // SAFETY: as above, and the builtin is done.
        let moved = unsafe { &*call.store }.memory_changes() != changes;
        Ok((returned, moved))
    }));
    match result {
        Ok(Ok((returned, moved))) => {
            let mut done = match returned.call_back {
                None => guest.answer(unicorn, returned.value),
                Some(to_call) => match call_back(unicorn, to_call, exit, returned.value) {
                    Ok(done) => done,
                    Err(stopped) => return stop(unicorn, stopped),
                },
            };
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

/// Goes on with a function that the host function calls at whose gate the processor stands, instead of
/// returning `value` to `left_at`.
///
/// # Errors
/// That there is no stack for it.
fn call_back(
    unicorn: &mut Processor<'_>,
    call_back: CallBack,
    left_at: (u64, u64),
    value: u64,
) -> Result<Result<(), uc_error>, Stopped> {
    let call = unicorn.get_data();
    let (guest, resume) = (call.guest, call.gates.start + RESUME_GATE);
    let stack_pointer = guest.stack_pointer(unicorn);
    entry::may_call_back(stack_pointer, call.stack.end - WASM_STACK_BYTES)?;
    // Whatever the gate is called with is left alone.
    let top = stack_pointer & !15;
    let stack = call.stack.start..top;
    unicorn.get_data_mut().nested.push(Nested {
        activation: entry::enter(Activation::emulated(stack, left_at)),
        left_at,
        stack_pointer,
        value,
        call_back,
    });
    let CallBack { target, values, .. } = call_back;
    let entered = guest.enter(unicorn, target, values, top, resume);
    Ok(entered.and_then(|()| unicorn.set_pc(target.trampoline)))
}

/// Returns from the host function that called the function which has just returned.
fn resume(unicorn: &mut Processor<'_>) {
    let Some(nested) = unicorn.get_data_mut().nested.pop() else {
        return stop(unicorn, Stopped::Panicked);
    };
    entry::leave(&nested.activation);
    let call = unicorn.get_data();
    let guest = call.guest;
    let taken = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a hook runs only during a call, and no other reference to the store is alive. What has
        // returned was prepared by the builtin at whose gate this entry was made.
        unsafe {
            let store = &mut *call.store;
            store.interrupts().set_exit(nested.left_at);
            store.called_back(nested.call_back);
        }
    }));
    if taken.is_err() {
        return stop(unicorn, Stopped::Panicked);
    }
    let done = guest
        .answer(unicorn, nested.value)
        .and_then(|()| guest.go_back(unicorn, nested.stack_pointer, nested.left_at));
    if done.is_err() {
        stop(unicorn, Stopped::Panicked);
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

/// The word at an address of the emulated stack; none if it is another address.
fn read_stack(processor: &Processor<'_>, address: u64) -> Option<u64> {
    let word = stack_word(processor, address)?;
    // SAFETY: a word of the stack, which is mapped, and which emulated code does not write to now.
    Some(unsafe { word.read() })
}

/// Sets a word of the emulated stack.
fn write_stack(processor: &Processor<'_>, address: u64, value: u64) {
    if let Some(word) = stack_word(processor, address) {
        // SAFETY: a word of the stack, which is mapped, and no emulated code runs.
        unsafe { word.write(value) };
    }
}

fn stack_word(processor: &Processor<'_>, address: u64) -> Option<*mut u64> {
    let stack = &processor.get_data().stack;
    let within = address.is_multiple_of(8) && stack.contains(&address);
    within.then(|| std::ptr::with_exposed_provenance_mut(address as usize))
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
