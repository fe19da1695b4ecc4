//! A guard at the end of the stacks of threads on which the host runs generated code.
//!
//! Code whose functions do not look how much stack there is, or look for the wrong thing, runs off its
//! end. The C library leaves one page there that cannot be accessed, over which a large frame steps, into
//! whatever is mapped beyond: another thread's stack, say. So some more of a thread's stack is taken
//! from it. The main thread's grows while there is room, up to a limit that may be none, and stays 1 MiB
//! away from whatever is mapped, which the kernel sees to (`stack_guard_gap`). So a page is mapped there.
//!
//! # Invariants
//! - What is made inaccessible are pages where nothing is mapped, and pages of this thread's own stack, at its end, and at most a
//!   [`SHARE`] of it; the stack pointer is far above them.
//! - They are made accessible again when the thread ends: its stack may be given to another one.

use std::ops::Range;

use crate::campaign;

/// Which part of a stack is the guard.
const SHARE: usize = 16;

/// Bytes of a page, at most.
const PAGE_BYTES: usize = 64 << 10;

/// How much stack the main thread may have: as much as others are given.
const MAIN_STACK_BYTES: usize = campaign::STACK_BYTES;

/// A guard of the thread that made it; none if there was no room for one.
pub(super) struct Guard(Option<Range<usize>>);

impl Guard {
    /// Puts up a guard for the calling thread.
    pub(super) fn install() -> Guard {
        // SAFETY: asks who this is.
        if unsafe { libc::getpid() == libc::gettid() } {
            end_main_stack();
            return Guard(None);
        }
        let pages = own_stack().map(|stack| {
            let bytes = (stack.len() / SHARE) & !(PAGE_BYTES - 1);
            let start = stack.start.next_multiple_of(PAGE_BYTES);
            start..start + bytes
        });
        Guard(pages.filter(|pages| !pages.is_empty() && protect(pages, libc::PROT_NONE)))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(pages) = &self.0 {
            protect(pages, libc::PROT_READ | libc::PROT_WRITE);
        }
    }
}

/// Changes how pages of this thread's stack may be accessed; whether that could be done.
fn protect(pages: &Range<usize>, protection: i32) -> bool {
    let start = std::ptr::without_provenance_mut::<libc::c_void>(pages.start);
    // SAFETY: the pages are the lowest of this thread's own stack, of which nothing is in use.
    unsafe { libc::mprotect(start, pages.len(), protection) == 0 }
}

/// Maps a page, for good, up to which the main thread's stack cannot grow, if nothing is there.
fn end_main_stack() {
    let on_stack = 0_u8;
    let here = std::ptr::from_ref(&on_stack).addr();
    let page = here.saturating_sub(MAIN_STACK_BYTES) & !(PAGE_BYTES - 1);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let page = std::ptr::without_provenance_mut(page);
    // SAFETY: nothing that is mapped is replaced, and nobody has to do with what comes of it.
    unsafe { libc::mmap(page, PAGE_BYTES, libc::PROT_NONE, flags, -1, 0) };
}

/// The addresses of the calling thread's stack, which is not the main thread's: that is not mapped before
/// it is used.
fn own_stack() -> Option<Range<usize>> {
    // SAFETY: the attributes are valid from where they are filled in to where they are destroyed.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
            return None;
        }
        let (mut start, mut bytes, mut guard) = (std::ptr::null_mut(), 0, 0);
        let known = libc::pthread_attr_getstack(&attributes, &mut start, &mut bytes) == 0
            && libc::pthread_attr_getguardsize(&attributes, &mut guard) == 0;
        libc::pthread_attr_destroy(&mut attributes);
        // Versions of the C library differ in whether its own guard is counted.
        let start = start.addr() + guard;
        known.then(|| start..start + bytes - guard.min(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::wast::script_from_file;
    use crate::codegen::{Backend, Generation};
    use crate::engine::compiled::Compiled;
    use crate::engine::observe;
    use crate::runtime::machine::HOST;
    use crate::score::Fault;
    use parallax_oracles::Outcome;

    /// Bytes of the stack of a thread that is looked at.
    const STACK_BYTES: usize = 8 << 20;

    #[test]
    fn the_end_of_a_stack_is_taken_from_it_and_given_back() {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let look = || {
            let stack = own_stack().expect("not the main thread");
            let guard = Guard::install();
            let pages = guard.0.clone().expect("there is room");
            assert!(stack.start <= pages.start && pages.start - stack.start < PAGE_BYTES);
            assert!(pages.len() <= stack.len() / SHARE && pages.len() > STACK_BYTES / SHARE / 2);
            let here = std::ptr::from_ref(&pages).addr();
            assert!(stack.contains(&here) && here > stack.end - stack.len() / 2);
            drop(guard);
            let lowest = std::ptr::with_exposed_provenance_mut::<u8>(pages.start);
            // SAFETY: it is this thread's stack, and far below what is in use.
            unsafe { lowest.write_volatile(1) };
        };
        let thread = thread.spawn(look).expect("a thread");
        thread.join().expect("it ends");
    }

    /// Runs a program without end in frames of some 16 KiB that do not check the stack.
    extern "C" fn run_off(_: *mut libc::c_void) -> *mut libc::c_void {
        let run = || {
            let thousand = |what: &str| vec![what; 1_000].join(" ");
            let text = format!(
                r#"(module
                    (func $run (param i64) (result {}) (call $run (local.get 0)) (drop)
                        (local.get 0))
                    (func (export "run") (call $run (i64.const 1)) {}))
                (invoke "run")"#,
                thousand("i64"),
                thousand("(drop)")
            );
            let case = script_from_file(text.as_bytes(), "test.wast").expect("valid");
            let backend = Backend {
                isa: HOST,
                generation: Generation::CURRENT,
            };
            let mut engine = Compiled::with_fault("test", backend, Some(Fault::NoStackCheck));
            let seen = observe(&mut engine, &case.case).expect("it runs");
            matches!(seen.steps[1].outcome, Outcome::Escaped(_))
        };
        let escaped = std::panic::catch_unwind(run).unwrap_or(false);
        std::ptr::without_provenance_mut(usize::from(escaped))
    }

    #[test]
    fn what_lies_beyond_a_stack_is_not_reached() {
        // SAFETY: a mapping at an address of the kernel's choice, of whose upper part a thread has its stack and
        // of whose lower part nobody knows; it is unmapped when the thread has ended.
        unsafe {
            let pages = libc::mmap(
                std::ptr::null_mut(),
                2 * STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(pages, libc::MAP_FAILED);
            let stack = pages.byte_add(STACK_BYTES);
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            assert_eq!(
                libc::pthread_attr_setstack(&mut attributes, stack, STACK_BYTES),
                0
            );
            let mut thread = std::mem::zeroed();
            let nothing = std::ptr::null_mut();
            assert_eq!(
                libc::pthread_create(&mut thread, &attributes, run_off, nothing),
                0
            );
            let mut escaped = std::ptr::null_mut();
            assert_eq!(libc::pthread_join(thread, &mut escaped), 0);
            libc::pthread_attr_destroy(&mut attributes);
            let beyond = std::slice::from_raw_parts(pages.cast::<u8>(), STACK_BYTES);
            let written = beyond.iter().position(|byte| *byte != 0);
            libc::munmap(pages, 2 * STACK_BYTES);
            assert_eq!(written, None);
            assert_eq!(escaped.addr(), 1);
        }
    }
}
