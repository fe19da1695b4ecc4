//! Commands that look at one case, and cases that end whoever looks at them.

use std::fs;

use crate::confined::confines;
use crate::run::{Folder, PARALLAX, parallax};

/// What a run says of a case that brings its worker down, and what `repro` says of the input that it
/// saved, are the same.
#[test]
fn what_brought_a_worker_down_does_so_again() {
    let folder = Folder::new();
    let artifacts = folder.file("artifacts");
    let mishaps =
        "--mishaps=abort@0,stack-overflow@1,exit@2,panic@3,spin@4,memory@5,reserve@6,write@7";
    // Long enough for memory to run out first on a machine that is busy with others.
    let limits = ["--case-time=3s", "--case-memory=400", "--engines=x86_64"];
    let seed = ["--seed=5", "--cases=8", "--no-shrink", mishaps];
    let run = ["fuzz", "--json", "--artifacts", &artifacts];
    let ran = parallax(run.iter().chain(&limits).chain(&seed));
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let expected = [
        ("differential", "abort", "diverged", "(SIGABRT)"),
        (
            "differential",
            "stack-overflow",
            "diverged",
            "overflowed its stack",
        ),
        ("differential", "exit", "diverged", "exited with status 0"),
        ("differential", "panic", "diverged", "a mishap"),
        ("hung", "spin", "inconclusive", "hung: "),
        ("out-of-memory", "memory", "inconclusive", "out-of-memory: "),
        // Refused by the system, since it is never seen to use any.
        (
            "out-of-memory",
            "reserve",
            "inconclusive",
            "memory allocation of ",
        ),
        (
            "differential",
            "write",
            "diverged",
            "(SIGSYS), for a system call",
        ),
    ];
    for (case, (stem, mishap, verdict, words)) in expected.iter().enumerate() {
        let input = format!("{artifacts}/{stem}-5-{case}.bin");
        let told = fs::read_to_string(input.replace(".bin", ".txt")).expect("what was found");
        let mishap = format!("--mishaps={mishap}@0");
        let again = ["repro", "--json", &mishap, &input];
        let again = parallax(again.iter().chain(&limits));
        let status = if *verdict == "diverged" { 1 } else { 3 };
        assert_eq!(again.status, Some(status), "{again:?}");
        let json = again.json();
        assert_eq!(json["files"][0]["verdict"], *verdict, "{json}");
        let text = json["files"][0].to_string();
        assert!(text.contains(words), "no {words:?} in {text}");
        assert!(told.contains(words), "no {words:?} in {told}");
        // As a script it can be read all the same.
        assert!(text.contains("(module"), "{text}");
        // Without the mishap there is nothing.
        let well = ["repro", &input];
        assert_eq!(parallax(well.iter().chain(&limits)).status, Some(0));
    }
}

/// A folder of three cases with which nothing is wrong.
fn three() -> Folder {
    let folder = Folder::new();
    for name in ["a.wat", "b.wat", "c.wat"] {
        folder.write(
            name,
            "(module (func (export \"f\") (result i32) i32.const 7))",
        );
    }
    folder
}

/// What a worker does that ran others before is held against a case only if a fresh one does it too.
#[test]
fn a_case_that_is_innocent_is_found_to_be_so() {
    let folder = three();
    let path = folder.path().to_str().expect("a path");
    let mishaps = ["--mishaps=abort@1!,spin@2!", "--case-time=1s"];
    let ran = parallax(
        ["repro", path, "--engines=x86_64", "--json"]
            .iter()
            .chain(&mishaps),
    );
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let json = ran.json();
    // That a worker crashed is told; that one hung which need not have, is not.
    let verdicts = ["agreed", "diverged", "agreed"];
    for (file, verdict) in verdicts.into_iter().enumerate() {
        assert_eq!(json["files"][file]["verdict"], verdict, "{json}");
    }
    let text = json["files"][1].to_string();
    assert!(
        text.contains("does not if it runs nothing else before"),
        "{text}"
    );
}

/// What is too large to be told of is not held to have crashed.
#[test]
fn a_case_too_large_to_be_told_of_is_refused() {
    let folder = Folder::new();
    // Its text takes four bytes for each of these, and is sent more than once.
    let data = "\\ff".repeat(20 << 20);
    let module = format!(
        "(module (memory 400) (data (i32.const 0) \"{data}\") (func (export \"f\") (nop)))"
    );
    let module = wat::parse_str(module).expect("a module");
    let file = folder.write("large.wasm", module);
    let ran = parallax(["repro", &file, "--engines=x86_64"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let output = folder.file("small.wast");
    for command in [&["explain"][..], &["shrink", "-o", &output]] {
        let ran = parallax(command.iter().copied().chain([&*file, "--engines=x86_64"]));
        ran.is_refused(&[&file]);
        let words = ["too large", "all engines agree"];
        assert!(words.iter().any(|it| ran.stderr.contains(it)), "{ran:?}");
    }
}

/// One that dies takes no other with it, and what it ran before is not to blame.
#[test]
fn of_a_folder_the_others_are_run() {
    let folder = three();
    let path = folder.path().to_str().expect("a path");
    for command in [&["repro"][..], &["corpus", "check"]] {
        let arguments = ["--engines=x86_64", "--json", "--mishaps=abort@1", path];
        let ran = parallax(command.iter().chain(&arguments));
        assert_eq!(ran.status, Some(1), "{ran:?}");
        let summary = &ran.json()["summary"];
        assert_eq!(
            (&summary["agreed"], &summary["diverged"]),
            (&2.into(), &1.into())
        );
        assert!(
            ran.stderr.contains("b.wat: diverged: its worker crashed"),
            "{ran:?}"
        );
        assert_eq!(
            ran.stderr.matches("its worker crashed").count(),
            1,
            "{ran:?}"
        );
    }
}

/// There is nothing to explain of it, in a line.
#[test]
fn what_ends_its_worker_cannot_be_explained() {
    let folder = Folder::new();
    let file = folder.write("a.wat", "(module (func (export \"f\")))");
    for (mishap, status) in [("abort", 1), ("spin", 3)] {
        let mishap = format!("--mishaps={mishap}@0");
        let limits = ["--case-time=1s", "--engines=x86_64", &mishap];
        let ran = parallax(["explain", &file].iter().chain(&limits));
        assert_eq!(ran.status, Some(status), "{ran:?}");
        assert_eq!(
            (ran.stderr.lines().count(), &*ran.stdout),
            (1, ""),
            "{ran:?}"
        );
        let ran = parallax(["explain", "--json", &file].iter().chain(&limits));
        assert_eq!(ran.status, Some(status), "{ran:?}");
        let verdict = ["diverged", "inconclusive"][usize::from(status == 3)];
        assert_eq!(ran.json()["verdict"], verdict, "{ran:?}");
        assert!(ran.json()["reason"].is_string(), "{ran:?}");
    }
}

/// A case by which a compiler, say, ends the process is made small like any other.
#[test]
fn what_ends_its_worker_is_shrunk() {
    let folder = Folder::new();
    let file = folder.write(
        "a.wast",
        r#"(module
             (memory 1)
             (func $deep (param i32) (result i32)
               (if (result i32) (local.get 0)
                 (then (i32.popcnt (i32.add (local.get 0) (i32.load (i32.const 8)))))
                 (else (call $other (i32.const 9)))))
             (func $other (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))
             (func (export "f") (param i32) (result i32) (call $deep (local.get 0)))
             (func (export "g") (result i32) (call $other (i32.const 4))))
           (invoke "f" (i32.const 5))
           (invoke "g")"#,
    );
    let small = folder.file("small.wast");
    let options = ["--engines=x86_64", "--abort-at=i32.popcnt", "--json"];
    let arguments = ["shrink", &file, "-o", &small];
    let ran = parallax(arguments.iter().chain(&options));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["finished"], true, "{json}");
    let left = json["after"]["instructions"].as_u64().expect("a number");
    assert!(left <= 4, "{json}");
    let script = fs::read_to_string(&small).expect("a script");
    assert!(
        script.contains("i32.popcnt") && !script.contains("i32.mul"),
        "{script}"
    );
    assert!(
        script.contains("its worker crashed: it died of signal 6"),
        "{script}"
    );
    // And shows it again.
    let again = parallax(["repro", &small].iter().chain(&options[..2]));
    assert_eq!(again.status, Some(1), "{again:?}");
}

/// Code of cases is run where it can do nothing.
#[test]
fn workers_of_commands_are_confined() {
    if !confines() {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("a.wat", "(module (func (export \"f\")))");
    for (command, more) in [
        ("repro", &[][..]),
        ("explain", &[]),
        ("repro", &["--confine-by=landlock"]),
    ] {
        let ran = std::process::Command::new(PARALLAX)
            .args([command, &file, "--engines=x86_64", "--mishaps=write@0"])
            .args(more)
            .current_dir(folder.path())
            .output()
            .expect("the program runs");
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        assert!(!folder.path().join("mishap").exists());
    }
}
