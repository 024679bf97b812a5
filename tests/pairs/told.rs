//! Five copies of each webhook in reverse order, the refund before the success. What is sent is what the provider sent and signed;
//! a listener between it and the gateways keeps it back, and nobody sweeps.

use std::sync::Arc;

use doorbuster_protocol::command::LatePaymentPolicy::{AlwaysRefund, RetakeOrRefund};
use doorbuster_protocol::types::Millis;
use doorbuster_tests::http::{WITHIN, ask, until};
use parking_lot::Mutex;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::shop::{LONG, Plan, Shop, Tells, id};
use crate::shopper::Shopper;

const LIFE: Millis = Millis(1000);
const COPIES: usize = 5;

/// A webhook as it came.
#[derive(Clone, Debug)]
struct Heard {
    signature: String,
    body: String,
}

impl Heard {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event is JSON")
    }

    async fn post(&self, gateway: &str) {
        let signature = format!("Doorbuster-Signature: {}\r\n", self.signature);
        let answer = ask(gateway, "POST", "/v1/webhooks/simulator", &signature, &self.body).await;
        assert_eq!(answer.expect("the gateway answers").is(200)["received"], true);
    }
}

/// Takes webhooks, says 200, and keeps them.
async fn listener() -> (String, Arc<Mutex<Vec<Heard>>>) {
    let (heard, listener) = (Arc::default(), TcpListener::bind("127.0.0.1:0").await.expect("there are ports"));
    let url = format!("http://{}/v1/webhooks/simulator", listener.local_addr().expect("it listens"));
    let keeps: Arc<Mutex<Vec<Heard>>> = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let one = take(stream).await;
            keeps.lock().push(one);
        }
    });
    (url, heard)
}

async fn take(mut stream: TcpStream) -> Heard {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.expect("the provider sends");
        text.push_str(std::str::from_utf8(&bytes[..read]).expect("it sends text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect("it has the header");
        if body.len() < header("content-length: ").parse().expect("a number") {
            continue;
        }
        let heard = Heard { signature: header("doorbuster-signature: ").to_owned(), body: body.to_owned() };
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the provider reads");
        return heard;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_copies_in_reverse_order_with_the_refund_before_the_success() {
    let (url, heard) = listener().await;
    let plan = Plan { gateways: 0, tells: Tells::To(url), ..Plan::default() };
    let Some(shop) = Shop::open(plan).await else { return };
    shop.product(1, 5, LIFE, AlwaysRefund).await;
    shop.product(2, 5, LONG, RetakeOrRefund).await;
    // The money comes when the reservation is gone, is given back, and the gateway ends before it has told the cluster.
    shop.provider.faults(&serde_json::json!({ "late_rate": 1.0, "late_ms": 1200 })).await;
    let mut first = shop.front(Some("refund-done"), 200).await;
    let alice = Shopper::at(first.address(), "alice");
    let given_back = alice.buy(1, LIFE).await;
    until("the first gateway has ended", WITHIN, async || !first.is_running()).await;
    // The money is taken, and the gateway ends before it has told the cluster.
    shop.provider.faults(&serde_json::json!({})).await;
    let mut second = shop.front(Some("confirm"), 0).await;
    let bob = Shopper::at(second.address(), "bob");
    let paid = bob.reserve(2, LONG).await;
    bob.try_pay(&paid).await;
    until("the second gateway has ended", WITHIN, async || !second.is_running()).await;
    until("the provider has told all", WITHIN, async || heard.lock().len() == 3).await;
    assert_eq!(
        [shop.view(&given_back).await.state.name(), shop.view(&paid).await.state.name()],
        ["refund_due", "paying"]
    );

    let gateways = [shop.front(None, 0).await, shop.front(None, 0).await];
    let mut told = heard.lock().clone();
    told.reverse();
    let types = told.iter().map(|heard| heard.event()["type"].clone()).collect::<Vec<_>>();
    assert_eq!(types, ["charge.succeeded", "charge.refunded", "charge.succeeded"]);
    for webhook in &told {
        let mut copies = tokio::task::JoinSet::new();
        for copy in 0..COPIES {
            let (webhook, gateway) = (webhook.clone(), gateways[copy % 2].address().to_owned());
            copies.spawn(async move { webhook.post(&gateway).await });
        }
        copies.join_all().await;
    }
    let (alice, bob) = (alice.goes_to(gateways[0].address()), bob.goes_to(gateways[1].address()));
    let shown = alice.sees(&given_back, &["refunded"]).await;
    assert_eq!(shown["payment"]["reason"], "paid_too_late", "{shown}");
    bob.sees(&paid, &["confirmed"]).await;
    for webhook in &told {
        webhook.post(gateways[0].address()).await;
    }
    let ends = shop.agree(&[(alice, given_back.clone()), (bob, paid)]).await;
    assert_eq!(ends, [("confirmed", 1), ("refunded", 1)].into());
    assert_eq!(events(&shop).await, told.iter().map(id_of).collect());
    let key = format!("{:032x}-", id(&given_back).1.0);
    let ours = heard.lock().iter().filter(|one| one.body.contains(&key)).count();
    assert_eq!(ours, 2, "one success and one refund, and nothing more came of fifteen copies");
}

fn id_of(heard: &Heard) -> String {
    heard.event()["id"].as_str().expect("it has an id").to_owned()
}

/// The events that are written down; each must be processed.
async fn events(shop: &Shop) -> std::collections::BTreeSet<String> {
    let mut database = SqliteConnection::connect(&shop.database()).await.expect("it is there");
    let all = "SELECT event, processed_at_ms IS NOT NULL FROM webhook_events";
    let rows: Vec<(String, bool)> = sqlx::query_as(all).fetch_all(&mut database).await.expect("it has the table");
    assert!(rows.iter().all(|(_, done)| *done), "{rows:?}");
    rows.into_iter().map(|(event, _)| event).collect()
}
