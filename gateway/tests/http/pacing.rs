//! Charges at a provider's pace: nobody waits for the provider at the counter, nobody is charged in vain, and each user has
//! an account of their own.
#![allow(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use doorbuster_gateway::config::{AccountConfig, StripeConfig};
use doorbuster_gateway::{Known, PaymentProvider, Purchase, Stripe};
use doorbuster_protocol::types::UserId;
use serde_json::json;

use crate::cluster::{Cluster, until};
use crate::localstripe::LocalStripe;
use crate::recorded::{Line, Recorded};
use crate::stripe::{GOOD, LOOK, OPEN, begun, config, in_state, intent, opened, paid_by, pay, purchase};

fn paced(mut config: StripeConfig, requests_per_second: u32) -> StripeConfig {
    config.accounts[0].requests_per_second = requests_per_second;
    config
}

#[tokio::test]
async fn charges_go_at_the_pace_and_their_buyers_do_not_wait() {
    const BUYERS: u32 = 15;
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let stripe = paced(config(&folder, &localstripe.url), 10);
    let cluster = Cluster::start_with(paid_by(stripe)).await;
    cluster.product(1, 100, json!({ "payment_cap_ms": 60_000 })).await;
    let mut buyers = Vec::new();
    for buyer in 0..BUYERS {
        let agent = cluster.user(&format!("buyer{buyer}"));
        let path = begun(&agent).await;
        buyers.push((agent, path));
    }
    let start = Instant::now();
    for (agent, path) in &buyers {
        pay(agent, path).await;
    }
    assert!(start.elapsed() < Duration::from_secs(1), "15 answers took {:?}", start.elapsed());
    let shown = cluster.user("anybody").get("/metrics").await;
    let text = shown.body.as_str().unwrap();
    let queued =
        text.lines().find(|line| line.starts_with("doorbuster_gateway_account_queue{") && line.contains("buyer"));
    let queued: u32 = queued.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((1..BUYERS).contains(&queued), "{queued} wait");
    for (agent, path) in &buyers {
        in_state(agent, path, "confirmed").await;
    }
    // Two requests each, of which two may come at once.
    let least = Duration::from_millis(u64::from(2 * BUYERS - 2 - 2) * 100);
    assert!(start.elapsed() >= least, "{:?}", start.elapsed());
    assert_eq!(localstripe.list("charges").await.len(), 15);
    cluster.end().await;
}

#[tokio::test]
async fn who_could_not_be_charged_in_time_is_told_at_once() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let stripe = paced(config(&folder, &localstripe.url), 1);
    let cluster = Cluster::start_with(paid_by(stripe)).await;
    let times = json!({ "ttl_ms": 10_000, "max_life_ms": 10_000, "payment_cap_ms": 10_000 });
    cluster.product(1, 100, times).await;
    let mut refused = None;
    let mut paying = Vec::new();
    for buyer in 0..20 {
        let agent = cluster.user(&format!("buyer{buyer}"));
        let path = begun(&agent).await;
        let answer = agent.post(&format!("{path}/payment"), &json!({ "card_token": GOOD })).await;
        if answer.status == 503 {
            refused = Some((agent, path, answer));
            break;
        }
        answer.ok(202);
        paying.push((agent, path));
    }
    let (agent, path, answer) = refused.expect("at a request a second, twenty cannot be charged in ten");
    let problem = &answer.is(503, "payments_delayed").body;
    assert!((3..8).contains(&paying.len()), "{} were taken", paying.len());
    assert!(problem["wait_ms"].as_u64().unwrap() > 5000, "{problem}");
    let shown = agent.get(&path).await;
    assert_eq!((&shown.body["state"], &shown.body["expires_at"]), (&json!("held"), &problem["expires_at"]));
    // Who has a place joins it, however long the queue.
    let (last, path) = paying.last().unwrap();
    pay(last, path).await;
    assert_eq!(last.get(path).await.body["payment"]["attempts"], 1);
    for (agent, path) in &paying {
        in_state(agent, path, "confirmed").await;
    }
    assert_eq!(localstripe.list("charges").await.len(), paying.len());
    cluster.end().await;
}

#[tokio::test]
async fn a_charge_whose_turn_does_not_come_in_time_is_never_sent() {
    let limit = Line::new(OPEN, 429, &json!({ "error": { "code": "rate_limit" } })).with("retry-after", "60");
    let (recorded, url) = Recorded::start(vec![limit]).await;
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(paid_by(config(&folder, &url))).await;
    cluster.product(1, 10, json!({ "ttl_ms": 1500, "max_life_ms": 1500, "payment_cap_ms": 1500 })).await;
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let (waiting, refused) = (begun(&alice).await, begun(&bob).await);
    pay(&alice, &waiting).await;
    until(|| async { (recorded.heard_so_far() == 1).then_some(()) }).await;
    let answer = alice.get("/metrics").await;
    assert!(answer.body.as_str().unwrap().contains("doorbuster_gateway_account_breaker{account=\"main\"} 2"));
    let told = bob.post(&format!("{refused}/payment"), &json!({ "card_token": GOOD })).await;
    assert!(told.is(503, "payments_delayed").body["wait_ms"].as_u64().unwrap() > 50_000, "{told:?}");
    in_state(&alice, &waiting, "expired").await;
    let unresolved = "doorbuster_gateway_payments_total{outcome=\"unresolved\"} 1";
    until(|| async { alice.get("/metrics").await.body.as_str().unwrap().contains(unresolved).then_some(()) }).await;
    assert_eq!(recorded.heard().len(), 1);
    cluster.end().await;
}

/// Asks about a purchase of each user's; returns the account of each, by its key.
async fn accounts_of(users: u128, accounts: &[(&str, Option<&str>)]) -> BTreeMap<u128, String> {
    let folder = tempfile::tempdir().unwrap();
    let script = (0..users).flat_map(|_| [opened(), Line::new(LOOK, 200, &intent("canceled", &json!({})))]);
    let (recorded, url) = Recorded::start(script.collect()).await;
    let mut config = config(&folder, &url);
    config.accounts = accounts
        .iter()
        .map(|(name, until)| {
            let file = folder.path().join(name);
            std::fs::write(&file, format!("sk_test_{name}")).unwrap();
            let until = until.map(str::to_owned);
            AccountConfig { name: (*name).into(), key_file: Some(file), until, ..AccountConfig::default() }
        })
        .collect();
    let stripe = Stripe::new(&config, "doorbuster").unwrap();
    for user in 1..=users {
        let purchase = Purchase { user: UserId(user), ..purchase(user) };
        assert_eq!(stripe.outcome(purchase).await, Known::Declined("cancelled"));
    }
    let heard = recorded.heard();
    let keys = heard.chunks(2).map(|pair| {
        assert_eq!(pair[0].headers["authorization"], pair[1].headers["authorization"]);
        pair[0].headers["authorization"].to_str().unwrap().to_owned()
    });
    (1..=users).zip(keys).collect()
}

#[tokio::test]
async fn a_user_is_always_on_the_same_account() {
    let both = accounts_of(20, &[("east", None), ("west", None)]).await;
    let names: BTreeSet<&str> = both.values().map(String::as_str).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["Bearer sk_test_east", "Bearer sk_test_west"]);
    assert_eq!(accounts_of(20, &[("west", None), ("east", None)]).await, both, "another gateway, another order");
    // An account that has ended finishes what was made before, and gets nothing new.
    let later = accounts_of(20, &[("east", Some("2024-01-01T00:00:00Z")), ("west", None)]).await;
    assert_eq!(later, both, "these are of 2023");
    let before = accounts_of(20, &[("east", Some("2023-01-01T00:00:00Z")), ("west", None)]).await;
    assert!(before.values().all(|key| key == "Bearer sk_test_west"));
}

#[tokio::test]
async fn a_queue_is_left_by_who_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let stripe = Stripe::new(&paced(config(&folder, "http://127.0.0.1:1"), 1), "doorbuster").unwrap();
    let of = |user| Purchase { user: UserId(user), ..purchase(1) };
    let rank = doorbuster_gateway::Rank::Buyer;
    for user in 1..=2 {
        assert!(stripe.turn(of(user), rank).await);
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), stripe.turn(of(3), rank)).await.is_err());
    assert_eq!(stripe.accounts()[0].queued, [0, 0]);
    let waits = stripe.wait(UserId(4));
    assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&waits), "{waits:?}");
}
