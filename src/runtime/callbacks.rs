//! Calls of wasm by host functions that wasm has called: what is passed on, and what comes of it. How the function
//! is entered is the machine's business.
//!
//! Arguments and results of such a call are where those of the host function are, whose trampoline has a slot for
//! each of either: the arguments move up by one, into the place of the function that is called. So calls within
//! each other need no room but that of their frames, and whatever runs the code may write there.
//!
//! On their way references are the host's, which holds each of them by a count of its own. It gives all of them to
//! wasm at once (`Store::hand_over`). From then on it holds none.
//!
//! # Invariants
//! - `Slots` are read and written only while the builtin runs that the trampoline has called, or right after
//!   what was called back on its behalf has returned; generated code runs at neither time.

use std::ptr;

use parallax_oracles::{FuncIdentity, TrapKind};

use super::entry::{self, Stopped, Target};
use super::store::Store;
use crate::case::HostItemKind;
use crate::case::module::{FuncType, ValType};
use crate::codegen::trampolines::VALUE_BYTES;
use crate::score::Fault;

/// What a host function is to call before it returns.
#[derive(Clone, Copy, Debug)]
pub struct CallBack {
    /// What is called, by the trampoline for its type.
    pub target: Target,
    /// The address of its arguments, and of its results when it has returned.
    pub values: u64,
    /// The host item that calls it.
    item: u32,
}

/// The slots in memory of a call of a host function: one for each argument, and for each result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    address: u64,
    count: usize,
}

impl Slots {
    /// Those of a call of a function of type `ty`.
    ///
    /// # Safety
    /// `address` must be that of the slots which the trampoline for this type has, and its frame be alive for as
    /// long as they are used. Generated code must not run while they are.
    pub(super) unsafe fn new(address: u64, ty: &FuncType) -> Slots {
        Slots {
            address,
            count: ty.params.len().max(ty.results.len()),
        }
    }

    fn slot(self, index: usize) -> *mut u128 {
        assert!(index < self.count, "slot {index} of {}", self.count);
        let address = self.address as usize + index * VALUE_BYTES as usize;
        ptr::with_exposed_provenance_mut(address)
    }

    /// The bits in a slot.
    pub(super) fn read(self, index: usize) -> u128 {
        // SAFETY: `new` was told that there is such a slot.
        unsafe { self.slot(index).read_unaligned() }
    }

    /// Sets a slot.
    pub(super) fn write(self, index: usize, raw: u128) {
        // SAFETY: as for `read`.
        unsafe { self.slot(index).write_unaligned(raw) };
    }

    /// The references to objects in the first slots, which hold values of these types, without null.
    pub(super) fn references(self, types: &[ValType]) -> Vec<u64> {
        let types = types.iter().enumerate();
        let objects = types.filter(|(_, ty)| **ty == ValType::ExternRef);
        let references = objects.map(|(index, _)| self.read(index) as u64);
        references.filter(|reference| *reference != 0).collect()
    }
}

impl Store<'_> {
    /// Prepares the call of a function by the host function `item`, of type `ty`, which has been called with what is
    /// in `slots` and holds `held` of that by a count each.
    ///
    /// # Errors
    /// That there is no such function.
    pub(super) fn pass_on(
        &mut self,
        item: u32,
        ty: &FuncType,
        function: FuncIdentity,
        slots: Slots,
        held: &[u64],
    ) -> Result<u64, TrapKind> {
        let Some(target) = self.function_to_call(item, function) else {
            self.violate("the host called a function that does not exist".to_string());
            return Err(TrapKind::Host);
        };
        for index in 1..ty.params.len() {
            slots.write(index - 1, slots.read(index));
        }
        self.hand_over(held);
        self.calling_back = Some(CallBack {
            target,
            values: slots.address,
            item,
        });
        Ok(0)
    }

    /// How a host function calls a function.
    fn function_to_call(&self, item: u32, function: FuncIdentity) -> Option<Target> {
        let FuncIdentity::Defined { instance, index } = function else {
            return None;
        };
        let target = self.instance(instance)?.functions.get(index as usize)?;
        Some(Target {
            trampoline: self.host_trampolines.get(item as usize)?.call_back,
            vmctx: target.vmctx,
            code: target.code,
        })
    }

    /// Calls a function for a host function that wasm has called. The machine is the host itself.
    ///
    /// # Errors
    /// Why it did not return.
    ///
    /// # Safety
    /// As for [`Store::invoke`]; `call_back` must be what the builtin that wasm has called last was to call.
    pub(super) unsafe fn call_back(
        store: *mut Store<'_>,
        call_back: CallBack,
    ) -> Result<(), Stopped> {
        // SAFETY: the caller says that the store is valid; this reference ends before the call.
        let (code, limit) = unsafe {
            let store = &*store;
            (store.code.clone(), store.interrupts.stack_limit())
        };
        let here = ptr::from_ref(&code).addr() as u64;
        entry::may_call_back(here, limit)?;
        // SAFETY: as above; there is a slot for each argument and result, which nobody uses meanwhile.
        unsafe { entry::call(store, call_back.target, code, call_back.values) }?;
        // SAFETY: the call is over, and this the only reference.
        unsafe { (*store).called_back(call_back) };
        Ok(())
    }

    /// Takes over what a function has returned that a host function called, and hands it on to the caller of that.
    ///
    /// # Safety
    /// `call_back` must be what the builtin that wasm has called last was to call.
    pub(super) unsafe fn called_back(&mut self, call_back: CallBack) {
        let case = self.case;
        self.audit_code();
        self.host.called_back();
        if self.planted(Fault::InterruptLostAtCallback) {
            let limit = self.interrupts.stack_limit();
            self.interrupts.set_stack_limit(limit);
        }
        let item = case.host_items.get(call_back.item as usize);
        let Some(HostItemKind::Func { ty, .. }) = item.map(|item| &item.kind) else {
            return;
        };
        // SAFETY: the caller says that the trampoline which passed them waits for the builtin.
        let slots = unsafe { Slots::new(call_back.values, ty) };
        let returned = slots.references(&ty.results);
        for reference in &returned {
            self.handed_on(*reference);
            if !self.planted(Fault::CallbackResultNotCounted) {
                self.retain(*reference);
            }
        }
        self.hand_over(&returned);
        self.audit_handed("host_call", &returned);
    }

    /// Hands references to wasm that the host holds by a count each, which becomes that of the activations table.
    ///
    /// What the table holds is collected before that, if there is no room for all of them, and never in between: no
    /// frame has them yet, so those that are in the table already would be given up.
    fn hand_over(&mut self, references: &[u64]) {
        let one_by_one = self.planted(Fault::HandedOverOneByOne);
        if !one_by_one && !self.activations.has_room_for(references.len()) {
            self.collect();
        }
        for reference in references {
            if one_by_one {
                self.make_room(*reference);
            }
            self.activations.insert(*reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of a host function of this type leaves in memory, with numbers in it, and its slots.
    fn slots(params: &[ValType], results: &[ValType]) -> (Vec<u128>, Slots) {
        let ty = FuncType {
            params: params.to_vec(),
            results: results.to_vec(),
        };
        let count = params.len().max(results.len());
        let mut memory: Vec<u128> = (0..count as u128)
            .map(|number| number << 64 | number)
            .collect();
        let address = memory.as_mut_ptr().expose_provenance() as u64;
        // SAFETY: there are as many, which live as long as the vector that goes along.
        let slots = unsafe { Slots::new(address, &ty) };
        (memory, slots)
    }

    #[test]
    fn slots_hold_all_bits_and_tell_what_refers_to_objects() {
        use ValType::{ExternRef, FuncRef, I32, V128};
        let (_memory, slots) = slots(
            &[FuncRef, V128, I32],
            &[ExternRef, I32, ExternRef, ExternRef],
        );
        slots.write(1, u128::MAX);
        assert_eq!((slots.read(1), slots.read(2)), (u128::MAX, 2 << 64 | 2));
        // Of a reference there are 64 bits; null refers to nothing.
        slots.write(0, 0);
        let references = slots.references(&[ExternRef, I32, ExternRef, ExternRef]);
        assert_eq!(references, [2, 3]);
        assert!(slots.references(&[FuncRef, V128, I32]).is_empty());
    }

    #[test]
    #[should_panic(expected = "slot 2 of 2")]
    fn there_are_no_slots_beyond_the_last() {
        let (_memory, slots) = slots(&[ValType::FuncRef, ValType::I32], &[ValType::I32]);
        slots.read(2);
    }
}
