//! How often each oracle looked, and how often it found something.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Index, IndexMut};

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::finding::OracleName;

/// What one oracle did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// The steps it looked at. What happens when the store is dropped counts as one more step.
    pub checked: u64,
    /// The steps at which it found a difference.
    pub failed: u64,
}

/// A [`Tally`] for each oracle. Serialises as a map from the oracle's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tallies([Tally; OracleName::ALL.len()]);

impl Tallies {
    /// The oracles with their tallies, in the order of [`OracleName::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (OracleName, Tally)> + '_ {
        OracleName::ALL.into_iter().zip(self.0)
    }
}

impl Index<OracleName> for Tallies {
    type Output = Tally;

    fn index(&self, oracle: OracleName) -> &Tally {
        &self.0[oracle.index()]
    }
}

impl IndexMut<OracleName> for Tallies {
    fn index_mut(&mut self, oracle: OracleName) -> &mut Tally {
        &mut self.0[oracle.index()]
    }
}

impl AddAssign for Tallies {
    fn add_assign(&mut self, other: Tallies) {
        for (tally, more) in self.0.iter_mut().zip(other.0) {
            tally.checked += more.checked;
            tally.failed += more.failed;
        }
    }
}

impl Serialize for Tallies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (oracle, tally) in self.iter() {
            map.serialize_entry(oracle.as_str(), &tally)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Tallies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tallies, D::Error> {
        let mut tallies = Tallies::default();
        for (oracle, tally) in BTreeMap::<OracleName, Tally>::deserialize(deserializer)? {
            tallies[oracle] = tally;
        }
        Ok(tallies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_oracle_has_its_own_tally() {
        let mut tallies = Tallies::default();
        for (position, oracle) in OracleName::ALL.into_iter().enumerate() {
            assert_eq!(oracle.index(), position);
            tallies[oracle].checked = position as u64 + 1;
        }
        let mut sum = tallies;
        sum += tallies;
        for (position, (oracle, tally)) in sum.iter().enumerate() {
            assert_eq!(oracle, OracleName::ALL[position]);
            assert_eq!(tally.checked, 2 * (position as u64 + 1));
            assert_eq!(tally.failed, 0);
        }
        let json = serde_json::to_string(&sum).expect("json");
        assert_eq!(serde_json::from_str::<Tallies>(&json).ok(), Some(sum));
    }
}
