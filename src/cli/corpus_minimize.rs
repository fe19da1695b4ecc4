//! `parallax corpus minimize`: of a corpus of inputs, the fewest that exercise the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use parallax::coverage::{self, Features};
use serde::Serialize;

use super::console::{self, Console};
use super::input::{self, Named, Source};
use super::options;
use super::progress::Progress;
use super::repro::plural;
use super::sandbox::Sandbox;
use super::status::Status;

/// Keep the fewest inputs of a folder that exercise the same
///
/// Runs every input, notes which instructions, pairs of instructions, settings, links, outcomes and
/// changes it exercises, and chooses, one after the other, the input with the most that is missing.
/// Only when that is settled is anything moved: what is not needed goes to a folder beside DIR, named
/// DIR.removed, under the name it had. Edges of parallax's own code are not among what counts; for
/// those there is libFuzzer's -merge=1.
#[derive(Args)]
pub struct Minimize {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Delete what is not needed instead of moving it
    #[arg(long, conflicts_with = "dry_run")]
    delete: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Engines to run inputs on beside the reference, separated by commas [default: those that
    /// `parallax engines` says are run by default]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = options::engine)]
    engines: Vec<&'static str>,
    /// Print one JSON object, last; all else goes to standard error
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: options::Workers,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json {
    files: usize,
    kept: Vec<String>,
    removed: Vec<String>,
    /// Inputs that make no case, which are left where they are.
    unreadable: Vec<String>,
    /// How many features of each kind the corpus has, before and after.
    features: BTreeMap<String, u64>,
    /// Where removed files are, if they are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_to: Option<String>,
}

impl Minimize {
    pub fn run(self, console: &mut Console) -> anyhow::Result<Status> {
        console.for_json(self.json);
        let subjects = options::subjects(&self.engines)?;
        let wrong = || format!("{}", self.folder.display());
        let is_folder = fs::metadata(&self.folder).with_context(wrong)?.is_dir();
        anyhow::ensure!(is_folder, "{}: not a folder", self.folder.display());
        let inputs =
            input::expand(std::slice::from_ref(&self.folder)).map_err(anyhow::Error::msg)?;
        let (readable, sets, unreadable) = self.covered(console, &inputs, &subjects)?;
        let chosen = coverage::smallest_cover(&sets, |position| readable[position].1);
        let all: Features = sets.iter().flatten().cloned().collect();
        let (mut kept, mut removed) = (Vec::new(), Vec::new());
        for (position, (path, _)) in readable.iter().enumerate() {
            if chosen.binary_search(&position).is_ok() {
                kept.push(*path);
            } else {
                removed.push(*path);
            }
        }
        let aside = aside(&self.folder)?;
        if !self.dry_run {
            for path in &removed {
                self.remove(path, &aside)?;
            }
        }
        let removed_to = (!self.delete && !self.dry_run && !removed.is_empty())
            .then(|| aside.display().to_string());
        let features = coverage::kinds(&all);
        let counts: Vec<String> = features
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let done = match (&removed_to, self.dry_run) {
            (Some(to), _) => format!("moved to {to}"),
            (None, true) => "to be removed".to_string(),
            (None, false) => "removed".to_string(),
        };
        let mut text = format!(
            "{}: {} kept of {}, {} {done}",
            self.folder.display(),
            kept.len(),
            plural(inputs.len() as u64, "input"),
            removed.len()
        );
        if !unreadable.is_empty() {
            text.push_str(&format!(", {} make no case and are left", unreadable.len()));
        }
        console.print(format_args!("{text}\n  features  {}\n", counts.join(", ")));
        if self.json {
            let names = |paths: &[&Path]| {
                let names = paths.iter().map(|path| path.display().to_string());
                names.collect::<Vec<String>>()
            };
            console.print_json(&Json {
                files: inputs.len(),
                kept: names(&kept),
                removed: names(&removed),
                unreadable: names(&unreadable),
                features: features
                    .iter()
                    .map(|(kind, count)| (kind.to_string(), *count))
                    .collect(),
                removed_to,
            })?;
        }
        Ok(Status::Agreed)
    }

    /// Runs all inputs. Returns those that make a case, with their sizes; what each exercises; and
    /// those that make none.
    #[allow(clippy::type_complexity)]
    fn covered<'i>(
        &self,
        console: &mut Console,
        inputs: &'i [Named],
        subjects: &[&'static str],
    ) -> anyhow::Result<(Vec<(&'i Path, u64)>, Vec<Features>, Vec<&'i Path>)> {
        let started = Instant::now();
        let mut sandbox = Sandbox::new(&self.workers, subjects, None)?;
        let mut progress = Progress::new(Some(inputs.len() as u64));
        let (mut readable, mut sets, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        for (done, named) in inputs.iter().enumerate() {
            progress.show(console, done as u64, started.elapsed(), || {
                format!("{done} of {} inputs", inputs.len())
            });
            let features = match Source::read(&named.path) {
                Ok(source) => sandbox.cover(source)?,
                Err(error) => Err(error),
            };
            let features = match features {
                Ok(features) => features,
                Err(error) => {
                    console::complain(error);
                    unreadable.push(&*named.path);
                    continue;
                }
            };
            let bytes = fs::metadata(&named.path).map_or(0, |it| it.len());
            readable.push((&*named.path, bytes));
            sets.push(features);
        }
        progress.finish();
        Ok((readable, sets, unreadable))
    }

    fn remove(&self, path: &Path, aside: &Path) -> anyhow::Result<()> {
        if self.delete {
            return fs::remove_file(path)
                .with_context(|| format!("cannot delete {}", path.display()));
        }
        let name = path.strip_prefix(&self.folder).unwrap_or(path);
        let mut to = aside.join(name);
        for number in 2.. {
            if !to.exists() {
                break;
            }
            // From a run before.
            to = aside.join(format!("{}.{number}", name.display()));
        }
        let moved = match to.parent() {
            Some(parent) => fs::create_dir_all(parent),
            None => Ok(()),
        };
        moved
            .and_then(|()| move_file(path, &to))
            .with_context(|| format!("cannot move {} to {}", path.display(), to.display()))
    }
}

/// Moves a file to where there is none, be it to another file system, as beside a folder where one is mounted.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            fs::copy(from, to)
                .and_then(|_| File::open(to)?.sync_all())
                .inspect_err(|_| _ = fs::remove_file(to))?;
            fs::remove_file(from)
        }
        renamed => renamed,
    }
}

/// The folder beside a folder for what is not needed.
fn aside(folder: &Path) -> anyhow::Result<PathBuf> {
    let whole = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
    let name = whole
        .file_name()
        .with_context(|| format!("{}: a folder without a name", folder.display()))?;
    let mut name = name.to_os_string();
    name.push(".removed");
    Ok(match folder.file_name() {
        Some(_) => folder.with_file_name(name),
        None => whole.with_file_name(name),
    })
}
