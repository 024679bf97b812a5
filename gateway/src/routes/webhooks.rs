//! `POST /v1/webhooks/{provider}`: an event of a payment provider's. Whoever sends it has no token but a signature over the
//! body as it came.
//!
//! The layers before it are those of every public route: until its signature is checked, a request is a stranger's, and
//! a provider whose event gets 429 sends it again. Providers send everything from few addresses: put those in
//! `limits.exempt`.

use std::time::Duration;

use bytes::Bytes;
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use hyper::StatusCode;
use hyper::header::HeaderName;
use serde_json::json;

use super::Call;
use super::view::json;
use crate::app::App;
use crate::clock;
use crate::orders::StoreError;
use crate::problem::{HttpResponse, Problem, kinds};
use crate::saga::provider::Key;
use crate::saga::worker::{self, Run};
use crate::webhooks::Webhooks;
use crate::webhooks::event::{Event, Kind};
use crate::webhooks::metrics::Fate;
use crate::webhooks::store::Recorded;

/// How long the database may take: providers give up after some ten seconds.
const RECORD_TIME: Duration = Duration::from_secs(5);

/// Runs the route.
///
/// # Errors
/// 404 for a provider whose webhooks are not configured, 400 for what it has not signed or is no event, 503 or 504 when the
/// event cannot be written down or acted upon now: it is to be sent again.
pub async fn receive(app: &App, mut call: Call) -> Result<HttpResponse, Problem> {
    let configured = app.webhooks.as_ref().filter(|webhooks| webhooks.sender.name == call.parameter());
    let webhooks = configured.ok_or_else(|| {
        let detail = "This gateway takes no webhooks of that provider; see payment.webhook_secrets_file.";
        Problem::new(&kinds::UNKNOWN_PROVIDER, detail)
    })?;
    let bytes = call.read(app).await?;
    let counted = |fate| app.metrics.webhooks.answered(fate);
    let event = read(webhooks, &call, &bytes).inspect_err(|_| counted(Fate::Refused))?;
    let fate = take(app, webhooks, &event).await.inspect_err(|_| counted(Fate::Failed))?;
    counted(fate);
    tracing::debug!(event = event.id, type_name = event.type_name, ?fate, "a webhook was taken");
    Ok(json(StatusCode::OK, &json!({ "received": true })))
}

/// The event, if its provider signed it.
fn read(webhooks: &Webhooks, call: &Call, bytes: &Bytes) -> Result<Event, Problem> {
    let name = HeaderName::from_static(webhooks.sender.header);
    let header = call.parts.headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    webhooks.secrets.verify(header, bytes, clock::wall()).map_err(|error| {
        // Anybody can have this said: the metric counts it, and the log is not theirs to fill.
        tracing::debug!(%error, client = %call.client, "a webhook is not believed");
        Problem::new(&kinds::INVALID_SIGNATURE, format!("{}: {error}.", webhooks.sender.header))
    })?;
    (webhooks.sender.read)(bytes).map_err(|error| {
        tracing::error!(%error, "a webhook was signed, and cannot be read");
        Problem::new(&kinds::MALFORMED_JSON, format!("The body is no event of {}'s: {error}.", webhooks.sender.name))
    })
}

/// Writes the event down, then acts upon it unless that has been done.
async fn take(app: &App, webhooks: &Webhooks, event: &Event) -> Result<Fate, Problem> {
    let (store, provider) = (&webhooks.store, webhooks.sender.name);
    if in_time(store.record(provider, event, clock::wall())).await? == Recorded::Processed {
        return Ok(Fate::Duplicate);
    }
    let fate = act(app, event).await?;
    in_time(store.processed(provider, event, clock::wall())).await?;
    Ok(fate)
}

async fn in_time<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
    let late = |_| Err(StoreError::Unavailable { problem: format!("no answer within {} s", RECORD_TIME.as_secs()) });
    tokio::time::timeout(RECORD_TIME, asking).await.unwrap_or_else(late).map_err(|error| {
        tracing::warn!(%error, "a webhook's event cannot be written down");
        Problem::new(&kinds::EVENTS_UNAVAILABLE, "The event cannot be written down now. Send it again.")
    })
}

/// Tells whoever carries the payment on, or begins to.
async fn act(app: &App, event: &Event) -> Result<Fate, Problem> {
    let Some(kind) = event.kind else { return Ok(Fate::UnknownType) };
    let Some(key) = event.payment else { return Ok(Fate::UnknownReservation) };
    if app.saga.pass_on(key) {
        return Ok(Fate::Processed);
    }
    let client = app.backend.client()?;
    let found = client.find_reservations(key.reservation).await?;
    let ours = found.iter().find(|found| found.reservation.created_at == key.made_at);
    let Some(view) = ours.map(|found| &found.reservation) else { return Ok(Fate::UnknownReservation) };
    let Some(due) = due(view, key, kind) else { return Ok(Fate::Settled) };
    let price = client.product(view.product).await?.product.spec.price;
    let run = match due {
        Due::Look => Run::look(view, price),
        Due::Refund => Run::refund(view, price),
    };
    app.saga.look(run).map(|()| Fate::Processed)
}

/// What an event makes necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Asking what came of the payment.
    Look,
    /// Going on with the refund.
    Refund,
}

/// By what the reservation is now. What the event says does not matter, but for money that was taken after the cluster had
/// been told that it would not be.
fn due(view: &ReservationView, key: Key, kind: Kind) -> Option<Due> {
    let is_last = worker::key(view) == key;
    match view.state {
        ReservationState::RefundDue => Some(Due::Refund),
        ReservationState::Paying | ReservationState::Expired if is_last => Some(Due::Look),
        ReservationState::Held | ReservationState::Released if is_last && kind == Kind::Succeeded => Some(Due::Look),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ReservationState as State;
    use doorbuster_protocol::types::{ProductId, Quantity, ReservationId, Timestamp, UserId};

    use super::*;

    /// One that was made at 5 and paid for twice.
    fn view(state: State) -> ReservationView {
        ReservationView {
            product: ProductId(1),
            reservation: ReservationId(7),
            user: UserId(2),
            quantity: Quantity(1),
            state,
            payment_attempts: 2,
            late: false,
            cancelled: None,
            created_at: Timestamp(5),
            first_expires_at: Timestamp(9),
            expires_at: Timestamp(9),
            changed_at: Timestamp(6),
        }
    }

    #[test]
    fn what_is_settled_or_of_another_attempt_is_left_alone() {
        let key = |attempt| Key { reservation: ReservationId(7), made_at: Timestamp(5), attempt };
        let kinds = [Kind::Succeeded, Kind::Declined, Kind::Refunded];
        for (state, last, earlier) in [
            (State::Held, [Some(Due::Look), None, None], None),
            (State::Paying, [Some(Due::Look); 3], None),
            (State::Confirmed, [None; 3], None),
            (State::Released, [Some(Due::Look), None, None], None),
            (State::Expired, [Some(Due::Look); 3], None),
            (State::RefundDue, [Some(Due::Refund); 3], Some(Due::Refund)),
            (State::Refunded, [None; 3], None),
        ] {
            assert_eq!(kinds.map(|kind| due(&view(state), key(2), kind)), last, "{state:?}");
            assert_eq!(kinds.map(|kind| due(&view(state), key(1), kind)), [earlier; 3], "{state:?}");
        }
    }
}
