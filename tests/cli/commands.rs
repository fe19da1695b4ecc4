//! `parallax spec` and `parallax engines`, and what all commands have in common.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::run::{PARALLAX, Ran, parallax};

#[test]
fn engines_have_the_promised_keys() {
    let ran = parallax(["engines", "--json"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let json = ran.json();
    let engines = json.as_array().expect("an array");
    let names: Vec<&str> = engines
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert_eq!(names[0], "wasmi");
    assert!(names.contains(&"x86_64"));
    for engine in engines {
        assert!(engine["version"].is_string());
        assert!(engine["usable"].is_boolean());
        assert!(engine["why"].is_string());
    }
    let text = parallax(["engines"]).stdout;
    for name in names {
        assert!(text.contains(name), "{text}");
    }
    // Which are run unless others are named, and which are not.
    let default = |name: &str| {
        let mut lines = text.lines();
        let line = lines.find(|it| it.split(' ').next() == Some(name));
        line.is_some_and(|it| it.contains("run by default: "))
    };
    assert!(default("wasmi") && default("x86_64"), "{text}");
    assert!(!default("riscv64") && !default("x86_64-0.112"), "{text}");
}

#[test]
fn spec_prints_a_table_and_json() {
    let ran = parallax(["spec", "--filter", "memory_", "--json"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    let json = ran.json();
    for engine in ["wasmi", "x86_64"] {
        let tally = &json["engines"][engine];
        assert!(tally["passed"].as_u64() > Some(1_000), "{tally}");
        assert_eq!(tally["failed"], 0);
        assert!(tally["skipped"].is_object());
    }
    let ran = parallax(["spec", "--filter", "memory_fill"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("memory_fill.wast"), "{ran:?}");
    assert!(ran.stdout.contains("\ntotal "), "{ran:?}");
}

#[test]
fn spec_takes_levels_styles_and_engines() {
    let ran = parallax([
        "spec",
        "--filter=address",
        "--opt-level=none",
        "--memory-style=dynamic",
        "--engines=x86_64",
        "--compare",
    ]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(!ran.stdout.contains("wasmi"), "{ran:?}");
}

#[test]
fn spec_finds_a_planted_fault() {
    let arguments = ["spec", "--filter=memory_fill", "--fault=memory-fill-short"];
    let ran = parallax(arguments);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("memory_fill.wast:26: x86_64: expected"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("wast:26: wasmi:"), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [&["spec", "--filter", "i32"][..], &["engines"], &["--help"]] {
        let mut child = Command::new(PARALLAX)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        drop(child.stdout.take());
        let ran: Ran = child.wait_with_output().expect("it ends").into();
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(!ran.stderr.contains("parallax:"), "{ran:?}");
    }
}

/// Without this a run in a pipe would go on for ever with nobody to tell.
#[test]
fn fuzz_stops_when_nobody_listens() {
    let folder = crate::run::Folder::new();
    let mut child = Command::new(PARALLAX)
        .args(["fuzz", "--seed", "1", "--engines", "x86_64"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    stdout.read_line(&mut line).expect("a line");
    assert!(line.starts_with("seed 1: x86_64 against wasmi"), "{line}");
    drop(stdout);
    assert!(child.wait().expect("it ends").code().is_some());
}

/// What is told beside the JSON is not what a run is for.
#[test]
fn fuzz_goes_on_without_standard_error() {
    let folder = crate::run::Folder::new();
    let full = File::options().write(true).open("/dev/full");
    let output = Command::new(PARALLAX)
        .args([
            "fuzz",
            "--seed=1",
            "--cases=200",
            "--engines=x86_64",
            "--json",
        ])
        .current_dir(folder.path())
        .stderr(full.expect("/dev/full"))
        .output();
    let ran: Ran = output.expect("the program runs").into();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.json()["cases"], 200, "{ran:?}");
}

#[test]
fn a_full_disk_behind_standard_output_is_told() {
    let full = File::options().write(true).open("/dev/full");
    let output = Command::new(PARALLAX)
        .arg("engines")
        .stdout(full.expect("/dev/full"))
        .output();
    let ran: Ran = output.expect("the program runs").into();
    ran.is_refused(&["standard output", "No space"]);
}
