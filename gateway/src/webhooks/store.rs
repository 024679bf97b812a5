//! Events as they are written down: beside the orders, in SQLite or PostgreSQL. The table's primary key makes it impossible
//! that one is there twice. Every call may be cancelled at any await: it has done all or nothing.

use doorbuster_protocol::types::Timestamp;

use super::event::Event;
use crate::orders::{Connections, OrderStore, StoreError};

/// How an event stands in the table, now that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was not there before.
    New,
    /// It was, and whoever took it did not come to an end with it.
    Open,
    /// It was, and nothing is left to do.
    Processed,
}

/// The table of events. `Clone` shares its connections.
#[derive(Clone, Debug)]
pub struct EventStore {
    orders: OrderStore,
}

const INSERT: &str = "
    INSERT INTO webhook_events (provider, event, type, payment, received_at_ms) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT DO NOTHING";
const FIND: &str = "SELECT processed_at_ms FROM webhook_events WHERE provider = $1 AND event = $2";
const PROCESSED: &str = "
    UPDATE webhook_events SET processed_at_ms = $3 WHERE provider = $1 AND event = $2 AND processed_at_ms IS NULL";
const FORGET: &str = "
    DELETE FROM webhook_events WHERE (provider, event) IN
        (SELECT provider, event FROM webhook_events WHERE received_at_ms < $1 ORDER BY received_at_ms LIMIT $2)";

/// The same on either pool: the statements above are understood by both.
macro_rules! on_pool {
    ($self:ident, $pool:ident => $call:expr) => {
        match $self.orders.connections().await? {
            Connections::Sqlite($pool) => $call,
            Connections::Postgres($pool) => $call,
        }
    };
}

impl EventStore {
    /// In the database of these orders.
    #[must_use]
    pub fn beside(orders: &OrderStore) -> Self {
        Self { orders: orders.clone() }
    }

    /// Writes an event down, unless it is there.
    ///
    /// # Errors
    /// A database that cannot be reached, or refuses.
    pub async fn record(&self, provider: &str, event: &Event, now: Timestamp) -> Result<Recorded, StoreError> {
        let payment = event.payment.map(|key| key.to_string());
        let (id, type_name, now) = (event.id.as_str(), event.type_name.as_str(), millis(now));
        on_pool!(self, pool => {
            let insert = sqlx::query(INSERT).bind(provider).bind(id).bind(type_name).bind(payment).bind(now);
            if insert.execute(pool).await?.rows_affected() == 1 {
                return Ok(Recorded::New);
            }
            let find = sqlx::query_scalar(FIND).bind(provider).bind(id);
            let found: Option<Option<i64>> = find.fetch_optional(pool).await?;
            // One that has been forgotten in between was there.
            Ok(if found == Some(None) { Recorded::Open } else { Recorded::Processed })
        })
    }

    /// Nothing is left to do about an event.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn processed(&self, provider: &str, event: &Event, now: Timestamp) -> Result<(), StoreError> {
        on_pool!(self, pool => {
            sqlx::query(PROCESSED).bind(provider).bind(event.id.as_str()).bind(millis(now)).execute(pool).await?;
        });
        Ok(())
    }

    /// Forgets events that came before `before`, the oldest first, at most so many. How many they were.
    ///
    /// # Errors
    /// A database that cannot be reached.
    pub async fn forget(&self, before: Timestamp, most: u32) -> Result<u64, StoreError> {
        on_pool!(self, pool => {
            let forget = sqlx::query(FORGET).bind(millis(before)).bind(i64::from(most));
            Ok(forget.execute(pool).await?.rows_affected())
        })
    }
}

fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
