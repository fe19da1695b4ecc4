//! `parallax fuzz`: the same cases whatever the number of jobs, findings kept before all else.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::run::{Folder, PARALLAX, Ran, parallax};

/// A fault that nearly every case of one generator meets.
const FAULT: &str = "--fault=no-interrupt-check";
const GENERATOR: &str = "--generators=interrupts";

fn fuzz(folder: &Folder, arguments: &[&str]) -> Ran {
    let artifacts = folder.file("artifacts");
    // The fault below makes candidates of a shrinker hang, and what is left of a case is another test.
    let all = ["fuzz", "--no-shrink", "--artifacts", &artifacts];
    parallax(all.iter().chain(arguments))
}

/// The status that a run's report asks for. Which cases are generated is none of these tests'
/// concern, so it is none either whether they find something.
fn due(ran: &Ran) -> Option<i32> {
    Some(i32::from(ran.json()["diverged"] != 0))
}

/// The report of a run without what depends on the clock or the folder.
fn lasting(ran: &Ran) -> Value {
    let mut json = ran.json();
    let object = json.as_object_mut().expect("an object");
    object.remove("seconds").expect("seconds");
    let artifacts = object["artifacts"].as_array_mut().expect("artifacts");
    for path in artifacts {
        let name = path.as_str().and_then(|path| path.rsplit('/').next());
        *path = Value::from(name.expect("a path"));
    }
    json
}

#[test]
fn json_has_the_promised_keys() {
    let folder = Folder::new();
    let ran = fuzz(&folder, &["--cases=50", "--seed=1", "--json"]);
    assert_eq!(ran.status, due(&ran), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let json = ran.json();
    let number = |value: &Value| {
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{value} in {json}"))
    };
    assert_eq!(json["seed"], 1);
    assert_eq!(json["cases"], 50);
    let inconclusive: u64 = json["inconclusive"]
        .as_object()
        .expect("reasons")
        .values()
        .map(number)
        .sum();
    let verdicts = ["agreed", "diverged", "known"].map(|key| number(&json[key]));
    assert_eq!(verdicts.iter().sum::<u64>() + inconclusive, 50);
    assert!(number(&json["calls"]["returned"]) > number(&json["calls"]["trapped"]));
    assert!(number(&json["opcodes"]) > 50);
    assert!(json["seconds"].as_f64() > Some(0.0));
    let engine = &json["engines"]["x86_64"];
    assert_eq!(
        number(&engine["compared"]) + number(&engine["unsupported"]),
        50
    );
    for oracle in [
        "results",
        "traps",
        "host_calls",
        "memories",
        "globals",
        "tables",
    ] {
        assert!(number(&json["oracles"][oracle]["checked"]) > 0);
        assert!(json["oracles"][oracle]["failed"].is_u64());
    }
    let artifacts = json["artifacts"].as_array().map(Vec::len);
    assert_eq!(artifacts, Some(number(&json["diverged"]) as usize));
}

#[test]
fn the_same_seed_gives_the_same_whatever_the_jobs() {
    let run = |jobs: &str| {
        let arguments = ["--cases=200", "--seed=7", "--json", FAULT, jobs];
        fuzz(&Folder::new(), &arguments)
    };
    let (one, two) = (run("--jobs=1"), run("--jobs=2"));
    assert_eq!(one.status, Some(1), "{one:?}");
    assert_eq!(lasting(&one), lasting(&two));
    assert_eq!(lasting(&one), lasting(&run("--jobs=3")));
    let other = fuzz(
        &Folder::new(),
        &["--cases=200", "--seed=8", "--json", FAULT],
    );
    assert_ne!(lasting(&one)["calls"], lasting(&other)["calls"]);
}

/// The choice of generators is not among an input's bytes, and `repro` is not told of it.
#[test]
fn findings_are_kept_and_run_again() {
    let folder = Folder::new();
    let ran = fuzz(&folder, &["--cases=20", "--seed=1", GENERATOR, FAULT]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
    for words in [
        "call    step ",
        "oracle  globals",
        "place   global ",
        "wasmi   i32 ",
    ] {
        assert!(ran.stdout.contains(words), "no {words:?} in {ran:?}");
    }
    assert!(ran.stdout.contains("differential-1-"), "{ran:?}");
    let artifacts = folder.path().join("artifacts");
    let mut inputs = 0;
    for entry in fs::read_dir(&artifacts).expect("artifacts") {
        let path = entry.expect("an entry").path();
        match path.extension().and_then(|it| it.to_str()) {
            Some("bin") => inputs += 1,
            Some("txt" | "wast") => continue,
            _ if path.ends_with("run.json") => continue,
            _ => panic!("{}", path.display()),
        }
        let text = fs::read_to_string(path.with_extension("txt")).expect("the findings");
        assert!(text.contains("oracle  "), "{text}");
        let path = path.display().to_string();
        let again = parallax(["repro", &path, FAULT]);
        assert_eq!(again.status, Some(1), "{again:?}");
        assert!(again.stdout.contains("oracle  "), "{again:?}");
        // Without the fault there is nothing to see.
        assert_eq!(parallax(["repro", &path]).status, Some(0));
    }
    assert!(inputs > 10, "{inputs}");
}

#[test]
fn the_seed_is_printed_and_another_each_time() {
    let seed = || {
        let ran = fuzz(&Folder::new(), &["--cases=1"]);
        let line = ran.stdout.lines().next().expect("a line").to_string();
        let seed = line
            .strip_prefix("seed ")
            .and_then(|it| it.split(':').next());
        seed.expect("a seed").parse::<u64>().expect("a number")
    };
    assert_ne!(seed(), seed());
}

#[test]
fn a_run_ends_when_its_time_is_over() {
    let folder = Folder::new();
    let ran = fuzz(&folder, &["--time=1s", "--seed=1", "--jobs=2", "--json"]);
    assert_eq!(ran.status, due(&ran), "{ran:?}");
    let seconds = ran.json()["seconds"].as_f64().expect("seconds");
    assert!((1.0..20.0).contains(&seconds), "{seconds}");
    assert!(ran.json()["cases"].as_u64() > Some(0));
}

#[test]
fn an_interrupt_ends_a_run_with_its_summary() {
    for signal in ["-INT", "-TERM"] {
        let folder = Folder::new();
        let child = Command::new(PARALLAX)
            .args(["fuzz", "--seed=1", "--json", "--jobs=2"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        std::thread::sleep(Duration::from_secs(1));
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        let ran: Ran = child.wait_with_output().expect("it ends").into();
        assert_eq!(ran.status, due(&ran), "{ran:?}");
        assert!(ran.json()["cases"].as_u64() > Some(0));
        assert!(ran.stderr.contains("cases of seed 1"), "{ran:?}");
    }
}

#[test]
fn an_artifacts_folder_that_cannot_be_is_told_at_once() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    parallax(["fuzz", "--cases=1", "--artifacts", &file]).is_refused(&[&file, "cannot make it"]);
    parallax(["fuzz", "--cases=1", "--artifacts", "/proc/parallax"])
        .is_refused(&["/proc/parallax"]);
    parallax(["fuzz", "--cases=1", "--artifacts", "/proc", "--json"]).is_refused(&["/proc"]);
}

/// A folder of the input's name makes saving it fail as a full disk does: the input is printed
/// instead, and the run ends.
/// A limit that whoever started it set is neither a finding nor the end of it without a word.
#[test]
fn files_that_may_not_be_large_are_told() {
    let folder = Folder::new();
    let artifacts = folder.file("artifacts");
    let run =
        "ulimit -f 1; exec \"$0\" fuzz --cases=20 --seed=1 --engines=x86_64 --artifacts=\"$1\"";
    let mut command = Command::new("bash");
    command.args(["-c", run, PARALLAX, &artifacts]);
    let ran = Ran::from(command.output().expect("it runs"));
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(!ran.stderr.is_empty(), "{ran:?}");
    assert!(ran.stdout.contains(" 0 diverged"), "{ran:?}");
}

#[test]
fn what_cannot_be_saved_is_printed() {
    let arguments = ["--cases=3", "--seed=1", GENERATOR, FAULT];
    let good = Folder::new();
    let ran = fuzz(&good, &[&arguments[..], &["--json"]].concat());
    let kept = ran.json()["artifacts"][0].as_str().map(str::to_string);
    let kept = kept.expect("a finding");
    let bytes = fs::read(&kept).expect("the input");
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = kept.rsplit('/').next().expect("a name");

    let folder = Folder::new();
    let in_the_way = folder.path().join("artifacts").join(name);
    fs::create_dir_all(&in_the_way).expect("a folder");
    let ran = fuzz(&folder, &arguments);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("cannot save {name}")),
        "{ran:?}"
    );
    assert!(
        ran.stdout.lines().any(|line| line == hexadecimal),
        "{ran:?}"
    );

    let ran = fuzz(&folder, &[&arguments[..], &["--json"]].concat());
    assert_eq!(ran.status, Some(2), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["unsaved"][0]["name"], name);
    assert_eq!(json["unsaved"][0]["hexadecimal"], hexadecimal);
    assert_eq!(json["artifacts"], Value::Array(Vec::new()));
    // Nothing half written is left behind.
    let left = fs::read_dir(folder.path().join("artifacts")).expect("the folder");
    assert_eq!(left.count(), 1);
}
