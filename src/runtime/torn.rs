//! Stores of vectors that a processor may do by halves.
//!
//! wasm has a store that is partly out of bounds write nothing. Where no code checks bounds but
//! unmapped pages do, that is left to the processor, and aarch64 lets a store of 16 bytes whose
//! second half faults have written the first. Unicorn's processors do so, as two stores of 8 bytes,
//! the lower first; that of x86-64 as well, of which the architecture asks for more. So this finds out, from the instruction and the registers, whether a
//! store that faulted was of that kind.

/// Bytes that are written at once.
pub const HALF: u64 = 8;

/// The stack pointer where a register is the base of an address.
const SP: usize = 31;

/// A store of 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VectorStore {
    base: usize,
    offset: Offset,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offset {
    Immediate(i64),
    Register {
        register: usize,
        extend: Extend,
        shift: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extend {
    Unsigned32,
    Signed32,
    None,
}

impl VectorStore {
    /// Decodes an instruction, as the architecture reference manual has `STR (immediate)`, `STUR`
    /// and `STR (register)` of SIMD and floating-point registers, for 128 bits and without
    /// writeback. `None` if it is another one.
    pub fn decode(instruction: u32) -> Option<VectorStore> {
        let field = |low: u32, bits: u32| instruction >> low & ((1 << bits) - 1);
        let base = field(5, 5) as usize;
        let offset = if instruction & 0xffc0_0000 == 0x3d80_0000 {
            Offset::Immediate(i64::from(field(10, 12)) * 16)
        } else if instruction & 0xffe0_0c00 == 0x3c80_0000 {
            // Nine bits with a sign.
            Offset::Immediate(i64::from((field(12, 9) << 23) as i32 >> 23))
        } else if instruction & 0xffe0_0c00 == 0x3ca0_0800 {
            Offset::Register {
                register: field(16, 5) as usize,
                extend: match field(13, 3) {
                    0b010 => Extend::Unsigned32,
                    0b110 => Extend::Signed32,
                    0b011 | 0b111 => Extend::None,
                    _ => return None,
                },
                shift: 4 * field(12, 1),
            }
        } else {
            return None;
        };
        Some(VectorStore { base, offset })
    }

    /// Where it stores to. `register` gives the general registers by number, and the stack pointer
    /// as number 31.
    pub fn address(self, register: &dyn Fn(usize) -> u64) -> u64 {
        let base = register(self.base);
        match self.offset {
            Offset::Immediate(offset) => base.wrapping_add_signed(offset),
            Offset::Register {
                register: index,
                extend,
                shift,
            } => {
                // As an index, number 31 is zero.
                let value = if index == SP { 0 } else { register(index) };
                let value = match extend {
                    Extend::Unsigned32 => u64::from(value as u32),
                    Extend::Signed32 => i64::from(value as i32) as u64,
                    Extend::None => value,
                };
                base.wrapping_add(value << shift)
            }
        }
    }
}

/// Whether a store of a vector to `address` that faulted on the page at `page` has written its first
/// half.
pub fn is_torn(address: u64, page: u64) -> bool {
    let second = address.wrapping_add(HALF);
    second <= page && page - second < HALF
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(instruction: u32) -> Option<u64> {
        // Register n holds 2^(n + 8).
        let register = |number: usize| 1 << (number + 8);
        Some(VectorStore::decode(instruction)?.address(&register))
    }

    #[test]
    fn stores_of_sixteen_bytes_are_decoded_in_every_form() {
        // As an assembler writes them.
        // str q0, [x1]; str q3, [x2, #32]; str q0, [sp, #16]
        assert_eq!(address(0x3d80_0020), Some(1 << 9));
        assert_eq!(address(0x3d80_0843), Some((1 << 10) + 32));
        assert_eq!(address(0x3d80_07e0), Some((1 << 39) + 16));
        // stur q0, [x1, #-16]; stur q0, [x1, #255]
        assert_eq!(address(0x3c9f_0020), Some((1 << 9) - 16));
        assert_eq!(address(0x3c8f_f020), Some((1 << 9) + 255));
        // str q0, [x1, x2]; str q0, [x1, w2, uxtw]; str q0, [x1, x2, lsl #4]
        assert_eq!(address(0x3ca2_6820), Some((1 << 9) + (1 << 10)));
        assert_eq!(address(0x3ca2_4820), Some((1 << 9) + (1 << 10)));
        assert_eq!(address(0x3ca2_7820), Some((1 << 9) + (16 << 10)));
        // str q0, [x1, x30], of which w30 is zero: str q0, [x1, w30, uxtw]
        assert_eq!(address(0x3cbe_6820), Some((1 << 9) + (1 << 38)));
        assert_eq!(address(0x3cbe_4820), Some(1 << 9));
    }

    #[test]
    fn other_instructions_are_not() {
        // str x0, [x1]; str d0, [x1]; ldr q0, [x1]; udf; str q0, [x1], #16
        for other in [0xf900_0020, 0xfd00_0020, 0x3dc0_0020, 0, 0x3c81_0420] {
            assert_eq!(VectorStore::decode(other), None, "{other:#x}");
        }
    }

    #[test]
    fn a_store_is_torn_if_its_first_half_is_on_the_page_before() {
        let torn = |offset: u64| is_torn(0x1_0000 - offset, 0x1_0000);
        assert!(torn(15) && torn(9) && torn(8));
        assert!(!torn(16) && !torn(7) && !torn(0));
    }
}
