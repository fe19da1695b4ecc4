//! `parallax repro`: verdicts, assertions, findings and their status.

use std::fs;
use std::process::{Command, Stdio};

use crate::run::{Folder, PARALLAX, parallax, parallax_reading};

const FILL: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "main") (param i32)
    (memory.fill (i32.const 16) (i32.const 42) (i32.const 8))))
"#;

const ENDLESS: &str = "(module (func (export \"f\") (loop (br 0))))";

#[test]
fn engines_that_agree() {
    let folder = Folder::new();
    let text = folder.write("fill.wat", FILL);
    let binary = folder.write("fill.wasm", wat::parse_str(FILL).expect("a module"));
    let ran = parallax(["repro", &text, &binary]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "");
    assert!(ran.stdout.contains("fill.wat: agreed"), "{ran:?}");
    assert!(ran.stdout.contains("fill.wasm: agreed"), "{ran:?}");
}

#[test]
fn a_planted_fault_is_named_with_oracle_place_and_values() {
    let folder = Folder::new();
    let file = folder.write("fill.wat", FILL);
    let ran = parallax(["repro", "--fault", "memory-fill-short", &file]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].contains("fill.wat: diverged"), "{ran:?}");
    assert!(lines[2].starts_with("call    step 1: invoke instance 0 \"main\"(i32 "));
    assert_eq!(lines[3], "oracle  memories");
    assert_eq!(lines[4], "place   byte 0x17 of memory 0 of instance 0");
    assert_eq!(lines[5], "wasmi   0x2a");
    assert_eq!(lines[6], "x86_64  0x00");
    assert!(ran.stdout.contains("    memory.fill\n"), "{ran:?}");

    let ran = parallax(["repro", "--json", "--fault", "memory-fill-short", &file]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let report = &ran.json()["files"][0];
    assert_eq!(report["verdict"], "diverged");
    assert_eq!(report["findings"][0]["oracle"], "memories");
    assert_eq!(report["findings"][0]["engine"], "x86_64");
    assert_eq!(report["findings"][0]["reference"]["Byte"], 42);
    assert!(ran.stderr.contains("oracle  memories"), "{ran:?}");
}

#[test]
fn assertions_are_checked_on_every_engine() {
    let folder = Folder::new();
    let script = r#"(module (func (export "f") (result i32) (i32.const 1)))
(assert_return (invoke "f") (i32.const 1))
(assert_return (invoke "f") (i32.const 2))
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_invalid (module (func)) "this is valid")
"#;
    let file = folder.write("x.wast", script);
    let ran = parallax(["repro", "--engines=x86_64", &file]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    for engine in ["wasmi", "x86_64"] {
        let failed = |line: u32| format!("x.wast:{line}: {engine}: expected ");
        assert!(ran.stdout.contains(&failed(3)), "{ran:?}");
        assert!(ran.stdout.contains(&failed(5)), "{ran:?}");
        assert!(!ran.stdout.contains(&failed(2)), "{ran:?}");
        assert!(!ran.stdout.contains(&failed(4)), "{ran:?}");
    }
    assert!(
        ran.stdout.contains("4 assertions met, 4 not met"),
        "{ran:?}"
    );

    let good = folder.write("y.wast", script.lines().take(2).collect::<String>());
    let ran = parallax(["repro", "--engines=x86_64", "--json", &good]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.json()["files"][0]["assertions"]["passed"], 2);
}

#[test]
fn a_script_of_nothing_but_refusals() {
    let folder = Folder::new();
    let script = "(assert_invalid (module (func (result i32))) \"type mismatch\")";
    let ran = parallax(["repro", &folder.write("x.wast", script)]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn what_does_not_end_is_inconclusive() {
    let folder = Folder::new();
    let ran = parallax(["repro", &folder.write("endless.wat", ENDLESS)]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(
        ran.stdout
            .contains("endless.wat: inconclusive: out-of-fuel in step 1"),
        "{ran:?}"
    );
}

#[test]
fn of_several_files_the_worst_decides() {
    let folder = Folder::new();
    let agreed = folder.write("agreed.wat", FILL);
    let endless = folder.write("endless.wat", ENDLESS);
    let failing = folder.write(
        "failing.wast",
        "(module (func (export \"f\")))\n(assert_trap (invoke \"f\") \"unreachable\")",
    );
    let unreadable = folder.file("missing.wat");
    let status = |files: &[&String]| {
        let arguments = std::iter::once("repro").chain(files.iter().copied().map(String::as_str));
        parallax(arguments).status
    };
    assert_eq!(status(&[&agreed, &endless]), Some(3));
    assert_eq!(status(&[&failing, &endless, &agreed]), Some(1));
    assert_eq!(status(&[&failing, &unreadable, &agreed]), Some(2));

    let ran = parallax(["repro", "--json", &unreadable, &agreed]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.json()["files"][0]["verdict"], "unreadable");
    assert_eq!(ran.json()["files"][1]["verdict"], "agreed");
}

#[test]
fn settings_of_a_script_hold() {
    let folder = Folder::new();
    let script = ";;! fuel = 1000\n(module (func (export \"f\") (loop (br 0))))\n(invoke \"f\")";
    let ran = parallax(["repro", &folder.write("x.wast", script)]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
}

#[test]
fn a_raw_input_is_printed_as_a_script_that_says_the_same() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..3_000u32).map(|i| ((i * i) >> 3) as u8).collect();
    let ran = parallax(["repro", &folder.write("crash-0", bytes)]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let (script, verdict) = ran
        .stdout
        .trim_end()
        .rsplit_once('\n')
        .expect("a script and a verdict");
    assert!(verdict.contains("crash-0: agreed"), "{verdict}");
    let ran = parallax(["repro", &folder.write("x.wast", script)]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn a_folder_is_run_in_the_order_of_names() {
    let folder = Folder::new();
    fs::create_dir(folder.path().join("b")).expect("a folder");
    folder.write("b/fill.wat", FILL);
    folder.write("endless.wat", ENDLESS);
    folder.write("a.bin", [7; 300]);
    folder.write("a.txt", "what was found");
    let path = folder.path().display().to_string();
    let ran = parallax(["repro", "--engines=x86_64", &path]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    for (line, words) in lines.iter().zip([
        "/a.bin: agreed",
        "/b/fill.wat: agreed",
        "/endless.wat: inconclusive",
        "3 files: 2 agreed, 0 diverged, 0 known, 1 inconclusive",
    ]) {
        assert!(line.contains(words), "{ran:?}");
    }
    // What diverges is told at length, a raw input with its script.
    let fault = "--fault=memory-fill-short";
    let ran = parallax(["repro", "--engines=x86_64", fault, "--json", &path]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("oracle  memories"), "{ran:?}");
    assert_eq!(ran.json()["summary"]["diverged"], 1);
    assert_eq!(ran.json()["files"].as_array().map(Vec::len), Some(3));
}

/// What is left out since nobody listens is not said to agree.
#[test]
fn what_nobody_listens_to_is_inconclusive() {
    let folder = Folder::new();
    for name in ["a.wat", "b.wat"] {
        folder.write(name, "(module (func (export \"f\")))");
    }
    let folder = folder.path().display().to_string();
    let mut command = Command::new(PARALLAX);
    command.args(["repro", &folder, "--engines=x86_64"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(3));
}

#[test]
fn standard_input_is_told_by_its_beginning() {
    let script = format!(";; a comment\n{FILL}(invoke \"main\" (i32.const 1))");
    let binary = wat::parse_str(FILL).expect("a module");
    let raw = [7; 300];
    for (input, words) in [
        (script.as_bytes(), "standard input: agreed (2 steps"),
        (&binary, "standard input: agreed (4 steps"),
        (&raw, "standard input: agreed ("),
    ] {
        let ran = parallax_reading(input, ["repro", "--engines=x86_64", "-"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(words), "{ran:?}");
    }
    parallax_reading(b"", ["repro", "-"]).is_refused(&["standard input", "empty"]);
    parallax_reading(b"\0asm\x01", ["repro", "-"]).is_refused(&["standard input", "offset"]);
}

/// Addresses, hash order and the number of cores differ from run to run, if not from machine to
/// machine; nothing that is told may.
#[test]
fn the_same_is_told_each_time() {
    let folder = Folder::new();
    for byte in 0..12u8 {
        let bytes: Vec<u8> = (0..900u32)
            .map(|i| ((i * i) >> 2) as u8 ^ (byte * 21))
            .collect();
        folder.write(&format!("{byte}"), bytes);
    }
    let path = folder.path().display().to_string();
    let run = || parallax(["repro", "--fault=read-barrier-no-bump", "--json", &path]);
    let (one, other) = (run(), run());
    assert_eq!(one.status, other.status);
    assert_eq!(one.stdout, other.stdout);
    assert_eq!(one.stderr, other.stderr);
}
