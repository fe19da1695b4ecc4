//! What is left of a case that diverges once it is shrunk for a while: the shape by which findings of
//! one cause are told from those of another, and a script that a person would rather read.
//!
//! How long is a number of candidates, not a time, so that the shape follows from the case alone. Only
//! where candidates hang does a clock end it, and then what is left is a script but no shape.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::examine::Job;
use super::input::input;
use crate::case::wast::to_wast;
use crate::engine::registry;
use crate::generate::case_from_bytes;
use crate::panics;
use crate::triage::shrink::{Event, Options, shrink};

/// Candidates that are run at most.
const BUDGET: u64 = 400;

/// How long it may take at most.
const TIME: Duration = Duration::from_secs(20);

/// Instructions that are in every program and tell nothing.
const PLAIN: [&str; 9] = [
    "end",
    "drop",
    "local.get",
    "local.set",
    "local.tee",
    "i32.const",
    "i64.const",
    "f32.const",
    "f64.const",
];

/// What is left of a case.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Small {
    /// The instructions that are left, by name and without those that are in every program.
    pub opcodes: BTreeSet<String>,
    /// How many instructions are left.
    pub instructions: usize,
    /// Whether nothing more goes; otherwise it was enough.
    pub finished: bool,
    /// Whether what is left follows from the case alone: no clock had a say.
    pub settled: bool,
}

/// Shrinks a case of a job. Returns what is left, also as a script; nothing if it does not diverge, or
/// is no script.
pub fn small(job: &Job, case: u64, attempt: u64) -> Option<(Small, String)> {
    let bytes = input(job.seed, case, attempt, job.generators);
    let names = job.subjects.iter().map(|name| registry::find(name));
    let subjects: Vec<&'static str> = names.map(|it| Some(it.ok()?.name)).collect::<Option<_>>()?;
    let enough = AtomicBool::new(false);
    let started = Instant::now();
    let options = Options {
        subjects: &subjects,
        fault: job.fault,
        witness: false,
        deadline: Some(started + TIME),
        stop: &enough,
    };
    let shrunk = panics::catch(|| {
        let made = case_from_bytes(&bytes).ok()?;
        let shrunk = shrink(&made, &options, &mut |event| {
            if let Event::Progress(progress) = event {
                enough.fetch_or(progress.runs >= BUDGET, Ordering::Relaxed);
            }
            Ok(())
        });
        shrunk.ok()
    });
    let shrunk = shrunk.ok()??;
    let best = &shrunk.best;
    let modules = best.case.modules.iter();
    let opcodes = modules.flat_map(|module| module.opcodes.names().collect::<Vec<_>>());
    let small = Small {
        opcodes: opcodes
            .filter(|name| !PLAIN.contains(&name.as_ref()))
            .map(|name| name.into_owned())
            .collect(),
        instructions: best.size.instructions,
        finished: shrunk.finished,
        settled: shrunk.finished || enough.load(Ordering::Relaxed),
    };
    let header = format!(
        "Case {case} of seed {}, shrunk from {} to {}{}.",
        job.seed,
        shrunk.before,
        best.size,
        if small.finished {
            ""
        } else {
            "; more may go: `parallax shrink`"
        }
    );
    let script = to_wast(&best.case, best.examined.reference.as_ref(), &header);
    Some((small, script))
}
