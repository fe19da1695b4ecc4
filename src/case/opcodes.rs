//! The set of WebAssembly instructions that some code holds: cheap to fill while the code is
//! validated, cheap to unite over a million cases.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{BinaryReader, FrameKind, FrameStack, VisitOperator, VisitSimdOperator};

/// Opcodes of one byte.
const PLAIN: usize = 256;
/// Opcodes behind the prefix 0xfc (saturating conversions, bulk memory and tables).
const MISC: usize = 64;
/// Opcodes behind the prefix 0xfd (vectors; the relaxed ones end at 0x113).
const VECTOR: usize = 320;
/// Opcodes behind the prefix 0xfe (threads).
const ATOMIC: usize = 128;

const WORDS: usize = (PLAIN + MISC + VECTOR + ATOMIC) / 64;

/// A set of WebAssembly opcodes.
///
/// Serialised, it is what it is in memory, for those who add up the counts of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct OpcodeSet([u64; WORDS]);

impl OpcodeSet {
    /// The set with nothing in it.
    pub const EMPTY: OpcodeSet = OpcodeSet([0; WORDS]);

    /// All instructions of WebAssembly 2.0, vectors included.
    pub fn wasm_2() -> OpcodeSet {
        // Specification 2.0, index of instructions; 6 to 10 and 0x12 to 0x19 are of later proposals.
        let plain = [
            0x00..=0x05,
            0x0b..=0x11,
            0x1a..=0x1c,
            0x20..=0x26,
            0x28..=0xc4,
            0xd0..=0xd2,
        ];
        let positions = plain
            .into_iter()
            .flatten()
            .chain((0..=17).map(|number| PLAIN + number))
            .chain((0..=0xff).map(|number| PLAIN + MISC + number));
        let mut all = OpcodeSet::EMPTY;
        // Not all numbers of vector instructions are assigned.
        for bit in positions.filter(|bit| !name(*bit).starts_with("0x")) {
            all.insert_bit(bit);
        }
        all
    }

    /// Adds the opcode that `code` starts with; nothing if there is none.
    #[inline]
    pub fn insert_encoded(&mut self, code: &[u8]) {
        let Some(&first) = code.first() else { return };
        let (base, limit) = match first {
            0xfc => (PLAIN, MISC),
            0xfd => (PLAIN + MISC, VECTOR),
            0xfe => (PLAIN + MISC + VECTOR, ATOMIC),
            _ => return self.insert_bit(usize::from(first)),
        };
        // An opcode behind a prefix is a LEB128 number; all that are assigned fit in two bytes,
        // but the encoding may be padded.
        let mut number = 0usize;
        for (position, &byte) in code[1..].iter().take(5).enumerate() {
            number |= usize::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                break;
            }
        }
        if number < limit {
            self.insert_bit(base + number);
        }
    }

    #[inline]
    fn insert_bit(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    /// Adds all of `other`.
    pub fn union_with(&mut self, other: &OpcodeSet) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Whether the opcode that `code` starts with is in the set.
    pub fn has(&self, code: &[u8]) -> bool {
        let mut with = *self;
        with.insert_encoded(code);
        with == *self
    }

    /// The number of opcodes in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// The names of the opcodes in the set as the text format has them, in order of encoding.
    pub fn names(&self) -> impl Iterator<Item = Cow<'static, str>> + '_ {
        (0..WORDS * 64)
            .filter(|bit| self.0[bit / 64] >> (bit % 64) & 1 == 1)
            .map(name)
    }
}

impl fmt::Debug for OpcodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The name of the opcode with this position in the set; its encoding where it has none.
fn name(bit: usize) -> Cow<'static, str> {
    let (prefix, number) = if bit < PLAIN {
        (None, bit)
    } else if bit < PLAIN + MISC {
        (Some(0xfc), bit - PLAIN)
    } else if bit < PLAIN + MISC + VECTOR {
        (Some(0xfd), bit - PLAIN - MISC)
    } else {
        (Some(0xfe), bit - PLAIN - MISC - VECTOR)
    };
    // Every instruction decodes with immediates of zero, but for `select` with a type, which
    // needs exactly one.
    let mut code = [0u8; 32];
    match prefix {
        None if number == 0x1c => code[..3].copy_from_slice(&[0x1c, 1, 0x7f]),
        None => code[0] = number as u8,
        Some(prefix) => {
            code[0] = prefix;
            code[1] = number as u8 & 0x7f | 0x80;
            code[2] = (number >> 7) as u8;
        }
    }
    match BinaryReader::new(&code, 0).visit_operator(&mut Namer) {
        Ok("visit_typed_select") => Cow::Borrowed("select t"),
        Ok(method) => Cow::Owned(text_name(method.trim_start_matches("visit_"))),
        Err(_) => Cow::Owned(match prefix {
            None => format!("{number:#04x}"),
            Some(prefix) => format!("{prefix:#04x} {number:#04x}"),
        }),
    }
}

/// Turns `i32_trunc_sat_f32_s` into `i32.trunc_sat_f32_s`, and leaves `br_if` alone.
fn text_name(snake: &str) -> String {
    const NAMESPACES: [&str; 17] = [
        "i32", "i64", "f32", "f64", "v128", "i8x16", "i16x8", "i32x4", "i64x2", "f32x4", "f64x2",
        "local", "global", "table", "memory", "ref", "data",
    ];
    match snake.split_once('_') {
        Some((namespace, rest)) if NAMESPACES.contains(&namespace) || namespace == "elem" => {
            format!("{namespace}.{rest}")
        }
        _ => snake.to_string(),
    }
}

/// Answers every visit with the name of the method visited.
struct Namer;

macro_rules! answer_name {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(fn $visit(&mut self $($(, $arg: $argty)*)?) -> &'static str {
            $($(let _ = $arg;)*)?
            stringify!($visit)
        })*
    };
}

impl<'a> VisitOperator<'a> for Namer {
    type Output = &'static str;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = &'static str>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(answer_name);
}

impl VisitSimdOperator<'_> for Namer {
    wasmparser::for_each_visit_simd_operator!(answer_name);
}

impl FrameStack for Namer {
    /// `else` may only be read inside an `if`.
    fn current_frame(&self) -> Option<FrameKind> {
        Some(FrameKind::If)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(codes: &[&[u8]]) -> OpcodeSet {
        let mut set = OpcodeSet::EMPTY;
        for code in codes {
            set.insert_encoded(code);
        }
        set
    }

    #[test]
    fn names_follow_the_text_format() {
        let set = set(&[
            &[0x05],
            &[0x0e, 0x00],
            &[0x1c, 0x01, 0x7f],
            &[0x41, 0x00],
            &[0xd0, 0x70],
            &[0xfc, 0x0a],
            &[0xfc, 0x0f],
            &[0xfd, 0x0c],
            &[0xfd, 0xec, 0x01],
        ]);
        assert_eq!(
            set.names().collect::<Vec<_>>(),
            [
                "else",
                "br_table",
                "select t",
                "i32.const",
                "ref.null",
                "memory.copy",
                "table.grow",
                "v128.const",
                "f64x2.abs"
            ]
            .map(|name| name.to_string())
        );
        assert_eq!(set.len(), 9);
    }

    #[test]
    fn union_has_what_either_has() {
        let mut both = set(&[&[0x01], &[0xfc, 0x0a]]);
        both.union_with(&set(&[&[0xfc, 0x0a], &[0xfd, 0x0c]]));
        assert_eq!(both, set(&[&[0x01], &[0xfc, 0x0a], &[0xfd, 0x0c]]));
        assert_eq!(both.len(), 3);
    }

    #[test]
    fn padded_encodings_are_the_same_opcode() {
        assert_eq!(set(&[&[0xfc, 0x8a, 0x00]]), set(&[&[0xfc, 0x0a]]));
    }

    #[test]
    fn what_is_no_opcode_is_left_out() {
        let set = set(&[
            &[],
            &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x01],
            &[0xfd, 0xff, 0x7f],
        ]);
        assert!(set.is_empty());
    }

    #[test]
    fn every_opcode_of_wasm_2_has_a_name() {
        let mut all = OpcodeSet::EMPTY;
        for opcode in 0x00..=0x11u8 {
            if !(0x06..=0x0a).contains(&opcode) {
                all.insert_encoded(&[opcode]);
            }
        }
        for opcode in 0x41..=0xc4u8 {
            all.insert_encoded(&[opcode]);
        }
        for opcode in 0..=17u8 {
            all.insert_encoded(&[0xfc, opcode]);
        }
        assert_eq!(all.names().filter(|name| name.starts_with("0x")).count(), 0);
    }
}
