//! What a generator draws its decisions from: the body of an input, and pseudo-random numbers
//! once that is used up.

use super::rng::Rng;

/// Bytes, then random numbers without end.
///
/// Each decision takes as few bytes as it needs, so that a mutation of one byte mostly changes
/// one decision. Where an input ends, generation goes on with numbers from a seed: an input of a
/// few bytes makes as large a program as one of thousands.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
    rng: Rng,
}

impl<'a> Source<'a> {
    /// Draws from `bytes`, then from the seed.
    pub fn new(bytes: &'a [u8], seed: u64) -> Source<'a> {
        Source {
            bytes,
            rng: Rng::new(seed),
        }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => self.rng.next_u32() as u8,
        }
    }

    /// A number below `bound`; 0 if `bound` is 0. Bounds above 65,536 are cut to that.
    pub fn below(&mut self, bound: u32) -> u32 {
        let byte = u32::from(self.byte());
        if bound <= 64 {
            return (byte * bound) >> 8;
        }
        let word = byte << 8 | u32::from(self.byte());
        (word * bound.min(0x1_0000)) >> 16
    }

    /// A number in `low..=high`; `low` if the range is empty.
    pub fn range(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in about `percent` of 100 draws.
    pub fn percent(&mut self, percent: u32) -> bool {
        u32::from(self.byte()) * 100 < percent << 8
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If `items` is empty; every caller passes a table or a checked list.
    pub fn pick<'b, T>(&mut self, items: &'b [T]) -> &'b T {
        &items[self.below(items.len() as u32) as usize]
    }

    /// Random numbers for one value, from a seed of two bytes.
    pub fn rng(&mut self) -> Rng {
        Rng::new(u64::from(self.byte()) << 8 | u64::from(self.byte()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_where_the_bytes_end() {
        let mut source = Source::new(&[255, 0], 9);
        assert_eq!(source.byte(), 255);
        assert_eq!(source.below(10), 0);
        let tail: Vec<u8> = (0..8).map(|_| source.byte()).collect();
        let mut again = Source::new(&[], 9);
        assert_eq!(tail, (0..8).map(|_| again.byte()).collect::<Vec<u8>>());
    }

    #[test]
    fn bounds_hold_at_both_ends() {
        for bytes in [[0u8; 4], [255; 4]] {
            for bound in [1, 2, 64, 65, 100, 353, 0x1_0000] {
                let drawn = Source::new(&bytes, 0).below(bound);
                assert_eq!(drawn, if bytes[0] == 0 { 0 } else { bound - 1 });
            }
        }
        assert_eq!(Source::new(&[9], 0).below(0), 0);
        assert!(!Source::new(&[0], 0).percent(0));
        assert!(Source::new(&[255], 0).percent(100));
    }
}
