//! References: null, functions, and the barriers of externref tables.
//!
//! Counting is deferred. A reference that only the stack holds is kept alive by the activations
//! table, which a collection empties of all that no live frame mentions. So:
//!
//! - the *read barrier* of `table.get` puts what it reads into the activations table, with a
//!   count of its own;
//! - the *write barrier* of `table.set` counts the new element before it gives up the old one,
//!   and gives up the old one only once the new one is in its slot, since a destructor may look
//!   there.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{WasmHeapType, WasmResult};

use super::builtins::Builtin;
use super::environment::{Environment, unsupported};
use super::layout::{POINTER_BYTES, activations, head, host_object};
use crate::score::Fault;

impl Environment<'_> {
    /// `ref.null`.
    pub(super) fn ref_null(
        &mut self,
        pos: &mut FuncCursor<'_>,
        ty: WasmHeapType,
    ) -> WasmResult<ir::Value> {
        match ty {
            WasmHeapType::Func | WasmHeapType::Extern => Ok(pos.ins().iconst(types::I64, 0)),
            _ => unsupported("`ref.null` that is neither funcref nor externref"),
        }
    }

    /// `ref.is_null`.
    pub(super) fn ref_is_null(&mut self, pos: &mut FuncCursor<'_>, value: ir::Value) -> ir::Value {
        let is_null = pos.ins().icmp_imm(IntCC::Equal, value, 0);
        pos.ins().uextend(types::I32, is_null)
    }

    /// `ref.func`: the address of the function's anyfunc in the vmctx.
    pub(super) fn ref_func(&mut self, pos: &mut FuncCursor<'_>, function: u32) -> ir::Value {
        let vmctx = self.vmctx_value(pos);
        pos.ins()
            .iadd_imm(vmctx, i64::from(self.layout.anyfunc(function)))
    }

    /// Adds `delta` to an object's count and returns the new count.
    fn change_count(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        object: ir::Value,
        delta: i64,
    ) -> ir::Value {
        let (flags, offset) = (ir::MemFlags::trusted(), host_object::REF_COUNT as i32);
        let count = builder.ins().load(types::I64, flags, object, offset);
        let count = builder.ins().iadd_imm(count, delta);
        builder.ins().store(flags, count, object, offset);
        count
    }

    /// `table.get` of an externref, with the read barrier:
    ///
    /// ```text
    /// element = table[index]
    /// if element is not null:
    ///     if activations.next != activations.end:
    ///         element.count += 1
    ///         *activations.next = element
    ///         activations.next += 1
    ///     else:
    ///         activations_table_insert_with_gc(element)
    /// ```
    pub(super) fn table_get_externref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: ir::Value,
    ) -> ir::Value {
        let flags = ir::MemFlags::trusted();
        let (address, element_flags) = self.element_address(builder, table, index);
        let element = builder.ins().load(types::I64, element_flags, address, 0);
        self.declare_reference(builder, element);
        if self.planted(Fault::ReadBarrierMissing) {
            return element;
        }

        let non_null = self.block_after_current(builder);
        let room = block_after(builder, non_null);
        let full = block_after(builder, room);
        let done = block_after(builder, full);
        builder.set_cold_block(full);

        if self.planted(Fault::ReadBarrierNullNotSkipped) {
            builder.ins().jump(non_null, &[]);
        } else {
            builder.ins().brif(element, non_null, &[], done, &[]);
        }

        builder.switch_to_block(non_null);
        builder.seal_block(non_null);
        let vmctx = self.vmctx_value(&mut builder.cursor());
        let table = builder.ins().load(
            types::I64,
            flags.with_readonly(),
            vmctx,
            head::ACTIVATIONS as i32,
        );
        let next = builder
            .ins()
            .load(types::I64, flags, table, activations::NEXT as i32);
        let end = builder
            .ins()
            .load(types::I64, flags, table, activations::END as i32);
        let at_capacity = builder.ins().icmp(IntCC::Equal, next, end);
        builder.ins().brif(at_capacity, full, &[], room, &[]);

        builder.switch_to_block(room);
        builder.seal_block(room);
        if !self.planted(Fault::ReadBarrierNoIncrement) {
            self.change_count(builder, element, 1);
        }
        builder.ins().store(flags, element, next, 0);
        if !self.planted(Fault::ReadBarrierNoBump) {
            let next = builder.ins().iadd_imm(next, i64::from(POINTER_BYTES));
            builder
                .ins()
                .store(flags, next, table, activations::NEXT as i32);
        }
        builder.ins().jump(done, &[]);

        builder.switch_to_block(full);
        builder.seal_block(full);
        self.call_builtin(
            &mut builder.cursor(),
            Builtin::activations_table_insert_with_gc,
            &[element],
        );
        builder.ins().jump(done, &[]);

        builder.switch_to_block(done);
        builder.seal_block(done);
        element
    }

    /// `table.set` of an externref, with the write barrier:
    ///
    /// ```text
    /// address = check bounds of table[index]      # before any count changes
    /// if value is not null: value.count += 1      # before the decrement: value may be old
    /// old = *address; *address = value
    /// if old is not null:
    ///     old.count -= 1
    ///     if old.count == 0: drop_externref(old)  # after the store: its destructor may look
    /// ```
    ///
    /// The old element is loaded where the bounds are checked, because under spectre mitigations
    /// that load is the check. It is not declared to stack maps: once its count is zero, a
    /// collection in its destructor must not find it on the stack and keep it.
    pub(super) fn table_set_externref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        value: ir::Value,
        index: ir::Value,
    ) {
        let (address, element_flags) = self.element_address(builder, table, index);
        let old = builder.ins().load(types::I64, element_flags, address, 0);
        if self.planted(Fault::WriteBarrierDecrementFirst) {
            self.release_element(builder, old);
            self.increment(builder, value);
            builder.ins().store(element_flags, value, address, 0);
            return;
        }
        if !self.planted(Fault::WriteBarrierNoIncrement) {
            self.increment(builder, value);
        }
        if self.planted(Fault::WriteBarrierDropBeforeStore) {
            self.release_element(builder, old);
            builder.ins().store(element_flags, value, address, 0);
            return;
        }
        builder.ins().store(element_flags, value, address, 0);
        if !self.planted(Fault::WriteBarrierNoDecrement) {
            self.release_element(builder, old);
        }
    }

    /// Counts a reference, unless it is null.
    fn increment(&mut self, builder: &mut FunctionBuilder<'_>, value: ir::Value) {
        let non_null = self.block_after_current(builder);
        let done = block_after(builder, non_null);
        if self.planted(Fault::WriteBarrierNullNotSkipped) {
            builder.ins().jump(non_null, &[]);
        } else {
            builder.ins().brif(value, non_null, &[], done, &[]);
        }
        builder.switch_to_block(non_null);
        builder.seal_block(non_null);
        self.change_count(builder, value, 1);
        builder.ins().jump(done, &[]);
        builder.switch_to_block(done);
        builder.seal_block(done);
    }

    /// Gives up a reference that a slot held, unless it is null; drops the object at zero.
    fn release_element(&mut self, builder: &mut FunctionBuilder<'_>, old: ir::Value) {
        let non_null = self.block_after_current(builder);
        let drop = block_after(builder, non_null);
        let done = block_after(builder, drop);
        builder.set_cold_block(drop);
        builder.ins().brif(old, non_null, &[], done, &[]);

        builder.switch_to_block(non_null);
        builder.seal_block(non_null);
        let mut count = self.change_count(builder, old, -1);
        if self.planted(Fault::WriteBarrierDropAtOne) {
            count = builder.ins().iadd_imm(count, -1);
        }
        builder.ins().brif(count, done, &[], drop, &[]);

        builder.switch_to_block(drop);
        builder.seal_block(drop);
        self.call_builtin(&mut builder.cursor(), Builtin::drop_externref, &[old]);
        builder.ins().jump(done, &[]);

        builder.switch_to_block(done);
        builder.seal_block(done);
    }

    fn block_after_current(&mut self, builder: &mut FunctionBuilder<'_>) -> ir::Block {
        builder.ensure_inserted_block();
        let current = builder.current_block().expect("a block was just ensured");
        block_after(builder, current)
    }
}

fn block_after(builder: &mut FunctionBuilder<'_>, after: ir::Block) -> ir::Block {
    let block = builder.create_block();
    builder.insert_block_after(block, after);
    block
}
