//! Fixed layouts: read in place, written with one copy. All numbers little-endian, no padding.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::command::{Cancel, Cancellation, Extend, LatePayment, Payment, Reserve, Target};
use crate::cursor::{DecodeError, flag};
use crate::query::{Changed, Query, Unsettled};
use crate::reply::{FeedEntry, FeedKind, ProductCount, ReservationReply, ReservationState, ReservationView};
use crate::types::{
    Currency, FeedPosition, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};

/// Bytes of a batch item with the longest hot request: item header, wait, opcode, extend.
pub const LARGEST_HOT_REQUEST_BYTES: usize = 12 + 4 + 1 + size_of::<ExtendLayout>();
/// Bytes of one reservation in a page.
pub const RESERVATION_BYTES: usize = size_of::<ReservationLayout>();
/// Bytes of one entry of the order feed.
pub const FEED_ENTRY_BYTES: usize = size_of::<FeedEntryLayout>();
/// Bytes of one product's recount.
pub const PRODUCT_COUNT_BYTES: usize = size_of::<ProductCountLayout>();
/// Bytes of one product in a page at most: its name, and tag and longest varint of the other 18 fields.
pub const PRODUCT_VIEW_MAX_BYTES: usize = crate::limits::MAX_PRODUCT_NAME_BYTES + 18 * 11 + 16;

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct $name { $($field: $type),* }
    };
}

layout!(ReserveLayout { product: U64, reservation: U128, user: U128, quantity: U32, ttl: U64 });
layout!(TargetLayout { product: U64, reservation: U128, user: U128 });
layout!(PaymentLayout { target: TargetLayout, attempt: U16 });
layout!(ExtendLayout { target: TargetLayout, operation: U128, by: U64 });
layout!(LatePaymentLayout { target: TargetLayout, quantity: U32 });
layout!(CancelLayout { target: TargetLayout, how: u8 });
layout!(UnsettledLayout { shard: U16, of: u8, changed_at: U64, reservation: U128, limit: U32 });
layout!(ReservationLayout {
    product: U64,
    reservation: U128,
    user: U128,
    quantity: U32,
    state: u8,
    late: u8,
    cancelled: u8,
    payment_attempts: U16,
    created_at: U64,
    first_expires_at: U64,
    expires_at: U64,
    changed_at: U64,
});
layout!(ReservationReplyLayout { replayed: u8, time: U64, reservation: ReservationLayout });
layout!(FeedEntryLayout {
    position: U64,
    kind: u8,
    late: u8,
    cancelled: u8,
    product: U64,
    reservation: U128,
    user: U128,
    quantity: U32,
    price_minor: U64,
    currency: [u8; 3],
    at: U64,
});
layout!(ProductCountLayout { product: U64, stock: U32, available: U32, held: U32, sold: U32 });

const _: () = {
    assert!(size_of::<ReserveLayout>() == 52);
    assert!(size_of::<TargetLayout>() == 40);
    assert!(size_of::<PaymentLayout>() == 42);
    assert!(size_of::<ExtendLayout>() == 64);
    assert!(size_of::<LatePaymentLayout>() == 44);
    assert!(size_of::<CancelLayout>() == 41);
    assert!(size_of::<UnsettledLayout>() == 31);
    assert!(size_of::<ReservationLayout>() == 81);
    assert!(size_of::<ReservationReplyLayout>() == 90);
    assert!(size_of::<FeedEntryLayout>() == 74);
    assert!(size_of::<ProductCountLayout>() == 24);
};

impl From<&Reserve> for ReserveLayout {
    fn from(reserve: &Reserve) -> Self {
        Self {
            product: reserve.product.0.into(),
            reservation: reserve.reservation.0.into(),
            user: reserve.user.0.into(),
            quantity: reserve.quantity.0.into(),
            ttl: reserve.ttl.0.into(),
        }
    }
}

impl From<&ReserveLayout> for Reserve {
    fn from(bytes: &ReserveLayout) -> Self {
        Self {
            product: ProductId(bytes.product.get()),
            reservation: ReservationId(bytes.reservation.get()),
            user: UserId(bytes.user.get()),
            quantity: Quantity(bytes.quantity.get()),
            ttl: Millis(bytes.ttl.get()),
        }
    }
}

impl From<&Target> for TargetLayout {
    fn from(target: &Target) -> Self {
        Self { product: target.product.0.into(), reservation: target.reservation.0.into(), user: target.user.0.into() }
    }
}

impl From<&TargetLayout> for Target {
    fn from(bytes: &TargetLayout) -> Self {
        Self {
            product: ProductId(bytes.product.get()),
            reservation: ReservationId(bytes.reservation.get()),
            user: UserId(bytes.user.get()),
        }
    }
}

impl From<&Payment> for PaymentLayout {
    fn from(payment: &Payment) -> Self {
        Self { target: (&payment.target).into(), attempt: payment.attempt.into() }
    }
}

impl From<&PaymentLayout> for Payment {
    fn from(bytes: &PaymentLayout) -> Self {
        Self { target: (&bytes.target).into(), attempt: bytes.attempt.get() }
    }
}

impl From<&Extend> for ExtendLayout {
    fn from(extend: &Extend) -> Self {
        Self { target: (&extend.target).into(), operation: extend.operation.0.into(), by: extend.by.0.into() }
    }
}

impl From<&ExtendLayout> for Extend {
    fn from(bytes: &ExtendLayout) -> Self {
        Self {
            target: (&bytes.target).into(),
            operation: OperationId(bytes.operation.get()),
            by: Millis(bytes.by.get()),
        }
    }
}

impl From<&LatePayment> for LatePaymentLayout {
    fn from(late: &LatePayment) -> Self {
        Self { target: (&late.target).into(), quantity: late.quantity.0.into() }
    }
}

impl From<&LatePaymentLayout> for LatePayment {
    fn from(bytes: &LatePaymentLayout) -> Self {
        Self { target: (&bytes.target).into(), quantity: Quantity(bytes.quantity.get()) }
    }
}

impl From<&Cancel> for CancelLayout {
    fn from(cancel: &Cancel) -> Self {
        Self { target: (&cancel.target).into(), how: cancel.how.number() }
    }
}

impl TryFrom<&CancelLayout> for Cancel {
    type Error = DecodeError;

    fn try_from(bytes: &CancelLayout) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid { what: "how to cancel", value: bytes.how.into() };
        Ok(Self { target: (&bytes.target).into(), how: Cancellation::from_number(bytes.how).ok_or(invalid)? })
    }
}

impl UnsettledLayout {
    pub fn of(shard: ShardId, of: Unsettled, after: Changed, limit: u32) -> Self {
        Self {
            shard: shard.0.into(),
            of: match of {
                Unsettled::Payments => 1,
                Unsettled::Refunds => 2,
            },
            changed_at: after.at.0.into(),
            reservation: after.reservation.0.into(),
            limit: limit.into(),
        }
    }

    pub fn query(&self) -> Result<Query, DecodeError> {
        Ok(Query::Unsettled {
            shard: ShardId(self.shard.get()),
            of: match self.of {
                1 => Unsettled::Payments,
                2 => Unsettled::Refunds,
                value => return Err(DecodeError::Invalid { what: "kind of what is unsettled", value: value.into() }),
            },
            after: Changed { at: Timestamp(self.changed_at.get()), reservation: ReservationId(self.reservation.get()) },
            limit: self.limit.get(),
        })
    }
}

impl From<&ReservationView> for ReservationLayout {
    fn from(view: &ReservationView) -> Self {
        Self {
            product: view.product.0.into(),
            reservation: view.reservation.0.into(),
            user: view.user.0.into(),
            quantity: view.quantity.0.into(),
            state: state_number(view.state),
            late: view.late.into(),
            cancelled: view.cancelled.map_or(0, Cancellation::number),
            payment_attempts: view.payment_attempts.into(),
            created_at: view.created_at.0.into(),
            first_expires_at: view.first_expires_at.0.into(),
            expires_at: view.expires_at.0.into(),
            changed_at: view.changed_at.0.into(),
        }
    }
}

impl TryFrom<&ReservationLayout> for ReservationView {
    type Error = DecodeError;

    fn try_from(bytes: &ReservationLayout) -> Result<Self, DecodeError> {
        Ok(Self {
            product: ProductId(bytes.product.get()),
            reservation: ReservationId(bytes.reservation.get()),
            user: UserId(bytes.user.get()),
            quantity: Quantity(bytes.quantity.get()),
            state: state(bytes.state)?,
            payment_attempts: bytes.payment_attempts.get(),
            late: flag(bytes.late, "reservation's late flag")?,
            cancelled: cancellation(bytes.cancelled)?,
            created_at: Timestamp(bytes.created_at.get()),
            first_expires_at: Timestamp(bytes.first_expires_at.get()),
            expires_at: Timestamp(bytes.expires_at.get()),
            changed_at: Timestamp(bytes.changed_at.get()),
        })
    }
}

impl From<&ReservationReply> for ReservationReplyLayout {
    fn from(reply: &ReservationReply) -> Self {
        Self { replayed: reply.replayed.into(), time: reply.time.0.into(), reservation: (&reply.reservation).into() }
    }
}

impl TryFrom<&ReservationReplyLayout> for ReservationReply {
    type Error = DecodeError;

    fn try_from(bytes: &ReservationReplyLayout) -> Result<Self, DecodeError> {
        Ok(Self {
            replayed: flag(bytes.replayed, "replayed flag")?,
            time: Timestamp(bytes.time.get()),
            reservation: (&bytes.reservation).try_into()?,
        })
    }
}

impl From<&FeedEntry> for FeedEntryLayout {
    fn from(entry: &FeedEntry) -> Self {
        Self {
            position: entry.position.0.into(),
            kind: match entry.kind {
                FeedKind::Confirmed => 1,
                FeedKind::RefundDue => 2,
                FeedKind::Refunded => 3,
                FeedKind::Cancelled => 4,
            },
            late: entry.late.into(),
            cancelled: entry.cancelled.map_or(0, Cancellation::number),
            product: entry.product.0.into(),
            reservation: entry.reservation.0.into(),
            user: entry.user.0.into(),
            quantity: entry.quantity.0.into(),
            price_minor: entry.price.minor.into(),
            currency: entry.price.currency.0,
            at: entry.at.0.into(),
        }
    }
}

impl TryFrom<&FeedEntryLayout> for FeedEntry {
    type Error = DecodeError;

    fn try_from(bytes: &FeedEntryLayout) -> Result<Self, DecodeError> {
        Ok(Self {
            position: FeedPosition(bytes.position.get()),
            kind: match bytes.kind {
                1 => FeedKind::Confirmed,
                2 => FeedKind::RefundDue,
                3 => FeedKind::Refunded,
                4 => FeedKind::Cancelled,
                value => return Err(DecodeError::Invalid { what: "feed entry's kind", value: value.into() }),
            },
            product: ProductId(bytes.product.get()),
            reservation: ReservationId(bytes.reservation.get()),
            user: UserId(bytes.user.get()),
            quantity: Quantity(bytes.quantity.get()),
            price: Money { minor: bytes.price_minor.get(), currency: Currency(bytes.currency) },
            at: Timestamp(bytes.at.get()),
            late: flag(bytes.late, "feed entry's late flag")?,
            cancelled: cancellation(bytes.cancelled)?,
        })
    }
}

impl From<&ProductCount> for ProductCountLayout {
    fn from(count: &ProductCount) -> Self {
        Self {
            product: count.product.0.into(),
            stock: count.stock.0.into(),
            available: count.available.0.into(),
            held: count.held.0.into(),
            sold: count.sold.0.into(),
        }
    }
}

impl From<&ProductCountLayout> for ProductCount {
    fn from(bytes: &ProductCountLayout) -> Self {
        Self {
            product: ProductId(bytes.product.get()),
            stock: Quantity(bytes.stock.get()),
            available: Quantity(bytes.available.get()),
            held: Quantity(bytes.held.get()),
            sold: Quantity(bytes.sold.get()),
        }
    }
}

fn cancellation(number: u8) -> Result<Option<Cancellation>, DecodeError> {
    let invalid = DecodeError::Invalid { what: "how a sale was cancelled", value: number.into() };
    if number == 0 { Ok(None) } else { Cancellation::from_number(number).ok_or(invalid).map(Some) }
}

const fn state_number(state: ReservationState) -> u8 {
    match state {
        ReservationState::Held => 1,
        ReservationState::Paying => 2,
        ReservationState::Confirmed => 3,
        ReservationState::Released => 4,
        ReservationState::Expired => 5,
        ReservationState::RefundDue => 6,
        ReservationState::Refunded => 7,
        ReservationState::Cancelled => 8,
    }
}

fn state(number: u8) -> Result<ReservationState, DecodeError> {
    Ok(match number {
        1 => ReservationState::Held,
        2 => ReservationState::Paying,
        3 => ReservationState::Confirmed,
        4 => ReservationState::Released,
        5 => ReservationState::Expired,
        6 => ReservationState::RefundDue,
        7 => ReservationState::Refunded,
        8 => ReservationState::Cancelled,
        value => return Err(DecodeError::Invalid { what: "reservation's state", value: value.into() }),
    })
}
