//! Workers that may do nothing but run cases, whatever the code that they run wants.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use landlock::{
    AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated,
    RulesetError, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::run::{Folder, PARALLAX, Ran};

/// Runs cases in the folder, in a worker that tries `mishap` at the first of them.
fn try_to(folder: &Folder, mishap: &str, confine_by: &str) -> Ran {
    let command = Command::new(PARALLAX)
        .args([
            "fuzz",
            "--cases=3",
            "--seed=5",
            "--engines=x86_64",
            "--json",
        ])
        .arg(format!("--mishaps={mishap}@0"))
        .arg(format!("--confine-by={confine_by}"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    command.expect("the program runs").into()
}

/// What is told of the first case.
fn told(folder: &Folder) -> String {
    let path = folder.path().join("artifacts/differential-5-0.txt");
    fs::read_to_string(path).expect("a finding")
}

/// Whether this machine has both ways to confine. Without them there is nothing to test. The program,
/// which is under test, is not asked.
pub fn confines() -> bool {
    let confines = has_landlock(Ok) && has_seccomp();
    if !confines {
        eprintln!("not tested: no Landlock or no seccomp here");
    }
    confines
}

/// Whether a thread, which ends with it, can be confined by Landlock, and by `more` of it.
fn has_landlock(more: fn(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    let confined = std::thread::spawn(move || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Execute)
            .and_then(more)
            .and_then(Ruleset::create)
            .and_then(RulesetCreated::restrict_self)
            .is_ok()
    });
    confined.join().expect("no panic")
}

/// Whether a thread, which ends with it, can be confined by seccomp.
fn has_seccomp() -> bool {
    let confined = std::thread::spawn(|| {
        let arch = TargetArch::try_from(std::env::consts::ARCH).ok()?;
        let (all, none) = (SeccompAction::Allow, SeccompAction::Trap);
        let filter = SeccompFilter::new(BTreeMap::new(), all, none, arch).ok()?;
        let filter = BpfProgram::try_from(filter).ok()?;
        seccompiler::apply_filter(&filter).ok()
    });
    confined.join().expect("no panic").is_some()
}

/// Whether Landlock, which there is, refuses what a mishap tries: not all kernels know all of it.
fn landlock_knows(mishap: &str) -> bool {
    let knows = match mishap {
        "connect" => has_landlock(|rules| rules.handle_access(AccessNet::ConnectTcp)),
        "kill-parent" => has_landlock(|rules| rules.scope(Scope::Signal)),
        _ => true,
    };
    if !knows {
        eprintln!("not tested: {mishap}, which Landlock does not know here");
    }
    knows
}

const ATTEMPTS: [(&str, &str); 6] = [
    ("write", "openat, for writing"),
    ("remove", "unlink"),
    ("connect", "socket"),
    ("exec", "execve"),
    ("spawn", ""),
    ("kill-parent", "kill"),
];

#[test]
fn system_calls_that_are_not_on_the_list_are_refused_and_told() {
    if !confines() {
        return;
    }
    for (mishap, call) in ATTEMPTS {
        let folder = Folder::new();
        fs::write(folder.path().join("other"), "").expect("a file");
        let file = folder.path().join("mishap");
        if mishap == "remove" {
            fs::write(&file, "kept").expect("a file");
        }
        let ran = try_to(&folder, mishap, "landlock,seccomp");
        let json = ran.json();
        assert_eq!(
            (ran.status, &json["cases"]),
            (Some(1), &3.into()),
            "{ran:?}"
        );
        assert_eq!(json["diverged"], 1, "{json}");
        assert_eq!(
            json["confined_by"],
            serde_json::json!(["landlock", "seccomp"])
        );
        let text = told(&folder);
        assert!(
            text.contains("(SIGSYS), for a system call that workers are refused"),
            "{text}"
        );
        // Who starts a process blocks all signals meanwhile, so that one is not told by name.
        let told = text.contains("refused system call ") && text.contains(call);
        assert!(told || mishap == "spawn", "{mishap}: {text}");
        assert_eq!(file.exists(), mishap == "remove");
    }
}

/// Each layer holds without the other.
#[test]
fn landlock_alone_refuses_as_well() {
    if !confines() {
        return;
    }
    for (mishap, _) in ATTEMPTS.into_iter().filter(|it| landlock_knows(it.0)) {
        let folder = Folder::new();
        let file = folder.path().join("mishap");
        if mishap == "remove" {
            fs::write(&file, "kept").expect("a file");
        }
        let ran = try_to(&folder, mishap, "landlock");
        let json = ran.json();
        assert_eq!(
            json["confined_by"],
            serde_json::json!(["landlock"]),
            "{ran:?}"
        );
        let text = told(&folder);
        let refused = [
            "refused: Permission denied",
            "refused: Operation not permitted",
        ];
        assert!(
            refused.iter().any(|words| text.contains(words)),
            "{mishap}: {text}"
        );
        assert_eq!(file.exists(), mishap == "remove");
    }
}

/// That the tests above would see it if nothing were refused.
#[test]
fn without_either_nothing_is_refused() {
    let folder = Folder::new();
    let ran = try_to(&folder, "write", "none");
    assert_eq!(ran.json()["confined_by"], serde_json::json!([]), "{ran:?}");
    assert!(told(&folder).contains("should be refused was not"));
    assert!(folder.path().join("mishap").exists());
}
