//! Values worth trying, by rule from a seed: boundaries, powers of two, small offsets, ordinary
//! numbers. NaNs are canonical only, so that no payload depends on who made it.

use parallax_oracles::Value;

use super::module::ValType;

/// A small generator of numbers that follow from its seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence that follows from a seed.
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    /// Mixes a number into what follows.
    pub fn mix(&mut self, number: u64) {
        self.0 = scramble(self.0 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(1);
    }

    /// Mixes text into what follows.
    pub fn mix_text(&mut self, text: &str) {
        // The length first, so that a name's end cannot be taken for another's beginning.
        self.mix(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(limit)) >> 64) as u64
    }
}

fn scramble(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A value of a number or vector type; null for a reference type.
pub fn interesting(ty: ValType, numbers: &mut Numbers) -> Value {
    match ty {
        ValType::I32 => Value::I32(integer(numbers, 32) as i32),
        ValType::I64 => Value::I64(integer(numbers, 64) as i64),
        ValType::F32 => Value::F32(float32(numbers)),
        ValType::F64 => Value::F64(float64(numbers)),
        ValType::V128 => Value::V128(vector(numbers)),
        ValType::FuncRef | ValType::ExternRef => ty.default_value(),
    }
}

/// An integer of `bits` bits, in the low bits of the result.
fn integer(numbers: &mut Numbers, bits: u32) -> u64 {
    let choice = numbers.draw();
    let sign = 1u64 << (bits - 1);
    match choice % 16 {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => sign,
        4 => sign - 1,
        // A power of two and its neighbours.
        5..=7 => (1u64 << ((choice >> 8) % u64::from(bits)))
            .wrapping_add((choice >> 16) % 3)
            .wrapping_sub(1),
        // Around the end of the first page.
        8 => 0xfff0 + (choice >> 8) % 32,
        9..=11 => (choice >> 8) % 16,
        12..=13 => (choice >> 8) % 4096,
        14 => ((choice >> 8) % 256).wrapping_neg(),
        _ => numbers.draw(),
    }
}

fn float32(numbers: &mut Numbers) -> u32 {
    const SPECIAL: [u32; 15] = [
        0x0000_0000, // 0
        0x8000_0000, // -0
        0x3f80_0000, // 1
        0xbf80_0000, // -1
        0x3f00_0000, // 0.5
        0x7f80_0000, // infinity
        0xff80_0000, // -infinity
        0x7fc0_0000, // the canonical NaN
        0x7f7f_ffff, // the largest
        0x0000_0001, // the smallest
        0x0080_0000, // the smallest normal
        0x4f00_0000, // 2^31
        0xcf00_0000, // -2^31
        0x4f80_0000, // 2^32
        0x5f00_0000, // 2^63
    ];
    let choice = numbers.draw();
    match choice % 8 {
        0..=3 => SPECIAL[((choice >> 8) % SPECIAL.len() as u64) as usize],
        4..=6 => ((integer(numbers, 16) as i16) as f32 / 4.0).to_bits(),
        _ => {
            let bits = numbers.draw() as u32;
            if f32::from_bits(bits).is_nan() {
                0x7fc0_0000
            } else {
                bits
            }
        }
    }
}

fn float64(numbers: &mut Numbers) -> u64 {
    const SPECIAL: [u64; 16] = [
        0x0000_0000_0000_0000, // 0
        0x8000_0000_0000_0000, // -0
        0x3ff0_0000_0000_0000, // 1
        0xbff0_0000_0000_0000, // -1
        0x3fe0_0000_0000_0000, // 0.5
        0x7ff0_0000_0000_0000, // infinity
        0xfff0_0000_0000_0000, // -infinity
        0x7ff8_0000_0000_0000, // the canonical NaN
        0x7fef_ffff_ffff_ffff, // the largest
        0x0000_0000_0000_0001, // the smallest
        0x0010_0000_0000_0000, // the smallest normal
        0x41e0_0000_0000_0000, // 2^31
        0xc1e0_0000_0020_0000, // -2^31 - 1
        0x41ef_ffff_ffe0_0000, // 2^32 - 1
        0x43e0_0000_0000_0000, // 2^63
        0x43f0_0000_0000_0000, // 2^64
    ];
    let choice = numbers.draw();
    match choice % 8 {
        0..=3 => SPECIAL[((choice >> 8) % SPECIAL.len() as u64) as usize],
        4..=6 => (f64::from(integer(numbers, 32) as i32) / 4.0).to_bits(),
        _ => {
            let bits = numbers.draw();
            if f64::from_bits(bits).is_nan() {
                0x7ff8_0000_0000_0000
            } else {
                bits
            }
        }
    }
}

/// Small integers, floats of either width, or one 32-bit integer in all lanes.
fn vector(numbers: &mut Numbers) -> u128 {
    let lanes32 =
        |lane: &mut dyn FnMut() -> u32| (0..4).fold(0, |bits, _| bits << 32 | u128::from(lane()));
    match numbers.below(4) {
        0 => {
            // Small integers, as shuffles and shifts like them.
            lanes32(&mut || (numbers.draw() & 0x1f1f_1f1f) as u32)
        }
        1 => lanes32(&mut || float32(numbers)),
        2 => u128::from(float64(numbers)) << 64 | u128::from(float64(numbers)),
        _ => {
            let bits = integer(numbers, 32) as u32;
            lanes32(&mut || bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nans_are_canonical() {
        let mut numbers = Numbers::new(1);
        let mut nans = 0;
        for _ in 0..100_000 {
            if let Value::F32(bits) = interesting(ValType::F32, &mut numbers)
                && f32::from_bits(bits).is_nan()
            {
                assert_eq!(bits, 0x7fc0_0000);
                nans += 1;
            }
            if let Value::F64(bits) = interesting(ValType::F64, &mut numbers)
                && f64::from_bits(bits).is_nan()
            {
                assert_eq!(bits, 0x7ff8_0000_0000_0000);
                nans += 1;
            }
        }
        assert!(nans > 1000);
    }

    #[test]
    fn integers_reach_the_boundaries() {
        let mut numbers = Numbers::new(2);
        let seen: std::collections::HashSet<u64> = (0..10_000)
            .map(|_| integer(&mut numbers, 32) as u32 as u64)
            .collect();
        for value in [0, 1, u32::MAX, 1 << 31, (1 << 31) - 1, 0xffff, 0x10000] {
            assert!(seen.contains(&u64::from(value)), "{value:#x}");
        }
    }

    #[test]
    fn what_follows_depends_on_everything_mixed_in() {
        let first = |text: &[&str]| {
            let mut numbers = Numbers::new(7);
            for text in text {
                numbers.mix_text(text);
            }
            numbers.draw()
        };
        assert_eq!(first(&["a", "b"]), first(&["a", "b"]));
        assert_ne!(first(&["a", "b"]), first(&["b", "a"]));
        assert_ne!(first(&["ab", ""]), first(&["a", "b"]));
        assert_ne!(first(&["abcdefgh"]), first(&["abcdefgh\0"]));
    }
}
