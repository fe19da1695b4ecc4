//! The one who looks at what was found while others go on: shrinks the first case of every group for
//! a while, in a worker of its own, since what it runs is as hostile as anything.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::crew::Shared;
use super::group::GroupKey;
use super::protocol::{Answer, Orders, Request, WORKER_COMMAND};
use super::report::{Message, ShrunkGroup};
use super::supervise::{Event, Station, Worker};

/// For how long it goes on when there are no more cases to run.
const GRACE: Duration = Duration::from_secs(30);

/// Shrinking a case may take this many times what a case may.
const PATIENCE: u32 = 5;

/// A case to shrink, the first of a group.
#[derive(Clone, Debug)]
pub(super) struct ToShrink {
    pub key: GroupKey,
    pub case: u64,
    pub attempt: u64,
    /// The name of its input, without what comes after the dot.
    pub stem: String,
}

/// Shrinks what comes until nothing more does.
pub(super) fn shrink_all(
    shared: &Shared<'_>,
    station: &Station,
    cases: Receiver<ToShrink>,
    sender: &Sender<Message>,
) {
    let orders = Orders {
        job: shared.job.clone(),
        mishaps: Vec::new(),
    };
    let mut worker = None;
    for to_shrink in cases {
        let enough = || {
            let since = shared.finished.get().map(Instant::elapsed);
            shared.stop.load(Ordering::Relaxed)
                || shared.failed.load(Ordering::Relaxed)
                || since.is_some_and(|since| since > GRACE)
        };
        if enough() {
            continue;
        }
        // Without a worker nothing is shrunk, and nothing else is lost.
        let Ok(mut at_work) = worker
            .take()
            .map_or_else(|| Worker::start(station, WORKER_COMMAND, &orders), Ok)
        else {
            continue;
        };
        at_work.be_patient(PATIENCE);
        at_work.ask(&Request::Shrink {
            case: to_shrink.case,
            attempt: to_shrink.attempt,
        });
        let shrunk = match at_work.wait(enough) {
            Event::Answered(Answer::Shrunk(shrunk)) => shrunk,
            _ => continue,
        };
        worker = Some(at_work);
        let Some((small, script)) = *shrunk else {
            continue;
        };
        let kept = shared
            .artifacts
            .keep(&to_shrink.stem, "wast", script.as_bytes());
        let (name, failure) = match kept {
            Ok(name) => (name, None),
            Err(error) => {
                // Whoever runs cases could not save what they find either.
                shared.failed.store(true, Ordering::Relaxed);
                (format!("{}.wast", to_shrink.stem), Some(error.into()))
            }
        };
        // Whoever collects outlives us.
        let _ = sender.send(Message::Shrunk(Box::new(ShrunkGroup {
            key: to_shrink.key,
            case: to_shrink.case,
            small,
            script: name,
            failure,
        })));
    }
}
