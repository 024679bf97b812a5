//! The `Idempotency-Key`: one effect and one answer, however often and however many at once.

use serde_json::json;

use crate::cluster::{Cluster, apart};

#[tokio::test]
async fn the_same_request_again_gets_the_first_answer() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice");
    let first = alice.reserve("k", 1, 2).await;
    assert!(!first.ok(201).replayed());
    let again = alice.reserve("k", 1, 2).await;
    assert!(again.ok(201).replayed());
    for field in ["id", "product", "quantity", "state", "created_at", "expires_at", "changed_at"] {
        assert_eq!(again.body[field], first.body[field], "{field}");
    }
    assert_eq!(again.headers["location"], first.headers["location"]);
    alice.pay(&first.id(), "tok_visa").await.ok(200);
    let paid = alice.reserve("k", 1, 2).await;
    assert_eq!((&paid.ok(201).body["state"], &paid.body["now"]["state"]), (&json!("held"), &json!("confirmed")));
    assert_eq!(cluster.units(1).await, (8, 0, 2));
    cluster.end().await;
}

#[tokio::test]
async fn a_hundred_at_once_are_one() {
    let mut cluster = Cluster::start().await;
    cluster.gateway(|_| {}).await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice");
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.reserve("at once", 1, 1).await })
        })
        .collect();
    // A key of two words is none: the same hundred with a good one.
    for answer in asked {
        answer.await.unwrap().is(400, "idempotency_key_invalid");
    }
    let asked: Vec<_> = (0..100)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.reserve("at-once", 1, 1).await })
        })
        .collect();
    let mut ids = Vec::new();
    let mut first = 0;
    for answer in asked {
        let answer = answer.await.unwrap();
        ids.push(answer.ok(201).id());
        first += usize::from(!answer.replayed());
    }
    ids.dedup();
    assert_eq!((ids.len(), first), (1, 1));
    assert_eq!(cluster.units(1).await, (9, 1, 0));
    cluster.end().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let cluster = Cluster::start().await;
    let (here, there) = apart();
    cluster.product(here, 10, json!({})).await;
    cluster.product(there, 10, json!({})).await;
    let alice = cluster.user("alice");
    let first = alice.reserve("k", here, 2).await.ok(201).id();
    alice.reserve("k", here, 3).await.is(422, "conflicting_retry");
    for _ in 0..2 {
        alice.reserve("k", there, 2).await.is(422, "conflicting_retry");
    }
    assert_eq!(cluster.units(here).await, (8, 2, 0));
    assert_eq!(cluster.units(there).await, (10, 0, 0), "the other product's is given back");
    let again = alice.reserve("k", here, 2).await;
    assert_eq!(again.ok(201).id(), first);
    assert!(again.body["now"]["state"] == "held", "untouched by the attempts: {again:?}");
    // Also when the first is over.
    alice.delete(&format!("/v1/reservations/{first}")).await.ok(200);
    alice.reserve("k", there, 2).await.is(422, "conflicting_retry");
    assert_eq!(cluster.units(there).await, (10, 0, 0));
    cluster.end().await;
}

#[tokio::test]
async fn keys_are_required_and_checked() {
    let cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let alice = cluster.user("alice");
    let body = json!({ "product": 1, "quantity": 1 });
    alice.post("/v1/reservations", &body).await.is(400, "idempotency_key_required");
    for key in ["", "two words", &"k".repeat(256)] {
        alice.key(key).post("/v1/reservations", &body).await.is(400, "idempotency_key_invalid");
    }
    alice.key("a").key("b").post("/v1/reservations", &body).await.is(400, "idempotency_key_invalid");
    assert_eq!(cluster.units(1).await, (10, 0, 0));
    alice.key(&"k".repeat(255)).post("/v1/reservations", &body).await.ok(201);
    cluster.end().await;
}

#[tokio::test]
async fn refusals_are_not_remembered() {
    let cluster = Cluster::start().await;
    cluster.product(1, 1, json!({})).await;
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let held = alice.reserve("k", 1, 1).await.ok(201).id();
    bob.reserve("k", 1, 1).await.is(409, "all_held");
    alice.delete(&format!("/v1/reservations/{held}")).await.ok(200);
    assert!(!bob.reserve("k", 1, 1).await.ok(201).replayed(), "a retried refusal is a new attempt");
    cluster.end().await;
}
