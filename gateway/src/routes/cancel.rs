//! Undoing a sale: customers their own, within the time that the configuration gives them; operators any, as they choose. If it was
//! paid for, its money goes back: the refund is a work item of the cluster's, which this gateway begins with and any other finishes.

use std::borrow::Cow;

use doorbuster_client::Client;
use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation, Target};
use doorbuster_protocol::reply::{ReservationReply, ReservationState, ReservationView};
use doorbuster_protocol::types::{Millis, UserId};
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::reservations::{hide_product, target};
use super::view::{Reservation, json, marked};
use super::{Call, reservations};
use crate::app::App;
use crate::problem::{HttpResponse, Problem, kinds};
use crate::saga::worker::Run;
use crate::{body, ids, timestamp};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelBody<'a> {
    return_stock: bool,
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

/// `POST /v1/reservations/{id}/cancel`: the customer's own. Its units go back on sale.
///
/// # Errors
/// 404, 409 for what is not sold, was undone otherwise, or may not or no longer be undone by its customer, and the cluster's.
pub async fn by_customer(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    let target = reservations::target(call)?;
    let client = app.backend.client()?;
    let now = client.reservation(target).await.map_err(hide_product)?;
    check_time(&now, Millis(app.config.payment.cancel_within_ms))?;
    undo(app, client, target, Cancellation { reason: CancelReason::Customer, return_stock: true }).await
}

/// `POST /v1/admin/reservations/{id}/cancel`: anybody's.
///
/// # Errors
/// What the body lacks, 404, 409 for what is not sold or was undone otherwise, and the cluster's.
pub async fn by_operator(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let target = Target { user: UserId(0), ..target(&call)? };
    let bytes = call.read(app).await?;
    let how = read(&body::parse(&call.parts.headers, &bytes)?)?;
    undo(app, app.backend.client()?, target, how).await
}

/// Whether the body of [`by_operator`] can be read.
pub(super) fn check(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    read(&body::parse(headers, bytes)?).map(drop)
}

fn read(body: &CancelBody<'_>) -> Result<Cancellation, Problem> {
    let unknown = || {
        let known = CancelReason::ALL.map(CancelReason::name).join(", ");
        Problem::new(&kinds::INVALID_FIELD, format!("reason must be one of {known}.")).with("field", "reason")
    };
    let reason = CancelReason::named(&body.reason).ok_or_else(unknown)?;
    Ok(Cancellation { reason, return_stock: body.return_stock })
}

/// Only what is sold has a time in which it may be undone; of anything else the cluster says what it is.
fn check_time(now: &ReservationReply, within: Millis) -> Result<(), Problem> {
    let view = &now.reservation;
    if view.state != ReservationState::Confirmed {
        return Ok(());
    }
    if within == Millis(0) {
        let detail = "Customers cannot cancel here; ask the shop.";
        return Err(Problem::new(&kinds::CANCEL_NOT_ALLOWED, detail));
    }
    let until = view.changed_at.plus(within);
    if now.time > until {
        let detail = "The time in which a customer may cancel is over since until; ask the shop.";
        return Err(Problem::new(&kinds::CANCEL_TOO_LATE, detail).with("until", timestamp::format(until)));
    }
    Ok(())
}

async fn undo(app: &App, client: &Client, target: Target, how: Cancellation) -> Result<HttpResponse, Problem> {
    let reply = client.cancel(Cancel { target, how }).await.map_err(hide_product)?;
    let view = &reply.reservation;
    if !reply.replayed {
        let id = ids::format(view.product, view.reservation);
        tracing::info!(id, reason = how.reason.name(), return_stock = how.return_stock, "a sale was cancelled");
    }
    refund(app, client, view).await;
    Ok(marked(json(StatusCode::OK, &Reservation::now(&reply)), reply.replayed))
}

/// Begins the refund, if one is due and gateways make them. What does not work here is left to whoever sweeps.
async fn refund(app: &App, client: &Client, view: &ReservationView) {
    if view.state != ReservationState::RefundDue || app.config.payment.sweep_after_ms == 0 {
        return;
    }
    match client.product(view.product).await {
        Ok(found) => app.saga.refund(Run::refund(view, found.product.spec.price)),
        Err(error) => tracing::debug!(%error, product = %view.product, "a refund that is due is left to the sweeper"),
    }
}
