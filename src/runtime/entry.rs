//! The way into wasm, out to builtins, and out by a trap, where the host runs the code. The
//! instructions that it takes are in `host_isa`.
//!
//! # Invariants
//! - [`call`] is the only way into generated code. It saves all callee-saved registers and the
//!   stack pointer in an [`Activation`], which is the thread's current one until it returns.
//! - Generated code leaves through a builtin's stub, which records the frame pointer and return
//!   address of the wasm frame and calls `builtin_entry`. That function returns before anything
//!   is unwound: if the builtin trapped it returns the activation, and the stub, which is not
//!   Rust, jumps to where wasm is left. So no frame of Rust is ever jumped over.
//! - A fault in generated code is redirected to the same place by the signal handler. Frames of
//!   generated code own nothing.
//! - The store behind a vmctx is only reached through the raw pointer given to [`call`] while
//!   that runs; no reference to it is alive across the call.

use std::cell::Cell;
use std::mem::offset_of;
use std::ops::Range;

use parallax_oracles::TrapKind;

use super::host_isa;
use super::store::Store;
use crate::translate::builtins::Builtin;

/// Bytes of stack that wasm may use.
pub const WASM_STACK_BYTES: u64 = 512 << 10;

/// Bytes below the stack limit at which the frame pointer of a function that calls a builtin may be. The
/// entry of a function sees to its whole frame, and where it is compiled also to what its callee takes
/// before that looks itself: arguments, the return address and the frame pointer. So no function that
/// looks has its frame pointer below the limit, nor has a trampoline to the host, which does not look,
/// but is called by one that does. CLIF that is interpreted does not see to the last two.
pub const UNCHECKED_STACK_BYTES: u64 = 16;

/// Bytes of stack that there must be for the host to call back. What is between the host function and the
/// function that it calls does not look whether there is any, nor does a function without a frame.
const CALL_BACK_STACK_BYTES: u64 = 4 << 10;

/// Whether the host may call back where the stack pointer is so far down, given the stack limit.
///
/// # Errors
/// That the stack is exhausted.
pub(super) fn may_call_back(stack_pointer: u64, stack_limit: u64) -> Result<(), Stopped> {
    match stack_pointer.checked_sub(stack_limit) {
        Some(CALL_BACK_STACK_BYTES..) => Ok(()),
        _ => Err(Stopped::Trap(TrapKind::StackExhausted)),
    }
}

/// One entry into wasm that has not returned.
#[repr(C)]
pub struct Activation {
    saved_stack_pointer: u64,
    entry_frame_pointer: u64,
    /// The lowest address of a stack that is known to end there; 0 for the thread's own.
    stack_end: u64,
    /// Where the entry before this one of the same thread left wasm.
    outer_exit: (u64, u64),
    outer: *const Activation,
    /// Where faults count as those of generated code; empty if that is emulated.
    code: Range<u64>,
    stopped: Cell<Option<Stopped>>,
}

/// Why wasm was left without returning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// A builtin trapped.
    Trap(TrapKind),
    /// Generated code faulted.
    Fault {
        /// The signal.
        signal: i32,
        /// The address of the instruction.
        pc: u64,
        /// The address that was accessed, for signals that have one.
        address: u64,
        /// The stack pointer.
        stack_pointer: u64,
    },
    /// An SSE instruction of generated code met an operand that it wants aligned and is not.
    Misaligned {
        /// The address of the instruction.
        pc: u64,
        /// The address of the operand.
        address: u64,
    },
    /// A store that is partly beyond a memory has, or may have, written the other part.
    Torn {
        /// The address of the instruction.
        pc: u64,
        /// The address that it stored to.
        address: u64,
        /// Of how many bytes from there on those that are in the memory are written.
        written: u64,
        /// The address that faulted.
        fault: u64,
    },
    /// It went on for too long by the clock.
    Hung,
    /// It took more branches than it may, as far as they are counted.
    Endless,
    /// Generated code passed an i32 to a builtin whose upper half of the register is not zero.
    NotZeroExtended {
        /// The builtin.
        builtin: Builtin,
        /// The parameter.
        parameter: &'static str,
    },
    /// Generated code passed this builtin what is no vmctx of its kind.
    WrongVmctx(Builtin),
    /// Generated code passed a host function what is no vmctx of an instance as its caller's.
    WrongCaller,
    /// Generated code called a builtin with the frame of the caller beyond the stack limit.
    BeyondStack {
        /// The builtin.
        builtin: Builtin,
        /// The address that it was to return to.
        pc: u64,
        /// By how many bytes.
        bytes: u64,
    },
    /// The instruction at this address called a function of another signature.
    WrongSignature {
        /// The address of the instruction.
        pc: u64,
    },
    /// The instruction at this address read something else than one before it, where translation says
    /// that nothing changes.
    Changed {
        /// The address of the instruction.
        pc: u64,
    },
    /// There is nothing to load at this address, to which translation says that a load may move.
    NotThere {
        /// The address of the operation that tried it.
        pc: u64,
    },
    /// The interpreter does not know what to do with an instruction.
    NotInterpreted,
    /// A builtin panicked, which is an error of ours.
    Panicked,
}

thread_local! {
    static CURRENT: Cell<*const Activation> = const { Cell::new(std::ptr::null()) };
}

/// The activation under way on this thread, or null. Safe to call from a signal handler.
pub(super) fn current() -> *const Activation {
    CURRENT.with(Cell::get)
}

/// The lowest address of the stack of the activation under way on this thread, if that is known; else 0.
pub(super) fn stack_end() -> u64 {
    // SAFETY: a current activation is alive.
    unsafe { current().as_ref() }.map_or(0, Activation::stack_end)
}

/// The frame pointer of the frame that entered wasm last on this thread, 0 if none did.
pub(super) fn last_entry() -> u64 {
    // SAFETY: a current activation is alive.
    unsafe { current().as_ref() }.map_or(0, Activation::entry_frame_pointer)
}

impl Activation {
    /// Where the instructions that enter wasm put the stack pointer to come back to.
    pub(super) const SAVED_STACK_POINTER: usize = offset_of!(Activation, saved_stack_pointer);

    /// Where they put their own frame pointer.
    pub(super) const ENTRY_FRAME_POINTER: usize = offset_of!(Activation, entry_frame_pointer);

    /// An entry into code that is emulated or interpreted, on a stack of its own.
    pub(super) fn emulated(stack: Range<u64>, outer_exit: (u64, u64)) -> Activation {
        Activation {
            saved_stack_pointer: 0,
            entry_frame_pointer: stack.end,
            stack_end: stack.start,
            outer_exit,
            outer: current(),
            code: 0..0,
            stopped: Cell::new(None),
        }
    }

    /// Whether the host runs the code itself, so that its faults are signals.
    pub(super) fn is_direct(&self) -> bool {
        !self.code.is_empty()
    }

    /// Whether an instruction at this address is generated code.
    pub(super) fn covers(&self, pc: u64) -> bool {
        self.code.contains(&pc)
    }

    /// Whether so many bytes from an address on are generated code, or memory mapped for it.
    pub(super) fn covers_bytes(&self, pc: u64, bytes: usize) -> bool {
        self.covers(pc) && self.code.end - pc >= bytes as u64
    }

    pub(super) fn stop(&self, why: Stopped) {
        self.stopped.set(Some(why));
    }

    /// The frame pointer of the frame that entered wasm, where a walk of its frames ends.
    pub fn entry_frame_pointer(&self) -> u64 {
        self.entry_frame_pointer
    }

    /// The lowest address that a frame of this entry may have.
    pub fn stack_end(&self) -> u64 {
        self.stack_end
    }

    /// Where wasm was left when this entry was made: frame pointer and return address.
    pub fn outer_exit(&self) -> (u64, u64) {
        self.outer_exit
    }

    /// The entry before this one, or null.
    pub fn outer(&self) -> *const Activation {
        self.outer
    }
}

/// What functions that the host calls get as their caller's vmctx: the host has none.
pub const HOST_CALLER: u64 = 0;

/// What is called: a trampoline, and what it passes on.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The address of the entry trampoline for the function's type.
    pub trampoline: u64,
    /// The vmctx that belongs to the function.
    pub vmctx: u64,
    /// The function's code.
    pub code: u64,
}

/// Does something with an activation as the thread's current one.
pub(super) fn during<T>(activation: Activation, enter: impl FnOnce() -> T) -> T {
    let outer = current();
    CURRENT.set(&raw const activation);
    let result = enter();
    CURRENT.set(outer);
    result
}

/// Makes an activation the thread's current one until it is [left](leave).
#[cfg(feature = "emulator")]
pub(super) fn enter(activation: Activation) -> Box<Activation> {
    let activation = Box::new(activation);
    CURRENT.set(&raw const *activation);
    activation
}

/// Ends an activation that was entered last.
#[cfg(feature = "emulator")]
pub(super) fn leave(activation: &Activation) {
    CURRENT.set(activation.outer);
}

/// Runs a function on the host. Arguments are at `values`, and results when it has returned.
///
/// # Errors
/// Why it stopped.
///
/// # Safety
/// As for [`super::machine::Machine::call`].
pub unsafe fn call(
    store: *mut Store<'_>,
    target: Target,
    code: Range<u64>,
    values: u64,
) -> Result<(), Stopped> {
    super::signals::install();
    // SAFETY: `store` is valid; the clone keeps the words alive, and no reference stays.
    let interrupts = unsafe { (*store).interrupts().clone() };
    let outer = current();
    let mut activation = Activation {
        saved_stack_pointer: 0,
        entry_frame_pointer: 0,
        stack_end: 0,
        outer_exit: interrupts.exit(),
        outer,
        code,
        stopped: Cell::new(None),
    };
    let here = std::ptr::from_ref(&activation).addr() as u64;
    if outer.is_null() {
        // SAFETY: asks for the calling thread's id.
        let thread = unsafe { libc::pthread_self() } as u64;
        interrupts.begin(here - WASM_STACK_BYTES, thread);
    }
    // SAFETY: the activation lives until `enter` has returned. The trampoline has the signature
    // that `enter` calls by, and code that wasm reaches only goes where this file says.
    let trapped = unsafe {
        let activation = &raw mut activation;
        CURRENT.set(activation);
        let trapped = host_isa::enter(
            activation,
            target.trampoline,
            target.vmctx,
            HOST_CALLER,
            target.code,
            values,
        );
        CURRENT.set(outer);
        trapped
    };
    if outer.is_null() {
        interrupts.end();
    }
    interrupts.set_exit(activation.outer_exit);
    match trapped {
        0 => Ok(()),
        _ => Err(activation.stopped.get().unwrap_or(Stopped::Panicked)),
    }
}

/// What [`builtin_entry`] returns, in two registers.
#[repr(C)]
pub(super) struct Answer {
    value: u64,
    /// The activation to land in, or null.
    trapped: *const Activation,
}

/// Runs a builtin for generated code: `arguments` are the six argument registers, vmctx first.
///
/// # Safety
/// Only a builtin's stub may call it, with the address of what generated code left in registers.
pub(super) unsafe extern "C" fn builtin_entry(arguments: *const [u64; 6], builtin: u32) -> Answer {
    // SAFETY: the stub passes the address of six words on the stack.
    let mut arguments = unsafe { *arguments };
    let builtin = Builtin::ALL[builtin as usize];
    if !host_isa::EXTENDS_ARGUMENTS {
        builtin.zero_extend(&mut arguments[1..]);
    }
    let result = std::panic::catch_unwind(|| {
        // SAFETY: generated code passes a vmctx of the store that `call` was given, of which no
        // reference is alive.
        unsafe { super::builtins::call_directly(arguments[0], builtin, &arguments[1..]) }
    });
    let stopped = match result {
        Ok(Ok(value)) => {
            return Answer {
                value,
                trapped: std::ptr::null(),
            };
        }
        Ok(Err(stopped)) => stopped,
        Err(_) => Stopped::Panicked,
    };
    let trapped = current();
    // SAFETY: a builtin only runs while an activation is current.
    unsafe { (*trapped).stop(stopped) };
    Answer { value: 0, trapped }
}
