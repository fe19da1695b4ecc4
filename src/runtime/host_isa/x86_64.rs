//! x86-64, as the host that runs generated code. See the invariants in [`super`].

use std::arch::naked_asm;

use super::Fault;
use crate::case::Settings;
use crate::case::features::{Feature, X86Feature};
use crate::codegen::Isa;
use crate::runtime::entry::{Activation, Stopped, builtin_entry};
use crate::runtime::misaligned::{LONGEST, SseInstruction};
use crate::translate::layout::{head, interrupts};

/// The host's ISA.
pub const ISA: Isa = Isa::X86_64;

/// Cranelift clears the upper half of a register in which it passes an i32, if told to.
pub const EXTENDS_ARGUMENTS: bool = true;

/// `si_code` of a fault that the kernel names no address for.
const SI_KERNEL: i32 = 0x80;

/// Saves what must survive and calls the trampoline; 0 if it returned, 1 if it landed.
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
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi + {stack_pointer}], rsp",
        "mov [rdi + {frame_pointer}], rbp",
        "mov rax, rsi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "mov rdx, r8",
        "mov rcx, r9",
        "call rax",
        "xor eax, eax",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        stack_pointer = const Activation::SAVED_STACK_POINTER,
        frame_pointer = const Activation::ENTRY_FRAME_POINTER,
    )
}

/// Where wasm is left by a trap: returns 1 from [`enter`], given the activation in `rdi`.
#[unsafe(naked)]
unsafe extern "C" fn landing() {
    naked_asm!(
        "mov rsp, [rdi + {stack_pointer}]",
        "mov eax, 1",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        stack_pointer = const Activation::SAVED_STACK_POINTER,
    )
}

/// What all stubs go through: records the exit, collects the arguments, calls the builtin whose
/// number is in `eax`.
#[unsafe(naked)]
pub unsafe extern "C" fn leave() {
    naked_asm!(
        "mov r10, [rdi + {interrupts}]",
        "mov r11, [rsp]",
        "mov [r10 + {frame_pointer}], rbp",
        "mov [r10 + {return_address}], r11",
        "push r9",
        "push r8",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "mov rdi, rsp",
        "mov esi, eax",
        "sub rsp, 8",
        "call {builtin_entry}",
        "add rsp, 56",
        "test rdx, rdx",
        "jnz 2f",
        "ret",
        "2:",
        "mov rdi, rdx",
        "jmp {landing}",
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
                "mov eax, {number}",
                "jmp {leave}",
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
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] as u64 }
}

/// Makes the interrupted thread go on at [`landing`].
///
/// # Safety
/// The context must be valid, the activation the thread's current one, and the interrupted
/// instruction generated code.
pub unsafe fn land(context: *mut libc::ucontext_t, activation: *const Activation) {
    // SAFETY: the caller passes a valid context; `landing` takes the activation in `rdi` and
    // restores all else from it.
    unsafe {
        let registers = &mut (*context).uc_mcontext.gregs;
        registers[libc::REG_RIP as usize] = landing as *const () as i64;
        registers[libc::REG_RDI as usize] = activation.addr() as i64;
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
        let address = (*info).si_addr() as u64;
        Fault {
            signal,
            pc: program_counter(context),
            address: if is_unnamed(info) { u64::MAX } else { address },
            stack_pointer: (*context).uc_mcontext.gregs[libc::REG_RSP as usize] as u64,
        }
    }
}

/// Whether the kernel has no address for a fault, which is one on an address that is not canonical,
/// or not aligned.
unsafe fn is_unnamed(info: *const libc::siginfo_t) -> bool {
    // SAFETY: the caller passes a valid pointer.
    unsafe { (*info).si_code == SI_KERNEL }
}

/// Whether a jump has led to where no instruction can be fetched.
pub fn is_jump(fault: &Fault) -> bool {
    fault.signal == libc::SIGSEGV && fault.pc == fault.address
}

/// Why a fault of generated code stops it.
///
/// # Safety
/// As for [`fault`], and the fault must be one of the activation's code.
pub unsafe fn stopped(
    fault: &Fault,
    info: *const libc::siginfo_t,
    context: *const libc::ucontext_t,
    activation: &Activation,
) -> Stopped {
    let Fault {
        signal,
        pc,
        address,
        stack_pointer,
    } = *fault;
    // SAFETY: the caller passes a valid pointer.
    let unnamed = unsafe { is_unnamed(info) };
    let misaligned = if unnamed && activation.covers_bytes(pc, LONGEST) {
        // SAFETY: so many bytes from the program counter on are mapped, and no code is written while
        // it runs.
        let code = unsafe { std::slice::from_raw_parts(pc as *const u8, LONGEST) };
        // SAFETY: the caller passes a valid context.
        let registers = unsafe { registers(context) };
        SseInstruction::decode(code).and_then(|instruction| instruction.misaligned(&registers))
    } else {
        None
    };
    match misaligned {
        Some(address) => Stopped::Misaligned { pc, address },
        None => Stopped::Fault {
            signal,
            pc,
            address,
            stack_pointer,
        },
    }
}

/// The general registers, in the order in which instructions number them.
unsafe fn registers(context: *const libc::ucontext_t) -> [u64; 16] {
    const ORDER: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    // SAFETY: the caller passes a valid context.
    let saved = unsafe { &(*context).uc_mcontext.gregs };
    ORDER.map(|register| saved[register as usize] as u64)
}

/// Nothing has to happen before code that was written is run: the processor sees to it.
///
/// # Safety
/// None is asked for here.
pub unsafe fn publish(_: *const u8, _: *const u8, _: usize) {}

/// Return addresses are not signed.
pub fn unsigned(address: u64) -> u64 {
    address
}

/// An extension that a case's settings allow and the host lacks, by name.
pub fn lacks(settings: &Settings) -> Option<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let has = |feature| match feature {
        X86Feature::Sse3 => has!("sse3"),
        X86Feature::Ssse3 => has!("ssse3"),
        X86Feature::Sse41 => has!("sse4.1"),
        X86Feature::Sse42 => has!("sse4.2"),
        X86Feature::Popcnt => has!("popcnt"),
        X86Feature::Avx => has!("avx"),
        X86Feature::Avx2 => has!("avx2"),
        X86Feature::Fma => has!("fma"),
        X86Feature::Bmi1 => has!("bmi1"),
        X86Feature::Bmi2 => has!("bmi2"),
        X86Feature::Lzcnt => has!("lzcnt"),
        X86Feature::Avx512f => has!("avx512f"),
        X86Feature::Avx512dq => has!("avx512dq"),
        X86Feature::Avx512vl => has!("avx512vl"),
        X86Feature::Avx512bitalg => has!("avx512bitalg"),
        X86Feature::Avx512vbmi => has!("avx512vbmi"),
    };
    let mut used = settings.x86_64.iter();
    used.find(|feature| !has(*feature)).map(Feature::name)
}
