//! The store as the route `GET /v1/orders/{id}` reads it.

use std::time::Duration;

use doorbuster_protocol::types::ReservationId;

use super::store::{Order, OrderStore};
use crate::routes::orders::{self as route, OrderFuture, OrderReader};

/// How long a shopper waits for the database. While it is down the pool looks for a connection for longer than this, and each
/// who waits takes one of the gateway's places, which the sale needs.
const READ_TIME: Duration = Duration::from_secs(1);

impl OrderReader for OrderStore {
    fn order(&self, reservation: ReservationId) -> OrderFuture<'_> {
        Box::pin(async move {
            let reading = tokio::time::timeout(READ_TIME, self.order(reservation)).await;
            let found = reading.map_err(|_| format!("no answer within {} ms", READ_TIME.as_millis()))?;
            Ok(found.map_err(|error| error.to_string())?.map(route::Order::from))
        })
    }
}

impl From<Order> for route::Order {
    fn from(order: Order) -> Self {
        let Order { product, reservation, user, quantity, price, state: status, changed_at: at, cancelled, .. } = order;
        Self { product, reservation, user, quantity, price, status, at, cancelled }
    }
}
