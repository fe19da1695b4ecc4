//! That generated code reads the vmctx where the runtime writes it, field by field, in modules of
//! all generators.

use std::collections::HashSet;

use cranelift_codegen::ir::{self, ArgumentPurpose, GlobalValueData, InstructionData, Opcode};
use parallax_oracles::Outcome;
use proptest::prelude::*;

use super::*;
use crate::case::{Action, Module};
use crate::codegen::Generation;
use crate::generate::case_from_bytes;
use crate::runtime::block::written;

const BACKEND: Backend = Backend {
    isa: Isa::X86_64,
    generation: Generation::CURRENT,
};

/// What code does with the vmctx: the places it loads or stores, as offset and bytes, and those
/// whose address it takes.
#[derive(Default)]
struct Reached {
    accesses: HashSet<(u32, u32)>,
    addresses: HashSet<u32>,
}

impl Reached {
    fn collect(&mut self, func: &ir::Function) {
        let vmctx =
            |gv: ir::GlobalValue| matches!(func.global_values[gv], GlobalValueData::VMContext);
        for data in func.global_values.values() {
            match *data {
                GlobalValueData::Load {
                    base,
                    offset,
                    global_type,
                    ..
                } if vmctx(base) => self.access(offset.into(), global_type),
                GlobalValueData::IAddImm { base, offset, .. } if vmctx(base) => {
                    self.addresses.insert(i64::from(offset) as u32);
                }
                _ => {}
            }
        }
        let is_vmctx = |value: ir::Value| {
            let value = func.dfg.resolve_aliases(value);
            if Some(value) == func.special_param(ArgumentPurpose::VMContext) {
                return true;
            }
            let from = func.dfg.value_def(value).inst();
            from.is_some_and(|inst| match func.dfg.insts[inst] {
                InstructionData::UnaryGlobalValue { global_value, .. } => vmctx(global_value),
                _ => false,
            })
        };
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                match func.dfg.insts[inst] {
                    InstructionData::Load {
                        opcode: Opcode::Load,
                        arg,
                        offset,
                        ..
                    } if is_vmctx(arg) => {
                        let ty = func.dfg.value_type(func.dfg.first_result(inst));
                        self.access(offset.into(), ty);
                    }
                    InstructionData::Store {
                        opcode: Opcode::Store,
                        args: [stored, address],
                        offset,
                        ..
                    } if is_vmctx(address) => {
                        self.access(offset.into(), func.dfg.value_type(stored));
                    }
                    InstructionData::BinaryImm64 {
                        opcode: Opcode::IaddImm,
                        arg,
                        imm,
                    } if is_vmctx(arg) => {
                        self.addresses.insert(i64::from(imm) as u32);
                    }
                    // Nothing else is done with it but to pass it on.
                    data => assert!(
                        data.opcode().is_call()
                            || !func.dfg.inst_args(inst).iter().any(|arg| is_vmctx(*arg)),
                        "{} reaches the vmctx",
                        func.dfg.display_inst(inst)
                    ),
                }
            }
        }
    }

    fn access(&mut self, offset: i32, ty: ir::Type) {
        self.accesses.insert((offset as u32, ty.bytes()));
    }
}

/// What the code of a module reaches, under the settings of its case.
fn reached(case: &Case, module: &Module, layout: &VmLayout) -> Reached {
    let config = TranslateConfig {
        memory_style: case.settings.memory_style,
        guard_bytes: case.settings.guard_bytes,
        spectre: case.settings.spectre,
        fault: None,
    };
    let mut environment = Environment::new(module, layout, config);
    let mut translator = Translator::default();
    let mut reached = Reached::default();
    let bodies = translate::bodies(&module.wasm).expect("generated modules are valid");
    for (defined, body) in bodies.into_iter().enumerate() {
        let mut func = ir::Function::new();
        translator
            .function(body, defined as u32, &mut environment, &mut func)
            .expect("generated modules are supported");
        reached.collect(&func);
    }
    reached
}

/// No two fields overlap, each is aligned, and all are within the vmctx.
fn check_fields(layout: &VmLayout) -> Result<(), TestCaseError> {
    let mut end = 0;
    for (name, offset, bytes) in layout.fields() {
        prop_assert!(offset >= end, "{name} overlaps what is before it");
        // Records are made of pointers; a global may be a vector.
        let align = if name.starts_with("global ") && bytes == 16 {
            16
        } else {
            bytes.min(8)
        };
        prop_assert!(offset.is_multiple_of(align), "{name} is at {offset}");
        end = offset + bytes;
    }
    prop_assert!(end <= layout.size() && layout.size().is_multiple_of(16));
    Ok(())
}

/// What code accesses in a field must be one of the words that the runtime wrote there. Of a
/// global, which is written as 16 bytes, code reads what its type has.
fn check_reached(
    layout: &VmLayout,
    reached: &Reached,
    written: &HashSet<(u32, u32)>,
) -> Result<(), TestCaseError> {
    let fields = layout.fields();
    let field = |at: u32| {
        let found = fields
            .iter()
            .find(|(_, offset, bytes)| (*offset..offset + bytes).contains(&at));
        found.ok_or_else(|| TestCaseError::fail(format!("nothing is at {at}")))
    };
    for &(at, bytes) in &reached.accesses {
        let (name, offset, _) = field(at)?;
        let is_global = written.contains(&(*offset, 16));
        let as_written = if is_global {
            (*offset, 16)
        } else {
            (at, bytes)
        };
        prop_assert!(
            written.contains(&as_written) && (!is_global || at == *offset),
            "{bytes} bytes at {at} of {name} are accessed; there are written {written:?}"
        );
    }
    for &at in &reached.addresses {
        let (name, offset, _) = field(at)?;
        prop_assert_eq!(at, *offset, "the inside of {} is pointed to", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn code_reads_what_the_runtime_writes(bytes in prop::collection::vec(any::<u8>(), 600..1500)) {
        let Ok(case) = case_from_bytes(&bytes) else { return Ok(()) };
        let layouts: Vec<VmLayout> = case.modules.iter().map(VmLayout::new).collect();
        let mut all = Vec::new();
        for (module, layout) in case.modules.iter().zip(&layouts) {
            check_fields(layout)?;
            all.push(reached(&case, module, layout));
        }
        let mut engine = Compiled::new("x86_64", BACKEND);
        let Ok(mut run) = engine.start(&case) else { return Ok(()) };
        for step in &case.steps {
            let Action::Instantiate { module, .. } = &step.action else { continue };
            // What the start function does is not looked at: the vmctx is written before it runs.
            let (outcome, blocks) = written(|| run.perform(&step.action, &mut Vec::new()));
            // One that could not be linked, or that there is no memory for, is not written out.
            if !matches!(outcome, Outcome::Returned(_) | Outcome::Trapped(_)) {
                continue;
            }
            let (_, vmctx) = blocks
                .iter()
                .find(|(_, writes)| writes.contains(&(0, 4)))
                .expect("every vmctx starts with its magic");
            check_reached(&layouts[*module], &all[*module], vmctx)?;
        }
    }
}
