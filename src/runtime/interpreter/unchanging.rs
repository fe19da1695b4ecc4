//! What is said never to change, and whether it does.
//!
//! A load that is flagged `readonly` is a promise: Cranelift takes what it read once for what it reads ever
//! after, moves the load out of loops and across calls, and drops those that follow. Interpreted, each
//! load reads anew, so that a false promise would do no harm. So it is held against what was read before.
//! If such a load may not trap either, it moves in front of whatever comes between it and where its
//! address comes from, a check of that address included. So what it loads is looked for there as well
//! (`Op::CheckMovable`).

use crate::codegen::clif::Load;

/// Addresses that are remembered at a time. What is read this way is a vmctx's: the addresses of
/// builtins, imports, memories of static style; few of them in one call.
const REMEMBERED: usize = 64;

/// What one call into interpreted code has read of what is said never to change.
pub struct Unchanging {
    /// Address with the load's width, and the value; each where its address has it. No load has
    /// address and width 0.
    seen: [(u64, u64); REMEMBERED],
}

impl Unchanging {
    /// Nothing was read yet.
    pub const NOTHING: Unchanging = Unchanging {
        seen: [(0, 0); REMEMBERED],
    };

    /// Whether a load has read what one of the same kind has read there before, as far as that is
    /// remembered; and remembers it.
    #[inline(always)]
    pub fn is_as_before(&mut self, load: Load, address: u64, value: u64) -> bool {
        let width = match load {
            Load::Zero(bytes) => bytes,
            _ => 0,
        };
        // Addresses have 48 bits.
        let key = address | u64::from(width) << 56;
        let seen = &mut self.seen[(address / 8) as usize % REMEMBERED];
        let same = seen.0 != key || seen.1 == value;
        *seen = (key, value);
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_noticed_and_what_is_read_elsewhere_is_not_that() {
        let mut unchanging = Unchanging::NOTHING;
        let (word, half) = (Load::Zero(8), Load::Zero(4));
        let far = 0x1000 + 8 * REMEMBERED as u64;
        for (load, address, value, same) in [
            (word, 0x1000, 5, true),
            (word, 0x1000, 5, true),
            (word, 0x1008, 6, true),
            (half, 0x1000, 6, true),
            (half, 0x1000, 7, false),
            (word, 0x1000, 5, true),
            (word, 0x1000, 6, false),
            // In the place of the one before.
            (word, far, 7, true),
            (word, 0x1000, 8, true),
            (word, 0x1008, 0, false),
        ] {
            let told = unchanging.is_as_before(load, address, value);
            assert_eq!(told, same, "{address:#x}: {value}");
        }
    }
}
