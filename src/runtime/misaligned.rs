//! Telling a misaligned operand from an address that is wild.
//!
//! Most SSE instructions fault on an operand in memory that is not aligned to 16 bytes, and the
//! kernel names no address for that fault. So the instruction says which address it was.

/// Bytes of the longest instruction.
#[cfg(any(test, target_arch = "x86_64", feature = "emulator"))]
pub const LONGEST: usize = 15;

/// The alignment that SSE instructions ask for.
#[cfg(any(test, target_arch = "x86_64"))]
const ALIGNMENT: u64 = 16;

/// An SSE instruction with an operand in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SseInstruction {
    /// The mandatory prefix: 0x66, 0xf2, 0xf3, or 0 for none.
    prefix: u8,
    map: Map,
    opcode: u8,
    operand: Operand,
}

/// Where an opcode is defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Map {
    /// After `0f`.
    Two,
    /// After `0f 38`.
    Three38,
    /// After `0f 3a`.
    Three3a,
}

/// An operand in memory: base + index × scale + displacement, of registers by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Operand {
    base: Option<u8>,
    index: Option<u8>,
    scale: u32,
    displacement: i32,
}

impl SseInstruction {
    /// Decodes the instruction that `code` starts with. `None` if it is no SSE instruction, has no
    /// operand in memory, or one relative to itself, which is a constant's.
    pub fn decode(code: &[u8]) -> Option<SseInstruction> {
        let mut code = Bytes(code);
        let mut byte = code.next()?;
        let mut prefix = 0;
        if matches!(byte, 0x66 | 0xf2 | 0xf3) {
            prefix = byte;
            byte = code.next()?;
        }
        let mut rex = 0;
        if byte & 0xf0 == 0x40 {
            rex = byte;
            byte = code.next()?;
        }
        if byte != 0x0f {
            return None;
        }
        let (map, opcode) = match code.next()? {
            0x38 => (Map::Three38, code.next()?),
            0x3a => (Map::Three3a, code.next()?),
            opcode => (Map::Two, opcode),
        };
        Some(SseInstruction {
            prefix,
            map,
            opcode,
            operand: Operand::decode(&mut code, rex)?,
        })
    }

    /// The address of its operand if that is misaligned. Registers are in the order in which
    /// instructions number them.
    #[cfg(any(test, target_arch = "x86_64"))]
    pub fn misaligned(&self, registers: &[u64; 16]) -> Option<u64> {
        let address = self.operand.address(registers);
        let canonical = (address as i64) << 16 >> 16 == address as i64;
        (canonical && !address.is_multiple_of(ALIGNMENT)).then_some(address)
    }

    /// The address that it stores 16 bytes to, if it does: as `movups`, `movupd`, `movdqu` or one of
    /// their aligned kin. Registers are as for [`SseInstruction::misaligned`].
    #[cfg(any(test, feature = "emulator"))]
    pub fn stores_vector(&self, registers: &[u64; 16]) -> Option<u64> {
        let stores = self.map == Map::Two
            && matches!(
                (self.prefix, self.opcode),
                (0 | 0x66, 0x11 | 0x29) | (0x66 | 0xf3, 0x7f)
            );
        stores.then(|| self.operand.address(registers))
    }

    /// Its name, of those that were met.
    pub fn name(&self) -> Option<&'static str> {
        Some(match (self.prefix, self.map, self.opcode) {
            (0x66, Map::Three3a, 0x0f) => "palignr",
            (0x66, Map::Three3a, 0x0e) => "pblendw",
            (0, Map::Two, 0xc6) => "shufps",
            (0, Map::Two, 0xc2) => "cmpps",
            (0x66, Map::Two, 0xc2) => "cmppd",
            _ => return None,
        })
    }
}

impl Operand {
    pub(super) fn decode(code: &mut Bytes<'_>, rex: u8) -> Option<Operand> {
        const SIB: u8 = 4;
        const BASE: u8 = 5;
        let (rex_x, rex_b) = (rex << 2 & 8, rex << 3 & 8);
        let modrm = code.next()?;
        let (mode, rm) = (modrm >> 6, modrm & 7);
        let (mut base, mut index, mut scale) = (Some(rm | rex_b), None, 1);
        if rm == SIB {
            let sib = code.next()?;
            base = Some(sib & 7 | rex_b);
            scale = 1 << (sib >> 6);
            // The stack pointer is no index.
            index = Some(sib >> 3 & 7 | rex_x).filter(|index| *index != SIB);
            if mode == 0 && sib & 7 == BASE {
                base = None;
            }
        }
        let displacement = match mode {
            0 if rm == BASE => return None,
            0 if base.is_none() => code.word()?,
            0 => 0,
            1 => i32::from(code.next()? as i8),
            2 => code.word()?,
            _ => return None,
        };
        Some(Operand {
            base,
            index,
            scale,
            displacement,
        })
    }

    #[cfg(any(test, target_arch = "x86_64", feature = "emulator"))]
    fn address(self, registers: &[u64; 16]) -> u64 {
        let register = |number: Option<u8>| number.map_or(0, |at| registers[usize::from(at)]);
        register(self.base)
            .wrapping_add(register(self.index).wrapping_mul(u64::from(self.scale)))
            .wrapping_add_signed(i64::from(self.displacement))
    }
}

/// Code on its way to being decoded.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Bytes<'_> {
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<i32> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i32::from_le_bytes(*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Register n holds 2^(n + 8).
    fn registers() -> [u64; 16] {
        std::array::from_fn(|number| 1 << (number + 8))
    }

    fn decoded(code: &[u8]) -> (Option<&'static str>, u64) {
        let instruction = SseInstruction::decode(code).expect("an SSE instruction");
        (
            instruction.name(),
            instruction.operand.address(&registers()),
        )
    }

    #[test]
    fn operands_are_decoded_in_every_form() {
        // As an assembler writes them.
        // palignr xmm1, [rdx + 1], 9
        assert_eq!(
            decoded(&[0x66, 0x0f, 0x3a, 0x0f, 0x4a, 0x01, 9]),
            (Some("palignr"), (1 << 10) + 1)
        );
        // palignr xmm9, [r10 + r11 * 4 - 16], 9
        assert_eq!(
            decoded(&[0x66, 0x47, 0x0f, 0x3a, 0x0f, 0x4c, 0x9a, 0xf0, 9]),
            (Some("palignr"), (1 << 18) + (4 << 19) - 16)
        );
        // pblendw xmm0, [r12], 0xcc: r12 as a base needs a SIB byte.
        assert_eq!(
            decoded(&[0x66, 0x41, 0x0f, 0x3a, 0x0e, 0x04, 0x24, 0xcc]),
            (Some("pblendw"), 1 << 20)
        );
        // shufps xmm0, [rax + 0x12345], 0x88
        assert_eq!(
            decoded(&[0x0f, 0xc6, 0x80, 0x45, 0x23, 0x01, 0x00, 0x88]),
            (Some("shufps"), (1 << 8) + 0x12345)
        );
        // cmppd xmm0, [rsi * 8 + 0x10], 1: no base.
        assert_eq!(
            decoded(&[0x66, 0x0f, 0xc2, 0x04, 0xf5, 0x10, 0, 0, 0, 1]),
            (Some("cmppd"), (8 << 14) + 0x10)
        );
        // pshufb xmm0, [rbp + 0]: not one that was met.
        assert_eq!(
            decoded(&[0x66, 0x0f, 0x38, 0x00, 0x45, 0x00]),
            (None, 1 << 13)
        );
    }

    #[test]
    fn what_has_no_operand_of_wasm_in_memory_is_not_decoded() {
        // palignr xmm0, xmm1, 9; palignr xmm0, [rip + 9], 9; mov rax, [rdx]; and nothing at all.
        for code in [
            &[0x66, 0x0f, 0x3a, 0x0f, 0xc1, 9][..],
            &[0x66, 0x0f, 0x3a, 0x0f, 0x05, 9, 0, 0, 0, 9],
            &[0x48, 0x8b, 0x02],
            &[0x66, 0x0f, 0x3a],
            &[],
        ] {
            assert_eq!(SseInstruction::decode(code), None, "{code:x?}");
        }
    }

    #[test]
    fn stores_of_vectors_are_told() {
        let stores = |code: &[u8]| SseInstruction::decode(code)?.stores_vector(&registers());
        // movups [rdx + 1], xmm1; movapd [rdx], xmm1; movdqu [r10], xmm9
        assert_eq!(stores(&[0x0f, 0x11, 0x4a, 0x01]), Some((1 << 10) + 1));
        assert_eq!(stores(&[0x66, 0x0f, 0x29, 0x0a]), Some(1 << 10));
        assert_eq!(stores(&[0xf3, 0x45, 0x0f, 0x7f, 0x0a]), Some(1 << 18));
        // movss [rdx], xmm1; movdqu xmm1, [rdx]; movq [rdx], mm1; palignr xmm1, [rdx], 9
        for other in [
            &[0xf3, 0x0f, 0x11, 0x0a][..],
            &[0xf3, 0x0f, 0x6f, 0x0a],
            &[0x0f, 0x7f, 0x0a],
            &[0x66, 0x0f, 0x3a, 0x0f, 0x0a, 9],
        ] {
            assert_eq!(stores(other), None, "{other:x?}");
        }
    }

    #[test]
    fn only_a_canonical_address_is_misaligned() {
        // palignr xmm1, [rdx], 9
        let instruction = SseInstruction::decode(&[0x66, 0x0f, 0x3a, 0x0f, 0x0a, 9]).unwrap();
        let at = |address| {
            let mut registers = [0; 16];
            registers[2] = address;
            instruction.misaligned(&registers)
        };
        assert_eq!(at(0x7f00_0000_0001), Some(0x7f00_0000_0001));
        assert_eq!(at(0x7f00_0000_0010), None);
        assert_eq!(at(0x0001_0000_0000_0001), None);
        assert_eq!(at(0xffff_8000_0000_0001), Some(0xffff_8000_0000_0001));
    }
}
