//! All reservations of a cluster, read page by page.

use crate::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::reply::ReservationView;
use doorbuster_protocol::types::{ReservationId, ShardId};

/// Every reservation that the shards know, live and retained, by shard and id.
pub async fn reservations(client: &Client) -> Result<Vec<ReservationView>, CliError> {
    let mut all = Vec::new();
    for shard in 0..client.shards() {
        let mut after = ReservationId(0);
        loop {
            let page = client.reservations(ShardId(shard), after, MAX_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.reservation;
            all.extend(page);
        }
    }
    Ok(all)
}
