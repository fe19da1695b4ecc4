//! Runs that end and go on, and what becomes of their artifacts folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{Folder, PARALLAX, Ran, Running, parallax};

/// A fault that nearly every case of one generator meets.
const FAULT: &str = "--fault=no-interrupt-check";
const GENERATOR: &str = "--generators=interrupts";

fn fuzz(folder: &Folder, arguments: &[&str]) -> Ran {
    let artifacts = folder.file("artifacts");
    let all = ["fuzz", "--artifacts", &artifacts];
    parallax(all.iter().chain(arguments))
}

fn start(folder: &Folder, arguments: &[&str]) -> Child {
    Command::new(PARALLAX)
        .args(["fuzz", "--artifacts", &folder.file("artifacts")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([signal, &id]).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits until the run has saved how far it is.
fn await_state(folder: &Folder) {
    let state = Path::new(&folder.file("artifacts")).join("run.json");
    let began = Instant::now();
    while !state.exists() {
        assert!(began.elapsed() < Duration::from_secs(100), "no state");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The report of a run without what depends on the clock, the folder or the way there.
fn lasting(ran: &Ran) -> Value {
    let mut json = ran.json();
    let object = json.as_object_mut().expect("an object");
    for key in ["seconds", "starts", "workers_lost"] {
        object.remove(key).expect("a key");
    }
    let artifacts = object["artifacts"].as_array_mut().expect("artifacts");
    for path in artifacts {
        let name = path.as_str().and_then(|path| path.rsplit('/').next());
        *path = Value::from(name.expect("a path"));
    }
    json
}

/// However a run was ended and started again, it comes to the same.
#[test]
fn a_second_start_goes_on() {
    let all = [
        "--cases=400",
        "--seed=4",
        GENERATOR,
        FAULT,
        "--no-shrink",
        "--json",
    ];
    let whole = Folder::new();
    let whole = fuzz(&whole, &all);
    assert_eq!(whole.status, Some(1), "{whole:?}");

    let folder = Folder::new();
    let few = fuzz(&folder, &[&["--cases=37"], &all[1..]].concat());
    assert_eq!(few.json()["cases"], 37);
    for how in ["-INT", "-TERM", "-HUP", "-KILL"] {
        let mut child = start(&folder, &all);
        std::thread::sleep(Duration::from_millis(400));
        // It may be done by now.
        if child.try_wait().expect("a state").is_none() {
            signal(&child, how);
        }
        let ran: Ran = child.wait_with_output().expect("it ends").into();
        assert!(ran.stderr.contains("continued: "), "{ran:?}");
        assert!(
            how == "-KILL" || ran.stderr.contains("cases of seed 4"),
            "{ran:?}"
        );
    }
    let ran = fuzz(&folder, &[&all[..], &["--jobs=2"]].concat());
    assert_eq!(lasting(&ran), lasting(&whole));
    // Once more, there is nothing left to do.
    let again = fuzz(&folder, &all);
    assert!(
        again.stderr.contains("continued: 400 cases are done"),
        "{again:?}"
    );
    assert_eq!(
        (again.status, lasting(&again)),
        (whole.status, lasting(&whole))
    );
}

/// As under `nohup`.
#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let folder = Folder::new();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", PARALLAX])
        .args(["fuzz", "--artifacts", &folder.file("artifacts")])
        .args(["--seed=1", "--engines=x86_64", "--time=4s", "--json"]);
    let run = Running::start(&mut command);
    std::thread::sleep(Duration::from_millis(1_500));
    run.signal("-HUP");
    let ran = run.ended();
    assert!(ran.json()["seconds"].as_f64() >= Some(4.0), "{ran:?}");
}

/// Changes what is saved of how far a run is.
fn edit_state(folder: &Folder, edit: impl FnOnce(&mut Value)) {
    let path = Path::new(&folder.file("artifacts")).join("run.json");
    let mut state = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("json");
    edit(&mut state);
    fs::write(&path, state.to_string()).expect("a file");
}

/// Several workers are never done in the order of the cases.
#[test]
fn what_is_missing_in_between_is_run_and_nothing_twice() {
    let folder = Folder::new();
    let cases = |cases| {
        let arguments = ["--seed=4", "--engines=x86_64", "--json", "--jobs=2", cases];
        fuzz(&folder, &arguments)
    };
    cases("--cases=1");
    edit_state(&folder, |state| {
        state["record"]["done"] = serde_json::json!({"before": 1, "beyond": [2, 5]});
    });
    let ran = cases("--cases=8");
    assert!(
        ran.stderr.contains("continued: 3 cases are done"),
        "{ran:?}"
    );
    // The first, which is counted, and five of the others.
    assert_eq!(ran.json()["cases"], 6, "{ran:?}");
    edit_state(&folder, |state| {
        let all = serde_json::json!({"before": 8, "beyond": []});
        assert_eq!(state["record"]["done"], all);
    });
}

#[test]
fn without_a_seed_the_run_there_goes_on() {
    let folder = Folder::new();
    let first = fuzz(&folder, &["--cases=20", "--json"]);
    let second = fuzz(&folder, &["--cases=20", "--json"]);
    assert_eq!(first.json()["seed"], second.json()["seed"]);
    assert_eq!(second.json()["cases"], 40);
    assert_eq!(second.json()["starts"], 2);
    let over = fuzz(&folder, &["--cases=20", "--json", "--restart"]);
    assert_eq!(over.json()["cases"], 20);
}

#[test]
fn what_is_not_the_same_run_is_not_continued() {
    let folder = Folder::new();
    let all = ["--cases=3", "--seed=4"];
    fuzz(&folder, &all);
    for (other, words) in [
        (["--cases=3", "--seed=5"], "other cases (--seed)"),
        (["--cases=3", "--engines=x86_64"], "other engines"),
        (["--cases=3", "--generators=loops"], "other engines"),
        (["--cases=3", FAULT], "other generators"),
        (["--cases=3", "--jobs=2"], "other faults planted"),
    ] {
        let ran = fuzz(&folder, &other);
        let line = format!("not continued, but begun at the first case: the run there has {words}");
        assert!(
            ran.stdout.lines().any(|it| it == line),
            "no {line:?} in {ran:?}"
        );
        assert!(ran.stdout.contains("3 cases of seed "), "{ran:?}");
    }
    let state = Path::new(&folder.file("artifacts")).join("run.json");
    for broken in ["", "{}", "[1", "\u{0}"] {
        fs::write(&state, broken).expect("a file");
        let ran = fuzz(&folder, &all);
        assert!(
            ran.stdout.contains("run.json is no state of a run"),
            "{ran:?}"
        );
        assert!(ran.stdout.contains("3 cases of seed 4"), "{ran:?}");
    }
}

/// Another run in a folder takes nothing of what was found there, and all of it is reported.
#[test]
fn what_was_found_before_stays() {
    let folder = Folder::new();
    let artifacts = folder.file("artifacts");
    let saved = || -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(&artifacts).expect("a folder");
        let files = entries.map(|entry| entry.expect("an entry"));
        let files = files.filter(|it| it.file_name() != "run.json");
        files
            .map(|it| {
                (
                    it.file_name().display().to_string(),
                    fs::read(it.path()).expect("a file"),
                )
            })
            .collect()
    };
    let common = ["--seed=1", "--cases=120", "--no-shrink", "--json"];
    let first = ["--fault=skip-null-check", "--case-time=50s"];
    let ran = fuzz(&folder, &[&common[..], &first].concat());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let before = saved();
    let cases: Vec<&str> = before
        .keys()
        .filter_map(|name| name.strip_suffix(".bin"))
        .collect();
    for case in &cases {
        let text = &before[&format!("{case}.txt")];
        let recipe =
            format!("parallax repro {case}.bin --fault skip-null-check --case-time 50000ms\n");
        assert!(String::from_utf8_lossy(text).ends_with(&recipe), "{ran:?}");
    }
    let ran = fuzz(&folder, &[&common[..], &[GENERATOR, FAULT]].concat());
    assert_eq!(ran.status, Some(1), "{ran:?}");
    // Some cases of both diverge.
    let again = |case: &&str| ran.stdout.contains(&format!("/{case}-2.bin"));
    assert!(cases.iter().any(again), "{ran:?}");
    let after = saved();
    for (name, contents) in &before {
        assert!(after.get(name) == Some(contents), "{name} was lost");
    }
    // A run that finds nothing says nothing of what is there; the report does.
    let ran = fuzz(&folder, &["--seed=2", "--cases=1"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    fs::remove_file(Path::new(&artifacts).join("run.json")).expect("a file");
    for state in ["", "run.json is there"] {
        if !state.is_empty() {
            fuzz(&folder, &["--seed=2", "--cases=1"]);
        }
        let report = parallax(["report", &artifacts]);
        assert_eq!(report.status, Some(1), "{report:?}");
        let inputs = after.keys().filter(|name| name.ends_with(".bin")).count();
        let told = format!("{inputs} inputs saved that run.json does not know");
        assert!(report.stdout.contains(&told), "{report:?}");
        assert!(!report.stdout.contains("Nothing was found."), "{report:?}");
    }
}

#[test]
fn engines_in_another_order_are_the_same_engines() {
    let folder = Folder::new();
    fuzz(&folder, &["--seed=4", "--cases=2", "--engines=clif,x86_64"]);
    let ran = fuzz(&folder, &["--seed=4", "--cases=3", "--engines=x86_64,clif"]);
    assert!(
        ran.stdout.contains("continued: 2 cases are done"),
        "{ran:?}"
    );
}

/// Verdicts of two programs are not to be added up.
#[test]
fn what_another_program_has_run_is_not_continued() {
    let folder = Folder::new();
    let all = ["--cases=3", "--seed=4", "--engines=x86_64"];
    fuzz(&folder, &all);
    for (key, value, words) in [
        ("program", "another".into(), "another build of parallax"),
        ("form", 1_000_000.into(), "another version of parallax"),
    ] {
        edit_state(&folder, |state| state[key] = value);
        let ran = fuzz(&folder, &all);
        let line =
            format!("not continued, but begun at the first case: the run there is of {words}");
        assert!(
            ran.stdout.lines().any(|it| it == line),
            "no {line:?} in {ran:?}"
        );
        assert!(ran.stdout.contains("3 cases of seed 4"), "{ran:?}");
    }
}

#[test]
fn a_folder_is_for_one_run_at_a_time() {
    let folder = Folder::new();
    let folder_name = folder.file("artifacts");
    let mut command = Command::new(PARALLAX);
    command
        .args(["fuzz", "--artifacts", &folder_name])
        .args(["--seed=1", "--engines=x86_64"]);
    let run = Running::start(&mut command);
    await_state(&folder);
    let ran = fuzz(&folder, &["--seed=2", "--cases=1"]);
    ran.is_refused(&[&folder_name, "another run uses it"]);
    run.signal("-KILL");
    run.ended();
    // Whoever is gone has no claim.
    let ran = fuzz(&folder, &["--seed=2", "--cases=1"]);
    assert!(ran.stdout.contains("1 cases of seed 2"), "{ran:?}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_at_once() {
    let folder = Folder::new();
    let artifacts = folder.path().join("artifacts");
    fs::create_dir(&artifacts).expect("a folder");
    let mode = |mode| fs::set_permissions(&artifacts, fs::Permissions::from_mode(mode));
    mode(0o555).expect("permissions");
    // Root writes nevertheless.
    if fs::write(artifacts.join("probe"), "").is_err() {
        fuzz(&folder, &["--cases=1"]).is_refused(&["artifacts", "cannot write to it"]);
    }
    mode(0o755).expect("permissions");
}

/// A file system of our own; none if we may not have one.
struct Tmpfs<'f>(&'f Path);

impl<'f> Tmpfs<'f> {
    fn mount(at: &'f Path, options: &str) -> Option<Tmpfs<'f>> {
        fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Tmpfs(at));
        }
        eprintln!("not tested: no file system can be mounted here");
        None
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let mounted = Command::new("mount")
            .args(["-o", &options])
            .arg(self.0)
            .status();
        assert!(mounted.expect("mount runs").success());
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// One clear line, what was found is kept, and what could not be saved is printed.
#[test]
fn a_folder_that_is_full_keeps_what_was_found() {
    let folder = Folder::new();
    let artifacts = folder.path().join("artifacts");
    // Room for two inputs or so.
    let Some(disk) = Tmpfs::mount(&artifacts, "size=24k") else {
        return;
    };
    let arguments = [
        "--cases=60",
        "--seed=1",
        GENERATOR,
        FAULT,
        "--jobs=2",
        "--json",
    ];
    let ran = fuzz(&folder, &arguments);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    let line = ran.stderr.lines().filter(|it| it.starts_with("parallax: "));
    let line: Vec<&str> = line.collect();
    assert_eq!(line.len(), 1, "{ran:?}");
    assert!(line[0].contains("No space left"), "{ran:?}");
    let json = ran.json();
    let saved = json["artifacts"].as_array().expect("paths");
    let unsaved = json["unsaved"].as_array().map_or(0, Vec::len);
    assert!(!saved.is_empty(), "{json}");
    assert!(json["cases"].as_u64() < Some(60), "{json}");
    assert_eq!(json["diverged"], saved.len() + unsaved);
    for path in saved {
        assert!(
            fs::metadata(path.as_str().expect("a path"))
                .expect("a file")
                .len()
                > 1_000
        );
    }

    // What could not be saved is printed somewhere, also if standard output takes nothing.
    let full = File::options().write(true).open("/dev/full");
    let ran = Command::new(PARALLAX)
        .args(["fuzz", "--artifacts", &folder.file("artifacts")])
        .args([
            "--seed=2",
            "--restart",
            "--cases=9",
            GENERATOR,
            FAULT,
            "--json",
        ])
        .stdout(full.expect("/dev/full"))
        .output();
    let ran: Ran = ran.expect("the program runs").into();
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(
        ran.stderr
            .contains("could not be saved and is, in hexadecimal"),
        "{ran:?}"
    );
    // The stamp.
    assert!(
        ran.stderr.lines().any(|it| it.starts_with("8f706c78")),
        "{ran:?}"
    );

    // With more room, the run goes on, and what could not be saved is found again.
    disk.remount("size=4m");
    let ran = fuzz(&folder, &arguments);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.json()["cases"], 60, "{ran:?}");
    assert_eq!(
        ran.json()["diverged"],
        ran.json()["artifacts"].as_array().map_or(0, Vec::len)
    );

    disk.remount("ro");
    fuzz(&folder, &["--cases=1"]).is_refused(&["artifacts", "cannot write to it", "Read-only"]);
}
