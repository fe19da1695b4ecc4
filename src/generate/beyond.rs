//! What a module may use that came after WebAssembly 2.0.
//!
//! Most modules use nothing of it, so that what engines have had for long keeps its weight. The
//! others use one proposal, and each further one with the same chance.

use super::input::Header;
use super::rng::Rng;

/// How many of 100 modules may use something beyond 2.0.
pub const BEYOND_PERCENT: u32 = 25;

/// How many of 100 of those may use a proposal besides the one that was drawn first.
const ANOTHER_PERCENT: u32 = 35;

/// What is drawn from a seed of shape for this, and for nothing else.
const PURPOSE: u64 = 0xbe70;

/// Proposals that a module may use.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Beyond {
    /// `return_call` and `return_call_indirect`.
    pub tail_calls: bool,
    /// Several memories.
    pub multi_memory: bool,
    /// Arithmetic in constant expressions.
    pub extended_const: bool,
    /// Memories that are addressed by i64.
    pub memory64: bool,
    /// Relaxed vector instructions.
    pub relaxed_simd: bool,
}

impl Beyond {
    /// What the module of a head may use.
    pub fn of(header: &Header) -> Beyond {
        let mut rng = header.shape().fork(PURPOSE);
        if !rng.percent(BEYOND_PERCENT) {
            return Beyond::default();
        }
        Beyond::some(&mut rng)
    }

    /// All that there is, or nothing.
    #[cfg(test)]
    pub fn all_if(all: bool) -> Beyond {
        Beyond {
            tail_calls: all,
            multi_memory: all,
            extended_const: all,
            memory64: all,
            relaxed_simd: all,
        }
    }

    /// One proposal at least.
    fn some(rng: &mut Rng) -> Beyond {
        let mut beyond = Beyond::default();
        let mut all = [
            &mut beyond.tail_calls,
            &mut beyond.multi_memory,
            &mut beyond.extended_const,
            &mut beyond.memory64,
            &mut beyond.relaxed_simd,
        ];
        let first = rng.below(all.len() as u32) as usize;
        for (at, may_use) in all.iter_mut().enumerate() {
            **may_use = rng.percent(ANOTHER_PERCENT) || at == first;
        }
        beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64) -> Beyond {
        let (header, _) = Header::split(&[]);
        Beyond::of(&Header {
            shape_seed: seed,
            ..header
        })
    }

    #[test]
    fn a_share_of_modules_goes_beyond() {
        let all: Vec<Beyond> = (0..4_000).map(drawn).collect();
        let beyond = all.iter().filter(|it| **it != Beyond::default());
        assert!((850..1_150).contains(&beyond.count()));
        let each: [fn(&Beyond) -> bool; 5] = [
            |it| it.tail_calls,
            |it| it.multi_memory,
            |it| it.extended_const,
            |it| it.memory64,
            |it| it.relaxed_simd,
        ];
        for proposal in each {
            assert!(all.iter().filter(|it| proposal(it)).count() > 300);
        }
    }
}
