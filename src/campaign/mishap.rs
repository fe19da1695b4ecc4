//! Mishaps of a worker, planted on purpose: what generated code or a compiler could do to the process
//! that runs it, done to see that the supervisor and the confinement hold.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::examine::Ran;
use super::protocol::{Answer, Reply, say};
use crate::stats::Stats;

macro_rules! mishaps {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, )*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $( $(#[$doc])* $name, )*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[ $( Kind::$name, )* ];

            /// The name on the command line.
            pub fn name(self) -> &'static str {
                match self { $( Kind::$name => $text, )* }
            }
        }
    };
}

mishaps! {
    /// The process aborts.
    Abort = "abort",
    /// The stack overflows.
    StackOverflow = "stack-overflow",
    /// The process exits as if all were well.
    Exit = "exit",
    /// Nothing happens any more, at full speed.
    Spin = "spin",
    /// Nothing happens any more.
    Sleep = "sleep",
    /// Memory is taken without end.
    Memory = "memory",
    /// Memory is taken without end, and not used.
    Reserve = "reserve",
    /// Some memory is taken, and then nothing happens any more.
    Hoard = "hoard",
    /// What is said to the supervisor is nonsense.
    Babble = "babble",
    /// What the supervisor is told is what came of a case that nobody asked for.
    OtherAnswer = "other-answer",
    /// A panic that the harness catches.
    Panic = "panic",
    /// A file is written.
    Write = "write",
    /// A file is removed.
    Remove = "remove",
    /// A connection is made.
    Connect = "connect",
    /// A program is run in the place of this one.
    Exec = "exec",
    /// A process is started.
    Spawn = "spawn",
    /// The supervisor is killed.
    KillParent = "kill-parent",
    /// The process is killed, as by somebody else.
    KillItself = "kill-itself",
}

/// The file that is written, or removed, in the current folder.
const FILE: &str = "mishap";

/// Bytes of memory that are taken at once.
const PIECE_BYTES: usize = 16 << 20;

/// Bytes of memory that are hoarded.
const HOARD_BYTES: usize = 608 << 20;

/// Something that goes wrong at a case. Written `KIND@CASE`; with `!` at the end it happens only if
/// the worker ran other cases before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mishap {
    /// What.
    pub kind: Kind,
    /// At which case.
    pub case: u64,
    /// Whether only in a worker that ran other cases before.
    pub in_company: bool,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let company = if self.in_company { "!" } else { "" };
        write!(f, "{}@{}{company}", self.kind.name(), self.case)
    }
}

impl FromStr for Mishap {
    type Err = String;

    fn from_str(text: &str) -> Result<Mishap, String> {
        let in_company = text.ends_with('!');
        let (kind, case) = text
            .trim_end_matches('!')
            .split_once('@')
            .ok_or("not of the form KIND@CASE")?;
        let known = Kind::ALL.iter().copied();
        let kind = known.clone().find(|it| it.name() == kind).ok_or_else(|| {
            let names: Vec<&str> = known.map(Kind::name).collect();
            format!(
                "no mishap is named `{kind}` (there are {})",
                names.join(", ")
            )
        })?;
        let case = case.parse().map_err(|_| "not the number of a case")?;
        Ok(Mishap {
            kind,
            case,
            in_company,
        })
    }
}

impl Kind {
    /// Has it happen, in the process that calls. Some never return; those that do must be seen by
    /// what comes after.
    pub fn happen(self) {
        match self {
            Kind::Abort => std::process::abort(),
            Kind::StackOverflow => _ = overflow(1),
            Kind::Exit => std::process::exit(0),
            Kind::Spin => loop {
                std::hint::spin_loop();
            },
            Kind::Sleep => sleep(),
            Kind::Memory => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(std::hint::black_box(vec![1; PIECE_BYTES]));
                }
            }
            Kind::Reserve => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(std::hint::black_box(Vec::with_capacity(PIECE_BYTES)));
                }
            }
            Kind::Hoard => {
                let pieces = (0..HOARD_BYTES / PIECE_BYTES).map(|_| vec![1; PIECE_BYTES]);
                let _taken: Vec<Vec<u8>> = std::hint::black_box(pieces.collect());
                sleep();
            }
            Kind::Babble => println!("{{\"ran\": 1}}"),
            Kind::OtherAnswer => {
                let ran = Ran {
                    case: 1_000_000,
                    attempt: 0,
                    counts: Stats::default().into(),
                    found: None,
                };
                // If nobody listens, that is seen when it is said what came of the case.
                let _ = say(
                    &mut io::stdout(),
                    &Reply::Answer(Answer::Ran(Box::new(ran))),
                );
            }
            Kind::Panic => panic!("a mishap"),
            Kind::Write => refused(std::fs::write(FILE, "a mishap")),
            Kind::Remove => refused(std::fs::remove_file(FILE)),
            Kind::Connect => refused(TcpStream::connect(("127.0.0.1", 9))),
            Kind::Exec => refused(Err::<(), _>(Command::new("true").exec())),
            Kind::Spawn => refused(Command::new("true").spawn()),
            Kind::KillParent => {
                let parent = rustix::process::getppid();
                let killed = parent.map(|it| rustix::process::kill_process(it, Signal::KILL));
                refused(killed.unwrap_or(Ok(())).map_err(Into::into));
            }
            Kind::KillItself => {
                let killed = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
                refused(killed.map_err(Into::into));
            }
        }
    }
}

/// Does nothing any more.
fn sleep() -> ! {
    loop {
        std::thread::park();
    }
}

/// Tells what came of something that is to be refused, in the one way that a case can: by a panic.
fn refused<T>(what: io::Result<T>) {
    match what {
        Ok(_) => panic!("what should be refused was not"),
        Err(error) => panic!("refused: {error}"),
    }
}

#[expect(unconditional_recursion, reason = "that is what is wanted")]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + frame[frame.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mishaps_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            for in_company in [false, true] {
                let mishap = Mishap {
                    kind: *kind,
                    case: 12,
                    in_company,
                };
                assert_eq!(mishap.to_string().parse(), Ok(mishap));
            }
        }
        for wrong in ["", "abort", "abort@", "abort@x", "luck@1", "abort@-1"] {
            assert!(wrong.parse::<Mishap>().is_err(), "{wrong}");
        }
    }
}
