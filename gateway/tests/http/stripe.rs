//! The `stripe` provider over real HTTP: whole purchases against localstripe, and what localstripe never does against
//! recorded answers.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorbuster_gateway::config::{AccountConfig, Provider, StripeConfig};
use doorbuster_gateway::{
    BreakerState as State, Charge, Charged, GatewayConfig, Key, Known, PaymentProvider, Purchase, Rank, Stripe,
};
use doorbuster_protocol::types::{Currency, Money, ProductId, ReservationId, Timestamp, UserId};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::Agent;
use crate::cluster::{Cluster, until};
use crate::localstripe::LocalStripe;
use crate::recorded::{Heard, Line, Recorded};

/// Stripe's own names of test cards: one that is good, one that is declined when it is charged.
pub const GOOD: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeCustomerFail";
const MADE_AT: u64 = 1_700_000_000_000;
const CLUSTER: &str = "shop-7";

/// Stripe at this address, with a key in a file of the folder.
pub fn config(folder: &TempDir, url: &str) -> StripeConfig {
    let file = folder.path().join("stripe.key");
    std::fs::write(&file, "sk_test_12345\n").unwrap();
    let account = AccountConfig { name: "main".into(), key_file: Some(file), ..AccountConfig::default() };
    StripeConfig { url: url.into(), accounts: vec![account], ..StripeConfig::default() }
}

fn stripe(url: &str) -> Stripe {
    Stripe::new(&config(&tempfile::tempdir().unwrap(), url), CLUSTER).unwrap()
}

pub fn paid_by(stripe: StripeConfig) -> impl FnOnce(&mut GatewayConfig) {
    move |config| {
        config.payment.provider = Provider::Stripe;
        config.payment.stripe = stripe;
        config.payment.sweep_every_ms = 50;
        config.payment.sweep_after_ms = 200;
        config.drain_ms = 0;
    }
}

pub fn purchase(reservation: u128) -> Purchase {
    let key = Key { reservation: ReservationId(reservation), made_at: Timestamp(MADE_AT), attempt: 1 };
    let amount = Money { minor: 500, currency: Currency(*b"EUR") };
    Purchase { key, user: UserId(1), product: ProductId(7), amount }
}

fn charge(reservation: u128, card: &str) -> Charge {
    Charge { purchase: purchase(reservation), card_token: card.into() }
}

pub async fn in_state(agent: &Agent, path: &str, state: &str) -> Value {
    until(|| async {
        let shown = agent.get(path).await;
        (shown.ok(200).body["state"] == state).then_some(shown.body)
    })
    .await
}

#[tokio::test]
async fn a_purchase_a_decline_and_another_card() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(paid_by(config(&folder, &localstripe.url))).await;
    cluster.product(1, 10, json!({})).await;
    let (alice, bob) = (cluster.user("alice"), cluster.user("bob"));
    let id = alice.reserve("k", 1, 2).await.ok(201).id();
    assert_eq!(alice.pay(&id, GOOD).await.ok(200).body["state"], "confirmed");
    assert!(alice.pay(&id, GOOD).await.ok(200).replayed());

    let id = bob.reserve("k", 1, 1).await.ok(201).id();
    let declined = bob.pay(&id, DECLINED).await;
    assert_eq!(declined.is(402, "payment_declined").body["reason"], "card_declined");
    assert_eq!(bob.get(&format!("/v1/reservations/{id}")).await.body["state"], "held");
    let unknown = bob.pay(&id, "pm_nobody_knows").await;
    assert_eq!(unknown.is(402, "payment_declined").body["attempts"], 2);
    let paid = bob.pay(&id, GOOD).await;
    assert_eq!(paid.ok(200).body["payment"], json!({ "state": "succeeded", "attempts": 3 }));

    let charges = localstripe.list("charges").await;
    let mut taken: Vec<(&str, u64)> =
        charges.iter().map(|charge| (charge["status"].as_str().unwrap(), charge["amount"].as_u64().unwrap())).collect();
    taken.sort_unstable();
    assert_eq!(taken, [("failed", 500), ("succeeded", 500), ("succeeded", 1000)]);
    assert!(charges.iter().all(|charge| charge["currency"] == "eur"), "{charges:?}");
    assert_eq!(cluster.units(1).await, (7, 0, 3));
    cluster.end().await;
}

#[tokio::test]
async fn another_gateway_finds_what_one_charged_and_closes_what_it_did_not() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let stripe = config(&folder, &localstripe.url);
    let dying = cluster.gateway(paid_by(stripe.clone())).await;
    let (alice, bob) = (Agent::user(dying, "alice"), Agent::user(dying, "bob"));
    let (charged, closed) = (begun(&alice).await, begun(&bob).await);
    let front = &localstripe.front;

    front.confirmations_are_lost.store(true, Ordering::Relaxed);
    pay(&alice, &charged).await;
    until(|| async { (front.confirmed.lock().len() == 1).then_some(()) }).await;
    front.confirmations_wait.store(true, Ordering::Relaxed);
    pay(&bob, &closed).await;
    until(|| async { (localstripe.list("payment_intents").await.len() == 2).then_some(()) }).await;
    cluster.end_last_gateway().await;

    let next = cluster.gateway(paid_by(stripe)).await;
    let (alice, bob) = (Agent::user(next, "alice"), Agent::user(next, "bob"));
    in_state(&alice, &charged, "confirmed").await;
    in_state(&bob, &closed, "held").await;
    // Bob's confirmation was under way all the time, and arrives now, at a closed intent.
    front.confirmations_wait.store(false, Ordering::Relaxed);
    front.confirmations_are_lost.store(false, Ordering::Relaxed);
    let came_of = until(|| async { Some(front.confirmed.lock().clone()).filter(|all| all.len() == 2) }).await;
    assert_eq!(came_of.iter().map(|status| status.as_u16()).collect::<Vec<_>>(), [200, 400]);
    assert_eq!(localstripe.list("charges").await.len(), 1);
    assert_eq!(localstripe.list("payment_intents").await.len(), 2, "both gateways had the same intents");

    assert_eq!(bob.pay(closed.rsplit('/').next().unwrap(), GOOD).await.ok(200).body["payment"]["attempts"], 2);
    assert_eq!(localstripe.list("charges").await.len(), 2);
    cluster.end().await;
}

pub async fn begun(agent: &Agent) -> String {
    format!("/v1/reservations/{}", agent.reserve("k", 1, 1).await.ok(201).id())
}

pub async fn pay(agent: &Agent, path: &str) {
    agent.post(&format!("{path}/payment"), &json!({ "card_token": GOOD })).await.ok(202);
}

#[tokio::test]
async fn money_that_came_too_late_is_refunded_once() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(paid_by(config(&folder, &localstripe.url))).await;
    let times = json!({ "ttl_ms": 300, "max_life_ms": 300, "payment_cap_ms": 300, "late_payment": "always_refund" });
    cluster.product(1, 10, times).await;
    let alice = cluster.user("alice");
    let path = begun(&alice).await;
    localstripe.front.confirmations_wait.store(true, Ordering::Relaxed);
    pay(&alice, &path).await;
    in_state(&alice, &path, "expired").await;
    localstripe.front.confirmations_wait.store(false, Ordering::Relaxed);
    let refunded = in_state(&alice, &path, "refunded").await;
    assert_eq!(refunded["payment"]["reason"], "paid_too_late");
    let refunds = localstripe.list("refunds").await;
    assert_eq!(refunds.iter().map(|refund| refund["amount"].as_u64()).collect::<Vec<_>>(), [Some(500)]);
    cluster.end().await;
}

#[tokio::test]
async fn every_gateway_is_told_the_same() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let (one, other) = (stripe(&localstripe.url), stripe(&localstripe.url));
    // Reservations of now, as localstripe's clock has it: it cannot be searched.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let purchase = |reservation| {
        let key = Key { made_at: Timestamp(now.try_into().unwrap()), ..purchase(reservation).key };
        Purchase { key, ..purchase(reservation) }
    };
    let charge = |reservation, card: &str| Charge { purchase: purchase(reservation), card_token: card.into() };
    let (paid, closed, failed) = (purchase(1), purchase(2), purchase(3));
    assert_eq!(one.outcome(paid).await, Known::NotFound);
    assert_eq!(one.charge(&charge(1, GOOD)).await, Charged::Succeeded);
    assert_eq!(other.charge(&charge(1, GOOD)).await, Charged::Succeeded);
    assert_eq!(other.charge(&charge(1, DECLINED)).await, Charged::Succeeded, "another card, too late");
    for gateway in [&one, &other] {
        assert_eq!(gateway.outcome(paid).await, Known::Succeeded);
        assert_eq!(gateway.cancel(paid).await, Known::Succeeded);
    }
    for gateway in [&one, &other] {
        assert_eq!(gateway.refund(paid).await, Known::Refunded);
        assert_eq!(gateway.outcome(paid).await, Known::Refunded);
    }
    assert_eq!(one.cancel(closed).await, Known::Declined("cancelled"));
    for gateway in [&one, &other] {
        assert_eq!(gateway.charge(&charge(2, GOOD)).await, Charged::Declined("cancelled"));
        assert_eq!(gateway.outcome(closed).await, Known::Declined("cancelled"));
        assert_eq!(gateway.refund(closed).await, Known::Declined("cancelled"));
    }
    for gateway in [&one, &other] {
        assert_eq!(gateway.charge(&charge(3, DECLINED)).await, Charged::Declined("card_declined"));
        assert_eq!(gateway.outcome(failed).await, Known::Declined("card_declined"));
        assert_eq!(gateway.charge(&charge(3, GOOD)).await, Charged::Declined("card_declined"), "this attempt is over");
    }
    let taken = localstripe.list("charges").await;
    assert_eq!(taken.iter().filter(|charge| charge["status"] == "succeeded").count(), 1);
    assert_eq!(localstripe.list("refunds").await.len(), 1);
}

pub fn intent(status: &str, more: &Value) -> Value {
    let mut all = json!({
        "id": "pi_1", "object": "payment_intent", "created": MADE_AT / 1000 + 60, "amount": 500, "currency": "eur",
        "status": status, "last_payment_error": null, "latest_charge": null, "livemode": false,
    });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

fn refusal(kind: &str, code: &str) -> Value {
    json!({ "error": { "type": kind, "code": code, "message": "in words" } })
}

pub const OPEN: &str = "POST /v1/payment_intents";
const CONFIRM: &str = "POST /v1/payment_intents/pi_1/confirm";
const CANCEL: &str = "POST /v1/payment_intents/pi_1/cancel";
pub const LOOK: &str = "GET /v1/payment_intents/pi_1";
const REFUNDS: &str = "GET /v1/refunds";
const REFUND: &str = "POST /v1/refunds";

pub fn opened() -> Line {
    Line::new(OPEN, 200, &intent("requires_payment_method", &json!({})))
}

fn keys(heard: &[Heard]) -> Vec<Option<&str>> {
    heard.iter().map(|heard| heard.headers.get("idempotency-key").map(|key| key.to_str().unwrap())).collect()
}

#[tokio::test]
async fn what_is_sent() {
    let (recorded, url) =
        Recorded::start(vec![opened(), Line::new(CONFIRM, 200, &intent("succeeded", &json!({})))]).await;
    assert_eq!(stripe(&url).charge(&charge(1, "pm_1")).await, Charged::Succeeded);
    let heard = recorded.heard();
    let key = purchase(1).key.to_string();
    assert_eq!(heard.iter().map(|heard| heard.request.as_str()).collect::<Vec<_>>(), [OPEN, CONFIRM]);
    assert_eq!(keys(&heard), [Some(key.as_str()), Some(format!("{key}-confirm").as_str())]);
    let metadata = format!("metadata%5Bdoorbuster_key%5D={key}&metadata%5Bdoorbuster_product%5D=7");
    let ours = format!("metadata%5Bdoorbuster_cluster%5D={CLUSTER}&{metadata}");
    let made = format!("amount=500&currency=eur&payment_method_types%5B%5D=card&{ours}");
    assert_eq!(heard.iter().map(|heard| heard.form.as_str()).collect::<Vec<_>>(), [&made, "payment_method=pm_1"]);
    for heard in &heard {
        assert_eq!(heard.headers["authorization"], "Bearer sk_test_12345");
        assert_eq!(heard.headers["stripe-version"], "2024-06-20");
    }
}

#[tokio::test]
async fn a_busy_or_broken_stripe_is_asked_again_under_the_same_key() {
    let done = || Line::new(CONFIRM, 200, &intent("succeeded", &json!({})));
    for broken in [
        Line::new(CONFIRM, 429, &refusal("invalid_request_error", "rate_limit")),
        Line::new(CONFIRM, 409, &refusal("idempotency_error", "idempotency_key_in_use")),
        Line::new(CONFIRM, 500, &refusal("api_error", "")),
        Line::new(CONFIRM, 503, &json!({})).text("<html>down</html>"),
        Line::new(CONFIRM, 200, &json!({})).text("{\"id\": \"pi_1\", \"sta"),
        Line::new(CONFIRM, 0, &json!({})),
    ] {
        let (recorded, url) = Recorded::start(vec![opened(), broken, done()]).await;
        assert_eq!(stripe(&url).charge(&charge(1, "pm_1")).await, Charged::Succeeded);
        let heard = recorded.heard();
        let keys = keys(&heard);
        assert_eq!(keys[1], keys[2]);
    }
}

#[tokio::test]
async fn retry_after_is_honoured_by_all() {
    let limit = Line::new(OPEN, 429, &refusal("invalid_request_error", "rate_limit")).with("retry-after", "2");
    let done = Line::new(LOOK, 200, &intent("canceled", &json!({})));
    let (recorded, url) = Recorded::start(vec![limit, opened(), done]).await;
    let (stripe, start) = (stripe(&url), Instant::now());
    assert_eq!(stripe.outcome(purchase(1)).await, Known::Unclear);
    assert_eq!(stripe.outcome(purchase(2)).await, Known::Unclear, "without a request");
    assert_eq!(recorded.heard_so_far(), 1);
    assert!(start.elapsed() < Duration::from_secs(2) && stripe.wait(UserId(1)) > Duration::from_secs(1));
    assert!(stripe.turn(purchase(1), Rank::Settling).await);
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(stripe.outcome(purchase(1)).await, Known::Declined("cancelled"));
    assert_eq!(recorded.heard().len(), 3);
}

#[tokio::test]
async fn a_stripe_that_only_fails_is_left_alone_until_a_probe_is_answered() {
    let failed = || Line::new(OPEN, 503, &refusal("api_error", ""));
    let done = Line::new(LOOK, 200, &intent("canceled", &json!({})));
    let script = vec![failed(), failed(), failed(), failed(), failed(), opened(), done];
    let (recorded, url) = Recorded::start(script).await;
    let stripe = stripe(&url);
    let breaker = || stripe.accounts()[0].breaker;
    assert_eq!(stripe.outcome(purchase(1)).await, Known::Unclear);
    assert_eq!(breaker(), State::Closed);
    for _ in 0..10 {
        assert_eq!(stripe.outcome(purchase(1)).await, Known::Unclear);
        assert_eq!((breaker(), recorded.heard_so_far()), (State::Open, 5));
    }
    let second = stripe.turn(purchase(2), Rank::Buyer);
    assert!(stripe.turn(purchase(1), Rank::Settling).await);
    assert_eq!(breaker(), State::HalfOpen);
    assert!(tokio::time::timeout(Duration::from_millis(200), second).await.is_err(), "one probe at a time");
    assert_eq!(stripe.outcome(purchase(1)).await, Known::Declined("cancelled"));
    assert_eq!(breaker(), State::Closed);
    assert_eq!(stripe.accounts()[0].results, [2, 5, 0, 0]);
    assert_eq!(recorded.heard().len(), 7);
}

#[tokio::test]
async fn a_stripe_that_never_answers_is_asked_again_by_whoever_still_waits() {
    let slow = Line::new(CONFIRM, 200, &intent("succeeded", &json!({}))).after(Duration::from_secs(60));
    let done = Line::new(CONFIRM, 200, &intent("succeeded", &json!({})));
    let (recorded, url) = Recorded::start(vec![opened(), slow, done]).await;
    let stripe = stripe(&url);
    let charge = charge(1, "pm_1");
    let given_up = tokio::time::timeout(Duration::from_millis(500), stripe.charge(&charge)).await;
    assert!(given_up.is_err());
    assert_eq!(stripe.charge(&charge).await, Charged::Succeeded);
    assert_eq!(recorded.heard().len(), 3, "where the intent is was known by then");
}

/// What a charge, a question, a cancellation or a refund comes to, by what Stripe says.
#[tokio::test]
async fn what_answers_come_to() {
    let declined = json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds" });
    let said = json!({ "error": declined });
    let canceled = || Line::new(CANCEL, 200, &intent("canceled", &json!({})));
    let kept = |line: Line| line.with("idempotent-replayed", "true");
    for (script, expected) in [
        (vec![opened(), Line::new(CONFIRM, 402, &said)], Known::Declined("insufficient_funds")),
        (
            vec![opened(), Line::new(CONFIRM, 200, &intent("requires_action", &json!({}))), canceled()],
            Known::Declined("authentication_required"),
        ),
        (
            vec![opened(), Line::new(CONFIRM, 400, &refusal("invalid_request_error", "resource_missing")), canceled()],
            Known::Declined("invalid_card_token"),
        ),
        // Two gateways, two cards: the other one's went through.
        (
            vec![
                opened(),
                Line::new(CONFIRM, 400, &refusal("idempotency_error", "")),
                Line::new(LOOK, 200, &intent("succeeded", &json!({}))),
            ],
            Known::Succeeded,
        ),
        // A failure that is kept for the key: the intent is closed, unless it took the money.
        (
            vec![opened(), kept(Line::new(CONFIRM, 500, &refusal("api_error", ""))), canceled()],
            Known::Declined("card_declined"),
        ),
        (
            vec![
                opened(),
                kept(Line::new(CONFIRM, 500, &refusal("api_error", ""))),
                Line::new(CANCEL, 400, &refusal("invalid_request_error", "payment_intent_unexpected_state")),
                Line::new(LOOK, 200, &intent("succeeded", &json!({}))),
            ],
            Known::Succeeded,
        ),
        (
            vec![
                opened(),
                Line::new(CONFIRM, 200, &intent("processing", &json!({}))),
                Line::new(LOOK, 200, &intent("processing", &json!({}))),
            ],
            Known::Unclear,
        ),
        (vec![kept(Line::new(OPEN, 500, &refusal("api_error", "")))], Known::Declined("provider_failed")),
        (
            vec![Line::new(OPEN, 400, &refusal("invalid_request_error", "amount_too_small"))],
            Known::Declined("amount_not_accepted"),
        ),
        // The account is told of loudly, and nothing is decided.
        (vec![Line::new(OPEN, 401, &refusal("invalid_request_error", ""))], Known::Unclear),
        (vec![Line::new(OPEN, 403, &refusal("invalid_request_error", ""))], Known::Unclear),
        (vec![Line::new(OPEN, 400, &refusal("invalid_request_error", "parameter_unknown"))], Known::Unclear),
        (vec![Line::new(OPEN, 200, &json!({ "object": "something else" }))], Known::Unclear),
    ] {
        let (recorded, url) = Recorded::start(script).await;
        let known = match stripe(&url).charge(&charge(1, "pm_1")).await {
            Charged::Succeeded => Known::Succeeded,
            Charged::Declined(reason) => Known::Declined(reason),
            Charged::Unclear => Known::Unclear,
        };
        assert_eq!(known, expected, "{:?}", recorded.heard());
    }
}

#[tokio::test]
async fn refunds_are_given_when_stripe_has_given_them() {
    let whole = |refunded: u64| json!({ "latest_charge": { "id": "ch_1", "amount_refunded": refunded } });
    let paid = |refunded| Line::new(LOOK, 200, &intent("succeeded", &whole(refunded)));
    let refund = |status: &str| json!({ "id": "re_1", "object": "refund", "amount": 500, "status": status });
    let list = |all: Vec<Value>| Line::new(REFUNDS, 200, &json!({ "object": "list", "data": all, "has_more": false }));
    let (recorded, url) = Recorded::start(vec![
        opened(),
        paid(0),
        list(vec![]),
        Line::new(REFUND, 200, &refund("pending")),
        // It fails later, and what is due is asked for once more.
        paid(500),
        list(vec![refund("pending")]),
        paid(0),
        list(vec![refund("failed")]),
        Line::new(REFUND, 200, &refund("succeeded")),
        paid(500),
        list(vec![refund("failed"), refund("succeeded")]),
    ])
    .await;
    let stripe = stripe(&url);
    for expected in [Known::InProgress, Known::InProgress, Known::Refunded, Known::Refunded] {
        assert_eq!(stripe.refund(purchase(1)).await, expected);
    }
    let (heard, key) = (recorded.heard(), purchase(1).key.to_string());
    let refunds: Vec<_> = keys(&heard).into_iter().flatten().skip(1).collect();
    assert_eq!(refunds, [format!("{key}-refund-0"), format!("{key}-refund-1")]);
}

#[tokio::test]
async fn a_key_that_stripe_may_have_forgotten_is_searched_for() {
    const DAY_LATER: u64 = MADE_AT / 1000 + 24 * 3600;
    let again = intent("requires_payment_method", &json!({ "id": "pi_2", "created": DAY_LATER }));
    let found = |all: &[Value]| {
        Line::new("GET /v1/payment_intents/search", 200, &json!({ "object": "search_result", "data": all }))
    };
    let paid = intent("succeeded", &json!({}));
    let look = Line::new(LOOK, 200, &paid);
    let (recorded, url) =
        Recorded::start(vec![Line::new(OPEN, 200, &again), found(&[paid, again.clone()]), look]).await;
    assert_eq!(stripe(&url).charge(&charge(1, "pm_1")).await, Charged::Succeeded, "the first took the money");
    let query = format!("query=metadata%5B%27doorbuster_key%27%5D%3A%27{}%27&limit=100", purchase(1).key);
    assert_eq!(recorded.heard()[1].form, query);

    // Nothing came of it before: the new intent is the only one, and is charged.
    let (recorded, url) = Recorded::start(vec![
        Line::new(OPEN, 200, &again),
        found(&[]),
        Line::new("GET /v1/payment_intents/pi_2", 200, &again),
        Line::new("POST /v1/payment_intents/pi_2/confirm", 200, &intent("succeeded", &json!({ "id": "pi_2" }))),
    ])
    .await;
    assert_eq!(stripe(&url).charge(&charge(1, "pm_1")).await, Charged::Succeeded);
    assert_eq!(recorded.heard().len(), 4);

    // What the search cannot tell is not guessed.
    let (recorded, url) = Recorded::start(vec![
        Line::new(OPEN, 200, &again),
        Line::new("GET /v1/payment_intents/search", 400, &refusal("invalid_request_error", "")),
    ])
    .await;
    assert_eq!(stripe(&url).outcome(purchase(1)).await, Known::Unclear);
    assert_eq!(recorded.heard().len(), 2);
}

#[tokio::test]
async fn an_intent_that_another_release_made_is_searched_for() {
    let other = || Line::new(OPEN, 400, &refusal("idempotency_error", ""));
    let found = |all: &[Value]| {
        Line::new("GET /v1/payment_intents/search", 200, &json!({ "object": "search_result", "data": all }))
    };
    let paid = intent("succeeded", &json!({}));
    let script = vec![other(), found(&[]), other(), found(std::slice::from_ref(&paid)), Line::new(LOOK, 200, &paid)];
    let (recorded, url) = Recorded::start(script).await;
    let stripe = stripe(&url);
    assert_eq!(stripe.charge(&charge(1, "pm_1")).await, Charged::Unclear, "not to be found yet");
    assert_eq!(stripe.charge(&charge(1, "pm_1")).await, Charged::Succeeded);
    assert_eq!(recorded.heard().len(), 5);
}

#[tokio::test]
async fn only_a_trusted_server_is_told_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let gone = || Line::new(LOOK, 200, &intent("canceled", &json!({})));
    let (recorded, url) = Recorded::start_tls(vec![opened(), gone()]).await;
    let stranger = Stripe::new(&config(&folder, &url), CLUSTER);
    // On a machine without certificates of its own there is nothing to trust at all.
    if let Ok(stranger) = stranger {
        assert_eq!(stranger.outcome(purchase(1)).await, Known::Unclear);
        assert_eq!(recorded.heard_so_far(), 0);
    }
    let mut trusting = config(&folder, &url);
    trusting.ca_file = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/provider-ca.pem"));
    let trusting = Stripe::new(&trusting, CLUSTER).unwrap();
    assert_eq!(trusting.outcome(purchase(1)).await, Known::Declined("cancelled"));
    assert_eq!(recorded.heard().len(), 2);
}

#[test]
fn what_cannot_be_used_is_refused_and_the_key_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let fine = config(&folder, "http://127.0.0.1:1");
    assert!(Stripe::new(&fine, CLUSTER).is_ok());
    let mut wrong = Vec::new();
    for url in [
        "api.stripe.com",
        "http://api.stripe.com",
        "https://api.stripe.com/v1",
        "http://u@127.0.0.1",
        "ftp://127.0.0.1",
    ] {
        wrong.push((StripeConfig { url: url.into(), ..fine.clone() }, "payment.stripe.url"));
    }
    let missing = Some(folder.path().join("none.pem"));
    wrong.push((StripeConfig { url: "https://127.0.0.1:1".into(), ca_file: missing, ..fine.clone() }, "ca_file"));
    let mut no_key = fine.clone();
    no_key.accounts[0].key_file = Some(folder.path().join("none.key"));
    wrong.push((no_key, "none.key"));
    let mut unset = fine.clone();
    unset.accounts[0] =
        AccountConfig { key_file: None, key_env: Some("DOORBUSTER_UNSET".into()), ..unset.accounts[0].clone() };
    wrong.push((unset, "DOORBUSTER_UNSET"));
    for (config, says) in wrong {
        let error = Stripe::new(&config, CLUSTER).err().expect(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::write(folder.path().join("stripe.key"), "pk_test_12345").unwrap();
    let error = Stripe::new(&fine, CLUSTER).err().expect("a public key is no secret key").to_string();
    assert!(error.contains("secret key") && !error.contains("12345"), "{error}");
}

#[tokio::test]
async fn stripes_webhooks_settle_what_its_answers_do_not() {
    let Some(localstripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start().await;
    cluster.product(1, 10, json!({})).await;
    let (stripe, told) = (config(&folder, &localstripe.url), crate::webhooks::told(cluster.folder.path()));
    let gateway = cluster
        .gateway(|config| {
            paid_by(stripe)(config);
            // Nobody sweeps.
            told(config);
        })
        .await;
    localstripe.tell(&format!("http://{gateway}/v1/webhooks/stripe"), crate::webhooks::SECRET).await;
    localstripe.front.confirmations_are_lost.store(true, Ordering::Relaxed);
    let alice = Agent::user(gateway, "alice");
    let path = begun(&alice).await;
    pay(&alice, &path).await;
    let paid = in_state(&alice, &path, "confirmed").await;
    assert_eq!(paid["payment"], json!({ "state": "succeeded", "attempts": 1 }));
    let bob = Agent::user(gateway, "bob");
    let path = begun(&bob).await;
    bob.post(&format!("{path}/payment"), &json!({ "card_token": DECLINED })).await.ok(202);
    let failed = in_state(&bob, &path, "held").await;
    assert_eq!(failed["payment"], json!({ "state": "payment_failed", "attempts": 1 }));
    let metrics = alice.get("/metrics").await;
    let processed = "doorbuster_gateway_webhooks_total{outcome=\"processed\"} 2";
    assert!(metrics.body.as_str().unwrap().contains(processed), "{metrics:?}");
    bob.send("POST", "/v1/webhooks/simulator", "{}").await.is(404, "unknown_provider");
    localstripe.front.confirmations_are_lost.store(false, Ordering::Relaxed);
    cluster.end().await;
}
