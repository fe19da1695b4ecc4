//! Running the program, and folders to run it in.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The program under test.
pub const PARALLAX: &str = env!("CARGO_BIN_EXE_parallax");

/// What a run of the program printed, and its exit status.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The JSON on the last line of standard output.
    pub fn json(&self) -> serde_json::Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it was refused: status 2, one line on standard error that says all of
    /// `words`, and nothing on standard output.
    #[track_caller]
    pub fn is_refused(&self, words: &[&str]) {
        assert_eq!(self.status, Some(2), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("parallax: "), "{self:?}");
        assert!(self.stderr.ends_with('\n'), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert!(!self.stderr.contains("a bug in parallax"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

/// Runs the program.
pub fn parallax(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let mut command = Command::new(PARALLAX);
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("the program runs").into()
}

/// Runs the program with this on its standard input.
pub fn parallax_reading(
    input: &[u8],
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ran {
    let mut command = Command::new(PARALLAX);
    command.args(arguments).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    // One that does not read to the end has its reasons.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends").into()
}

/// A run of the program that ends with the test, if it has not before.
pub struct Running(Option<Child>);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("the program runs")))
    }

    pub fn id(&self) -> u32 {
        self.0.as_ref().expect("a run").id()
    }

    /// Sends a signal to it, such as `-INT`.
    pub fn signal(&self, signal: &str) {
        send(signal, &self.id().to_string());
    }

    /// Waits until it ends.
    pub fn ended(mut self) -> Ran {
        let child = self.0.take().expect("a run");
        child.wait_with_output().expect("it ends").into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process or, with `-` before its number, to a group of them.
pub fn send(signal: &str, to: &str) {
    let sent = Command::new("kill").args([signal, "--", to]).status();
    assert!(sent.expect("kill runs").success());
}

/// Waits until there is something, for as long as a machine that is busy with others may take.
pub fn awaited<T>(what: &str, mut there_is: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = there_is() {
            return it;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder that goes when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{process}-{number}"));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file in it and returns its path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        fs::write(self.0.join(name), contents).expect("a file");
        self.file(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in the target folder and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
