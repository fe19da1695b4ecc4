//! Interrupts and the stack limit.
//!
//! Both live in one word that the vmctx points to. Function entries compare the stack pointer
//! with it and trap `StackOverflow` below it; its sentinel value, [`INTERRUPTED`], is above every
//! stack pointer, so an interrupted program also stops at the next function entry. Loop headers
//! compare with the sentinel and trap `Interrupt`. So do tail calls: a function that calls itself so
//! is a loop, and the entry of one without a frame need not check anything.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;

use super::environment::Environment;
use super::layout::{INTERRUPTED, head, interrupts};
use crate::score::Fault;

impl Environment<'_> {
    /// Has the function's prologue check the stack pointer against the limit.
    pub(super) fn set_stack_limit(&mut self, func: &mut ir::Function) {
        if self.planted(Fault::NoStackCheck) {
            return;
        }
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

    /// The fault of a function that checks by itself, and takes the stack to be smaller than it is.
    pub(super) fn check_stack_tightly(&mut self, builder: &mut FunctionBuilder<'_>) {
        /// By how many bytes: seven eighths of it.
        const SMALLER: i64 = 448 << 10;
        if !self.planted(Fault::TightStackCheck) {
            return;
        }
        let slot = ir::StackSlotData::new(ir::StackSlotKind::ExplicitSlot, 16, 4);
        let slot = builder.create_sized_stack_slot(slot);
        let mut pos = builder.cursor();
        let word = self.interrupt_word(&mut pos);
        let limit = pos.ins().iadd_imm(word, SMALLER);
        let stack = pos.ins().stack_addr(types::I64, slot, 0);
        let below = pos.ins().icmp(IntCC::UnsignedLessThan, stack, limit);
        pos.ins().trapnz(below, ir::TrapCode::StackOverflow);
    }

    /// Traps, at a loop header or before a tail call, when the host has asked for it.
    pub(super) fn check_interrupt(&mut self, builder: &mut FunctionBuilder<'_>) {
        if self.planted(Fault::NoInterruptCheck) {
            return;
        }
        let mut pos = builder.cursor();
        let word = self.interrupt_word(&mut pos);
        let sentinel = pos.ins().iconst(types::I64, INTERRUPTED as i64);
        let interrupted = pos.ins().icmp(IntCC::Equal, word, sentinel);
        pos.ins().trapnz(interrupted, ir::TrapCode::Interrupt);
    }

    /// The word that is the stack limit, or says that the host has asked for an interrupt.
    fn interrupt_word(&mut self, pos: &mut FuncCursor<'_>) -> ir::Value {
        let vmctx = self.vmctx_value(pos);
        let flags = ir::MemFlags::trusted();
        let interrupts = pos.ins().load(
            types::I64,
            flags.with_readonly(),
            vmctx,
            head::INTERRUPTS as i32,
        );
        pos.ins().load(
            types::I64,
            flags,
            interrupts,
            interrupts::STACK_LIMIT as i32,
        )
    }
}
