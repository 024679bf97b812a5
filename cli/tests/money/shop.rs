//! A shop of real processes, and how it is asked.

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig};
use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::token;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use toml::{Table, Value as Toml};

pub const BINARY: &str = env!("CARGO_BIN_EXE_doorbuster");

pub fn run(words: &str, database: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words.split(' ')).args(["--database", database]).output().expect("the binary runs")
}

/// The same with `--json`, which must end with this exit code; gives what it printed, or else its error.
pub fn ask(words: &str, database: &str, exit: i32) -> Value {
    let output = run(&format!("{words} --json"), database);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{words}: {said}");
    let text = if output.stdout.is_empty() { &output.stderr } else { &output.stdout };
    serde_json::from_slice(text).expect("one JSON document")
}

pub async fn sql(database: &str, statement: &str) {
    let mut connection = SqliteConnection::connect(database).await.expect("the database opens");
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect("the database does it");
    connection.close().await.expect("it closes");
}

/// A server and a gateway, each a process, and the order database.
pub struct Shop {
    pub cluster: Cluster,
    pub front: Front,
    pub folder: TempDir,
}

impl Shop {
    /// Opens it; its gateway is told this about payments.
    pub async fn open(payment: Table) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = ClusterConfig { nodes: 1, shards: 2, ..ClusterConfig::new(BINARY, folder.path()) };
        let cluster = Cluster::start(config.with("segment_bytes", 1 << 20)).await.expect("the cluster starts");
        let settings = Table::from_iter([("payment".to_owned(), Toml::Table(payment))]);
        let config =
            FrontConfig { binary: BINARY.into(), folder: folder.path().join("gateway"), database: None, settings };
        let front = Front::start(config, &cluster).await.expect("the gateway starts");
        let shop = Self { cluster, front, folder };
        shop.ask("product create 7 --name Phone --stock 1000 --price 500 --currency EUR", 0);
        shop
    }

    /// Runs `doorbuster WORDS --json` against the cluster, which must end with this exit code; gives what it printed, or else its error.
    pub fn ask(&self, words: &str, exit: i32) -> Value {
        let (printed, said) = self.run(words, exit);
        serde_json::from_str(if printed.is_empty() { &said } else { &printed }).expect("one JSON document")
    }

    /// The same; gives its output and its error output as they are.
    pub fn run(&self, words: &str, exit: i32) -> (String, String) {
        let mut command = Command::new(BINARY);
        command.args(words.split(' ')).args(["--json", "--nodes", &self.cluster.client_addresses().join(",")]);
        command.args(["--cluster", self.cluster.name(), "--credential-file"]).arg(self.cluster.credential_file());
        // What it asks may be served by this very process.
        let output = tokio::task::block_in_place(|| command.output()).expect("the binary runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
        let (printed, said) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(exit), "{words}: {said}{printed}");
        (printed, said)
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

    pub async fn reserve(&self, user: &str) -> String {
        let body = json!({ "product": 7, "quantity": 2 });
        let (status, made) = self.http("POST", "/v1/reservations", user, &body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().expect("it has an id").to_owned()
    }

    /// Pays with this card and waits until it is sold.
    pub async fn pay(&self, user: &str, id: &str, card: &str) {
        let path = format!("/v1/reservations/{id}");
        let card = json!({ "card_token": card });
        let (status, begun) = self.http("POST", &format!("{path}/payment"), user, &card).await;
        assert!([200, 202].contains(&status), "{status} {begun}");
        self.comes_to(user, id, "confirmed").await;
    }

    /// Waits until it is in this state.
    pub async fn comes_to(&self, user: &str, id: &str, state: &str) {
        let path = format!("/v1/reservations/{id}");
        for _ in 0..1200 {
            if self.http("GET", &path, user, &Value::Null).await.1["state"] == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} is never {state}");
    }
}

/// The reservation's 32 digits, as databases and keys have it.
pub fn digits(id: &str) -> &str {
    id.split_once('-').expect("a product and an id").1
}

pub fn counts(payments: &Value) -> [u64; 6] {
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
pub const STRICT: &str = "--grace 0s --refund-limit 0s";
