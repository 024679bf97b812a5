//! Who buys while gateways are killed. Some sell at the server themselves, so there is always something to publish; others buy, pay and
//! cancel over HTTP, at whatever gateway is there, and ask until they know.

use std::time::Duration;

use doorbuster_client::Client;
use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation, Reserve, Target};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::ask;
use crate::shop::{PRODUCTS, Shop};

const SELLERS: u64 = 4;
const SHOPPERS: u64 = 4;
/// Of a seller's and a shopper's sales, so many are undone.
const UNDONE: f64 = 0.4;

/// Killed, were it dropped.
pub struct Crowd {
    stop: CancellationToken,
    people: JoinSet<Vec<Target>>,
}

impl Crowd {
    /// They begin.
    pub fn gather(shop: &Shop, seed: u64) -> Self {
        let (stop, mut people) = (CancellationToken::new(), JoinSet::new());
        for number in 0..SELLERS + SHOPPERS {
            let rng = StdRng::seed_from_u64(seed ^ (number + 1));
            let stop = stop.clone();
            if number < SELLERS {
                people.spawn(sell(shop.client.clone(), number, rng, stop));
            } else {
                let gateways = shop.fronts.iter().map(|front| front.address().to_owned()).collect();
                people.spawn(Shopper { gateways, number, bought: Vec::new(), rng }.shop(stop));
            }
        }
        Self { stop, people }
    }

    /// They end what they are at; gives what all of them bought, each paid for, sold without a payment, or undone.
    pub async fn goes_home(self) -> Vec<Target> {
        self.stop.cancel();
        self.people.join_all().await.concat()
    }
}

async fn sell(client: Client, number: u64, mut rng: StdRng, stop: CancellationToken) -> Vec<Target> {
    let mut sold = Vec::new();
    while !stop.is_cancelled() {
        let reservation = ReservationId((u128::from(number + 1) << 64) + sold.len() as u128);
        let (product, user) = (ProductId(rng.random_range(1..=PRODUCTS)), UserId(reservation.0));
        let reserve = Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) };
        client.reserve(reserve).await.expect("there is plenty");
        let target = Target { product, reservation, user };
        client.confirm(target).await.expect("it is held");
        if rng.random_bool(UNDONE) {
            let how = Cancellation { reason: CancelReason::Shop, return_stock: true };
            client.cancel(Cancel { target, how }).await.expect("it is sold");
        }
        sold.push(target);
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
    }
    sold
}

struct Shopper {
    gateways: Vec<String>,
    number: u64,
    bought: Vec<Target>,
    rng: StdRng,
}

impl Shopper {
    async fn shop(mut self, stop: CancellationToken) -> Vec<Target> {
        while !stop.is_cancelled() {
            let wanted = json!({ "product": self.rng.random_range(1..=PRODUCTS), "quantity": 1 }).to_string();
            let id = loop {
                if let Some((201, made)) = self.send("POST", "/v1/reservations", &wanted).await {
                    break made["id"].as_str().expect("it has an id").to_owned();
                }
            };
            let path = format!("/v1/reservations/{id}");
            self.drives(&path, "payment", r#"{"card_token": "tok_visa"}"#, &["confirmed"]).await;
            if self.rng.random_bool(UNDONE) {
                self.drives(&path, "cancel", "{}", &["refund_due", "refunded"]).await;
            }
            let (product, digits) = id.split_once('-').expect("a product and a reservation");
            let product = ProductId(product.parse().expect("a number"));
            let reservation = ReservationId(u128::from_str_radix(digits, 16).expect("hexadecimal digits"));
            self.bought.push(Target { product, reservation, user: UserId(0) });
        }
        self.bought
    }

    /// Asks for it, unless it is under way, until the reservation is in one of these states.
    async fn drives(&mut self, path: &str, verb: &str, body: &str, states: &[&str]) {
        loop {
            if let Some((200, shown)) = self.send("GET", path, "").await {
                let state = shown["state"].as_str().expect("it has a state");
                if states.contains(&state) {
                    return;
                }
                if state != "paying" {
                    self.send("POST", &format!("{path}/{verb}"), body).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same of the same shopper's purchase each time, at any gateway; `None` after a while if it is killed meanwhile.
    async fn send(&mut self, method: &str, path: &str, body: &str) -> Option<(u16, serde_json::Value)> {
        let gateway = &self.gateways[self.rng.random_range(0..self.gateways.len())];
        let (name, purchase) = (self.number, self.bought.len());
        let headers = format!("Authorization: Bearer dev:shopper{name}\r\nIdempotency-Key: of-{purchase}\r\n");
        match ask(gateway, method, path, &headers, body).await {
            Ok(answer) => Some((answer.status, answer.body)),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }
}
