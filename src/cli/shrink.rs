//! `parallax shrink`: a case that diverges, made as small as it gets.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use parallax::case::wast::to_wast;
use parallax::engine::registry;
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::show;
use parallax::triage::shrink::{self, Best, Event, Options, ShrinkError, Shrunk, Size};
use parallax_oracles::{Finding, Verdict};
use serde::Serialize;

use super::console::{self, Console};
use super::fuzz::stop_on_signals;
use super::input::Source;
use super::options;
use super::output::Output;
use super::progress::Progress;
use super::sandbox::{Remote, Sandbox};
use super::status::Status;

const EXIT_STATUS: &str = "\
Exit status:
  0  shrunk, and written
  2  bad usage, unreadable input, output that cannot be written, or nothing to shrink since all
     engines agree
  3  nothing to shrink: inconclusive";

/// Make a case on which engines differ as small as it gets, and write it as a script
///
/// Takes away modules, steps, functions and instructions, brings arguments and constants nearer to
/// zero and settings to their defaults, for as long as the same oracles find the same about the same
/// engines. The best case so far is always in OUT; Ctrl-C and --time end the search and keep it.
///
/// Candidates are run by a confined worker process. A case by which that dies is made small for as long
/// as it dies in the same way.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub struct Shrink {
    /// Anything that `parallax repro` runs, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Script to write; replaced if there is one
    #[arg(short, long, value_name = "OUT.wast")]
    output: PathBuf,
    /// End after this time, such as 60s or 5m, with what is found by then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = options::duration)]
    time: Option<Duration>,
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

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    output: String,
    /// Whether nothing more goes.
    finished: bool,
    /// Candidates that were run.
    runs: u64,
    seconds: f64,
    before: Size,
    after: Size,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
    wast: &'a str,
}

impl Shrink {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        // A device or a pipe has the name it has.
        let is_script = self.output.extension().is_some_and(|it| it == "wast");
        let is_file = fs::metadata(&self.output).map_or(true, |it| it.is_file());
        if is_file && !is_script {
            let output = self.output.display();
            anyhow::bail!(
                "cannot write {output}: what is written is a script, and is to be named .wast"
            );
        }
        let source = Source::read(&self.file).map_err(anyhow::Error::msg)?;
        let file = source.name.clone();
        let mut sandbox = Sandbox::new(&self.workers, &subjects, self.fault)?;
        let input = sandbox.read(&source)?;
        if let Some(panic) = &input.panic {
            anyhow::bail!("{file}: reading it panicked, so there is no case to shrink: {panic}");
        }
        let output = Output::open(&self.output, &self.file)?;
        let stop = stop_on_signals()?;
        let started = Instant::now();
        let options = Options {
            subjects: &subjects,
            fault: self.fault,
            witness: false,
            deadline: self.time.and_then(|time| started.checked_add(time)),
            stop: &stop,
        };
        let origin = Origin {
            file: &file,
            subjects: &subjects,
            fault: self.fault,
        };
        let mut progress = Progress::new(None);
        let mut best = None;
        let mut remote = Remote::new(&mut sandbox, source);
        let shrunk = shrink::shrink_by(&mut remote, input.case(), &options, &mut |event| {
            match event {
                Event::Better(better) => {
                    let before = best.as_ref().map_or(better.size, |(before, _)| *before);
                    let script = origin.script(better, before);
                    output.write(&script, false)?;
                    best = Some((before, script));
                }
                Event::Progress(now) => {
                    progress.show(console, now.runs, started.elapsed(), || {
                        format!(
                            "{} s: {}, {} runs, at {}",
                            started.elapsed().as_secs(),
                            now.size,
                            now.runs,
                            now.pass
                        )
                    });
                }
            }
            Ok(())
        });
        progress.finish();
        let kept = shrunk.and_then(|shrunk| {
            let (_, script) = best.as_ref().ok_or(ShrinkError::Agreed)?;
            output.write(script, true).map_err(ShrinkError::NotKept)?;
            Ok(shrunk)
        });
        match (kept, best) {
            (Ok(shrunk), Some((_, script))) => {
                console.print(self.told(&shrunk, started.elapsed()));
                if self.json {
                    console.print_json(&self.json(&file, &shrunk, started.elapsed(), &script))?;
                }
                Ok(Status::Agreed)
            }
            (Err(ShrinkError::Inconclusive(reason)), _) => {
                console::complain(format_args!(
                    "{file}: {}",
                    ShrinkError::Inconclusive(reason)
                ));
                Ok(Status::Inconclusive)
            }
            (Err(ShrinkError::NotKept(why)), Some((_, script))) => {
                // It is all that there is of the work.
                console.print_precious(script);
                anyhow::bail!("{why}")
            }
            (Err(error), _) => anyhow::bail!("{file}: {error}"),
            (Ok(_), None) => anyhow::bail!("{file}: {}", ShrinkError::Agreed),
        }
    }

    /// How far it got, and the finding.
    fn told(&self, shrunk: &Shrunk, elapsed: Duration) -> String {
        let end = if shrunk.finished {
            "nothing more goes"
        } else {
            "stopped before its end, so more may go"
        };
        let mut text = format!(
            "{}: {}, from {}; {} runs in {:.1} s, {end}\n\n",
            self.output.display(),
            shrunk.best.size,
            shrunk.before,
            shrunk.runs,
            elapsed.as_secs_f64()
        );
        text.push_str(&show::findings(&shrunk.best.case, findings(&shrunk.best)));
        text
    }

    fn json<'a>(
        &self,
        file: &'a str,
        shrunk: &'a Shrunk,
        elapsed: Duration,
        wast: &'a str,
    ) -> Json<'a> {
        Json {
            file,
            output: self.output.display().to_string(),
            finished: shrunk.finished,
            runs: shrunk.runs,
            seconds: elapsed.as_secs_f64(),
            before: shrunk.before,
            after: shrunk.best.size,
            findings: findings(&shrunk.best),
            blame: Blame::of(&shrunk.best.examined),
            wast,
        }
    }
}

/// The findings of a case that diverges.
pub(super) fn findings(best: &Best) -> &[Finding] {
    match &best.examined.verdict {
        Verdict::Diverged(findings) => findings,
        _ => &[],
    }
}

/// Where a finding comes from, for the comment on top of its script.
pub(super) struct Origin<'a> {
    pub file: &'a str,
    pub subjects: &'a [&'static str],
    pub fault: Option<Fault>,
}

impl Origin<'_> {
    /// A case as a script that says on top what was found.
    fn script(&self, best: &Best, before: Size) -> String {
        let header = format!("{}\nShrunk from {before}.", self.header(best));
        to_wast(&best.case, best.examined.reference.as_ref(), &header)
    }

    /// What was found, whose fault it is, and with which engines it was found.
    pub fn header(&self, best: &Best) -> String {
        let mut text = String::new();
        for finding in findings(best) {
            text.push_str(&format!("Found: {finding}\n"));
        }
        if let Some(blame) = Blame::of(&best.examined) {
            text.push_str(&format!("Blame: {blame}\n"));
        }
        let versions: Vec<String> = registry::all()
            .into_iter()
            .filter(|info| self.subjects.contains(&info.name) || info.name == registry::REFERENCE)
            .map(|info| format!("{} ({})", info.name, info.version))
            .collect();
        text.push_str(&format!("Engines: {}\n", versions.join(", ")));
        if let Some(fault) = self.fault {
            text.push_str(&format!("Planted fault: {fault}\n"));
        }
        text.push_str(&format!("From: {}", self.file));
        text
    }
}
