//! Leaders that change, nodes that die, hang, or talk nonsense.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_client::{Client, Config, Error, RetryBudget};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use support::*;

const SECONDS_5: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_hint_to_the_leader_is_followed_and_remembered() {
    let map = Map::new();
    let leader = Node::start(2, &map, grant).await;
    let follower = Node::start(1, &map, follow(Some(2))).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&follower, &leader], SECONDS_5).await;
    map.lead(Some(NodeId(2))); // after the client was told otherwise
    client.reserve(reserve(1)).await.expect("granted by node 2");
    client.reserve(reserve(2)).await.expect("granted by node 2");
    assert_eq!((follower.seen.count(), leader.seen.count()), (1, 2));
}

#[tokio::test]
async fn callers_wait_for_an_election_without_a_storm() {
    let map = Map::new();
    let first = Node::start(1, &map, follow(None)).await;
    let second = Node::start(2, &map, grant).await;
    let client = connect(&[&first, &second], SECONDS_5).await;
    let calls: Vec<_> = (1..=500)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { client.reserve(reserve(id)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((first.seen.count(), second.seen.count()), (0, 0), "nobody is known to lead");
    map.lead(Some(NodeId(2)));
    for call in calls {
        call.await.expect("no panic").expect("granted once there is a leader");
    }
    assert_eq!((first.seen.count(), second.seen.count()), (0, 500));
}

#[tokio::test]
async fn nodes_that_name_each_other_are_not_asked_in_circles() {
    let map = Map::new();
    let first = Node::start(1, &map, follow(Some(2))).await;
    let second = Node::start(2, &map, follow(Some(1))).await;
    let client = connect(&[&first, &second], Duration::from_millis(600)).await;
    let refused = client.reserve(reserve(1)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let asked = first.seen.count() + second.seen.count();
    assert!(asked < 100, "asked {asked} times");
}

#[tokio::test]
async fn a_dead_leaders_requests_go_to_the_next_with_the_same_id() {
    let map = Map::new();
    let old = Node::start(1, &map, |_| Action::Close).await;
    let new = Node::start(2, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&old, &new], SECONDS_5).await;
    let switching = map.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        switching.lead(Some(NodeId(2)));
    });
    client.reserve(reserve(77)).await.expect("granted by the new leader");
    let sent = |node: &Node| node.seen.requests.lock()[0].body.clone();
    assert_eq!(sent(&old), sent(&new));
    assert!(new.seen.requests.lock()[0].wait < old.seen.requests.lock()[0].wait, "less time is left");
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_for_another() {
    let map = Map::new();
    let hung = Node::start(1, &map, |_| Action::Ignore).await;
    let other = Node::start(2, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&hung, &other], Duration::from_secs(3)).await;
    let switching = map.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        switching.lead(Some(NodeId(2)));
    });
    client.reserve(reserve(1)).await.expect("granted by the other");
}

/// A machine without power answers nothing, not even that nobody listens.
#[tokio::test]
async fn a_node_that_answers_nothing_does_not_hold_up_the_search_for_a_leader() {
    let map = Map::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let node = Node::start(2, &map, grant).await;
    map.tell_of(NodeId(1), silent.local_addr().expect("bound").to_string());
    let client = connect(&[&node], SECONDS_5).await;
    assert_eq!(client.nodes().len(), 2);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.reserve(reserve(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let asked = node.seen.reads.load(Ordering::Relaxed);
    assert!(asked > 12, "the node that answers was asked {asked} times in 1.5 s");
    map.lead(Some(NodeId(2)));
    call.await.expect("no panic").expect("granted once there is a leader");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_the_next_one_serves() {
    let map = Map::new();
    let times = Arc::new(AtomicUsize::new(0));
    let node = Node::start(1, &map, move |request| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Action::Garbage,
        _ => grant(request),
    })
    .await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    client.reserve(reserve(1)).await.expect("granted on the second connection");
    assert_eq!(node.seen.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_unanswered_command_is_an_unknown_outcome_and_an_unanswered_query_is_not() {
    let map = Map::new();
    let node = Node::start(1, &map, |_| Action::Ignore).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], Duration::from_millis(300)).await;
    let begun = clock::now();
    assert_eq!(client.reserve(reserve(1)).await, Err(Error::OutcomeUnknown));
    assert!(matches!(client.product(ProductId(1)).await, Err(Error::Unavailable { .. })));
    let took = begun.elapsed();
    assert!((Duration::from_millis(550)..Duration::from_millis(900)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_by_a_retry_that_answers() {
    let map = Map::new();
    let times = Arc::new(AtomicUsize::new(0));
    let node = Node::start(1, &map, move |request| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Action::Answer(Err(Failure::OutcomeUnknown)),
        1 => Action::Close,
        _ => grant(request),
    })
    .await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let request = Request { body: RequestBody::Command(Command::Reserve(reserve(5))), wait: Millis(0) };
    let (reply, unheard) = client.execute_noting(request.clone(), None).await;
    reply.expect("the third attempt answers");
    assert!(unheard, "the first two may have been done");
    let (_, unheard) = client.execute_noting(request, None).await;
    assert!(!unheard, "the fourth is answered at once");
    let requests = node.seen.requests.lock();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
}

#[tokio::test]
async fn an_unknown_outcome_stays_one_if_nobody_answers_any_more() {
    let map = Map::new();
    let node = Node::start(1, &map, |_| Action::Answer(Err(Failure::OutcomeUnknown))).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], Duration::from_millis(400)).await;
    assert_eq!(client.reserve(reserve(5)).await, Err(Error::OutcomeUnknown));
}

#[tokio::test]
async fn busy_nodes_are_asked_again_after_the_time_they_say_and_within_the_budget() {
    let map = Map::new();
    let node = Node::start(1, &map, |_| Action::Answer(Err(Failure::Busy { retry_after: Millis(20) }))).await;
    map.lead(Some(NodeId(1)));
    let budget = RetryBudget { burst: 5, per_success: 0.0, per_second: 0 };
    let config = Config { retry_budget: budget, ..Config::new("shop", vec![node.address.clone()]) };
    let client = Client::connect(config).await.expect("connects");
    for _ in 0..20 {
        let refused = client.reserve(reserve(1)).await;
        assert!(matches!(refused, Err(Error::Unavailable { .. })), "nothing was done: {refused:?}");
    }
    assert_eq!(node.seen.count(), 25, "20 attempts and the budget's 5 retries");
}

#[tokio::test]
async fn a_refusal_is_final() {
    let map = Map::new();
    let refuse = |_: &_| Action::Answer(Err(Failure::Refused(Refusal::SoldOut)));
    let node = Node::start(1, &map, refuse).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    assert_eq!(client.reserve(reserve(1)).await, Err(Error::Refused(Refusal::SoldOut)));
    assert_eq!(node.seen.count(), 1);
}

#[tokio::test]
async fn who_is_turned_away_hears_why_at_once() {
    let map = Map::new();
    let node = Node::start(1, &map, grant).await;
    let config = Config::new("shop", vec![node.address.clone()]).with_credential(b"wrong".to_vec());
    assert_eq!(Client::connect(config).await.map(drop), Err(Error::Rejected(Failure::Unauthorized)));
    let nowhere = Config::new("shop", vec!["127.0.0.1:1".to_owned()]).with_deadline(Duration::from_millis(200));
    assert!(matches!(Client::connect(nowhere).await, Err(Error::Unavailable { .. })));
    assert!(matches!(Client::connect(Config::default()).await, Err(Error::Config(_))));
}

#[tokio::test]
async fn a_node_that_is_gone_costs_no_more_than_the_deadline() {
    let map = Map::new();
    let node = Node::start(1, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], Duration::from_millis(400)).await;
    client.reserve(reserve(1)).await.expect("granted");
    drop(node);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = clock::now();
    let refused = client.reserve(reserve(2)).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "never sent: {refused:?}");
    assert!(matches!(client.status(NodeId(1)).await, Err(Error::Unavailable { .. })));
    assert!(matches!(client.status(NodeId(9)).await, Err(Error::Unavailable { .. })));
    assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_query_for_one_node_goes_there() {
    let map = Map::new();
    let first = Node::start(1, &map, grant).await;
    let second = Node::start(2, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&first, &second], SECONDS_5).await;
    let _ = client.audit(NodeId(2), ShardId(3)).await;
    assert_eq!(first.seen.count(), 0);
    assert_eq!(second.seen.requests.lock()[0].body, RequestBody::Query(Query::Audit { shard: ShardId(3) }));
}

#[tokio::test]
async fn a_caller_in_a_hurry_does_not_end_the_connection_of_the_others() {
    let map = Map::new();
    let node = Node::start(1, &map, |request| Action::AnswerAfter(Duration::from_millis(200), granted(request))).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&node], SECONDS_5).await;
    let request = || doorbuster_protocol::request::Request {
        body: RequestBody::Query(Query::Product(ProductId(1))),
        wait: Millis(0),
    };
    let patient = tokio::spawn({
        let client = client.clone();
        async move { client.reserve(reserve(1)).await }
    });
    for _ in 0..10 {
        let hurried = client.execute(request(), Some(Duration::from_millis(5))).await;
        assert!(matches!(hurried, Err(Error::Unavailable { .. })), "{hurried:?}");
    }
    patient.await.expect("no panic").expect("granted");
    assert_eq!(node.seen.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn two_names_of_one_node_are_one_node() {
    let map = Map::new();
    let first = Node::start(1, &map, grant).await;
    let second = Node::start(2, &map, grant).await;
    map.lead(Some(NodeId(1)));
    let client = connect(&[&first], SECONDS_5).await;
    client.reserve(reserve(1)).await.expect("granted");
    map.rename(NodeId(1), first.address.replace("127.0.0.1", "localhost"));
    let _ = client.status(NodeId(2)).await; // whose welcome has the other name
    client.reserve(reserve(2)).await.expect("granted");
    assert_eq!(first.seen.connections.load(Ordering::Relaxed), 1);
    assert_eq!(second.seen.connections.load(Ordering::Relaxed), 1);
}
