//! The loop behind `parallax fuzz`: cases made from a seed, run through a [`Harness`] by several
//! threads, counted, and kept where engines differ.
//!
//! Case `i` of a seed is what [`crate::generate::case_from_bytes`] makes of [`input`]`(seed, i, …)`, so
//! it does not depend on how many cases are run, on how many threads, or in which order, and a
//! kept input means the same to `parallax repro` and to the fuzz targets.

mod input;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use parallax_oracles::{Finding, OracleName, Outcome, Place, Seen, Verdict};
use serde::Serialize;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::generate::Generators;
use crate::harness::Harness;
use crate::panics;
use crate::score::Fault;
use crate::stats::Stats;
use crate::triage::show;

pub use input::{MAX_INPUT_BYTES, MIN_INPUT_BYTES, case, input};

/// Bytes of a worker's stack. The same everywhere, so that nothing depends on the main thread's.
pub const STACK_BYTES: usize = 32 << 20;

/// How often workers hand in their counts, and progress is told.
const TICK: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Clone, Debug)]
pub struct FuzzOptions {
    /// What all inputs are drawn from.
    pub seed: u64,
    /// How many cases to run; no end if not given.
    pub cases: Option<u64>,
    /// For how long; no end if not given.
    pub time: Option<Duration>,
    /// The engines to compare with the reference.
    pub subjects: Vec<&'static str>,
    /// The generators to make cases with.
    pub generators: Generators,
    /// How many threads.
    pub jobs: NonZeroUsize,
    /// Where inputs with findings are written to.
    pub artifacts: PathBuf,
    /// A fault to plant in the subjects.
    pub fault: Option<Fault>,
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum FuzzEvent<'a> {
    /// So much is done.
    Progress(&'a Stats, Duration),
    /// A case diverged. In order of discovery, which is not always that of the cases.
    Found(&'a Divergence),
}

/// A case that diverged.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// The number of the case.
    pub case: u64,
    /// The input's name in the artifacts folder.
    pub name: String,
    /// Where the input was saved, if it could be.
    pub path: Option<PathBuf>,
    /// What differs.
    pub findings: Vec<Finding>,
    /// The findings in words, with the code concerned.
    pub report: String,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct FuzzReport {
    /// The counts.
    pub stats: Stats,
    /// How long it took.
    pub elapsed: Duration,
    /// The saved inputs by number of their case.
    pub artifacts: BTreeMap<u64, PathBuf>,
    /// The findings, one entry an engine and oracle.
    pub groups: Vec<Group>,
    /// Inputs that could not be saved, by number of their case: name and bytes.
    pub unsaved: BTreeMap<u64, (String, Vec<u8>)>,
    /// Why the run ended before its time, if it did.
    pub failure: Option<FuzzError>,
}

/// All findings of one oracle about one engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// The engine.
    pub engine: String,
    /// The oracle.
    pub oracle: OracleName,
    /// The number of cases with such a finding.
    pub cases: u64,
    /// The first of them.
    pub first: u64,
    /// What was found there, in one line.
    pub example: String,
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
    artifacts: Artifacts,
}

impl<'o> Fuzzer<'o> {
    /// Opens the artifacts folder and tries the engines.
    ///
    /// # Errors
    /// [`FuzzError`] if either is not to be had.
    pub fn new(options: &'o FuzzOptions) -> Result<Fuzzer<'o>, FuzzError> {
        harness(options)?;
        let artifacts = Artifacts::open(&options.artifacts)?;
        Ok(Fuzzer { options, artifacts })
    }

    /// Runs cases until there are no more, the time is over, something fails or `stop` is set.
    /// Calls `tell` while it goes on, several times a second.
    pub fn run(&self, stop: &AtomicBool, mut tell: impl FnMut(FuzzEvent<'_>)) -> FuzzReport {
        let started = Instant::now();
        let shared = Shared {
            options: self.options,
            artifacts: &self.artifacts,
            next: AtomicU64::new(0),
            deadline: self.options.time.and_then(|time| started.checked_add(time)),
            stop,
            failed: AtomicBool::new(false),
        };
        let (sender, messages) = mpsc::channel();
        let mut collected = Collected::default();
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.get() {
                let (shared, sender) = (&shared, sender.clone());
                let spawned = std::thread::Builder::new()
                    .name("worker".to_string())
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, move || work(shared, &sender));
                if let Err(error) = spawned {
                    shared.failed.store(true, Ordering::Relaxed);
                    collected.fail(error.into());
                }
            }
            drop(sender);
            let mut told = Instant::now();
            loop {
                match messages.recv_timeout(TICK) {
                    Ok(message) => collected.take(message, &mut tell),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if told.elapsed() >= TICK {
                    told = Instant::now();
                    let stats = &collected.report.stats;
                    tell(FuzzEvent::Progress(stats, started.elapsed()));
                }
            }
        });
        collected.finish(started.elapsed())
    }
}

fn harness(options: &FuzzOptions) -> Result<Harness, FuzzError> {
    Harness::with_fault(&options.subjects, options.fault).map_err(FuzzError::Engine)
}

/// What workers have in common.
struct Shared<'a> {
    options: &'a FuzzOptions,
    artifacts: &'a Artifacts,
    /// The next case.
    next: AtomicU64,
    deadline: Option<Instant>,
    stop: &'a AtomicBool,
    failed: AtomicBool,
}

impl Shared<'_> {
    /// The number of the next case, if there is to be one.
    fn next(&self) -> Option<u64> {
        let over = self.stop.load(Ordering::Relaxed)
            || self.failed.load(Ordering::Relaxed)
            || self.deadline.is_some_and(|end| Instant::now() >= end);
        if over {
            return None;
        }
        let case = self.next.fetch_add(1, Ordering::Relaxed);
        self.options
            .cases
            .is_none_or(|end| case < end)
            .then_some(case)
    }
}

/// What a worker hands in.
enum Message {
    /// Counts since the last time.
    Counts(Box<Stats>),
    /// A case that diverged. If anything of it could not be saved, why, with the input's bytes.
    Found(Divergence, Option<(FuzzError, Vec<u8>)>),
    /// The worker cannot go on.
    Failed(FuzzError),
}

fn work(shared: &Shared<'_>, sender: &Sender<Message>) {
    if let Err(error) = work_until_over(shared, sender) {
        shared.failed.store(true, Ordering::Relaxed);
        // Whoever collects outlives the workers.
        let _ = sender.send(Message::Failed(error));
    }
}

fn work_until_over(shared: &Shared<'_>, sender: &Sender<Message>) -> Result<(), FuzzError> {
    let options = shared.options;
    let mut harness = self::harness(options)?;
    let mut stats = Box::<Stats>::default();
    let mut handed_in = Instant::now();
    while let Some(number) = shared.next() {
        let run = panics::catch(|| run_case(&mut harness, options, number, &mut stats));
        let (bytes, found) = match run {
            Ok(run) => run,
            Err(panic) => {
                harness = self::harness(options)?;
                stats.cases += 1;
                stats.diverged += 1;
                let findings = vec![panicked(&panic)];
                let report = format!("{}\n", findings[0]);
                let bytes = input(options.seed, number, 0, options.generators);
                (bytes, Some((findings, report)))
            }
        };
        if let Some((findings, report)) = found {
            let _ = sender.send(keep(shared, number, bytes, findings, report));
        }
        if handed_in.elapsed() >= TICK {
            handed_in = Instant::now();
            let _ = sender.send(Message::Counts(std::mem::take(&mut stats)));
        }
    }
    let _ = sender.send(Message::Counts(stats));
    Ok(())
}

/// A divergence as [`run_case`] finds it: the findings, and the same in words.
type Found = (Vec<Finding>, String);

/// Makes a case, runs it and counts it. Returns its bytes with what was found.
fn run_case(
    harness: &mut Harness,
    options: &FuzzOptions,
    number: u64,
    stats: &mut Stats,
) -> (Vec<u8>, Option<Found>) {
    let (bytes, made, without) = case(options.seed, number, options.generators);
    stats.no_case += without;
    let Some(made) = made else {
        return (bytes, None);
    };
    let examined = harness.examine(&made);
    stats.examined(&made, &examined);
    let found = match examined.verdict {
        Verdict::Diverged(findings) => {
            let report = show::findings(&made, &findings);
            Some((findings, report))
        }
        Verdict::Agreed | Verdict::Inconclusive(_) => None,
    };
    (bytes, found)
}

/// The finding that parallax itself failed at a case.
pub fn panicked(why: &str) -> Finding {
    Finding {
        oracle: OracleName::Traps,
        step: 0,
        place: Place::Outcome,
        reference: Seen::Rule("every case is run and compared".to_string()),
        subject: Seen::Outcome(Outcome::Failed(format!("panicked: {why}"))),
        engine: "parallax".to_string(),
        against: None,
    }
}

/// Saves an input with findings, before anything else is done about it.
fn keep(
    shared: &Shared<'_>,
    case: u64,
    bytes: Vec<u8>,
    findings: Vec<Finding>,
    report: String,
) -> Message {
    let seed = shared.options.seed;
    let name = format!("differential-{seed}-{case}");
    let input = format!("{name}.bin");
    let saved = shared.artifacts.save(&input, &bytes);
    let mut divergence = Divergence {
        case,
        name: input,
        path: None,
        findings,
        report,
    };
    let told = saved.and_then(|path| {
        divergence.path = Some(path);
        let text = format!(
            "Case {case} of seed {seed}.\n\n{}\nTo see it again: parallax repro {}\n",
            divergence.report, divergence.name
        );
        shared
            .artifacts
            .save(&format!("{name}.txt"), text.as_bytes())
    });
    let failure = told.err().map(|error| {
        shared.failed.store(true, Ordering::Relaxed);
        (error.into(), bytes)
    });
    Message::Found(divergence, failure)
}

/// What workers have handed in so far.
#[derive(Default)]
struct Collected {
    report: FuzzReport,
    groups: BTreeMap<(String, OracleName), Group>,
}

impl Collected {
    fn take(&mut self, message: Message, tell: &mut impl FnMut(FuzzEvent<'_>)) {
        match message {
            Message::Counts(stats) => self.report.stats.merge(&stats),
            Message::Failed(error) => self.fail(error),
            Message::Found(divergence, failure) => {
                self.group(&divergence);
                if let Some(path) = &divergence.path {
                    self.report.artifacts.insert(divergence.case, path.clone());
                }
                if let Some((error, bytes)) = failure {
                    self.fail(error);
                    if divergence.path.is_none() {
                        let input = (divergence.name.clone(), bytes);
                        self.report.unsaved.insert(divergence.case, input);
                    }
                }
                tell(FuzzEvent::Found(&divergence));
            }
        }
    }

    fn fail(&mut self, error: FuzzError) {
        self.report.failure.get_or_insert(error);
    }

    fn group(&mut self, divergence: &Divergence) {
        for finding in &divergence.findings {
            let key = (finding.engine.clone(), finding.oracle);
            let group = self.groups.entry(key).or_insert_with(|| Group {
                engine: finding.engine.clone(),
                oracle: finding.oracle,
                cases: 0,
                first: u64::MAX,
                example: String::new(),
            });
            group.cases += 1;
            if divergence.case < group.first {
                group.first = divergence.case;
                group.example = finding.to_string();
            }
        }
    }

    fn finish(mut self, elapsed: Duration) -> FuzzReport {
        self.report.elapsed = elapsed;
        self.report.groups = self.groups.into_values().collect();
        self.report
    }
}
