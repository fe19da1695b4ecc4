//! Copies of the state last shown, and what differs from them now.
//!
//! An observation records state as changes. Each engine keeps one shadow a memory, table and
//! global; after a step the shadow is compared with what is there, the differences are written to
//! [`Changes`], and the shadow is brought up to date. The first comparison of an entity lists it
//! whole: its size or value, and every chunk or element that is not zero or null.
//!
//! In the middle of a step they are only compared ([`Then::Leave`]), so that what is recorded there and
//! after the step are both changes against the step before.
//!
//! Shadows know no engine. They hold on to their buffers between cases ([`Shadows::clear`]).

use parallax_oracles::{
    CHUNK_BYTES, Changes, Entity, GlobalChange, MemoryChange, TableChange, Value,
};

/// Bytes that are compared at once. Only a block that differs is looked at chunk by chunk.
const BLOCK_BYTES: usize = 4096;
/// Bytes of a WebAssembly page.
const PAGE_BYTES: usize = 64 << 10;
/// Blocks that a cleared shadow holds on to: 1 MiB.
const KEPT_BLOCKS: usize = 256;
/// Chunks that a cleared shadow has room for, as many bytes.
const KEPT_CHUNKS: usize = KEPT_BLOCKS * (BLOCK_BYTES / CHUNK_BYTES);
/// Elements that a cleared shadow of a table holds on to.
const KEPT_ELEMENTS: usize = 1 << 16;

/// What becomes of a shadow once it has been compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It is brought up to date.
    Update,
    /// It stays as it is.
    Leave,
}

type Block = [u8; BLOCK_BYTES];
static ZEROES: Block = [0; BLOCK_BYTES];

/// The shadows of all memories, tables and globals of a run, by the engine's own numbering of
/// each kind. `T` is how the engine names a reference in a table, see [`TableShadow`].
#[derive(Debug)]
pub struct Shadows<T> {
    memories: Vec<MemoryShadow>,
    tables: Vec<TableShadow<T>>,
    globals: Vec<GlobalShadow>,
}

impl<T> Default for Shadows<T> {
    fn default() -> Self {
        Shadows {
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
        }
    }
}

impl<T: Copy + PartialEq> Shadows<T> {
    /// Forgets all state, for the next case.
    pub fn clear(&mut self) {
        self.memories.iter_mut().for_each(MemoryShadow::clear);
        self.tables.iter_mut().for_each(TableShadow::clear);
        self.globals.clear();
    }

    /// The shadow of the `position`-th memory.
    pub fn memory(&mut self, position: usize) -> &mut MemoryShadow {
        at(&mut self.memories, position)
    }

    /// The shadow of the `position`-th table.
    pub fn table(&mut self, position: usize) -> &mut TableShadow<T> {
        at(&mut self.tables, position)
    }

    /// The shadow of the `position`-th global.
    pub fn global(&mut self, position: usize) -> &mut GlobalShadow {
        at(&mut self.globals, position)
    }
}

fn at<S: Default>(shadows: &mut Vec<S>, position: usize) -> &mut S {
    if shadows.len() <= position {
        shadows.resize_with(position + 1, S::default);
    }
    &mut shadows[position]
}

/// What a memory held when it was last shown.
#[derive(Debug, Default)]
pub struct MemoryShadow {
    /// Its size; `None` until it is first shown.
    pages: Option<u64>,
    /// For every block of the memory 0 if it was all zero, else one more than its position in
    /// `contents`. Most of a memory is never written, and costs nothing here.
    blocks: Vec<u32>,
    contents: Vec<Block>,
    /// What differs, before it is known how much that is: numbers of chunks and what they hold now. Empty
    /// but for its capacity.
    differing: (Vec<u32>, Vec<[u8; CHUNK_BYTES]>),
}

impl MemoryShadow {
    /// Forgets the memory.
    pub fn clear(&mut self) {
        self.pages = None;
        self.blocks.clear();
        self.contents.clear();
        self.contents.shrink_to(KEPT_BLOCKS);
        self.differing.0.shrink_to(KEPT_CHUNKS);
        self.differing.1.shrink_to(KEPT_CHUNKS);
    }

    /// Adds to `changes` what differs from what was last shown. `bytes` holds the whole memory,
    /// `pages` pages of 64 KiB.
    pub fn diff(
        &mut self,
        memory: Entity,
        pages: u64,
        bytes: &[u8],
        then: Then,
        changes: &mut Changes,
    ) {
        debug_assert_eq!(bytes.len() as u64, pages * PAGE_BYTES as u64);
        let (numbers, contents) = &mut self.differing;
        let (blocks, _) = bytes.as_chunks::<BLOCK_BYTES>();
        if then == Then::Update {
            self.blocks.resize(blocks.len(), 0);
        }
        for (number, now) in blocks.iter().enumerate() {
            // What has been grown since held zeroes.
            let position = self.blocks.get(number).copied().unwrap_or(0);
            let before = match position {
                0 => &ZEROES,
                position => &self.contents[position as usize - 1],
            };
            if now == before {
                continue;
            }
            let first = number * (BLOCK_BYTES / CHUNK_BYTES);
            let (chunks, _) = now.as_chunks::<CHUNK_BYTES>();
            let (chunks_before, _) = before.as_chunks::<CHUNK_BYTES>();
            for (index, (now, before)) in chunks.iter().zip(chunks_before).enumerate() {
                if differ(now, before) {
                    numbers.push((first + index) as u32);
                    contents.push(*now);
                }
            }
            match (then, position) {
                (Then::Leave, _) => {}
                (Then::Update, 0) => {
                    self.contents.push(*now);
                    self.blocks[number] = self.contents.len() as u32;
                }
                (Then::Update, position) => self.contents[position as usize - 1] = *now,
            }
        }
        if self.pages != Some(pages) || !numbers.is_empty() {
            if then == Then::Update {
                self.pages = Some(pages);
            }
            changes.memories.push(MemoryChange {
                memory,
                pages,
                chunks: numbers.as_slice().into(),
                bytes: contents.as_flattened().into(),
            });
            numbers.clear();
            contents.clear();
        }
    }
}

/// Whether two chunks differ. By words, since with AddressSanitizer every comparison of slices is a call into
/// it, which costs more than to compare so few bytes, and which libFuzzer looks into if they differ.
fn differ(one: &[u8; CHUNK_BYTES], other: &[u8; CHUNK_BYTES]) -> bool {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let differing = words.map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
    differing.fold(0, |all, bits| all | bits) != 0
}

/// What a table held when it was last shown. `T` is how the engine names a reference: anything
/// that is equal for the same reference and differs for another.
#[derive(Debug)]
pub struct TableShadow<T> {
    known: bool,
    elements: Vec<T>,
}

impl<T> Default for TableShadow<T> {
    fn default() -> Self {
        TableShadow {
            known: false,
            elements: Vec::new(),
        }
    }
}

impl<T: Copy + PartialEq> TableShadow<T> {
    /// Forgets the table.
    pub fn clear(&mut self) {
        self.known = false;
        self.elements.clear();
        self.elements.shrink_to(KEPT_ELEMENTS);
    }

    /// Adds to `changes` what differs from what was last shown. `elements` are all elements of
    /// the table, in order; `null` is the null reference; `value` says how a reference is shown.
    pub fn diff(
        &mut self,
        table: Entity,
        null: T,
        elements: impl ExactSizeIterator<Item = T>,
        mut value: impl FnMut(T) -> Value,
        then: Then,
        changes: &mut Changes,
    ) {
        let size = elements.len();
        let resized = !self.known || self.elements.len() != size;
        if then == Then::Update {
            self.elements.resize(size, null);
        }
        let mut changed = Vec::new();
        for (index, now) in elements.enumerate() {
            let before = self.elements.get(index).copied().unwrap_or(null);
            if now != before {
                if then == Then::Update {
                    self.elements[index] = now;
                }
                changed.push((index as u32, value(now)));
            }
        }
        if resized || !changed.is_empty() {
            self.known |= then == Then::Update;
            changes.tables.push(TableChange {
                table,
                size: size as u64,
                elements: changed,
            });
        }
    }
}

/// What a global held when it was last shown.
#[derive(Debug, Default)]
pub struct GlobalShadow(Option<Value>);

impl GlobalShadow {
    /// Adds the global to `changes` if it does not hold what was last shown, bit for bit.
    pub fn diff(&mut self, global: Entity, value: Value, then: Then, changes: &mut Changes) {
        if self.0 != Some(value) {
            if then == Then::Update {
                self.0 = Some(value);
            }
            changes.globals.push(GlobalChange { global, value });
        }
    }
}

#[cfg(test)]
mod tests {
    use parallax_oracles::{FuncIdentity, Owner};
    use proptest::prelude::*;

    use super::*;

    const ENTITY: Entity = Entity {
        owner: Owner::Instance(3),
        index: 1,
    };

    /// Applies recorded changes to a copy of a memory, as whoever reads them would.
    fn apply_memory(copy: &mut Vec<u8>, changes: &Changes) {
        for change in &changes.memories {
            assert_eq!(change.memory, ENTITY);
            assert!(change.chunks.is_sorted_by(|a, b| a < b));
            assert_eq!(change.bytes.len(), change.chunks.len() * CHUNK_BYTES);
            copy.resize(change.pages as usize * PAGE_BYTES, 0);
            for (chunk, bytes) in change.chunks.iter().zip(change.bytes.chunks(CHUNK_BYTES)) {
                let start = *chunk as usize * CHUNK_BYTES;
                copy[start..start + CHUNK_BYTES].copy_from_slice(bytes);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum MemoryStep {
        Grow(usize),
        Write { address: usize, bytes: Vec<u8> },
        Nothing,
    }

    fn memory_step() -> impl Strategy<Value = MemoryStep> {
        prop_oneof![
            (0usize..3).prop_map(MemoryStep::Grow),
            (any::<usize>(), prop::collection::vec(0u8..3, 0..200))
                .prop_map(|(address, bytes)| MemoryStep::Write { address, bytes }),
            Just(MemoryStep::Nothing),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 64,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn memory_changes_add_up(
            runs in prop::collection::vec(
                (0usize..3, prop::collection::vec(memory_step(), 0..12)), 1..4
            )
        ) {
            let mut shadow = MemoryShadow::default();
            for (pages, steps) in runs {
                shadow.clear();
                let mut memory = vec![0; pages * PAGE_BYTES];
                let mut copy = Vec::new();
                for (position, step) in std::iter::once(MemoryStep::Nothing)
                    .chain(steps)
                    .enumerate()
                {
                    let before = memory.clone();
                    match step {
                        MemoryStep::Grow(pages) => {
                            memory.resize(memory.len() + pages * PAGE_BYTES, 0);
                        }
                        MemoryStep::Write { address, bytes } if !memory.is_empty() => {
                            let address = address % memory.len();
                            let end = memory.len().min(address + bytes.len());
                            memory[address..end].copy_from_slice(&bytes[..end - address]);
                        }
                        _ => {}
                    }
                    let mut changes = Changes::default();
                    let pages = (memory.len() / PAGE_BYTES) as u64;
                    let mut looked = Changes::default();
                    shadow.diff(ENTITY, pages, &memory, Then::Leave, &mut looked);
                    shadow.diff(ENTITY, pages, &memory, Then::Update, &mut changes);
                    prop_assert_eq!(looked, changes.clone());
                    apply_memory(&mut copy, &changes);
                    prop_assert!(copy == memory);
                    // Only chunks that changed are listed, and nothing at all if none did.
                    prop_assert_eq!(
                        changes.memories.is_empty(),
                        position > 0 && before == memory
                    );
                    for chunk in changes.memories.iter().flat_map(|change| &change.chunks) {
                        let start = *chunk as usize * CHUNK_BYTES;
                        let zeroes = [0; CHUNK_BYTES];
                        let was = before.get(start..start + CHUNK_BYTES).unwrap_or(&zeroes);
                        prop_assert!(was != &memory[start..start + CHUNK_BYTES]);
                    }
                }
            }
        }

        #[test]
        fn table_changes_add_up(
            sizes_and_writes in prop::collection::vec(
                (0usize..20, prop::collection::vec((any::<prop::sample::Index>(), 0u32..4), 0..8)),
                1..12,
            )
        ) {
            let show = |raw: u32| Value::Func(raw.checked_sub(1).map(FuncIdentity::Host));
            let mut shadow = TableShadow::default();
            let mut table: Vec<u32> = Vec::new();
            let mut copy: Vec<Value> = Vec::new();
            for (position, (growth, writes)) in sizes_and_writes.into_iter().enumerate() {
                let before = table.clone();
                table.resize(table.len() + growth, 0);
                for (index, raw) in writes {
                    if !table.is_empty() {
                        let index = index.index(table.len());
                        table[index] = raw;
                    }
                }
                let mut changes = Changes::default();
                let mut looked = Changes::default();
                let elements = || table.iter().copied();
                shadow.diff(ENTITY, 0, elements(), show, Then::Leave, &mut looked);
                shadow.diff(ENTITY, 0, elements(), show, Then::Update, &mut changes);
                prop_assert_eq!(&looked, &changes);
                prop_assert_eq!(changes.tables.is_empty(), position > 0 && before == table);
                for change in &changes.tables {
                    prop_assert_eq!(change.table, ENTITY);
                    prop_assert!(change.elements.is_sorted_by(|a, b| a.0 < b.0));
                    copy.resize(change.size as usize, Value::Func(None));
                    for (index, value) in &change.elements {
                        prop_assert!(copy[*index as usize] != *value);
                        copy[*index as usize] = *value;
                    }
                }
                let now: Vec<Value> = table.iter().copied().map(show).collect();
                prop_assert_eq!(&copy, &now);
            }
        }
    }

    #[test]
    fn a_first_look_lists_even_what_is_empty() {
        let mut shadows: Shadows<u32> = Shadows::default();
        for _ in 0..2 {
            let mut changes = Changes::default();
            let value = Value::I32(0);
            shadows
                .memory(1)
                .diff(ENTITY, 0, &[], Then::Update, &mut changes);
            shadows.table(2).diff(
                ENTITY,
                0,
                [].into_iter(),
                |_| value,
                Then::Update,
                &mut changes,
            );
            shadows
                .global(0)
                .diff(ENTITY, value, Then::Update, &mut changes);
            assert_eq!(changes.memories.len(), 1);
            assert_eq!(changes.tables.len(), 1);
            assert_eq!(
                changes.globals,
                [GlobalChange {
                    global: ENTITY,
                    value
                }]
            );

            let mut again = Changes::default();
            shadows
                .memory(1)
                .diff(ENTITY, 0, &[], Then::Update, &mut again);
            shadows.table(2).diff(
                ENTITY,
                0,
                [].into_iter(),
                |_| value,
                Then::Update,
                &mut again,
            );
            shadows
                .global(0)
                .diff(ENTITY, value, Then::Update, &mut again);
            assert_eq!(again, Changes::default());
            shadows.clear();
        }
    }

    #[test]
    fn a_global_is_compared_by_its_bits() {
        let mut shadow = GlobalShadow::default();
        let mut changes = Changes::default();
        for bits in [0x7fc0_0000, 0x7fc0_0000, 0x7fc0_0001] {
            let (before, mut looked) = (changes.globals.len(), Changes::default());
            shadow.diff(ENTITY, Value::F32(bits), Then::Leave, &mut looked);
            shadow.diff(ENTITY, Value::F32(bits), Then::Update, &mut changes);
            assert_eq!(looked.globals, changes.globals[before..]);
        }
        assert_eq!(changes.globals.len(), 2);
    }
}
