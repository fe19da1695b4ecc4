//! `parallax seeds`.

use std::fs;

use crate::run::{Folder, parallax};

#[test]
fn seeds_and_dictionary_of_the_repository_are_up_to_date() {
    let ran = parallax(["seeds", "--check", "--root", env!("CARGO_MANIFEST_DIR")]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("differential: "), "{ran:?}");
}

#[test]
fn seeds_are_written_and_old_ones_go() {
    let folder = Folder::new();
    let root = folder.path().display().to_string();
    let check = ["seeds", "--check", "--root", &root];
    let ran = parallax(check);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("run it and commit"), "{ran:?}");

    let corpus = folder.path().join("corpus/references");
    fs::create_dir_all(&corpus).expect("a folder");
    let (old, own) = (corpus.join("seed-99-loops.bin"), corpus.join("mine"));
    fs::write(&old, "old").expect("a file");
    fs::write(&own, "mine").expect("a file");
    assert_eq!(parallax(["seeds", "--root", &root]).status, Some(0));
    assert!(!old.exists() && own.exists());
    assert_eq!(parallax(check).status, Some(0));

    // All of them run, and a change of one is seen.
    let seeds = fs::read_dir(&corpus).expect("a folder");
    let seed = seeds
        .map(|entry| entry.expect("a file").path())
        .find(|path| *path != own)
        .expect("a seed");
    let ran = parallax(["repro", &seed.display().to_string()]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    fs::write(&seed, "changed").expect("a file");
    let ran = parallax(check);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

#[test]
fn modules_of_kept_cases_are_seeds_as_they_are() {
    let folder = Folder::new();
    let root = folder.path().display().to_string();
    let (kept, seeds) = (
        folder.path().join("corpus/known"),
        folder.path().join("corpus/differential"),
    );
    fs::create_dir_all(&kept).expect("a folder");
    fs::create_dir_all(&seeds).expect("a folder");
    let module = "(module (func (export \"f\") (result i32) i32.const 7))";
    let large = format!(
        "(module (memory 1) (data (i32.const 0) \"{}\"))",
        "x".repeat(5_000)
    );
    fs::write(
        kept.join("some.wast"),
        format!("{module}\n{large}\n{module}"),
    )
    .expect("a file");
    fs::write(seeds.join("kept-gone-0.wasm"), "").expect("a file");
    assert_eq!(parallax(["seeds", "--root", &root]).status, Some(0));
    let names = fs::read_dir(&seeds).expect("a folder");
    let names = names.map(|entry| {
        entry
            .expect("a file")
            .file_name()
            .into_string()
            .expect("text")
    });
    let names: Vec<String> = names.filter(|name| name.starts_with("kept-")).collect();
    assert_eq!(names, ["kept-some-0.wasm"]);
    let ran = parallax(["repro", &seeds.join(&names[0]).display().to_string()]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}
