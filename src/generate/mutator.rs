//! How libFuzzer changes an input: with the layout of inputs in mind ([`crate::generate`]).
//!
//! Left to itself, libFuzzer keeps inputs tiny for minutes and spends most mutations on moving the
//! head's fields about. Here short inputs grow at once, and a mutation changes either the body,
//! which leaves calls and settings as they are, or one field of the head, which leaves the body.

use super::Generators;
use super::input::HEADER_BYTES;
use super::rng::Rng;
use super::stamp::{self, STAMP_BYTES};

/// Inputs below this size are made longer.
const SHORT: usize = 512;

/// Inputs are made no longer than this by us.
const LONG: usize = 4_096;

/// As [`mutate`], and has the input ask for one of `generators`.
pub fn mutate_for(
    generators: Generators,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    libfuzzer: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let size = mutate(data, size, max_size, seed, libfuzzer);
    generators.steer(&mut data[..size]);
    size
}

/// Mutates `data[..size]` to at most `max_size` bytes and returns its new size. `data` is as long
/// as the greater of both. `libfuzzer` is libFuzzer's own mutation, with the same meaning.
///
/// What comes out has the stamp of this version, whatever stamp it came with, unless it is a module
/// or there is no room for one.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    libfuzzer: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let max_size = max_size.min(data.len());
    let size = size.min(data.len());
    let mut rng = Rng::new(u64::from(seed));
    if data[..size].starts_with(b"\0asm") {
        return libfuzzer(data, size, max_size);
    }
    let body = size - stamp::length(&data[..size]);
    if STAMP_BYTES + body > max_size {
        return mutate_behind_stamp(data, size, max_size, &mut rng, libfuzzer);
    }
    data.copy_within(size - body..size, STAMP_BYTES);
    let (head, rest) = data.split_at_mut(STAMP_BYTES);
    head.copy_from_slice(&stamp::stamp());
    STAMP_BYTES + mutate_behind_stamp(rest, body, max_size - STAMP_BYTES, &mut rng, libfuzzer)
}

/// Mutates what stands behind the stamp of an input.
fn mutate_behind_stamp(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    rng: &mut Rng,
    libfuzzer: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    if size < SHORT && size < max_size && !rng.percent(5) {
        let longest = max_size.min(LONG);
        let new_size = rng.range(SHORT.min(longest) as u32, longest as u32) as usize;
        let new_size = new_size.max(size);
        rng.fill(&mut data[size..new_size]);
        return new_size;
    }
    if size <= HEADER_BYTES || max_size <= HEADER_BYTES || size > max_size {
        return libfuzzer(data, size, max_size);
    }
    match rng.below(20) {
        0..=4 => {
            field(&mut data[..HEADER_BYTES], rng);
            size
        }
        5..=8 => splice(data, size, max_size, rng),
        _ => {
            let (_, body) = data.split_at_mut(HEADER_BYTES);
            HEADER_BYTES + libfuzzer(body, size - HEADER_BYTES, max_size - HEADER_BYTES)
        }
    }
}

/// Changes one field of the head.
fn field(head: &mut [u8], rng: &mut Rng) {
    let at = match rng.below(12) {
        // A seed: all of it anew, or its neighbour.
        0..=4 => {
            let seed = &mut head[*rng.pick(&[8, 8, 8, 16, 24])..][..8];
            if rng.percent(60) {
                rng.fill(seed);
            } else {
                seed[0] = seed[0].wrapping_add(1);
            }
            return;
        }
        // The generator or the linking.
        5 => 0,
        6 => 1,
        _ => rng.range(2, 7) as usize,
    };
    head[at] = match rng.below(3) {
        0 => head[at].wrapping_add(1),
        1 => head[at] ^ 1 << rng.below(8),
        _ => rng.next_u32() as u8,
    };
}

/// Inserts, removes, copies or overwrites a piece of the body.
fn splice(data: &mut [u8], size: usize, max_size: usize, rng: &mut Rng) -> usize {
    let body = size - HEADER_BYTES;
    let from = HEADER_BYTES + rng.below(body as u32) as usize;
    let length = 1 + rng.below(64) as usize;
    match rng.below(4) {
        // Random bytes are inserted, or those of another place are.
        kind @ 0..=1 => {
            let length = length.min(max_size - size);
            data.copy_within(from..size, from + length);
            if kind == 0 {
                rng.fill(&mut data[from..from + length]);
            } else {
                let start = HEADER_BYTES + rng.below(body as u32) as usize;
                data.copy_within(start..start + length.min(size - start), from);
            }
            size + length
        }
        2 => {
            let end = (from + length).min(size);
            data.copy_within(end..size, from);
            size - (end - from)
        }
        _ => {
            let end = (from + length).min(size);
            rng.fill(&mut data[from..end]);
            size
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What libFuzzer may do: any size up to the largest.
    fn shrink_or_grow(data: &mut [u8], size: usize, max_size: usize) -> usize {
        data[..size].reverse();
        (size * 2 + 1).min(max_size)
    }

    proptest! {
        #[test]
        fn sizes_are_kept_to(size in 0usize..6_000, max_size in 0usize..6_000, seed: u32) {
            let mut data = vec![7; size.max(max_size)];
            let new_size = mutate(&mut data, size, max_size, seed, shrink_or_grow);
            // An input that is too long already may only be left to libFuzzer.
            prop_assert!(new_size <= max_size);
        }
    }

    #[test]
    fn what_comes_out_is_of_this_version() {
        let stamped = |version: u32| [&stamp::MAGIC[..], &version.to_le_bytes()].concat();
        let other = stamped(stamp::DECODER_VERSION + 1);
        for (start, rest) in [
            (stamp::stamp().to_vec(), 900),
            (other, 900),
            (vec![7; 9], 0),
        ] {
            for seed in 0..100 {
                let mut data = [&start[..], &vec![3; rest]].concat();
                let size = data.len();
                data.resize(4_096, 0);
                let new_size = mutate(&mut data, size, 4_096, seed, |_, size, _| size);
                assert!(data[..new_size].starts_with(&stamp::stamp()));
            }
        }
        // No room for a stamp, and a module, which needs none.
        let mut data = vec![3; 4_096];
        mutate(&mut data, 4_096, 4_096, 1, |_, size, _| size);
        assert_eq!(stamp::length(&data), 0);
        let mut module = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(mutate(&mut module, 8, 8, 1, |_, size, _| size), 8);
        assert_eq!(module, b"\0asm\x01\0\0\0");
    }

    #[test]
    fn short_inputs_grow() {
        let grown = (0..1_000).filter(|seed| {
            let mut data = vec![7; 4_096];
            mutate(
                &mut data,
                *seed as usize % 500,
                4_096,
                *seed,
                |_, size, _| size,
            ) >= SHORT
        });
        assert!(grown.count() > 900);
    }

    #[test]
    fn body_and_head_change_apart() {
        let before: Vec<u8> = (0..3_000u32).map(|at| at as u8).collect();
        let mut changed = [0; 2];
        for seed in 0..400 {
            let mut data = before.clone();
            data.resize(4_000, 0);
            let size = mutate(&mut data, 3_000, 4_000, seed, |body, size, _| {
                body[0] ^= 1;
                size
            });
            let data = stamp::strip(&data[..size]).expect("a stamp of this version");
            let head = data[..HEADER_BYTES] != before[..HEADER_BYTES];
            let body = data[HEADER_BYTES..] != before[HEADER_BYTES..];
            assert!(!(head && body));
            changed[0] += u32::from(head);
            changed[1] += u32::from(body);
        }
        assert!(changed[0] > 50 && changed[1] > 200, "{changed:?}");
    }
}
