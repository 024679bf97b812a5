//! The store as the route `GET /v1/orders/{id}` reads it.

use doorbuster_protocol::types::ReservationId;

use super::store::{Order, OrderStore};
use crate::routes::orders::{self as route, OrderFuture, OrderReader};

impl OrderReader for OrderStore {
    fn order(&self, reservation: ReservationId) -> OrderFuture<'_> {
        Box::pin(async move {
            let found = self.order(reservation).await.map_err(|error| error.to_string())?;
            Ok(found.map(route::Order::from))
        })
    }
}

impl From<Order> for route::Order {
    fn from(order: Order) -> Self {
        let Order { product, reservation, user, quantity, price, state: status, changed_at: at, .. } = order;
        Self { product, reservation, user, quantity, price, status, at }
    }
}
