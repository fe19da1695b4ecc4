//! The faults that can be planted, one at a time, in the translation environment, the generated
//! code or the runtime.
//!
//! An oracle is done when it has been seen to fail. Every fault here is a mistake that somebody
//! could make (several are ones that somebody did make), and each has one place in the code that
//! asks for it. Without a planted fault these places cost a comparison at compile time of the
//! module, or on the slow path of a builtin.

use serde::{Deserialize, Serialize};

use crate::triage::blame::Layer;

macro_rules! faults {
    ($( $(#[$doc:meta])* $name:ident = $text:literal, )*) => {
        /// A mistake planted on purpose.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Fault {
            $( $(#[$doc])* $name, )*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &'static [Fault] = &[ $( Fault::$name, )* ];

            /// The name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $( Fault::$name => $text, )* }
            }
        }
    };
}

faults! {
    /// Table bounds checks let one element too many through.
    TableBoundOffByOne = "table-bound-off-by-one",
    /// `call_indirect` does not compare signatures.
    SkipSignatureCheck = "skip-signature-check",
    /// `call_indirect` does not check for null.
    SkipNullCheck = "skip-null-check",
    /// What `call_indirect` loads from the record of a function may move before the check for null.
    FunctionRecordReadonly = "function-record-readonly",
    /// An imported global is read from the vmctx instead of through the import.
    ImportedGlobalInVmctx = "imported-global-in-vmctx",
    /// `call_indirect` takes a table to be no larger than it was declared to be at least, though it may grow.
    IndirectBoundIsMinimum = "indirect-bound-is-minimum",
    /// i32 arguments of builtins are sign-extended.
    SignExtendBuiltinArguments = "sign-extend-builtin-arguments",
    /// `memory.fill` fills one byte too few.
    MemoryFillShort = "memory-fill-short",
    /// `table.grow` returns the new size.
    TableGrowReturnsNewSize = "table-grow-returns-new-size",
    /// Division by zero and integer overflow are reported as each other.
    SwapTrapKinds = "swap-trap-kinds",
    /// Loop headers do not look at the interrupt word.
    NoInterruptCheck = "no-interrupt-check",
    /// Instances behind the first look for interrupts, and for the stack limit, in words that nobody sets.
    InterruptsOfFirstInstance = "interrupts-of-first-instance",
    /// When a function returns that the host has called, the stack limit is set again, and with it an
    /// interrupt is lost that was asked for meanwhile.
    InterruptLostAtCallback = "interrupt-lost-at-callback",
    /// Functions do not look whether there is enough stack.
    NoStackCheck = "no-stack-check",
    /// Functions trap when an eighth of the stack is used.
    TightStackCheck = "tight-stack-check",
    /// The bound of a dynamic memory is loaded one page too large.
    MemoryBoundOffByPage = "memory-bound-off-by-page",
    /// The bound of a small static memory is a page too small.
    StaticBoundShort = "static-bound-short",
    /// Growing a static memory does not tell its size to those to whom it is a dynamic one.
    StaticGrowthUntold = "static-growth-untold",
    /// The base of a dynamic memory is taken to be constant.
    MemoryBaseReadonly = "memory-base-readonly",
    /// `memory.copy` copies forwards even where the ranges overlap the other way.
    MemoryCopyForwards = "memory-copy-forwards",
    /// `elem.drop` does nothing.
    ElementDropIgnored = "element-drop-ignored",
    /// `data.drop` does nothing.
    DataDropIgnored = "data-drop-ignored",
    /// `data.drop` drops the segment behind the one that it names as well.
    DataDropTakesTheNextToo = "data-drop-takes-the-next-too",
    /// Element segments that are active or declared are not dropped at instantiation.
    ActiveElementsKept = "active-elements-kept",
    /// An imported function is called with the caller's vmctx.
    ImportCalledWithOwnVmctx = "import-called-with-own-vmctx",
    /// An imported function gets its own vmctx as the caller's.
    CallerVmctxIsCallees = "caller-vmctx-is-callees",
    /// What is stored before a call of an imported function is stored after it.
    StoreAfterImportedCall = "store-after-imported-call",
    /// What `return_call_indirect` calls gets the caller's vmctx.
    TailCallWithOwnVmctx = "tail-call-with-own-vmctx",
    /// Loads and stores go to the first memory, whichever they name.
    AccessOfFirstMemory = "access-of-first-memory",
    /// Of an address of 64 bits, `memory.fill`, `memory.copy` and `memory.init` get the lower half, unless memories
    /// of both widths are involved.
    AddressOfBulkCut = "address-of-bulk-cut",
    /// Of a length of 64 bits, `memory.fill` and `memory.copy` get the lower half.
    LengthOfBulkCut = "length-of-bulk-cut",
    /// Of what a memory is to grow by, in 64 bits, `memory.grow` gets the lower half.
    Growth64Cut = "growth64-cut",
    /// Of the address of 64 bits, `memory.copy` between memories of both widths gets the lower half, as if the other
    /// address and the length said how wide all are.
    MixedCopyAddressCut = "mixed-copy-address-cut",
    /// Relaxed multiplication and addition round in between.
    RelaxedMaddRoundsTwice = "relaxed-madd-rounds-twice",
    /// There is no read barrier.
    ReadBarrierMissing = "read-barrier-missing",
    /// The read barrier puts the reference into the table but does not increment the count.
    ReadBarrierNoIncrement = "read-barrier-no-increment",
    /// The read barrier increments but does not put the reference into the table.
    ReadBarrierNoBump = "read-barrier-no-bump",
    /// The read barrier does not skip null.
    ReadBarrierNullNotSkipped = "read-barrier-null-not-skipped",
    /// The slow path of the read barrier collects but does not insert.
    SlowPathNoInsert = "slow-path-no-insert",
    /// The write barrier decrements the old element before it increments the new one.
    WriteBarrierDecrementFirst = "write-barrier-decrement-first",
    /// The write barrier drops the old element before the new one is in its slot.
    WriteBarrierDropBeforeStore = "write-barrier-drop-before-store",
    /// The write barrier does not skip null where it counts the new element.
    WriteBarrierNullNotSkipped = "write-barrier-null-not-skipped",
    /// The write barrier does not decrement the old element.
    WriteBarrierNoDecrement = "write-barrier-no-decrement",
    /// The write barrier does not increment the new element.
    WriteBarrierNoIncrement = "write-barrier-no-increment",
    /// The write barrier drops at a count of 1.
    WriteBarrierDropAtOne = "write-barrier-drop-at-one",
    /// Collections find no references on the stack.
    StackMapIgnored = "stack-map-ignored",
    /// Collections read stack slots one word off.
    StackMapOffByWord = "stack-map-off-by-word",
    /// The result of `select` is in no stack map, as in `cranelift-wasm` itself.
    SelectNotInStackMap = "select-not-in-stack-map",
    /// Block parameters made by SSA construction are in no stack map, as in `cranelift-frontend`
    /// itself.
    BlockParameterNotInStackMap = "block-parameter-not-in-stack-map",
    /// What lives through a loop shares its stack slot with what is defined in it, as in
    /// `cranelift-frontend` itself.
    LoopSlotShared = "loop-slot-shared",
    /// The parameters of functions are in no stack map.
    ParameterNotInStackMap = "parameter-not-in-stack-map",
    /// The results of calls are in no stack map.
    ResultNotInStackMap = "result-not-in-stack-map",
    /// Collections find no references on the stack outside of the last entry into wasm.
    OuterFramesForgotten = "outer-frames-forgotten",
    /// References that the host hands to wasm at once go into the activations table one by one, with a collection in
    /// between wherever that is full, as in Wasmtime once (CVE-2021-39216).
    HandedOverOneByOne = "handed-over-one-by-one",
    /// What a function returns that the host has called is handed on without being counted.
    CallbackResultNotCounted = "callback-result-not-counted",
    /// Sweeping forgets the bump region.
    SweepForgetsBump = "sweep-forgets-bump",
    /// A collection while wasm is running releases nothing.
    CollectionKeepsAll = "collection-keeps-all",
    /// `table.fill` on externrefs copies without counting.
    TableFillNoCount = "table-fill-no-count",
    /// `table.init` on externrefs copies without counting.
    TableInitNoCount = "table-init-no-count",
    /// `table.copy` on externrefs copies without counting.
    TableCopyNoCount = "table-copy-no-count",
    /// `table.grow` on externrefs counts once for all new elements.
    TableGrowCountsOnce = "table-grow-counts-once",
    /// `table.grow` that fails counts its initial value all the same.
    FailedGrowLeaks = "failed-grow-leaks",
    /// `global.get` of an externref does not put it into the activations table.
    GlobalGetNotInserted = "global-get-not-inserted",
    /// What a host function returns is not put into the activations table.
    HostResultNotInserted = "host-result-not-inserted",
    /// `global.set` of an externref does not release the old value.
    GlobalSetNoRelease = "global-set-no-release",
    /// Dropping the store releases table elements twice.
    DoubleReleaseAtTeardown = "double-release-at-teardown",
    /// A rule of the optimiser takes `<=` of signed integers for `<`.
    OptimiserComparesStrictly = "optimiser-compares-strictly",
    /// The first condition code of a function that says "less" says "less or equal", on x86-64.
    X86ConditionCode = "x86-64-condition-code",
    /// The first subtraction of a function has its operands the wrong way round, on aarch64.
    Aarch64OperandsSwapped = "aarch64-operands-swapped",
    /// The same on riscv64.
    Riscv64OperandsSwapped = "riscv64-operands-swapped",
}

impl Fault {
    /// The layer that a fault is planted in, which is the one to be blamed for what comes of it.
    pub fn layer(self) -> Layer {
        match self {
            Fault::TableBoundOffByOne
            | Fault::SkipSignatureCheck
            | Fault::SkipNullCheck
            | Fault::FunctionRecordReadonly
            | Fault::IndirectBoundIsMinimum
            | Fault::ImportedGlobalInVmctx
            | Fault::SignExtendBuiltinArguments
            | Fault::NoInterruptCheck
            | Fault::NoStackCheck
            | Fault::TightStackCheck
            | Fault::TableGrowReturnsNewSize
            | Fault::MemoryFillShort
            | Fault::MemoryBoundOffByPage
            | Fault::MemoryBaseReadonly
            | Fault::StaticBoundShort
            | Fault::ImportCalledWithOwnVmctx
            | Fault::CallerVmctxIsCallees
            | Fault::StoreAfterImportedCall
            | Fault::TailCallWithOwnVmctx
            | Fault::AccessOfFirstMemory
            | Fault::AddressOfBulkCut
            | Fault::LengthOfBulkCut
            | Fault::Growth64Cut
            | Fault::MixedCopyAddressCut
            | Fault::RelaxedMaddRoundsTwice
            | Fault::ReadBarrierMissing
            | Fault::ReadBarrierNoIncrement
            | Fault::ReadBarrierNoBump
            | Fault::ReadBarrierNullNotSkipped
            | Fault::WriteBarrierDecrementFirst
            | Fault::WriteBarrierDropBeforeStore
            | Fault::WriteBarrierNullNotSkipped
            | Fault::WriteBarrierNoDecrement
            | Fault::WriteBarrierNoIncrement
            | Fault::WriteBarrierDropAtOne
            | Fault::SelectNotInStackMap
            | Fault::BlockParameterNotInStackMap
            | Fault::LoopSlotShared
            | Fault::ParameterNotInStackMap
            | Fault::ResultNotInStackMap => Layer::Translation,
            Fault::MemoryCopyForwards
            | Fault::ElementDropIgnored
            | Fault::DataDropIgnored
            | Fault::DataDropTakesTheNextToo
            | Fault::ActiveElementsKept
            | Fault::InterruptsOfFirstInstance
            | Fault::InterruptLostAtCallback
            | Fault::StaticGrowthUntold
            | Fault::SlowPathNoInsert
            | Fault::StackMapIgnored
            | Fault::StackMapOffByWord
            | Fault::OuterFramesForgotten
            | Fault::HandedOverOneByOne
            | Fault::CallbackResultNotCounted
            | Fault::SweepForgetsBump
            | Fault::CollectionKeepsAll
            | Fault::TableFillNoCount
            | Fault::TableInitNoCount
            | Fault::TableCopyNoCount
            | Fault::TableGrowCountsOnce
            | Fault::FailedGrowLeaks
            | Fault::GlobalGetNotInserted
            | Fault::HostResultNotInserted
            | Fault::GlobalSetNoRelease
            | Fault::DoubleReleaseAtTeardown => Layer::Runtime,
            Fault::OptimiserComparesStrictly => Layer::MiddleEnd,
            // What code generation hands on besides code is made once for all ISAs.
            Fault::SwapTrapKinds => Layer::MiddleEnd,
            Fault::X86ConditionCode => Layer::X86_64Backend,
            Fault::Aarch64OperandsSwapped => Layer::Aarch64Backend,
            Fault::Riscv64OperandsSwapped => Layer::Riscv64Backend,
        }
    }

    /// An engine in which the fault can show.
    pub fn engine(self) -> &'static str {
        match self.layer() {
            Layer::Aarch64Backend => "aarch64",
            Layer::Riscv64Backend => "riscv64",
            _ => "x86_64",
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        Fault::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| format!("no fault is named `{name}`"))
    }
}
