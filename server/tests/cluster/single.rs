//! One node: what is sold, what is refused, what waits.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_protocol::command::{AdjustStock, Command};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Reply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{FeedPosition, Millis, OperationId, ProductId, Quantity, ReservationId, ShardId};
use doorbuster_server::ServerConfig;
use doorbuster_server::clock::monotonic;

use crate::caller::{Connection, command, product, reservation, reserve, target};
use crate::nodes::{Nodes, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_from_creation_to_the_order_feed() {
    let nodes = Nodes::start(1, 1).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 2)).await;
    let held = caller.reserve(reserve(7, 1)).await.unwrap();
    assert_eq!((held.replayed, held.reservation.state), (false, ReservationState::Held));
    let again = caller.reserve(reserve(7, 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.reservation, held.reservation);
    let sold = caller.confirm(target(7, 1)).await.unwrap();
    assert_eq!(sold.reservation.state, ReservationState::Confirmed);
    let view = caller.product(ProductId(7)).await;
    assert_eq!((view.available, view.held, view.sold), (Quantity(1), Quantity(0), Quantity(1)));
    let query = Query::Feed { shard: ShardId(0), after: FeedPosition(0), limit: 10 };
    let Ok(Reply::Feed(page)) = caller.call(RequestBody::Query(query)).await else { panic!("no feed") };
    assert_eq!(page.entries.iter().map(|entry| entry.reservation).collect::<Vec<_>>(), [target(7, 1).reservation]);
    let acknowledge = Command::AcknowledgeFeed { shard: ShardId(0), through: page.last };
    assert_eq!(caller.call(command(acknowledge)).await, Ok(Reply::FeedAcknowledged(page.last)));
    nodes.end().await;
}

/// The shard's thread writes a lone answer itself. Sixteen listings may be in flight: one that were forgotten would count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_alone_is_in_flight_no_more() {
    let nodes = Nodes::start(1, 1).await;
    nodes.wait_for_leaders().await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    for number in 0..40 {
        let answer = connection.call(RequestBody::Query(Query::Audit { shard: ShardId(0) })).await.unwrap();
        assert!(matches!(answer, Ok(Reply::Audit(_))), "{number}: {answer:?}");
    }
    nodes.end().await;
}

/// What nobody attended to would wait for the next tick, here for half a second on the average.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_brings_something_sees_that_it_is_attended_to() {
    const CONNECTIONS: u64 = 8;
    const REQUESTS: u64 = 500;
    let slow = |config: &mut ServerConfig| (config.tick_ms, config.election_ms) = (1000, 20_000);
    let nodes = Nodes::start_with(1, 2, slow).await;
    nodes.caller().create(product(7, u32::MAX >> 4)).await;
    let address = nodes.address(1);
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            tokio::spawn(async move {
                let mut connection_to = Connection::open(address).await.unwrap();
                let mut slow = 0;
                for number in 1..=REQUESTS {
                    let asked = monotonic();
                    let body = command(Command::Reserve(reserve(7, connection * REQUESTS + number)));
                    connection_to.call(body).await.unwrap().unwrap();
                    slow += usize::from(monotonic().since(asked) > Duration::from_millis(500));
                }
                slow
            })
        })
        .collect();
    let mut slow = 0;
    for caller in callers {
        slow += caller.await.unwrap();
    }
    // A machine that is busy with something else may stand still for a moment, but not again and again.
    assert!(slow < 3 * usize::try_from(CONNECTIONS).unwrap(), "{slow} requests waited for a tick");
    nodes.end().await;
}

/// Many connections, many requests each, few units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stampede_sells_exactly_what_there_is() {
    const UNITS: u32 = 100;
    let nodes = Nodes::start(1, 2).await;
    nodes.caller().create(product(7, UNITS)).await;
    let address = nodes.address(1);
    let buyers: Vec<_> = (0..20_u64)
        .map(|connection| {
            tokio::spawn(async move {
                let mut granted = Vec::new();
                let mut refused: BTreeMap<String, u32> = BTreeMap::new();
                let mut connection_to = Connection::open(address).await.unwrap();
                for wave in 0..5 {
                    let first = connection * 10_000 + wave * 500 + 1;
                    let wave: Vec<_> = (first..first + 500).collect();
                    let bodies = wave.iter().map(|n| command(Command::Reserve(reserve(7, *n)))).collect();
                    let answers = connection_to.call_all(bodies).await.unwrap();
                    for (n, answer) in wave.into_iter().zip(answers) {
                        match answer {
                            Ok(reply) => granted.push((n, reservation(reply))),
                            Err(Failure::Refused(refusal)) => *refused.entry(format!("{refusal:?}")).or_default() += 1,
                            Err(other) => panic!("{other:?}"),
                        }
                    }
                }
                (granted, refused)
            })
        })
        .collect();
    let mut granted = Vec::new();
    let mut refused = 0;
    for buyer in buyers {
        let (some, refusals) = buyer.await.unwrap();
        granted.extend(some);
        refused += refusals.values().sum::<u32>();
        assert!(refusals.keys().all(|refusal| refusal.starts_with("AllHeld")), "{refusals:?}");
    }
    assert_eq!(granted.len(), UNITS as usize);
    assert_eq!(refused, 20 * 2500 - UNITS);
    let mut caller = nodes.caller();
    let view = caller.product(ProductId(7)).await;
    assert_eq!((view.available, view.held), (Quantity(0), Quantity(UNITS)));
    // Every acknowledged one is there, as it was acknowledged, and answers its retry.
    for (n, reply) in &granted {
        let again = caller.reserve(reserve(7, *n)).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.reservation, reply.reservation);
    }
    for (n, _) in &granted {
        caller.confirm(target(7, *n)).await.unwrap();
    }
    assert_eq!(caller.reserve(reserve(7, 999_999)).await, Err(Refusal::SoldOut));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_come_back_in_time() {
    let nodes = Nodes::start(1, 1).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1)).await;
    let short = doorbuster_protocol::command::Reserve { ttl: Millis(300), ..reserve(7, 1) };
    let held = caller.reserve(short).await.unwrap();
    let since = monotonic();
    let Err(Refusal::AllHeld { next_expiry }) = caller.reserve(reserve(7, 2)).await else { panic!("sold twice") };
    assert_eq!(next_expiry, held.reservation.expires_at);
    eventually("the unit is back", || nodes.server(1).service().desk.gate.in_flight(ProductId(7)) == 0).await;
    let mut back = None;
    while back.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        back = caller.reserve(reserve(7, 3)).await.ok();
    }
    let waited = monotonic().since(since);
    assert!(waited >= Duration::from_millis(290), "it expired early: {waited:?}");
    assert!(waited < Duration::from_millis(600), "it expired late: {waited:?}");
    let first = caller.call(RequestBody::Query(Query::Reservation(target(7, 1)))).await.map(reservation).unwrap();
    assert_eq!(first.reservation.state, ReservationState::Expired);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_unit_goes_to_the_next() {
    let nodes = Nodes::start(1, 1).await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1)).await;
    for n in 1..50 {
        caller.reserve(reserve(7, n)).await.unwrap();
        assert!(matches!(caller.reserve(reserve(7, n + 1)).await, Err(Refusal::AllHeld { .. })));
        caller.call(command(Command::Release(target(7, n)))).await.unwrap();
    }
    assert_eq!(nodes.server(1).service().desk.gate.in_flight(ProductId(7)), 0);
    let adjust = AdjustStock { operation: OperationId(1), product: ProductId(7), delta: 3 };
    caller.call(command(Command::AdjustStock(adjust))).await.unwrap();
    for n in 100..104 {
        caller.reserve(reserve(7, n)).await.unwrap();
    }
    assert!(caller.reserve(reserve(7, 104)).await.is_err());
    nodes.end().await;
}

/// Everybody asks for the last units at once, on one connection and in one write: those who come too late hear it from
/// committed numbers, in the order in which they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_without_a_ticket_wait_for_what_is_in_flight() {
    let nodes = Nodes::start_with(1, 1, |config| config.sync_delay_us = 20_000).await;
    nodes.caller().create(product(7, 5)).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let bodies = (1..=50).map(|n| command(Command::Reserve(reserve(7, n)))).collect();
    let answers = connection.call_all(bodies).await.unwrap();
    let granted = answers.iter().position(Result::is_err);
    assert_eq!(granted, Some(5), "first come, first served");
    assert!(answers[5..].iter().all(|answer| matches!(answer, Err(Failure::Refused(Refusal::AllHeld { .. })))));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_in_one_write_with_the_first_attempt_has_one_effect() {
    let nodes = Nodes::start(1, 1).await;
    nodes.caller().create(product(7, 1)).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let bodies = (0..20).map(|_| command(Command::Reserve(reserve(7, 1)))).collect();
    let answers = connection.call_all(bodies).await.unwrap();
    let replies: Vec<_> = answers.into_iter().map(|answer| reservation(answer.unwrap())).collect();
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    assert!(replies.iter().all(|reply| reply.reservation == replies[0].reservation));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_answered_busy_and_what_is_not_awaited_is_dropped() {
    let nodes = Nodes::start_with(1, 1, |config| {
        config.inbox = 1024;
        config.sync_delay_us = 50_000;
    })
    .await;
    nodes.caller().create(product(7, 10)).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    let count = 8000_u64;
    let bodies = (1..=count).map(|n| command(Command::Reserve(reserve(7, n))));
    let first = connection.send_waiting(bodies, Millis(10)).await.unwrap();
    let (mut granted, mut busy, mut late, mut refused) = (0, 0, 0, 0);
    for id in first.0..first.0 + count {
        match connection.answer(doorbuster_protocol::types::RequestId(id)).await.unwrap() {
            Ok(_) => granted += 1,
            Err(Failure::Busy { retry_after }) => {
                assert!(retry_after > Millis(0));
                busy += 1;
            }
            Err(Failure::WaitedTooLong) => late += 1,
            Err(Failure::Refused(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(granted <= 10);
    assert!(busy > 0 && late > 0, "granted {granted}, busy {busy}, late {late}, refused {refused}");
    // Nothing is lost: the units are held by those who heard so, or free.
    let view = nodes.caller().product(ProductId(7)).await;
    assert_eq!(view.held.0, granted);
    eventually("all tickets are back", || nodes.server(1).service().desk.gate.in_flight(ProductId(7)) == 0).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_cannot_know_the_shard_refuses() {
    let nodes = Nodes::start(1, 4).await;
    let mut caller = nodes.caller();
    assert_eq!(caller.reserve(reserve(7, 1)).await, Err(Refusal::UnknownProduct));
    let mut closed = product(7, 5);
    closed.opens_at = doorbuster_protocol::types::Timestamp(u64::MAX / 2);
    caller.create(closed.clone()).await;
    assert_eq!(caller.reserve(reserve(7, 1)).await, Err(Refusal::NotOpen { opens_at: closed.opens_at }));
    caller.create(product(8, 5)).await;
    for quantity in [0, u32::MAX] {
        let wrong = doorbuster_protocol::command::Reserve { quantity: Quantity(quantity), ..reserve(8, 1) };
        let refusal = caller.reserve(wrong).await.unwrap_err();
        let expected = matches!(refusal, Refusal::InvalidArgument(_) | Refusal::QuantityTooLarge { .. });
        assert!(expected, "{refusal:?}");
    }
    assert_eq!(caller.product(ProductId(8)).await.available, Quantity(5));
    let find = Query::FindReservation { shard: ShardId(0), reservation: ReservationId(1) };
    assert_eq!(caller.call(RequestBody::Query(find)).await, Err(Refusal::UnknownReservation));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_answers_for_itself() {
    let nodes = Nodes::start(1, 3).await;
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    assert_eq!(connection.welcome.shards.leaders.len(), 3);
    let Ok(Reply::Status(status)) = connection.call(RequestBody::Query(Query::Status)).await.unwrap() else {
        panic!("no status")
    };
    assert_eq!(status.shards.len(), 3);
    assert!(status.durable && status.log_bytes > 0);
    let Ok(Reply::ShardMap(map)) = connection.call(RequestBody::Query(Query::ShardMap)).await.unwrap() else {
        panic!("no map")
    };
    assert!(map.leaders.iter().all(|leader| leader.is_some_and(|node| node.0 == 1)));
    let audit = Query::Audit { shard: ShardId(2) };
    let Ok(Reply::Audit(audit)) = connection.call(RequestBody::Query(audit)).await.unwrap() else { panic!("no audit") };
    assert_eq!(audit.problems, Vec::<String>::new());
    let beyond = Query::Audit { shard: ShardId(3) };
    assert!(matches!(connection.call(RequestBody::Query(beyond)).await.unwrap(), Err(Failure::Malformed(_))));
    nodes.end().await;
}
