//! `POST /v1/reservations/{id}/payment`: begins a payment, or joins the one in progress, and answers 202 with where to look;
//! or, where the caller waits, how it ended.
//!
//! A body may name the `attempt` it means. Retrying such a request can never start a second charge: an attempt that has
//! ended answers how. Without it, a request after a declined attempt begins the next.

use std::borrow::Cow;
use std::time::Duration;

use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::{Payment, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{ReservationReply, ReservationState};
use doorbuster_protocol::types::Millis;
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::view::{Reservation, json, located, marked, path};
use super::{Call, reservations, wait};
use crate::app::App;
use crate::field::Number;
use crate::problem::{HttpResponse, Problem, cluster, kinds};
use crate::saga::lanes::Watch;
use crate::saga::step::Outcome;
use crate::saga::worker::Run;
use crate::{body, ids, timestamp};

/// Longest card token, in bytes.
const MAX_TOKEN: usize = 255;
/// How long a charge takes at the provider once it has its turn, with something to spare.
const CHARGE_TIME: Millis = Millis(3000);
/// Times to look again when another request changes the payment in between.
const TRIES: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayBody<'a> {
    #[serde(borrow)]
    card_token: Cow<'a, str>,
    attempt: Option<Number>,
}

#[derive(Serialize)]
struct Accepted {
    #[serde(flatten)]
    reservation: Reservation,
    status_url: String,
}

/// How a request to pay began.
enum Begin {
    /// The reservation is pinned for this attempt.
    Paying(ReservationReply),
    /// There is nothing to begin: it is paid.
    Paid(ReservationReply),
    /// The attempt that the caller means has ended without a payment.
    Failed(ReservationReply),
}

/// Runs the route.
///
/// # Errors
/// What body or query lack, 402 for a decline that was waited for, 404, 409 for what cannot be paid, and the cluster's.
pub async fn pay(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let target = reservations::target(&call)?;
    let most = Duration::from_millis(app.config.payment.max_wait_ms);
    let patience = wait::read(&call.parts, most)?;
    let bytes = call.read(app).await?;
    let (card_token, attempt) = read(body::parse(&call.parts.headers, &bytes)?)?;
    let place = app.saga.enter()?;
    let client = app.backend.client()?;
    let product = client.product(target.product).await.map_err(reservations::hide_product)?;
    in_time(app, client, target, product.product.spec.payment_cap).await?;
    let reply = match begin(client, target, attempt).await? {
        Begin::Paying(reply) => reply,
        Begin::Paid(reply) => return Ok(marked(json(StatusCode::OK, &Reservation::now(&reply)), true)),
        Begin::Failed(reply) => return Err(declined("ended", &reply)),
    };
    let pinned = reply.reservation.expires_at.since(reply.time);
    let run = Run::pay(&reply.reservation, product.product.spec.price, card_token, pinned);
    let watch = app.saga.start(place, run);
    settle(client, target, reply, ended_within(watch, patience).await).await
}

/// Whether the body can be read.
pub(super) fn check(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    read(body::parse(headers, bytes)?).map(drop)
}

fn read(body: PayBody<'_>) -> Result<(String, Option<u16>), Problem> {
    let token = body.card_token.into_owned();
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("card_token must have 1 to {MAX_TOKEN} visible ASCII characters.");
        return Err(Problem::new(&kinds::INVALID_FIELD, detail).with("field", "card_token").with("limit", MAX_TOKEN));
    }
    let Some(attempt) = body.attempt else { return Ok((token, None)) };
    let attempt = attempt.within("attempt", 1, u16::MAX.into())?;
    Ok((token, u16::try_from(attempt).ok()))
}

/// Refuses what could not be charged while the reservation is pinned, before anything is done about it. A payment that is in
/// progress has its place already.
async fn in_time(app: &App, client: &Client, target: Target, cap: Millis) -> Result<(), Problem> {
    let wait = app.saga.wait(target.user);
    let needed = Millis(wait.0.saturating_add(CHARGE_TIME.0));
    if wait == Millis(0) || needed <= cap {
        return Ok(());
    }
    let reply = client.reservation(target).await.map_err(reservations::hide_product)?;
    let pinned = cap.max(reply.reservation.expires_at.since(reply.time));
    if reply.reservation.state != ReservationState::Held || needed <= pinned {
        return Ok(());
    }
    let detail = "The payment provider is busy: your card would not be charged before the reservation ends. Nothing was \
                  charged, and the reservation is still held until expires_at.";
    Err(Problem::new(&kinds::PAYMENTS_DELAYED, detail)
        .retry_after(Millis(needed.0.saturating_sub(pinned.0).max(1000)))
        .with("wait_ms", wait.0)
        .with("expires_at", timestamp::format(reply.reservation.expires_at)))
}

async fn begin(client: &Client, target: Target, wanted: Option<u16>) -> Result<Begin, Problem> {
    // Nearly every reservation is paid at the first attempt: try that before looking.
    let mut attempt = wanted.unwrap_or(1);
    for _ in 0..TRIES {
        match client.begin_payment(Payment { target, attempt }).await {
            Ok(reply) => return Ok(Begin::Paying(reply)),
            Err(Error::Refused(Refusal::AlreadyConfirmed)) => {
                return Ok(Begin::Paid(client.reservation(target).await?));
            }
            Err(Error::Refused(Refusal::PaymentNotInProgress { .. } | Refusal::PaymentInProgress)) => {}
            Err(error) => return Err(reservations::hide_product(error)),
        }
        let reply = client.reservation(target).await?;
        let (attempts, paying) =
            (reply.reservation.payment_attempts, reply.reservation.state == ReservationState::Paying);
        match wanted {
            Some(wanted) if wanted <= attempts && !(paying && wanted == attempts) => return Ok(Begin::Failed(reply)),
            Some(wanted) if wanted > attempts.saturating_add(1) || paying => {
                return Err(Refusal::PaymentNotInProgress { attempts }.into());
            }
            Some(_) => {}
            None => attempt = if paying { attempts } else { attempts.saturating_add(1) },
        }
    }
    Err(Refusal::PaymentInProgress.into())
}

async fn ended_within(mut watch: Watch, patience: Duration) -> Option<Outcome> {
    if patience.is_zero() {
        return None;
    }
    let ended = async { watch.wait_for(Option::is_some).await.ok().and_then(|outcome| *outcome) };
    tokio::time::timeout(patience, ended).await.ok().flatten()
}

async fn settle(
    client: &Client,
    target: Target,
    begun: ReservationReply,
    outcome: Option<Outcome>,
) -> Result<HttpResponse, Problem> {
    match outcome {
        None | Some(Outcome::Unresolved) => Ok(accepted(&begun)),
        Some(Outcome::Confirmed) => {
            let reply = client.reservation(target).await?;
            Ok(marked(json(StatusCode::OK, &Reservation::now(&reply)), begun.replayed))
        }
        Some(Outcome::Declined(reason)) => Err(declined(reason, &client.reservation(target).await?)),
        Some(Outcome::RefundDue | Outcome::Refunded) => Err(Refusal::Refunding.into()),
        Some(Outcome::Unsettled) => {
            Err(cluster::internal("the payment could not be settled; it is being looked at", ""))
        }
    }
}

fn accepted(reply: &ReservationReply) -> HttpResponse {
    let status_url = path(&reply.reservation);
    let accepted = Accepted { reservation: Reservation::now(reply), status_url: status_url.clone() };
    marked(located(json(StatusCode::ACCEPTED, &accepted), &status_url), reply.replayed)
}

fn declined(reason: &'static str, reply: &ReservationReply) -> Problem {
    let view = &reply.reservation;
    let detail = match view.state.is_live() {
        true => "The payment was declined; the reservation is still held until expires_at. Try another card.",
        false => "The payment was declined, and the reservation is no longer held.",
    };
    let problem = Problem::new(&kinds::PAYMENT_DECLINED, detail)
        .with("reason", reason)
        .with("reservation", ids::format(view.product, view.reservation))
        .with("state", view.state.name())
        .with("attempts", view.payment_attempts);
    if view.state.is_live() { problem.with("expires_at", timestamp::format(view.expires_at)) } else { problem }
}
