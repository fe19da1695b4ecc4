//! Those who run the cases of a run: each a thread that takes the next number, has the case run, in
//! this process or by a worker of its own, keeps the input if anything is wrong, and hands in what is
//! to be counted.
//!
//! Whatever becomes of a worker, no case is lost and none is counted twice: a case is done when it
//! is handed in, and the one under way is the first that is not. What a case counts for follows from
//! the case alone: if a worker dies that ran other cases before, or is killed by somebody, a fresh
//! one runs the case alone, and what comes of that is the verdict. That the worker died is told
//! nevertheless.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::examine::{Examiner, Found, Job, Ran};
use super::flight::InFlight;
use super::group::GroupKey;
use super::input::{ATTEMPTS, input};
use super::protocol::{Answer, Orders, Request, WORKER_COMMAND};
use super::record::Done;
use super::report::{CaseDone, Divergence, Message, SetAside, Told, Unsaved};
use super::sandbox::Ending;
use super::supervise::{Death, Event, How, Station, Worker};
use super::{DIVERGED, FuzzError, FuzzOptions};
use crate::artifacts::{ArtifactError, Artifacts};
use crate::stats::Stats;
use crate::triage::blame::Blame;

/// Cases that a worker is asked for ahead of what it runs, so that it never waits.
const AHEAD: usize = 2;

/// How often a case is tried again if somebody kills the worker that runs it.
const KILLS: usize = 3;

/// What all have in common.
pub(super) struct Shared<'a> {
    pub options: &'a FuzzOptions,
    pub job: &'a Job,
    pub artifacts: &'a Artifacts,
    /// The next case.
    pub next: AtomicU64,
    /// The first case that is not to be run, if there is an end.
    pub end: Option<u64>,
    /// Cases that were done when the run began.
    pub done: &'a Done,
    pub deadline: Option<Instant>,
    pub stop: &'a AtomicBool,
    pub failed: AtomicBool,
    /// When there were no more cases to run.
    pub finished: OnceLock<Instant>,
}

impl Shared<'_> {
    /// The number of the next case, if there is to be one.
    fn next(&self) -> Option<u64> {
        loop {
            let over = self.stop.load(Ordering::Relaxed)
                || self.failed.load(Ordering::Relaxed)
                || self.deadline.is_some_and(|end| Instant::now() >= end);
            if over {
                return None;
            }
            let case = self.next.fetch_add(1, Ordering::Relaxed);
            if self.end.is_some_and(|end| case >= end) {
                return None;
            }
            if !self.done.contains(case) {
                return Some(case);
            }
        }
    }
}

/// Runs cases until there are no more.
pub(super) fn work(shared: &Shared<'_>, sender: &Sender<Message>) {
    let job = shared.job;
    let hand = Hand {
        shared,
        sender,
        job,
    };
    let worked = match &shared.options.workers {
        None => hand.work_here(),
        Some(station) => hand.supervise(station),
    };
    if let Err(why) = worked {
        hand.fail(FuzzError::Engine(why));
    }
    let _ = sender.send(Message::Finished);
}

/// One who runs cases.
struct Hand<'a> {
    shared: &'a Shared<'a>,
    sender: &'a Sender<Message>,
    job: &'a Job,
}

impl Hand<'_> {
    /// Runs cases in this process.
    fn work_here(&self) -> Result<(), String> {
        let mut examiner = Examiner::new(self.job.clone())?;
        while let Some(case) = self.shared.next() {
            let ran = examiner.examine(case, |_, _| {})?;
            self.hand_in(ran, None);
        }
        Ok(())
    }

    /// Has cases run by worker processes, one after the other.
    fn supervise(&self, station: &Station) -> Result<(), String> {
        let orders = Orders {
            job: self.job.clone(),
            mishaps: station.mishaps.clone(),
        };
        let start = || {
            let worker = Worker::start(station, WORKER_COMMAND, &orders)?;
            let confined_by = worker.confined_by().to_vec();
            // Whoever collects outlives us.
            let _ = self.sender.send(Message::Started(confined_by));
            Ok::<Worker<Answer>, String>(worker)
        };
        let mut worker = start()?;
        // Cases that are not done; the present worker was asked for the first few of them.
        let mut cases: VecDeque<u64> = VecDeque::new();
        let mut asked = 0;
        // Whether the worker ran other cases before the one under way.
        let mut in_company = false;
        // How workers ended before that had the case under way.
        let mut deaths: Vec<Death> = Vec::new();
        loop {
            while cases.len() < AHEAD
                && let Some(case) = self.shared.next()
            {
                cases.push_back(case);
            }
            let ahead = if deaths.is_empty() { AHEAD } else { 1 };
            while asked < ahead.min(cases.len()) {
                worker.ask(&Request::Run(cases[asked]));
                asked += 1;
            }
            let Some(&case) = cases.front() else { break };
            let stopped = || self.shared.stop.load(Ordering::Relaxed);
            let death = match worker.wait(stopped) {
                Event::Answered(Answer::Ran(ran))
                    if ran.case == case && ran.attempt <= ATTEMPTS =>
                {
                    let crash = deaths.iter().find(|death| death.reason().is_none());
                    self.hand_in(*ran, crash);
                    cases.pop_front();
                    deaths.clear();
                    (asked, in_company) = (asked - 1, true);
                    if self.shared.failed.load(Ordering::Relaxed) {
                        break;
                    }
                    if worker.is_bloated() {
                        worker = start()?;
                        (asked, in_company) = (0, false);
                    }
                    continue;
                }
                Event::Answered(_) => worker.end(How::Babbled),
                Event::Unable(why) => return Err(why),
                Event::Abandoned => break,
                Event::Died(death) => death,
            };
            let _ = self.sender.send(Message::Lost);
            let kills = deaths.iter().filter(|death| death.how == How::Killed);
            let again = match death.how {
                How::Killed => kills.count() < KILLS,
                _ => in_company,
            };
            if again {
                deaths.push(death);
            } else {
                self.hand_in_death(case, &death);
                cases.pop_front();
                deaths.clear();
            }
            worker = start()?;
            (asked, in_company) = (0, false);
        }
        // What it was asked for but has not done is not done.
        if cases.is_empty() {
            worker.finish();
        }
        Ok(())
    }

    /// Hands in what came of a case. If a worker crashed at it that a fresh one ran without, the crash
    /// is what is told: the cases before have ruined the worker, and no other finding is as grave.
    fn hand_in(&self, ran: Ran, crash: Option<&Death>) {
        let case = ran.case;
        let (stats, found) = match crash {
            None => (ran.counts.into(), ran.found),
            Some(death) => (diverged(), Ending::crashed_in_company(death).found()),
        };
        let mut done = CaseDone {
            case,
            stats,
            told: None,
            unsaved: None,
        };
        if let Some(found) = found {
            let bytes = self.input(case, ran.attempt);
            let attempt = ran.attempt;
            done.told = Some(self.keep_found(&mut done.unsaved, (case, attempt), bytes, found));
        }
        // Whoever collects outlives us.
        let _ = self.sender.send(Message::Case(Box::new(done)));
    }

    /// Hands in a case that no worker survives.
    fn hand_in_death(&self, case: u64, death: &Death) {
        let left = death.input.as_ref();
        let attempt = attempt_at(case, left, |attempt| self.input(case, attempt));
        let bytes = self.input(case, attempt);
        let mut stats = diverged();
        let (reason, what) = match Ending::of(death) {
            Ending::Inconclusive(reason, what) => (reason, what),
            Ending::Crashed(why) => {
                let found = Found::failure(why);
                let mut done = CaseDone {
                    case,
                    stats,
                    told: None,
                    unsaved: None,
                };
                done.told = Some(self.keep_found(&mut done.unsaved, (case, attempt), bytes, found));
                let _ = self.sender.send(Message::Case(Box::new(done)));
                return;
            }
        };
        (stats.diverged, stats.inconclusive) = (0, [(reason, 1)].into());
        let mut done = CaseDone {
            case,
            stats,
            told: None,
            unsaved: None,
        };
        let seed = self.job.seed;
        let stem = format!("{reason}-{seed}-{case}");
        let text = format!(
            "Case {case} of seed {seed} has no verdict: its worker did not come to \
             an end with it.\n\n{reason}: {what}\n"
        );
        let (name, path) = self.keep(&mut done.unsaved, &stem, bytes, &text);
        done.told = Some(Told::SetAside(SetAside {
            case,
            reason,
            name,
            path,
            what,
        }));
        let _ = self.sender.send(Message::Case(Box::new(done)));
    }

    fn keep_found(
        &self,
        unsaved: &mut Option<Unsaved>,
        (case, attempt): (u64, u64),
        bytes: Vec<u8>,
        found: Found,
    ) -> Told {
        let seed = self.job.seed;
        let stem = format!("{DIVERGED}{seed}-{case}");
        let text = format!("Case {case} of seed {seed}.\n\n{}", found.report);
        let (name, path) = self.keep(unsaved, &stem, bytes, &text);
        let blame = found.blame.as_ref().map(Blame::key);
        Told::Found(Divergence {
            case,
            attempt,
            name,
            path,
            key: GroupKey::of(&found.findings, blame),
            findings: found.findings,
            report: found.report,
        })
    }

    /// Saves an input and what is to be said of it, before anything else is done about it. What other
    /// runs have saved stays. Returns the input's name and, if it could be saved, its path.
    fn keep(
        &self,
        unsaved: &mut Option<Unsaved>,
        stem: &str,
        bytes: Vec<u8>,
        text: &str,
    ) -> (String, Option<PathBuf>) {
        let artifacts = self.shared.artifacts;
        let name = match artifacts.keep(stem, "bin", &bytes) {
            Ok(name) => name,
            Err(error) => {
                let name = format!("{stem}.bin");
                self.not_saved(unsaved, error, Some((name.clone(), bytes)));
                return (name, None);
            }
        };
        let stem = name.trim_end_matches(".bin");
        let limits = self.shared.options.workers.as_ref().map(|it| it.limits);
        let recipe = self.job.recipe(&name, limits.unwrap_or_default());
        let text = format!("{text}\nTo see it again: {recipe}\n");
        if let Err(error) = artifacts.keep(stem, "txt", text.as_bytes()) {
            self.not_saved(unsaved, error, None);
        }
        let path = artifacts.folder().join(&name);
        (name, Some(path))
    }

    fn not_saved(
        &self,
        unsaved: &mut Option<Unsaved>,
        error: ArtifactError,
        input: Option<(String, Vec<u8>)>,
    ) {
        self.shared.failed.store(true, Ordering::Relaxed);
        *unsaved = Some((error.into(), input));
    }

    fn input(&self, case: u64, attempt: u64) -> Vec<u8> {
        input(self.job.seed, case, attempt, self.job.generators)
    }

    fn fail(&self, error: FuzzError) {
        self.shared.failed.store(true, Ordering::Relaxed);
        let _ = self.sender.send(Message::Failed(error));
    }
}

/// Which of the inputs for a case a worker died of. What it left is believed if it is one of them.
fn attempt_at(case: u64, left: Option<&InFlight>, input: impl Fn(u64) -> Vec<u8>) -> u64 {
    let left = left.filter(|left| {
        let told = left.case == case && left.attempt < ATTEMPTS;
        told && left.bytes == input(left.attempt)
    });
    left.map_or(0, |left| left.attempt)
}

/// The counts of a case of which nothing is known but that it diverged.
fn diverged() -> Stats {
    Stats {
        cases: 1,
        diverged: 1,
        ..Stats::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::campaign::Limits;
    use crate::generate::Generators;
    use crate::harness::default_subjects;

    #[test]
    fn what_a_worker_left_is_believed_if_it_is_an_input_for_the_case() {
        let input = |attempt| vec![7, attempt as u8];
        let left = |case, attempt, bytes: &[u8]| {
            let left = InFlight {
                case,
                attempt,
                bytes: bytes.to_vec(),
            };
            attempt_at(7, Some(&left), input)
        };
        assert_eq!(left(7, 2, &[7, 2]), 2);
        assert_eq!(left(7, 2, &[7, 3]), 0);
        assert_eq!(left(8, 2, &[7, 2]), 0);
        assert_eq!(left(7, ATTEMPTS, &input(ATTEMPTS)), 0);
        assert_eq!(attempt_at(7, None, input), 0);
    }

    #[test]
    fn a_recipe_names_what_is_not_so_by_default() {
        let mut job = Job {
            seed: 1,
            subjects: default_subjects().iter().map(ToString::to_string).collect(),
            generators: Generators::all(),
            fault: None,
        };
        job.subjects.reverse();
        let told = |job: &Job, limits| job.recipe("x.bin", limits);
        assert_eq!(told(&job, Limits::default()), "parallax repro x.bin");
        job.subjects = vec!["x86_64".to_string(), "riscv64".to_string()];
        job.fault = Some("skip-null-check".parse().expect("a fault"));
        let limits = Limits {
            time: Duration::from_millis(1_500),
            memory: 512 << 20,
        };
        assert_eq!(
            told(&job, limits),
            "parallax repro x.bin --engines x86_64,riscv64 --fault skip-null-check \
             --case-time 1500ms --case-memory 512"
        );
    }
}
