//! `parallax repro`: verdicts, assertions, findings and their status.

use crate::run::{Folder, parallax};

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
