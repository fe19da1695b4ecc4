//! One call, operation by operation.
//!
//! Frames are on a stack of our own, so that no recursion of wasm's is one of ours: registers in one
//! vector, and return addresses, frame pointers and stack slots in memory, laid out as machine code
//! does, where a walk of frames and the builtins find them.

use cranelift_interpreter::frame;

use super::Code;
use super::reach::{OwnedByStore, Reach, Refused};
use super::unchanging::Unchanging;
use crate::codegen::clif::{self, CallSite, Load, Op, Program, Register};
use crate::runtime::callbacks::CallBack;
use crate::runtime::entry::Stopped;
use crate::translate::builtins::Builtin;

/// What memory interpreted code reaches, in earnest.
pub type Memory = Reach<OwnedByStore>;

/// A frame that waits for a call to return.
pub struct Caller {
    /// The program, by number.
    program: u32,
    /// The operation that calls.
    op: u32,
    /// Where its registers start.
    base: usize,
    /// Its frame pointer.
    frame_pointer: u64,
}

/// Runs builtins for interpreted code.
pub trait Builtins {
    /// Runs one, given its arguments in registers, vmctx first, and where wasm is left: frame pointer
    /// and return address.
    ///
    /// # Errors
    /// Why wasm must stop.
    fn call(
        &mut self,
        builtin: Builtin,
        arguments: &[u64],
        exit: (u64, u64),
    ) -> Result<Returned, Stopped>;

    /// Says that what a builtin was to call has ended; wasm was left as it was when that builtin was called.
    /// `returned` is what was called if it has returned.
    ///
    /// # Errors
    /// Why wasm must stop all the same.
    fn called_back(&mut self, exit: (u64, u64), returned: Option<CallBack>) -> Result<(), Stopped>;
}

/// What a builtin came to that did not trap.
pub struct Returned {
    /// What it returns.
    pub value: u64,
    /// Whether memory may have become inaccessible.
    pub moved: bool,
    /// What is to be called before that.
    pub call_back: Option<CallBack>,
}

/// A call under way.
pub struct Run<'a, B> {
    pub code: Code<'a>,
    pub builtins: B,
    pub memory: Memory,
    pub registers: &'a mut Vec<Register>,
    pub callers: &'a mut Vec<Caller>,
    /// The function that runs.
    pub program: &'a Program,
    pub number: u32,
    pub base: usize,
    /// Below it are the stack slots of the frame.
    pub frame_pointer: u64,
    /// The lowest address of the stack.
    pub stack_end: u64,
    /// How many more branches and calls may be taken.
    pub branches: u64,
    /// How many more operations the crate's interpreter does as far as it can.
    pub to_step: &'a mut u32,
    /// What the crate's interpreter finds operands in.
    pub frame: frame::Frame<'a>,
    /// The address that was refused while it accessed memory.
    pub refused: std::cell::Cell<Option<Refused>>,
    /// For the arguments of a call, of a branch, and for results.
    pub scratch: Vec<Register>,
    /// What was read of what is said never to change.
    pub unchanging: &'a mut Unchanging,
}

/// Why the operations of one frame are not simply gone on with.
enum Break {
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

impl<'a, B: Builtins> Run<'a, B> {
    /// Enters the function, which nobody called yet. When it has returned, its results are in the
    /// scratch registers.
    ///
    /// # Errors
    /// Why it stopped.
    pub fn enter(&mut self, arguments: &[Register]) -> Result<(), Stopped> {
        self.scratch.clear();
        self.scratch.extend(arguments);
        let stack_pointer = self.frame_pointer;
        self.set_up(stack_pointer, 0)?;
        self.interpret()
    }

    /// The address of an operation of the current function.
    fn address(&self, op: usize) -> u64 {
        self.program.address + op as u64
    }

    fn fault(&self, signal: i32, op: usize, address: u64) -> Stopped {
        Stopped::Fault {
            signal,
            pc: self.address(op),
            address,
            stack_pointer: self.stack_pointer(),
        }
    }

    /// What stops a function that has no room for its frame. As where machine code looks, that is not made yet.
    fn lack_of_stack(&self) -> Stopped {
        Stopped::Fault {
            signal: libc::SIGILL,
            pc: self.address(0),
            address: 0,
            stack_pointer: self.frame_pointer,
        }
    }

    /// Makes the frame of the current program, whose arguments are in the scratch registers.
    fn set_up(&mut self, stack_pointer: u64, return_address: u64) -> Result<(), Stopped> {
        let program = self.program;
        let end = self.base + program.registers as usize;
        // Of those of all frames there are not too many: they take some stack as well.
        if self.registers.len() < end {
            self.registers.resize(end, Register::default());
        }
        let registers = &mut self.registers[self.base..end];
        for (parameter, argument) in program.parameters.iter().zip(&self.scratch) {
            registers[*parameter as usize] = *argument;
        }
        let outer = self.frame_pointer;
        self.frame_pointer = stack_pointer - 16;
        let stack_pointer = self.frame_pointer - u64::from(program.frame_bytes);
        if let Some(offsets) = &program.stack_limit {
            let mut limit = self.scratch[0].low;
            for offset in offsets {
                let address = limit.wrapping_add_signed(i64::from(*offset));
                let read = self.memory.read::<u64>(address);
                limit = read.map_err(|Refused(at)| self.fault(libc::SIGSEGV, 0, at))?;
            }
            if stack_pointer < limit {
                return Err(self.lack_of_stack());
            }
        }
        // What has no check of its own runs into the end, whatever lies beyond.
        if stack_pointer < self.stack_end {
            return Err(self.fault(libc::SIGSEGV, 0, stack_pointer));
        }
        let written = self
            .memory
            .write(self.frame_pointer, outer)
            .and_then(|()| self.memory.write(self.frame_pointer + 8, return_address));
        match written {
            Ok(()) => Ok(()),
            Err(Refused(at)) => Err(self.fault(libc::SIGSEGV, 0, at)),
        }
    }

    pub(super) fn stack_pointer(&self) -> u64 {
        self.frame_pointer - u64::from(self.program.frame_bytes)
    }

    fn interpret(&mut self) -> Result<(), Stopped> {
        let mut op = 0;
        loop {
            let stepped = *self.to_step > 0;
            if stepped {
                *self.to_step -= 1;
                if self.program.steps[op].is_some() {
                    let next = self.step(op)?;
                    self.check_unchanging(op)?;
                    op = next;
                    continue;
                }
            }
            let program = self.program;
            let end = self.base + program.registers as usize;
            let stack_pointer = self.stack_pointer();
            let mut burst = Burst {
                program,
                registers: &mut self.registers[self.base..end],
                memory: &self.memory,
                stack_pointer,
                scratch: &mut self.scratch,
                branches: &mut self.branches,
                unchanging: self.unchanging,
            };
            let broken = match stepped {
                true => burst.run::<true>(&mut op),
                false => burst.run::<false>(&mut op),
            };
            match broken {
                Break::Next => {}
                Break::Step => op = self.step(op)?,
                Break::Call { function, site } => {
                    let callee = self.program.module + function;
                    op = self.call(callee, op, site)?;
                }
                Break::CallIndirect { callee, site } => op = self.call_address(callee, op, site)?,
                Break::ReturnCall { function, site } => {
                    let callee = self.program.module + function;
                    op = self.return_call(callee, op, site)?;
                }
                Break::ReturnCallIndirect { callee, site } => {
                    let callee = self.program_at(callee, op, site)?;
                    // Builtins are not called so.
                    let callee = callee.ok_or(Stopped::WrongSignature {
                        pc: self.address(op),
                    })?;
                    op = self.return_call(callee, op, site)?;
                }
                Break::Return { first, values } => match self.leave(first, values) {
                    Some(next) => op = next,
                    None => return Ok(()),
                },
                Break::Trap => return Err(self.fault(libc::SIGILL, op, 0)),
                Break::Stopped(stopped) => return Err(stopped),
                Break::Refused(Refused(at)) => return Err(self.fault(libc::SIGSEGV, op, at)),
                Break::Changed => {
                    return Err(Stopped::Changed {
                        pc: self.address(op),
                    });
                }
                Break::NotThere => {
                    return Err(Stopped::NotThere {
                        pc: self.address(op),
                    });
                }
                Break::Endless => return Err(Stopped::Endless),
            }
        }
    }

    /// Looks at what the crate's interpreter has read by an operation, if that is said never to change.
    fn check_unchanging(&mut self, op: usize) -> Result<(), Stopped> {
        let Op::LoadUnchanging {
            load,
            to,
            base,
            offset,
        } = self.program.ops[op]
        else {
            return Ok(());
        };
        let registers = &self.registers[self.base..];
        let address = registers[base as usize].low;
        let address = address.wrapping_add_signed(i64::from(offset));
        match self
            .unchanging
            .is_as_before(load, address, registers[to as usize].low)
        {
            true => Ok(()),
            false => Err(Stopped::Changed {
                pc: self.address(op),
            }),
        }
    }

    /// Puts the arguments of a call into the scratch registers.
    fn take_arguments(&mut self, site: CallSite) {
        self.scratch.clear();
        let arguments = self.program.list(site.first_argument, site.arguments);
        let registers = &self.registers[self.base..];
        self.scratch
            .extend(arguments.iter().map(|from| registers[*from as usize]));
    }

    /// Calls a program; the operation to go on with is its first.
    fn call(&mut self, callee: u32, op: usize, site: u32) -> Result<usize, Stopped> {
        let Some(left) = self.branches.checked_sub(1) else {
            return Err(Stopped::Endless);
        };
        self.branches = left;
        self.take_arguments(self.program.sites[site as usize]);
        let return_address = self.address(op + 1);
        let stack_pointer = self.stack_pointer();
        self.callers.push(Caller {
            program: self.number,
            op: op as u32,
            base: self.base,
            frame_pointer: self.frame_pointer,
        });
        self.base += self.program.registers as usize;
        self.number = callee;
        self.program = &self.code.programs[callee as usize];
        self.set_up(stack_pointer, return_address)?;
        Ok(0)
    }

    /// Calls a program in place of the current one, whose caller it returns to; the operation to go
    /// on with is its first.
    fn return_call(&mut self, callee: u32, op: usize, site: u32) -> Result<usize, Stopped> {
        let Some(left) = self.branches.checked_sub(1) else {
            return Err(Stopped::Endless);
        };
        self.branches = left;
        self.take_arguments(self.program.sites[site as usize]);
        let frame = self.frame_pointer;
        let word = |address| self.memory.read::<u64>(address);
        let (outer, return_address) = match (word(frame), word(frame + 8)) {
            (Ok(outer), Ok(return_address)) => (outer, return_address),
            (Err(Refused(at)), _) | (_, Err(Refused(at))) => {
                return Err(self.fault(libc::SIGSEGV, op, at));
            }
        };
        self.frame_pointer = outer;
        self.number = callee;
        self.program = &self.code.programs[callee as usize];
        self.set_up(frame + 16, return_address)?;
        Ok(0)
    }

    /// The program at an address, if there is one. It must have the signature of the call.
    fn program_at(&self, callee: u64, op: usize, site: u32) -> Result<Option<u32>, Stopped> {
        let Some(number) = self.code.program_at(callee) else {
            return Ok(None);
        };
        let signature = self.program.sites[site as usize].signature;
        if self.code.programs[number as usize].signature != signature {
            return Err(Stopped::WrongSignature {
                pc: self.address(op),
            });
        }
        Ok(Some(number))
    }

    /// Calls what is at an address: a function, or a builtin.
    fn call_address(&mut self, callee: u64, op: usize, site: u32) -> Result<usize, Stopped> {
        if let Some(number) = self.program_at(callee, op, site)? {
            return self.call(number, op, site);
        }
        let Some(builtin) = self.code.builtin_at(callee) else {
            // As of a processor that has just jumped there.
            return Err(Stopped::Fault {
                signal: libc::SIGSEGV,
                pc: callee,
                address: callee,
                stack_pointer: self.stack_pointer(),
            });
        };
        let call = self.program.sites[site as usize];
        self.take_arguments(call);
        let abi = &self.program.func.dfg.signatures[call.abi];
        let arguments: smallvec::SmallVec<[u64; 8]> = self
            .scratch
            .iter()
            .zip(&abi.params)
            .map(|(argument, parameter)| super::argument(argument.low, parameter))
            .collect();
        let exit = (self.frame_pointer, self.address(op + 1));
        let returned = self.builtins.call(builtin, &arguments, exit)?;
        if returned.moved {
            self.memory.forget();
        }
        if let Some(call_back) = returned.call_back {
            self.call_back(call_back, exit)?;
        }
        let results = self.program.list(call.first_result, call.results);
        if let Some(result) = results.first() {
            let ty = abi.returns[0].value_type;
            self.registers[self.base + *result as usize].low =
                returned.value & (u64::MAX >> (64 - ty.bits()));
        }
        Ok(op + 1)
    }

    /// Returns from the current function; the operation to go on with, unless it was entered last.
    fn leave(&mut self, first: u32, values: u32) -> Option<usize> {
        let values = self.program.list(first, values);
        self.scratch.clear();
        let registers = &self.registers[self.base..];
        self.scratch
            .extend(values.iter().map(|from| registers[*from as usize]));
        let caller = self.callers.pop()?;
        self.number = caller.program;
        self.program = &self.code.programs[caller.program as usize];
        self.base = caller.base;
        self.frame_pointer = caller.frame_pointer;
        let site = match self.program.ops[caller.op as usize] {
            Op::Call { site, .. } | Op::CallIndirect { site, .. } => site,
            _ => return None,
        };
        let site = self.program.sites[site as usize];
        let results = self.program.list(site.first_result, site.results);
        for (to, value) in results.iter().zip(&self.scratch) {
            self.registers[self.base + *to as usize] = *value;
        }
        Some(caller.op as usize + 1)
    }
}

/// Operations of one frame.
struct Burst<'b> {
    program: &'b Program,
    registers: &'b mut [Register],
    memory: &'b Memory,
    stack_pointer: u64,
    scratch: &'b mut Vec<Register>,
    branches: &'b mut u64,
    unchanging: &'b mut Unchanging,
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
    fn run<const ONE: bool>(&mut self, op: &mut usize) -> Break {
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
