//! `parallax explain`: whose fault a divergence is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use parallax::campaign::sandbox::Ending;
use parallax::case::Case;
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::code::Code;
use parallax::triage::explain::Report;
use parallax::triage::localise::{self, Explanation, FirstWrong, Options, Row};
use parallax::triage::page;
use parallax::triage::sweep::Variation;
use parallax_oracles::{Finding, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::console::{self, Console};
use super::input::Source;
use super::options;
use super::output::Output;
use super::sandbox::Sandbox;
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
    /// What to explain: anything that `parallax repro` runs, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write it all to a page of HTML, too, which needs nothing else
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Engines to compare with the reference, separated by commas [default: those that `parallax
    /// engines` says are run by default]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: options::Workers,
    #[arg(long, hide = true, value_parser = options::fault)]
    fault: Option<Fault>,
}

/// What was found out about a case, as it is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explained {
    status: Status,
    text: String,
    html: Option<String>,
    json: Box<RawValue>,
}

impl Explain {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        let source = Source::read(&self.file).map_err(anyhow::Error::msg)?;
        let file = source.name.clone();
        let page = self.html.as_ref().map(|it| page_of(it, &self.file));
        let page = page.transpose()?;
        let mut sandbox = Sandbox::new(&self.workers, &subjects, self.fault)?;
        let explained = match sandbox.explain(source, page.is_some())? {
            Ok(explained) => explained,
            Err(ending) => {
                console::complain(format_args!("{file}: {}", not_explained(&ending)));
                let (status, verdict) = match ending {
                    Ending::Crashed(_) => (Status::Diverged, "diverged"),
                    Ending::Inconclusive(..) => (Status::Inconclusive, "inconclusive"),
                };
                if self.json {
                    console.print_json(&Ended {
                        file: &file,
                        verdict,
                        reason: ending.to_string(),
                    })?;
                }
                return Ok(status);
            }
        };
        console.print(&explained.text);
        if self.json {
            console.print_json(&explained.json)?;
        }
        // Last, so that all is told if the page cannot be written after all.
        if let (Some(page), Some(html)) = (&page, &explained.html) {
            page.write(html, true).map_err(anyhow::Error::msg)?;
        }
        Ok(explained.status)
    }
}

/// The file for a page. Its name says what it is, so that a mistyped command does not replace an input.
fn page_of(path: &Path, input: &Path) -> anyhow::Result<Output> {
    let is_page = path
        .extension()
        .is_some_and(|it| it == "html" || it == "htm");
    // A device or a pipe has the name it has.
    let is_file = fs::metadata(path).map_or(true, |it| it.is_file());
    if is_file && !is_page {
        anyhow::bail!(
            "cannot write {}: what is written is a page, and is to be named .html",
            path.display()
        );
    }
    Output::open(path, input)
}

/// Finds out whose fault a case's divergence is, in this process.
///
/// # Errors
/// One line, if an engine cannot be used here.
pub fn explain(
    file: &str,
    case: &Case,
    options: &Options,
    html: bool,
) -> Result<Explained, String> {
    let explanation = localise::explain(case, options)?;
    let code = Code::of(case, &explanation, options);
    let report = Report {
        file,
        case,
        explanation: &explanation,
        code: code.as_ref(),
    };
    Ok(Explained {
        status: status(&explanation),
        text: report.text(),
        html: html.then(|| page::html(&report)),
        json: serde_json::value::to_raw_value(&Json::new(&report))
            .map_err(|error| format!("{file}: cannot be put into JSON: {error}"))?,
    })
}

/// What is said of a case that brought down the process that looked at it.
fn not_explained(ending: &Ending) -> String {
    match ending {
        Ending::Crashed(why) => format!(
            "{why}: there is nothing to explain, since no engine got far enough (`parallax shrink` \
             makes it small)"
        ),
        Ending::Inconclusive(..) => format!("inconclusive: {ending}: there is nothing to explain"),
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

/// What `--json` prints of a case that brought down the process that looked at it.
#[derive(Serialize)]
struct Ended<'a> {
    file: &'a str,
    verdict: &'static str,
    reason: String,
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
