//! What is asked for, over and over: a workload as numbered operations of one hot product. Any number of connections
//! take the next number from one counter, and build the same request from it however often it has to be sent.

use super::dialect::Heard;
use crate::clock;
use doorbuster_protocol::command::{Command, Reserve, Target};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::limits::MIN_TTL;
use doorbuster_protocol::reply::{Answer, Reply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, Timestamp, UserId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What each operation asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A unit of a product that is sold out; each time another user under another id.
    Refusal,
    /// A unit of a product that has enough; each time another user under another id.
    Unit,
    /// The same, held until a moment of its own: their deadlines are spread evenly over some time.
    UnitUntil {
        /// The first deadline.
        at: Timestamp,
        /// From the first to behind the last.
        spread: Millis,
        /// How many there are.
        of: u64,
    },
    /// That the reservation of this number be sold.
    Confirmation,
    /// That the reservation of this number be given back.
    Release,
}

/// A workload; clones take their operations from one counter.
#[derive(Clone, Debug)]
pub struct Work {
    ask: Ask,
    product: ProductId,
    /// High half of every id, so that two benches never share one.
    series: u64,
    next: Arc<AtomicU64>,
    /// Operations beyond are not there to be asked for.
    end: u64,
}

impl Work {
    /// Operations without an end.
    #[must_use]
    pub fn endless(ask: Ask, product: ProductId, series: u64) -> Self {
        Self::of(ask, product, series, u64::MAX)
    }

    /// So many operations.
    #[must_use]
    pub fn of(ask: Ask, product: ProductId, series: u64, end: u64) -> Self {
        Self { ask, product, series, next: Arc::default(), end }
    }

    /// The next operation's number, until there is none.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then_some(number)
    }

    /// Of which product.
    #[must_use]
    pub const fn product(&self) -> ProductId {
        self.product
    }

    /// How many operations were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed).min(self.end)
    }

    /// Whether all operations were taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end
    }

    /// Whom and what operation `number` is about: the id of its reservation, and of its user.
    #[must_use]
    pub fn id(&self, number: u64) -> u128 {
        u128::from(self.series) << 64 | u128::from(spread(number))
    }

    /// What operation `number` asks; the same each time.
    #[must_use]
    pub fn request(&self, number: u64) -> RequestBody {
        let id = self.id(number);
        let (product, reservation, user) = (self.product, ReservationId(id), UserId(id));
        let target = Target { product, reservation, user };
        RequestBody::Command(match self.ask {
            Ask::Refusal | Ask::Unit | Ask::UnitUntil { .. } => {
                let ttl = self.ask.ttl(number);
                Command::Reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl })
            }
            Ask::Confirmation => Command::Confirm(target),
            Ask::Release => Command::Release(target),
        })
    }

    /// Whether this is the answer that the workload is about, or what came instead.
    #[must_use]
    pub fn judge(&self, answer: &Answer) -> Heard {
        match (self.ask, answer) {
            (Ask::Refusal, Err(Failure::Refused(Refusal::SoldOut))) => Heard::Right,
            (_, Err(failure)) => Heard::Other(failure.code().name()),
            (ask, Ok(Reply::Reservation(reply))) if Some(reply.reservation.state) == ask.outcome() => Heard::Right,
            (_, Ok(Reply::Reservation(reply))) => Heard::Other(reply.reservation.state.name()),
            (_, Ok(_)) => Heard::Other("another kind of answer"),
        }
    }
}

impl Ask {
    /// How long the reservation of this number is held; 0 is as long as the product says.
    fn ttl(self, number: u64) -> Millis {
        let Self::UnitUntil { at, spread, of } = self else { return Millis(0) };
        let own = Millis(spread.0 * (number % of) / of);
        Millis(Timestamp(at.0 + own.0).since(clock::wall()).0.max(MIN_TTL.0))
    }

    const fn outcome(self) -> Option<ReservationState> {
        match self {
            Self::Refusal => None,
            Self::Unit | Self::UnitUntil { .. } => Some(ReservationState::Held),
            Self::Confirmation => Some(ReservationState::Confirmed),
            Self::Release => Some(ReservationState::Released),
        }
    }
}

/// Numbers in another order, each once (SplitMix64's finaliser), so that ids in a row do not look like it.
#[must_use]
pub const fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_are_given_out_once_and_end() {
        let work = Work::of(Ask::Unit, ProductId(1), 7, 3);
        let other = work.clone();
        assert_eq!([work.next(), other.next(), work.next(), other.next()], [Some(0), Some(1), Some(2), None]);
        assert!(work.has_ended() && other.has_ended());
    }

    #[test]
    fn a_number_is_one_reservation_whatever_is_asked_of_it() {
        let id = |ask: Ask, number| match Work::endless(ask, ProductId(1), 7).request(number) {
            RequestBody::Command(Command::Reserve(reserve)) => reserve.reservation,
            RequestBody::Command(Command::Confirm(target) | Command::Release(target)) => target.reservation,
            other => panic!("{other:?}"),
        };
        assert_eq!(id(Ask::Unit, 5), id(Ask::Confirmation, 5));
        assert_eq!(id(Ask::Unit, 5), id(Ask::Release, 5));
        let ids: BTreeSet<_> = (0..10_000).map(|number| id(Ask::Unit, number)).collect();
        assert_eq!(ids.len(), 10_000);
    }

    #[test]
    fn other_answers_are_named() {
        let work = |ask| Work::endless(ask, ProductId(1), 7);
        let sold_out = Err(Failure::Refused(Refusal::SoldOut));
        assert_eq!(work(Ask::Refusal).judge(&sold_out), Heard::Right);
        assert_eq!(work(Ask::Unit).judge(&sold_out), Heard::Other("sold_out"));
        assert_eq!(work(Ask::Unit).judge(&Err(Failure::Busy { retry_after: Millis(5) })), Heard::Other("busy"));
    }
}
