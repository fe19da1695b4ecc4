//! What the ledger knows of every host object, and of which objects that changed in a step.

use std::collections::BTreeMap;

use crate::value::ObjectId;

/// Numbers below this are looked up by position. Objects are numbered in the order of creation, so
/// that these are all of them but in cases made by hand, which may number as they like.
const DENSE: usize = 4096;

/// What is known of one host object.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// Table slots and globals of the reference that hold it.
    pub slots: u64,
    /// Handles that the host holds.
    pub handles: u64,
    /// The settled count that the subject recorded last.
    pub counted: Option<u64>,
    /// Whether the subject has shown it.
    pub shown: bool,
    /// Whether the subject has dropped it.
    pub dropped: bool,
    /// Whether it is among the objects that changed in the step under way.
    touched: bool,
}

impl Entry {
    /// The count it must have when everything is settled.
    pub fn expected(&self) -> u64 {
        self.slots.saturating_add(self.handles)
    }
}

/// All host objects. One of which nothing is known is like one that was never made.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    dense: Vec<Entry>,
    sparse: BTreeMap<ObjectId, Entry>,
    touched: Vec<ObjectId>,
}

impl Objects {
    /// What is known of an object, if anything is.
    pub fn get(&self, id: ObjectId) -> Option<&Entry> {
        let index = id.0 as usize;
        if index < DENSE {
            self.dense.get(index)
        } else {
            self.sparse.get(&id)
        }
    }

    /// What is known of an object, to be changed.
    pub fn entry(&mut self, id: ObjectId) -> &mut Entry {
        let index = id.0 as usize;
        if index >= DENSE {
            return self.sparse.entry(id).or_default();
        }
        if index >= self.dense.len() {
            self.dense.resize_with(index + 1, Entry::default);
        }
        &mut self.dense[index]
    }

    /// The same, of an object that is to be checked when the step is over.
    pub fn touch(&mut self, id: ObjectId) -> &mut Entry {
        if !self.entry(id).touched {
            self.entry(id).touched = true;
            self.touched.push(id);
        }
        self.entry(id)
    }

    /// All objects, by ascending number.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &Entry)> {
        let dense = (0..).map(ObjectId).zip(&self.dense);
        dense.chain(self.sparse.iter().map(|(id, entry)| (*id, entry)))
    }

    /// The objects touched since the last call, by ascending number.
    pub fn take_touched(&mut self) -> Vec<ObjectId> {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        for id in &touched {
            self.entry(*id).touched = false;
        }
        touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_any_number_are_told_apart_and_come_in_order() {
        let numbers = [u32::MAX, 4096, 4095, 7, 0];
        let mut objects = Objects::default();
        for number in numbers {
            objects.touch(ObjectId(number)).slots = u64::from(number) + 1;
            objects.touch(ObjectId(number)).handles = 1;
        }
        for number in numbers {
            let entry = objects.get(ObjectId(number)).unwrap();
            assert_eq!((entry.slots, entry.handles), (u64::from(number) + 1, 1));
        }
        let known = |(id, entry): (ObjectId, &Entry)| (entry.slots > 0).then_some(id.0);
        let ascending = [0, 7, 4095, 4096, u32::MAX];
        assert!(objects.iter().filter_map(known).eq(ascending));
        assert!(objects.get(ObjectId(u32::MAX - 1)).is_none());
        assert_eq!(objects.take_touched(), ascending.map(ObjectId));
        assert_eq!(objects.take_touched(), []);
        objects.touch(ObjectId(7));
        assert_eq!(objects.take_touched(), [ObjectId(7)]);
    }
}
