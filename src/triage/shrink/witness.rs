//! A step that shows what differs to whoever runs the script.
//!
//! The oracles look into memories, tables and globals; another engine's runner of scripts sees results
//! and traps alone. So a kept case gets one more step, which reads the place that differs: an exported
//! global as it is, a byte of a memory, an element of a table or a size through a function that is
//! added to the module and does nothing else. What it must return is what the reference returned.

use parallax_oracles::{Entity, Owner, Place, Value, Verdict};

use super::Shrinker;
use super::draft::{Doing, Draft};
use super::items::edited;
use super::op::{Op, Space};
use super::program::{Function, Item, Program};
use crate::case::module::{Extern, FuncType, ImportKind, ValType};
use crate::case::{Action, Case};

/// `i32.load8_u`.
const LOAD_BYTE: u8 = 0x2d;

impl Shrinker<'_> {
    /// Adds a step that reads the place of the first finding that has one.
    pub(super) fn witness(&mut self) {
        let Verdict::Diverged(findings) = &self.best.examined.verdict else {
            return;
        };
        let places: Vec<Place> = findings.iter().map(|finding| finding.place).collect();
        for place in places {
            let candidate = witnessed(&self.draft, &self.best.case, &place);
            if self.attempt(candidate) {
                return;
            }
        }
    }
}

/// A draft with a step at its end that reads a place. None if a place of this kind cannot be read, or
/// if nothing that is still there has it.
fn witnessed(draft: &Draft, case: &Case, place: &Place) -> Option<Draft> {
    let entity = match place {
        Place::MemorySize(entity) | Place::TableSize(entity) | Place::Global(entity) => entity,
        Place::MemoryByte { memory, .. } => memory,
        Place::TableElement { table, .. } => table,
        _ => return None,
    };
    let space = match place {
        Place::MemorySize(_) | Place::MemoryByte { .. } => Space::Memory,
        Place::TableSize(_) | Place::TableElement { .. } => Space::Table,
        _ => Space::Global,
    };
    let (instance, index) = seen_by(case, space, *entity)?;
    let part = draft.part_of(instance)?;
    let program = &draft.parts[part].as_ref()?.program;
    let number = number_of(program, space, index)?;
    let i32s = |value: u64| Op::Const(Value::I32(value as u32 as i32));
    let (code, result) = match *place {
        Place::Global(_) => {
            let ty = program.globals[number].what.ty;
            (vec![Op::GlobalGet(number as u32)], ty.value)
        }
        Place::MemorySize(_) => {
            let ty = program.memories[number].what.index_type();
            (vec![Op::MemorySize(number as u32)], ty)
        }
        Place::MemoryByte { address, .. } => {
            let load = Op::Access {
                opcode: vec![LOAD_BYTE],
                align: 0,
                offset: 0,
                lane: None,
                memory: number as u32,
            };
            let address = match program.memories[number].what.memory64 {
                true => Op::Const(Value::I64(address as i64)),
                false => i32s(address),
            };
            (vec![address, load], ValType::I32)
        }
        Place::TableSize(_) => (vec![Op::TableSize(number as u32)], ValType::I32),
        Place::TableElement { index, .. } => {
            let ty = program.tables[number].what.ty;
            let get = Op::TableGet(number as u32);
            (vec![i32s(index), get], ty.element)
        }
        _ => return None,
    };
    let name = free_name(program, "witness");
    let mut draft = edited(draft, part, |program| {
        let function = program.functions.len() as u32;
        program.functions.push(Item::new(Function {
            ty: FuncType {
                params: Vec::new(),
                results: vec![result],
            },
            locals: Vec::new(),
            code: code.into_iter().chain([Op::End]).collect(),
        }));
        program.exports.push((name.clone(), Extern::Func(function)));
        true
    })?;
    draft.steps.push(Doing::Invoke {
        instance,
        export: name,
        args: Vec::new(),
    });
    Some(draft)
}

/// The first instance that has a thing in its index space, and under which index: its maker, or
/// whoever imports it.
fn seen_by(case: &Case, space: Space, entity: Entity) -> Option<(u32, u32)> {
    if let Owner::Instance(instance) = entity.owner {
        return Some((instance, entity.index));
    }
    let mut instances = 0;
    for step in &case.steps {
        let Action::Instantiate { module, link } = &step.action else {
            continue;
        };
        let imports = &case.modules.get(*module)?.imports;
        let of_space = imports.iter().zip(&link.0).filter(|(import, _)| {
            let kind = match import.kind {
                ImportKind::Func(_) => Space::Function,
                ImportKind::Table(_) => Space::Table,
                ImportKind::Memory(_) => Space::Memory,
                ImportKind::Global(_) => Space::Global,
            };
            kind == space
        });
        for (index, (_, source)) in of_space.enumerate() {
            let found = source
                .is_some_and(|source| source.owner == entity.owner && source.index == entity.index);
            if found {
                return Some((instances, index as u32));
            }
        }
        instances += 1;
    }
    None
}

/// The number in a program of what has this index in its module.
fn number_of(program: &Program, space: Space, index: u32) -> Option<usize> {
    let numbers = match space {
        Space::Memory => super::encode::numbers(&program.memories),
        Space::Table => super::encode::numbers(&program.tables),
        _ => super::encode::numbers(&program.globals),
    };
    numbers.iter().position(|number| *number == Some(index))
}

fn free_name(program: &Program, name: &str) -> String {
    let taken = |name: &str| program.exports.iter().any(|(known, _)| known == name);
    let mut names = (2..).map(|number| format!("{name}{number}"));
    if taken(name) {
        names.find(|name| !taken(name)).unwrap_or_default()
    } else {
        name.to_string()
    }
}
