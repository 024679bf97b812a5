//! A reservation ends once: released by request, expired by time, or sold, and no two of these, but for a late payment,
//! which takes a released or expired one again or makes a refund due, and says so.
//!
//! Source: DESIGN section 1, reservation; section 7, "a payment that succeeds after the reservation is gone".
//! Judges by what replicas have and by what clients heard, not by the log.
//! Does not see: states that nobody was shown, of a replica in the middle of a turn.

use std::collections::BTreeMap;

use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView};
use doorbuster_protocol::types::{ProductId, ReservationId, Timestamp};

use super::ledger::SharedLedger;
use super::{Checker, Violation};
use crate::history::{Heard, History};
use crate::observation::{Observation, Seen};

use ReservationState::{Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

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
        }
        ends.agree(view.state)
    }
}

impl Ends {
    fn agree(&self, now: ReservationState) -> Result<(), String> {
        if let (Some((state, at)), Some((paid, when, late))) = (self.given_back, self.paid)
            && (!late || when < at)
        {
            return Err(format!("it was {} at {at}, and {} at {when}, late: {late}", state.name(), paid.name()));
        }
        if let (Some((Confirmed, at, _)), Refunded) = (self.paid, now) {
            return Err(format!("it was confirmed at {at} and then refunded"));
        }
        let over = self.given_back.map(|(_, at)| at).into_iter().chain(self.paid.map(|(_, at, _)| at)).min();
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
