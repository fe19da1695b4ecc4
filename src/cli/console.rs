//! What is printed where. Results go to standard output, unless that is to hold JSON.
//!
//! A reader that goes away (`| head`) is no error: what it would not read is not written, and a
//! command that could go on for ever can see that nobody listens.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

/// Standard output, or what takes its place.
#[derive(Default)]
pub struct Console {
    /// Whether standard output is for JSON alone, and all else goes to standard error.
    json: bool,
    closed: bool,
    failure: Option<io::Error>,
}

impl Console {
    /// Keeps standard output free for JSON, if there is to be any.
    pub fn for_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether JSON was asked for.
    pub fn is_for_json(&self) -> bool {
        self.json
    }

    /// Prints text, which ends its own lines.
    pub fn print(&mut self, text: impl Display) {
        if self.closed {
            return;
        }
        let text = text.to_string();
        if self.json {
            // What counts is the JSON, which may be read all the same.
            let _ = io::stderr().write_all(text.as_bytes());
        } else {
            let written = to_stdout(&text);
            self.note(written);
        }
    }

    /// Prints what is nowhere else, on standard error if standard output does not take it.
    pub fn print_precious(&mut self, text: impl Display) {
        let text = text.to_string();
        self.print(&text);
        if self.closed {
            // There is nowhere else to turn to.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    /// Prints JSON, on a line of standard output.
    pub fn print_json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(value).context("cannot be put into JSON")?;
        text.push('\n');
        let written = to_stdout(&text);
        self.note(written);
        Ok(())
    }

    /// Whether nobody reads what is printed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Says whether all that was printed was also written.
    ///
    /// # Errors
    /// Why not. A reader that went away is none.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.failure {
            None => Ok(()),
            Some(error) => Err(error).context("cannot write to standard output"),
        }
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.closed = true;
            if error.kind() != ErrorKind::BrokenPipe {
                self.failure.get_or_insert(error);
            }
        }
    }
}

fn to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Tells what is wrong, in one line on standard error.
pub fn complain(what: impl Display) {
    let text = what.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line = format!("parallax: {}\n", lines.join(" "));
    // If standard error is gone, the status still tells.
    let _ = io::stderr().write_all(line.as_bytes());
}
