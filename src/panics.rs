//! Panics as data. A panic is always a bug, of a compiler, of an interpreter or of parallax
//! itself, and a run that goes on for a night has to survive it and say where it came from.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// What the latest panic of this thread said, with its place.
    static LATEST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// How many calls of [`catch`] this thread is in.
    static CATCHING: Cell<u32> = const { Cell::new(0) };
}

/// Whether nothing is printed of panics that are not caught, either.
static SILENT: AtomicBool = AtomicBool::new(false);

/// The environment variable that asks for backtraces. One of our own: `RUST_BACKTRACE` is set in
/// many an environment for other programs' sake.
pub const BACKTRACE_VARIABLE: &str = "PARALLAX_BACKTRACE";

/// Makes all panics of this process silent: what they say is kept for [`catch`] instead of printed.
/// With [`BACKTRACE_VARIABLE`] set, a backtrace is printed, for those who look for the bug.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
    install();
}

/// Installs the hook, which keeps what panics say, and leaves those that nobody catches to whatever
/// hook there was: libFuzzer's ends the process.
fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = describe(info);
            if std::env::var_os(BACKTRACE_VARIABLE).is_some() {
                // Nothing is left to be done if standard error is gone.
                let _ = std::io::Write::write_all(
                    &mut std::io::stderr(),
                    format!("{text}\n{}\n", Backtrace::force_capture()).as_bytes(),
                );
            }
            LATEST.with(|latest| *latest.borrow_mut() = Some(text));
            if CATCHING.get() == 0 && !SILENT.load(Ordering::Relaxed) {
                previous(info);
            }
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = message(info.payload());
    match info.location() {
        Some(place) => format!(
            "{message} (at {}:{})",
            within_crate(place.file()),
            place.line()
        ),
        None => message,
    }
}

/// A source file's path without what comes before its crate's folder in cargo's registry.
fn within_crate(file: &str) -> &str {
    let registry = file.split_once("/registry/src/");
    let crate_folder = registry.and_then(|(_, rest)| rest.split_once('/'));
    crate_folder.map_or(file, |(_, file)| file)
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a message".to_string());
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Runs `what`. Whatever it had in hand when it panicked must not be used again.
///
/// # Errors
/// What the panic said, in one line, with its place.
pub fn catch<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    install();
    LATEST.with(|latest| latest.borrow_mut().take());
    CATCHING.set(CATCHING.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(what));
    CATCHING.set(CATCHING.get() - 1);
    result.map_err(|payload| {
        let said = LATEST.with(|latest| latest.borrow_mut().take());
        said.unwrap_or_else(|| message(&*payload))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_says_is_kept_in_one_line() {
        assert_eq!(catch(|| 7), Ok(7));
        let said = catch(|| panic!("a\n  {}", "b")).expect_err("a panic");
        assert!(said.starts_with("a b (at src/panics.rs:"), "{said}");
    }

    #[test]
    fn places_are_told_from_the_crate_on() {
        let file = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/a-1.0.0/src/b.rs";
        assert_eq!(within_crate(file), "a-1.0.0/src/b.rs");
        assert_eq!(within_crate("src/lib.rs"), "src/lib.rs");
    }
}
