//! What came of running the suite, and how it is printed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// What came of running the suite.
///
/// Serialises as `{"engines": {"x86_64": {"passed": n, "failed": n, "skipped": {"reason": n}}}}`,
/// with the same for each file under `files` and a list of `failures`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SuiteReport {
    /// The totals of every engine, by name, in the order the engines were given.
    #[serde(serialize_with = "as_map")]
    pub engines: Vec<(String, Tally)>,
    /// Every file, in order.
    pub files: Vec<FileReport>,
    /// Every failure, in order.
    pub failures: Vec<Failure>,
}

/// What came of running one file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileReport {
    /// The file's name.
    pub name: String,
    /// What every engine made of it; empty if the script could not be read.
    #[serde(serialize_with = "as_map")]
    pub engines: Vec<(String, Tally)>,
}

/// How many assertions an engine passed, failed, and was not asked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Tally {
    /// Assertions met.
    pub passed: u64,
    /// Assertions not met, and steps without one that did not simply return.
    pub failed: u64,
    /// Assertions that nothing can be said of, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// An assertion that an engine did not meet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// The engine, or [`super::HARNESS`].
    pub engine: String,
    /// The script.
    pub file: String,
    /// The line of the script, counted from 1; 0 if it is about the script as a whole.
    pub line: u32,
    /// What was expected and what came out.
    pub message: String,
}

impl Tally {
    /// Counts `count` assertions as skipped.
    pub fn skip(&mut self, reason: &str, count: u64) {
        if count == 0 {
            return;
        }
        match self.skipped.get_mut(reason) {
            Some(skipped) => *skipped += count,
            None => {
                self.skipped.insert(reason.to_string(), count);
            }
        }
    }

    /// The number of assertions skipped for any reason.
    pub fn skipped_in_all(&self) -> u64 {
        self.skipped.values().sum()
    }

    fn add(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        for (reason, count) in &other.skipped {
            self.skip(reason, *count);
        }
    }
}

impl SuiteReport {
    pub(super) fn new<'a>(engines: impl Iterator<Item = &'a str>) -> SuiteReport {
        SuiteReport {
            engines: engines
                .map(|name| (name.to_string(), Tally::default()))
                .collect(),
            ..SuiteReport::default()
        }
    }

    pub(super) fn add(&mut self, file: FileReport, failures: Vec<Failure>) {
        for (total, (_, tally)) in self.engines.iter_mut().zip(&file.engines) {
            total.1.add(tally);
        }
        self.files.push(file);
        self.failures.extend(failures);
    }

    /// Whether nothing failed, in the engines or in the harness itself.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

fn as_map<S: Serializer>(engines: &[(String, Tally)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(engines.iter().map(|(name, tally)| (name, tally)))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.file, self.line, self.engine, self.message
        )
    }
}

/// A table of files and engines, the total, what was skipped and why, and the failures.
impl fmt::Display for SuiteReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.files.iter().map(|file| file.name.len());
        let width = width.max().unwrap_or(0).max("file".len());
        write!(f, "{:width$}", "file")?;
        for (name, _) in &self.engines {
            write!(f, "  {:>28}", format!("{name} passed/failed/skipped"))?;
        }
        writeln!(f)?;
        for file in &self.files {
            write_row(f, width, &file.name, &file.engines)?;
        }
        write_row(f, width, "total", &self.engines)?;
        for (name, tally) in &self.engines {
            for (reason, count) in &tally.skipped {
                writeln!(f, "{name}: {count} skipped: {reason}")?;
                let skipping = |file: &&FileReport| {
                    let tallies = file.engines.iter().filter(|(engine, _)| engine == name);
                    tallies
                        .into_iter()
                        .any(|(_, tally)| tally.skipped.contains_key(reason))
                };
                let files = self.files.iter().filter(skipping);
                let files: Vec<&str> = files.map(|file| file.name.as_str()).collect();
                writeln!(f, "    in {}", files.join(", "))?;
            }
        }
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        Ok(())
    }
}

fn write_row(
    f: &mut fmt::Formatter<'_>,
    width: usize,
    name: &str,
    engines: &[(String, Tally)],
) -> fmt::Result {
    write!(f, "{name:width$}")?;
    for (_, tally) in engines {
        let skipped = tally.skipped_in_all();
        let counts = format!("{}/{}/{skipped}", tally.passed, tally.failed);
        write!(f, "  {counts:>28}")?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> SuiteReport {
        let mut tally = Tally {
            passed: 3,
            failed: 1,
            ..Tally::default()
        };
        tally.skip("unsupported: externref", 2);
        tally.skip("unsupported: externref", 1);
        tally.skip("nothing", 0);
        let mut report = SuiteReport::new(["wasmi"].into_iter());
        for name in ["a.wast", "b.wast"] {
            let file = FileReport {
                name: name.to_string(),
                engines: vec![("wasmi".to_string(), tally.clone())],
            };
            let failure = Failure {
                engine: "wasmi".to_string(),
                file: name.to_string(),
                line: 7,
                message: "expected i32 1".to_string(),
            };
            report.add(file, vec![failure]);
        }
        report
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(
            json["engines"],
            serde_json::json!({
                "wasmi": {
                    "passed": 6,
                    "failed": 2,
                    "skipped": {"unsupported: externref": 6}
                }
            })
        );
        assert_eq!(json["files"][1]["engines"]["wasmi"]["passed"], 3);
        assert_eq!(json["failures"][0]["line"], 7);
    }

    #[test]
    fn the_table_names_files_reasons_and_failures() {
        let report = report();
        assert!(!report.passed());
        let text = report.to_string();
        assert!(text.contains("total "));
        assert!(text.contains("6/2/6"));
        assert!(text.contains("wasmi: 6 skipped: unsupported: externref\n    in a.wast, b.wast"));
        assert!(text.contains("b.wast:7: wasmi: expected i32 1"));
    }
}
