//! The inputs of a run: which bytes case `i` of a seed is made from.

use crate::case::Case;
use crate::generate::rng::Rng;
use crate::generate::{self, Generators, stamp};

/// Bytes of an input behind its stamp at least.
pub const MIN_INPUT_BYTES: u32 = 2_000;
/// Bytes of an input behind its stamp at most; about 3,000 in the mean.
pub const MAX_INPUT_BYTES: u32 = 4_000;

/// Inputs that are tried for a case before it is given up. Hardly any input makes no case.
pub const ATTEMPTS: u64 = 16;

/// The bytes of a case: drawn from `seed`, the number of the case and the attempt at it, between
/// [`MIN_INPUT_BYTES`] and [`MAX_INPUT_BYTES`] long, behind a [`stamp`]. The first of them chooses one
/// of `generators`, among all that there are, so that the bytes alone tell the case.
pub fn input(seed: u64, case: u64, attempt: u64, generators: Generators) -> Vec<u8> {
    let mut rng = Rng::new(seed).fork(case).fork(attempt);
    let length = rng.range(MIN_INPUT_BYTES, MAX_INPUT_BYTES);
    let mut bytes = stamp::stamp().to_vec();
    bytes.resize(stamp::STAMP_BYTES + length as usize, 0);
    rng.fill(&mut bytes[stamp::STAMP_BYTES..]);
    generators.steer(&mut bytes);
    bytes
}

/// Makes case `case` of a seed: the first attempt at it that gives one. Also returns the bytes and
/// the number of inputs before that gave none.
pub fn case(seed: u64, case: u64, generators: Generators) -> (Vec<u8>, Option<Case>, u64) {
    case_noting(seed, case, generators, |_, _| {})
}

/// The same; `note` is told of the number and the bytes of every attempt before it is made.
pub fn case_noting(
    seed: u64,
    case: u64,
    generators: Generators,
    mut note: impl FnMut(u64, &[u8]),
) -> (Vec<u8>, Option<Case>, u64) {
    let mut attempt = 0;
    loop {
        let bytes = input(seed, case, attempt, generators);
        note(attempt, &bytes);
        match generate::case_from_bytes(&bytes) {
            Ok(made) => return (bytes, Some(made), attempt),
            Err(_) if attempt + 1 < ATTEMPTS => attempt += 1,
            Err(_) => return (bytes, None, attempt + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generator;
    use crate::generate::input::Header;

    /// An input without its stamp.
    fn drawn(input: &[u8]) -> &[u8] {
        stamp::strip(input).expect("a stamp of this version")
    }

    #[test]
    fn inputs_differ_by_seed_case_and_attempt() {
        let all = Generators::all();
        let first = input(1, 0, 0, all);
        assert_eq!(first, input(1, 0, 0, all));
        assert_ne!(first, input(2, 0, 0, all));
        assert_ne!(first, input(1, 1, 0, all));
        assert_ne!(first, input(1, 0, 1, all));
    }

    #[test]
    fn lengths_are_within_bounds_and_vary() {
        let lengths = (0..200).map(|case| drawn(&input(1, case, 0, Generators::all())).len());
        let lengths: Vec<usize> = lengths.collect();
        let bounds = MIN_INPUT_BYTES as usize..=MAX_INPUT_BYTES as usize;
        assert!(lengths.iter().all(|length| bounds.contains(length)));
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!((2_800..3_200).contains(&mean), "{mean}");
    }

    /// `parallax repro` knows nothing of the choice of generators.
    #[test]
    fn among_all_generators_an_input_chooses_one_of_those_wanted() {
        let chosen = |bytes: &[u8]| Header::split(drawn(bytes)).0.generator(Generators::all());
        for generator in Generator::ALL {
            let only: Generators = [generator].into_iter().collect();
            for case in 0..100 {
                assert_eq!(chosen(&input(1, case, 0, only)), Some(generator));
            }
        }
        // With all of them the bytes are as they are drawn.
        let without = input(1, 5, 0, [Generator::Loops].into_iter().collect());
        let with = input(1, 5, 0, Generators::all());
        assert_eq!(drawn(&without)[1..], drawn(&with)[1..]);
    }

    #[test]
    fn a_case_is_what_its_bytes_make() {
        let (bytes, made, without) = case(1, 3, Generators::all());
        assert_eq!(bytes, input(1, 3, without, Generators::all()));
        let again = generate::case_from_bytes(&bytes).expect("a case");
        assert_eq!(format!("{made:?}"), format!("{:?}", Some(again)));
    }
}
