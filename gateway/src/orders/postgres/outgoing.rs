//! Feed entries for other systems, in PostgreSQL.

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::ShardId;
use sqlx::Transaction;

use super::Driver;
use crate::orders::row::fit;
use crate::orders::store::StoreError;
use crate::orders::written;

/// Writes them down if the shard's feed is published. Part of the transaction that moves the feed's position, and has its lock.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Driver>,
    shard: ShardId,
    entries: &[FeedEntry],
) -> Result<(), StoreError> {
    let shard = i32::from(shard.get());
    let published: Option<i32> =
        sqlx::query_scalar(IS_PUBLISHED).bind(shard).fetch_optional(&mut **transaction).await?;
    if published.is_none() {
        return Ok(());
    }
    let position = |entry: &FeedEntry| fit("position", entry.position.get(), entry.position);
    sqlx::query(INSERT)
        .bind(shard)
        .bind(entries.iter().map(position).collect::<Result<Vec<_>, _>>()?)
        .bind(entries.iter().map(written::text).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The lock keeps the row, and lets its publisher change it.
const IS_PUBLISHED: &str = "SELECT shard FROM event_positions WHERE shard = $1 FOR KEY SHARE";
const INSERT: &str = "
    INSERT INTO outgoing_events (shard, position, entry, stored_at_ms)
    SELECT $1, position, entry, extract(epoch FROM clock_timestamp()) * 1000
    FROM UNNEST($2::bigint[], $3::text[]) AS event (position, entry)";
