//! What the fuzz targets call: one input, examined as `parallax repro` examines it.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parallax_oracles::{Finding, Verdict};

use crate::engine::registry;
use crate::generate::{Generators, case_from_bytes, mutator};
use crate::harness::{Harness, default_subjects};
use crate::stats::Stats;

/// How often a run says how far it has come; more often at its start.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Cases after which a run first says how far it has come.
const FIRST_REPORT: u64 = 256;

thread_local! {
    // Made at the first input: engines keep what is costly to make from one input to the next.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// A run of a fuzz target.
struct Session {
    harness: Harness,
    stats: Stats,
    reported: Instant,
    /// The number of cases at which to report in any case.
    next_report: u64,
}

/// libFuzzer options without which a target of this size crawls, unless told otherwise.
///
/// A first input lights up tens of thousands of counters. The entropic schedule keeps every
/// feature seen less than 255 times in a list that it searches for each feature of each run, which
/// comes to half a second an input for the first hours; and the names of new functions are looked
/// up in 200 MB of debug information.
const OPTIONS: [&str; 2] = ["-entropic=0", "-print_funcs=0"];

/// An option of our own: leave all mutations and crossings to libFuzzer, to see what ours are worth.
const NO_MUTATOR: &str = "-custom_mutator=0";

/// An option of our own: the engines to compare with the reference, by name, separated by commas.
const ENGINES: &str = "-engines=";

/// libFuzzer's option behind which it reads no others; ours stand there.
const LAST_OPTION: &str = "-ignore_remaining_args=1";

/// Whether [`NO_MUTATOR`] is among the arguments.
static WITHOUT_MUTATOR: AtomicBool = AtomicBool::new(false);

/// The engines to compare with the reference, if they are named; `None` for the default ones.
static SUBJECTS: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Starts the process over with the libFuzzer options that targets here want, for those that the
/// command line does not set: libFuzzer takes options from there alone. To be called before it
/// reads them.
pub fn init() {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    let without_mutator = given.iter().any(|arg| arg == NO_MUTATOR);
    WITHOUT_MUTATOR.store(without_mutator, Ordering::Relaxed);
    if let Some(names) = value_of(&given, ENGINES) {
        match subjects(names) {
            Ok(subjects) => SUBJECTS.get_or_init(|| subjects),
            Err(error) => {
                eprintln!("parallax: error: {ENGINES}{names}: {error}");
                exit(2);
            }
        };
    }
    let wanted = arguments(&given);
    if wanted == given {
        return;
    }
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // Returns only if it fails; then fuzzing is slow, but it is fuzzing.
    let error = std::process::Command::new(program).args(&wanted).exec();
    let wanted = wanted.join(OsStr::new(" "));
    eprintln!(
        "parallax: cannot start over with {}: {error}",
        wanted.display()
    );
}

/// The arguments with which to run where these are given.
fn arguments(given: &[OsString]) -> Vec<OsString> {
    let last = given.iter().position(|arg| arg == LAST_OPTION);
    let (options, ignored) = given.split_at(last.unwrap_or(given.len()));
    let missing = OPTIONS.into_iter().filter(|option| !sets(options, option));
    let (ours, mut wanted): (Vec<_>, Vec<_>) = options.iter().cloned().partition(is_ours);
    wanted.extend(missing.map(OsString::from));
    wanted.extend_from_slice(ignored);
    if last.is_none() && !ours.is_empty() {
        wanted.push(OsString::from(LAST_OPTION));
    }
    wanted.extend(ours);
    wanted
}

/// Mutates an input as [`mutator::mutate_for`] does, or as libFuzzer alone does if that is asked for.
pub fn mutate(
    generators: Generators,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    libfuzzer: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    if WITHOUT_MUTATOR.load(Ordering::Relaxed) {
        return libfuzzer(data, size, max_size);
    }
    mutator::mutate_for(generators, data, size, max_size, seed, libfuzzer)
}

/// Crosses two inputs as [`mutator::cross_for`] does, or not at all if mutations are left to libFuzzer.
pub fn cross(generators: Generators, one: &[u8], other: &[u8], out: &mut [u8], seed: u32) -> usize {
    if WITHOUT_MUTATOR.load(Ordering::Relaxed) {
        return 0;
    }
    mutator::cross_for(generators, one, other, out, seed)
}

/// Whether an argument is an option that libFuzzer does not know.
fn is_ours(arg: &OsString) -> bool {
    arg == NO_MUTATOR || arg.as_encoded_bytes().starts_with(ENGINES.as_bytes())
}

/// The value that a command line last gives an option, which is named with its `=`.
fn value_of<'a>(given: &'a [OsString], option: &str) -> Option<&'a str> {
    let texts = given.iter().rev().filter_map(|arg| arg.to_str());
    texts.filter_map(|arg| arg.strip_prefix(option)).next()
}

/// The engines of these names but for the reference, which always runs.
fn subjects(names: &str) -> Result<Vec<&'static str>, String> {
    let mut subjects = Vec::new();
    for name in names.split(',') {
        let name = registry::find(name.trim())?.name;
        if name != registry::REFERENCE && !subjects.contains(&name) {
            subjects.push(name);
        }
    }
    if subjects.is_empty() {
        return Err("no engine to compare with the reference".to_string());
    }
    Ok(subjects)
}

/// Whether a command line sets the option of the form `-name=value`.
fn sets(given: &[OsString], option: &str) -> bool {
    let name = option.split_inclusive('=').next().unwrap_or(option);
    given
        .iter()
        .any(|arg| arg.as_encoded_bytes().starts_with(name.as_bytes()))
}

/// Makes a case of an input, runs it on all engines, and compares. Inputs that make no case, or that
/// ask for a generator not among `generators`, are counted and otherwise ignored: what a target
/// saves is read by `parallax repro`, which knows nothing of targets.
///
/// # Panics
/// If the case diverges, with its findings: what libFuzzer calls a crash. Also if no engine can be
/// used here.
pub fn one_input(data: &[u8], generators: Generators) {
    let findings = SESSION.with_borrow_mut(|session| {
        session
            .get_or_insert_with(Session::new)
            .examine(data, generators)
    });
    if !findings.is_empty() {
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        panic!("{}", lines.join("\n"));
    }
}

impl Session {
    fn new() -> Session {
        let subjects = SUBJECTS.get_or_init(default_subjects);
        let harness = Harness::new(subjects)
            .unwrap_or_else(|error| panic!("no engines to fuzz with: {error}"));
        Session {
            harness,
            stats: Stats::default(),
            reported: Instant::now(),
            next_report: FIRST_REPORT,
        }
    }

    /// Examines an input and returns its findings.
    fn examine(&mut self, data: &[u8], generators: Generators) -> Vec<Finding> {
        let asked = generators.asked_by(data).then(|| case_from_bytes(data));
        let Some(Ok(case)) = asked else {
            self.stats.no_case();
            return Vec::new();
        };
        let examined = self.harness.examine(&case);
        self.stats.examined(&case, &examined);
        self.report();
        match examined.verdict {
            Verdict::Diverged(findings) => findings,
            _ => Vec::new(),
        }
    }

    fn report(&mut self) {
        let doubled = self.stats.cases >= self.next_report;
        // The clock is looked at now and then only.
        let looks = self.stats.cases.is_multiple_of(64);
        let due = looks && self.reported.elapsed() >= REPORT_EVERY;
        if !doubled && !due {
            return;
        }
        if doubled {
            self.next_report = self.stats.cases * 2;
        }
        self.reported = Instant::now();
        eprintln!("parallax: {}", self.stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_given_are_left_alone() {
        let given = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(sets(&given(&["corpus", "-entropic=1"]), "-entropic=0"));
        assert!(!sets(
            &given(&["-entropic_threshold=1", "-runs=4"]),
            "-entropic=0"
        ));
        assert!(!sets(&[], "-entropic=0"));
    }

    #[test]
    fn what_libfuzzer_does_not_know_stands_behind_what_it_does() {
        let wanted = |args: &[&str]| {
            let given: Vec<OsString> = args.iter().map(OsString::from).collect();
            let wanted = arguments(&given);
            // That is an end of starting over.
            assert_eq!(arguments(&wanted), wanted);
            wanted.join(OsStr::new(" ")).into_string().expect("text")
        };
        assert_eq!(
            wanted(&["c", "-entropic=1"]),
            "c -entropic=1 -print_funcs=0"
        );
        assert_eq!(
            wanted(&["-custom_mutator=0", "c"]),
            "c -entropic=0 -print_funcs=0 -ignore_remaining_args=1 -custom_mutator=0"
        );
        assert_eq!(
            wanted(&["-engines=clif", "c", "-custom_mutator=0", "-runs=1"]),
            "c -runs=1 -entropic=0 -print_funcs=0 -ignore_remaining_args=1 -engines=clif -custom_mutator=0"
        );
        assert_eq!(
            wanted(&["c", "-ignore_remaining_args=1", "-entropic=1"]),
            "c -entropic=0 -print_funcs=0 -ignore_remaining_args=1 -entropic=1"
        );
    }

    #[test]
    fn engines_are_taken_from_the_last_option_that_names_them() {
        let given = ["-engines=clif", "-engines=wasmi, clif,clif", "c"].map(OsString::from);
        let names = value_of(&given, ENGINES).expect("it is there");
        assert_eq!(subjects(names), Ok(vec!["clif"]));
        assert_eq!(value_of(&given[2..], ENGINES), None);
        for nonsense in ["", "wasmi", "x86_65", "clif,"] {
            assert!(subjects(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn an_input_of_any_size_is_taken() {
        for size in [0, 1, 7, 40, 600] {
            one_input(&vec![3; size], Generators::all());
        }
        one_input(b"\0asm\x01\0\0\0", Generators::all());
        one_input(b"\0asm\x01\0\0", Generators::all());
    }
}
