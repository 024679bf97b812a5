//! A replica with another state than the others', valid in every way: who stops, who sells on, and that nobody is guessed.

use std::time::Duration;

use doorbuster_inventory::Inventory;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{NodeId, ShardId};

use crate::world::World;
use crate::{SECOND, adjust, available, create, reserve};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Three nodes that have taken snapshots of shard 0, and 101 units in stock.
fn world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.ask(0, &create(1)).unwrap();
    for operation in 1..=100 {
        world.ask(0, &adjust(operation)).unwrap();
    }
    // Shard 0 prefers node 1.
    world.until("node 1 leads", 20 * SECOND, |world| world.leader(0) == Some(NodeId(1)));
    world
}

/// One unit more than there is.
fn wrong(operation: u128) -> impl FnOnce(&mut Inventory) {
    move |inventory| {
        let RequestBody::Command(command) = adjust(operation) else { return };
        inventory.apply(inventory.applied(), inventory.time(), &command).expect("a unit more");
    }
}

fn diverged(world: &World, nodes: &[NodeId]) -> Vec<NodeId> {
    nodes.iter().copied().filter(|node| world.status(*node, 0).diverged).collect()
}

fn assert_sells(world: &mut World, first: u128, stock: u32) {
    for number in first..first + 10 {
        world.ask(0, &reserve(number)).unwrap();
    }
    assert_eq!(available(world), stock - 10);
}

#[test]
fn a_wrong_follower_stops_and_the_others_sell_on() {
    let mut world = world(1);
    world.crash(NodeId(3));
    world.tamper(NodeId(3), wrong(7001));
    world.start(NodeId(3));
    assert_sells(&mut world, 1, 101);
    world.until("node 3 has stopped", 5 * SECOND, |world| diverged(world, &NODES) == [NodeId(3)]);
    assert_eq!(world.leader(0), Some(NodeId(1)), "nothing happened to the leader");
    // It keeps the log, so that two nodes are a quorum.
    world.crash(NodeId(2));
    assert_sells(&mut world, 100, 91);
}

#[test]
fn a_wrong_leader_stops_before_it_serves_and_the_others_sell_on() {
    let mut world = world(2);
    // With entries behind its snapshot it would find out at once, from its own log, long before anybody leads.
    let covered = |world: &World| {
        let shard = world.solo(NodeId(1)).shard(ShardId(0)).expect("a shard of the cluster");
        (shard.raft().snapshot.index, shard.applied())
    };
    let mut operation = 1000;
    while covered(&world).0 < covered(&world).1 {
        world.ask(0, &adjust(operation)).unwrap();
        operation += 1;
        world.pass(Duration::from_millis(50));
    }
    let stock = available(&mut world);
    NODES.iter().for_each(|node| world.crash(*node));
    world.tamper(NodeId(1), wrong(7001));
    NODES.iter().for_each(|node| world.start(*node));
    // It is the first to campaign, and is elected: its log is as good as the others'.
    let mut led = false;
    world.until("node 1 has stopped", 5 * SECOND, |world| {
        assert_ne!(world.leader(0), Some(NodeId(1)), "it serves");
        led |= world.solo(NodeId(1)).shard(ShardId(0)).is_some_and(|shard| shard.leads_in().is_some());
        diverged(world, &NODES) == [NodeId(1)]
    });
    assert!(led, "it was not the leader that was wrong");
    assert_sells(&mut world, 1, stock);
    let leader = world.leader(0).expect("it has just sold");
    // The shard prefers node 1, but not as it is.
    let terms = NODES.map(|node| world.status(node, 0).term);
    world.pass(30 * SECOND);
    assert_eq!((world.leader(0), NODES.map(|node| world.status(node, 0).term)), (Some(leader), terms));
    // Another leader is found among the two.
    world.crash(leader);
    let other = NodeId(5 - leader.0);
    world.pass(5 * SECOND);
    assert_eq!(diverged(&world, &[other]), []);
}

#[test]
fn two_that_differ_wait_for_the_third() {
    let mut world = world(3);
    NODES.iter().for_each(|node| world.crash(*node));
    world.tamper(NodeId(1), wrong(7001));
    world.start(NodeId(1));
    world.start(NodeId(2));
    for _ in 0..100 {
        world.pass(Duration::from_millis(100));
        assert_eq!((world.leader(0), diverged(&world, &NODES[..2])), (None, vec![]), "one of them was guessed");
    }
    // Whoever leads says so, and does not let its callers wait.
    let answers = [1, 2].map(|node| world.ask_node(NodeId(node), &reserve(1)));
    assert!(answers.contains(&Err(Failure::Diverged)), "{answers:?}");
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    world.start(NodeId(3));
    world.until("node 1 has stopped", 10 * SECOND, |world| diverged(world, &NODES) == [NodeId(1)]);
    assert_sells(&mut world, 1, 101);
}

#[test]
fn three_that_all_differ_serve_nothing() {
    let mut world = world(4);
    NODES.iter().for_each(|node| world.crash(*node));
    for node in NODES {
        world.tamper(node, wrong(7000 + u128::from(node.0)));
        world.start(node);
    }
    world.until("all have stopped", 10 * SECOND, |world| {
        assert_eq!(world.leader(0), None);
        diverged(world, &NODES) == NODES
    });
    world.pass(10 * SECOND);
    assert_eq!(world.leader(0), None);
}

/// Only a replica that has stopped has everything that was committed: it must still bring it to the others.
#[test]
fn what_only_a_stopped_replica_has_is_not_lost() {
    let mut world = world(5);
    world.crash(NodeId(3));
    world.tamper(NodeId(3), wrong(7001));
    world.start(NodeId(3));
    world.until("node 3 has stopped", 5 * SECOND, |world| diverged(world, &NODES) == [NodeId(3)]);
    world.isolate(NodeId(2));
    assert_sells(&mut world, 1, 101);
    let sold = world.status(NodeId(1), 0).commit;
    world.crash(NodeId(1));
    world.heal();
    world.until("node 2 has it", 20 * SECOND, |world| world.status(NodeId(2), 0).applied >= sold);
    // One replica's word is no majority: nothing is served until the third is back.
    world.pass(5 * SECOND);
    assert_eq!(world.leader(0), None);
    world.start(NodeId(1));
    assert_sells(&mut world, 100, 91);
}

/// A process that lost what it knew of the dispute finds out again, also when it was long ago.
#[test]
fn a_wrong_snapshot_is_found_again_after_a_restart() {
    let mut world = world(6);
    world.crash(NodeId(2));
    world.tamper(NodeId(2), wrong(7001));
    world.start(NodeId(2));
    world.until("node 2 has stopped", 5 * SECOND, |world| diverged(world, &NODES) == [NodeId(2)]);
    world.crash(NodeId(2));
    world.start(NodeId(2));
    assert_eq!(diverged(&world, &NODES), []);
    world.until("node 2 has stopped again", 5 * SECOND, |world| diverged(world, &NODES) == [NodeId(2)]);
    // The others' restart takes nothing from it, whatever the log says of who differed.
    for node in [NodeId(1), NodeId(3)] {
        world.crash(node);
        world.start(node);
        assert_sells(&mut world, u128::from(node.0) * 100, 102 - if node.0 == 1 { 1 } else { 11 });
    }
    assert_eq!(diverged(&world, &NODES[..1]), []);
}
