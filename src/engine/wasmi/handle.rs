//! Which function a wasmi `Func` is, and which memory a `Memory`.
//!
//! wasmi gives no way to compare two of them. But the `Debug` form of a handle tells the slot it
//! has in its store, `Func(Stored { store: StoreId(0), value: RawHandle { key: 5, … } })`, and
//! slots are handed out in order, from 1. Reading that form takes about 70 ns, because formatting
//! is given up as soon as the slot is known. [`super::run`] checks for every instance that the
//! slots are as expected, so that a wasmi that does it otherwise is noticed at once.

use std::fmt::{self, Debug, Write};

/// The slot of a function or a memory in its store, functions counted from 1; 0 if it cannot be told.
pub fn slot(handle: &impl Debug) -> u32 {
    let mut reader = SlotReader::Searching;
    // The reader ends formatting with an error once it has what it wants.
    let _ = write!(reader, "{handle:?}");
    match reader {
        SlotReader::Found(slot) => slot,
        _ => 0,
    }
}

/// Takes the pieces of the `Debug` form one after the other: the field's name, a colon, its value.
enum SlotReader {
    Searching,
    Named,
    Expected,
    Found(u32),
}

impl Write for SlotReader {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        *self = match self {
            SlotReader::Searching if piece == "key" => SlotReader::Named,
            SlotReader::Searching => return Ok(()),
            SlotReader::Named => SlotReader::Expected,
            SlotReader::Expected => SlotReader::Found(piece.parse().map_err(|_| fmt::Error)?),
            SlotReader::Found(_) => return Err(fmt::Error),
        };
        match self {
            SlotReader::Found(_) => Err(fmt::Error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ::wasmi::{Engine, Func, Memory, MemoryType, Store};

    use super::*;

    #[test]
    fn slots_count_functions_from_one() {
        for _ in 0..2 {
            let mut store = Store::new(&Engine::default(), ());
            for expected in 1..200 {
                let func = Func::wrap(&mut store, || {});
                assert_eq!(slot(&func), expected);
                assert_eq!(slot(&func.clone()), expected);
            }
        }
    }

    #[test]
    fn slots_tell_memories_apart() {
        let mut store = Store::new(&Engine::default(), ());
        let mut memory = || Memory::new(&mut store, MemoryType::new(0, None)).unwrap();
        let (one, other) = (memory(), memory());
        assert_eq!(slot(&one), slot(&one.clone()));
        assert_ne!(slot(&one), slot(&other));
    }
}
