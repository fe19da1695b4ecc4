//! Faults of generated code become traps.
//!
//! # Invariants
//! - The handler looks at nothing but the faulting context, the faulting instruction and the
//!   thread's current activation, all of which belong to the interrupted thread; it takes no lock and allocates nothing.
//! - A fault whose instruction is not generated code, on a thread that runs none, or after the
//!   fact, is handed on to whoever handled the signal before: a sanitizer, libFuzzer, a second
//!   runtime in the process, or the kernel's default.
//! - Landing is safe at any instruction of generated code, which owns nothing. How to, and what a signal
//!   tells, is the business of `host_isa`.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::entry::{Stopped, current};
use super::guard::Guard;
use super::host_isa;
use super::watchdog::Interrupts;

/// The signals by which generated code traps: instructions that are there to trap, divisions (on
/// x86-64), and accesses to memory.
const FAULTS: [i32; 4] = [libc::SIGILL, libc::SIGFPE, libc::SIGSEGV, libc::SIGBUS];

/// Bytes of a thread's alternative stack, where it has none that is as large.
const ALTERNATIVE_STACK_BYTES: usize = 64 << 10;

/// Who handled the signals before us, in the order of [`FAULTS`].
static PREVIOUS: OnceLock<[libc::sigaction; 4]> = OnceLock::new();

/// The signal by which the watchdog stops a thread.
fn stop_signal() -> i32 {
    libc::SIGRTMIN() + 5
}

/// Installs the handlers, once a process, and an alternative stack and a guard of the other one, once a
/// thread.
pub(super) fn install() {
    thread_local! {
        static STACKS: (AlternativeStack, Guard) =
            (AlternativeStack::install(), Guard::install());
    }
    PREVIOUS.get_or_init(|| {
        let previous = FAULTS.map(|signal| set_handler(signal, on_fault as *const ()));
        set_handler(stop_signal(), on_stop as *const ());
        previous
    });
    STACKS.with(|_| ());
}

fn set_handler(signal: i32, handler: *const ()) -> libc::sigaction {
    // SAFETY: both structures are valid, all-zero is a valid `sigaction`, and the handler has
    // the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&mut action.sa_mask);
        let mut previous: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &action, &mut previous);
        previous
    }
}

/// Has the limit of how large files may get, where whoever started this process set one, be told by the write that
/// exceeds it, as a full disk is, and not by a signal that ends the process, or a worker of it.
pub fn ignore_file_size_limit() {
    // SAFETY: ignoring this signal has no other effect than that such a write fails.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Does something that installs handlers, after which a signal is ignored if it was before: whoever
/// started this process so, as `nohup` does with hangups, wants it to outlive them.
pub fn leaving_ignored<T>(signal: i32, install: impl FnOnce() -> T) -> T {
    // SAFETY: the structure is valid, and all-zero is a valid `sigaction`; nothing is changed.
    let before = unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut before);
        before
    };
    let installed = install();
    if before.sa_sigaction == libc::SIG_IGN {
        // SAFETY: it is what the kernel has just said.
        unsafe { libc::sigaction(signal, &before, std::ptr::null_mut()) };
    }
    installed
}

/// Stops the call that began at a tick, if it is still under way and in generated code.
pub(super) fn stop_call(words: &Interrupts, since: u64) {
    words.with_thread(since, |thread| {
        // SAFETY: the thread is there until this has returned, since its call does not end before; and the
        // handler lands only out of generated code.
        unsafe { libc::pthread_kill(thread as libc::pthread_t, stop_signal()) };
    });
}

unsafe extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes valid pointers to the siginfo and context of this fault.
    let fault = unsafe { host_isa::fault(signal, info, context) };
    let activation = current();
    // SAFETY: a current activation is alive: it is taken down before it goes.
    let direct = unsafe { activation.as_ref() }.filter(|activation| activation.is_direct());
    let ours = direct.filter(|activation| {
        // A jump to nowhere faults at its target: that too is the doing of generated code.
        activation.covers(fault.pc) || host_isa::is_jump(&fault)
    });
    match ours {
        Some(activation) => {
            // SAFETY: as above, and the fault is that of the activation's code.
            activation.stop(unsafe { host_isa::stopped(&fault, info, context, activation) });
            // SAFETY: as said at the top, landing is safe here.
            unsafe { host_isa::land(context, activation) };
        }
        // SAFETY: same arguments as we were given.
        None => unsafe { hand_on(signal, info, context.cast()) },
    }
}

unsafe extern "C" fn on_stop(
    _signal: i32,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid context.
    let pc = unsafe { host_isa::program_counter(context) };
    // SAFETY: a current activation is alive.
    let activation = unsafe { current().as_ref() };
    if let Some(activation) = activation.filter(|activation| activation.covers(pc)) {
        activation.stop(Stopped::Hung);
        // SAFETY: the interrupted instruction is generated code.
        unsafe { host_isa::land(context, activation) };
    }
}

/// Does what would have been done without us.
unsafe fn hand_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let previous = FAULTS
        .iter()
        .position(|fault| *fault == signal)
        .and_then(|index| Some(&PREVIOUS.get()?[index]));
    let handler = previous.map_or(libc::SIG_DFL, |previous| previous.sa_sigaction);
    if handler == libc::SIG_IGN {
        return;
    }
    if handler == libc::SIG_DFL {
        // Back to the default, and the instruction faults again when we return.
        // SAFETY: all-zero with SIG_DFL is a valid action.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = libc::SIG_DFL;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        return;
    }
    let with_info = previous.is_some_and(|previous| previous.sa_flags & libc::SA_SIGINFO != 0);
    // SAFETY: the handler was installed with this signature, and gets what the kernel gave us.
    unsafe {
        if with_info {
            type Handler = unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
            let handler: Handler = std::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: unsafe extern "C" fn(i32) = std::mem::transmute(handler);
            handler(signal);
        }
    }
}

/// An alternative signal stack for a thread, so that a fault on a ruined stack is still handled.
struct AlternativeStack(Option<Box<[MaybeUninit<u8>]>>);

impl AlternativeStack {
    fn install() -> AlternativeStack {
        // SAFETY: both structures are valid; the new stack lives until it is taken down in drop.
        unsafe {
            let mut old: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(std::ptr::null(), &mut old);
            if old.ss_flags & libc::SS_DISABLE == 0 {
                return AlternativeStack(None);
            }
            let mut stack = Box::new_uninit_slice(ALTERNATIVE_STACK_BYTES);
            let new = libc::stack_t {
                ss_sp: stack.as_mut_ptr().cast(),
                ss_flags: 0,
                ss_size: ALTERNATIVE_STACK_BYTES,
            };
            libc::sigaltstack(&new, std::ptr::null_mut());
            AlternativeStack(Some(stack))
        }
    }
}

impl Drop for AlternativeStack {
    fn drop(&mut self) {
        if self.0.is_some() {
            // SAFETY: takes down the stack that `install` put up on this thread.
            unsafe {
                let mut none: libc::stack_t = std::mem::zeroed();
                none.ss_flags = libc::SS_DISABLE;
                libc::sigaltstack(&none, std::ptr::null_mut());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_so_and_nothing_else() {
        // Nobody else has a use for it.
        let signal = libc::SIGUSR2;
        let handler = on_stop as *const ();
        let after = |before: *const ()| {
            set_handler(signal, before);
            leaving_ignored(signal, || set_handler(signal, handler));
            set_handler(signal, before).sa_sigaction
        };
        assert_eq!(after(libc::SIG_IGN as *const ()), libc::SIG_IGN);
        assert_eq!(after(libc::SIG_DFL as *const ()), handler as usize);
    }
}
