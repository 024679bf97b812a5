//! A reservation ends once: released by request, expired by time, or sold, and no two of these, but for a late payment,
//! which takes a released or expired one again or makes a refund due, and says so, and for a cancellation, which undoes a
//! sale once and says how.
//!
//! Source: DESIGN section 1, reservation; section 7, "a payment that succeeds after the reservation is gone".
//! Judges by what replicas have and by what clients heard, not by the log.
//! Does not see: states that nobody was shown, of a replica in the middle of a turn.

use std::collections::BTreeMap;

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::types::{ProductId, ReservationId, Timestamp};

use super::ledger::SharedLedger;
use super::{Checker, Violation};
use crate::history::{Heard, History};
use crate::observation::{Observation, Seen};

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

/// A reservation's product, id and creation: an id may be used anew after its retention.
type Which = (ProductId, ReservationId, Timestamp);

/// See the module.
#[derive(Debug)]
pub struct TerminalState {
    ledger: SharedLedger,
    ends: BTreeMap<Which, Ends>,
}

/// How a reservation was seen to have ended, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    /// Released or expired.
    given_back: Option<(ReservationState, Timestamp)>,
    /// Confirmed, or a refund due.
    paid: Option<(ReservationState, Timestamp, bool)>,
    /// How its sale was cancelled, and the earliest that it was seen to be.
    undone: Option<(Cancellation, Timestamp)>,
    /// Alive at this time.
    alive: Option<Timestamp>,
}

impl TerminalState {
    /// Takes from this ledger what an entry touched.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, ends: BTreeMap::new() }
    }

    fn sight(&mut self, view: &ReservationView) -> Result<(), String> {
        let ends = self.ends.entry((view.product, view.reservation, view.created_at)).or_default();
        let at = view.changed_at;
        if let Some(how) = view.cancelled {
            return ends.cancelled(view, how);
        }
        match view.state {
            Held | Paying => ends.alive = ends.alive.max(Some(at)),
            Released | Expired => {
                let first = *ends.given_back.get_or_insert((view.state, at));
                if first != (view.state, at) {
                    return Err(format!("it was {} at {} and {} at {at}", first.0.name(), first.1, view.state.name()));
                }
            }
            Confirmed | RefundDue => {
                let first = *ends.paid.get_or_insert((view.state, at, view.late));
                if first != (view.state, at, view.late) {
                    return Err(format!("it was {} at {} and {} at {at}", first.0.name(), first.1, view.state.name()));
                }
            }
            // The money went back: when it was due is not told any more.
            Refunded => {}
            Cancelled => return Err(format!("it was cancelled at {at}, and nobody knows how")),
        }
        ends.agree(view.state)
    }
}

impl Ends {
    fn cancelled(&mut self, view: &ReservationView, how: Cancellation) -> Result<(), String> {
        let (state, at) = (view.state, view.changed_at);
        if !matches!(state, RefundDue | Refunded | Cancelled) {
            return Err(format!("it is {} at {at} and said to be cancelled", state.name()));
        }
        let (first, since) = self.undone.unwrap_or((how, at));
        if first != how {
            return Err(format!("it was cancelled as {first:?} and as {how:?}"));
        }
        self.undone = Some((how, since.min(at)));
        self.agree(state)
    }

    fn agree(&self, now: ReservationState) -> Result<(), String> {
        if let (Some((state, at)), Some((paid, when, late))) = (self.given_back, self.paid)
            && (!late || when < at)
        {
            return Err(format!("it was {} at {at}, and {} at {when}, late: {late}", state.name(), paid.name()));
        }
        if let (Some((Confirmed, at, _)), Refunded, None) = (self.paid, now, self.undone) {
            return Err(format!("it was confirmed at {at} and then refunded"));
        }
        if let (Some((_, since)), Some((paid, at, _))) = (self.undone, self.paid)
            && (paid != Confirmed || since < at)
        {
            return Err(format!("it was cancelled by {since}, and {} at {at}", paid.name()));
        }
        let over = self.given_back.map(|(_, at)| at).into_iter().chain(self.paid.map(|(_, at, _)| at));
        let over = over.chain(self.undone.map(|(_, at)| at)).min();
        match (self.alive, over) {
            (Some(alive), Some(over)) if over < alive => Err(format!("it ended at {over} and was alive at {alive}")),
            _ => Ok(()),
        }
    }
}

impl Checker for TerminalState {
    fn property(&self) -> &'static str {
        "terminal_state"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Observation::Applied { node, shard, entries, inventory, .. } = &seen.what else { return Ok(()) };
        let ledger = SharedLedger::clone(&self.ledger);
        let ledger = ledger.borrow();
        let Some(log) = ledger.shard(*shard) else { return Ok(()) };
        let touched = entries.iter().filter_map(|entry| log.entry(entry.index.0));
        for id in touched.flat_map(|entry| entry.touched.reservations.iter()) {
            let Ok(view) = inventory.find(*id) else { continue };
            self.sight(&view).map_err(|what| {
                Violation::of("terminal_state", format!("node {node}, shard {shard}, reservation {id}: {what}"))
            })?;
        }
        Ok(())
    }

    fn conclude(&mut self, history: &History) -> Result<(), Violation> {
        for (at, operation) in history.operations.iter().enumerate() {
            let Heard::Reply(Reply::Reservation(reply)) = &operation.heard else { continue };
            let view = reply.reservation;
            self.sight(&view).map_err(|what| Violation {
                property: "terminal_state",
                what: format!("reservation {} of product {}: {what}", view.reservation, view.product),
                operations: vec![at],
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_inventory::Inventory;
    use doorbuster_protocol::command::{Command, LatePayment};
    use doorbuster_protocol::types::{LogIndex, Quantity, UserId};

    use super::super::stage::{NODES, SHARD, Stage, product, property, reserve, target};
    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(TerminalState::new(ledger))]);
        stage.command(&product(1, 5)).unwrap().unwrap();
        stage.command(&reserve(1)).unwrap().unwrap();
        stage
    }

    fn late() -> Command {
        let target = doorbuster_protocol::command::Target { user: UserId(1), ..target(1) };
        Command::LatePayment(LatePayment { target, quantity: Quantity(1) })
    }

    #[test]
    fn a_late_payment_takes_again_what_was_given_back() {
        let mut stage = stage();
        stage.command(&Command::Release(target(1))).unwrap().unwrap();
        stage.command(&late()).unwrap().unwrap();
        stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn one_answered_as_released_and_as_sold_is_found() {
        let mut stage = stage();
        let mut other = Inventory::new(SHARD, Default::default());
        other.apply(LogIndex(1), stage.time(), &product(1, 5)).unwrap();
        let at = stage.replicas[&NODES[0]].find(ReservationId(1)).unwrap().created_at;
        other = {
            let mut fresh = Inventory::new(SHARD, Default::default());
            fresh.apply(LogIndex(1), at, &product(1, 5)).unwrap();
            drop(other);
            fresh
        };
        other.apply(LogIndex(2), at, &reserve(1)).unwrap();
        stage.command(&Command::Release(target(1))).unwrap().unwrap();
        let outcome = other.apply(LogIndex(3), stage.time(), &Command::Confirm(target(1)));
        let heard = super::super::stage::heard(&outcome);
        stage.heard(doorbuster_protocol::request::RequestBody::Command(Command::Confirm(target(1))), heard, 0).unwrap();
        assert_eq!(property(stage.conclude()), "terminal_state");
    }

    #[test]
    fn ends_exclude_each_other_and_life() {
        let view = |state, at, late| {
            let stage = stage();
            let view = stage.replicas[&NODES[0]].find(ReservationId(1)).unwrap();
            ReservationView { state, changed_at: Timestamp(at), late, ..view }
        };
        let found = |views: &[ReservationView]| {
            let ledger = super::super::ledger::Ledger::shared(Default::default());
            let mut checker = TerminalState::new(ledger);
            views.iter().try_for_each(|view| checker.sight(view)).is_err()
        };
        let legal: [&[_]; 5] = [
            &[view(Held, 5, false), view(Paying, 6, false), view(Confirmed, 7, false)],
            &[view(Released, 7, false), view(Released, 7, false), view(Held, 5, false)],
            &[view(Expired, 7, false), view(Confirmed, 9, true), view(Expired, 7, false)],
            &[view(Released, 7, false), view(RefundDue, 9, true), view(Refunded, 11, true)],
            &[view(Paying, 6, false), view(Held, 8, false), view(Expired, 9, false)],
        ];
        let illegal: [&[_]; 7] = [
            &[view(Released, 7, false), view(Expired, 7, false)],
            &[view(Confirmed, 7, false), view(Confirmed, 8, false)],
            &[view(Expired, 7, false), view(Confirmed, 9, false)],
            &[view(Expired, 9, false), view(Confirmed, 7, true)],
            &[view(Confirmed, 7, false), view(Refunded, 9, false)],
            &[view(Released, 7, false), view(Held, 9, false)],
            &[view(Confirmed, 7, true), view(RefundDue, 7, true)],
        ];
        assert_eq!(legal.map(found), [false; 5]);
        assert_eq!(illegal.map(found), [true; 7]);
    }
}
