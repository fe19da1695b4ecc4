//! `parallax corpus`: findings become kept cases, kept cases are checked, corpora thinned out.

use std::fs;

use crate::run::{Folder, parallax};

const FILL: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "main") (param i32)
    (drop (i32.mul (local.get 0) (i32.const 3)))
    (memory.fill (i32.const 16) (i32.const 42) (i32.const 8))))
"#;

const FAULT: &str = "--fault=memory-fill-short";

fn names(path: impl AsRef<std::path::Path>) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    names.sort();
    names
}

/// A folder to keep cases in, and a file with a finding.
fn folder() -> (Folder, String, String) {
    let folder = Folder::new();
    let kept = folder.file("kept");
    fs::create_dir(&kept).expect("a folder");
    let input = folder.write("in.wat", FILL);
    (folder, kept, input)
}

#[test]
fn a_finding_is_kept_with_what_the_reference_does() {
    let (_folder, kept, input) = folder();
    let add = ["corpus", "add", &input, "--to", &kept, FAULT];
    let ran = parallax(add);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
    assert!(
        ran.stdout
            .contains("memories-memory-fill.wast: kept, 6 instructions"),
        "{ran:?}"
    );
    assert_eq!(names(&kept), ["memories-memory-fill.wast"]);
    let file = format!("{kept}/memories-memory-fill.wast");
    let script = fs::read_to_string(&file).expect("the script");
    assert!(
        script.starts_with(";; Guards: memories after memory.fill.\n"),
        "{script}"
    );
    for words in ["\n;; Found: memories differ", "\n;; Blame: ", "\n;; From: "] {
        assert!(script.contains(words), "no {words:?} in {script}");
    }
    // The memory is read by a step, so that also those see it who see results alone.
    let last = script.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("(assert_return (invoke \"witness\") (i32.const "),
        "{last}"
    );
    assert_ne!(last, "(assert_return (invoke \"witness\") (i32.const 0))");

    // Every engine meets it; with the fault, those that have it do not.
    let check = parallax(["corpus", "check", &kept]);
    assert_eq!(check.status, Some(0), "{check:?}");
    assert_eq!(check.stdout.lines().count(), 1, "{check:?}");
    assert!(
        check.stdout.contains("1 file: 1 agreed, 0 diverged"),
        "{check:?}"
    );
    let check = parallax(["corpus", "check", &kept, FAULT, "--json"]);
    assert_eq!(check.status, Some(1), "{check:?}");
    assert_eq!(check.json()["summary"]["diverged"], 1);
    assert_eq!(check.json()["failed"][0]["verdict"], "diverged");
    assert!(check.stderr.contains("oracle  memories"), "{check:?}");

    // The same again is there already; another one does not take its name.
    let ran = parallax(add.iter().chain(&["--json"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(ran.json()["already"], true);
    assert_eq!(names(&kept).len(), 1);
    fs::write(&file, ";; Guards: something else.\n(module)\n").expect("written");
    assert_eq!(parallax(add).status, Some(0));
    assert_eq!(
        names(&kept),
        ["memories-memory-fill-2.wast", "memories-memory-fill.wast"]
    );
}

/// From the first candidate on, workers die, so that none is any better; and so does the last one, which
/// looks at what is to be kept.
#[test]
fn what_is_not_shown_again_is_not_kept() {
    let (_folder, kept, input) = folder();
    // Two runs are of the case itself, before and after it is made a script.
    let mishaps: Vec<String> = (2..1_000).map(|run| format!("abort@{run}")).collect();
    let mishaps = format!("--mishaps={}", mishaps.join(","));
    let add = ["corpus", "add", &input, "--to", &kept, FAULT];
    let ran = parallax(add.iter().chain(&["--engines=x86_64", &mishaps]));
    // On a busy machine, progress is told meanwhile.
    let refused = "does not show the finding again, so it is not kept";
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains(refused), "{ran:?}");
    assert!(names(&kept).is_empty());
}

#[test]
fn what_agrees_is_not_kept() {
    let (folder, kept, input) = folder();
    parallax(["corpus", "add", &input, "--to", &kept]).is_refused(&["all engines agree"]);
    let endless = folder.write("e.wat", "(module (func (export \"f\") (loop (br 0))))");
    let ran = parallax(["corpus", "add", &endless, "--to", &kept]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(names(&kept).is_empty());
}

#[test]
fn a_folder_that_takes_no_files_is_told_at_once() {
    let (folder, _, input) = folder();
    for to in ["/proc".to_string(), folder.file("missing"), input.clone()] {
        let ran = parallax(["corpus", "add", &input, "--to", &to, FAULT]);
        ran.is_refused(&["cannot write to", &to]);
    }
}

#[test]
fn input_that_cannot_be_read() {
    let (folder, kept, _) = folder();
    for (file, words) in [
        (folder.file("missing"), "No such file"),
        (folder.write("empty", ""), "empty"),
        (folder.write("x.wasm", b"\0asm\x01"), "offset"),
        (folder.write("x.wast", "(module"), "x.wast:1:"),
        (folder.write("crash-1", b"\0asm\x01"), "make no case"),
    ] {
        parallax(["corpus", "add", &file, "--to", &kept]).is_refused(&[&file, words]);
    }
    assert!(names(&kept).is_empty());
}

#[test]
fn check_tells_what_is_wrong_with_which_file() {
    let (folder, kept, _) = folder();
    folder.write(
        "kept/a.wast",
        "(module (func (export \"f\")))\n(assert_return (invoke \"f\"))",
    );
    let bad = "(module (func (export \"f\")))\n(assert_trap (invoke \"f\") \"unreachable\")";
    folder.write("kept/b.wast", bad);
    let ran = parallax(["corpus", "check", &kept]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("b.wast:2: wasmi: expected trap"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("a.wast"), "{ran:?}");
    assert!(
        ran.stdout.contains("2 files: 1 agreed, 1 diverged"),
        "{ran:?}"
    );
    folder.write("kept/c.wast", "(module (func (result i32)))");
    let ran = parallax(["corpus", "check", &kept]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("c.wast:1:"), "{ran:?}");
    parallax(["corpus", "check", &folder.file("missing")]).is_refused(&["missing"]);
}

/// Inputs of a corpus: two that do the same, one that does more, one that is none.
fn corpus() -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.file("c");
    fs::create_dir(&path).expect("a folder");
    let add = "(module (func (export \"f\") (drop (i32.add (i32.const 1) (i32.const 2)))))";
    folder.write("c/a.wat", add);
    folder.write("c/b.wat", format!("{add}  "));
    folder.write("c/c.wat", FILL);
    folder.write("c/d.wat", "(module");
    (folder, path)
}

#[test]
fn the_fewest_that_do_the_same_are_kept() {
    let (folder, path) = corpus();
    let minimize = ["corpus", "minimize", &path, "--engines=x86_64"];
    let ran = parallax(minimize.iter().chain(&["--dry-run", "--json"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let json = ran.json();
    assert_eq!(json["files"], 4);
    assert_eq!(json["kept"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["removed"][0], format!("{path}/b.wat"));
    assert_eq!(json["unreadable"][0], format!("{path}/d.wat"));
    assert!(json["features"]["opcode"].as_u64() > Some(5));
    assert_eq!(names(&path).len(), 4);

    let ran = parallax(minimize);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(
        ran.stdout.contains("2 kept of 4 inputs, 1 moved to "),
        "{ran:?}"
    );
    assert_eq!(names(&path), ["a.wat", "c.wat", "d.wat"]);
    assert_eq!(names(folder.file("c.removed")), ["b.wat"]);
    // Once more, with nothing left to do, and then with one of the same name.
    assert_eq!(parallax(minimize).status, Some(0));
    assert_eq!(names(&path).len(), 3);
    fs::copy(format!("{path}/a.wat"), format!("{path}/b.wat")).expect("a copy");
    assert_eq!(parallax(minimize).status, Some(0));
    assert_eq!(names(folder.file("c.removed")), ["b.wat", "b.wat.2"]);
}

/// No other does what it does.
#[test]
fn what_brings_its_worker_down_is_kept() {
    let (_folder, path) = corpus();
    let minimize = ["corpus", "minimize", &path, "--engines=x86_64"];
    let ran = parallax(minimize.iter().chain(&["--mishaps=abort@1"]));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(names(&path), ["a.wat", "b.wat", "c.wat", "d.wat"]);
}

#[test]
fn what_is_not_needed_is_deleted_only_if_asked_for() {
    let (folder, path) = corpus();
    let ran = parallax(["corpus", "minimize", &path, "--engines=x86_64", "--delete"]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(names(&path), ["a.wat", "c.wat", "d.wat"]);
    assert_eq!(names(folder.path()), ["c"]);
}

#[test]
fn wrong_usage() {
    let (folder, _, input) = folder();
    let nothing = folder.file("nothing");
    fs::create_dir(&nothing).expect("a folder");
    for (arguments, words) in [
        (&["corpus"][..], "command"),
        (&["corpus", "chek"], "'chek'"),
        (&["corpus", "add"], "FILE"),
        (&["corpus", "add", "x", "--to"], "--to"),
        (&["corpus", "minimize"], "DIR"),
        (&["corpus", "minimize", &input], "not a folder"),
        (&["corpus", "minimize", &nothing], "no inputs"),
        (&["corpus", "minimize", "/no/such"], "No such file"),
        (
            &["corpus", "minimize", &nothing, "--delete", "--dry-run"],
            "--dry-run",
        ),
        (&["corpus", "check", "--engines", "nope"], "nope"),
    ] {
        parallax(arguments).is_refused(&[words]);
    }
}
