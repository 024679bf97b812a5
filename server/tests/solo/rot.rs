//! A leader whose own snapshot has rotted on its disk, and a follower that only a snapshot can bring back.

use doorbuster_protocol::types::NodeId;

use crate::world::World;
use crate::{SECOND, adjust, create, same_state};

/// Bytes before the contents of a snapshot file.
const HEADER: usize = 64;

/// The leader writes another snapshot from memory, though nothing is asked for and none would be due.
fn a_rotten_snapshot_is_replaced(offset: usize) {
    let mut world = World::new(1);
    world.ask(0, &create(1)).unwrap();
    let leader = world.leader(0).expect("it has just answered");
    let follower = (1..=3).map(NodeId).find(|node| *node != leader).expect("three nodes");
    world.isolate(follower);
    for operation in 1..=120 {
        world.ask(0, &adjust(operation)).unwrap();
    }
    world.pass(SECOND);
    let (behind, ahead) = (world.status(follower, 0).applied, world.status(leader, 0));
    assert!(ahead.first > behind, "the log was cut");
    world.rot(leader, offset);
    assert!(!world.has_whole_snapshot(leader));
    world.heal();
    world.until("the follower has caught up", 20 * SECOND, |world| world.status(follower, 0).applied >= ahead.applied);
    assert_eq!(world.leader(0), Some(leader), "nobody else helped");
    assert!(world.has_whole_snapshot(leader));
    same_state(&mut world);
}

#[test]
fn a_snapshot_with_a_rotten_header_is_replaced() {
    a_rotten_snapshot_is_replaced(HEADER / 2);
}

#[test]
fn a_snapshot_with_a_rotten_block_is_replaced() {
    a_rotten_snapshot_is_replaced(HEADER + 10);
}
