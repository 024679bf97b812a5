//! Whether the refusal of a reserve is true of the state after an entry.
//!
//! The gate looks at less than the inventory does, so it may give another of several true reasons; it must be true, and
//! a reserve that was granted is never refused.

use doorbuster_protocol::command::Reserve;
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::{MAX_RESERVATION_QUANTITY, MIN_TTL};
use doorbuster_protocol::reply::{ProductView, SaleState};
use doorbuster_protocol::types::{Millis, Timestamp};

use crate::checkers::ledger::{Ledger, ShardLedger};
use crate::history::Moment;

/// The times that the cluster's clock may have shown while an operation was under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub from: Timestamp,
    pub until: Timestamp,
    /// A leader that could not tell which clock is wrong may have been behind (see `expiry`), but not behind the log.
    pub may_lag: bool,
}

impl Window {
    pub(crate) fn of(ledger: &Ledger, called: Moment, returned: Moment) -> Self {
        let tolerance = ledger.config().clock_tolerance;
        Self {
            from: Timestamp(ledger.cluster_time(called).0.saturating_sub(tolerance.0)),
            until: ledger.cluster_time(returned).plus(tolerance),
            may_lag: ledger.config().wrong_clock,
        }
    }

    /// The same, as a leader with the state after this entry may see it.
    fn after(&self, log: &ShardLedger, index: u64) -> Self {
        let stamp = log.entry(index).filter(|_| self.may_lag).map_or(self.from, |entry| entry.stamp);
        Self { from: self.from.min(stamp), ..*self }
    }
}

/// See the module.
pub(super) fn is_true(log: &ShardLedger, index: u64, reserve: &Reserve, refusal: &Refusal, window: &Window) -> bool {
    let Some(product) = log.product(reserve.product, index) else { return *refusal == Refusal::UnknownProduct };
    if let Some(made) = log.reservation(reserve.reservation, index) {
        let asked = (reserve.product, reserve.user, reserve.quantity);
        let ttl = made.first_expires_at.since(made.created_at);
        let wants = if reserve.ttl.0 == 0 { product.spec.ttl } else { reserve.ttl };
        let same = (made.product, made.user, made.quantity) == asked && (ttl == Millis(0) || ttl == wants);
        return *refusal == Refusal::ConflictingRetry && !same;
    }
    if let Some(answer) = of_the_sale(product, refusal, &window.after(log, index)) {
        return answer;
    }
    let quantity = reserve.quantity;
    match refusal {
        Refusal::InvalidArgument(argument) => is_wrong(product, reserve, *argument),
        Refusal::QuantityTooLarge { limit } => {
            let own = product.spec.limit_per_reservation.0;
            limit.0 == if own == 0 { MAX_RESERVATION_QUANTITY } else { own } && quantity > *limit
        }
        Refusal::LimitReached { limit, used } => {
            let has = log.units(reserve.product, reserve.user, index);
            *limit == product.spec.limit_per_user
                && has == i64::from(used.0)
                && has + i64::from(quantity.0) > i64::from(limit.0)
        }
        Refusal::InsufficientStock { available } => {
            *available == product.available && available.0 > 0 && quantity > *available
        }
        Refusal::AllHeld { next_expiry } => {
            (product.available.0, *next_expiry) == (0, product.next_expiry) && product.held.0 > 0
        }
        Refusal::SoldOut => (product.available.0, product.held.0) == (0, 0),
        Refusal::CapacityReached { limit } => *limit == log.model().limits.reservations as u64,
        _ => false,
    }
}

/// Whether a refusal because of the sale itself is true; false also of every other when the sale is surely not open.
fn of_the_sale(product: &ProductView, refusal: &Refusal, window: &Window) -> Option<bool> {
    let (opens, closes) = (product.spec.opens_at, product.spec.closes_at);
    let closed = |by: Timestamp| product.sale == SaleState::Closed || (closes.0 > 0 && by >= closes);
    match refusal {
        Refusal::Closed => Some(closed(window.until)),
        Refusal::Paused => Some(product.sale == SaleState::Paused && !closed(window.from)),
        Refusal::NotOpen { opens_at } => {
            Some(*opens_at == opens && window.from < opens && product.sale == SaleState::Active)
        }
        _ if closed(window.from) || product.sale == SaleState::Paused || window.until < opens => Some(false),
        _ => None,
    }
}

fn is_wrong(product: &ProductView, reserve: &Reserve, argument: Argument) -> bool {
    match argument {
        Argument::Id => reserve.reservation.0 == 0 || reserve.user.0 == 0,
        Argument::Quantity => reserve.quantity.0 == 0 || reserve.quantity.0 > MAX_RESERVATION_QUANTITY,
        Argument::Duration => reserve.ttl.0 != 0 && (reserve.ttl < MIN_TTL || reserve.ttl > product.spec.ttl),
        _ => false,
    }
}
