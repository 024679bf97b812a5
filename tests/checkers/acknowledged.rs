//! What was acknowledged is there for ever: from the acknowledgement on, in every state that includes it, on every
//! replica, until its retention is over; and it only ever becomes what it can become.
//!
//! Source: DESIGN section 5, "nothing is acknowledged before a quorum has it on disk: RULE"; section 3, retention.
//! Rests on what clients heard and what replicas have, not on the log. After every turn are compared the reservations
//! that its entries touched and a few more in rotation; all of them when a replica is shown without entries (snapshot,
//! restart, end of the run).
//! Does not see: acknowledged changes of stock and of a sale (`linearizability` finds those that the log lacks).

use std::collections::BTreeMap;
use std::ops::Bound;

use doorbuster_inventory::Inventory;
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId, ShardId};

use super::ledger::{SharedLedger, index_of};
use super::{Checker, Violation};
use crate::history::{Heard, History, Operation};
use crate::observation::{Observation, Seen};

/// Acknowledged reservations that are looked up after each turn besides those it touched.
const IN_ROTATION: usize = 6;

/// See the module.
#[derive(Debug)]
pub struct Acknowledged {
    ledger: SharedLedger,
    shards: BTreeMap<ShardId, Acks>,
}

#[derive(Debug, Default)]
struct Acks {
    /// The last that was heard of each, and what was committed by then.
    reservations: BTreeMap<ReservationId, (ReservationView, u64)>,
    products: BTreeMap<ProductId, u64>,
    next: ReservationId,
}

impl Acknowledged {
    /// Takes from this ledger what was committed when.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, shards: BTreeMap::new() }
    }

    fn hear(&mut self, operation: &Operation) {
        let (RequestBody::Command(_), Heard::Reply(reply)) = (&operation.body, &operation.heard) else { return };
        let ledger = self.ledger.borrow();
        let Some(shard) = ledger.shard_of(&operation.body) else { return };
        let committed = ledger.last(shard);
        let acks = self.shards.entry(shard).or_default();
        match reply {
            Reply::Reservation(reply) => {
                let heard = (reply.reservation, committed);
                let known = acks.reservations.entry(reply.reservation.reservation).or_insert(heard);
                if progress(&known.0) <= progress(&reply.reservation) {
                    *known = heard;
                }
            }
            Reply::Product(reply) => {
                acks.products.entry(reply.product.spec.product).or_insert(committed);
            }
            _ => {}
        }
    }
}

impl Checker for Acknowledged {
    fn property(&self) -> &'static str {
        "acknowledged"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let (node, shard, entries, inventory) = match &seen.what {
            Observation::Heard { operation } => {
                self.hear(operation);
                return Ok(());
            }
            Observation::Applied { node, shard, entries, inventory, .. } => (node, shard, entries, inventory),
            _ => return Ok(()),
        };
        let ledger = self.ledger.borrow();
        let (Some(acks), Some(log)) = (self.shards.get_mut(shard), ledger.shard(*shard)) else { return Ok(()) };
        let retention = ledger.config().limits.retention.0;
        let compared = if entries.is_empty() {
            acks.all_in(inventory, retention)
        } else {
            let touched = entries.iter().filter_map(|entry| log.entry(entry.index.0));
            let mut touched = touched.flat_map(|entry| entry.touched.reservations.iter());
            touched
                .try_for_each(|id| acks.check(*id, inventory, retention))
                .and_then(|()| acks.some_in(inventory, retention))
        };
        compared.map_err(|what| {
            let index = index_of(inventory);
            Violation::of(self.property(), format!("node {node}, shard {shard} at index {index}: {what}"))
        })
    }

    fn conclude(&mut self, history: &History) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        let retention = ledger.config().limits.retention.0;
        for (at, operation) in history.operations.iter().enumerate() {
            let (RequestBody::Command(_), Heard::Reply(Reply::Reservation(reply))) =
                (&operation.body, &operation.heard)
            else {
                continue;
            };
            let log = ledger.shard_of(&operation.body).and_then(|shard| ledger.shard(shard));
            let acked = reply.reservation;
            let now = log.and_then(|log| log.model().reservations.get(&acked.reservation)).map(|made| made.view);
            let time = log.map_or(0, |log| log.model().now);
            if let Err(what) = still_there(&acked, now, time, retention) {
                return Err(Violation {
                    property: self.property(),
                    what: format!("at the end, {what}"),
                    operations: vec![at],
                });
            }
        }
        Ok(())
    }
}

impl Acks {
    fn all_in(&self, inventory: &Inventory, retention: u64) -> Result<(), String> {
        let lost = self
            .products
            .iter()
            .find(|(id, committed)| index_of(inventory) >= **committed && inventory.product(**id).is_err());
        if let Some((id, _)) = lost {
            return Err(format!("product {id} was acknowledged and is not there"));
        }
        self.reservations.keys().try_for_each(|id| self.check(*id, inventory, retention))
    }

    fn some_in(&mut self, inventory: &Inventory, retention: u64) -> Result<(), String> {
        let behind = (Bound::Excluded(self.next), Bound::Unbounded);
        let some: Vec<_> = self.reservations.range(behind).take(IN_ROTATION).map(|(id, _)| *id).collect();
        self.next = some.last().copied().unwrap_or_default();
        some.iter().try_for_each(|id| self.check(*id, inventory, retention))
    }

    fn check(&self, id: ReservationId, inventory: &Inventory, retention: u64) -> Result<(), String> {
        match self.reservations.get(&id) {
            Some((acked, committed)) if index_of(inventory) >= *committed => {
                still_there(acked, inventory.find(id).ok(), inventory.time().0, retention)
            }
            _ => Ok(()),
        }
    }
}

fn still_there(acked: &ReservationView, now: Option<ReservationView>, time: u64, retention: u64) -> Result<(), String> {
    // A reservation that ended may be forgotten, and its id then be used anew.
    let forgettable = acked.changed_at.0 + retention <= time;
    match now {
        Some(now) if is_later(acked, &now) => Ok(()),
        _ if forgettable => Ok(()),
        Some(now) => Err(format!("a reservation was acknowledged as {acked:?} and is {now:?}")),
        None => Err(format!("a reservation was acknowledged as {acked:?} and is not there")),
    }
}

/// Whether a reservation that was once so may be like that later.
fn is_later(then: &ReservationView, now: &ReservationView) -> bool {
    use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};
    let fixed = |view: &ReservationView| {
        (view.product, view.reservation, view.user, view.quantity, view.created_at, view.first_expires_at)
    };
    let late = now.late || !matches!(now.state, Confirmed | RefundDue | Refunded);
    let way = match then.state {
        Held | Paying => now.payment_attempts >= then.payment_attempts,
        Confirmed => now.state == Confirmed || now.cancelled.is_some(),
        Released => !matches!(now.state, Expired | Cancelled) && !now.state.is_live() && late,
        Expired => !matches!(now.state, Released | Cancelled) && !now.state.is_live() && late,
        RefundDue => matches!(now.state, RefundDue | Refunded) && now.cancelled == then.cancelled,
        Refunded => now.state == Refunded && now.cancelled == then.cancelled,
        // Money may come for it, and goes back.
        Cancelled => now.state == Cancelled || (matches!(now.state, RefundDue | Refunded) && now.late),
    };
    let way = way && (then.cancelled.is_none() || now.cancelled == then.cancelled);
    fixed(then) == fixed(now) && now.changed_at >= then.changed_at && now.late >= then.late && way
}

/// Answers may be heard in another order than they were given in.
fn progress(view: &ReservationView) -> (u64, u16, bool, bool) {
    use ReservationState::{Cancelled, RefundDue, Refunded};
    let over = !view.state.is_live();
    let far = view.late || matches!(view.state, RefundDue | Refunded | Cancelled);
    (view.changed_at.0, view.payment_attempts, over, over && far)
}

#[cfg(test)]
mod tests {
    use doorbuster_inventory::Inventory;
    use doorbuster_protocol::command::Command;
    use doorbuster_protocol::types::LogIndex;

    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve, target};
    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(Acknowledged::new(ledger))]);
        stage.command(&product(1, 5)).unwrap().unwrap();
        stage.command(&reserve(1)).unwrap().unwrap();
        stage.command(&reserve(2)).unwrap().unwrap();
        stage
    }

    #[test]
    fn what_becomes_of_reservations_in_their_lives_passes() {
        let mut stage = stage();
        stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
        stage.pass(1500);
        stage.run(&[Command::Expire]).unwrap();
        stage.command(&reserve(3)).unwrap().unwrap();
        for node in NODES {
            stage.shown_bare(node).unwrap();
        }
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn a_replica_that_lost_one_is_found() {
        let mut stage = stage();
        let mut without = Inventory::new(SHARD, Default::default());
        without.apply(LogIndex(1), stage.time(), &product(1, 5)).unwrap();
        without.apply(LogIndex(3), stage.time(), &reserve(2)).unwrap();
        stage.show(Observation::Started { node: NODES[1] }).unwrap();
        stage.replicas.insert(NODES[1], without);
        assert_eq!(property(stage.shown_bare(NODES[1])), "acknowledged");
    }

    #[test]
    fn a_replica_that_has_not_come_so_far_may_lack_it() {
        let mut stage = stage();
        let mut behind = Inventory::new(SHARD, Default::default());
        behind.apply(LogIndex(1), stage.time(), &product(1, 5)).unwrap();
        stage.show(Observation::Started { node: NODES[1] }).unwrap();
        stage.replicas.insert(NODES[1], behind);
        assert_eq!(stage.shown_bare(NODES[1]), Ok(()));
    }

    #[test]
    fn one_that_was_sold_and_is_released_is_found() {
        let mut stage = stage();
        stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
        let mut other = Inventory::new(SHARD, Default::default());
        for (index, command) in [product(1, 5), reserve(1), reserve(2), Command::Release(target(1))].iter().enumerate()
        {
            other.apply(LogIndex(index as u64 + 1), stage.time(), command).unwrap();
        }
        stage.show(Observation::Started { node: NODES[1] }).unwrap();
        stage.replicas.insert(NODES[1], other);
        assert_eq!(property(stage.shown_bare(NODES[1])), "acknowledged");
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_committed_is_found_at_the_end() {
        let mut stage = stage();
        let lonely = stage.replicas.get_mut(&NODES[0]).unwrap();
        let time = lonely.time();
        let outcome = lonely.apply(LogIndex(4), time, &reserve(9));
        let heard = super::super::stage::heard(&outcome);
        stage.heard(RequestBody::Command(reserve(9)), heard, 0).unwrap();
        assert_eq!(property(stage.conclude()), "acknowledged");
    }
}
