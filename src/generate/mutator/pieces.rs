//! Mutations of what a module is generated from, by statements and operands.
//!
//! Where a statement or an operand is, and how long it is, the generator says ([`Body::put`]): what
//! comes behind the place of a mutation means the same as before, unless it has no room any more.

use std::ops::Range;

use crate::case::module::ValType;
use crate::generate::Generator;
use crate::generate::outline::Body;
use crate::generate::rng::Rng;
use crate::generate::source::PieceKind;

/// How often another mutation is tried where one changes nothing.
const TRIES: u32 = 8;

/// The byte before an item: there is one.
const GOES_ON: u8 = 0;

/// The types of operands.
const OPERANDS: [PieceKind; 7] = [
    PieceKind::Value(ValType::I32),
    PieceKind::Value(ValType::I64),
    PieceKind::Value(ValType::F32),
    PieceKind::Value(ValType::F64),
    PieceKind::Value(ValType::V128),
    PieceKind::Value(ValType::FuncRef),
    PieceKind::Value(ValType::ExternRef),
];

/// Makes one mutation; whether there was one to make.
pub(super) fn mutate(body: &mut Body, rng: &mut Rng) -> bool {
    if body.bytes.is_empty() || body.generator == Generator::WasmSmith {
        return false;
    }
    let before = body.bytes.clone();
    (0..TRIES).any(|_| mutate_once(body, rng) && body.bytes != before)
}

fn mutate_once(body: &mut Body, rng: &mut Rng) -> bool {
    let items = body.pieces_of(PieceKind::Item);
    if items.is_empty() || rng.percent(45) {
        return match rng.below(10) {
            0..=2 => operand(body, rng),
            3 => tail(body, rng),
            _ => byte(body, rng),
        };
    }
    let item = rng.pick(&items).clone();
    let other = rng.pick(&items).clone();
    let copy = body.bytes[other.clone()].to_vec();
    match rng.below(12) {
        // One more, in front of one that is there or behind it: new, or a copy.
        0..=2 => insert(body, &item, &[GOES_ON], rng),
        3..=4 => insert(body, &item, &copy, rng),
        5 => {
            let twice = body.bytes[item.clone()].to_vec();
            body.put(item.end..item.end, PieceKind::Item, &twice, rng)
        }
        // One less.
        6..=7 => {
            let mut fewer = body.bytes.clone();
            fewer.drain(item);
            body.replace(&fewer);
            true
        }
        // In place of one: a new one, or a copy.
        8 => body.put(item, PieceKind::Item, &[GOES_ON], rng),
        9 => body.put(item, PieceKind::Item, &copy, rng),
        _ => swap(body, item, other, rng),
    }
}

fn insert(body: &mut Body, item: &Range<usize>, new: &[u8], rng: &mut Rng) -> bool {
    let at = if rng.percent(50) {
        item.start
    } else {
        item.end
    };
    body.put(at..at, PieceKind::Item, new, rng)
}

/// Two items change places, if neither is within the other.
fn swap(body: &mut Body, one: Range<usize>, other: Range<usize>, rng: &mut Rng) -> bool {
    let (first, second) = if one.start < other.start {
        (one, other)
    } else {
        (other, one)
    };
    if first.end > second.start {
        return false;
    }
    let early = body.bytes[first.clone()].to_vec();
    let late = body.bytes[second.clone()].to_vec();
    // The later one first, so that the earlier one stays where it is.
    body.put(second, PieceKind::Item, &early, rng) && body.put(first, PieceKind::Item, &late, rng)
}

/// An operand is made anew, or is the copy of another one of its type.
fn operand(body: &mut Body, rng: &mut Rng) -> bool {
    let kind = *rng.pick(&OPERANDS);
    let operands = body.pieces_of(kind);
    if operands.is_empty() {
        return false;
    }
    let target = rng.pick(&operands).clone();
    let new = if rng.percent(50) {
        Vec::new()
    } else {
        body.bytes[rng.pick(&operands).clone()].to_vec()
    };
    body.put(target, kind, &new, rng)
}

/// One byte changes, and so one decision: which instruction, which table, which constant. What that
/// takes more or fewer bytes for is made up within the smallest piece around it.
fn byte(body: &mut Body, rng: &mut Rng) -> bool {
    let at = rng.below(body.bytes.len() as u32) as usize;
    let byte = body.bytes[at];
    let new = match rng.below(3) {
        0 => byte.wrapping_add(if rng.percent(50) { 4 } else { 252 }),
        1 => byte ^ 1 << rng.below(8),
        _ => rng.next_u32() as u8,
    };
    let around = body
        .pieces
        .iter()
        .filter(|piece| piece.range.contains(&at))
        .min_by_key(|piece| piece.range.len())
        .cloned();
    match around {
        // That there is an item is not to be changed this way.
        Some(piece) if piece.kind != PieceKind::Item || piece.range.start != at => {
            let mut bytes = body.bytes[piece.range.clone()].to_vec();
            bytes[at - piece.range.start] = new;
            body.put(piece.range, piece.kind, &bytes, rng)
        }
        _ => {
            let mut bytes = body.bytes.clone();
            bytes[at] = new;
            body.replace(&bytes);
            true
        }
    }
}

/// All from some place on is made anew.
fn tail(body: &mut Body, rng: &mut Rng) -> bool {
    let at = rng.below(body.bytes.len() as u32) as usize;
    let mut bytes = body.bytes[..at].to_vec();
    let mut new = [0; 256];
    rng.fill(&mut new);
    bytes.extend_from_slice(&new);
    body.replace(&bytes);
    true
}

/// Takes a piece over from a body of the same generator: a statement, an operand, or all that
/// follows; whether there was one.
pub(super) fn cross(body: &mut Body, other: &Body, rng: &mut Rng) -> bool {
    if body.generator != other.generator || body.generator == Generator::WasmSmith {
        return false;
    }
    let before = body.bytes.clone();
    (0..TRIES).any(|_| cross_once(body, other, rng) && body.bytes != before)
}

fn cross_once(body: &mut Body, other: &Body, rng: &mut Rng) -> bool {
    let kind = if rng.percent(70) {
        PieceKind::Item
    } else {
        *rng.pick(&OPERANDS)
    };
    let (ours, theirs) = (body.pieces_of(kind), other.pieces_of(kind));
    if ours.is_empty() || theirs.is_empty() {
        return false;
    }
    let place = rng.pick(&ours).clone();
    let taken = rng.pick(&theirs).clone();
    match rng.below(3) {
        0 if kind == PieceKind::Item => insert(body, &place, &other.bytes[taken], rng),
        1 if kind == PieceKind::Item => {
            let mut bytes = body.bytes[..place.start].to_vec();
            bytes.extend_from_slice(&other.bytes[taken.start..]);
            body.replace(&bytes);
            true
        }
        _ => body.put(place, kind, &other.bytes[taken], rng),
    }
}
