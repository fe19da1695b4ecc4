//! A thousand damaged inputs: each gives a verdict or a clear error, and never a panic.

use std::fs;
use std::path::Path;

use parallax::campaign;
use parallax::generate::Generators;
use parallax::generate::rng::Rng;

use crate::run::{Folder, parallax};

const COPIES: u32 = 1_000;

/// Kept cases as text and their modules as binaries, and raw inputs: name and bytes.
fn entries() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut entries = Vec::new();
    for folder in ["regressions", "known"] {
        let files = fs::read_dir(corpus.join(folder)).expect("kept cases");
        let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).expect("text");
            let script = parallax::case::wast::Script::parse(&text, "kept").expect("a script");
            for module in &script.case.modules {
                entries.push(("wasm".to_string(), module.wasm.clone()));
            }
            entries.push(("wast".to_string(), text.into_bytes()));
        }
    }
    for case in 0..20 {
        let input = campaign::input(3, case, 0, Generators::all());
        entries.push(("bin".to_string(), input));
    }
    entries
}

/// Flips a few bits, cuts the end off, or both.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let kind = rng.below(3);
    if kind != 0 {
        let length = rng.below(bytes.len() as u32 + 1);
        bytes.truncate(length as usize);
    }
    if kind != 1 && !bytes.is_empty() {
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
    }
}

#[test]
fn damaged_inputs_give_verdicts_or_clear_errors() {
    let folder = Folder::new();
    let entries = entries();
    let mut rng = Rng::new(5);
    for copy in 0..COPIES {
        let (extension, bytes) = rng.pick(&entries);
        let mut bytes = bytes.clone();
        damage(&mut bytes, &mut rng);
        folder.write(&format!("{copy:04}.{extension}"), bytes);
    }
    let path = folder.path().display().to_string();
    let ran = parallax(["repro", "--engines=x86_64", "--json", &path]);
    // Some cannot be read, and that is the worst of it.
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    let json = ran.json();
    let files = json["files"].as_array().expect("reports");
    assert_eq!(files.len(), COPIES as usize);
    let mut verdicts = std::collections::BTreeMap::new();
    for report in files {
        let verdict = report["verdict"].as_str().expect("a verdict");
        *verdicts.entry(verdict).or_insert(0) += 1;
        let text = report.to_string();
        assert!(!text.contains("panicked"), "{text}");
        if verdict == "unreadable" {
            let reason = report["reason"].as_str().expect("a reason");
            let name = report["file"].as_str().expect("a name");
            assert!(reason.starts_with(name), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
    assert!(
        verdicts["unreadable"] > 200 && verdicts["agreed"] > 100,
        "{verdicts:?}"
    );
    let complaints = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("parallax: "));
    assert_eq!(complaints.count(), verdicts["unreadable"], "{verdicts:?}");
}
