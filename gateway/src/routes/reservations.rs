//! Reservations: make, show, release, extend. The id is derived from the user and the `Idempotency-Key`, so the cluster
//! itself tells a retry from a new request; nothing is remembered here.

use std::time::Duration;

use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::{Extend, Reserve, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::limits::{MAX_RESERVATION_QUANTITY, MAX_TTL, MIN_TTL};
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState, ReservationView};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, ShardId, UserId, shard_of};
use futures_util::future::join_all;
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::view::{Reservation, json, located, marked, path};
use super::{Call, key};
use crate::app::App;
use crate::field::Number;
use crate::layers::auth::Caller;
use crate::problem::{HttpResponse, Problem, kinds};
use crate::{body, ids};

/// How long a new reservation waits for the other shards to say whether they know its key.
const CONFLICT_CHECK: Millis = Millis(500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReserveBody {
    product: Number,
    quantity: Number,
    ttl_ms: Option<Number>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    by_ms: Number,
}

/// `POST /v1/reservations`.
///
/// # Errors
/// What the body or key lacks, the sale's refusals, and the cluster's failures.
pub async fn reserve(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let caller = call.caller()?;
    let bytes = call.read(app).await?;
    let key = key::read(&call.parts.headers)?;
    let reserve = read_reserve(body::parse(&call.parts.headers, &bytes)?, caller, key)?;
    let client = app.backend.client()?;
    let reply = client.reserve(reserve).await?;
    refuse_second_product(client, reserve, &reply).await?;
    let response = json(StatusCode::CREATED, &Reservation::made(&reply));
    Ok(marked(located(response, &path(&reply.reservation)), reply.replayed))
}

fn read_reserve(body: ReserveBody, caller: Caller, key: &str) -> Result<Reserve, Problem> {
    let ttl = body.ttl_ms.map_or(Ok(0), |ttl| ttl.within("ttl_ms", MIN_TTL.0, MAX_TTL.0))?;
    Ok(Reserve {
        product: ProductId(body.product.within("product", 1, u64::MAX)?),
        reservation: ids::reservation(caller.user, key),
        user: caller.user,
        quantity: Quantity(body.quantity.within_u32("quantity", 1, MAX_RESERVATION_QUANTITY)?),
        ttl: Millis(ttl),
    })
}

/// A key that made a reservation of one product and comes back with another product reaches another shard, which cannot
/// know. So a reservation that was just made is given back if the key lives on any other shard, in whatever state. The one
/// that was given back is remembered there as released, and asked for again it must be refused again: of two that share
/// a key, it is the younger. A shard that does not answer in time is taken not to know the key: a buyer's honest
/// reservation counts for more.
async fn refuse_second_product(client: &Client, reserve: Reserve, reply: &ReservationReply) -> Result<(), Problem> {
    let view = &reply.reservation;
    if reply.replayed && !matches!(view.state, ReservationState::Released | ReservationState::Expired) {
        return Ok(());
    }
    let own = shard_of(reserve.product, client.shards());
    let others = (0..client.shards()).map(ShardId).filter(|shard| *shard != own);
    let found = join_all(others.map(|shard| find(client, shard, reserve))).await;
    let mut found = found.into_iter().flatten();
    if !found.any(|other| !reply.replayed || other.created_at < view.created_at) {
        return Ok(());
    }
    if !reply.replayed {
        release_second(client, reserve).await;
    }
    let detail = "This key made a reservation of another product; use a new one for a new request.";
    Err(Problem::new(&kinds::CONFLICTING_RETRY, detail))
}

async fn release_second(client: &Client, reserve: Reserve) {
    let target = Target { product: reserve.product, reservation: reserve.reservation, user: reserve.user };
    if let Err(error) = client.release(target).await {
        tracing::warn!(%error, product = %reserve.product, "a reservation under a used key was not released; it will expire");
    }
}

async fn find(client: &Client, shard: ShardId, reserve: Reserve) -> Option<ReservationView> {
    let query = Query::FindReservation { shard, reservation: reserve.reservation };
    let request = Request { body: RequestBody::Query(query), wait: CONFLICT_CHECK };
    let deadline = Duration::from_millis(CONFLICT_CHECK.0);
    match client.execute(request, Some(deadline)).await {
        Ok(Reply::Reservation(reply)) => Some(reply.reservation),
        _ => None,
    }
}

/// `GET /v1/reservations/{id}`.
///
/// # Errors
/// 404 for what is not the caller's, and the cluster's.
pub async fn show(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    let target = target(call)?;
    let client = app.backend.client()?;
    let ask = || async { client.reservation(target).await.map_err(hide_product) };
    let reply = ask().await?;
    let mut shown = Reservation::now(&reply);
    if shown.is_unresolved() && !is_unsettled(client, &reply.reservation).await? {
        // Asked again: it may be money that has settled it, just now.
        shown = Reservation::settled(&ask().await?);
    }
    Ok(json(StatusCode::OK, &shown))
}

/// Whether the shard still waits for somebody to tell what came of the reservation's payment.
async fn is_unsettled(client: &Client, view: &ReservationView) -> Result<bool, Problem> {
    let before = ReservationId(view.reservation.0.saturating_sub(1));
    let after = Changed { at: view.changed_at, reservation: before };
    let shard = shard_of(view.product, client.shards());
    let page = client.unsettled(shard, Unsettled::Payments, after, 1).await?;
    Ok(page.reservations.first().is_some_and(|first| first.reservation == view.reservation))
}

/// `DELETE /v1/reservations/{id}`: gives the units back.
///
/// # Errors
/// 404, 409 for what is over, paid or being paid, and the cluster's.
pub async fn release(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    let target = target(call)?;
    let reply = app.backend.client()?.release(target).await.map_err(hide_product)?;
    Ok(marked(json(StatusCode::OK, &Reservation::now(&reply)), reply.replayed))
}

/// `POST /v1/reservations/{id}/extend`.
///
/// # Errors
/// What the body or key lacks, 404, 409 for what is no longer held or would be held too long, and the cluster's.
pub async fn extend(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let target = target(&call)?;
    let bytes = call.read(app).await?;
    let key = key::read(&call.parts.headers)?;
    let by = read_extend(&body::parse(&call.parts.headers, &bytes)?)?;
    let operation = ids::operation(target.user, &format!("extend/{}", call.parameter()), key);
    let reply = app.backend.client()?.extend(Extend { target, operation, by }).await.map_err(hide_product)?;
    Ok(marked(json(StatusCode::OK, &Reservation::now(&reply)), reply.replayed))
}

fn read_extend(body: &ExtendBody) -> Result<Millis, Problem> {
    Ok(Millis(body.by_ms.within("by_ms", 1, MAX_TTL.0)?))
}

/// Whether the body of [`reserve`] can be read.
pub(super) fn check_reserve(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    let somebody = Caller { user: UserId(0), admin: false };
    read_reserve(body::parse(headers, bytes)?, somebody, "").map(drop)
}

/// Whether the body of [`extend`] can be read.
pub(super) fn check_extend(headers: &HeaderMap, bytes: &[u8]) -> Result<(), Problem> {
    read_extend(&body::parse(headers, bytes)?).map(drop)
}

/// Whoever asks for a reservation of no product has no such reservation.
#[must_use]
pub fn hide_product(error: Error) -> Problem {
    match error {
        Error::Refused(Refusal::UnknownProduct) => Refusal::UnknownReservation.into(),
        error => error.into(),
    }
}

/// The reservation that the path names, for its caller alone.
///
/// # Errors
/// 404 for what is no reservation id.
pub fn target(call: &Call) -> Result<Target, Problem> {
    let caller = call.caller()?;
    let unknown = || Problem::new(&kinds::UNKNOWN_RESERVATION, "You have no reservation with this id.");
    let (product, reservation) = ids::parse(call.parameter()).ok_or_else(unknown)?;
    Ok(Target { product, reservation, user: caller.user })
}
