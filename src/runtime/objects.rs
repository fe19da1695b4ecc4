//! Host objects: what a non-null `externref` points to.
//!
//! An object has a header that generated code counts in, an identity, and a destructor (see
//! `super::destructors`). Objects of a case are never given out twice: a dropped object's header
//! is poisoned and stays in quarantine until the case is over, so that touching it is seen, not
//! survived.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use parallax_oracles::ObjectId;

use super::block::{Block, Heap};
use crate::translate::layout::host_object;

/// Bytes of a header: the count, and padding that keeps stray writes to neighbours visible.
const HEADER_BYTES: u32 = 32;

/// Objects that fit in one chunk.
const CHUNK_OBJECTS: u32 = 256;

/// What the count of a dropped object reads as. Whoever touches it changes it.
const POISON: u64 = 0xdead_beef_0000_0000;

/// The number of the first hidden object, above all that a case names.
const FIRST_HIDDEN: u32 = 1 << 31;

/// The objects of a store.
#[derive(Default)]
pub struct Objects {
    heap: Heap,
    chunks: Vec<Block>,
    objects: Vec<Object>,
    /// The latest object of each identity.
    by_id: HashMap<u32, ObjectIndex, BuildHasherDefault<NumberHasher>>,
    hidden: u32,
}

struct Object {
    id: ObjectId,
    alive: bool,
    /// How many handles the host holds to it.
    handles: u64,
    /// What its destructor releases.
    owned: Option<ObjectIndex>,
}

/// An object, by its position in order of creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectIndex(u32);

impl Objects {
    /// No objects, whose headers are to lie in this heap.
    pub fn new(heap: &Heap) -> Objects {
        Objects {
            heap: heap.clone(),
            ..Objects::default()
        }
    }

    /// Makes an object with a count of 1; returns the address of its header.
    pub fn create(&mut self, id: ObjectId) -> u64 {
        let index = self.objects.len() as u32;
        if index.is_multiple_of(CHUNK_OBJECTS) {
            self.chunks
                .push(self.heap.block(CHUNK_OBJECTS * HEADER_BYTES));
        }
        self.objects.push(Object {
            id,
            alive: true,
            handles: 0,
            owned: None,
        });
        let index = ObjectIndex(index);
        self.by_id.insert(id.0, index);
        self.set_count(index, 1);
        self.address(index)
    }

    /// Makes an object that is in no observation, with a count of 1.
    pub fn create_hidden(&mut self) -> u64 {
        let id = ObjectId(FIRST_HIDDEN + self.hidden);
        self.hidden += 1;
        self.create(id)
    }

    /// Whether an object is in no observation.
    pub fn hidden(&self, index: ObjectIndex) -> bool {
        self.id(index).0 >= FIRST_HIDDEN
    }

    /// The object whose header is at an address, dropped or not.
    pub fn at(&self, address: u64) -> Option<ObjectIndex> {
        self.chunks.iter().enumerate().find_map(|(chunk, block)| {
            let offset = block.offset_of(address)?;
            let index = chunk as u32 * CHUNK_OBJECTS + offset / HEADER_BYTES;
            let there =
                offset.is_multiple_of(HEADER_BYTES) && (index as usize) < self.objects.len();
            there.then_some(ObjectIndex(index))
        })
    }

    /// The living object that has this identity.
    pub fn find(&self, id: ObjectId) -> Option<ObjectIndex> {
        let index = *self.by_id.get(&id.0)?;
        self.alive(index).then_some(index)
    }

    /// The address of an object's header.
    pub fn address(&self, index: ObjectIndex) -> u64 {
        let (block, offset) = self.header(index);
        block.address_of(offset)
    }

    /// Its identity.
    pub fn id(&self, index: ObjectIndex) -> ObjectId {
        self.objects[index.0 as usize].id
    }

    /// Whether it has not been dropped.
    pub fn alive(&self, index: ObjectIndex) -> bool {
        self.objects[index.0 as usize].alive
    }

    /// Its count, as generated code left it.
    pub fn count(&self, index: ObjectIndex) -> u64 {
        let (block, offset) = self.header(index);
        block.read_u64(offset + host_object::REF_COUNT)
    }

    /// Sets its count.
    pub fn set_count(&self, index: ObjectIndex, count: u64) {
        let (block, offset) = self.header(index);
        block.write_u64(offset + host_object::REF_COUNT, count);
    }

    /// The handles that the host holds to it, of each of which it has a count.
    pub fn handles_mut(&mut self, index: ObjectIndex) -> &mut u64 {
        &mut self.objects[index.0 as usize].handles
    }

    /// How many handles the host holds to it.
    pub fn handles(&self, index: ObjectIndex) -> u64 {
        self.objects[index.0 as usize].handles
    }

    /// What its destructor releases, of which it has a count.
    pub fn owned_mut(&mut self, index: ObjectIndex) -> &mut Option<ObjectIndex> {
        &mut self.objects[index.0 as usize].owned
    }

    /// Marks it dropped and poisons its header; `false` if it was dropped before.
    pub fn kill(&mut self, index: ObjectIndex) -> bool {
        self.set_count(index, POISON);
        std::mem::replace(&mut self.objects[index.0 as usize].alive, false)
    }

    /// Whether a dropped object was touched since.
    pub fn touched_after_drop(&self, index: ObjectIndex) -> bool {
        !self.alive(index) && self.count(index) != POISON
    }

    /// Whether anything was written to an object's header besides its count.
    pub fn overrun(&self, index: ObjectIndex) -> bool {
        let (block, offset) = self.header(index);
        let mut padding = (8..HEADER_BYTES).step_by(8);
        padding.any(|at| block.read_u64(offset + at) != 0)
    }

    /// All objects ever made, in order.
    pub fn all(&self) -> impl Iterator<Item = ObjectIndex> + use<> {
        (0..self.objects.len() as u32).map(ObjectIndex)
    }

    /// Those that are in observations.
    pub fn shown(&self) -> impl Iterator<Item = ObjectIndex> {
        self.all().filter(|index| !self.hidden(*index))
    }

    /// Forgets all objects, for the next case.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.objects.clear();
        self.by_id.clear();
        self.hidden = 0;
    }

    fn header(&self, index: ObjectIndex) -> (&Block, u32) {
        let chunk = &self.chunks[(index.0 / CHUNK_OBJECTS) as usize];
        (chunk, index.0 % CHUNK_OBJECTS * HEADER_BYTES)
    }
}

/// Numbers of objects are small and dense, or few: they need no more than to be spread a little.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_object_is_not_found_and_not_given_out_again() {
        let mut objects = Objects::default();
        let first = objects.create(ObjectId(7));
        let index = objects.at(first).unwrap();
        assert_eq!(objects.find(ObjectId(7)), Some(index));
        assert!(objects.kill(index));
        assert!(!objects.kill(index), "twice");
        assert_eq!(objects.find(ObjectId(7)), None);
        let second = objects.create(ObjectId(7));
        assert_ne!(first, second);
        assert_eq!(objects.find(ObjectId(7)), objects.at(second));
        assert_eq!(objects.at(first), Some(index), "in quarantine");
        assert_eq!(objects.at(first + 8), None);
        assert_eq!(objects.at(8), None);
    }

    #[test]
    fn touching_a_dropped_object_is_seen() {
        let mut objects = Objects::default();
        let address = objects.create(ObjectId(1));
        let index = objects.at(address).unwrap();
        objects.kill(index);
        assert!(!objects.touched_after_drop(index));
        objects.set_count(index, objects.count(index) + 1);
        assert!(objects.touched_after_drop(index));
    }

    #[test]
    fn what_is_written_beside_the_count_is_seen_and_does_not_outlive_the_case() {
        let mut objects = Objects::default();
        for number in 0..CHUNK_OBJECTS + 1 {
            objects.create(ObjectId(number));
        }
        let all: Vec<ObjectIndex> = objects.all().collect();
        assert!(!all.iter().any(|index| objects.overrun(*index)));
        let (block, offset) = objects.header(all[3]);
        block.write_u64(offset + 16, 1);
        assert!(objects.overrun(all[3]));
        objects.clear();
        objects.create(ObjectId(0));
        for number in 1..2 * CHUNK_OBJECTS {
            objects.create(ObjectId(number));
        }
        assert!(!objects.all().any(|index| objects.overrun(index)));
    }

    #[test]
    fn hidden_objects_are_told_apart() {
        let mut objects = Objects::default();
        let hidden = objects.create_hidden();
        let shown = objects.create(ObjectId(1_000_000));
        let indices: Vec<ObjectIndex> = objects.shown().collect();
        assert_eq!(indices, [objects.at(shown).unwrap()]);
        assert!(objects.hidden(objects.at(hidden).unwrap()));
    }
}
