//! `parallax explain`: what it says, the page it writes, and its status.

use crate::run::{Folder, parallax};

const LESS: &str = r#"(module
  (func $less (param i32) (result i32) (i32.lt_s (local.get 0) (i32.const 7)))
  (func (export "main") (param i32) (result i32) (call $less (local.get 0))))
"#;

const SCRIPT: &str = "(assert_return (invoke \"main\" (i32.const 7)) (i32.const 0))\n";

const FAULT: &str = "x86-64-condition-code";

#[test]
fn where_engines_agree_there_is_nothing_to_explain() {
    let folder = Folder::new();
    let file = folder.write("less.wast", format!("{LESS}{SCRIPT}"));
    let ran = parallax(["explain", &file]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("less.wast: agreed"), "{ran:?}");
    assert!(!ran.stdout.contains("== "), "{ran:?}");
}

/// Nothing is run for a page that cannot be written, or that would take the place of the finding.
#[test]
fn a_page_has_a_place_of_its_own() {
    let folder = Folder::new();
    let contents = format!("{LESS}{SCRIPT}");
    let file = folder.write("less.wast", &contents);
    let linked = folder.file("linked.html");
    std::fs::hard_link(&file, &linked).expect("a link");
    let nowhere = folder.file("none/page.html");
    let other = folder.write("other.bin", "another finding");
    for (page, words) in [
        (&other, "is to be named .html"),
        (&file, "is to be named .html"),
        (&linked, "the input"),
        (&nowhere, "No such file"),
    ] {
        let ran = parallax(["explain", &file, "--fault", FAULT, "--html", page]);
        ran.is_refused(&[page, words]);
    }
    for (file, contents) in [(&file, &*contents), (&other, "another finding")] {
        assert_eq!(std::fs::read_to_string(file).expect("a file"), contents);
    }
    // What cannot be written at the end is told, after all else.
    let ran = parallax(["explain", &file, "--fault", FAULT, "--html", "/dev/full"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stdout.contains("== blame\n"), "{ran:?}");
    assert!(ran.stderr.contains("/dev/full: No space left"), "{ran:?}");
}

#[test]
fn a_divergence_is_explained_in_text_json_and_html() {
    let folder = Folder::new();
    let file = folder.write("less.wast", format!("{LESS}{SCRIPT}"));
    let page = folder.file("page.html");
    let ran = parallax([
        "explain", &file, "--fault", FAULT, "--json", "--html", &page,
    ]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    let json = ran.json();
    assert_eq!(json["verdict"], "diverged");
    assert_eq!(json["blame"]["layer"], "x86-64-backend");
    assert_eq!(json["blame"]["function"]["function"], 0);
    assert_eq!(json["blame"]["region"]["instructions"][0], "i32.lt_s");
    assert_eq!(json["findings"][0]["oracle"], "results");
    for section in [
        "first difference",
        "engines",
        "blame",
        "first value that went wrong",
        "with other settings",
        "function 0 of module 0",
    ] {
        assert!(ran.stderr.contains(&format!("== {section}\n")), "{ran:?}");
    }
    assert!(ran.stderr.contains("setle"), "{ran:?}");

    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.starts_with("<!DOCTYPE html>"));
    assert!(html.contains("setle") && html.contains("class=\"blamed\""));
    // Nothing is fetched from anywhere, and no text is taken for a tag.
    for outside in ["http://", "https://", "<script", "<link", "<img", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_known_fault_is_shown_all_the_same() {
    let folder = Folder::new();
    let file = folder.write(
        "select.wat",
        "(module (func (export \"f\") (param i32) (result i32)
           (select (i32.const 1) (local.get 0) (i32.eqz (local.get 0)))))",
    );
    let ran = parallax(["explain", &file, "--engines", "x86_64"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("(known: wasmi-select-eqz)"), "{ran:?}");
    assert!(
        ran.stdout
            .contains("\nreference, known as wasmi-select-eqz"),
        "{ran:?}"
    );
}

#[test]
fn what_cannot_be_read_or_written_is_told_in_a_line() {
    let folder = Folder::new();
    let file = folder.write("less.wat", LESS);
    parallax(["explain", "no-such-file.wat"]).is_refused(&["no-such-file.wat"]);
    let ran = parallax(["explain", &file, "--html", "no-such-folder/page.html"]);
    ran.is_refused(&["no-such-folder/page.html"]);
}

#[test]
fn what_does_not_end_is_inconclusive() {
    let folder = Folder::new();
    let file = folder.write(
        "endless.wat",
        "(module (func (export \"f\") (loop (br 0))))",
    );
    let ran = parallax(["explain", &file, "--engines", "x86_64"]);
    assert_eq!(ran.status, Some(3), "{ran:?}");
    assert!(ran.stdout.contains("inconclusive: out-of-fuel"), "{ran:?}");
}
