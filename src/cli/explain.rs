//! `parallax explain`: whose fault a divergence is.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::code::Code;
use parallax::triage::explain::Report;
use parallax::triage::localise::{self, Explanation, FirstWrong, Options, Row};
use parallax::triage::page;
use parallax::triage::sweep::Variation;
use parallax_oracles::{Finding, Verdict};
use serde::Serialize;

use super::console::Console;
use super::input::Input;
use super::options;
use super::status::Status;

/// Say whose fault a divergence is, and show it
///
/// Runs the case in all engines, with one setting changed at a time, with the runtime held to its
/// contracts, with functions compiled one way and the other, and with its values told, and says
/// which layer is at fault: the translation, the middle end, a backend, the runtime or the
/// reference; in which function, and at which instructions. Prints the case as a script, the first
/// difference, the table of engines, and the function's wasm, CLIF and machine code side by side.
#[derive(Args)]
pub struct Explain {
    /// What to explain: a raw fuzzer input, or a .wasm, .wat or .wast file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write it all to a page of HTML, too, which needs nothing else
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Engines to compare with the reference, separated by commas [default: all that can be used
    /// here]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

impl Explain {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let options = Options {
            subjects: options::subjects(&self.engines)?,
            fault: self.fault,
        };
        let file = self.file.display().to_string();
        let input = Input::read(&self.file).map_err(anyhow::Error::msg)?;
        if let Some(panic) = &input.panic {
            anyhow::bail!("{file}: reading it panics, so there is no case to explain: {panic}");
        }
        let case = input.case();
        let explanation = localise::explain(case, &options).map_err(anyhow::Error::msg)?;
        let code = Code::of(case, &explanation, &options);
        let report = Report {
            file: &file,
            case,
            explanation: &explanation,
            code: code.as_ref(),
        };
        if let Some(path) = &self.html {
            std::fs::write(path, page::html(&report))
                .with_context(|| path.display().to_string())?;
        }
        console.print(report.text());
        if self.json {
            console.print_json(&Json::new(&report))?;
        }
        Ok(status(&explanation))
    }
}

fn status(explanation: &Explanation) -> Status {
    match explanation.verdict {
        _ if !explanation.findings.is_empty() => Status::Diverged,
        Verdict::Agreed => Status::Agreed,
        Verdict::Diverged(_) => Status::Diverged,
        Verdict::Inconclusive(_) => Status::Inconclusive,
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    verdict: String,
    blame: Option<&'a Blame>,
    /// The blame in one line.
    text: Option<String>,
    engines: &'a [Row],
    known: Vec<&'static str>,
    findings: &'a [Finding],
    settings: &'a [Variation],
    first_wrong: Option<&'a FirstWrong>,
    code: Option<&'a Code>,
    wast: String,
}

impl<'a> Json<'a> {
    fn new(report: &Report<'a>) -> Json<'a> {
        let explanation = report.explanation;
        Json {
            file: report.file,
            verdict: report.verdict(),
            blame: explanation.blame.as_ref(),
            text: explanation.blame.as_ref().map(ToString::to_string),
            engines: &explanation.engines,
            known: explanation.known.iter().map(|known| known.name).collect(),
            findings: &explanation.findings,
            settings: &explanation.sweep,
            first_wrong: explanation.first_wrong.as_ref(),
            code: report.code,
            wast: report.script(),
        }
    }
}
