//! What a fuzz target did, from what libFuzzer printed and saved.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

/// Bytes of a log that are read at most: the end, if it is longer.
const LOG_BYTES: usize = 64 << 20;

/// What the names of inputs begin with that a fuzz target saved.
pub const SAVED: [&str; 5] = ["crash-", "timeout-", "oom-", "leak-", "slow-unit-"];

/// What a fuzz target did.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Whether it was started at all.
    pub started: bool,
    /// Inputs that were run.
    pub runs: u64,
    /// Edges that were reached at the end.
    pub edges: u64,
    /// Inputs in the corpus at the end.
    pub corpus: u64,
    /// The last line in which parallax itself says what was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// The course: inputs run, edges reached.
    pub course: Vec<(u64, u64)>,
    /// The first line of what was found, if it stopped at that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Files that it saved.
    pub saved: Vec<String>,
}

impl Target {
    /// Reads the folder of a target.
    ///
    /// # Errors
    /// If it cannot be read. A target without a log has done nothing.
    pub fn read(name: String, folder: &Path) -> io::Result<Target> {
        let log = fs::read(folder.join("log")).unwrap_or_default();
        let end = log.len().saturating_sub(LOG_BYTES);
        let mut target = Target::parse(&String::from_utf8_lossy(&log[end..]));
        target.name = name;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().display().to_string();
            if SAVED.iter().any(|kind| name.starts_with(kind)) {
                target.saved.push(name);
            }
        }
        target.saved.sort();
        Ok(target)
    }

    fn parse(log: &str) -> Target {
        let mut target = Target::default();
        // Runs of the starts before the last: one that finds something ends, and is started again.
        let mut before = 0;
        let mut lines = log.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("INFO: Seed:") {
                before = target.runs;
                target.started = true;
            } else if let Some(rest) = line.strip_prefix('#') {
                target.status(rest, before);
            } else if let Some(done) = line.strip_prefix("parallax: ") {
                target.done = Some(done.to_string());
            } else if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
                let runs = runs.trim().parse::<u64>();
                target.runs = runs.map_or(target.runs, |runs| before + runs);
            } else if target.found.is_none() && line.contains(" panicked at ") {
                // What is found is told by a panic, in the lines after the place.
                target.found = lines.next().map(|it| it.trim().to_string());
            } else if target.found.is_none()
                && (line.contains("ERROR: ") || line.contains("differ after step"))
            {
                target.found = Some(line.trim().to_string());
            }
        }
        target
    }

    /// A line such as `#256 NEW cov: 912 ft: 2100 corp: 12/30Kb …`.
    fn status(&mut self, rest: &str, before: u64) {
        let mut words = rest.split_ascii_whitespace();
        let Some(runs) = words.next().and_then(|it| it.parse::<u64>().ok()) else {
            return;
        };
        let runs = before + runs;
        self.runs = self.runs.max(runs);
        // The beginning of a long log is not read.
        self.started = true;
        while let Some(word) = words.next() {
            match word {
                "cov:" => {
                    let edges = words.next().and_then(|it| it.parse().ok());
                    self.edges = edges.unwrap_or(self.edges);
                }
                "corp:" => {
                    let inputs = words
                        .next()
                        .and_then(|it| it.split('/').next()?.parse().ok());
                    self.corpus = inputs.unwrap_or(self.corpus);
                }
                _ => {}
            }
        }
        if self.edges > 0 && self.course.last().is_none_or(|last| last.1 < self.edges) {
            self.course.push((self.runs, self.edges));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_was_not_run_is_no_target_that_found_nothing() {
        let started = |log| Target::parse(log).started;
        assert!(!started("error: could not compile `parallax-fuzz`\n"));
        assert!(started(
            "#2\tINITED cov: 600 ft: 601 corp: 1/1b exec/s: 0 rss: 90Mb\n"
        ));
        // It may die of the first input.
        assert!(started(
            "INFO: Seed: 1\n==1== ERROR: libFuzzer: deadly signal\n"
        ));
    }

    #[test]
    fn what_libfuzzer_prints_is_understood() {
        let target = Target::parse(
            "INFO: Seed: 1\n\
             #2\tINITED cov: 600 ft: 601 corp: 1/1b exec/s: 0 rss: 90Mb\n\
             parallax: 256 cases, x86_64: 256 compared; 0 diverged\n\
             #300\tNEW    cov: 912 ft: 2100 corp: 12/30Kb lim: 4096 exec/s: 150 rss: 100Mb\n\
             #301\tREDUCE cov: 912 ft: 2100 corp: 12/29Kb lim: 4096 exec/s: 150 rss: 100Mb\n\
             # no number\n\
             thread '<unnamed>' (12) panicked at src/libfuzzer.rs:130:9:\n\
             traps differ after step 3 at outcome: reference …\n\
             ==1== ERROR: libFuzzer: deadly signal\n\
             stat::number_of_executed_units: 345\n\
             INFO: Seed: 2\n\
             #13\tINITED cov: 912 ft: 2100 corp: 13/30Kb exec/s: 0 rss: 90Mb\n\
             #20\tNEW    cov: 930 ft: 2200 corp: 14/31Kb lim: 4096 exec/s: 150 rss: 100Mb\n\
             stat::number_of_executed_units: 55\n",
        );
        assert_eq!((target.runs, target.edges, target.corpus), (400, 930, 14));
        assert_eq!(target.course, [(2, 600), (300, 912), (365, 930)]);
        assert_eq!(
            target.done.as_deref(),
            Some("256 cases, x86_64: 256 compared; 0 diverged")
        );
        assert!(
            target
                .found
                .is_some_and(|it| it.starts_with("traps differ"))
        );
    }
}
