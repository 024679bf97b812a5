//! What operators do, and that nobody else does.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn products_are_made_once_and_listed() {
    let cluster = Cluster::start().await;
    let operator = cluster.operator();
    let body = json!({
        "product": 7, "name": "Phöne \"X\"", "stock": 100, "price": { "minor": 49_900, "currency": "EUR" },
        "limit_per_user": 2, "ttl_ms": 60_000,
    });
    let made = operator.post("/v1/admin/products", &body).await;
    assert_eq!(made.ok(201).headers["location"], "/v1/products/7");
    assert!(!made.replayed());
    assert!(operator.post("/v1/admin/products", &body).await.ok(201).replayed());
    let mut other = body.clone();
    other["stock"] = json!(101);
    operator.post("/v1/admin/products", &other).await.is(409, "product_exists");
    other["product"] = json!(8);
    other["closes_at"] = json!("2026-01-01T00:00:00Z");
    other["opens_at"] = json!("2026-01-02T00:00:00Z");
    assert_eq!(
        operator.post("/v1/admin/products", &other).await.is(422, "invalid_argument").body["field"],
        "closes_at"
    );
    cluster.product(3, 1, json!({})).await;
    let listed = cluster.user("anybody").get("/v1/products").await;
    let products = listed.ok(200).body["products"].as_array().unwrap();
    assert_eq!(products.iter().map(|product| product["product"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 7]);
    assert_eq!(products[1]["name"], "Phöne \"X\"");
    assert_eq!(products[1]["price"], json!({ "minor": 49_900, "currency": "EUR" }));
    assert_eq!((&products[1]["limit_per_user"], &products[1]["opens_at"]), (&json!(2), &json!(null)));
    cluster.user("alice").post("/v1/admin/products", &body).await.is(403, "forbidden");
    cluster.end().await;
}

#[tokio::test]
async fn stock_changes_once_and_never_below_what_is_committed() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    cluster.user("alice").reserve("k", 1, 4).await.ok(201);
    let path = "/v1/admin/products/1/stock";
    let operator = cluster.operator();
    assert_eq!(operator.key("a").post(path, &json!({ "delta": 5 })).await.ok(200).body["stock"], 15);
    assert!(operator.key("a").post(path, &json!({ "delta": 5 })).await.ok(200).replayed());
    operator.key("a").post(path, &json!({ "delta": 6 })).await.is(422, "conflicting_retry");
    assert_eq!(cluster.units(1).await, (11, 4, 0));
    let below = operator.key("b").post(path, &json!({ "delta": -12 })).await;
    assert_eq!(below.is(409, "stock_below_committed").body["held"], 4);
    assert_eq!(operator.key("c").post(path, &json!({ "delta": -11 })).await.ok(200).body["available"], 0);
    let stale = operator.key("d").post(path, &json!({ "expected": 15, "stock": 20 })).await;
    assert_eq!(stale.is(409, "stock_mismatch").body["stock"], 4);
    assert_eq!(
        operator.key("e").post(path, &json!({ "expected": 4, "stock": 20 })).await.ok(200).body["available"],
        16
    );
    for (body, status, code) in [
        (json!({}), 422, "missing_field"),
        (json!({ "stock": 5 }), 422, "missing_field"),
        (json!({ "delta": 1, "stock": 5, "expected": 1 }), 422, "missing_field"),
        (json!({ "delta": 0 }), 422, "invalid_argument"),
        (json!({ "delta": 1.5 }), 422, "invalid_field"),
        (json!({ "delta": 1_000_000_001 }), 422, "invalid_field"),
        (json!({ "delta": 999_999_999 }), 422, "stock_too_large"),
    ] {
        operator.key("f").post(path, &body).await.is(status, code);
    }
    operator.post(path, &json!({ "delta": 1 })).await.is(400, "idempotency_key_required");
    operator.key("g").post("/v1/admin/products/9/stock", &json!({ "delta": 1 })).await.is(404, "unknown_product");
    assert_eq!(cluster.units(1).await, (16, 4, 0));
    cluster.end().await;
}

#[tokio::test]
async fn probes_and_metrics() {
    let mut cluster = Cluster::start().await;
    let anybody = crate::agent::Agent::new(cluster.address(), "");
    anybody.get("/livez").await.ok(200);
    assert_eq!(anybody.get("/readyz").await.ok(200).body["shards"], 8);
    cluster.user("alice").reserve("k", 999, 1).await.is(404, "unknown_product");
    let text = anybody.get("/metrics").await;
    let text = text.ok(200).body.as_str().unwrap();
    assert!(text.contains("doorbuster_gateway_problems_total{code=\"unknown_product\"} 1"), "{text}");
    let other = cluster.gateway(|config| config.metrics_from = vec!["192.0.2.0/24".into()]).await;
    crate::agent::Agent::new(other, "").get("/metrics").await.is(404, "not_found");
    cluster.end().await;
}
