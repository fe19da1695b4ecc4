//! Where generated code stopped by a fault, for tests.

use std::cell::RefCell;

use super::instance::LoadedModule;

/// An instruction that faulted: the function, by its number among those that its module defines, and
/// the offset of the instruction from the function's start.
pub type Stop = (u32, u32);

thread_local! {
    static STOPS: RefCell<Option<Vec<Stop>>> = const { RefCell::new(None) };
}

/// Notes a fault at an offset of a module's code.
pub(super) fn note(loaded: &LoadedModule<'_>, offset: u32) {
    STOPS.with_borrow_mut(|stops| {
        if let (Some(stops), Some(function)) = (stops, loaded.compiled.function_at(offset)) {
            let start = loaded.compiled.functions[function as usize].start;
            stops.push((function, offset - start));
        }
    });
}

/// Does something, and also returns where generated code faulted on this thread.
pub fn stops<R>(work: impl FnOnce() -> R) -> (R, Vec<Stop>) {
    STOPS.set(Some(Vec::new()));
    let result = work();
    (result, STOPS.take().unwrap_or_default())
}
