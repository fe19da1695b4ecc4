//! Versions of what engines wrap, from the lock file this program was built with.

/// The version of a package in `Cargo.lock`; `unknown` if there is none, the first listed if there
/// are several.
pub fn locked_version(package: &str) -> &'static str {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("name = \"")
            .and_then(|rest| rest.strip_suffix('"'));
        if name == Some(package) {
            return lines
                .next()
                .and_then(|line| line.strip_prefix("version = \""))
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap_or("unknown");
        }
    }
    "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert_eq!(locked_version("cranelift-codegen"), "0.112.3");
        assert!(locked_version("wasmi").starts_with("2."));
        assert_eq!(locked_version("no such package"), "unknown");
    }
}
