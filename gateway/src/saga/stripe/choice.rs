//! Which account a reservation is paid at: pure, and the same at every gateway, from the reservation alone.
//!
//! A user is on the account whose name, hashed with the user's id, gives the highest number: an account that comes takes its
//! share from all others, one that goes leaves its share to them, and nobody else moves. So that no payment or refund
//! under way is looked for at another account, a list changes for reservations to come only: an account takes those that
//! were made from its `from` on and before its `until`.

use doorbuster_protocol::types::{Timestamp, UserId};
use sha2::{Digest, Sha256};

/// An account, and for which reservations.
#[derive(Clone, Debug)]
pub struct Term {
    /// Its name, which must stay the same.
    pub name: String,
    /// It takes reservations made then or later.
    pub from: Timestamp,
    /// And before then.
    pub until: Timestamp,
}

/// The place in the list of this user's account. Of accounts that all do not take a reservation of that time, one all the
/// same: it has to be paid somewhere.
#[must_use]
pub fn account_of(terms: &[Term], user: UserId, made_at: Timestamp) -> usize {
    let best = |only_fitting: bool| {
        let terms = terms.iter().enumerate().filter(|(_, term)| !only_fitting || term.takes(made_at));
        terms.max_by_key(|(_, term)| term.weight(user)).map(|(index, _)| index)
    };
    best(true).or_else(|| best(false)).unwrap_or(0)
}

impl Term {
    fn takes(&self, made_at: Timestamp) -> bool {
        (self.from..self.until).contains(&made_at)
    }

    fn weight(&self, user: UserId) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"doorbuster/account");
        hasher.update(user.0.to_be_bytes());
        hasher.update(self.name.as_bytes());
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Timestamp = Timestamp(u64::MAX);

    fn terms(list: &[(&str, u64, Timestamp)]) -> Vec<Term> {
        let term = |(name, from, until): &(&str, u64, Timestamp)| Term {
            name: (*name).into(),
            from: Timestamp(*from),
            until: *until,
        };
        list.iter().map(term).collect()
    }

    fn names(list: &[Term], made_at: u64) -> Vec<String> {
        (1..=3000).map(|user| list[account_of(list, UserId(user), Timestamp(made_at))].name.clone()).collect()
    }

    #[test]
    fn users_are_spread_and_stay() {
        let three = terms(&[("a", 0, ALWAYS), ("b", 0, ALWAYS), ("c", 0, ALWAYS)]);
        let before = names(&three, 5);
        for name in ["a", "b", "c"] {
            let share = before.iter().filter(|account| *account == name).count();
            assert!((900..1100).contains(&share), "{name}: {share}");
        }
        let reordered = terms(&[("c", 0, ALWAYS), ("a", 0, ALWAYS), ("b", 0, ALWAYS)]);
        assert_eq!(names(&reordered, 5), before);
        // Whoever moves when one goes was there.
        let two = names(&terms(&[("a", 0, ALWAYS), ("b", 0, ALWAYS)]), 5);
        assert!(before.iter().zip(&two).all(|(before, after)| before == "c" || before == after));
        // A release of ours that chose otherwise would look for payments where they are not.
        assert_eq!(before[..8].concat(), "abbcaaac");
    }

    #[test]
    fn a_change_of_the_list_is_for_reservations_to_come() {
        let old = terms(&[("a", 0, ALWAYS), ("b", 0, ALWAYS)]);
        let changed = terms(&[("a", 0, Timestamp(100)), ("b", 0, ALWAYS), ("c", 100, ALWAYS)]);
        assert_eq!(names(&changed, 99), names(&old, 99));
        let after = names(&changed, 100);
        assert!(after.iter().all(|account| account != "a") && after.contains(&"c".to_owned()));
        // No account is for this time: all are.
        let late = terms(&[("a", 50, ALWAYS), ("b", 50, ALWAYS)]);
        assert_eq!(names(&late, 10), names(&old, 10));
    }
}
