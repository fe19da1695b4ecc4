//! A function three times over, in rows: the wasm, the CLIF that came of it, and the machine code of
//! several engines, each row one instruction of wasm.

use std::fmt::Write;

use serde::Serialize;

use super::blame::{Blame, FunctionOf};
use super::localise::{Explanation, Options};
use super::region;
use super::sweep;
use crate::case::Case;
use crate::codegen::compiled::RelocationTarget;
use crate::codegen::disassembly::disassemble;
use crate::engine::compiled::{Compiled, Listing};
use crate::engine::registry;

/// A function in rows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Code {
    /// Which function.
    pub function: FunctionOf,
    /// The headings of the columns with machine code: engine, and settings if others than the
    /// case's.
    pub columns: Vec<String>,
    /// The rows: first what comes before the first instruction, if anything does.
    pub rows: Vec<CodeRow>,
}

/// What came of one instruction of wasm.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CodeRow {
    /// The offset of the instruction in the module's binary.
    pub offset: Option<u32>,
    /// The lines of the text format, those without code of their own before it included.
    pub wasm: Vec<String>,
    /// The CLIF.
    pub clif: Vec<String>,
    /// The machine code, one entry a column.
    pub machine: Vec<Vec<CodeLine>>,
    /// Whether it is blamed.
    pub blamed: bool,
}

/// A line of machine code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CodeLine {
    /// Its offset in the function's code.
    pub offset: u32,
    /// The instruction.
    pub text: String,
    /// Whether the same instruction of wasm became something else in the other column, where both
    /// are of one ISA.
    pub marked: bool,
}

impl Code {
    /// The function that is blamed, as the engines that differ compile it and, to hold it against,
    /// as one that agrees does or the same one under settings with which it agrees.
    pub fn of(case: &Case, explanation: &Explanation, options: &Options) -> Option<Code> {
        let blame = explanation.blame.as_ref()?;
        let function = blame.function?;
        let mut columns = Vec::new();
        let mut clif = None;
        for name in &blame.differ {
            let Some(mut engine) = registry::make_compiled(name, options.fault) else {
                continue;
            };
            let listing = list(&mut engine, case, function);
            if clif.is_none() {
                clif = listing.as_ref().ok().map(|listing| listing.clif.clone());
            }
            columns.push((name.clone(), listing));
        }
        if columns.len() < 2 {
            columns.extend(counterpart(case, explanation, options, blame, function));
        }
        let clif = clif.or_else(|| {
            let listings = columns.iter().filter_map(|(_, it)| it.as_ref().ok());
            listings.map(|listing| listing.clif.clone()).next()
        });
        let mut rows = rows(case, function);
        let mut current = 0;
        for line in clif.as_deref().unwrap_or_default().lines() {
            if let Some(offset) = region::source_of_clif(line) {
                current = row_of(&rows, Some(offset));
            } else if line.trim().is_empty() || line == "}" {
                continue;
            } else if line.trim_start().starts_with("block") {
                // A block's header belongs to the code behind it.
                current = usize::MAX;
            }
            put_clif(&mut rows, &mut current, line);
        }
        let width = columns.len();
        for row in &mut rows {
            row.machine = vec![Vec::new(); width];
            row.blamed = blame.region.as_ref().is_some_and(|region| {
                row.offset
                    .is_some_and(|offset| (region.start..=region.last).contains(&offset))
            });
        }
        let mut headings = Vec::new();
        let mut isas = Vec::new();
        for (column, (name, listing)) in columns.into_iter().enumerate() {
            headings.push(name);
            match listing {
                Ok(listing) => {
                    isas.push(listing.isa);
                    for (source, line) in machine(&listing) {
                        let row = row_of(&rows, source);
                        rows[row].machine[column].push(line);
                    }
                }
                Err(text) => rows[0].machine[column].push(CodeLine {
                    offset: 0,
                    text,
                    marked: false,
                }),
            }
        }
        if let [one, other] = isas[..]
            && one == other
        {
            rows.iter_mut().for_each(mark);
        }
        // Headers of blocks that no code followed.
        rows.retain(|row| {
            row.offset.is_some()
                || !row.clif.is_empty()
                || !row.wasm.is_empty()
                || row.machine.iter().any(|it| !it.is_empty())
        });
        Some(Code {
            function,
            columns: headings,
            rows,
        })
    }
}

/// A function as something compiles it, or why not.
type Listed = Result<Listing, String>;

fn list(engine: &mut Compiled, case: &Case, function: FunctionOf) -> Listed {
    engine
        .listing(case, function.module, function.function)
        .map_err(|refusal| refusal.to_string())
}

/// What to hold the code of the engine at fault against.
fn counterpart(
    case: &Case,
    explanation: &Explanation,
    options: &Options,
    blame: &Blame,
    function: FunctionOf,
) -> Option<(String, Listed)> {
    let accused = blame.differ.first();
    if let Some(name) = accused
        && let Some((good, changed)) =
            sweep::good_for_code_generation(case, &explanation.sweep, name)
    {
        let mut engine = registry::make_compiled(name, options.fault)?;
        let heading = format!("{name}, {changed}");
        return Some((heading, list(&mut engine, &good, function)));
    }
    let compiles = |name: &&String| registry::make_compiled(name, None).is_some();
    // Best the code of the same ISA by another generation.
    let other = accused.and_then(|name| registry::other_generation(name));
    let other = blame.agree.iter().find(|name| Some(name.as_str()) == other);
    let agrees = other.or_else(|| blame.agree.iter().find(compiles))?;
    let mut engine = registry::make_compiled(agrees, options.fault)?;
    Some((
        format!("{agrees}, which agrees"),
        list(&mut engine, case, function),
    ))
}

/// The rows of a function, with its wasm. The first is for what no instruction made.
fn rows(case: &Case, function: FunctionOf) -> Vec<CodeRow> {
    let mut rows = vec![CodeRow::default()];
    for (offset, line) in region::lines(case, function) {
        match offset {
            None => rows[0].wasm.push(line),
            Some(_) => rows.push(CodeRow {
                offset,
                wasm: vec![line],
                ..CodeRow::default()
            }),
        }
    }
    rows
}

fn row_of(rows: &[CodeRow], offset: Option<u32>) -> usize {
    let Some(offset) = offset else { return 0 };
    rows.iter()
        .position(|row| row.offset == Some(offset))
        .unwrap_or(0)
}

/// Puts a line of CLIF into the row it belongs to; a block's header waits for the line behind it.
fn put_clif(rows: &mut [CodeRow], current: &mut usize, line: &str) {
    let mut text = line.trim().to_string();
    if text.starts_with('@') {
        text = text
            .split_once(' ')
            .map_or("", |(_, rest)| rest)
            .trim()
            .to_string();
    }
    if *current == usize::MAX {
        rows[0].clif.push(text);
        return;
    }
    // Headers of blocks are kept in the first row until there is code behind them.
    let waiting = match rows[0].clif.last() {
        Some(last) if *current > 0 && last.starts_with("block") => rows[0].clif.pop(),
        _ => None,
    };
    rows[*current].clif.extend(waiting);
    rows[*current].clif.push(text);
}

/// Marks the lines of two columns that are not in the other one.
fn mark(row: &mut CodeRow) {
    let texts: Vec<Vec<String>> = row
        .machine
        .iter()
        .map(|lines| lines.iter().map(|line| line.text.clone()).collect())
        .collect();
    if let [one, other] = &mut row.machine[..] {
        for (lines, others) in [(one, &texts[1]), (other, &texts[0])] {
            for line in lines {
                line.marked = !others.contains(&line.text);
            }
        }
    }
}

/// The instructions of a function, each with the offset of the instruction of wasm that it came
/// from. What came of none, as moves of registers do, goes with what stands before it.
fn machine(listing: &Listing) -> Vec<(Option<u32>, CodeLine)> {
    let compiled = &listing.compiled;
    let ends = compiled.sources.iter().map(|range| range.end);
    let trapping = compiled.traps.iter().map(|trap| trap.offset + 1);
    // Behind its last instruction lie the function's constants.
    let end = ends.chain(trapping).max().unwrap_or(u32::MAX);
    let mut source = None;
    let mut lines = Vec::new();
    for instruction in disassemble(listing.isa, &compiled.code) {
        let offset = instruction.offset;
        if offset >= end {
            break;
        }
        let mut ranges = compiled.sources.iter();
        let of = ranges.find(|range| (range.start..range.end).contains(&offset));
        source = of.map(|range| range.wasm).or(source);
        let mut text = instruction.text;
        let within = offset..offset + instruction.bytes;
        let mut relocations = compiled.relocations.iter();
        if let Some(patched) = relocations.find(|it| within.contains(&it.offset)) {
            let _ = match patched.target {
                RelocationTarget::Function(number) => write!(text, " ; defined function {number}"),
                RelocationTarget::LibCall(call) => write!(text, " ; {call:?}"),
            };
        }
        if let Some(kind) = compiled.trap_at(offset) {
            let _ = write!(text, " ; traps: {kind}");
        }
        let line = CodeLine {
            offset,
            text,
            marked: false,
        };
        lines.push((source, line));
    }
    lines
}
