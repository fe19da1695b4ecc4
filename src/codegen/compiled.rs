//! Machine code as plain data: bytes, and what the runtime has to know about them.

use parallax_oracles::TrapKind;

/// The code of a module's functions, one after the other, and its metadata. All offsets count
/// from the start of [`CompiledModule::code`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CompiledModule {
    /// The code, not relocated.
    pub code: Vec<u8>,
    /// The functions that the module defines, in order.
    pub functions: Vec<CompiledFunction>,
    /// What to patch once the code's address is known.
    pub relocations: Vec<Relocation>,
    /// Instructions that may trap, by ascending offset.
    pub traps: Vec<TrapSite>,
    /// Call sites across which references are live on the stack, by ascending return address.
    pub stack_maps: Vec<StackMap>,
    /// The slots of all stack maps, as offsets from the stack pointer in bytes.
    pub stack_map_slots: Vec<u32>,
    /// Which code came of which instruction of wasm, by ascending offset.
    pub sources: Vec<SourceRange>,
}

/// Code that came of one instruction of wasm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRange {
    /// Where it starts.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
    /// The offset of the instruction in the module's binary.
    pub wasm: u32,
}

/// The extent of one function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompiledFunction {
    /// Where it starts; its entry point.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
    /// Bytes of stack below its frame pointer that its entry has to see to, at most: those of its frame,
    /// and those that a call or a tail call takes before the entry of the function called looks itself.
    pub stack_bytes: u32,
}

/// A place to patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocation {
    /// Where.
    pub offset: u32,
    /// How.
    pub kind: RelocationKind,
    /// With the address of what.
    pub target: RelocationTarget,
    /// What to add to that address.
    pub addend: i64,
}

/// How an address is put into code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationKind {
    /// As 8 bytes.
    Absolute8,
    /// As 4 bytes, relative to the place itself.
    Relative4,
    /// As the 26-bit word offset of an aarch64 `bl` or `b`.
    Aarch64Call,
    /// As the two parts, of 20 and 12 bits, of the offset of a riscv64 `auipc` and the `jalr` behind it.
    Riscv64Call,
}

/// What a relocation refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationTarget {
    /// A function that the module defines, by its number among those.
    Function(u32),
    /// A routine that generated code may call where the ISA lacks an instruction.
    LibCall(LibCall),
}

/// Routines behind instructions that an ISA lacks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "named after the CLIF instruction and its type")]
pub enum LibCall {
    CeilF32,
    CeilF64,
    FloorF32,
    FloorF64,
    TruncF32,
    TruncF64,
    NearestF32,
    NearestF64,
    FmaF32,
    FmaF64,
    /// `pshufb` where SSSE3 is not to be used.
    X86Pshufb,
}

impl LibCall {
    /// All of them, in order.
    pub const ALL: [LibCall; 11] = [
        LibCall::CeilF32,
        LibCall::CeilF64,
        LibCall::FloorF32,
        LibCall::FloorF64,
        LibCall::TruncF32,
        LibCall::TruncF64,
        LibCall::NearestF32,
        LibCall::NearestF64,
        LibCall::FmaF32,
        LibCall::FmaF64,
        LibCall::X86Pshufb,
    ];
}

/// An instruction that may trap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrapSite {
    /// Its offset.
    pub offset: u32,
    /// Why it traps.
    pub kind: TrapKind,
}

/// Where references live on the stack while a call is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StackMap {
    /// The offset of the instruction that the call returns to.
    pub return_address: u32,
    /// Bytes from the stack pointer during the call to the frame pointer.
    pub frame_size: u32,
    /// Where its slots start in [`CompiledModule::stack_map_slots`].
    pub first_slot: u32,
    /// How many there are.
    pub slots: u32,
}

impl CompiledModule {
    /// Makes it empty, keeping its allocations.
    pub fn clear(&mut self) {
        self.code.clear();
        self.functions.clear();
        self.relocations.clear();
        self.traps.clear();
        self.stack_maps.clear();
        self.stack_map_slots.clear();
        self.sources.clear();
    }

    /// The trap of the instruction at an offset.
    pub fn trap_at(&self, offset: u32) -> Option<TrapKind> {
        let index = self
            .traps
            .binary_search_by_key(&offset, |site| site.offset)
            .ok()?;
        Some(self.traps[index].kind)
    }

    /// The stack map of the call that returns to an offset: frame size and slots.
    pub fn stack_map_at(&self, return_address: u32) -> Option<(u32, &[u32])> {
        let index = self
            .stack_maps
            .binary_search_by_key(&return_address, |map| map.return_address)
            .ok()?;
        let map = self.stack_maps[index];
        let first = map.first_slot as usize;
        Some((
            map.frame_size,
            &self.stack_map_slots[first..first + map.slots as usize],
        ))
    }

    /// The number of the function whose code covers an offset.
    pub fn function_at(&self, offset: u32) -> Option<u32> {
        let index = self
            .functions
            .partition_point(|function| function.start <= offset);
        let index = index.checked_sub(1)?;
        (offset < self.functions[index].end).then_some(index as u32)
    }
}
