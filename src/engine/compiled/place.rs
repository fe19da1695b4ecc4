//! Where code lies: the arena, and in it the trampolines, which outlast a case.

use std::collections::HashMap;

use super::Compiled;
use crate::case::host::HostFunction;
use crate::case::module::FuncType;
use crate::case::{Action, Case, HostItemKind};
use crate::codegen::{CompiledModule, Isa};
use crate::engine::Refusal;
use crate::runtime::HostTrampolines;
use crate::runtime::code::{CodeArena, LoadError};
use crate::runtime::machine::Machine;

/// Bytes of address space for the code of one case, trampolines included.
const ARENA_BYTES: usize = 64 << 20;

/// Trampolines that are kept at most.
const KEPT_TRAMPOLINES: usize = 4096;

/// Bytes of code after which the arena of a machine that must be told of new code starts over. Until
/// then no address is used twice, so that there is nothing to tell.
const WORN_BYTES: usize = 4 << 20;

/// Where code lies: trampolines, which stay, below the modules of the case.
pub(super) struct Arena {
    pub(super) code: CodeArena,
    /// How much trampolines take up.
    kept: usize,
}

/// The addresses of trampolines, by the type of what they call.
#[derive(Default)]
pub(super) struct Trampolines {
    pub(super) entry: HashMap<FuncType, u64>,
    host: HashMap<FuncType, u64>,
    scratch: CompiledModule,
}

/// Whether a trampoline leads into wasm or to the host.
#[derive(Clone, Copy)]
enum Direction {
    Entry,
    Host,
}

impl Trampolines {
    fn len(&self) -> usize {
        self.entry.len() + self.host.len()
    }
}

impl Compiled {
    /// Makes the arena ready for a case: as it was before the case before, or new.
    pub(super) fn arena(&mut self) -> Result<(), Refusal> {
        self.clear_arena()?;
        let arena = self.arena.as_ref().ok_or_else(no_arena)?;
        let (range, end) = (arena.code.range(), arena.code.end());
        let reusable = self.reusable.as_mut().ok_or_else(no_arena)?;
        let machine = &mut reusable.machine;
        machine.unload_from(range, end, &mut self.generator);
        Ok(())
    }

    fn clear_arena(&mut self) -> Result<(), Refusal> {
        let machine = &mut self.reusable()?.machine;
        let sees_new_code = machine.sees_new_code();
        let full = self.trampolines.len() > KEPT_TRAMPOLINES;
        let Some(arena) = &mut self.arena else {
            let code = CodeArena::new(ARENA_BYTES)
                .map_err(|error| Refusal::Unsupported(format!("no executable memory: {error}")))?;
            self.arena = Some(Arena { code, kept: 0 });
            return Ok(());
        };
        if full || !sees_new_code && arena.code.used() > WORN_BYTES {
            arena.code.truncate(0);
            arena.kept = 0;
            self.trampolines = Trampolines::default();
            self.reusable()?.machine.forget_code();
        } else if sees_new_code {
            arena.code.truncate(arena.kept);
        }
        Ok(())
    }

    /// Compiles and loads the trampolines that a case needs.
    pub(super) fn prepare_trampolines(&mut self, case: &Case) -> Result<(), Refusal> {
        let mut invoked: Vec<&FuncType> = Vec::new();
        let mut instances = Vec::new();
        for step in &case.steps {
            match &step.action {
                Action::Instantiate { module, .. } => {
                    let module = &case.modules[*module];
                    instances.push(module);
                    invoked.extend(module.start.map(|start| module.function_type(start)));
                }
                Action::Invoke {
                    instance, function, ..
                } => {
                    // `parallax spec` has empty modules stand in for those that are unsupported.
                    let module = instances[*instance as usize];
                    if (*function as usize) < module.functions.len() {
                        invoked.push(module.function_type(*function));
                    }
                }
                Action::Get { .. } | Action::Collect => {}
            }
        }
        for ty in invoked {
            self.trampoline(ty, Direction::Entry)?;
        }
        for item in &case.host_items {
            if let HostItemKind::Func { ty, function } = &item.kind {
                if *function == HostFunction::CallBack {
                    self.host_trampoline(&ty.called_back(), Direction::Entry)?;
                }
                self.host_trampoline(ty, Direction::Host)?;
            }
        }
        Ok(())
    }

    /// Compiles and loads a trampoline from or to the host that nothing may come to use.
    fn host_trampoline(&mut self, ty: &FuncType, direction: Direction) -> Result<(), Refusal> {
        match self.trampoline(ty, direction) {
            // It takes or returns a vector. Whatever would call it, or be called, has its signature, and is
            // refused for that.
            Err(Refusal::Unsupported(_)) if self.backend.isa == Isa::Riscv64 => Ok(()),
            made => made.map(drop),
        }
    }

    fn trampoline(&mut self, ty: &FuncType, direction: Direction) -> Result<u64, Refusal> {
        let Trampolines {
            entry,
            host,
            scratch,
        } = &mut self.trampolines;
        let known = match direction {
            Direction::Entry => entry,
            Direction::Host => host,
        };
        if let Some(address) = known.get(ty) {
            return Ok(*address);
        }
        scratch.clear();
        match direction {
            Direction::Entry => self
                .generator
                .entry_trampoline(self.backend.isa, ty, scratch)?,
            Direction::Host => self
                .generator
                .host_trampoline(self.backend.isa, ty, scratch)?,
        }
        let arena = self.arena.as_mut().ok_or_else(no_arena)?;
        let reusable = self.reusable.as_mut().ok_or_else(no_arena)?;
        let address = load(&reusable.machine, &mut arena.code, scratch)?;
        arena.kept = arena.code.used();
        reusable.machine.load(&mut self.generator, scratch, address);
        known.insert(ty.clone(), address);
        Ok(address)
    }

    /// The trampolines of a case's host items; 0 where nothing can call one (see
    /// [`Compiled::prepare_trampolines`]).
    pub(super) fn host_trampolines(&self, case: &Case) -> Vec<HostTrampolines> {
        let address = |trampolines: &HashMap<FuncType, u64>, ty: &FuncType| {
            trampolines.get(ty).copied().unwrap_or_default()
        };
        let items = case.host_items.iter();
        let trampolines = items.map(|item| match &item.kind {
            HostItemKind::Func { ty, function } => HostTrampolines {
                to_host: address(&self.trampolines.host, ty),
                call_back: match function {
                    HostFunction::CallBack => address(&self.trampolines.entry, &ty.called_back()),
                    _ => 0,
                },
            },
            _ => HostTrampolines::default(),
        });
        trampolines.collect()
    }
}

/// Loads code into the arena; the address of its first byte.
pub(super) fn load(
    machine: &Machine,
    arena: &mut CodeArena,
    compiled: &CompiledModule,
) -> Result<u64, Refusal> {
    let loaded = arena.load(compiled, &|call| machine.routine_address(call));
    loaded.map_err(|error| match error {
        LoadError::Full { .. } => Refusal::Unsupported(error.to_string()),
        // All code of a case lies together, and routines are called by their whole address.
        LoadError::OutOfReach { .. } => Refusal::Failed(error.to_string()),
    })
}

/// That there is no arena, or no machine, where one is needed.
pub(super) fn no_arena() -> Refusal {
    Refusal::Failed("code is loaded before there is a place for it".to_string())
}
