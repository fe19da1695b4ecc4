//! Counting references, collecting, and dropping host objects.
//!
//! The count of an object is the number of table slots, globals and host handles that hold it,
//! plus its entries in the activations table. Whoever stores a reference anywhere retains it and
//! releases what was there, in that order, and releases only when the slot holds the new value:
//! a drop may run arbitrary code.

use parallax_oracles::{Event, ObjectId, Outcome, Owner};

use super::destructors::SLOTS_A_STEP;
use super::objects::ObjectIndex;
use super::store::Store;
use super::{entry, walk};
use crate::case::module::ValType;
use crate::score::Fault;

impl Store<'_> {
    /// Adds one to the count of what a reference points to, unless it is null.
    pub(super) fn retain(&mut self, reference: u64) {
        if reference == 0 {
            return;
        }
        match self.objects.at(reference) {
            Some(object) if self.objects.alive(object) => {
                self.objects
                    .set_count(object, self.objects.count(object).wrapping_add(1));
            }
            Some(object) => self.violated(object, "was stored after it had been dropped"),
            None => self.violate("a reference to no object was stored".to_string()),
        }
    }

    /// Takes one from the count of what a reference points to, unless it is null, and drops it
    /// at zero.
    pub(super) fn release(&mut self, reference: u64) {
        if reference == 0 {
            return;
        }
        let Some(object) = self.objects.at(reference) else {
            return self.violate("a reference to no object was released".to_string());
        };
        if !self.objects.alive(object) {
            return self.violated(object, "was released after it had been dropped");
        }
        match self.objects.count(object) {
            0 => self.violated(object, "was released more often than it was held"),
            1 => self.drop_object(object),
            count => self.objects.set_count(object, count - 1),
        }
    }

    /// Drops an object, whatever its count, and runs its destructor.
    pub(super) fn drop_object(&mut self, object: ObjectIndex) {
        if !self.objects.kill(object) {
            return self.violated(object, "was dropped twice");
        }
        if !self.objects.hidden(object) {
            self.events.push(Event::Dropped(self.objects.id(object)));
        }
        self.destroy(object);
    }

    /// Generated code hands on a reference, to a host function, to a builtin, or to the host that called
    /// it. It was on the stack, so the activations table holds it, unless a collection did not see it
    /// there: then only luck has kept the object alive.
    pub(super) fn handed_on(&mut self, reference: u64) {
        if reference == 0 || self.activations.holds(reference) {
            return;
        }
        // What is no object, or no longer, shows itself.
        if let Some(object) = self.objects.at(reference)
            && self.objects.alive(object)
        {
            self.violated(
                object,
                "was on the stack, and the activations table does not hold it",
            );
        }
    }

    /// Collects: gives up every reference in the activations table that no frame mentions.
    pub(super) fn collect(&mut self) {
        let mut roots = Vec::new();
        if !self.planted(Fault::StackMapIgnored) {
            self.find_roots(&mut roots);
        }
        roots.sort_unstable();
        roots.dedup();
        self.check_roots(&roots);
        let held = self.audit_held();
        let mut released = Vec::new();
        let missing = self.activations.sweep(&roots, self.fault, &mut released);
        if let Some(missing) = missing
            && self.inserting != Some(missing)
        {
            let what = self.object_text(missing);
            self.violate(format!(
                "the stack holds {what}, which the activations table does not"
            ));
        }
        self.audit_collection(&held);
        self.check_kept(&roots, missing);
        for reference in released {
            self.release(reference);
        }
    }

    /// Collects what the table's bump region holds, if that is full, while the caller holds
    /// `reference`, which is about to be put into the table.
    pub(super) fn make_room(&mut self, reference: u64) {
        if self.activations.is_full() {
            let outer = self.inserting.replace(reference);
            self.collect();
            self.inserting = outer;
        }
    }

    /// What stack maps say is live must be references to living objects.
    fn check_roots(&mut self, roots: &[u64]) {
        for root in roots {
            match self.objects.at(*root) {
                Some(object) if self.objects.alive(object) => {}
                Some(object) => {
                    return self.violated(object, "is on the stack, and has been dropped");
                }
                None => return self.violate("a stack map shows what is no reference".to_string()),
            }
        }
    }

    /// What a collection leaves in the table must be what stack maps show, each once: no snapshot shows what
    /// is kept for longer, since at the end of a step the table is emptied anyway.
    fn check_kept(&mut self, roots: &[u64], missing: Option<u64>) {
        let mut kept = self.activations.entries();
        kept.sort_unstable();
        let shown = roots.iter().filter(|root| Some(**root) != missing);
        if shown.eq(&kept) {
            return;
        }
        let twice = kept.windows(2).find(|pair| pair[0] == pair[1]);
        let wrong = twice.map(|pair| pair[0]).or_else(|| {
            let unknown = |reference: &&u64| roots.binary_search(reference).is_err();
            kept.iter().find(unknown).copied()
        });
        if let Some(wrong) = wrong {
            let what = self.object_text(wrong);
            self.violate(format!(
                "a collection kept {what} more often than the stack shows it"
            ));
        }
    }

    /// Finds what stack maps show; a word that is on no frame reads as what is no reference.
    fn find_roots(&self, roots: &mut Vec<u64>) {
        let off_by = if self.planted(Fault::StackMapOffByWord) {
            8
        } else {
            0
        };
        let within = match self.planted(Fault::OuterFramesForgotten) {
            true => entry::last_entry(),
            false => u64::MAX,
        };
        let mut visit = |frame: walk::Frame, read: &dyn Fn(u64) -> Option<u64>| {
            if frame.frame_pointer >= within {
                return;
            }
            let Some((loaded, offset)) = self.code_at(frame.return_address) else {
                return;
            };
            let Some((frame_size, slots)) = loaded.compiled.stack_map_at(offset) else {
                return;
            };
            let stack_pointer = frame.frame_pointer - u64::from(frame_size);
            let words = slots
                .iter()
                .map(|slot| read(stack_pointer + u64::from(*slot) + off_by).unwrap_or(u64::MAX));
            roots.extend(words.filter(|word| *word != 0));
        };
        // SAFETY: called from a builtin, or with no activation under way; the exit is the last.
        unsafe { walk::walk(entry::current(), self.interrupts.exit(), &mut visit) };
    }

    /// Sweeps what a call that is over left behind, and looks for objects that were touched
    /// after they were dropped.
    pub(super) fn settle(&mut self) {
        // A destructor may leave something behind in turn.
        while !self.activations.is_empty() {
            self.collect();
        }
        self.destructor_slots = SLOTS_A_STEP;
        for object in self.objects.all() {
            if self.objects.touched_after_drop(object) {
                return self.violated(object, "was touched after it had been dropped");
            }
        }
    }

    /// Settles the store after a step, whose outcome stands unless the rules of counting were
    /// broken.
    pub fn conclude(&mut self, outcome: Outcome) -> Outcome {
        self.audit_code();
        self.settle();
        self.audit_runtime("settling");
        self.violation.take().map_or(outcome, Outcome::Miscounted)
    }

    /// Makes an object, with a count of 1 that is the caller's.
    pub(super) fn create(&mut self, id: ObjectId) -> u64 {
        let address = self.objects.create(id);
        if let Some(object) = self.objects.at(address) {
            self.equip(object);
        }
        address
    }

    /// The address of the object with this identity, made with a handle of the host's if there is
    /// none.
    pub(super) fn object(&mut self, id: ObjectId) -> u64 {
        if let Some(object) = self.objects.find(id) {
            return self.objects.address(object);
        }
        let address = self.create(id);
        if let Some(object) = self.objects.at(address) {
            *self.objects.handles_mut(object) += 1;
        }
        address
    }

    /// The host keeps one more handle to an object.
    pub(super) fn keep(&mut self, id: ObjectId) {
        if let Some(object) = self.objects.find(id) {
            self.retain(self.objects.address(object));
            *self.objects.handles_mut(object) += 1;
        }
    }

    /// Whether something that no snapshot shows may hold references: then counts cannot be told from what
    /// is shown. That is what was made for an instance that did not come to be. What one has whose
    /// segments or start function trapped is shown.
    pub fn hides_references(&self) -> bool {
        let hidden = |owner: Owner| match owner {
            Owner::Host => false,
            Owner::Instance(instance) => self.instance(instance).is_none(),
        };
        let tables = self
            .tables
            .iter()
            .filter(|entry| hidden(entry.entity.owner));
        let globals = self
            .globals
            .iter()
            .filter(|entry| hidden(entry.entity.owner));
        tables
            .map(|entry| entry.ty.element)
            .any(|ty| ty == ValType::ExternRef)
            || globals
                .map(|entry| entry.ty.value)
                .any(|ty| ty == ValType::ExternRef)
    }

    /// Gives up everything that holds a reference, as when the store is dropped. The outcome says
    /// whether that went by the rules.
    pub fn tear_down(&mut self) -> Outcome {
        self.audit_code();
        let double = self.planted(Fault::DoubleReleaseAtTeardown);
        for table in 0..self.tables.len() {
            if self.tables[table].table.element_type() != ValType::ExternRef {
                continue;
            }
            for index in 0..self.tables[table].table.size() {
                let old = self.tables[table].table.replace(index, 0);
                self.release(old);
                if double {
                    self.release(old);
                }
            }
        }
        for global in 0..self.globals.len() {
            if self.globals[global].ty.value == ValType::ExternRef {
                let (block, offset) = self.site(&self.globals[global].site);
                let old = block.read_u64(offset);
                block.write_u64(offset, 0);
                self.release(old);
            }
        }
        for object in self.objects.all() {
            let handles = std::mem::take(self.objects.handles_mut(object));
            for _ in 0..handles {
                self.release(self.objects.address(object));
            }
        }
        self.audit_teardown();
        let outcome = self.conclude(Outcome::Returned(Vec::new()));
        self.check_all_gone();
        match self.violation.take() {
            Some(violation) => Outcome::Miscounted(violation),
            None => outcome,
        }
    }

    /// What observations do not show must be dropped with the store, too, and headers be as they
    /// were made.
    fn check_all_gone(&mut self) {
        for object in self.objects.all() {
            if self.objects.hidden(object) && self.objects.alive(object) {
                return self.violated(object, "is not dropped with its owner");
            }
            if self.objects.overrun(object) {
                return self.violated(object, "was written to beside its count");
            }
        }
    }

    /// An object for people, by the address of its header.
    fn object_text(&self, address: u64) -> String {
        match self.objects.at(address) {
            Some(object) => self.objects.id(object).to_string(),
            None => "what is no object".to_string(),
        }
    }

    pub(super) fn violated(&mut self, object: ObjectIndex, how: &str) {
        let id = self.objects.id(object);
        self.violate(format!("{id} {how}"));
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}
