//! `doorbuster audit --payments` against Stripe: a shop whose payments localstripe takes, clean and then with money that moved behind
//! its back; and what is said when Stripe's ledger cannot be read.

use doorbuster_cli::clock::wall;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::{Table, Value as Toml};

use crate::lists::{Account, Lists, intent};
use crate::localstripe::LocalStripe;
use crate::shop::{STRICT, Shop, counts, digits};

/// Stripe's name of a test card that is good; and one that wants its buyer to authenticate.
const VISA: &str = "pm_card_visa";
const AUTHENTICATED: &str =
    "type=card&card[number]=4000000000003220&card[exp_month]=12&card[exp_year]=2034&card[cvc]=123";
/// The secret keys of two accounts.
const KEY: &str = "rk_test_12345";
const OTHER_KEY: &str = "rk_test_67890";

/// What a gateway is told of payments: Stripe's accounts there, each with its key in a file of its own.
fn payment(folder: &Path, url: &str, keys: &[&str]) -> Table {
    let account = |(number, key): (usize, &&str)| {
        let files = std::fs::read_dir(folder).expect("it is a folder").count();
        let file = folder.join(format!("{files}.key"));
        std::fs::write(&file, key).expect("the folder takes a file");
        let name = ("name".to_owned(), Toml::from(format!("account-{number}")));
        Toml::Table(Table::from_iter([name, ("key_file".to_owned(), file.display().to_string().into())]))
    };
    let accounts = keys.iter().enumerate().map(account).collect();
    let stripe = Table::from_iter([("url".to_owned(), url.into()), ("accounts".to_owned(), Toml::Array(accounts))]);
    Table::from_iter([
        ("provider".to_owned(), "stripe".into()),
        ("sweep_every_ms".to_owned(), 50.into()),
        ("sweep_after_ms".to_owned(), 200.into()),
        ("stripe".to_owned(), Toml::Table(stripe)),
    ])
}

/// What the audit with a configuration says of the money.
fn audit(shop: &Shop, config: &Path, more: &str, exit: i32) -> Value {
    let (database, config) = (shop.front.database(), config.display());
    let words = format!("audit --payments --database {database} --gateway-config {config} {more}");
    shop.ask(&words, exit)["payments"].take()
}

/// A configuration with nothing but payments, as somebody has who looks after them and serves nothing.
fn auditors(folder: &Path, payment: Table) -> PathBuf {
    let (file, all) = (folder.join("audit.toml"), Table::from_iter([("payment".to_owned(), Toml::Table(payment))]));
    std::fs::write(&file, toml::to_string(&all).expect("it is TOML")).expect("the folder takes a file");
    file
}

async fn buy(shop: &Shop, user: &str) -> String {
    let id = shop.reserve(user).await;
    shop.pay(user, &id, VISA).await;
    id
}

/// Has something done at Stripe that no gateway asks for.
async fn make(stripe: &LocalStripe, path: &str, form: &str) -> Value {
    let (status, body) = stripe.front.pass("POST", path, form.to_owned().into()).await;
    assert_eq!(status, 200, "{path} {form}: {body:?}");
    serde_json::from_slice(&body).expect("it is JSON")
}

/// Pays an intent with this metadata, and is no gateway.
async fn pays(stripe: &LocalStripe, card: &str, metadata: &str) -> String {
    let made =
        make(stripe, "/v1/payment_intents", &format!("amount=1000&currency=eur&payment_method={card}{metadata}")).await;
    let id = made["id"].as_str().expect("it has an id").to_owned();
    make(stripe, &format!("/v1/payment_intents/{id}/confirm"), "").await;
    id
}

/// The intent of a reservation.
async fn intent_of(stripe: &LocalStripe, id: &str) -> String {
    let all = stripe.list("payment_intents").await.into_iter();
    let is_its =
        |intent: &Value| intent["metadata"]["doorbuster_key"].as_str().is_some_and(|key| key.starts_with(digits(id)));
    let mut its = all.filter(is_its).map(|intent| intent["id"].as_str().expect("it has an id").to_owned());
    its.next().expect("there is one")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_stripe_pays_is_clean_until_money_moves_behind_its_back() {
    let Some(stripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = Shop::open(payment(folder.path(), &stripe.url, &[KEY])).await;
    let gateways = shop.front.folder().join("gateway.toml");
    let mut sold = Vec::new();
    for user in ["a", "b", "c", "d"] {
        sold.push(buy(&shop, user).await);
    }
    shop.ask(&format!("cancel {} --units return --reason fraud", sold[3]), 0);
    shop.comes_to("d", &sold[3], "refunded").await;
    let clean = audit(&shop, &gateways, &format!("{STRICT} --patience 30s"), 0);
    assert_eq!((counts(&clean), &clean["compared"]), ([0; 6], &json!(4)), "{clean:#}");
    assert_eq!(
        (&clean["charged"], &clean["refunded"], &clean["left_out"]),
        (&json!(3), &json!(1), &json!(0)),
        "{clean:#}"
    );
    assert_eq!(clean["accounts"], json!(["account-0"]));

    // Whatever else is paid at the account is nobody's business here, however much of it there is.
    for number in 0..230 {
        make(&stripe, "/v1/payment_intents", &format!("amount=9&currency=eur&metadata[order]={number}")).await;
    }
    let key = format!("&metadata[doorbuster_key]={:032x}-1-1", 0xabc);
    pays(&stripe, VISA, &format!("&metadata[doorbuster_cluster]=another{key}")).await;
    pays(&stripe, VISA, "").await;
    // One that waits for its buyer has taken nothing yet, and may.
    let ours = format!("&metadata[doorbuster_cluster]={}", shop.cluster.name());
    let card = make(&stripe, "/v1/payment_methods", AUTHENTICATED).await["id"].take();
    pays(&stripe, card.as_str().expect("it has an id"), &format!("{ours}&metadata[doorbuster_key]={:032x}-1-1", 0xdef))
        .await;
    let clean = audit(&shop, &gateways, &format!("{STRICT} --patience 30s"), 0);
    assert_eq!(
        (counts(&clean), &clean["left_out"], &clean["in_motion"]),
        ([0; 6], &json!(232), &json!(1)),
        "{clean:#}"
    );

    let charged = pays(&stripe, VISA, &format!("{ours}{key}")).await;
    let [part, whole, twice] =
        [intent_of(&stripe, &sold[0]).await, intent_of(&stripe, &sold[1]).await, intent_of(&stripe, &sold[3]).await];
    let steps = [
        (0, None, charged.as_str(), "is charged and not known to the shards"),
        (1, Some((&whole, "")), sold[1].as_str(), "its money went back"),
        (3, Some((&twice, "&amount=1000")), &sold[3], "is refunded by 2000 of 1000 EUR"),
        (5, Some((&part, "&amount=400")), &sold[0], "400 of 1000 EUR went back"),
    ];
    let mut expected = [0; 6];
    for (kind, refund, name, words) in steps {
        if let Some((intent, amount)) = refund {
            make(&stripe, "/v1/refunds", &format!("payment_intent={intent}{amount}")).await;
        }
        expected[kind] = 1;
        let found = audit(&shop, &gateways, &format!("{STRICT} --patience 200ms"), 1);
        assert_eq!(counts(&found), expected, "{found:#}");
        let mut all = found["differences"].as_array().expect("they are listed").iter();
        let is_named = |it: &Value| {
            let problem = it["problem"].as_str().expect("it is said");
            problem.contains(words) && (it["reservation"] == name || problem.contains(name))
        };
        assert!(all.any(is_named), "{name} {words}: {found:#}");
    }
    // Of what began later there is nothing, of what began a day ago everything.
    let later = audit(&shop, &gateways, &format!("{STRICT} --patience 200ms --since 0s"), 0);
    assert_eq!((counts(&later), &later["compared"]), ([0; 6], &json!(0)), "{later:#}");
    let day = audit(&shop, &gateways, &format!("{STRICT} --patience 200ms --since 1d"), 1);
    // Whose key says that it began in 1970 is from before.
    assert_eq!((counts(&day), &day["compared"]), ([0, 1, 0, 1, 0, 1], &json!(4)), "{day:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_while_stripe_is_being_paid_finds_nothing() {
    let Some(stripe) = LocalStripe::start().await else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = Arc::new(Shop::open(payment(folder.path(), &stripe.url, &[KEY])).await);
    let config = auditors(folder.path(), payment(folder.path(), &stripe.url, &[KEY]));
    let seller = Arc::clone(&shop);
    let sale = tokio::spawn(async move {
        for buyer in 0..30 {
            buy(&seller, &format!("buyer{buyer}")).await;
        }
    });
    let mut audits = 0;
    while !sale.is_finished() {
        let found = audit(&shop, &config, "--grace 1s --patience 30s", 0);
        assert_eq!(counts(&found), [0; 6], "{found:#}");
        audits += 1;
    }
    sale.await.expect("all are sold");
    assert!(audits > 1, "the sale was over too soon");
    let clean = audit(&shop, &config, &format!("{STRICT} --patience 30s"), 0);
    assert_eq!((counts(&clean), &clean["charged"]), ([0; 6], &json!(30)), "{clean:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_accounts_are_looked_at_and_what_cannot_be_read_is_said_without_a_key() {
    let ours = |number: u64, cluster: &str| json!({ "doorbuster_cluster": cluster, "doorbuster_key": format!("{number:032x}-1700000000000-1") });
    let shop = Shop::open(Table::new()).await;
    let cluster = shop.cluster.name();
    let paid = |number, created| intent(&format!("pi_{number}"), created, "succeeded", &ours(number, cluster));
    // The same reservation at two accounts, which is what a list of accounts that was changed wrongly makes of it.
    let first = Account {
        intents: (0..250).map(|number| paid(number, 1_700_000_000 + number)).collect(),
        ..Account::default()
    };
    let second = Account { intents: vec![paid(17, 1_700_000_900)], ..Account::default() };
    let (lists, url) = Lists::start([(KEY, first), (OTHER_KEY, second)]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let both = auditors(folder.path(), payment(folder.path(), &url, &[KEY, OTHER_KEY]));
    let found = audit(&shop, &both, "--patience 200ms", 1);
    assert_eq!((counts(&found), &found["accounts"]), ([250, 0, 1, 0, 0, 0], &json!(["account-0", "account-1"])));
    let double =
        found["differences"].as_array().expect("they are listed").iter().find(|it| it["kind"] == "double_charges");
    let problem = double.expect("it is there")["problem"].as_str().expect("it is said");
    assert!(problem.contains("(pi_17 at account-0)") && problem.contains("(pi_17 at account-1)"), "{problem}");
    assert!(lists.asked().iter().all(|asked| asked.method == "GET"));

    lists.change(OTHER_KEY, |account| account.may_not = Some("/v1/refunds"));
    let table = |url: &str, keys: &[&str]| payment(folder.path(), url, keys);
    let mut simulator = table(&url, &[KEY]);
    simulator.insert("provider".to_owned(), "simulator".into());
    let mut no_file = table(&url, &[KEY]);
    no_file["stripe"]["accounts"][0]["key_file"] = "nowhere.key".into();
    for (payment, exit, says) in [
        (table(&url, &["rk_test_12345_wrong"]), 2, "does not know the key of account account-0 (401)"),
        (table(&url, &[KEY, OTHER_KEY]), 2, "key of account account-1 may not read refunds (403)"),
        (table("http://127.0.0.1:1", &[KEY]), 4, "is payment.stripe.url right"),
        (table(&url, &[]), 2, "configure an account, [[payment.stripe.accounts]]"),
        (table(&url, &["pk_test_12345"]), 2, "give a secret key"),
        (no_file, 2, "nowhere.key"),
        (simulator, 2, "payment.simulator.url is empty"),
    ] {
        let config = auditors(folder.path(), payment);
        let words =
            format!("audit --payments --database {} --gateway-config {}", shop.front.database(), config.display());
        let (printed, said) = shop.run(&words, exit);
        assert!(said.contains(says), "wanted: {says}: {said}");
        assert!(!said.contains("12345") && !said.contains("67890") && printed.is_empty(), "{said}{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_asked_for_than_may_be_of_what_is_compared() {
    let shop = Shop::open(Table::new()).await;
    let (lists, url) = Lists::start([(KEY, Account::default())]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = auditors(folder.path(), payment(folder.path(), &url, &[KEY]));
    // Since when the last list was asked for, in seconds.
    let since = || {
        let asked = lists.asked().pop().expect("it was asked for something");
        let since = asked.parameters.into_iter().find(|(name, _)| name == "created[gte]");
        since.map(|(_, since)| since.parse::<u64>().expect("a number"))
    };
    audit(&shop, &config, STRICT, 0);
    assert_eq!(since(), None, "where there is nothing, any payment is too much");
    let before = wall().0 / 1000;
    shop.reserve("a").await;
    let after = wall().0 / 1000;
    audit(&shop, &config, STRICT, 0);
    // Clocks of cluster and Stripe may be an hour apart, and a payment may have begun a day and an hour before its order.
    const MARGIN: u64 = 26 * 3600;
    let asked = since().expect("there is a first reservation") + MARGIN;
    assert!((before - 1..=after + 1).contains(&asked), "{before} {asked} {after}");
    audit(&shop, &config, "--since 2026-11-01T00:00:00Z", 0);
    assert_eq!(since(), Some(1_793_491_200 - MARGIN));
}
