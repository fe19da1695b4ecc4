//! How libFuzzer changes and crosses inputs: with the layout of inputs in mind ([`crate::generate`]).
//!
//! Left to itself, libFuzzer spends most mutations on bytes that nobody reads, or that turn all that
//! follows into something else. Here a mutation changes either one field of the head, which leaves the
//! body, or one statement or operand of the body, which leaves calls, settings and all other statements
//! (`pieces.rs`). Modules as they are stay valid (`modules.rs`). libFuzzer's own mutations, which know
//! what it learned about the program, have their share.
//!
//! What comes out follows from input and seed alone.

mod head;
mod modules;
mod pieces;

use super::input::HEADER_BYTES;
use super::outline::Outline;
use super::rng::Rng;
use super::stamp::{self, STAMP_BYTES};
use super::{Generator, Generators, dictionary, one_module};

/// What wasm-smith reads inputs from is made this long at least.
const SHORT: usize = 512;

/// And no longer than this by us.
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
    let max_size = max_size.min(data.len());
    let size = size.min(data.len());
    let mut rng = Rng::new(u64::from(seed));
    let body = size - stamp::length(&data[..size]);
    if is_module(&data[..size]) {
        // Modules with flaws have to be refused well.
        let mutated = (!rng.percent(4)).then(|| modules::mutate(&data[..size], max_size, &mut rng));
        return match mutated.flatten() {
            Some(module) => put(&module, data),
            None => libfuzzer(data, size, max_size),
        };
    }
    if max_size <= STAMP_BYTES + HEADER_BYTES {
        let size = libfuzzer(data, size, max_size);
        generators.steer(&mut data[..size]);
        return size;
    }
    // Where there is no room for a stamp, the end goes.
    let start = size - body;
    let body = body.min(data.len() - STAMP_BYTES);
    data.copy_within(start..start + body, STAMP_BYTES);
    let room = max_size - STAMP_BYTES;
    let (head, rest) = data.split_at_mut(STAMP_BYTES);
    head.copy_from_slice(&stamp::stamp());
    let size = match mutated(generators, &rest[..body], room, &mut rng) {
        Some(Mutated::Input(input)) => put(&input, rest),
        Some(Mutated::Module(module)) => return put(&module, data),
        None => by_libfuzzer(rest, body, room, &mut rng, libfuzzer),
    };
    generators.steer(&mut rest[..size]);
    STAMP_BYTES + size
}

/// What an input becomes.
enum Mutated {
    /// One of its kind, without a stamp.
    Input(Vec<u8>),
    /// A module.
    Module(Vec<u8>),
}

fn put(bytes: &[u8], data: &mut [u8]) -> usize {
    data[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
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
    mutate_for(Generators::all(), data, size, max_size, seed, libfuzzer)
}

/// Crosses two inputs into `out` and returns the size of what comes of it; 0 if nothing does, which
/// has libFuzzer mutate in another way. The result asks for one of `generators`.
pub fn cross_for(
    generators: Generators,
    one: &[u8],
    other: &[u8],
    out: &mut [u8],
    seed: u32,
) -> usize {
    let mut rng = Rng::new(u64::from(seed));
    // libFuzzer crosses as often as it mutates. That is too often.
    if rng.percent(60) {
        return 0;
    }
    let crossed = match (is_module(one), is_module(other)) {
        (true, true) => modules::cross(one, other, out.len(), &mut rng),
        (false, false) if out.len() > STAMP_BYTES + HEADER_BYTES => {
            let [one, other] = [one, other].map(|input| &input[stamp::length(input)..]);
            cross_inputs(one, other, &mut rng).map(|crossed| {
                let mut input = crossed.input(out.len() - STAMP_BYTES);
                generators.steer(&mut input);
                [&stamp::stamp()[..], &input].concat()
            })
        }
        _ => None,
    };
    match crossed {
        Some(crossed) if crossed != one => put(&crossed, out),
        _ => 0,
    }
}

/// As [`cross_for`], with all generators.
pub fn cross(one: &[u8], other: &[u8], out: &mut [u8], seed: u32) -> usize {
    cross_for(Generators::all(), one, other, out, seed)
}

fn is_module(data: &[u8]) -> bool {
    data.starts_with(b"\0asm")
}

/// What becomes of an input of ours, which comes without its stamp; `None` if that is left to
/// libFuzzer.
fn mutated(generators: Generators, data: &[u8], max_size: usize, rng: &mut Rng) -> Option<Mutated> {
    let mut outline = Outline::of(data)?;
    match rng.below(100) {
        // Another program, under the same settings and with the same calls or not. What is new to the code
        // under test comes of this more often than of any change to a program.
        0..=49 => {
            rng.fill(&mut outline.head[head::SHAPE]);
            match rng.below(10) {
                0..=2 => rng.fill(&mut outline.head),
                3..=5 => rng.fill(&mut outline.head[..=head::LINKING]),
                _ => {}
            }
            let mut input = outline.head.to_vec();
            generators.steer(&mut input);
            Some(Mutated::Input(Outline::of(&input)?.input(max_size)))
        }
        50..=61 => {
            let mut new = outline.head;
            head::change(&mut new, rng);
            Some(Mutated::Input(outline.with_head(new)?.input(max_size)))
        }
        // The module that it makes, for wasm-mutate.
        62 if generators == Generators::all() => {
            let module = one_module(data).filter(|module| module.len() <= max_size);
            module.map(Mutated::Module)
        }
        62..=91 => {
            let mut changed = false;
            for _ in 0..*rng.pick(&[1, 1, 1, 2, 4]) {
                let at = rng.below(outline.bodies.len() as u32) as usize;
                changed |= pieces::mutate(&mut outline.bodies[at], rng);
            }
            changed.then(|| Mutated::Input(outline.input(max_size)))
        }
        _ => None,
    }
}

/// Mutations of bytes as such: ours, and libFuzzer's.
fn by_libfuzzer(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    rng: &mut Rng,
    libfuzzer: impl Fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    if size < SHORT && size < max_size && asks_for_wasm_smith(&data[..size]) && !rng.percent(5) {
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
        0..=3 => splice(data, size, max_size, rng),
        4..=7 => constant(data, size, rng),
        _ => {
            let (_, body) = data.split_at_mut(HEADER_BYTES);
            HEADER_BYTES + libfuzzer(body, size - HEADER_BYTES, max_size - HEADER_BYTES)
        }
    }
}

fn asks_for_wasm_smith(data: &[u8]) -> bool {
    Generators::only(Generator::WasmSmith).asked_by(data)
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

/// Overwrites some bytes of the body with a constant of interest.
fn constant(data: &mut [u8], size: usize, rng: &mut Rng) -> usize {
    let bytes = match rng.below(4) {
        0 => u64::from(*rng.pick(&dictionary::integers_32())).to_le_bytes(),
        1 => rng.pick(&dictionary::integers_64()).to_le_bytes(),
        2 => u64::from(*rng.pick(&dictionary::floats_32())).to_le_bytes(),
        _ => rng.pick(&dictionary::floats_64()).to_le_bytes(),
    };
    let width = if rng.percent(50) { 4 } else { 8 };
    let at = HEADER_BYTES + rng.below((size - HEADER_BYTES) as u32) as usize;
    let end = size.min(at + width);
    data[at..end].copy_from_slice(&bytes[..end - at]);
    size
}

/// One input with something of another.
fn cross_inputs(one: &[u8], other: &[u8], rng: &mut Rng) -> Option<Outline> {
    let (mut ours, theirs) = (Outline::of(one)?, Outline::of(other)?);
    match rng.below(10) {
        // Their modules, called as ours, under our settings; or the other way around.
        0..=1 => {
            let mut new = theirs.head;
            head::cross(&mut new, &ours.head, rng);
            return theirs.with_head(new);
        }
        2..=3 => {
            let mut new = ours.head;
            head::cross(&mut new, &theirs.head, rng);
            return ours.with_head(new);
        }
        _ => {}
    }
    let at = rng.below(ours.bodies.len() as u32) as usize;
    let from = rng.below(theirs.bodies.len() as u32) as usize;
    let (body, other) = (&mut ours.bodies[at], &theirs.bodies[from]);
    if pieces::cross(body, other, rng) {
        return Some(ours);
    }
    if body.generator == Generator::WasmSmith && other.generator == Generator::WasmSmith {
        // The end of one behind the start of the other.
        let cut = rng.below(body.bytes.len() as u32 + 1) as usize;
        let start = cut.min(other.bytes.len());
        let crossed = [&body.bytes[..cut], &other.bytes[start..]].concat();
        body.replace(&crossed);
        return Some(ours);
    }
    None
}

#[cfg(test)]
mod tests;
