//! What a supervisor and a worker say to each other: one JSON object a line, over one socket, which
//! is the worker's standard input and output.
//!
//! The worker's side of it can be forged by the code that the worker runs. So a supervisor takes
//! what it reads for data, bounds its length, and ends a worker that says anything out of turn.

use std::io::{self, BufRead, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::confine::Layer;
use super::examine::{Job, Ran};
use super::mishap::Mishap;
use super::small::Small;

/// The hidden command by which the program runs as a worker.
pub const WORKER_COMMAND: &str = "worker";

/// The option by which a worker is told how to confine itself.
pub const CONFINE_OPTION: &str = "--confine-by";

/// Bytes of a line at most.
pub const LINE_BYTES: u64 = 64 << 20;

/// What a supervisor says first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What cases are made from, and what they are run on.
    pub job: Job,
    /// What is to go wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mishaps: Vec<Mishap>,
}

/// What a supervisor asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// That a case be run. Answered by [`Answer::Ran`], in the order of the requests.
    Run(u64),
    /// That a case that diverges be shrunk for a while. Answered by [`Answer::Shrunk`].
    Shrink {
        /// The number of the case.
        case: u64,
        /// Which of the inputs for it.
        attempt: u64,
    },
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<A> {
    /// The orders are understood and the engines made; by what the worker is confined.
    Ready(Vec<Layer>),
    /// This worker cannot work, and none would.
    Unable(String),
    /// What came of a request.
    Answer(A),
}

/// What came of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A case was run.
    Ran(Box<Ran>),
    /// What is left of a case, also as a script, if it could be shrunk.
    Shrunk(Box<Option<(Small, String)>>),
}

/// Says something.
///
/// # Errors
/// If nobody listens.
pub fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    to.write_all(&line(what)?)?;
    to.flush()
}

/// Something to be said, as it is said.
///
/// # Errors
/// If it cannot be.
pub fn line(what: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    Ok(line)
}

/// Says something; or, if that is longer than a supervisor listens, something else.
///
/// # Errors
/// If nobody listens.
pub fn say_or(
    to: &mut impl Write,
    what: &impl Serialize,
    otherwise: &impl Serialize,
) -> io::Result<()> {
    let line = line(what)?;
    if line.len() as u64 > LINE_BYTES {
        return say(to, otherwise);
    }
    to.write_all(&line)?;
    to.flush()
}

/// Hears the next thing said; `None` once nothing more will be.
///
/// # Errors
/// If it cannot be read or is not what was to be said.
pub fn hear<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_a_line_may_be_is_not_said() {
        let said = |length: u64| {
            // Between quotes, and at the end of a line.
            let what = "x".repeat(length as usize - 3);
            let mut line = Vec::new();
            say_or(&mut line, &what, &"too long").expect("room");
            line
        };
        assert_eq!(said(LINE_BYTES).len() as u64, LINE_BYTES);
        assert_eq!(said(LINE_BYTES + 1), b"\"too long\"\n");
    }
}
