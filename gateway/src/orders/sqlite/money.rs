//! Payments and refunds in SQLite.

use doorbuster_protocol::types::ReservationId;
use sqlx::Transaction;
use sqlx::sqlite::SqlitePool;

use super::{Driver, json};
use crate::orders::money::PaymentRow;
use crate::orders::row::{NewRow, hex};
use crate::orders::store::StoreError;

/// The payments of rows whose orders are there, and what of them goes or went back.
pub(super) async fn insert(transaction: &mut Transaction<'_, Driver>, rows: &[&NewRow]) -> Result<(), StoreError> {
    sqlx::query(PAID).bind(json(rows)?).execute(&mut **transaction).await?;
    let of_state = |state| rows.iter().filter(move |row| row.state == state).copied().collect::<Vec<_>>();
    for (rows, statement) in [(of_state("refund_due"), DUE), (of_state("refunded"), REFUNDED)] {
        if !rows.is_empty() {
            sqlx::query(statement).bind(json(&rows)?).execute(&mut **transaction).await?;
        }
    }
    Ok(())
}

pub(super) async fn page(pool: &SqlitePool, after: ReservationId, limit: u32) -> Result<Vec<PaymentRow>, StoreError> {
    Ok(sqlx::query_as(PAGE).bind(hex(after.get())).bind(i64::from(limit)).fetch_all(pool).await?)
}

const PAID: &str = "
    INSERT INTO payments (reservation, amount_minor, currency, late, recorded_at_ms)
    SELECT value ->> 'reservation', (value ->> 'quantity') * (value ->> 'price_minor'), value ->> 'currency',
           value ->> 'late', value ->> 'at_ms'
    FROM json_each(?1) WHERE true
    ON CONFLICT (reservation) DO NOTHING";
const DUE: &str = "
    INSERT INTO refunds (reservation, amount_minor, currency, due_at_ms)
    SELECT value ->> 'reservation', (value ->> 'quantity') * (value ->> 'price_minor'), value ->> 'currency',
           value ->> 'at_ms'
    FROM json_each(?1) WHERE true
    ON CONFLICT (reservation) DO NOTHING";
const REFUNDED: &str = "
    INSERT INTO refunds (reservation, amount_minor, currency, due_at_ms, refunded_at_ms)
    SELECT value ->> 'reservation', (value ->> 'quantity') * (value ->> 'price_minor'), value ->> 'currency',
           value ->> 'at_ms', value ->> 'at_ms'
    FROM json_each(?1) WHERE true
    ON CONFLICT (reservation) DO UPDATE SET refunded_at_ms = excluded.refunded_at_ms
    WHERE refunds.refunded_at_ms IS NULL";
const PAGE: &str = "
    SELECT payments.*, refunds.due_at_ms, refunds.refunded_at_ms
    FROM payments LEFT JOIN refunds ON refunds.reservation = payments.reservation
    WHERE payments.reservation > ?1 ORDER BY payments.reservation LIMIT ?2";
