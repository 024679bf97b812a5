//! Counts of everything that happened in a run, by name; runs are added up.

use std::collections::BTreeMap;

/// Named counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    counts: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// One more.
    pub fn count(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// So many more.
    pub fn add(&mut self, name: &'static str, more: u64) {
        *self.counts.entry(name).or_default() += more;
    }

    /// The largest value seen.
    pub fn most(&mut self, name: &'static str, value: u64) {
        let most = self.counts.entry(name).or_default();
        *most = value.max(*most);
    }

    /// How many; 0 of what never happened.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// All of them, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// Adds those of another run; names that begin with `most_` keep the larger value.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in other.iter() {
            if name.starts_with("most_") { self.most(name, count) } else { self.add(name, count) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_add_up() {
        let (mut one, mut other) = (Counters::default(), Counters::default());
        one.add("crashes", 2);
        one.most("most_pending", 5);
        other.count("crashes");
        other.most("most_pending", 3);
        one.merge(&other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [("crashes", 3), ("most_pending", 5)]);
    }
}
