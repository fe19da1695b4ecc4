//! Faults that are not those of generated code reach whoever handled them before us, also after
//! generated code has trapped. Each test runs in a process of its own, which such a fault ends.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use parallax::case::wast::case_from_file;
use parallax::engine::registry;
use parallax::harness::Harness;
use parallax_oracles::Verdict;

/// Says to a process of this test what to do.
const ROLE: &str = "PARALLAX_SIGNALS_TEST";

/// The exit status of a process whose own handler was called.
const HANDLED: i32 = 42;

extern "C" fn leave(_: i32) {
    // SAFETY: ends the process; allowed in a signal handler.
    unsafe { libc::_exit(HANDLED) };
}

/// Runs code that traps by a signal of each kind, and sees it trapped.
fn trap() {
    let script = r#"
        (module
            (memory 1)
            (func (export "load") (result i32) (i32.load (i32.const 0x7fffffff)))
            (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
            (func (export "stop") unreachable))
        (assert_trap (invoke "load") "out of bounds memory access")
        (assert_trap (invoke "divide") "integer divide by zero")
        (assert_trap (invoke "stop") "unreachable")"#;
    let case = case_from_file(script.as_bytes(), "signals.wast").expect("a valid script");
    let mut harness = Harness::new(&[registry::DIRECT]).expect("the engine is there");
    assert_eq!(harness.examine(&case).verdict, Verdict::Agreed);
}

/// Accesses what is not mapped, as generated code never does: from Rust.
fn fault() {
    // SAFETY: none; the process is to end here.
    unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u8>(8)).write_volatile(1) };
}

/// What became of a process that runs one test again, in the role of the one that faults.
fn process(test: &str) -> ExitStatus {
    Command::new(std::env::current_exe().expect("this test's path"))
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, "fault")
        .output()
        .expect("a process")
        .status
}

fn is_to_fault() -> bool {
    std::env::var_os(ROLE).is_some()
}

#[test]
fn a_handler_installed_before_is_called() {
    if is_to_fault() {
        // SAFETY: the handler has the signature that this flag-less action asks for.
        unsafe { libc::signal(libc::SIGSEGV, leave as *const () as usize) };
        trap();
        fault();
        return;
    }
    let status = process("a_handler_installed_before_is_called");
    assert_eq!(status.code(), Some(HANDLED), "{status}");
}

#[test]
fn without_a_handler_the_process_ends_by_the_signal() {
    if is_to_fault() {
        // Rust's own handler, for stack overflows, is not to answer in its stead.
        // SAFETY: resets a handler.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        trap();
        fault();
        return;
    }
    let status = process("without_a_handler_the_process_ends_by_the_signal");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status}");
}
