//! Feed entries for other systems, in SQLite.

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::ShardId;
use serde_json::json;
use sqlx::Transaction;

use super::Driver;
use crate::orders::row::fit;
use crate::orders::store::StoreError;
use crate::orders::written;

/// Writes them down if the shard's feed is published. Part of the transaction that moves the feed's position.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    entries: &[FeedEntry],
) -> Result<(), StoreError> {
    let shard = i64::from(shard.get());
    let published: Option<i64> =
        sqlx::query_scalar(IS_PUBLISHED).bind(shard).fetch_optional(&mut **transaction).await?;
    if published.is_none() {
        return Ok(());
    }
    let row = |entry: &FeedEntry| {
        let position = fit("position", entry.position.get(), entry.position)?;
        Ok(json!({ "position": position, "entry": written::text(entry) }))
    };
    let rows = entries.iter().map(row).collect::<Result<Vec<_>, StoreError>>()?;
    sqlx::query(INSERT).bind(shard).bind(super::json(&rows)?).execute(&mut **transaction).await?;
    Ok(())
}

const IS_PUBLISHED: &str = "SELECT shard FROM event_positions WHERE shard = ?1";
const INSERT: &str = "
    INSERT INTO outgoing_events (shard, position, entry, stored_at_ms)
    SELECT ?1, value ->> 'position', value ->> 'entry', CAST(unixepoch('subsec') * 1000 AS INTEGER)
    FROM json_each(?2)";
