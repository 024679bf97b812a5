//! What was paid for an order, and what goes or went back, as the database has it.

use doorbuster_protocol::types::{Currency, Money, ReservationId, Timestamp};

use super::row::parse_hex;
use super::store::StoreError;

/// A payment. There is one for every order, of the order's amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What was paid for.
    pub reservation: ReservationId,
    /// How much altogether.
    pub amount: Money,
    /// Whether it came when the reservation was gone.
    pub late: bool,
    /// Cluster time at which the cluster was told.
    pub recorded_at: Timestamp,
    /// Its refund, which is of the same amount.
    pub refund: Option<Refund>,
}

/// A payment's refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Cluster time since which it is due.
    pub due_at: Timestamp,
    /// Cluster time at which the provider was known to have paid it back.
    pub refunded_at: Option<Timestamp>,
}

/// A payment as it is read, with its refund.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct PaymentRow {
    pub reservation: String,
    pub amount_minor: i64,
    pub currency: String,
    pub late: bool,
    pub recorded_at_ms: i64,
    pub due_at_ms: Option<i64>,
    pub refunded_at_ms: Option<i64>,
}

impl TryFrom<PaymentRow> for Payment {
    type Error = StoreError;

    fn try_from(row: PaymentRow) -> Result<Self, StoreError> {
        let time = |ms: i64| u64::try_from(ms).ok().map(Timestamp);
        let read = || {
            let refund = match (row.due_at_ms, row.refunded_at_ms) {
                (None, _) => None,
                (Some(due), None) => Some(Refund { due_at: time(due)?, refunded_at: None }),
                (Some(due), Some(refunded)) => Some(Refund { due_at: time(due)?, refunded_at: Some(time(refunded)?) }),
            };
            Some(Self {
                reservation: ReservationId(parse_hex(&row.reservation)?),
                amount: Money { minor: row.amount_minor.try_into().ok()?, currency: Currency::parse(&row.currency)? },
                late: row.late,
                recorded_at: time(row.recorded_at_ms)?,
                refund,
            })
        };
        read().ok_or_else(|| StoreError::Refused {
            problem: format!("a payment in the database cannot be read: {row:?}"),
        })
    }
}
