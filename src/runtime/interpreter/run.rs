//! One call, operation by operation.
//!
//! Frames are on a stack of our own, so that no recursion of wasm's is one of ours: registers in one
//! vector, and return addresses, frame pointers and stack slots in memory, laid out as machine code
//! does, where a walk of frames and the builtins find them.

use cranelift_interpreter::frame;

use super::Code;
use super::burst::{Break, Burst};
use super::reach::{OwnedByStore, Reach, Refused};
use super::unchanging::Unchanging;
use crate::codegen::clif::{CallSite, Op, Program, Register};
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
