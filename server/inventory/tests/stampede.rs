//! Many reservations at once: they expire within bounded steps, all of them, none early; and a live one
//! takes no more memory than its budget.

mod counting;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec, Reserve};
use doorbuster_protocol::limits::MAX_EXPIRIES_PER_ENTRY;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::types::{
    Currency, LogIndex, Millis, Money, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};

const PRODUCT: ProductId = ProductId(1);
const NOON: u64 = 1_763_800_000_000;
const TTL: u64 = 600_000;

fn sale(stock: u32) -> Inventory {
    let mut inventory = Inventory::new(ShardId(0), Limits::default());
    let spec = ProductSpec {
        product: PRODUCT,
        name: "phone".to_owned(),
        stock: Quantity(stock),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(1),
        limit_per_reservation: Quantity(1),
        ttl: Millis(TTL),
        max_life: Millis(TTL),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(NOON),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    };
    inventory.apply(LogIndex(1), Timestamp(NOON), &Command::CreateProduct(Box::new(spec))).unwrap();
    inventory
}

/// One reservation each for `count` users, `per_millisecond` at a time. Ids look like hashes.
fn reserve(inventory: &mut Inventory, count: u32, per_millisecond: u32) {
    for number in 0..u128::from(count) {
        let spread = (number + 1).wrapping_mul(0x2d35_8dcc_aa6c_78a5_8bb8_4b93_962e_acc9);
        let time = Timestamp(NOON + u64::try_from(number).unwrap() / u64::from(per_millisecond));
        let reserve = Reserve {
            product: PRODUCT,
            reservation: ReservationId(spread),
            user: UserId(spread.rotate_left(64) | 1),
            quantity: Quantity(1),
            ttl: Millis(0),
        };
        inventory.apply(LogIndex(2), time, &Command::Reserve(reserve)).unwrap();
    }
}

#[test]
fn all_that_fall_due_in_one_second_are_back_after_bounded_steps() {
    const COUNT: u32 = 200_000;
    let mut inventory = sale(COUNT);
    reserve(&mut inventory, COUNT, 200);
    let first = NOON + TTL;
    inventory.apply(LogIndex(3), Timestamp(first - 1), &Command::Expire).unwrap();
    assert_eq!(inventory.product(PRODUCT).unwrap().held, Quantity(COUNT), "none is early");
    let (mut expired, mut entries) = (0, 0);
    let now = Timestamp(first + 999);
    while inventory.next_deadline().is_some_and(|next| next <= now) {
        match inventory.apply(LogIndex(4 + entries), now, &Command::Expire) {
            Ok(Reply::Expired(count)) => {
                assert!(count as usize <= MAX_EXPIRIES_PER_ENTRY);
                expired += count;
            }
            other => panic!("{other:?}"),
        }
        entries += 1;
    }
    assert_eq!(expired, COUNT);
    assert!(entries <= 2 * u64::from(COUNT).div_ceil(MAX_EXPIRIES_PER_ENTRY as u64), "{entries} entries");
    let product = inventory.product(PRODUCT).unwrap();
    assert_eq!((product.available, product.held), (Quantity(COUNT), Quantity(0)));
    assert_eq!(inventory.audit().problems, Vec::<String>::new());
}

#[test]
fn a_live_reservation_takes_at_most_128_bytes() {
    // Record, index, user's count, and its deadline, of which there is a different one for every second reservation.
    const COUNT: u32 = 400_000;
    let mut inventory = sale(COUNT);
    let before = counting::allocated();
    reserve(&mut inventory, COUNT, 2);
    let taken = counting::allocated() - before;
    let each = taken as f64 / f64::from(COUNT);
    assert!(each <= 128.0, "{each:.1} bytes a live reservation");
    assert_eq!(inventory.product(PRODUCT).unwrap().held, Quantity(COUNT));
}
