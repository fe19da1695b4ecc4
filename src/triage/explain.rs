//! An explanation as text, for a terminal.

use std::fmt::Write;

use parallax_oracles::{Finding, Verdict};

use super::blame::FunctionOf;
use super::code::{Code, CodeRow};
use super::known;
use super::localise::{Explanation, FirstWrong, Standing, ToldAt};
use super::probe::SiteKind;
use super::region;
use super::show;
use super::sweep::Shows;
use crate::case::Case;
use crate::case::wast::to_wast;
use crate::engine::registry::REFERENCE;

/// Columns of a line of a terminal that code side by side takes, at most: wasm, CLIF, each engine.
const WIDTHS: [usize; 3] = [34, 46, 44];

/// An explanation with the case that it is about and the code that is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What the case is called.
    pub file: &'a str,
    /// The case.
    pub case: &'a Case,
    /// What was found out.
    pub explanation: &'a Explanation,
    /// The function that is blamed.
    pub code: Option<&'a Code>,
}

impl Report<'_> {
    /// The case as a script.
    pub fn script(&self) -> String {
        let header = format!("from {}", self.file);
        to_wast(self.case, self.explanation.reference.as_ref(), &header)
    }

    /// The verdict, in a word or a few.
    pub fn verdict(&self) -> String {
        match &self.explanation.verdict {
            _ if !self.explanation.findings.is_empty() => "diverged".to_string(),
            Verdict::Agreed => "agreed".to_string(),
            Verdict::Diverged(_) => "diverged".to_string(),
            Verdict::Inconclusive(reason) => format!("inconclusive: {reason}"),
        }
    }

    /// The finding that comes first.
    pub fn first(&self) -> Option<&Finding> {
        self.explanation.findings.first()
    }

    /// The table of engines: name, how it stands, and what is known of it.
    pub fn engines(&self) -> Vec<(String, &'static str, String)> {
        let rows = self.explanation.engines.iter().map(|row| {
            let (word, detail) = match &row.standing {
                Standing::Agrees => ("agrees", String::new()),
                Standing::Differs(finding) => (
                    "differs",
                    format!(
                        "{}, in step {}: {}",
                        finding.oracle,
                        finding.step,
                        show::place_of(self.case, finding)
                    ),
                ),
                Standing::Unsupported(what) => ("unsupported", what.clone()),
                Standing::Inconclusive(why) => ("inconclusive", why.clone()),
            };
            let known = row.known.map_or(String::new(), |name| {
                format!(" (known: {})", known::told(name))
            });
            (row.engine.to_string(), word, format!("{detail}{known}"))
        });
        rows.collect()
    }

    /// The first value that went wrong, in rows of a name and a text.
    pub fn first_wrong(&self) -> Vec<(String, String)> {
        let Some(wrong) = &self.explanation.first_wrong else {
            return Vec::new();
        };
        let FirstWrong {
            engine,
            reference,
            subject,
            before,
            step,
        } = wrong;
        let other = if *engine == REFERENCE {
            format!("{REFERENCE}, written differently")
        } else {
            REFERENCE.to_string()
        };
        let mut rows = vec![("step".to_string(), show::call(self.case, *step))];
        if let Some(before) = before {
            rows.push(("alike".to_string(), self.told(Some(before))));
        }
        rows.push((other, self.told(reference.as_ref())));
        rows.push((engine.to_string(), self.told(subject.as_ref())));
        rows
    }

    fn told(&self, told: Option<&ToldAt>) -> String {
        let Some(told) = told else {
            return "nothing more".to_string();
        };
        let FunctionOf { module, function } = told.function;
        let place = format!("function {function} of module {module}");
        let value = told
            .value
            .map_or(String::new(), |value| format!(": {value}"));
        let instructions = region::instructions(self.case, told.function);
        let name = instructions
            .iter()
            .find(|it| it.offset == told.offset)
            .map_or("instruction", |it| it.name.as_str());
        match told.kind {
            SiteKind::Entry => format!("entered {place}"),
            SiteKind::Parameter(index) => format!("parameter {index} of {place}{value}"),
            SiteKind::Value => format!("{name} at {:#x} in {place}{value}", told.offset),
            SiteKind::Passed => format!("passed {name} at {:#x} in {place}", told.offset),
            SiteKind::Effect => {
                format!(
                    "what was written, behind {name} at {:#x} in {place}{value}",
                    told.offset
                )
            }
        }
    }

    /// The whole as text.
    pub fn text(&self) -> String {
        let mut out = self.script();
        let _ = writeln!(out, "\n{}: {}", self.file, self.verdict());
        let Some(first) = self.first() else {
            return out;
        };
        heading(&mut out, "first difference");
        out.push_str(&show::differences(self.case, first));
        heading(&mut out, "engines");
        table(&mut out, &self.engines());
        if let Some(blame) = &self.explanation.blame {
            heading(&mut out, "blame");
            let _ = writeln!(out, "{blame}");
            for reason in &blame.because {
                let _ = writeln!(out, "  because {reason}");
            }
            if !blame.clif.is_empty() {
                let _ = writeln!(out, "  CLIF: {}", blame.clif.join(", "));
            }
            for rules in &blame.rules() {
                let _ = writeln!(out, "  rules: {rules}");
            }
        }
        let wrong = self.first_wrong();
        if !wrong.is_empty() {
            heading(&mut out, "first value that went wrong");
            let width = wrong.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            for (name, text) in wrong {
                let _ = writeln!(out, "{name:width$}  {text}");
            }
        }
        self.sweep(&mut out);
        self.code(&mut out);
        out
    }

    fn sweep(&self, out: &mut String) {
        let sweep = &self.explanation.sweep;
        if sweep.is_empty() {
            return;
        }
        heading(out, "with other settings");
        let width = sweep.iter().map(|it| it.setting.len()).max().unwrap_or(0);
        for variation in sweep {
            let engines: Vec<String> = variation
                .engines
                .iter()
                .map(|(engine, shows)| format!("{engine} {}", word(*shows)))
                .collect();
            let _ = writeln!(out, "{:width$}  {}", variation.setting, engines.join(", "));
        }
    }

    fn code(&self, out: &mut String) {
        let Some(code) = self.code else { return };
        let FunctionOf { module, function } = code.function;
        heading(out, &format!("function {function} of module {module}"));
        let mut columns = vec!["wasm", "CLIF"];
        columns.extend(code.columns.iter().map(String::as_str));
        let mut line = String::from("  ");
        for (position, column) in columns.iter().enumerate() {
            cell(&mut line, column, width_of(position));
        }
        let _ = writeln!(out, "{}", line.trim_end());
        for row in &code.rows {
            self.code_row(out, row);
        }
    }

    fn code_row(&self, out: &mut String, row: &CodeRow) {
        let mut columns = vec![row.wasm.clone(), row.clif.clone()];
        for lines in &row.machine {
            let lines = lines.iter().map(|line| {
                let mark = if line.marked { '*' } else { ' ' };
                format!("{mark}{:4x}  {}", line.offset, line.text)
            });
            columns.push(lines.collect());
        }
        let height = columns.iter().map(|column| column.len()).max().unwrap_or(0);
        for number in 0..height {
            let mut line = String::from(if row.blamed { "> " } else { "  " });
            for (position, column) in columns.iter().enumerate() {
                let text = column.get(number).map_or("", String::as_str);
                cell(&mut line, text, width_of(position));
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }
}

/// What came of a variation, in a word.
pub fn word(shows: Shows) -> &'static str {
    match shows {
        Shows::Differs => "differs",
        Shows::Agrees => "agrees",
        Shows::NotCompared => "not compared",
    }
}

fn width_of(column: usize) -> usize {
    WIDTHS[column.min(WIDTHS.len() - 1)]
}

/// Appends a cell of a table, cut to its width.
fn cell(line: &mut String, text: &str, width: usize) {
    let shown: String = text.chars().take(width - 2).collect();
    let _ = write!(line, "{shown:width$}");
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n== {text}");
}

fn table(out: &mut String, rows: &[(String, &'static str, String)]) {
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, word, detail) in rows {
        let line = format!("{name:width$}  {word:12}  {detail}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
