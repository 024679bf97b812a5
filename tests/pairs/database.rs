//! PostgreSQL ends in the middle of a batch, or will not have one of its rows.

use std::process::Command;

use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::command::LatePaymentPolicy::RetakeOrRefund;
use doorbuster_tests::chaos::postgres::{Ending, Postgres};
use doorbuster_tests::http::{WITHIN, until};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::shop::{LONG, Plan, Shop, id};
use crate::shopper::Shopper;

const PLAN: Plan =
    Plan { gateways: 2, postgres: true, tells: crate::shop::Tells::Gateway, provider: &[], sweep_after_ms: 2000 };
/// Holds up whoever stores a payment, so between an order and the position, while somebody has this lock.
const BARRIER: &str = "
    CREATE FUNCTION barrier() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END$$;
    CREATE TRIGGER barrier BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION barrier();";
/// A writer that has stored orders and not committed them: its process, and since when.
const IN_BATCH: &str = "
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'doorbuster-gateway' AND wait_event = 'advisory' AND state = 'active' AND query LIKE '%payments%'";

/// A shop whose tables are made: a gateway that is ready may still be about to.
async fn open() -> Option<Shop> {
    let shop = Shop::open(PLAN).await?;
    OrderStore::connect(&shop.database()).await.expect("PostgreSQL is up").close().await;
    Some(shop)
}

/// A session of an operator's.
async fn session(shop: &Shop) -> PgConnection {
    PgConnection::connect(&shop.database()).await.expect("PostgreSQL is up")
}

async fn execute(shop: &Shop, statement: &str) {
    session(shop).await.execute(AssertSqlSafe(statement.to_owned())).await.expect("PostgreSQL does it");
}

async fn buy(shop: &Shop, round: &str, buyers: usize) -> Vec<(Shopper, String)> {
    let mut bought = Vec::new();
    for buyer in 0..buyers {
        let shopper = Shopper::at(shop.gateway(buyer % 2), &format!("{round}{buyer}"));
        let path = shopper.buy(1 + buyer as u64 % 2, LONG).await;
        bought.push((shopper, path));
    }
    for (shopper, path) in &bought {
        shopper.sees(path, &["confirmed"]).await;
    }
    bought
}

/// Sells, until a writer is in the middle of its batch; gives who holds it up, and the writer's process.
async fn mid_batch(shop: &Shop, round: &str) -> (Vec<(Shopper, String)>, PgConnection, i32) {
    let before: i64 = count(&mut session(shop).await).await;
    let mut holder = session(shop).await;
    holder.execute("SELECT pg_advisory_lock(42)").await.expect("nobody else has it");
    let bought = buy(shop, round, 10).await;
    let mut writer = None;
    until("a writer is in the middle of its batch", WITHIN, async || {
        writer = sqlx::query_scalar(IN_BATCH).fetch_optional(&mut holder).await.expect("PostgreSQL is up");
        writer.is_some()
    })
    .await;
    assert_eq!(count(&mut holder).await, before, "what is not committed is not there");
    (bought, holder, writer.expect("it was found"))
}

async fn count(session: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(session).await.expect("it has the table")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_killed_in_the_middle_of_a_batch_has_each_order_once() {
    let Some(mut shop) = open().await else { return };
    shop.product(1, 1000, LONG, RetakeOrRefund).await;
    shop.product(2, 1000, LONG, RetakeOrRefund).await;
    let mut bought = buy(&shop, "before", 4).await;
    until("they are ordered", WITHIN, async || count(&mut session(&shop).await).await == 4).await;
    execute(&shop, BARRIER).await;

    // The one process that serves the writer; PostgreSQL then throws everybody out and recovers by itself.
    let (more, mut holder, writer) = mid_batch(&shop, "backend").await;
    bought.extend(more);
    let killed = Command::new("kill").args(["-9", &writer.to_string()]).status().expect("there is kill");
    assert!(killed.success());
    until("PostgreSQL has thrown everybody out", WITHIN, async || holder.execute("SELECT 1").await.is_err()).await;
    drop(holder);
    until("it is back", WITHIN, async || PgConnection::connect(&shop.database()).await.is_ok()).await;
    until("they are ordered", WITHIN, async || count(&mut session(&shop).await).await == 14).await;

    // All of it.
    let (more, holder, _) = mid_batch(&shop, "postmaster").await;
    bought.extend(more);
    shop.database_mut().down(Ending::Killed).await.expect("it is ours");
    drop(holder);
    shop.database_mut().up().await.expect("it starts again");
    let ends = shop.agree(&bought).await;
    assert_eq!(ends, [("confirmed", 24)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_row_is_parked_and_the_others_are_ordered() {
    let Some(shop) = open().await else { return };
    shop.product(1, 1000, LONG, RetakeOrRefund).await;
    shop.product(2, 1000, LONG, RetakeOrRefund).await;
    let mallory = shop.shopper("mallory");
    let poison = mallory.reserve(1, LONG).await;
    let digits = format!("{:032x}", id(&poison).1.0);
    execute(&shop, &format!("ALTER TABLE orders ADD CONSTRAINT poison CHECK (reservation <> '{digits}') NOT VALID"))
        .await;
    // Nothing is stored until all are sold, so that it stands in the middle of a batch.
    let mut holder = session(&shop).await;
    holder.execute("BEGIN; LOCK TABLE feed_positions").await.expect("nobody is quicker for ever");
    let mut bought = buy(&shop, "before", 6).await;
    mallory.pay(&poison).await;
    mallory.sees(&poison, &["confirmed"]).await;
    bought.extend(buy(&shop, "after", 6).await);
    holder.execute("COMMIT").await.expect("it was begun");

    until("the others are ordered", WITHIN, async || count(&mut holder).await == 12).await;
    let (database, name) = (shop.database(), poison.rsplit('/').next().expect("a path").to_owned());
    let place = ["--database", &database];
    let mut parked = serde_json::Value::Null;
    until("it is parked", WITHIN, async || {
        parked = shop.run("orders parked", &place, 0);
        parked["count"] == 1
    })
    .await;
    let parked = &parked["parked"][0];
    assert_eq!((&parked["reservation"], &parked["state"]), (&name.clone().into(), &"confirmed".into()));
    assert!(parked["error"].as_str().is_some_and(|error| error.contains("poison")), "{parked}");
    // What was bought later is ordered all the same; what is parked is honestly neither lost nor there.
    bought.extend(buy(&shop, "later", 4).await);
    until("those, too", WITHIN, async || count(&mut holder).await == 16).await;
    let order = mallory.get(&format!("/v1/orders/{name}")).await;
    assert_eq!((order.status, &order.body["code"]), (404, &"order_pending".into()), "{}", order.body);
    let found = shop.audit("1s", 1);
    assert_eq!((&found["charged_not_ordered"], &found["ordered_not_charged"]), (&1.into(), &0.into()), "{found:#}");
    assert_eq!(found["differences"][0]["reservation"], name.as_str());

    let refused = shop.run(&format!("orders retry {name}"), &place, 1);
    assert_eq!(refused, serde_json::json!({ "stored": 0, "parked": 1 }));
    execute(&shop, "ALTER TABLE orders DROP CONSTRAINT poison").await;
    let stored = shop.run(&format!("orders retry {name}"), &place, 0);
    assert_eq!(stored, serde_json::json!({ "stored": 1, "parked": 0 }));
    bought.push((mallory, poison));
    assert_eq!(shop.agree(&bought).await, [("confirmed", 17)].into());
}

impl Shop {
    pub fn database_mut(&mut self) -> &mut Postgres {
        self.postgres.as_mut().expect("this shop has one")
    }
}
