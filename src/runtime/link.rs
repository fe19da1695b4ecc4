//! Instantiation: imports are matched, things are made, segments are applied, in the order of the
//! core specification ("Instantiation").

use std::rc::Rc;

use parallax_oracles::{Entity, FuncIdentity, Outcome, Owner, Reason, TrapKind, Value};

use super::block::Block;
use super::host::{HostThing, write_anyfunc};
use super::instance::{Function, GlobalEntry, Instance, Site, TableEntry};
use super::store::Store;
use super::table::Table;
use crate::case::module::{ConstExpr, ConstOp, ImportKind, SegmentMode, ValType};
use crate::case::{ImportSource, LinkPlan};
use crate::score::Fault;
use crate::translate::builtins::Builtin;
use crate::translate::layout::{definition_import, function_import, head, interrupts};

/// Why an instance was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkFailure {
    /// Something it imports is that of an instance which never came into being.
    Skipped,
    /// An import is missing or does not match.
    Unlinkable,
    /// There is no memory for it.
    Refused(Reason),
    /// A segment did not fit. The instance exists, but for nobody to name.
    Trapped(TrapKind),
}

impl From<LinkFailure> for Outcome {
    fn from(failure: LinkFailure) -> Outcome {
        match failure {
            LinkFailure::Skipped => Outcome::Skipped,
            LinkFailure::Unlinkable => Outcome::Unlinkable,
            LinkFailure::Refused(reason) => Outcome::Inconclusive(reason),
            LinkFailure::Trapped(kind) => Outcome::Trapped(kind),
        }
    }
}

/// The imports of an instance, resolved.
#[derive(Default)]
struct Imports {
    functions: Vec<Function>,
    tables: Vec<u32>,
    memories: Vec<u32>,
    globals: Vec<u32>,
}

impl<'case> Store<'case> {
    /// Makes the next instance, up to but without its start function.
    ///
    /// # Errors
    /// `LinkFailure`; the instance's number is used up.
    pub fn instantiate(&mut self, module: usize, plan: &LinkPlan) -> Result<u32, LinkFailure> {
        let number = self.instances.len() as u32;
        self.instances.push(None);
        let missing = plan.0.iter().flatten().any(|source| match source.owner {
            Owner::Instance(instance) => self.usable(instance).is_none(),
            Owner::Host => false,
        });
        if missing {
            return Err(LinkFailure::Skipped);
        }
        let loaded = self.modules[module].clone();
        let imports = self.resolve(&loaded, plan).ok_or(LinkFailure::Unlinkable)?;
        self.make(number, &loaded, imports)
            .map_err(LinkFailure::Refused)?;
        self.apply_segments(number).map_err(LinkFailure::Trapped)?;
        Ok(number)
    }

    fn resolve(
        &mut self,
        loaded: &super::instance::LoadedModule<'case>,
        plan: &LinkPlan,
    ) -> Option<Imports> {
        let mut imports = Imports::default();
        for (import, source) in loaded.module.imports.iter().zip(&plan.0) {
            let source = (*source)?;
            match import.kind {
                ImportKind::Func(ty) => {
                    let function = self.source_function(source)?;
                    let wanted = self.type_id(&loaded.module.types[ty as usize]);
                    (function.type_id == wanted).then_some(())?;
                    imports.functions.push(function);
                }
                ImportKind::Table(wanted) => {
                    let number = self.source_table(source)?;
                    let entry = &self.tables[number as usize];
                    let fits = entry.ty.element == wanted.element
                        && limits_match(
                            (u64::from(entry.table.size()), entry.ty.max),
                            (wanted.min, wanted.max),
                        );
                    fits.then_some(())?;
                    imports.tables.push(number);
                }
                ImportKind::Memory(wanted) => {
                    let number = self.source_memory(source)?;
                    let entry = &self.memories[number as usize];
                    let has = (entry.memory.pages(), entry.ty.max);
                    let alike = entry.ty.memory64 == wanted.memory64;
                    let fits = alike && limits_match(has, (wanted.min, wanted.max));
                    fits.then_some(())?;
                    imports.memories.push(number);
                }
                ImportKind::Global(wanted) => {
                    let number = self.source_global(source)?;
                    (self.globals[number as usize].ty == wanted).then_some(())?;
                    imports.globals.push(number);
                }
            }
        }
        Some(imports)
    }

    fn source_function(&self, source: ImportSource) -> Option<Function> {
        match source.owner {
            Owner::Instance(instance) => {
                Some(self.instance(instance)?.functions[source.index as usize])
            }
            Owner::Host => match self.host_things.get(source.index as usize)? {
                HostThing::Func { function, .. } => Some(*function),
                _ => None,
            },
        }
    }

    fn source_table(&self, source: ImportSource) -> Option<u32> {
        match source.owner {
            Owner::Instance(instance) => {
                Some(self.instance(instance)?.tables[source.index as usize])
            }
            Owner::Host => match self.host_things.get(source.index as usize)? {
                HostThing::Table(number) => Some(*number),
                _ => None,
            },
        }
    }

    fn source_memory(&self, source: ImportSource) -> Option<u32> {
        match source.owner {
            Owner::Instance(instance) => {
                Some(self.instance(instance)?.memories[source.index as usize])
            }
            Owner::Host => match self.host_things.get(source.index as usize)? {
                HostThing::Memory(number) => Some(*number),
                _ => None,
            },
        }
    }

    fn source_global(&self, source: ImportSource) -> Option<u32> {
        match source.owner {
            Owner::Instance(instance) => {
                Some(self.instance(instance)?.globals[source.index as usize])
            }
            Owner::Host => match self.host_things.get(source.index as usize)? {
                HostThing::Global(number) => Some(*number),
                _ => None,
            },
        }
    }

    /// Makes the instance and all that it defines.
    fn make(
        &mut self,
        number: u32,
        loaded: &Rc<super::instance::LoadedModule<'case>>,
        imports: Imports,
    ) -> Result<(), Reason> {
        let (module, layout) = (loaded.module, &loaded.layout);
        let vmctx = self.vmctx(number, layout.size());
        for builtin in Builtin::ALL {
            vmctx.write_u64(layout.builtin(*builtin), self.builtins[*builtin as usize]);
        }
        for (index, ty) in module.types.iter().enumerate() {
            let id = self.type_id(ty);
            vmctx.write_u32(layout.signature_id(index as u32), id);
        }
        let entity = |index| Entity {
            owner: Owner::Instance(number),
            index,
        };

        let mut functions = imports.functions;
        for (index, function) in functions.iter().enumerate() {
            let at = layout.function_import(index as u32);
            vmctx.write_u64(at + function_import::BODY, function.code);
            vmctx.write_u64(at + function_import::VMCTX, function.vmctx);
        }
        for (defined, code) in loaded.compiled.functions.iter().enumerate() {
            let index = functions.len() as u32;
            debug_assert_eq!(layout.defined_function(index), Some(defined as u32));
            functions.push(Function {
                code: loaded.base + u64::from(code.start),
                vmctx: vmctx.address(),
                type_id: self.type_id(module.function_type(index)),
                identity: FuncIdentity::Defined {
                    instance: number,
                    index,
                },
            });
        }
        for (index, function) in functions.iter().enumerate() {
            write_anyfunc(&vmctx, layout.anyfunc(index as u32), function);
        }

        let mut instance = Instance {
            loaded: loaded.clone(),
            vmctx,
            functions,
            tables: imports.tables,
            memories: imports.memories,
            globals: imports.globals,
            usable: false,
            dropped_elements: vec![false; module.elements.len()],
            dropped_data: vec![false; module.data.len()],
        };
        self.import_definitions(&instance);

        let (old_memories, old_tables) = (self.memories.len(), self.tables.len());
        for index in instance.memories.len() as u32..module.memories.len() as u32 {
            let defined = layout.defined_memory(index).unwrap_or_default();
            let site = Site::Instance {
                instance: number,
                offset: layout.memory(defined),
            };
            let ty = module.memories[index as usize];
            instance
                .memories
                .push(self.add_memory(ty, site, entity(index))?);
        }
        for index in instance.tables.len() as u32..module.tables.len() as u32 {
            let ty = module.tables[index as usize];
            if ty.min > self.case.settings.table_limit {
                return Err(Reason::AllocationRefused);
            }
            let defined = layout.defined_table(index).unwrap_or_default();
            let site = Site::Instance {
                instance: number,
                offset: layout.table(defined),
            };
            let max = ty
                .max
                .unwrap_or(u64::MAX)
                .min(self.case.settings.table_limit);
            let table = Table::new(&self.heap, ty.element, ty.min as u32, max);
            self.tables.push(TableEntry {
                table,
                site,
                ty,
                entity: entity(index),
            });
            instance.tables.push(self.tables.len() as u32 - 1);
        }
        for index in instance.globals.len() as u32..module.globals.len() as u32 {
            let defined = layout.defined_global(index).unwrap_or_default();
            let offset = layout.global(defined);
            let init = &module.global_inits[defined as usize];
            let raw = self.evaluate(&instance, init);
            if module.globals[index as usize].value == ValType::ExternRef {
                self.retain(raw as u64);
            }
            instance.vmctx.write_u128(offset, raw);
            let site = Site::Instance {
                instance: number,
                offset,
            };
            let ty = module.globals[index as usize];
            self.globals.push(GlobalEntry {
                site,
                ty,
                entity: entity(index),
            });
            instance.globals.push(self.globals.len() as u32 - 1);
        }
        for (defined, init) in module.table_inits.iter().enumerate() {
            let Some(init) = init else { continue };
            let raw = self.evaluate(&instance, init) as u64;
            let table = instance.tables[module.imported_tables() as usize + defined] as usize;
            for index in 0..self.tables[table].table.size() {
                if self.tables[table].table.element_type() == ValType::ExternRef {
                    self.retain(raw);
                }
                self.tables[table].table.replace(index, raw);
            }
        }
        self.instances[number as usize] = Some(Box::new(instance));
        for memory in old_memories..self.memories.len() {
            self.define_memory(memory as u32);
        }
        for table in old_tables..self.tables.len() {
            self.define_table(table as u32);
        }
        Ok(())
    }

    /// The block that the vmctx of an instance is to be, of so many bytes, with its head.
    fn vmctx(&mut self, number: u32, bytes: u32) -> Block {
        if number == 0 || !self.planted(Fault::InterruptsOfFirstInstance) {
            let vmctx = self.heap.block(bytes);
            self.write_head(&vmctx, number);
            return vmctx;
        }
        // Words of its own lie behind all that a vmctx has.
        let vmctx = self.heap.block(bytes + interrupts::SIZE);
        self.write_head(&vmctx, number);
        for word in (0..interrupts::SIZE).step_by(8) {
            vmctx.write_u64(bytes + word, 0);
        }
        vmctx.write_u64(head::INTERRUPTS, vmctx.address_of(bytes));
        vmctx
    }

    /// Points the import records of an instance at the definitions of what it imports.
    fn import_definitions(&self, instance: &Instance<'case>) {
        let (vmctx, layout) = (&instance.vmctx, &instance.loaded.layout);
        let address = |site| {
            let (block, offset) = self.site(site);
            block.address_of(offset)
        };
        for (index, number) in instance.tables.iter().enumerate() {
            let from = address(&self.tables[*number as usize].site);
            vmctx.write_u64(
                layout.table_import(index as u32) + definition_import::FROM,
                from,
            );
        }
        for (index, number) in instance.memories.iter().enumerate() {
            let from = address(&self.memories[*number as usize].site);
            vmctx.write_u64(
                layout.memory_import(index as u32) + definition_import::FROM,
                from,
            );
        }
        for (index, number) in instance.globals.iter().enumerate() {
            let from = address(&self.globals[*number as usize].site);
            vmctx.write_u64(layout.global_import(index as u32), from);
        }
    }

    /// The raw value of a constant expression. References are not retained.
    pub(super) fn evaluate(&mut self, instance: &Instance<'case>, expr: &ConstExpr) -> u128 {
        let mut stack = Vec::with_capacity(1);
        for op in &expr.0 {
            match *op {
                ConstOp::Value(Value::Extern(Some(id))) => stack.push(u128::from(self.object(id))),
                ConstOp::Value(ref value) => stack.push(self.raw_of_number(value)),
                ConstOp::GlobalGet(global) => {
                    let number = instance.globals[global as usize] as usize;
                    let global = &self.globals[number];
                    let own = matches!(global.site, Site::Instance { instance, .. }
                        if self.instance(instance).is_none());
                    let raw = match (&global.site, own) {
                        (Site::Instance { offset, .. }, true) => instance.vmctx.read_u128(*offset),
                        (site, _) => {
                            let (block, offset) = self.site(site);
                            block.read_u128(offset)
                        }
                    };
                    stack.push(raw);
                }
                ConstOp::Arithmetic(operation) => {
                    // Validation has seen to it that there are two.
                    let b = stack.pop().unwrap_or_default();
                    let a = stack.pop().unwrap_or_default();
                    stack.push(u128::from(operation.compute(a as u64, b as u64)));
                }
                ConstOp::RefFunc(function) => {
                    let offset = instance.loaded.layout.anyfunc(function);
                    stack.push(u128::from(instance.vmctx.address_of(offset)));
                }
            }
        }
        stack.pop().unwrap_or_default()
    }

    fn evaluate_in(&mut self, instance: u32, expr: &ConstExpr) -> u128 {
        // The instance is put aside so that the store can be borrowed beside it.
        let Some(made) = self.instances[instance as usize].take() else {
            return 0;
        };
        let raw = match expr.0.as_slice() {
            [ConstOp::GlobalGet(global)] => {
                let number = made.globals[*global as usize] as usize;
                self.instances[instance as usize] = Some(made);
                let (block, offset) = self.site(&self.globals[number].site);
                return block.read_u128(offset);
            }
            _ => self.evaluate(&made, expr),
        };
        self.instances[instance as usize] = Some(made);
        raw
    }

    /// The item of an element segment, as a raw reference.
    pub(super) fn element_item(&mut self, instance: u32, segment: u32, item: u32) -> u64 {
        let module = self.made(instance).loaded.module;
        let expr = &module.elements[segment as usize].items[item as usize];
        self.evaluate_in(instance, expr) as u64
    }

    /// Applies active segments: elements, then data, each in order; what came before a trap
    /// stays.
    fn apply_segments(&mut self, instance: u32) -> Result<(), TrapKind> {
        let module = self.made(instance).loaded.module;
        for (index, segment) in module.elements.iter().enumerate() {
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let offset = self.evaluate_in(instance, offset) as u32;
                let len = segment.items.len() as u32;
                self.table_init(instance, *target, index as u32, offset, 0, len)?;
            }
            let dropped = segment.mode != SegmentMode::Passive;
            if dropped && !self.planted(Fault::ActiveElementsKept) {
                self.drop_element_segment(instance, index as u32);
            }
        }
        for (index, segment) in module.data.iter().enumerate() {
            if let SegmentMode::Active { target, offset } = &segment.mode {
                let offset = self.evaluate_in(instance, offset) as u64;
                let len = segment.bytes.len() as u32;
                self.memory64_init(instance, *target, index as u32, offset, 0, len)?;
                self.drop_data_segment(instance, index as u32);
            }
        }
        Ok(())
    }
}

/// Whether something of a current size and declared maximum satisfies an import's limits.
fn limits_match((size, max): (u64, Option<u64>), (min, wanted): (u64, Option<u64>)) -> bool {
    size >= min && wanted.is_none_or(|wanted| max.is_some_and(|max| max <= wanted))
}
