//! Orders are the confirmed reservations: never more than are confirmed, each once, in the feed's order without gaps,
//! nothing acknowledged before it is stored; and at quiescence all of them.
//!
//! Source: DESIGN section 7, "`INSERT ... ON CONFLICT DO NOTHING` and its feed position in one transaction, then
//! acknowledges"; "the database may be down for an hour: the sale goes on, and every order arrives once".
//! Does not see: what is done with an order after it is stored.

use std::collections::BTreeMap;

use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{FeedPosition, ProductId, ReservationId, ShardId};

use super::ledger::SharedLedger;
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug)]
pub struct Orders {
    ledger: SharedLedger,
    through: BTreeMap<ShardId, u64>,
    sold: BTreeMap<(ProductId, ReservationId), FeedPosition>,
    quiescent: bool,
}

impl Orders {
    /// Compares with this ledger's confirmed reservations.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, through: BTreeMap::new(), sold: BTreeMap::new(), quiescent: false }
    }

    fn stored(&mut self, shard: ShardId, entries: &[FeedEntry], through: FeedPosition) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let feed = ledger.shard(shard).map_or(&[][..], |shard| &shard.model().feed);
        let last = self.through.entry(shard).or_insert(0);
        for entry in entries {
            if entry.position.0 != *last + 1 {
                return Err(format!("feed position {} was stored behind {last}", entry.position));
            }
            *last += 1;
            let at = usize::try_from(entry.position.0 - 1).unwrap_or(usize::MAX);
            match feed.get(at) {
                Some(wants) if wants == entry => {}
                wants => return Err(format!("{entry:?} was stored, by the log the feed has {wants:?} there")),
            }
            if entry.kind == FeedKind::Confirmed
                && let Some(before) = self.sold.insert((entry.product, entry.reservation), entry.position)
            {
                return Err(format!("{entry:?} was stored, and is at position {before} already"));
            }
        }
        if through.0 == *last {
            return Ok(());
        }
        Err(format!("orders are stored up to feed position {last}, and {through} was noted"))
    }

    fn acknowledged(&self, shard: ShardId) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let acknowledged = ledger.shard(shard).map_or(0, |shard| shard.model().acknowledged);
        let stored = self.through.get(&shard).copied().unwrap_or(0);
        if acknowledged <= stored {
            return Ok(());
        }
        Err(format!("the feed is acknowledged up to {acknowledged} and stored up to {stored}"))
    }

    fn complete(&self) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let mut confirmed = 0;
        for (shard, log) in ledger.shards() {
            let (has, wants) = (self.through.get(&shard).copied().unwrap_or(0), log.model().feed.len() as u64);
            if has != wants {
                return Err(format!("at quiescence shard {shard} has {wants} on its feed, of which {has} are stored"));
            }
            confirmed += log.model().feed.iter().filter(|entry| entry.kind == FeedKind::Confirmed).count();
        }
        if confirmed == self.sold.len() {
            return Ok(());
        }
        Err(format!("at quiescence {confirmed} reservations were confirmed, and {} orders are stored", self.sold.len()))
    }
}

impl Checker for Orders {
    fn property(&self) -> &'static str {
        "orders"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let found = match &seen.what {
            Observation::Stored { shard, entries, through } => {
                self.stored(*shard, entries, *through).map_err(|what| format!("shard {shard}: {what}"))
            }
            Observation::Applied { shard, .. } => {
                self.acknowledged(*shard).map_err(|what| format!("shard {shard}: {what}"))
            }
            Observation::Quiescent => {
                self.quiescent = true;
                Ok(())
            }
            _ => Ok(()),
        };
        found.map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        let complete = if self.quiescent { self.complete() } else { Ok(()) };
        complete.map_err(|what| Violation::of(self.property(), what))
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::Command;

    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve, target};
    use super::*;

    /// Three reservations are sold.
    fn stage() -> (Stage, Vec<FeedEntry>) {
        let mut stage = Stage::new(|ledger| vec![Box::new(Orders::new(ledger))]);
        stage.run(&[product(1, 5)]).unwrap();
        stage.run(&[reserve(1), reserve(2), reserve(3)]).unwrap();
        stage.run(&[1, 2, 3].map(|id| Command::Confirm(target(id)))).unwrap();
        let feed = stage.replicas[&NODES[0]].feed(FeedPosition(0), 10).entries;
        (stage, feed)
    }

    fn store(stage: &mut Stage, entries: &[FeedEntry], through: u64) -> Result<(), Violation> {
        stage.show(Observation::Stored { shard: SHARD, entries, through: FeedPosition(through) })
    }

    fn quiesce(stage: &mut Stage) -> Result<(), Violation> {
        stage.show(Observation::Quiescent).and_then(|()| stage.conclude())
    }

    fn acknowledge(through: u64) -> Command {
        Command::AcknowledgeFeed { shard: SHARD, through: FeedPosition(through) }
    }

    #[test]
    fn all_of_them_in_batches_pass() {
        let (mut stage, feed) = stage();
        store(&mut stage, &feed[..2], 2).unwrap();
        stage.run(&[acknowledge(2)]).unwrap();
        store(&mut stage, &feed[2..], 3).unwrap();
        assert_eq!(quiesce(&mut stage), Ok(()));
    }

    #[test]
    fn fewer_at_quiescence_are_found() {
        let (mut stage, feed) = stage();
        store(&mut stage, &feed[..2], 2).unwrap();
        assert_eq!(stage.conclude(), Ok(()), "before quiescence some may be missing");
        assert_eq!(property(quiesce(&mut stage)), "orders");
    }

    #[test]
    fn gaps_repetitions_and_wrong_positions_are_found() {
        let (_, feed) = stage();
        let wrong: [(&[FeedEntry], u64); 4] =
            [(&feed[1..], 3), (&feed[..2], 3), (&[feed[0], feed[0]], 2), (&feed[..2], 1)];
        for (entries, through) in wrong {
            let (mut stage, _) = stage();
            assert_eq!(property(store(&mut stage, entries, through)), "orders");
        }
    }

    #[test]
    fn an_order_for_what_is_not_confirmed_is_found() {
        let (mut stage, feed) = stage();
        store(&mut stage, &feed, 3).unwrap();
        let more = FeedEntry { position: FeedPosition(4), reservation: ReservationId(4), ..feed[0] };
        assert_eq!(property(store(&mut stage, &[more], 4)), "orders");
        let (mut stage, feed) = super::tests::stage();
        let dearer = FeedEntry { quantity: 2.into(), ..feed[0] };
        assert_eq!(property(store(&mut stage, &[dearer], 1)), "orders");
    }

    #[test]
    fn a_feed_acknowledged_before_it_is_stored_is_found() {
        let (mut stage, feed) = stage();
        store(&mut stage, &feed[..1], 1).unwrap();
        assert_eq!(property(stage.run(&[acknowledge(2)])), "orders");
    }
}
