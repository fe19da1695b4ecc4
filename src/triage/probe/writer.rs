//! Writing a module with probes in it.

use std::collections::HashMap;

use parallax_oracles::Owner;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{BlockType, EntityType, Instruction as I, SectionId};

use super::{PROBE_MODULE, Planned, SiteKind, Survey, TOLD, Watch, name_of};
use crate::case::module::{ImportKind, ValType};
use crate::case::{Action, Case, Module};
use crate::generate::sketch::{encoded, heap, mem_arg_of};

/// What is watched, as a module knows it.
#[derive(Clone, Copy)]
pub(super) enum Watched {
    /// A byte of a memory, with whether that is addressed by i64.
    Byte {
        memory: u32,
        memory64: bool,
        address: u64,
    },
    Global(u32, ValType),
    Element {
        table: u32,
        ty: ValType,
        index: u64,
    },
}

/// What is watched, if some instance of a module can reach it.
pub(super) fn watched_in(case: &Case, number: usize, watch: Watch) -> Option<Watched> {
    let module = case.modules.get(number)?;
    let (Watch::Byte(entity, _) | Watch::Global(entity) | Watch::Element(entity, _)) = watch;
    let is_kind = |kind: &ImportKind| match watch {
        Watch::Byte(..) => matches!(kind, ImportKind::Memory(_)),
        Watch::Global(_) => matches!(kind, ImportKind::Global(_)),
        Watch::Element(..) => matches!(kind, ImportKind::Table(_)),
    };
    let mut instance = 0;
    for step in &case.steps {
        let Action::Instantiate { module: made, link } = &step.action else {
            continue;
        };
        instance += 1;
        if *made != number {
            continue;
        }
        let own = entity.owner == Owner::Instance(instance - 1);
        let imported = module.imports.iter().zip(&link.0);
        let mut imported = imported.filter(|(import, _)| is_kind(&import.kind));
        let through = imported.position(|(_, source)| {
            source.is_some_and(|it| it.owner == entity.owner && it.index == entity.index)
        });
        let index = match through {
            Some(index) => index as u32,
            None if own => entity.index,
            None => continue,
        };
        return match watch {
            Watch::Byte(_, address) => Some(Watched::Byte {
                memory: index,
                memory64: module.memories.get(index as usize)?.memory64,
                address,
            }),
            Watch::Global(_) => {
                let global = module.globals.get(index as usize)?;
                Some(Watched::Global(index, global.value))
            }
            Watch::Element(_, element) => Some(Watched::Element {
                table: index,
                ty: module.tables.get(index as usize)?.element,
                index: element,
            }),
        };
    }
    None
}

/// Writes a module with probes.
pub(super) struct Writer<'a> {
    pub(super) survey: &'a Survey,
    pub(super) number: usize,
    pub(super) module: &'a Module,
    pub(super) chosen: &'a dyn Fn(usize) -> bool,
    pub(super) watched: Option<Watched>,
    pub(super) next_function: u32,
    pub(super) imports_written: bool,
}

impl Writer<'_> {
    /// The function that tells what is of a type, or nothing.
    fn teller(&self, told: Option<ValType>) -> u32 {
        let position = TOLD.iter().position(|known| *known == told).unwrap_or(0);
        self.module.imported_functions() + position as u32
    }

    fn add_imports(&mut self, imports: &mut wasm_encoder::ImportSection) {
        self.imports_written = true;
        for (position, told) in TOLD.into_iter().enumerate() {
            let ty = self.module.types.len() + position;
            imports.import(PROBE_MODULE, name_of(told), EntityType::Function(ty as u32));
        }
    }

    /// What tells a value that is on the stack, and leaves it there.
    fn tell(&self, out: &mut wasm_encoder::Function, site: usize, ty: ValType, local: u32) {
        out.instruction(&I::LocalTee(local))
            .instruction(&I::I32Const(site as i32))
            .instruction(&I::LocalGet(local))
            .instruction(&I::Call(self.teller(Some(ty))));
    }

    /// What tells the present value of what is watched.
    fn tell_watched(&self, out: &mut wasm_encoder::Function, site: usize, watched: Watched) {
        out.instruction(&I::I32Const(site as i32));
        let ty = match watched {
            Watched::Byte {
                memory,
                memory64,
                address,
            } => {
                let index = |value: u64| match memory64 {
                    true => I::I64Const(value as i64),
                    false => I::I32Const(value as u32 as i32),
                };
                let below = match memory64 {
                    true => I::I64LtU,
                    false => I::I32LtU,
                };
                out.instruction(&index(address >> 16))
                    .instruction(&I::MemorySize(memory))
                    .instruction(&below)
                    .instruction(&I::If(BlockType::Result(wasm_encoder::ValType::I32)))
                    .instruction(&index(address))
                    .instruction(&I::I32Load8U(mem_arg_of(memory, 0)))
                    .instruction(&I::Else)
                    .instruction(&I::I32Const(-1))
                    .instruction(&I::End);
                ValType::I32
            }
            Watched::Global(global, ty) => {
                out.instruction(&I::GlobalGet(global));
                ty
            }
            Watched::Element { table, ty, index } => {
                out.instruction(&I::I32Const(index as u32 as i32))
                    .instruction(&I::TableSize(table))
                    .instruction(&I::I32LtU)
                    .instruction(&I::If(BlockType::Result(encoded(ty))))
                    .instruction(&I::I32Const(index as u32 as i32))
                    .instruction(&I::TableGet(table))
                    .instruction(&I::Else)
                    .instruction(&I::RefNull(heap(ty)))
                    .instruction(&I::End);
                ty
            }
        };
        out.instruction(&I::Call(self.teller(Some(ty))));
    }

    fn put(
        &self,
        out: &mut wasm_encoder::Function,
        entry: Planned,
        locals: &HashMap<ValType, u32>,
    ) {
        let (_, number, told) = entry;
        let site = &self.survey.sites[number];
        if site.kind == SiteKind::Effect {
            if let Some(watched) = self.watched {
                self.tell_watched(out, number, watched);
            }
            return;
        }
        if !(self.chosen)(number) {
            return;
        }
        match (site.kind, told) {
            (SiteKind::Parameter(index), Some(ty)) => {
                out.instruction(&I::I32Const(number as i32))
                    .instruction(&I::LocalGet(index))
                    .instruction(&I::Call(self.teller(Some(ty))));
            }
            (_, Some(ty)) => self.tell(out, number, ty, locals[&ty]),
            (_, None) => {
                out.instruction(&I::I32Const(number as i32))
                    .instruction(&I::Call(self.teller(None)));
            }
        }
    }
}

impl Reencode for Writer<'_> {
    type Error = std::convert::Infallible;

    /// Names go: functions get other numbers, and what a `name` section holds may be anything.
    fn parse_custom_section(
        &mut self,
        _: &mut wasm_encoder::Module,
        _: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        Ok(())
    }

    fn function_index(&mut self, function: u32) -> Result<u32, Error<Self::Error>> {
        let imported = self.module.imported_functions();
        Ok(if function < imported {
            function
        } else {
            function + TOLD.len() as u32
        })
    }

    fn parse_type_section(
        &mut self,
        types: &mut wasm_encoder::TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_type_section(self, types, section)?;
        for told in TOLD {
            let params: Vec<_> = std::iter::once(ValType::I32)
                .chain(told)
                .map(encoded)
                .collect();
            types.ty().function(params, []);
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut wasm_encoder::ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), Error<Self::Error>> {
        utils::parse_import_section(self, imports, section)?;
        self.add_imports(imports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut wasm_encoder::Module,
        after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error<Self::Error>> {
        if after == Some(SectionId::Type)
            && before != Some(SectionId::Import)
            && !self.imports_written
        {
            let mut imports = wasm_encoder::ImportSection::new();
            self.add_imports(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_function_body(
        &mut self,
        code: &mut wasm_encoder::CodeSection,
        body: wasmparser::FunctionBody<'_>,
    ) -> Result<(), Error<Self::Error>> {
        let function = self.next_function;
        self.next_function += 1;
        let survey = self.survey;
        let none = Vec::new();
        let plan = survey.plans.get(&(self.number, function)).unwrap_or(&none);

        let mut groups = Vec::new();
        let mut next_local = self.module.function_type(function).params.len() as u32;
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            next_local = next_local.saturating_add(count);
            groups.push((count, self.val_type(ty)?));
        }
        let mut locals = HashMap::new();
        for (_, number, told) in plan {
            let keeps = survey.sites[*number].kind == SiteKind::Value && (self.chosen)(*number);
            if let Some(ty) = told.filter(|_| keeps) {
                locals.entry(ty).or_insert_with(|| {
                    groups.push((1, encoded(ty)));
                    next_local += 1;
                    next_local - 1
                });
            }
        }
        let mut out = wasm_encoder::Function::new(groups);
        let mut plan = plan.iter().copied().peekable();
        let mut operators = body.get_operators_reader()?;
        let mut position = 0;
        loop {
            while let Some(entry) = plan.next_if(|(at, ..)| *at == position) {
                self.put(&mut out, entry, &locals);
            }
            if operators.eof() {
                break;
            }
            out.instruction(&self.instruction(operators.read()?)?);
            position += 1;
        }
        code.function(&out);
        Ok(())
    }
}
