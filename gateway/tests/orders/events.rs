//! Events of webhooks beside the orders, whatever the database.

use doorbuster_gateway::webhooks::event::{Event, Kind};
use doorbuster_gateway::webhooks::retention::{KEPT, forget};
use doorbuster_gateway::webhooks::store::{EventStore, Recorded};
use doorbuster_protocol::types::Timestamp;
use futures_util::future::join_all;

use crate::database::Database;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn event(number: u32) -> Event {
    let key = format!("{number:032x}-7-1");
    let kind = Some(Kind::Succeeded);
    Event { id: format!("evt_{number}"), type_name: "charge.succeeded".into(), kind, payment: key.parse().ok() }
}

fn store(database: &Database) -> EventStore {
    EventStore::beside(&database.store())
}

pub async fn an_event_is_there_once_and_open_until_it_is_processed(database: Database) {
    let events = store(&database);
    let (one, nobodys) = (event(1), Event { payment: None, kind: None, ..event(2) });
    assert_eq!(events.record("simulator", &one, NOW).await, Ok(Recorded::New));
    assert_eq!(events.record("simulator", &nobodys, NOW).await, Ok(Recorded::New));
    assert_eq!(events.record("other", &one, NOW).await, Ok(Recorded::New), "another provider's of the same name");
    for _ in 0..2 {
        assert_eq!(events.record("simulator", &one, NOW).await, Ok(Recorded::Open));
    }
    for _ in 0..2 {
        events.processed("simulator", &one, NOW).await.unwrap();
        assert_eq!(store(&database).record("simulator", &one, NOW).await, Ok(Recorded::Processed));
    }
    assert_eq!(events.record("other", &one, NOW).await, Ok(Recorded::Open));
    assert_eq!(events.record("simulator", &nobodys, NOW).await, Ok(Recorded::Open));
}

pub async fn one_of_many_deliveries_at_once_is_the_first(database: Database) {
    let gateways = [store(&database), store(&database)];
    for number in 0..10 {
        let event = event(number);
        let deliveries = (0..6).map(|delivery| gateways[delivery % 2].record("simulator", &event, NOW));
        let mut recorded: Vec<_> = join_all(deliveries).await.into_iter().map(Result::unwrap).collect();
        recorded.sort_by_key(|recorded| *recorded != Recorded::New);
        assert_eq!(recorded[..2], [Recorded::New, Recorded::Open], "{number}: {recorded:?}");
        assert!(recorded[2..].iter().all(|recorded| *recorded == Recorded::Open), "{number}: {recorded:?}");
    }
}

pub async fn old_events_are_forgotten_in_batches(database: Database) {
    let events = store(&database);
    let day = 24 * 3600 * 1000;
    for number in 0..20 {
        let age = if number < 15 { KEPT.0 + day } else { KEPT.0 - day };
        events.record("simulator", &event(number), Timestamp(NOW.0 - age)).await.unwrap();
    }
    let before = Timestamp(NOW.0 - KEPT.0);
    assert_eq!(events.forget(before, 10).await, Ok(10));
    assert_eq!(forget(&events, NOW).await, Ok(5));
    assert_eq!(forget(&events, NOW).await, Ok(0));
    assert_eq!(events.record("simulator", &event(14), NOW).await, Ok(Recorded::New), "as good as new");
    assert_eq!(events.record("simulator", &event(15), NOW).await, Ok(Recorded::Open));
}

pub async fn an_event_is_not_there_while_the_database_is_down(mut database: Database) {
    let events = store(&database);
    events.record("simulator", &event(1), NOW).await.unwrap();
    database.down().await;
    let refused = events.record("simulator", &event(2), NOW).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    database.up().await;
    assert_eq!(events.record("simulator", &event(2), NOW).await, Ok(Recorded::New));
    assert_eq!(events.record("simulator", &event(1), NOW).await, Ok(Recorded::Open));
}
