//! The oracles, one file each.
//!
//! Each file opens with its rule: what must hold of a reference's and a subject's observation of
//! one step for the subject to be right. Each oracle is a pure function that yields the first
//! place where the rule is broken, with both sides' values, and takes any observations, also ones
//! that no engine should have made.
//!
//! Wherever a rule says `a ≡ b` of two values, [`Value::agrees`](crate::Value::agrees) is meant.

use crate::finding::Difference;

pub mod globals;
pub mod host_calls;
pub mod looks;
pub mod memories;
pub mod refcounts;
pub mod results;
pub mod tables;
pub mod trace;
pub mod traps;

/// Whether a difference is explained by a fault that is known.
pub type Explained<'a> = dyn Fn(&Difference) -> bool + 'a;

/// The first difference that is not explained, or if all are, the first.
fn first_unexplained(
    differences: impl Iterator<Item = Difference>,
    explained: &Explained<'_>,
) -> Option<Difference> {
    let mut first = None;
    for difference in differences {
        if !explained(&difference) {
            return Some(difference);
        }
        first.get_or_insert(difference);
    }
    first
}

/// The entities that either side lists, ascending, each once.
fn mentioned<'a, T>(
    reference: &'a [T],
    subject: &'a [T],
    entity: impl Fn(&T) -> crate::observation::Entity,
) -> Vec<crate::observation::Entity> {
    let mut entities: Vec<_> = reference.iter().chain(subject).map(entity).collect();
    entities.sort_unstable();
    entities.dedup();
    entities
}
