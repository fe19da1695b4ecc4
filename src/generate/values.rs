//! Interesting values: the operands where engines go wrong.

use parallax_oracles::{FuncIdentity, ObjectId, Value};

use super::dictionary::{BOUNDS, ENDS_32, ENDS_64, FLOATS, NANS_32, NANS_64, NARROW, PATTERNS};
use super::rng::Rng;
use crate::case::module::ValType;

/// Host objects that arguments name: numbers 0 to this, exclusively.
const OBJECTS: u32 = 6;

/// The functions that an instance's module defines.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    /// The instance.
    pub instance: u32,
    /// The index of the first, behind the imported ones.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

/// What values may be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether NaNs other than the canonical ones may appear.
    pub any_nan: bool,
    /// The functions that references designate, if any.
    pub functions: Option<Functions>,
}

impl Palette {
    /// A value of type `ty`.
    pub fn value(&self, ty: ValType, rng: &mut Rng) -> Value {
        match ty {
            ValType::I32 => Value::I32(i32_of_interest(rng)),
            ValType::I64 => Value::I64(i64_of_interest(rng)),
            ValType::F32 => Value::F32(self.f32_bits(rng)),
            ValType::F64 => Value::F64(self.f64_bits(rng)),
            ValType::V128 => Value::V128(self.v128_bits(rng)),
            ValType::FuncRef => Value::Func(match self.functions {
                Some(functions) if functions.count > 0 && !rng.percent(30) => {
                    Some(FuncIdentity::Defined {
                        instance: functions.instance,
                        index: functions.first + rng.below(functions.count),
                    })
                }
                _ => None,
            }),
            ValType::ExternRef => {
                Value::Extern((!rng.percent(30)).then(|| ObjectId(rng.below(OBJECTS))))
            }
        }
    }

    /// Bits of a 32-bit float.
    pub fn f32_bits(&self, rng: &mut Rng) -> u32 {
        let sign = rng.below(2) << 31;
        sign | match rng.below(16) {
            0..=8 => (*rng.pick(&FLOATS) as f32).to_bits(),
            9 => f32::INFINITY.to_bits(),
            10 => self.nan32(rng),
            11 => *rng.pick(&ENDS_32),
            12 | 13 => (rng.below(2_000) as f32).to_bits(),
            _ => {
                let bits = rng.next_u32() & 0x7fff_ffff;
                if f32::from_bits(bits).is_nan() {
                    self.nan32(rng)
                } else {
                    bits
                }
            }
        }
    }

    /// Bits of a 64-bit float.
    pub fn f64_bits(&self, rng: &mut Rng) -> u64 {
        let sign = u64::from(rng.below(2)) << 63;
        sign | match rng.below(16) {
            0..=8 => rng.pick(&FLOATS).to_bits(),
            9 => f64::INFINITY.to_bits(),
            10 => self.nan64(rng),
            11 => *rng.pick(&ENDS_64),
            12 | 13 => f64::from(rng.below(2_000)).to_bits(),
            _ => {
                let bits = rng.next_u64() >> 1;
                if f64::from_bits(bits).is_nan() {
                    self.nan64(rng)
                } else {
                    bits
                }
            }
        }
    }

    /// A vector: lanes of one shape, all alike or each its own.
    pub fn v128_bits(&self, rng: &mut Rng) -> u128 {
        let same = rng.percent(25);
        match rng.below(6) {
            0 => lanes(rng, 8, same, |rng| u128::from(i32_of_interest(rng) as u8)),
            1 => lanes(rng, 16, same, |rng| u128::from(i32_of_interest(rng) as u16)),
            2 => lanes(rng, 32, same, |rng| u128::from(i32_of_interest(rng) as u32)),
            3 => lanes(rng, 64, same, |rng| u128::from(i64_of_interest(rng) as u64)),
            4 => lanes(rng, 32, same, |rng| u128::from(self.f32_bits(rng))),
            _ => lanes(rng, 64, same, |rng| u128::from(self.f64_bits(rng))),
        }
    }

    fn nan32(&self, rng: &mut Rng) -> u32 {
        if self.any_nan {
            *rng.pick(&NANS_32)
        } else {
            0x7fc0_0000
        }
    }

    fn nan64(&self, rng: &mut Rng) -> u64 {
        if self.any_nan {
            *rng.pick(&NANS_64)
        } else {
            0x7ff8_0000_0000_0000
        }
    }
}

/// A 32-bit integer: small, around a power of two, around a page boundary or another bound,
/// extreme, or random.
pub fn i32_of_interest(rng: &mut Rng) -> i32 {
    let near = |value: u32, rng: &mut Rng| value.wrapping_add(rng.below(3)).wrapping_sub(1);
    (match rng.below(16) {
        0..=4 => rng.below(17),
        5 => 0u32.wrapping_sub(rng.below(17)),
        6 | 7 => {
            let power = 1 << rng.below(32);
            near(power, rng)
        }
        8 | 9 => (rng.below(4) << 16)
            .wrapping_add(rng.below(17))
            .wrapping_sub(8),
        10 => near(i32::MIN as u32, rng),
        11 => {
            let patterns = rng.percent(40);
            *rng.pick(if patterns { &PATTERNS } else { &NARROW[..] })
        }
        12 => {
            let bound = *rng.pick(&BOUNDS) as u32;
            near(bound, rng)
        }
        13 => rng.below(0x1_0000),
        _ => rng.next_u32(),
    }) as i32
}

/// A 64-bit integer, as [`i32_of_interest`], and those sign- or zero-extended.
pub fn i64_of_interest(rng: &mut Rng) -> i64 {
    match rng.below(8) {
        0..=2 => i64::from(i32_of_interest(rng)),
        3 => i64::from(i32_of_interest(rng) as u32),
        4 => {
            let value = if rng.percent(75) {
                1u64 << rng.below(64)
            } else {
                *rng.pick(&BOUNDS)
            };
            value.wrapping_add(u64::from(rng.below(3))).wrapping_sub(1) as i64
        }
        5 => i64::MIN
            .wrapping_add(i64::from(rng.below(3)))
            .wrapping_sub(1),
        6 => i64::from(i32_of_interest(rng)) << 32,
        _ => rng.next_u64() as i64,
    }
}

fn lanes(rng: &mut Rng, width: u32, same: bool, mut lane: impl FnMut(&mut Rng) -> u128) -> u128 {
    let first = lane(rng);
    let mut bits = 0;
    for at in (0..128).step_by(width as usize) {
        let value = if same || at == 0 { first } else { lane(rng) };
        bits |= value << at;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_nans_where_asked() {
        let palette = Palette {
            any_nan: false,
            functions: None,
        };
        let mut rng = Rng::new(3);
        let mut nans = 0;
        for _ in 0..5_000 {
            let bits = palette.f32_bits(&mut rng);
            if f32::from_bits(bits).is_nan() {
                nans += 1;
                assert_eq!(bits & 0x7fff_ffff, 0x7fc0_0000);
            }
            let bits = palette.f64_bits(&mut rng);
            if f64::from_bits(bits).is_nan() {
                assert_eq!(bits & (u64::MAX >> 1), 0x7ff8_0000_0000_0000);
            }
        }
        assert!(nans > 100);
    }

    #[test]
    fn values_have_the_type_asked_for() {
        let palette = Palette {
            any_nan: true,
            functions: Some(Functions {
                instance: 2,
                first: 4,
                count: 3,
            }),
        };
        let mut rng = Rng::new(4);
        for _ in 0..100 {
            assert!(matches!(
                palette.value(ValType::I32, &mut rng),
                Value::I32(_)
            ));
            assert!(matches!(
                palette.value(ValType::V128, &mut rng),
                Value::V128(_)
            ));
            match palette.value(ValType::FuncRef, &mut rng) {
                Value::Func(Some(FuncIdentity::Defined { instance, index })) => {
                    assert!(instance == 2 && (4..7).contains(&index));
                }
                Value::Func(None) => {}
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_uniform_vector_repeats_its_lane() {
        let mut rng = Rng::new(1);
        assert_eq!(
            lanes(&mut rng, 8, true, |_| 0xa5),
            u128::from_ne_bytes([0xa5; 16])
        );
    }
}
