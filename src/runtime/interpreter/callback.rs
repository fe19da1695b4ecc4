//! Calls of wasm by host functions that wasm has called, on the same stack.

use super::STACK_SLACK;
use super::run::{Builtins, Run};
use crate::codegen::clif::Register;
use crate::runtime::callbacks::CallBack;
use crate::runtime::entry::{self, Activation, HOST_CALLER, Stopped};

impl<B: Builtins> Run<'_, B> {
    /// Calls what a host function is to call. `exit` is where wasm was left.
    ///
    /// # Errors
    /// Why it stopped.
    pub(super) fn call_back(
        &mut self,
        call_back: CallBack,
        exit: (u64, u64),
    ) -> Result<(), Stopped> {
        let (target, values) = (call_back.target, call_back.values);
        entry::may_call_back(self.stack_pointer(), entry::stack_end() + STACK_SLACK)?;
        let number = self.code.program_at(target.trampoline);
        let number = number.ok_or(Stopped::Panicked)?;
        let outer = (self.program, self.number, self.base, self.frame_pointer);
        let callers = std::mem::take(self.callers);
        self.base += self.program.registers as usize;
        self.frame_pointer = self.stack_pointer();
        (self.program, self.number) = (&self.code.programs[number as usize], number);
        let arguments = [target.vmctx, HOST_CALLER, target.code, values];
        let arguments = arguments.map(|low| Register { low, high: 0 });
        let activation = Activation::emulated(entry::stack_end()..self.frame_pointer, exit);
        let ended = entry::during(activation, || self.enter(&arguments));
        (self.program, self.number, self.base, self.frame_pointer) = outer;
        *self.callers = callers;
        let returned = ended.is_ok().then_some(call_back);
        self.builtins.called_back(exit, returned)?;
        ended
    }
}
