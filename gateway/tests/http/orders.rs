//! Orders over HTTP.

use serde_json::json;

use crate::cluster::{Cluster, until};

#[tokio::test]
async fn without_a_database_orders_are_elsewhere() {
    let cluster = Cluster::start().await;
    cluster.product(1, 1, json!({})).await;
    let alice = cluster.user("alice");
    let id = alice.reserve("k", 1, 1).await.ok(201).id();
    alice.get(&format!("/v1/orders/{id}")).await.is(503, "orders_unavailable");
    alice.get("/v1/orders/x").await.is(404, "unknown_order");
    cluster.end().await;
}

#[tokio::test]
async fn a_confirmed_reservation_becomes_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orders.db").display());
    let cluster = Cluster::start_with(|config| config.database = database).await;
    cluster.product(1, 5, json!({})).await;
    let alice = cluster.user("alice");
    let id = alice.reserve("k", 1, 2).await.ok(201).id();
    let path = format!("/v1/orders/{id}");
    alice.get(&path).await.is(404, "unknown_order");
    alice.pay(&id, "tok_visa").await.ok(200);
    let order = until(|| async {
        let answer = alice.get(&path).await;
        if answer.status == 200 {
            return Some(answer);
        }
        answer.is(404, "order_pending");
        None
    })
    .await;
    assert_eq!((&order.body["id"], &order.body["quantity"]), (&json!(id), &json!(2)));
    assert_eq!(order.body["amount"], json!({ "minor": 1000, "currency": "EUR" }));
    assert_eq!(order.body["status"], "confirmed");
    cluster.user("mallory").get(&path).await.is(404, "unknown_order");
    alice.get(&path.replace("orders/1-", "orders/2-")).await.is(404, "unknown_order");
    cluster.end().await;
}
