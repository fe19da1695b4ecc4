//! Input that cannot be read: one line on standard error that says where, status 2.

use parallax::generate::stamp;

use crate::run::{Folder, parallax, parallax_reading};

#[track_caller]
fn refused(name: &str, contents: impl AsRef<[u8]>, words: &[&str]) {
    let folder = Folder::new();
    let file = folder.write(name, contents);
    let ran = parallax(["repro", &file]);
    ran.is_refused(&[&file]);
    ran.is_refused(words);
}

/// A module with a function, as a binary.
fn binary() -> Vec<u8> {
    wat::parse_str("(module (func (export \"f\") (result i32) (i32.const 7)))").expect("a module")
}

#[test]
fn missing_file() {
    parallax(["repro", "/no/such/file.wat"]).is_refused(&["/no/such/file.wat", "No such file"]);
}

#[test]
fn folder() {
    let folder = Folder::new();
    let path = folder.path().display().to_string();
    parallax(["repro", &path]).is_refused(&[&path, "no inputs"]);
    // Reports are no inputs, and neither are hidden files.
    folder.write("a.txt", "x");
    folder.write(".b", "x");
    // Nor are the logs of a night, and other text.
    folder.write("log", [0xff, 0, 1]);
    folder.write("cmin", "x");
    folder.write("README", "x");
    parallax(["repro", &path]).is_refused(&[&path, "no inputs"]);
    // What fuzzers have named is one, and so is a script of any name.
    folder.write("crash-1", "x");
    folder.write("small", "(module)");
    let ran = parallax(["repro", &path, "--engines=x86_64", "--json"]);
    assert_eq!(ran.json()["summary"]["files"], 2, "{ran:?}");
}

#[test]
fn text_that_is_no_case() {
    let words = ["neither a module nor a script"];
    for (name, text) in [
        ("README.md", "# parallax\n"),
        ("run.json", "{\"form\":1}"),
        ("differential-1-2.txt", "Case 2 of seed 1.\n"),
    ] {
        refused(name, text, &words);
        parallax_reading(text.as_bytes(), ["repro", "-"]).is_refused(&words);
    }
}

/// What a file is called does not make a script something else.
#[test]
fn scripts_of_other_names() {
    let folder = Folder::new();
    let script = "(module (func (export \"f\") (result i32) (i32.const 7)))\n\
                  (assert_return (invoke \"f\") (i32.const 8))";
    for name in ["small", "y.wast.bak"] {
        let ran = parallax(["repro", &folder.write(name, script), "--engines=x86_64"]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
    }
    refused("small", "(module", &["small:1:"]);
}

#[test]
fn text_with_a_byte_order_mark() {
    let folder = Folder::new();
    let text = "\u{feff}(module (func (export \"f\") (result i32) (i32.const 7)))";
    for name in ["x.wat", "x.wast", "x"] {
        let ran = parallax(["repro", &folder.write(name, text), "--engines=x86_64"]);
        assert_eq!(ran.status, Some(0), "{ran:?}");
    }
    let ran = parallax_reading(
        text.as_bytes(),
        ["repro", "-", "--engines=x86_64", "--json"],
    );
    assert_eq!(ran.json()["files"][0]["kind"], "script", "{ran:?}");
    refused("x.wat", "\u{feff}(module (fun))", &["x.wat:1:"]);
}

#[test]
fn empty_file() {
    for name in ["x.wasm", "x.wat", "x.wast", "x"] {
        refused(name, "", &["empty"]);
    }
}

#[test]
fn file_without_end() {
    parallax(["repro", "/dev/zero"]).is_refused(&["/dev/zero", "64 MiB"]);
}

#[test]
fn truncated_module() {
    let binary = binary();
    for length in 1..binary.len() {
        // What is cut between two sections may be a module still.
        let whole = wasmparser::validate(&binary[..length]).is_ok();
        if !whole {
            refused("x.wasm", &binary[..length], &["offset"]);
        }
    }
}

#[test]
fn invalid_module() {
    let wasm = wat::parse_str("(module (func (result i32)))").expect("it encodes");
    refused("x.wasm", wasm, &["type mismatch", "offset"]);
    let text = "(module\n  (func\n    i32.const 1\n    i64.eqz\n    drop))";
    refused("x.wat", text, &["x.wat:4:5", "type mismatch"]);
    refused("x.wast", text, &["x.wast:4:5", "type mismatch"]);
}

#[test]
fn module_of_a_later_proposal() {
    for (text, what) in [
        ("(module (table i64 1 funcref))", "addressed by i64"),
        ("(module (memory 1 1 shared))", "threads"),
        (
            "(module (type $t (func)) (func (call_ref $t (ref.null $t))))",
            "function references",
        ),
    ] {
        refused("x.wat", text, &["x.wat:1:", what]);
    }
    refused("x.wat", "(component)", &["component"]);
}

#[test]
fn garbage() {
    refused("x.wasm", [0x7f, b'E', b'L', b'F', 0xff, 0xfe], &["offset"]);
    refused("x.wat", [0xff, 0xfe, 0xfd], &["offset 0x0"]);
    refused("x.wast", "\0\0\0\0", &["x.wast"]);
}

#[test]
fn script_with_a_syntax_error() {
    refused("x.wast", "(module)\n\n  (invok \"f\")", &["x.wast:3:4"]);
    refused("x.wast", "(module", &["x.wast:1:"]);
    refused(
        "x.wat",
        "(module (func $f) (export \"f\" (func $g)))",
        &["x.wat:1:37", "$g"],
    );
}

#[test]
fn script_that_names_what_is_not_there() {
    let text = "(module)\n(invoke \"f\")";
    refused("x.wast", text, &["x.wast:2:", "\"f\""]);
    refused("x.wast", "(invoke \"f\")", &["x.wast:1:", "no instance"]);
}

#[test]
fn unknown_setting() {
    let text = ";;! opt-level = \"none\"\n;;! optimisation = 3\n(module)";
    refused("x.wast", text, &["x.wast:2:", "optimisation"]);
    refused("x.wat", text, &["x.wat:2:", "optimisation"]);
    let text = ";;! guard-bytes = 1\n(module)";
    refused("x.wast", text, &["x.wast:1:", "guard-bytes"]);
}

#[test]
fn fuzzer_bytes_that_make_no_case() {
    let binary = binary();
    refused("crash-1", &binary[..binary.len() - 1], &["make no case"]);
}

#[test]
fn fuzzer_bytes_of_an_incompatible_decoder() {
    let other = stamp::DECODER_VERSION + 1;
    let input = [&stamp::MAGIC[..], &other.to_le_bytes(), &[7; 300]].concat();
    let version = format!("of version {other}");
    let words = ["incompatible decoder", &version, "parallax that made it"];
    refused("crash-1", input, &words);
    refused("crash-1", &stamp::stamp()[..6], &["ends within its stamp"]);
}

#[test]
fn copies_with_flipped_bits() {
    let folder = Folder::new();
    let whole = binary();
    let mut files = vec!["repro".to_string()];
    for bit in 0..whole.len() * 8 {
        let mut copy = whole.clone();
        copy[bit / 8] ^= 1 << (bit % 8);
        files.push(folder.write(&format!("{bit}.wasm"), copy));
    }
    let ran = parallax(&files);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    let refused = ran.stderr.lines();
    let run = ran.stdout.lines().filter(|line| line.contains(".wasm: "));
    assert_eq!(refused.clone().count() + run.count(), files.len() - 1);
    for line in refused {
        assert!(line.starts_with("parallax: ") && line.contains(".wasm"));
        assert!(!line.contains("bug"), "{line}");
    }
}
