//! Machine code as text, instruction by instruction.

use capstone::Capstone;
use capstone::arch::{self, BuildsCapstone, BuildsCapstoneExtraMode, BuildsCapstoneSyntax};

use super::Isa;

/// An instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instruction {
    /// Where it starts, in bytes from the start of the code.
    pub offset: u32,
    /// How many bytes it takes.
    pub bytes: u32,
    /// Its text. Targets of jumps and calls within the code are offsets in it.
    pub text: String,
}

/// The instructions of some code, which starts with one and holds nothing else. What is no
/// instruction (a constant that code loads, say) is left out.
pub fn disassemble(isa: Isa, code: &[u8]) -> Vec<Instruction> {
    let made = match isa {
        Isa::X86_64 => Capstone::new()
            .x86()
            .mode(arch::x86::ArchMode::Mode64)
            .syntax(arch::x86::ArchSyntax::Intel)
            .build(),
        // What is interpreted has no code.
        Isa::Clif => return Vec::new(),
        Isa::Aarch64 => Capstone::new()
            .arm64()
            .mode(arch::arm64::ArchMode::Arm)
            .build(),
        Isa::Riscv64 => Capstone::new()
            .riscv()
            .mode(arch::riscv::ArchMode::RiscV64)
            .extra_mode([arch::riscv::ArchExtraMode::RiscVC].into_iter())
            .build(),
    };
    let Ok(mut capstone) = made else {
        return Vec::new();
    };
    // Constants lie between instructions, and after the last.
    let _ = capstone.set_skipdata(true);
    let Ok(instructions) = capstone.disasm_all(code, 0) else {
        return Vec::new();
    };
    let shown = instructions.iter().filter(|it| it.id().0 != 0);
    // What was skipped has no number.
    let shown = shown.map(|instruction| Instruction {
        offset: instruction.address() as u32,
        bytes: instruction.bytes().len() as u32,
        text: format!(
            "{} {}",
            instruction.mnemonic().unwrap_or_default(),
            instruction.op_str().unwrap_or_default()
        )
        .trim()
        .to_string(),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_isa_has_text() {
        let texts = |isa, code: &[u8]| {
            let instructions = disassemble(isa, code).into_iter();
            let texts = instructions.map(|it| (it.offset, it.bytes, it.text));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(
            texts(Isa::X86_64, &[0x0f, 0x9c, 0xc0, 0xc3]),
            [(0, 3, "setl al".to_string()), (3, 1, "ret".to_string())]
        );
        assert_eq!(
            texts(
                Isa::Aarch64,
                &[0x41, 0x00, 0x03, 0x4b, 0xc0, 0x03, 0x5f, 0xd6]
            ),
            [
                (0, 4, "sub w1, w2, w3".to_string()),
                (4, 4, "ret ".trim().to_string())
            ]
        );
        assert_eq!(
            texts(
                Isa::Riscv64,
                &[0x3b, 0x05, 0xb5, 0x40, 0x67, 0x80, 0x00, 0x00]
            ),
            [
                (0, 4, "subw a0, a0, a1".to_string()),
                (4, 4, "ret".to_string())
            ]
        );
    }
}
