//! What operators are given to keep orders and money straight: the binary itself, against real databases.

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig, free_ports};
use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::demo::process::Process;
use doorbuster_cli::token;
use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use toml::{Table, Value as Toml};

const BINARY: &str = env!("CARGO_BIN_EXE_doorbuster");

fn run(words: &str, database: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words.split(' ')).args(["--database", database]).output().expect("the binary runs")
}

/// The same with `--json`, which must end with this exit code; gives what it printed.
fn ask(words: &str, database: &str, exit: i32) -> Value {
    let output = run(&format!("{words} --json"), database);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{words}: {said}");
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    serde_json::from_slice(text).expect("one JSON document")
}

async fn sql(database: &str, statement: &str) {
    let mut connection = SqliteConnection::connect(database).await.expect("the database opens");
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect("the database does it");
    connection.close().await.expect("it closes");
}

fn entry(position: u64) -> FeedEntry {
    FeedEntry {
        position: FeedPosition(position),
        kind: FeedKind::Confirmed,
        product: ProductId(7),
        reservation: ReservationId(u128::from(position)),
        user: UserId(9),
        quantity: Quantity(1),
        price: Money { minor: 4999, currency: Currency(*b"EUR") },
        at: Timestamp(1_800_000_000_000),
        late: false,
        cancelled: None,
    }
}

#[tokio::test]
async fn what_the_database_refused_is_shown_and_put_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = format!("sqlite:{}", folder.path().join("orders.db").display());
    let absent = ask("orders parked", &database, 2);
    assert!(absent["error"]["message"].as_str().is_some_and(|text| text.contains("there is no file")), "{absent}");
    let store = OrderStore::connect(&database).await.expect("it is created");
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON orders WHEN NEW.position IN (3, 4)
                  BEGIN SELECT RAISE(ABORT, 'no more of these'); END";
    sql(&database, poison).await;
    let entries: Vec<FeedEntry> = (1..=5).map(entry).collect();
    store.store(ShardId(0), &entries).await.expect("what is refused is parked");

    let parked = ask("orders parked", &database, 0);
    assert_eq!((&parked["count"], &parked["parked"][0]["position"]), (&json!(2), &json!(3)));
    assert_eq!(parked["parked"][0]["reservation"], "7-00000000000000000000000000000003");
    let people = String::from_utf8(run("orders parked", &database).stdout).expect("text");
    assert!(people.contains("no more of these") && people.contains("2 parked."), "{people}");

    assert_eq!(ask("orders retry", &database, 2)["error"]["code"], "usage");
    let other = "orders retry 7-00000000000000000000000000000001";
    assert_eq!(ask(other, &database, 3)["error"]["code"], "not_parked");
    assert_eq!(ask("orders retry --all", &database, 1), json!({ "stored": 0, "parked": 2 }));
    sql(&database, "DROP TRIGGER poison").await;
    let one = "orders retry 7-00000000000000000000000000000003";
    assert_eq!(ask(one, &database, 0), json!({ "stored": 1, "parked": 0 }));
    assert_eq!(ask("orders retry --all", &database, 0), json!({ "stored": 1, "parked": 0 }));
    assert_eq!(ask("orders parked", &database, 0)["count"], 0);
    assert_eq!(store.count().await.expect("it is there"), 5);
}

/// A server, a gateway and a payment provider, each a process, and the two databases.
struct Shop {
    cluster: Cluster,
    front: Front,
    _provider: Process,
    provider_url: String,
    ledger: String,
    folder: TempDir,
}

impl Shop {
    async fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = ClusterConfig { nodes: 1, shards: 2, ..ClusterConfig::new(BINARY, folder.path()) };
        let cluster = Cluster::start(config.with("segment_bytes", 1 << 20)).await.expect("the cluster starts");
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
        let settings = Table::from_iter([("payment".to_owned(), Toml::Table(payment))]);
        let config =
            FrontConfig { binary: BINARY.into(), folder: folder.path().join("gateway"), database: None, settings };
        let front = Front::start(config, &cluster).await.expect("the gateway starts");
        let shop = Self { cluster, front, _provider: provider, provider_url, ledger, folder };
        shop.ask("product create 7 --name Phone --stock 1000 --price 500 --currency EUR", 0);
        shop
    }

    /// Runs `doorbuster WORDS --json` against the cluster, which must end with this exit code.
    fn ask(&self, words: &str, exit: i32) -> Value {
        let mut command = Command::new(BINARY);
        command.args(words.split(' ')).args(["--json", "--nodes", &self.cluster.client_addresses().join(",")]);
        command.args(["--cluster", self.cluster.name(), "--credential-file"]).arg(self.cluster.credential_file());
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words}: {said}");
        serde_json::from_slice(&output.stdout).expect("stdout is one JSON document")
    }

    /// What `audit --payments` says of the money.
    fn audit(&self, more: &str, exit: i32) -> Value {
        let (database, provider) = (self.front.database(), &self.provider_url);
        let words = format!("audit --payments --database {database} --provider-url {provider} {more}");
        self.ask(&words, exit)["payments"].take()
    }

    async fn http(&self, method: &str, path: &str, user: &str, body: &Value) -> (u16, Value) {
        let key = jsonwebtoken::EncodingKey::from_secret(self.front.secret());
        let bearer = token::sign(&key, user, false, 4_000_000_000).expect("it signs");
        let (address, body) = (self.front.address(), body.to_string());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\nIdempotency-Key: k\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.expect("the gateway listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn reserve(&self, user: &str) -> String {
        let body = json!({ "product": 7, "quantity": 2 });
        let (status, made) = self.http("POST", "/v1/reservations", user, &body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().expect("it has an id").to_owned()
    }

    /// Pays and waits until it is sold.
    async fn pay(&self, user: &str, id: &str) {
        let path = format!("/v1/reservations/{id}");
        let card = json!({ "card_token": "tok_visa" });
        let (status, begun) = self.http("POST", &format!("{path}/payment"), user, &card).await;
        assert!([200, 202].contains(&status), "{status} {begun}");
        for _ in 0..600 {
            if self.http("GET", &path, user, &Value::Null).await.1["state"] == "confirmed" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} is never sold");
    }
}

/// The reservation's 32 digits, as databases and keys have it.
fn digits(id: &str) -> &str {
    id.split_once('-').expect("a product and an id").1
}

fn counts(payments: &Value) -> [u64; 6] {
    let kinds = [
        "charged_not_ordered",
        "ordered_not_charged",
        "double_charges",
        "double_refunds",
        "refunds_due_unpaid",
        "books_differ",
    ];
    kinds.map(|kind| payments[kind].as_u64().expect("each kind is counted"))
}

/// Without any mercy for what has just changed.
const STRICT: &str = "--grace 0s --refund-limit 0s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_difference_is_found_and_a_clean_shop_has_none() {
    let shop = Shop::open().await;
    let mut sold = Vec::new();
    for user in ["a", "b", "c", "d", "e", "f"] {
        let id = shop.reserve(user).await;
        shop.pay(user, &id).await;
        sold.push(id);
    }
    let clean = shop.audit(&format!("{STRICT} --patience 30s"), 0);
    assert_eq!((counts(&clean), &clean["charged"], &clean["compared"]), ([0; 6], &json!(6), &json!(6)));

    let (orders, ledger) = (shop.front.database().to_owned(), shop.ledger.clone());
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
        let found = shop.audit(&format!("{STRICT} --patience 200ms"), 1);
        assert_eq!(counts(&found), expected, "{found:#}");
        let named = found["differences"].as_array().expect("they are listed").iter();
        let named: Vec<&Value> = named.filter(|difference| difference["reservation"] == sold[kind].as_str()).collect();
        assert!(named.len() == 1 && named[0]["problem"].as_str().is_some_and(|it| it.contains(words)), "{found:#}");
    }

    let file = shop.folder.path().join("payments.prom");
    let metrics = format!("{STRICT} --patience 200ms --metrics-file {}", file.display());
    shop.audit(&metrics, 1);
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(text.contains("doorbuster_audit_payment_differences{kind=\"double_charges\"} 1\n"), "{text}");
    // The sale was just now: nothing of it is judged yet, but money that no reservation of ours is known for is.
    let later = shop.audit("--patience 200ms --grace 1h", 0);
    assert_eq!((counts(&later), &later["in_motion"]), ([0; 6], &json!(6)));
    sql(
        &ledger,
        "INSERT INTO charges (key, amount, currency, state, made_at, decides_at) VALUES ('x', 9, 'EUR', 'taken', 1, 0)",
    )
    .await;
    let foreign = shop.audit("--patience 200ms --grace 1h", 1);
    assert_eq!((counts(&foreign)[0], &foreign["differences"][0]["reservation"]), (1, &json!("x")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_during_a_sale_finds_nothing_and_a_parked_order_is_charged_and_not_ordered() {
    let shop = Arc::new(Shop::open().await);
    let seller = Arc::clone(&shop);
    let sale = tokio::spawn(async move {
        for buyer in 0..40 {
            let user = format!("buyer{buyer}");
            let id = seller.reserve(&user).await;
            seller.pay(&user, &id).await;
        }
    });
    let mut audits = 0;
    while !sale.is_finished() {
        let found = tokio::task::block_in_place(|| shop.audit("--grace 1s --patience 30s", 0));
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
    shop.pay("late", &id).await;
    let found = tokio::task::block_in_place(|| shop.audit(&format!("{STRICT} --patience 2s"), 1));
    assert_eq!(counts(&found), [1, 0, 0, 0, 0, 0], "{found:#}");
    assert!(found["differences"][0]["problem"].as_str().is_some_and(|it| it.contains("parked")), "{found:#}");
    sql(shop.front.database(), "DROP TRIGGER poison").await;
    assert_eq!(ask("orders retry --all", shop.front.database(), 0), json!({ "stored": 1, "parked": 0 }));
    let clean = tokio::task::block_in_place(|| shop.audit(&format!("{STRICT} --patience 30s"), 0));
    assert_eq!((counts(&clean), &clean["charged"]), ([0; 6], &json!(41)));
}
