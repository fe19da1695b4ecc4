//! Oracle `memories`: sizes and bytes of every memory.
//!
//! Let `R` and `S` be the reference's and the subject's state after a step:
//!
//! > R and S have the same memories, and for each memory m:
//! > pages(R, m) = pages(S, m) ∧ ∀ a < pages · 65536: byte(R, m, a) = byte(S, m, a)
//!
//! Both states were equal before the step, so only what either side recorded as changed has to be
//! looked at, and if both recorded the same, nothing more. A record whose bytes do not fill its
//! chunks exactly leaves some of them unknown and is a difference in itself.

use crate::after::After;
use crate::finding::{Difference, Place, Seen};
use crate::observation::{CHUNK_BYTES, Changes, Entity, MemoryChange};
use crate::rules::{Explained, first_unexplained, mentioned};
use crate::state::MemoryState;

/// The first memory, by entity, whose size or bytes differ, and there the size or else the first
/// byte. What is `explained` is told only if there is nothing else.
pub fn check(
    reference: &Changes,
    subject: &Changes,
    after: &mut After<'_>,
    explained: &Explained<'_>,
) -> Option<Difference> {
    let (reference, subject) = (&reference.memories[..], &subject.memories[..]);
    if reference == subject {
        return None;
    }
    let states = after.states();
    let memories = mentioned(reference, subject, |change| change.memory).into_iter();
    let differences = memories.flat_map(|memory| {
        let (a, b) = (states.0.memory(memory), states.1.memory(memory));
        let same_size = a.zip(b).filter(|(a, b)| a.pages() == b.pages());
        let pages = |state: Option<&MemoryState>| {
            state.map_or(Seen::Absent, |state| Seen::Number(state.pages()))
        };
        let size = same_size
            .is_none()
            .then(|| Difference::new(Place::MemorySize(memory), pages(a), pages(b)));
        let within = same_size.into_iter().flat_map(move |(a, b)| {
            let chunks = recorded_chunks(reference, subject, memory);
            differing_bytes(memory, chunks, a, b).chain(check_form(memory, reference, subject))
        });
        size.into_iter().chain(within)
    });
    first_unexplained(differences, explained)
}

/// The chunks of `memory` that either side lists, ascending.
fn recorded_chunks(
    reference: &[MemoryChange],
    subject: &[MemoryChange],
    memory: Entity,
) -> Vec<u32> {
    let mut chunks: Vec<u32> = reference
        .iter()
        .chain(subject)
        .filter(|change| change.memory == memory)
        .flat_map(|change| change.chunks.iter().copied())
        .collect();
    chunks.sort_unstable();
    chunks.dedup();
    chunks
}

fn differing_bytes<'a>(
    memory: Entity,
    chunks: Vec<u32>,
    reference: &'a MemoryState,
    subject: &'a MemoryState,
) -> impl Iterator<Item = Difference> + 'a {
    chunks.into_iter().flat_map(move |chunk| {
        let first = u64::from(chunk) * CHUNK_BYTES as u64;
        let bytes = reference.chunk(chunk).iter().zip(subject.chunk(chunk));
        let differing = (first..).zip(bytes).filter(|(_, (a, b))| a != b);
        differing.map(move |(address, (a, b))| {
            let place = Place::MemoryByte { memory, address };
            Difference::new(place, Seen::Byte(*a), Seen::Byte(*b))
        })
    })
}

/// Whether a side's record of `memory` has a number of bytes that does not fit its chunks.
fn check_form(
    memory: Entity,
    reference: &[MemoryChange],
    subject: &[MemoryChange],
) -> Option<Difference> {
    let seen = |changes: &[MemoryChange]| {
        let broken = changes.iter().find(|change| {
            change.memory == memory && change.chunks.len() * CHUNK_BYTES != change.bytes.len()
        });
        broken.map_or_else(
            || Seen::Rule("bytes for every chunk".to_string()),
            |change| {
                Seen::Rule(format!(
                    "{} bytes for {} chunks",
                    change.bytes.len(),
                    change.chunks.len()
                ))
            },
        )
    };
    let (reference, subject) = (seen(reference), seen(subject));
    (reference != subject).then(|| Difference::new(Place::MemorySize(memory), reference, subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{entity, memory, rule, steps};

    /// Checks the last of the steps, all before it being taken to agree.
    fn differ<const STEPS: usize>(
        reference: [&Changes; STEPS],
        subject: [&Changes; STEPS],
    ) -> Option<Difference> {
        let sides = (
            steps(reference.map(Clone::clone)),
            steps(subject.map(Clone::clone)),
        );
        let mut after = After::new(&sides.0, &sides.1);
        after.step(STEPS - 1);
        check(
            reference[STEPS - 1],
            subject[STEPS - 1],
            &mut after,
            &|_| false,
        )
    }

    fn byte(address: u64, reference: u8, subject: u8) -> Option<Difference> {
        Some(Difference::new(
            Place::MemoryByte {
                memory: entity(0),
                address,
            },
            Seen::Byte(reference),
            Seen::Byte(subject),
        ))
    }

    #[test]
    fn equal_records_agree() {
        let change = memory(0, 1, &[(0, &[1, 2]), (9, &[3])]);
        assert_eq!(differ([&change], [&change]), None);
        assert_eq!(differ([&Changes::default()], [&Changes::default()]), None);
    }

    #[test]
    fn the_first_byte_that_differs_is_named() {
        assert_eq!(
            differ(
                [&memory(0, 1, &[(0, &[1, 2]), (2, &[7, 0, 9])])],
                [&memory(0, 1, &[(0, &[1, 2]), (2, &[7, 8, 0])])]
            ),
            byte(2 * 64 + 1, 0, 8)
        );
    }

    #[test]
    fn a_chunk_that_one_side_lists_is_held_against_what_was_there() {
        let before = memory(0, 1, &[(3, &[0, 5])]);
        let changed = memory(0, 1, &[(3, &[0, 6])]);
        let unchanged = Changes::default();
        assert_eq!(
            differ([&before, &changed], [&before, &unchanged]),
            byte(3 * 64 + 1, 6, 5)
        );
        assert_eq!(
            differ([&before, &unchanged], [&before, &changed]),
            byte(3 * 64 + 1, 5, 6)
        );
        // Listed, but with what was there: the states are equal.
        assert_eq!(differ([&before, &before], [&before, &unchanged]), None);
    }

    #[test]
    fn a_lower_byte_in_a_chunk_of_one_side_comes_first() {
        let before = memory(0, 1, &[(1, &[1])]);
        assert_eq!(
            differ(
                [&before, &memory(0, 1, &[(5, &[4])])],
                [&before, &memory(0, 1, &[(1, &[2]), (5, &[5])])]
            ),
            byte(64, 1, 2)
        );
    }

    #[test]
    fn another_size_differs() {
        assert_eq!(
            differ([&memory(0, 2, &[(0, &[1])])], [&memory(0, 1, &[(0, &[2])])]),
            Some(Difference::new(
                Place::MemorySize(entity(0)),
                Seen::Number(2),
                Seen::Number(1)
            ))
        );
        // A growth that only one side records.
        let before = memory(0, 1, &[]);
        assert_eq!(
            differ(
                [&before, &Changes::default()],
                [&before, &memory(0, 3, &[])]
            ),
            Some(Difference::new(
                Place::MemorySize(entity(0)),
                Seen::Number(1),
                Seen::Number(3)
            ))
        );
    }

    #[test]
    fn a_memory_that_one_side_lacks_is_absent() {
        let both = memory(0, 1, &[]);
        let mut more = both.clone();
        more.memories.extend(memory(1, 0, &[]).memories);
        let size = Place::MemorySize(entity(1));
        assert_eq!(
            differ([&more], [&both]),
            Some(Difference::new(size, Seen::Number(0), Seen::Absent))
        );
        assert_eq!(
            differ([&both], [&more]),
            Some(Difference::new(size, Seen::Absent, Seen::Number(0)))
        );
    }

    #[test]
    fn bytes_that_do_not_fill_the_chunks_are_a_difference() {
        let whole = memory(0, 1, &[(0, &[1])]);
        let mut more = whole.clone();
        more.memories[0].bytes.push(0);
        assert_eq!(
            differ([&whole], [&more]),
            Some(Difference::new(
                Place::MemorySize(entity(0)),
                rule("bytes for every chunk"),
                rule("65 bytes for 1 chunks"),
            ))
        );
        let mut fewer = whole.clone();
        fewer.memories[0].bytes.clear();
        assert_eq!(differ([&whole], [&fewer]), byte(0, 1, 0));
    }
}
