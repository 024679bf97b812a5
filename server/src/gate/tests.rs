//! The gate in the server's types: lookup, tickets that come back, refusals with their values.

use doorbuster_protocol::types::{Millis, UserId};

use super::*;

const NOW: Monotonic = Monotonic(1_000);
const LEASE: Monotonic = Monotonic(2_000);
const TIME: Timestamp = Timestamp(50_000);

fn view(available: u32, held: u32) -> GateView {
    GateView {
        available: Quantity(available),
        held: Quantity(held),
        sold: Quantity(0),
        sale: SaleState::Active,
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(10),
        ttl: Millis(1000),
        next_expiry: Timestamp(51_000),
    }
}

fn reserve(product: u64, reservation: u128, quantity: u32) -> Reserve {
    Reserve {
        product: ProductId(product),
        reservation: ReservationId(reservation),
        user: UserId(1),
        quantity: Quantity(quantity),
        ttl: Millis(0),
    }
}

fn leading(shards: u16) -> Gate {
    let gate = Gate::new(shards);
    (0..shards).map(ShardId).for_each(|shard| {
        gate.lead(shard);
        gate.renew(shard, LEASE);
    });
    gate
}

fn refusal(admission: &Admission) -> Refusal {
    match admission {
        Admission::Refuse(refusal) => *refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_dropped_ticket_comes_back() {
    let gate = leading(1);
    gate.publish(ProductId(7), &view(3, 0));
    let Admission::Ticket(first) = gate.admit(&reserve(7, 1, 2), NOW, TIME) else { panic!("no ticket") };
    assert_eq!((first.quantity(), gate.in_flight(ProductId(7))), (Quantity(2), 2));
    assert!(matches!(gate.admit(&reserve(7, 2, 2), NOW, TIME), Admission::Wait));
    drop(first);
    assert_eq!(gate.in_flight(ProductId(7)), 0);
    assert!(matches!(gate.admit(&reserve(7, 2, 2), NOW, TIME), Admission::Ticket(_)));
}

#[test]
fn refusals_carry_their_values() {
    let gate = leading(4);
    let table = [
        (GateView { sale: SaleState::Closed, ..view(5, 0) }, Refusal::Closed),
        (GateView { closes_at: TIME, ..view(5, 0) }, Refusal::Closed),
        (GateView { sale: SaleState::Paused, ..view(5, 0) }, Refusal::Paused),
        (GateView { opens_at: Timestamp(50_001), ..view(5, 0) }, Refusal::NotOpen { opens_at: Timestamp(50_001) }),
        (
            GateView { limit_per_reservation: Quantity(1), ..view(5, 0) },
            Refusal::QuantityTooLarge { limit: Quantity(1) },
        ),
        (view(0, 0), Refusal::SoldOut),
        (view(0, 1), Refusal::AllHeld { next_expiry: Timestamp(51_000) }),
    ];
    for (product, (view, expected)) in (1..).zip(table) {
        gate.publish(ProductId(product), &view);
        assert_eq!(refusal(&gate.admit(&reserve(product, 1, 2), NOW, TIME)), expected);
    }
}

/// The code of a refusal must not depend on whether the gate or the inventory gives it.
#[test]
fn more_units_than_the_protocol_knows_are_refused_as_the_inventory_would() {
    let gate = leading(1);
    gate.publish(ProductId(7), &GateView { limit_per_reservation: Quantity(10_000), ..view(20_000, 0) });
    let refused = refusal(&gate.admit(&reserve(7, 1, 10_001), NOW, TIME));
    assert_eq!(refused, Refusal::InvalidArgument(Argument::Quantity));
    assert!(matches!(gate.admit(&reserve(7, 1, 10_000), NOW, TIME), Admission::Ticket(_)));
}

#[test]
fn only_the_leader_with_a_lease_refuses() {
    let gate = Gate::new(1);
    gate.publish(ProductId(7), &view(0, 0));
    let admit = |now| gate.admit(&reserve(7, 1, 1), now, TIME);
    assert!(matches!(admit(NOW), Admission::NotHere));
    gate.renew(ShardId(0), LEASE);
    assert!(matches!(admit(NOW), Admission::NotHere), "a lease without leadership counts for nothing");
    gate.lead(ShardId(0));
    assert!(matches!(admit(NOW), Admission::Wait));
    gate.renew(ShardId(0), LEASE);
    assert_eq!(refusal(&admit(NOW)), Refusal::SoldOut);
    assert!(matches!(admit(LEASE), Admission::Wait), "the lease ends before its end time");
    gate.follow(ShardId(0));
    assert!(matches!(admit(NOW), Admission::NotHere));
}

#[test]
fn an_unknown_product_is_the_shards_to_refuse() {
    let gate = Gate::new(2);
    assert!(matches!(gate.admit(&reserve(7, 1, 1), NOW, TIME), Admission::NotHere));
    gate.lead(ShardId(0));
    gate.lead(ShardId(1));
    assert!(matches!(gate.admit(&reserve(7, 1, 1), NOW, TIME), Admission::Wait));
    assert!(gate.take(ProductId(7), Quantity(1)).is_none());
}

#[test]
fn a_retry_goes_to_the_shard() {
    let gate = leading(1);
    gate.publish(ProductId(7), &view(1, 0));
    gate.note_granted(ShardId(0), ReservationId(99));
    gate.publish(ProductId(7), &view(0, 1));
    assert!(matches!(gate.admit(&reserve(7, 99, 1), NOW, TIME), Admission::Wait));
    assert!(matches!(gate.admit(&reserve(7, 98, 1), NOW, TIME), Admission::Refuse(_)));
    gate.rebuild_filter(ShardId(0), 1, std::iter::once(ReservationId(98)));
    assert!(matches!(gate.admit(&reserve(7, 98, 1), NOW, TIME), Admission::Wait));
    assert!(matches!(gate.admit(&reserve(7, 99, 1), NOW, TIME), Admission::Refuse(_)));
}

#[test]
fn newcomers_queue_behind_waiters() {
    let gate = leading(1);
    gate.publish(ProductId(7), &view(2, 0));
    gate.queue_behind_waiters(ProductId(7), true);
    assert!(matches!(gate.admit(&reserve(7, 1, 1), NOW, TIME), Admission::Wait));
    gate.publish(ProductId(7), &view(1, 1));
    assert!(matches!(gate.admit(&reserve(7, 1, 1), NOW, TIME), Admission::Wait), "a publication forgot the waiters");
    assert!(gate.take(ProductId(7), Quantity(1)).is_some());
    gate.queue_behind_waiters(ProductId(7), false);
    assert!(matches!(gate.admit(&reserve(7, 1, 1), NOW, TIME), Admission::Ticket(_)));
}

#[test]
fn finds_each_of_many_products() {
    let gate = leading(3);
    let products = 20_000;
    for product in 1..=products {
        gate.publish(ProductId(product), &view(u32::try_from(product).unwrap(), 0));
    }
    for product in 1..=products {
        let ticket = gate.take(ProductId(product), Quantity(u32::try_from(product).unwrap()));
        assert!(ticket.is_some(), "product {product}");
        assert!(gate.take(ProductId(product), Quantity(1)).is_none(), "product {product}");
    }
    let longest = gate
        .shards
        .iter()
        .flat_map(|shard| &shard.chains)
        .map(|chain| std::iter::successors(chain.get(), |link| link.next.get()).count());
    assert!(longest.max() < Some(16), "the chains are uneven");
}
