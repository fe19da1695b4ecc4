//! Constants of interest: where engines go wrong.
//!
//! One table for everybody who draws a constant: arguments and operands (`super::values`), the
//! mutator, and libFuzzer, which reads it from `fuzz/parallax.dict` ([`libfuzzer`]).

use std::fmt::Write;

/// Bytes of a page of memory.
const PAGE: u64 = 0x1_0000;

/// Integers that bound something, each of interest with its neighbours: sizes of memories in bytes
/// and of tables in elements, guards, and what engines reserve.
pub static BOUNDS: [u64; 18] = [
    // Elements of tables as generators make them, and the most that settings allow.
    3,
    7,
    10,
    20,
    30,
    300,
    1_000,
    // Bytes of memories as generators make them, and the most that settings allow.
    PAGE,
    2 * PAGE,
    3 * PAGE,
    4 * PAGE,
    8 * PAGE,
    39 * PAGE,
    // Guards, offsets that are checked apart from the address, and what is reserved for a memory.
    16 * PAGE,
    512 * PAGE,
    2 << 30,
    4 << 30,
    6 << 30,
];

/// Integers of 32 bits that are all about signs, and extensions of narrower ones.
pub static NARROW: [u32; 8] = [
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0xffff_ff80,
    0xffff_8000,
];

/// What makes an address, a length or a size of 64 bits too large for any memory, and shows only in its upper
/// half.
pub static UPPER_HALVES: [i64; 3] = [1 << 32, 1 << 40, i64::MIN];

/// Patterns of bits.
pub static PATTERNS: [u32; 5] = [
    0x5555_5555,
    0xaaaa_aaaa,
    0x0f0f_0f0f,
    0x00ff_00ff,
    0x8080_8080,
];

/// NaNs other than the canonical one, as positive bit patterns of 32 bits.
pub static NANS_32: [u32; 4] = [0x7fc0_0001, 0x7fff_ffff, 0x7f80_0001, 0x7fa0_0000];

/// The same of 64 bits.
pub static NANS_64: [u64; 4] = [
    0x7ff8_0000_0000_0001,
    0x7fff_ffff_ffff_ffff,
    0x7ff0_0000_0000_0001,
    0x7ff4_0000_0000_0000,
];

/// Bits of 32-bit floats at an end: the smallest and largest subnormal, normal and finite ones.
pub static ENDS_32: [u32; 4] = [1, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff];

/// The same of 64-bit floats, and what rounds to the largest finite or to the smallest float of 32
/// bits.
pub static ENDS_64: [u64; 6] = [
    1,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
    0x47ef_ffff_f000_0000,
    0x36a0_0000_0000_0000,
];

/// Floats that have the same meaning in both widths; the bounds of integer types with their
/// neighbours, and what rounds or overflows.
pub static FLOATS: [f64; 28] = [
    0.0,
    1.0,
    0.5,
    1.5,
    2.5,
    0.499_999_999_999_999_94,
    3.25,
    1e-3,
    1e10,
    1e300,
    127.0,
    128.0,
    255.9,
    256.0,
    32_767.0,
    65_535.5,
    2_147_483_520.0,
    2_147_483_647.0,
    2_147_483_648.0,
    4_294_967_040.0,
    4_294_967_295.0,
    4_294_967_296.0,
    9_223_371_487_098_961_920.0,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    18_446_742_974_197_923_840.0,
    18_446_744_073_709_549_568.0,
    18_446_744_073_709_551_616.0,
];

/// All integers of 32 bits in the table: powers of two and bounds with their neighbours, narrow ones
/// and patterns. Sorted, each once.
pub fn integers_32() -> Vec<u32> {
    let near = (0..32).map(|power| 1u64 << power).chain(BOUNDS);
    let near = near.flat_map(|value| [value - 1, value, value + 1]);
    let narrow = near.filter_map(|value| u32::try_from(value).ok());
    let mut all: Vec<u32> = narrow
        .flat_map(|value| [value, value.wrapping_neg()])
        .chain(NARROW)
        .chain(PATTERNS)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// All integers of 64 bits in the table; those of 32 bits are among them with zeroes and with copies
/// of their sign above. Sorted, each once.
pub fn integers_64() -> Vec<u64> {
    let near = (0..64).map(|power| 1u64 << power).chain(BOUNDS);
    let near = near.flat_map(|value| [value - 1, value, value + 1]);
    let narrow = integers_32()
        .into_iter()
        .flat_map(|value| [u64::from(value), i64::from(value as i32) as u64]);
    let mut all: Vec<u64> = near
        .flat_map(|value| [value, value.wrapping_neg()])
        .chain(narrow)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The bits of all 32-bit floats in the table, without signs. Sorted, each once.
pub fn floats_32() -> Vec<u32> {
    let floats = FLOATS.map(|float| (float as f32).to_bits());
    let infinity = f32::INFINITY.to_bits();
    let mut all = [&floats[..], &ENDS_32, &NANS_32, &[0x7fc0_0000, infinity]].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// The bits of all 64-bit floats in the table, without signs. Sorted, each once.
pub fn floats_64() -> Vec<u64> {
    let floats = FLOATS.map(f64::to_bits);
    let infinity = f64::INFINITY.to_bits();
    let canonical = 0x7ff8_0000_0000_0000;
    let mut all = [&floats[..], &ENDS_64, &NANS_64, &[canonical, infinity]].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// The dictionary as libFuzzer reads it, one entry a line: what stands in bodies and in modules, that
/// is, floats and 64-bit integers as they lie in memory, and integers as modules encode them.
pub fn libfuzzer() -> String {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut add = |bytes: &[u8]| {
        if !entries.iter().any(|entry| entry == bytes) {
            entries.push(bytes.to_vec());
        }
    };
    // Of one byte, everything is tried anyway.
    for value in integers_32().into_iter().filter(|value| *value > 0xff) {
        add(&value.to_le_bytes());
        add(&leb128(i64::from(value as i32)));
    }
    for bits in floats_32() {
        add(&bits.to_le_bytes());
    }
    for bits in floats_64() {
        add(&bits.to_le_bytes());
    }
    for value in BOUNDS
        .into_iter()
        .filter(|value| *value > u64::from(u32::MAX))
    {
        add(&value.to_le_bytes());
    }
    let mut text = String::from(
        "# Constants of interest, from src/generate/dictionary.rs: `parallax seeds` writes this file.\n",
    );
    for entry in entries {
        text.push('"');
        for byte in entry {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02X}");
        }
        text.push_str("\"\n");
    }
    text
}

/// A signed integer as modules encode it.
fn leb128(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        let sign = byte & 0x40 != 0;
        if value == 0 && !sign || value == -1 && sign {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_what_bounds_things() {
        let integers = integers_32();
        for value in [
            0,
            1,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX,
            0xffff,
            0x1_0000,
            999,
        ] {
            assert!(integers.binary_search(&value).is_ok(), "{value:#x}");
        }
        let integers = integers_64();
        for value in [
            1 << 63,
            u64::MAX,
            (1 << 32) - 1,
            1 << 32,
            0xffff_ffff_8000_0000,
        ] {
            assert!(integers.binary_search(&value).is_ok(), "{value:#x}");
        }
        let nans = floats_32();
        assert_eq!(
            nans.iter()
                .filter(|bits| f32::from_bits(**bits).is_nan())
                .count(),
            NANS_32.len() + 1
        );
        let nans = floats_64();
        assert_eq!(
            nans.iter()
                .filter(|bits| f64::from_bits(**bits).is_nan())
                .count(),
            NANS_64.len() + 1
        );
    }

    #[test]
    fn integers_are_encoded_as_in_modules() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[0x7f]),
            (64, &[0xc0, 0]),
            (-64, &[0x40]),
            (i64::from(i32::MIN), &[0x80, 0x80, 0x80, 0x80, 0x78]),
        ] {
            assert_eq!(leb128(value), bytes);
        }
    }

    #[test]
    fn the_dictionary_is_one_that_libfuzzer_reads() {
        let text = libfuzzer();
        let entries = text.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for entry in entries {
            count += 1;
            let inner = entry
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let bytes = inner.expect("quoted").split("\\x").skip(1);
            // libFuzzer takes words of up to 64 bytes.
            assert!((1..=64).contains(&bytes.clone().count()));
            for byte in bytes {
                assert!(u8::from_str_radix(byte, 16).is_ok(), "{entry}");
            }
        }
        assert!(count > 200, "{count}");
    }
}
