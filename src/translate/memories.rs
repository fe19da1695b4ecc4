//! Linear memories: their layout, and the hooks that grow, measure, fill and copy them.

use cranelift_codegen::cursor::FuncCursor;
use cranelift_codegen::ir::{self, InstBuilder, types};
use cranelift_wasm::{Heap, HeapData, HeapStyle};

use super::builtins::Builtin;
use super::environment::{Environment, value_type};
use super::layout::{definition_import, memory_definition};
use crate::case::module::MemoryType;
use crate::case::settings::MemoryStyle;
use crate::score::Fault;

/// Bytes of a WebAssembly page.
pub const PAGE_BYTES: u64 = 1 << 16;

/// How one memory is laid out, which generated code and the runtime must agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryPlan {
    /// The base never moves; the index space up to `bound` bytes is reserved, and what is not
    /// part of the memory faults.
    Static {
        /// Bytes reserved before the guard region.
        bound: u64,
    },
    /// The base moves when the memory grows; bounds are loaded on each access.
    Dynamic,
}

impl MemoryPlan {
    /// The plan for a memory of type `ty`. An import may ask for less than the memory it gets
    /// offers, but never for a smaller maximum, so an importer that plans a static memory always
    /// gets one.
    pub fn new(style: MemoryStyle, ty: &MemoryType) -> MemoryPlan {
        match style {
            MemoryStyle::Static => MemoryPlan::Static { bound: 1 << 32 },
            MemoryStyle::StaticSmall
                if ty.max.is_some_and(|max| max <= MemoryStyle::SMALL_PAGES) =>
            {
                MemoryPlan::Static {
                    bound: MemoryStyle::SMALL_PAGES * PAGE_BYTES,
                }
            }
            MemoryStyle::StaticSmall | MemoryStyle::Dynamic => MemoryPlan::Dynamic,
        }
    }
}

impl Environment<'_> {
    /// Declares how a memory is accessed.
    pub(super) fn heap(&mut self, func: &mut ir::Function, index: u32) -> Heap {
        let named = self.module.memories[index as usize];
        let index = match self.planted(Fault::AccessOfFirstMemory) {
            true if self.module.memories[0].memory64 == named.memory64 => 0,
            _ => index,
        };
        let ty = self.module.memories[index as usize];
        let vmctx = self.vmctx(func);
        let (definition, offset) = match self.layout.defined_memory(index) {
            Some(defined) => (vmctx, self.layout.memory(defined)),
            None => {
                let from = self.layout.memory_import(index) + definition_import::FROM;
                let definition = func.create_global_value(ir::GlobalValueData::Load {
                    base: vmctx,
                    offset: (from as i32).into(),
                    global_type: types::I64,
                    flags: ir::MemFlags::trusted().with_readonly(),
                });
                (definition, 0)
            }
        };
        let plan = MemoryPlan::new(self.config.memory_style, &ty);
        let (style, base_flags) = match plan {
            MemoryPlan::Static { bound } => (
                HeapStyle::Static {
                    bound: match self.planted(Fault::StaticBoundShort) && bound < 1 << 32 {
                        true => bound - PAGE_BYTES,
                        false => bound,
                    },
                },
                ir::MemFlags::trusted().with_readonly(),
            ),
            MemoryPlan::Dynamic => {
                let length = (offset + memory_definition::CURRENT_LENGTH) as i32;
                let mut bound_gv = func.create_global_value(ir::GlobalValueData::Load {
                    base: definition,
                    offset: length.into(),
                    global_type: types::I64,
                    flags: ir::MemFlags::trusted(),
                });
                if self.planted(Fault::MemoryBoundOffByPage) {
                    bound_gv = func.create_global_value(ir::GlobalValueData::IAddImm {
                        base: bound_gv,
                        offset: (PAGE_BYTES as i64).into(),
                        global_type: types::I64,
                    });
                }
                let flags = ir::MemFlags::trusted();
                let flags = if self.planted(Fault::MemoryBaseReadonly) {
                    flags.with_readonly()
                } else {
                    flags
                };
                (HeapStyle::Dynamic { bound_gv }, flags)
            }
        };
        let base = func.create_global_value(ir::GlobalValueData::Load {
            base: definition,
            offset: ((offset + memory_definition::BASE) as i32).into(),
            global_type: types::I64,
            flags: base_flags,
        });
        self.heaps.push(HeapData {
            base,
            // What does not fit is not instantiated.
            min_size: ty.min.saturating_mul(PAGE_BYTES),
            max_size: ty.max.map(|max| max.saturating_mul(PAGE_BYTES)),
            offset_guard_size: self.config.guard_bytes,
            style,
            index_type: value_type(ty.index_type()),
            memory_type: None,
            page_size_log2: 16,
        })
    }

    /// The variant of a builtin for a memory, and the index it takes: of those for a memory that the
    /// module defines, for an imported one, and for one that is addressed by i64.
    fn memory_variant(
        &self,
        pos: &mut FuncCursor<'_>,
        index: u32,
        [defined, imported, memory64]: [Builtin; 3],
    ) -> (Builtin, ir::Value) {
        let (builtin, index) = match self.layout.defined_memory(index) {
            _ if self.is_memory64(index) => (memory64, index),
            Some(number) => (defined, number),
            None => (imported, index),
        };
        (builtin, pos.ins().iconst(types::I32, i64::from(index)))
    }

    /// `memory.grow`.
    pub(super) fn memory_grow(
        &mut self,
        pos: &mut FuncCursor<'_>,
        index: u32,
        delta: ir::Value,
    ) -> ir::Value {
        let variants = [
            Builtin::memory32_grow,
            Builtin::imported_memory32_grow,
            Builtin::memory64_grow,
        ];
        let (builtin, index) = self.memory_variant(pos, index, variants);
        let delta = match builtin {
            Builtin::memory64_grow => self.planted_cut(pos, Fault::Growth64Cut, delta),
            _ => delta,
        };
        let call = self.call_builtin(pos, builtin, &[delta, index]);
        pos.func.dfg.first_result(call)
    }

    /// `memory.size`.
    pub(super) fn memory_size(&mut self, pos: &mut FuncCursor<'_>, index: u32) -> ir::Value {
        let variants = [
            Builtin::memory32_size,
            Builtin::imported_memory32_size,
            Builtin::memory64_size,
        ];
        let (builtin, index) = self.memory_variant(pos, index, variants);
        let call = self.call_builtin(pos, builtin, &[index]);
        pos.func.dfg.first_result(call)
    }

    /// `memory.fill`.
    pub(super) fn memory_fill(
        &mut self,
        pos: &mut FuncCursor<'_>,
        index: u32,
        dst: ir::Value,
        value: ir::Value,
        len: ir::Value,
    ) {
        let memory64 = self.is_memory64(index);
        let variants = [
            Builtin::memory_fill,
            Builtin::imported_memory_fill,
            Builtin::memory64_fill,
        ];
        let (builtin, index) = self.memory_variant(pos, index, variants);
        let len = if self.planted(Fault::MemoryFillShort) {
            let some = pos.ins().icmp_imm(ir::condcodes::IntCC::NotEqual, len, 0);
            let ty = if memory64 { types::I64 } else { types::I32 };
            let some = pos.ins().uextend(ty, some);
            pos.ins().isub(len, some)
        } else {
            len
        };
        let (dst, len) = match memory64 {
            true => (
                self.planted_cut(pos, Fault::AddressOfBulkCut, dst),
                self.planted_cut(pos, Fault::LengthOfBulkCut, len),
            ),
            false => (dst, len),
        };
        self.call_builtin(pos, builtin, &[index, dst, value, len]);
    }

    /// `memory.copy`.
    pub(super) fn memory_copy(
        &mut self,
        pos: &mut FuncCursor<'_>,
        (dst_index, src_index): (u32, u32),
        (dst, src, len): (ir::Value, ir::Value, ir::Value),
    ) {
        let wide = [dst_index, src_index].map(|index| self.is_memory64(index));
        let dst_index = pos.ins().iconst(types::I32, i64::from(dst_index));
        let src_index = pos.ins().iconst(types::I32, i64::from(src_index));
        let mut args = [dst_index, dst, src_index, src, len];
        let builtin = match wide {
            [false, false] => Builtin::memory_copy,
            _ => {
                let address = match wide[0] == wide[1] {
                    true => Fault::AddressOfBulkCut,
                    false => Fault::MixedCopyAddressCut,
                };
                // The length is of the narrower of the two types.
                for (at, fault) in [(1, address), (3, address), (4, Fault::LengthOfBulkCut)] {
                    if pos.func.dfg.value_type(args[at]) == types::I32 {
                        args[at] = pos.ins().uextend(types::I64, args[at]);
                    }
                    args[at] = self.planted_cut(pos, fault, args[at]);
                }
                Builtin::memory64_copy
            }
        };
        self.call_builtin(pos, builtin, &args);
    }

    /// `memory.init`.
    pub(super) fn memory_init(
        &mut self,
        pos: &mut FuncCursor<'_>,
        index: u32,
        segment: u32,
        (dst, src, len): (ir::Value, ir::Value, ir::Value),
    ) {
        let builtin = match self.is_memory64(index) {
            true => Builtin::memory64_init,
            false => Builtin::memory_init,
        };
        let dst = match builtin {
            Builtin::memory64_init => self.planted_cut(pos, Fault::AddressOfBulkCut, dst),
            _ => dst,
        };
        let index = pos.ins().iconst(types::I32, i64::from(index));
        let segment = pos.ins().iconst(types::I32, i64::from(segment));
        self.call_builtin(pos, builtin, &[index, segment, dst, src, len]);
    }

    /// An integer of 64 bits, or what a planted fault makes of it: its lower half.
    fn planted_cut(&self, pos: &mut FuncCursor<'_>, fault: Fault, value: ir::Value) -> ir::Value {
        match self.planted(fault) {
            true => {
                let low = pos.ins().ireduce(types::I32, value);
                pos.ins().uextend(types::I64, low)
            }
            false => value,
        }
    }

    fn is_memory64(&self, index: u32) -> bool {
        self.module.memories[index as usize].memory64
    }
}
