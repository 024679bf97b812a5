//! Three nodes of the very code that ships, driven by one caller in virtual time.

mod disk;
mod dispute;
mod rot;
mod world;

use std::time::Duration;

use doorbuster_protocol::command::{AdjustStock, Command, LatePaymentPolicy, ProductSpec, Reserve};
use doorbuster_protocol::failure::{Failure, Refusal};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Answer, Reply};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, OperationId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
    shard_of,
};

use doorbuster_server::clock::monotonic;

use world::{SHARDS, World};

const SECOND: Duration = Duration::from_secs(1);

/// The first product of shard 0.
fn phone() -> ProductId {
    (1..).map(ProductId).find(|product| shard_of(*product, SHARDS) == ShardId(0)).expect("shards share the products")
}

fn create(stock: u32) -> RequestBody {
    RequestBody::Command(Command::CreateProduct(Box::new(ProductSpec {
        product: phone(),
        name: "phone".into(),
        stock: Quantity(stock),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(1),
        limit_per_reservation: Quantity(1),
        ttl: Millis(30_000),
        max_life: Millis(60_000),
        payment_cap: Millis(10_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::default(),
    })))
}

fn reserve(number: u128) -> RequestBody {
    RequestBody::Command(Command::Reserve(Reserve {
        product: phone(),
        reservation: ReservationId(number),
        user: UserId(number),
        quantity: Quantity(1),
        ttl: Millis(0),
    }))
}

fn adjust(operation: u128) -> RequestBody {
    let operation = OperationId(operation);
    RequestBody::Command(Command::AdjustStock(AdjustStock { operation, product: phone(), delta: 1 }))
}

fn available(world: &mut World) -> u32 {
    match world.ask(0, &RequestBody::Query(Query::Product(phone()))) {
        Ok(Reply::Product(reply)) => reply.product.available.0,
        other => panic!("{other:?}"),
    }
}

fn refused(answer: &Answer) -> bool {
    matches!(answer, Err(Failure::Refused(Refusal::SoldOut | Refusal::AllHeld { .. })))
}

/// A sale with a lost leader, a restart, a follower that needs a snapshot, and expiry. The trace.
fn sale(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.ask(0, &create(2)).unwrap();
    let first = world.ask(0, &reserve(1)).unwrap();
    // The answer stands after its leader is gone, whoever leads now, and the retry changes nothing.
    let leader = world.leader(0).expect("it has just answered");
    world.crash(leader);
    let retried = world.ask(0, &reserve(1)).unwrap();
    let (Reply::Reservation(first), Reply::Reservation(retried)) = (first, retried) else { panic!("reservations") };
    assert_eq!((first.reservation, false, true), (retried.reservation, first.replayed, retried.replayed));
    world.ask(0, &reserve(2)).unwrap();
    assert!(refused(&world.ask(0, &reserve(3))));
    world.start(leader);
    world.until("the old leader has caught up", 10 * SECOND, |world| {
        let all = [1, 2, 3].map(|node| world.status(NodeId(node), 0));
        all.iter().all(|status| status.applied == all[0].applied)
    });
    lag(&mut world);
    // Both reservations fall due, without anybody asking.
    world.pass(31 * SECOND);
    let stock = available(&mut world);
    assert_eq!(stock, 122, "two units that came back, and 120 new ones");
    same_state(&mut world);
    println!(
        "seed {seed}: {} s, {} turns, {} snapshots, trace {:016x}",
        world.seconds(),
        world.turns,
        world.snapshots,
        world.trace
    );
    world.trace
}

/// One follower hears nothing until the others' logs have gone on without it: only a snapshot brings it back.
fn lag(world: &mut World) {
    let leader = world.leader(0).expect("it has just answered");
    let follower = (1..=3).map(NodeId).find(|node| *node != leader).expect("three nodes");
    world.isolate(follower);
    for operation in 1..=120 {
        world.ask(0, &adjust(operation)).unwrap();
    }
    let behind = world.status(follower, 0).applied;
    assert!(world.status(leader, 0).first > behind, "the log was cut");
    world.heal();
    world.until("the follower has installed a snapshot", 20 * SECOND, |world| {
        world.status(follower, 0).applied.0 >= behind.0 + 120
    });
    assert!(world.snapshots > 0);
}

fn same_state(world: &mut World) {
    world.until("all replicas stand at one index", 10 * SECOND, |world| {
        let all = [1, 2, 3].map(|node| world.status(NodeId(node), 0));
        all.iter().all(|status| status.applied == all[0].applied)
    });
    let all = [1, 2, 3].map(|node| world.status(NodeId(node), 0));
    assert!(all.iter().all(|status| status.state_hash == all[0].state_hash && !status.diverged), "{all:?}");
    for node in [1, 2, 3] {
        let shard = world.solo(NodeId(node)).shard(ShardId(0)).expect("a shard of the cluster");
        let queues = shard.queues();
        assert_eq!(queues.in_flight.length, 0, "{queues:?}");
        assert!(shard.inventory().audit().problems.is_empty());
    }
}

#[test]
fn a_sale_survives_crashes_and_repeats_itself() {
    let begun = monotonic();
    let traces: Vec<u64> = (1..=3).map(sale).collect();
    let again: Vec<u64> = (1..=3).map(sale).collect();
    println!("six runs in {:?}", monotonic().since(begun));
    assert_eq!(traces, again, "the same seed, the same world");
    assert_ne!(traces[0], traces[1]);
}
