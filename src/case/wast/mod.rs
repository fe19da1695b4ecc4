//! Cases from files, and files from cases.
//!
//! A `.wast` script is the ecosystem's own format for a kept case: modules, `register`, `invoke`,
//! assertions, with the settings as TOML in `;;!` lines on top. A `.wat` or `.wasm` file is a
//! script of one module whose exported functions are each called a few times with arguments
//! derived from the settings' host seed.
//!
//! What the format has no word for stands in comments that only parallax reads: `;;@ collect` is
//! [`super::Action::Collect`].

mod blame;
mod expect;
mod file;
mod parse;
mod position;
mod print;
mod print_values;
#[cfg(test)]
mod tests;
mod values;

use super::Case;

pub use file::{case_from_file, script_from_file};
pub use print::to_wast;

/// The comment that stands for a collection that the host asks for.
const COLLECT: &str = ";;@ collect";

/// A script: a case, and the assertions that are about modules being refused.
#[derive(Clone, Debug)]
pub struct Script {
    /// What is run.
    pub case: Case,
    /// Binary modules that every engine must refuse.
    pub rejects: Vec<Reject>,
    /// Assertions that are about the text format alone, and so about no engine.
    pub text_only: usize,
}

/// A module that must be refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// The binary.
    pub wasm: Vec<u8>,
    /// The line of the script, counted from 1.
    pub line: u32,
    /// Why, in the words of the script.
    pub message: String,
}

/// Why a file or input cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what it should be. One line, with the position where there is one.
    #[error("{0}")]
    Malformed(String),
}
