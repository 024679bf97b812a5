//! Kafka, gateways and databases that fail.

use std::time::Duration;

use doorbuster_gateway::events::Outbox;
use doorbuster_protocol::types::ShardId;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::broker::Broker;
use crate::database::{Database, eventually};
use crate::feed::Feeds;
use crate::shop::{publish, sell, sold, waiting, write};

pub async fn while_kafka_is_down_orders_go_on_and_events_arrive_afterwards(database: Database) {
    let (feeds, broker) = (Feeds::new(2), Broker::start());
    broker.down();
    let (publisher, counted) = publish(&broker.config(), &database, 2).await;
    let writer = write(&feeds, &database);
    sell(&feeds, 1..=1500);
    eventually("all orders are stored and acknowledged", async || feeds.is_done()).await;
    assert_eq!(waiting(&database).await, 3000);
    let shown = |line: &str| counted.render().contains(line);
    eventually("it is seen", async || {
        shown("doorbuster_gateway_events_pending 3000\n")
            && !shown("doorbuster_gateway_event_oldest_seconds 0\n")
            && !shown("doorbuster_gateway_event_errors_total{source=\"kafka\"} 0\n")
    })
    .await;
    assert!(shown("doorbuster_gateway_events_published_total 0\n"));

    broker.up();
    let mut reader = broker.reader();
    reader.until_different(3000);
    reader.assert_complete(2, 1500);
    assert_eq!(reader.duplicates(), 0);
    eventually("the database knows", async || waiting(&database).await == 0).await;

    // And once more, in the midst of it.
    sell(&feeds, 1501..=1800);
    broker.down();
    sell(&feeds, 1801..=2000);
    eventually("all orders are stored and acknowledged", async || feeds.is_done()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.up();
    reader.until_different(4000);
    reader.assert_complete(2, 2000);
    // Real brokers recognise what an idempotent producer sends again; the mock ones do not.
    reader.duplicates();
    writer.stop().await;
    publisher.stop().await;
}

pub async fn killed_before_the_position_moved_the_next_one_repeats(mut database: Database) {
    let (feeds, broker) = (Feeds::new(1), Broker::start());
    let (publisher, _) = publish(&broker.config(), &database, 1).await;
    let mut reader = broker.reader();
    delivered_while_the_database_is_down(&feeds, &broker, &mut database, &mut reader).await;
    publisher.kill().await;
    database.up().await;
    assert_eq!(waiting(&database).await, 300, "nobody knows that they are published");
    assert_eq!(reader.duplicates(), 0);

    let (publisher, counted) = publish(&broker.config(), &database, 1).await;
    eventually("the next one publishes", async || waiting(&database).await == 0).await;
    assert!(counted.render().contains("events_published_total 300\n"), "{}", counted.render());
    reader.until("all are there twice", |read| read.len() >= 600);
    reader.for_a_while(Duration::from_millis(500));
    assert_eq!(reader.duplicates(), 300);
    reader.assert_complete(1, 300);
    publisher.stop().await;
}

pub async fn while_the_database_is_down_nothing_is_sent_twice(mut database: Database) {
    let (feeds, broker) = (Feeds::new(1), Broker::start());
    let (publisher, _) = publish(&broker.config(), &database, 1).await;
    let mut reader = broker.reader();
    delivered_while_the_database_is_down(&feeds, &broker, &mut database, &mut reader).await;
    // Longer than a statement waits for SQLite's lock.
    tokio::time::sleep(Duration::from_secs(7)).await;
    database.up().await;
    eventually("the database knows", async || waiting(&database).await == 0).await;
    let writer = write(&feeds, &database);
    sell(&feeds, 301..=400);
    reader.until_different(400);
    reader.for_a_while(Duration::from_millis(500));
    assert_eq!(reader.duplicates(), 0);
    reader.assert_complete(1, 400);
    writer.stop().await;
    publisher.stop().await;
}

/// 300 events that Kafka has, and the database, which is down now, does not know so.
async fn delivered_while_the_database_is_down(
    feeds: &Feeds,
    broker: &Broker,
    database: &mut Database,
    reader: &mut crate::broker::Reader,
) {
    let writer = write(feeds, database);
    broker.down();
    sell(feeds, 1..=300);
    eventually("they are stored", async || feeds.is_done()).await;
    writer.stop().await;
    // The publisher looks every 250 ms at least, and has handed them over then.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    database.down().await;
    broker.up();
    reader.until_different(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_pass_are_not_seen() {
    let (database, feeds, broker) = (Database::sqlite(), Feeds::new(1), Broker::start());
    let (publisher, _) = publish(&broker.config(), &database, 1).await;
    let writer = write(&feeds, &database);
    let mut reader = broker.reader();
    for round in 0..5 {
        broker.mock.request_errors(
            RDKafkaApiKey::Produce,
            &[
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            ],
        );
        sell(&feeds, 100 * round + 1..=100 * round + 100);
        reader.until_different(usize::try_from(100 * round + 100).unwrap());
    }
    reader.for_a_while(Duration::from_millis(500));
    assert_eq!(reader.duplicates(), 0);
    reader.assert_complete(1, 500);
    writer.stop().await;
    publisher.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_brokers_refuse_is_repeated_in_order() {
    let (database, feeds, broker) = (Database::sqlite(), Feeds::new(2), Broker::start());
    let mut config = broker.config();
    // Real brokers refuse what comes behind a sequence number that they refused; the mock ones do not.
    config.properties.insert("max.in.flight".into(), "1".into());
    let (publisher, counted) = publish(&config, &database, 2).await;
    let writer = write(&feeds, &database);
    let mut reader = broker.reader();
    sell(&feeds, 1..=100);
    reader.until_different(200);
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.mock.request_errors(RDKafkaApiKey::Produce, &[refusal; 3]);
    for batch in 1..=10 {
        sell(&feeds, 100 * batch + 1..=100 * batch + 100);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    reader.until_different(2200);
    eventually("the database knows", async || waiting(&database).await == 0).await;
    // Some may be there twice: what was behind the refused ones was given up with them.
    reader.duplicates();
    reader.assert_complete(2, 1100);
    assert!(!counted.render().contains("errors_total{source=\"kafka\"} 0\n"), "{}", counted.render());
    writer.stop().await;
    publisher.stop().await;
}

/// What a gateway of an older version leaves behind: orders without events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_entries_are_counted_and_passed_over() {
    let (database, broker) = (Database::sqlite(), Broker::start());
    let store = database.store();
    Outbox::beside(&store).subscribe(1).await.unwrap();
    let entries: Vec<_> = (1..=10).map(|position| sold(0, position)).collect();
    store.store(ShardId(0), &entries).await.unwrap();
    database.execute("DELETE FROM outgoing_events WHERE position IN (1, 4, 5)").await;
    let (publisher, counted) = publish(&broker.config(), &database, 1).await;
    let mut reader = broker.reader();
    reader.until_different(7);
    eventually("the database knows", async || waiting(&database).await == 0).await;
    publisher.stop().await;
    assert!(counted.render().contains("doorbuster_gateway_events_missing_total 3\n"), "{}", counted.render());
    assert_eq!(reader.duplicates(), 0);
}
