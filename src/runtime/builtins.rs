//! The builtins, as methods of the store.
//!
//! Each takes what generated code passes, checks it against current sizes, and either does all of
//! what the instruction does or traps before anything is written (core specification, "Table
//! instructions" and "Memory instructions"). The same methods serve every engine that compiles.

use parallax_oracles::TrapKind;

use super::callbacks::CallBack;
use super::entry::{HOST_CALLER, Stopped};
use super::memory::Memory;
use super::store::Store;
use crate::case::module::ValType;
use crate::score::Fault;
use crate::translate::builtins::Builtin;
use crate::translate::layout::{HOST_CONTEXT_MAGIC, VMCTX_MAGIC, head, interrupts};

/// What a builtin returns: a register, or a trap.
type Answer = Result<u64, TrapKind>;

/// What `memory.grow` and `table.grow` return where they fail: -1 as an i32.
const GROW_FAILED: u64 = u32::MAX as u64;

/// The same as an i64.
const GROW64_FAILED: u64 = u64::MAX;

/// Runs a builtin for generated code.
///
/// # Errors
/// Why wasm must stop.
///
/// # Safety
/// `vmctx` must be that of an instance, or a host context, of a store that is reachable through
/// nothing else at the moment.
pub unsafe fn call(vmctx: u64, builtin: Builtin, arguments: &[u64]) -> Result<Returned, Stopped> {
    let word = |offset: u32| {
        let address = vmctx as usize + offset as usize;
        // SAFETY: every vmctx has these fields.
        unsafe { std::ptr::with_exposed_provenance::<u64>(address).read() }
    };
    let (magic, instance) = (word(head::MAGIC) as u32, (word(head::MAGIC) >> 32) as u32);
    let expected = match builtin {
        Builtin::host_call => HOST_CONTEXT_MAGIC,
        _ => VMCTX_MAGIC,
    };
    if magic != expected {
        return Err(Stopped::WrongVmctx(builtin));
    }
    // SAFETY: the field holds the address of the store, which the caller gives up to us.
    let store = unsafe {
        &mut *std::ptr::with_exposed_provenance_mut::<Store<'_>>(word(head::STORE) as usize)
    };
    if store.planted(Fault::InterruptsOfFirstInstance) {
        let words = word(head::INTERRUPTS) as usize;
        let exit = |offset: u32| {
            let address = words + offset as usize;
            // SAFETY: the field holds the address of such words, be they the store's or behind the vmctx.
            unsafe { std::ptr::with_exposed_provenance::<u64>(address).read() }
        };
        store.note_exit((
            exit(interrupts::EXIT_FRAME_POINTER),
            exit(interrupts::EXIT_RETURN_ADDRESS),
        ));
    }
    if let Some(bytes) = store.interrupts.beyond_stack() {
        let pc = store.interrupts.exit().1;
        return Err(Stopped::BeyondStack { builtin, pc, bytes });
    }
    // Nothing reads it but a host that asks who called.
    if builtin == Builtin::host_call && !arguments.first().is_some_and(|it| store.may_call(*it)) {
        return Err(Stopped::WrongCaller);
    }
    let value = store.builtin(instance, builtin, arguments)?;
    let call_back = store.calling_back.take();
    Ok(Returned { value, call_back })
}

/// What a builtin came to that did not trap.
pub struct Returned {
    /// What it returns: a register.
    pub value: u64,
    /// What is to be called before that, by a host function. Who does so says when it has returned
    /// (`Store::called_back`).
    pub call_back: Option<CallBack>,
}

/// The same where the host runs generated code itself, and calls back what is to be called.
///
/// # Errors
/// Why wasm must stop.
///
/// # Safety
/// As for [`call`].
pub unsafe fn call_directly(
    vmctx: u64,
    builtin: Builtin,
    arguments: &[u64],
) -> Result<u64, Stopped> {
    // SAFETY: the caller says so.
    let returned = unsafe { call(vmctx, builtin, arguments) }?;
    if let Some(call_back) = returned.call_back {
        let address = vmctx as usize + head::STORE as usize;
        // SAFETY: that has just been found to be a vmctx, whose field holds the address of the store, to
        // which there is no reference any more; the target is one of its functions.
        unsafe {
            let store = std::ptr::with_exposed_provenance::<u64>(address).read();
            let store = std::ptr::with_exposed_provenance_mut::<Store<'_>>(store as usize);
            Store::call_back(store, call_back)?;
        }
    }
    Ok(returned.value)
}

/// A parameter of a builtin, out of the register it is passed in.
trait Parameter: Sized {
    fn from_register(register: u64) -> Option<Self>;
}

impl Parameter for u32 {
    fn from_register(register: u64) -> Option<u32> {
        u32::try_from(register).ok()
    }
}

impl Parameter for u64 {
    fn from_register(register: u64) -> Option<u64> {
        Some(register)
    }
}

macro_rules! dispatch {
    ($(
        $(#[$doc:meta])*
        $name:ident( $( $param:ident: $ty:ident ),* ) $( -> $result:ident )?;
    )*) => {
        impl Store<'_> {
            /// Runs a builtin by number; `arguments` follow the vmctx, in registers.
            ///
            /// # Errors
            /// Why wasm must stop.
            pub(super) fn run_builtin(
                &mut self,
                instance: u32,
                builtin: Builtin,
                arguments: &[u64],
            ) -> Result<u64, Stopped> {
                match builtin {
                    $( Builtin::$name => {
                        let mut registers = arguments.iter().copied();
                        $(
                            let register = registers.next().unwrap_or_default();
                            let $param = Parameter::from_register(register).ok_or(
                                Stopped::NotZeroExtended {
                                    builtin,
                                    parameter: stringify!($param),
                                },
                            )?;
                        )*
                        let _ = registers;
                        self.$name(instance, $( $param ),*).map_err(Stopped::Trap)
                    } )*
                }
            }
        }
    };
}

crate::for_each_builtin!(dispatch);

impl Store<'_> {
    /// Whether a function may be called with this as its caller's vmctx.
    fn may_call(&self, vmctx: u64) -> bool {
        let mut instances = self.instances.iter().flatten();
        vmctx == HOST_CALLER || instances.any(|instance| instance.vmctx.address() == vmctx)
    }

    fn host_call(&mut self, item: u32, _caller_vmctx: u64, values: u64) -> Answer {
        self.call_host(item, values)
    }

    fn memory_number(&self, instance: u32, index: u32) -> usize {
        self.made(instance).memories[index as usize] as usize
    }

    fn defined_memory(&self, instance: u32, defined: u32) -> u32 {
        self.made(instance).loaded.module.imported_memories() + defined
    }

    fn memory32_grow(&mut self, instance: u32, delta: u32, defined: u32) -> Answer {
        self.imported_memory32_grow(instance, delta, self.defined_memory(instance, defined))
    }

    fn imported_memory32_grow(&mut self, instance: u32, delta: u32, index: u32) -> Answer {
        let old = self.grow_memory(instance, u64::from(delta), index)?;
        Ok(old.unwrap_or(GROW_FAILED))
    }

    fn memory64_grow(&mut self, instance: u32, delta: u64, index: u32) -> Answer {
        let old = self.grow_memory(instance, delta, index)?;
        Ok(old.unwrap_or(GROW64_FAILED))
    }

    /// Grows a memory; the old size, or `None` if it may not grow so far. Whether the system has as much is no
    /// business of the case's.
    fn grow_memory(
        &mut self,
        instance: u32,
        delta: u64,
        index: u32,
    ) -> Result<Option<u64>, TrapKind> {
        let number = self.memory_number(instance, index);
        let old = self.memories[number].memory.grow(&mut self.pool, delta);
        if !self.planted(Fault::StaticGrowthUntold) || self.memories[number].memory.moves() {
            self.define_memory(number as u32);
        }
        old.map_err(|_| {
            self.memory_refused = true;
            // What that means is seen at the end of the step.
            TrapKind::Host
        })
    }

    fn memory32_size(&mut self, instance: u32, defined: u32) -> Answer {
        self.imported_memory32_size(instance, self.defined_memory(instance, defined))
    }

    fn imported_memory32_size(&mut self, instance: u32, index: u32) -> Answer {
        Ok(self.memories[self.memory_number(instance, index)]
            .memory
            .pages())
    }

    fn memory64_size(&mut self, instance: u32, index: u32) -> Answer {
        self.imported_memory32_size(instance, index)
    }

    fn memory_copy(
        &mut self,
        instance: u32,
        dst_index: u32,
        dst: u32,
        src_index: u32,
        src: u32,
        len: u32,
    ) -> Answer {
        let (dst, src, len) = (u64::from(dst), u64::from(src), u64::from(len));
        self.memory64_copy(instance, dst_index, dst, src_index, src, len)
    }

    fn memory64_copy(
        &mut self,
        instance: u32,
        dst_index: u32,
        dst: u64,
        src_index: u32,
        src: u64,
        len: u64,
    ) -> Answer {
        let to = self.memory_number(instance, dst_index);
        let from = self.memory_number(instance, src_index);
        let dst = range(&self.memories[to].memory, dst, len)?;
        let src = range(&self.memories[from].memory, src, len)?;
        if to != from {
            let bytes = self.memories[from].memory.bytes()[src].to_vec();
            self.memories[to].memory.bytes_mut()[dst].copy_from_slice(&bytes);
        } else if self.planted(Fault::MemoryCopyForwards) {
            let bytes = self.memories[to].memory.bytes_mut();
            for (to, from) in dst.zip(src) {
                bytes[to] = bytes[from];
            }
        } else {
            self.memories[to]
                .memory
                .bytes_mut()
                .copy_within(src, dst.start);
        }
        Ok(0)
    }

    fn memory_fill(
        &mut self,
        instance: u32,
        defined: u32,
        dst: u32,
        value: u32,
        len: u32,
    ) -> Answer {
        let index = self.defined_memory(instance, defined);
        self.imported_memory_fill(instance, index, dst, value, len)
    }

    fn imported_memory_fill(
        &mut self,
        instance: u32,
        index: u32,
        dst: u32,
        value: u32,
        len: u32,
    ) -> Answer {
        self.memory64_fill(instance, index, u64::from(dst), value, u64::from(len))
    }

    fn memory64_fill(
        &mut self,
        instance: u32,
        index: u32,
        dst: u64,
        value: u32,
        len: u64,
    ) -> Answer {
        let number = self.memory_number(instance, index);
        let memory = &mut self.memories[number].memory;
        let dst = range(memory, dst, len)?;
        memory.bytes_mut()[dst].fill(value as u8);
        Ok(0)
    }

    fn memory_init(
        &mut self,
        instance: u32,
        index: u32,
        segment: u32,
        dst: u32,
        src: u32,
        len: u32,
    ) -> Answer {
        self.memory64_init(instance, index, segment, u64::from(dst), src, len)
    }

    pub(super) fn memory64_init(
        &mut self,
        instance: u32,
        index: u32,
        segment: u32,
        dst: u64,
        src: u32,
        len: u32,
    ) -> Answer {
        let number = self.memory_number(instance, index);
        let made = self.made(instance);
        let module = made.loaded.module;
        let bytes = match made.dropped_data[segment as usize] {
            true => &[],
            false => &module.wasm[module.data[segment as usize].bytes.clone()],
        };
        let end = src.checked_add(len).ok_or(TrapKind::MemoryOutOfBounds)?;
        let bytes = bytes
            .get(src as usize..end as usize)
            .ok_or(TrapKind::MemoryOutOfBounds)?;
        let memory = &mut self.memories[number].memory;
        let dst = range(memory, dst, u64::from(len))?;
        memory.bytes_mut()[dst].copy_from_slice(bytes);
        Ok(0)
    }

    fn data_drop(&mut self, instance: u32, segment: u32) -> Answer {
        if !self.planted(Fault::DataDropIgnored) {
            self.drop_data_segment(instance, segment);
        }
        let next = segment + 1;
        if self.planted(Fault::DataDropTakesTheNextToo)
            && (next as usize) < self.made(instance).dropped_data.len()
        {
            self.drop_data_segment(instance, next);
        }
        Ok(0)
    }

    pub(super) fn drop_data_segment(&mut self, instance: u32, segment: u32) {
        if let Some(made) = &mut self.instances[instance as usize] {
            made.dropped_data[segment as usize] = true;
        }
    }

    fn table_number(&self, instance: u32, index: u32) -> usize {
        self.made(instance).tables[index as usize] as usize
    }

    /// Checks that `len` elements from `start` on exist.
    fn check_elements(&self, table: usize, start: u32, len: u32) -> Result<(), TrapKind> {
        let end = start.checked_add(len).ok_or(TrapKind::TableOutOfBounds)?;
        let fits = end <= self.tables[table].table.size();
        fits.then_some(()).ok_or(TrapKind::TableOutOfBounds)
    }

    /// Puts an element into its slot, counting it if it is an externref.
    fn put_element(&mut self, table: usize, index: u32, value: u64, count: bool) {
        // A destructor that ran since the bounds were checked can only have grown the table.
        if count && self.tables[table].table.element_type() == ValType::ExternRef {
            self.retain(value);
            let old = self.tables[table].table.replace(index, value);
            self.release(old);
        } else {
            self.tables[table].table.replace(index, value);
        }
    }

    fn table_copy(
        &mut self,
        instance: u32,
        dst_index: u32,
        src_index: u32,
        dst: u32,
        src: u32,
        len: u32,
    ) -> Answer {
        let to = self.table_number(instance, dst_index);
        let from = self.table_number(instance, src_index);
        self.check_elements(to, dst, len)?;
        self.check_elements(from, src, len)?;
        let count = !self.planted(Fault::TableCopyNoCount);
        // Backwards where the ranges overlap the other way, as the specification has it.
        let backwards = dst > src;
        for step in 0..len {
            let offset = if backwards { len - 1 - step } else { step };
            let value = self.tables[from].table.get(src + offset);
            self.put_element(to, dst + offset, value, count);
        }
        Ok(0)
    }

    pub(super) fn table_init(
        &mut self,
        instance: u32,
        index: u32,
        segment: u32,
        dst: u32,
        src: u32,
        len: u32,
    ) -> Answer {
        let table = self.table_number(instance, index);
        let made = self.made(instance);
        let items = match made.dropped_elements[segment as usize] {
            true => 0,
            false => made.loaded.module.elements[segment as usize].items.len() as u64,
        };
        if u64::from(src) + u64::from(len) > items {
            return Err(TrapKind::TableOutOfBounds);
        }
        self.check_elements(table, dst, len)?;
        let count = !self.planted(Fault::TableInitNoCount);
        for offset in 0..len {
            let value = self.element_item(instance, segment, src + offset);
            self.put_element(table, dst + offset, value, count);
        }
        Ok(0)
    }

    fn elem_drop(&mut self, instance: u32, segment: u32) -> Answer {
        if !self.planted(Fault::ElementDropIgnored) {
            self.drop_element_segment(instance, segment);
        }
        Ok(0)
    }

    pub(super) fn drop_element_segment(&mut self, instance: u32, segment: u32) {
        if let Some(made) = &mut self.instances[instance as usize] {
            made.dropped_elements[segment as usize] = true;
        }
    }

    fn table_grow_funcref(&mut self, instance: u32, index: u32, delta: u32, init: u64) -> Answer {
        let table = self.table_number(instance, index);
        let Some(old) = self.tables[table].table.grow(delta) else {
            return Ok(GROW_FAILED);
        };
        for index in old..old + delta {
            self.tables[table].table.replace(index, init);
        }
        self.define_table(table as u32);
        Ok(u64::from(old))
    }

    fn table_grow_externref(&mut self, instance: u32, index: u32, delta: u32, init: u64) -> Answer {
        self.handed_on(init);
        let table = self.table_number(instance, index);
        let Some(old) = self.tables[table].table.grow(delta) else {
            if self.planted(Fault::FailedGrowLeaks) {
                self.retain(init);
            }
            return Ok(GROW_FAILED);
        };
        let once = self.planted(Fault::TableGrowCountsOnce);
        for index in old..old + delta {
            if !once || index == old {
                self.retain(init);
            }
            self.tables[table].table.replace(index, init);
        }
        self.define_table(table as u32);
        Ok(u64::from(old))
    }

    fn table_fill_funcref(
        &mut self,
        instance: u32,
        index: u32,
        dst: u32,
        value: u64,
        len: u32,
    ) -> Answer {
        let table = self.table_number(instance, index);
        self.check_elements(table, dst, len)?;
        for index in dst..dst + len {
            self.put_element(table, index, value, false);
        }
        Ok(0)
    }

    fn table_fill_externref(
        &mut self,
        instance: u32,
        index: u32,
        dst: u32,
        value: u64,
        len: u32,
    ) -> Answer {
        self.handed_on(value);
        let table = self.table_number(instance, index);
        self.check_elements(table, dst, len)?;
        let count = !self.planted(Fault::TableFillNoCount);
        // The stack may hold it no more while the fill goes on, and a destructor may collect.
        self.retain(value);
        for index in dst..dst + len {
            self.put_element(table, index, value, count);
        }
        self.release(value);
        Ok(0)
    }

    fn drop_externref(&mut self, _instance: u32, object: u64) -> Answer {
        match self.objects.at(object) {
            Some(object) => self.drop_object(object),
            None => self.violate("what is no object was dropped".to_string()),
        }
        Ok(0)
    }

    fn activations_table_insert_with_gc(&mut self, _instance: u32, object: u64) -> Answer {
        // Held across the collection by a count of its own, which then becomes the table's.
        self.retain(object);
        self.make_room(object);
        if self.planted(Fault::SlowPathNoInsert) {
            self.release(object);
        } else {
            self.activations.insert(object);
        }
        Ok(0)
    }

    fn externref_global_get(&mut self, instance: u32, index: u32) -> Answer {
        let number = self.made(instance).globals[index as usize] as usize;
        let (block, offset) = self.site(&self.globals[number].site);
        let value = block.read_u64(offset);
        if value != 0 && !self.planted(Fault::GlobalGetNotInserted) {
            self.retain(value);
            self.make_room(value);
            self.activations.insert(value);
        }
        Ok(value)
    }

    fn externref_global_set(&mut self, instance: u32, index: u32, value: u64) -> Answer {
        self.handed_on(value);
        let number = self.made(instance).globals[index as usize] as usize;
        self.retain(value);
        let (block, offset) = self.site(&self.globals[number].site);
        let old = block.read_u64(offset);
        block.write_u64(offset, value);
        if !self.planted(Fault::GlobalSetNoRelease) {
            self.release(old);
        }
        Ok(0)
    }
}

/// The bytes from `start` on, `len` of them, if they exist.
fn range(memory: &Memory, start: u64, len: u64) -> Result<std::ops::Range<usize>, TrapKind> {
    let end = start.checked_add(len);
    end.filter(|end| *end <= memory.bytes().len() as u64)
        .map(|end| start as usize..end as usize)
        .ok_or(TrapKind::MemoryOutOfBounds)
}
