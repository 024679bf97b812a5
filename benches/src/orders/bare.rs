//! Bare `UNNEST` batches: what an insert of these rows costs in PostgreSQL at least.

use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::ShardId;
use sqlx::{Connection, PgConnection};

/// Rows of a transaction, as many as the order writer's.
const BATCH: usize = 1000;

const ORDERS: &str = "
    INSERT INTO orders (reservation, shard, position, product, user_id, quantity, price_minor, currency, state, late,
                        created_at_ms, changed_at_ms)
    SELECT reservation, $1, position, product, user_id, quantity, price_minor, currency, 'confirmed', late, at_ms, at_ms
    FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::boolean[],
                $10::bigint[])
        AS entry (reservation, position, product, user_id, quantity, price_minor, currency, late, at_ms)
    ON CONFLICT (reservation) DO NOTHING";
const PAYMENTS: &str = "
    INSERT INTO payments (reservation, amount_minor, currency, late, recorded_at_ms)
    SELECT reservation, quantity * price_minor, currency, late, at_ms
    FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[])
        AS entry (reservation, quantity, price_minor, currency, late, at_ms)
    ON CONFLICT (reservation) DO NOTHING";

/// A transaction's rows, column by column.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    shard: i32,
    reservation: Vec<String>,
    position: Vec<i64>,
    product: Vec<String>,
    user_id: Vec<String>,
    quantity: Vec<i64>,
    price_minor: Vec<i64>,
    currency: Vec<String>,
    late: Vec<bool>,
    at_ms: Vec<i64>,
}

/// All entries, batch by batch.
#[must_use]
pub fn batches(shard: ShardId, entries: &[FeedEntry]) -> Vec<Batch> {
    entries.chunks(BATCH).map(|entries| Batch::of(shard, entries)).collect()
}

impl Batch {
    fn of(shard: ShardId, entries: &[FeedEntry]) -> Self {
        let fit = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let hex = |id: u128| format!("{id:032x}");
        let mut batch = Self { shard: i32::from(shard.get()), ..Self::default() };
        for entry in entries {
            batch.reservation.push(hex(entry.reservation.get()));
            batch.position.push(fit(entry.position.get()));
            batch.product.push(entry.product.to_string());
            batch.user_id.push(hex(entry.user.get()));
            batch.quantity.push(i64::from(entry.quantity.get()));
            batch.price_minor.push(fit(entry.price.minor));
            batch.currency.push(entry.price.currency.to_string());
            batch.late.push(entry.late);
            batch.at_ms.push(fit(entry.at.get()));
        }
        batch
    }

    /// Stores it in one transaction: orders, and their payments if wanted.
    ///
    /// # Errors
    /// The database does not take it.
    pub async fn insert(&self, connection: &mut PgConnection, payments: bool) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let orders = sqlx::query(ORDERS).bind(self.shard).bind(&self.reservation).bind(&self.position);
        let orders = orders.bind(&self.product).bind(&self.user_id).bind(&self.quantity).bind(&self.price_minor);
        let orders = orders.bind(&self.currency).bind(&self.late).bind(&self.at_ms);
        orders.execute(&mut *transaction).await?;
        if payments {
            let paid = sqlx::query(PAYMENTS).bind(&self.reservation).bind(&self.quantity).bind(&self.price_minor);
            paid.bind(&self.currency).bind(&self.late).bind(&self.at_ms).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
