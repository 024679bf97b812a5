//! Stripe's ledger as it is read: to its end, ours only, slowly enough, whatever Stripe answers in between; and what is said of
//! it when it cannot be.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use doorbuster_gateway::config::{AccountConfig, StripeConfig};
use doorbuster_gateway::ledger::{Entry, Found, Ledger, State};
use doorbuster_protocol::types::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lists::{Account, Fault, Lists, intent, refund};
use crate::recorded::{Line, Recorded};

const KEY: &str = "rk_test_12345";
const OTHER_KEY: &str = "rk_test_67890";
const INTENTS: &str = "/v1/payment_intents";
const REFUNDS: &str = "/v1/refunds";
/// When everything here was made, in seconds.
const THEN: u64 = 1_700_000_000;

/// Accounts with these keys, in files of the folder.
fn config(folder: &TempDir, url: &str, keys: &[&str]) -> StripeConfig {
    let account = |(number, key): (usize, &&str)| {
        let file = folder.path().join(format!("{number}.key"));
        std::fs::write(&file, format!("{key}\n")).unwrap();
        AccountConfig { name: format!("account-{number}"), key_file: Some(file), ..AccountConfig::default() }
    };
    let accounts = keys.iter().enumerate().map(account).collect();
    StripeConfig { url: url.into(), accounts, ..StripeConfig::default() }
}

fn ledger(url: &str, keys: &[&str]) -> Ledger {
    Ledger::new(&config(&tempfile::tempdir().unwrap(), url, keys), "shop").unwrap()
}

fn ours(number: u64) -> Value {
    json!({ "doorbuster_cluster": "shop", "doorbuster_key": format!("{number:032x}-{}-1", THEN * 1000), "doorbuster_product": "7" })
}

/// So many payments of ours, each other one refunded.
fn account(payments: u64) -> Account {
    let id = |number: u64| format!("pi_{number}");
    Account {
        intents: (0..payments).map(|number| intent(&id(number), THEN + number, "succeeded", &ours(number))).collect(),
        refunds: (0..payments)
            .step_by(2)
            .map(|number| refund(&format!("re_{number}"), THEN + 1000 + number, "succeeded", &id(number), 500))
            .collect(),
        may_not: None,
    }
}

fn keys(found: &Found) -> BTreeSet<String> {
    found.entries.iter().map(|entry| entry.key.clone()).collect()
}

async fn error(ledger: Ledger) -> (String, bool, bool) {
    let error = ledger.read(None).await.expect_err("it cannot be read");
    let text = error.to_string();
    assert!(!text.contains("12345") && !text.contains("67890"), "a key is shown: {text}");
    (text, error.is_key(), error.is_transient())
}

#[tokio::test]
async fn it_is_read_to_its_end_and_nothing_is_changed() {
    let mut account = account(250);
    let others =
        (0..40).map(|number| intent(&format!("pi_x{number}"), THEN + number, "succeeded", &json!({ "order": "9" })));
    account.intents.extend(others);
    let elsewhere = json!({ "doorbuster_cluster": "another", "doorbuster_key": ours(3)["doorbuster_key"] });
    account.intents.push(intent("pi_elsewhere", THEN, "succeeded", &elsewhere));
    account.refunds.push(refund("re_x", THEN + 5, "succeeded", "pi_x1", 500));
    account
        .refunds
        .push(json!({ "id": "re_y", "object": "refund", "amount": 1, "created": THEN, "status": "succeeded",
        "payment_intent": null, "charge": "ch_1" }));
    let (lists, url) = Lists::start([(KEY, account)]).await;
    let start = Instant::now();
    let found = ledger(&url, &[KEY]).read(Some(Timestamp(THEN * 1000))).await.unwrap();
    assert_eq!((found.entries.len(), keys(&found).len(), found.left_out), (250, 250, 41));
    let refunded: u64 = found.entries.iter().map(|entry| entry.given_back).sum();
    assert_eq!(refunded, 125 * 500);
    let one = found.entries.iter().find(|entry| entry.intent == "pi_2").unwrap();
    let expected = Entry {
        account: "account-0".into(),
        intent: "pi_2".to_owned(),
        key: format!("{:032x}-{}-1", 2, THEN * 1000),
        amount: 500,
        currency: "EUR".to_owned(),
        state: State::Succeeded,
        given_back: 500,
        pending_back: 0,
        changed_at: Timestamp((THEN + 1002) * 1000),
    };
    assert_eq!(one, &expected);

    let asked = lists.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(paths, [INTENTS, INTENTS, INTENTS, REFUNDS, REFUNDS]);
    // Three at once, then five a second.
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    // An hour earlier: that is how far clocks may be apart.
    let since = (THEN - 3600).to_string();
    for (number, asked) in asked.iter().enumerate() {
        assert_eq!(asked.method, "GET");
        assert_eq!(asked.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(asked.headers["stripe-version"], "2024-06-20");
        assert!(asked.headers.get("idempotency-key").is_none());
        let expected = [("limit", "100"), ("created[gte]", since.as_str())];
        assert!(
            asked
                .parameters
                .iter()
                .zip(expected)
                .all(|((name, value), expected)| (name.as_str(), value.as_str()) == expected)
        );
        assert_eq!(asked.parameters.len() == 3, ![0, 3].contains(&number), "{asked:?}");
    }
    // The newest hundred: numbers 249 to 150.
    assert_eq!(asked[1].parameters[2], ("starting_after".to_owned(), "pi_150".to_owned()));
    assert_eq!(asked[4].parameters[2].0, "starting_after");
}

#[tokio::test]
async fn what_was_made_before_is_not_asked_for() {
    let (_lists, url) = Lists::start([(KEY, account(10))]).await;
    let since = Timestamp((THEN + 3600 + 5) * 1000);
    let found = ledger(&url, &[KEY]).read(Some(since)).await.unwrap();
    assert_eq!(found.entries.len(), 5, "those of the hour before are: {found:?}");
    assert_eq!(ledger(&url, &[KEY]).read(None).await.unwrap().entries.len(), 10);
}

#[tokio::test]
async fn payments_that_come_meanwhile_neither_hide_nor_repeat_any() {
    let new = intent("pi_new", THEN + 100_000, "succeeded", &ours(9999));
    let (lists, url) = Lists::start_growing(KEY, account(230), new).await;
    let found = ledger(&url, &[KEY]).read(None).await.unwrap();
    assert_eq!((found.entries.len(), keys(&found).len()), (230, 230));
    assert_eq!(lists.asked().iter().filter(|asked| asked.path == INTENTS).count(), 3);
}

#[tokio::test]
async fn a_busy_or_broken_stripe_is_asked_again() {
    let refused = |status, headers| Fault { status, headers, body: r#"{"error":{"type":"api_error"}}"# };
    for fault in [
        refused(429, &[][..]),
        refused(409, &[]),
        refused(500, &[]),
        Fault { body: "<html>down</html>", ..refused(503, &[]) },
        Fault { body: "{\"object\": \"li", ..refused(200, &[]) },
        refused(0, &[]),
    ] {
        let (lists, url) = Lists::start([(KEY, account(101))]).await;
        lists.fail([fault]);
        let found = ledger(&url, &[KEY]).read(None).await.unwrap();
        assert_eq!(keys(&found).len(), 101, "{fault:?}");
        // Two pages and one of refunds; what broke was not even answered.
        let expected = if fault.status == 0 { 3 } else { 4 };
        assert_eq!(lists.asked().len(), expected, "{fault:?}");
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_and_pauses_grow() {
    let (lists, url) = Lists::start([(KEY, account(1))]).await;
    lists.fail([Fault { status: 429, headers: &[("retry-after", "2")], body: "{}" }]);
    let start = Instant::now();
    assert_eq!(ledger(&url, &[KEY]).read(None).await.unwrap().entries.len(), 1);
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    lists.fail([Fault { status: 503, headers: &[], body: "{}" }; 3]);
    let start = Instant::now();
    assert_eq!(ledger(&url, &[KEY]).read(None).await.unwrap().entries.len(), 1);
    // A quarter, a half and a whole second, and up to twice that.
    assert!(start.elapsed() >= Duration::from_millis(1750), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_stripe_that_does_not_answer_is_given_up() {
    let (lists, url) = Lists::start([(KEY, account(1))]).await;
    lists.fail([Fault { status: 503, headers: &[], body: "{}" }; 6]);
    let silent = error(ledger(&url, &[KEY]));
    let nobody = error(ledger("http://127.0.0.1:1", &[KEY]));
    let ((silent, _, may_work_later), (nobody, is_key, _)) = tokio::join!(silent, nobody);
    assert!(silent.contains("account-0") && silent.contains("6 times") && silent.contains("503"), "{silent}");
    assert!(may_work_later && !is_key);
    assert!(nobody.contains("refused") && nobody.contains("payment.stripe.url"), "{nobody}");
    assert_eq!(lists.asked().len(), 6);
}

#[tokio::test]
async fn all_accounts_are_read_and_one_that_cannot_be_is_named() {
    let mut second = account(3);
    second.intents.truncate(1);
    second.refunds.clear();
    let (lists, url) = Lists::start([(KEY, account(120)), (OTHER_KEY, second)]).await;
    let both = ledger(&url, &[KEY, OTHER_KEY]);
    assert_eq!(both.accounts().collect::<Vec<_>>(), ["account-0", "account-1"]);
    let found = both.read(None).await.unwrap();
    let at = |account: &str| found.entries.iter().filter(|entry| &*entry.account == account).count();
    assert_eq!((at("account-0"), at("account-1")), (120, 1));

    let (text, is_key, may_work_later) = error(ledger(&url, &[KEY, "rk_test_12345_but_wrong"])).await;
    assert!(
        text.contains("account account-1 (401)") && text.contains("key_file") && is_key && !may_work_later,
        "{text}"
    );
    for (list, what) in [(INTENTS, "PaymentIntents (403)"), (REFUNDS, "refunds (403)")] {
        lists.change(OTHER_KEY, |account| account.may_not = Some(list));
        let (text, is_key, _) = error(ledger(&url, &[KEY, OTHER_KEY])).await;
        assert!(text.contains("account-1") && text.contains(what) && text.contains("dashboard") && is_key, "{text}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_said() {
    let list = "GET /v1/payment_intents";
    let one = intent("pi_1", THEN, "succeeded", &ours(1));
    let page = |data: &[&Value], has_more: bool| json!({ "object": "list", "data": data, "has_more": has_more });
    for (script, says) in [
        (vec![Line::new(list, 200, &page(&[], true))], "nothing new"),
        (vec![Line::new(list, 200, &page(&[&one], true)), Line::new(list, 200, &page(&[&one], true))], "nothing new"),
        // Without it nobody could tell where the list ends.
        (vec![Line::new(list, 200, &json!({ "object": "list", "data": [one] }))], "has_more"),
        (vec![Line::new(list, 200, &json!({ "object": "something else" }))], "data"),
        (
            vec![Line::new(
                list,
                400,
                &json!({ "error": { "type": "invalid_request_error", "code": "parameter_unknown" } }),
            )],
            "400 Bad Request parameter_unknown",
        ),
    ] {
        let (recorded, url) = Recorded::start(script).await;
        let (text, is_key, may_work_later) = error(ledger(&url, &[KEY])).await;
        assert!(text.contains(says) && text.contains("2024-06-20"), "{text}");
        assert!(!is_key && !may_work_later);
        recorded.heard();
    }
}

#[test]
fn a_configuration_that_names_no_account_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let none = Ledger::new(&config(&folder, "http://127.0.0.1:1", &[]), "shop").err().expect("there is no account");
    assert!(none.to_string().contains("[[payment.stripe.accounts]]"), "{none}");
    let public =
        Ledger::new(&config(&folder, "http://127.0.0.1:1", &["pk_test_12345"]), "shop").err().expect("no secret key");
    assert!(public.to_string().contains("rk_...") && !public.to_string().contains("12345"), "{public}");
}
