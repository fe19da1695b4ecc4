//! Under which name a finding is kept: what differed and at which instruction, as people would name
//! the file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parallax_oracles::{Outcome, Place, Seen, Verdict};
use wasmparser::{Parser, Payload};

use super::blame::{BACKENDS, Blame};
use super::shrink::Best;
use crate::case::opcodes::OpcodeSet;
use crate::case::{Action, Case};

/// Names that are tried for one finding before it is given up.
const MOST_NAMES: u32 = 10_000;

/// What a finding is about, in a few words: the oracle and the instruction.
pub fn subject(best: &Best) -> String {
    let Verdict::Diverged(findings) = &best.examined.verdict else {
        return String::new();
    };
    let Some(first) = findings.first() else {
        return String::new();
    };
    match instruction(&best.case, first.step) {
        Some(instruction) => format!("{} after {instruction}", first.oracle),
        None => first.oracle.to_string(),
    }
}

/// A short name for a finding: the oracle and, where they tell, the layer and the instruction that the
/// case is about. Lower-case letters, digits and hyphens.
pub fn slug(best: &Best) -> String {
    let mut words = Vec::new();
    if let Some(blame) = Blame::of(&best.examined) {
        let backend = BACKENDS.contains(&blame.layer);
        if backend && blame.or.is_empty() {
            words.push(blame.layer.name().to_string());
        }
    }
    if let Verdict::Diverged(findings) = &best.examined.verdict
        && let Some(first) = findings.first()
    {
        words.push(match (&first.subject, first.place) {
            (Seen::Outcome(Outcome::Escaped(_)), _) => "escape".to_string(),
            (Seen::Outcome(Outcome::Unfounded(_)), _) => "unfounded-trap".to_string(),
            (Seen::Outcome(Outcome::Failed(_)), _) => "failure".to_string(),
            (_, Place::Drop(_)) => "drop".to_string(),
            _ => first.oracle.to_string(),
        });
        if let Some(instruction) = instruction(&best.case, first.step) {
            words.push(instruction);
        }
    }
    let slug: String = words
        .join("-")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    slug.trim_matches('-').to_string()
}

/// The instruction that a step of a small case is about: the last one of the function it calls, or
/// else of its module, that is no constant, local variable, branch or the like.
fn instruction(case: &Case, step: usize) -> Option<String> {
    let step = step.min(case.steps.len().checked_sub(1)?);
    let made_from: Vec<usize> = case
        .steps
        .iter()
        .filter_map(|step| match step.action {
            Action::Instantiate { module, .. } => Some(module),
            _ => None,
        })
        .collect();
    let (module, function) = match &case.steps[step].action {
        Action::Invoke {
            instance, function, ..
        } => (*made_from.get(*instance as usize)?, Some(*function)),
        Action::Instantiate { module, .. } => (*module, None),
        Action::Get { instance, .. } => (*made_from.get(*instance as usize)?, None),
        Action::Collect => return None,
    };
    let module = case.modules.get(module)?;
    let called = function.and_then(|it| it.checked_sub(module.imported_functions()));
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(&module.wasm) {
        if let Payload::CodeSectionEntry(body) = payload.ok()? {
            bodies.push(body);
        }
    }
    let called = called.and_then(|it| bodies.get(it as usize));
    let all = called.into_iter().chain(&bodies);
    all.into_iter().find_map(|body| {
        let mut last = None;
        let mut operators = body.get_operators_reader().ok()?;
        while !operators.eof() {
            let from = operators.original_position() - body.range().start;
            operators.read().ok()?;
            let mut one = OpcodeSet::EMPTY;
            one.insert_encoded(&body.as_bytes()[from as usize..]);
            let name = one.names().next()?.into_owned();
            if !is_glue(&name) {
                last = Some(name);
            }
        }
        last
    })
}

/// Whether an instruction only moves values about or says what comes next.
fn is_glue(name: &str) -> bool {
    const GLUE: [&str; 14] = [
        "drop",
        "end",
        "else",
        "block",
        "loop",
        "if",
        "br",
        "br_if",
        "br_table",
        "return",
        "nop",
        "unreachable",
        "call",
        "ref.null",
    ];
    GLUE.contains(&name) || name.ends_with(".const") || name.starts_with("local.")
}

/// Writes a script to a file of a name that no file has yet, made from a slug, and returns its path.
///
/// # Errors
/// Why the file cannot be written. Nothing is left of it then.
pub fn write_new(folder: &Path, slug: &str, text: &str) -> io::Result<PathBuf> {
    for number in 1..MOST_NAMES {
        let name = match number {
            1 => format!("{slug}.wast"),
            _ => format!("{slug}-{number}.wast"),
        };
        let path = folder.join(name);
        let mut file = match File::create_new(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        return Ok(path);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::wast::case_from_file;

    #[test]
    fn the_instruction_is_what_the_function_is_about() {
        let text = r#"(module (memory 1)
            (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 2)))
            (func (export "nothing") (drop (i32.const 1)))
            (func (export "call") (call 0)))
            (invoke "fill") (invoke "nothing") (invoke "call")"#;
        let case = case_from_file(text.as_bytes(), "x.wast").expect("a script");
        let fill = Some("memory.fill".to_string());
        assert_eq!(instruction(&case, 1), fill);
        // Where the function itself has none, the module's first that has.
        assert_eq!(instruction(&case, 2), fill);
        assert_eq!(instruction(&case, 3), fill);
        assert_eq!(instruction(&case, 9), fill);
    }

    #[test]
    fn no_file_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("parallax-keep-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let names: Vec<String> = (0..3)
            .map(|_| {
                let path = write_new(&folder, "traps-call", "x").expect("written");
                path.file_name().unwrap_or_default().display().to_string()
            })
            .collect();
        assert_eq!(
            names,
            ["traps-call.wast", "traps-call-2.wast", "traps-call-3.wast"]
        );
        std::fs::remove_dir_all(folder).expect("it goes");
    }
}
