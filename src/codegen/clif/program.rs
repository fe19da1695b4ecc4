//! Functions in the form in which they are interpreted: one flat list of operations over numbered
//! registers.
//!
//! An operation stands for an instruction of CLIF, with few exceptions, and the list keeps their
//! order. As far as the rest of the runtime is concerned an operation is one byte of code: a function
//! has an address, an operation has one, calls have return addresses. So traps, stack maps and walks
//! of frames are those of machine code.

use std::rc::Rc;

use cranelift_codegen::ir;
use cranelift_codegen::packed_option::PackedOption;
use parallax_oracles::TrapKind;

/// What a register holds: an integer or a float in the low word, the rest of it zero; a vector in
/// both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Register {
    /// Bits 0 to 63.
    pub low: u64,
    /// Bits 64 to 127 of a vector; anything otherwise.
    pub high: u64,
}

impl Register {
    /// A register that holds all 128 bits.
    pub fn from_u128(value: u128) -> Register {
        Register {
            low: value as u64,
            high: (value >> 64) as u64,
        }
    }

    /// All 128 bits of it.
    pub fn to_u128(self) -> u128 {
        u128::from(self.low) | u128::from(self.high) << 64
    }
}

/// The number of a register in its frame: that of the SSA value, or behind all of them.
pub type Number = u32;

/// A function of one scalar.
pub type Unary = fn(u64) -> u64;
/// A function of two scalars.
pub type Binary = fn(u64, u64) -> u64;
/// A function of two scalars that traps.
pub type Division = fn(u64, u64) -> Result<u64, TrapKind>;
/// A function of one vector.
pub type VectorUnary = fn(u128) -> u128;
/// A function of two vectors.
pub type VectorBinary = fn(u128, u128) -> u128;
/// A function of three vectors.
pub type VectorTernary = fn(u128, u128, u128) -> u128;

/// How many bytes are loaded and what is made of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Bytes that are zero-extended: 1, 2, 4 or 8 of them.
    Zero(u8),
    /// Bytes that are sign-extended, to so many bytes.
    Sign {
        /// 1, 2 or 4.
        from: u8,
        /// 2, 4 or 8.
        to: u8,
    },
    /// A vector.
    Vector,
    /// The halves of a vector's lanes, of so many bytes each.
    Widened {
        /// Bytes of a lane in memory: 1, 2 or 4.
        lane: u8,
        /// Whether they are sign-extended.
        signed: bool,
    },
}

/// An operation.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "operands are named as in CLIF")]
pub enum Op {
    /// What the crate's interpreter does with the instruction.
    Step,
    Const {
        to: Number,
        value: u64,
    },
    Copy {
        to: Number,
        from: Number,
    },
    Unary {
        f: Unary,
        to: Number,
        a: Number,
    },
    Binary {
        f: Binary,
        to: Number,
        a: Number,
        b: Number,
    },
    BinaryImmediate {
        f: Binary,
        to: Number,
        a: Number,
        b: i32,
    },
    Division {
        f: Division,
        to: Number,
        a: Number,
        b: Number,
    },
    /// The sum, or the trap if it has a carry.
    AddTrap {
        add: Binary,
        to: Number,
        a: Number,
        b: Number,
    },
    VectorUnary {
        f: VectorUnary,
        to: Number,
        a: Number,
    },
    VectorBinary {
        f: VectorBinary,
        to: Number,
        a: Number,
        b: Number,
    },
    /// Of the three registers in a list.
    VectorTernary {
        f: VectorTernary,
        to: Number,
        first: u32,
    },
    /// The scalar conditions for a scalar or a vector.
    Select {
        to: Number,
        condition: Number,
        a: Number,
        b: Number,
    },
    Load {
        load: Load,
        to: Number,
        base: Number,
        offset: i32,
    },
    /// A load of 4 or 8 bytes that translation says never change.
    LoadUnchanging {
        load: Load,
        to: Number,
        base: Number,
        offset: i32,
    },
    /// Nothing, if there is something to load where a load may move to this place.
    CheckMovable {
        load: Load,
        base: Number,
        offset: i32,
    },
    /// Stores so many bytes: 1, 2, 4, 8 or 16.
    Store {
        bytes: u8,
        value: Number,
        base: Number,
        offset: i32,
    },
    /// The address of so many bytes above the stack pointer.
    StackAddress {
        to: Number,
        offset: u32,
    },
    StackLoad {
        load: Load,
        to: Number,
        offset: u32,
    },
    StackStore {
        bytes: u8,
        value: Number,
        offset: u32,
    },
    Jump {
        edge: u32,
    },
    Branch {
        condition: Number,
        then: u32,
        otherwise: u32,
    },
    /// Edges of a table, the default first.
    BranchTable {
        index: Number,
        first: u32,
        edges: u32,
    },
    Trap,
    TrapIfZero {
        condition: Number,
    },
    TrapUnlessZero {
        condition: Number,
    },
    /// Calls a function that the same module defines.
    Call {
        function: u32,
        site: u32,
    },
    CallIndirect {
        callee: Number,
        site: u32,
    },
    /// Leaves the frame to a function that the same module defines.
    ReturnCall {
        function: u32,
        site: u32,
    },
    ReturnCallIndirect {
        callee: Number,
        site: u32,
    },
    Return {
        first: u32,
        values: u32,
    },
}

/// Where a branch leads, and what the parameters of the block become.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The operation to go on with.
    pub target: u32,
    /// Where its moves start in [`Program::moves`].
    pub first: u32,
    /// How many there are.
    pub moves: u32,
    /// Whether a move overwrites what a later one reads.
    pub at_once: bool,
}

/// A call: arguments and results are lists in [`Program::lists`].
#[derive(Clone, Copy, Debug)]
pub struct CallSite {
    /// Where the arguments start.
    pub first_argument: u32,
    /// How many there are.
    pub arguments: u32,
    /// Where the results start.
    pub first_result: u32,
    /// How many there are.
    pub results: u32,
    /// The signature, in its function.
    pub abi: ir::SigRef,
    /// The number of the signature: equal for equal ones.
    pub signature: u32,
}

/// A function, ready to be interpreted.
pub struct Program {
    /// The function.
    pub func: Rc<ir::Function>,
    /// Its operations.
    pub ops: Vec<Op>,
    /// The instruction behind each operation that can be stepped by the crate's interpreter.
    pub steps: Vec<PackedOption<ir::Inst>>,
    /// The operation that each block starts with.
    pub blocks: Vec<u32>,
    /// All edges.
    pub edges: Vec<Edge>,
    /// The moves of all edges: from, to.
    pub moves: Vec<(Number, Number)>,
    /// The calls.
    pub sites: Vec<CallSite>,
    /// Lists of registers.
    pub lists: Vec<Number>,
    /// How many registers a frame has.
    pub registers: u32,
    /// Where the parameters go.
    pub parameters: Vec<Number>,
    /// Bytes of a frame, a multiple of 16: its stack slots, and some for its registers.
    pub frame_bytes: u32,
    /// The offset of each slot from the stack pointer.
    pub slots: Vec<u32>,
    /// Offsets by which the stack limit is found, by loads, from the vmctx on; `None` if it is not
    /// checked.
    pub stack_limit: Option<Vec<i32>>,
    /// The number of its signature.
    pub signature: u32,
    /// Its address.
    pub address: u64,
    /// The program that is the first function of its module.
    pub module: u32,
}

impl Default for Program {
    fn default() -> Program {
        Program {
            func: Rc::new(ir::Function::new()),
            ops: Vec::new(),
            steps: Vec::new(),
            blocks: Vec::new(),
            edges: Vec::new(),
            moves: Vec::new(),
            sites: Vec::new(),
            lists: Vec::new(),
            registers: 0,
            parameters: Vec::new(),
            frame_bytes: 0,
            slots: Vec::new(),
            stack_limit: None,
            signature: 0,
            address: 0,
            module: 0,
        }
    }
}

impl Program {
    /// Makes it empty but for the function, keeping its allocations.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.steps.clear();
        self.blocks.clear();
        self.edges.clear();
        self.moves.clear();
        self.sites.clear();
        self.lists.clear();
        self.parameters.clear();
        self.slots.clear();
        self.stack_limit = None;
    }

    /// A list of registers.
    pub fn list(&self, first: u32, length: u32) -> &[Number] {
        &self.lists[first as usize..(first + length) as usize]
    }
}
