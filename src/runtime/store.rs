//! A store: everything that exists during one run of a case.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use parallax_oracles::{Entity, Event, Outcome, Reason, TrapKind, Value};

use super::activations::Activations;
use super::audit::{Audit, Breach};
use super::block::{Block, Heap};
use super::callbacks::CallBack;
use super::destructors::SLOTS_A_STEP;
use super::entry::{Stopped, Target};
use super::host::{HostThing, HostTrampolines};
use super::instance::{GlobalEntry, Instance, LoadedModule, MemoryEntry, Site, TableEntry};
use super::machine::Machine;
use super::memory::MemoryPool;
use super::misaligned::SseInstruction;
use super::objects::{ObjectIndex, Objects};
use super::watchdog::Interrupts;
use super::widened;
use crate::case::module::{FuncType, ValType};
use crate::case::{Case, Host};
use crate::codegen::trampolines::VALUE_BYTES;
use crate::engine::shadow::Shadows;
use crate::score::Fault;
use crate::translate::builtins::Builtin;
use crate::translate::memories::{MemoryPlan, PAGE_BYTES};

/// How a text ends that tells of a call of a function of another signature than code says it has.
pub const ANOTHER_SIGNATURE: &str = "called a function of another signature";
/// How a text ends that tells of something that changed, where code says that nothing does.
pub const CHANGED: &str = "relies on something never to change, and it has";

/// How a text ends that tells of a load that code may do where there is nothing to load.
pub const NOT_THERE: &str = "has a load that may move to where there is nothing to load";

/// What a store is made with.
pub struct StoreConfig<'case> {
    /// The case that is run.
    pub case: &'case Case,
    /// A planted fault.
    pub fault: Option<Fault>,
    /// For every host item, the addresses of its trampolines.
    pub host_trampolines: Vec<HostTrampolines>,
    /// Where generated code lies.
    pub code: Range<u64>,
    /// Whether the runtime is to be held to its contracts (see [`super::audit`]).
    pub audit: bool,
    /// What is kept from one store to the next.
    pub reusable: Reusable,
}

/// What is kept from one store to the next.
pub struct Reusable {
    /// What runs generated code.
    pub machine: Machine,
    heap: Heap,
    pool: MemoryPool,
    objects: Objects,
    interrupts: Arc<Interrupts>,
    shadows: Shadows<u64>,
}

impl Reusable {
    /// What a first store is made with.
    pub fn new(machine: Machine) -> Reusable {
        let heap = Heap::default();
        Reusable {
            machine,
            pool: MemoryPool::default(),
            objects: Objects::new(&heap),
            interrupts: Interrupts::watched(),
            shadows: Shadows::default(),
            heap,
        }
    }
}

/// Everything that exists during one run of a case.
pub struct Store<'case> {
    pub(super) case: &'case Case,
    pub(super) fault: Option<Fault>,
    pub(super) audit: Option<Box<Audit>>,
    /// What runs generated code; away while it does.
    machine: Option<Machine>,
    pub(super) heap: Heap,
    pub(super) builtins: [u64; Builtin::ALL.len()],
    pub(super) code: Range<u64>,
    pub(super) interrupts: Arc<Interrupts>,
    pub(super) pool: MemoryPool,
    pub(super) activations: Activations,
    pub(super) objects: Objects,
    /// What is about to be put into the activations table while a collection is under way.
    pub(super) inserting: Option<u64>,
    /// What the next object made is to own together with the last one.
    pub(super) shared_owned: Option<ObjectIndex>,
    /// Slots that destructors may still visit in this step.
    pub(super) destructor_slots: usize,
    pub(super) host: Host,
    pub(super) host_things: Vec<HostThing>,
    /// Modules by number, as far as they are loaded.
    pub(super) modules: Vec<Rc<LoadedModule<'case>>>,
    pub(super) instances: Vec<Option<Box<Instance<'case>>>>,
    pub(super) memories: Vec<MemoryEntry>,
    pub(super) tables: Vec<TableEntry>,
    pub(super) globals: Vec<GlobalEntry>,
    signatures: Vec<&'case FuncType>,
    /// What happened since the events were last taken.
    pub(super) events: Vec<Event>,
    /// Which rule of counting references was broken, the first of them.
    pub(super) violation: Option<String>,
    /// Whether the host, and not the watchdog, asked for the interrupt.
    pub(super) host_interrupted: bool,
    /// Whether the host was called too often.
    pub(super) host_had_enough: bool,
    /// What the host function that was just called is to call before it returns.
    pub(super) calling_back: Option<CallBack>,
    /// For every host item, the addresses of its trampolines.
    pub(super) host_trampolines: Vec<HostTrampolines>,
    /// Whether the system refused what a memory was to grow by.
    pub(super) memory_refused: bool,
    /// What stores that trapped have written all the same, of which memories.
    torn: Vec<(Entity, Range<u64>)>,
    /// Whether a load that trapped since this was last asked was wider than wasm's.
    widened: bool,
    values: Block,
    /// Memories, tables and globals as they were last shown.
    pub(super) shadows: Shadows<u64>,
    pub(super) last_counts: Vec<u64>,
}

impl<'case> Store<'case> {
    /// A store with the case's host items in it, given the loaded modules of the case.
    ///
    /// # Errors
    /// [`Outcome::Inconclusive`] if a host item asks for more memory than there is.
    pub fn new(
        config: StoreConfig<'case>,
        modules: Vec<Rc<LoadedModule<'case>>>,
    ) -> Result<Box<Store<'case>>, Box<(Outcome, Reusable)>> {
        let StoreConfig {
            case,
            fault,
            host_trampolines,
            code,
            audit,
            reusable,
        } = config;
        let Reusable {
            mut machine,
            heap,
            pool,
            objects,
            interrupts,
            mut shadows,
        } = reusable;
        shadows.clear();
        // Much of what the store before owned is gone.
        machine.forget_memory();
        let mut store = Box::new(Store {
            case,
            fault,
            audit: audit.then(Box::default),
            builtins: machine.builtin_addresses(),
            machine: Some(machine),
            code,
            interrupts,
            pool,
            activations: Activations::new(&heap, case.settings.activations_capacity),
            objects,
            inserting: None,
            shared_owned: None,
            destructor_slots: SLOTS_A_STEP,
            host: Host::new(case),
            host_things: Vec::new(),
            modules,
            instances: Vec::new(),
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            signatures: Vec::new(),
            events: Vec::new(),
            violation: None,
            host_interrupted: false,
            host_had_enough: false,
            calling_back: None,
            host_trampolines,
            memory_refused: false,
            values: heap.block(32 * VALUE_BYTES),
            heap,
            torn: Vec::new(),
            widened: false,
            shadows,
            last_counts: Vec::new(),
        });
        match store.make_host_things() {
            Ok(()) => Ok(store),
            Err(reason) => Err(Box::new((Outcome::Inconclusive(reason), store.dismantle()))),
        }
    }

    /// Begins a step of the case.
    pub fn begin_step(&mut self) {
        self.host.begin_step(self.case);
    }

    /// How many branches, or basic blocks, a machine that counts them may take for one call.
    pub fn branches(&self) -> u64 {
        self.case.settings.branches()
    }

    /// The interrupt words of this store.
    pub fn interrupts(&self) -> &Arc<Interrupts> {
        &self.interrupts
    }

    /// Takes over where wasm was left from words that are not the store's. Of a planted fault nothing is to
    /// show but that it looks for interrupts there, and walks of frames go by this. Where no stub has
    /// written it, the machine has told the store.
    pub(super) fn note_exit(&self, exit: (u64, u64)) {
        if exit.0 != 0 {
            self.interrupts.set_exit(exit);
        }
    }

    /// The store-wide id of a type: equal for equal types.
    pub(super) fn type_id(&mut self, ty: &'case FuncType) -> u32 {
        let known = self.signatures.iter().position(|known| *known == ty);
        known.unwrap_or_else(|| {
            self.signatures.push(ty);
            self.signatures.len() - 1
        }) as u32
    }

    pub(super) fn planted(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The block and offset where a definition lies.
    pub(super) fn site<'a>(&'a self, site: &'a Site) -> (&'a Block, u32) {
        match site {
            Site::Host(block) => (block, 0),
            Site::Instance { instance, offset } => {
                let instance = self.instances[*instance as usize].as_ref();
                (
                    &instance.expect("the maker of a thing exists").vmctx,
                    *offset,
                )
            }
        }
    }

    /// The instance with this number, if it was made.
    pub fn instance(&self, instance: u32) -> Option<&Instance<'case>> {
        self.instances.get(instance as usize)?.as_deref()
    }

    /// Says that an instance came into being without a trap.
    pub fn set_usable(&mut self, instance: u32) {
        if let Some(made) = &mut self.instances[instance as usize] {
            made.usable = true;
        }
    }

    /// Says that an instance's start function did not return.
    pub fn set_unusable(&mut self, instance: u32) {
        if let Some(made) = &mut self.instances[instance as usize] {
            made.usable = false;
        }
    }

    /// The value of a global of an instance, as the outcome of reading it.
    pub fn global_value(&self, instance: u32, global: u32) -> Outcome {
        let Some(made) = self.usable(instance) else {
            return Outcome::Skipped;
        };
        let entry = &self.globals[made.globals[global as usize] as usize];
        let (block, offset) = self.site(&entry.site);
        Outcome::Returned(vec![
            self.value_of_raw(block.read_u128(offset), entry.ty.value),
        ])
    }

    /// Collects at the host's wish, with no wasm frame live.
    pub fn collect_now(&mut self) -> Outcome {
        self.conclude(Outcome::Returned(Vec::new()))
    }

    /// The instance with this number, if it came into being without a trap.
    pub fn usable(&self, instance: u32) -> Option<&Instance<'case>> {
        self.instance(instance).filter(|made| made.usable)
    }

    pub(super) fn made(&self, instance: u32) -> &Instance<'case> {
        self.instance(instance)
            .expect("generated code of an instance runs only while it exists")
    }

    /// Calls a function of an instance and settles the store. `trampoline` is the address of the
    /// entry trampoline for its type.
    ///
    /// # Safety
    /// `store` must be valid and no reference to it alive; `trampoline` must be what it says.
    pub unsafe fn invoke(
        store: *mut Store<'case>,
        instance: u32,
        function: u32,
        trampoline: u64,
        args: &[Value],
    ) -> Outcome {
        // SAFETY: the caller says that the store is valid; this reference ends before the call.
        let prepared = unsafe { (*store).prepare(instance, function, args) };
        let Some((target, ty)) = prepared else {
            return Outcome::Skipped;
        };
        let target = Target {
            trampoline,
            ..target
        };
        // SAFETY: as above; the values block has a slot for each argument and result, is not
        // borrowed again before the call is over, and the target is a function of the store.
        let (machine, code, values) = unsafe {
            let store = &mut *store;
            (
                store.machine.take(),
                store.code.clone(),
                store.values.address(),
            )
        };
        let Some(mut machine) = machine else {
            return Outcome::Failed("wasm was entered from wasm".to_string());
        };
        // SAFETY: as above.
        let result = unsafe { machine.call(store, target, code, values) };
        // SAFETY: the call is over; this is the only reference.
        let store = unsafe { &mut *store };
        store.machine = Some(machine);
        let outcome = match result {
            Ok(()) => store.take_results(ty),
            Err(stopped) => store.outcome_of(stopped),
        };
        store.conclude(outcome)
    }

    fn prepare(
        &mut self,
        instance: u32,
        function: u32,
        args: &[Value],
    ) -> Option<(Target, &'case FuncType)> {
        let made = self.instance(instance)?;
        let target = made.functions[function as usize];
        let ty = made.loaded.module.function_type(function);
        let slots = ty.params.len().max(ty.results.len()) as u32;
        if self.values.bytes() < slots * VALUE_BYTES {
            self.values = self.heap.block(slots * VALUE_BYTES);
        }
        self.host_interrupted = false;
        for (index, value) in args.iter().enumerate() {
            let raw = self.value_for_wasm(value);
            self.values.write_u128(index as u32 * VALUE_BYTES, raw);
        }
        self.audit_runtime("passing arguments");
        Some((
            Target {
                trampoline: 0,
                vmctx: target.vmctx,
                code: target.code,
            },
            ty,
        ))
    }

    fn take_results(&mut self, ty: &FuncType) -> Outcome {
        let results = (0..).zip(&ty.results).map(|(index, ty)| {
            let raw = self.values.read_u128(index * VALUE_BYTES);
            if *ty == ValType::ExternRef {
                self.handed_on(raw as u64);
            }
            self.value_of_raw(raw, *ty)
        });
        Outcome::Returned(results.collect())
    }

    /// What it means that wasm stopped.
    pub(super) fn outcome_of(&mut self, stopped: Stopped) -> Outcome {
        match stopped {
            Stopped::Trap(TrapKind::Host) if self.host_had_enough => {
                Outcome::Inconclusive(Reason::HostCalls)
            }
            Stopped::Trap(TrapKind::Host) if self.memory_refused => {
                Outcome::Inconclusive(Reason::AllocationRefused)
            }
            Stopped::Trap(kind) => Outcome::Trapped(kind),
            Stopped::Hung => Outcome::Inconclusive(Reason::Timeout),
            Stopped::Endless if self.case.settings.branches_suffice() => Outcome::Endless,
            Stopped::Endless => Outcome::Inconclusive(Reason::Timeout),
            Stopped::Panicked => Outcome::Failed("a builtin panicked".to_string()),
            Stopped::NotZeroExtended { builtin, parameter } => Outcome::Escaped(format!(
                "builtin {} was passed an i32 `{parameter}` that is not zero-extended",
                builtin.name()
            )),
            Stopped::WrongVmctx(builtin) => Outcome::Escaped(format!(
                "builtin {} was called on another's vmctx",
                builtin.name()
            )),
            Stopped::BeyondStack { builtin, pc, bytes } => {
                self.called_beyond_stack(builtin, pc, bytes)
            }
            Stopped::WrongCaller => Outcome::Escaped(
                "a host function was passed a caller's vmctx that is no instance's".to_string(),
            ),
            Stopped::WrongSignature { pc } => Outcome::Escaped(match self.code_at(pc) {
                Some((loaded, offset)) => {
                    format!(
                        "function {} {ANOTHER_SIGNATURE}",
                        function_at(loaded, offset)
                    )
                }
                None => format!("code {ANOTHER_SIGNATURE}"),
            }),
            Stopped::Changed { pc } => Outcome::Escaped(match self.code_at(pc) {
                Some((loaded, offset)) => {
                    format!("function {} {CHANGED}", function_at(loaded, offset))
                }
                None => format!("code {CHANGED}"),
            }),
            Stopped::NotThere { pc } => Outcome::Escaped(match self.code_at(pc) {
                Some((loaded, offset)) => {
                    format!("function {} {NOT_THERE}", function_at(loaded, offset))
                }
                None => format!("code {NOT_THERE}"),
            }),
            Stopped::NotInterpreted => Outcome::Inconclusive(Reason::Unsupported),
            Stopped::Fault {
                signal,
                pc,
                address,
                stack_pointer,
            } => {
                let of_stack = self.outcome_of_stack(pc, stack_pointer);
                let outcome =
                    of_stack.unwrap_or_else(|| self.outcome_of_fault(signal, pc, address));
                self.widened |= outcome == Outcome::Trapped(TrapKind::MemoryOutOfBounds)
                    && self.is_widened(pc, address);
                outcome
            }
            Stopped::Misaligned { pc, address } => self.outcome_of_misaligned(pc, address),
            Stopped::Torn {
                pc,
                address,
                written,
                fault,
            } => {
                self.note_torn(address, written);
                self.outcome_of_fault(libc::SIGSEGV, pc, fault)
            }
        }
    }

    fn outcome_of_fault(&self, signal: i32, pc: u64, address: u64) -> Outcome {
        let Some((loaded, offset)) = self.code_at(pc) else {
            return Outcome::Escaped("a jump to where there is no code".to_string());
        };
        #[cfg(test)]
        super::stops::note(loaded, offset);
        let function = function_at(loaded, offset);
        let Some(kind) = loaded.compiled.trap_at(offset) else {
            return Outcome::Escaped(format!(
                "function {function} faulted in an instruction that does not trap"
            ));
        };
        let accessed = signal == libc::SIGSEGV || signal == libc::SIGBUS;
        // Under spectre mitigations an access out of bounds goes to null.
        let null = address < 4096;
        let proper = match kind {
            TrapKind::MemoryOutOfBounds => null || self.in_a_memory(address),
            TrapKind::TableOutOfBounds => null,
            _ => false,
        };
        if accessed && !proper {
            return Outcome::Escaped(format!(
                "function {function} accessed memory outside of every memory and table"
            ));
        }
        match kind {
            TrapKind::StackExhausted if self.interrupts.interrupted() => self.interrupted(),
            TrapKind::Interrupted => self.interrupted(),
            kind => Outcome::Trapped(kind),
        }
    }

    /// Whether a load that faulted at the very end of a memory is wider than wasm's.
    fn is_widened(&self, pc: u64, address: u64) -> bool {
        let ends = |entry: &MemoryEntry| entry.memory.base() + entry.memory.pages() * PAGE_BYTES;
        let Some((loaded, offset)) = self.code_at(pc) else {
            return false;
        };
        let code = &loaded.compiled.code[offset as usize..];
        let code = &code[..code.len().min(widened::LOOKED_AT)];
        self.memories.iter().any(|entry| ends(entry) == address)
            && widened::is_load_to_compare(code)
    }

    /// Notes what of a memory a store that traps has written all the same, or may have.
    fn note_torn(&mut self, address: u64, written: u64) {
        let memory = self.memories.iter().find_map(|entry| {
            let offset = address.checked_sub(entry.memory.base())?;
            let end = entry.memory.pages() * PAGE_BYTES;
            (offset < end).then_some((entry.entity, offset..end.min(offset + written)))
        });
        self.torn.extend(memory);
    }

    fn outcome_of_misaligned(&self, pc: u64, address: u64) -> Outcome {
        let Some((loaded, offset)) = self.code_at(pc) else {
            return Outcome::Escaped("a jump to where there is no code".to_string());
        };
        let function = function_at(loaded, offset);
        if !self.in_a_memory(address) {
            return Outcome::Escaped(format!(
                "function {function} accessed memory outside of every memory and table"
            ));
        }
        let code = &loaded.compiled.code[offset as usize..];
        let name = SseInstruction::decode(code).and_then(|instruction| instruction.name());
        Outcome::Escaped(format!(
            "function {function} has a misaligned operand of {}",
            name.unwrap_or("an SSE instruction")
        ))
    }

    /// Whether an address lies in the reservation of a memory.
    fn in_a_memory(&self, address: u64) -> bool {
        let mut memories = self.memories.iter();
        memories.any(|entry| entry.memory.reaches(address, self.guarded_bytes(entry)))
    }

    /// How far from a memory's base code may touch and leave it to the kernel to trap: what its
    /// plan reserves, and the guard region. Anything beyond was to be checked by the code itself.
    fn guarded_bytes(&self, entry: &MemoryEntry) -> u64 {
        let settings = &self.case.settings;
        let reserved = match MemoryPlan::new(settings.memory_style, &entry.ty) {
            MemoryPlan::Static { bound } => bound,
            MemoryPlan::Dynamic => entry.memory.pages() * PAGE_BYTES,
        };
        reserved + settings.guard_bytes
    }

    /// Whether generated code may read and write a page, of 4 KiB.
    #[cfg(feature = "emulator")]
    pub(super) fn owns_page(&self, page: u64) -> bool {
        let bytes = page..page + 4096;
        self.heap.covers(bytes)
            || page == self.interrupts.address()
            || self.memories.iter().any(|entry| {
                let base = entry.memory.base();
                (base..base + entry.memory.pages() * PAGE_BYTES).contains(&page)
            })
    }

    /// The bytes around an address that generated code may read and write.
    pub(super) fn accessible(&self, address: u64) -> Option<Range<u64>> {
        let memory = self.memories.iter().find_map(|entry| {
            let base = entry.memory.base();
            let bytes = base..base + entry.memory.pages() * PAGE_BYTES;
            bytes.contains(&address).then_some(bytes)
        });
        memory.or_else(|| self.heap.around(address)).or_else(|| {
            let words = self.interrupts.address();
            let words = words..words + size_of::<Interrupts>() as u64;
            words.contains(&address).then_some(words)
        })
    }

    /// Whether these addresses can be those of a block of the store's.
    pub(super) fn has_block(&self, addresses: Range<u64>) -> bool {
        addresses.start.is_multiple_of(8) && self.heap.covers(addresses)
    }

    /// A number that is another one whenever part of a memory may have become inaccessible.
    pub(super) fn memory_changes(&self) -> u64 {
        self.pool.changes()
    }

    fn interrupted(&self) -> Outcome {
        if self.host_interrupted {
            Outcome::Trapped(TrapKind::Interrupted)
        } else {
            Outcome::Inconclusive(Reason::Timeout)
        }
    }

    /// The module whose code an address lies in, and the offset there.
    pub(super) fn code_at(&self, address: u64) -> Option<(&LoadedModule<'case>, u32)> {
        self.modules.iter().find_map(|loaded| {
            let offset = address.checked_sub(loaded.base)?;
            (offset < loaded.compiled.code.len() as u64).then_some((&**loaded, offset as u32))
        })
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.events);
    }

    /// The bytes that stores which trapped have written all the same, of which memories.
    pub fn take_torn(&mut self) -> Vec<(Entity, Range<u64>)> {
        std::mem::take(&mut self.torn)
    }

    /// Whether a load that trapped since this was last asked was wider than wasm's.
    pub fn take_widened(&mut self) -> bool {
        std::mem::take(&mut self.widened)
    }

    /// The first contract that the runtime broke, of an audited store.
    pub fn take_breach(&mut self) -> Option<Breach> {
        self.audit.take()?.breach()
    }

    /// Takes the store apart for what can be kept.
    pub fn dismantle(self: Box<Self>) -> Reusable {
        let mut store = *self;
        for entry in store.memories.drain(..) {
            entry.memory.release(&mut store.pool);
        }
        store.objects.clear();
        Reusable {
            machine: store.machine.expect("no wasm runs any more"),
            heap: store.heap,
            pool: store.pool,
            objects: store.objects,
            interrupts: store.interrupts,
            shadows: store.shadows,
        }
    }
}

/// The function, by function index, that the code at an offset belongs to.
pub(super) fn function_at(loaded: &LoadedModule<'_>, offset: u32) -> u32 {
    let defined = loaded.compiled.function_at(offset);
    defined.map_or(0, |defined| defined + loaded.module.imported_functions())
}
