//! The input in flight: what a worker is about to run, kept where it outlives the worker.
//!
//! It lies in a file that exists in memory only and belongs to the supervisor. The worker has it as
//! its standard error, and so needs no name and no other descriptor for it:
//!
//! | bytes | what is there |
//! | --- | --- |
//! | 0..32 | a mark, the number of the case, of the attempt at it, the length of the input; 64 bits each, little-endian |
//! | 32.. | the input |
//! | [`WORDS_AT`].. | what was written to standard error: a worker's last words |
//!
//! The file's size is sealed, so that nothing a worker does can take more memory through it. The
//! input is written before its head; but what a worker left is not taken on trust: code that it ran
//! may have written there as well.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::process::Stdio;

use rustix::fs::{MemfdFlags, SealFlags};

/// Where a worker opens the file by the descriptor that it has it as.
const STANDARD_ERROR: &str = "/proc/self/fd/2";

const MARK: u64 = u64::from_le_bytes(*b"inflight");
const HEAD_BYTES: usize = 32;
/// Bytes of an input at most.
const INPUT_BYTES: u64 = 1 << 20;
const WORDS_AT: u64 = HEAD_BYTES as u64 + INPUT_BYTES;
/// Bytes of standard error at most; what comes after is lost.
const WORDS_BYTES: u64 = 1 << 20;
/// Bytes of the last words that are told at most.
const TOLD_BYTES: u64 = 2_000;

/// The supervisor's end.
#[derive(Debug)]
pub struct Flight {
    file: File,
    /// Up to where last words were passed on.
    passed_on: u64,
}

/// What a worker was about to run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InFlight {
    /// The number of the case.
    pub case: u64,
    /// The attempt at it.
    pub attempt: u64,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Flight {
    /// Room for one input.
    ///
    /// # Errors
    /// If the system has none.
    pub fn new() -> io::Result<Flight> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("parallax-flight", flags)?);
        file.set_len(WORDS_AT + WORDS_BYTES)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        // Standard error shares this position.
        file.seek(SeekFrom::Start(WORDS_AT))?;
        Ok(Flight {
            file,
            passed_on: WORDS_AT,
        })
    }

    /// What is to be the worker's standard error.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn standard_error(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }

    /// The last input that was noted, as it was left.
    pub fn input(&self) -> Option<InFlight> {
        let mut head = [0; HEAD_BYTES];
        self.file.read_exact_at(&mut head, 0).ok()?;
        let (words, _) = head.as_chunks::<8>();
        let [mark, case, attempt, length] = [0, 1, 2, 3].map(|at| u64::from_le_bytes(words[at]));
        if mark != MARK || length > INPUT_BYTES {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file
            .read_exact_at(&mut bytes, HEAD_BYTES as u64)
            .ok()?;
        Some(InFlight {
            case,
            attempt,
            bytes,
        })
    }

    /// The end of what the worker wrote to standard error, in one line; empty if nothing.
    pub fn last_words(&self) -> String {
        let end = self.end_of_words();
        let start = WORDS_AT.max(end.saturating_sub(TOLD_BYTES));
        let text = self.words(start, end);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .collect();
        lines.join("; ")
    }

    /// What the worker wrote to standard error since this was last called.
    pub fn new_words(&mut self) -> String {
        let end = self.end_of_words();
        let text = self.words(self.passed_on, end);
        self.passed_on = end;
        text
    }

    fn end_of_words(&self) -> u64 {
        let position = (&self.file).stream_position().unwrap_or(WORDS_AT);
        position.clamp(WORDS_AT, WORDS_AT + WORDS_BYTES)
    }

    fn words(&self, start: u64, end: u64) -> String {
        let mut bytes = vec![0; end.saturating_sub(start) as usize];
        if self.file.read_exact_at(&mut bytes, start).is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&bytes);
        text.replace(|c: char| c.is_control() && c != '\n', " ")
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Note(File);

impl Note {
    /// Opens what this process has as its standard error.
    ///
    /// # Errors
    /// If that is none of [`Flight`]'s.
    pub fn open() -> io::Result<Note> {
        Note::open_at(STANDARD_ERROR)
    }

    fn open_at(path: &str) -> io::Result<Note> {
        let file = OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() == WORDS_AT + WORDS_BYTES {
            Ok(Note(file))
        } else {
            Err(io::Error::other("standard error is not the supervisor's"))
        }
    }

    /// Notes what will be run now.
    ///
    /// # Errors
    /// If it cannot be written, or is too long.
    pub fn input(&self, case: u64, attempt: u64, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if length > INPUT_BYTES {
            return Err(io::Error::other("the input is too long to be noted"));
        }
        self.0.write_all_at(bytes, HEAD_BYTES as u64)?;
        let mut head = [0; HEAD_BYTES];
        for (word, value) in head.chunks_mut(8).zip([MARK, case, attempt, length]) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        self.0.write_all_at(&head, 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    fn ends() -> (Flight, Note) {
        let flight = Flight::new().expect("memory");
        let path = format!("/proc/self/fd/{}", flight.file.as_raw_fd());
        let note = Note::open_at(&path).expect("the same file");
        (flight, note)
    }

    #[test]
    fn the_last_input_noted_is_read() {
        let (flight, note) = ends();
        assert_eq!(flight.input(), None);
        note.input(7, 0, &[1; 4_000]).expect("room");
        note.input(8, 1, &[2, 3]).expect("room");
        let expected = InFlight {
            case: 8,
            attempt: 1,
            bytes: vec![2, 3],
        };
        assert_eq!(flight.input(), Some(expected));
        assert!(
            note.input(9, 0, &vec![0; INPUT_BYTES as usize + 1])
                .is_err()
        );
    }

    #[test]
    fn what_is_written_over_it_is_no_input() {
        let (flight, note) = ends();
        note.input(7, 0, &[1; 10]).expect("room");
        note.0.write_all_at(&[0xff; 8], 24).expect("room");
        assert_eq!(flight.input(), None);
        // No larger, no smaller.
        assert!(note.0.set_len(0).is_err());
        assert!(note.0.set_len(1 << 40).is_err());
        assert!(note.0.write_all_at(&[0], WORDS_AT + WORDS_BYTES).is_err());
    }

    #[test]
    fn last_words_stand_beside_it() {
        let (mut flight, note) = ends();
        assert_eq!(flight.last_words(), "");
        let mut stderr = flight.file.try_clone().expect("a descriptor");
        stderr.write_all(b"some\nwords \n").expect("room");
        note.input(1, 0, b"input").expect("room");
        assert_eq!(flight.last_words(), "some; words");
        assert_eq!(flight.new_words(), "some\nwords \n");
        stderr.write_all(b"more\x1b").expect("room");
        assert_eq!(flight.new_words(), "more ");
        assert_eq!(flight.input().map(|it| it.bytes), Some(b"input".to_vec()));
    }
}
