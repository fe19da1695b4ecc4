//! Mutations of the head of an input: generator, linking, settings and seeds.

use std::ops::Range;

use crate::generate::input::HEADER_BYTES;
use crate::generate::rng::Rng;

/// A head.
pub(super) type Head = [u8; HEADER_BYTES];

/// The byte that chooses the generator, and the one that says how modules are linked.
pub(super) const GENERATOR: usize = 0;
pub(super) const LINKING: usize = 1;

/// Settings, a byte each.
const SETTINGS: Range<usize> = 2..8;

/// The seeds of calls, of the host, and of shape.
const CALLS: Range<usize> = 8..16;
const HOST: Range<usize> = 16..24;
pub(super) const SHAPE: Range<usize> = 24..32;

/// Changes one field.
pub(super) fn change(head: &mut Head, rng: &mut Rng) {
    match rng.below(24) {
        0..=7 => seed(&mut head[CALLS], rng),
        8..=10 => seed(&mut head[HOST], rng),
        11..=12 => seed(&mut head[SHAPE], rng),
        13 => byte(&mut head[GENERATOR], rng),
        14..=15 => byte(&mut head[LINKING], rng),
        _ => {
            let at = rng.range(SETTINGS.start as u32, SETTINGS.end as u32 - 1);
            byte(&mut head[at as usize], rng);
        }
    }
}

/// Takes some fields of another head: the settings, or calls and host.
pub(super) fn cross(head: &mut Head, other: &Head, rng: &mut Rng) {
    let taken = match rng.below(4) {
        0 => SETTINGS,
        1 => CALLS,
        2 => HOST,
        _ => SETTINGS.start..HOST.end,
    };
    head[taken.clone()].copy_from_slice(&other[taken]);
}

/// A seed: all of it anew, or its neighbour.
fn seed(seed: &mut [u8], rng: &mut Rng) {
    if rng.percent(60) {
        rng.fill(seed);
    } else {
        seed[0] = seed[0].wrapping_add(1);
    }
}

fn byte(byte: &mut u8, rng: &mut Rng) {
    *byte = match rng.below(3) {
        0 => byte.wrapping_add(1),
        1 => *byte ^ 1 << rng.below(8),
        _ => rng.next_u32() as u8,
    };
}
