//! That functions arrive whole: those of modules of all generators, instruction by instruction.

use super::super::cranelift::ir::InstructionData;
use super::super::cranelift::verifier::verify_function;
use super::super::{make_isa, opcodes};
use super::*;
use crate::campaign;
use crate::case::Case;
use crate::codegen::{CodegenConfig, Isa};
use crate::generate::Generators;
use crate::translate::layout::VmLayout;
use crate::translate::{self, Environment, TranslateConfig, Translator};

/// Calls `check` with each function of a case, translated.
fn each_function(case: &Case, mut check: impl FnMut(&origin::Function)) {
    let mut translator = Translator::default();
    for module in &case.modules {
        let layout = VmLayout::new(module);
        let config = TranslateConfig {
            memory_style: case.settings.memory_style,
            guard_bytes: case.settings.guard_bytes,
            spectre: case.settings.spectre,
            fault: None,
        };
        let mut environment = Environment::new(module, &layout, config);
        let bodies = translate::bodies(&module.wasm).expect("generated modules are valid");
        for (defined, body) in bodies.into_iter().enumerate() {
            let mut func = origin::Function::new();
            translator
                .function(body, defined as u32, &mut environment, &mut func)
                .expect("generated modules are supported");
            check(&func);
        }
    }
}

/// How many instructions there are for one.
fn expected_instructions(func: &origin::Function, inst: origin::Inst) -> usize {
    let data = &func.dfg.insts[inst];
    match *data {
        origin::InstructionData::UnaryGlobalValue {
            opcode: origin::Opcode::GlobalValue,
            global_value,
        } => instructions_of_global(func, global_value),
        origin::InstructionData::BinaryImm64 { .. }
        | origin::InstructionData::IntCompareImm { .. }
        | origin::InstructionData::StackStore { .. } => 2,
        _ if data.opcode() == origin::Opcode::StackLoad => 2,
        _ if opcodes::without_complement(data.opcode()).is_some() => 2,
        _ => 1,
    }
}

fn instructions_of_global(func: &origin::Function, global: origin::GlobalValue) -> usize {
    match func.global_values[global] {
        origin::GlobalValueData::VMContext => 0,
        origin::GlobalValueData::Load { base, .. } => instructions_of_global(func, base) + 1,
        origin::GlobalValueData::IAddImm { base, .. } => instructions_of_global(func, base) + 2,
        _ => 1,
    }
}

fn numbers<T: Copy>(values: &[T], number: impl Fn(T) -> u32) -> Vec<u32> {
    values.iter().map(|value| number(*value)).collect()
}

/// Holds a carried function to its origin.
fn check_shape(origin: &origin::Function, func: &ir::Function) {
    let text = |params: &[String]| params.join(", ");
    let signature = |origin: &origin::Signature| origin.to_string();
    assert_eq!(signature(&origin.signature), func.signature.to_string());
    let before = origin.dfg.signatures.values().map(ToString::to_string);
    let after = func.dfg.signatures.values().map(ToString::to_string);
    assert_eq!(
        text(&before.collect::<Vec<_>>()),
        text(&after.collect::<Vec<_>>())
    );
    assert_eq!(origin.dfg.ext_funcs.len(), func.dfg.ext_funcs.len());
    assert_eq!(origin.dfg.jump_tables.len(), func.dfg.jump_tables.len());
    assert_eq!(origin.sized_stack_slots.len(), func.sized_stack_slots.len());
    assert_eq!(origin.stack_limit.is_some(), func.stack_limit.is_some());

    let mut blocks = func.layout.blocks();
    for block in origin.layout.blocks() {
        let carried = blocks.next().expect("as many blocks");
        assert_eq!(carried, block_of(block));
        assert_eq!(
            origin.layout.is_cold(block),
            func.layout.is_cold(carried),
            "{block}"
        );
        assert_eq!(
            numbers(origin.dfg.block_params(block), |value| value.as_u32()),
            numbers(func.dfg.block_params(carried), |value| value.as_u32()),
        );
        let mut insts = func.layout.block_insts(carried);
        for inst in origin.layout.block_insts(block) {
            let count = expected_instructions(origin, inst);
            let last = (0..count).map(|_| insts.next().expect("enough instructions"));
            if let Some(carried) = last.last() {
                check_instruction(origin, inst, func, carried);
            }
        }
        assert_eq!(insts.next(), None, "{block} has instructions left");
    }
    assert_eq!(blocks.next(), None, "blocks left");
}

fn check_instruction(
    origin: &origin::Function,
    inst: origin::Inst,
    func: &ir::Function,
    carried: ir::Inst,
) {
    let shown = origin.dfg.display_inst(inst).to_string();
    assert_eq!(
        numbers(origin.dfg.inst_results(inst), |value| value.as_u32()),
        numbers(func.dfg.inst_results(carried), |value| value.as_u32()),
        "{shown}"
    );
    for (before, after) in origin
        .dfg
        .inst_results(inst)
        .iter()
        .zip(func.dfg.inst_results(carried))
    {
        let (before, after) = (origin.dfg.value_type(*before), func.dfg.value_type(*after));
        assert_eq!(before.to_string(), after.to_string(), "{shown}");
    }
    assert_eq!(
        origin.srcloc(inst).bits(),
        func.srcloc(carried).bits(),
        "{shown}"
    );
    let before = origin.dfg.user_stack_map_entries(inst).unwrap_or(&[]);
    let after = func.dfg.user_stack_map_entries(carried).unwrap_or(&[]);
    assert_eq!(
        format!("{before:?}"),
        format!("{after:?}"),
        "stack map of {shown}"
    );
    let opcode = origin.dfg.insts[inst].opcode();
    let data = &func.dfg.insts[carried];
    if let Some(same) = opcodes::same(opcode) {
        assert_eq!(same, data.opcode(), "{shown}");
        assert_eq!(
            numbers(origin.dfg.inst_args(inst), |value| value.as_u32()),
            numbers(func.dfg.inst_args(carried), |value| value.as_u32()),
            "{shown}"
        );
        check_text(&shown, &func.dfg.display_inst(carried).to_string(), data);
    }
}

/// Holds the text of an instruction to what it was, where both generations print it alike.
fn check_text(before: &str, after: &str, data: &InstructionData) {
    let alike = match data {
        // What is printed of these are the flags, the region and the trap code, under other names.
        InstructionData::Load { .. }
        | InstructionData::Store { .. }
        | InstructionData::CondTrap { .. }
        | InstructionData::IntAddTrap { .. }
        | InstructionData::Trap { .. } => false,
        _ => true,
    };
    // Behind the instruction, 0.112 prints what a stack map or a constant holds in its own way.
    let bare = |text: &str| {
        text.split(" ;")
            .next()
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    if alike {
        assert_eq!(bare(before), bare(after));
    }
}

#[test]
fn functions_of_all_generators_arrive_whole_and_verify() {
    let mut carrier = Carrier::default();
    let mut func = ir::Function::new();
    let isas = [Isa::X86_64, Isa::Aarch64, Isa::Riscv64].map(|isa| {
        let config = CodegenConfig::new(isa, &crate::case::Settings::default());
        make_isa(&config).expect("built in")
    });
    let (mut functions, mut stack_maps, mut cold) = (0, 0, 0);
    for number in 0..400 {
        let (_, case, _) = campaign::case(3, number, Generators::all());
        let Some(case) = case else { continue };
        each_function(&case, |origin| {
            func.clear();
            carrier.carry(origin, &mut func).expect("all is carried");
            for isa in &isas {
                if let Err(errors) = verify_function(&func, &**isa) {
                    panic!(
                        "case {number}: {errors}\n{}\n{}",
                        origin.display(),
                        func.display()
                    );
                }
            }
            check_shape(origin, &func);
            functions += 1;
            for block in origin.layout.blocks() {
                cold += usize::from(origin.layout.is_cold(block));
                for inst in origin.layout.block_insts(block) {
                    let entries = origin.dfg.user_stack_map_entries(inst);
                    stack_maps += entries.unwrap_or(&[]).len();
                }
            }
        });
    }
    assert!(functions > 400, "{functions} functions");
    assert!(stack_maps > 100, "{stack_maps} stack map entries");
    assert!(cold > 100, "{cold} cold blocks");
}
