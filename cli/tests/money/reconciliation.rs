//! `doorbuster audit --payments` against the payment simulator: clean books, each kind of difference, and a sale that goes on.

use doorbuster_cli::demo::ports::free_ports;
use doorbuster_cli::demo::process::Process;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use toml::{Table, Value as Toml};

use crate::shop::{BINARY, STRICT, Shop, ask, counts, digits, sql};

/// The simulator's card that is good.
const VISA: &str = "tok_visa";

/// A shop whose payments the simulator takes, and the simulator's ledger.
struct Paid {
    shop: Shop,
    _provider: Process,
    provider_url: String,
    ledger: String,
    _folder: TempDir,
}

impl Paid {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = free_ports::<1>().expect("a free port");
        let ledger = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let listen = format!("127.0.0.1:{port}");
        let words = ["payment-simulator", "--listen", &listen, "--ledger", &ledger, "--max-latency-ms", "60"];
        let words = words.map(str::to_owned);
        let log = folder.path().join("provider.txt");
        let provider = Process::start("the provider", BINARY.as_ref(), &words, &log).expect("it starts");
        let provider_url = format!("http://{listen}");
        let simulator = Table::from_iter([("url".to_owned(), Toml::from(provider_url.clone()))]);
        let payment = Table::from_iter([("simulator".to_owned(), Toml::Table(simulator))]);
        let shop = Shop::open(payment).await;
        Self { shop, _provider: provider, provider_url, ledger, _folder: folder }
    }

    /// What `audit --payments` says of the money.
    fn audit(&self, more: &str, exit: i32) -> Value {
        let (database, provider) = (self.shop.front.database(), &self.provider_url);
        let words = format!("audit --payments --database {database} --provider-url {provider} {more}");
        self.shop.ask(&words, exit)["payments"].take()
    }

    /// The same of clean books, by the gateway's file: it says where the provider is.
    fn audit_by_file(&self) -> Value {
        let (database, file) = (self.shop.front.database(), self.shop.front.folder().join("gateway.toml"));
        let words = format!("audit --payments --database {database} --gateway-config {} {STRICT}", file.display());
        self.shop.ask(&words, 0)["payments"].take()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_difference_is_found_and_a_clean_shop_has_none() {
    let paid = Paid::open().await;
    let shop = &paid.shop;
    let mut sold = Vec::new();
    for user in ["a", "b", "c", "d", "e", "f"] {
        let id = shop.reserve(user).await;
        shop.pay(user, &id, VISA).await;
        sold.push(id);
    }
    let clean = paid.audit(&format!("{STRICT} --patience 30s"), 0);
    assert_eq!((counts(&clean), &clean["charged"], &clean["compared"]), ([0; 6], &json!(6), &json!(6)));
    assert_eq!(paid.audit_by_file(), clean);

    let (orders, ledger) = (shop.front.database().to_owned(), paid.ledger.clone());
    let of = |at: usize| digits(&sold[at]).to_owned();
    let other_key = |at: usize, attempt: u16, state: &str, refunded_at: &str| {
        let digits = of(at);
        format!(
            "INSERT INTO charges (key, amount, currency, state, made_at, decides_at, refunded_at)
             VALUES ('{digits}-1-{attempt}', 1000, 'EUR', '{state}', 1, 0, {refunded_at})"
        )
    };
    let remove = |table: &str| format!("DELETE FROM {table} WHERE reservation = '{}'", of(0));
    let declined = format!("UPDATE charges SET state = 'declined', reason = 'x' WHERE key LIKE '{}-%'", of(1));
    let due = format!("UPDATE orders SET state = 'refund_due' WHERE reservation = '{}'", of(4));
    let refund = format!(
        "INSERT INTO refunds SELECT reservation, 1000, 'EUR', 1, NULL FROM orders WHERE reservation = '{}'",
        of(4)
    );
    let steps = [
        (0, vec![(&orders, remove("payments")), (&orders, remove("orders"))], "is sold and charged, and has no order"),
        (1, vec![(&ledger, declined)], "the provider has no money"),
        (2, vec![(&ledger, other_key(2, 77, "taken", "NULL"))], "is charged 2 times"),
        (
            3,
            vec![(&ledger, other_key(3, 77, "refunded", "1")), (&ledger, other_key(3, 78, "refunded", "1"))],
            "is refunded 2 times",
        ),
        (4, vec![(&orders, due), (&orders, refund)], "has a refund due"),
        (5, vec![(&ledger, format!("UPDATE charges SET amount = 1 WHERE key LIKE '{}-%'", of(5)))], "costs 1000 EUR"),
    ];
    let mut expected = [0; 6];
    for (kind, statements, words) in steps {
        for (database, statement) in statements {
            sql(database, &statement).await;
        }
        expected[kind] = 1;
        let found = paid.audit(&format!("{STRICT} --patience 200ms"), 1);
        assert_eq!(counts(&found), expected, "{found:#}");
        let named = found["differences"].as_array().expect("they are listed").iter();
        let named: Vec<&Value> = named.filter(|difference| difference["reservation"] == sold[kind].as_str()).collect();
        assert!(named.len() == 1 && named[0]["problem"].as_str().is_some_and(|it| it.contains(words)), "{found:#}");
    }

    let file = shop.folder.path().join("payments.prom");
    let metrics = format!("{STRICT} --patience 200ms --metrics-file {}", file.display());
    paid.audit(&metrics, 1);
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(text.contains("doorbuster_audit_payment_differences{kind=\"double_charges\"} 1\n"), "{text}");
    // The sale was just now: nothing of it is judged yet, but money that no reservation of ours is known for is.
    let later = paid.audit("--patience 200ms --grace 1h", 0);
    assert_eq!((counts(&later), &later["in_motion"]), ([0; 6], &json!(6)));
    sql(
        &ledger,
        "INSERT INTO charges (key, amount, currency, state, made_at, decides_at) VALUES ('x', 9, 'EUR', 'taken', 1, 0)",
    )
    .await;
    let foreign = paid.audit("--patience 200ms --grace 1h", 1);
    assert_eq!((counts(&foreign)[0], &foreign["differences"][0]["reservation"]), (1, &json!("x")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_during_a_sale_finds_nothing_and_a_parked_order_is_charged_and_not_ordered() {
    let paid = Arc::new(Paid::open().await);
    let (seller, shop) = (Arc::clone(&paid), &paid.shop);
    let sale = tokio::spawn(async move {
        for buyer in 0..40 {
            let user = format!("buyer{buyer}");
            let id = seller.shop.reserve(&user).await;
            seller.shop.pay(&user, &id, VISA).await;
        }
    });
    let mut audits = 0;
    while !sale.is_finished() {
        let found = paid.audit("--grace 1s --patience 30s", 0);
        assert_eq!(counts(&found), [0; 6]);
        audits += 1;
    }
    sale.await.expect("all are sold");
    assert!(audits > 1, "the sale was over too soon");

    let id = shop.reserve("late").await;
    let poison = format!(
        "CREATE TRIGGER poison BEFORE INSERT ON orders WHEN NEW.reservation = '{}' BEGIN SELECT RAISE(ABORT, 'no'); END",
        digits(&id)
    );
    sql(shop.front.database(), &poison).await;
    shop.pay("late", &id, VISA).await;
    let found = paid.audit(&format!("{STRICT} --patience 2s"), 1);
    assert_eq!(counts(&found), [1, 0, 0, 0, 0, 0], "{found:#}");
    assert!(found["differences"][0]["problem"].as_str().is_some_and(|it| it.contains("parked")), "{found:#}");
    sql(shop.front.database(), "DROP TRIGGER poison").await;
    assert_eq!(ask("orders retry --all", shop.front.database(), 0), json!({ "stored": 1, "parked": 0 }));
    let clean = paid.audit(&format!("{STRICT} --patience 30s"), 0);
    assert_eq!((counts(&clean), &clean["charged"]), ([0; 6], &json!(41)));
}
