//! What the routes show: the JSON of reservations and products.

use bytes::Bytes;
use doorbuster_protocol::reply::{ProductView, ReservationReply, ReservationState, ReservationView, SaleState};
use doorbuster_protocol::types::{Millis, Timestamp};
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::problem::HttpResponse;
use crate::{ids, timestamp};

/// Says that an answer is that of an earlier request with the same key.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An answer with a JSON body.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    let mut body = Vec::with_capacity(384);
    // Writing JSON into memory cannot fail for these types: their maps have text keys.
    let _ = serde_json::to_writer(&mut body, value);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same, marked as a replay if it is one.
#[must_use]
pub fn marked(mut response: HttpResponse, replayed: bool) -> HttpResponse {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The same with a `Location`.
#[must_use]
pub fn located(mut response: HttpResponse, path: &str) -> HttpResponse {
    // A path of digits and letters is always a header value.
    if let Ok(value) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// Where a reservation is shown.
#[must_use]
pub fn path(view: &ReservationView) -> String {
    format!("/v1/reservations/{}", ids::format(view.product, view.reservation))
}

/// A reservation.
#[derive(Serialize)]
pub struct Reservation {
    id: String,
    product: u64,
    quantity: u32,
    state: &'static str,
    created_at: String,
    /// While it is held or being paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Seconds until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<f64>,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<Payment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<Cancelled>,
    /// Of a replay: the reservation as it is now, beside what was answered first.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Box<Reservation>>,
}

/// The last payment took nothing.
const FAILED: &str = "payment_failed";
/// The reservation expired while it was being paid, and the provider has not told what came of it.
const UNRESOLVED: &str = "unresolved";

/// How its sale was cancelled.
#[derive(Serialize)]
pub struct Cancelled {
    reason: &'static str,
    stock_returned: bool,
}

/// What became of a reservation's payments.
#[derive(Serialize)]
pub struct Payment {
    state: &'static str,
    attempts: u16,
    /// Why the money goes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl Reservation {
    /// The reservation as it is now. Of one that expired with a payment begun, it does not claim to know what became of that:
    /// see [`Self::settled`].
    #[must_use]
    pub fn now(reply: &ReservationReply) -> Self {
        let view = &reply.reservation;
        let live = view.state.is_live();
        Self {
            id: ids::format(view.product, view.reservation),
            product: view.product.0,
            quantity: view.quantity.0,
            state: view.state.name(),
            created_at: timestamp::format(view.created_at),
            expires_at: live.then(|| timestamp::format(view.expires_at)),
            expires_in: live.then(|| seconds(view.expires_at.since(reply.time))),
            changed_at: timestamp::format(view.changed_at),
            payment: payment(view),
            cancelled: view
                .cancelled
                .map(|how| Cancelled { reason: how.reason.name(), stock_returned: how.return_stock }),
            now: None,
        }
    }

    /// The same of one that is known to have no payment whose end nobody has told.
    #[must_use]
    pub fn settled(reply: &ReservationReply) -> Self {
        let mut reservation = Self::now(reply);
        if let Some(payment) = reservation.payment.as_mut().filter(|payment| payment.state == UNRESOLVED) {
            payment.state = FAILED;
        }
        reservation
    }

    /// Whether it shows a payment of which it does not know what became.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        self.payment.as_ref().is_some_and(|payment| payment.state == UNRESOLVED)
    }

    /// The reservation as it was made; and, of a replay, as it is now.
    #[must_use]
    pub fn made(reply: &ReservationReply) -> Self {
        let view = &reply.reservation;
        let first = ReservationView {
            state: ReservationState::Held,
            payment_attempts: 0,
            cancelled: None,
            expires_at: view.first_expires_at,
            changed_at: view.created_at,
            ..*view
        };
        let made = Self::now(&ReservationReply { reservation: first, ..*reply });
        Self { now: reply.replayed.then(|| Box::new(Self::now(reply))), ..made }
    }
}

fn payment(view: &ReservationView) -> Option<Payment> {
    let attempts = view.payment_attempts;
    let goes_back = matches!(view.state, ReservationState::RefundDue | ReservationState::Refunded);
    let state = match view.state {
        // Money may come for a reservation that is forgotten, and its attempts with it.
        _ if attempts == 0 && !goes_back => return None,
        // Only a failed payment gives it back to its holder, and only a held one is released.
        ReservationState::Held | ReservationState::Released => FAILED,
        ReservationState::Paying => "in_progress",
        ReservationState::Confirmed => "succeeded",
        ReservationState::RefundDue => "refund_due",
        ReservationState::Refunded => "refunded",
        ReservationState::Expired => UNRESOLVED,
        // Nobody was known to pay; for what was paid for, the money goes back.
        ReservationState::Cancelled => return None,
    };
    let reason = if view.cancelled.is_some() { "cancelled" } else { "paid_too_late" };
    let reason = (goes_back && (view.late || view.cancelled.is_some())).then_some(reason);
    Some(Payment { state, attempts, reason })
}

fn seconds(time: Millis) -> f64 {
    std::time::Duration::from_millis(time.0).as_secs_f64()
}

/// A product.
#[derive(Serialize)]
pub struct Product<'a> {
    product: u64,
    name: &'a str,
    price: Price,
    sale: &'static str,
    stock: u32,
    available: u32,
    held: u32,
    sold: u32,
    limit_per_user: Option<u32>,
    limit_per_reservation: Option<u32>,
    ttl_ms: u64,
    max_life_ms: u64,
    payment_cap_ms: u64,
    opens_at: Option<String>,
    closes_at: Option<String>,
    next_expiry: Option<String>,
}

/// An amount of money in minor units of its currency.
#[derive(Serialize)]
pub struct Price {
    minor: u64,
    currency: String,
}

impl<'a> From<&'a ProductView> for Product<'a> {
    fn from(view: &'a ProductView) -> Self {
        let spec = &view.spec;
        let limit = |limit: u32| (limit != 0).then_some(limit);
        let time = |time: Timestamp| (time.0 != 0).then(|| timestamp::format(time));
        Self {
            product: spec.product.0,
            name: &spec.name,
            price: spec.price.into(),
            sale: match view.sale {
                SaleState::Active => "active",
                SaleState::Paused => "paused",
                SaleState::Closed => "closed",
            },
            stock: spec.stock.0,
            available: view.available.0,
            held: view.held.0,
            sold: view.sold.0,
            limit_per_user: limit(spec.limit_per_user.0),
            limit_per_reservation: limit(spec.limit_per_reservation.0),
            ttl_ms: spec.ttl.0,
            max_life_ms: spec.max_life.0,
            payment_cap_ms: spec.payment_cap.0,
            opens_at: time(spec.opens_at),
            closes_at: time(spec.closes_at),
            next_expiry: time(view.next_expiry),
        }
    }
}

impl From<doorbuster_protocol::types::Money> for Price {
    fn from(money: doorbuster_protocol::types::Money) -> Self {
        Self { minor: money.minor, currency: money.currency.to_string() }
    }
}
