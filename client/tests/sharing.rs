//! Many callers on one connection: batches, places, callers that go away.

mod support;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use doorbuster_client::Error;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::handshake::ServerLimits;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::*;
use support::*;

const SECONDS_5: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_one_connection_and_its_writes_and_each_hears_its_own_answer() {
    let map = Map::new();
    let node = Node::start(1, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let calls: Vec<_> = (1..=5000_u128)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { (id, client.reserve(reserve(id)).await) })
        })
        .collect();
    for call in calls {
        let (id, reply) = call.await.expect("no panic");
        assert_eq!(reply.expect("granted").reservation.reservation, ReservationId(id));
    }
    assert_eq!(node.seen.connections.load(Ordering::Relaxed), 1);
    let reads = node.seen.reads.load(Ordering::Relaxed);
    assert!(reads < 1000, "5000 requests came in {reads} reads");
}

#[tokio::test]
async fn no_more_than_the_nodes_limit_are_under_way() {
    let map = Map::new();
    let limits = ServerLimits { max_in_flight: 4, ..ServerLimits::default() };
    let slowly = |request: &_| Action::AnswerAfter(Duration::from_millis(5), granted(request));
    let node = Node::start_with(1, &map, limits, slowly).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let calls: Vec<_> = (1..=100)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { client.reserve(reserve(id)).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("granted when its turn came");
    }
    assert_eq!(node.seen.most_unanswered.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn callers_that_go_away_leave_their_places_to_others() {
    let map = Map::new();
    let limits = ServerLimits { max_in_flight: 4, ..ServerLimits::default() };
    let node = Node::start_with(1, &map, limits, |request| match request.body {
        RequestBody::Query(_) => Action::Ignore,
        RequestBody::Command(_) => grant(request),
    })
    .await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let query = |client: doorbuster_client::Client| async move { client.product(ProductId(1)).await.map(drop) };
    for round in 0..25 {
        let mut gone: Vec<_> = (0..8).map(|_| Box::pin(query(client.clone()))).collect();
        for call in &mut gone {
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await; // sent, not only queued
        }
        drop(gone);
        client.reserve(reserve(round + 1)).await.expect("there is a place");
    }
    assert_eq!(node.seen.connections.load(Ordering::Relaxed), 1, "late answers and lost ones hurt nobody");
}

#[tokio::test]
async fn an_id_is_looked_for_on_every_shard_at_once() {
    let map = Map::new();
    let node = Node::start(1, &map, |request| match request.body {
        RequestBody::Query(Query::FindReservation { shard: ShardId(2), .. }) => {
            Action::AnswerAfter(Duration::from_millis(300), granted(request))
        }
        _ => Action::AnswerAfter(Duration::from_millis(300), Err(Failure::Refused(Refusal::UnknownReservation))),
    })
    .await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let found = client.find_reservation(ReservationId(1)).await.expect("all shards answer");
    assert!(found.is_some());
    assert_eq!(node.seen.count(), usize::from(SHARDS));
    assert_eq!(node.seen.most_unanswered.load(Ordering::SeqCst), usize::from(SHARDS));
}

#[tokio::test]
async fn closing_ends_calls_under_way_and_refuses_new_ones() {
    let map = Map::new();
    let node = Node::start(1, &map, |_| Action::Ignore).await;
    map.lead(Some(NodeId(1)));
    let client = Arc::new(connect(&[&node], SECONDS_5).await);
    let under_way = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.reserve(reserve(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    (*client).clone().close().await;
    assert_eq!(under_way.await.expect("no panic"), Err(Error::OutcomeUnknown), "it was sent");
    assert!(matches!(client.reserve(reserve(2)).await, Err(Error::Unavailable { .. })));
}
