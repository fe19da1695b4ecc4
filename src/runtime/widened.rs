//! Loads that are wider than wasm asked for.
//!
//! Where code generation sinks a load of 4 or 8 bytes into an instruction that could take it from
//! memory, but by its rules takes memory only if that is aligned to 16 bytes, it loads 16 bytes into
//! a register instead. Near the end of a memory that is an access out of bounds that wasm does not
//! make. So this finds out whether a load that faulted was one of these.

use super::misaligned::{Bytes, Operand};

/// Bytes of code that are looked at: the load and the instruction behind it.
pub const LOOKED_AT: usize = 20;

/// Whether `code` starts with a load of 16 bytes (`movdqu xmm, m128`) into a register of which the
/// next instruction compares the lowest 4 or 8 bytes (`ucomiss` or `ucomisd`).
pub fn is_load_to_compare(code: &[u8]) -> bool {
    let mut code = Bytes(code);
    load(&mut code).is_some_and(|register| compared(&mut code) == Some(register))
}

/// The register that `movdqu` loads from memory.
fn load(code: &mut Bytes<'_>) -> Option<u8> {
    if code.next()? != 0xf3 {
        return None;
    }
    let (rex, opcode) = opcode(code)?;
    if opcode != 0x6f {
        return None;
    }
    let register = code.0.first()? >> 3 & 7 | rex << 1 & 8;
    Operand::decode(code, rex)?;
    Some(register)
}

/// The register that is the second operand of `ucomiss` or `ucomisd`.
fn compared(code: &mut Bytes<'_>) -> Option<u8> {
    if code.0.first() == Some(&0x66) {
        code.next()?;
    }
    let (rex, opcode) = opcode(code)?;
    let modrm = code.next()?;
    (opcode == 0x2e && modrm >> 6 == 3).then_some(modrm & 7 | rex << 3 & 8)
}

/// The REX prefix, 0 for none, and the opcode after `0f`.
fn opcode(code: &mut Bytes<'_>) -> Option<(u8, u8)> {
    let mut byte = code.next()?;
    let mut rex = 0;
    if byte & 0xf0 == 0x40 {
        rex = byte;
        byte = code.next()?;
    }
    Some((rex, (byte == 0x0f).then(|| code.next())??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_followed_by_a_comparison_of_it_is_told() {
        // As an assembler writes them.
        // movdqu xmm6, [r9 + r10]; ucomisd xmm0, xmm6
        let load = [0xf3, 0x43, 0x0f, 0x6f, 0x34, 0x11];
        let code = |behind: &[u8]| [&load, behind].concat();
        assert!(is_load_to_compare(&code(&[0x66, 0x0f, 0x2e, 0xc6])));
        // ucomiss xmm0, xmm6
        assert!(is_load_to_compare(&code(&[0x0f, 0x2e, 0xc6])));
        // ucomisd xmm6, xmm0; ucomisd xmm0, xmm14; addsd xmm0, xmm6; nothing
        for behind in [
            &[0x66, 0x0f, 0x2e, 0xf0][..],
            &[0x66, 0x41, 0x0f, 0x2e, 0xc6],
            &[0xf2, 0x0f, 0x58, 0xc6],
            &[],
        ] {
            assert!(!is_load_to_compare(&code(behind)), "{behind:x?}");
        }
        // movdqu xmm14, [rax + 0x12345]; ucomisd xmm0, xmm14
        assert!(is_load_to_compare(&[
            0xf3, 0x44, 0x0f, 0x6f, 0xb0, 0x45, 0x23, 0x01, 0x00, 0x66, 0x41, 0x0f, 0x2e, 0xc6
        ]));
        // movsd xmm6, [rax]; ucomisd xmm0, xmm6
        assert!(!is_load_to_compare(&[
            0xf2, 0x0f, 0x10, 0x30, 0x66, 0x0f, 0x2e, 0xc6
        ]));
    }
}
