//! Every interleaving, and every value the memory model lets a load see, of what connections and a shard's thread do
//! to each other. Run with `RUSTFLAGS="--cfg loom" cargo test -p doorbuster-gate --lib`.

use loom::sync::Arc;
use loom::thread;

use crate::{Asked, Bloom, Lease, Numbers, Terms, Turnstile, Verdict, admit};

const LEASE_END: u64 = 100;

/// Threads are preempted at most so often in one run; with more, bugs become no likelier, only runs longer.
const PREEMPTIONS: usize = 3;

fn explore(world: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(world);
}

struct World {
    lease: Lease,
    seat: Turnstile,
    filter: Bloom,
}

fn world(available: u32, held: u32) -> Arc<World> {
    let seat = Turnstile::new(Terms::default(), numbers(available, held));
    Arc::new(World { lease: Lease::new(), seat, filter: Bloom::with_capacity(1) })
}

fn leading(available: u32, held: u32) -> Arc<World> {
    let world = world(available, held);
    world.lease.lead();
    world.lease.renew(LEASE_END);
    world
}

fn numbers(available: u32, held: u32) -> Numbers {
    Numbers { available, held, ..Numbers::default() }
}

impl World {
    fn admit(&self, id: u128, quantity: u32, now: u64) -> Verdict {
        admit(&self.lease, &self.seat, Asked { quantity, now, time: 1 }, || self.filter.contains(id))
    }
}

/// Three connections want one unit each of two.
#[test]
fn tickets_out_never_exceed_what_is_available() {
    explore(|| {
        let world = leading(2, 0);
        let buyers: Vec<_> = (0..2)
            .map(|id| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.admit(id, 1, 1))
            })
            .collect();
        let mine = world.admit(9, 1, 1);
        let verdicts = buyers.into_iter().map(|buyer| buyer.join().unwrap()).chain([mine]);
        let tickets = verdicts.inspect(|v| assert!(matches!(v, Verdict::Ticket | Verdict::Wait), "{v:?}"));
        assert_eq!(tickets.filter(|v| *v == Verdict::Ticket).count(), 2);
        assert_eq!(world.seat.in_flight(), 2);
    });
}

/// The shard applies a granted reserve (publishes, then settles) while another connection asks: the unit that is sold
/// must not be given out a second time in between.
#[test]
fn settling_a_grant_frees_nothing() {
    explore(|| {
        let world = leading(1, 0);
        assert_eq!(world.admit(1, 1, 1), Verdict::Ticket);
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.filter.insert(1);
                world.seat.publish(numbers(0, 1));
                world.seat.give_back(1);
            })
        };
        let verdict = world.admit(2, 1, 1);
        assert!(matches!(verdict, Verdict::Wait | Verdict::AllHeld { .. }), "{verdict:?}");
        shard.join().unwrap();
        assert!(matches!(world.admit(2, 1, 1), Verdict::AllHeld { .. }));
        assert_eq!(world.seat.in_flight(), 0);
    });
}

/// Tickets that come back while others are taken and numbers are published: all of them can be had again.
#[test]
fn no_ticket_is_lost() {
    explore(|| {
        let world = leading(2, 0);
        assert!(world.seat.take(1));
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.seat.publish(numbers(3, 0)))
        };
        let buyer = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                if world.admit(2, 1, 1) == Verdict::Ticket {
                    world.seat.give_back(1);
                }
            })
        };
        world.seat.give_back(1);
        shard.join().unwrap();
        buyer.join().unwrap();
        assert_eq!(world.seat.in_flight(), 0);
        assert!(world.seat.take(3));
        assert!(!world.seat.take(1));
    });
}

/// `sold_out` says that nothing can come back: it may not be pieced together from "nothing is held" of one state and
/// "nothing is available" of another.
#[test]
fn a_refusal_rests_on_one_state() {
    explore(|| {
        let world = leading(1, 0);
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.seat.publish(Numbers { next_expiry: 7, ..numbers(0, 1) });
                world.seat.publish(Numbers { next_expiry: 9, ..numbers(1, 0) });
            })
        };
        match world.admit(1, 1, 1) {
            Verdict::Ticket | Verdict::Wait | Verdict::AllHeld { next_expiry: 7 } => {}
            mixed => panic!("{mixed:?}"),
        }
        shard.join().unwrap();
    });
}

/// Nothing was available when this node followed. Another leader's release arrives, then this node leads: a request
/// that straddles the change may hear anything but `sold_out`, which was untrue at every moment of its lease.
#[test]
fn a_new_lease_never_covers_old_numbers() {
    explore(|| {
        let world = world(0, 0);
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.seat.publish(numbers(1, 0));
                world.lease.lead();
                world.lease.renew(LEASE_END);
            })
        };
        let verdict = world.admit(1, 1, 1);
        assert!(matches!(verdict, Verdict::NotLeading | Verdict::Wait | Verdict::Ticket), "{verdict:?}");
        shard.join().unwrap();
    });
}

/// The same through a whole round: lead, follow while another leader gives a unit back and it is applied here, lead again.
#[test]
fn numbers_of_two_leaderships_do_not_mix() {
    explore(|| {
        let world = world(0, 0);
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.lease.follow();
                world.seat.publish(numbers(1, 0));
                world.lease.lead();
                world.lease.renew(LEASE_END * 10);
                world.seat.publish(numbers(0, 1));
                world.lease.follow();
            })
        };
        // After the first lease has ended: only the second could cover a refusal, and in it nothing was ever sold out.
        let verdict = world.admit(1, 1, LEASE_END + 1);
        assert_ne!(verdict, Verdict::SoldOut);
        shard.join().unwrap();
        assert_eq!(world.admit(1, 1, LEASE_END + 1), Verdict::NotLeading);
    });
}

/// Outside its lease a leader refuses nothing by itself.
#[test]
fn without_a_lease_nothing_is_refused() {
    explore(|| {
        let world = leading(0, 0);
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.lease.renew(LEASE_END / 2))
        };
        assert_eq!(world.admit(1, 1, LEASE_END), Verdict::Wait);
        shard.join().unwrap();
        assert_eq!(world.admit(1, 1, LEASE_END / 2), Verdict::Wait);
        assert_eq!(world.admit(1, 1, LEASE_END / 2 - 1), Verdict::SoldOut);
    });
}

/// The last unit is granted to reservation 1; its own retry, at any moment, is never told that nothing is left.
#[test]
fn the_retry_of_a_granted_reserve_is_never_refused() {
    explore(|| {
        let world = leading(1, 0);
        assert!(world.seat.take(1));
        let shard = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.filter.insert(1);
                world.seat.publish(numbers(0, 1));
                world.seat.give_back(1);
            })
        };
        assert_eq!(world.admit(1, 1, 1), Verdict::Wait);
        shard.join().unwrap();
    });
}
