//! `parallax corpus add`: from a finding to a kept case.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use parallax::case::wast::{Script, to_wast};
use parallax::score::Fault;
use parallax::triage::blame::Blame;
use parallax::triage::shrink::{self, Best, Event, Examiner, Options, ShrinkError, Size, Target};
use parallax::triage::{keep, show};
use parallax_oracles::Finding;
use serde::Serialize;

use super::console::{self, Console};
use super::corpus_check::KEPT;
use super::fuzz::stop_on_signals;
use super::input::Source;
use super::options;
use super::progress::Progress;
use super::sandbox::{Remote, Sandbox};
use super::shrink::{Origin, findings};
use super::status::Status;

const EXIT_STATUS: &str = "\
Exit status:
  0  kept
  2  bad usage, unreadable input, a folder that cannot be written to, or nothing to keep since all
     engines agree
  3  nothing to keep: inconclusive";

/// Keep a finding: shrink it, and write it as a script that asserts what the reference does
///
/// The name of the file says what differed and at which instruction; no file is overwritten. Any
/// engine's own runner of scripts can check it: where a memory, table or global differs, a last step
/// reads the place. A comment on top says what was found and whose fault it is.
#[derive(Args)]
#[command(after_help = EXIT_STATUS)]
pub struct Add {
    /// Anything that `parallax repro` runs, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder to keep it in
    #[arg(long, value_name = "DIR", default_value = KEPT)]
    to: PathBuf,
    /// Stop shrinking after this time, such as 60s or 5m
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
    /// Where it is kept.
    kept: String,
    /// Whether it was there already.
    already: bool,
    size: Size,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    blame: Option<Blame>,
}

impl Add {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        let source = Source::read(&self.file).map_err(anyhow::Error::msg)?;
        let file = source.name.clone();
        let mut sandbox = Sandbox::new(&self.workers, &subjects, self.fault)?;
        let input = sandbox.read(&source)?;
        if let Some(panic) = &input.panic {
            anyhow::bail!("{file}: reading it panicked, so there is no case to keep: {panic}");
        }
        let probe = keep::write_new(&self.to, ".parallax", "")
            .with_context(|| format!("cannot write to {}", self.to.display()))?;
        // It has shown what it was for.
        let _ = std::fs::remove_file(probe);
        let stop = stop_on_signals()?;
        let started = Instant::now();
        let options = Options {
            subjects: &subjects,
            fault: self.fault,
            witness: true,
            deadline: self.time.and_then(|time| started.checked_add(time)),
            stop: &stop,
        };
        let mut progress = Progress::new(None);
        let mut remote = Remote::new(&mut sandbox, source);
        let shrunk = shrink::shrink_by(&mut remote, input.case(), &options, &mut |event| {
            if let Event::Progress(now) = event {
                progress.show(console, now.runs, started.elapsed(), || {
                    let seconds = started.elapsed().as_secs();
                    format!("{seconds} s: {}, {} runs", now.size, now.runs)
                });
            }
            Ok(())
        });
        progress.finish();
        let shrunk = match shrunk {
            Ok(shrunk) => shrunk,
            Err(error @ ShrinkError::Inconclusive(_)) => {
                console::complain(format_args!("{file}: {error}"));
                return Ok(Status::Inconclusive);
            }
            Err(error) => anyhow::bail!("{file}: {error}"),
        };
        let best = &shrunk.best;
        let origin = Origin {
            file: &file,
            subjects: &subjects,
            fault: self.fault,
        };
        let script = self.script(best, &origin);
        is_read_back(&script, &shrunk.target, &mut sandbox)?;
        let (path, already) = match kept_before(&self.to, &script) {
            Some(path) => (path, true),
            None => {
                let slug = keep::slug(best);
                let path = keep::write_new(&self.to, &slug, &script)
                    .with_context(|| format!("cannot write to {}", self.to.display()))?;
                (path, false)
            }
        };
        console.print(format_args!(
            "{}: {}, {}\n\n{}",
            path.display(),
            if already { "kept already" } else { "kept" },
            best.size,
            show::findings(&best.case, findings(best))
        ));
        if self.json {
            console.print_json(&Json {
                file: &file,
                kept: path.display().to_string(),
                already,
                size: best.size,
                findings: findings(best),
                blame: Blame::of(&best.examined),
            })?;
        }
        Ok(Status::Agreed)
    }

    fn script(&self, best: &Best, origin: &Origin<'_>) -> String {
        let header = format!("Guards: {}.\n{}", keep::subject(best), origin.header(best));
        to_wast(&best.case, best.examined.reference.as_ref(), &header)
    }
}

/// What is kept must be a script that any reader of scripts takes, and must show the finding.
fn is_read_back(script: &str, target: &Target, sandbox: &mut Sandbox) -> anyhow::Result<()> {
    let read = Script::parse(script, "the script written")?;
    let source = Source::script(script.to_string());
    let mut remote = Remote::new(sandbox, source);
    let examined = remote
        .whole(&read.case, &|| false)
        .map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        target.is_shown_by(&examined),
        "the script written does not show the finding again, so it is not kept:\n{script}"
    );
    Ok(())
}

/// The file in a folder that holds the same script, whatever its comments say.
fn kept_before(folder: &Path, script: &str) -> Option<PathBuf> {
    let essence = |text: &str| {
        let lines = text.lines().filter(|line| {
            let comment = line.starts_with(";;");
            !comment || line.starts_with(";;!") || line.starts_with(";;@")
        });
        lines.map(str::to_string).collect::<Vec<String>>()
    };
    let wanted = essence(script);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "wast"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| essence(&text) == wanted))
}
