//! Making a case that diverges smaller, for as long as it goes on diverging in the same way.
//!
//! A shrinker holds the best case so far and tries candidates that have less in them: fewer steps,
//! settings nearer to the defaults, fewer functions, instructions, items; simpler arguments and
//! constants. A candidate that all engines run, and that shows what the [`Target`] asks for, becomes
//! the best. The passes are taken in turn until none of them gets any further; the last of them is
//! wasm-shrink, which knows nothing of cases but tries things of its own.
//!
//! Whatever a pass does, it does to a `draft::Draft` and from there through [`CaseBuilder`], so that
//! modules stay linked as far as they can be. Nothing depends on a clock but when to stop.
//!
//! [`CaseBuilder`]: crate::case::CaseBuilder

mod block_types;
mod blocks;
mod code;
mod draft;
mod encode;
mod foreign;
mod items;
mod op;
mod operands;
mod program;
mod shape;
mod steps;
mod target;
mod values;
mod witness;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parallax_oracles::{Reason, Verdict};

use crate::campaign;
use crate::case::Case;
use crate::harness::{Examined, Harness};
use crate::panics;
use crate::runtime::watchdog::Hurry;
use crate::score::Fault;
use draft::Draft;

pub use draft::Size;
pub use target::Target;

/// Rounds of all passes at most. Each takes something away, so there is an end; this is for the case
/// that two passes undo each other's work after all.
const MOST_ROUNDS: usize = 100;

/// A case that takes no longer than this is over so soon that one that takes ten times as long has lost
/// what ends it.
const AT_ONCE: Duration = Duration::from_millis(100);

/// How to shrink.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The engines to compare with the reference, by name.
    pub subjects: &'a [&'static str],
    /// A fault to plant in them.
    pub fault: Option<Fault>,
    /// Whether the script is to have one more step, which shows what differs in a memory, table or
    /// global to those who see results and traps alone.
    pub witness: bool,
    /// When to stop.
    pub deadline: Option<Instant>,
    /// Whether to stop now.
    pub stop: &'a AtomicBool,
}

/// The best case so far.
#[derive(Clone, Debug)]
pub struct Best {
    /// The case.
    pub case: Case,
    /// What came of it.
    pub examined: Examined,
    /// How large it is.
    pub size: Size,
}

/// How far a shrinker is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What it is at.
    pub pass: &'static str,
    /// Candidates that were run.
    pub runs: u64,
    /// How large the best case is.
    pub size: Size,
}

/// What is told while a shrinker is at work.
#[derive(Debug)]
pub enum Event<'a> {
    /// There is a better case; the first is what there was to begin with.
    Better(&'a Best),
    /// One more candidate was run.
    Progress(&'a Progress),
}

/// What came of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What went on failing.
    pub target: Target,
    /// How large the case was.
    pub before: Size,
    /// The smallest case.
    pub best: Best,
    /// Candidates that were run.
    pub runs: u64,
    /// Whether nothing more goes; otherwise it was stopped before.
    pub finished: bool,
}

/// Why there is nothing to shrink. One line.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// The case does not diverge.
    #[error("all engines agree: there is nothing to shrink")]
    Agreed,
    /// The case does not diverge, and known faults are why.
    #[error("all engines agree but for what is known ({0}): there is nothing to shrink")]
    Known(String),
    /// The case has no verdict.
    #[error("inconclusive ({0}): there is nothing to shrink")]
    Inconclusive(Reason),
    /// The case diverges, but not when it is written as a script and read again.
    #[error(
        "diverges, but not as a script: scripts have no way to pass references to functions or the \
         host's own objects as arguments"
    )]
    NotAsScript,
    /// An engine cannot be used.
    #[error("{0}")]
    Engine(String),
    /// The best case could not be kept.
    #[error("{0}")]
    NotKept(String),
}

/// What runs candidates.
pub trait Examiner {
    /// Runs the case that is to be made smaller. Where that takes until `enough` says so, it is not
    /// waited for.
    ///
    /// # Errors
    /// One line, if no engine can be had.
    fn whole(&mut self, case: &Case, enough: &dyn Fn() -> bool) -> Result<Examined, String> {
        self.examine(case, enough)
    }

    /// Runs a candidate, which can be written as a script.
    ///
    /// # Errors
    /// One line, if no engine can be had.
    fn examine(&mut self, case: &Case, enough: &dyn Fn() -> bool) -> Result<Examined, String>;

    /// From now on, what takes long is of no interest.
    fn hurry(&mut self);
}

/// Runs candidates in this process, which does not survive what they may do to it.
struct Here<'a> {
    options: &'a Options<'a>,
    harness: Harness,
    hurry: Option<Hurry>,
}

impl Examiner for Here<'_> {
    /// That parallax panics at a case is a finding like any other.
    fn examine(&mut self, case: &Case, _enough: &dyn Fn() -> bool) -> Result<Examined, String> {
        match panics::catch(|| self.harness.examine(case)) {
            Ok(examined) => Ok(examined),
            Err(panic) => {
                self.harness = Harness::with_fault(self.options.subjects, self.options.fault)?;
                let found = campaign::Found::failure(format!("panicked: {panic}"));
                Ok(Examined::without_engines(Verdict::Diverged(found.findings)))
            }
        }
    }

    fn hurry(&mut self) {
        self.hurry = Some(Hurry::new());
    }
}

/// Makes a case that diverges smaller, in this process. `tell` is called with every better case before anything else
/// is done, and now and then with how far it is; what it returns as an error ends the work.
///
/// # Errors
/// [`ShrinkError`].
pub fn shrink(
    case: &Case,
    options: &Options<'_>,
    tell: &mut dyn FnMut(Event<'_>) -> Result<(), String>,
) -> Result<Shrunk, ShrinkError> {
    let harness = Harness::with_fault(options.subjects, options.fault);
    let mut here = Here {
        options,
        harness: harness.map_err(ShrinkError::Engine)?,
        hurry: None,
    };
    shrink_by(&mut here, case, options, tell)
}

/// The same, with candidates run by somebody else.
///
/// # Errors
/// [`ShrinkError`].
pub fn shrink_by(
    examiner: &mut dyn Examiner,
    case: &Case,
    options: &Options<'_>,
    tell: &mut dyn FnMut(Event<'_>) -> Result<(), String>,
) -> Result<Shrunk, ShrinkError> {
    let enough = || options.is_over();
    let whole = examiner.whole(case, &enough).map_err(ShrinkError::Engine)?;
    let target = Target::of(&whole).ok_or_else(|| not_diverged(&whole))?;
    let draft = Draft::new(case).ok_or(ShrinkError::NotAsScript)?;
    let drafted = draft.case().ok_or(ShrinkError::NotAsScript)?;
    let started = Instant::now();
    let examined = examiner
        .examine(&drafted, &enough)
        .map_err(ShrinkError::Engine)?;
    if !target.is_shown_by(&examined) {
        return Err(ShrinkError::NotAsScript);
    }
    let before = draft.size();
    // What takes long is no smaller case. The case itself is over in no time, or else the watchdog
    // keeps its patience.
    if started.elapsed() < AT_ONCE {
        examiner.hurry();
    }
    let mut shrinker = Shrinker {
        options,
        examiner,
        target,
        best: Best {
            case: drafted,
            examined,
            size: before,
        },
        draft,
        tried: HashSet::new(),
        progress: Progress {
            pass: "start",
            runs: 0,
            size: before,
        },
        accepted: 0,
        ending: false,
        tell,
        failure: None,
    };
    shrinker.keep();
    let finished = shrinker.run();
    if options.witness {
        shrinker.ending = true;
        shrinker.witness();
    }
    match shrinker.failure {
        Some(failure) => Err(failure),
        None => Ok(Shrunk {
            target: shrinker.target,
            before,
            best: shrinker.best,
            runs: shrinker.progress.runs,
            finished,
        }),
    }
}

impl Options<'_> {
    /// Whether to stop.
    fn is_over(&self) -> bool {
        let late = || self.deadline.is_some_and(|end| Instant::now() >= end);
        self.stop.load(Ordering::Relaxed) || late()
    }
}

fn not_diverged(examined: &Examined) -> ShrinkError {
    match examined.verdict {
        _ if !examined.known.is_empty() => {
            let names: Vec<&str> = examined.known.iter().map(|fault| fault.name).collect();
            ShrinkError::Known(names.join(", "))
        }
        Verdict::Inconclusive(reason) => ShrinkError::Inconclusive(reason),
        _ => ShrinkError::Agreed,
    }
}

/// Something that tries candidates of one kind.
type Pass<'a> = fn(&mut Shrinker<'a>);

/// The work in progress.
struct Shrinker<'a> {
    options: &'a Options<'a>,
    examiner: &'a mut dyn Examiner,
    target: Target,
    /// The best case as a draft, and as it was examined.
    draft: Draft,
    best: Best,
    /// Candidates that were run and did not do, by hash.
    tried: HashSet<u64>,
    progress: Progress,
    /// Candidates that became the best.
    accepted: u64,
    /// Whether what is left to be done is done whatever the time.
    ending: bool,
    tell: &'a mut dyn FnMut(Event<'_>) -> Result<(), String>,
    failure: Option<ShrinkError>,
}

impl<'a> Shrinker<'a> {
    /// All passes until nothing more goes. Whether it came to that.
    fn run(&mut self) -> bool {
        let passes: [(&'static str, Pass<'a>); 14] = [
            ("steps", Shrinker::<'a>::steps),
            ("settings", Shrinker::<'a>::settings),
            ("functions", Shrinker::<'a>::functions),
            ("items", Shrinker::<'a>::unused),
            ("calls", Shrinker::<'a>::retarget),
            ("code", Shrinker::<'a>::code),
            ("values", Shrinker::<'a>::values),
            ("blocks", Shrinker::<'a>::blocks),
            ("block types", Shrinker::<'a>::block_types),
            ("operands", Shrinker::<'a>::operands),
            ("signatures", Shrinker::<'a>::signatures),
            ("imports", Shrinker::<'a>::imports),
            ("limits", Shrinker::<'a>::limits),
            ("arguments", Shrinker::<'a>::arguments),
        ];
        self.progress.pass = "fuel";
        self.little_fuel();
        let finished = self.rounds(&passes);
        if self.is_over() {
            return false;
        }
        self.progress.pass = "names";
        self.names();
        self.default_fuel();
        finished && !self.is_over()
    }

    /// Rounds of all passes until nothing more goes. Whether it came to that.
    fn rounds(&mut self, passes: &[(&'static str, Pass<'a>)]) -> bool {
        for _ in 0..MOST_ROUNDS {
            let before = self.accepted;
            for (name, pass) in passes {
                self.progress.pass = name;
                pass(self);
                if self.is_over() {
                    return false;
                }
            }
            if self.accepted > before {
                continue;
            }
            self.progress.pass = "wasm-shrink";
            self.foreign();
            if self.is_over() {
                return false;
            }
            if self.accepted == before {
                return true;
            }
        }
        false
    }

    /// Whether to stop.
    fn is_over(&self) -> bool {
        self.failure.is_some() || (!self.ending && self.options.is_over())
    }

    /// Makes a candidate the best if it shows what is asked for.
    fn attempt(&mut self, candidate: Option<Draft>) -> bool {
        let Some(candidate) = candidate else {
            return false;
        };
        if self.is_over() {
            return false;
        }
        let Some(case) = candidate.case() else {
            return false;
        };
        if !self.tried.insert(hash(&case)) {
            return false;
        }
        let (options, ending) = (self.options, self.ending);
        let enough = || !ending && options.is_over();
        let examined = match self.examiner.examine(&case, &enough) {
            Ok(examined) => examined,
            Err(error) => {
                self.failure = Some(ShrinkError::Engine(error));
                return false;
            }
        };
        self.progress.runs += 1;
        let better = self.target.is_shown_by(&examined);
        if better {
            let size = candidate.size();
            self.draft = candidate;
            self.best = Best {
                case,
                examined,
                size,
            };
            self.accepted += 1;
            self.progress.size = size;
            self.keep();
        }
        let told = (self.tell)(Event::Progress(&self.progress));
        self.note(told);
        better
    }

    /// Tells of the best case.
    fn keep(&mut self) {
        let told = (self.tell)(Event::Better(&self.best));
        self.note(told);
    }

    fn note(&mut self, told: Result<(), String>) {
        if let Err(error) = told {
            self.failure.get_or_insert(ShrinkError::NotKept(error));
        }
    }

    /// Tries to do without stretches of a list, from long ones at its end to single items. `count`
    /// says how many items there are, `without` makes the candidate without some of them.
    fn chunks(
        &mut self,
        count: impl Fn(&Draft) -> usize,
        without: impl Fn(&Draft, Range<usize>) -> Option<Draft>,
    ) {
        let mut length = count(&self.draft);
        while length > 0 {
            let mut end = count(&self.draft);
            while end > 0 {
                let start = end.saturating_sub(length);
                let candidate = without(&self.draft, start..end);
                let done = self.attempt(candidate);
                end = if done {
                    start.min(count(&self.draft))
                } else {
                    start
                };
                if self.is_over() {
                    return;
                }
            }
            length /= 2;
        }
    }
}

/// What tells candidates apart.
fn hash(case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    case.settings.to_lines().hash(&mut hasher);
    for module in &case.modules {
        module.wasm.hash(&mut hasher);
    }
    for step in &case.steps {
        format!("{:?}", step.action).hash(&mut hasher);
    }
    for registration in &case.registrations {
        format!("{registration:?}").hash(&mut hasher);
    }
    hasher.finish()
}
