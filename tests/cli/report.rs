//! `parallax report`: what came of a run, on paper; and how findings are grouped.

use std::fs;

use crate::run::{Folder, parallax};

#[test]
fn a_thousand_hits_of_one_bug_are_one_line_and_a_script() {
    let folder = Folder::new();
    let artifacts = folder.file("night/campaign");
    let arguments = ["--cases=600", "--seed=1", "--engines=x86_64,aarch64"];
    let ran = parallax(
        [
            "fuzz",
            "--json",
            "--fault=skip-null-check",
            "--jobs=2",
            "--artifacts",
            &artifacts,
        ]
        .iter()
        .chain(&arguments),
    );
    assert_eq!(ran.status, Some(1), "{ran:?}");
    let json = ran.json();
    let findings = json["findings"].as_array().expect("a list");
    assert!(json["diverged"].as_u64() > Some(5), "{json}");
    assert_eq!(findings.len(), 1, "{json}");
    assert_eq!(findings[0]["cases"], json["diverged"]);
    assert_eq!(findings[0]["oracle"], "traps");
    assert!(findings[0]["blame"]["layer"].is_string(), "{json}");
    assert!(
        findings[0]["small"]["instructions"].as_u64() < Some(30),
        "{json}"
    );
    let opcodes = findings[0]["small"]["opcodes"].as_array().expect("names");
    assert!(opcodes.contains(&"call_indirect".into()), "{json}");
    let script = findings[0]["script"].as_str().expect("a name");
    let script = format!("{artifacts}/{script}");
    let again = parallax(["repro", &script, "--fault=skip-null-check"]);
    assert_eq!(again.status, Some(1), "{again:?}");
    assert_eq!(parallax(["repro", &script]).status, Some(0));

    // A fuzz target's log stands beside it.
    let target = folder.path().join("night/targets/differential");
    fs::create_dir_all(&target).expect("a folder");
    let log = "#2\tINITED cov: 10 ft: 9 corp: 1/1b\n#99\tNEW cov: 20 ft: 9 corp: 5/1b\n";
    fs::write(target.join("log"), log).expect("a file");
    fs::write(target.join("crash-1<2"), "").expect("a file");
    let night = folder.file("night");
    let report = parallax(["report", &night]);
    assert_eq!(
        (report.status, report.stderr.as_str()),
        (Some(1), ""),
        "{report:?}"
    );
    assert!(report.stdout.contains("600 cases"), "{report:?}");
    let verdicts = format!(
        "  verdicts  {} agreed, {} diverged, ",
        json["agreed"], json["diverged"]
    );
    assert!(ran.stderr.contains(&verdicts), "{ran:?}");
    assert!(report.stdout.contains(&verdicts), "{report:?}");
    assert!(
        report.stdout.contains("differential: 99 runs, 20 edges"),
        "{report:?}"
    );
    let read = |name: &str| fs::read_to_string(format!("{night}/{name}")).expect("a file");
    assert!(report.stdout.starts_with(&read("report.txt")));
    let json: serde_json::Value = serde_json::from_str(&read("report.json")).expect("json");
    assert_eq!(
        json["campaign"]["findings"][0]["cases"],
        ran.json()["diverged"]
    );
    assert_eq!(json["targets"][0]["edges"], 20);
    let page = read("report.html");
    for words in [
        "call_indirect",
        "crash-1&lt;2",
        "<svg",
        "prefers-color-scheme:dark",
        "Cases a second",
    ] {
        assert!(page.contains(words), "no {words} in the page");
    }
    for foreign in ["<script", "http://", "https://", "NaN"] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    // What shows a finding again says by which engines, if not by those that there are by default.
    let options = " --engines x86_64,aarch64 --fault skip-null-check";
    let script = json["campaign"]["findings"][0]["script"].as_str();
    let script = script.expect("a name");
    assert!(page.contains(&format!("{script}{options}")), "{page}");

    // Where nothing can be written, it is told all the same.
    let text = format!("{night}/report.txt");
    fs::remove_file(&text).expect("it is there");
    fs::create_dir(&text).expect("a folder in its place");
    let unwritten = parallax(["report", &night]);
    assert_eq!(unwritten.status, Some(2), "{unwritten:?}");
    assert!(unwritten.stdout.contains("600 cases"), "{unwritten:?}");
    let unwritten = parallax(["report", &night, "--json"]);
    assert_eq!(unwritten.status, Some(2), "{unwritten:?}");
    assert_eq!(unwritten.json(), json);
}

#[test]
fn what_fuzz_targets_alone_have_found_is_reported() {
    let folder = Folder::new();
    let night = folder.path().display().to_string();
    let target = folder.path().join("targets/differential");
    fs::create_dir_all(&target).expect("a folder");
    fs::write(target.join("log"), "#9\tINITED cov: 10 ft: 9 corp: 1/1b\n").expect("a file");
    let quiet = parallax(["report", &night]);
    assert_eq!(quiet.status, Some(0), "{quiet:?}");
    assert!(quiet.stdout.contains("Nothing was found."), "{quiet:?}");
    // One that could not be built is not one that found nothing.
    let other = folder.path().join("targets/other");
    fs::create_dir_all(&other).expect("a folder");
    fs::write(other.join("log"), "error: could not compile\n").expect("a file");
    let report = parallax(["report", &night]);
    assert!(
        report.stdout.contains("fuzz target other: not run"),
        "{report:?}"
    );
    let saved = ["crash-1", "leak-2", "oom-3", "slow-unit-4", "timeout-5"];
    for name in saved {
        fs::write(target.join(name), "").expect("a file");
    }
    let report = parallax(["report", &night]);
    assert_eq!(report.status, Some(1), "{report:?}");
    for name in saved {
        let line = format!("  saved     targets/differential/{name}\n");
        assert!(report.stdout.contains(&line), "no {name} in {report:?}");
    }
    assert!(
        report.stdout.contains("5 inputs saved by fuzz targets"),
        "{report:?}"
    );
}

#[test]
fn where_nothing_was_run_there_is_nothing_to_say() {
    let folder = Folder::new();
    let path = folder.path().display().to_string();
    parallax(["report", &path]).is_refused(&["nothing here to report on"]);
    parallax(["report", &folder.file("none")]).is_refused(&["none"]);
    folder.write("run.json", "{");
    parallax(["report", &path]).is_refused(&["run.json is no state of a run"]);
}
