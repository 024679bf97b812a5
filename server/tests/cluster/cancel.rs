//! A sale is undone, over real sockets.

use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation, Command};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::reply::{Answer, FeedKind, Reply, ReservationState};
use doorbuster_protocol::types::{FeedPosition, ProductId, Quantity, ShardId};

use crate::caller::{Connection, command, product, reservation, reserve, target};
use crate::nodes::Nodes;

fn cancel(n: u64, return_stock: bool) -> Command {
    let how = Cancellation { reason: CancelReason::Shop, return_stock };
    Command::Cancel(Cancel { target: target(7, n), how })
}

/// Asks once, without patience.
async fn ask(nodes: &Nodes, asked: Command) -> Answer {
    let mut connection = Connection::open(nodes.address(1)).await.unwrap();
    connection.call_all(vec![command(asked)]).await.unwrap().remove(0)
}

/// The gate grants what was returned and refuses what was written off; while the feed is full nothing is undone, and what was
/// undone before is still answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returned_unit_goes_to_the_next_and_a_full_feed_undoes_nothing() {
    let nodes = Nodes::start_with(1, 1, |config| config.max_feed = 1).await;
    let mut caller = nodes.caller();
    let stored = |through| Command::AcknowledgeFeed { shard: ShardId(0), through: FeedPosition(through) };
    caller.create(product(7, 1)).await;
    caller.reserve(reserve(7, 1)).await.unwrap();
    caller.confirm(target(7, 1)).await.unwrap();
    assert!(matches!(ask(&nodes, cancel(1, true)).await, Err(Failure::Busy { .. })), "its sale is not stored");
    ask(&nodes, stored(1)).await.unwrap();
    assert_eq!(caller.reserve(reserve(7, 2)).await, Err(Refusal::SoldOut));

    let undone = ask(&nodes, cancel(1, true)).await.map(reservation).unwrap();
    assert_eq!((undone.replayed, undone.reservation.state), (false, ReservationState::Cancelled));
    assert!(ask(&nodes, cancel(1, true)).await.map(reservation).unwrap().replayed, "the feed is full again");
    assert_eq!(ask(&nodes, cancel(1, false)).await, Err(Failure::Refused(Refusal::ReservationCancelled)));
    let query = doorbuster_protocol::query::Query::Feed { shard: ShardId(0), after: FeedPosition(0), limit: 10 };
    let page = caller.call(doorbuster_protocol::request::RequestBody::Query(query)).await.unwrap();
    let Reply::Feed(page) = page else { panic!("{page:?}") };
    assert_eq!(page.entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [FeedKind::Cancelled]);
    ask(&nodes, stored(2)).await.unwrap();

    caller.reserve(reserve(7, 2)).await.unwrap();
    caller.confirm(target(7, 2)).await.unwrap();
    ask(&nodes, stored(3)).await.unwrap();
    ask(&nodes, cancel(2, false)).await.unwrap();
    ask(&nodes, stored(4)).await.unwrap();
    let view = caller.product(ProductId(7)).await;
    assert_eq!((view.spec.stock, view.available, view.sold), (Quantity(0), Quantity(0), Quantity(0)));
    assert_eq!(caller.reserve(reserve(7, 3)).await, Err(Refusal::SoldOut));
    nodes.end().await;
}
