//! Tokens over HTTP: missing, forged and expired ones get 401 and move nothing; a good one opens what its scope says.

use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cluster::Cluster;

const SECRET: &[u8] = b"a secret of thirty-two bytes or more";
/// {"alg":"none","typ":"JWT"} . {"sub":"alice","exp":4102444800,"scope":"admin"} . nothing
const NONE: &str =
    "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMCwic2NvcGUiOiJhZG1pbiJ9.";
const FAR: u64 = 4_102_444_800;

fn token(secret: &[u8], claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn bearer(gateway: SocketAddr, token: &str) -> Agent {
    Agent::new(gateway, &format!("Bearer {token}"))
}

#[tokio::test]
async fn only_a_valid_token_buys() {
    let mut cluster = Cluster::start().await;
    let secret = cluster.folder.path().join("token.key");
    std::fs::write(&secret, SECRET).unwrap();
    let gateway = cluster
        .gateway(|config| {
            config.insecure_dev = false;
            config.auth.keys = vec![doorbuster_gateway::config::KeyConfig {
                secret_file: Some(secret),
                ..doorbuster_gateway::config::KeyConfig::default()
            }];
        })
        .await;
    cluster.product(1, 10, json!({})).await;

    let good = token(SECRET, &json!({ "sub": "alice", "exp": FAR }));
    let admin = token(SECRET, &json!({ "sub": "alice", "exp": FAR, "scope": "admin" }));
    let expired = token(SECRET, &json!({ "sub": "alice", "exp": 1_000_000_000 }));
    let forged = token(b"another secret of thirty-two bytes!", &json!({ "sub": "alice", "exp": FAR }));
    let eternal = token(SECRET, &json!({ "sub": "alice" }));

    for (agent, code) in [
        (Agent::new(gateway, ""), "unauthenticated"),
        (Agent::new(gateway, "Basic YWxpY2U6"), "unauthenticated"),
        (bearer(gateway, &expired), "token_expired"),
        (bearer(gateway, &forged), "invalid_token"),
        (bearer(gateway, &eternal), "invalid_token"),
        (bearer(gateway, NONE), "invalid_token"),
        (bearer(gateway, "dev:alice"), "invalid_token"),
        (bearer(gateway, &format!("{good}x")), "invalid_token"),
    ] {
        let refused = agent.reserve("k", 1, 1).await;
        assert!(refused.is(401, code).headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        agent.get("/v1/reservations/1-00000000000000000000000000000001").await.is(401, code);
        agent.key("k").send("POST", "/v1/admin/products/1/close", "").await.is(401, code);
        agent.get("/v1/products").await.ok(200);
    }
    assert_eq!(cluster.units(1).await, (10, 0, 0));

    let alice = bearer(gateway, &good);
    alice.key("k").send("POST", "/v1/admin/products/1/close", "").await.is(403, "forbidden");
    let id = alice.reserve("k", 1, 1).await.ok(201).id();
    // The user is the subject, whoever signed: the development gateway's alice is the same.
    cluster.user("alice").get(&format!("/v1/reservations/{id}")).await.ok(200);
    let closed = bearer(gateway, &admin).key("k").send("POST", "/v1/admin/products/1/close", "").await;
    assert_eq!(closed.ok(200).body["sale"], "closed");
    cluster.end().await;
}
