//! What an oracle says when two observations differ.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::observation::{Entity, Outcome, Reason};
use crate::value::{ObjectId, Value};

/// The oracles, by name. The names are part of the command line's output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OracleName {
    /// Values that a call returned.
    Results,
    /// Whether and why it trapped.
    Traps,
    /// Calls of imported host functions, with arguments.
    HostCalls,
    /// Sizes and bytes of memories.
    Memories,
    /// Values of globals.
    Globals,
    /// Sizes and elements of tables.
    Tables,
    /// Reference counts and drops of host objects.
    Refcounts,
}

impl OracleName {
    /// All oracles, in the order in which they are asked.
    pub const ALL: [OracleName; 7] = [
        OracleName::Results,
        OracleName::Traps,
        OracleName::HostCalls,
        OracleName::Memories,
        OracleName::Globals,
        OracleName::Tables,
        OracleName::Refcounts,
    ];

    /// The position in [`OracleName::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            OracleName::Results => "results",
            OracleName::Traps => "traps",
            OracleName::HostCalls => "host_calls",
            OracleName::Memories => "memories",
            OracleName::Globals => "globals",
            OracleName::Tables => "tables",
            OracleName::Refcounts => "refcounts",
        }
    }
}

impl fmt::Display for OracleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One difference: which oracle saw it, after which step, where, and the two sides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The oracle that speaks.
    pub oracle: OracleName,
    /// The step of the case after which the difference shows; one past the last for what showed
    /// when the store was dropped.
    pub step: usize,
    /// The host call within the step, counted from 0, at which it shows already; `None` if it shows after
    /// the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_call: Option<usize>,
    /// Where.
    pub place: Place,
    /// What the reference (or the rule) showed there.
    pub reference: Seen,
    /// What the subject showed there.
    pub subject: Seen,
    /// The subject's name.
    pub engine: String,
    /// The name of the engine in the reference's place, where that is another subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

/// One difference as an oracle sees it, before it is known which step and engine it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The host call within the step at which it shows, if not after the step.
    pub at_call: Option<usize>,
    /// Where.
    pub place: Place,
    /// What the reference (or the rule) showed there.
    pub reference: Seen,
    /// What the subject showed there.
    pub subject: Seen,
}

impl Difference {
    /// A difference between what the two sides showed at `place`.
    pub fn new(place: Place, reference: Seen, subject: Seen) -> Difference {
        Difference {
            at_call: None,
            place,
            reference,
            subject,
        }
    }

    /// The same, seen at a host call of the step, counted from 0.
    #[must_use]
    pub fn at_call(self, call: usize) -> Difference {
        Difference {
            at_call: Some(call),
            ..self
        }
    }

    /// The finding that `oracle` makes of this after `step` of `engine`, the subject.
    pub fn found_by(self, oracle: OracleName, step: usize, engine: &str) -> Finding {
        Finding {
            oracle,
            step,
            at_call: self.at_call,
            place: self.place,
            reference: self.reference,
            subject: self.subject,
            engine: engine.to_string(),
            against: None,
        }
    }
}

/// Where two observations differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Place {
    /// How the step ended.
    Outcome,
    /// A result, counted from 0.
    Result(usize),
    /// A host call, counted from 0 within the step.
    HostCall(usize),
    /// An argument of a host call.
    HostCallArgument {
        /// The call within the step.
        call: usize,
        /// The argument.
        argument: usize,
    },
    /// The size of a memory, in pages.
    MemorySize(Entity),
    /// A byte of a memory.
    MemoryByte {
        /// The memory.
        memory: Entity,
        /// The byte's address in it.
        address: u64,
    },
    /// The size of a table, in elements.
    TableSize(Entity),
    /// An element of a table.
    TableElement {
        /// The table.
        table: Entity,
        /// The element's index.
        index: u64,
    },
    /// A global.
    Global(Entity),
    /// The reference count of a host object.
    Count(ObjectId),
    /// The drop of a host object.
    Drop(ObjectId),
    /// The number of steps that were run.
    Steps,
}

/// What one side showed at a [`Place`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Seen {
    /// How the step ended.
    Outcome(Outcome),
    /// A value.
    Value(Value),
    /// A byte.
    Byte(u8),
    /// A size or a count.
    Number(u64),
    /// A host call: which host item, with what.
    HostCall(u32, Vec<Value>),
    /// Nothing was there.
    Absent,
    /// What a rule asks for or what broke it, in words.
    Rule(String),
}

/// What comes out of comparing two observations of a case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// No oracle saw a difference.
    Agreed,
    /// At least one did; these are the differences at the first step that has any.
    Diverged(Vec<Finding>),
    /// Nothing can be said from some step on, and nothing differed before it.
    Inconclusive(Reason),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Outcome => f.write_str("outcome"),
            Place::Result(index) => write!(f, "result {index}"),
            Place::HostCall(call) => write!(f, "host call {call}"),
            Place::HostCallArgument { call, argument } => {
                write!(f, "argument {argument} of host call {call}")
            }
            Place::MemorySize(memory) => write!(f, "pages of memory {memory}"),
            Place::MemoryByte { memory, address } => {
                write!(f, "byte {address:#x} of memory {memory}")
            }
            Place::TableSize(table) => write!(f, "size of table {table}"),
            Place::TableElement { table, index } => write!(f, "element {index} of table {table}"),
            Place::Global(global) => write!(f, "global {global}"),
            Place::Count(object) => write!(f, "reference count of {object}"),
            Place::Drop(object) => write!(f, "drop of {object}"),
            Place::Steps => f.write_str("number of steps"),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seen::Outcome(outcome) => outcome.fmt(f),
            Seen::Value(value) => value.fmt(f),
            Seen::Byte(byte) => write!(f, "{byte:#04x}"),
            Seen::Number(number) => number.fmt(f),
            Seen::HostCall(function, args) => {
                write!(f, "host item {function}(")?;
                for (index, arg) in args.iter().enumerate() {
                    write!(f, "{}{arg}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Seen::Absent => f.write_str("nothing"),
            Seen::Rule(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let against = self.against.as_deref().unwrap_or("reference");
        match self.at_call {
            Some(call) => write!(f, "{} differ at host call {call} of", self.oracle)?,
            None => write!(f, "{} differ after", self.oracle)?,
        }
        write!(
            f,
            " step {} at {}: {against} {}, {} {}",
            self.step, self.place, self.reference, self.engine, self.subject
        )
    }
}
