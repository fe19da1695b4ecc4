//! Whether generated code kept to its stack, and had a reason where it said that it had no more.
//!
//! Every function looks at its entry whether there is room for its frame, and traps if not. How deep a program
//! gets before is nobody's business but the compiler's, so such a trap is compared with nothing. But
//! what the stack pointer was when it came tells whether there was a reason, and what it is elsewhere
//! whether a function went on that should not have:
//!
//! > it traps for lack of stack: stack pointer < stack limit + bytes of stack that its entry sees to
//! > it does anything else: stack limit <= stack pointer
//!
//! The first compares once, and a large frame before that without the sum, which might be none of 64 bits:
//! both follow. Bytes are what [`CompiledFunction::stack_bytes`] says, which may be some more than
//! they are; of the second, [`UNCHECKED_STACK_BYTES`] are let pass.
//!
//! [`CompiledFunction::stack_bytes`]: crate::codegen::CompiledFunction::stack_bytes

use parallax_oracles::{Outcome, TrapKind};

use super::entry::UNCHECKED_STACK_BYTES;
use super::store::{Store, function_at};
use crate::translate::builtins::Builtin;

/// How a text ends that tells of a function that went on where it should have trapped.
pub const BEYOND: &str = "bytes beyond the end of its stack";

impl Store<'_> {
    /// What generated code has done wrong about its stack that stopped at an instruction, if that can be
    /// told from where the stack pointer was.
    pub(super) fn outcome_of_stack(&self, pc: u64, stack_pointer: u64) -> Option<Outcome> {
        let (loaded, offset) = self.code_at(pc)?;
        let function = function_at(loaded, offset);
        let limit = self.interrupts.stack_limit();
        let Some(left) = stack_pointer.checked_sub(limit) else {
            let beyond = limit - stack_pointer;
            let escaped =
                || Outcome::Escaped(format!("function {function} went {beyond} {BEYOND}"));
            return (beyond > UNCHECKED_STACK_BYTES).then(escaped);
        };
        // Whoever is interrupted is told so by the limit that it looks at.
        let lacks = loaded.compiled.trap_at(offset) == Some(TrapKind::StackExhausted);
        if !lacks || self.interrupts.interrupted() {
            return None;
        }
        let defined = loaded.compiled.function_at(offset)?;
        let needed = loaded.compiled.functions[defined as usize].stack_bytes;
        (left >= u64::from(needed)).then(|| {
            Outcome::Unfounded(format!(
                "function {function} for lack of stack, with {left} bytes left, of which it needs \
                 {needed} at most"
            ))
        })
    }

    /// What it is that a builtin was called from beyond the end of the stack, to return to an address.
    pub(super) fn called_beyond_stack(&self, builtin: Builtin, pc: u64, beyond: u64) -> Outcome {
        let name = builtin.name();
        Outcome::Escaped(match self.code_at(pc) {
            Some((loaded, offset)) => {
                let function = function_at(loaded, offset);
                format!("function {function} called {name} {beyond} {BEYOND}")
            }
            // From a trampoline, which is no module's.
            None => format!("code called {name} {beyond} {BEYOND}"),
        })
    }
}
