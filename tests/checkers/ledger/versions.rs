//! A thing's versions, by the index of the log entry that brought each.

/// See the module. Indexes go up.
#[derive(Clone, Debug)]
pub struct Versions<T>(Vec<(u64, T)>);

impl<T> Default for Versions<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Versions<T> {
    /// It became this with the entry at `index`.
    pub fn push(&mut self, index: u64, version: T) {
        match self.0.last_mut() {
            Some(last) if last.0 == index => last.1 = version,
            _ => self.0.push((index, version)),
        }
    }

    /// What it was after the entry at `index`.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<&T> {
        let after = self.0.partition_point(|(brought, _)| *brought <= index);
        after.checked_sub(1).map(|at| &self.0[at].1)
    }

    /// What it is now.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.0.last().map(|(_, version)| version)
    }

    /// All of them, with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = &(u64, T)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_lasts_until_the_next() {
        let mut versions = Versions::default();
        versions.push(3, 'a');
        versions.push(5, 'b');
        versions.push(5, 'c');
        assert_eq!(
            [2, 3, 4, 5, 6].map(|index| versions.at(index).copied()),
            [None, Some('a'), Some('a'), Some('c'), Some('c')]
        );
    }
}
