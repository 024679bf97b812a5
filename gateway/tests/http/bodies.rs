//! Bodies and heads that are wrong in every way: the answer names what and which limit, and nothing moves.

use bytes::Bytes;
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test]
async fn quantities_are_whole_positive_and_bounded() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice").key("k");
    for quantity in ["0", "-1", "1099511627776", "10001", "1.5", "1e3", "\"1\"", "true", "null", "[1]", "{}"] {
        let body = format!("{{\"product\":1,\"quantity\":{quantity}}}");
        let answer = alice.send("POST", "/v1/reservations", body).await;
        let problem = &answer.is(422, "invalid_field").body;
        assert_eq!(
            (&problem["field"], &problem["minimum"], &problem["maximum"]),
            (&json!("quantity"), &json!(1), &json!(10_000))
        );
    }
    for product in ["0", "-1", "1.5", "\"1\"", "18446744073709551616"] {
        let body = format!("{{\"product\":{product},\"quantity\":1}}");
        let answer = alice.send("POST", "/v1/reservations", body).await;
        assert_eq!(answer.is(422, "invalid_field").body["field"], "product");
    }
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    cluster.end().await;
}

#[tokio::test]
async fn bodies_are_read_strictly() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice").key("k");
    for (body, status, code) in [
        ("", 400, "malformed_json"),
        ("{", 400, "malformed_json"),
        ("product=1", 400, "malformed_json"),
        ("{\"product\":1,\"quantity\":1}}", 400, "malformed_json"),
        ("[]", 422, "invalid_field"),
        ("7", 422, "invalid_field"),
        ("{}", 422, "missing_field"),
        ("{\"product\":1}", 422, "missing_field"),
        ("{\"product\":1,\"quantity\":1,\"discount\":50}", 422, "unknown_field"),
        ("{\"product\":1,\"quantity\":1,\"quantity\":2}", 422, "invalid_field"),
        ("{\"product\":1,\"quantity\":1,\"ttl_ms\":1}", 422, "invalid_field"),
    ] {
        alice.send("POST", "/v1/reservations", body).await.is(status, code);
    }
    let unknown = alice.send("POST", "/v1/reservations", "{\"product\":1,\"quantity\":1,\"discount\":50}").await;
    assert_eq!(unknown.body["field"], "discount");
    let form = alice.with("content-type", "application/x-www-form-urlencoded");
    form.send("POST", "/v1/reservations", "").await.is(415, "unsupported_media_type");
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    cluster.end().await;
}

#[tokio::test]
async fn ten_megabytes_are_too_much() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice").key("k");
    let huge = Bytes::from(vec![b' '; 10 << 20]);
    let answer = alice.send("POST", "/v1/reservations", huge.clone()).await;
    assert_eq!(answer.is(413, "body_too_large").body["limit"], 65536);
    // Where nobody reads a body, it is at least not kept.
    let expected = alice.with("expect", "100-continue").send("POST", "/v1/reservations", "x".repeat(65537)).await;
    expected.is(413, "body_too_large");
    let padded = format!("{{\"product\":1,\"quantity\":1{}}}", " ".repeat(65536 - 27));
    assert_eq!(padded.len(), 65536 - 1);
    alice.send("POST", "/v1/reservations", padded).await.ok(201);
    assert_eq!(cluster.units(1).await, (9, 1, 0));
    cluster.end().await;
}

#[tokio::test]
async fn heads_are_bounded() {
    let cluster = Cluster::start().await;
    let alice = cluster.user("alice");
    let large = alice.with("x-large", &"x".repeat(17_000)).get("/v1/products").await;
    assert_eq!(large.is(431, "head_too_large").body["limit"], 16_384);
    let many = (0..65).fold(alice.clone(), |agent, index| agent.with(&format!("x-{index}"), "v"));
    assert_eq!(many.get("/v1/products").await.is(431, "head_too_large").body["limit"], 64);
    cluster.end().await;
}

#[tokio::test]
async fn paths_and_methods_that_are_none() {
    let cluster = Cluster::start().await;
    let alice = cluster.user("alice");
    for path in ["/", "/v1", "/v1/products/", "/v2/products", "/v1/reservations/x/y", "/../etc/passwd"] {
        alice.get(path).await.is(404, "not_found");
    }
    let put = alice.send("PUT", "/v1/reservations/1-0", "").await;
    put.is(405, "method_not_allowed");
    assert_eq!(put.headers["allow"], "GET, DELETE");
    alice.get("/v1/reservations").await.is(405, "method_not_allowed");
    for product in ["x", "0", "01", "-1", "999"] {
        alice.get(&format!("/v1/products/{product}")).await.is(404, "unknown_product");
    }
    cluster.end().await;
}
