//! What in an input made what: the bodies of its modules, piece by piece.
//!
//! Generators decide byte by byte, and how many bytes a statement takes follows from what they say.
//! So the mutator has them generate once more, from a source that keeps what it hands out
//! ([`Source::recording`]), and learns where statements and operands begin and end.

use std::ops::Range;

use super::input::{HEADER_BYTES, Header};
use super::rng::Rng;
use super::source::{Piece, PieceKind, Record, Source};
use super::{Generator, Generators, Linking, generate_from, second_of};

/// An input that is not a module, without its stamp, taken apart.
#[derive(Clone, Debug)]
pub struct Outline {
    /// The head, all of it.
    pub head: [u8; HEADER_BYTES],
    /// What its modules are made from, one or two.
    pub bodies: Vec<Body>,
}

/// What one module is made from.
#[derive(Clone, Debug)]
pub struct Body {
    /// What makes it.
    pub generator: Generator,
    header: Header,
    /// All the bytes that the generator draws, and none that it does not. For
    /// [`Generator::WasmSmith`], which draws in its own way, the bytes that there are.
    pub bytes: Vec<u8>,
    /// What they make, inner pieces before those around them; nothing for
    /// [`Generator::WasmSmith`].
    pub pieces: Vec<Piece>,
}

impl Outline {
    /// Takes an input apart that is not a module and comes without its stamp; `None` if it asks for
    /// no generator.
    pub fn of(data: &[u8]) -> Option<Outline> {
        let (head, body) = Header::bytes(data);
        Outline::of_parts(head, body)
    }

    fn of_parts(head: [u8; HEADER_BYTES], body: &[u8]) -> Option<Outline> {
        let among = Generators::all();
        let header = Header::read(&head);
        let generator = header.generator(among)?;
        let bodies = match Linking::of(&header, generator) {
            Linking::One | Linking::Twice => vec![Body::new(generator, header, body)],
            Linking::Two => {
                let (first, second) = body.split_at(body.len() / 2);
                let (other, other_header, _) = second_of(generator, among, &header);
                vec![
                    Body::new(generator, header, first),
                    Body::new(other, other_header, second),
                ]
            }
        };
        Some(Outline { head, bodies })
    }

    /// The same under another head. What another generator is to make has a body of its own.
    pub fn with_head(&self, head: [u8; HEADER_BYTES]) -> Option<Outline> {
        let mut other = Outline::of_parts(head, &[])?;
        for (body, old) in other.bodies.iter_mut().zip(&self.bodies) {
            if body.generator == old.generator {
                body.bytes.clone_from(&old.bytes);
                body.pieces.clone_from(&old.pieces);
            }
        }
        Some(other)
    }

    /// The input, without a stamp. If it is longer than `most`, its end is missing, and follows from
    /// the head.
    pub fn input(&self, most: usize) -> Vec<u8> {
        let mut input = self.head.to_vec();
        match self.bodies.as_slice() {
            [first, second] => {
                let room = most.saturating_sub(HEADER_BYTES);
                let (first_size, second_size) = halves(first, second, room);
                for (body, size) in [(first, first_size), (second, second_size)] {
                    let taken = body.bytes.len().min(size);
                    input.extend_from_slice(&body.bytes[..taken]);
                    // Behind all that is drawn.
                    input.resize(input.len() + size - taken, 0);
                }
            }
            bodies => {
                for body in bodies {
                    input.extend_from_slice(&body.bytes);
                }
            }
        }
        input.truncate(most);
        input
    }
}

/// How long two bodies are made, so that the decoder finds the second behind half of all bytes: as
/// long as the second, or one byte shorter. Bytes that wasm-smith reads are all of interest to it,
/// how many there are as well, so what is made from others is cut or padded to fit. What is cut off
/// is drawn anew.
fn halves(first: &Body, second: &Body, room: usize) -> (usize, usize) {
    let (one, other) = (first.bytes.len(), second.bytes.len());
    let fixed = |body: &Body| body.generator == Generator::WasmSmith;
    let (one, other) = match (fixed(first), fixed(second)) {
        (true, false) => (one, other.clamp(one, one + 1)),
        (false, true) => (one.clamp(other.saturating_sub(1), other), other),
        _ if other == one + 1 => (one, other),
        _ => (one.max(other), one.max(other)),
    };
    if one + other > room {
        (room / 2, room - room / 2)
    } else {
        (one, other)
    }
}

impl Body {
    fn new(generator: Generator, header: Header, bytes: &[u8]) -> Body {
        let mut body = Body {
            generator,
            header,
            bytes: Vec::new(),
            pieces: Vec::new(),
        };
        let record = body.record(bytes, body.header.shape_seed);
        body.bytes = record.bytes;
        body.pieces = record.pieces;
        body
    }

    /// What the generator draws if it is given these bytes, and numbers from a seed once they are used
    /// up.
    fn record(&self, bytes: &[u8], seed: u64) -> Record {
        if self.generator == Generator::WasmSmith {
            return Record {
                bytes: bytes.to_vec(),
                pieces: Vec::new(),
            };
        }
        let mut source = Source::recording(bytes, seed);
        // Whether there is a module in the end does not matter here.
        let _ = generate_from(
            self.generator,
            &self.header,
            &mut source,
            &mut self.header.settings(),
        );
        source.into_record()
    }

    /// Replaces what lies at `range` by `new`, and has the generator say how many bytes of that make
    /// one piece of this kind: what is too much is left out, what is missing is drawn from `rng`. So
    /// all that follows means what it meant. Whether there is such a piece there now; if not,
    /// nothing changes.
    pub fn put(&mut self, range: Range<usize>, kind: PieceKind, new: &[u8], rng: &mut Rng) -> bool {
        let start = range.start;
        let mut bytes = self.bytes[..start].to_vec();
        bytes.extend_from_slice(new);
        let record = self.record(&bytes, rng.next_u64());
        let placed = record
            .pieces
            .iter()
            .rfind(|piece| piece.kind == kind && piece.range.start == start);
        let Some(placed) = placed else {
            return false;
        };
        bytes.clear();
        bytes.extend_from_slice(&record.bytes[..placed.range.end]);
        bytes.extend_from_slice(&self.bytes[range.end..]);
        self.replace(&bytes);
        true
    }

    /// Takes all bytes anew.
    pub fn replace(&mut self, bytes: &[u8]) {
        let record = self.record(bytes, self.header.shape_seed);
        self.bytes = record.bytes;
        self.pieces = record.pieces;
    }

    /// The pieces of a kind.
    pub fn pieces_of(&self, kind: PieceKind) -> Vec<Range<usize>> {
        let of_kind = self.pieces.iter().filter(|piece| piece.kind == kind);
        of_kind.map(|piece| piece.range.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::case_from_bytes;

    fn input(seed: u64, size: usize) -> Vec<u8> {
        let mut data = vec![0; size];
        Rng::new(seed).fill(&mut data);
        data
    }

    #[test]
    fn an_outline_makes_the_same_case() {
        let (mut pieces, mut cut) = (0, 0);
        for seed in 0..200 {
            let data = input(seed, [3, 40, 700, 3_000][seed as usize % 4]);
            let outline = Outline::of(&data).expect("a generator");
            pieces += outline
                .bodies
                .iter()
                .map(|body| body.pieces.len())
                .sum::<usize>();
            let whole: usize = outline.bodies.iter().map(|body| body.bytes.len()).sum();
            let again = outline.input(usize::MAX);
            if again.len() < HEADER_BYTES + whole {
                cut += 1;
                continue;
            }
            let [case, same] = [case_from_bytes(&data), case_from_bytes(&again)];
            assert!(format!("{case:?}") == format!("{same:?}"), "seed {seed}");
        }
        assert!(pieces > 2_000 && cut < 20, "{pieces} pieces, {cut} cut");
    }

    #[test]
    fn what_is_put_in_leaves_the_rest() {
        let (mut put, mut kept) = (0, 0);
        for seed in 0..300 {
            let mut outline = Outline::of(&input(seed, 900)).expect("a generator");
            let mut rng = Rng::new(seed);
            let body = &mut outline.bodies[0];
            let items = body.pieces_of(PieceKind::Item);
            let Some(item) = items.last().cloned() else {
                continue;
            };
            let before = body.bytes.clone();
            if body.put(item.start..item.start, PieceKind::Item, &[0], &mut rng) {
                put += 1;
                assert_eq!(body.bytes[..item.start], before[..item.start]);
                // Unless there is no room for it any more.
                kept += u32::from(body.bytes.ends_with(&before[item.start..]));
            }
        }
        assert!(put > 60 && kept * 10 > put * 7, "{kept} of {put}");
    }
}
