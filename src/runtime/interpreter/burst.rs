//! Operations of one frame, one after the other.
//!
//! All that calls, returns or traps is left to [`super::run`].

use super::reach::Refused;
use super::run::Memory;
use super::unchanging::Unchanging;
use crate::codegen::clif::{self, Load, Op, Program, Register};
use crate::runtime::entry::Stopped;

/// Why the operations of one frame are not simply gone on with.
pub(super) enum Break {
    /// One was done, and no more were wanted.
    Next,
    /// The crate's interpreter is to do this one.
    Step,
    /// A call of a function of the module.
    Call {
        function: u32,
        site: u32,
    },
    /// A call of what is at an address.
    CallIndirect {
        callee: u64,
        site: u32,
    },
    /// The same, and the frame is left to the callee.
    ReturnCall {
        function: u32,
        site: u32,
    },
    ReturnCallIndirect {
        callee: u64,
        site: u32,
    },
    /// The frame is done with.
    Return {
        first: u32,
        values: u32,
    },
    /// The operation trapped, as the table of traps says.
    Trap,
    /// It traps for a reason of its own.
    Stopped(Stopped),
    /// It accessed what it must not.
    Refused(Refused),
    /// It read something else than before where nothing is said to change.
    Changed,
    /// Where a load may move to, there is nothing to load.
    NotThere,
    /// There were too many branches.
    Endless,
}

/// Operations of one frame.
pub(super) struct Burst<'b> {
    pub(super) program: &'b Program,
    pub(super) registers: &'b mut [Register],
    pub(super) memory: &'b Memory,
    pub(super) stack_pointer: u64,
    pub(super) scratch: &'b mut Vec<Register>,
    pub(super) branches: &'b mut u64,
    pub(super) unchanging: &'b mut Unchanging,
}

macro_rules! try_memory {
    ($access:expr) => {
        match $access {
            Ok(value) => value,
            Err(refused) => return Break::Refused(refused),
        }
    };
}

impl Burst<'_> {
    /// Does operations from `op` on: one if that is asked for, or until there is a reason to stop. `op`
    /// is then the operation that stopped it, or the next one.
    #[inline(always)]
    pub(super) fn run<const ONE: bool>(&mut self, op: &mut usize) -> Break {
        let program = self.program;
        let mut at = *op;
        loop {
            let get = |number: u32| self.registers[number as usize].low;
            // Where it is left from here, this is the operation that is told of.
            *op = at;
            match program.ops[at] {
                Op::Step => return Break::Step,
                Op::Const { to, value } => self.registers[to as usize].low = value,
                Op::Copy { to, from } => {
                    self.registers[to as usize] = self.registers[from as usize];
                }
                Op::Unary { f, to, a } => self.registers[to as usize].low = f(get(a)),
                Op::Binary { f, to, a, b } => {
                    self.registers[to as usize].low = f(get(a), get(b));
                }
                Op::BinaryImmediate { f, to, a, b } => {
                    self.registers[to as usize].low = f(get(a), i64::from(b) as u64);
                }
                Op::Division { f, to, a, b } => match f(get(a), get(b)) {
                    Ok(value) => self.registers[to as usize].low = value,
                    Err(kind) => return Break::Stopped(Stopped::Trap(kind)),
                },
                Op::AddTrap { add, to, a, b } => {
                    let a = get(a);
                    let sum = add(a, get(b));
                    if clif::carries(sum, a) {
                        return Break::Trap;
                    }
                    self.registers[to as usize].low = sum;
                }
                Op::VectorUnary { f, to, a } => {
                    let a = self.registers[a as usize].to_u128();
                    self.registers[to as usize] = Register::from_u128(f(a));
                }
                Op::VectorBinary { f, to, a, b } => {
                    let a = self.registers[a as usize].to_u128();
                    let b = self.registers[b as usize].to_u128();
                    self.registers[to as usize] = Register::from_u128(f(a, b));
                }
                Op::VectorTernary { f, to, first } => {
                    let operands = &program.lists[first as usize..first as usize + 3];
                    let [a, b, c] = [0, 1, 2].map(|at: usize| {
                        let register = self.registers[operands[at] as usize];
                        register.to_u128()
                    });
                    self.registers[to as usize] = Register::from_u128(f(a, b, c));
                }
                Op::Select {
                    to,
                    condition,
                    a,
                    b,
                } => {
                    let from = if get(condition) != 0 { a } else { b };
                    self.registers[to as usize] = self.registers[from as usize];
                }
                Op::Load {
                    load,
                    to,
                    base,
                    offset,
                } => {
                    let address = get(base).wrapping_add_signed(i64::from(offset));
                    self.registers[to as usize] = try_memory!(read(self.memory, load, address));
                }
                Op::LoadUnchanging {
                    load,
                    to,
                    base,
                    offset,
                } => {
                    let address = get(base).wrapping_add_signed(i64::from(offset));
                    let value = try_memory!(read(self.memory, load, address));
                    if !self.unchanging.is_as_before(load, address, value.low) {
                        return Break::Changed;
                    }
                    self.registers[to as usize] = value;
                }
                Op::CheckMovable { load, base, offset } => {
                    let address = get(base).wrapping_add_signed(i64::from(offset));
                    if read(self.memory, load, address).is_err() {
                        return Break::NotThere;
                    }
                }
                Op::Store {
                    bytes,
                    value,
                    base,
                    offset,
                } => {
                    let address = get(base).wrapping_add_signed(i64::from(offset));
                    let value = self.registers[value as usize];
                    try_memory!(write(self.memory, bytes, address, value));
                }
                Op::StackAddress { to, offset } => {
                    self.registers[to as usize].low = self.stack_pointer + u64::from(offset);
                }
                Op::StackLoad { load, to, offset } => {
                    let address = self.stack_pointer + u64::from(offset);
                    self.registers[to as usize] = try_memory!(read(self.memory, load, address));
                }
                Op::StackStore {
                    bytes,
                    value,
                    offset,
                } => {
                    let address = self.stack_pointer + u64::from(offset);
                    let value = self.registers[value as usize];
                    try_memory!(write(self.memory, bytes, address, value));
                }
                Op::Jump { edge } => match self.follow(edge) {
                    Some(target) => {
                        at = target;
                        if ONE {
                            *op = at;
                            return Break::Next;
                        }
                        continue;
                    }
                    None => return Break::Endless,
                },
                Op::Branch {
                    condition,
                    then,
                    otherwise,
                } => {
                    let edge = if get(condition) != 0 { then } else { otherwise };
                    match self.follow(edge) {
                        Some(target) => {
                            at = target;
                            if ONE {
                                *op = at;
                                return Break::Next;
                            }
                            continue;
                        }
                        None => return Break::Endless,
                    }
                }
                Op::BranchTable {
                    index,
                    first,
                    edges,
                } => {
                    // The default comes first.
                    let index = get(index);
                    let edge = match index < u64::from(edges) - 1 {
                        true => first + 1 + index as u32,
                        false => first,
                    };
                    match self.follow(edge) {
                        Some(target) => {
                            at = target;
                            if ONE {
                                *op = at;
                                return Break::Next;
                            }
                            continue;
                        }
                        None => return Break::Endless,
                    }
                }
                Op::Trap => return Break::Trap,
                Op::TrapIfZero { condition } => {
                    if get(condition) == 0 {
                        return Break::Trap;
                    }
                }
                Op::TrapUnlessZero { condition } => {
                    if get(condition) != 0 {
                        return Break::Trap;
                    }
                }
                Op::Call { function, site } => return Break::Call { function, site },
                Op::CallIndirect { callee, site } => {
                    return Break::CallIndirect {
                        callee: get(callee),
                        site,
                    };
                }
                Op::ReturnCall { function, site } => return Break::ReturnCall { function, site },
                Op::ReturnCallIndirect { callee, site } => {
                    return Break::ReturnCallIndirect {
                        callee: get(callee),
                        site,
                    };
                }
                Op::Return { first, values } => return Break::Return { first, values },
            }
            at += 1;
            if ONE {
                *op = at;
                return Break::Next;
            }
        }
    }

    /// Takes an edge; the operation that it leads to, unless there were too many.
    #[inline(always)]
    fn follow(&mut self, edge: u32) -> Option<usize> {
        *self.branches = self.branches.checked_sub(1)?;
        let edge = self.program.edges[edge as usize];
        let moves = edge.first as usize..(edge.first + edge.moves) as usize;
        let moves = &self.program.moves[moves];
        if edge.at_once {
            self.scratch.clear();
            let registers = &*self.registers;
            self.scratch
                .extend(moves.iter().map(|(from, _)| registers[*from as usize]));
            for ((_, to), value) in moves.iter().zip(&*self.scratch) {
                self.registers[*to as usize] = *value;
            }
        } else {
            for (from, to) in moves {
                self.registers[*to as usize] = self.registers[*from as usize];
            }
        }
        Some(edge.target as usize)
    }
}

/// Reads what a load asks for.
#[inline(always)]
fn read(memory: &Memory, load: Load, address: u64) -> Result<Register, Refused> {
    let low = match load {
        Load::Zero(1) => u64::from(memory.read::<u8>(address)?),
        Load::Zero(2) => u64::from(u16::from_le(memory.read(address)?)),
        Load::Zero(4) => u64::from(u32::from_le(memory.read(address)?)),
        Load::Zero(_) => u64::from_le(memory.read(address)?),
        Load::Sign { from, to } => {
            let value = match from {
                1 => i64::from(memory.read::<u8>(address)? as i8),
                2 => i64::from(u16::from_le(memory.read(address)?) as i16),
                _ => i64::from(u32::from_le(memory.read(address)?) as i32),
            };
            value as u64 & (u64::MAX >> (64 - 8 * u32::from(to)))
        }
        Load::Vector => {
            let value = u128::from_le(memory.read(address)?);
            return Ok(Register::from_u128(value));
        }
        Load::Widened { lane, signed } => {
            let bytes = u64::from_le(memory.read(address)?);
            return Ok(Register::from_u128(clif::widen(bytes, lane, signed)));
        }
    };
    Ok(Register { low, high: 0 })
}

/// Writes the low bytes of a register.
#[inline(always)]
fn write(memory: &Memory, bytes: u8, address: u64, value: Register) -> Result<(), Refused> {
    match bytes {
        1 => memory.write(address, value.low as u8),
        2 => memory.write(address, (value.low as u16).to_le()),
        4 => memory.write(address, (value.low as u32).to_le()),
        8 => memory.write(address, value.low.to_le()),
        _ => memory.write(address, value.to_u128().to_le()),
    }
}
