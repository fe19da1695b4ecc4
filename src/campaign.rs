//! The loop behind `parallax fuzz`: cases made from a seed, run through a
//! [`Harness`](crate::harness::Harness) by several workers, counted, and kept where engines differ.
//!
//! A worker is a process, so that what the code under test does to it ends neither the run nor what
//! the run has found; or, for those who call this from a program of their own, a thread.
//!
//! Case `i` of a seed is what [`crate::generate::case_from_bytes`] makes of [`input`]`(seed, i, …)`, so
//! it does not depend on how many cases are run, by how many workers, or in which order, and a
//! kept input means the same to `parallax repro` and to the fuzz targets.

mod crew;
mod examine;
mod flight;
mod input;
mod mishap;
mod protocol;
mod report;
mod supervise;
pub mod worker;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::artifacts::{ArtifactError, Artifacts};
use crate::generate::Generators;
use crate::score::Fault;
use crate::stats::Stats;
use crew::Shared;
use report::Collected;

pub use examine::{Found, Job};
pub use input::{MAX_INPUT_BYTES, MIN_INPUT_BYTES, case, input};
pub use mishap::Mishap;
pub use report::{Divergence, FuzzReport, Group, SetAside};
pub use supervise::Limits;

/// Bytes of a worker's stack. The same everywhere, so that nothing depends on the main thread's.
pub const STACK_BYTES: usize = 32 << 20;

/// How often progress is told.
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
    /// How many workers.
    pub jobs: NonZeroUsize,
    /// The program to run as worker processes: parallax itself. If not given, workers are threads of
    /// this process, which does not survive what the code under test may do to it.
    pub worker: Option<PathBuf>,
    /// What a case may take in a worker process.
    pub limits: Limits,
    /// What is to go wrong in worker processes.
    pub mishaps: Vec<Mishap>,
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
    artifacts: Artifacts,
}

impl<'o> Fuzzer<'o> {
    /// Opens the artifacts folder and tries the engines.
    ///
    /// # Errors
    /// [`FuzzError`] if either is not to be had.
    pub fn new(options: &'o FuzzOptions) -> Result<Fuzzer<'o>, FuzzError> {
        Job::of(options).harness().map_err(FuzzError::Engine)?;
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
                    .spawn_scoped(scope, move || crew::work(shared, &sender));
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
