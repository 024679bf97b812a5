//! Which payments and refunds are carried on by this gateway, and whether their provider has told of one meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use doorbuster_protocol::types::ReservationId;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::provider::Key;
use super::step::Outcome;

/// What cannot run twice here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// A reservation and its attempt.
    Payment(ReservationId, u16),
    /// A reservation's refund.
    Refund(ReservationId),
}

/// Tells how a payment ended, once it has.
pub type Watch = watch::Receiver<Option<Outcome>>;

/// That a provider has told of a payment by itself. It stays so until somebody takes notice.
pub type Word = Arc<Notify>;

/// The lanes that are taken.
#[derive(Debug, Default)]
pub struct Lanes(Mutex<HashMap<Lane, Taken>>);

#[derive(Debug)]
struct Taken {
    watch: Watch,
    word: Word,
}

/// What whoever wants a lane gets.
#[derive(Debug)]
pub enum Entered {
    /// It is free: carry the payment on.
    First(Word),
    /// It is not: this tells how it ends.
    Joined(Watch),
}

impl Lanes {
    /// Takes a lane, unless somebody has it. `watch` is for those who join.
    pub fn enter(&self, lane: Lane, watch: &Watch) -> Entered {
        let mut lanes = self.0.lock();
        if let Some(taken) = lanes.get(&lane) {
            return Entered::Joined(taken.watch.clone());
        }
        let word = Word::default();
        lanes.insert(lane, Taken { watch: watch.clone(), word: Arc::clone(&word) });
        Entered::First(word)
    }

    /// Whether somebody has it.
    pub fn is_taken(&self, lane: Lane) -> bool {
        self.0.lock().contains_key(&lane)
    }

    /// The provider has told by itself that something came of this key. Whether anybody carries it on here.
    pub fn tell(&self, key: Key) -> bool {
        let lanes = self.0.lock();
        let known = [Lane::Payment(key.reservation, key.attempt), Lane::Refund(key.reservation)];
        known.iter().filter_map(|lane| lanes.get(lane)).map(|taken| taken.word.notify_one()).count() > 0
    }

    /// Gives a lane back. Not with the end unknown if the provider has told of it meanwhile: its event was taken because
    /// somebody is here. Whether it is given back.
    pub fn leave(&self, lane: Lane, outcome: Outcome) -> bool {
        let mut lanes = self.0.lock();
        let is_told = || lanes.get(&lane).is_some_and(|taken| taken.word.notified().now_or_never().is_some());
        if outcome == Outcome::Unresolved && is_told() {
            return false;
        }
        lanes.remove(&lane);
        true
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::Timestamp;

    use super::*;

    const LANE: Lane = Lane::Payment(ReservationId(7), 1);

    fn key(attempt: u16) -> Key {
        Key { reservation: ReservationId(7), made_at: Timestamp(1), attempt }
    }

    #[test]
    fn one_carries_on_and_the_others_join() {
        let (lanes, (tell, watch)) = (Lanes::default(), watch::channel(None));
        let Entered::First(_) = lanes.enter(LANE, &watch) else { panic!("it is free") };
        let Entered::Joined(joined) = lanes.enter(LANE, &watch) else { panic!("it is taken") };
        tell.send_replace(Some(Outcome::Confirmed));
        assert_eq!(*joined.borrow(), Some(Outcome::Confirmed));
        assert!(lanes.is_taken(LANE) && !lanes.is_taken(Lane::Refund(ReservationId(7))));
        assert!(lanes.leave(LANE, Outcome::Confirmed));
        assert!(matches!(lanes.enter(LANE, &watch), Entered::First(_)));
    }

    #[test]
    fn what_was_told_is_heard_once_and_not_given_up() {
        let (lanes, (_, watch)) = (Lanes::default(), watch::channel(None));
        assert!(!lanes.tell(key(1)), "nobody is there");
        let Entered::First(word) = lanes.enter(LANE, &watch) else { panic!("it is free") };
        assert!(lanes.tell(key(1)) && !lanes.tell(key(2)), "another attempt is another lane");
        assert!(word.notified().now_or_never().is_some() && word.notified().now_or_never().is_none());
        lanes.tell(key(1));
        assert!(!lanes.leave(LANE, Outcome::Unresolved) && lanes.is_taken(LANE), "told just as it gave up");
        assert!(lanes.leave(LANE, Outcome::Unresolved) && !lanes.is_taken(LANE));
        assert!(!lanes.tell(key(1)));
    }
}
