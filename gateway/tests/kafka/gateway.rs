//! From a buyer's payment at a gateway to the topic.

use doorbuster_gateway::ids;
use serde_json::json;

use crate::broker::Broker;
use crate::cluster::{Cluster, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_and_its_refund_are_told() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("orders.db").display());
    let kafka = broker.config();
    let cluster = Cluster::start_with(|config| {
        config.database = database;
        config.kafka = Some(kafka);
        config.payment.sweep_every_ms = 50;
        config.payment.sweep_after_ms = 100;
    })
    .await;
    cluster.product(7, 5, json!({})).await;
    let alice = cluster.user("alice");
    let id = alice.reserve("k", 7, 2).await.ok(201).id();
    alice.pay(&id, "tok_visa").await.ok(200);
    let cancel = json!({ "reason": "shop", "return_stock": true });
    let path = format!("/v1/admin/reservations/{id}/cancel");
    cluster.operator().key("c").post(&path, &cancel).await;

    let mut reader = broker.reader();
    reader.until_different(3);
    let types: Vec<_> = reader.read.iter().map(|read| read.event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["order.confirmed", "order.refund_due", "order.refunded"]);
    assert_eq!(reader.duplicates(), 0);
    let user = format!("{:032x}", ids::user("alice").get());
    for read in &reader.read {
        let event = &read.event;
        assert_eq!((&event["reservation"], &event["user"]), (&json!(id), &json!(user)));
        assert_eq!((&event["product"], &event["amount"]["minor"]), (&json!(7), &json!(1000)));
    }
    assert_eq!(reader.read[1].event["cancelled"], json!({ "reason": "shop", "stock_returned": true }));
    let shown = async || cluster.operator().send_unjudged("GET", "/metrics", "").await;
    until(async || {
        let text = shown().await.body.to_string();
        (text.contains("events_published_total 3") && text.contains("events_pending 0")).then_some(())
    })
    .await;
    cluster.end().await;
}
