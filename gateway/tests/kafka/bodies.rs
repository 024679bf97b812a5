//! What must hold whatever the database, while nothing fails.

use std::time::Duration;

use doorbuster_gateway::events::Event;
use doorbuster_protocol::types::ShardId;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::database::{Database, eventually};
use crate::feed::Feeds;
use crate::shop::{CLUSTER, publish, sell, sold, waiting, write};

pub async fn every_event_arrives_once_keyed_by_product_and_in_order(database: Database) {
    let (feeds, broker) = (Feeds::new(2), Broker::start());
    let (publisher, counted) = publish(&broker.config(), &database, 2).await;
    let writer = write(&feeds, &database);
    sell(&feeds, 1..=2500);
    let mut reader = broker.reader();
    reader.until_different(5000);
    reader.assert_complete(2, 2500);
    assert_eq!(reader.duplicates(), 0);
    for read in &reader.read {
        let (shard, position) = (&read.event["shard"], read.event["position"].as_u64().unwrap());
        let shard = u16::try_from(shard.as_u64().unwrap()).unwrap();
        let expected = Event::of(CLUSTER, ShardId(shard), &sold(shard, position));
        assert_eq!(read.event, serde_json::from_str::<Value>(&expected.json()).unwrap());
        let headers = json!({
            "id": expected.id, "type": "order.confirmed", "schema": "1", "content-type": "application/json",
        });
        assert_eq!(json!(read.headers), headers);
    }
    eventually("the database knows", async || waiting(&database).await == 0).await;
    let shown = |line: &str| counted.render().contains(line);
    assert!(shown("doorbuster_gateway_events_published_total 5000\n"), "{}", counted.render());
    eventually("nothing waits", async || shown("doorbuster_gateway_events_pending 0\n")).await;
    writer.stop().await;
    publisher.stop().await;
}

pub async fn of_two_gateways_one_publishes_and_the_other_goes_on(database: Database) {
    let (feeds, broker) = (Feeds::new(1), Broker::start());
    let (one, by_one) = publish(&broker.config(), &database, 1).await;
    let writer = write(&feeds, &database);
    sell(&feeds, 1..=50);
    let mut reader = broker.reader();
    reader.until_different(50);
    let (other, by_other) = publish(&broker.config(), &database, 1).await;
    for batch in 1..=20 {
        sell(&feeds, 50 * batch + 1..=50 * batch + 50);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader.until_different(1050);
    eventually("the database knows", async || waiting(&database).await == 0).await;
    assert!(by_one.render().contains("events_published_total 1050\n"), "{}", by_one.render());
    assert!(by_other.render().contains("events_published_total 0\n"), "{}", by_other.render());

    one.stop().await;
    sell(&feeds, 1051..=1100);
    reader.until_different(1100);
    assert_eq!(reader.duplicates(), 0);
    reader.assert_complete(1, 1100);

    // One that is gone without a word keeps the others waiting for a while only.
    other.kill().await;
    let (third, _) = publish(&broker.config(), &database, 1).await;
    sell(&feeds, 1101..=1150);
    reader.until_different(1150);
    reader.duplicates();
    reader.assert_complete(1, 1150);
    writer.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_shutdown_what_is_on_its_way_arrives() {
    let (database, feeds, broker) = (Database::sqlite(), Feeds::new(1), Broker::start());
    let (publisher, counted) = publish(&broker.config(), &database, 1).await;
    let writer = write(&feeds, &database);
    sell(&feeds, 1..=1);
    let mut reader = broker.reader();
    reader.until_different(1);
    eventually("the database knows", async || waiting(&database).await == 0).await;
    broker.mock.broker_round_trip_time(-1, Duration::from_millis(1500)).unwrap();
    sell(&feeds, 2..=10);
    eventually("they are stored", async || feeds.is_done()).await;
    // Looked at every 250 ms at least, and then on their way for 1.5 s.
    tokio::time::sleep(Duration::from_millis(750)).await;
    assert_eq!(waiting(&database).await, 9);
    let stopping = Instant::now();
    publisher.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
    assert_eq!(waiting(&database).await, 0, "{}", counted.render());
    writer.stop().await;
    broker.mock.broker_round_trip_time(-1, Duration::ZERO).unwrap();
    reader.until_different(10);
    assert_eq!(reader.duplicates(), 0);

    // With no broker at all it is over as soon.
    let (publisher, _) = publish(&broker.config(), &database, 1).await;
    broker.down();
    let writer = write(&feeds, &database);
    sell(&feeds, 11..=20);
    eventually("they are stored", async || feeds.is_done()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stopping = Instant::now();
    publisher.stop().await;
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
    assert_eq!(waiting(&database).await, 10);
    writer.stop().await;
}
