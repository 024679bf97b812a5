//! Random commands over a small world: few products, users and ids, so that they meet; values at and
//! beyond every limit, now and then.

use doorbuster_protocol::command::{
    AdjustStock, Cancel, CancelReason, Cancellation, ChangeSale, Command, Extend, LatePayment, LatePaymentPolicy,
    Payment, ProductSpec, Reserve, SaleAction, SetStock, Target,
};
use doorbuster_protocol::limits::{MAX_PRICE_MINOR, MAX_RESERVATION_QUANTITY, MAX_STOCK, MAX_TTL};
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{
    Currency, FeedPosition, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};

use crate::naive::Naive;

/// splitmix64: the seed derives everything.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// How much time passes before the next command.
pub fn pause(random: &mut Random) -> u64 {
    match random.below(20) {
        0..14 => 0,
        14..18 => random.below(30),
        18 => random.below(700),
        _ if random.one_in(3) => random.below(3000),
        _ => random.pick(&[1023, 1024, 5_000, 70_000, 1_100_000]),
    }
}

/// A payment that is begun or declined in its turn.
pub fn payment_in_turn(random: &mut Random, world: &Naive) -> Option<Command> {
    let view = known(random, world).filter(|view| view.state.is_live())?;
    let target = Target { product: view.product, reservation: view.reservation, user: view.user };
    Some(match view.state {
        ReservationState::Held => Command::BeginPayment(Payment { target, attempt: view.payment_attempts + 1 }),
        _ => Command::PaymentFailed(Payment { target, attempt: view.payment_attempts }),
    })
}

pub fn command(random: &mut Random, world: &Naive) -> Command {
    match random.below(100) {
        0..3 => Command::CreateProduct(Box::new(spec(random, world.now))),
        3..6 => Command::AdjustStock(AdjustStock {
            operation: operation(random),
            product: product(random),
            delta: random.pick(&[1, 2, -1, -2, 3, -5, 0, i64::MAX, i64::MIN, i64::from(MAX_STOCK)]),
        }),
        6..8 => set_stock(random, world),
        8..10 => change_sale(random),
        10..45 => reserve(random, world),
        45..60 => Command::BeginPayment(payment(random, world)),
        60..67 => Command::PaymentFailed(payment(random, world)),
        67..72 => Command::Confirm(target(random, world)),
        72..77 => Command::Release(target(random, world)),
        77..82 => Command::Extend(Extend {
            target: target(random, world),
            operation: operation(random),
            by: Millis(random.pick(&[1, 50, 100, 300, 1000, 0, MAX_TTL.0, MAX_TTL.0 + 1, u64::MAX])),
        }),
        82..85 => cancel(random, world),
        85..88 => late_payment(random, world),
        88..92 => Command::RefundDone(target(random, world)),
        92..94 => acknowledge(random, world),
        _ => Command::Expire,
    }
}

/// A product that can be sold, to begin with.
pub fn plain_spec(random: &mut Random, product: ProductId) -> ProductSpec {
    let ttl = random.pick(&[250, 250, 1000, 60_000, 90_000]);
    ProductSpec {
        product,
        name: "phone".to_owned(),
        stock: Quantity(random.pick(&[3, 8, 20])),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(random.pick(&[0, 0, 2, 6])),
        limit_per_reservation: Quantity(random.pick(&[0, 2, 3])),
        ttl: Millis(ttl),
        max_life: Millis(ttl + random.pick(&[0, 0, 100, 5000])),
        payment_cap: Millis(random.pick(&[100, 300, 2000])),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: random.pick(&[LatePaymentPolicy::RetakeOrRefund, LatePaymentPolicy::AlwaysRefund]),
    }
}

fn change_sale(random: &mut Random) -> Command {
    let action =
        if random.one_in(40) { SaleAction::Close } else { random.pick(&[SaleAction::Pause, SaleAction::Resume]) };
    // A pause is often undone, so that the sale goes on.
    let action = if random.one_in(2) { SaleAction::Resume } else { action };
    Command::ChangeSale(ChangeSale { operation: operation(random), product: product(random), action })
}

fn spec(random: &mut Random, now: u64) -> ProductSpec {
    let odd = |random: &mut Random| random.one_in(30);
    let product = product(random);
    let plain = plain_spec(random, product);
    ProductSpec {
        name: if odd(random) { "x".repeat(random.pick(&[0, 200, 201])) } else { plain.name },
        stock: Quantity(random.pick(&[0, 1, 5, 20, MAX_STOCK, MAX_STOCK + 1])),
        price: Money {
            minor: if odd(random) { MAX_PRICE_MINOR + random.below(2) } else { 99_900 },
            currency: if odd(random) { Currency(*b"eur") } else { plain.price.currency },
        },
        ttl: if odd(random) { Millis(random.pick(&[0, 99, MAX_TTL.0 + 1])) } else { plain.ttl },
        opens_at: Timestamp(if random.one_in(4) { now + random.below(3000) } else { 0 }),
        closes_at: Timestamp(if random.one_in(4) { now + random.below(1_000_000) } else { 0 }),
        ..plain
    }
}

fn set_stock(random: &mut Random, world: &Naive) -> Command {
    let product = product(random);
    let stock = world.products.contains_key(&product).then(|| world.product_view(product).spec.stock);
    let expected = if random.one_in(4) { Quantity(3) } else { stock.unwrap_or_default() };
    let stock = Quantity(random.pick(&[0, 2, 5, 9, 20, MAX_STOCK, MAX_STOCK + 1, u32::MAX]));
    Command::SetStock(SetStock { operation: operation(random), product, expected, stock })
}

fn reserve(random: &mut Random, world: &Naive) -> Command {
    if random.one_in(5)
        && let Some(view) = known(random, world)
    {
        // A retry, more or less.
        return Command::Reserve(Reserve {
            product: if random.one_in(6) { product(random) } else { view.product },
            reservation: view.reservation,
            user: if random.one_in(6) { user(random) } else { view.user },
            quantity: if random.one_in(6) { quantity(random) } else { view.quantity },
            ttl: Millis(if random.one_in(6) { 150 } else { view.first_expires_at.0 - view.created_at.0 }),
        });
    }
    Command::Reserve(Reserve {
        product: product(random),
        reservation: ReservationId(u128::from(random.below(60))),
        user: user(random),
        quantity: quantity(random),
        ttl: Millis(random.pick(&[0, 0, 0, 0, 100, 150, 99, 1000, 5000, u64::MAX])),
    })
}

fn payment(random: &mut Random, world: &Naive) -> Payment {
    let target = target(random, world);
    let attempts = world.reservations.get(&target.reservation).map_or(0, |made| made.view.payment_attempts);
    let attempt = random.pick(&[attempts, attempts + 1, attempts + 1, attempts.wrapping_sub(1), attempts + 2, 0, 1]);
    Payment { target, attempt }
}

/// Most often of what is sold.
fn cancel(random: &mut Random, world: &Naive) -> Command {
    let sold = (0..10).find_map(|_| known(random, world).filter(|view| view.state == ReservationState::Confirmed));
    let target = match sold.filter(|_| !random.one_in(4)) {
        Some(view) => Target { product: view.product, reservation: view.reservation, user: view.user },
        None => target(random, world),
    };
    let how = Cancellation { reason: random.pick(&CancelReason::ALL), return_stock: random.one_in(2) };
    Command::Cancel(Cancel { target, how })
}

fn late_payment(random: &mut Random, world: &Naive) -> Command {
    let target = target(random, world);
    let known = world.reservations.get(&target.reservation).map(|made| made.view);
    let quantity = known.filter(|_| !random.one_in(8)).map_or_else(|| quantity(random), |view| view.quantity);
    let user = known.filter(|_| !random.one_in(8)).map_or(target.user, |view| view.user);
    Command::LatePayment(LatePayment { target: Target { user, ..target }, quantity })
}

fn acknowledge(random: &mut Random, world: &Naive) -> Command {
    let last = world.feed.len() as u64;
    let through = FeedPosition(random.pick(&[0, last / 2, last, last, last + 1, u64::MAX, world.acknowledged]));
    Command::AcknowledgeFeed { shard: ShardId(3), through }
}

/// Most often a reservation there is, and its owner.
fn target(random: &mut Random, world: &Naive) -> Target {
    let made = if random.one_in(10) { None } else { known(random, world) };
    let Some(view) = made else {
        let reservation = ReservationId(u128::from(random.below(80)));
        return Target { product: product(random), reservation, user: user(random) };
    };
    Target {
        product: if random.one_in(20) { product(random) } else { view.product },
        reservation: view.reservation,
        user: match random.below(20) {
            0 => user(random),
            1..5 => UserId(0),
            _ => view.user,
        },
    }
}

fn known(random: &mut Random, world: &Naive) -> Option<ReservationView> {
    let nth = random.below(world.reservations.len().max(1) as u64);
    world.reservations.values().nth(usize::try_from(nth).unwrap()).map(|made| made.view)
}

fn product(random: &mut Random) -> ProductId {
    ProductId(if random.one_in(25) { random.pick(&[0, 5]) } else { random.pick(&[1, 1, 1, 2, 2, 3, 4]) })
}

fn user(random: &mut Random) -> UserId {
    UserId(if random.one_in(30) { 0 } else { random.pick(&[1, 1, 2, 3, 4, 5, 6, 1 << 100]) })
}

fn quantity(random: &mut Random) -> Quantity {
    let odd = [0, MAX_RESERVATION_QUANTITY, MAX_RESERVATION_QUANTITY + 1, u32::MAX];
    Quantity(if random.one_in(12) { random.pick(&odd) } else { random.pick(&[1, 1, 1, 2, 2, 3, 5]) })
}

fn operation(random: &mut Random) -> OperationId {
    OperationId(u128::from(random.below(40)))
}
