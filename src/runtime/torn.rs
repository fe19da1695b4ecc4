//! Stores that a processor may do by halves.
//!
//! wasm has a store that is partly out of bounds write nothing. Where no code checks bounds but
//! unmapped pages do, that is left to the processor, and aarch64 lets a store that crosses into such
//! a page have written what comes before it. Unicorn's processors do so with 16 bytes, as two stores of
//! 8 bytes, the lower first; that of x86-64 as well, of which the architecture asks for more. What an
//! aarch64 host does is its own affair: any store may be torn, anywhere. So this finds out, from the
//! instruction and the registers, whether a store that faulted was of that kind.

/// Bytes that are written at once.
pub const HALF: u64 = 8;

/// The stack pointer where a register is the base of an address.
const SP: usize = 31;

/// Bytes up to whose next multiple a store writes in one go, whatever the host's pages.
#[cfg(any(test, target_arch = "aarch64"))]
const PAGE_BYTES: u64 = 4096;

/// A store of a register of aarch64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Store {
    /// The logarithm of how many bytes it writes.
    log2_bytes: u32,
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

impl Store {
    /// Decodes an instruction, as the architecture reference manual has `STR (immediate)`, `STUR`
    /// and `STR (register)` of general, SIMD and floating-point registers, of all sizes and without
    /// writeback. `None` if it is another one.
    pub fn decode(instruction: u32) -> Option<Store> {
        let field = |low: u32, bits: u32| instruction >> low & ((1 << bits) - 1);
        if field(27, 3) != 0b111 {
            return None;
        }
        // Whether it is a vector's register, and what is done with it.
        let log2_bytes = match (field(26, 1), field(22, 2), field(30, 2)) {
            (0 | 1, 0b00, size) => size,
            (1, 0b10, 0b00) => 4,
            _ => return None,
        };
        let base = field(5, 5) as usize;
        let offset = match (field(24, 2), field(21, 1), field(10, 2)) {
            (0b01, _, _) => Offset::Immediate(i64::from(field(10, 12)) << log2_bytes),
            // Nine bits with a sign.
            (0b00, 0, 0b00) => Offset::Immediate(i64::from((field(12, 9) << 23) as i32 >> 23)),
            (0b00, 1, 0b10) => Offset::Register {
                register: field(16, 5) as usize,
                extend: match field(13, 3) {
                    0b010 => Extend::Unsigned32,
                    0b110 => Extend::Signed32,
                    0b011 | 0b111 => Extend::None,
                    _ => return None,
                },
                shift: log2_bytes * field(12, 1),
            },
            _ => return None,
        };
        Some(Store {
            log2_bytes,
            base,
            offset,
        })
    }

    /// How many bytes it writes.
    pub fn bytes(self) -> u64 {
        1 << self.log2_bytes
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

/// Whether a store of so many bytes to `address` that faulted may have written some of them, as the
/// architecture has it: they are not all on one page.
#[cfg(any(test, target_arch = "aarch64"))]
pub fn may_be_torn(address: u64, bytes: u64) -> bool {
    address % PAGE_BYTES + bytes > PAGE_BYTES
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

    fn decoded(instruction: u32) -> Option<(u64, u64)> {
        // Register n holds 2^(n + 8).
        let register = |number: usize| 1 << (number + 8);
        let store = Store::decode(instruction)?;
        Some((store.bytes(), store.address(&register)))
    }

    #[test]
    fn stores_of_sixteen_bytes_are_decoded_in_every_form() {
        let address = |instruction| match decoded(instruction) {
            Some((16, address)) => Some(address),
            other => panic!("{instruction:#x}: {other:?}"),
        };
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
    fn stores_of_every_size_are_decoded() {
        let (x1, x2, x3, sp) = (1 << 9, 1 << 10, 1 << 11, 1 << 39);
        for (instruction, bytes, address) in [
            (0x3900_1420, 1, x1 + 5),         // strb w0, [x1, #5]
            (0x7900_0c40, 2, x2 + 6),         // strh w0, [x2, #6]
            (0xb900_0420, 4, x1 + 4),         // str w0, [x1, #4]
            (0xf900_0420, 8, x1 + 8),         // str x0, [x1, #8]
            (0x3d00_0420, 1, x1 + 1),         // str b0, [x1, #1]
            (0x7d00_0420, 2, x1 + 2),         // str h0, [x1, #2]
            (0xbd00_0420, 4, x1 + 4),         // str s0, [x1, #4]
            (0xfd00_07e0, 8, sp + 8),         // str d0, [sp, #8]
            (0x781f_f020, 2, x1 - 1),         // sturh w0, [x1, #-1]
            (0xf800_3040, 8, x2 + 3),         // stur x0, [x2, #3]
            (0xb822_5820, 4, x1 + (x2 << 2)), // str w0, [x1, w2, uxtw #2]
            (0xf823_7820, 8, x1 + (x3 << 3)), // str x0, [x1, x3, lsl #3]
            (0xfc22_c820, 8, x1 + x2),        // str d0, [x1, w2, sxtw]
            (0x3822_6820, 1, x1 + x2),        // strb w0, [x1, x2]
        ] {
            let found = decoded(instruction);
            assert_eq!(found, Some((bytes, address)), "{instruction:#x}");
        }
    }

    #[test]
    fn other_instructions_are_not() {
        for other in [
            0xf940_0020, // ldr x0, [x1]
            0xb980_0020, // ldrsw x0, [x1]
            0x3980_0020, // ldrsb x0, [x1]
            0x79c0_0420, // ldrsh w0, [x1, #2]
            0xfd40_0020, // ldr d0, [x1]
            0x3dc0_0020, // ldr q0, [x1]
            0x3c81_0420, // str q0, [x1], #16
            0xf800_8c20, // str x0, [x1, #8]!
            0xa900_0440, // stp x0, x1, [x2]
            0xf980_0020, // prfm pldl1keep, [x1]
            0xc89f_fc20, // stlr x0, [x1]
            0xc8a0_7c41, // cas x0, x1, [x2]
            0xf820_0041, // ldadd x0, x1, [x2]
            0x0d00_0420, // st1 {v0.b}[1], [x1]
            0x0000_0000, // udf #0
        ] {
            assert_eq!(decoded(other), None, "{other:#x}");
        }
    }

    #[test]
    fn a_store_is_torn_if_its_first_half_is_on_the_page_before() {
        let torn = |offset: u64| is_torn(0x1_0000 - offset, 0x1_0000);
        assert!(torn(15) && torn(9) && torn(8));
        assert!(!torn(16) && !torn(7) && !torn(0));
    }

    #[test]
    fn any_store_may_be_torn_that_is_on_two_pages() {
        for bytes in [2, 4, 8, 16] {
            let torn = |before: u64| may_be_torn(0x1_0000 - before, bytes);
            assert!(torn(1) && torn(bytes - 1));
            assert!(!torn(0) && !torn(bytes));
        }
        assert!(!may_be_torn(0xffff, 1));
    }
}
