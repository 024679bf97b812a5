//! Orders that the database refuses: shown, and put back.

use doorbuster_gateway::orders::OrderStore;
use doorbuster_protocol::reply::{FeedEntry, FeedKind};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use serde_json::json;

use crate::shop::{ask, run, sql};

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
