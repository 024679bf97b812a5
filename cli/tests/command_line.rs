//! The binary as a person or a script uses it, against servers that are processes too: what is printed, and the
//! exit codes.

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig};
use doorbuster_protocol::types::NodeId;
use serde_json::Value;
use std::process::{Command, Output};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_doorbuster");

struct Shop {
    cluster: Cluster,
    _folder: TempDir,
}

impl Shop {
    async fn open(nodes: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = ClusterConfig { nodes, shards: 2, ..ClusterConfig::new(BINARY, folder.path()) };
        let cluster = Cluster::start(config.with("segment_bytes", 1 << 20)).await.expect("the cluster starts");
        Self { cluster, _folder: folder }
    }

    /// Runs `doorbuster WORDS` against the cluster.
    fn run(&self, words: &str) -> Output {
        run(&[words.split(' ').collect(), vec!["--nodes"]].concat(), |command| {
            command.arg(self.cluster.client_addresses().join(","));
            command.args(["--cluster", self.cluster.name(), "--credential-file"]).arg(self.cluster.credential_file());
        })
    }

    /// The same with `--json`, which must succeed.
    fn ask(&self, words: &str) -> Value {
        let output = self.run(&format!("{words} --json"));
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("stdout is one JSON document")
    }

    /// The same with `--json`, which must fail with this exit code; gives the error's code.
    fn refused(&self, words: &str, exit: i32) -> String {
        let output = self.run(&format!("{words} --json"));
        assert_eq!(output.status.code(), Some(exit), "{words}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "");
        let error: Value = serde_json::from_slice(&output.stderr).expect("stderr is one JSON document");
        assert_eq!(error["error"]["exit_code"], exit);
        error["error"]["code"].as_str().expect("errors have a code").to_owned()
    }
}

fn run(words: &[&str], more: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words);
    more(&mut command);
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_person_sells_two_units() {
    let shop = Shop::open(1).await;
    let create = "product create 7 --name Phone --stock 2 --price 49900 --limit-per-user 1";
    assert_eq!(shop.ask(create)["replayed"], false);
    assert_eq!(shop.ask(create)["replayed"], true, "creating again is a replay");
    assert_eq!(shop.refused(&create.replace("Phone", "Fone"), 3), "product_exists");

    let alice = "reserve 7 --user alice --id ff";
    let made = shop.ask(alice);
    assert_eq!((&made["replayed"], &made["reservation"]["state"]), (&Value::from(false), &Value::from("held")));
    assert_eq!(shop.ask(alice)["replayed"], true);
    assert_eq!(shop.refused("reserve 7 --user bob --id ff", 3), "conflicting_retry");
    assert_eq!(shop.refused("reserve 7 --user alice", 3), "limit_reached");
    assert_eq!(shop.refused("reserve 7 --user bob --quantity 0", 3), "invalid_argument");

    let id = made["reservation"]["id"].as_str().expect("it has an id").to_owned();
    assert_eq!(id, "7-000000000000000000000000000000ff");
    assert_eq!(shop.refused(&format!("show {id} --user bob"), 3), "unknown_reservation");
    let before = shop.ask(&format!("show {id} --user alice"))["reservation"]["expires_at"].as_u64();
    let after = shop.ask(&format!("extend {id} --by 1m"))["reservation"]["expires_at"].as_u64();
    assert_eq!(after, before.map(|time| time + 60_000));
    let declined = shop.ask(&format!("pay {id} --decline"));
    assert_eq!(declined["reservation"]["state"], "held", "a declined card leaves it held");
    assert_eq!(shop.ask(&format!("pay {id}"))["reservation"]["state"], "confirmed");
    assert_eq!(shop.refused(&format!("release {id}"), 3), "already_confirmed");

    let bobs = shop.ask("reserve 7 --user bob")["reservation"]["id"].as_str().expect("it has an id").to_owned();
    assert_eq!(shop.refused("reserve 7 --user carol", 3), "all_held");
    assert_eq!(shop.ask(&format!("release {bobs}"))["reservation"]["state"], "released");
    let carols = shop.ask("reserve 7 --user carol")["reservation"]["id"].as_str().expect("it has an id").to_owned();
    assert_eq!(shop.ask(&format!("confirm {carols}"))["reservation"]["state"], "confirmed");
    assert_eq!(shop.refused("reserve 7 --user bob", 3), "sold_out");

    let audit = shop.ask("audit");
    assert_eq!((&audit["ok"], &audit["products"][0]["sold"]), (&Value::from(true), &Value::from(2)));

    assert_eq!(shop.refused(&format!("cancel {id}"), 2), "usage", "what becomes of the units has to be said");
    let paid = shop.ask(&format!("cancel {id} --units return --reason customer"));
    assert_eq!(paid["reservation"]["state"], "refund_due");
    let how = serde_json::json!({ "reason": "customer", "stock_returned": true });
    assert_eq!(paid["reservation"]["cancelled"], how);
    assert_eq!(shop.refused(&format!("cancel {id} --units write-off"), 3), "reservation_cancelled");
    let unpaid = format!("cancel {carols} --units write-off");
    assert_eq!(shop.ask(&unpaid)["reservation"]["state"], "cancelled");
    assert_eq!(shop.ask(&unpaid)["replayed"], true);
    let shown = shop.run("product show 7");
    assert!(text(&shown.stdout).contains("1 = 1 available + 0 held + 0 sold"), "{shown:?}");
    assert_eq!(shop.ask("audit")["ok"], true);
}

#[tokio::test]
async fn an_operator_changes_a_sale() {
    let shop = Shop::open(1).await;
    shop.ask("product create 1 --name A --stock 10 --price 1 --opens-at +1h");
    shop.ask("product create 2 --name B --stock 10 --price 1 --ttl 90s");
    assert_eq!(shop.refused("reserve 1 --user a", 3), "not_open");
    let list = shop.ask("product list");
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(shop.ask("product adjust 2 -4 --operation 1")["product"]["stock"], 6);
    assert_eq!(shop.ask("product adjust 2 -4 --operation 1")["product"]["stock"], 6, "once");
    assert_eq!(shop.refused("product set-stock 2 --expected 10 --stock 20", 3), "stock_mismatch");
    assert_eq!(shop.ask("product set-stock 2 --expected 6 --stock 20")["product"]["available"], 20);
    assert_eq!(shop.ask("product pause 2")["product"]["sale"], "paused");
    assert_eq!(shop.refused("reserve 2 --user a", 3), "paused");
    assert_eq!(shop.ask("product resume 2")["product"]["sale"], "active");
    assert_eq!(shop.ask("product close 2")["product"]["sale"], "closed");
    assert_eq!(shop.refused("product show 3", 3), "unknown_product");
    let shown = shop.run("product show 2");
    let people = text(&shown.stdout);
    assert!(people.contains("20 = 20 available + 0 held + 0 sold") && people.contains("1m 30s"), "{people}");
}

#[tokio::test]
async fn a_node_that_is_down_is_shown_and_found_by_the_audit() {
    let shop = Shop::open(3).await;
    let whole = shop.ask("status --check");
    assert_eq!(whole["problems"], Value::Array(Vec::new()));
    shop.cluster.kill(NodeId(2)).expect("it runs");
    let status = loop {
        let status = shop.ask("status");
        if status["leaders"].as_array().is_some_and(|leaders| leaders.iter().all(Value::is_number)) {
            break status;
        }
    };
    assert_eq!((&status["nodes"][1]["node"], &status["nodes"][1]["state"]), (&Value::from(2), &Value::from("down")));
    assert!(text(&shop.run("status").stdout).contains("DOWN"));
    let check = shop.run("status --check");
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stderr).contains("node 2"), "{}", text(&check.stderr));
    let audit = shop.run("audit --patience 500ms");
    assert_eq!(audit.status.code(), Some(1));
    assert!(text(&audit.stderr).contains("node 2 does not answer"), "{}", text(&audit.stderr));

    shop.cluster.start_node(NodeId(2)).expect("it was killed");
    shop.cluster.wait_ready(std::time::Duration::from_secs(30)).await.expect("it comes back");
    assert_eq!(shop.ask("audit")["state_hashes_equal"], true);
    shop.cluster.shutdown().await.expect("all end when asked to");
}

#[test]
fn what_cannot_be_done_is_said_in_one_sentence_with_its_exit_code() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("node");
    let data = path.to_str().expect("temporary folders have plain names");
    let cases: [(&[&str], i32, &str); 8] = [
        (&["reserve", "0", "--user", "a"], 2, "no product id"),
        (&["reserve", "7"], 2, "--user"),
        (&["product", "create", "7", "--name", "x", "--stock", "-1", "--price", "1"], 2, "-1"),
        (&["reserve", "7", "--user", "a", "--nodes", "127.0.0.1:1", "--timeout", "300ms"], 4, "no server could do it"),
        (&["server", "--data", data], 6, "format"),
        (&["gateway", "--listen", "127.0.0.1:0", "--database", ""], 2, "auth.keys"),
        (&["demo", "--units", "10", "--buyers", "9"], 2, "as many buyers at least"),
        (&["demo", "--declined", "51"], 2, "51 is not in 0..=50"),
    ];
    for (words, exit, wanted) in cases {
        let output = run(words, |_| {});
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {error}");
        assert!(error.contains(wanted), "{words:?}: {error}");
    }
    assert_eq!(run(&["server", "format", "--data", data], |_| {}).status.code(), Some(0));
    let again = run(&["server", "format", "--data", data], |_| {});
    assert_eq!(again.status.code(), Some(6), "a folder is formatted once");
}

#[test]
fn where_webhooks_go_and_what_signs_them_is_checked_and_never_shown() {
    const PRIVATE: &str = "whsec_too_short";
    let url = ["payment-simulator", "--webhook-url", "http://127.0.0.1:1/hook"];
    let secrets = ["--webhook-secrets-env", "TEST_SECRETS"];
    let far = ["payment-simulator", "--webhook-url", "http://192.0.2.1/hook"];
    let gateway =
        ["gateway", "--insecure-dev", "--listen", "127.0.0.1:0", "--set", "payment.webhook_secrets_env=TEST_SECRETS"];
    let cases: [(Vec<&str>, &str, &str); 6] = [
        (url.to_vec(), PRIVATE, "--webhook-secrets-file"),
        ([&url[..], &secrets].concat(), PRIVATE, "32 bytes"),
        ([&url[..], &["--webhook-secrets-file", "/nowhere/secrets"]].concat(), PRIVATE, "/nowhere/secrets"),
        ([&far[..], &secrets].concat(), "a secret-of-at-least-thirty-two-bytes", "32 bytes"),
        ([&far[..], &secrets].concat(), "the-secret-of-at-least-thirty-two-bytes", "loopback"),
        (gateway.to_vec(), PRIVATE, "payment.webhook_secrets_env"),
    ];
    for (words, secret, wanted) in cases {
        let output = run(&words, |command| {
            command.env("TEST_SECRETS", secret);
        });
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains(wanted) && !error.contains(secret), "{words:?}: {error}");
    }
}

#[test]
fn a_token_says_who_and_what_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "a secret of at least thirty-two bytes\n").expect("the folder takes a file");
    let output = run(&["token", "--sub", "root", "--admin", "--valid", "1m", "--key"], |command| {
        command.arg(&key);
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let token = text(&output.stdout);
    let secret = jsonwebtoken::DecodingKey::from_secret(b"a secret of at least thirty-two bytes");
    let validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    let claims = jsonwebtoken::decode::<Value>(token.trim(), &secret, &validation).expect("it is signed").claims;
    assert_eq!((&claims["sub"], &claims["scope"]), (&Value::from("root"), &Value::from("admin")));
}
