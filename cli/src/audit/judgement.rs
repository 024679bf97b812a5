//! What the shards, the order database and the payment provider say of one reservation, and whether it fits together. Pure.
//!
//! Three books are read one after the other while payments go on, so what has changed in any of them within the grace, or is
//! being paid, is not judged: the next audit will. What is judged must hold: who is charged has an order, who has an order is
//! charged, nobody twice, and what is to go back does so in time.

use super::ledger::{Charge, State};
use doorbuster_gateway::orders::{Order, Payment};
use doorbuster_protocol::reply::{FeedKind, ReservationState, ReservationView};
use doorbuster_protocol::types::{Millis, Timestamp};

/// A kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The provider has money for which there is no order.
    ChargedNotOrdered,
    /// There is an order, or a sale, for which the provider has no money.
    OrderedNotCharged,
    /// The provider has the money more than once.
    DoubleCharge,
    /// The provider has given back under more than one key.
    DoubleRefund,
    /// What must go back has not gone back for longer than the limit, or is recorded as paid back and is not.
    RefundDueUnpaid,
    /// The books disagree about an amount, or about a refund that was paid.
    BooksDiffer,
}

/// Every kind, in the order in which they are told.
pub const KINDS: [Kind; 6] = [
    Kind::ChargedNotOrdered,
    Kind::OrderedNotCharged,
    Kind::DoubleCharge,
    Kind::DoubleRefund,
    Kind::RefundDueUnpaid,
    Kind::BooksDiffer,
];

impl Kind {
    /// As programs and metrics read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChargedNotOrdered => "charged_not_ordered",
            Self::OrderedNotCharged => "ordered_not_charged",
            Self::DoubleCharge => "double_charges",
            Self::DoubleRefund => "double_refunds",
            Self::RefundDueUnpaid => "refunds_due_unpaid",
            Self::BooksDiffer => "books_differ",
        }
    }
}

/// When something is judged.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What changed less than this ago is not.
    pub grace: Millis,
    /// How long a refund may be due.
    pub refund_limit: Millis,
}

/// When the books were read: what changed meanwhile, one of them may have and another not.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Nothing was read before.
    pub began: Timestamp,
    /// Nor after.
    pub ended: Timestamp,
}

/// What all three say of one reservation.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    /// The provider.
    pub charges: Vec<&'a Charge>,
    /// The shards; nothing if it was never made, or forgotten.
    pub view: Option<&'a ReservationView>,
    /// The database's order.
    pub order: Option<&'a Order>,
    /// And its payment.
    pub payment: Option<&'a Payment>,
    /// Whether the database has parked something of it.
    pub is_parked: bool,
}

/// What differs, with the words for it. Nothing if all is well, or not to be judged now.
#[must_use]
pub fn judge(rules: Rules, look: Look, evidence: &Evidence<'_>) -> Vec<(Kind, String)> {
    if evidence.is_in_motion(rules.grace, look) {
        return Vec::new();
    }
    let now = look.ended;
    let mut found = Vec::new();
    for (state, kind, words) in
        [(State::Succeeded, Kind::DoubleCharge, "is charged"), (State::Refunded, Kind::DoubleRefund, "is refunded")]
    {
        let times = evidence.count(state);
        found.extend((1..times).map(|_| (kind, format!("{words} {times} times: {}", evidence.keys(state)))));
    }
    found.extend(evidence.charges.iter().filter_map(|charge| too_much(charge)));
    found.extend(match evidence.books() {
        Some(FeedKind::Confirmed) => sold(evidence).into_iter().chain(partly(evidence)).collect(),
        Some(FeedKind::RefundDue) => due(rules, now, evidence),
        Some(FeedKind::Refunded) => Vec::from_iter(refunded(evidence)),
        Some(FeedKind::Cancelled) => Vec::from_iter(cancelled(evidence)),
        None => Vec::from_iter(not_sold(evidence)),
    });
    found.extend(amounts(evidence));
    found
}

fn sold(evidence: &Evidence<'_>) -> Option<(Kind, String)> {
    match (evidence.count(State::Succeeded), evidence.order) {
        (0, _) if evidence.count(State::Refunded) > 0 => {
            Some((Kind::OrderedNotCharged, "is sold, and its money went back".to_owned()))
        }
        (0, _) => Some((Kind::OrderedNotCharged, "is sold, and the provider has no money for it".to_owned())),
        (_, None) => Some(not_ordered(evidence, "is sold and charged")),
        (_, Some(_)) => None,
    }
}

/// More went back of one charge than it had taken.
fn too_much(charge: &Charge) -> Option<(Kind, String)> {
    let back = charge.given_back.saturating_add(charge.going_back);
    let words = || format!("is refunded by {back} of {} {}: {}", charge.amount, charge.currency, charge.name());
    (back > charge.amount).then(|| (Kind::DoubleRefund, words()))
}

/// Some of the money went back by hand, which no book of ours has.
fn partly<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = (Kind, String)> + 'a {
    let charges = evidence.charges.iter().filter(|charge| charge.state == State::Succeeded && charge.given_back > 0);
    charges.map(|charge| {
        let Charge { given_back, amount, currency, .. } = charge;
        let words = format!("is sold, and {given_back} of {amount} {currency} went back: {}", charge.name());
        (Kind::BooksDiffer, words)
    })
}

fn due(rules: Rules, now: Timestamp, evidence: &Evidence<'_>) -> Vec<(Kind, String)> {
    let (taken, back) = (evidence.count(State::Succeeded), evidence.count(State::Refunded));
    let mut found = Vec::new();
    if taken > 0 && evidence.order.is_none() {
        found.push(not_ordered(evidence, "is charged and to be refunded"));
    }
    let since = evidence.due_since();
    if now.since(since) <= rules.refund_limit {
        return found;
    }
    found.push(match (taken, back) {
        (0, 1..) => (Kind::BooksDiffer, "is refunded by the provider, and the cluster still says it is due".to_owned()),
        (0, 0) => (Kind::RefundDueUnpaid, "has a refund due, and the provider knows of no money for it".to_owned()),
        (_, _) => {
            let is_pending = evidence.charges.iter().any(|charge| charge.going_back > 0);
            let pending = if is_pending { ", which is on its way at the provider" } else { "" };
            (Kind::RefundDueUnpaid, format!("has a refund due for {} s{pending}", now.since(since).0 / 1000))
        }
    });
    found
}

fn refunded(evidence: &Evidence<'_>) -> Option<(Kind, String)> {
    match (evidence.count(State::Succeeded), evidence.count(State::Refunded)) {
        (1.., _) => Some((Kind::RefundDueUnpaid, "is recorded as refunded, and the provider has the money".to_owned())),
        (0, 0) => {
            Some((Kind::OrderedNotCharged, "is recorded as refunded, and the provider knows of no money".to_owned()))
        }
        (0, 1..) => None,
    }
}

/// Nobody was known to have paid when it was cancelled, so nothing is on its way back.
fn cancelled(evidence: &Evidence<'_>) -> Option<(Kind, String)> {
    let keys = evidence.keys(State::Succeeded);
    (!keys.is_empty()).then(|| (Kind::ChargedNotOrdered, format!("is charged, and cancelled without a refund: {keys}")))
}

fn not_sold(evidence: &Evidence<'_>) -> Option<(Kind, String)> {
    (evidence.count(State::Succeeded) > 0).then(|| {
        let state = evidence.view.map_or("not known to the shards", |view| view.state.name());
        not_ordered(evidence, &format!("is charged and {state}"))
    })
}

fn not_ordered(evidence: &Evidence<'_>, what: &str) -> (Kind, String) {
    let order = if evidence.is_parked { "its order is parked" } else { "has no order" };
    (Kind::ChargedNotOrdered, format!("{what}, and {order}: {}", evidence.keys(State::Succeeded)))
}

fn amounts(evidence: &Evidence<'_>) -> Vec<(Kind, String)> {
    let Some(order) = evidence.order else { return Vec::new() };
    let Some(payment) = evidence.payment else {
        return vec![(Kind::BooksDiffer, "has an order and no row in payments".to_owned())];
    };
    let is_other = |charge: &&&Charge| {
        let has_money = matches!(charge.state, State::Succeeded | State::Refunded);
        let (minor, currency) = (payment.amount.minor, payment.amount.currency.to_string());
        has_money && (charge.amount, &charge.currency) != (minor, &currency)
    };
    let words = |charge: &&Charge| {
        let (minor, currency) = (payment.amount.minor, payment.amount.currency);
        format!("costs {minor} {currency}, and {} {} were charged: {}", charge.amount, charge.currency, charge.name())
    };
    let mut found: Vec<_> =
        evidence.charges.iter().filter(is_other).map(|charge| (Kind::BooksDiffer, words(charge))).collect();
    let refund = match payment.refund {
        None if order.state == FeedKind::Cancelled => FeedKind::Cancelled,
        None => FeedKind::Confirmed,
        Some(refund) if refund.refunded_at.is_none() => FeedKind::RefundDue,
        Some(_) => FeedKind::Refunded,
    };
    if refund != order.state {
        found.push((
            Kind::BooksDiffer,
            format!("has an order that says {:?}, and refunds says {refund:?}", order.state),
        ));
    }
    found
}

impl Evidence<'_> {
    /// Whether a payment is under way, or anything changed during the look, or by less than the grace before or after it. A
    /// clock that is far off stops nothing: what seems to come from the future counts as old.
    #[must_use]
    pub fn is_in_motion(&self, grace: Millis, look: Look) -> bool {
        let is_young = |at: Timestamp| at.plus(grace) > look.began && at < look.ended.plus(grace);
        self.charges.iter().any(|charge| charge.state == State::InProgress || is_young(charge.changed_at))
            || self.view.is_some_and(|view| view.state == ReservationState::Paying || is_young(view.changed_at))
            || self.order.is_some_and(|order| is_young(order.changed_at))
    }

    /// When it began: its order, else its reservation, else its payment.
    #[must_use]
    pub fn begun_at(&self) -> Timestamp {
        let in_books = self.order.map(|order| order.created_at).or_else(|| self.view.map(|view| view.created_at));
        in_books.or_else(|| self.charges.iter().map(|charge| charge.begun_at()).max()).unwrap_or_default()
    }

    /// What the database says it is, or else the shards.
    fn books(&self) -> Option<FeedKind> {
        self.order.map(|order| order.state).or_else(|| match self.view?.state {
            ReservationState::Confirmed => Some(FeedKind::Confirmed),
            ReservationState::RefundDue => Some(FeedKind::RefundDue),
            ReservationState::Refunded => Some(FeedKind::Refunded),
            ReservationState::Cancelled => Some(FeedKind::Cancelled),
            _ => None,
        })
    }

    fn due_since(&self) -> Timestamp {
        let in_refunds = self.payment.and_then(|payment| payment.refund).map(|refund| refund.due_at);
        let in_order = self.order.map(|order| order.changed_at);
        in_refunds.or(in_order).or_else(|| self.view.map(|view| view.changed_at)).unwrap_or_default()
    }

    fn count(&self, state: State) -> usize {
        self.charges.iter().filter(|charge| charge.state == state).count()
    }

    fn keys(&self, state: State) -> String {
        let charges = self.charges.iter().filter(|charge| charge.state == state);
        charges.map(|charge| charge.name()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
