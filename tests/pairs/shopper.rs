//! A shopper, over HTTP.

use std::time::Duration;

use doorbuster_protocol::types::Millis;
use doorbuster_tests::http::{Answer, WITHIN, ask};
use serde_json::{Value, json};

/// Somebody who buys at a gateway.
#[derive(Clone, Debug)]
pub struct Shopper {
    gateway: String,
    name: String,
}

impl Shopper {
    pub fn at(gateway: &str, name: &str) -> Self {
        Self { gateway: gateway.to_owned(), name: name.to_owned() }
    }

    /// The same one at another gateway.
    pub fn goes_to(&self, gateway: &str) -> Self {
        Self::at(gateway, &self.name)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string()).await
    }

    /// Asks for a unit for so long; the same reservation each time.
    pub async fn try_reserve(&self, product: u64, life: Millis) -> Answer {
        self.post("/v1/reservations", &json!({ "product": product, "quantity": 1, "ttl_ms": life.0 })).await
    }

    /// Reserves a unit for so long; gives the reservation's path.
    pub async fn reserve(&self, product: u64, life: Millis) -> String {
        let made = self.try_reserve(product, life).await.is(201);
        format!("/v1/reservations/{}", made["id"].as_str().expect("it has an id"))
    }

    /// Pays, and is told that it is being paid.
    pub async fn pay(&self, path: &str) {
        let begun = self.post(&format!("{path}/payment"), &json!({ "card_token": "tok_visa" })).await.is(202);
        assert_eq!(begun["state"], "paying", "{begun}");
    }

    /// Pays at a gateway that may end before it answers.
    pub async fn try_pay(&self, path: &str) {
        let _may_end = self.exchange("POST", &format!("{path}/payment"), r#"{"card_token": "tok_visa"}"#).await;
    }

    /// Reserves a unit for so long and pays; gives the reservation's path.
    pub async fn buy(&self, product: u64, life: Millis) -> String {
        let path = self.reserve(product, life).await;
        self.pay(&path).await;
        path
    }

    /// Waits until the reservation is in one of these states.
    pub async fn sees(&self, path: &str, states: &[&str]) -> Value {
        let mut last = Value::Null;
        let seen = async {
            loop {
                last = self.get(path).await.is(200);
                if states.iter().any(|state| last["state"] == *state) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(WITHIN, seen).await;
        assert!(seen.is_ok(), "never {states:?}: {last}");
        last
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.exchange(method, path, body).await.expect("the gateway answers")
    }

    async fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let name = &self.name;
        let headers = format!("Authorization: Bearer dev:{name}\r\nIdempotency-Key: of-{name}\r\n");
        ask(&self.gateway, method, path, &headers, body).await
    }
}
