//! What a generator draws its decisions from: the body of an input, and pseudo-random numbers
//! once that is used up.

use std::ops::Range;

use super::rng::Rng;
use crate::case::module::ValType;

/// Items of a list beyond which there are no more, whatever the bytes say.
const MOST_ITEMS: u32 = 16;

/// Bytes, then random numbers without end.
///
/// Each decision takes as few bytes as it needs, so that a mutation of one byte mostly changes
/// one decision. Where an input ends, generation goes on with numbers from a seed: an input of a
/// few bytes makes as large a program as one of thousands.
///
/// A source that [records](Source::recording) also keeps what was drawn, and which of it made what:
/// from that the mutator knows where the statements of a program are.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
    rng: Rng,
    record: Option<Record>,
}

/// What a source handed out.
#[derive(Clone, Default, Debug)]
pub struct Record {
    /// All that was drawn, in order. The same decisions follow from these bytes, whatever the seed.
    pub bytes: Vec<u8>,
    /// The pieces that were marked, inner ones before those around them.
    pub pieces: Vec<Piece>,
}

/// Bytes that made one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// What they made.
    pub kind: PieceKind,
    /// Where they are.
    pub range: Range<usize>,
}

/// What bytes made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceKind {
    /// An item of a list that [`Source::more`] ends, with the byte that says that there is one.
    Item,
    /// An expression of this type.
    Value(ValType),
}

impl<'a> Source<'a> {
    /// Draws from `bytes`, then from the seed.
    pub fn new(bytes: &'a [u8], seed: u64) -> Source<'a> {
        Source {
            bytes,
            rng: Rng::new(seed),
            record: None,
        }
    }

    /// As [`Source::new`], and keeps what it hands out.
    pub fn recording(bytes: &'a [u8], seed: u64) -> Source<'a> {
        Source {
            record: Some(Record::default()),
            ..Source::new(bytes, seed)
        }
    }

    /// What was handed out so far; nothing if it was not to be kept.
    pub fn into_record(self) -> Record {
        self.record.unwrap_or_default()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let byte = self.take();
        if let Some(record) = &mut self.record {
            record.bytes.push(byte);
        }
        byte
    }

    fn take(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => self.rng.next_u32() as u8,
        }
    }

    /// All bytes that are left, for a generator that draws from bytes in its own way.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = std::mem::take(&mut self.bytes);
        if let Some(record) = &mut self.record {
            record.bytes.extend_from_slice(rest);
        }
        rest
    }

    /// Where the next byte will lie in what is kept; to be handed to [`Source::mark`].
    pub fn place(&self) -> usize {
        self.record.as_ref().map_or(0, |record| record.bytes.len())
    }

    /// Marks what was drawn since `start` as having made something.
    pub fn mark(&mut self, kind: PieceKind, start: usize) {
        if let Some(record) = &mut self.record {
            let range = start..record.bytes.len();
            record.pieces.push(Piece { kind, range });
        }
    }

    /// Whether a list goes on with an item number `at`, counted from 0: mostly so that lists have
    /// `low` to `high` items, all numbers alike. Never if it may not, which is decided elsewhere.
    ///
    /// One byte before each item and one behind the last: 0 goes on and 255 ends, whatever came
    /// before, and as such they are kept. So items can be put in, taken out and moved where bytes are
    /// what was kept, without any other item becoming another one.
    pub fn more(&mut self, at: u32, low: u32, high: u32, may: bool) -> bool {
        let byte = self.take();
        let goes_on = may
            && at < MOST_ITEMS
            && match byte {
                0 => true,
                u8::MAX => false,
                _ if at < low => true,
                _ if at >= high => false,
                // Of the numbers that are left, all but one are larger.
                _ => u32::from(byte) * (high - at + 1) < (high - at) << 8,
            };
        if let Some(record) = &mut self.record {
            record.bytes.push(if goes_on { 0 } else { u8::MAX });
        }
        goes_on
    }

    /// A list of mostly `low` to `high` items, each drawn by `item` ([`Source::more`]).
    pub fn list(&mut self, low: u32, high: u32, mut item: impl FnMut(&mut Source<'a>)) {
        let mut at = 0;
        loop {
            let start = self.place();
            if !self.more(at, low, high, true) {
                return;
            }
            item(self);
            self.mark(PieceKind::Item, start);
            at += 1;
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
    fn what_is_kept_decides_the_same_again() {
        let draw = |mut source: Source<'_>| {
            let mut drawn = Vec::new();
            let mut at = 0;
            loop {
                let start = source.place();
                if !source.more(at, 1, 6, at < 5) {
                    break;
                }
                drawn.push(source.below(300));
                drawn.push(u32::from(source.percent(30)));
                source.mark(PieceKind::Item, start);
                at += 1;
            }
            (drawn, source.into_record())
        };
        for seed in 0..200 {
            let (drawn, record) = draw(Source::recording(&[7, 9, 200], seed));
            let (again, same) = draw(Source::recording(&record.bytes, seed + 1));
            assert_eq!(drawn, again);
            assert_eq!(record.bytes, same.bytes);
            assert_eq!(record.pieces, same.pieces);
            assert_eq!(record.pieces.len(), drawn.len() / 2);
            // Without an item, the others are what they were.
            let item = record.pieces[0].range.clone();
            let mut fewer = record.bytes.clone();
            fewer.drain(item);
            assert_eq!(draw(Source::recording(&fewer, seed)).0, drawn[2..]);
        }
    }

    #[test]
    fn lists_have_as_many_items_as_they_are_to() {
        let mut counts = [0; 6];
        for seed in 0..3_000 {
            let mut source = Source::new(&[], seed);
            let mut at = 0;
            while source.more(at, 2, 4, true) {
                at += 1;
            }
            counts[at as usize] += 1;
        }
        assert!(
            counts[2..5]
                .iter()
                .all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
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
