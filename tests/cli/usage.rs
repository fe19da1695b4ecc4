//! Wrong usage: one line on standard error, status 2.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use parallax::generate::Generator;

use crate::run::parallax;

#[track_caller]
fn refused(arguments: &str, words: &[&str]) {
    parallax(arguments.split(' ').filter(|word| !word.is_empty())).is_refused(words);
}

#[test]
fn no_command() {
    refused("", &["no command", "--help"]);
}

#[test]
fn unknown_command() {
    refused("fuz", &["'fuz'", "`parallax --help`"]);
}

#[test]
fn commands_of_another_day() {
    for command in ["explain", "score", "verify"] {
        refused(command, &[command]);
    }
}

#[test]
fn unknown_option() {
    refused("fuzz --case 3", &["'--case'", "`parallax fuzz --help`"]);
}

#[test]
fn surplus_argument() {
    refused("engines x86_64", &["'x86_64'"]);
}

#[test]
fn missing_value() {
    refused("fuzz --cases", &["--cases", "value"]);
}

#[test]
fn option_given_twice() {
    refused("fuzz --seed 1 --seed 2", &["--seed"]);
}

#[test]
fn cases_is_no_count() {
    for value in ["-1", "0", "1.5", "many", "18446744073709551616"] {
        refused(&format!("fuzz --cases {value}"), &[value, "--cases"]);
    }
}

#[test]
fn time_is_no_time() {
    for value in ["5x", "5", "-5s", "0s", "s", "1m2h", "99999999999999999999s"] {
        refused(&format!("fuzz --time {value}"), &[value, "--time"]);
    }
}

#[test]
fn seed_is_no_number() {
    for value in ["-1", "0xg", "seven", "18446744073709551616"] {
        refused(&format!("fuzz --seed {value}"), &[value, "--seed"]);
    }
}

#[test]
fn jobs_is_no_count() {
    for value in ["0", "-2", "two"] {
        refused(&format!("fuzz --jobs {value}"), &[value, "--jobs"]);
    }
    refused("fuzz --jobs 1000000", &["--jobs"]);
}

#[test]
fn unknown_engine() {
    for command in ["fuzz", "repro x.wat", "spec"] {
        refused(
            &format!("{command} --engines x86_64,nope"),
            &["nope", "x86_64", "wasmi"],
        );
        refused(&format!("{command} --engines ,"), &["--engines"]);
    }
}

#[test]
fn nothing_but_the_reference() {
    refused("fuzz --engines wasmi", &["wasmi", "reference"]);
    refused("repro --engines wasmi x.wat", &["wasmi", "reference"]);
}

#[test]
fn unknown_generator() {
    refused("fuzz --generators loops,x", &["`x`", "wasm_smith"]);
}

#[test]
fn unknown_fault() {
    refused("fuzz --fault bad-luck", &["bad-luck", "memory-fill-short"]);
}

#[test]
fn unknown_level_and_style() {
    refused("spec --opt-level best", &["best", "speed_and_size"]);
    refused("spec --memory-style fast", &["fast", "static_small"]);
}

#[test]
fn filter_that_matches_nothing() {
    refused("spec --filter zzz", &["zzz"]);
}

#[test]
fn no_file_named() {
    refused("repro", &["FILE"]);
}

#[test]
fn argument_that_is_no_text() {
    let odd = OsStr::from_bytes(b"\xff\xfe");
    parallax([odd]).is_refused(&[]);
    parallax([OsStr::new("fuzz"), OsStr::new("--seed"), odd]).is_refused(&[]);
    parallax([OsStr::new("repro"), odd]).is_refused(&["No such file"]);
}

#[test]
fn help_is_help() {
    for arguments in [
        "--help",
        "-h",
        "help",
        "fuzz --help",
        "repro -h",
        "help spec",
    ] {
        let ran = parallax(arguments.split(' '));
        assert_eq!(ran.status, Some(0), "{ran:?}");
        assert_eq!(ran.stderr, "");
        assert!(ran.stdout.contains("Usage: parallax"), "{ran:?}");
    }
    let ran = parallax(["--help"]);
    assert!(ran.stdout.contains("Exit status:"), "{ran:?}");
    for command in ["score", "verify", "worker", "--fault"] {
        assert!(!ran.stdout.contains(command), "{ran:?}");
    }
    let ran = parallax(["fuzz", "--help"]);
    assert!(!ran.stdout.contains("--fault"), "{ran:?}");
    for generator in Generator::ALL {
        assert!(ran.stdout.contains(generator.name()), "{ran:?}");
    }
}

#[test]
fn version_is_the_packages() {
    let ran = parallax(["--version"]);
    assert_eq!(ran.status, Some(0));
    assert_eq!(
        ran.stdout,
        concat!("parallax ", env!("CARGO_PKG_VERSION"), "\n")
    );
}
