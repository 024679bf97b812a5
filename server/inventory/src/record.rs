//! A reservation: as the commands see it, and as it is kept, in 76 bytes.

use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::limits::{MAX_PRODUCTS_PER_SHARD, MAX_RESERVATION_QUANTITY};
use doorbuster_protocol::query::Unsettled;
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::{Millis, ReservationId, Timestamp, UserId};

use crate::digest::{Digest, Kind};
use crate::wheel::Link;

/// A reservation as the commands see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    pub(crate) user: UserId,
    /// Place of its product on the shard.
    pub(crate) product: u32,
    pub(crate) quantity: u32,
    pub(crate) state: ReservationState,
    /// A late payment took it again, or could not.
    pub(crate) late: bool,
    /// It expired while it was being paid, and nobody has said since how the payment ended. Only of expired ones.
    pub(crate) abandoned: bool,
    /// How its sale was cancelled, if it was.
    pub(crate) cancelled: Option<Cancellation>,
    /// Payments begun.
    pub(crate) attempts: u16,
    pub(crate) created: Timestamp,
    /// TTL it was made with; 0 when a late payment made it and no reserve is remembered.
    pub(crate) first_ttl: Millis,
    /// Deadline of the hold, which a payment's pin may put off but does not forget.
    pub(crate) hold_until: Timestamp,
    /// Deadline now.
    pub(crate) expires: Timestamp,
    pub(crate) changed: Timestamp,
}

/// What a reservation's units count as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Nothing,
    Held,
    Sold,
}

impl Reservation {
    pub(crate) fn claim(&self) -> Claim {
        match self.state {
            ReservationState::Held | ReservationState::Paying => Claim::Held,
            ReservationState::Confirmed => Claim::Sold,
            ReservationState::Released
            | ReservationState::Expired
            | ReservationState::RefundDue
            | ReservationState::Refunded
            | ReservationState::Cancelled => Claim::Nothing,
        }
    }

    /// Whether money may have been taken for it: a payment was begun, or told of. Who confirms without either takes the money
    /// elsewhere.
    pub(crate) fn is_paid(&self) -> bool {
        self.attempts > 0 || self.late
    }

    /// Somebody has said that it is paid for: one payment was begun at least, here or elsewhere.
    pub(crate) fn with_payment(self) -> Self {
        if self.is_paid() { self } else { Self { attempts: 1, ..self } }
    }

    /// Number of its cancellation, 0 for none.
    pub(crate) fn cancellation(&self) -> u8 {
        self.cancelled.map_or(0, Cancellation::number)
    }

    /// What somebody must still bring to its end.
    pub(crate) fn unsettled(&self) -> Option<Unsettled> {
        match self.state {
            ReservationState::Paying => Some(Unsettled::Payments),
            ReservationState::Expired if self.abandoned => Some(Unsettled::Payments),
            ReservationState::RefundDue => Some(Unsettled::Refunds),
            _ => None,
        }
    }

    /// When the wheel has to look at it: at its deadline, or when it may be forgotten. Neither a refund that is due nor a
    /// payment of which nobody knows whether it was made is ever forgotten.
    pub(crate) fn timer(&self, retention: Millis) -> Option<Timestamp> {
        match self.state {
            ReservationState::Held | ReservationState::Paying => Some(self.expires),
            ReservationState::RefundDue => None,
            ReservationState::Expired if self.abandoned => None,
            ReservationState::Confirmed
            | ReservationState::Released
            | ReservationState::Expired
            | ReservationState::Refunded
            | ReservationState::Cancelled => Some(self.changed.plus(retention)),
        }
    }

    /// Its part of the state hash; `product` is the product's id, for its place is nobody's business.
    pub(crate) fn digest(&self, product: u64) -> u64 {
        let small = u64::from(self.quantity) << 32
            | u64::from(self.attempts) << 16
            | u64::from(state_code(self.state)) << 8
            | u64::from(self.cancellation()) << 2
            | u64::from(self.abandoned) << 1
            | u64::from(self.late);
        Digest::of(Kind::Reservation)
            .wide(self.id.get())
            .wide(self.user.get())
            .word(product)
            .word(small)
            .word(self.created.get())
            .word(self.first_ttl.get())
            .word(self.hold_until.get())
            .word(self.expires.get())
            .word(self.changed.get())
            .finish()
    }
}

/// A state's number in memory and in snapshots.
pub(crate) const fn state_code(state: ReservationState) -> u8 {
    match state {
        ReservationState::Held => 0,
        ReservationState::Paying => 1,
        ReservationState::Confirmed => 2,
        ReservationState::Released => 3,
        ReservationState::Expired => 4,
        ReservationState::RefundDue => 5,
        ReservationState::Refunded => 6,
        ReservationState::Cancelled => 7,
    }
}

/// The state with this number.
pub(crate) const fn state_from(code: u8) -> Option<ReservationState> {
    Some(match code {
        0 => ReservationState::Held,
        1 => ReservationState::Paying,
        2 => ReservationState::Confirmed,
        3 => ReservationState::Released,
        4 => ReservationState::Expired,
        5 => ReservationState::RefundDue,
        6 => ReservationState::Refunded,
        7 => ReservationState::Cancelled,
        _ => return None,
    })
}

/// A reservation as it is kept. Times are milliseconds after `created` where they must be near it.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub(crate) struct Record {
    id: u128,
    user: u128,
    created: u64,
    changed: u64,
    first_ttl: u32,
    hold_until: u32,
    expires: u32,
    /// The product's place above the lowest 12 bits, which have the state and, from bit 4 on, `late`, `abandoned` and how it
    /// was cancelled.
    product_and_state: u32,
    pub(crate) link: Link,
    quantity: u16,
    attempts: u16,
}

const STATE: u32 = 15;
const LATE: u32 = 1 << 4;
const ABANDONED: u32 = 1 << 5;
/// Where the cancellation's number stands, and what it fits in.
const CANCELLED_AT: u32 = 6;
const CANCELLED: u32 = 15;
/// Where the product's place stands.
const PLACE_AT: u32 = 12;
/// State of a record that holds no reservation.
const VACANT: u32 = STATE;

const _: () = assert!(size_of::<Record>() == 76);
const _: () = assert!(MAX_PRODUCTS_PER_SHARD < 1 << (32 - PLACE_AT) && MAX_RESERVATION_QUANTITY <= u16::MAX as u32);

impl Record {
    /// A record that holds no reservation.
    pub(crate) const fn vacant(link: Link) -> Self {
        Self {
            id: 0,
            user: 0,
            created: 0,
            changed: 0,
            first_ttl: 0,
            hold_until: 0,
            expires: 0,
            product_and_state: VACANT,
            link,
            quantity: 0,
            attempts: 0,
        }
    }

    /// Keeps a reservation.
    pub(crate) fn pack(reservation: &Reservation, link: Link) -> Self {
        let state = u32::from(state_code(reservation.state));
        let late = if reservation.late { LATE } else { 0 };
        let abandoned = if reservation.abandoned { ABANDONED } else { 0 };
        let cancelled = u32::from(reservation.cancellation()) << CANCELLED_AT;
        Self {
            id: reservation.id.get(),
            user: reservation.user.get(),
            created: reservation.created.get(),
            changed: reservation.changed.get(),
            first_ttl: small(reservation.first_ttl),
            hold_until: small(reservation.hold_until.since(reservation.created)),
            expires: small(reservation.expires.since(reservation.created)),
            product_and_state: reservation.product << PLACE_AT | cancelled | abandoned | late | state,
            link,
            quantity: u16::try_from(reservation.quantity).expect("a reservation's quantity is below 2^16"),
            attempts: reservation.attempts,
        }
    }

    /// The reservation it holds.
    pub(crate) fn unpack(&self) -> Option<Reservation> {
        let state = state_from((self.product_and_state & STATE) as u8)?;
        let cancelled = (self.product_and_state >> CANCELLED_AT & CANCELLED) as u8;
        let created = Timestamp(self.created);
        Some(Reservation {
            id: ReservationId(self.id),
            user: UserId(self.user),
            product: self.product_and_state >> PLACE_AT,
            quantity: u32::from(self.quantity),
            state,
            late: self.product_and_state & LATE != 0,
            abandoned: self.product_and_state & ABANDONED != 0,
            cancelled: Cancellation::from_number(cancelled),
            attempts: self.attempts,
            created,
            first_ttl: Millis(u64::from(self.first_ttl)),
            hold_until: created.plus(Millis(u64::from(self.hold_until))),
            expires: created.plus(Millis(u64::from(self.expires))),
            changed: Timestamp(self.changed),
        })
    }

    /// The reservation's id alone, for the index.
    pub(crate) fn id(&self) -> u128 {
        self.id
    }
}

fn small(duration: Millis) -> u32 {
    u32::try_from(duration.get()).expect("deadlines lie within 15 days of the creation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for code in 0..8 {
            let reservation = Reservation {
                id: ReservationId(u128::MAX - 1),
                user: UserId(3 << 64 | 5),
                product: 99_999,
                quantity: MAX_RESERVATION_QUANTITY,
                state: state_from(code).unwrap(),
                late: code % 2 == 0,
                abandoned: code % 3 == 1,
                cancelled: Cancellation::from_number(code),
                attempts: u16::MAX,
                created: Timestamp(1 << 45),
                first_ttl: Millis(100),
                hold_until: Timestamp((1 << 45) + 100),
                expires: Timestamp((1 << 45) + u64::from(u32::MAX)),
                changed: Timestamp(1 << 49),
            };
            let link = Link { previous: 1, next: 2 };
            assert_eq!(Record::pack(&reservation, link).unpack(), Some(reservation));
        }
        assert_eq!(Record::vacant(Link::NONE).unpack(), None);
    }
}
