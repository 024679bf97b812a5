//! Orders over HTTP.

use doorbuster_gateway::events::Outbox;
use doorbuster_gateway::orders::OrderStore;
use serde_json::json;

use crate::cluster::{Cluster, until};
use crate::sweeps::metrics_with;

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

/// Every gateway tells what waits, also one that publishes nothing: the others may be gone.
#[tokio::test]
async fn what_nobody_publishes_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orders.db").display());
    let store = OrderStore::open(&database).unwrap();
    let cluster = Cluster::start_with(|config| config.database = database).await;
    let alice = cluster.user("alice");
    metrics_with(&alice, &["doorbuster_gateway_events_pending 0\n", "event_oldest_seconds 0\n"]).await;
    // As a gateway with [kafka] does when it starts.
    Outbox::beside(&store).subscribe(cluster.client().await.shards()).await.unwrap();
    cluster.product(1, 5, json!({})).await;
    let id = alice.reserve("k", 1, 2).await.ok(201).id();
    alice.pay(&id, "tok_visa").await.ok(200);
    metrics_with(&alice, &["doorbuster_gateway_events_pending 1\n"]).await;
    let shown = alice.get("/metrics").await.body;
    assert!(!shown.as_str().unwrap().contains("event_oldest_seconds 0\n"), "{shown}");
    cluster.end().await;
}
