//! The inventory alone: what one shard thread can apply, with few and with a million reservations around.
//!
//! Each iteration leaves as many live reservations as it found, so that the thousandth measures what the
//! first did. No log, no codec, no threads: the ceiling, not the throughput of a server.
#![allow(clippy::disallowed_methods)] // a bench measures time

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster_inventory::{AHEAD, Inventory, Limits};
use doorbuster_protocol::command::{Command, LatePaymentPolicy, Payment, ProductSpec, Reserve, Target};
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::types::{
    Currency, FeedPosition, LogIndex, Millis, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};

const SHARD: ShardId = ShardId(0);
const NOON: u64 = 1_763_800_000_000;
const SELLING: ProductId = ProductId(1);
const SOLD_OUT: ProductId = ProductId(2);
const LIVE: [u32; 3] = [1_000, 1_000_000, 10_000_000];
/// Terminal reservations leave at once, so that they do not pile up from one iteration to the next.
const RETENTION: Millis = Millis(1);

struct World {
    inventory: Inventory,
    time: u64,
    next_id: u64,
}

impl World {
    fn with_live(live: u32) -> Self {
        let limits = Limits { retention: RETENTION, ..Limits::default() };
        let mut world = Self { inventory: Inventory::new(SHARD, limits), time: NOON, next_id: 1 };
        world.apply(&Command::CreateProduct(Box::new(spec(SELLING, 1_000_000_000))));
        world.apply(&Command::CreateProduct(Box::new(spec(SOLD_OUT, 0))));
        for number in 0..live {
            world.time += u64::from(number % 100 == 0);
            let reserve = world.new_reserve(SELLING);
            world.apply(&Command::Reserve(reserve));
        }
        world
    }

    fn apply(&mut self, command: &Command) -> Reply {
        self.inventory.apply(LogIndex(self.time), Timestamp(self.time), command).expect("it is granted")
    }

    fn new_reserve(&mut self, product: ProductId) -> Reserve {
        let number = u128::from(self.next_id);
        self.next_id += 1;
        // Ids as they come over HTTP look random.
        let spread = number.wrapping_mul(0x2d35_8dcc_aa6c_78a5_8bb8_4b93_962e_acc9);
        let (reservation, user) = (ReservationId(spread), UserId(spread.rotate_left(64) | 1));
        Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) }
    }

    /// Forgets what became terminal.
    fn forget(&mut self) {
        self.time += RETENTION.get();
        self.apply(&Command::Expire);
        while self.inventory.next_deadline().is_some_and(|due| due.get() <= self.time) {
            self.apply(&Command::Expire);
        }
    }
}

fn spec(product: ProductId, stock: u32) -> ProductSpec {
    ProductSpec {
        product,
        name: "phone".to_owned(),
        stock: Quantity(stock),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(2),
        limit_per_reservation: Quantity(1),
        // Nothing expires while a suite runs on cluster time that it moves itself.
        ttl: Millis(7 * 24 * 3600 * 1000),
        max_life: Millis(7 * 24 * 3600 * 1000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}

fn target(reserve: &Reserve) -> Target {
    Target { product: reserve.product, reservation: reserve.reservation, user: reserve.user }
}

/// Reserve, release, forget: three commands, and a fresh id each time.
fn reserve_and_release(c: &mut Criterion) {
    let mut group = c.benchmark_group("reserve, release, forget");
    for live in LIVE {
        let mut world = World::with_live(live);
        group.bench_function(BenchmarkId::new("live", live), |b| {
            b.iter(|| {
                let reserve = world.new_reserve(SELLING);
                world.apply(&Command::Reserve(reserve));
                world.apply(&Command::Release(target(&reserve)));
                world.forget();
            });
        });
    }
    group.finish();
}

/// A sale from reserve to the acknowledged order: six commands. The user's count stays, as it does in a sale.
fn sell(c: &mut Criterion) {
    let mut group = c.benchmark_group("reserve, pay, confirm, acknowledge, forget");
    for live in LIVE {
        let mut world = World::with_live(live);
        let mut sold = 0;
        group.bench_function(BenchmarkId::new("live", live), |b| {
            b.iter(|| {
                let reserve = world.new_reserve(SELLING);
                world.apply(&Command::Reserve(reserve));
                world.apply(&Command::BeginPayment(Payment { target: target(&reserve), attempt: 1 }));
                world.apply(&Command::Confirm(target(&reserve)));
                sold += 1;
                world.apply(&Command::AcknowledgeFeed { shard: SHARD, through: FeedPosition(sold) });
                world.forget();
            });
        });
    }
    group.finish();
}

/// What an entry of a full log does: read ahead and apply, 1024 reserves of strangers. They are given back outside the time.
fn reserve_entry(c: &mut Criterion) {
    const ENTRY: u32 = 1024;
    let mut group = c.benchmark_group("an entry of reserves");
    group.throughput(Throughput::Elements(u64::from(ENTRY))).sample_size(20);
    for live in LIVE {
        let mut world = World::with_live(live);
        group.bench_function(BenchmarkId::new("live", live), |b| {
            b.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let reserves: Vec<_> = (0..ENTRY).map(|_| world.new_reserve(SELLING)).collect();
                    let commands: Vec<_> = reserves.iter().copied().map(Command::Reserve).collect();
                    let begun = Instant::now();
                    for some in commands.chunks(AHEAD) {
                        world.inventory.anticipate(some);
                        some.iter().for_each(|command| drop(black_box(world.apply(command))));
                    }
                    spent += begun.elapsed();
                    reserves.iter().for_each(|reserve| drop(world.apply(&Command::Release(target(reserve)))));
                    world.forget();
                }
                spent
            });
        });
    }
    group.finish();
}

/// What the stampede gets: one refusal, no change.
fn refuse(c: &mut Criterion) {
    let mut group = c.benchmark_group("refuse a reserve, sold out");
    for live in LIVE {
        let mut world = World::with_live(live);
        group.bench_function(BenchmarkId::new("live", live), |b| {
            b.iter(|| {
                let reserve = Command::Reserve(world.new_reserve(SOLD_OUT));
                black_box(world.inventory.apply(LogIndex(world.time), Timestamp(world.time), &reserve))
            });
        });
    }
    group.finish();
}

/// The same reserve again, of a random one among those that are live.
fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay a reserve");
    for live in LIVE {
        let mut world = World::with_live(live);
        let mut step = 0_u64;
        group.bench_function(BenchmarkId::new("live", live), |b| {
            b.iter(|| {
                step = step.wrapping_add(0x9e37_79b9_7f4a_7c15);
                world.next_id = 1 + step % u64::from(live);
                let reserve = world.new_reserve(SELLING);
                black_box(world.apply(&Command::Reserve(reserve)))
            });
        });
    }
    group.finish();
}

/// All live reservations fall due together: every `Expire` until none is left.
fn expire_all(c: &mut Criterion) {
    const DUE: u32 = 100_000;
    let mut group = c.benchmark_group("expire all at once");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(DUE)));
    group.bench_function(BenchmarkId::new("live", DUE), |b| {
        b.iter_batched_ref(
            || World::with_live(DUE),
            |world| {
                world.time += spec(SELLING, 0).ttl.get();
                let now = Timestamp(world.time);
                while world.inventory.product(SELLING).is_ok_and(|product| product.held > Quantity(0)) {
                    assert!(world.inventory.next_deadline() <= Some(now));
                    world.apply(&Command::Expire);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// What a snapshot costs the shard thread, and what it costs whoever writes it.
fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot");
    group.sample_size(10);
    for live in LIVE {
        let mut world = World::with_live(live);
        group.bench_function(BenchmarkId::new("freeze, live", live), |b| b.iter(|| world.inventory.freeze()));
        group.bench_function(BenchmarkId::new("write to nowhere, live", live), |b| {
            let mut freeze = || world.inventory.freeze();
            b.iter_batched(&mut freeze, |frozen| frozen.write_to(&mut std::io::sink()), BatchSize::PerIteration);
        });
        let mut bytes = Vec::new();
        world.inventory.freeze().write_to(&mut bytes).expect("memory takes it");
        let limits = Limits { retention: RETENTION, ..Limits::default() };
        group.bench_function(BenchmarkId::new("restore, live", live), |b| {
            b.iter_with_large_drop(|| Inventory::restore(SHARD, limits, &bytes).expect("just written"));
        });
    }
    group.finish();
}

criterion_group!(benches, reserve_entry, reserve_and_release, sell, refuse, replay, expire_all, snapshot);
criterion_main!(benches);
