//! Singles out the entries that a database refuses from a batch that it refused: halves what was refused until the entry itself is
//! found, and lets the others through. Pure: whoever has the transaction tries what [`Sieve::next`] gives, and says what came of it.
//!
//! Entries of one reservation stay in order: what comes behind a refused one of the same reservation is held back with it.

use std::collections::HashMap;

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::FeedPosition;

use super::row::NewRow;
use super::store::StoreError;

/// See the module.
#[derive(Debug)]
pub(super) struct Sieve {
    /// Still to be tried; what comes first in the feed is last.
    batches: Vec<Vec<Candidate>>,
    trying: Vec<NewRow>,
    /// Reservations with a refused entry, and the position of the first.
    refused_of: HashMap<String, i64>,
    sifted: Sifted,
}

/// What is left in the end.
#[derive(Debug, Default)]
pub(super) struct Sifted {
    /// Those that went through, in the order of the feed.
    pub stored: Vec<FeedPosition>,
    /// The others.
    pub refused: Vec<Refused>,
}

/// An entry that is not stored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub entry: FeedEntry,
    pub error: String,
}

/// An entry, or what it cannot even be tried for.
type Candidate = Result<NewRow, Refused>;

impl Sieve {
    /// Of consecutive entries; `parked` are reservations with an entry that is parked already, and the position of the first.
    pub fn of(entries: &[FeedEntry], parked: HashMap<String, i64>) -> Self {
        let candidate =
            |entry: &FeedEntry| NewRow::of(entry).map_err(|error| Refused { entry: *entry, error: error.to_string() });
        let batches = vec![entries.iter().map(candidate).collect()];
        Self { batches, trying: Vec::new(), refused_of: parked, sifted: Sifted::default() }
    }

    /// What to try now, all or nothing of it. To be followed by [`Sieve::passed`] or [`Sieve::refused`].
    pub fn next(&mut self) -> Option<&[NewRow]> {
        while self.trying.is_empty() {
            for candidate in self.batches.pop()? {
                match candidate.and_then(|row| self.in_turn(row)) {
                    Ok(row) => self.trying.push(row),
                    Err(refused) => self.sifted.refused.push(refused),
                }
            }
        }
        Some(&self.trying)
    }

    /// It went through.
    pub fn passed(&mut self) {
        self.sifted.stored.extend(self.trying.drain(..).map(|row| row.entry.position));
    }

    /// The database refuses something of it.
    pub fn refused(&mut self, error: &StoreError) {
        let mut first = std::mem::take(&mut self.trying);
        let second = first.split_off(first.len() / 2);
        if let ([], [row]) = (&first[..], &second[..]) {
            self.refused_of.entry(row.reservation.clone()).or_insert(row.position);
            self.sifted.refused.push(Refused { entry: row.entry, error: error.to_string() });
            return;
        }
        self.batches.extend([second, first].map(|half| half.into_iter().map(Ok).collect()));
    }

    /// What is left.
    pub fn end(self) -> Sifted {
        self.sifted
    }

    fn in_turn(&self, row: NewRow) -> Candidate {
        match self.refused_of.get(&row.reservation) {
            Some(first) if *first < row.position => {
                let error = format!("waits behind position {first}, of the same reservation, which is parked");
                Err(Refused { entry: row.entry, error })
            }
            _ => Ok(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::plan::tests::entry;

    /// Tries until nothing is left; what `is_refused` is refused. Gives what is left, and how many tries it took.
    fn sift(mut sieve: Sieve, is_refused: impl Fn(u64) -> bool) -> (Vec<u64>, Vec<(u64, String)>, usize) {
        let mut tries = 0;
        while let Some(rows) = sieve.next() {
            tries += 1;
            if rows.iter().any(|row| is_refused(row.entry.position.get())) {
                sieve.refused(&StoreError::Refused { problem: "a poison row".to_owned() });
            } else {
                sieve.passed();
            }
        }
        let Sifted { stored, refused } = sieve.end();
        let refused = refused.into_iter().map(|refused| (refused.entry.position.get(), refused.error)).collect();
        (stored.iter().map(|position| position.get()).collect(), refused, tries)
    }

    fn entries(count: u64) -> Vec<FeedEntry> {
        (1..=count).map(entry).collect()
    }

    #[test]
    fn a_batch_without_poison_takes_one_try_and_an_empty_one_none() {
        assert_eq!(sift(Sieve::of(&entries(1000), HashMap::new()), |_| false).2, 1);
        assert_eq!(sift(Sieve::of(&[], HashMap::new()), |_| true).2, 0);
    }

    #[test]
    fn only_the_poison_is_left_wherever_it_is() {
        for poison in [vec![1], vec![50], vec![100], vec![1, 2, 99], (1..=100).collect::<Vec<_>>(), vec![]] {
            let (stored, refused, tries) = sift(Sieve::of(&entries(100), HashMap::new()), |at| poison.contains(&at));
            assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), poison);
            assert_eq!(stored, (1..=100).filter(|at| !poison.contains(at)).collect::<Vec<_>>());
            assert!(tries <= 1 + 14 * poison.len(), "{tries} tries for {poison:?}");
        }
    }

    #[test]
    fn what_follows_in_the_same_reservation_is_held_back() {
        let mut batch = entries(8);
        for (follower, first) in [(4, 1), (7, 1), (5, 0)] {
            batch[follower].reservation = batch[first].reservation;
        }
        let (stored, refused, _) = sift(Sieve::of(&batch, HashMap::new()), |at| at == 2);
        assert_eq!(stored, [1, 3, 4, 6, 7]);
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 5, 8]);
        assert!(refused[1].1.contains("position 2"), "{refused:?}");

        let parked = HashMap::from([(NewRow::of(&batch[2]).unwrap().reservation, 1)]);
        let (stored, refused, _) = sift(Sieve::of(&batch[2..3], parked), |_| false);
        assert_eq!((stored.len(), refused.len()), (0, 1), "behind one that was parked before");
    }

    #[test]
    fn what_fits_no_column_is_refused_without_a_try() {
        let mut batch = entries(3);
        batch[1].price.minor = u64::MAX;
        let (stored, refused, tries) = sift(Sieve::of(&batch, HashMap::new()), |_| false);
        assert_eq!((stored, tries), (vec![1, 3], 1));
        assert!(refused[0].1.contains("price 18446744073709551615"), "{refused:?}");
    }
}
