//! `GET /v1/orders/{id}`: the order that a confirmed reservation became in the database, under the reservation's id.

use std::future::Future;
use std::pin::Pin;

use doorbuster_protocol::command::Target;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{FeedKind, ReservationState};
use doorbuster_protocol::types::{Money, ProductId, Quantity, ReservationId, Timestamp, UserId};
use hyper::StatusCode;
use serde::Serialize;

use super::view::{Price, json};
use super::{Call, reservations};
use crate::app::App;
use crate::orders::Cancelled;
use crate::problem::{HttpResponse, Problem, kinds};
use crate::{ids, timestamp};

/// An order as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its product.
    pub product: ProductId,
    /// The reservation it was.
    pub reservation: ReservationId,
    /// Whose it is.
    pub user: UserId,
    /// Its units.
    pub quantity: Quantity,
    /// Price of a unit.
    pub price: Money,
    /// Whether it is sold, cancelled, or its money goes or went back.
    pub status: FeedKind,
    /// When.
    pub at: Timestamp,
    /// When and how it was cancelled, if it was.
    pub cancelled: Option<Cancelled>,
}

/// A future of an [`OrderReader`]'s; its error says what the database said.
pub type OrderFuture<'a> = Pin<Box<dyn Future<Output = Result<Option<Order>, String>> + Send + 'a>>;

/// Where orders are read.
pub trait OrderReader: Send + Sync {
    /// The order of a reservation, if it is stored.
    fn order(&self, reservation: ReservationId) -> OrderFuture<'_>;
}

#[derive(Serialize)]
struct View {
    id: String,
    product: u64,
    quantity: u32,
    price: Price,
    amount: Price,
    status: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Undone>,
}

/// When and why it was cancelled.
#[derive(Serialize)]
struct Undone {
    at: String,
    reason: &'static str,
}

impl From<&Order> for View {
    fn from(order: &Order) -> Self {
        // Both factors are bounded by the protocol, their product far below 2^64.
        let minor = order.price.minor.saturating_mul(order.quantity.0.into());
        Self {
            id: ids::format(order.product, order.reservation),
            product: order.product.0,
            quantity: order.quantity.0,
            price: order.price.into(),
            amount: Money { minor, ..order.price }.into(),
            status: match order.status {
                FeedKind::Confirmed => "confirmed",
                FeedKind::RefundDue => "refund_due",
                FeedKind::Refunded => "refunded",
                FeedKind::Cancelled => "cancelled",
            },
            at: timestamp::format(order.at),
            cancelled: order
                .cancelled
                .map(|cancelled| Undone { at: timestamp::format(cancelled.at), reason: cancelled.how.reason.name() }),
        }
    }
}

/// Runs the route.
///
/// # Errors
/// 404 for what is not the caller's order, and, retryable, for one that is not stored yet; 503 when the database or the
/// cluster cannot be asked.
pub async fn show(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    let unknown = || Problem::new(&kinds::UNKNOWN_ORDER, "You have no order with this id.");
    let target = reservations::target(call).map_err(|_| unknown())?;
    let Some(orders) = &app.orders else { return Err(unavailable("this gateway has no order database configured")) };
    let stored = orders.order(target.reservation).await.map_err(|error| unavailable(&error))?;
    match stored {
        Some(order) if (order.user, order.product) == (target.user, target.product) => {
            Ok(json(StatusCode::OK, &View::from(&order)))
        }
        Some(_) => Err(unknown()),
        None => Err(pending(app, target).await?.unwrap_or_else(unknown)),
    }
}

/// What to say of an order that is not stored, by its reservation.
async fn pending(app: &App, target: Target) -> Result<Option<Problem>, Problem> {
    match app.backend.client()?.reservation(target).await {
        Ok(reply)
            if reply.reservation.state == ReservationState::Confirmed || reply.reservation.cancelled.is_some() =>
        {
            let detail = "The reservation is confirmed; its order is about to be stored.";
            Ok(Some(Problem::new(&kinds::ORDER_PENDING, detail)))
        }
        Ok(_) => Ok(None),
        Err(doorbuster_client::Error::Refused(Refusal::UnknownReservation | Refusal::UnknownProduct)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unavailable(detail: &str) -> Problem {
    tracing::warn!(detail, "orders cannot be read");
    Problem::new(
        &kinds::ORDERS_UNAVAILABLE,
        "The order database cannot be asked right now. Sales go on; orders are kept.",
    )
}
