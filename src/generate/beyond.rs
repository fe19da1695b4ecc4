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

    /// One proposal at least.
    fn some(rng: &mut Rng) -> Beyond {
        let mut beyond = Beyond::default();
        let mut all = [&mut beyond.tail_calls];
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
        assert!(all.iter().filter(|it| it.tail_calls).count() > 300);
    }
}
