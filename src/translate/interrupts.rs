//! Interrupts and the stack limit.
//!
//! Both live in one word that the vmctx points to. Function entries compare the stack pointer
//! with it and trap `StackOverflow` below it; its sentinel value, [`INTERRUPTED`], is above every
//! stack pointer, so an interrupted program also stops at the next function entry. Loop headers
//! compare with the sentinel and trap `Interrupt`. So do tail calls: a function that calls itself so
//! is a loop, and the entry of one without a frame need not check anything.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;

use super::environment::Environment;
use super::layout::{INTERRUPTED, head, interrupts};
use crate::score::Fault;

impl Environment<'_> {
    /// Has the function's prologue check the stack pointer against the limit.
    pub(super) fn set_stack_limit(&mut self, func: &mut ir::Function) {
        let vmctx = self.vmctx(func);
        let interrupts = func.create_global_value(ir::GlobalValueData::Load {
            base: vmctx,
            offset: (head::INTERRUPTS as i32).into(),
            global_type: types::I64,
            flags: ir::MemFlags::trusted().with_readonly(),
        });
        let limit = func.create_global_value(ir::GlobalValueData::Load {
            base: interrupts,
            offset: (interrupts::STACK_LIMIT as i32).into(),
            global_type: types::I64,
            flags: ir::MemFlags::trusted(),
        });
        func.stack_limit = Some(limit);
    }

    /// Traps, at a loop header or before a tail call, when the host has asked for it.
    pub(super) fn check_interrupt(&mut self, builder: &mut FunctionBuilder<'_>) {
        if self.planted(Fault::NoInterruptCheck) {
            return;
        }
        let mut pos = builder.cursor();
        let vmctx = self.vmctx_value(&mut pos);
        let flags = ir::MemFlags::trusted();
        let interrupts = pos.ins().load(
            types::I64,
            flags.with_readonly(),
            vmctx,
            head::INTERRUPTS as i32,
        );
        let word = pos.ins().load(
            types::I64,
            flags,
            interrupts,
            interrupts::STACK_LIMIT as i32,
        );
        let sentinel = pos.ins().iconst(types::I64, INTERRUPTED as i64);
        let interrupted = pos.ins().icmp(IntCC::Equal, word, sentinel);
        pos.ins().trapnz(interrupted, ir::TrapCode::Interrupt);
    }
}
