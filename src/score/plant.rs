//! Planting faults of code generation where the mistake would be made: in the CLIF that the
//! optimiser hands on, and in the bytes that a backend emits.

use std::rc::Rc;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Function, InstructionData};

use super::Fault;
use crate::case::settings::OptLevel;
use crate::codegen::disassembly::disassemble;
use crate::codegen::{CodegenConfig, Isa};

/// What a wrong rule of the optimiser would make of the CLIF of a function, which is about to be
/// compiled; `None` if that is not the planted fault.
pub fn in_clif(
    fault: Option<Fault>,
    config: &CodegenConfig,
    func: &Function,
) -> Option<Rc<Function>> {
    if fault != Some(Fault::OptimiserComparesStrictly) || config.opt_level == OptLevel::None {
        return None;
    }
    let mut func = func.clone();
    let blocks: Vec<_> = func.layout.blocks().collect();
    for block in blocks {
        let instructions: Vec<_> = func.layout.block_insts(block).collect();
        for instruction in instructions {
            let (InstructionData::IntCompare { cond, .. }
            | InstructionData::IntCompareImm { cond, .. }) = &mut func.dfg.insts[instruction]
            else {
                continue;
            };
            if *cond == IntCC::SignedLessThanOrEqual {
                *cond = IntCC::SignedLessThan;
            }
        }
    }
    Some(Rc::new(func))
}

/// Does to the code of a function what a wrong rule of a backend would do.
pub fn in_code(fault: Option<Fault>, isa: Isa, code: &mut [u8]) {
    match (fault, isa) {
        (Some(Fault::X86ConditionCode), Isa::X86_64) => loosen_first_condition(code),
        (Some(Fault::Aarch64OperandsSwapped), Isa::Aarch64) => swap_first_subtraction(code),
        (Some(Fault::Riscv64OperandsSwapped), Isa::Riscv64) => swap_first_riscv64_subtraction(code),
        _ => {}
    }
}

/// Makes "less" of the first `setl`, `cmovl` or `jl` "less or equal".
fn loosen_first_condition(code: &mut [u8]) {
    for instruction in disassemble(Isa::X86_64, code) {
        let name = instruction.text.split(' ').next().unwrap_or_default();
        if !matches!(name, "setl" | "cmovl" | "jl") {
            continue;
        }
        let start = instruction.offset as usize;
        let bytes = &mut code[start..start + instruction.bytes as usize];
        // Behind a prefix, if there is one; the condition is the low half of the second byte.
        if let Some(opcode) = bytes.iter().position(|byte| *byte == 0x0f)
            && let Some(condition) = bytes.get_mut(opcode + 1)
        {
            *condition = *condition & 0xf0 | 0xe;
            return;
        }
    }
}

/// Swaps the operands of the first `sub` of two registers.
fn swap_first_subtraction(code: &mut [u8]) {
    for bytes in code.chunks_exact_mut(4) {
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        // SUB (shifted register) without a shift, of 32 or 64 bits, that sets no flags.
        if word & 0x7fe0_fc00 != 0x4b00_0000 {
            continue;
        }
        let (first, second) = (word >> 5 & 31, word >> 16 & 31);
        if first == 31 || second == 31 || first == second {
            continue;
        }
        let swapped = word & !(31 << 5 | 31 << 16) | second << 5 | first << 16;
        bytes.copy_from_slice(&swapped.to_le_bytes());
        return;
    }
}

/// Swaps the operands of the first `sub` or `subw` of 4 bytes.
fn swap_first_riscv64_subtraction(code: &mut [u8]) {
    for instruction in disassemble(Isa::Riscv64, code) {
        let start = instruction.offset as usize;
        let bytes = &mut code[start..start + instruction.bytes as usize];
        let Ok(word) = <[u8; 4]>::try_from(&*bytes) else {
            continue;
        };
        let word = u32::from_le_bytes(word);
        let (first, second) = (word >> 15 & 31, word >> 20 & 31);
        // Of 64 or 32 bits; from zero, it is a negation.
        if word & 0xfe00_7077 != 0x4000_0033 || first == 0 || second == 0 || first == second {
            continue;
        }
        let swapped = word & !(31 << 15 | 31 << 20) | second << 15 | first << 20;
        bytes.copy_from_slice(&swapped.to_le_bytes());
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instruction_is_corrupted() {
        // cmp edi, esi; setl al; setl cl; ret
        let mut code = [0x39, 0xf7, 0x0f, 0x9c, 0xc0, 0x0f, 0x9c, 0xc1, 0xc3];
        in_code(Some(Fault::X86ConditionCode), Isa::Aarch64, &mut code);
        assert_eq!(code[3], 0x9c);
        in_code(Some(Fault::X86ConditionCode), Isa::X86_64, &mut code);
        assert_eq!((code[3], code[6]), (0x9e, 0x9c));

        // sub w1, w2, w3; neg w1, w2; ret
        let mut code = Vec::new();
        for word in [0x4b03_0041_u32, 0x4b02_03e1, 0xd65f_03c0] {
            code.extend(word.to_le_bytes());
        }
        in_code(Some(Fault::Aarch64OperandsSwapped), Isa::Aarch64, &mut code);
        let texts: Vec<String> = disassemble(Isa::Aarch64, &code)
            .into_iter()
            .map(|instruction| instruction.text)
            .collect();
        assert_eq!(texts, ["sub w1, w3, w2", "neg w1, w2", "ret"]);

        // negw a0, a1; subw a0, a0, a1; c.sub a0, a1; ret
        let mut code = Vec::new();
        for word in [0x40b0_053b_u32, 0x40b5_053b, 0x8082_8d0d] {
            code.extend(word.to_le_bytes());
        }
        in_code(Some(Fault::Riscv64OperandsSwapped), Isa::Riscv64, &mut code);
        let texts: Vec<String> = disassemble(Isa::Riscv64, &code)
            .into_iter()
            .map(|instruction| instruction.text)
            .collect();
        assert_eq!(
            texts,
            ["negw a0, a1", "subw a0, a1, a0", "c.sub a0, a1", "c.jr ra"]
        );
    }
}
