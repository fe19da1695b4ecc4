//! aarch64, as the host that runs generated code. See the invariants in [`super`].

use std::arch::{asm, naked_asm};

use super::Fault;
use crate::case::Settings;
use crate::case::features::{Aarch64Feature, Feature};
use crate::codegen::Isa;
use crate::runtime::entry::{Activation, Stopped, builtin_entry};
use crate::runtime::torn::{self, Store};
use crate::translate::layout::{head, interrupts};

/// The host's ISA.
pub const ISA: Isa = Isa::Aarch64;

/// The procedure call standard leaves the upper half of a register open in which an i32 is passed.
pub const EXTENDS_ARGUMENTS: bool = false;

/// Bytes of an instruction.
const INSTRUCTION_BYTES: usize = 4;

/// The bits of an address that the kernel tells with a signal: not the topmost byte, which loads and
/// stores ignore.
const TOLD_BITS: u64 = (1 << 56) - 1;

/// Saves what must survive and calls the trampoline; 0 if it returned, 1 if it landed.
///
/// What must survive by the procedure call standard: x19 to x30, and the lower halves of v8 to v15.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(
    activation: *mut Activation,
    trampoline: u64,
    callee_vmctx: u64,
    caller_vmctx: u64,
    code: u64,
    values: u64,
) -> u64 {
    naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x0, #{stack_pointer}]",
        "str x29, [x0, #{frame_pointer}]",
        "mov x16, x1",
        "mov x0, x2",
        "mov x1, x3",
        "mov x2, x4",
        "mov x3, x5",
        "blr x16",
        "mov x0, #0",
        "b {restore}",
        stack_pointer = const Activation::SAVED_STACK_POINTER,
        frame_pointer = const Activation::ENTRY_FRAME_POINTER,
        restore = sym restore,
    )
}

/// Where wasm is left by a trap: returns 1 from [`enter`], given the activation in x0.
#[unsafe(naked)]
unsafe extern "C" fn landing() {
    naked_asm!(
        "ldr x9, [x0, #{stack_pointer}]",
        "mov sp, x9",
        "mov x0, #1",
        "b {restore}",
        stack_pointer = const Activation::SAVED_STACK_POINTER,
        restore = sym restore,
    )
}

/// The end of [`enter`]: takes back what it saved at the stack pointer, and returns.
#[unsafe(naked)]
unsafe extern "C" fn restore() {
    naked_asm!(
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp d8, d9, [sp, #96]",
        "ldp d10, d11, [sp, #112]",
        "ldp d12, d13, [sp, #128]",
        "ldp d14, d15, [sp, #144]",
        "ldp x29, x30, [sp], #160",
        "ret",
    )
}

/// What all stubs go through: records the exit, collects the arguments, calls the builtin whose
/// number is in w16.
#[unsafe(naked)]
pub unsafe extern "C" fn leave() {
    naked_asm!(
        "ldr x9, [x0, #{interrupts}]",
        "str x29, [x9, #{frame_pointer}]",
        "str x30, [x9, #{return_address}]",
        "stp x29, x30, [sp, #-64]!",
        "mov x29, sp",
        "stp x0, x1, [sp, #16]",
        "stp x2, x3, [sp, #32]",
        "stp x4, x5, [sp, #48]",
        "add x0, sp, #16",
        "mov w1, w16",
        "bl {builtin_entry}",
        "ldp x29, x30, [sp], #64",
        "cbnz x1, 2f",
        "ret",
        "2:",
        "mov x0, x1",
        "b {landing}",
        interrupts = const head::INTERRUPTS,
        frame_pointer = const interrupts::EXIT_FRAME_POINTER,
        return_address = const interrupts::EXIT_RETURN_ADDRESS,
        builtin_entry = sym builtin_entry,
        landing = sym landing,
    )
}

/// The stub of a builtin: where generated code calls it.
macro_rules! stub {
    ($name:ident) => {
        #[unsafe(naked)]
        pub(super) unsafe extern "C" fn $name() {
            std::arch::naked_asm!(
                "mov w16, #{number}",
                "b {leave}",
                number = const $crate::translate::builtins::Builtin::$name as u32,
                leave = sym $crate::runtime::host_isa::isa::leave,
            )
        }
    };
}
pub(super) use stub;

/// The address of the interrupted instruction.
///
/// # Safety
/// The context must be valid.
pub unsafe fn program_counter(context: *const libc::ucontext_t) -> u64 {
    // SAFETY: the caller passes a valid context.
    unsafe { (*context).uc_mcontext.pc }
}

/// Makes the interrupted thread go on at [`landing`].
///
/// # Safety
/// The context must be valid, the activation the thread's current one, and the interrupted
/// instruction generated code.
pub unsafe fn land(context: *mut libc::ucontext_t, activation: *const Activation) {
    // SAFETY: the caller passes a valid context; `landing` takes the activation in x0 and restores
    // all else from it.
    unsafe {
        let registers = &mut (*context).uc_mcontext;
        registers.pc = landing as *const () as u64;
        registers.regs[0] = activation.addr() as u64;
    }
}

/// What a signal tells of a fault.
///
/// # Safety
/// Both pointers must be what the kernel passed with the signal.
pub unsafe fn fault(
    signal: i32,
    info: *const libc::siginfo_t,
    context: *const libc::ucontext_t,
) -> Fault {
    // SAFETY: the caller passes valid pointers.
    unsafe {
        Fault {
            signal,
            pc: program_counter(context),
            address: (*info).si_addr() as u64,
            stack_pointer: (*context).uc_mcontext.sp,
        }
    }
}

/// Whether a jump has led to where no instruction can be fetched: to what is not mapped or may not be
/// executed, or between two instructions.
pub fn is_jump(fault: &Fault) -> bool {
    let fetched = fault.signal == libc::SIGSEGV || fault.signal == libc::SIGBUS;
    fetched && (fault.pc ^ fault.address) & TOLD_BITS == 0
}

/// Why a fault of generated code stops it.
///
/// # Safety
/// As for [`fault`], and the fault must be one of the activation's code.
pub unsafe fn stopped(
    fault: &Fault,
    _: *const libc::siginfo_t,
    context: *const libc::ucontext_t,
    activation: &Activation,
) -> Stopped {
    let Fault {
        signal,
        pc,
        address,
        stack_pointer,
    } = *fault;
    let store = if signal == libc::SIGSEGV && activation.covers_bytes(pc, INSTRUCTION_BYTES) {
        // SAFETY: so many bytes from the program counter on are mapped, and no code is written while
        // it runs.
        Store::decode(unsafe { std::ptr::read_unaligned(pc as *const u32) })
    } else {
        None
    };
    // SAFETY: the caller passes a valid context.
    let registers = unsafe { &(*context).uc_mcontext };
    let stored = store.map(|store| {
        let address = store.address(&|number| match registers.regs.get(number) {
            Some(value) => *value,
            None => registers.sp,
        });
        (address, store.bytes())
    });
    match stored {
        Some((stored, bytes)) if torn::may_be_torn(stored, bytes) => Stopped::Torn {
            pc,
            address: stored,
            written: bytes,
            fault: address,
        },
        _ => Stopped::Fault {
            signal,
            pc,
            address,
            stack_pointer,
        },
    }
}

/// Makes code that was written through one view of its memory be what is run from another.
///
/// Caches of instructions are not kept coherent with those of data (Arm Architecture Reference Manual,
/// "Concurrent modification and execution of instructions"). Those of data may be cleaned by any
/// address of the memory; those of instructions must be told the address that is run. It is the thread
/// that wrote the code that runs it, so no other has to be told.
///
/// # Safety
/// So many bytes must be mapped and readable at both.
pub unsafe fn publish(written: *const u8, executed: *const u8, bytes: usize) {
    /// Says that there is nothing to clean, or to invalidate.
    const CLEAN: u64 = 1 << 28;
    const COHERENT: u64 = 1 << 29;
    let types: u64;
    // SAFETY: reads a register that Linux lets processes read.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) types, options(nomem, nostack, preserves_flags)) };
    let line = |log2_of_words: u64| INSTRUCTION_BYTES << (log2_of_words & 15);
    let lines = |view: *const u8, line: usize| {
        let start = view.addr() & !(line - 1);
        (start..view.addr() + bytes).step_by(line)
    };
    if types & CLEAN == 0 {
        for at in lines(written, line(types >> 16)) {
            // SAFETY: writes back what is there, which is mapped.
            unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
        }
    }
    // SAFETY: waits.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if types & COHERENT == 0 {
        for at in lines(executed, line(types)) {
            // SAFETY: forgets what was fetched from there, which is mapped.
            unsafe { asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
        }
    }
    // SAFETY: waits, and fetches again what comes behind.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// A return address without its signature, wherever the bits of that are on this host.
pub fn unsigned(address: u64) -> u64 {
    let plain;
    // SAFETY: xpaclri changes x30 alone, and does nothing where there is no such extension.
    unsafe {
        asm!(
            "hint #7",
            inout("x30") address => plain,
            options(nomem, nostack, preserves_flags)
        );
    }
    plain
}

/// An extension that a case's settings allow and the host lacks, by name.
pub fn lacks(settings: &Settings) -> Option<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let has = |feature| match feature {
        Aarch64Feature::Lse => has!("lse"),
        Aarch64Feature::Fp16 => has!("fp16"),
        Aarch64Feature::Pauth => has!("paca"),
        // These instructions do nothing where there is no such feature.
        Aarch64Feature::SignReturnAddress
        | Aarch64Feature::SignReturnAddressAll
        | Aarch64Feature::SignReturnAddressWithBkey
        | Aarch64Feature::Bti => true,
    };
    let mut used = settings.aarch64.iter();
    used.find(|feature| !has(*feature)).map(Feature::name)
}
