//! `parallax shrink`: what is left of a finding, and that it is on disk at every end.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::run::{Folder, PARALLAX, Ran, Running, awaited, parallax, parallax_reading};

/// Two functions that do nothing wrong, and one that a fault is planted for.
const MODULE: &str = r#"(module
  (memory (export "memory") 1)
  (global $g (mut i32) (i32.const 5))
  (func $add (param i32 i32) (result i32)
    (global.set $g (i32.add (local.get 0) (local.get 1)))
    (global.get $g))
  (func (export "sum") (param i32) (result i32)
    (call $add (local.get 0) (i32.const 77)))
  (func (export "main") (param i32 i64)
    (drop (call $add (local.get 0) (i32.const 3)))
    (memory.fill (i32.const 16) (i32.const 42) (i32.const 8))
    (i64.store offset=40 (i32.const 8) (local.get 1))))
"#;

const FAULT: &str = "--fault=memory-fill-short";

fn shrink(folder: &Folder, arguments: &[&str]) -> (String, Ran) {
    let input = folder.write("in.wat", MODULE);
    let output = folder.file("out.wast");
    let all = ["shrink", &input, "-o", &output, "--engines=x86_64"];
    let ran = parallax(all.iter().chain(arguments));
    (output, ran)
}

/// Asserts that a script shows the finding, and that nothing is wrong without the fault.
#[track_caller]
fn shows(output: &str) {
    let ran = parallax(["repro", "--engines=x86_64", FAULT, output]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("oracle  memories"), "{ran:?}");
    let ran = parallax(["repro", output]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

#[test]
fn what_is_left_shows_the_same_and_no_more() {
    let folder = Folder::new();
    let (output, ran) = shrink(&folder, &[FAULT]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "");
    let first = ran.stdout.lines().next().unwrap_or_default();
    assert!(
        first.contains("out.wast: 4 instructions in 1 function, 2 steps"),
        "{first}"
    );
    assert!(first.ends_with("nothing more goes"), "{first}");
    assert!(ran.stdout.contains("oracle  memories"), "{ran:?}");
    let script = fs::read_to_string(&output).expect("the script");
    assert!(
        script.starts_with(";; Found: memories differ after step 1"),
        "{script}"
    );
    for words in [
        "\n;; Blame: ",
        "\n;; Planted fault: memory-fill-short\n",
        "memory.fill",
    ] {
        assert!(script.contains(words), "no {words:?} in {script}");
    }
    assert!(!script.contains("global"), "{script}");
    shows(&output);
    // What is small already stays as it is.
    let again = folder.file("again.wast");
    let ran = parallax(["shrink", &output, "-o", &again, "--engines=x86_64", FAULT]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let code = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with(";;"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    let again = fs::read_to_string(again).expect("the script");
    assert_eq!(code(&again), code(&script));
}

#[test]
fn json_has_what_the_text_has() {
    let folder = Folder::new();
    let (output, ran) = shrink(&folder, &[FAULT, "--json"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["output"], output);
    assert_eq!(json["finished"], true);
    assert_eq!(json["after"]["instructions"], 4);
    assert!(json["before"]["instructions"].as_u64() > Some(10));
    assert!(json["runs"].as_u64() > Some(4));
    assert_eq!(json["findings"][0]["oracle"], "memories");
    assert_eq!(json["blame"]["differ"][0], "x86_64");
    let script = fs::read_to_string(&output).expect("the script");
    assert_eq!(json["wast"], script);
}

#[test]
fn a_raw_input_and_standard_input_are_taken() {
    let folder = Folder::new();
    let output = folder.file("out.wast");
    let binary = wat::parse_str(MODULE).expect("a module");
    let arguments = ["shrink", "-", "-o", &output, "--engines=x86_64", FAULT];
    let ran = parallax_reading(&binary, arguments);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    shows(&output);
}

/// The time is over before there is anything to try.
#[test]
fn when_the_time_is_over_the_best_is_there() {
    let folder = Folder::new();
    let (output, ran) = shrink(&folder, &[FAULT, "--time=1ms"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("stopped before its end"), "{ran:?}");
    shows(&output);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 2);
}

/// As soon as there is a first script. Whether the search is over by then or not, it ends the same.
#[test]
fn an_interrupt_ends_it_with_the_best_on_disk() {
    let folder = Folder::new();
    let filler: String = (0..200)
        .map(|number| {
            format!(
                "(func (export \"f{number}\") (param i32) (result i32)
                   (i32.mul (local.get 0) (i32.const {number})))\n"
            )
        })
        .collect();
    let text = MODULE.replace("(module", &format!("(module {filler}"));
    let input = folder.write("in.wat", text);
    let output = folder.file("out.wast");
    let child = Command::new(PARALLAX)
        .args(["shrink", &input, "-o", &output, "--engines=x86_64", FAULT])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    while !fs::exists(&output).expect("the folder can be read") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let ran: Ran = child.wait_with_output().expect("it ends").into();
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("out.wast: "), "{ran:?}");
    shows(&output);
}

/// The first candidate never ends. By then there is a script, which outlives whatever ends the search.
#[test]
fn the_best_so_far_is_on_disk_while_the_search_goes_on() {
    let folder = Folder::new();
    let input = folder.write("in.wat", MODULE);
    let output = folder.file("out.wast");
    let options = ["--engines=x86_64", "--mishaps=sleep@2", FAULT];
    let mut command = Command::new(PARALLAX);
    command
        .args(["shrink", &input, "-o", &output])
        .args(options);
    let run = Running::start(&mut command);
    awaited("script", || fs::exists(&output).ok()?.then_some(()));
    run.signal("-KILL");
    assert_eq!(run.ended().status, None);
    shows(&output);
}

#[test]
fn what_agrees_is_nothing_to_shrink() {
    let folder = Folder::new();
    let (output, ran) = shrink(&folder, &[]);
    ran.is_refused(&["in.wat", "all engines agree", "nothing to shrink"]);
    assert!(!fs::exists(output).expect("the folder can be read"));
    let endless = folder.write("e.wat", "(module (func (export \"f\") (loop (br 0))))");
    let ran = parallax(["shrink", &endless, "-o", &folder.file("e.wast")]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("inconclusive (out-of-fuel)"), "{ran:?}");
}

#[test]
fn input_that_cannot_be_read() {
    let folder = Folder::new();
    let output = folder.file("out.wast");
    let binary = wat::parse_str(MODULE).expect("a module");
    for (file, words) in [
        (folder.file("missing"), "No such file"),
        (folder.write("empty", ""), "empty"),
        (
            folder.write("cut.wasm", &binary[..binary.len() - 3]),
            "offset",
        ),
        (folder.write("x.wast", "(module"), "x.wast:1:"),
        (
            folder.write("x.wat", "(module (func (result i32)))"),
            "type mismatch",
        ),
        (folder.write("crash-1", &binary[..40]), "make no case"),
        (folder.path().display().to_string(), "directory"),
    ] {
        parallax(["shrink", &file, "-o", &output]).is_refused(&[&file, words]);
    }
    assert!(!fs::exists(output).expect("the folder can be read"));
}

#[test]
fn output_that_cannot_be_written() {
    let folder = Folder::new();
    let input = folder.write("in.wat", MODULE);
    let here = folder.path().display().to_string();
    let nowhere = folder.file("no/such/folder.wast");
    for (output, words) in [
        (&*here, "folder"),
        (&nowhere, "No such file"),
        ("/proc/out.wast", "/proc"),
    ] {
        parallax(["shrink", &input, "-o", output, FAULT]).is_refused(&[output, words]);
    }
    // What is written is a script.
    for name in ["small", "small.wat", "small.bin"] {
        let output = folder.file(name);
        parallax(["shrink", &input, "-o", &output, FAULT]).is_refused(&[&output, ".wast"]);
    }
    // The input is not written over, whatever it is called.
    let script = folder.write("script.wast", MODULE);
    let linked = folder.file("linked.wast");
    fs::hard_link(&script, &linked).expect("a link");
    for output in [&script, &linked] {
        parallax(["shrink", &script, "-o", output, FAULT]).is_refused(&[output, "the input"]);
        assert_eq!(fs::read_to_string(output).expect("a file"), MODULE);
    }
    // A full disk: what there is of the work is printed.
    let ran = parallax([
        "shrink",
        &input,
        "-o",
        "/dev/full",
        "--engines=x86_64",
        FAULT,
    ]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("/dev/full: No space left"), "{ran:?}");
    assert!(ran.stdout.contains("memory.fill"), "{ran:?}");
}

#[test]
fn wrong_usage() {
    for (arguments, word) in [
        (&["shrink"][..], "FILE"),
        (&["shrink", "x"], "--output"),
        (&["shrink", "x", "-o", "y", "--time", "5"], "--time"),
        (&["shrink", "x", "-o", "y", "--engines", "nope"], "nope"),
        (
            &["shrink", "x", "-o", "y", "--engines", "wasmi"],
            "reference",
        ),
        (
            &["shrink", "x", "-o", "y", "--fault", "bad-luck"],
            "bad-luck",
        ),
        (&["shrink", "x", "y", "-o", "z"], "'y'"),
    ] {
        parallax(arguments).is_refused(&[word]);
    }
}
