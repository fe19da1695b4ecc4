//! System calls that a confined process is refused: told on standard error, then the end.
//!
//! # Invariants
//!
//! - The handler runs on a thread that was about to make a system call, at any point of any code. So it
//!   takes no lock, allocates nothing and calls nothing but `write`, which is on the list of what a
//!   confined process may do, and `sigaction` for `SIGSYS`, which is not: the kernel ends a process
//!   that is refused a call while it handles a refusal, and the signal it dies of is still `SIGSYS`.

use std::io;

/// What the handler writes before the number of the system call.
pub const REFUSED: &str = "refused system call ";

/// Installs the handler of `SIGSYS`, once a process.
///
/// # Errors
/// If the system refuses that.
pub fn tell_of_refusals() -> io::Result<()> {
    // SAFETY: all-zero is a valid `sigaction`, and the handler has the signature that SA_SIGINFO asks
    // for.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_refusal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut())
    };
    if installed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The beginning of a `siginfo_t` of `SIGSYS`, sigaction(2).
#[repr(C)]
struct Refusal {
    signal: i32,
    error: i32,
    code: i32,
    address: *const libc::c_void,
    call: i32,
}

unsafe extern "C" fn on_refusal(
    _signal: i32,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid siginfo, which of this signal is laid out like this.
    let call = unsafe { (*info.cast::<Refusal>()).call };
    let mut text = [0_u8; 80];
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if length < text.len() {
                text[length] = *byte;
                length += 1;
            }
        }
    };
    put(REFUSED.as_bytes());
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    let mut rest = call.unsigned_abs();
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put(&digits[first..]);
    put(b" (");
    put(name(call).as_bytes());
    put(b")\n");
    // SAFETY: the bytes are there; whether they are written makes no difference. The second call takes
    // valid structures, and ends the process in a confined one.
    unsafe {
        libc::write(2, text.as_ptr().cast(), length);
        let action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut());
        libc::raise(libc::SIGSYS);
    }
}

/// The names of system calls that hostile code would want.
fn name(call: i32) -> &'static str {
    match i64::from(call) {
        libc::SYS_execve => "execve",
        libc::SYS_execveat => "execveat",
        libc::SYS_clone => "clone, of a process",
        libc::SYS_openat => "openat, for writing",
        libc::SYS_socket => "socket",
        libc::SYS_socketpair => "socketpair",
        libc::SYS_connect => "connect",
        libc::SYS_bind => "bind",
        libc::SYS_kill => "kill",
        libc::SYS_ptrace => "ptrace",
        libc::SYS_process_vm_writev => "process_vm_writev",
        libc::SYS_unlinkat => "unlinkat",
        libc::SYS_renameat2 => "renameat2",
        libc::SYS_mkdirat => "mkdirat",
        libc::SYS_prctl => "prctl",
        libc::SYS_ioctl => "ioctl",
        libc::SYS_rt_sigaction => "rt_sigaction",
        libc::SYS_io_uring_setup => "io_uring_setup",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => "open, for writing",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork => "fork",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork => "vfork",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink => "unlink",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => "rename",
        #[cfg(target_arch = "x86_64")]
        libc::SYS_mkdir => "mkdir",
        _ => "not on the list",
    }
}
