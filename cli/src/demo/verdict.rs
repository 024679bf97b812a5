//! Did the sale hold? Everything the buyers heard against everything the shards, the database and the payment provider have, item
//! by item, with no knowledge of how it came to be.

use super::disturbance::{GatewayKill, Kill};
use super::ledger::Heard;
use super::plan::Plan;
use super::stats::Totals;
use crate::audit::Audit;
use crate::names::reservation_text;
use doorbuster_payment_simulator::routes::Happened;
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{ReservationId, UserId};
use std::collections::HashMap;
use std::time::Duration;

/// Differences of one kind beyond these are counted only.
const MOST_NAMED: usize = 10;

/// Everything known at the end.
#[derive(Debug)]
pub struct Evidence {
    /// What the buyers heard, by reservation.
    pub heard: HashMap<ReservationId, Heard>,
    /// Why the ledger cannot be trusted, if so.
    pub ledger_failed: Option<String>,
    /// What the shards have.
    pub reservations: Vec<ReservationView>,
    /// The recount of all replicas, and the comparison with the database and the provider's ledger.
    pub audit: Audit,
    /// What the provider has counted.
    pub happened: Happened,
    /// What the buyers counted.
    pub totals: Totals,
    /// The kill of the leader, if there was to be one.
    pub kill: Option<Kill>,
    /// The kills of gateways.
    pub gateways: Vec<GatewayKill>,
    /// From the opening to the last answer.
    pub took: Duration,
    /// What else went wrong on the way.
    pub failures: Vec<String>,
}

/// The outcome.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Units sold, as the shards' reservations say.
    pub confirmed: u64,
    /// Units sold beyond the stock.
    pub oversold: u64,
    /// Acknowledged results that the shards do not have.
    pub lost_acknowledged: u64,
    /// Reservations that nobody was told of.
    pub unacknowledged: u64,
    /// Whatever is not as it must be, in words. Empty: every invariant holds.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether every invariant holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Judges the sale.
#[must_use]
pub fn judge(plan: &Plan, evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let known: HashMap<ReservationId, &ReservationView> =
        evidence.reservations.iter().map(|view| (view.reservation, view)).collect();
    acknowledged(&mut verdict, &evidence.heard, &known);
    unheard(&mut verdict, &evidence.heard, &evidence.reservations);
    sold(&mut verdict, plan, &evidence.reservations);
    charged(&mut verdict, &evidence.audit);
    let answered = evidence.totals.attempts;
    if answered < plan.buyers {
        verdict.problems.push(format!("only {answered} of {} buyers' attempts were answered", plan.buyers));
    }
    verdict.problems.extend(evidence.ledger_failed.clone());
    verdict.problems.extend(evidence.failures.iter().cloned());
    verdict.problems.extend(evidence.totals.complaints.iter().cloned());
    verdict.problems.extend(evidence.audit.problems());
    verdict
}

/// Every acknowledgement is held against the reservation as it is.
fn acknowledged(
    verdict: &mut Verdict,
    heard: &HashMap<ReservationId, Heard>,
    known: &HashMap<ReservationId, &ReservationView>,
) {
    let mut lost = Named::default();
    for (id, heard) in heard {
        let name = reservation_text(heard.product, *id);
        let Some(view) = known.get(id) else {
            lost.add(format!("reservation {name} was acknowledged and is gone"));
            continue;
        };
        if (view.product, view.user, view.quantity) != (heard.product, heard.user, heard.quantity) {
            lost.add(format!("reservation {name} was acknowledged as {heard:?} and is {view:?}"));
        }
        let told = [
            (heard.confirmed, ReservationState::Confirmed),
            (heard.released, ReservationState::Released),
            (heard.refunded, ReservationState::Refunded),
        ];
        // What was sold may have been cancelled since.
        let holds = |state| view.state == state || (state == ReservationState::Confirmed && view.cancelled.is_some());
        for (_, state) in told.into_iter().filter(|(told, state)| *told && !holds(*state)) {
            lost.add(format!("reservation {name} was acknowledged as {} and is {}", state.name(), view.state.name()));
        }
        if view.state == ReservationState::Confirmed && !heard.asked_to_buy {
            verdict.problems.push(format!("reservation {name} is sold, and its buyer never asked for that"));
        }
    }
    verdict.lost_acknowledged = lost.count;
    verdict.problems.extend(lost.into_problems());
}

/// Every reservation must have been told to its buyer: all of them asked until they knew.
fn unheard(verdict: &mut Verdict, heard: &HashMap<ReservationId, Heard>, reservations: &[ReservationView]) {
    let mut unheard = Named::default();
    for view in reservations {
        let name = reservation_text(view.product, view.reservation);
        match heard.get(&view.reservation) {
            None => unheard.add(format!("reservation {name} is {} and nobody was told of it", view.state.name())),
            Some(heard) if view.state == ReservationState::Confirmed && !heard.confirmed => {
                unheard.add(format!("reservation {name} is sold and its buyer was not told"));
            }
            Some(_) => {}
        }
    }
    verdict.unacknowledged = unheard.count;
    verdict.problems.extend(unheard.into_problems());
}

/// Exactly the stock is sold, to as many users.
fn sold(verdict: &mut Verdict, plan: &Plan, reservations: &[ReservationView]) {
    let mut by_user: HashMap<UserId, u64> = HashMap::new();
    for view in reservations.iter().filter(|view| view.state == ReservationState::Confirmed) {
        *by_user.entry(view.user).or_default() += u64::from(view.quantity.0);
    }
    let units = u64::from(plan.units);
    verdict.confirmed = by_user.values().sum();
    verdict.oversold = verdict.confirmed.saturating_sub(units);
    if verdict.oversold > 0 {
        verdict.problems.push(format!("{} units are sold of {units}", verdict.confirmed));
    } else if verdict.confirmed < units {
        verdict.problems.push(format!("only {} of {units} units are sold", verdict.confirmed));
    }
    let mut greedy = Named::default();
    for (user, units) in by_user.into_iter().filter(|(_, units)| *units > 1) {
        greedy.add(format!("user {:032x} bought {units} units, the limit is one", user.0));
    }
    verdict.problems.extend(greedy.into_problems());
}

/// The provider has the money for everything that is sold, and for nothing else. What differs in which way the audit tells.
fn charged(verdict: &mut Verdict, audit: &Audit) {
    let Some(payments) = &audit.payments else {
        verdict.problems.push("the payments were not compared with the provider's ledger".to_owned());
        return;
    };
    if payments.in_motion > 0 {
        verdict.problems.push(format!("{} payments were still under way, and could not be judged", payments.in_motion));
    }
    // One unit each.
    if payments.charged != verdict.confirmed {
        let (charged, sold) = (payments.charged, verdict.confirmed);
        verdict.problems.push(format!("the provider has the money of {charged} payments, and {sold} units are sold"));
    }
}

/// Differences of one kind: the first few in words, the rest as a number.
#[derive(Default)]
struct Named {
    count: u64,
    first: Vec<String>,
}

impl Named {
    fn add(&mut self, what: String) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(what);
        }
    }

    fn into_problems(mut self) -> Vec<String> {
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            self.first.push(format!("and {more} more like these"));
        }
        self.first
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
