//! The database is down for long: the order feed, which is kept until it is stored, does not grow without bound.

use std::time::Duration;

use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::command::{Payment, Reserve, Target};
use doorbuster_protocol::types::{Millis, Quantity, ReservationId, UserId};
use doorbuster_tests::binary::binary;
use doorbuster_tests::http::ask;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use toml::Table;

use crate::sale::{PRODUCT, Sale, WITHIN};

const BOUND: u128 = 40;
const RESERVED_BEFORE: std::ops::RangeInclusive<u128> = 9001..=9005;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_down_so_much_is_sold_and_no_more() {
    let sale = Sale::start_with(|config| config.with("max_feed", i64::try_from(BOUND).unwrap_or(i64::MAX))).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gateway =
        FrontConfig { binary: binary(), folder: folder.path().to_owned(), database: None, settings: Table::new() };
    let gateway = Front::start(gateway, &sale.cluster).await.expect("a gateway starts");
    let impatient = Config { deadline: Duration::from_millis(1500), ..sale.cluster.client_config() };
    let client = Client::connect(impatient).await.expect("the cluster answers");
    for number in RESERVED_BEFORE {
        client.reserve(reserve(number)).await.expect("there is plenty");
    }

    let mut database = SqliteConnection::connect(gateway.database()).await.expect("the gateway's own file");
    database.execute("PRAGMA busy_timeout = 20000").await.expect("it can be set");
    database.execute("BEGIN EXCLUSIVE").await.expect("nobody writes for ever");
    let sold = sell_until_busy(&client).await;
    assert!((BOUND - 1..=BOUND + 1).contains(&sold), "{sold} sold with room for {BOUND} orders");

    // What began before is finished; what would begin is not begun.
    let [first, rest @ ..] = [0, 1, 2, 3].map(|at| target(RESERVED_BEFORE.start() + at));
    let payment = client.begin_payment(Payment { target: first, attempt: 1 }).await;
    assert!(is_overloaded(&payment), "{payment:?}");
    for target in rest {
        client.confirm(target).await.expect("it was reserved before");
    }
    client.release(target(*RESERVED_BEFORE.end())).await.expect("it was reserved before");
    client.reserve(reserve(1)).await.expect("a retry of what was granted begins nothing");
    let told = async { while sale.metric("doorbuster_order_feed_entries ").await != sold + 3 {} };
    tokio::time::timeout(WITHIN, told).await.expect("the metric says so");

    database.execute("COMMIT").await.expect("it was begun");
    let again = async {
        while client.reserve(reserve(10_000)).await.is_err() {}
        client.begin_payment(Payment { target: first, attempt: 1 }).await.expect("it sells again");
    };
    tokio::time::timeout(WITHIN, again).await.expect("the database is up, and it sells again");
    let orders = async {
        let count = "SELECT count(*) FROM orders";
        while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut database).await.expect("it has the table")
            < i64::try_from(sold + 3).unwrap_or(i64::MAX)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, orders).await.expect("every order arrives");
}

fn target(number: u128) -> Target {
    Target { product: PRODUCT, reservation: ReservationId(number), user: UserId(number) }
}

fn reserve(number: u128) -> Reserve {
    let Target { product, reservation, user } = target(number);
    Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) }
}

fn is_overloaded<T>(answer: &Result<T, Error>) -> bool {
    matches!(answer, Err(Error::Unavailable { overloaded: true, .. }))
}

/// How many were sold, one after the other, before no more began.
async fn sell_until_busy(client: &Client) -> u128 {
    for number in 1..=10 * BOUND {
        let answer = client.reserve(reserve(number)).await;
        if is_overloaded(&answer) {
            return number - 1;
        }
        answer.expect("there is plenty");
        client.confirm(target(number)).await.expect("it is held");
    }
    panic!("{} were sold, and the feed may have {BOUND}", 10 * BOUND);
}

impl Sale {
    /// A gauge, as the node that has most of it shows it.
    async fn metric(&self, name: &str) -> u128 {
        let mut most = 0;
        for node in self.cluster.nodes() {
            let address = &self.cluster.addresses(node).expect("it has addresses").admin;
            let page = ask(address, "GET", "/metrics", "", "").await.expect("it answers").is(200);
            let text = page.as_str().expect("metrics are text");
            let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            most = most.max(value.trim().parse().expect("a whole number"));
        }
        most
    }
}
