//! Payments and refunds in PostgreSQL.

use doorbuster_protocol::types::ReservationId;
use sqlx::Transaction;
use sqlx::postgres::PgPool;

use super::Driver;
use crate::orders::money::PaymentRow;
use crate::orders::row::{NewRow, hex};
use crate::orders::store::StoreError;

/// The payments of rows whose orders are there, and what of them goes or went back.
pub(super) async fn insert(transaction: &mut Transaction<'_, Driver>, rows: &[&NewRow]) -> Result<(), StoreError> {
    execute(transaction, rows, PAID).await?;
    let of_state = |state| rows.iter().filter(move |row| row.state == state).copied().collect::<Vec<_>>();
    for (rows, statement) in [(of_state("refund_due"), DUE), (of_state("refunded"), REFUNDED)] {
        if !rows.is_empty() {
            execute(transaction, &rows, statement).await?;
        }
    }
    Ok(())
}

async fn execute(
    transaction: &mut Transaction<'_, Driver>,
    rows: &[&NewRow],
    statement: &'static str,
) -> Result<(), StoreError> {
    sqlx::query(statement)
        .bind(rows.iter().map(|row| row.reservation.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.quantity).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.price_minor).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.currency.clone()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.late).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at_ms).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

pub(super) async fn page(pool: &PgPool, after: ReservationId, limit: u32) -> Result<Vec<PaymentRow>, StoreError> {
    Ok(sqlx::query_as(PAGE).bind(hex(after.get())).bind(i64::from(limit)).fetch_all(pool).await?)
}

const PAID: &str = "
    INSERT INTO payments (reservation, amount_minor, currency, late, recorded_at_ms)
    SELECT reservation, quantity * price_minor, currency, late, at_ms
    FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[])
        AS entry (reservation, quantity, price_minor, currency, late, at_ms)
    ON CONFLICT (reservation) DO NOTHING";
const DUE: &str = "
    INSERT INTO refunds (reservation, amount_minor, currency, due_at_ms)
    SELECT reservation, quantity * price_minor, currency, at_ms
    FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[])
        AS entry (reservation, quantity, price_minor, currency, late, at_ms)
    ON CONFLICT (reservation) DO NOTHING";
const REFUNDED: &str = "
    INSERT INTO refunds (reservation, amount_minor, currency, due_at_ms, refunded_at_ms)
    SELECT reservation, quantity * price_minor, currency, at_ms, at_ms
    FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::boolean[], $6::bigint[])
        AS entry (reservation, quantity, price_minor, currency, late, at_ms)
    ON CONFLICT (reservation) DO UPDATE SET refunded_at_ms = excluded.refunded_at_ms
    WHERE refunds.refunded_at_ms IS NULL";
const PAGE: &str = "
    SELECT payments.reservation, amount_minor, currency, late, recorded_at_ms, due_at_ms, refunded_at_ms
    FROM payments LEFT JOIN (SELECT reservation, due_at_ms, refunded_at_ms FROM refunds) AS refunds
        ON refunds.reservation = payments.reservation
    WHERE payments.reservation > $1 ORDER BY payments.reservation LIMIT $2";
