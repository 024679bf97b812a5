//! What a command comes to in the state that the search is in, and whether a refusal is true of it.

use std::collections::BTreeSet;

use doorbuster_protocol::command::{Cancel, Command, Extend, Payment, Reserve, SaleAction, Target};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::{MAX_RESERVATION_QUANTITY, MAX_STOCK, MAX_TTL, MIN_TTL};
use doorbuster_protocol::reply::{ReservationState, ReservationView, SaleState};
use doorbuster_protocol::types::{Quantity, Timestamp, UserId};

use ReservationState::{Cancelled, Confirmed, Expired, Held, Paying, RefundDue, Refunded, Released};

use super::asked::Ask;
use super::object::{Made, Object, Sale};

/// What a command comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stance {
    Replays,
    Accepts,
    Refuses(Refusal),
}

use Stance::{Accepts, Refuses, Replays};

impl<'a> Object<'a> {
    /// Whether this refusal is true now.
    pub(super) fn refuses(&self, ask: &Ask<'a>, command: &Command, refusal: Refusal, shared: &BTreeSet<u128>) -> bool {
        let excused = refusal == Refusal::ConflictingRetry && shared.contains(&super::super::ledger::key(command).1);
        if excused || matches!(refusal, Refusal::CapacityReached { .. }) {
            return true;
        }
        match command {
            Command::Reserve(reserve) => self.refuses_reserve(ask, reserve, refusal),
            other => match (self.stance(other), refusal) {
                (Refuses(Refusal::ReservationExpired { .. }), Refusal::ReservationExpired { .. }) => {
                    let named = ask.reservation().and_then(|id| self.made.get(&id));
                    named.is_some_and(|made| !made.knows_expires) || self.stance(other) == Refuses(refusal)
                }
                (Refuses(Refusal::LifeLimitReached { .. }) | Accepts, Refusal::LifeLimitReached { .. }) => {
                    let named = ask.reservation().and_then(|id| self.made.get(&id));
                    named.is_some_and(|made| !made.knows_expires || !made.knows_created)
                        || self.stance(other) == Refuses(refusal)
                }
                (stance, refusal) => stance == Refuses(refusal),
            },
        }
    }

    /// What a command that is no reserve comes to, time aside.
    pub(super) fn stance(&self, command: &Command) -> Stance {
        if let Command::CreateProduct(spec) = command {
            return match self.sale {
                Some(sale) if sale.spec == &**spec => Replays,
                Some(_) => Refuses(Refusal::ProductExists),
                None => Accepts,
            };
        }
        let Some(sale) = self.sale else { return Refuses(Refusal::UnknownProduct) };
        match command {
            Command::AdjustStock(adjust) => self.once(adjust.operation.0, command).unwrap_or_else(|| {
                if adjust.delta == 0 {
                    return Refuses(Refusal::InvalidArgument(Argument::Delta));
                }
                self.restocks(sale.stock.saturating_add(adjust.delta))
            }),
            Command::SetStock(set) => self.once(set.operation.0, command).unwrap_or_else(|| {
                if i64::from(set.expected.0) != sale.stock {
                    return Refuses(Refusal::StockMismatch { stock: units(sale.stock) });
                }
                self.restocks(i64::from(set.stock.0))
            }),
            Command::ChangeSale(change) => self.once(change.operation.0, command).unwrap_or({
                if sale.state == SaleState::Closed && change.action != SaleAction::Close {
                    Refuses(Refusal::Closed)
                } else {
                    Accepts
                }
            }),
            Command::BeginPayment(payment) => self.named(&payment.target, |made| begin(made, payment)),
            Command::PaymentFailed(payment) => self.named(&payment.target, |made| failed(made, payment)),
            Command::Confirm(target) => self.named(target, |made| match made.view.state {
                Held | Paying => Accepts,
                Confirmed => Replays,
                _ => Refuses(over(&made.view)),
            }),
            Command::Release(target) => self.named(target, |made| match made.view.state {
                Held => Accepts,
                Released => Replays,
                Paying => Refuses(Refusal::PaymentInProgress),
                _ => Refuses(over(&made.view)),
            }),
            Command::RefundDone(target) => self.named(target, refunds),
            Command::Cancel(cancel) => self.named(&cancel.target, |made| cancels(made, cancel)),
            Command::Extend(extend) => self.named(&extend.target, |made| self.extends(&sale, made, extend, command)),
            Command::LatePayment(late) => {
                let Target { reservation, user, .. } = late.target;
                if reservation.0 == 0 || user.0 == 0 {
                    return Refuses(Refusal::InvalidArgument(Argument::Id));
                }
                if late.quantity.0 == 0 || late.quantity.0 > MAX_RESERVATION_QUANTITY {
                    return Refuses(Refusal::InvalidArgument(Argument::Quantity));
                }
                if !self.made.contains_key(&reservation) {
                    return Accepts;
                }
                self.named(&late.target, |made| match made.view.state {
                    _ if made.view.quantity != late.quantity => Refuses(Refusal::ConflictingRetry),
                    Confirmed | RefundDue | Refunded => Replays,
                    Held | Paying | Released | Expired | Cancelled => Accepts,
                })
            }
            Command::CreateProduct(_) | Command::Reserve(_) | Command::AcknowledgeFeed { .. } | Command::Expire => {
                Accepts
            }
        }
    }

    fn named(&self, target: &Target, stance: impl FnOnce(&Made) -> Stance) -> Stance {
        let found = self.made.get(&target.reservation);
        let own = found.filter(|made| target.user.0 == 0 || target.user == made.view.user);
        own.map_or(Refuses(Refusal::UnknownReservation), stance)
    }

    fn once(&self, id: u128, command: &Command) -> Option<Stance> {
        if id == 0 {
            return Some(Refuses(Refusal::InvalidArgument(Argument::Id)));
        }
        let done = self.done.get(&id)?;
        Some(if same_operation(done, command) { Replays } else { Refuses(Refusal::ConflictingRetry) })
    }

    fn restocks(&self, stock: i64) -> Stance {
        if stock > i64::from(MAX_STOCK) {
            Refuses(Refusal::StockTooLarge { limit: Quantity(MAX_STOCK) })
        } else if stock < self.held + self.sold {
            Refuses(Refusal::StockBelowCommitted { held: units(self.held), sold: units(self.sold) })
        } else {
            Accepts
        }
    }

    fn extends(&self, sale: &Sale<'_>, made: &Made, extend: &Extend, command: &Command) -> Stance {
        if let Some(stance) = self.once(extend.operation.0, command) {
            return stance;
        }
        if extend.by.0 == 0 || extend.by > MAX_TTL {
            return Refuses(Refusal::InvalidArgument(Argument::Duration));
        }
        let latest = made.view.created_at.plus(sale.spec.max_life);
        match made.view.state {
            Held if made.knows_created && made.knows_expires && made.view.expires_at.plus(extend.by) > latest => {
                Refuses(Refusal::LifeLimitReached { latest })
            }
            Held => Accepts,
            Paying => Refuses(Refusal::PaymentInProgress),
            _ => Refuses(over(&made.view)),
        }
    }

    /// The gate gives another of several true reasons than the inventory; a reserve that was granted is never refused.
    fn refuses_reserve(&self, ask: &Ask<'a>, reserve: &Reserve, refusal: Refusal) -> bool {
        let Some(sale) = self.sale else { return refusal == Refusal::UnknownProduct };
        if let Some(made) = self.made.get(&reserve.reservation) {
            return refusal == Refusal::ConflictingRetry && !is_same(&sale, made, reserve);
        }
        let (opens, closes) = (sale.spec.opens_at, sale.spec.closes_at);
        let closed = |by: u64| sale.state == SaleState::Closed || (closes.0 > 0 && by >= closes.0);
        match refusal {
            Refusal::Closed => return closed(ask.until),
            Refusal::Paused => return sale.state == SaleState::Paused && !closed(ask.from),
            Refusal::NotOpen { opens_at } => {
                return opens_at == opens && ask.from < opens.0 && sale.state == SaleState::Active;
            }
            _ if closed(ask.from) || sale.state == SaleState::Paused || ask.until < opens.0 => return false,
            _ => {}
        }
        let (available, quantity) = (self.available(), i64::from(reserve.quantity.0));
        match refusal {
            Refusal::SoldOut => (available, self.held) == (0, 0),
            Refusal::AllHeld { next_expiry } => available == 0 && self.held > 0 && self.may_expire_next(next_expiry),
            Refusal::InsufficientStock { available: told } => {
                available > 0 && i64::from(told.0) == available && quantity > available
            }
            Refusal::LimitReached { limit, used } => {
                let has = self.units_of(reserve.user);
                limit == sale.spec.limit_per_user
                    && has == i64::from(used.0)
                    && limit.0 > 0
                    && has + quantity > i64::from(limit.0)
            }
            other => wrong_arguments(&sale, reserve).contains(&other),
        }
    }

    /// Whether a reserve of an id that is not known is granted now, its time aside.
    pub(super) fn grants(&self, reserve: &Reserve) -> bool {
        let Some(sale) = self.sale else { return false };
        let quantity = i64::from(reserve.quantity.0);
        let limit = i64::from(sale.spec.limit_per_user.0);
        sale.state == SaleState::Active
            && self.available() >= quantity
            && (limit == 0 || self.units_of(reserve.user) + quantity <= limit)
            && wrong_arguments(&sale, reserve).is_empty()
    }
}

/// What is wrong with a reserve whatever the state is.
fn wrong_arguments(sale: &Sale<'_>, reserve: &Reserve) -> Vec<Refusal> {
    let limit = sale.spec.limit_per_reservation.0;
    let limit = if limit == 0 { MAX_RESERVATION_QUANTITY } else { limit.min(MAX_RESERVATION_QUANTITY) };
    let ttl = reserve.ttl;
    let wrong = [
        (reserve.reservation.0 == 0 || reserve.user.0 == 0, Refusal::InvalidArgument(Argument::Id)),
        (
            reserve.quantity.0 == 0 || reserve.quantity.0 > MAX_RESERVATION_QUANTITY,
            Refusal::InvalidArgument(Argument::Quantity),
        ),
        (reserve.quantity.0 > limit, Refusal::QuantityTooLarge { limit: Quantity(limit) }),
        (ttl.0 != 0 && (ttl < MIN_TTL || ttl > sale.spec.ttl), Refusal::InvalidArgument(Argument::Duration)),
    ];
    wrong.into_iter().filter(|(is, _)| *is).map(|(_, refusal)| refusal).collect()
}

/// Whether a reservation is what this reserve asks for.
pub(super) fn is_same(sale: &Sale<'_>, made: &Made, reserve: &Reserve) -> bool {
    let ttl = if reserve.ttl.0 == 0 { sale.spec.ttl.0 } else { reserve.ttl.0 };
    let asked = (reserve.user, reserve.quantity);
    (made.view.user, made.view.quantity) == asked && made.ttl.is_none_or(|made| made == ttl)
}

/// Who asks for an extension is not part of what is asked.
fn same_operation(one: &Command, other: &Command) -> bool {
    match (one, other) {
        (Command::Extend(one), Command::Extend(other)) => {
            let anonymous = |extend: &Extend| Extend { target: Target { user: UserId(0), ..extend.target }, ..*extend };
            anonymous(one) == anonymous(other)
        }
        (one, other) => one == other,
    }
}

fn begin(made: &Made, payment: &Payment) -> Stance {
    let (attempt, attempts) = (u32::from(payment.attempt), u32::from(made.view.payment_attempts));
    let refused = Refusal::PaymentNotInProgress { attempts: made.view.payment_attempts };
    match made.view.state {
        Held if attempt == attempts + 1 => Accepts,
        Paying if attempt == attempts => Replays,
        Paying if attempt == attempts + 1 => Refuses(Refusal::PaymentInProgress),
        Held | Paying => Refuses(refused),
        _ => Refuses(over(&made.view)),
    }
}

fn refunds(made: &Made) -> Stance {
    match made.view.state {
        RefundDue => Accepts,
        Refunded => Replays,
        _ => Refuses(Refusal::NoRefundDue),
    }
}

fn cancels(made: &Made, cancel: &Cancel) -> Stance {
    match (made.view.cancelled, made.view.state) {
        (Some(how), _) if how.return_stock == cancel.how.return_stock => Replays,
        (Some(_), _) => Refuses(Refusal::ReservationCancelled),
        (None, Confirmed) => Accepts,
        (None, Held) => Refuses(Refusal::NotConfirmed),
        (None, Paying) => Refuses(Refusal::PaymentInProgress),
        (None, _) => Refuses(over(&made.view)),
    }
}

fn failed(made: &Made, payment: &Payment) -> Stance {
    let known = payment.attempt != 0 && payment.attempt == made.view.payment_attempts;
    match made.view.state {
        Paying if known => Accepts,
        Held if known => Replays,
        Held | Paying => Refuses(Refusal::PaymentNotInProgress { attempts: made.view.payment_attempts }),
        _ => Refuses(over(&made.view)),
    }
}

fn over(view: &ReservationView) -> Refusal {
    match view.state {
        Confirmed => Refusal::AlreadyConfirmed,
        Released => Refusal::ReservationReleased,
        RefundDue | Refunded => Refusal::Refunding,
        Cancelled => Refusal::ReservationCancelled,
        Held | Paying | Expired => Refusal::ReservationExpired { expired_at: view.expires_at },
    }
}

fn units(count: i64) -> Quantity {
    Quantity(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Whether one that lives is over at this stamp, as far as its deadline is known.
pub(super) fn is_overdue(made: &Made, stamp: u64) -> bool {
    made.view.state.is_live() && made.knows_expires && Timestamp(stamp) >= made.view.expires_at
}
