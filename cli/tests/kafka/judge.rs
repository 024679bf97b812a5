//! Whether Kafka was told everything, in order, and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use doorbuster_gateway::ids;
use doorbuster_protocol::command::Target;
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::FeedPosition;
use tokio::time::Instant;

use crate::broker::{Read, Reader};
use crate::http::{WITHIN, until};
use crate::shop::{Shop, metric};

/// A message that has not come so long after the one before does not come.
const NO_MORE_AFTER: Duration = Duration::from_secs(10);
/// What is there twice comes for the second time after so long.
const REPEATED_WITHIN: Duration = Duration::from_millis(500);

/// Waits until nothing moves any more; then looks at what is in the topic.
pub async fn everything_was_told(shop: &mut Shop, bought: &[Target]) {
    for front in &mut shop.fronts {
        front.wait_ready().await.expect("a gateway is ready");
    }
    until("nothing is left to settle, to store or to publish", WITHIN, async || is_quiet(shop).await).await;
    for front in &shop.fronts {
        assert_eq!(metric(front, "doorbuster_gateway_events_missing_total").await, 0);
        assert!(!front.log_tail(usize::MAX).contains("events are missing"));
    }
    let reader = read(shop).await;
    let repeated = reader.duplicates();
    eprintln!("{} reservations, {} messages, {repeated} of them again", bought.len(), reader.read.len());
    every_position_is_there(shop, &reader).await;
    every_reservation_is_told_of(shop, &reader, bought).await;
}

/// No payment, no refund, no entry in a feed, no event in the database.
async fn is_quiet(shop: &Shop) -> bool {
    for shard in shop.shards() {
        for of in [Unsettled::Payments, Unsettled::Refunds] {
            let page = shop.client.unsettled(shard, of, Changed::default(), 1).await.expect("the server answers");
            if page.total > 0 {
                return false;
            }
        }
        let feed = shop.client.feed(shard, FeedPosition(0), 1).await.expect("the server answers");
        if feed.acknowledged < feed.last {
            return false;
        }
    }
    let waiting = shop.waiting().await;
    (waiting.events, waiting.since) == (0, None)
}

/// Reads until all are there that the database has stored, or no more come; and then whether any are repeated.
async fn read(shop: &Shop) -> Reader {
    let stored = usize::try_from(shop.stored().await).expect("few");
    let (mut reader, mut seen, mut ids) = (shop.broker.reader(), 0, HashSet::new());
    let mut last_came = Instant::now();
    reader.until("the topic is read", |read| {
        if read.len() > seen {
            ids.extend(read[seen..].iter().map(|read| read.id().to_owned()));
            (seen, last_came) = (read.len(), Instant::now());
        }
        ids.len() >= stored || last_came.elapsed() > NO_MORE_AFTER
    });
    reader.for_a_while(REPEATED_WITHIN);
    reader
}

async fn every_position_is_there(shop: &Shop, reader: &Reader) {
    for shard in shop.shards() {
        let of_shard = reader.read.iter().filter(|read| read.event["shard"] == shard.get());
        let mut found: Vec<_> = of_shard.filter_map(|read| read.event["position"].as_u64()).collect();
        found.sort_unstable();
        found.dedup();
        let stored = shop.orders.position(shard).await.expect("the database is up").get();
        let feed = shop.client.feed(shard, FeedPosition(0), 1).await.expect("the server answers");
        assert_eq!(feed.last.get(), stored, "shard {shard}: everything is stored");
        assert!(found.iter().copied().eq(1..=stored), "shard {shard}, up to {stored}: {}", gaps(&found, stored));
    }
}

fn gaps(found: &[u64], stored: u64) -> String {
    let found: HashSet<_> = found.iter().collect();
    let missing: Vec<_> = (1..=stored).filter(|position| !found.contains(position)).collect();
    format!("{missing:?} are missing, if nothing is too much")
}

/// What is told of each is its story, from its state at the end.
async fn every_reservation_is_told_of(shop: &Shop, reader: &Reader, bought: &[Target]) {
    let mut told = stories(&reader.read);
    let mut ends = BTreeMap::<_, u32>::new();
    for target in bought {
        let state = shop.client.reservation(*target).await.expect("the server knows it").reservation.state;
        let story: &[_] = match state {
            ReservationState::Confirmed => &["order.confirmed"],
            ReservationState::Cancelled => &["order.confirmed", "order.cancelled"],
            ReservationState::Refunded => &["order.confirmed", "order.refund_due", "order.refunded"],
            other => panic!("{target:?} is {}", other.name()),
        };
        let id = ids::format(target.product, target.reservation);
        assert_eq!(told.remove(&*id).as_deref(), Some(story), "{id}");
        *ends.entry(state.name()).or_default() += 1;
    }
    assert!(told.is_empty(), "nobody bought {told:?}");
    assert_eq!(ends.len(), 3, "one kind was never sold, so it was not tested: {ends:?}");
    eprintln!("{ends:?}");
}

/// The types of each reservation's events, in the order of their first appearance.
fn stories(read: &[Read]) -> HashMap<&str, Vec<&str>> {
    let (mut seen, mut told) = (HashSet::new(), HashMap::<_, Vec<_>>::new());
    for read in read.iter().filter(|read| seen.insert(read.id())) {
        let text = |name: &str| read.event[name].as_str().expect("events have it");
        told.entry(text("reservation")).or_default().push(text("type"));
    }
    told
}
