//! What an engine showed while it ran a case.
//!
//! An observation holds one entry a step of the case: how the step ended, the host calls it made
//! and the objects it dropped, in order, and what changed in the visible state. State is recorded
//! as changes against the state after the step before, so that comparing two engines step by step
//! costs what changed and not what exists. The first snapshot changes everything from nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::{Nans, ObjectId, Value};

/// Bytes of memory that one recorded change covers. A change is recorded for a whole chunk.
pub const CHUNK_BYTES: usize = 64;

/// All that an engine showed for one case.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Observation {
    /// The engine's name.
    pub engine: String,
    /// One entry a step that was run; shorter than the case where a step ended it.
    pub steps: Vec<StepObservation>,
    /// What happened when the store was dropped after the last step.
    pub teardown: Vec<Event>,
    /// How dropping the store went, if something was wrong with it.
    #[serde(default)]
    pub broken_teardown: Option<Outcome>,
    /// Whether the engine counts references, so that [`Changes::counts`] and
    /// [`Event::Dropped`] mean something.
    pub counts_references: bool,
    /// If the engine does not count references, but tells which host objects are alive: when they
    /// are dropped at the latest. [`Event::Dropped`] then means something, and so do counts, in
    /// which each object that is alive has 1.
    #[serde(default)]
    pub alive: Option<Alive>,
    /// Whether the engine looked at tables only after the last step, so that only that one has
    /// their changes, those of all steps. An engine that fills tables in when they are first looked
    /// at has to be left alone for that to be seen.
    #[serde(default)]
    pub tables_late: bool,
    /// Whether every NaN whose sign and payload WebAssembly leaves open is the canonical one. Values of
    /// two engines that both say so are compared bit for bit.
    #[serde(default)]
    pub canonical_nans: bool,
}

impl Observation {
    /// Which NaNs agree between this engine and another.
    pub fn nans(&self, other: &Observation) -> Nans {
        if self.canonical_nans && other.canonical_nans {
            Nans::Canonical
        } else {
            Nans::Any
        }
    }
}

/// How long an object may be alive that nothing holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alive {
    /// Until the step has settled.
    UntilSettled,
    /// Until the store is dropped.
    UntilTeardown,
}

/// What one step showed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepObservation {
    /// How it ended.
    pub outcome: Outcome,
    /// Host calls and drops, in order.
    pub events: Vec<Event>,
    /// What the step changed.
    pub changes: Changes,
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// It returned these values.
    Returned(Vec<Value>),
    /// It trapped.
    Trapped(TrapKind),
    /// Instantiation was refused because an import did not match.
    Unlinkable,
    /// Compiled code touched memory it has no business with: a sandbox escape that the machine
    /// happened to catch. The text says what was touched, without addresses.
    Escaped(String),
    /// The rules of reference counting were broken where no state shows it: an object was used
    /// after it had been dropped, or given up more often than it was held. The text says how.
    Miscounted(String),
    /// Compiled code trapped for a reason that it did not have, as can be told from nothing but how it
    /// stood when it did. The text says which, and what speaks against it.
    Unfounded(String),
    /// The engine itself failed (a panic in the compiler, an internal error).
    Failed(String),
    /// It did not end, within more branches than any call takes that the reference brings to an end. They
    /// were counted; an engine that can only tell by a clock is [`Inconclusive`](Outcome::Inconclusive).
    Endless,
    /// It ended for a reason that says nothing about correctness.
    Inconclusive(Reason),
    /// The instance it names was never made.
    Skipped,
}

impl Outcome {
    /// Whether no state at all can lead to this in an engine that is right.
    pub fn is_broken(&self) -> bool {
        matches!(
            self,
            Outcome::Escaped(_)
                | Outcome::Miscounted(_)
                | Outcome::Unfounded(_)
                | Outcome::Failed(_)
        )
    }
}

/// Why a step, and with it the case, ended without a verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The stack of one engine was exhausted.
    StackExhausted,
    /// The reference's fuel ran out.
    OutOfFuel,
    /// An engine could not get the memory it asked for.
    AllocationRefused,
    /// The compiled code ran longer than the time set for a step.
    Timeout,
    /// The case called the host more often than a case may.
    HostCalls,
    /// The host asked for an interrupt where wasm may go on and show more before it has to notice.
    LateInterrupt,
    /// No engine beside the reference could run the case, or the reference could not for a limit of its own.
    Unsupported,
    /// The process that ran the case took more time than a case may.
    Hung,
    /// The process that ran the case took more memory than a case may.
    OutOfMemory,
    /// The process that ran the case was killed from outside, each time it was tried.
    Killed,
}

/// Why execution trapped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapKind {
    /// `unreachable` was executed.
    Unreachable,
    /// A memory access or bulk memory operation was out of bounds.
    MemoryOutOfBounds,
    /// A table access or bulk table operation was out of bounds.
    TableOutOfBounds,
    /// `call_indirect` of a null element.
    IndirectCallToNull,
    /// `call_indirect` of a function of another type.
    BadSignature,
    /// Signed division overflowed.
    IntegerOverflow,
    /// Integer division by zero.
    IntegerDivisionByZero,
    /// Float-to-integer conversion of a NaN or an unrepresentable value.
    BadConversionToInteger,
    /// The call stack was exhausted.
    StackExhausted,
    /// The host interrupted the execution.
    Interrupted,
    /// A host function trapped.
    Host,
}

/// Something that happened during a step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A host function was called.
    HostCall {
        /// The function's position among the case's host items.
        function: u32,
        /// The arguments.
        args: Vec<Value>,
        /// Counts of all live host objects at this moment, by ascending number. In an engine that
        /// does not count: empty, or, where it can tell, how many table slots, globals and host
        /// handles hold each object at this moment.
        counts: Vec<(ObjectId, u64)>,
        /// What memories, tables and globals held at this moment, as changes against the state after the
        /// step before; `None` where that was not looked at. Counts and handles are not part of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<Box<Changes>>,
    },
    /// A host object was dropped.
    Dropped(ObjectId),
}

/// What a step changed in the visible state. Lists are in ascending order of entity.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Memories whose size or contents changed.
    pub memories: Vec<MemoryChange>,
    /// Tables whose size or contents changed.
    pub tables: Vec<TableChange>,
    /// Globals whose value changed.
    pub globals: Vec<GlobalChange>,
    /// The settled count of every live host object whose count changed, by ascending number; a
    /// dropped object is listed once with 0. Empty in engines that do not count.
    pub counts: Vec<(ObjectId, u64)>,
    /// How many handles the host holds after the step to each object for which that number
    /// changed, by ascending number. It follows from the case and not from the engine; only the
    /// reference needs to record it.
    #[serde(default)]
    pub handles: Vec<(ObjectId, u64)>,
}

/// The change of one memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoryChange {
    /// Which memory.
    pub memory: Entity,
    /// Its size now, in pages of 64 KiB.
    pub pages: u64,
    /// The numbers of the chunks that changed, ascending; chunk `n` starts at byte
    /// `n * CHUNK_BYTES`.
    pub chunks: Vec<u32>,
    /// The bytes of those chunks now, one after the other.
    pub bytes: Vec<u8>,
}

/// The change of one table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableChange {
    /// Which table.
    pub table: Entity,
    /// Its size now, in elements.
    pub size: u64,
    /// The elements that changed, ascending by index, with what they hold now. An element that
    /// a growth added is listed only if it is not null.
    pub elements: Vec<(u32, Value)>,
}

/// The change of one global.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GlobalChange {
    /// Which global.
    pub global: Entity,
    /// What it holds now.
    pub value: Value,
}

/// Who made a memory, table or global.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Owner {
    /// The host, to satisfy an import; the index is the position among the case's host items.
    Host,
    /// An instance, counted in order of instantiation; the index is the one in its module's
    /// index space.
    Instance(u32),
}

/// What kind of thing an [`Entity`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum EntityKind {
    /// A linear memory.
    Memory,
    /// A table.
    Table,
    /// A global.
    Global,
}

/// A memory, table or global, named once whoever imports it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Entity {
    /// Who made it.
    pub owner: Owner,
    /// Which one of its owner's.
    pub index: u32,
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Owner::Host => write!(f, "{} of the host", self.index),
            Owner::Instance(instance) => write!(f, "{} of instance {instance}", self.index),
        }
    }
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrapKind::Unreachable => "unreachable",
            TrapKind::MemoryOutOfBounds => "memory out of bounds",
            TrapKind::TableOutOfBounds => "table out of bounds",
            TrapKind::IndirectCallToNull => "indirect call to null",
            TrapKind::BadSignature => "bad signature",
            TrapKind::IntegerOverflow => "integer overflow",
            TrapKind::IntegerDivisionByZero => "integer division by zero",
            TrapKind::BadConversionToInteger => "bad conversion to integer",
            TrapKind::StackExhausted => "stack exhausted",
            TrapKind::Interrupted => "interrupted",
            TrapKind::Host => "host trap",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::StackExhausted => "stack-exhausted",
            Reason::OutOfFuel => "out-of-fuel",
            Reason::AllocationRefused => "allocation-refused",
            Reason::Timeout => "timeout",
            Reason::HostCalls => "too-many-host-calls",
            Reason::LateInterrupt => "interrupt-noticed-late",
            Reason::Unsupported => "unsupported",
            Reason::Hung => "hung",
            Reason::OutOfMemory => "out-of-memory",
            Reason::Killed => "killed",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Returned(values) if values.is_empty() => f.write_str("returned nothing"),
            Outcome::Returned(values) => {
                f.write_str("returned")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{} {value}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Outcome::Trapped(kind) => write!(f, "trapped: {kind}"),
            Outcome::Unlinkable => f.write_str("refused to link"),
            Outcome::Escaped(what) => write!(f, "escaped the sandbox: {what}"),
            Outcome::Miscounted(how) => write!(f, "broke the rules of counting: {how}"),
            Outcome::Unfounded(how) => write!(f, "trapped without a reason: {how}"),
            Outcome::Failed(why) => write!(f, "the engine failed: {why}"),
            Outcome::Endless => f.write_str("did not end"),
            Outcome::Inconclusive(reason) => write!(f, "inconclusive: {reason}"),
            Outcome::Skipped => f.write_str("skipped"),
        }
    }
}
