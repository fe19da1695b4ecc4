//! An explanation as one page of HTML that needs nothing else.

use std::fmt::{Display, Write};

use super::blame::FunctionOf;
use super::code::{Code, CodeRow};
use super::explain::{Report, word};
use super::show;
use super::sweep::{Shows, Variation};

/// Text with what HTML means something by taken out.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The page.
pub fn html(report: &Report<'_>) -> String {
    let mut out = String::new();
    let name = report.file.rsplit('/').next().unwrap_or(report.file);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} — parallax</title>\n<style>{STYLE}</style>\n<main>\n\
         <header><p class=\"file\">{}</p>",
        Text(name),
        Text(report.file)
    );
    match &report.explanation.blame {
        Some(blame) => {
            let _ = write!(
                out,
                "<h1>{}</h1><p class=\"line\">{}</p>",
                Text(title(report)),
                Text(blame)
            );
        }
        None => {
            let _ = write!(out, "<h1>{}</h1>", Text(report.verdict()));
        }
    }
    out.push_str("</header>\n");
    if let Some(first) = report.first() {
        section(&mut out, "First difference");
        let rows = show::rows(report.case, first);
        pairs(
            &mut out,
            rows.iter()
                .map(|(name, text)| (name.as_str(), text.as_str())),
        );
        end(&mut out);
        engines(&mut out, report);
        reasons(&mut out, report);
        let wrong = report.first_wrong();
        if !wrong.is_empty() {
            section(&mut out, "First value that went wrong");
            pairs(
                &mut out,
                wrong
                    .iter()
                    .map(|(name, text)| (name.as_str(), text.as_str())),
            );
            end(&mut out);
        }
        sweep(&mut out, &report.explanation.sweep);
        if let Some(code) = report.code {
            self::code(&mut out, code);
        }
    }
    section(&mut out, "The case");
    let _ = write!(out, "<pre>{}</pre>", Text(report.script()));
    end(&mut out);
    out.push_str("</main>\n</html>\n");
    out
}

fn title(report: &Report<'_>) -> String {
    let blame = report.explanation.blame.as_ref();
    let layer = blame.map_or("", |blame| blame.layer.name());
    if layer.starts_with("x86") || layer.starts_with("aarch") {
        return layer.to_string();
    }
    let mut letters = layer.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn section(out: &mut String, title: &str) {
    let _ = writeln!(out, "<section><h2>{}</h2>", Text(title));
}

fn end(out: &mut String) {
    out.push_str("</section>\n");
}

fn pairs<'t>(out: &mut String, rows: impl Iterator<Item = (&'t str, &'t str)>) {
    out.push_str("<table class=\"pairs\">");
    for (name, text) in rows {
        let _ = writeln!(
            out,
            "<tr><th>{}</th><td>{}</td></tr>",
            Text(name),
            Text(text)
        );
    }
    out.push_str("</table>");
}

fn engines(out: &mut String, report: &Report<'_>) {
    section(out, "Engines");
    out.push_str("<table class=\"pairs\">");
    for (engine, word, detail) in report.engines() {
        let _ = writeln!(
            out,
            "<tr><th>{}</th><td><span class=\"{word}\">{word}</span></td><td>{}</td></tr>",
            Text(engine),
            Text(detail)
        );
    }
    out.push_str("</table>");
    end(out);
}

fn reasons(out: &mut String, report: &Report<'_>) {
    let Some(blame) = &report.explanation.blame else {
        return;
    };
    let rules = blame.rules();
    if blame.because.is_empty() && blame.clif.is_empty() && rules.is_empty() {
        return;
    }
    section(out, "Why");
    out.push_str("<ul>");
    for reason in &blame.because {
        let _ = writeln!(out, "<li>{}</li>", Text(reason));
    }
    if !blame.clif.is_empty() {
        let _ = writeln!(
            out,
            "<li>CLIF: <code>{}</code></li>",
            Text(blame.clif.join(", "))
        );
    }
    for rules in rules {
        let _ = writeln!(out, "<li>Rules: <code>{}</code></li>", Text(rules));
    }
    out.push_str("</ul>");
    end(out);
}

fn sweep(out: &mut String, sweep: &[Variation]) {
    if sweep.is_empty() {
        return;
    }
    section(out, "With other settings");
    out.push_str("<table class=\"pairs\">");
    for variation in sweep {
        let _ = write!(
            out,
            "<tr><th><code>{}</code></th>",
            Text(&variation.setting)
        );
        for (engine, shows) in &variation.engines {
            let class = match shows {
                Shows::Differs => "differs",
                Shows::Agrees => "agrees",
                Shows::NotCompared => "unsupported",
            };
            let _ = write!(
                out,
                "<td>{} <span class=\"{class}\">{}</span></td>",
                Text(engine),
                word(*shows)
            );
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>");
    end(out);
}

fn code(out: &mut String, code: &Code) {
    let FunctionOf { module, function } = code.function;
    section(out, &format!("Function {function} of module {module}"));
    out.push_str(
        "<div class=\"wide\"><table class=\"code\"><thead><tr><th></th><th>wasm</th><th>CLIF</th>",
    );
    for column in &code.columns {
        let _ = write!(out, "<th>{}</th>", Text(column));
    }
    out.push_str("</tr></thead>\n<tbody>");
    for row in &code.rows {
        code_row(out, row);
    }
    out.push_str("</tbody></table></div>");
    end(out);
}

fn code_row(out: &mut String, row: &CodeRow) {
    let class = if row.blamed { " class=\"blamed\"" } else { "" };
    let offset = row
        .offset
        .map_or(String::new(), |offset| format!("{offset:#x}"));
    let _ = write!(out, "<tr{class}><td class=\"at\">{offset}</td>");
    for lines in [&row.wasm, &row.clif] {
        let _ = write!(out, "<td>{}</td>", Text(lines.join("\n")));
    }
    for lines in &row.machine {
        out.push_str("<td>");
        for (number, line) in lines.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            let _ = write!(out, "<span class=\"byte\">{:4x}</span>  ", line.offset);
            let text = Text(&line.text);
            let _ = match line.marked {
                true => write!(out, "<mark>{text}</mark>"),
                false => write!(out, "{text}"),
            };
        }
        out.push_str("</td>");
    }
    out.push_str("</tr>\n");
}

const STYLE: &str = "
:root { --paper: #fcfcfa; --ink: #23262b; --faint: #6b7280; --line: #e2e2dc; --box: #f3f3ee;
  --bad: #b3261e; --good: #1c7a3f; --mark: #fdebe0; --edge: #d9480f; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #dcdfe4; --faint: #8f96a3;
  --line: #2d3138; --box: #1e2127; --bad: #ff8a80; --good: #7bd69a; --mark: #3a2418; --edge: #ff9d5c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif; }
main { max-width: 1480px; margin: 0 auto; padding: 2rem 2rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .2rem 0 .4rem; }
h2 { font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; color: var(--faint);
  margin: 2.2rem 0 .6rem; }
.file { color: var(--faint); margin: 0; font-family: ui-monospace, Consolas, 'Liberation Mono', monospace; }
.line { margin: 0; max-width: 90ch; }
table { border-collapse: collapse; }
.pairs th { text-align: left; font-weight: 600; padding: .2rem 1.4rem .2rem 0; white-space: nowrap;
  vertical-align: top; }
.pairs td { padding: .2rem 1.4rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
code, pre, .code td { font: 12.5px/1.55 ui-monospace, Consolas, 'Liberation Mono', monospace; }
.differs { color: var(--bad); font-weight: 600; }
.agrees { color: var(--good); font-weight: 600; }
.unsupported, .inconclusive { color: var(--faint); }
ul { margin: 0; padding-left: 1.2rem; }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: 1rem;
  overflow-x: auto; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
.code { width: 100%; }
.code th { position: sticky; top: 0; background: var(--box); text-align: left; padding: .45rem .8rem;
  border-bottom: 1px solid var(--line); font-size: .8rem; }
.code td { padding: .15rem .8rem; vertical-align: top; white-space: pre; border-top: 1px solid var(--line); }
.code .byte { color: var(--faint); }
.code .at { color: var(--faint); border-left: 3px solid transparent; }
mark { background: none; color: var(--edge); font-weight: 600; }
.code .blamed td { background: var(--mark); }
.code .blamed .at { border-left-color: var(--edge); color: var(--edge); font-weight: 600; }
";
