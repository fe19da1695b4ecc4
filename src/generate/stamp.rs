//! The stamp on raw inputs: which version of the decoder they were made for.
//!
//! The same bytes make another case once a generator changes. So whatever makes or saves raw inputs
//! (`parallax fuzz`, the mutator of the fuzz targets) puts a stamp of [`STAMP_BYTES`] bytes in front
//! of them: [`MAGIC`], then [`DECODER_VERSION`] as 32 bits, little-endian. An input with another
//! version is refused in words instead of being read as some case that it never was. An input
//! without a stamp is taken for one of this version, so that any bytes make a case.
//!
//! What is to be kept longer than that is kept as a script (`parallax corpus add`).

/// What a stamp begins with. Neither text nor the beginning of a module.
pub const MAGIC: [u8; 4] = *b"\x8fplx";

/// The version of the way from bytes to cases. To be raised by one in every commit after which some
/// input makes another case than before, be it by a change of a generator, of the head's layout,
/// of a weight, or by a new version of wasm-smith: a test in this file fails until that is done.
pub const DECODER_VERSION: u32 = 16;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 8;

/// Why an input with a stamp is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StampError {
    /// It was made for another version of the decoder.
    #[error(
        "this input was made by an incompatible decoder, of version {0}, and this parallax has \
         version {DECODER_VERSION}: run it with the parallax that made it"
    )]
    OtherVersion(u32),
    /// It ends within the stamp.
    #[error("this input ends within its stamp, after {0} bytes of {STAMP_BYTES}")]
    Truncated(usize),
}

/// The stamp of this version.
pub fn stamp() -> [u8; STAMP_BYTES] {
    let mut stamp = [0; STAMP_BYTES];
    let (magic, version) = stamp.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    version.copy_from_slice(&DECODER_VERSION.to_le_bytes());
    stamp
}

/// How many bytes of an input its stamp takes, of whatever version; 0 if it has none.
pub fn length(input: &[u8]) -> usize {
    if input.starts_with(&MAGIC) {
        input.len().min(STAMP_BYTES)
    } else {
        0
    }
}

/// What follows the stamp of an input; all of it if it has none.
///
/// # Errors
/// [`StampError`] if the stamp is not of this version, or not whole.
pub fn strip(input: &[u8]) -> Result<&[u8], StampError> {
    let (stamp, rest) = input.split_at(length(input));
    if stamp.is_empty() {
        return Ok(rest);
    }
    let version: Option<[u8; 4]> = stamp
        .get(MAGIC.len()..)
        .and_then(|bytes| bytes.try_into().ok());
    match version.map(u32::from_le_bytes) {
        Some(DECODER_VERSION) => Ok(rest),
        Some(other) => Err(StampError::OtherVersion(other)),
        None => Err(StampError::Truncated(stamp.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign;
    use crate::case::Case;
    use crate::generate::{Generator, Generators, case_from_bytes};

    /// What the inputs of [`digest`] make in version [`DECODER_VERSION`].
    const GOLDEN: (u32, [(&str, u64); 5]) = (
        16,
        [
            ("wasm_smith", 11803316901572382783),
            ("single_op", 4016453606585944582),
            ("loops", 87872846231296947),
            ("interrupts", 10245038675941893522),
            ("references", 6062187407218973224),
        ],
    );

    /// Inputs of each generator that are looked at.
    const INPUTS: u64 = 40;

    /// FNV-1a, which never changes.
    struct Digest(u64);

    impl Digest {
        fn add(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }

        /// All of a case that an engine could notice.
        fn case(&mut self, case: &Case) {
            self.add(case.settings.to_lines().as_bytes());
            for module in &case.modules {
                self.add(&module.wasm);
            }
            for step in &case.steps {
                self.add(format!("{:?}", step.action).as_bytes());
            }
            for registration in &case.registrations {
                self.add(format!("{registration:?}").as_bytes());
            }
        }
    }

    /// A digest of the cases that some inputs for one generator make, of many lengths.
    fn digest(generator: Generator) -> u64 {
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        for number in 0..INPUTS {
            let input = campaign::input(77, number, 0, Generators::only(generator));
            let length = input.len() - number as usize % 7 * 300;
            match case_from_bytes(&input[..length]) {
                Ok(case) => digest.case(&case),
                Err(error) => digest.add(error.to_string().as_bytes()),
            }
        }
        digest.0
    }

    #[test]
    fn inputs_mean_what_they_meant_in_this_version() {
        let now = Generator::ALL.map(|generator| (generator.name(), digest(generator)));
        let golden = (DECODER_VERSION, now);
        assert_eq!(
            golden, GOLDEN,
            "raw inputs mean something else than before: raise DECODER_VERSION in \
             src/generate/stamp.rs, put the version and digests on the left into GOLDEN, and run \
             `parallax seeds`"
        );
    }

    #[test]
    fn an_input_of_this_version_and_one_without_a_stamp_are_read() {
        let body = [1, 2, 3];
        assert_eq!(strip(&body), Ok(&body[..]));
        assert_eq!(strip(&[]), Ok(&[][..]));
        let stamped = [&stamp()[..], &body].concat();
        assert_eq!(strip(&stamped), Ok(&body[..]));
        let (plain, stamped) = (case_from_bytes(&body), case_from_bytes(&stamped));
        assert_eq!(format!("{plain:?}"), format!("{stamped:?}"));
    }

    #[test]
    fn an_input_of_another_version_is_told() {
        for version in [0, DECODER_VERSION + 1, u32::MAX] {
            let input = [&MAGIC[..], &version.to_le_bytes(), &[7; 100]].concat();
            assert_eq!(strip(&input), Err(StampError::OtherVersion(version)));
            let error = case_from_bytes(&input).expect_err("incompatible");
            let words = format!("incompatible decoder, of version {version},");
            assert!(error.to_string().contains(&words), "{error}");
            assert!(!Generators::all().asked_by(&input));
        }
        for length in MAGIC.len()..STAMP_BYTES {
            let cut = &stamp()[..length];
            assert_eq!(strip(cut), Err(StampError::Truncated(length)));
        }
    }
}
