//! The loop behind `parallax fuzz`: cases made from a seed, run through a
//! [`Harness`](crate::harness::Harness) by several workers, counted, and kept where engines differ.
//!
//! A worker is a process, so that what the code under test does to it ends neither the run nor what
//! the run has found; or, for those who call this from a program of their own, a thread.
//!
//! Case `i` of a seed is what [`crate::generate::case_from_bytes`] makes of [`input`]`(seed, i, …)`, so
//! it does not depend on how many cases are run, by how many workers, or in which order, and a
//! kept input means the same to `parallax repro` and to the fuzz targets.

pub mod confine;
mod crew;
mod examine;
mod flight;
pub mod group;
mod input;
mod mishap;
pub mod protocol;
pub mod record;
mod report;
pub mod sandbox;
mod shrinker;
pub mod small;
mod state;
mod supervise;
pub mod worker;

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use parallax_oracles::Reason;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::generate::Generators;
use crate::score::Fault;
use crew::Shared;
use group::{Group, GroupKey};
use report::Message;
use shrinker::ToShrink;
use state::{Before, State};

pub use examine::{Found, Job};
pub use input::{MAX_INPUT_BYTES, MIN_INPUT_BYTES, case, input};
pub use mishap::Mishap;
pub use record::Record;
pub use report::{Divergence, FuzzReport, SetAside};
pub use supervise::{Limits, Station};

/// Bytes of a worker's stack. The same everywhere, so that nothing depends on the main thread's.
pub const STACK_BYTES: usize = 32 << 20;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// How often it is saved how far the run is.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// What all inputs are drawn from. If not given, that of the run in the artifacts folder, or else
    /// any.
    pub seed: Option<u64>,
    /// How many cases to run, see [`Fuzzer::cases`]; no end if not given.
    pub cases: Option<u64>,
    /// For how long; no end if not given.
    pub time: Option<Duration>,
    /// The engines to compare with the reference.
    pub subjects: Vec<&'static str>,
    /// The generators to make cases with.
    pub generators: Generators,
    /// How many workers.
    pub jobs: NonZeroUsize,
    /// Where worker processes come from. If not given, workers are threads of this process, which
    /// does not survive what the code under test may do to it.
    pub workers: Option<Station>,
    /// Where inputs with findings are written to, and how far the run is.
    pub artifacts: PathBuf,
    /// Whether to begin at the first case even if there is a run to go on with.
    pub restart: bool,
    /// A fault to plant in the subjects.
    pub fault: Option<Fault>,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum FuzzEvent<'a> {
    /// So much is done.
    Progress {
        /// All that is done.
        record: &'a Record,
        /// How long it takes since this start.
        elapsed: Duration,
        /// Cases that were done since this start.
        cases: u64,
    },
    /// A case diverged. In order of discovery, which is not always that of the cases.
    Found(&'a Divergence),
    /// A case has no verdict, since its worker did not come to an end with it.
    SetAside(&'a SetAside),
}

/// Why a run could not begin or go on. One line.
#[derive(Debug, thiserror::Error)]
pub enum FuzzError {
    /// An engine cannot be used.
    #[error("{0}")]
    Engine(String),
    /// Inputs cannot be saved.
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A run that is ready to begin.
#[derive(Debug)]
pub struct Fuzzer<'o> {
    options: &'o FuzzOptions,
    job: Job,
    artifacts: Artifacts,
    /// How far it was when it ended last.
    before: Record,
    beginning: Beginning,
    /// The lock of the folder. It is given up when this goes.
    _lock: File,
}

/// How a run begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// At its first case.
    New,
    /// Where it ended when it was started before, with so many cases done.
    Continued(u64),
    /// At its first case, although there was a run in the folder; why that is not continued.
    Over(String),
}

impl<'o> Fuzzer<'o> {
    /// Tries the engines, opens the artifacts folder, and looks whether there is a run in it to go on
    /// with.
    ///
    /// # Errors
    /// [`FuzzError`] if an engine or the folder is not to be had.
    pub fn new(options: &'o FuzzOptions) -> Result<Fuzzer<'o>, FuzzError> {
        let wanted = Job::of(options, options.seed.unwrap_or_default());
        wanted.harness().map_err(FuzzError::Engine)?;
        let artifacts = Artifacts::open(&options.artifacts)?;
        let lock = state::lock(&artifacts)?;
        let (before, beginning) = match State::read(artifacts.folder()) {
            Before::Nothing => (None, Beginning::New),
            Before::Other(why) => (None, Beginning::Over(why)),
            Before::Run(_) if options.restart => (None, Beginning::New),
            Before::Run(state) => match wanted.why_not(&state.job, options.seed.is_some()) {
                None => {
                    let done = state.record.done.count();
                    (Some(state), Beginning::Continued(done))
                }
                Some(what) => {
                    let why = format!("the run there has other {what}");
                    (None, Beginning::Over(why))
                }
            },
        };
        // What is continued goes on with its engines in the order that it had.
        let (job, before) = match before {
            Some(state) => (state.job, state.record),
            None => {
                let seed = options.seed.unwrap_or_else(random_seed);
                (Job { seed, ..wanted }, Record::default())
            }
        };
        Ok(Fuzzer {
            options,
            job,
            artifacts,
            before,
            beginning,
            _lock: lock,
        })
    }

    /// What cases are made from, and what they are run on.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// How the run begins.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// The number of cases that will be done when there are no more to run. Where the seed is given
    /// they are counted from its first, so that the same options mean the same cases whether the run is
    /// continued or not; otherwise from where the run begins.
    pub fn cases(&self) -> Option<u64> {
        let from = match self.options.seed {
            Some(_) => 0,
            None => self.before.done.end(),
        };
        self.options.cases.map(|cases| from.saturating_add(cases))
    }

    /// Runs cases until there are no more, the time is over, something fails or `stop` is set.
    /// Calls `tell` while it goes on, several times a second.
    pub fn run(&self, stop: &AtomicBool, mut tell: impl FnMut(FuzzEvent<'_>)) -> FuzzReport {
        let started = Instant::now();
        let shared = Shared {
            options: self.options,
            job: &self.job,
            artifacts: &self.artifacts,
            next: AtomicU64::new(self.before.done.first_missing()),
            end: self.cases(),
            done: &self.before.done,
            deadline: self.options.time.and_then(|time| started.checked_add(time)),
            stop,
            failed: AtomicBool::new(false),
            finished: OnceLock::new(),
        };
        let mut report = FuzzReport {
            record: self.before.clone(),
            ..FuzzReport::default()
        };
        report.record.starts += 1;
        let (sender, messages) = mpsc::channel();
        let (to_shrink, cases) = mpsc::channel();
        // Given up when nobody runs cases any more, upon which the one who shrinks them ends.
        let mut to_shrink = self.shrinking_station().map(|_| to_shrink);
        let mut asked = HashSet::new();
        let mut hands = 0_usize;
        std::thread::scope(|scope| {
            if let Some(station) = self.shrinking_station() {
                let (shared, sender) = (&shared, sender.clone());
                let spawned = std::thread::Builder::new()
                    .name("shrinker".to_string())
                    .spawn_scoped(scope, move || {
                        shrinker::shrink_all(shared, station, cases, &sender);
                    });
                if let Err(error) = spawned {
                    shared.failed.store(true, Ordering::Relaxed);
                    report.fail(error.into());
                }
                ask_to_shrink(&report, &mut asked, to_shrink.as_ref());
            }
            for _ in 0..self.options.jobs.get() {
                let (shared, sender) = (&shared, sender.clone());
                let spawned = std::thread::Builder::new()
                    .name("worker".to_string())
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || crew::work(shared, &sender));
                match spawned {
                    Ok(_) => hands += 1,
                    Err(error) => {
                        shared.failed.store(true, Ordering::Relaxed);
                        report.fail(error.into());
                    }
                }
            }
            drop(sender);
            if hands == 0 {
                to_shrink = None;
            }
            let (mut told, mut saved) = (Instant::now(), Instant::now());
            loop {
                match messages.recv_timeout(TICK) {
                    Ok(message) => {
                        let found = message.has_finding();
                        hands -= usize::from(matches!(message, Message::Finished));
                        report.take(message, &mut tell);
                        if found {
                            ask_to_shrink(&report, &mut asked, to_shrink.as_ref());
                        }
                        if hands == 0 {
                            shared.finished.get_or_init(Instant::now);
                            to_shrink = None;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if told.elapsed() < TICK {
                    continue;
                }
                told = Instant::now();
                let elapsed = started.elapsed();
                self.clock(&mut report, elapsed, false);
                tell(FuzzEvent::Progress {
                    record: &report.record,
                    elapsed,
                    cases: report.record.stats.cases - self.before.stats.cases,
                });
                if saved.elapsed() >= SAVE_EVERY {
                    saved = told;
                    if !self.save(&mut report) {
                        shared.failed.store(true, Ordering::Relaxed);
                    }
                }
            }
        });
        self.clock(&mut report, started.elapsed(), true);
        self.save(&mut report);
        report
    }

    /// Where workers come from that shrink what is found, if it is to be shrunk.
    fn shrinking_station(&self) -> Option<&Station> {
        self.options.workers.as_ref().filter(|it| it.shrink)
    }

    /// Notes what time it is.
    fn clock(&self, report: &mut FuzzReport, elapsed: Duration, must: bool) {
        let record = &mut report.record;
        record.elapsed = self.before.elapsed + elapsed;
        record.course.note(&record.stats, record.elapsed, must);
    }

    /// Saves how far the run is; whether it could be.
    fn save(&self, report: &mut FuzzReport) -> bool {
        // What could not be saved is counted but not done, and would be counted again.
        if !report.unsaved.is_empty() {
            return true;
        }
        let state = State::new(self.job.clone(), report.record.clone());
        let saved = state.write(&self.artifacts);
        saved.map_err(|error| report.fail(error.into())).is_ok()
    }
}

/// What was to be done in an artifacts folder, and how far it is; `None` if nothing was.
///
/// # Errors
/// One line, if that cannot be read.
pub fn read_run(folder: &Path) -> Result<Option<(Job, Record)>, String> {
    State::read_any(folder).map(|state| state.map(|state| (state.job, state.record)))
}

/// What the name of an input begins with on which engines differ.
pub const DIVERGED: &str = "differential-";

/// The names of the inputs that were saved in an artifacts folder, by whichever run, in order.
///
/// # Errors
/// If it cannot be read.
pub fn saved_inputs(folder: &Path) -> io::Result<Vec<String>> {
    let reasons = [Reason::Hung, Reason::OutOfMemory, Reason::Killed];
    let stems: Vec<String> = reasons.map(|it| format!("{it}-")).into();
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let ours = name.starts_with(DIVERGED) || stems.iter().any(|it| name.starts_with(it));
        if ours && name.ends_with(".bin") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Asks for the first cases of groups to be shrunk, each once.
fn ask_to_shrink(
    report: &FuzzReport,
    asked: &mut HashSet<(GroupKey, u64)>,
    cases: Option<&Sender<ToShrink>>,
) {
    let Some(cases) = cases else { return };
    for to_shrink in report.record.groups.iter().filter_map(Group::to_shrink) {
        if asked.insert((to_shrink.key.clone(), to_shrink.case)) {
            // If there is nobody to do it, it is not done.
            let _ = cases.send(to_shrink);
        }
    }
}

/// Short enough to be typed.
fn random_seed() -> u64 {
    RandomState::new().hash_one(std::process::id()) & u64::from(u32::MAX)
}
