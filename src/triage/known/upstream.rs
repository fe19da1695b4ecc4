//! Which known faults are fixed upstream, and how that is told.

use std::collections::BTreeMap;

use super::{KNOWN, KnownFault};
use crate::codegen::Generation;

impl KnownFault {
    /// Whether it is fixed upstream: an old generation of Cranelift has it, and the current one does not.
    pub fn is_fixed_upstream(&self) -> bool {
        let current = current();
        self.versions.iter().all(|start| {
            let of_current = current.starts_with(start) || start.starts_with(&current);
            start.starts_with("cranelift ") && !of_current
        })
    }
}

/// The version of engines of the current generation, as far as it is Cranelift's.
pub fn current() -> String {
    format!("cranelift {}", Generation::CURRENT.version())
}

/// The known fault of a name.
pub fn named(name: &str) -> Option<&'static KnownFault> {
    KNOWN.iter().find(|fault| fault.name == name)
}

/// The name of a known fault, and whether it is fixed upstream, for people.
pub fn told(name: &str) -> String {
    match named(name) {
        Some(fault) if fault.is_fixed_upstream() => format!("{name}, fixed upstream"),
        _ => name.to_string(),
    }
}

/// Those of some known faults, counted by name, that are fixed upstream.
pub fn fixed_upstream(counted: &BTreeMap<String, u64>) -> BTreeMap<&str, u64> {
    let fixed = counted
        .iter()
        .filter(|(name, _)| named(name).is_some_and(KnownFault::is_fixed_upstream));
    fixed.map(|(name, count)| (name.as_str(), *count)).collect()
}
