//! The activations table: references that only the stack may hold.
//!
//! Every reference that goes onto the wasm stack is put into this table with a count of its own.
//! Generated code puts them into the *bump region*; where that is full, a collection empties the
//! table of all that no frame mentions. What a collection finds on the stack it keeps, once, in
//! the *kept* list. The sum of both is always an over-approximation of what the stack holds.

use super::block::{Block, Heap};
use crate::score::Fault;
use crate::translate::layout::{POINTER_BYTES, activations};

/// The activations table of a store.
pub struct Activations {
    header: Block,
    bump: Block,
    capacity: u32,
    kept: Vec<u64>,
}

impl Activations {
    /// An empty table whose bump region holds `capacity` references, at least one.
    pub fn new(heap: &Heap, capacity: u32) -> Activations {
        let capacity = capacity.max(1);
        let table = Activations {
            header: heap.block(16),
            bump: heap.block(capacity * POINTER_BYTES),
            capacity,
            kept: Vec::new(),
        };
        table
            .header
            .write_u64(activations::NEXT, table.bump.address());
        let end = table.bump.address_of(capacity * POINTER_BYTES);
        table.header.write_u64(activations::END, end);
        table
    }

    /// The address that vmctxs hold.
    pub fn address(&self) -> u64 {
        self.header.address()
    }

    /// How many references the bump region holds at the moment. What generated code left as the
    /// next free slot is not trusted.
    fn bumped(&self) -> u32 {
        let next = self.header.read_u64(activations::NEXT);
        let bytes = next.wrapping_sub(self.bump.address());
        u32::try_from(bytes / u64::from(POINTER_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.capacity)
    }

    /// Puts a reference in, whose count the caller has incremented. Never collects.
    pub fn insert(&mut self, object: u64) {
        let bumped = self.bumped();
        if bumped < self.capacity {
            self.bump.write_u64(bumped * POINTER_BYTES, object);
            let next = self.bump.address_of((bumped + 1) * POINTER_BYTES);
            self.header.write_u64(activations::NEXT, next);
        } else {
            self.kept.push(object);
        }
    }

    /// All references it holds, each as often as it does.
    pub fn entries(&self) -> Vec<u64> {
        let bumped = (0..self.bumped()).map(|index| self.bump.read_u64(index * POINTER_BYTES));
        bumped.chain(self.kept.iter().copied()).collect()
    }

    /// Whether it holds a reference.
    pub fn holds(&self, reference: u64) -> bool {
        let mut bumped = (0..self.bumped()).map(|index| self.bump.read_u64(index * POINTER_BYTES));
        bumped.any(|object| object == reference) || self.kept.contains(&reference)
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.bumped() == 0 && self.kept.is_empty()
    }

    /// Whether the bump region has room for so many references.
    pub fn has_room_for(&self, references: usize) -> bool {
        (self.capacity - self.bumped()) as usize >= references
    }

    /// Whether the bump region has no room.
    pub fn is_full(&self) -> bool {
        self.bumped() == self.capacity
    }

    /// Sweeps: empties the table into `released` but for one entry of each of `roots`, which must
    /// be sorted and without duplicates. Returns a root that the table does not hold, if there is
    /// one.
    ///
    /// When this returns the table is in order, so that whatever the release of `released` sets
    /// off finds it so.
    pub fn sweep(
        &mut self,
        roots: &[u64],
        fault: Option<Fault>,
        released: &mut Vec<u64>,
    ) -> Option<u64> {
        let old_kept = std::mem::take(&mut self.kept);
        let bumped = if fault == Some(Fault::SweepForgetsBump) {
            0
        } else {
            self.bumped()
        };
        let candidates = (0..bumped)
            .map(|index| self.bump.read_u64(index * POINTER_BYTES))
            .chain(old_kept);
        // Only while there is a frame, since what is done without one goes on until nothing is left.
        let keeps_all = fault == Some(Fault::CollectionKeepsAll) && !roots.is_empty();
        let mut held = vec![false; roots.len()];
        for object in candidates {
            match roots.binary_search(&object) {
                Ok(root) if !std::mem::replace(&mut held[root], true) => self.kept.push(object),
                _ if keeps_all => self.kept.push(object),
                _ => released.push(object),
            }
        }
        self.header
            .write_u64(activations::NEXT, self.bump.address());
        let missing = held.iter().position(|held| !held)?;
        Some(roots[missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_each_root_once_and_releases_the_rest() {
        let mut table = Activations::new(&Heap::default(), 2);
        for object in [10, 20, 10, 30] {
            table.insert(object);
        }
        let mut released = Vec::new();
        assert!(table.is_full());
        assert!(table.has_room_for(0) && !table.has_room_for(1));
        assert_eq!(table.sweep(&[10], None, &mut released), None);
        assert!(table.has_room_for(2) && !table.has_room_for(3));
        released.sort_unstable();
        assert_eq!(released, [10, 20, 30]);

        let mut released = Vec::new();
        assert!(!table.is_full() && !table.is_empty());
        assert_eq!(table.sweep(&[], None, &mut released), None);
        assert_eq!(released, [10]);
        assert!(table.is_empty());
    }

    #[test]
    fn says_which_root_it_does_not_hold() {
        let mut table = Activations::new(&Heap::default(), 1);
        table.insert(20);
        let mut released = Vec::new();
        assert_eq!(table.sweep(&[10, 20], None, &mut released), Some(10));
        assert!(released.is_empty());
        assert_eq!(table.sweep(&[20, 30], None, &mut released), Some(30));
    }

    proptest! {
        /// Counts are conserved: what goes in comes out, by release or by being kept.
        #[test]
        fn conserves_counts(
            capacity in 1u32..6,
            objects in proptest::collection::vec(1u64..8, 0..40),
            mut roots in proptest::collection::vec(1u64..8, 0..5),
        ) {
            roots.sort_unstable();
            roots.dedup();
            let mut table = Activations::new(&Heap::default(), capacity);
            for object in &objects {
                table.insert(*object);
            }
            let mut released = Vec::new();
            let missing = table.sweep(&roots, None, &mut released);
            prop_assert_eq!(missing, roots.iter().copied().find(|root| !objects.contains(root)));
            for object in 1..8 {
                let inserted = objects.iter().filter(|o| **o == object).count();
                let out = released.iter().filter(|o| **o == object).count();
                let kept = usize::from(inserted > 0 && roots.contains(&object));
                prop_assert_eq!(inserted, out + kept);
            }
            let mut rest = Vec::new();
            table.sweep(&[], None, &mut rest);
            prop_assert_eq!(objects.len(), released.len() + rest.len());
        }
    }
}
