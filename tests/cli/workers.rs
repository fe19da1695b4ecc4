//! Workers that nothing brings down, or rather: whose going down loses nothing.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parallax::campaign::input;
use parallax::generate::Generators;
use serde_json::Value;

use crate::run::{Folder, PARALLAX, Ran, Running, awaited, parallax, send};

/// A fault that nearly every case of one generator meets.
const FAULT: &str = "--fault=no-interrupt-check";
const GENERATOR: &str = "--generators=interrupts";

fn fuzz(folder: &Folder, arguments: &[&str]) -> Ran {
    let artifacts = folder.file("artifacts");
    let all = ["fuzz", "--json", "--artifacts", &artifacts];
    parallax(all.iter().chain(arguments))
}

fn start(folder: &Folder, arguments: &[&str]) -> Child {
    Command::new(PARALLAX)
        .args(["fuzz", "--json", "--artifacts", &folder.file("artifacts")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("processes");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_ascii_whitespace();
        let alive = fields.next().is_some_and(|state| state != "Z");
        alive && fields.next().and_then(|it| it.parse().ok()) == Some(of)
    })
    .collect()
}

fn kill(process: u32) {
    // It may be gone by now.
    let _ = Command::new("kill")
        .args(["-9", &process.to_string()])
        .stderr(Stdio::null())
        .status();
}

fn names(json: &Value) -> BTreeSet<String> {
    let paths = json.as_array().expect("paths").iter();
    let name = |path: &Value| path.as_str()?.rsplit('/').next().map(str::to_string);
    paths.map(|path| name(path).expect("a path")).collect()
}

/// The number of the case in the name of an input.
fn case(name: &str) -> &str {
    let stem = name.strip_suffix(".bin").expect("an input");
    stem.rsplit('-').next().expect("a number")
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    let path = Path::new(&folder.file("artifacts")).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn killing_workers_loses_nothing() {
    let arguments = [
        "--cases=150",
        "--seed=3",
        "--jobs=2",
        FAULT,
        GENERATOR,
        "--no-shrink",
    ];
    let quiet = Folder::new();
    let undisturbed = fuzz(&quiet, &arguments).json();
    let found = names(&undisturbed["artifacts"]);
    assert!(found.len() > 50, "{undisturbed}");

    let folder = Folder::new();
    let mut child = start(&folder, &arguments);
    let mut killed = 0;
    let mut random = 12345_u32;
    while child.try_wait().expect("a state").is_none() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(random >> 16) % 60));
        let workers = children(child.id());
        // Enough is enough: each time, a worker has to be started again.
        if !workers.is_empty() && killed < 40 {
            kill(workers[(random >> 8) as usize % workers.len()]);
            killed += 1;
        }
    }
    let ran: Ran = child.wait_with_output().expect("it ends").into();
    let json = ran.json();
    assert!(killed > 3, "{ran:?}");
    assert_eq!(json["cases"], 150, "{json}");
    assert!(json["workers_lost"].as_u64() > Some(0), "{json}");
    // A case whose worker is killed each time has no verdict, and its input is kept nevertheless.
    let aside = names(&json["set_aside"]);
    let aside: BTreeSet<&str> = aside.iter().map(|name| case(name)).collect();
    let again = names(&json["artifacts"]);
    for name in &found {
        if aside.contains(case(name)) {
            continue;
        }
        assert!(again.contains(name), "{name} is lost: {json}");
        assert_eq!(read(&folder, name), read(&quiet, name), "{name}");
    }
    assert_eq!(again.difference(&found).count(), 0, "{json}");
    if aside.is_empty() {
        for key in [
            "agreed",
            "diverged",
            "known",
            "inconclusive",
            "calls",
            "opcodes",
            "engines",
        ] {
            assert_eq!(json[key], undisturbed[key], "{key}");
        }
    }
}

/// Nothing that a case does to its worker ends the run, changes what comes of another case, or
/// depends on the number of workers.
#[test]
fn what_brings_a_worker_down_is_told_with_its_input() {
    let mishaps = "--mishaps=abort@3,stack-overflow@5,exit@7,babble@9,panic@11,spin@13,memory@15,\
                   sleep@17,other-answer@19";
    let limits = ["--case-time=1s", "--case-memory=400"];
    let run = |folder: &Folder, more: &[&str]| {
        let arguments = [
            &["--cases=40", "--seed=5", "--engines=x86_64"],
            &limits[..],
            more,
        ];
        fuzz(folder, &arguments.concat())
    };
    let quiet = Folder::new();
    let undisturbed = run(&quiet, &[]).json();
    let mut reports = Vec::new();
    for jobs in ["--jobs=1", "--jobs=3"] {
        let folder = Folder::new();
        let ran = run(&folder, &[mishaps, jobs]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        let json = ran.json();
        assert_eq!(json["cases"], 40);
        assert_eq!(json["diverged"], 6, "{json}");
        assert_eq!(json["inconclusive"]["hung"], 2, "{json}");
        assert_eq!(json["inconclusive"]["out-of-memory"], 1, "{json}");
        let agreed = |json: &Value| json["agreed"].as_u64().expect("a count");
        assert_eq!(agreed(&json), agreed(&undisturbed) - 9, "{json}");
        let aside = ["hung-5-13.bin", "hung-5-17.bin", "out-of-memory-5-15.bin"];
        assert_eq!(names(&json["set_aside"]), aside.map(str::to_string).into());
        for name in names(&json["artifacts"]).union(&names(&json["set_aside"])) {
            let number = case(name).parse().expect("a number");
            let made_from = input(5, number, 0, Generators::all());
            assert!(read(&folder, name) == made_from, "{name} is another input");
        }
        let said = [
            (3, "SIGABRT"),
            (5, "overflowed its stack"),
            (7, "it exited with status 0"),
            (9, "no answer"),
            (11, "panicked: a mishap"),
            (19, "no answer"),
        ];
        for (case, words) in said {
            let text = read(&folder, &format!("differential-5-{case}.txt"));
            let text = String::from_utf8(text).expect("text");
            assert!(text.contains(words), "{text}");
            // Nothing is wrong with the input.
            let path = folder.file(&format!("artifacts/differential-5-{case}.bin"));
            assert_eq!(parallax(["repro", &path]).status, Some(0));
        }
        reports.push(
            [
                "agreed",
                "diverged",
                "known",
                "inconclusive",
                "calls",
                "oracles",
            ]
            .map(|key| json[key].clone()),
        );
    }
    assert_eq!(reports[0], reports[1]);
}

/// What an earlier case did to the worker is no fault of the case at which it shows.
#[test]
fn a_case_that_is_innocent_is_found_to_be_so() {
    let folder = Folder::new();
    let ran = fuzz(
        &folder,
        &[
            "--cases=20",
            "--seed=5",
            "--mishaps=abort@9!,spin@13!",
            "--case-time=500ms",
        ],
    );
    let json = ran.json();
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(json["workers_lost"], 2, "{json}");
    // That a worker crashed is told; that one hung which need not have, is only counted.
    assert_eq!(json["diverged"], 1, "{json}");
    assert!(json["inconclusive"].get("hung").is_none(), "{json}");
    let text = String::from_utf8(read(&folder, "differential-5-9.txt")).expect("text");
    assert!(
        text.contains("does not if it runs nothing else before"),
        "{text}"
    );
}

/// What an emulator reserves, a gibibyte, is no case's doing, and is not held against one.
#[test]
fn what_emulators_reserve_is_no_cases_doing() {
    let folder = Folder::new();
    let arguments = [
        "--seed=1",
        "--cases=5",
        "--case-memory=512",
        "--engines=aarch64",
    ];
    let ran = fuzz(&folder, &arguments);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["engines"]["aarch64"]["compared"], 5, "{json}");
    assert_eq!(json["workers_lost"], 0, "{json}");
}

/// One that is killed is nobody's fault, so its case is run again; but not for ever.
#[test]
fn a_case_whose_worker_is_killed_is_run_again() {
    let folder = Folder::new();
    let arguments = ["--cases=8", "--seed=5", "--engines=x86_64"];
    // Nobody confined may kill, be it itself.
    let mishaps = [
        "--mishaps=kill-itself@2!,kill-itself@5",
        "--confine-by=none",
    ];
    let json = fuzz(
        &folder,
        &[arguments, [mishaps[0], mishaps[1], "--jobs=1"]].concat(),
    )
    .json();
    assert_eq!(json["cases"], 8, "{json}");
    assert_eq!(json["diverged"], 0, "{json}");
    assert_eq!(json["inconclusive"], serde_json::json!({"killed": 1}));
    assert_eq!(
        names(&json["set_aside"]),
        ["killed-5-5.bin".to_string()].into()
    );
    assert_eq!(json["workers_lost"], 5, "{json}");
}

/// It takes less than it could be refused, so it is ended because its memory is looked at.
#[test]
fn a_worker_that_holds_on_to_memory_is_ended() {
    let folder = Folder::new();
    let arguments = [
        "--cases=1",
        "--seed=5",
        "--engines=x86_64",
        "--mishaps=hoard@0",
    ];
    let limits = ["--case-memory=400", "--case-time=3s"];
    let json = fuzz(&folder, &[&arguments[..], &limits].concat()).json();
    assert_eq!(
        json["inconclusive"],
        serde_json::json!({"out-of-memory": 1})
    );
    let text = String::from_utf8(read(&folder, "out-of-memory-5-0.txt")).expect("text");
    assert!(text.contains("it was ended, using "), "{text}");
}

/// What a worker has noted that it is about to run: the case, the attempt at it, and the input.
fn noted(worker: u32) -> Option<(u64, u64, Vec<u8>)> {
    let file = File::open(format!("/proc/{worker}/fd/2")).ok()?;
    let mut head = [0; 32];
    file.read_exact_at(&mut head, 0).ok()?;
    let (words, _) = head.as_chunks::<8>();
    let [_, case, attempt, length] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
    let mut input = vec![0; length as usize];
    file.read_exact_at(&mut input, 32).ok()?;
    head.starts_with(b"inflight")
        .then_some((case, attempt, input))
}

/// A run, and its only worker, which has come to its first case and never comes to the next.
fn stuck(folder: &Folder) -> (Running, u32) {
    let mut command = Command::new(PARALLAX);
    command
        .args(["fuzz", "--json", "--artifacts", &folder.file("artifacts")])
        .args([
            "--cases=3",
            "--seed=5",
            "--engines=x86_64",
            "--mishaps=sleep@0",
        ])
        .process_group(0);
    let run = Running::start(&mut command);
    let worker = awaited("worker that has noted its input", || {
        let mut workers = children(run.id()).into_iter();
        workers.find(|worker| noted(*worker).is_some())
    });
    (run, worker)
}

#[test]
fn an_input_is_noted_before_it_is_run() {
    let folder = Folder::new();
    let (_run, worker) = stuck(&folder);
    let expected = (0, 0, input(5, 0, 0, Generators::all()));
    assert!(noted(worker) == Some(expected));
}

/// Who runs a case does not hear that nobody listens any more.
#[test]
fn a_worker_that_is_stuck_ends_with_its_supervisor() {
    let folder = Folder::new();
    let (run, worker) = stuck(&folder);
    run.signal("-KILL");
    run.ended();
    let began = Instant::now();
    while is_worker(&worker) {
        if began.elapsed() > Duration::from_secs(60) {
            kill(worker);
            panic!("{worker} lives on");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ctrl-C in a terminal goes to all processes of a group, and is meant for the supervisor.
#[test]
fn an_interrupt_does_not_reach_workers() {
    let folder = Folder::new();
    let (run, _worker) = stuck(&folder);
    send("-INT", &format!("-{}", run.id()));
    let ran = run.ended();
    let json = ran.json();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(
        (&json["cases"], &json["workers_lost"]),
        (&0.into(), &0.into())
    );
}

/// Whether there is a process of this number, and it is a worker.
fn is_worker(id: &u32) -> bool {
    let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    command.contains("worker")
}

#[test]
fn workers_end_with_their_supervisor() {
    let folder = Folder::new();
    let mut child = start(&folder, &["--seed=1", "--jobs=2"]);
    let began = Instant::now();
    let mut workers = Vec::new();
    while workers.len() < 2 && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
        workers = children(child.id());
    }
    assert_eq!(workers.len(), 2);
    kill(child.id());
    child.wait().expect("it ends");
    let began = Instant::now();
    while workers.iter().any(is_worker) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{workers:?} live on"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_worker_is_nothing_to_be_run_by_hand() {
    parallax(["worker"]).is_refused(&["for `parallax fuzz` to run"]);
    assert!(!parallax(["--help"]).stdout.contains("worker"));
}
