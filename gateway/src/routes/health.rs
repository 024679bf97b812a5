//! Probes: whether the process lives, whether it can serve, and what it has counted.

use std::time::Duration;

use bytes::Bytes;
use doorbuster_client::Client;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, ShardId};
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::{Call, view};
use crate::app::App;
use crate::problem::{HttpResponse, Problem, kinds};

/// How long a shard may take to show that it has a leader.
const READY_TIME: Millis = Millis(500);

/// `GET /livez`: the process runs.
#[must_use]
pub fn live() -> HttpResponse {
    view::json(StatusCode::OK, &json!({ "live": true }))
}

/// `GET /readyz`: connected, every shard has a leader as far as is known, and not shutting down. Shards that no leader
/// is known of are asked.
///
/// # Errors
/// 503 with what is missing.
pub async fn ready(app: &App) -> Result<HttpResponse, Problem> {
    let not = |detail: &'static str| Problem::new(&kinds::NOT_READY, detail);
    if app.draining.is_cancelled() {
        return Err(not("The gateway is shutting down."));
    }
    let client = app.backend.get().ok_or_else(|| not("No server can be reached."))?;
    let leaders = client.shard_map().leaders;
    let led = |shard: &u16| leaders.get(usize::from(*shard)).is_some_and(Option::is_some);
    let unknown = (0..client.shards()).filter(|shard| !led(shard));
    let asked = join_all(unknown.map(|shard| async move { (shard, answers(client, ShardId(shard)).await) })).await;
    let missing: Vec<u16> = asked.iter().filter(|(_, answers)| !answers).map(|(shard, _)| *shard).collect();
    if missing.is_empty() {
        return Ok(view::json(StatusCode::OK, &json!({ "ready": true, "shards": client.shards() })));
    }
    Err(not("Some shards have no leader.").with("shards_without_leader", missing))
}

/// Whether a leader answers for the shard; the client learns who it is.
async fn answers(client: &Client, shard: ShardId) -> bool {
    let nothing = Query::Products { shard, after: ProductId(u64::MAX), limit: 1 };
    let request = Request { body: RequestBody::Query(nothing), wait: READY_TIME };
    client.execute(request, Some(Duration::from_millis(READY_TIME.0))).await.is_ok()
}

/// `GET /metrics`, for the networks that the configuration lets read them.
///
/// # Errors
/// 404 for others.
pub fn metrics(app: &App, call: &Call) -> Result<HttpResponse, Problem> {
    if !app.metrics_from.iter().any(|network| network.contains(&call.client)) {
        return Err(Problem::new(&kinds::NOT_FOUND, "No route has this path; see openapi.yaml."));
    }
    let text = app.metrics.render(app.shed.in_progress(), &app.saga.accounts());
    let mut response = Response::new(Full::new(Bytes::from(text)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    Ok(response)
}
