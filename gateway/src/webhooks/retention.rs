//! Events are forgotten after a time, so that their table stays bounded: [`KEPT`] after they came. Providers give up sending
//! long before (Stripe after three days); one that comes after all is written down anew, and does nothing, for its
//! payment was settled long ago. Any number of gateways do this at once.

use std::time::Duration;

use doorbuster_protocol::types::{Millis, Timestamp};
use tokio_util::sync::CancellationToken;

use super::store::EventStore;
use crate::clock;
use crate::entropy::jittered;
use crate::orders::StoreError;

/// How long an event is kept.
pub const KEPT: Millis = Millis(30 * 24 * 3600 * 1000);
/// Events forgotten in one statement, so that none of them holds the table's locks for long.
const BATCH: u32 = 1000;
/// How often this gateway looks, at least; at most twice as often.
const EVERY: Millis = Millis(3600 * 1000);

/// Forgets what is old, now and then, until `stop`.
pub async fn run(store: EventStore, stop: CancellationToken) {
    let rounds = async {
        loop {
            match forget(&store, clock::wall()).await {
                Ok(0) => {}
                Ok(events) => tracing::info!(events, "old webhook events are forgotten"),
                Err(error) => tracing::warn!(%error, "old webhook events cannot be forgotten now; trying again"),
            }
            tokio::time::sleep(Duration::from_millis(jittered(EVERY).0)).await;
        }
    };
    stop.run_until_cancelled(rounds).await;
}

/// Forgets everything that is old at this time, a batch at a time. How many they were.
///
/// # Errors
/// A database that cannot be reached; what was forgotten by then stays so.
pub async fn forget(store: &EventStore, now: Timestamp) -> Result<u64, StoreError> {
    let before = Timestamp(now.0.saturating_sub(KEPT.0));
    let mut all = 0;
    loop {
        let some = store.forget(before, BATCH).await?;
        all += some;
        if some < u64::from(BATCH) {
            return Ok(all);
        }
    }
}
