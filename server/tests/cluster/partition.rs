//! A leader that is cut off: it must not sell, refuse or read what is not its own any more.

use std::time::Duration;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{NodeId, ProductId, Quantity, RequestId};
use doorbuster_server::clock::monotonic;

use crate::caller::{Caller, Connection, command, product, reserve, target};
use crate::links::Links;
use crate::nodes::Nodes;

async fn wired() -> (Nodes, Links) {
    let links = Links::default();
    let nodes = Nodes::start_with(3, 1, |config| links.run_through(config)).await;
    (nodes, links)
}

/// Somebody who knows of all nodes but this one.
fn elsewhere(nodes: &Nodes, but: u16) -> Caller {
    let others = (1..=3).filter(|node| *node != but);
    Caller::new(others.map(|node| (NodeId(node), nodes.address(node))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deposed_leader_proposed_has_an_unknown_outcome() {
    let (nodes, links) = wired().await;
    nodes.caller().create(product(7, 3)).await;
    let deposed = nodes.leader(0).await;
    let mut connection = Connection::open(nodes.address(deposed)).await.unwrap();
    links.cut_off(deposed);
    let bodies = (1..=3).map(|n| command(Command::Reserve(reserve(7, n))));
    let first = connection.send(bodies).await.unwrap();
    // The others elect one of them, who sells all there is to other users.
    let mut others = elsewhere(&nodes, deposed);
    for n in 11..=13 {
        others.reserve(reserve(7, n)).await.unwrap();
    }
    assert!(matches!(others.reserve(reserve(7, 14)).await, Err(Refusal::AllHeld { .. })));
    for id in first.0..first.0 + 3 {
        let answer = tokio::time::timeout(crate::nodes::PATIENCE, connection.answer(RequestId(id))).await;
        let answer = answer.expect("an answer in time").unwrap();
        assert_eq!(answer, Err(Failure::OutcomeUnknown), "request {id}");
    }
    links.heal(deposed);
    nodes.wait_until_equal().await;
    let mut caller = nodes.caller();
    assert_eq!(caller.product(ProductId(7)).await.held, Quantity(3));
    for n in 1..=3 {
        assert!(matches!(caller.reserve(reserve(7, n)).await, Err(Refusal::AllHeld { .. })));
    }
    for n in 11..=13 {
        assert!(caller.reserve(reserve(7, n)).await.unwrap().replayed);
    }
    nodes.end().await;
}

/// Its numbers say sold out, and were right; elsewhere a unit comes back. From then on nobody may hear "all held" from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposed_leader_refuses_nothing_at_its_gate() {
    let (nodes, links) = wired().await;
    let mut caller = nodes.caller();
    caller.create(product(7, 1)).await;
    caller.reserve(reserve(7, 1)).await.unwrap();
    let deposed = nodes.leader(0).await;
    let mut connection = Connection::open(nodes.address(deposed)).await.unwrap();
    let ask = |n| vec![command(Command::Reserve(reserve(7, n))), RequestBody::Query(Query::Product(ProductId(7)))];
    let answers = connection.call_all(ask(2)).await.unwrap();
    assert!(matches!(answers[0], Err(Failure::Refused(Refusal::AllHeld { .. }))), "{answers:?}");
    links.cut_off(deposed);
    let mut others = elsewhere(&nodes, deposed);
    others.call(command(Command::Release(target(7, 1)))).await.unwrap();
    for n in 3..300 {
        for answer in connection.call_all(ask(n)).await.unwrap() {
            let silent =
                matches!(answer, Err(Failure::NotLeader { .. } | Failure::OutcomeUnknown | Failure::WaitedTooLong));
            assert!(silent, "from a deposed leader: {answer:?}");
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    links.heal(deposed);
    others.reserve(reserve(7, 1000)).await.unwrap();
    nodes.wait_until_equal().await;
    nodes.end().await;
}

/// Whatever is answered through a series of cuts is what is there in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_lose_nothing_that_was_acknowledged() {
    let (nodes, links) = wired().await;
    nodes.caller().create(product(7, 1_000_000)).await;
    let buyer = |first: u64| {
        let mut caller = nodes.caller();
        tokio::spawn(async move {
            let mut granted = Vec::new();
            let until = monotonic().after(Duration::from_secs(6));
            for n in first.. {
                if monotonic() > until {
                    break;
                }
                caller.reserve(reserve(7, n)).await.unwrap();
                granted.push(n);
            }
            granted
        })
    };
    let buyers: Vec<_> = (0..4).map(|buyer_number| buyer(1 + buyer_number * 1_000_000)).collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let leader = nodes.leader(0).await;
        links.cut_off(leader);
        tokio::time::sleep(Duration::from_millis(1000)).await;
        links.heal(leader);
    }
    let mut granted = Vec::new();
    for buyer in buyers {
        granted.extend(buyer.await.unwrap());
    }
    nodes.wait_until_equal().await;
    let mut caller = nodes.caller();
    assert_eq!(caller.product(ProductId(7)).await.held, Quantity(u32::try_from(granted.len()).unwrap()));
    for n in &granted {
        assert!(caller.reserve(reserve(7, *n)).await.unwrap().replayed, "reservation {n} was lost");
    }
    nodes.end().await;
}
