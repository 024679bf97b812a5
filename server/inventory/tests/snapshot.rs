//! Snapshots as bytes: whatever is handed to `restore`, it gives a state that agrees with itself or an
//! error that says what is wrong, and allocates no more than the bytes justify.

use std::sync::LazyLock;

use doorbuster_inventory::{Inventory, Limits, SnapshotError};
use doorbuster_protocol::command::{
    AdjustStock, Cancel, CancelReason, Cancellation, Command, LatePayment, LatePaymentPolicy, ProductSpec, Reserve,
    Target,
};
use doorbuster_protocol::types::{
    Currency, LogIndex, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId, Timestamp, UserId,
};
use proptest::prelude::*;

const SHARD: ShardId = ShardId(2);

/// A shard with some of everything.
fn inventory() -> Inventory {
    let mut inventory = uncancelled();
    let (at, time) = (inventory.applied(), inventory.time());
    for (id, return_stock) in [(1, true), (6, false)] {
        let target = Target { product: ProductId(1 + id % 2), reservation: ReservationId(id.into()), user: UserId(0) };
        let how = Cancellation { reason: CancelReason::Duplicate, return_stock };
        inventory.apply(at, time, &Command::Cancel(Cancel { target, how })).unwrap();
    }
    inventory
}

fn uncancelled() -> Inventory {
    let mut inventory = Inventory::new(SHARD, Limits::default());
    let mut time = 1_763_800_000_000;
    let mut apply = |time: u64, command: Command| {
        inventory.apply(LogIndex(time), Timestamp(time), &command).unwrap();
    };
    for product in 1..3 {
        apply(time, Command::CreateProduct(Box::new(spec(product))));
    }
    for id in 1..40_u64 {
        time += 777;
        let (product, reservation, user) = (ProductId(1 + id % 2), ReservationId(id.into()), UserId(id.into()));
        let ttl = Millis(0);
        apply(time, Command::Reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl }));
        let target = Target { product, reservation, user };
        match id % 5 {
            0 => apply(time, Command::Release(target)),
            1 => apply(time, Command::Confirm(target)),
            2 => {
                apply(time, Command::Release(target));
                apply(time, Command::LatePayment(LatePayment { target, quantity: Quantity(1) }));
            }
            _ => {}
        }
        let adjust = AdjustStock { operation: OperationId(id.into()), product, delta: 1 };
        apply(time, Command::AdjustStock(adjust));
    }
    inventory
}

fn spec(product: u64) -> ProductSpec {
    ProductSpec {
        product: ProductId(product),
        name: "phone".to_owned(),
        stock: Quantity(100),
        price: Money { minor: 49_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(3),
        limit_per_reservation: Quantity(0),
        ttl: Millis(600_000),
        max_life: Millis(900_000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::AlwaysRefund,
    }
}

fn snapshot() -> Vec<u8> {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut bytes = Vec::new();
        inventory().freeze().write_to(&mut bytes).unwrap();
        bytes
    });
    BYTES.clone()
}

/// The same bytes with a checksum that fits them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let body = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn restore(bytes: &[u8]) -> Result<Inventory, SnapshotError> {
    Inventory::restore(SHARD, Limits::default(), bytes)
}

#[test]
fn a_whole_one_is_read_back() {
    let bytes = snapshot();
    let restored = restore(&bytes).unwrap();
    assert_eq!(restored.state_hash(), inventory().state_hash());
    assert_eq!(restored.audit(), inventory().audit());
}

/// Bytes of an entry of the order feed, and of the one before cancellations, which had one less.
const ENTRY_BYTES: usize = 66;

#[test]
fn one_of_the_version_before_is_read() {
    let mut bytes = Vec::new();
    let mut inventory = uncancelled();
    inventory.freeze().write_to(&mut bytes).unwrap();
    let entries = usize::try_from(inventory.feed(doorbuster_protocol::types::FeedPosition(0), 4096).last.0).unwrap();
    let feed = bytes.split_off(bytes.len() - 4 - entries * ENTRY_BYTES);
    let (feed, checksum) = feed.split_at(entries * ENTRY_BYTES);
    for entry in feed.chunks(ENTRY_BYTES) {
        assert_eq!(entry[2], 0, "nothing was cancelled");
        bytes.extend([&entry[..2], &entry[3..]].concat());
    }
    bytes.extend(checksum);
    bytes[8] = 2;
    let restored = restore(&sealed(bytes)).unwrap();
    assert_eq!(restored.state_hash(), inventory.state_hash());
    assert_eq!(restored.audit(), inventory.audit());
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let bytes = snapshot();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        assert!(restore(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_shortened_one_is_refused_even_with_a_fitting_checksum() {
    let bytes = snapshot();
    for length in 4..bytes.len() {
        assert!(restore(&bytes[..length]).is_err(), "{length} bytes");
        assert!(restore(&sealed(bytes[..length].to_vec())).is_err(), "{length} bytes, sealed");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(restore(&sealed(longer)), Err(SnapshotError::Invalid { .. })));
}

#[test]
fn each_error_says_what_it_is() {
    let bytes = snapshot();
    assert!(matches!(restore(b""), Err(SnapshotError::Unrecognised)));
    assert!(matches!(restore(b"DBSTOCK\n"), Err(SnapshotError::Damaged { .. })));
    let other = Inventory::restore(ShardId(5), Limits::default(), &bytes).unwrap_err();
    assert_eq!(other.to_string(), "a snapshot of shard 2, and shard 5 was to be restored");
    let mut newer = bytes.clone();
    newer[8] = 4;
    let newer = restore(&sealed(newer)).unwrap_err();
    assert_eq!(newer.to_string(), "an inventory snapshot of version 4, and this build reads versions 2 to 3");
    let small = Limits { reservations: 10, ..Limits::default() };
    let large = Inventory::restore(SHARD, small, &bytes).unwrap_err();
    assert_eq!(large.to_string(), "the snapshot has 39 reservations, and the limit is 10");
    let mut hash = bytes;
    hash[28] ^= 1;
    assert!(matches!(restore(&sealed(hash)), Err(SnapshotError::Inconsistent(_))));
}

#[test]
fn counts_are_not_believed() {
    // The five counts at the end of the header, each as large as it can be.
    for (at, width) in [(52, 4), (56, 4), (60, 8), (68, 4), (72, 8)] {
        let mut bytes = snapshot();
        bytes[at..at + width].fill(0xff);
        assert!(restore(&sealed(bytes)).is_err(), "count at {at}");
        let mut bytes = snapshot();
        bytes[at] ^= 1;
        assert!(restore(&sealed(bytes)).is_err(), "count at {at}, one more or less");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Values that no state has, behind a checksum that fits: never a panic, and what is accepted agrees with itself.
    #[test]
    fn changed_values_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        hash in any::<bool>(),
    ) {
        let mut bytes = snapshot();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if hash {
            bytes[28..36].fill(0);
        }
        if let Ok(restored) = restore(&sealed(bytes)) {
            prop_assert!(restored.audit().problems.is_empty());
        }
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = snapshot()[..12].to_vec();
        bytes.extend(tail);
        bytes.extend([0; 4]);
        let _ = restore(&sealed(bytes));
    }
}
