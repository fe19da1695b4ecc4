//! How far a run is: what was counted and found, and which cases that covers. It is what a run goes
//! on from, and what its report is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::group::{Group, GroupKey};
use super::report::{Divergence, SetAside};
use super::small::Small;
use crate::stats::{Counts, Stats};

/// How far a run is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The cases that are done, and counted.
    pub done: Done,
    /// The counts.
    #[serde(with = "counts")]
    pub stats: Stats,
    /// How long it took so far, over all starts.
    pub elapsed: Duration,
    /// How often it was started.
    pub starts: u64,
    /// How many workers died, or had to be ended.
    pub workers_lost: u64,
    /// The names of saved inputs of cases that diverged, by number of their case.
    pub artifacts: BTreeMap<u64, String>,
    /// The names of saved inputs of cases that were set aside, by number of their case.
    pub set_aside: BTreeMap<u64, String>,
    /// What was found, one entry a cause as far as can be told.
    pub groups: Vec<Group>,
    /// How it went.
    pub course: Course,
}

mod counts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Counts, Stats};

    pub fn serialize<S: Serializer>(stats: &Stats, serializer: S) -> Result<S::Ok, S::Error> {
        Counts::from(stats.clone()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stats, D::Error> {
        Counts::deserialize(deserializer).map(Stats::from)
    }
}

/// The cases that are done: all before a number, and some beyond.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Done {
    before: u64,
    beyond: BTreeSet<u64>,
}

impl Done {
    /// Adds a case.
    pub fn insert(&mut self, case: u64) {
        self.beyond.insert(case);
        while self.beyond.remove(&self.before) {
            self.before += 1;
        }
    }

    /// Whether a case is done.
    pub fn contains(&self, case: u64) -> bool {
        case < self.before || self.beyond.contains(&case)
    }

    /// The first case that is not done.
    pub fn first_missing(&self) -> u64 {
        self.before
    }

    /// How many are done.
    pub fn count(&self) -> u64 {
        self.before + self.beyond.len() as u64
    }

    /// The first number beyond all that are done.
    pub fn end(&self) -> u64 {
        self.beyond.last().map_or(self.before, |last| last + 1)
    }
}

/// How a run went: points in time, at most [`Course::POINTS`], evenly enough spread.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Course {
    /// The points.
    pub points: Vec<Point>,
    /// Seconds between two points.
    every: f64,
}

/// A point of the course of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Seconds of running, over all starts.
    pub seconds: f64,
    /// Cases that were done by then.
    pub cases: u64,
    /// Different opcodes that they held.
    pub opcodes: u64,
}

impl Course {
    /// Points that are kept at most.
    pub const POINTS: usize = 400;

    /// Notes how far it is, if the last note is long enough ago, or if it `must` be.
    pub fn note(&mut self, stats: &Stats, elapsed: Duration, must: bool) {
        let seconds = elapsed.as_secs_f64();
        let last = self
            .points
            .last()
            .map_or(f64::NEG_INFINITY, |it| it.seconds);
        if seconds - last < self.every.max(0.5) && !must {
            return;
        }
        self.points.push(Point {
            seconds,
            cases: stats.cases,
            opcodes: stats.opcodes.len() as u64,
        });
        if self.points.len() > Course::POINTS {
            // Every other one goes, but not the last.
            let odd = self.points.len() % 2;
            let mut position = 0;
            self.points.retain(|_| {
                position += 1;
                position % 2 == odd
            });
            self.every = (seconds / self.points.len() as f64).max(0.5);
        }
    }
}

impl Record {
    /// Notes what is to be told of a case that diverged.
    pub fn found(&mut self, divergence: &Divergence) {
        if divergence.path.is_some() {
            self.artifacts
                .insert(divergence.case, divergence.name.clone());
        }
        match self.groups.iter_mut().find(|it| it.key == divergence.key) {
            Some(group) => group.add(divergence),
            None => self.groups.push(Group::of(divergence)),
        }
        self.groups.sort_by_key(|group| group.first);
    }

    /// Notes what is left of the first case of a group, unless another one has come before it.
    pub fn shrunk(&mut self, key: &GroupKey, case: u64, small: Small, script: String) {
        let mut groups = self.groups.iter_mut();
        if let Some(group) = groups.find(|group| group.key == *key && group.first == case) {
            (group.small, group.script) = (Some(small), Some(script));
        }
    }

    /// The causes of what was found, as far as can be told, by their first cases.
    pub fn causes(&self) -> Vec<Group> {
        Group::merged(&self.groups)
    }

    /// Notes what is to be told of a case that was set aside.
    pub fn set_aside(&mut self, aside: &SetAside) {
        if aside.path.is_some() {
            self.set_aside.insert(aside.case, aside.name.clone());
        }
    }

    /// The names of all saved inputs.
    pub fn saved(&self) -> impl Iterator<Item = &String> {
        self.artifacts.values().chain(self.set_aside.values())
    }

    /// The paths of the saved inputs of cases that diverged.
    pub fn artifacts_in(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        self.artifacts.values().map(move |name| folder.join(name))
    }

    /// The paths of the saved inputs of cases that were set aside.
    pub fn set_aside_in(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        self.set_aside.values().map(move |name| folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_may_be_done_in_any_order() {
        let mut done = Done::default();
        for case in [2, 0, 5, 1] {
            assert!(!done.contains(case));
            done.insert(case);
            assert!(done.contains(case));
        }
        assert_eq!((done.first_missing(), done.count(), done.end()), (3, 4, 6));
        assert!(!done.contains(3) && !done.contains(4));
        done.insert(4);
        done.insert(3);
        assert_eq!((done.first_missing(), done.count(), done.end()), (6, 6, 6));
    }

    #[test]
    fn a_course_keeps_its_ends_and_few_points() {
        let mut course = Course::default();
        let mut stats = Stats::default();
        for second in 0..100_000 {
            stats.cases = second;
            course.note(&stats, Duration::from_secs(second), false);
        }
        course.note(&stats, Duration::from_secs(100_000), true);
        assert!(
            course.points.len() <= Course::POINTS,
            "{}",
            course.points.len()
        );
        assert!(
            course.points.len() >= Course::POINTS / 4,
            "{}",
            course.points.len()
        );
        assert!(course.points.is_sorted_by(|a, b| a.seconds < b.seconds));
        assert_eq!(course.points.last().map(|it| it.seconds), Some(100_000.0));
    }
}
