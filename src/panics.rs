//! Panics as data. A panic is always a bug, of a compiler, of an interpreter or of parallax
//! itself, and a run that goes on for a night has to survive it and say where it came from.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    /// What the latest panic of this thread said, with its place.
    static LATEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The environment variable that asks for backtraces. One of our own: `RUST_BACKTRACE` is set in
/// many an environment for other programs' sake.
pub const BACKTRACE_VARIABLE: &str = "PARALLAX_BACKTRACE";

/// Makes panics of this process silent: what they say is kept for [`catch`] instead of printed.
/// With [`BACKTRACE_VARIABLE`] set, a backtrace is printed, for those who look for the bug.
pub fn silence() {
    std::panic::set_hook(Box::new(|info| {
        let text = describe(info);
        if std::env::var_os(BACKTRACE_VARIABLE).is_some() {
            // Nothing is left to be done if standard error is gone.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{text}\n{}\n", Backtrace::force_capture()).as_bytes(),
            );
        }
        LATEST.with(|latest| *latest.borrow_mut() = Some(text));
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let message = message(info.payload());
    match info.location() {
        Some(place) => format!("{message} (at {}:{})", place.file(), place.line()),
        None => message,
    }
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
/// What the panic said, in one line, with its place if [`silence`] is in force.
pub fn catch<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    LATEST.with(|latest| latest.borrow_mut().take());
    catch_unwind(AssertUnwindSafe(what)).map_err(|payload| {
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
        assert_eq!(
            catch(|| panic!("a\n  {}", "b")),
            Err::<(), _>("a b".to_string())
        );
    }
}
